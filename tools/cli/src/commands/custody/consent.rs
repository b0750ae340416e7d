//! `strongroom consent`: what subjects answered.

use serde_json::json;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::Answer;

use super::receipt::{Again, Place};
use super::settle::{Patience, Taken, described, settle};
use super::{answer_after, bring_into_force, input, moment, subject_id};
use crate::args::custody::{Consent, ConsentAnswer, ConsentShow, ConsentTaken};
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Result};
use crate::ui::{self, Format};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Consent, format: Format) -> Result<Exit> {
    match options {
        Consent::Show(options) => show(options, format),
        Consent::Grant(options) => take(options, ConsentStatus::Given, format),
        Consent::Deny(options) => take(options, ConsentStatus::Refused, format),
        Consent::Withdraw(options) => take(options, ConsentStatus::Withdrawn, format),
        Consent::Object(options) => take(options, ConsentStatus::Objected, format),
        Consent::History(options) => history(options, format),
    }
}

fn show(options: &ConsentShow, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.subject)?;
    let (office, custodian) = custody::application(&options.of)?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for (activity, status) in custodian.consents(&subject).map_err(|error| failure(&error))? {
        let status = status.name();
        text += &format!("{}: {status}\n", activity.name);
        lines.push(json!({
            "activity": activity.name, "purpose": activity.purpose, "status": status,
            "notice": activity.notice,
        }));
    }
    answer_after(office, format, &text, &json!({ "consents": lines }))?;
    Ok(Exit::Done)
}

fn take(options: &ConsentTaken, status: ConsentStatus, format: Format) -> Result<Exit> {
    let wait = if options.no_wait { Patience::Return } else { Patience::Wait };
    answer(&options.answer, status, wait, format)
}

fn answer(
    options: &ConsentAnswer,
    status: ConsentStatus,
    wait: Patience,
    format: Format,
) -> Result<Exit> {
    let subject = subject_id(&options.subject)?;
    let evidence = match &options.evidence {
        Some(path) => input(path, "the evidence")?,
        None => Vec::new(),
    };
    let answer = Answer {
        activity: options.activity.clone(),
        status,
        explicit: options.explicit,
        classes: options.classes.clone(),
        until: moment(options.until.as_deref())?,
        evidence,
    };
    let (office, mut custodian) = custody::application(&options.of)?;
    let place = Place::make(options.receipt.as_deref())?;
    let receipt = custodian.answer(&subject, &answer).map_err(|error| failure(&error))?;
    let record = custodian.record_count().saturating_sub(1);
    let taken = Taken { subject: &subject, record };
    let names = office.names();
    // What waits can be interrupted; what is on record is not undone by that.
    let kept = place.keep(&receipt, &Again::Never);
    let mut json = json!({"activity": options.activity, "status": status.name()});
    bring_into_force(office, &custodian.listed().application, &mut json)?;
    // A yes may cover less than the one before it.
    let holders = settle(&mut custodian, &taken, wait)?;
    let (text, fields) = described(&holders, &names);
    let is_in_force = fields["in_force"] == true && json["views_silent"] == 0;
    (json["in_force"], json["devices"]) = (is_in_force.into(), fields["devices"].clone());
    ui::answer(format, &text, &json)?;
    kept.map(|()| Exit::Done)
}

fn history(options: &ConsentShow, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.subject)?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let lines = custodian.consent_history_json(&subject).map_err(|error| failure(&error))?;
    let mut text = String::new();
    for line in &lines {
        let [time, name, status] =
            ["time", "activity", "status"].map(|field| line[field].as_str().unwrap_or_default());
        text += &format!("{time}  {name}: {status}\n");
    }
    answer_after(office, format, &text, &json!({ "history": lines }))?;
    Ok(Exit::Done)
}
