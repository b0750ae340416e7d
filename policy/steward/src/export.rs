//! Export of a subject: one package (BagIt, RFC 8493) with files, profile, consents, access report, JSON for machines and a
//! page for people; signed receipt.
//!
//! ```text
//! bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt  receipt.cbor
//! data/index.html  data/subject.json  data/consents.json  data/access-report.json
//! data/files/CLASS/NAME  data/evidence/NUMBER  data/proofs/head.txt  data/proofs/entries.json
//! ```
//!
//! Evidence of an answer is there as it came, by the number that the answer has in the access report.
//!
//! Keys come by ordinary grants of the application's own work, one class after the other; each is on record before its
//! files are read. Any BagIt validator checks the package, `sha256sum -c manifest-sha256.txt` does too.
//!
//! It is made in pieces, so that whoever takes it slowly keeps nobody else out:
//!
//! 1. Between two pieces no key is at hand. Each begins with what is on record then: somebody who was erased has no further one,
//!    and a class whose grant is over is decided anew.
//! 2. A file is in it as it was when its turn came, once, whatever it is called before or after; the manifest names what is in it.
//! 3. That it was done is recorded when all but receipt and tag manifest are with the target.

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};
use strongroom_audit::Grant;
use strongroom_authorizer::{Action, Reason};
use strongroom_crypto::hash::sha256;
use strongroom_crypto::secret::SubjectKey;
use strongroom_records::activity::Activity;
use strongroom_records::ids::{ClassId, FileId, Hash, SubjectId};
use strongroom_records::log::{Kind, Outcome};
use strongroom_records::receipt::{Deed, ExportDeed};
use strongroom_records::subject::{ConsentStatus, File};

use crate::access::Asked;
use crate::audit::{ReportLine, SubjectReport};
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::files::OpenFolder;
use crate::register::Transaction;
use crate::subjects::Subject;
use crate::times::time_text;

/// LIMIT: bytes of files after which a piece of an export ends.
const PIECE_LEN: usize = 8 << 20;
/// Of a grant's life, what a piece of an export needs at the least, in nanoseconds.
const LIFE_MIN: i64 = 1_000_000_000;

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

/// An export that is under way.
pub struct Export {
    subject: SubjectId,
    /// Classes whose files are still to come, the next one last.
    classes: Vec<ClassId>,
    /// What the class under way was released by.
    grant: Option<Grant>,
    listed: Vec<Value>,
    /// Files that are in it, and which of them is where.
    names: FileNames,
    taken: BTreeMap<String, FileId>,
    /// Files that were there when an earlier piece was made.
    met: BTreeSet<FileId>,
    /// Files that others may not have in it.
    left_out: BTreeSet<FileId>,
    bag: Bag,
    /// What the receipt will say, once all but that is written.
    deed: Option<ExportDeed>,
    /// Whether the application was in use when it began.
    was_active: bool,
}

/// What is in a package so far.
#[derive(Default)]
struct Bag {
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
        let mut export = self.begin_export(subject)?;
        loop {
            if let Some(exported) = self.go_on(&mut export, target)? {
                return Ok(exported);
            }
            self.let_others_in()?;
        }
    }

    /// Begins an export, of which nothing is decided or read yet.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn begin_export(&self, subject: &SubjectId) -> Result<Export> {
        self.subject(subject)?;
        let mut classes = self.classes()?;
        classes.reverse();
        Ok(Export {
            subject: *subject,
            classes,
            grant: None,
            listed: Vec::new(),
            names: FileNames::new(),
            taken: BTreeMap::new(),
            met: BTreeSet::new(),
            left_out: BTreeSet::new(),
            bag: Bag::default(),
            deed: None,
            was_active: self.is_active(),
        })
    }

    /// Whether the next piece of an export is what a long history is read for.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn reads_long_history(&self, export: &Export) -> Result<bool> {
        let is_next = export.classes.is_empty() && export.deed.is_none();
        Ok(is_next && self.has_long_history(&export.subject)?)
    }

    /// Writes the next piece, at most one file more than 8 MiB; the export, when that was the last. After an error of the
    /// custodian it may be asked again for the same piece.
    ///
    /// # Errors
    /// `Denied` for a subject that is erased by now, and for an application that was disabled since it began; those of the target.
    pub fn go_on(
        &mut self,
        export: &mut Export,
        target: &mut dyn Target,
    ) -> Result<Option<Exported>> {
        export.check_active(self)?;
        match (export.classes.last().copied(), export.deed.clone()) {
            (Some(class), _) => self.export_files(export, class, target)?,
            (None, None) => self.export_rest(export, target)?,
            (None, Some(deed)) => return self.close_export(export, deed, target).map(Some),
        }
        Ok(None)
    }

    /// Some files of a class, which is released and on record first.
    fn export_files(
        &mut self,
        export: &mut Export,
        class: ClassId,
        target: &mut dyn Target,
    ) -> Result<()> {
        let name = self.class_name(class)?;
        let lasts = self.services().clock.now_ns().saturating_add(LIFE_MIN);
        let grant = match export.grant.take().filter(|grant| grant.is_good(class, lasts)) {
            Some(grant) => grant,
            None => {
                let subject = export.subject.to_string();
                let asked = Asked { activity: None, subject, class: name.clone(), purpose: None };
                self.ask(&asked, Action::Export)?.1
            }
        };
        let register = self.register();
        let (own, key) = self.still_there(&export.subject)?;
        let folder = OpenFolder::open(register, &grant, &key, &own.cell)?;
        export.grant = Some(grant);
        let (mut left, mut len) = (export.left_of(&name, &folder).into_iter().peekable(), 0);
        while let Some((file, path)) = left.next_if(|_| len < PIECE_LEN) {
            let plain = folder.read(register, &export.subject, file)?;
            len += plain.len();
            export.bag.add(&format!("data/files/{path}"), &plain, target)?;
            export.note((file, &[]), (&name, path), &plain);
        }
        export.meet(&folder);
        if left.peek().is_none() && !self.export_joint_file(export, &name, &folder, target)? {
            export.classes.pop();
            export.grant = None;
        }
        Ok(())
    }

    /// The next file of a class that is about others as well, which goes out with their ids; false when that was the last. It is
    /// left out where one of them is being erased.
    fn export_joint_file(
        &mut self,
        export: &mut Export,
        class: &str,
        folder: &OpenFolder,
        target: &mut dyn Target,
    ) -> Result<bool> {
        let mut all = folder.folder.joint.iter();
        let place = |file: &File| export.place_of((class, file), folder);
        let next = all.find_map(|joint| Some((joint, place(&joint.file)?)));
        let (Some((joint, path)), Some(grant)) = (next, &export.grant) else { return Ok(false) };
        match self.export_joint(grant, joint)? {
            Some(plain) => {
                export.bag.add(&format!("data/files/{path}"), &plain, target)?;
                export.note((&joint.file, &joint.others), (class, path), &plain);
            }
            None => drop(export.left_out.insert(joint.file.id)),
        }
        Ok(true)
    }

    /// A subject and its key, unless it was erased meanwhile.
    fn still_there(&self, subject: &SubjectId) -> Result<(Subject, SubjectKey)> {
        let register = self.register();
        let own = register.subject(subject)?.ok_or_else(Error::no_subject)?;
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        Ok((own, key))
    }

    /// All but the files, to the manifest.
    fn export_rest(&mut self, export: &mut Export, target: &mut dyn Target) -> Result<()> {
        self.still_there(&export.subject)?;
        let line = self.subject(&export.subject)?;
        let consents = self.consents(&export.subject)?;
        let report = self.report(&export.subject)?;
        // Others may have been let in.
        self.still_there(&export.subject)?;
        export.check_active(self)?;
        let now = time_text(self.services().clock.now_ns());
        let (names, bag) = (&export.names, &mut export.bag);
        let about = json!({
            "format": "strongroom-export/1",
            "application": self.listed().name,
            "subject": export.subject.to_string(),
            "created": time_text(line.created),
            "exported": now,
            "files": std::mem::take(&mut export.listed),
        });
        bag.json("data/subject.json", &about, target)?;
        let answers: Vec<Value> = consents.iter().map(|(a, s)| self.answer_json(a, *s)).collect();
        bag.json("data/consents.json", &Value::from(answers), target)?;
        let lines = report.lines.iter().map(|line| report_line_json(line, names));
        let lines: Vec<Value> = lines.collect();
        bag.json("data/access-report.json", &Value::from(lines), target)?;
        for line in &report.lines {
            let about = line.entry.about.as_ref().zip(line.detail.as_ref());
            if let Some((about, detail)) = about.filter(|(_, detail)| !detail.evidence.is_empty()) {
                bag.add(&format!("data/evidence/{}", about.number), &detail.evidence, target)?;
            }
        }
        bag.json("data/proofs/entries.json", &proofs_json(&report), target)?;
        bag.add("data/proofs/head.txt", report.head.as_bytes(), target)?;
        let page = page(&about, &consents, &report, names);
        bag.add("data/index.html", page.as_bytes(), target)?;
        let manifest = manifest(&bag.payload);
        bag.tag("manifest-sha256.txt", manifest.as_bytes(), target)?;
        let bagit = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
        bag.tag("bagit.txt", bagit, target)?;
        let oxum = format!("{}.{}", bag.payload_len, bag.payload.len());
        let date = now.split('T').next().unwrap_or_default();
        let info =
            format!("Bagging-Date: {date}\nPayload-Oxum: {oxum}\nBag-Software-Agent: strongroom\n");
        bag.tag("bag-info.txt", info.as_bytes(), target)?;
        export.deed = Some(ExportDeed {
            subject: export.subject,
            manifest: Hash(sha256(manifest.as_bytes())),
            files: bag.files,
            bytes: bag.bytes,
            entries: report.last_number,
            last_entry: report.last_entry,
        });
        Ok(())
    }

    /// Records it. What is written last says so.
    fn close_export(
        &mut self,
        export: &mut Export,
        deed: ExportDeed,
        target: &mut dyn Target,
    ) -> Result<Exported> {
        let (mut own, _) = self.still_there(&export.subject)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let now = transaction.now;
        register.tell(&mut transaction, &mut own, Kind::Export, None, None, |entry| {
            entry.object = Some(deed.manifest);
        });
        register.put_subject(&mut transaction, &mut own);
        let (position, _) = self.register_mut().commit(transaction)?;
        let receipt = self.receipt(now, position, Deed::Export(deed.clone()));
        export.bag.tag("receipt.cbor", &receipt, target)?;
        let tags = self::manifest(&export.bag.tags);
        target.write("tagmanifest-sha256.txt", tags.as_bytes())?;
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

impl Export {
    fn check_active(&self, custodian: &Custodian) -> Result<()> {
        match self.was_active && !custodian.is_active() {
            true => Err(Error::disabled_meanwhile()),
            false => Ok(()),
        }
    }

    /// A file is in the package.
    fn note(
        &mut self,
        (file, others): (&File, &[SubjectId]),
        (class, path): (&str, String),
        plain: &[u8],
    ) {
        let mut line = json!({
            "path": format!("files/{path}"),
            "class": class,
            "size": file.len,
            "sha256": Hash(sha256(plain)).to_string(),
            "written": time_text(file.written),
        });
        if !others.is_empty() {
            line["with"] = others.iter().map(ToString::to_string).collect();
        }
        self.listed.push(line);
        self.taken.insert(path.clone(), file.id);
        self.names.insert(file.id, path);
        self.bag.files += 1;
        self.bag.bytes += file.len;
    }
}

impl Bag {
    fn add(&mut self, path: &str, bytes: &[u8], target: &mut dyn Target) -> Result<()> {
        target.write(path, bytes)?;
        self.payload.push((path.to_owned(), Hash(sha256(bytes))));
        self.payload_len += bytes.len() as u64;
        Ok(())
    }

    fn tag(&mut self, path: &str, bytes: &[u8], target: &mut dyn Target) -> Result<()> {
        target.write(path, bytes)?;
        self.tags.push((path.to_owned(), Hash(sha256(bytes))));
        Ok(())
    }

    fn json(&mut self, path: &str, json: &Value, target: &mut dyn Target) -> Result<()> {
        self.add(path, format!("{json:#}\n").as_bytes(), target)
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
            "number": line.entry.about.as_ref().map(|about| about.number),
            "index": line.index,
            "leaf": hex(&line.leaf),
            "sha256": Hash(sha256(&line.leaf)).to_string(),
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
        Kind::RegisterRotated => "register key changed",
        Kind::Opened => "files opened",
        Kind::LetGo => "let go",
        Kind::Noticed => "notice of erasure",
        Kind::LedgerLost => "ledger given up",
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
