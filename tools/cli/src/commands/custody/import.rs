//! `strongroom subject import`: many subjects at once, some hundred in one record.

use serde_json::{Value, json};
use strongroom_crypto::hash::sha256;
use strongroom_records::ids::Hash;
use strongroom_steward::{Custodian, NewSubject};

use super::input_text;
use crate::args::custody::SubjectImport;
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Subjects in one record.
const BATCH_COUNT: usize = 500;

/// Creates a subject for each line.
///
/// # Errors
/// A line that is none is named, and nothing is created; those of the store. What was created before stays.
pub(super) fn run(options: &SubjectImport, format: Format) -> Result<Exit> {
    let text = input_text(&options.from, "the subjects")?;
    let (_office, mut custodian) = custody::application(&options.of)?;
    let mut people = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let person = person(&custodian, options.request.as_deref(), index, line)?;
        people.push(person.ok_or_else(|| bad(index))?);
    }
    let mut ids = Vec::new();
    for some in people.chunks(BATCH_COUNT) {
        let made = custodian.create_subjects(some).map_err(|error| failure(&error))?;
        ids.extend(made.iter().map(ToString::to_string));
        custodian.let_others_in().map_err(|error| failure(&error))?;
    }
    let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
    ui::answer(format, &text, &json!({"subjects": ids}))?;
    Ok(Exit::Done)
}

fn person(
    custodian: &Custodian,
    request: Option<&str>,
    index: usize,
    line: &str,
) -> Result<Option<NewSubject>> {
    let Ok(json) = serde_json::from_str::<Value>(line) else { return Ok(None) };
    let once = match request {
        Some(name) => {
            let name = format!("command\n{index}\n{name}");
            let request = Hash(sha256(line.as_bytes()));
            Some(custodian.once(&name, request).map_err(|error| failure(&error))?)
        }
        None => None,
    };
    let lookups = match &json["lookups"] {
        Value::Null => Some(Vec::new()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        _ => None,
    };
    let profile = match &json["profile"] {
        Value::Null => None,
        profile => Some(profile.to_string().into_bytes()),
    };
    Ok(lookups.filter(|_| json.is_object()).map(|lookups| NewSubject { once, lookups, profile }))
}

fn bad(index: usize) -> Failure {
    Failure::new(Exit::Failed, format!("line {} is no subject; nothing was created", index + 1))
        .hint("for example {\"lookups\": {\"email\": \"ada@example.com\"}, \"profile\": {}}")
}
