//! A place of its own for each test: home, store, mountpoint, passphrase file; the real program run in it.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod agent;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The passphrase of every store made here.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A temporary place. Dropping it unmounts and removes.
pub struct Place {
    folder: tempfile::TempDir,
}

/// What a run of the program said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Place {
    /// Makes one with an empty mountpoint and a passphrase file.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        fs::create_dir(place.drive()).unwrap();
        fs::write(place.path("pass"), format!("{PASSPHRASE}\n")).unwrap();
        fs::write(place.path("wrong"), "guess\n").unwrap();
        fs::write(place.path("empty"), "").unwrap();
        place
    }

    /// Makes one with a workspace in it.
    pub fn with_workspace() -> Self {
        let place = Self::new();
        place.run("init STORE --little-memory --passphrase-file PASS").expect_done();
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The mountpoint.
    pub fn drive(&self) -> PathBuf {
        self.path("drive")
    }

    /// Runs the program. Words in capitals stand for paths: STORE DRIVE PASS WRONG EMPTY NONE HERE.
    pub fn run(&self, line: &str) -> Said {
        self.said(self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    /// The program with its arguments, not started.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command
            .env("STRONGROOM_HOME", self.path("home"))
            .env_remove("XDG_RUNTIME_DIR")
            .env("COLUMNS", "100");
        command.current_dir(self.folder.path());
        for word in line.split_whitespace() {
            match word {
                "STORE" => command.arg(self.store()),
                "DRIVE" => command.arg(self.drive()),
                "PASS" => command.arg(self.path("pass")),
                "WRONG" => command.arg(self.path("wrong")),
                "EMPTY" => command.arg(self.path("empty")),
                "NONE" => command.arg(self.path("none")),
                "HERE" => command.arg(self.folder.path()),
                word => command.arg(word),
            };
        }
        command
    }

    /// Output with this place's paths turned back into words.
    pub fn said(&self, output: Output) -> Said {
        let text = |bytes: &[u8]| {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            for (path, word) in [
                (self.store(), "STORE"),
                (self.drive(), "DRIVE"),
                (self.path("pass"), "PASS"),
                (self.path("wrong"), "WRONG"),
                (self.path("empty"), "EMPTY"),
                (self.path("none"), "NONE"),
                (self.folder.path().to_path_buf(), "HERE"),
            ] {
                text = text.replace(&*path.to_string_lossy(), word);
            }
            text
        };
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Mounts in the background.
    pub fn mount(&self) {
        self.run("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    }

    /// Unmounts.
    pub fn unmount(&self) {
        self.run("unmount DRIVE").expect_done();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed half way may have left its mount.
        if is_mounted(&self.drive()) {
            let _ = self.command("unmount --lazy DRIVE").stderr(Stdio::null()).status();
        }
    }
}

impl Said {
    /// Fails unless it ended with 0 and complained of nothing; returns standard output.
    #[track_caller]
    pub fn expect_done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Fails unless it ended with 0; a check may report what it likes.
    #[track_caller]
    pub fn expect_sound(self) {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
    }

    /// Fails unless it ended with `code` and exactly this on standard error.
    #[track_caller]
    pub fn expect_refused(self, code: i32, err: &str) {
        assert_eq!((self.err.as_str(), self.code), (err, code), "{}", self.out);
        assert_eq!(self.out, "");
    }
}

/// Whether something is mounted exactly there.
pub fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path.to_string_lossy();
    table.lines().any(|line| line.split(' ').nth(4) == Some(&path))
}

/// Whether this machine can mount; says so once if not.
pub fn can_mount() -> bool {
    let can = Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: no /dev/fuse here");
    }
    can
}
