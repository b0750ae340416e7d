//! Verification of a whole log: every record, every entry, every subject's chain.

use std::collections::BTreeMap;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::sign::VerifyingKey;
use strongroom_format::cbor;
use strongroom_records::ids::{Hash, Pseudonym};
use strongroom_records::log::{Entry, Header, Logged, Record, head_note};
use strongroom_store::Shelf;

use crate::error::{ErrorKind, Result};
use crate::log::{Log, Sealer};
use crate::merkle::{TILE_WIDTH, leaf_hash, node_hash};
use crate::tiles::{self, Grown};
use crate::trust::{Trust, follows, verify_record};

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Record it was found at.
    pub seq: u64,
    /// What.
    pub what: &'static str,
}

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records.
    pub records: u64,
    /// Entries.
    pub entries: u64,
    /// Tiles of the tree that were damaged or gone, and were made anew.
    pub mended_tiles: u64,
    /// What is wrong; empty for a sound log.
    pub findings: Vec<Finding>,
}

/// Sees every record that verified.
pub trait Visit {
    /// One record.
    ///
    /// # Errors
    /// Ends the verification.
    fn record(&mut self, header: &Header, entries: &[Entry], payload: &[u8]) -> Result<()>;
}

impl Visit for () {
    fn record(&mut self, _: &Header, _: &[Entry], _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Verifies everything from the first record to the head. `head_key` is the register's, none in the list of applications.
/// Tiles that are not what sound records say are made anew; nobody else may be writing.
///
/// # Errors
/// Those of the store; what is wrong with the log is in the report.
pub fn verify(
    log: &Log,
    trust: &dyn Trust,
    sealer: &dyn Sealer,
    head_key: Option<&VerifyingKey>,
    visit: &mut dyn Visit,
) -> Result<Report> {
    let mut verification = Verification::default();
    verification.go_on(log, trust, sealer, head_key, visit)?;
    verification.end(log)
}

/// A verification that is under way. The log may grow meanwhile.
#[derive(Default)]
pub struct Verification {
    next: u64,
    parent: Option<Hash>,
    before: Option<Header>,
    // Hashes of perfect subtrees, largest first, with their sizes: enough for the root of what was seen.
    peaks: Vec<(u64, Hash)>,
    chains: BTreeMap<Pseudonym, (u64, Hash)>,
    // Tiles of what was seen, without the full ones that were found in the store.
    tiles: Grown,
    report: Report,
}

impl Verification {
    /// The first record that was not looked at yet.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Whether nothing was found wrong so far.
    pub fn is_sound(&self) -> bool {
        self.report.findings.is_empty()
    }

    /// Verifies on up to the head as it is known.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn go_on(
        &mut self,
        log: &Log,
        trust: &dyn Trust,
        sealer: &dyn Sealer,
        head_key: Option<&VerifyingKey>,
        visit: &mut dyn Visit,
    ) -> Result<()> {
        let mut walk = Walk { log, trust, sealer, head_key, seen: self };
        for seq in walk.seen.next..log.next_seq() {
            match walk.record(seq, visit) {
                Ok(()) => walk.seen.report.records += 1,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound) => {
                    walk.find(seq, "a record is missing");
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) =>
                {
                    walk.find(seq, "a record is damaged or forged");
                }
                Err(error) => return Err(error),
            }
            walk.seen.next = seq + 1;
        }
        self.drop_found_tiles(log)
    }

    /// What was found. Nobody may be writing, and everything that was written is verified. Tiles that are not what was seen are
    /// made anew, unless there are other findings.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn end(mut self, log: &Log) -> Result<Report> {
        if self.report.findings.is_empty() {
            self.report.mended_tiles = log.put_misfits(&self.tiles)?;
        }
        Ok(self.report)
    }

    /// Full tiles do not change any more: what was found in the store need not be looked for again.
    fn drop_found_tiles(&mut self, log: &Log) -> Result<()> {
        let is_full = |tile: &[Hash]| tile.len() as u64 == TILE_WIDTH;
        let full = self.tiles.iter().filter(|(_, tile)| is_full(tile));
        let mut found = Vec::new();
        for (place, tile) in full {
            if log.has_tile(*place, tile)? {
                found.push(*place);
            }
        }
        found.iter().for_each(|place| drop(self.tiles.remove(place)));
        Ok(())
    }

    fn grow(&mut self, leaf: Hash) -> Result<()> {
        tiles::push(&mut self.tiles, self.report.entries, leaf, |_, _| Ok(Vec::new()))?;
        let mut peak = (1, leaf);
        while let Some((size, left)) = self.peaks.pop_if(|(size, _)| *size == peak.0) {
            peak = (2 * size, node_hash(&left, &peak.1));
        }
        self.peaks.push(peak);
        Ok(())
    }

    fn root(&self) -> (u64, Hash) {
        let size = self.peaks.iter().map(|(size, _)| size).sum();
        let root = self
            .peaks
            .iter()
            .rev()
            .map(|(_, hash)| *hash)
            .reduce(|right, left| node_hash(&left, &right));
        (size, root.unwrap_or_else(crate::merkle::empty_root))
    }
}

struct Walk<'w> {
    log: &'w Log,
    trust: &'w dyn Trust,
    sealer: &'w dyn Sealer,
    head_key: Option<&'w VerifyingKey>,
    seen: &'w mut Verification,
}

impl Walk<'_> {
    fn find(&mut self, seq: u64, what: &'static str) {
        self.seen.report.findings.push(Finding { seq, what });
    }

    fn record(&mut self, seq: u64, visit: &mut dyn Visit) -> Result<()> {
        let bytes = self.log.shelves().fetch(Shelf::Log, u128::from(seq))?;
        let record = Record::parse(&bytes)?;
        let header = &record.header;
        let is_own = header.application == self.log.application();
        if header.seq != seq || !is_own {
            self.find(seq, "a record lies in the place of another");
        }
        if header.parent != self.seen.parent.unwrap_or(Hash::NONE) {
            self.find(seq, "a record does not follow the one before");
        }
        if !follows(self.seen.before.as_ref(), header) {
            self.find(seq, "a record stands where it may not stand");
        }
        self.seen.parent = Some(record.signed.hash());
        self.seen.before = Some(header.clone());
        verify_record(&record, self.trust)?;
        let (_, body) = self.log.body(self.sealer, seq)?;
        let mut entries = Vec::with_capacity(body.entries.len());
        for logged in &body.entries {
            entries.push(self.entry(seq, logged)?);
        }
        self.head(header);
        visit.record(header, &entries, &body.payload)
    }

    fn entry(&mut self, seq: u64, logged: &Logged) -> Result<Entry> {
        let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
        self.seen.grow(leaf_hash(&logged.leaf))?;
        self.seen.report.entries += 1;
        if entry.seq != seq {
            self.find(seq, "an entry names another record");
        }
        let detail = (!logged.detail.is_empty()).then(|| Hash(sha256(&logged.detail)));
        if entry.detail != detail {
            self.find(seq, "the detail of an entry is not the one it was recorded with");
        }
        if let Some(about) = &entry.about {
            let (number, previous) =
                self.seen.chains.get(&about.subject).copied().unwrap_or((0, Hash::NONE));
            if (about.number, about.previous) != (number + 1, previous) {
                self.find(seq, "the entries about a subject have a gap or a fork");
            }
            let own = Hash(sha256(&logged.leaf));
            self.seen.chains.insert(about.subject, (about.number, own));
        }
        Ok(entry)
    }

    fn head(&mut self, header: &Header) {
        let (size, root) = self.seen.root();
        if (header.tree_size, header.tree_root) != (size, root) {
            self.find(header.seq, "a head is not that of the entries so far");
        }
        if let Some(key) = self.head_key {
            let note = head_note(&header.application, header.tree_size, &header.tree_root);
            let signature = header.head_signature.as_slice().try_into();
            let holds = signature.is_ok_and(|signature| key.verify_note(&note, signature).is_ok());
            if !holds {
                self.find(header.seq, "the signature of a head does not hold");
            }
        }
    }
}
