//! Opening a workspace: lock, checkpoint, log, remembered head, journal, in this order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use strongroom_crypto::lthash::{LtHash, STATE_LEN};
use strongroom_crypto::secret::NameKey;
use strongroom_crypto::usage::{Context, Place};
use strongroom_host::disk::create_folder_durably;
use strongroom_keyring::DeviceKeys;
use strongroom_store::{Key as StoreKey, Store};

use super::follow::older_than_committed;
use super::home;
use super::log::{Checkpoint, Commit, Reader, forked};
use super::memory::{Marks, Memory, check_history};
use super::renew::Fresh;
use super::roster::Roster;
use crate::block::fetch::Blocks;
use crate::block::sent::Sent;
use crate::block::staging::Staging;
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::age::Ages;
use crate::outbound::commit::{Leftovers, Outbound, with_stored_len};
use crate::outbound::compact::Compaction;
use crate::outbound::seal::Sealer;
use crate::state::{Head, State};
use crate::tree::btree::Tree;
use crate::tree::map::Map;
use crate::tree::pages::Pages;
use crate::tree::rules::NameHash;
use crate::tree::txn::Txn;
use crate::workspace::{
    Counts, Due, Inner, Mode, Options, Services, Workspace, fresh_state, ordinary_place,
};

impl Workspace {
    /// Opens a workspace, bringing back what was acknowledged but not committed when the last process ended.
    ///
    /// # Errors
    /// `Busy` when another process has it open on this device; `Corrupt` when checkpoint, log or journal do not verify or
    /// the store is older than this device remembers; those of store and disk.
    pub fn open(
        options: Options,
        store: Arc<dyn Store>,
        keys: Arc<DeviceKeys>,
        services: Services,
    ) -> Result<Workspace> {
        let open = || {
            let (options, store) = (options.clone(), (store.clone(), Reach::Store));
            Self::open_by(options, store, keys.clone(), services.clone())
        };
        match open() {
            // Told to mount again before anybody was told that it is mounted.
            Err(error) if error.kind() == ErrorKind::Stale => open(),
            opened => opened,
        }
    }

    pub(super) fn open_by(
        options: Options,
        (store, reach): (Arc<dyn Store>, Reach),
        keys: Arc<DeviceKeys>,
        services: Services,
    ) -> Result<Workspace> {
        let lock = take_lock(&options, &services)?;
        let (folders, incarnation) = home::own(&options, &services, &keys)?;
        let staging = open_staging(&options, &services, folders.staged)?;
        let reader = Reader::open(&store, &keys, options.tuning.broken)?;
        let checkpoint = reader.checkpoint()?;
        let place = ordinary_place(&keys);
        let pages = Pages::new(store.clone(), keys.clone(), place, options.tuning.page_cache_bytes);
        let pages = Arc::new(pages.with_mistake(options.tuning.broken));
        let (sender, receiver) = mpsc::channel();
        let entropy = services.entropy.clone();
        let inner = Inner {
            sealer: Sealer::new(staging.clone(), entropy, keys.clone(), Context::block(&place)),
            blocks: open_blocks(&store, &staging, &place, &options),
            state: Mutex::new(initial_state(&checkpoint, &pages, &options)),
            outbound: Mutex::new(initial_outbound(&checkpoint)?),
            incarnation,
            sent: Sent::open(services.disk.clone(), folders.sent),
            journal: OnceLock::new(),
            inherited_upto: AtomicU64::new(0),
            gate: RwLock::new(()),
            wake: Condvar::new(),
            due: Mutex::new(Due::default()),
            compaction: Compaction::default(),
            counts: Counts::default(),
            changes: Mutex::new(Some(receiver)),
            news: sender,
            polled: Mutex::new(services.clock.elapsed()),
            answered: AtomicU64::new(0),
            _lock: lock,
            closed: AtomicBool::new(false),
            stands_at: OnceLock::new(),
            stands_on: Mutex::default(),
            frozen_commits: Mutex::default(),
            looks: AtomicU64::new(0),
            past: Mutex::default(),
            holding: Mutex::default(),
            restoring: Mutex::default(),
            pinning: Mutex::default(),
            purging: Mutex::default(),
            renewing: Mutex::default(),
            ages: Mutex::new(Ages::new(&*services.clock)),
            pinned_at: AtomicU64::new(u64::MAX),
            requests: Mutex::default(),
            overfull: AtomicBool::new(false),
            options,
            services,
            store: store.clone(),
            keys: keys.clone(),
            roster: reader.roster.clone(),
            revoked: AtomicBool::new(false),
            organisation_seen: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            known: Mutex::default(),
            alone: AtomicBool::new(false),
            taken_over: AtomicBool::new(false),
            apart: AtomicBool::new(reach == Reach::Apart),
            began_apart: reach == Reach::Apart,
            staging,
            pages,
        };
        inner.begin(&reader, &checkpoint)?;
        Ok(Workspace(Arc::new(inner)))
    }
}

/// What a workspace is opened from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The store.
    Store,
    /// Copies of it on this device.
    Apart,
}

fn take_lock(options: &Options, services: &Services) -> Result<Option<Box<dyn Send + Sync>>> {
    if options.mode == Mode::ReadOnly {
        return Ok(None);
    }
    create_folder_durably(&*services.disk, &options.state_folder)?;
    let path = options.state_folder.join("lock");
    match services.disk.lock(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let message = "the workspace is in use by another process on this device";
            Err(Error::new(ErrorKind::Busy, message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Read-only opens stage nothing and leave what a crash left alone.
fn open_staging(options: &Options, services: &Services, folder: PathBuf) -> Result<Arc<Staging>> {
    let (disk, entropy) = (services.disk.clone(), services.entropy.clone());
    Ok(Arc::new(match options.mode {
        Mode::ReadWrite => Staging::open(disk, entropy, folder, options.tuning.object_plain_bytes)?,
        Mode::ReadOnly => Staging::empty(disk, entropy, folder),
    }))
}

fn open_blocks(
    store: &Arc<dyn Store>,
    staging: &Arc<Staging>,
    place: &Place,
    options: &Options,
) -> Blocks {
    let cache_bytes = options.tuning.segment_cache_bytes;
    Blocks::new(store.clone(), staging.clone(), Context::block(place), cache_bytes)
}

pub(crate) fn initial_state(
    checkpoint: &Checkpoint,
    pages: &Arc<Pages>,
    options: &Options,
) -> State {
    let state = &checkpoint.state;
    let tree = Tree { root: state.root, height: state.height, count: state.count };
    let map = Map::new(tree, pages.clone());
    let names = NameHash::new(NameKey::from_bytes(&state.name_key));
    let head = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
    fresh_state(map, names, head, options.tuning.batch_ops_bytes_limit)
}

fn initial_outbound(checkpoint: &Checkpoint) -> Result<Outbound> {
    let state = &checkpoint.state;
    let digest: &[u8; STATE_LEN] = state.digest.as_slice().try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "the checkpoint's digest has the wrong length")
    })?;
    let marks = state.journals.iter().map(|mark| ((mark.device, mark.incarnation), *mark));
    Ok(Outbound {
        pending: None,
        adopted: Vec::new(),
        tried: Vec::new(),
        released: Vec::new(),
        counter: 0,
        journal_upto: 0,
        marks: marks.collect(),
        slots: state.slots.clone(),
        ledger: checkpoint.root.page_objects.iter().map(|entry| (entry.object, *entry)).collect(),
        checkpoint_seq: checkpoint.root.seq,
        changed_seq: checkpoint.root.seq,
        covering_seq: None,
        checkpoint_due: None,
        written: None,
        contact: (0, Duration::ZERO),
        settled: Duration::ZERO,
        renewed: Duration::ZERO,
        rewrite_all: false,
        fresh_written: false,
        renew_to: None,
        has_past: !checkpoint.is_alone,
        leftovers: Leftovers::default(),
        remembered_seq: 0,
        digest: LtHash::from_bytes(digest),
        nameless: BTreeSet::new(),
        last_error: None,
        failed_count: 0,
        follow_error: None,
    })
}

impl Inner {
    fn begin(&self, reader: &Reader<'_>, checkpoint: &Checkpoint) -> Result<()> {
        self.check_remembered_organisation()?;
        let (state, outbound) = self.replayed(reader, checkpoint, u64::MAX)?;
        (*self.state.lock(), *self.outbound.lock()) = (state, outbound);
        if self.check_memory().is_err() {
            // What was asked for ahead may be of before another process of this home wrote: asked again, the store itself tells.
            let (state, outbound) = self.replayed(reader, checkpoint, u64::MAX)?;
            (*self.state.lock(), *self.outbound.lock()) = (state, outbound);
            self.check_memory()?;
        }
        self.recover()?;
        self.remember_organisation()?;
        self.claim_slot()
    }

    /// Begins anew with the map as it was after commit `seq`.
    ///
    /// # Errors
    /// `Corrupt` if that is not in the store any more; `Stale` if this home has committed changes since.
    pub(crate) fn load_at(&self, seq: u64) -> Result<()> {
        // One of its own: pins may be lower again.
        let reader = self.reader_anew();
        let checkpoint = reader.checkpoint_upto(seq)?;
        let (state, outbound) = self.replayed(&reader, &checkpoint, seq)?;
        if state.head.seq == seq {
            self.check_way(&reader.roster, state.head)?;
            self.roster.go_back_to(&reader.roster);
            *self.outbound.lock() = outbound;
            *self.state.lock() = state;
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, format!("commit {seq} is not in the store any more")))
    }

    /// Begins anew with the map of a snapshot, whose checkpoint may stand alone: no log behind it says what it leads to, but
    /// the snapshot names its commit by hash.
    ///
    /// # Errors
    /// `Corrupt` if it is another commit, or is not there.
    pub(crate) fn load_snapshot(&self, head: Head) -> Result<()> {
        let reader = self.reader_anew();
        let missing = || {
            let key = StoreKey::Checkpoint(head.seq);
            Error::new(ErrorKind::Corrupt, format!("`{key}` is missing"))
        };
        let checkpoint = reader.checkpoint_at(head.seq)?.ok_or_else(missing)?;
        let (state, outbound) = self.replayed(&reader, &checkpoint, head.seq)?;
        if state.head != head {
            return Err(forked(StoreKey::Log(head.seq)));
        }
        (*self.state.lock(), *self.outbound.lock()) = (state, outbound);
        Ok(())
    }

    /// A checkpoint and the commits after it up to number `last`, beside what is in use.
    ///
    /// # Errors
    /// Those of the reader; `Corrupt` for another history than this device has seen.
    pub(super) fn replayed(
        &self,
        reader: &Reader<'_>,
        checkpoint: &Checkpoint,
        last: u64,
    ) -> Result<Fresh> {
        let mut outbound = initial_outbound(checkpoint)?;
        let mut state = initial_state(checkpoint, &self.pages, &self.options);
        let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
        let remembered = self.memory().map(|seen| seen.head);
        check_history(remembered, start)?;
        self.check_known(start)?;
        reader.commits_upto(start, last, &mut |commit| {
            check_history(remembered, commit.head)?;
            self.check_known(commit.head)?;
            self.replay_commit(&mut state, commit)?;
            self.note_covering(&mut outbound, commit);
            outbound.note_commit(commit);
            if !(self.is_own(commit) && commit.body.ops.is_empty()) {
                outbound.changed_seq = commit.head.seq;
            }
            Ok(())
        })?;
        self.find_own_mark(&mut outbound);
        self.take_slot(&outbound, &mut state);
        if self.is_apart() {
            // What copies there are says nothing of what else the store keeps.
            outbound.has_past = true;
        } else {
            self.note_contact(&mut outbound);
        }
        outbound.renewed = self.services.clock.elapsed();
        outbound.settled = outbound.renewed;
        Ok((state, outbound))
    }

    /// ORDER: before the mark of the commit is noted.
    fn note_covering(&self, outbound: &mut Outbound, commit: &Commit) {
        let before = outbound.own_mark(self.keys.device_id(), self.incarnation);
        let upto = before.map_or(0, |mark| mark.journal_upto);
        if self.is_own(commit) && (before.is_none() || commit.body.head.journal_upto != upto) {
            outbound.covering_seq = Some(commit.head.seq);
        }
    }

    /// A reader of what follows the head.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let (roster, broken) = (self.roster.clone(), self.options.tuning.broken);
        Reader { store: &self.store, keys: &self.keys, roster, broken }
    }

    /// A reader of the history from an earlier position on. It knows the organisation as this process does.
    pub(crate) fn reader_anew(&self) -> Reader<'_> {
        Reader { roster: Arc::new(self.roster.anew()), ..self.reader() }
    }

    /// While a workspace is opened the history may be read twice. INVARIANT: what is replayed is what was verified to
    /// lead to the newest commit; a store might show something else the second time.
    pub(super) fn check_known(&self, head: Head) -> Result<()> {
        match self.known.lock().get(&head.seq) {
            Some(hash) if *hash != head.hash => Err(forked(StoreKey::Log(head.seq))),
            _ => Ok(()),
        }
    }

    /// Notes the commits from an earlier one to the newest as known, if none after it holds changes of this home.
    fn check_way(&self, roster: &Roster, from: Head) -> Result<()> {
        let newest = self.state.lock().head;
        let (mut way, mut has_own) = (BTreeMap::from([(from.seq, from.hash)]), false);
        let reader = Reader { roster: Arc::new(roster.anew()), ..self.reader() };
        let end = reader.commits_upto(from, newest.seq, &mut |commit| {
            way.insert(commit.head.seq, commit.head.hash);
            has_own |= self.is_own(commit) && !commit.body.ops.is_empty();
            Ok(())
        })?;
        if end != newest {
            return Err(forked(StoreKey::Log(end.seq)));
        }
        if has_own {
            // It could never be taken in as another's.
            return Err(older_than_committed());
        }
        self.known.lock().extend(way);
        Ok(())
    }

    /// Refuses a store that shows less than what opening went back before. What is taken in need not be known any more.
    pub(super) fn check_way_is_taken(&self, outbound: &Outbound) -> Result<()> {
        let newest = self.known.lock().last_key_value().map(|(seq, hash)| (*seq, *hash));
        if let Some((seq, hash)) = newest {
            let seen = Memory { head: Head { seq, hash }, marks: Marks::new() };
            let head = self.state.lock().head;
            seen.check(head, &outbound.marks, self.options.tuning.broken)?;
            self.known.lock().clear();
        }
        Ok(())
    }

    pub(crate) fn replay_commit(&self, state: &mut State, commit: &Commit) -> Result<()> {
        for op in &commit.body.ops {
            self.waiting(state, |state| state.replay(op))?;
        }
        for added in &commit.header.added {
            let usage =
                self.waiting(state, |state| Txn::new(&state.map).object_use(added.object))?;
            if let Some(usage) = usage {
                state.map.install_committed(with_stored_len(added.object, usage, added.len));
            }
        }
        state.head = commit.head;
        state.log_bytes += commit.len;
        Ok(())
    }

    /// Refuses a store that is older than what this home has seen, or goes on from something else.
    fn check_memory(&self) -> Result<()> {
        let Some(memory) = self.memory() else { return Ok(()) };
        let outbound = self.outbound.lock();
        let head = self.state.lock().head;
        memory.check(head, &outbound.marks, self.options.tuning.broken)
    }
}
