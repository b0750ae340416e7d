//! The register of one application: its log, its keystore, its cells; and the transaction that changes them together.

mod cells;
mod coming;
mod keys;
mod ring;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::log::Pin;
use strongroom_audit::shelves::Shelves;
use strongroom_audit::{Appended, Batch, Draft, Grant, Log};
use strongroom_crypto::secret::{RegisterKey, Secret};
use strongroom_crypto::sign::HeadKey;
use strongroom_custody::Custody;
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::ids::{ApplicationId, FileId, KeyId};
use strongroom_records::keystore::Root;
use strongroom_records::log::{Body, Entry, Header, KeyInForce, Kind};
use strongroom_records::register::{
    Cell, CellChange, CellKind, Gone, GoneFrom, Payload, REGISTER_SLOT, Secrets,
};
use strongroom_store::Shelf;
use strongroom_tree::{Change, Keystore};
use zeroize::Zeroize;

use crate::error::{Error, ErrorKind, Result};
use crate::lookup::Buckets;
use crate::sealers::{DeviceSigner, RegisterSealer};
use crate::services::Services;

use keys::{KnownNodes, StoredNodes};
pub(crate) use ring::{KeyRing, slot_of};

/// Id of the one cell of a kind that has only one.
pub(crate) const SINGLE: [u8; 16] = [0; 16];

/// An open register.
pub(crate) struct Register {
    services: Services,
    log: Log,
    keystore: Keystore,
    keys: KeyRing,
    head_key: HeadKey,
    root: Root,
    /// Root of a record that cannot be read before its application key is obtained.
    awaited: Option<Root>,
    /// Cells of records that were written while this register was open. A record is durable before its cells are, so the
    /// store may still hold what was before.
    newer: BTreeMap<[u8; 16], Cell>,
    is_broken: bool,
    known: KnownNodes,
    /// What follows from records of our own and is not in the store yet.
    unfinished: Option<Unfinished>,
    /// Application keys that records of our own have put out of use.
    ended: BTreeSet<KeyId>,
    /// Whether the newest record is somebody else's, who may have died over it.
    is_behind: bool,
}

/// Records that are durable and whose cells, tiles and removals are not. Cells are in [`Register::newer`], tiles in the log.
struct Unfinished {
    first: u64,
    count: u64,
    since: Duration,
    names: BTreeSet<[u8; 16]>,
    gone: Vec<Gone>,
}

/// LIMIT: records, and how long, that what follows from them waits for each other. Whoever opens the register reads as many.
const UNFINISHED_COUNT_MAX: u64 = 64;
const UNFINISHED_TIME_MAX: Duration = Duration::from_secs(1);
/// LIMIT: how often something else is found in the place of a cell that is put.
const REPLACED_COUNT_MAX: u32 = 8;

/// Names and contents of cells that a record changed.
pub(crate) type ChangedCells = Vec<([u8; 16], Vec<u8>)>;

/// What one record will change.
pub(crate) struct Transaction {
    /// Time of the record.
    pub now: i64,
    seq: u64,
    device: DeviceId,
    change: Option<Change>,
    key: Option<KeyInForce>,
    objects: Vec<(FileId, Vec<u8>)>,
    drafts: Vec<Draft>,
    cells: Vec<(CellKind, [u8; 16], Vec<u8>)>,
    /// Cells that are sealed anew as they are, by their names.
    resealed: Vec<([u8; 16], Vec<u8>)>,
    gone: Vec<Gone>,
}

impl Register {
    /// Founds a register: keystore, register key, first record. `entries` are told in that record.
    pub fn found(
        services: &Services,
        application: ApplicationId,
        custody: Arc<dyn Custody>,
        head_seed: &mut [u8; 32],
        description: &[u8],
    ) -> Result<Self> {
        let keystore = keystore(services, application, custody);
        let secret = keystore.generate();
        let key = RegisterKey::from_bytes(secret.expose());
        let change = keystore
            .plant(&[(REGISTER_SLOT, secret)], strongroom_records::register::SUBJECT_SLOT)?;
        let shelves = Shelves::new(Arc::clone(&services.store), services.wait, application);
        let log = Log::find(shelves, services, None)?;
        let mut secrets = Secrets { head_seed: *head_seed };
        let head_key = HeadKey::from_seed(Secret::from_bytes(head_seed));
        head_seed.zeroize();
        let root = change.root.clone();
        let services = services.clone();
        let keys = KeyRing::founded(key);
        let mut register = Self::with(services, log, keystore, keys, (head_key, root));
        let mut transaction = Transaction::new(&register);
        transaction.change = Some(change);
        transaction.cell(CellKind::Secrets, &SINGLE, &cbor::encode(&secrets));
        secrets.head_seed.zeroize();
        transaction.cell(CellKind::Description, &SINGLE, description);
        transaction.entry(Kind::ApplicationCreated, |_| ());
        register.commit(transaction)?;
        Ok(register)
    }

    /// A register that has read and written nothing yet.
    fn with(
        services: Services,
        log: Log,
        keystore: Keystore,
        keys: KeyRing,
        (head_key, root): (HeadKey, Root),
    ) -> Self {
        Self {
            services,
            log,
            keystore,
            keys,
            head_key,
            root,
            awaited: None,
            newer: BTreeMap::new(),
            is_broken: false,
            known: KnownNodes::default(),
            unfinished: None,
            ended: BTreeSet::new(),
            is_behind: false,
        }
    }

    /// Opens a register and carries out what the last writer may have left.
    pub fn open(
        services: &Services,
        application: ApplicationId,
        custody: Arc<dyn Custody>,
    ) -> Result<Self> {
        let shelves = Shelves::new(Arc::clone(&services.store), services.wait, application);
        let pin = services.memory.recall(&application)?;
        let log = Log::find(shelves, services, pin.as_ref())?;
        let header = log.head().ok_or_else(|| Error::corrupt("the register is missing"))?;
        let root = header.keystore.clone();
        let root = root.ok_or_else(|| Error::corrupt("the register has no keystore"))?;
        let keystore = keystore(services, application, custody);
        let known = KnownNodes::default();
        let nodes = StoredNodes { shelves: log.shelves(), known: Some(&known) };
        let keys = KeyRing::open(&keystore, &root, &nodes, header.generation())?;
        let services = services.clone();
        // The head key is in a cell, which needs the register to be read.
        let head_key = HeadKey::from_seed(Secret::from_bytes(&[0; 32]));
        let mut register = Self::with(services, log, keystore, keys, (head_key, root));
        register.settle()?;
        let secrets = register.cell(CellKind::Secrets, &SINGLE)?;
        let secrets = secrets.ok_or_else(|| Error::corrupt("the register has no head key"))?;
        let mut secrets: Secrets = cbor::decode_canonical(&secrets)?;
        register.head_key = HeadKey::from_seed(Secret::from_bytes(&secrets.head_seed));
        secrets.head_seed.zeroize();
        register.remember(pin)?;
        Ok(register)
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    pub fn application(&self) -> ApplicationId {
        self.log.application()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    pub fn keystore(&self) -> &Keystore {
        &self.keystore
    }

    pub fn head_key(&self) -> &HeadKey {
        &self.head_key
    }

    pub fn nodes(&self) -> StoredNodes<'_> {
        StoredNodes { shelves: self.log.shelves(), known: Some(&self.known) }
    }

    /// Nodes as they lie in the store now, for whoever verifies that.
    pub fn stored_nodes(&self) -> StoredNodes<'_> {
        StoredNodes { shelves: self.log.shelves(), known: None }
    }

    pub fn sealer(&self) -> RegisterSealer<'_> {
        let (services, application) = (&self.services, self.application());
        let (keys, generation) = (&self.keys, self.generation());
        RegisterSealer { services, application, keys, generation }
    }

    /// The key in a slot of the keystore.
    pub fn leaf(&self, slot: u64) -> Result<Option<Secret<32>>> {
        Ok(self.keystore.open(&self.root, &self.nodes(), slot)?)
    }

    /// Puts buckets into a transaction that does not change the keystore otherwise.
    pub fn put_leaves(&self, transaction: &mut Transaction, buckets: Buckets) -> Result<()> {
        let leaves = buckets.close(self, transaction);
        if !leaves.is_empty() {
            let root = &self.root;
            transaction.keystore(self.keystore.put(
                root,
                &self.nodes(),
                &leaves,
                root.next_slot,
            )?);
        }
        Ok(())
    }

    /// Goes one record on, if somebody else has written one. Returns the cells it changed, opened.
    pub fn follow(&mut self) -> Result<Option<ChangedCells>> {
        if self.is_broken {
            return Err(Error::corrupt("a register record makes no sense"));
        }
        let next = match self.advance() {
            // Others may have brought another register key into force.
            Err(error) if error.kind() == ErrorKind::Corrupt && self.learn_keys()? => {
                self.advance()?
            }
            next => next?,
        };
        let Some((header, body)) = next else { return Ok(None) };
        if header.is_closing() {
            return Ok(Some(Vec::new()));
        }
        // Whoever wrote it has carried out what was before.
        self.unfinished = None;
        self.is_behind = true;
        // What is not understood is not skipped: nothing after it counts.
        self.is_broken = true;
        let (root, generation) = (header.keystore.clone(), header.generation());
        self.root = root.ok_or_else(|| Error::corrupt("the register has no keystore"))?;
        let payload = Payload::parse(&body.payload)?;
        let mut changed = Vec::new();
        for change in payload.cells {
            let cell: Cell = cbor::decode_canonical(&change.cell)?;
            changed.push((change.name, self.open_recorded(&change.name, &cell, generation)?));
            self.newer.insert(change.name, cell);
        }
        self.is_broken = false;
        Ok(Some(changed))
    }

    fn advance(&mut self) -> Result<Option<(Header, Body)>> {
        let (services, application) = (&self.services, self.log.application());
        let (keys, generation) = (&self.keys, 0);
        let sealer = RegisterSealer { services, application, keys, generation };
        Ok(self.log.advance(services, &sealer)?)
    }

    /// Carries out what the last writer may have left undone; nobody else may be writing. What was followed is then in the
    /// store.
    pub fn catch_up(&mut self) -> Result<()> {
        if self.is_behind {
            self.settle()?;
            self.newer.clear();
            self.is_behind = false;
        }
        Ok(())
    }

    /// The leaf an entry will be, so that cells of the same record can hold its hash.
    pub fn leaf_of(&self, draft: &Draft, transaction: &Transaction) -> Vec<u8> {
        self.log.leaf(draft, transaction.now, transaction.device)
    }

    /// Makes a transaction durable and carries it out. Returns the record's number and the grants of its entries.
    pub fn commit(&mut self, transaction: Transaction) -> Result<(u64, Vec<Option<Grant>>)> {
        let committed = self.record(transaction)?;
        self.finish()?;
        Ok(committed)
    }

    /// Makes a transaction durable. It is to be carried out some time, by [`Register::finish`], or by whoever writes next.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote meanwhile and that is not known here, or not carried out.
    pub fn record(&mut self, transaction: Transaction) -> Result<(u64, Vec<Option<Grant>>)> {
        // ORDER: what its writer may have died over is carried out first. After another record nobody looks for it.
        if self.is_behind {
            let message = "what somebody else recorded is not carried out yet";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let mut made: Vec<(Shelf, u128, Vec<u8>)> = Vec::new();
        let mut gone = transaction.gone;
        let mut ended = Vec::new();
        let root = match transaction.change {
            Some(change) => {
                ended = change.ended;
                made.extend(
                    change
                        .made
                        .into_iter()
                        .map(|(name, bytes)| (Shelf::Node, u128::from_be_bytes(name), bytes)),
                );
                let node = |name| Gone { shelf: GoneFrom::Node, name };
                gone.extend(change.gone.into_iter().map(node));
                change.root
            }
            None => self.root.clone(),
        };
        let object =
            |(id, bytes): (FileId, Vec<u8>)| (Shelf::Object, u128::from_be_bytes(id.0), bytes);
        made.extend(transaction.objects.into_iter().map(object));
        let unfinished = self.unfinished.as_ref().map(|unfinished| unfinished.first);
        let mut payload = Payload { cells: Vec::new(), gone, unfinished };
        let key = transaction.key.or(self.key_in_force());
        let generation = key.map_or(0, |key| key.generation);
        let named = |(kind, id, plain)| (self.cell_name(kind, &id), plain);
        let cells = transaction.cells.into_iter().map(named).chain(transaction.resealed);
        for (name, plain) in cells {
            payload.cells.push(self.sealed_cell(name, transaction.seq, generation, &plain)?);
        }
        // ORDER: what a record points to is durable before the record.
        self.log.shelves().put(made)?;
        let batch = Batch {
            now: transaction.now,
            keystore: Some(root.clone()),
            key,
            drafts: transaction.drafts,
            payload: cbor::encode(&payload),
        };
        let appended = self.append(batch)?;
        self.root = root;
        self.ended.extend(ended);
        let since = self.services.clock.since_boot();
        let unfinished = self.unfinished.get_or_insert_with(|| Unfinished {
            first: appended.seq,
            count: 0,
            since,
            names: BTreeSet::new(),
            gone: Vec::new(),
        });
        unfinished.count += 1;
        unfinished.gone.extend(payload.gone);
        for change in payload.cells {
            unfinished.names.insert(change.name);
            self.newer.insert(change.name, cbor::decode_canonical(&change.cell)?);
        }
        Ok((appended.seq, appended.grants))
    }

    /// Whether enough waits to be carried out, or for long enough.
    pub fn is_finish_due(&self) -> bool {
        self.unfinished.as_ref().is_some_and(|unfinished| {
            let waited = self.services.clock.since_boot().saturating_sub(unfinished.since);
            unfinished.count >= UNFINISHED_COUNT_MAX || waited >= UNFINISHED_TIME_MAX
        })
    }

    /// Carries out what was recorded, in one go. Nobody else may be writing. What fails here is tried again by the next call,
    /// or by whoever writes next.
    pub fn finish(&mut self) -> Result<()> {
        let Some(unfinished) = &self.unfinished else { return Ok(()) };
        // Some of it has waited: somebody else may have carried it out and gone on.
        let has_waited = unfinished.count > 1 || self.is_finish_due();
        if has_waited && self.log.shelves().has(Shelf::Log, u128::from(self.log.next_seq()))? {
            return Ok(());
        }
        let change = |name: &[u8; 16]| {
            let cell = self.unstored_cell(name)?;
            Some(CellChange { name: *name, cell })
        };
        let cells: Vec<CellChange> = unfinished.names.iter().filter_map(change).collect();
        if !self.carried_out(&cells, &unfinished.gone)? {
            return Ok(());
        }
        self.log.tiles_are_put();
        cells.iter().for_each(|change| drop(self.newer.remove(&change.name)));
        self.unfinished = None;
        self.remember(None)
    }

    fn append(&mut self, batch: Batch) -> Result<Appended> {
        let (services, application) = (&self.services, self.log.application());
        let (keys, generation) = (&self.keys, batch.key.map_or(0, |key| key.generation));
        let sealer = RegisterSealer { services, application, keys, generation };
        let (stand, _) = services.organisation.stand(&services.keys.device_id())?;
        let signer = DeviceSigner { keys: &services.keys, stand, head: Some(&self.head_key) };
        Ok(self.log.record(&sealer, &signer, batch)?)
    }

    /// Carries out the newest record once more, and those before it that it says to be unfinished: their writer may have died.
    fn settle(&mut self) -> Result<()> {
        let Some(newest) = self.log.newest_change()? else { return Ok(()) };
        let last = self.payload(newest)?;
        let first = last.unfinished.map_or(newest, |first| first.min(newest));
        self.log.settle(&self.sealer(), first)?;
        let (mut cells, mut gone) = (BTreeMap::new(), Vec::new());
        for payload in (first..newest).map(|seq| self.payload(seq)).chain([Ok(last)]) {
            let payload = payload?;
            cells.extend(payload.cells.into_iter().map(|change| (change.name, change.cell)));
            gone.extend(payload.gone);
        }
        let mut missing = Vec::new();
        for (name, cell) in cells {
            let stored = self.log.shelves().find(Shelf::Cell, u128::from_be_bytes(name))?;
            if stored.is_none_or(|bytes| is_older(&bytes, &cell)) {
                missing.push(CellChange { name, cell });
            }
        }
        self.carried_out(&missing, &gone).map(drop)
    }

    /// Carries something out, unless somebody else has recorded more meanwhile, and has carried this out before: false then. What
    /// else lies in the place of a cell is older.
    fn carried_out(&self, cells: &[CellChange], gone: &[Gone]) -> Result<bool> {
        for _ in 0..REPLACED_COUNT_MAX {
            match self.carry_out(cells, gone) {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let shelves = self.log.shelves();
                    if shelves.has(Shelf::Log, u128::from(self.log.next_seq()))? {
                        return Ok(false);
                    }
                }
                done => return done.map(|()| true),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "a cell of the register is changed all the time"))
    }

    fn payload(&self, seq: u64) -> Result<Payload> {
        let (_, body) = self.log.body(&self.sealer(), seq)?;
        Ok(Payload::parse(&body.payload)?)
    }

    fn carry_out(&self, cells: &[CellChange], gone: &[Gone]) -> Result<()> {
        let mut items = self.log.tiles();
        let cell = |change: &CellChange| {
            (Shelf::Cell, u128::from_be_bytes(change.name), change.cell.clone())
        };
        items.extend(cells.iter().map(cell));
        self.log.shelves().put(items)?;
        for gone in gone {
            let shelf = match gone.shelf {
                GoneFrom::Node => Shelf::Node,
                GoneFrom::Object => Shelf::Object,
            };
            self.log.shelves().delete(shelf, u128::from_be_bytes(gone.name))?;
        }
        Ok(())
    }

    fn remember(&self, known: Option<Pin>) -> Result<()> {
        match self.log.pin() {
            Some(pin) if Some(pin) != known => {
                self.services.memory.remember(&self.application(), &pin)
            }
            _ => Ok(()),
        }
    }
}

impl Transaction {
    /// An empty one for the next record.
    pub fn new(register: &Register) -> Self {
        Self {
            now: register.services.clock.now_ns(),
            seq: register.log.next_seq(),
            device: register.services.keys.device_id(),
            change: None,
            key: None,
            objects: Vec::new(),
            drafts: Vec::new(),
            cells: Vec::new(),
            resealed: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Whether it changes and tells nothing.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty() && self.cells.is_empty()
    }

    /// Number the record will have.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The keystore changes.
    pub fn keystore(&mut self, change: Change) {
        self.change = Some(change);
    }

    /// A new sealed file.
    pub fn object(&mut self, id: FileId, sealed: Vec<u8>) {
        self.objects.push((id, sealed));
    }

    /// A file is no longer needed.
    pub fn drop_object(&mut self, id: FileId) {
        self.gone.push(Gone { shelf: GoneFrom::Object, name: id.0 });
    }

    /// A cell has this content from now on.
    pub fn cell(&mut self, kind: CellKind, id: &[u8; 16], plain: &[u8]) {
        self.cells.retain(|(own, at, _)| (*own, at) != (kind, id));
        self.cells.push((kind, *id, plain.to_vec()));
    }

    /// A cell stays what it is, under the register key in force.
    pub fn reseal(&mut self, name: [u8; 16], plain: Vec<u8>) {
        self.resealed.push((name, plain));
    }

    /// The register key is this one from now on.
    pub fn key(&mut self, key: KeyInForce) {
        self.key = Some(key);
    }

    /// An entry about no subject.
    pub fn entry(&mut self, kind: Kind, fill: impl FnOnce(&mut Entry)) {
        let mut entry = blank(kind);
        fill(&mut entry);
        self.drafts.push(Draft { entry, detail: Vec::new(), decision: None });
    }

    /// Any other entry.
    pub fn draft(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }
}

/// Whether what lies in the place of a cell is to make way for it. A newer one is of a record that came meanwhile.
fn is_older(stored: &[u8], cell: &[u8]) -> bool {
    let version = |bytes| cbor::decode_canonical::<Cell>(bytes).ok().map(|cell| cell.version);
    stored != cell && version(stored) <= version(cell)
}

/// An entry with nothing but its kind; the log fills in the rest.
pub(crate) fn blank(kind: Kind) -> Entry {
    Entry {
        kind,
        time: 0,
        seq: 0,
        operator: DeviceId([0; 16]),
        activity: None,
        class: None,
        judgement: None,
        about: None,
        detail: None,
        object: None,
    }
}

fn keystore(
    services: &Services,
    application: ApplicationId,
    custody: Arc<dyn Custody>,
) -> Keystore {
    let organisation = services.keys.organisation();
    Keystore::new(organisation, application, custody, Arc::clone(&services.entropy))
}
