//! Mount options: what `-o` understands, as types.
//!
//! Permission checks are always the kernel's (`default_permissions`). Devices and set-id programs are off
//! unless asked for. Options that mean nothing here but stand in every fstab are accepted and ignored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Who may use the mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The user who mounted.
    #[default]
    Owner,
    /// That user and root (`allow_root`).
    RootAndOwner,
    /// Everyone, as far as file permissions go (`allow_other`).
    Everyone,
}

/// Told of every answer that is an I/O error (EIO), once each: one log-safe sentence.
pub type ErrorSink = Arc<dyn Fn(&str) + Send + Sync>;

/// How to mount.
#[derive(Clone)]
pub struct MountOptions {
    /// Refuses every change.
    pub read_only: bool,
    /// Who may use the mount.
    pub audience: Audience,
    /// First column of `df` and `/proc/mounts`.
    pub source: String,
    /// The part after `fuse.` in the type of the mount.
    pub subtype: String,
    /// Allows a mountpoint that has entries; they are hidden while mounted.
    pub nonempty: bool,
    /// Honours set-user-id programs.
    pub suid: bool,
    /// Honours device nodes.
    pub dev: bool,
    /// Refuses to run programs.
    pub noexec: bool,
    /// Says `noatime` in the table of mounts.
    pub noatime: bool,
    /// Makes every write durable before it returns.
    pub sync: bool,
    /// How long the kernel may believe an entry or attributes. Changes from elsewhere are pushed.
    pub entry_lifetime: Duration,
    /// How long the kernel may believe that a name is missing.
    pub negative_lifetime: Duration,
    /// Longest wait for the store. A caller in the kernel cannot be killed while its request is with us, so no wait may be
    /// endless; it hears that the store cannot be reached. It is not for a store that is silent, which each request has a
    /// limit for: what moves on a slow line goes on, as long as one request may.
    pub answer_limit: Duration,
    /// Threads that answer requests, at least 1.
    pub threads: usize,
    /// Told of every EIO.
    pub report: Option<ErrorSink>,
}

/// Fstab words that change nothing here.
const IGNORED: &[&str] = &[
    "defaults",
    "default_permissions",
    "rw",
    "async",
    "atime",
    "relatime",
    "diratime",
    "nodiratime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
];

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            audience: Audience::Owner,
            source: "strongroom".into(),
            subtype: "strongroom".into(),
            nonempty: false,
            suid: false,
            dev: false,
            noexec: false,
            noatime: false,
            sync: false,
            entry_lifetime: Duration::from_secs(3600),
            negative_lifetime: Duration::from_secs(60),
            answer_limit: Duration::from_secs(3600),
            // Four on any machine: one that waits for the disk in an fsync must not hold up the others.
            threads: 4,
            report: None,
        }
    }
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountOptions")
            .field("read_only", &self.read_only)
            .field("audience", &self.audience)
            .field("source", &self.source)
            .field("subtype", &self.subtype)
            .finish_non_exhaustive()
    }
}

impl MountOptions {
    /// Reads a list as it stands after `-o`, over the defaults.
    ///
    /// # Errors
    /// `BadOption` names the word that is unknown or lacks its value.
    pub fn parse(list: &str) -> Result<Self> {
        let mut options = Self::default();
        options.apply(list)?;
        Ok(options)
    }

    /// Applies one more list; later words win.
    ///
    /// # Errors
    /// As [`MountOptions::parse`].
    pub fn apply(&mut self, list: &str) -> Result<()> {
        split(list).iter().try_for_each(|word| self.apply_word(word))
    }

    fn apply_word(&mut self, word: &str) -> Result<()> {
        if let Some((name, value)) = word.split_once('=') {
            return self.apply_pair(name, value);
        }
        match word {
            "" => {}
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.audience = Audience::Everyone,
            "allow_root" => self.audience = Audience::RootAndOwner,
            "nonempty" => self.nonempty = true,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "exec" => self.noexec = false,
            "noexec" => self.noexec = true,
            "noatime" => self.noatime = true,
            "sync" | "dirsync" => self.sync = true,
            "async" => self.sync = false,
            word if IGNORED.contains(&word) || word.starts_with("x-") => {}
            word => return Err(unknown(word)),
        }
        Ok(())
    }

    fn apply_pair(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "fsname" => self.source = plain(value, name)?,
            "subtype" => self.subtype = plain(value, name)?,
            name if name.starts_with("x-") => {}
            name => return Err(unknown(name)),
        }
        Ok(())
    }
}

fn unknown(word: &str) -> Error {
    let shown: String = word.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::new(ErrorKind::BadOption, format!("unknown mount option `{shown}`")).hint(
        "known are ro, rw, allow_other, allow_root, fsname=, subtype=, nonempty, suid, dev, noexec, noatime, \
         sync and their opposites",
    )
}

/// A value as it may stand in the kernel's option list and in `/proc/mounts`.
///
/// The kernel and `fusermount3` would read a comma as the end of the value and a backslash as an escape.
fn plain(value: &str, name: &str) -> Result<String> {
    if value.is_empty() {
        return Err(Error::new(
            ErrorKind::BadOption,
            format!("mount option `{name}` needs a value"),
        ));
    }
    Ok(value
        .chars()
        .map(|c| if c == ',' || c == '\\' || c.is_control() { '_' } else { c })
        .collect())
}

/// Splits at commas; `\,` is a comma inside a value.
fn split(list: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            (',', _) => words.push(String::new()),
            ('\\', Some(word)) => word.extend(chars.next()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_list_is_understood() {
        let options =
            MountOptions::parse("ro,allow_other,fsname=team,subtype=vault,suid,noexec,noatime")
                .unwrap();
        assert!(
            options.read_only && options.suid && options.noexec && options.noatime && !options.dev
        );
        assert_eq!(options.audience, Audience::Everyone);
        assert_eq!((options.source.as_str(), options.subtype.as_str()), ("team", "vault"));
    }

    #[test]
    fn later_word_wins() {
        let options = MountOptions::parse("ro,suid,rw,nosuid").unwrap();
        assert!(!options.read_only && !options.suid);
    }

    #[test]
    fn fstab_words_are_ignored() {
        MountOptions::parse(
            "defaults,nofail,_netdev,x-systemd.automount,default_permissions,,relatime",
        )
        .unwrap();
    }

    #[test]
    fn unknown_word_is_named() {
        let error = MountOptions::parse("ro,umask=022").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadOption);
        assert_eq!(error.to_string(), "unknown mount option `umask`");
        assert_eq!(
            MountOptions::parse("uid=1000").unwrap_err().to_string(),
            "unknown mount option `uid`"
        );
    }

    #[test]
    fn comma_and_backslash_in_a_name_become_harmless() {
        assert_eq!(MountOptions::parse(r"fsname=a\,ro").unwrap().source, "a_ro");
        assert!(!MountOptions::parse(r"fsname=a\,ro").unwrap().read_only);
        assert_eq!(plain(r"a\b,c", "fsname").unwrap(), "a_b_c");
    }

    #[test]
    fn empty_name_is_refused() {
        assert_eq!(MountOptions::parse("fsname=").unwrap_err().kind(), ErrorKind::BadOption);
    }
}
