//! `strongroom app`: applications and their keys.

use serde_json::{Value, json};
use strongroom_records::application::{ApplicationState, Listed};
use strongroom_records::receipt::Ending;
use strongroom_steward::time_text;

use super::{bring_into_force, input, input_text};
use crate::args::custody::In;
use crate::args::custody::app::{App, AppCreate, AppReplay, AppState};
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Result};
use crate::ui::{self, Format};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &App, format: Format) -> Result<Exit> {
    match options {
        App::Create(options) => create(options, format),
        App::List(options) => list(options, format),
        App::Rotate(options) => super::rotate::application(options, format),
        App::Disable(options) => state(options, ApplicationState::Disabled, format),
        App::Enable(options) => state(options, ApplicationState::Active, format),
        App::Schema(options) => {
            let text = input_text(&options.from, "the schema")?;
            let (_office, mut custodian) = custody::application(&options.of)?;
            custodian.set_schema(&text).map_err(|error| failure(&error))?;
            ui::answer(format, "", &json!({"application": custodian.listed().name}))?;
            Ok(Exit::Done)
        }
        App::Class(options) => {
            let (_office, mut custodian) = custody::application(&options.of)?;
            let declared = custodian.declare_class(&options.name, options.special);
            let class = declared.map_err(|error| failure(&error))?;
            ui::answer(format, "", &json!({"class": options.name, "number": class.0}))?;
            Ok(Exit::Done)
        }
        App::Ledger(options) => {
            let (_office, mut custodian) = custody::application(&options.of)?;
            let set = custodian.set_ledger(options.at.as_deref());
            set.map_err(|error| failure(&error))?;
            ui::answer(format, "", &json!({"ledger": options.at}))?;
            Ok(Exit::Done)
        }
        App::Replay(options) => replay(options, format),
        App::Lease(options) => {
            let (_office, mut custodian) = custody::application(&options.of)?;
            let class = custodian.class(&options.class).map_err(|error| failure(&error))?;
            custodian.set_lease(class, options.seconds).map_err(|error| failure(&error))?;
            let json = json!({"class": options.class, "seconds": options.seconds});
            ui::answer(format, "", &json)?;
            Ok(Exit::Done)
        }
    }
}

fn replay(options: &AppReplay, format: Format) -> Result<Exit> {
    let mut receipts = Vec::new();
    for path in &options.files {
        receipts.extend(input(path, "the ledger")?);
    }
    let (office, mut custodian) = custody::application(&options.of)?;
    let gone = custodian.replay(&receipts).map_err(|error| failure(&error))?;
    let ids: Vec<String> = gone.iter().map(ToString::to_string).collect();
    let mut json = json!({"erased": ids});
    bring_into_force(office, &mut json)?;
    ui::answer(format, &format!("{} erased again\n", ids.len()), &json)?;
    Ok(Exit::Done)
}

fn create(options: &AppCreate, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    let locator = options.custody.clone().unwrap_or_else(|| office.default_custody());
    let custody = custody::custody(&locator)?;
    let made = office.stewardship().create(&options.name, &locator, custody, options.approvals);
    let custodian = made.map_err(|error| failure(&error))?;
    let line = custodian.listed();
    ui::answer(format, &format!("{}\n", line.application), &line_json(line))?;
    Ok(Exit::Done)
}

fn list(options: &In, format: Format) -> Result<Exit> {
    let mut office = custody::open(options)?;
    let organisation = office.organisation().to_string();
    let mut text = String::new();
    let mut lines = Vec::new();
    for line in office.stewardship().applications() {
        text += &format!(
            "{}  {}  {}  {}\n",
            line.application,
            line.name,
            state_text(line),
            line.custody
        );
        lines.push(line_json(line));
    }
    ui::answer(format, &text, &json!({"organisation": organisation, "applications": lines}))?;
    Ok(Exit::Done)
}

fn state(options: &AppState, state: ApplicationState, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    office.stewardship().set_state(&options.name, state).map_err(|error| failure(&error))?;
    let line = office.stewardship().find(&options.name).map_err(|error| failure(&error))?;
    let mut json = line_json(line);
    bring_into_force(office, &mut json)?;
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}

fn line_json(line: &Listed) -> Value {
    json!({
        "application": line.application.to_string(),
        "name": line.name,
        "state": state_text(line),
        "custody": line.custody,
        "created": time_text(line.created),
    })
}

fn state_text(line: &Listed) -> &'static str {
    match line.state {
        ApplicationState::Making => "unfinished",
        ApplicationState::Active => "active",
        ApplicationState::Disabled => "disabled",
    }
}

/// How a key ended, for people.
pub(super) fn ending_text(ending: Ending) -> &'static str {
    match ending {
        Ending::Immediate => "destroyed",
        Ending::BestEffort => {
            "removed, best effort: an old copy of the key file still opens an old copy of the keystore"
        }
        Ending::NotOurs => {
            "not ours to destroy: the secret it was derived from still opens an old copy of the keystore"
        }
    }
}
