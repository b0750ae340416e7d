//! The nouns of personal data, one file each, and what they share.

pub mod agent;
pub mod app;
pub mod audit;
pub mod consent;
pub mod consumer;
mod import;
pub mod key;
pub mod policy;
mod receipt;
mod rotate;
mod settle;
pub mod subject;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use strongroom_records::ids::{ApplicationId, SubjectId};

use crate::assemble::custody::Office;
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::ui::{self, Format};

/// LIMIT: bytes of what is read from a file or standard input.
const INPUT_LEN_MAX: u64 = 64 << 20;

/// Reads all of a file, or standard input for `-`.
pub(super) fn input(path: &Path, what: &str) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Failure::io(format!("reading {what}"), &error);
    let mut bytes = Vec::new();
    let limit = INPUT_LEN_MAX + 1;
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => fs::File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes),
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > INPUT_LEN_MAX {
        return Err(Failure::new(Exit::Failed, format!("{what} is larger than 64 MiB")));
    }
    Ok(bytes)
}

/// The same, as text.
pub(super) fn input_text(path: &Path, what: &str) -> Result<String> {
    String::from_utf8(input(path, what)?)
        .map_err(|_| Failure::new(Exit::Failed, format!("{what} is no UTF-8 text")))
}

/// Writes a new file for its owner alone.
pub(super) fn output(path: &Path, bytes: &[u8], what: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error: io::Error| Failure::io(format!("writing {what}"), &error);
    let mut options = fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(failed)
}

/// A subject's id, as typed.
pub(super) fn subject_id(text: &str) -> Result<SubjectId> {
    SubjectId::parse(text).ok_or_else(|| {
        Failure::new(Exit::Usage, "a subject is named by 32 hexadecimal digits")
            .hint("`strongroom subject list` shows them")
    })
}

/// A moment, as typed.
pub(super) fn moment(text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    let parsed = strongroom_steward::parse_time(text).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is no date or time"))
            .hint("write 2027-01-31 or 2027-01-31T00:00:00Z")
    });
    parsed.map(Some)
}

/// Answers what was asked of an open application, once others may write to it again: whoever reads the answer takes as long
/// as they like.
pub(super) fn answer_after(office: Office, format: Format, text: &str, json: &Value) -> Result<()> {
    drop(office);
    ui::answer(format, text, json)
}

/// Brings what was just recorded of an application into force in every running view of it in this home; adds to the answer how
/// many there were, and says to people if some did not answer. Other commands may write again first: a view may be waiting for
/// its turn.
pub(super) fn bring_into_force(
    office: Office,
    application: &ApplicationId,
    answer: &mut Value,
) -> Result<()> {
    drop(office);
    let told = control::tell_views(&Home::find()?, application);
    if told.silent > 0 {
        ui::tell(&format!(
            "on record; {} views of this machine did not answer and may still show what they had",
            told.silent
        ));
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("views_told".to_owned(), told.told.into());
        fields.insert("views_silent".to_owned(), told.silent.into());
    }
    Ok(())
}
