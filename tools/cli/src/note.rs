//! Notes that running mounts leave under `run/`: who serves which mountpoint. They help `status` and `unmount` to find
//! the process; nothing depends on them for safety, and a stale one is recognised and ignored.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use crate::exit::{Failure, Result};
use crate::home::Home;

/// Who serves a mountpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The store, as shown to people.
    pub store: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: tells it from a later one with its number.
    pub started: u64,
    /// Whether the mount is in a namespace of the process's own.
    pub is_private: bool,
    /// Whether it shows what an activity may see, not files.
    pub is_view: bool,
    /// Of which application it shows that; none for files, and where only the custodian knows.
    pub application: Option<String>,
}

impl Note {
    /// Describes this process.
    pub fn about_me(mountpoint: &Path, store: &str) -> Self {
        let pid = std::process::id();
        Self {
            mountpoint: mountpoint.to_path_buf(),
            store: store.to_owned(),
            pid,
            started: start_of(pid).unwrap_or_default(),
            is_private: false,
            is_view: false,
            application: None,
        }
    }

    /// The same, showing what an activity of an application may see.
    pub fn of_view(self, application: Option<String>) -> Self {
        Self { is_view: true, application, ..self }
    }

    #[cfg(feature = "custody")]
    /// Whether it may show anything of an application.
    pub fn may_show(&self, application: &str) -> bool {
        self.is_view && self.application.as_deref().is_none_or(|own| own == application)
    }

    #[cfg(feature = "custody")]
    /// The same, mounted where only the process and its children see it.
    pub fn in_namespace(self) -> Self {
        Self { is_private: true, ..self }
    }

    #[cfg(feature = "custody")]
    /// Where other processes reach the mount.
    pub fn reached(&self) -> PathBuf {
        let inside = self.mountpoint.strip_prefix("/").unwrap_or(&self.mountpoint);
        match self.is_private {
            true => Path::new("/proc").join(self.pid.to_string()).join("root").join(inside),
            false => self.mountpoint.clone(),
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, home: &Home) -> Result<PathBuf> {
        let folder = home.run();
        let path = folder.join(format!("{}.json", self.pid));
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, format!("{}\n", self.to_json())));
        written.map_err(|error| Failure::io(format!("writing `{}`", path.display()), &error))?;
        Ok(path)
    }

    /// Whether the process still lives.
    pub fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }

    /// Waits until the process has ended; `false` if it has not after `limit`.
    pub fn wait_for_end(&self, limit: Duration) -> bool {
        if !self.is_alive() {
            return true;
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return !self.is_alive();
        };
        let timeout =
            Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut watched = [PollFd::new(&process, PollFlags::IN)];
        loop {
            match poll(&mut watched, Some(&timeout)) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return !self.is_alive(),
            }
        }
    }

    /// As it stands in the file.
    pub fn to_json(&self) -> Value {
        json!({
            "mountpoint": self.mountpoint.to_string_lossy(),
            "store": self.store,
            "pid": self.pid,
            "started": self.started,
            "private": self.is_private,
            "view": self.is_view,
            "application": self.application,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let is_set = |name| value.get(name).and_then(Value::as_bool).unwrap_or_default();
        Some(Self {
            mountpoint: PathBuf::from(value.get("mountpoint")?.as_str()?),
            store: value.get("store")?.as_str()?.to_owned(),
            pid: u32::try_from(value.get("pid")?.as_u64()?).ok()?,
            started: value.get("started")?.as_u64()?,
            is_private: is_set("private"),
            is_view: is_set("view"),
            application: value.get("application").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// All notes whose process lives, by mountpoint. Notes of dead processes are removed on the way.
///
/// # Errors
/// The folder cannot be read.
pub fn all(home: &Home) -> Result<Vec<Note>> {
    let folder = home.run();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(format!("reading `{}`", folder.display()), &error)),
    };
    let mut notes = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let note = fs::read_to_string(&path).ok().as_deref().and_then(Note::parse);
        match note {
            Some(note) if note.is_alive() => notes.push(note),
            // A note without a process tells nobody anything.
            Some(_) => drop(fs::remove_file(&path)),
            None => {}
        }
    }
    notes.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    Ok(notes)
}

/// The live note about a mountpoint: the latest, as one whose mount is out of the tree may still serve open files.
///
/// # Errors
/// As [`all`].
pub fn about(home: &Home, mountpoint: &Path) -> Result<Option<Note>> {
    let there = all(home)?.into_iter().filter(|note| note.mountpoint == mountpoint);
    Ok(there.max_by_key(|note| note.started))
}

/// Field 22 of `/proc/PID/stat`, counted after the command name, which may hold anything.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_writing_and_reading() {
        let note = Note::about_me(Path::new("/mnt/a \"b\""), "/srv/work");
        assert_eq!(Note::parse(&note.to_json().to_string()), Some(note.clone()));
        let view = note.clone().of_view(Some("0123".to_owned()));
        assert_eq!(Note::parse(&view.to_json().to_string()), Some(view));
        assert!(note.is_alive());
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let mut note = Note::about_me(Path::new("/mnt"), "/srv");
        note.started += 1;
        assert!(!note.is_alive());
        assert!(note.wait_for_end(Duration::ZERO));
    }
}
