//! `strongroom sync`: what was written so far goes to the store.

use serde_json::json;

use crate::args::Sync;
use crate::control::{self, Patience};
use crate::exit::{Exit, Result};
use crate::mountpoint;
use crate::ui::{self, Format};

/// Starts a commit of everything; with `--wait` returns when the store has it.
///
/// # Errors
/// Not a mount, or the store refuses.
pub fn run(options: &Sync, format: Format) -> Result<Exit> {
    let mountpoint = mountpoint::resolve(&options.mountpoint)?;
    let patience = if options.wait { Patience::Wait } else { Patience::Start };
    control::sync(&mountpoint, patience)?;
    let json = json!({"mountpoint": mountpoint.to_string_lossy(), "committed": options.wait});
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}
