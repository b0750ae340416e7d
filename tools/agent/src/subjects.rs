//! The people the data is about: what an application asks of its own.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use strongroom_records::log::base64;
use strongroom_records::receipt::{Destroyed, Ending};
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{
    Answer as Said, Asked, Custodian, Depth, Error, ErrorKind, NewSubject, Once, Result,
    SubjectLine, file_json, idle_line_json, report_line_json, time_text,
};

use crate::call::{Call, flag, invalid, moment, text, texts};
use crate::http::Answer;

/// Lists subjects, without any content.
pub fn list(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let (from, count) = call.page()?;
    let lines = custodian.subjects_from(from, count)?;
    let lines: Vec<Value> = lines.iter().map(line_json).collect();
    Ok(Answer::json(200, &json!({"total": custodian.subject_count(), "subjects": lines})))
}

/// Lists those whom nobody had a use for as long as they are kept, less the notice.
pub fn due(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let (from, count) = call.page()?;
    let page = custodian.idle_subjects_from(from, count)?;
    let lines: Vec<Value> = page.lines.iter().map(idle_line_json).collect();
    let damaged: Vec<String> = page.damaged.iter().map(ToString::to_string).collect();
    Ok(Answer::json(200, &json!({"subjects": lines, "damaged": damaged, "next": page.next})))
}

/// Creates one.
pub fn create(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let person = person(text_or_nothing(call)?, call.once(custodian, "create", 0)?)?;
    created(custodian, std::slice::from_ref(&person), |made| json!({ "subject": made.first() }))
}

/// Creates many, all or none.
pub fn import(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    call.json()?;
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(text_or_nothing(call)?).map_err(|_| no_json())?;
    let all = fields.get("subjects").and_then(|all| serde_json::from_str(all.get()).ok());
    let all: Vec<&RawValue> = all.ok_or_else(|| invalid("`subjects` is missing or no list"))?;
    let mut people = Vec::new();
    for (index, one) in all.into_iter().enumerate() {
        people.push(person(one.get(), call.once(custodian, "import", index)?)?);
    }
    created(custodian, &people, |made| json!({ "subjects": made }))
}

fn created(
    custodian: &mut Custodian,
    people: &[NewSubject],
    told: impl Fn(&[String]) -> Value,
) -> Result<Answer> {
    match custodian.create_subjects(people) {
        Ok(made) => {
            let made: Vec<String> = made.iter().map(ToString::to_string).collect();
            Ok(Answer::json(201, &told(&made)))
        }
        Err(error) if error.kind() == ErrorKind::Exists => {
            Ok(Answer::refused(422, "invalid", &error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The body, or an object without anything.
fn text_or_nothing<'b>(call: &Call<'b>) -> Result<&'b str> {
    match call.body {
        [] => Ok("{}"),
        body => std::str::from_utf8(body).map_err(|_| no_json()),
    }
}

fn no_json() -> Error {
    invalid("the body is no JSON object")
}

fn person(text: &str, once: Option<Once>) -> Result<NewSubject> {
    let json: Value = serde_json::from_str(text).map_err(|_| no_json())?;
    if !json.is_object() {
        return Err(invalid("a subject is an object with `lookups` and `profile`"));
    }
    let lookups = match &json["lookups"] {
        Value::Null => Vec::new(),
        lookups => attributes(lookups)?,
    };
    Ok(NewSubject { once, lookups, profile: NewSubject::profile_in(text) })
}

fn attributes(json: &Value) -> Result<Vec<(String, String)>> {
    let text = |(name, value): (String, Option<String>)| Some(name).zip(value).ok_or_else(bad);
    fields(json)?.into_iter().map(text).collect()
}

/// Attributes, and those that are taken away.
fn fields(json: &Value) -> Result<Vec<(String, Option<String>)>> {
    let field = |(name, value): (&String, &Value)| match value {
        Value::Null => Ok((name.clone(), None)),
        Value::String(value) => Ok((name.clone(), Some(value.clone()))),
        _ => Err(bad()),
    };
    json.as_object().ok_or_else(bad)?.iter().map(field).collect()
}

fn bad() -> Error {
    invalid("attributes are an object of texts")
}

/// Sets attributes that one is found by, or takes them away.
pub fn set(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.set_attributes(&call.subject()?, &fields(&call.json()?["lookups"])?)?;
    show(call, custodian)
}

/// Finds subjects by an attribute.
pub fn find(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let attributes = attributes(&call.json()?)?;
    let [(name, value)] = &attributes[..] else {
        return Err(invalid("a search is by one attribute"));
    };
    let found = custodian.find_subjects(name, value)?;
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(Answer::json(200, &json!({ "subjects": found })))
}

/// Shows one.
pub fn show(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let subject = call.subject()?;
    Ok(Answer::json(200, &line_json(&custodian.subject(&subject)?)))
}

/// Lists the files of a class.
pub fn files(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    listed(custodian, &own(call)?)
}

/// The one that is to be read or written.
pub fn named(call: &Call<'_>) -> Result<(Asked, String)> {
    Ok((own(call)?, call.param(2).to_owned()))
}

/// Removes one.
pub fn remove(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.remove_file(&own(call)?, call.param(2))?;
    Ok(Answer::json(200, &json!({"name": call.param(2)})))
}

fn own(call: &Call<'_>) -> Result<Asked> {
    let (subject, class) = (call.subject()?.to_string(), call.param(1).to_owned());
    Ok(Asked { activity: None, subject, class, purpose: None })
}

/// The list of files of whoever asks.
pub fn listed(custodian: &mut Custodian, asked: &Asked) -> Result<Answer> {
    let files = custodian.files(asked)?;
    let lines: Vec<Value> = files.iter().map(file_json).collect();
    Ok(Answer::json(200, &json!({ "files": lines })))
}

/// A subject's answers and open questions.
pub fn consents(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let mut lines = Vec::new();
    for (activity, status) in custodian.consents(&call.subject()?)? {
        lines.push(json!({
            "activity": activity.name, "consumer": activity.consumer, "purpose": activity.purpose,
            "status": status.name(), "notice": activity.notice,
        }));
    }
    Ok(Answer::json(200, &json!({ "consents": lines })))
}

/// Every answer a subject ever gave.
pub fn history(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let lines = custodian.consent_history_json(&call.subject()?)?;
    Ok(Answer::json(200, &json!({ "history": lines })))
}

/// Records an answer. Whether it is in force the reply says.
pub fn answer(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let status = match text(&json, "status")? {
        "given" => ConsentStatus::Given,
        "refused" => ConsentStatus::Refused,
        "withdrawn" => ConsentStatus::Withdrawn,
        "objected" => ConsentStatus::Objected,
        _ => return Err(invalid("`status` is given, refused, withdrawn or objected")),
    };
    let evidence = match &json["evidence"] {
        Value::Null => Vec::new(),
        Value::String(text) => text.as_bytes().to_vec(),
        other => other.to_string().into_bytes(),
    };
    let said = Said {
        activity: call.param(1).to_owned(),
        status,
        explicit: flag(&json, "explicit")?,
        classes: texts(&json, "classes")?,
        until: moment(&json, "until")?,
        evidence,
    };
    let receipt = custodian.answer(&call.subject()?, &said)?;
    let json = json!({
        "activity": said.activity, "status": status.name(), "receipt": base64(&receipt),
    });
    Ok(Answer::json(200, &json))
}

/// Tells the name that an activity has for a subject.
pub fn name(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let name = custodian.name_for(&call.subject()?, call.param(1))?;
    Ok(Answer::json(200, &json!({"subject": name.to_string()})))
}

/// Reports who used a subject's data, when and why.
pub fn report(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let subject = call.subject()?;
    let report = custodian.report(&subject)?;
    let names = custodian.file_names(&subject)?;
    let lines = report.lines.iter().map(|line| report_line_json(line, &names));
    let lines: Vec<Value> = lines.collect();
    let json = json!({"entries": lines, "complete": report.holds(), "head": report.head});
    Ok(Answer::json(200, &json))
}

/// Erases a subject for good. Asked again it answers the same.
pub fn erase(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let erased = custodian.erase(&call.subject()?)?;
    let deed = &erased.deed;
    let json = json!({
        "objects_removed": deed.objects_removed,
        "objects_left": deed.objects_left,
        "joint_files": deed.joint_files,
        "old_key": destroyed_json(&deed.destroyed),
        "irrecoverable_from": deed.irrecoverable_from.map(time_text),
        "statement": deed.statement,
        "receipt": base64(&erased.receipt),
    });
    Ok(Answer::json(200, &json))
}

/// Changes a subject's keys.
pub fn rotate(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let depth = if flag(&json, "deep")? { Depth::Deep } else { Depth::Shallow };
    let class = json["class"].as_str().map(|name| custodian.class(name)).transpose()?;
    let rotated = custodian.rotate_subject(&call.subject()?, depth, class, &mut |_| ())?;
    let deed = &rotated.deed;
    let json = json!({
        "generation": deed.generation,
        "files": deed.files,
        "bytes": deed.bytes,
        "old_key": destroyed_json(&deed.destroyed),
        "receipt": base64(&rotated.receipt),
    });
    Ok(Answer::json(200, &json))
}

/// Stores a subject's data and releases it to nobody, or lifts that.
pub fn restrict(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let restricted = flag(&call.json()?, "restricted")?;
    custodian.restrict(&call.subject()?, restricted)?;
    show(call, custodian)
}

/// Places a hold.
pub fn hold(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    let json = call.json()?;
    let class = json["class"].as_str().map(|name| custodian.class(name)).transpose()?;
    custodian.place_hold_on(&call.subject()?, call.param(1), class)?;
    show(call, custodian)
}

/// Lifts the holds of a ground.
pub fn lift(call: &Call<'_>, custodian: &mut Custodian) -> Result<Answer> {
    custodian.lift_hold(&call.subject()?, call.param(1))?;
    show(call, custodian)
}

fn line_json(line: &SubjectLine) -> Value {
    let state = match line.state {
        SubjectState::Active => "active",
        SubjectState::Restricted => "restricted",
        SubjectState::Erasing => "erasing",
        SubjectState::Erased => "erased",
    };
    json!({
        "subject": line.subject.to_string(),
        "state": state,
        "created": time_text(line.created),
        "holds": line.holds.iter().map(|hold| hold.ground.clone()).collect::<Vec<_>>(),
    })
}

/// What became of an application key.
pub fn destroyed_json(destroyed: &Destroyed) -> Value {
    let ending = match destroyed.ending {
        Ending::Immediate => "destroyed",
        Ending::BestEffort => "best_effort",
        Ending::NotOurs => "not_ours",
    };
    json!({"ending": ending, "refused_afterwards": destroyed.refused_afterwards})
}
