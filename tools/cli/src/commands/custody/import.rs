//! `strongroom subject import`: many subjects at once, some hundred in one record.

use serde_json::{Value, json};
use strongroom_crypto::hash::sha256;
use strongroom_records::ids::Hash;
use strongroom_steward::{Custodian, NewSubject};

use super::{answer_after, input_text};
use crate::args::custody::SubjectImport;
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::Format;

/// Subjects in one record.
const BATCH_COUNT: usize = 500;

/// Creates a subject for each line.
///
/// # Errors
/// A line that is none is named, and nothing is created; those of the store. What was created before stays.
pub(super) fn run(options: &SubjectImport, format: Format) -> Result<Exit> {
    let text = input_text(&options.from, "the subjects")?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let mut people = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let person = person(&custodian, options.request.as_deref(), index, line)?;
        people.push(person.ok_or_else(|| bad(index))?);
    }
    if let Some((index, error)) = custodian.misfit(&people).map_err(|error| failure(&error))? {
        let refused = failure(&error);
        let message = format!("line {}: {}; nothing was created", index + 1, refused.message);
        return Err(Failure { message, ..refused });
    }
    let mut ids = Vec::new();
    let created = create(&mut custodian, &people, &mut ids);
    let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
    if created.is_ok() || !ids.is_empty() {
        answer_after(office, format, &text, &json!({"subjects": ids}))?;
    }
    let part = |failure| part(failure, ids.len(), people.len(), options.request.as_deref());
    created.map(|()| Exit::Done).map_err(part)
}

/// Creates them, some hundred in one record, and notes the ids of those that are.
fn create(custodian: &mut Custodian, people: &[NewSubject], ids: &mut Vec<String>) -> Result<()> {
    for some in people.chunks(BATCH_COUNT) {
        if !ids.is_empty() {
            custodian.let_others_in().map_err(|error| failure(&error))?;
        }
        let made = custodian.create_subjects(some).map_err(|error| failure(&error))?;
        ids.extend(made.iter().map(ToString::to_string));
    }
    Ok(())
}

/// What is said when some exist and the others do not. Under a name, who a line stands for follows from its number in the file.
fn part(failure: Failure, count: usize, all: usize, request: Option<&str>) -> Failure {
    if count == 0 {
        return failure;
    }
    let message =
        format!("{}; {count} of {all} were created, whose ids are printed", failure.message);
    let hint = match request {
        Some(_) => "import the same file again, with the same `--request`".to_owned(),
        None => format!("import the lines from {} on", count + 1),
    };
    Failure { message, ..failure }.hint(hint)
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
    let profile = NewSubject::profile_in(line);
    Ok(lookups.filter(|_| json.is_object()).map(|lookups| NewSubject { once, lookups, profile }))
}

fn bad(index: usize) -> Failure {
    Failure::new(Exit::Failed, format!("line {} is no subject; nothing was created", index + 1))
        .hint("for example {\"lookups\": {\"email\": \"ada@example.com\"}, \"profile\": {}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_ends_in_the_middle_says_who_exists_and_where_to_go_on() {
        let busy = || Failure::new(Exit::Unreachable, "another command works").hint("wait");
        let failure = part(busy(), 500, 1200, None);
        let expected = "another command works; 500 of 1200 were created, whose ids are printed";
        assert_eq!((failure.exit, &*failure.message), (Exit::Unreachable, expected));
        assert_eq!(failure.hint.as_deref(), Some("import the lines from 501 on"));
        let named = part(busy(), 500, 1200, Some("november"));
        let expected = "import the same file again, with the same `--request`";
        assert_eq!(named.hint.as_deref(), Some(expected));
        assert_eq!(part(busy(), 0, 1200, None).hint.as_deref(), Some("wait"));
    }
}
