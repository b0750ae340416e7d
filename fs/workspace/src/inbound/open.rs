//! Opening a workspace: lock, checkpoint, log, remembered head, journal, in this order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use strongroom_crypto::hash::blake3_256;
use strongroom_crypto::lthash::{LtHash, STATE_LEN};
use strongroom_crypto::secret::NameKey;
use strongroom_crypto::usage::Context;
use strongroom_format::ids::Digest;
use strongroom_host::disk::{DiskFile, OpenMode, create_folder_durably, read_all};
use strongroom_keyring::DeviceKeys;
use strongroom_store::Store;

use super::home;
use super::log::{Checkpoint, Commit, Reader};
use super::renew::Fresh;
use crate::block::fetch::Blocks;
use crate::block::staging::Staging;
use crate::error::{Error, ErrorKind, Result};
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

/// Name of the file with the newest head this device has seen.
pub const HEAD_FILE: &str = "head";
const HEAD_LEN: usize = 72;

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
        let lock = take_lock(&options, &services)?;
        let incarnation = home::incarnation(&options, &services)?;
        let staging = open_staging(&options, &services)?;
        let reader = Reader::open(&store, &keys)?;
        let checkpoint = reader.checkpoint()?;
        let place = ordinary_place(&keys);
        let context = Context::block(&place);
        let pages = Arc::new(Pages::new(
            store.clone(),
            keys.clone(),
            place,
            options.tuning.page_cache_bytes,
        ));
        let (sender, receiver) = mpsc::channel();
        let entropy = services.entropy.clone();
        let inner = Inner {
            sealer: Sealer::new(staging.clone(), entropy, keys.clone(), Context::block(&place)),
            blocks: Blocks::new(
                store.clone(),
                staging.clone(),
                context,
                options.tuning.segment_cache_bytes,
            ),
            state: Mutex::new(initial_state(&checkpoint, &pages, &options)),
            outbound: Mutex::new(initial_outbound(&checkpoint)?),
            incarnation,
            journal: OnceLock::new(),
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
            overfull: AtomicBool::new(false),
            options,
            services,
            store: store.clone(),
            keys: keys.clone(),
            roster: reader.roster.clone(),
            revoked: AtomicBool::new(false),
            staging,
            pages,
        };
        inner.check_remembered_organisation()?;
        let (state, outbound) = inner.replayed(&reader, &checkpoint, u64::MAX)?;
        (*inner.state.lock(), *inner.outbound.lock()) = (state, outbound);
        inner.check_remembered_head()?;
        inner.recover()?;
        inner.claim_slot()?;
        Ok(Workspace(Arc::new(inner)))
    }
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
fn open_staging(options: &Options, services: &Services) -> Result<Arc<Staging>> {
    let (disk, entropy) = (services.disk.clone(), services.entropy.clone());
    let folder = options.state_folder.join("staged");
    Ok(Arc::new(match options.mode {
        Mode::ReadWrite => Staging::open(disk, entropy, folder, options.tuning.object_plain_bytes)?,
        Mode::ReadOnly => Staging::empty(disk, entropy, folder),
    }))
}

fn initial_state(checkpoint: &Checkpoint, pages: &Arc<Pages>, options: &Options) -> State {
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
        counter: 0,
        journal_upto: 0,
        marks: marks.collect(),
        slots: state.slots.clone(),
        ledger: checkpoint.root.page_objects.iter().map(|entry| (entry.object, *entry)).collect(),
        checkpoint_seq: checkpoint.root.seq,
        checkpoint_due: None,
        written: None,
        contact: (0, Duration::ZERO),
        renewed: Duration::ZERO,
        leftovers: Leftovers::default(),
        remembered_seq: 0,
        digest: LtHash::from_bytes(digest),
        last_error: None,
    })
}

impl Inner {
    /// Begins anew with the map as it was after commit `seq`.
    ///
    /// # Errors
    /// `Corrupt` if that is not in the store any more.
    pub(super) fn load_at(&self, seq: u64) -> Result<()> {
        // One of its own: pins may be lower again.
        let reader = Reader::open(&self.store, &self.keys)?;
        let checkpoint = reader.checkpoint_upto(seq)?;
        let (state, outbound) = self.replayed(&reader, &checkpoint, seq)?;
        if state.head.seq == seq {
            self.roster.go_back_to(&reader.roster);
            *self.outbound.lock() = outbound;
            *self.state.lock() = state;
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, format!("commit {seq} is not in the store any more")))
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
        let remembered = self.remembered_head();
        check_history(remembered, start)?;
        reader.commits_upto(start, last, &mut |commit| {
            check_history(remembered, commit.head)?;
            self.replay_commit(&mut state, commit)?;
            outbound.note_commit(commit);
            Ok(())
        })?;
        self.find_own_mark(&mut outbound);
        self.take_slot(&outbound, &mut state);
        self.note_contact(&mut outbound);
        outbound.renewed = self.services.clock.elapsed();
        Ok((state, outbound))
    }

    fn replay_commit(&self, state: &mut State, commit: &Commit) -> Result<()> {
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

    /// Refuses a store that is older than what this device has seen.
    fn check_remembered_head(&self) -> Result<()> {
        let Some(remembered) = self.remembered_head() else { return Ok(()) };
        let head = self.state.lock().head;
        if head.seq >= remembered.seq {
            return Ok(());
        }
        let message = format!(
            "the store is not what this device last saw: it ends at commit {}, this device saw {}",
            head.seq, remembered.seq
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    pub(super) fn remembered_head(&self) -> Option<Head> {
        let path = self.options.state_folder.join(HEAD_FILE);
        parse_head(&read_all(&*self.services.disk, &path).ok()?)
    }

    /// Notes the newest head. Not synced: after a power loss an older one is remembered, which is safe.
    pub(crate) fn remember_head(&self, head: Head) -> Result<()> {
        self.write_head(head).map(drop)
    }

    /// Notes the newest head, durably.
    pub(super) fn remember_head_durably(&self, head: Head) -> Result<()> {
        self.write_head(head)?.sync_data()?;
        Ok(self.services.disk.sync_folder(&self.options.state_folder)?)
    }

    fn write_head(&self, head: Head) -> Result<Arc<dyn DiskFile>> {
        let bytes = head_bytes(head);
        let path: &Path = &self.options.state_folder.join(HEAD_FILE);
        let file = self.services.disk.open(path, OpenMode::Create)?;
        file.write_at(&bytes, 0)?;
        Ok(file)
    }
}

/// Refuses another history than the one this device has seen, also one that goes on for longer. What a checkpoint has
/// cut away cannot be compared any more.
fn check_history(remembered: Option<Head>, head: Head) -> Result<()> {
    if remembered.is_none_or(|seen| seen.seq != head.seq || seen.hash == head.hash) {
        return Ok(());
    }
    let message =
        format!("the store is not what this device last saw: commit {} is another one", head.seq);
    Err(Error::new(ErrorKind::Corrupt, message))
}

/// A head as it is remembered.
pub(super) fn head_bytes(head: Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN);
    bytes.extend_from_slice(&head.seq.to_le_bytes());
    bytes.extend_from_slice(&head.hash.0);
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// Parses the file with the remembered head; none if its sum does not hold.
pub fn parse_head(bytes: &[u8]) -> Option<Head> {
    let (facts, sum) = bytes.get(..HEAD_LEN)?.split_at(40);
    if blake3_256(facts) != *sum {
        return None;
    }
    let (seq, hash) = facts.split_at(8);
    let seq = u64::from_le_bytes(seq.try_into().ok()?);
    Some(Head { seq, hash: Digest(hash.try_into().ok()?) })
}
