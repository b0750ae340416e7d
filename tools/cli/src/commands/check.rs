//! `strongroom check`: every stored byte verified, nothing changed. What is verified lives in `tools/check`.

use crate::args::Check;
use crate::assemble;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::passphrase;
use crate::place::Place;
use crate::ui::{self, Format};

/// Prints what was found. Ends with 7 if anything is damaged.
///
/// # Errors
/// Not a workspace, or it cannot be opened.
pub fn run(options: &Check, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let place = Place::parse(&options.store, &home)?;
    assemble::require_workspace(&place)?;
    let passphrase = passphrase::read(&options.passphrase)?;
    let report = assemble::check(&home, &place, &passphrase)?;
    ui::answer(format, &report.to_text(), &report.to_json())?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Damaged })
}
