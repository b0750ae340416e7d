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
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::args::Viewing;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase::Passphrase;

const READY: &str = "ready";

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
    let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let moved = |error: rustix::io::Errno| failed(error.into());
    rustix::process::chdir("/").map_err(moved)?;
    rustix::stdio::dup2_stdin(&null).map_err(moved)?;
    rustix::stdio::dup2_stderr(&log).map_err(moved)?;
    // A parent that was interrupted no longer reads; the mount serves all the same.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
    rustix::stdio::dup2_stdout(&log).map_err(moved)
}
