//! Processing jobs: registered by the application, run under their own tokens. And what concerns the application as a whole.

use serde_json::{Value, json};
use strongroom_authorizer::Reason;
use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_records::log::{Entry, Outcome, base64};
use strongroom_steward::{
    Asked, Carry, Custodian, Depth, Proposal, Result, keys_json, kind_text, time_text,
    verified_json,
};

use crate::call::{Call, flag, invalid, moment, text, texts};
use crate::http::Answer;
use crate::subjects::{destroyed_json, listed};

/// Lists all jobs.
pub fn list(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let mut lines = Vec::new();
    for activity in custodian.activities()? {
        lines.push(activity_json(custodian, &activity)?);
    }
    Ok(Answer::json(200, &json!({ "activities": lines })))
}

/// Registers a job; it waits for approval.
pub fn register(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let name = text(&json, "name")?.to_owned();
    let proposal = Proposal {
        consumer: json["consumer"].as_str().unwrap_or(&name).to_owned(),
        purpose: text(&json, "purpose")?.to_owned(),
        basis: basis(text(&json, "basis")?)?,
        classes: texts(&json, "classes")?,
        reach: if flag(&json, "writes")? { Reach::Write } else { Reach::Read },
        recipients: texts(&json, "recipients")?,
        retention_days: days(&json, "retention_days")?,
        expires: moment(&json, "expires")?,
        notice: text(&json, "notice")?.to_owned(),
        name: name.clone(),
    };
    custodian.register_activity(proposal)?;
    one(custodian, &name, 201)
}

fn basis(name: &str) -> Result<Basis> {
    let all = [
        Basis::Consent,
        Basis::Contract,
        Basis::LegalObligation,
        Basis::VitalInterests,
        Basis::PublicTask,
        Basis::LegitimateInterest,
    ];
    let found = all.into_iter().find(|basis| basis.name() == name);
    found.ok_or_else(|| invalid("`basis` is none of the six legal bases"))
}

/// Approves a job.
pub fn approve(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.approve_activity(call.param(0))?;
    one(custodian, call.param(0), 200)
}

/// Stops a job for now.
pub fn suspend(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.stop_activity(call.param(0), ActivityState::Suspended)?;
    one(custodian, call.param(0), 200)
}

/// Stops a job for good.
pub fn end(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.stop_activity(call.param(0), ActivityState::Ended)?;
    one(custodian, call.param(0), 200)
}

/// Sets what profiles must look like.
pub fn schema(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let text = std::str::from_utf8(call.body);
    custodian.set_schema(text.map_err(|_| invalid("the schema is no text"))?)?;
    Ok(Answer::json(200, &json!({})))
}

/// Declares a class of data.
pub fn class(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let name = text(&json, "name")?;
    let class = custodian.declare_class(name, flag(&json, "special")?)?;
    Ok(Answer::json(201, &json!({"class": name, "number": class.0})))
}

/// How long files and subjects are kept, and what is due.
pub fn retention(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    retired(custodian, Carry::Dry)
}

/// Sets how long files of a class are kept; no number of days is for ever.
pub fn set_retention(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.set_retention(call.param(0), days(&call.json()?, "days")?)?;
    retired(custodian, Carry::Dry)
}

/// Sets how long whole subjects are kept after their last use; no number of days is for ever.
pub fn set_idle_rule(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let notice = days(&json, "notice_days")?;
    let rule = match (days(&json, "days")?, notice) {
        (None, None) => None,
        // Whoever means another notice does not mean that nobody is erased.
        (None, Some(_)) => return Err(invalid("`days` is missing: notice is of the last of them")),
        (Some(_), None) => return Err(invalid("`notice_days` is missing")),
        (Some(days), Some(notice)) => Some((days, notice)),
    };
    custodian.set_idle_rule(rule)?;
    retired(custodian, Carry::Dry)
}

/// A count of days of an object; none where it is missing.
fn days(json: &Value, name: &str) -> Result<Option<u32>> {
    match &json[name] {
        Value::Null => Ok(None),
        days => {
            let days = days.as_u64().and_then(|days| u32::try_from(days).ok());
            days.map(Some).ok_or_else(|| invalid(format!("`{name}` is no count of days")))
        }
    }
}

/// Takes away what is due.
pub fn retire(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    retired(custodian, Carry::Out)
}

fn retired(custodian: &mut Custodian, carry: Carry) -> Result<Answer> {
    let retired = custodian.retire(carry)?;
    Ok(Answer::json(200, &custodian.retired_json(&retired, carry)?))
}

/// Which keys there are.
pub fn keys(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    Ok(Answer::json(200, &keys_json(&custodian.keys()?)))
}

/// Changes the application key; where it is asked for, everybody's keys first. Or the register's own key.
pub fn rotate(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    if flag(&json, "register")? {
        if flag(&json, "everybody")? || flag(&json, "deep")? {
            return Err(invalid("the register's key is changed by itself"));
        }
        let rotated = custodian.rotate_register(&mut |_| ())?;
        let json = json!({
            "register": rotated.generation + 1,
            "cells": rotated.cells,
            "old_key": rotated.destroyed.as_ref().map(destroyed_json),
        });
        return Ok(Answer::json(200, &json));
    }
    let depth = if flag(&json, "deep")? { Depth::Deep } else { Depth::Shallow };
    let (mut done, mut since) = (None, None);
    if flag(&json, "everybody")? {
        since = custodian.rotating_since()?.map(time_text);
        done = Some(custodian.rotate_everybody(depth, &mut |_| ())?);
    }
    let rotated = custodian.rotate()?;
    let json = json!({
        "generation": rotated.generation,
        "old_key": destroyed_json(&rotated.destroyed),
        "subjects": done.as_ref().map(|own| own.done.subjects),
        "files": done.as_ref().map(|own| own.done.files),
        "damaged": done.map(|own| own.damaged.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "went_on_since": since,
        "receipt": base64(&rotated.receipt),
    });
    Ok(Answer::json(200, &json))
}

/// Whom a job may see now, by the names it has for them.
pub fn scope(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let (after, count) = call.scope_page()?;
    let page = custodian.scope_after(call.param(0), after, count)?;
    let mut lines = Vec::new();
    for (name, classes) in page.shown {
        let mut names = Vec::new();
        for class in classes {
            names.push(custodian.class_name(class)?);
        }
        lines.push(json!({"subject": name.to_string(), "classes": names}));
    }
    let next = page.next.map(|place| place.to_string());
    Ok(Answer::json(200, &json!({"subjects": lines, "next": next})))
}

/// Lists a subject's files, for a job.
pub fn files(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    listed(custodian, &asked(call))
}

/// The one that a job reads or writes, if it may.
pub fn named(call: &Call<'_>) -> Result<(Asked, String)> {
    Ok((asked(call), call.param(3).to_owned()))
}

fn asked(call: &Call<'_>) -> Asked {
    let [activity, subject, class] = [0, 1, 2].map(|place| call.param(place).to_owned());
    Asked { activity: Some(activity), subject, class, purpose: None }
}

/// Entries of the audit log.
pub fn audit(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let (from, count) = call.page()?;
    let lines: Vec<Value> = custodian.entries(from, count)?.iter().map(entry_json).collect();
    let total = custodian.record_count();
    Ok(Answer::json(200, &json!({"records": total, "entries": lines})))
}

/// The newest signed head, and the key it verifies under.
pub fn head(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = json!({"head": custodian.signed_head()?, "key": custodian.head_verifier()});
    Ok(Answer::json(200, &json))
}

/// Verifies everything, every byte of everybody's files included.
pub fn verify(_: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let verified = custodian.verify_beside_others(&mut |_| ())?;
    Ok(Answer::json(200, &verified_json(&verified)))
}

fn entry_json(entry: &Entry) -> Value {
    let judgement = entry.judgement.as_ref();
    json!({
        "record": entry.seq,
        "time": time_text(entry.time),
        "what": kind_text(entry.kind),
        "activity": entry.activity.map(|id| id.to_string()),
        "class": entry.class.map(|class| class.0),
        "allowed": judgement.map(|judgement| judgement.outcome == Outcome::Allow),
        "reason": judgement.and_then(|j| Reason::from_number(j.reason)).map(Reason::text),
        "subject": entry.about.map(|about| about.subject.to_string()),
        "number": entry.about.map(|about| about.number),
    })
}

fn one(custodian: &Custodian, name: &str, status: u16) -> Result<Answer> {
    let all = custodian.activities()?;
    let found = all.iter().find(|activity| activity.name == name);
    let missing = || invalid("there is no such activity");
    Ok(Answer::json(status, &activity_json(custodian, found.ok_or_else(missing)?)?))
}

fn activity_json(custodian: &Custodian, activity: &Activity) -> Result<Value> {
    let mut classes = Vec::new();
    for class in &activity.classes {
        classes.push(custodian.class_name(*class)?);
    }
    Ok(json!({
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
    }))
}
