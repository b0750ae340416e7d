//! Puts the rooms together: store, keys, engine, kernel door. The only file that knows all of them.

use std::path::Path;

use serde_json::Value;
use strongroom_mount::MountOptions;

use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase::Passphrase;
use crate::place::Place;

/// What `init` made.
pub struct Made {
    /// Id of the workspace in hexadecimal digits.
    pub workspace: String,
    /// Id of this device.
    pub device: String,
}

/// What `check` found.
pub struct Report {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Whether nothing is damaged.
    pub is_clean: bool,
}

/// A mount that serves.
pub struct Serving {}

fn not_yet() -> Failure {
    Failure::new(Exit::Failed, "the engine is not assembled yet")
}

/// Makes sure that nothing is in the way of a new workspace.
///
/// # Errors
/// The store holds a workspace or anything else.
pub fn require_fresh(_place: &Place) -> Result<()> {
    Err(not_yet())
}

/// Makes sure that there is a workspace this version can open.
///
/// # Errors
/// No such store, not a store, or one of a newer format.
pub fn require_workspace(_place: &Place) -> Result<()> {
    Err(not_yet())
}

/// Creates a workspace.
///
/// # Errors
/// The store cannot be written.
pub fn create(_place: &Place, _passphrase: &Passphrase) -> Result<Made> {
    Err(not_yet())
}

/// Opens and mounts a workspace.
///
/// # Errors
/// Wrong passphrase, in use, or the kernel refuses.
pub fn mount(
    _home: &Home,
    _place: &Place,
    _mountpoint: &Path,
    _options: MountOptions,
    _passphrase: Passphrase,
) -> Result<Serving> {
    Err(not_yet())
}

/// Verifies everything.
///
/// # Errors
/// Wrong passphrase, or not readable.
pub fn check(_place: &Place, _passphrase: &Passphrase) -> Result<Report> {
    Err(not_yet())
}

/// Seals the device file under another passphrase.
///
/// # Errors
/// Wrong passphrase, or the store cannot be written.
pub fn change_passphrase(_place: &Place, _old: &Passphrase, _new: &Passphrase) -> Result<()> {
    Err(not_yet())
}

impl Serving {
    /// Serves until unmounted or told to stop; then everything is committed.
    ///
    /// # Errors
    /// Not everything could be committed; it stays in the journal.
    pub fn until_unmounted(self) -> Result<()> {
        Err(not_yet())
    }
}
