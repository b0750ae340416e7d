//! `strongroom scrub`: makes all members of a mirror hold the same.

use serde_json::json;
use strongroom_remote::mirror::is_replaced;

use crate::args::Scrub;
use crate::assemble;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::place::Place;
use crate::ui::{self, Format};

/// Compares all members and repairs. Ends with 3 when nobody can tell which of two copies is right.
///
/// # Errors
/// The store is no mirror; a member does not answer or cannot be written.
pub fn run(options: &Scrub, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let place = Place::parse(&options.store, &home)?;
    let preferred =
        options.prefer.as_ref().map(|member| Place::parse(member, &home)).transpose()?;
    let scrubbed = assemble::scrub(&place, preferred.as_ref())?;
    let unresolved: Vec<String> = scrubbed.unresolved.iter().map(ToString::to_string).collect();
    let (things, copies) = (scrubbed.count, scrubbed.repaired);
    let bytes = ui::bytes_text(scrubbed.bytes);
    let mut text = format!("{things} things compared, {bytes} read, {copies} copies repaired\n");
    for key in &unresolved {
        text += &format!("`{key}` differs, and nobody can tell which copy is right\n");
    }
    if scrubbed.unresolved.iter().any(|key| is_replaced(*key)) {
        text += &format!(
            "hint: `strongroom check MEMBER` says which member opens with the passphrase that counts; \
             then run `strongroom scrub {} --prefer MEMBER`\n",
            place.shown()
        );
    }
    let json = json!({
        "things": things,
        "bytes": scrubbed.bytes,
        "repaired": copies,
        "unresolved": unresolved,
    });
    ui::answer(format, &text, &json)?;
    Ok(if unresolved.is_empty() { Exit::Done } else { Exit::Partial })
}
