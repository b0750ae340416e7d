//! `strongroom mount`: opens a workspace, mounts it and serves it until it is unmounted or told to stop.
//!
//! ```text
//! check machine and mountpoint -> passphrase -> open -> mount -> note, ready -> serve
//!     ... unmounted from outside, or SIGINT, SIGTERM, SIGHUP ... -> unmount -> commit everything -> end
//! ```
//!
//! Whatever is acknowledged is in the journal; an ending that cannot commit loses nothing and says so.

use std::path::{Path, PathBuf};

use serde_json::json;
use strongroom_mount::MountOptions;

use crate::args::{Lens, Mount};
use crate::assemble::{self, Open, Serving, Takeover};
use crate::background::{self, Started, Task};
use crate::control;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::note::Note;
use crate::passphrase::{self, Passphrase};
use crate::place::Place;
use crate::state;
use crate::ui::{self, Format};

/// Mounts in the foreground or the background.
///
/// # Errors
/// The machine cannot mount, the mountpoint is not fit, the passphrase is wrong, or somebody else has the store open.
pub fn run(arguments: &Mount, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let lens = arguments.viewing.lens();
    let mut options = options(arguments)?;
    if lens.is_some() {
        options = view_options(options)?;
    }
    let at = arguments.at.as_deref().map(state::parse).transpose()?;
    options.read_only |= at.is_some();
    let place = Place::parse(&arguments.store, &home)?;
    if !arguments.detached {
        // Whoever started that one has asked.
        assemble::require_workspace_here(&home, &place)?;
    }
    let mountpoint = mountpoint::prepare(&arguments.mountpoint, &options)?;
    let passphrase = passphrase::read(&arguments.passphrase)?;
    if arguments.background {
        let store = place.shown();
        let task = Task {
            store: &store,
            mountpoint: &mountpoint,
            options: &arguments.options,
            at: arguments.at.as_deref(),
            viewing: &arguments.viewing,
            take_over: arguments.take_over,
        };
        return start(&task, &passphrase, format);
    }
    if arguments.detached {
        background::leave_terminal()?;
    }
    let note = Note::about_me(&mountpoint, &place.shown());
    let (serving, note) = match lens {
        None => {
            let takeover = if arguments.take_over { Takeover::Yes } else { Takeover::No };
            let how = match (at, options.read_only) {
                (Some(at), _) => Open::At(at),
                (None, true) => Open::Read,
                (None, false) => Open::Write(takeover),
            };
            (assemble::mount(&home, &place, &mountpoint, options, &how, passphrase)?, note)
        }
        Some(lens) => {
            let (serving, application) =
                view(&home, &place, &lens, &mountpoint, options, passphrase)?;
            (serving, note.of_view(application))
        }
    };
    serve(&home, &note, serving, arguments.detached)
}

#[cfg(feature = "custody")]
fn view_options(options: MountOptions) -> Result<MountOptions> {
    assemble::view::options(options)
}

#[cfg(not(feature = "custody"))]
fn view_options(_: MountOptions) -> Result<MountOptions> {
    Err(super::without_custody())
}

/// A view that serves, and of which application.
#[cfg(feature = "custody")]
fn view(
    home: &Home,
    place: &Place,
    lens: &Lens<'_>,
    mountpoint: &Path,
    options: MountOptions,
    passphrase: Passphrase,
) -> Result<(Serving, Option<String>)> {
    let signals = assemble::listening()?;
    let opened = assemble::view::open(home, place, lens, passphrase)?;
    let serving = assemble::view::serve(opened.view, mountpoint, options, Some(signals))?;
    Ok((serving, opened.application))
}

#[cfg(not(feature = "custody"))]
fn view(
    _: &Home,
    _: &Place,
    _: &Lens<'_>,
    _: &Path,
    _: MountOptions,
    _: Passphrase,
) -> Result<(Serving, Option<String>)> {
    Err(super::without_custody())
}

fn options(arguments: &Mount) -> Result<MountOptions> {
    let mut options = MountOptions { source: arguments.store.clone(), ..MountOptions::default() };
    // Words in a source that the kernel would misread become harmless, as in `-o fsname=`.
    options.source = options.source.replace([',', '\\'], "_");
    for list in &arguments.options {
        options.apply(list).map_err(|error| mountpoint::failure(&arguments.mountpoint, &error))?;
    }
    Ok(options)
}

fn start(task: &Task<'_>, passphrase: &Passphrase, format: Format) -> Result<Exit> {
    let pid = match background::start(task, passphrase)? {
        Started::Serving(pid) => pid,
        Started::Ended(exit) => return Ok(exit),
    };
    // One question through the kernel proves that the mount answers.
    control::status(task.mountpoint)?;
    let json = json!({
        "mountpoint": task.mountpoint.to_string_lossy(),
        "store": task.store,
        "pid": pid,
    });
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}

fn serve(home: &Home, note: &Note, serving: Serving, detached: bool) -> Result<Exit> {
    let written = match announce(home, note, detached) {
        Ok(written) => written,
        Err(failure) => {
            // Or the mount would stay behind, dead. What it meets at its end is less than why it ends.
            let _ = serving.end();
            return Err(failure);
        }
    };
    if !detached {
        let shown = note.mountpoint.display();
        ui::tell(&format!("mounted on {shown}; ctrl-c or `strongroom unmount {shown}` ends it"));
    }
    let ended = serving.until_unmounted();
    // The note only helps to find this process, which is about to be gone.
    let _ = std::fs::remove_file(written);
    ended.map(|()| Exit::Done)
}

/// Leaves the note, and says that the mount is there.
fn announce(home: &Home, note: &Note, detached: bool) -> Result<PathBuf> {
    let written = note.write(home)?;
    if detached && let Err(failure) = background::say_ready(home) {
        let _ = std::fs::remove_file(written);
        return Err(failure);
    }
    Ok(written)
}
