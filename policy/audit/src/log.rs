//! The log: finding its head, appending, reading entries, proofs.

use std::collections::BTreeSet;

use strongroom_authorizer::Decision;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::sign::SIGNATURE_LEN;
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::Signed;
use strongroom_records::ids::{ApplicationId, Hash};
use strongroom_records::keystore::Root;
use strongroom_records::log::{
    Body, Entry, Header, Judgement, KeyInForce, Logged, MAGIC, Outcome, RECORD_LEN_MAX, Record,
    SUITE, Stand, head_note,
};
use strongroom_store::Shelf;

use crate::error::{Error, ErrorKind, Result};
use crate::grant::Grant;
use crate::merkle;
use crate::shelves::Shelves;
use crate::tiles::{Above, Grown, StoredTiles, items};
use crate::trust::{Trust, follows, verify_record};

mod mend;

/// Signs for the device that writes.
pub trait Signer {
    /// The device.
    fn device(&self) -> DeviceId;
    /// Where it stands.
    fn stand(&self) -> Stand;
    /// Signs a header as [`strongroom_crypto::usage::Usage::SignRegisterRecord`].
    fn sign_record(&self, header: &[u8]) -> [u8; SIGNATURE_LEN];
    /// Signs a head with the register's head key; empty where there is none.
    fn sign_head(&self, note: &str) -> Vec<u8>;
}

/// Seals and opens bodies.
pub trait Sealer {
    /// Epoch that goes into the header; 0 for a register key.
    fn epoch(&self) -> u64;
    /// Seals the body of a record.
    ///
    /// # Errors
    /// `Corrupt` where the key of that epoch is missing.
    fn seal(&self, seq: u64, plain: &[u8]) -> Result<Vec<u8>>;
    /// Opens one.
    ///
    /// # Errors
    /// `Corrupt`.
    fn open(&self, header: &Header, sealed: &[u8]) -> Result<Vec<u8>>;
}

/// What a device remembers of a log, so that nobody can show it an older or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Newest record it has seen.
    pub seq: u64,
    /// SHA-256 of that record's header.
    pub hash: Hash,
}

/// The log of one application, at its newest record.
pub struct Log {
    shelves: Shelves,
    head: Option<(Header, Hash)>,
    /// Tiles of what was appended here and that are not in the store yet.
    grown: Grown,
}

/// An entry to be appended. Position, time and judgement are filled in by the log.
pub struct Draft {
    /// The entry; `seq`, `time` and `judgement` are replaced. `operator` becomes that of the decision; without one, zeros
    /// become the device that writes.
    pub entry: Entry,
    /// Sealed detail; empty for none.
    pub detail: Vec<u8>,
    /// The decision that the entry records, and how long what is released may live at most, in nanoseconds.
    pub decision: Option<(Decision, i64)>,
}

/// What one record holds.
pub struct Batch {
    /// Time.
    pub now: i64,
    /// Root of the keystore from this record on.
    pub keystore: Option<Root>,
    /// The register key from this record on, with this record sealed under it; none for the first one.
    pub key: Option<KeyInForce>,
    /// Entries.
    pub drafts: Vec<Draft>,
    /// What changes in the register.
    pub payload: Vec<u8>,
}

/// Something to be put on a shelf.
pub type Item = (Shelf, u128, Vec<u8>);

/// A record that is durable.
#[derive(Debug)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
    /// For each entry: its leaf.
    pub leaves: Vec<Vec<u8>>,
    /// For each entry: the grant, where it recorded an allow.
    pub grants: Vec<Option<Grant>>,
}

impl Log {
    /// Finds the newest record and verifies its signature. `pin` is where to begin, and must still be there; every record
    /// after it is read, and must be signed and follow the one before. So is every record where there is no pin, if the newest
    /// one is older than the removal of a device.
    ///
    /// # Errors
    /// `Forked` when the pinned record is gone or another one, or what comes after follows another; `Corrupt` when a record
    /// does not verify or is missing, or a device that was removed wrote what nobody is known to have seen before.
    pub fn find(shelves: Shelves, trust: &dyn Trust, pin: Option<&Pin>) -> Result<Self> {
        let mut log = Self { shelves, head: None, grown: Grown::new() };
        let Some(pin) = pin else {
            if log.shelves.has(Shelf::Log, 0)? {
                let newest = log.newest(0)?;
                let first = log.first_unknown(trust, newest)?;
                let writers = BTreeSet::from([first.0.device]);
                log.head = Some(log.walk(trust, first, newest, writers)?);
            }
            return Ok(log);
        };
        if !log.shelves.has(Shelf::Log, u128::from(pin.seq))? {
            return Err(forked());
        }
        let head = log.header(trust, pin.seq)?;
        if head.1 != pin.hash {
            return Err(forked());
        }
        let newest = log.newest(pin.seq)?;
        log.head = Some(log.walk(trust, head, newest, BTreeSet::new())?);
        Ok(log)
    }

    /// Where to begin without a pin. Who wrote the newest record believed what is before it, and knew of removals up to where
    /// it stood.
    fn first_unknown(&self, trust: &dyn Trust, newest: u64) -> Result<(Header, Hash)> {
        let head = self.header(trust, newest)?;
        match trust.last_removal() {
            Some(removal) if removal > head.0.stand.position => self.header(trust, 0),
            _ if head.0.is_closing() => self.header(trust, self.change_before(newest)?),
            _ => Ok(head),
        }
    }

    /// Reads on from a record that is known up to the newest one. `writers` wrote what is not known to be older than their
    /// removal; so did those of the records that follow.
    fn walk(
        &self,
        trust: &dyn Trust,
        mut head: (Header, Hash),
        newest: u64,
        mut writers: BTreeSet<DeviceId>,
    ) -> Result<(Header, Hash)> {
        for seq in head.0.seq + 1..=newest {
            let next = self.header(trust, seq).map_err(missing)?;
            // A record that stands behind another one need not stand upon it.
            if next.0.parent != head.1 {
                return Err(forked());
            }
            if !follows(Some(&head.0), &next.0) {
                return Err(Error::corrupt(OUT_OF_ORDER));
            }
            writers.insert(next.0.device);
            head = next;
        }
        // INVARIANT: whoever stands at a removal, or later, believed what is before: only what nobody did so for is in doubt.
        let is_doubtful = |writer: &DeviceId| {
            trust.removed_at(writer).is_some_and(|removal| removal > head.0.stand.position)
        };
        match writers.iter().any(is_doubtful) {
            true => Err(Error::corrupt(REMOVED)),
            false => Ok(head),
        }
    }

    /// The newest record up to one that is not a closing one.
    fn change_before(&self, mut seq: u64) -> Result<u64> {
        loop {
            let bytes = self.shelves.fetch(Shelf::Log, u128::from(seq)).map_err(missing)?;
            if !Record::parse(&bytes)?.header.is_closing() {
                return Ok(seq);
            }
            seq = seq.checked_sub(1).ok_or_else(|| Error::corrupt(OUT_OF_ORDER))?;
        }
    }

    /// Number of the newest record that changes anything; none if there is no record. Costs nothing where that is the newest.
    ///
    /// # Errors
    /// Those of the store; `Corrupt`.
    pub fn newest_change(&self) -> Result<Option<u64>> {
        match self.head() {
            Some(head) if head.is_closing() => self.change_before(head.seq).map(Some),
            head => Ok(head.map(|head| head.seq)),
        }
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Header of the newest record.
    pub fn head(&self) -> Option<&Header> {
        self.head.as_ref().map(|(header, _)| header)
    }

    /// What to remember.
    pub fn pin(&self) -> Option<Pin> {
        self.head.as_ref().map(|(header, hash)| Pin { seq: header.seq, hash: *hash })
    }

    /// Number of the next record.
    pub fn next_seq(&self) -> u64 {
        self.head().map_or(0, |header| header.seq + 1)
    }

    /// Entries so far.
    pub fn tree_size(&self) -> u64 {
        self.head().map_or(0, |header| header.tree_size)
    }

    /// The shelves it lies on.
    pub fn shelves(&self) -> &Shelves {
        &self.shelves
    }

    /// Whose.
    pub fn application(&self) -> ApplicationId {
        self.shelves.application()
    }

    /// The leaf that a draft becomes when it is appended next at that time by that device.
    pub fn leaf(&self, draft: &Draft, now: i64, device: DeviceId) -> Vec<u8> {
        cbor::encode(&filled(draft, self.next_seq(), now, device).0)
    }

    /// Appends a record; durable on return, with the hashes of the tree. What follows from it (`payload`) is for the caller to
    /// carry out next.
    ///
    /// # Errors
    /// As [`Log::record`].
    pub fn append(
        &mut self,
        sealer: &dyn Sealer,
        signer: &dyn Signer,
        batch: Batch,
    ) -> Result<Appended> {
        let appended = self.record(sealer, signer, batch)?;
        self.shelves.put(self.tiles())?;
        self.tiles_are_put();
        Ok(appended)
    }

    /// Hashes of the tree that are not in the store yet, for whoever puts them.
    pub fn tiles(&self) -> Vec<Item> {
        items(&self.grown)
    }

    /// They are there now.
    pub fn tiles_are_put(&mut self) {
        self.grown.clear();
    }

    /// Appends a record; durable on return. The hashes of the tree are for the caller to put some time ([`Log::tiles`]), or
    /// for the next to come ([`Log::settle`]).
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote meanwhile: nothing was appended, no grant exists. Those of the store: the
    /// record may or may not be there, and no grant exists.
    pub fn record(
        &mut self,
        sealer: &dyn Sealer,
        signer: &dyn Signer,
        batch: Batch,
    ) -> Result<Appended> {
        let seq = self.next_seq();
        let (mut entries, mut grants) = (Vec::new(), Vec::new());
        for draft in batch.drafts {
            let (logged, grant) = logged(draft, seq, batch.now, signer.device());
            entries.push(logged);
            grants.push(grant);
        }
        let leaves: Vec<Vec<u8>> = entries.iter().map(|entry| entry.leaf.clone()).collect();
        let tiles = self.sound_tiles(sealer)?;
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let grown = tiles.grow(&hashes)?;
        let tree_size = self.tree_size() + hashes.len() as u64;
        let tree_root = merkle::root(&Above { below: &tiles, grown: &grown }, tree_size)?;
        let body = cbor::encode(&Body { entries, payload: batch.payload });
        let sealed = sealer.seal(seq, &body)?;
        let header = Header {
            suite: SUITE,
            application: self.application(),
            seq,
            parent: self.head.as_ref().map_or(Hash::NONE, |(_, hash)| *hash),
            device: signer.device(),
            time: batch.now,
            tree_size,
            tree_root,
            head_signature: signer.sign_head(&head_note(
                &self.application(),
                tree_size,
                &tree_root,
            )),
            body_hash: Hash(sha256(&sealed)),
            epoch: sealer.epoch(),
            stand: signer.stand(),
            keystore: batch.keystore,
            key: batch.key,
        };
        self.put(signer, header, &sealed)?;
        // From here on it is on record, whatever happens to the tiles: the next to come settles them.
        self.grown.extend(grown);
        Ok(Appended { seq, leaves, grants })
    }

    /// Appends a record that carries where the device stands and changes nothing: from here on nobody names an older position,
    /// so nobody who was removed before this one. Needs no key of the log's. `epoch` is what seals the workspace there.
    ///
    /// # Errors
    /// As [`Log::record`]; `NotFound` for a log without records.
    pub fn close(&mut self, signer: &dyn Signer, epoch: u64, now: i64) -> Result<()> {
        let none = || Error::new(ErrorKind::NotFound, "there is no log to close");
        let (head, hash) = self.head.as_ref().ok_or_else(none)?;
        let header = Header {
            seq: head.seq + 1,
            parent: *hash,
            device: signer.device(),
            time: now,
            body_hash: Hash(sha256(&[])),
            epoch: if self.application() == ApplicationId::DIRECTORY { epoch } else { 0 },
            stand: signer.stand(),
            ..head.clone()
        };
        self.put(signer, header, &[])
    }

    fn put(&mut self, signer: &dyn Signer, header: Header, sealed: &[u8]) -> Result<()> {
        if !follows(self.head(), &header) {
            let message = "this device stands before the newest record";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let bytes = cbor::encode(&header);
        let record = Signed::build(MAGIC, &bytes, &signer.sign_record(&bytes), sealed);
        if record.len() > RECORD_LEN_MAX {
            return Err(Error::new(ErrorKind::Internal, "a register record is too long"));
        }
        self.shelves.put_new(Shelf::Log, u128::from(header.seq), record)?;
        self.head = Some((header, Hash(sha256(&bytes))));
        Ok(())
    }

    /// Goes one record on, if somebody else has appended one: it must be the next of the chain, signed by a device that
    /// counts. Costs one question when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the next record does not follow the newest one known; those of the store.
    pub fn advance(
        &mut self,
        trust: &dyn Trust,
        sealer: &dyn Sealer,
    ) -> Result<Option<(Header, Body)>> {
        let seq = self.next_seq();
        let Some(bytes) = self.shelves.find(Shelf::Log, u128::from(seq))? else { return Ok(None) };
        let record = Record::parse(&bytes)?;
        verify_record(&record, trust)?;
        let parent = self.head.as_ref().map_or(Hash::NONE, |(_, hash)| *hash);
        let (header, hash) = (&record.header, record.signed.hash());
        let body = opened(sealer, &record)?;
        let is_next = header.seq == seq
            && header.application == self.application()
            && header.parent == parent
            && header.tree_size == self.tree_size() + body.entries.len() as u64
            && follows(self.head(), header);
        if !is_next {
            return Err(Error::corrupt("a register record does not follow the one before"));
        }
        if trust.removed_at(&header.device).is_some_and(|removal| removal > header.stand.position) {
            let writers = BTreeSet::from([header.device]);
            self.walk(trust, (header.clone(), hash), self.newest(seq)?, writers)?;
        }
        self.head = Some((record.header.clone(), hash));
        // Whoever wrote it has put what was before first; who only closed the log has not.
        if !record.header.is_closing() {
            self.grown.clear();
        }
        Ok(Some((record.header, body)))
    }

    /// Header and body of a record, opened. Chain and signature are not verified here: see [`crate::verify`].
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn body(&self, sealer: &dyn Sealer, seq: u64) -> Result<(Header, Body)> {
        let bytes = self.shelves.fetch(Shelf::Log, u128::from(seq))?;
        let record = Record::parse(&bytes)?;
        if record.header.seq != seq || record.header.application != self.application() {
            return Err(Error::corrupt("a register record lies in the place of another"));
        }
        let body = opened(sealer, &record)?;
        Ok((record.header, body))
    }

    /// Header of the newest record there is, be it newer than what was read on to. The chain is not verified here.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn newest_header(&self, trust: &dyn Trust) -> Result<Header> {
        let there = self.head().map_or(0, |head| head.seq);
        Ok(self.header(trust, self.newest(there)?)?.0)
    }

    /// Header of a record of somebody who counted. The chain is not verified here.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn header_at(&self, trust: &dyn Trust, seq: u64) -> Result<Header> {
        Ok(self.header(trust, seq)?.0)
    }

    /// SHA-256 of a record's header. Chain and signature are not verified here.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn hash(&self, seq: u64) -> Result<Hash> {
        let bytes = self.shelves.fetch(Shelf::Log, u128::from(seq))?;
        Ok(Record::parse(&bytes)?.signed.hash())
    }

    /// Proof that an entry is in the tree at the newest head.
    ///
    /// # Errors
    /// `NotFound` beyond the end; `Corrupt`.
    pub fn prove_inclusion(&self, index: u64) -> Result<Vec<Hash>> {
        self.prove_inclusions(std::iter::once(index)).map(|proofs| proofs.concat())
    }

    /// The same of several, for which each tile is read once.
    ///
    /// # Errors
    /// As [`Log::prove_inclusion`].
    pub fn prove_inclusions(&self, indices: impl Iterator<Item = u64>) -> Result<Vec<Vec<Hash>>> {
        let (tiles, size) = (self.stored(), self.tree_size());
        let missing = || Error::new(ErrorKind::NotFound, "there is no such entry");
        let prove = |index| match index < size {
            true => merkle::inclusion(&tiles, index, size),
            false => Err(missing()),
        };
        indices.map(prove).collect()
    }

    /// Proof that the tree of `old` entries is the beginning of the one at the newest head.
    ///
    /// # Errors
    /// `NotFound` beyond the end; `Corrupt`.
    pub fn prove_consistency(&self, old: u64) -> Result<Vec<Hash>> {
        if old > self.tree_size() {
            return Err(Error::new(ErrorKind::NotFound, "there are not so many entries"));
        }
        merkle::consistency(&self.stored(), old, self.tree_size())
    }

    fn stored(&self) -> StoredTiles<'_> {
        StoredTiles::new(&self.shelves, self.tree_size(), &self.grown)
    }

    /// Header of a record, its signature verified, and its hash.
    fn header(&self, trust: &dyn Trust, seq: u64) -> Result<(Header, Hash)> {
        let bytes = self.shelves.fetch(Shelf::Log, u128::from(seq))?;
        let record = Record::parse(&bytes)?;
        verify_record(&record, trust)?;
        if record.header.seq != seq || record.header.application != self.application() {
            return Err(Error::corrupt("a register record lies in the place of another"));
        }
        let hash = record.signed.hash();
        Ok((record.header, hash))
    }

    /// The newest record, from one that is there: the numbers have no gaps.
    fn newest(&self, there: u64) -> Result<u64> {
        let (mut there, mut step) = (there, 1);
        while self.shelves.has(Shelf::Log, u128::from(there + step))? {
            there += step;
            step *= 2;
        }
        while step > 1 {
            step /= 2;
            if self.shelves.has(Shelf::Log, u128::from(there + step))? {
                there += step;
            }
        }
        Ok(there)
    }
}

/// The body of a record; empty in a closing one.
fn opened(sealer: &dyn Sealer, record: &Record<'_>) -> Result<Body> {
    if record.header.is_closing() {
        return Ok(Body::default());
    }
    let plain = sealer.open(&record.header, record.signed.rest)?;
    Ok(cbor::decode_canonical(&plain)?)
}

fn logged(draft: Draft, seq: u64, now: i64, device: DeviceId) -> (Logged, Option<Grant>) {
    let (entry, end) = filled(&draft, seq, now, device);
    let decision = draft.decision.as_ref().map(|(decision, _)| decision);
    let grant = decision.zip(end).map(|(decision, end)| Grant::recorded(decision, end, seq));
    (Logged { leaf: cbor::encode(&entry), detail: draft.detail }, grant)
}

/// The entry with what the log knows better than its maker, and the end of what an allow releases.
fn filled(draft: &Draft, seq: u64, now: i64, device: DeviceId) -> (Entry, Option<i64>) {
    let mut entry = draft.entry.clone();
    (entry.seq, entry.time, entry.judgement) = (seq, now, None);
    entry.operator = match &draft.decision {
        Some((decision, _)) => decision.request().operator,
        None if entry.operator == NOBODY => device,
        None => entry.operator,
    };
    entry.detail = (!draft.detail.is_empty()).then(|| Hash(sha256(&draft.detail)));
    let Some((decision, life)) = &draft.decision else { return (entry, None) };
    let longest = now.saturating_add(*life);
    let end = decision.lease_limit().map_or(longest, |limit| limit.min(longest));
    let end = (decision.outcome() == Outcome::Allow).then_some(end);
    entry.judgement = Some(Judgement {
        outcome: decision.outcome(),
        action: decision.request().action.number(),
        reason: decision.reason().map_or(0, |reason| reason.number()),
        policies: decision.policies().iter().map(|id| policy_number(id)).collect(),
        policy_set: decision.policy_set(),
        consent: decision.consent(),
        lease_end: end,
    });
    (entry, end)
}

/// How a policy id stands in an entry: the first 8 bytes of its SHA-256.
pub fn policy_number(id: &str) -> u64 {
    let hash = sha256(id.as_bytes());
    let (first, _) = hash.split_first_chunk().expect("32 bytes have 8");
    u64::from_be_bytes(*first)
}

/// No device.
const NOBODY: DeviceId = DeviceId([0; 16]);

fn missing(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::corrupt("a register record is missing"),
        _ => error,
    }
}

fn forked() -> Error {
    Error::new(
        ErrorKind::Forked,
        "the audit log is older than, or another one than, this device has seen",
    )
}

const OUT_OF_ORDER: &str = "a register record may not stand where it stands";
const REMOVED: &str =
    "a device that was removed wrote here, and nobody is known to have seen it before the removal";
