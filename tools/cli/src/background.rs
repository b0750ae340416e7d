//! `mount --background`: the same program again, detached from the terminal, telling when it is ready.
//!
//! ```text
//! parent                                   child (own session)
//!   spawn --detached ───────────────────────▶ reads the passphrase from its standard input
//!   passphrase ──── pipe ───────────────────▶ opens, mounts
//!   waits for one line ◀── pipe ───────────── "ready"; then lets go of the terminal, logs to a file
//!   asks the mount once, ends with 0
//! ```
//!
//! A child that ends before the line has said why on standard error, which both share until then; the parent ends
//! with the same number.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::args::Viewing;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase::Passphrase;

const READY: &str = "ready";
/// LIMIT: bytes of the log of mounts in the background; the one before is kept beside it.
const LOG_LEN_MAX: u64 = 8 << 20;

/// Where a process in the background logs to.
static LOG: OnceLock<PathBuf> = OnceLock::new();

/// How the start in the background ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It serves; the number is that of its process.
    Serving(u32),
    /// It ended, and has said why.
    Ended(Exit),
}

/// What the detached process is to do.
pub struct Task<'a> {
    /// The store, in a spelling that holds from any folder.
    pub store: &'a str,
    /// The mountpoint, absolute.
    pub mountpoint: &'a Path,
    /// Every `-o`.
    pub options: &'a [String],
    /// `--at`.
    pub at: Option<&'a str>,
    /// On whose behalf.
    pub viewing: &'a Viewing,
    /// `--take-over`.
    pub take_over: bool,
}

/// Starts the detached process and waits until it is ready or has ended.
///
/// # Errors
/// It cannot be started.
pub fn start(task: &Task<'_>, passphrase: &Passphrase) -> Result<Started> {
    let failed = |error: std::io::Error| Failure::io("starting in the background", &error);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("mount").arg("--detached").arg("--passphrase-fd").arg("0");
    for options in task.options {
        command.arg("-o").arg(options);
    }
    if task.take_over {
        command.arg("--take-over");
    }
    if let Some(at) = task.at {
        command.arg("--at").arg(at);
    }
    let Viewing { activity, app, custody } = task.viewing;
    for (name, value) in [("--activity", activity), ("--app", app), ("--custody", custody)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    command.arg("--").arg(task.store).arg(task.mountpoint);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The reader takes one CR off the end of the line, so that one in the passphrase itself stays.
        // A child that died says so by its ending, not by a broken pipe here.
        let _ = stdin.write_all(passphrase).and_then(|()| stdin.write_all(b"\r\n"));
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    if line.trim_end() == READY {
        return Ok(Started::Serving(child.id()));
    }
    let ended = child.wait().map_err(failed)?;
    match ended.code() {
        Some(0) | None => {
            Err(Failure::new(Exit::Bug, "the background process ended without a word"))
        }
        Some(code) => Ok(Started::Ended(Exit::from_code(code))),
    }
}

/// In the detached process: leaves the session of the terminal.
///
/// # Errors
/// The process leads a group already.
pub fn leave_terminal() -> Result<()> {
    rustix::process::setsid()
        .map(drop)
        .map_err(|errno| Failure::io("leaving the terminal", &errno.into()))
}

/// In the detached process: says that the mount is there, then lets go of the parent's descriptors and folder.
///
/// # Errors
/// The log cannot be written.
pub fn say_ready(home: &Home) -> Result<()> {
    let path = home.log_file();
    let failed =
        |error: std::io::Error| Failure::io(format!("opening log `{}`", path.display()), &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let log = appended(&path).map_err(failed)?;
    let log = moved_on(&path, LOG_LEN_MAX, &log).map_err(failed)?.unwrap_or(log);
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let moved = |error: rustix::io::Errno| failed(error.into());
    // What is said from now on counts against its limit.
    let _ = LOG.set(path.clone());
    rustix::process::chdir("/").map_err(moved)?;
    rustix::stdio::dup2_stdin(&null).map_err(moved)?;
    rustix::stdio::dup2_stderr(&log).map_err(moved)?;
    // A parent that was interrupted no longer reads; the mount serves all the same.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
    rustix::stdio::dup2_stdout(&log).map_err(moved)
}

/// Begins a new log where the one that is written is full; the one before is kept beside it. Does nothing in a process whose
/// errors go elsewhere.
pub fn bound_log() {
    let Some(path) = LOG.get() else { return };
    let Ok(own) = std::io::stderr().as_fd().try_clone_to_owned() else { return };
    // Where a new one cannot be had, what has to be said goes on in the old one.
    if let Ok(Some(log)) = moved_on(path, LOG_LEN_MAX, &File::from(own)) {
        let _ = rustix::stdio::dup2_stderr(&log).and_then(|()| rustix::stdio::dup2_stdout(&log));
    }
}

fn appended(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The log to go on with, where the one that is open is longer than it may be; none where it is not. Several processes write to
/// one: the first that finds it full makes a new one, and the others go over to that.
fn moved_on(path: &Path, len_max: u64, own: &File) -> io::Result<Option<File>> {
    let known = own.metadata()?;
    if known.len() < len_max {
        return Ok(None);
    }
    let is_own = |there: fs::Metadata| (there.dev(), there.ino()) == (known.dev(), known.ino());
    if fs::metadata(path).is_ok_and(is_own) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    appended(path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_full_is_put_aside_once_and_all_who_write_go_on_in_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mount.log");
        let [mut first, second] = [0; 2].map(|_| appended(&path).unwrap());
        assert!(moved_on(&path, 8, &first).unwrap().is_none());
        first.write_all(b"12345678").unwrap();
        let mut first = moved_on(&path, 8, &first).unwrap().unwrap();
        first.write_all(b"new").unwrap();
        moved_on(&path, 8, &second).unwrap().unwrap().write_all(b"er").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read(folder.path().join("mount.log.1")).unwrap(), b"12345678");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
