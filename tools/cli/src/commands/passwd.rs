//! `strongroom passwd`: another passphrase for this device's keys. Data is not sealed anew.

use serde_json::json;

use crate::args::Passwd;
use crate::assemble;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::passphrase;
use crate::place::Place;
use crate::ui::{self, Format};

/// Replaces the passphrase. The old one works until the new file is durable, the new one from then on.
///
/// # Errors
/// The old passphrase is wrong, or the store cannot be written.
pub fn run(options: &Passwd, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let place = Place::parse(&options.store, &home)?;
    assemble::require_workspace(&place)?;
    let old = passphrase::read(&options.passphrase)?;
    let new = passphrase::read_new(&options.new_passphrase)?;
    let cost = passphrase::cost(options.guessing);
    assemble::change_passphrase(&home, &place, &old, &new, cost)?;
    ui::answer(format, "", &json!({"store": place.shown(), "changed": true}))?;
    Ok(Exit::Done)
}
