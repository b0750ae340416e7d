//! `strongroom init`: a new workspace in a new store.

use serde_json::json;

use crate::args::Init;
use crate::assemble::{self, Writers};
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::passphrase;
use crate::place::Place;
use crate::ui::{self, Format};

/// Creates the workspace. Prints nothing on success unless asked for JSON.
///
/// # Errors
/// The store holds something already, or cannot be written.
pub fn run(options: &Init, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let place = Place::parse(&options.store, &home)?;
    assemble::require_fresh(&place)?;
    let passphrase = passphrase::read_first(&options.passphrase)?;
    let (name, cost) = (options.name.as_deref(), passphrase::cost(options.guessing));
    let made = assemble::create(&home, &place, name, &passphrase, cost)?;
    let writers = match made.writers {
        Writers::Many => "many",
        Writers::One(why) => {
            let shown = place.shown();
            ui::tell(&format!("one device only may write to `{shown}`: {why}"));
            "one"
        }
    };
    let json = json!({
        "store": place.shown(),
        "workspace": made.workspace,
        "device": made.device,
        "writers": writers,
    });
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}
