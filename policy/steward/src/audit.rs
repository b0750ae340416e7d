//! Reading the audit log: entries, one subject's report with proofs, verification of everything.

use std::collections::BTreeMap;

use strongroom_audit::merkle::leaf_hash;
use strongroom_audit::verify::{Finding, Visit, verify};
use strongroom_crypto::hash::sha256;
use strongroom_format::cbor;
use strongroom_records::ids::{ApplicationId, Hash, SubjectId};
use strongroom_records::log::{Entry, Header, Logged, base64, head_note, head_origin};
use strongroom_records::register::Payload;
use strongroom_records::subject::Detail;
use strongroom_store::Shelf;

use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::subjects::Subject;

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
    /// The signed head they lead to, as a C2SP note.
    pub head: String,
    /// Entries in the tree of that head.
    pub tree_size: u64,
    /// Its root.
    pub tree_root: Hash,
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
    /// What is wrong; empty for a sound register.
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

    /// Everything on record about a subject.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when entries are missing.
    pub fn report(&self, subject: &SubjectId) -> Result<SubjectReport> {
        let lines = self.entries_about(subject)?;
        let log = self.register().log();
        let mut proofs = Vec::with_capacity(lines.len());
        for line in &lines {
            proofs.push(log.prove_inclusion(line.index)?);
        }
        let header = log.head().ok_or_else(|| Error::corrupt("the register is empty"))?;
        let (tree_size, tree_root) = (header.tree_size, header.tree_root);
        Ok(SubjectReport { lines, proofs, head: self.signed_head()?, tree_size, tree_root })
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

    /// Verifies every record, entry, head, tile and cell of the register.
    ///
    /// # Errors
    /// Those of the store; what is wrong with the register is in the answer.
    pub fn verify(&self) -> Result<Verified> {
        let register = self.register();
        let mut cells = Cells::default();
        let head_key = register.head_key().verifying_key();
        let log = register.log();
        let report = verify(log, self.services(), &register.sealer(), Some(head_key), &mut cells)?;
        let mut verified = Verified {
            records: report.records,
            entries: report.entries,
            cells: 0,
            nodes: 0,
            findings: report.findings,
        };
        for (name, (seq, hash)) in cells.last {
            verified.cells += 1;
            let found = match register.unstored_cell(&name) {
                Some(cell) => Some(cell.into()),
                None => log.shelves().find(Shelf::Cell, u128::from_be_bytes(name))?,
            };
            if found.is_none_or(|bytes| sha256(&bytes) != hash) {
                let what = "a cell of the register is not the one that was recorded";
                verified.findings.push(Finding { seq, what });
            }
        }
        let seq = log.next_seq().saturating_sub(1);
        let (nodes, broken) =
            register.keystore().check(register.root(), &register.stored_nodes())?;
        verified.nodes = nodes;
        if !broken.is_empty() {
            let what = "nodes of the keystore are missing or damaged";
            verified.findings.push(Finding { seq, what });
        }
        Ok(verified)
    }

    /// Entries about a subject, oldest first, followed back from the newest.
    pub(crate) fn entries_about(&self, subject: &SubjectId) -> Result<Vec<ReportLine>> {
        let register = self.register();
        let own = register.subject(subject)?.ok_or_else(Error::no_subject)?;
        let activities = self.activities()?;
        let mut lines: Vec<ReportLine> = Vec::new();
        self.each_about(&own, |_, entry, logged, index| {
            let activity = entry.activity.and_then(|id| {
                activities.iter().find(|activity| activity.id == id).map(|a| a.name.clone())
            });
            let number = entry.about.map_or(0, |about| about.number);
            let detail = register.open_detail(&own, number, &logged.detail);
            lines.push(ReportLine { detail, leaf: logged.leaf, index, entry, activity });
            Ok(true)
        })?;
        lines.reverse();
        check_chain(&lines, own.cell.entry_number, own.cell.entry_hash)?;
        Ok(lines)
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

/// The numbers run from 1 without a gap, each with the hash of the one before, up to what the register says is the last.
fn check_chain(lines: &[ReportLine], last: u64, hash: Hash) -> Result<()> {
    let mut expected = (1, Hash::NONE);
    for line in lines {
        let about = line.entry.about.as_ref().map(|about| (about.number, about.previous));
        if about != Some(expected) {
            return Err(Error::corrupt("entries about a subject are missing"));
        }
        expected = (expected.0 + 1, Hash(sha256(&line.leaf)));
    }
    if expected == (last + 1, hash) || (last == 0 && lines.is_empty()) {
        Ok(())
    } else {
        Err(Error::corrupt("entries about a subject are missing"))
    }
}

impl SubjectReport {
    /// Whether every proof leads from its entry to the head, and the entries are a chain without gaps.
    pub fn holds(&self) -> bool {
        let mut expected = (1, Hash::NONE);
        self.lines.iter().zip(&self.proofs).all(|(line, proof)| {
            let about = line.entry.about.as_ref().map(|about| (about.number, about.previous));
            let is_next = about == Some(expected);
            expected = (expected.0 + 1, Hash(sha256(&line.leaf)));
            let (index, leaf) = (line.index, leaf_hash(&line.leaf));
            let (size, root) = (self.tree_size, &self.tree_root);
            is_next && strongroom_audit::merkle::verify_inclusion(&leaf, index, size, proof, root)
        })
    }
}

/// Last change of every cell.
#[derive(Default)]
struct Cells {
    last: BTreeMap<[u8; 16], (u64, [u8; 32])>,
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
