//! `-o OPTIONS`: the usual mount options, parsed once. What the kernel door makes of them lives in `assemble`.
//!
//! Options that only mount(8) and fstab read are accepted and ignored; an option nobody knows is refused, so that
//! nobody believes in a protection that is not there.

use crate::exit::{Exit, Failure, Result};

/// Who besides the mounting user sees the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Only the mounting user.
    Owner,
    /// The mounting user and root.
    OwnerAndRoot,
    /// Every user, by the modes of the files.
    Everyone,
}

/// When fsync returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the bytes survive power loss on this device.
    Local,
    /// When the bytes are committed to the store.
    Remote,
}

/// What `-o` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `ro`.
    pub read_only: bool,
    /// `allow_other`, `allow_root`.
    pub audience: Audience,
    /// `noexec`.
    pub no_exec: bool,
    /// `noatime`.
    pub no_atime: bool,
    /// `sync`: every write is an fsync.
    pub synchronous: bool,
    /// `dirsync`.
    pub synchronous_folders: bool,
    /// `nonempty`: mount over a folder that has entries.
    pub over_entries: bool,
    /// `fsname=`: the source column of the mount table.
    pub fsname: Option<String>,
    /// `subtype=`: what stands after `fuse.` in the mount table.
    pub subtype: Option<String>,
    /// `fsync=local|remote`.
    pub fsync: Fsync,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            audience: Audience::Owner,
            no_exec: false,
            no_atime: false,
            synchronous: false,
            synchronous_folders: false,
            over_entries: false,
            fsname: None,
            subtype: None,
            fsync: Fsync::Local,
        }
    }
}

impl Options {
    /// Parses every `-o` in the order given; a later word wins over an earlier one.
    ///
    /// # Errors
    /// A word nobody knows, or one this filesystem cannot honour.
    pub fn parse(given: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for word in given.iter().flat_map(|list| split(list)) {
            options.apply(&word)?;
        }
        Ok(options)
    }

    fn apply(&mut self, word: &str) -> Result<()> {
        match word.split_once('=') {
            Some((name, value)) => self.apply_value(name, value, word),
            None => self.apply_flag(word),
        }
    }

    fn apply_flag(&mut self, word: &str) -> Result<()> {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.audience = Audience::Everyone,
            "allow_root" => self.audience = Audience::OwnerAndRoot,
            "exec" => self.no_exec = false,
            "noexec" => self.no_exec = true,
            "atime" | "relatime" => self.no_atime = false,
            "noatime" => self.no_atime = true,
            "sync" => self.synchronous = true,
            "async" => self.synchronous = false,
            "dirsync" => self.synchronous_folders = true,
            "nonempty" => self.over_entries = true,
            "suid" | "dev" => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("mount option `{word}` is not offered"),
                )
                .hint("a workspace is always mounted `nosuid,nodev`"));
            }
            ""
            | "defaults"
            | "nosuid"
            | "nodev"
            | "default_permissions"
            | "auto"
            | "noauto"
            | "user"
            | "nouser"
            | "users"
            | "owner"
            | "group"
            | "nofail"
            | "_netdev"
            | "nodiratime"
            | "diratime" => {}
            _ if word.starts_with("x-") => {}
            _ => return Err(unknown(word)),
        }
        Ok(())
    }

    fn apply_value(&mut self, name: &str, value: &str, word: &str) -> Result<()> {
        match (name, value) {
            ("fsname", _) => self.fsname = Some(table_text(value)),
            ("subtype", _) => self.subtype = Some(table_text(value)),
            ("fsync", "local") => self.fsync = Fsync::Local,
            ("fsync", "remote") => self.fsync = Fsync::Remote,
            ("comment", _) => {}
            _ if name.starts_with("x-") => {}
            _ => return Err(unknown(word)),
        }
        Ok(())
    }
}

fn unknown(word: &str) -> Failure {
    Failure::new(Exit::Usage, format!("unknown mount option `{word}`")).hint(
        "known are ro rw allow_other allow_root exec noexec atime noatime sync async dirsync nonempty \
         fsname=NAME subtype=NAME fsync=local|remote",
    )
}

/// Splits at commas; `\,` and `\\` stand for themselves.
fn split(list: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut escaped = false;
    for c in list.chars() {
        let word = words.last_mut().expect("starts with one word and only grows");
        match c {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => words.push(String::new()),
            _ => {
                word.push(c);
                escaped = false;
            }
        }
    }
    words
}

/// The kernel's option string knows no quoting that every layer agrees on: commas, backslashes and control characters
/// become `_`, or they would be read as options.
pub fn table_text(text: &str) -> String {
    text.chars().map(|c| if c == ',' || c == '\\' || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Options> {
        Options::parse(&[list.to_owned()])
    }

    #[test]
    fn usual_options_are_understood() {
        let options =
            parse("ro,allow_other,noexec,noatime,fsname=work,subtype=strongroom").unwrap();
        assert!(options.read_only && options.no_exec && options.no_atime);
        assert_eq!(options.audience, Audience::Everyone);
        assert_eq!(options.fsname.as_deref(), Some("work"));
        assert_eq!(options.subtype.as_deref(), Some("strongroom"));
    }

    #[test]
    fn fstab_words_are_ignored_and_later_words_win() {
        let given = ["ro,noauto,user,x-gvfs-hide,comment=a=b".to_owned(), "rw".to_owned()];
        assert_eq!(Options::parse(&given).unwrap(), Options::default());
    }

    #[test]
    fn an_unknown_option_is_refused() {
        assert_eq!(parse("encrypt=no").unwrap_err().message, "unknown mount option `encrypt=no`");
        assert_eq!(parse("suid").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_comma_in_a_name_cannot_smuggle_an_option() {
        assert_eq!(parse(r"fsname=a\,suid").unwrap().fsname.as_deref(), Some("a_suid"));
        assert_eq!(table_text("a,b\\c\nd"), "a_b_c_d");
    }
}
