//! `strongroom unmount`: everything is committed, the mount is gone and its process has ended when this returns.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use strongroom_mount::{ErrorKind, Force, Served};

use crate::args::Unmount;
use crate::assemble::NOT_KEPT;
use crate::control::{self, Patience};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::note::{self, Note};
use crate::ui::{self, Format};

/// LIMIT: a process that does not end is reported, not waited for all night.
const END_LIMIT: Duration = Duration::from_secs(600);
const KEPT: &str = "it is kept in the journal on this device and sent at the next mount";

/// Commits, unmounts, waits for the process.
///
/// # Errors
/// Not one of our mounts, or in use.
pub fn run(options: &Unmount, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let mountpoint = mountpoint::resolve(&options.mountpoint)?;
    let note = note::about(&home, &mountpoint)?;
    require_ours(&mountpoint, note.as_ref())?;
    let force = if options.lazy { Force::Yes } else { Force::No };
    let is_view = note.as_ref().is_some_and(|note| note.is_view);
    let (exit, committed) = match strongroom_mount::served(&mountpoint) {
        Served::Dead => {
            detach(&mountpoint, Force::Yes)?;
            match is_view {
                true => (Exit::Done, Some(true)),
                false => (tell_dead(&mountpoint), None),
            }
        }
        // Nobody can tell what it has not committed.
        Served::Silent if !options.lazy => return Err(control::silent(&mountpoint)),
        Served::Silent => {
            detach(&mountpoint, force)?;
            (Exit::Done, None)
        }
        Served::Mounted => {
            // Before the mount goes, so that whoever asked hears of a store that refuses. One for reading, or a view, has
            // nothing to commit; others' mounts may not be asked.
            let status = control::status(&mountpoint);
            let writes = status.as_ref().is_ok_and(control::writes);
            let committed =
                if writes { control::sync(&mountpoint, Patience::Wait) } else { Ok(()) };
            detach(&mountpoint, force)?;
            let waited_for = note.as_ref().filter(|_| !options.lazy);
            let kept = if is_view { NOT_KEPT } else { KEPT };
            let exit = finish(&mountpoint, waited_for, committed, kept);
            // Who has files open after a lazy one goes on writing.
            let is_known = is_view || status.is_ok() && !(options.lazy && writes);
            (exit, if exit == Exit::Done { is_known.then_some(true) } else { Some(false) })
        }
    };
    let json = json!({
        "mountpoint": mountpoint.to_string_lossy(),
        "unmounted": true,
        "committed": committed,
    });
    ui::answer(format, "", &json)?;
    Ok(exit)
}

fn require_ours(mountpoint: &Path, note: Option<&Note>) -> Result<()> {
    let shown = mountpoint.display();
    match mountpoint::mounted_at(mountpoint)? {
        Some(entry) if entry.fs_type == mountpoint::TYPE || note.is_some() => Ok(()),
        Some(entry) => Err(Failure::new(
            Exit::Failed,
            format!("`{shown}` is mounted as `{}`, not by strongroom", entry.fs_type),
        )
        .hint("`umount` takes it away")),
        None => Err(Failure::new(Exit::Failed, format!("nothing is mounted at `{shown}`"))
            .hint("`strongroom status` lists the mounts")),
    }
}

fn detach(mountpoint: &Path, force: Force) -> Result<()> {
    let failed = |error| {
        let failure = mountpoint::failure(mountpoint, &error);
        match error.kind() {
            ErrorKind::Busy => failure.hint(format!(
                "`fuser -vm {0}` says by whom; `strongroom unmount --lazy {0}` does not wait for them",
                mountpoint.display(),
            )),
            _ => failure,
        }
    };
    strongroom_mount::unmount_at(mountpoint, force).map(drop).map_err(failed)
}

/// A process that was killed had no time to commit.
fn tell_dead(mountpoint: &Path) -> Exit {
    let shown = mountpoint.display();
    let message = format!("`{shown}` is unmounted, but the process behind it had ended before");
    ui::report(&Failure::new(Exit::Partial, message).hint(
        "what it had not committed is in the journal on this device and sent at the next mount",
    ));
    Exit::Partial
}

/// Waits for the process, and says what is left in the journal.
fn finish(
    mountpoint: &Path,
    note: Option<&Note>,
    committed: Result<()>,
    kept: &'static str,
) -> Exit {
    let shown = mountpoint.display();
    if let Some(note) = note
        && !note.wait_for_end(END_LIMIT)
    {
        ui::report(
            &Failure::new(
                Exit::Partial,
                format!("`{shown}` is unmounted, but process {} still works", note.pid),
            )
            .hint("what was written is safe in its journal; look at its log"),
        );
        return Exit::Partial;
    }
    let Err(failure) = committed else { return Exit::Done };
    // Whatever the reason: what is not in the store is on this device alone.
    let message =
        format!("`{shown}` is unmounted, but not all is in the store: {}", failure.message);
    ui::report(&Failure::new(failure.exit, message).hint(kept));
    Exit::Partial
}
