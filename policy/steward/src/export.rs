//! Export of a subject: one package (BagIt, RFC 8493) with files, profile, consents, access report, JSON for machines and a
//! page for people; signed receipt.
//!
//! ```text
//! bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt  receipt.cbor
//! data/index.html  data/subject.json  data/consents.json  data/access-report.json
//! data/files/CLASS/NAME  data/proofs/head.txt  data/proofs/entries.json
//! ```
//!
//! Keys come by ordinary grants of the application's own work, one class after the other; each is on record before its
//! files are read. Any BagIt validator checks the package, `sha256sum -c manifest-sha256.txt` does too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use strongroom_authorizer::{Action, Reason};
use strongroom_crypto::hash::sha256;
use strongroom_records::activity::Activity;
use strongroom_records::ids::{FileId, Hash, SubjectId};
use strongroom_records::log::{Kind, Outcome};
use strongroom_records::receipt::{Deed, ExportDeed};
use strongroom_records::subject::ConsentStatus;

use crate::access::Asked;
use crate::audit::{ReportLine, SubjectReport};
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::files::OpenFolder;
use crate::register::Transaction;
use crate::times::time_text;

/// Where a package goes. Paths are relative, with `/` between their parts.
pub trait Target {
    /// Writes a new file.
    ///
    /// # Errors
    /// Its own.
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()>;
}

/// An export that is done.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What the receipt says.
    pub deed: ExportDeed,
    /// The signed receipt; also in the package.
    pub receipt: Vec<u8>,
}

/// A package being written: what is in it so far.
struct Bag<'t> {
    target: &'t mut dyn Target,
    payload: Vec<(String, Hash)>,
    tags: Vec<(String, Hash)>,
    payload_len: u64,
    files: u64,
    bytes: u64,
}

impl Custodian {
    /// Exports everything about a subject.
    ///
    /// # Errors
    /// `Denied` for an erased subject; those of the target.
    pub fn export(&mut self, subject: &SubjectId, target: &mut dyn Target) -> Result<Exported> {
        let mut bag = Bag {
            target,
            payload: Vec::new(),
            tags: Vec::new(),
            payload_len: 0,
            files: 0,
            bytes: 0,
        };
        let line = self.subject(subject)?;
        let (listed, names) = self.export_files(subject, &mut bag)?;
        let consents = self.consents(subject)?;
        let report = self.report(subject)?;
        let about = json!({
            "format": "strongroom-export/1",
            "application": self.listed().name,
            "subject": subject.to_string(),
            "created": time_text(line.created),
            "exported": time_text(self.services().clock.now_ns()),
            "files": listed,
        });
        bag.json("data/subject.json", &about)?;
        let answers: Vec<Value> = consents.iter().map(|(a, s)| self.answer_json(a, *s)).collect();
        bag.json("data/consents.json", &Value::from(answers))?;
        let lines = report.lines.iter().map(|line| report_line_json(line, &names));
        let lines: Vec<Value> = lines.collect();
        bag.json("data/access-report.json", &Value::from(lines))?;
        bag.json("data/proofs/entries.json", &proofs_json(&report))?;
        bag.add("data/proofs/head.txt", report.head.as_bytes())?;
        bag.add("data/index.html", page(&about, &consents, &report, &names).as_bytes())?;
        self.close_bag(subject, bag)
    }

    /// The files themselves, class by class, each released and on record first.
    fn export_files(
        &mut self,
        subject: &SubjectId,
        bag: &mut Bag<'_>,
    ) -> Result<(Vec<Value>, FileNames)> {
        let (mut listed, mut names) = (Vec::new(), FileNames::new());
        for class in self.classes()? {
            let name = self.class_name(class)?;
            let text = subject.to_string();
            let asked = Asked { activity: None, subject: text, class: name.clone(), purpose: None };
            let (own, grant) = self.ask(&asked, Action::Export)?;
            let register = self.register();
            let key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
            let folder = OpenFolder::open(register, &grant, &key, &own.cell)?;
            for file in &folder.folder.files {
                let plain = folder.read(register, subject, file)?;
                let path = format!("data/files/{name}/{}", file.name);
                bag.add(&path, &plain)?;
                names.insert(file.id, format!("{name}/{}", file.name));
                bag.files += 1;
                bag.bytes += file.len;
                listed.push(json!({
                    "path": path.trim_start_matches("data/"),
                    "class": name,
                    "size": file.len,
                    "sha256": Hash(sha256(&plain)).to_string(),
                    "written": time_text(file.written),
                }));
            }
        }
        Ok((listed, names))
    }

    fn close_bag(&mut self, subject: &SubjectId, mut bag: Bag<'_>) -> Result<Exported> {
        let manifest = manifest(&bag.payload);
        bag.tag("manifest-sha256.txt", manifest.as_bytes())?;
        bag.tag("bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")?;
        let oxum = format!("{}.{}", bag.payload_len, bag.payload.len());
        let now = self.services().clock.now_ns();
        let date = time_text(now);
        let date = date.split('T').next().unwrap_or_default();
        let info =
            format!("Bagging-Date: {date}\nPayload-Oxum: {oxum}\nBag-Software-Agent: strongroom\n");
        bag.tag("bag-info.txt", info.as_bytes())?;
        let deed = ExportDeed {
            subject: *subject,
            manifest: Hash(sha256(manifest.as_bytes())),
            files: bag.files,
            bytes: bag.bytes,
        };
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        register.tell(&mut transaction, &mut own, Kind::Export, None, None, |entry| {
            entry.object = Some(deed.manifest);
        });
        register.put_subject(&mut transaction, &mut own);
        let (position, _) = self.register_mut().commit(transaction)?;
        let receipt = self.receipt(now, position, Deed::Export(deed.clone()));
        bag.tag("receipt.cbor", &receipt)?;
        let tags = self::manifest(&bag.tags);
        bag.target.write("tagmanifest-sha256.txt", tags.as_bytes())?;
        Ok(Exported { deed, receipt })
    }

    fn answer_json(&self, activity: &Activity, status: ConsentStatus) -> Value {
        let classes: Vec<String> = activity
            .classes
            .iter()
            .map(|class| self.class_name(*class).unwrap_or_else(|_| class.0.to_string()))
            .collect();
        json!({
            "activity": activity.name,
            "consumer": activity.consumer,
            "purpose": activity.purpose,
            "basis": activity.basis.name(),
            "classes": classes,
            "recipients": activity.recipients,
            "retention_days": activity.retention_days,
            "notice": activity.notice,
            "status": status.name(),
        })
    }
}

impl Bag<'_> {
    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.target.write(path, bytes)?;
        self.payload.push((path.to_owned(), Hash(sha256(bytes))));
        self.payload_len += bytes.len() as u64;
        Ok(())
    }

    fn tag(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.target.write(path, bytes)?;
        self.tags.push((path.to_owned(), Hash(sha256(bytes))));
        Ok(())
    }

    fn json(&mut self, path: &str, json: &Value) -> Result<()> {
        self.add(path, format!("{json:#}\n").as_bytes())
    }
}

/// Lines of `sha256sum`; line ends and percent signs in names are written as BagIt says.
fn manifest(items: &[(String, Hash)]) -> String {
    let mut text = String::new();
    for (path, hash) in items {
        let path = path.replace('%', "%25").replace('\n', "%0A").replace('\r', "%0D");
        let _ = writeln!(text, "{hash}  {path}");
    }
    text
}

/// Names of a subject's files, `class/name`.
pub type FileNames = BTreeMap<FileId, String>;

/// An entry for machines and people: when, what, for whom, why, whether allowed, which files. Not who of the staff. The
/// same in exports, reports and the answers of an agent.
pub fn report_line_json(line: &ReportLine, names: &FileNames) -> Value {
    let entry = &line.entry;
    let judgement = entry.judgement.as_ref();
    let action = judgement.and_then(|judgement| Action::from_number(judgement.action));
    // What has been replaced or removed since has no name any more.
    let named = |id: &FileId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let files = line.detail.as_ref().map_or(&[][..], |detail| &detail.files);
    json!({
        "number": entry.about.as_ref().map(|about| about.number),
        "time": time_text(entry.time),
        "what": kind_text(entry.kind),
        "action": action.map(Action::name),
        "activity": line.activity,
        "class": entry.class.map(|class| class.0),
        "files": files.iter().map(named).collect::<Vec<_>>(),
        "allowed": judgement.map(|judgement| judgement.outcome == Outcome::Allow),
        "reason": judgement.and_then(|j| Reason::from_number(j.reason)).map(Reason::text),
        "consent": line.detail.as_ref().and_then(|detail| detail.consent.as_ref())
            .map(|consent| consent.status.name()),
        "record": entry.seq,
    })
}

fn proofs_json(report: &SubjectReport) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let proof = |(line, proof): (&ReportLine, &Vec<Hash>)| {
        json!({
            "index": line.index,
            "leaf": hex(&line.leaf),
            "proof": proof.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    json!({
        "tree_size": report.tree_size,
        "tree_root": report.tree_root.to_string(),
        "entries": report.lines.iter().zip(&report.proofs).map(proof).collect::<Vec<_>>(),
    })
}

/// A page without scripts that loads nothing, all text escaped.
fn page(
    about: &Value,
    consents: &[(Activity, ConsentStatus)],
    report: &SubjectReport,
    names: &FileNames,
) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Your data</title>\n<style>body{font:16px/1.5 \
         sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;width:100%}\
         td,th{border-bottom:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}</style></head><body>\n",
    );
    let text = |name: &str| escape(about[name].as_str().unwrap_or_default());
    let _ = writeln!(html, "<h1>Your data at {}</h1>", text("application"));
    let _ = writeln!(html, "<p>Exported {} for {}.</p>", text("exported"), text("subject"));
    html += "<h2>Files</h2>\n<table><tr><th>File</th><th>Class</th><th>Bytes</th><th>Written</th></tr>\n";
    for file in about["files"].as_array().into_iter().flatten() {
        let text = |name: &str| escape(file[name].as_str().unwrap_or_default());
        let path = text("path");
        let link = file["path"].as_str().map(link).unwrap_or_default();
        let _ = writeln!(
            html,
            "<tr><td><a href=\"{link}\">{path}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text("class"),
            file["size"],
            text("written"),
        );
    }
    html += "</table>\n<h2>Who asked, and what you said</h2>\n<table><tr><th>Activity</th><th>By</th><th>Purpose</th>\
             <th>Basis</th><th>Your answer</th></tr>\n";
    for (activity, status) in consents {
        let cells =
            [&activity.name, &activity.consumer, &activity.purpose].map(|cell| escape(cell));
        let (basis, status) = (activity.basis.name(), status.name());
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{basis}</td><td>{status}</td></tr>",
            cells[0], cells[1], cells[2]
        );
    }
    html += "</table>\n<h2>What was done</h2>\n<table><tr><th>No.</th><th>When</th><th>What</th><th>For</th><th>Files</th>\
             <th>Allowed</th></tr>\n";
    for line in &report.lines {
        let json = report_line_json(line, names);
        let files = json["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let files = escape(&files.collect::<Vec<_>>().join(" "));
        let text = |name: &str| escape(json[name].as_str().unwrap_or_default());
        let allowed = match json["allowed"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{files}</td><td>{allowed}</td></tr>",
            json["number"],
            text("time"),
            text("what"),
            text("activity"),
        );
    }
    html += "</table>\n<p>The same for programs: <a href=\"subject.json\">subject.json</a>, \
             <a href=\"consents.json\">consents.json</a>, <a href=\"access-report.json\">access-report.json</a>; proofs are in \
             <a href=\"proofs/head.txt\">proofs</a>.</p>\n</body></html>\n";
    html
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// A relative link: every byte that could mean something in a URL is written by its number.
fn link(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'/' => {
                out.push(char::from(byte));
            }
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The name of a kind of entry in answers and exports.
pub fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::ApplicationCreated => "application created",
        Kind::ApplicationRotated => "application key changed",
        Kind::ApplicationState => "application state changed",
        Kind::SubjectCreated => "created",
        Kind::ActivityProposed => "activity proposed",
        Kind::ActivityState => "activity changed",
        Kind::Consent => "consent",
        Kind::Access => "access",
        Kind::Export => "exported",
        Kind::ErasureReceived => "erasure received",
        Kind::ErasureKeys => "keys erased",
        Kind::ErasureClosed => "erasure closed",
        Kind::ErasureRefused => "erasure refused",
        Kind::Hold => "hold",
        Kind::Policy => "policies changed",
        Kind::Restriction => "restriction",
        Kind::SubjectRotated => "subject key changed",
        Kind::Lookup => "look-up",
        Kind::Declared => "class or schema declared",
        Kind::Removed => "files removed",
        Kind::Merged => "merged",
        Kind::Opened => "files opened",
        Kind::LetGo => "let go",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_cannot_become_markup_or_lines() {
        assert_eq!(escape("<script>\"x\"&'"), "&lt;script&gt;&quot;x&quot;&amp;&#39;");
        assert_eq!(link("files/a b\"?#.txt"), "files/a%20b%22%3F%23.txt");
        let hash = Hash([0; 32]);
        let text = manifest(&[("data/a\nb%".to_owned(), hash)]);
        assert_eq!(text, format!("{hash}  data/a%0Ab%25\n"));
    }
}
