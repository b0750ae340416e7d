//! `strongroom key`: which keys there are, and new ones in their place.

use serde_json::json;
use strongroom_records::application::{ApplicationState, Listed};
use strongroom_steward::{KeysStatus, keys_json, time_text};

use super::{answer_after, rotate};
use crate::args::custody::app::AppRotate;
use crate::args::custody::key::{Key, KeyList, KeyRotate};
use crate::args::custody::{Of, SubjectOne, SubjectRotate};
use crate::assemble::custody::{self, Office, failure};
use crate::exit::{Exit, Result};
use crate::ui::Format;

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: Key, format: Format) -> Result<Exit> {
    match options {
        Key::List(options) => list(&options, format),
        Key::Rotate(options) => change(options, format),
    }
}

fn change(options: KeyRotate, format: Format) -> Result<Exit> {
    let KeyRotate { place, custody, register, everybody, subject, deep, class, receipt, .. } =
        options;
    // Where none is named it is the workspace's own key.
    let Some(app) = options.app else { return rotate::workspace(&place, format) };
    let of = Of { place, app, custody };
    if register {
        return rotate::register(&of, format);
    }
    let Some(subject) = subject else {
        return rotate::application(&AppRotate { of, everybody, deep, receipt }, format);
    };
    let one = SubjectOne { subject, of };
    rotate::subject(&SubjectRotate { one, deep, class, receipt }, format)
}

fn list(options: &KeyList, format: Format) -> Result<Exit> {
    let mut office = custody::open(&options.place)?;
    let (epoch, devices) = office.workspace_key()?;
    let mut text = format!("workspace  generation {epoch}, {devices} devices have it\n");
    let mut applications = Vec::new();
    for line in lines(&mut office, options.app.as_deref())? {
        let (shown, mut json) = match keys(&mut office, &line, options.app.is_some()) {
            Ok(keys) => (text_of(&keys), keys_json(&keys)),
            Err(refused) => {
                (format!("  closed: {}\n", refused.message), json!({"closed": refused.message}))
            }
        };
        text += &format!("{}\n{shown}", line.name);
        json["name"] = line.name.clone().into();
        applications.push(json);
    }
    let workspace = json!({"generation": epoch, "devices": devices});
    let json = json!({"workspace": workspace, "applications": applications});
    answer_after(office, format, &text, &json)?;
    Ok(Exit::Done)
}

fn lines(office: &mut Office, only: Option<&str>) -> Result<Vec<Listed>> {
    let list = office.stewardship();
    if let Some(name) = only {
        return Ok(vec![list.find(name).map_err(|error| failure(&error))?.clone()]);
    }
    let made = |line: &&Listed| line.state != ApplicationState::Making;
    Ok(list.applications().iter().filter(made).cloned().collect())
}

fn keys(office: &mut Office, line: &Listed, asks_holders: bool) -> Result<KeysStatus> {
    let name = line.application.to_string();
    let custodian = match asks_holders {
        true => office.application(&name, None)?,
        false => office.application_at_hand(&name)?,
    };
    custodian.keys().map_err(|error| failure(&error))
}

fn text_of(keys: &KeysStatus) -> String {
    let KeysStatus { register, everybody, .. } = keys;
    let since = time_text(keys.since);
    let mut text =
        format!("  application  generation {}, since {since}, {}\n", keys.generation, keys.custody);
    let since = time_text(register.since);
    text += &format!("  register     generation {}, since {since}", register.generation + 1);
    if !register.is_whole {
        text += "; a change is under way: `strongroom key rotate --register` goes on with it";
    } else if register.is_due {
        text += "; due, a device was removed since: `strongroom key rotate --register`";
    }
    text += &format!("\n  subjects     {}", keys.subjects);
    if let Some(everybody) = everybody {
        let depth = if everybody.is_deep { "deep " } else { "" };
        let since = time_text(everybody.since);
        text += &format!("; a {depth}change of everybody's keys is under way since {since}");
    }
    text + "\n"
}
