//! Whether this home may write. Where the server cannot arbitrate between writers, one home may: the one that made the
//! workspace, or was told to take over. Any other one finds out by a race of its own, once, and may only look.

use std::path::PathBuf;

use strongroom_format::ids::WorkspaceId;
use strongroom_host::disk::{create_folder_durably, replace_file};
use strongroom_host::real_disk::RealDisk;
use strongroom_workspace::Workspace;
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::inbound::alone::Claim;

use super::stores::{self, Writers};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// Name of the file in the local state that says how many write to the store.
const FILE: &str = "writers";
const MANY: &str = "many\n";
const THIS: &str = "this\n";

/// What to do where another home writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Leave it to that one.
    No,
    /// Be the one that writes: somebody knows that the other one does not any more.
    Yes,
}

/// Who tells writers apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turns {
    /// The store.
    Arbitrated,
    /// Nobody: one home writes.
    Alone,
}

/// Notes what making a workspace found out.
///
/// # Errors
/// Local state cannot be written.
pub(super) fn note(home: &Home, workspace: &WorkspaceId, writers: Writers) -> Result<()> {
    let text = match writers {
        Writers::Many => MANY,
        Writers::One(_) => THIS,
    };
    let failed = |error| Failure::io("writing local state", &error);
    let path = path(home, workspace);
    let folder = path.parent().expect("a file in a folder");
    home.directories().create(&RealDisk).map_err(failed)?;
    create_folder_durably(&RealDisk, folder).map_err(failed)?;
    replace_file(&RealDisk, &path, text.as_bytes()).map_err(failed)
}

/// Makes sure that this home may write.
///
/// # Errors
/// Another home writes, and the store cannot arbitrate between the two; it does not answer; local state cannot be written.
pub(super) fn require_may_write(
    home: &Home,
    place: &Place,
    workspace: &WorkspaceId,
    takeover: Takeover,
) -> Result<Turns> {
    match std::fs::read_to_string(path(home, workspace)).unwrap_or_default().as_str() {
        MANY => return Ok(Turns::Arbitrated),
        THIS => return Ok(Turns::Alone),
        _ => {}
    }
    let writers = stores::writers(place)?;
    match (writers, takeover) {
        (Writers::Many, _) | (Writers::One(_), Takeover::Yes) => note(home, workspace, writers)?,
        (Writers::One(why), Takeover::No) => return Err(refused(&place.shown(), why)),
    }
    Ok(match writers {
        Writers::Many => Turns::Arbitrated,
        Writers::One(_) => Turns::Alone,
    })
}

/// Makes an opened workspace the one that writes, where only one can.
///
/// # Errors
/// Another home has taken over; this one is no writer from then on.
pub(super) fn begin_writing(
    home: &Home,
    place: &Place,
    workspace: &Workspace,
    takeover: Takeover,
) -> Result<()> {
    let claim = match takeover {
        Takeover::Yes => Claim::TakeOver,
        Takeover::No => Claim::Keep,
    };
    workspace.write_alone(claim).map_err(|error| match error.kind() {
        ErrorKind::ReadOnly => {
            // What cannot go now is asked again by the next mount.
            let _ = std::fs::remove_file(path(home, &workspace.status().workspace));
            refused(&place.shown(), "that one has taken over")
        }
        _ => Failure::workspace(format!("opening `{}`", place.shown()), &error),
    })
}

fn refused(shown: &str, why: &str) -> Failure {
    let message = format!("another home writes to `{shown}`, and two cannot: {why}");
    Failure::new(Exit::Failed, message).hint(
        "mount it with `-o ro`, or with `--take-over` if the other one does not write any more",
    )
}

fn path(home: &Home, workspace: &WorkspaceId) -> PathBuf {
    home.directories().state.join(workspace.to_string()).join(FILE)
}
