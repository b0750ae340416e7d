//! `strongroom app`: applications and their keys.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_custody::quorum::{NO_REQUEST, Request};
use strongroom_records::application::{ApplicationState, Listed};
use strongroom_records::ids::{KeyId, SubjectId};
use strongroom_records::receipt::Ending;
use strongroom_steward::time_text;

use super::{answer_after, bring_into_force, input, input_text};
use crate::args::custody::In;
use crate::args::custody::app::{
    App, AppAgree, AppCreate, AppCustody, AppLedger, AppReplay, AppRequests, AppState,
};
use crate::assemble::custody::{self, Unlocked, failure, quorum};
use crate::exit::{Exit, Failure, Result};
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
            let (office, mut custodian) = custody::application(&options.of)?;
            custodian.set_schema(&text).map_err(|error| failure(&error))?;
            answer_after(office, format, "", &json!({"application": custodian.listed().name}))?;
            Ok(Exit::Done)
        }
        App::Class(options) => {
            let (office, mut custodian) = custody::application(&options.of)?;
            let declared = custodian.declare_class(&options.name, options.special);
            let class = declared.map_err(|error| failure(&error))?;
            answer_after(office, format, "", &json!({"class": options.name, "number": class.0}))?;
            Ok(Exit::Done)
        }
        App::Ledger(options) if options.lost => give_up_ledger(options, format),
        App::Ledger(options) => {
            let (office, mut custodian) = custody::application(&options.of)?;
            let set = custodian.set_ledger(options.at.as_deref());
            set.map_err(|error| failure(&error))?;
            answer_after(office, format, "", &json!({"ledger": options.at}))?;
            Ok(Exit::Done)
        }
        App::Custody(options) => keep_at(options, format),
        App::Replay(options) => replay(options, format),
        App::Lease(options) => {
            let (office, mut custodian) = custody::application(&options.of)?;
            let class = custodian.class(&options.class).map_err(|error| failure(&error))?;
            custodian.set_lease(class, options.seconds).map_err(|error| failure(&error))?;
            let json = json!({"class": options.class, "seconds": options.seconds});
            answer_after(office, format, "", &json)?;
            Ok(Exit::Done)
        }
        App::Requests(options) => requests(options, format),
        App::Agree(options) => agree(options, format),
    }
}

/// Opened from there first: a place without the key would close the application.
fn keep_at(options: &AppCustody, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    let locator = office.written_down(&options.at)?;
    drop(office.application(&options.app, Some(&locator))?);
    let list = office.stewardship();
    list.set_custody(&options.app, &locator).map_err(|error| failure(&error))?;
    let json = line_json(list.find(&options.app).map_err(|error| failure(&error))?);
    answer_after(office, format, "", &json)?;
    Ok(Exit::Done)
}

fn give_up_ledger(options: &AppLedger, format: Format) -> Result<Exit> {
    let (app, at) = (&options.of.app, options.of.custody.as_deref());
    if !options.yes {
        super::subject::confirm(&format!(
            "give up the ledger of {app}: where the store is an older copy, whoever was erased since is back for good, and what was \
             said since is unsaid"
        ))?;
    }
    let mut office = custody::open(&options.of.place)?;
    drop(office.application_without_ledger(app, at)?);
    answer_after(office, format, "", &json!({"ledger": null}))?;
    Ok(Exit::Done)
}

fn replay(options: &AppReplay, format: Format) -> Result<Exit> {
    let mut receipts = Vec::new();
    for path in &options.files {
        receipts.extend(input(path, "the ledger")?);
    }
    let (app, at) = (&options.of.app, options.of.custody.as_deref());
    let mut office = custody::open(&options.of.place)?;
    let (custodian, replayed) = office.application_told(app, at, &receipts)?;
    let ids = |own: &[SubjectId]| own.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (erased, answered) = (ids(&replayed.erased), ids(&replayed.answered));
    let (merged, apart) = (ids(&replayed.merged), ids(&replayed.apart));
    let mut text = format!("{} erased again\n", erased.len());
    if !merged.is_empty() {
        text += &format!("{} are a part of another again\n", merged.len());
    }
    for subject in &apart {
        text +=
            &format!("{subject} became a part of somebody who is not here: kept, and restricted\n");
    }
    if !answered.is_empty() {
        text += &format!("what {} said is on record again\n", answered.len());
    }
    let mut json = json!({
        "erased": erased, "merged": merged, "apart": apart, "answered": answered,
    });
    bring_into_force(office, &custodian.listed().application, &mut json)?;
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn requests(options: &AppRequests, format: Format) -> Result<Exit> {
    let Unlocked { keys, organisation, .. } = custody::device(&options.place)?;
    let (keys, trust) = (Arc::new(keys), quorum::trust(&organisation));
    let found = quorum::meeting(&options.folder, &keys)?.requests(&trust);
    let (mut text, mut lines) = (String::new(), Vec::new());
    for request in found.map_err(|error| failure(&error.into()))? {
        text += &request_text(&request, organisation.name(&request.device, &keys));
        lines.push(request_json(&request));
    }
    ui::answer(format, &text, &json!({"requests": lines}))?;
    Ok(Exit::Done)
}

fn agree(options: &AppAgree, format: Format) -> Result<Exit> {
    let bad = || Failure::new(Exit::Usage, "a request is named by 32 hexadecimal digits");
    let id = KeyId::parse(&options.request).ok_or_else(bad)?;
    let Unlocked { keys, organisation, .. } = custody::device(&options.place)?;
    let (keys, trust) = (Arc::new(keys), quorum::trust(&organisation));
    let meeting = quorum::meeting(&options.folder, &keys)?;
    let found = meeting.requests(&trust).map_err(|error| failure(&error.into()))?;
    let asked = found.iter().find(|request| request.id == id);
    let request = asked.ok_or_else(|| failure(&NO_REQUEST.into()))?;
    if !options.yes {
        let shown = request_text(request, organisation.name(&request.device, &keys));
        super::subject::confirm(&format!("{shown}give this device's share to it"))?;
    }
    meeting.approve(request, &trust).map_err(|error| failure(&error.into()))?;
    ui::answer(format, "", &request_json(request))?;
    Ok(Exit::Done)
}

fn request_text(request: &Request, name: Option<String>) -> String {
    let name = name.unwrap_or_else(|| "a device without a name".to_owned());
    let (id, application) = (request.id, request.application);
    format!("{id}  {}  {name} asks for application {application}\n", time_text(request.time))
}

fn request_json(request: &Request) -> Value {
    json!({
        "request": request.id.to_string(), "application": request.application.to_string(),
        "device": request.device.to_string(), "time": time_text(request.time),
    })
}

fn create(options: &AppCreate, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    let locator = match &options.custody {
        Some(locator) => office.written_down(locator)?,
        None => office.default_custody()?,
    };
    let custody = office.custody(&locator)?;
    let made = office.stewardship().create(&options.name, &locator, custody, options.approvals);
    let custodian = made.map_err(|error| failure(&error))?;
    let line = custodian.listed();
    answer_after(office, format, &format!("{}\n", line.application), &line_json(line))?;
    if let Some(path) = line.custody.strip_prefix("file:") {
        ui::tell(&format!(
            "its key is in `{path}`, and without it nothing opens again: keep a copy elsewhere, and renew it after each \
             erasure, rotation and retention, which make a new key and end the old one"
        ));
    }
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
    let json = json!({"organisation": organisation, "applications": lines});
    answer_after(office, format, &text, &json)?;
    Ok(Exit::Done)
}

fn state(options: &AppState, state: ApplicationState, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    office.stewardship().set_state(&options.name, state).map_err(|error| failure(&error))?;
    let line = office.stewardship().find(&options.name).map_err(|error| failure(&error))?;
    let (mut json, application) = (line_json(line), line.application);
    bring_into_force(office, &application, &mut json)?;
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
