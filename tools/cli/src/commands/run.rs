//! `strongroom run`: a command with the view of an activity, or of an application, mounted for it alone, while it runs.
//!
//! What secrets came from is for us, not for the command: variables are taken out of its environment, descriptors are shut.
//! All else of ours it inherits, and files that its user may read it may read.
//!
//! As root the mount is in a namespace that only the command shares; else it is in a new folder that only its user may enter.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal as Kill, kill_process};
use strongroom_host::locked::keep_from_programs;
use strongroom_host::signals::{Signal, Signals};
use strongroom_host::thread;
use strongroom_mount::{MountOptions, own_namespace};

use crate::args::Run;
use crate::assemble::custody::kinds::{file_of, variable_of};
use crate::assemble::{self, Serving};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::note::Note;
use crate::passphrase;
use crate::place::Place;

/// Tells the command where the data is.
const VARIABLE: &str = "STRONGROOM_MOUNT";
/// Descriptors of this process, by their numbers.
const DESCRIPTORS: &str = "/proc/self/fd";
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// Mounts, runs, unmounts; ends as the command did.
///
/// # Errors
/// As `mount`; the command cannot be started.
pub fn run(arguments: &Run) -> Result<Exit> {
    let home = Home::find()?;
    let lens = arguments.viewing.lens().expect("the application is required");
    let place = Place::parse(&arguments.store, &home)?;
    assemble::require_workspace(&place)?;
    let passphrase = passphrase::read(&arguments.passphrase)?;
    let signals = assemble::signals()?;
    // Before any thread: those that come later are in the namespace too.
    let is_private = own_namespace();
    let folder = Folder::make(&home)?;
    let source = lens.activity.unwrap_or(lens.app).to_owned();
    let options = MountOptions { source, ..MountOptions::default() };
    let options = assemble::view::options(options)?;
    let opened = assemble::view::open(&home, &place, &lens, passphrase)?;
    let command = command(arguments, &folder.0, &opened.custody)?;
    let serving = assemble::view::serve(opened.view, &folder.0, options, None)?;
    // Others find a mount in a private namespace through its process only.
    let note = Note::about_me(&folder.0, &place.shown()).of_view(opened.application);
    let note = match (if is_private { note.in_namespace() } else { note }).write(&home) {
        Ok(note) => note,
        Err(failure) => {
            // As for `mount`: it must not stay behind.
            let _ = serving.end();
            return Err(failure);
        }
    };
    let ended = run_inside(command, signals, serving);
    // The note only helps to find this process, which is about to be gone.
    let _ = fs::remove_file(note);
    ended
}

fn run_inside(mut command: Command, signals: Signals, serving: Serving) -> Result<Exit> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error| Failure::io(format!("starting `{program}`"), &error);
    let child = command.spawn().map_err(failed);
    let ended = child.and_then(|child| wait(child, signals));
    let unmounted = serving.end();
    let ended = ended?;
    unmounted?;
    Ok(Exit::Command(code_of(ended)))
}

/// The command. Of standard input it has the rest where a secret was its beginning; of a file nothing, which could be read
/// again.
fn command(arguments: &Run, folder: &Path, custody: &[String]) -> Result<Command> {
    let (program, rest) = arguments.command.split_first().expect("at least one word");
    let mut command = Command::new(program);
    command.args(rest).env(VARIABLE, folder);
    for name in custody.iter().filter_map(|locator| variable_of(locator)) {
        command.env_remove(name);
    }
    let places = custody.iter().filter_map(|locator| file_of(locator));
    let places = places.chain(passphrase::place(&arguments.passphrase));
    // A path may be another name of something that was handed to us.
    let secrets: Vec<Thing> = places.filter_map(|path| Thing::of(&path)).collect();
    let failed = |error| Failure::io("keeping secrets from the command", &error);
    for entry in fs::read_dir(DESCRIPTORS).map_err(failed)?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(number) = number else { continue };
        if !Thing::of(&entry.path()).is_some_and(|thing| secrets.contains(&thing)) {
            continue;
        }
        match number {
            0 if entry.path().is_file() => drop(command.stdin(Stdio::null())),
            0..=2 => {}
            _ => keep_from_programs(number).map_err(failed)?,
        }
    }
    Ok(command)
}

/// A file or pipe, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Thing {
    device: u64,
    inode: u64,
}

impl Thing {
    /// What is there; none for a terminal or what can't be told: nothing of those is read twice.
    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        let kind = about.file_type();
        let (device, inode) = (about.dev(), about.ino());
        (kind.is_file() || kind.is_fifo() || kind.is_socket()).then_some(Self { device, inode })
    }
}

/// What ends us ends the command first. An interrupt from a terminal reaches it by itself.
fn wait(mut child: Child, mut signals: Signals) -> Result<ExitStatus> {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let forwarding = thread::spawn("signals", move || {
        while let (Ok(signal), Some(process)) = (signals.wait(), process) {
            let kill = match signal {
                Signal::Interrupt => continue,
                Signal::Terminate => Kill::TERM,
                Signal::HangUp => Kill::HUP,
            };
            // It may have ended meanwhile.
            let _ = kill_process(process, kill);
        }
    });
    forwarding.map_err(|error| Failure::io("listening for signals", &error))?;
    child.wait().map_err(|error| Failure::io("waiting for the command", &error))
}

fn code_of(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| ended.signal().map(|signal| SIGNALLED + signal));
    u8::try_from(code.unwrap_or_default()).unwrap_or(u8::MAX)
}

/// A new folder to mount on, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn make(home: &Home) -> Result<Self> {
        let run = home.run();
        let path = run.join(format!("view-{}", std::process::id()));
        let failed = |error| Failure::io(format!("making `{}`", path.display()), &error);
        fs::create_dir_all(&run).map_err(failed)?;
        // What a process of the same number left behind after a crash.
        let _ = fs::remove_dir(&path);
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Empty unless it could not be unmounted; then it must stay.
        let _ = fs::remove_dir(&self.0);
    }
}
