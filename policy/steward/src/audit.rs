//! Reading the audit log: entries, one subject's report with proofs, verification of everything. What people have is in `people`.

mod people;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strongroom_audit::merkle::{leaf_hash, verify_inclusion};
use strongroom_audit::verify::{self, Verification, Visit};
use strongroom_crypto::hash::sha256;
use strongroom_format::cbor;
use strongroom_records::activity::Activity;
use strongroom_records::ids::{ApplicationId, ClassId, FileId, Hash, Pseudonym, SubjectId};
use strongroom_records::keystore::Root;
use strongroom_records::log::{Entry, Header, Logged, base64, head_note, head_origin};
use strongroom_records::register::Payload;
use strongroom_records::subject::Detail;
use strongroom_store::Shelf;

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::subjects::Subject;

use people::People;
pub use people::{Looked, Told};

/// Records of others that are verified while they wait, and entries about somebody that are read so; and how often more than that are while they do not.
pub(crate) const LEFT_COUNT_MAX: u64 = 64;
pub(crate) const ROUND_COUNT_MAX: u32 = 8;

/// An entry about a subject.
#[derive(Clone, Debug)]
pub struct ReportLine {
    /// The entry.
    pub entry: Entry,
    /// Its leaf, as the tree hashes it.
    pub leaf: Vec<u8>,
    /// Its place in the tree.
    pub index: u64,
    /// Its detail, while the audit key lives.
    pub detail: Option<Detail>,
    /// Name of the activity, if it is about one.
    pub activity: Option<String>,
}

/// Everything on record about a subject, with what proves it.
#[derive(Clone, Debug)]
pub struct SubjectReport {
    /// Entries, oldest first; their numbers run from 1 without a gap.
    pub lines: Vec<ReportLine>,
    /// For each entry, the proof that it is in the tree.
    pub proofs: Vec<Vec<Hash>>,
    /// Number of the last entry, as the register says; 0 if there is none.
    pub last_number: u64,
    /// SHA-256 of its leaf.
    pub last_entry: Hash,
    /// The signed head they lead to, as a C2SP note.
    pub head: String,
    /// Entries in the tree of that head.
    pub tree_size: u64,
    /// Its root.
    pub tree_root: Hash,
}

/// What is wrong, with the register or with what is kept of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Record it was found at; of a subject, the one that last changed what the register has of it.
    pub seq: u64,
    /// What.
    pub what: &'static str,
    /// Whose it is, by the name in the audit log.
    pub subject: Option<Pseudonym>,
    /// The class of data.
    pub class: Option<ClassId>,
    /// The file.
    pub file: Option<FileId>,
}

/// What verification found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Records.
    pub records: u64,
    /// Entries.
    pub entries: u64,
    /// Cells of the register that were compared with the records.
    pub cells: u64,
    /// Nodes of the keystore.
    pub nodes: u64,
    /// What was looked at of people.
    pub looked: Looked,
    /// Tiles of the audit tree that were damaged or gone, and were made anew.
    pub mended_tiles: u64,
    /// What is wrong; empty where everything is sound.
    pub findings: Vec<Finding>,
}

impl Custodian {
    /// Entries of the log from a record on, at most `count` records.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn entries(&self, from: u64, count: u64) -> Result<Vec<Entry>> {
        let register = self.register();
        let mut entries = Vec::new();
        let end = register.log().next_seq().min(from.saturating_add(count));
        for seq in from..end {
            let (_, body) = register.log().body(&register.sealer(), seq)?;
            for logged in body.entries {
                entries.push(cbor::decode_canonical(&logged.leaf)?);
            }
        }
        Ok(entries)
    }

    /// Records in the log.
    pub fn record_count(&self) -> u64 {
        self.register().log().next_seq()
    }

    /// Everything on record about a subject, as of now. Where that is much, others write while it is read.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when entries are missing.
    pub fn report(&mut self, subject: &SubjectId) -> Result<SubjectReport> {
        let prove = |custodian: &Self, lines: Vec<ReportLine>| {
            let proven = custodian.proven(lines.clone());
            (lines, proven)
        };
        let (lines, proven) = self.read_about(subject, prove)?;
        match proven {
            Ok(report) if report.holds() => return Ok(report),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
        // The records are whole, so it is the hashes, which follow from all records.
        let register = self.register();
        register.log().mend(&register.sealer())?;
        self.proven(lines)
    }

    /// Whether so much is on record about a subject that others write while it is read.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn has_long_history(&self, subject: &SubjectId) -> Result<bool> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        Ok(own.cell.entry_number > LEFT_COUNT_MAX)
    }

    fn proven(&self, lines: Vec<ReportLine>) -> Result<SubjectReport> {
        let log = self.register().log();
        let proofs = log.prove_inclusions(lines.iter().map(|line| line.index))?;
        let header = log.head().ok_or_else(|| Error::corrupt("the register is empty"))?;
        let (last_number, last_entry) = end_of(&lines);
        Ok(SubjectReport {
            lines,
            proofs,
            last_number,
            last_entry,
            head: self.signed_head()?,
            tree_size: header.tree_size,
            tree_root: header.tree_root,
        })
    }

    /// The newest head as a signed C2SP note.
    ///
    /// # Errors
    /// `Corrupt` when there is none.
    pub fn signed_head(&self) -> Result<String> {
        let header = self.register().log().head();
        let header = header.ok_or_else(|| Error::corrupt("the register is empty"))?;
        let application = self.register().application();
        let key = *self.register().head_key().verifying_key().as_bytes();
        let signature = [&key_hash(&application, &key)[..], &header.head_signature].concat();
        let note = head_note(&application, header.tree_size, &header.tree_root);
        let origin = head_origin(&application);
        Ok(format!("{note}\n— {origin} {}\n", base64(&signature)))
    }

    /// The key that signed heads verify under, as C2SP writes it.
    pub fn head_verifier(&self) -> String {
        let application = self.register().application();
        let key = *self.register().head_key().verifying_key().as_bytes();
        let id: String =
            key_hash(&application, &key).iter().map(|byte| format!("{byte:02x}")).collect();
        let typed = [&[ED25519][..], &key].concat();
        format!("{}+{id}+{}", head_origin(&application), base64(&typed))
    }

    /// Verifies every record, entry, head, tile and cell of the register, and every file that it has of anybody. Tiles that are
    /// not what sound records say are made anew. Nobody else may be writing.
    ///
    /// # Errors
    /// Those of the store; what is wrong is in the answer.
    pub fn verify(&self) -> Result<Verified> {
        let mut seen = Seen::default();
        self.look_at_everybody_once(&mut seen.people)?;
        self.look_through(&mut seen, Others::KeptOut)?;
        self.verified(seen)
    }

    /// The same, with others let in until what they wrote meanwhile is little.
    ///
    /// # Errors
    /// As [`Custodian::verify`].
    pub fn verify_beside_others(&mut self, told: Told<'_>) -> Result<Verified> {
        let mut seen = Seen::default();
        self.stand_aside();
        self.look_at_everybody(&mut seen.people, told)?;
        for _ in 0..ROUND_COUNT_MAX {
            self.look_through(&mut seen, Others::Write)?;
            self.follow()?;
            if self.record_count() <= seen.log.next_seq() + LEFT_COUNT_MAX {
                break;
            }
        }
        self.come_back()?;
        self.look_through(&mut seen, Others::KeptOut)?;
        self.look_at_the_rest(&mut seen.people, told)?;
        self.verified(seen)
    }

    /// Looks at all that is new, and again at what did not fit: whoever wrote meanwhile may have changed it.
    fn look_through(&self, seen: &mut Seen, others: Others) -> Result<()> {
        let (register, cells) = (self.register(), &mut seen.cells);
        let (log, sealer) = (register.log(), register.sealer());
        let head_key = Some(register.head_key().verifying_key());
        seen.log.go_on(log, self.services(), &sealer, head_key, cells)?;
        let mut misfits = BTreeSet::new();
        for name in std::mem::take(&mut cells.due) {
            // What was followed is the record's own: compared with that, no cell would ever be damaged. It stays due until it
            // is in the store.
            let unstored = match others {
                Others::Write => None,
                Others::KeptOut => register.unstored_cell(&name),
            };
            let found = match unstored {
                Some(cell) => Some(cell.into()),
                None => log.shelves().find(Shelf::Cell, u128::from_be_bytes(name))?,
            };
            let recorded = cells.last.get(&name).map(|(_, hash)| *hash);
            if found.map(|bytes| sha256(&bytes)) != recorded {
                misfits.insert(name);
            }
        }
        cells.due = misfits;
        let is_known = seen.nodes.as_ref().is_some_and(|(root, _)| root == register.root());
        if !is_known {
            let nodes = register.stored_nodes();
            let (count, broken) = register.keystore().check(register.root(), &nodes)?;
            // What is broken may be so because somebody else writes.
            seen.nodes = broken.is_empty().then(|| (register.root().clone(), count));
            seen.node_count = count;
        }
        Ok(())
    }

    fn verified(&self, seen: Seen) -> Result<Verified> {
        let log = self.register().log();
        let report = seen.log.end(log)?;
        let mut verified = Verified {
            records: report.records,
            entries: report.entries,
            cells: seen.cells.last.len() as u64,
            nodes: seen.node_count,
            looked: seen.people.looked,
            mended_tiles: report.mended_tiles,
            findings: report.findings.into_iter().map(Finding::from).collect(),
        };
        for name in &seen.cells.due {
            let Some((seq, _)) = seen.cells.last.get(name) else { continue };
            let what = "a cell of the register is not the one that was recorded";
            verified.findings.push(Finding::at(*seq, what));
        }
        if seen.nodes.is_none() {
            let seq = log.next_seq().saturating_sub(1);
            let what = "nodes of the keystore are missing or damaged";
            verified.findings.push(Finding::at(seq, what));
        }
        verified.findings.extend(seen.people.findings);
        Ok(verified)
    }

    /// Entries about a subject, oldest first, followed back from the newest.
    pub(crate) fn entries_about(&mut self, subject: &SubjectId) -> Result<Vec<ReportLine>> {
        self.read_about(subject, |_, lines| lines)
    }

    /// The same, and what is made of them. Others write meanwhile, unless the entries are few.
    fn read_about<T>(
        &mut self,
        subject: &SubjectId,
        make: impl FnOnce(&Self, Vec<ReportLine>) -> T,
    ) -> Result<T> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let activities = self.activities()?;
        let read = |custodian: &Self| {
            let lines = custodian.lines_about(&own, &activities)?;
            Ok(make(custodian, lines))
        };
        match own.cell.entry_number > LEFT_COUNT_MAX {
            true => self.beside_others(read)?,
            false => read(self),
        }
    }

    fn lines_about(&self, own: &Subject, activities: &[Activity]) -> Result<Vec<ReportLine>> {
        let register = self.register();
        let mut lines: Vec<ReportLine> = Vec::new();
        self.each_about(own, |_, entry, logged, index| {
            let activity = entry.activity.and_then(|id| {
                activities.iter().find(|activity| activity.id == id).map(|a| a.name.clone())
            });
            let number = entry.about.map_or(0, |about| about.number);
            let detail = register.open_detail(own, number, &logged.detail);
            lines.push(ReportLine { detail, leaf: logged.leaf, index, entry, activity });
            Ok(true)
        })?;
        lines.reverse();
        match is_chain(&lines, own.cell.entry_number, own.cell.entry_hash) {
            true => Ok(lines),
            false => Err(Error::corrupt("entries about a subject are missing")),
        }
    }

    /// Entries about a subject, newest first, each with its record and place in the tree, as long as `visit` wants more.
    pub(crate) fn each_about(
        &self,
        own: &Subject,
        mut visit: impl FnMut(&Header, Entry, Logged, u64) -> Result<bool>,
    ) -> Result<()> {
        let register = self.register();
        let mut next = (own.cell.entry_number > 0).then_some(own.cell.entry_seq);
        while let Some(seq) = next {
            let (header, body) = register.log().body(&register.sealer(), seq)?;
            let first = header.tree_size - body.entries.len() as u64;
            let mut earliest = None;
            for (place, logged) in body.entries.into_iter().enumerate().rev() {
                let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
                let Some(about) = entry.about.filter(|a| a.subject == own.cell.pseudonym) else {
                    continue;
                };
                earliest = about.previous_seq.filter(|before| *before < seq);
                if !visit(&header, entry, logged, first + place as u64)? {
                    return Ok(());
                }
            }
            next = earliest;
        }
        Ok(())
    }
}

/// Number of the last entry and the SHA-256 of its leaf.
fn end_of(lines: &[ReportLine]) -> (u64, Hash) {
    let hash = lines.last().map_or(Hash::NONE, |line| Hash(sha256(&line.leaf)));
    (lines.len() as u64, hash)
}

/// Whether the numbers run from 1 without a gap, each with the hash of the one before, up to the last.
fn is_chain(lines: &[ReportLine], last_number: u64, last_entry: Hash) -> bool {
    let mut before = (0, Hash::NONE);
    let is_next = |line: &ReportLine| {
        let about = line.entry.about.as_ref().map(|about| (about.number, about.previous));
        let follows = about == Some((before.0 + 1, before.1));
        before = (before.0 + 1, Hash(sha256(&line.leaf)));
        follows
    };
    lines.iter().all(is_next) && end_of(lines) == (last_number, last_entry)
}

impl Finding {
    fn at(seq: u64, what: &'static str) -> Self {
        Self { seq, what, subject: None, class: None, file: None }
    }
}

impl From<verify::Finding> for Finding {
    fn from(found: verify::Finding) -> Self {
        Self::at(found.seq, found.what)
    }
}

impl SubjectReport {
    /// Whether every proof leads from its entry to the head, and the entries are a chain without gaps up to the last.
    pub fn holds(&self) -> bool {
        let is_proven = |(line, proof): (&ReportLine, &Vec<Hash>)| {
            let (index, leaf) = (line.index, leaf_hash(&line.leaf));
            verify_inclusion(&leaf, index, self.tree_size, proof, &self.tree_root)
        };
        self.lines.len() == self.proofs.len()
            && is_chain(&self.lines, self.last_number, self.last_entry)
            && self.lines.iter().zip(&self.proofs).all(is_proven)
    }
}

/// What verification found, for machines: the same as the command's and the agent's answer.
pub fn verified_json(verified: &Verified) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "record": finding.seq,
            "what": finding.what,
            "subject": finding.subject.map(|subject| subject.to_string()),
            "class": finding.class.map(|class| class.0),
            "file": finding.file.map(|file| file.to_string()),
        })
    };
    json!({
        "records": verified.records, "entries": verified.entries, "cells": verified.cells,
        "nodes": verified.nodes, "subjects": verified.looked.subjects,
        "files": verified.looked.files, "bytes": verified.looked.bytes,
        "mended_tiles": verified.mended_tiles,
        "findings": verified.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// Whether anybody else may be writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Write,
    KeptOut,
}

/// What a verification has seen so far.
#[derive(Default)]
struct Seen {
    log: Verification,
    cells: Cells,
    /// The root of the keystore of which every node was whole, and how many there are.
    nodes: Option<(Root, u64)>,
    node_count: u64,
    people: People,
}

/// Last change of every cell.
#[derive(Default)]
struct Cells {
    last: BTreeMap<[u8; 16], (u64, [u8; 32])>,
    /// Those that have to be compared with the store.
    due: BTreeSet<[u8; 16]>,
}

impl Visit for Cells {
    fn record(
        &mut self,
        header: &Header,
        _: &[Entry],
        payload: &[u8],
    ) -> strongroom_audit::Result<()> {
        let payload = Payload::parse(payload)?;
        for change in payload.cells {
            self.last.insert(change.name, (header.seq, sha256(&change.cell)));
            self.due.insert(change.name);
        }
        Ok(())
    }
}

/// Type of an Ed25519 key in C2SP notes.
const ED25519: u8 = 1;

/// First 4 bytes of SHA-256 over name, line feed, type and key: how a note names the key that signed it.
fn key_hash(application: &ApplicationId, key: &[u8; 32]) -> [u8; 4] {
    let name = head_origin(application);
    let hash = sha256(&[name.as_bytes(), b"\n", &[ED25519], key].concat());
    *hash.first_chunk().expect("32 bytes have 4")
}
