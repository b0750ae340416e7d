//! `strongroom consumer`: registered processing jobs.

use serde_json::{Value, json};
use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_steward::{Custodian, Proposal, time_text};

use super::{answer_after, bring_into_force, input_text, moment};
use crate::args::custody::{BasisName, Consumer, ConsumerOne, ConsumerRegister};
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Consumer, format: Format) -> Result<Exit> {
    match options {
        Consumer::Register(options) => register(options, format),
        Consumer::Approve(options) => {
            let (office, mut custodian) = custody::application(&options.of)?;
            let approved = custodian.approve_activity(&options.name);
            let state = approved.map_err(|error| failure(&error))?;
            let text = match state {
                ActivityState::Approved => String::new(),
                _ => "recorded; another device has to approve it too\n".to_owned(),
            };
            answer_after(office, format, &text, &one(&custodian, &options.name)?)?;
            Ok(Exit::Done)
        }
        Consumer::Suspend(options) => stop(options, ActivityState::Suspended, format),
        Consumer::End(options) => stop(options, ActivityState::Ended, format),
        Consumer::Show(options) => {
            let (office, custodian) = custody::application(&options.of)?;
            let json = one(&custodian, &options.name)?;
            answer_after(office, format, &format!("{json:#}\n"), &json)?;
            Ok(Exit::Done)
        }
        Consumer::List(of) => {
            let (office, custodian) = custody::application(of)?;
            let (mut text, mut lines) = (String::new(), Vec::new());
            for activity in custodian.activities().map_err(|error| failure(&error))? {
                text += &format!(
                    "{}  {}  {}  {}  {}\n",
                    activity.name,
                    activity.consumer,
                    activity.purpose,
                    activity.basis.name(),
                    activity.state.name(),
                );
                lines.push(activity_json(&custodian, &activity)?);
            }
            answer_after(office, format, &text, &json!({ "activities": lines }))?;
            Ok(Exit::Done)
        }
    }
}

fn register(options: &ConsumerRegister, format: Format) -> Result<Exit> {
    let proposal = Proposal {
        name: options.name.clone(),
        consumer: options.consumer.clone().unwrap_or_else(|| options.name.clone()),
        purpose: options.purpose.clone(),
        basis: basis(options.basis),
        classes: options.classes.clone(),
        reach: if options.write { Reach::Write } else { Reach::Read },
        recipients: options.recipients.clone(),
        retention_days: options.retention_days,
        expires: moment(options.expires.as_deref())?,
        notice: input_text(&options.notice, "the notice")?,
    };
    let (office, mut custodian) = custody::application(&options.of)?;
    custodian.register_activity(proposal).map_err(|error| failure(&error))?;
    answer_after(office, format, "", &one(&custodian, &options.name)?)?;
    Ok(Exit::Done)
}

fn stop(options: &ConsumerOne, state: ActivityState, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(&options.of)?;
    custodian.stop_activity(&options.name, state).map_err(|error| failure(&error))?;
    let mut json = one(&custodian, &options.name)?;
    bring_into_force(office, &custodian.listed().application, &mut json)?;
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}

fn one(custodian: &Custodian, name: &str) -> Result<Value> {
    let all = custodian.activities().map_err(|error| failure(&error))?;
    let found = all.iter().find(|activity| activity.name == name);
    let missing = || Failure::new(Exit::Failed, "there is no such activity");
    activity_json(custodian, found.ok_or_else(missing)?)
}

fn activity_json(custodian: &Custodian, activity: &Activity) -> Result<Value> {
    let mut classes = Vec::new();
    for class in &activity.classes {
        classes.push(custodian.class_name(*class).map_err(|error| failure(&error))?);
    }
    Ok(json!({
        "id": activity.id.to_string(),
        "name": activity.name,
        "consumer": activity.consumer,
        "purpose": activity.purpose,
        "basis": activity.basis.name(),
        "classes": classes,
        "writes": activity.reach == Reach::Write,
        "recipients": activity.recipients,
        "retention_days": activity.retention_days,
        "expires": activity.expires.map(time_text),
        "notice": activity.notice,
        "state": activity.state.name(),
        "proposed": time_text(activity.proposed_at),
    }))
}

fn basis(name: BasisName) -> Basis {
    match name {
        BasisName::Consent => Basis::Consent,
        BasisName::Contract => Basis::Contract,
        BasisName::LegalObligation => Basis::LegalObligation,
        BasisName::VitalInterests => Basis::VitalInterests,
        BasisName::PublicTask => Basis::PublicTask,
        BasisName::LegitimateInterest => Basis::LegitimateInterest,
    }
}
