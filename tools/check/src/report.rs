//! What an examination found, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

/// LIMIT: findings and files told one by one; the rest is counted.
const TOLD_COUNT_MAX: usize = 10_000;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The workspace file.
    Workspace,
    /// The organisation's records.
    Organisation,
    /// Device files.
    Device,
    /// Checkpoint roots.
    Checkpoint,
    /// Commits.
    Log,
    /// Pages of the manifest tree, or what their entries say.
    Manifest,
    /// Stored objects.
    Object,
    /// This device's journal.
    Journal,
    /// Sealed objects on this device that wait for their commit.
    Staged,
    /// The head this device remembers.
    Head,
}

impl Area {
    /// As it stands in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Area::Workspace => "workspace",
            Area::Organisation => "organisation",
            Area::Device => "device",
            Area::Checkpoint => "checkpoint",
            Area::Log => "log",
            Area::Manifest => "manifest",
            Area::Object => "object",
            Area::Journal => "journal",
            Area::Staged => "staged",
            Area::Head => "head",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Not there.
    Missing,
    /// Bytes that are not what they were when they were written.
    Changed,
    /// Of another workspace, organisation or place.
    Foreign,
    /// Older than what this device has seen.
    Old,
    /// Verifies, but says something else than the rest.
    Contradiction,
}

impl Kind {
    /// As it stands in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Changed => "changed",
            Kind::Foreign => "foreign",
            Kind::Old => "old",
            Kind::Contradiction => "contradiction",
        }
    }
}

/// Something that is wrong with what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub area: Area,
    /// What is wrong.
    pub kind: Kind,
    /// One sentence with ids and numbers, no names.
    pub text: String,
}

/// A state before the present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// The commit that left it.
    pub seq: u64,
    /// Names of its snapshots; none: only the history's rule keeps it.
    pub snapshots: Vec<String>,
}

/// What it means for one file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDamage {
    /// The state that it is damaged in; none: the present.
    pub then: Option<Then>,
    /// Path from the root of the workspace; empty where no name could be read.
    pub path: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// What of it is lost.
    pub lost: Lost,
}

/// What of a file is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Bytes `from..to`, sorted and disjoint.
    Bytes(Vec<(u64, u64)>),
    /// Attributes, and with them everything.
    Everything,
    /// A folder: some or all of its names.
    Names,
}

/// How much was examined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commits after the checkpoint.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Pages of the tree.
    pub pages: u64,
    /// Names.
    pub names: u64,
    /// Inodes.
    pub inodes: u64,
    /// Extents.
    pub extents: u64,
    /// Bytes of files in blocks, opened.
    pub bytes: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Those of them that only snapshots and history need.
    pub past_objects: u64,
    /// Their bytes.
    pub past_bytes: u64,
    /// Commits before the checkpoint that history keeps.
    pub past_commits: u64,
    /// Objects in the store that nothing refers to: leftovers, not damage.
    pub unnamed_objects: u64,
    /// Their bytes.
    pub unnamed_bytes: u64,
    /// Files without a name, left by a process that ended while they were open.
    pub orphans: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Records in this device's journal that no commit holds yet.
    pub pending_records: u64,
    /// Pages that could not be read.
    pub unreadable_pages: u64,
    /// Contradictions that what is unreadable could explain.
    pub undecided: u64,
    /// Findings and files beyond those told one by one.
    pub untold: u64,
}

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Newest commit that could be reached.
    pub head: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Which files and folders it concerns, by path.
    pub files: Vec<FileDamage>,
    /// How much was examined.
    pub counts: Counts,
    /// Whether the journal of this device was left alone, as the workspace is mounted.
    pub journal_in_use: bool,
    /// Whether the store changed during every attempt, so that damage may be none.
    pub changed_meanwhile: bool,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.files.is_empty() && self.counts.untold == 0
    }

    pub(crate) fn find(&mut self, area: Area, kind: Kind, text: impl Into<String>) {
        if self.findings.len() < TOLD_COUNT_MAX {
            self.findings.push(Finding { area, kind, text: text.into() });
        } else {
            self.counts.untold += 1;
        }
    }

    pub(crate) fn tell_file(&mut self, damage: FileDamage) {
        if self.files.len() < TOLD_COUNT_MAX {
            self.files.push(damage);
        } else {
            self.counts.untold += 1;
        }
    }

    /// Takes over what was found in an earlier state.
    pub(crate) fn take_of(&mut self, then: &Then, told: Report) {
        for Finding { area, kind, text } in told.findings {
            self.find(area, kind, format!("{}: {text}", then.words()));
        }
        for file in told.files {
            self.tell_file(FileDamage { then: Some(then.clone()), ..file });
        }
        self.counts.untold += told.counts.untold;
        self.counts.undecided += told.counts.undecided;
        self.counts.unreadable_pages += told.counts.unreadable_pages;
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}: {}", shown(file), file.lost.words());
        }
        for finding in &self.findings {
            let (area, kind) = (finding.area.name(), finding.kind.name());
            let _ = writeln!(text, "{area}: {kind}: {}", finding.text);
        }
        self.write_notes(&mut text);
        text
    }

    fn write_notes(&self, text: &mut String) {
        let counts = &self.counts;
        let mut note = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        if counts.untold > 0 {
            note(format!("{} more are damaged", counts.untold));
        }
        if counts.undecided > 0 {
            let undecided = counts.undecided;
            note(format!("{undecided} contradictions may come from what cannot be read"));
        }
        if self.changed_meanwhile && !self.is_clean() {
            note("the workspace changed all the while: unmount it and check again".to_owned());
        }
        if self.journal_in_use {
            note("mounted: the journal of this device was not examined".to_owned());
        }
        if counts.pending_records > 0 {
            let pending = counts.pending_records;
            note(format!("{pending} changes wait on this device for the next mount"));
        }
        if counts.orphans > 0 {
            note(format!(
                "{} files without a name wait for the next mount to end them",
                counts.orphans
            ));
        }
        if counts.unnamed_objects > 0 {
            let (objects, bytes) = (counts.unnamed_objects, counts.unnamed_bytes);
            note(format!("{objects} objects of {bytes} bytes are not in use"));
        }
        if counts.past_objects > 0 || counts.past_commits > 0 || counts.snapshots > 0 {
            note(format!(
                "beside the present: {} snapshots, {} commits of history, {} more objects of {} bytes",
                counts.snapshots, counts.past_commits, counts.past_objects, counts.past_bytes
            ));
        }
        note(format!(
            "{}: {} names, {} inodes, {} bytes in {} blocks, {} pages, {} objects, {} commits up to {}",
            if self.is_clean() { "sound" } else { "damaged" },
            counts.names,
            counts.inodes,
            counts.bytes,
            counts.extents,
            counts.pages,
            counts.objects,
            counts.commits,
            self.head,
        ));
    }

    /// For programs. Keys are only ever added.
    pub fn to_json(&self) -> Value {
        let counts = &self.counts;
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|found| {
                json!({"area": found.area.name(), "kind": found.kind.name(), "text": found.text})
            })
            .collect();
        json!({
            "clean": self.is_clean(),
            "head": self.head,
            "damaged_files": self.files.iter().map(FileDamage::to_json).collect::<Vec<_>>(),
            "findings": findings,
            "journal_in_use": self.journal_in_use,
            "changed_meanwhile": self.changed_meanwhile,
            "counts": {
                "commits": counts.commits,
                "operations": counts.operations,
                "pages": counts.pages,
                "names": counts.names,
                "inodes": counts.inodes,
                "extents": counts.extents,
                "bytes": counts.bytes,
                "objects": counts.objects,
                "past_objects": counts.past_objects,
                "past_bytes": counts.past_bytes,
                "past_commits": counts.past_commits,
                "unnamed_objects": counts.unnamed_objects,
                "unnamed_bytes": counts.unnamed_bytes,
                "orphans": counts.orphans,
                "snapshots": counts.snapshots,
                "pending_records": counts.pending_records,
                "unreadable_pages": counts.unreadable_pages,
                "undecided": counts.undecided,
                "untold": counts.untold,
            },
        })
    }
}

impl FileDamage {
    fn to_json(&self) -> Value {
        let then = self.then.as_ref();
        let mut value = json!({
            "commit": then.map(|then| then.seq),
            "snapshots": then.map_or(&[][..], |then| &then.snapshots),
            "path": String::from_utf8(self.path.clone()).unwrap_or_else(|_| escaped(&self.path)),
            "inode": self.ino,
            "lost": self.lost.name(),
        });
        if let Lost::Bytes(ranges) = &self.lost {
            value["bytes"] = ranges.iter().map(|(from, to)| json!([from, to])).collect();
        }
        value
    }
}

impl Lost {
    fn name(&self) -> &'static str {
        match self {
            Lost::Bytes(_) => "bytes",
            Lost::Everything => "everything",
            Lost::Names => "names",
        }
    }

    fn words(&self) -> String {
        match self {
            Lost::Everything => "cannot be read".to_owned(),
            Lost::Names => "names in this folder cannot be read".to_owned(),
            Lost::Bytes(ranges) => {
                let ranges: Vec<String> =
                    ranges.iter().map(|(from, to)| format!("{from}..{to}")).collect();
                format!("bytes {} cannot be read", ranges.join(", "))
            }
        }
    }
}

impl Then {
    /// Without names: for findings.
    pub(crate) fn words(&self) -> String {
        let what = if self.snapshots.is_empty() { "history" } else { "snapshot" };
        format!("{what} at commit {}", self.seq)
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.snapshots.iter().map(|name| format!("`{name}`")).collect();
        match names.len() {
            0 => format!("as of commit {}", self.seq),
            1 => format!("in snapshot {}", names[0]),
            _ => format!("in snapshots {}", names.join(", ")),
        }
    }
}

fn shown(file: &FileDamage) -> String {
    let path = match file.path.is_empty() {
        true => format!("(inode {}, name not readable)", file.ino),
        false => escaped(&file.path),
    };
    match &file.then {
        Some(then) => format!("{path} {}", then.names()),
        None => path,
    }
}

/// A path that does nothing to a terminal: control characters and what is not UTF-8 as `\xNN`.
fn escaped(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if character.is_control() => {
                    let mut bytes = [0; 4];
                    for byte in character.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(text, "\\x{byte:02x}");
                    }
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_nothing_to_a_terminal() {
        assert_eq!(escaped(b"/a\x1b[31m\\\xff\xc3\xa9"), "/a\\x1b[31m\\\\\\xff\u{e9}");
    }

    #[test]
    fn a_report_says_which_bytes_of_which_file() {
        let mut report = Report::default();
        assert!(report.is_clean());
        let lost = Lost::Bytes(vec![(0, 10), (65_536, 70_000)]);
        report.tell_file(FileDamage { then: None, path: b"/a/b".to_vec(), ino: 7, lost });
        assert!(!report.is_clean());
        let first = report.to_text().lines().next().map(str::to_owned);
        assert_eq!(first.as_deref(), Some("/a/b: bytes 0..10, 65536..70000 cannot be read"));
        assert_eq!(report.to_json()["damaged_files"][0]["bytes"][1][0], 65_536);
    }
}
