//! `strongroom status`: which workspaces are mounted, and how they are.

use std::path::Path;

use serde_json::{Value, json};
use strongroom_mount::Served;
use strongroom_mount::mountinfo::MountEntry;

use crate::args::Status;
use crate::control;
use crate::exit::{Exit, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::note::{self, Note};
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
        let Some(served) = seen(&entry, note, strongroom_mount::served) else { continue };
        let store = note.map_or(entry.source.as_str(), |note| note.store.as_str());
        let state = match served {
            Served::Mounted => "mounted",
            Served::Silent => "silent",
            Served::Dead => "dead",
        };
        if served != Served::Mounted {
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

/// How a mount to be shown is served; none if it is not to be shown. Others' mounts are not asked: each one that hangs, a
/// network drive whose server is gone, would be waited for. Who works without a note is another home's.
fn seen(
    entry: &MountEntry,
    note: Option<&Note>,
    served: impl FnOnce(&Path) -> Served,
) -> Option<Served> {
    if note.is_none() && entry.fs_type != mountpoint::TYPE {
        return None;
    }
    let served = served(&entry.mountpoint);
    (note.is_some() || served == Served::Dead).then_some(served)
}

/// Fields that `text` says in sentences, or only when they are not as usual.
const SAID: [&str; 15] = [
    "mountpoint",
    "store",
    "workspace",
    "mode",
    "writable",
    "pid",
    "trouble",
    "head",
    "head_code",
    "unplaced_ops",
    "pending_ops",
    "dirty_bytes",
    "staged_bytes",
    "contact_seconds",
    "poisoned",
];

/// For people: is everything safe, and where; then counts by name.
fn text(status: &Value) -> String {
    let Some(fields) = status.as_object() else { return format!("{status}\n") };
    let word = |name: &str| fields.get(name).and_then(Value::as_str);
    let count = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, text: String| lines.push((name.to_owned(), text));
    for name in ["mountpoint", "store", "workspace"] {
        if let Some(text) = word(name) {
            say(name, text.to_owned());
        }
    }
    say("mode", if control::writes(status) { "read and write" } else { "read-only" }.to_owned());
    say("state", saved(&count));
    if fields.get("poisoned") == Some(&Value::Bool(true)) {
        let text = "the disk failed at a sync; nothing more is taken: unmount, look at the disk, mount again";
        say("stopped", text.to_owned());
    }
    if let Some(trouble) = word("trouble") {
        say("trouble", trouble.to_owned());
    }
    if count("unplaced_ops") > 0 {
        let text = "changes found no place on top of others' (`strongroom conflict list`)";
        say("unplaced", format!("{} {text}", count("unplaced_ops")));
    }
    say("store answered", format!("{} s ago", count("contact_seconds")));
    say("commit", format!("{}  {}", count("head"), word("head_code").unwrap_or_default()));
    let mut counts: Vec<_> =
        fields.iter().filter(|(name, _)| !SAID.contains(&name.as_str())).collect();
    counts.sort_by_key(|(name, _)| *name);
    for (name, value) in counts {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Number(count) if name.ends_with("bytes") => {
                count.as_u64().map_or_else(|| count.to_string(), ui::bytes_text)
            }
            other => other.to_string(),
        };
        say(&name.replace('_', " "), shown);
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.iter().map(|(name, shown)| format!("{name:<width$}  {shown}\n")).collect()
}

/// Whether what was written is in the store.
fn saved(count: &impl Fn(&str) -> u64) -> String {
    let (ops, bytes) = (count("pending_ops"), count("dirty_bytes") + count("staged_bytes"));
    if ops == 0 && bytes == 0 {
        return "everything is in the store".to_owned();
    }
    let changes = if ops == 1 { "1 change".to_owned() } else { format!("{ops} changes") };
    format!("{changes}, {}, not in the store yet", ui::bytes_text(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_for_people_says_what_is_safe_and_names_units() {
        let status = json!({
            "commits": 3, "cache_bytes": 1536, "mountpoint": "/mnt/a b", "mode": "rw", "head": 7, "head_code": "abcd",
            "pending_ops": 0, "dirty_bytes": 0, "staged_bytes": 0, "contact_seconds": 1, "poisoned": false,
            "trouble": null,
        });
        let expected = "mountpoint      /mnt/a b\nmode            read and write\n\
            state           everything is in the store\nstore answered  1 s ago\ncommit          7  abcd\n\
            cache bytes     1.5 KiB\ncommits         3\n";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn status_for_people_says_what_waits_and_what_is_wrong() {
        let status = json!({
            "mode": "ro", "pending_ops": 1, "dirty_bytes": 1024, "staged_bytes": 512, "poisoned": true,
            "trouble": "no answer", "unplaced_ops": 2,
        });
        let shown = text(&status);
        for line in [
            "state           1 change, 1.5 KiB, not in the store yet",
            "mode            read-only",
            "stopped         the disk failed at a sync",
            "trouble         no answer",
            "unplaced        2 changes found no place",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
    }

    #[test]
    fn mounts_of_others_are_not_asked() {
        let entry = |fs_type: &str| MountEntry {
            device: "0:40".to_owned(),
            mountpoint: "/mnt/a".into(),
            fs_type: fs_type.to_owned(),
            source: "it".to_owned(),
        };
        let note = Note::about_me(Path::new("/mnt/a"), "/srv/a");
        for other in ["nfs4", "autofs", "fuse.sshfs"] {
            assert_eq!(seen(&entry(other), None, |_| panic!("{other} is asked")), None);
        }
        let (dead, silent, mounted) =
            (|_: &Path| Served::Dead, |_: &Path| Served::Silent, |_: &Path| Served::Mounted);
        assert_eq!(seen(&entry("fuse.strongroom"), None, dead), Some(Served::Dead));
        assert_eq!(seen(&entry("fuse.strongroom"), None, mounted), None);
        assert_eq!(seen(&entry("fuse.strongroom"), None, silent), None);
        assert_eq!(seen(&entry("fuse.vault"), Some(&note), mounted), Some(Served::Mounted));
        assert_eq!(seen(&entry("fuse.vault"), Some(&note), silent), Some(Served::Silent));
    }
}
