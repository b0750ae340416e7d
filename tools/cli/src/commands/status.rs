//! `strongroom status`: which workspaces are mounted, and how they are.

use std::path::Path;

use serde_json::{Value, json};

use crate::args::Status;
use crate::control;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::note;
use crate::ui::{self, Format};

/// Prints one mount, or all of them.
///
/// # Errors
/// The given folder is no mount.
pub fn run(options: &Status, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let exit = match &options.mountpoint {
        Some(path) => one(&home, &mountpoint::resolve(path)?, format)?,
        None => all(&home, format)?,
    };
    Ok(exit)
}

fn one(home: &Home, mountpoint: &Path, format: Format) -> Result<Exit> {
    let note = note::about(home, mountpoint)?;
    let mut status = control::status(mountpoint)?;
    if let (Some(fields), Some(note)) = (status.as_object_mut(), note) {
        fields.insert("store".to_owned(), json!(note.store));
        fields.insert("pid".to_owned(), json!(note.pid));
    }
    if let Some(fields) = status.as_object_mut() {
        fields.insert("mountpoint".to_owned(), json!(mountpoint.to_string_lossy()));
    }
    ui::answer(format, &text(&status), &status)?;
    Ok(Exit::Done)
}

/// Every mount this user started, and dead ones that a crash left in the mount table. Ends with 3 if one does not answer.
fn all(home: &Home, format: Format) -> Result<Exit> {
    let notes = note::all(home)?;
    let mut mounts = Vec::new();
    let mut lines = String::new();
    let mut exit = Exit::Done;
    for entry in mountpoint::mounts()? {
        let note = notes.iter().find(|note| note.mountpoint == entry.mountpoint);
        let is_dead = mountpoint::is_dead(&entry.mountpoint);
        if note.is_none() && (entry.fs_type != mountpoint::TYPE || !is_dead) {
            continue;
        }
        let store = note.map_or(entry.source.as_str(), |note| note.store.as_str());
        let state = if is_dead { "dead" } else { "mounted" };
        if is_dead {
            exit = Exit::Partial;
        }
        lines += &format!("{}  {store}  {state}\n", entry.mountpoint.display());
        mounts.push(json!({
            "mountpoint": entry.mountpoint.to_string_lossy(),
            "store": store,
            "state": state,
            "pid": note.map(|note| note.pid),
        }));
    }
    ui::answer(format, &lines, &json!({ "mounts": mounts }))?;
    Ok(exit)
}

/// What people look for first, first; then the rest by name.
const ORDER: [&str; 12] = [
    "mountpoint",
    "store",
    "workspace",
    "mode",
    "pid",
    "trouble",
    "head",
    "head_code",
    "unplaced_ops",
    "pending_ops",
    "dirty_bytes",
    "staged_bytes",
];

/// One line for each field; sizes in units for people.
fn text(status: &Value) -> String {
    let Some(fields) = status.as_object() else { return format!("{status}\n") };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    let first = ORDER.iter().filter_map(|name| fields.get_key_value(*name));
    let rest = fields.iter().filter(|(name, _)| !ORDER.contains(&name.as_str()));
    let mut lines = String::new();
    for (name, value) in first.chain(rest) {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Number(count) if name.ends_with("bytes") => {
                count.as_u64().map_or_else(|| count.to_string(), ui::bytes_text)
            }
            Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        lines += &format!("{:<width$}  {shown}\n", name.replace('_', " "));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_for_people_names_units() {
        let status =
            json!({"commits": 3, "dirty_bytes": 1536, "mountpoint": "/mnt/a b", "trouble": null});
        assert_eq!(
            text(&status),
            "mountpoint   /mnt/a b\ntrouble      none\ndirty bytes  1.5 KiB\ncommits      3\n"
        );
    }
}
