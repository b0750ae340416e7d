//! Whether this home may write. Where the server cannot arbitrate between writers, one home may: the one that made the
//! workspace, or was told to take over. Any other one finds out by a race of its own, once, and may only look.

use std::path::PathBuf;

use strongroom_format::ids::WorkspaceId;
use strongroom_host::disk::{create_folder_durably, replace_file};
use strongroom_host::real_disk::RealDisk;

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
) -> Result<()> {
    let noted = std::fs::read_to_string(path(home, workspace)).unwrap_or_default();
    if matches!(noted.as_str(), MANY | THIS) {
        return Ok(());
    }
    let writers = stores::writers(place)?;
    match (writers, takeover) {
        (Writers::Many, _) | (Writers::One(_), Takeover::Yes) => note(home, workspace, writers),
        (Writers::One(why), Takeover::No) => Err(refused(&place.shown(), why)),
    }
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
