//! Removing files and every version of them, so that no stored thing holds their keys or bytes any more.
//!
//! ```text
//! find      inodes and objects, in the present, in snapshots, and in the log
//! remove    names in the present, each in one commit with the word that it is purged; then blocks of others in the same objects,
//!           those that came meanwhile as well, move to new ones, unopened (`Relocate`)
//! expunge   a commit says so of all: homes that follow it write, or go over to, a checkpoint of fresh pages
//! freeze    that checkpoint is written here; snapshots get manifests of fresh pages, with `Purged` in place of content
//!           ... a while, in which homes that are there follow ...
//! strip     bodies of all commits before are dropped, checkpoints that are no snapshot go, and then every object that held
//!           something of it and that nothing names any more
//! ```
//!
//! 1. What is under way is written down in the local state, as numbers, and goes on after any ending: each step is
//!    repeated from its beginning, harmlessly.
//! 2. Nothing is removed that a kept state, or what is on its way, names.
//! 3. History ends where a purge did: states between snapshots before it are gone for all files.
//! 4. A commit that is damaged cannot be stripped. It is told, all else is done, and it is looked at again until it is gone or
//!    healed; another purge may begin meanwhile.
//! 5. A file that somebody opened before it lost its name is kept until it is closed. The purge waits for that.
//! 6. What goes is what is at and below the paths when its name is taken. A file that another home moved away just before is none
//!    of it, and no commit says that it is purged.
//!
//! LIMIT: a home that was away meanwhile, with changes that were never committed, finds the log stripped (`Purged`). An edit made
//! elsewhere without knowing of the removal brings back the name with what was written there, not what was there before. One that
//! was committed first is a version like any other, and goes.

mod find;
mod rewrite;
mod strip;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use strongroom_crypto::hash::blake3_256;
use strongroom_format::cbor;
use strongroom_format::ids::{DeviceId, Ino, ObjectId};
use strongroom_format::inode::Kind;
use strongroom_format::op::Op;
use strongroom_host::disk::{read_all, replace_file};

use crate::error::{Error, ErrorKind, Result};
use crate::outbound::background::Setback;
use crate::outbound::commit::Reason;
use crate::tree::pages::patiently;
use crate::tree::places::Place;
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Workspace};
use find::Found;

/// Name of the file in the folder of the local state.
pub const PURGE_FILE: &str = "purge";
const SUM_LEN: usize = 32;
/// LIMIT: inodes that one operation says are purged: a record of the journal holds 2 MiB.
const EXPUNGED_PER_OP_MAX: usize = 10_000;

/// A purge under way, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Intent {
    /// What is purged, rising.
    #[n(0)]
    inos: Vec<Ino>,
    /// Objects with blocks of it.
    #[n(1)]
    affected: Vec<ObjectId>,
    /// The commit that says so, once there is one.
    #[n(2)]
    expunged: Option<u64>,
    /// The checkpoint of fresh pages, once there is one.
    #[n(3)]
    frozen: Option<u64>,
    /// Objects that go once nothing names them.
    #[n(4)]
    doomed: Vec<ObjectId>,
    /// When the log may be stripped, nanoseconds since 1970; 0 until the snapshots have fresh pages.
    #[n(5)]
    due: i64,
    /// Commits that are damaged and were not stripped, once all else is done.
    #[n(6)]
    left: Option<Vec<u64>>,
    /// The commit up to which the objects are known.
    #[n(7)]
    looked: Option<u64>,
    /// The commit after which the names are gone.
    #[n(8)]
    removed: Option<u64>,
    /// Where the paths were when they were looked for.
    #[n(9)]
    places: Option<Vec<Place>>,
}

/// When a purge began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// Just now.
    Now,
    /// Before, perhaps by another process.
    Before,
}

/// A purge that is under way, as far as this process has come with it.
#[derive(Debug, Default)]
pub(crate) struct Purging {
    /// Whether somebody is at work on it.
    is_at_work: bool,
    setback: Setback,
}

/// What a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Purged {
    /// Files, folders and links that it took, of all times.
    #[n(0)]
    pub inodes: u64,
    /// Those that were under the paths once and are elsewhere now: they were left alone.
    #[n(1)]
    pub moved: u64,
    /// Whether it goes on in the background, so that homes that are there can follow.
    #[n(2)]
    pub goes_on: bool,
    /// Those that were removed before and are open on another device: they were left alone.
    #[n(3)]
    pub open: u64,
    /// What these devices are called, as far as that is known.
    #[n(4)]
    pub open_on: Vec<String>,
}

impl Workspace {
    /// Removes what the paths name, and every version of it. Where nobody else writes, all is done on return; else the rest
    /// follows in the background.
    ///
    /// # Errors
    /// `NotFound`; `Busy` for an open file, or while another purge is under way; `Invalid` for a file that has other
    /// names; those of the store, and `Busy` for a file that was opened meanwhile: it goes on later.
    pub fn purge(&self, paths: &[Vec<u8>]) -> Result<Purged> {
        let inner = &self.0;
        inner.writable()?;
        {
            let mut purging = inner.purging.lock();
            let under_way = inner.intent()?.is_some_and(|intent| intent.left.is_none());
            if purging.is_at_work || under_way {
                let message = "a purge is under way; try again when it has ended";
                return Err(Error::new(ErrorKind::Busy, message));
            }
            purging.is_at_work = true;
        }
        let purged = inner.purge_now(paths);
        inner.purging.lock().is_at_work = false;
        purged
    }

    /// Whether a purge is under way.
    ///
    /// # Errors
    /// Those of the local disk.
    pub fn is_purging(&self) -> Result<bool> {
        Ok(self.0.intent()?.is_some_and(|intent| intent.left.is_none()))
    }
}

impl Inner {
    fn purge_now(self: &Arc<Self>, paths: &[Vec<u8>]) -> Result<Purged> {
        self.need_all_copies()?;
        let looking = self.begin_look();
        // What goes piece by piece has no name either, and nobody has it open.
        self.purge_doomed()?;
        self.commit(Reason::Asked)?;
        self.follow(&mut self.outbound.lock())?;
        let looked = self.state.lock().head.seq;
        let found = self.find_all(paths)?;
        self.check_removable(&found)?;
        let before = found.inos.len() as u64;
        let mut intent = Intent {
            inos: found.inos.iter().copied().collect(),
            affected: found.affected.iter().copied().collect(),
            expunged: None,
            frozen: None,
            doomed: Vec::new(),
            due: 0,
            left: None,
            looked: Some(looked),
            removed: None,
            places: Some(found.places),
        };
        self.write_intent(&intent)?;
        self.expunge(&mut intent)?;
        drop(looking);
        let inodes = intent.inos.len() as u64;
        let goes_on = !self.go_on(intent, Begun::Now)?;
        let (moved, open) = (found.moved + before - inodes, found.open.len() as u64);
        Ok(Purged { inodes, moved, goes_on, open, open_on: self.names_of_devices(&found.open) })
    }

    /// Goes on with a purge that is under way, if there is one. What it meets is told in the status, and it is tried again:
    /// nothing else waits for it.
    pub(crate) fn purge_if_under_way(self: &Arc<Self>) {
        let now = self.services.clock.elapsed();
        let intent = {
            let mut purging = self.purging.lock();
            let waits = purging.is_at_work || purging.setback.waits(now);
            if self.journal.get().is_none() || self.is_ending() || waits {
                return;
            }
            let Some(intent) = self.intent().transpose() else {
                *purging = Purging::default();
                return;
            };
            purging.is_at_work = true;
            intent
        };
        let went = intent.and_then(|intent| self.go_on(intent, Begun::Before)).map(drop);
        let mut purging = self.purging.lock();
        purging.is_at_work = false;
        purging.setback.note(now, went);
    }

    /// What keeps a purge from going on.
    pub(crate) fn purge_trouble(&self) -> Option<String> {
        self.purging.try_lock()?.setback.trouble()
    }

    /// True when it is done.
    fn go_on(self: &Arc<Self>, intent: Intent, begun: Begun) -> Result<bool> {
        let mut intent = intent;
        self.need_all_copies()?;
        if let Some(left) = intent.left.take() {
            let left = self.strip_again(left, begun)?;
            return self.end(intent, left);
        }
        if intent.expunged.is_none() {
            let _looking = self.begin_look();
            self.expunge(&mut intent)?;
        }
        if intent.frozen.is_none() {
            if intent.doomed.is_empty() {
                intent.doomed = self.list_doomed(&intent)?;
            }
            intent.frozen = Some(self.freeze_fresh()?);
            // ORDER: as above.
            self.write_intent(&intent)?;
        }
        if intent.due == 0 {
            self.rewrite_snapshots(&mut intent, begun)?;
            intent.due = self.strip_time();
            self.write_intent(&intent)?;
        }
        // The clock may have gone back since that was written down.
        let latest = self.strip_time();
        if latest < intent.due {
            intent.due = latest;
            self.write_intent(&intent)?;
        }
        if self.services.clock.now_ns() < intent.due {
            return Ok(false);
        }
        self.follow(&mut self.outbound.lock())?;
        // One may have been made elsewhere before that home heard of it.
        self.rewrite_snapshots(&mut intent, begun)?;
        self.write_intent(&intent)?;
        let left = self.strip(&mut intent, begun)?;
        self.end(intent, left)
    }

    /// Takes it out of the present, and has a commit say so.
    fn expunge(self: &Arc<Self>, intent: &mut Intent) -> Result<()> {
        self.need_all_copies()?;
        if intent.removed.is_none() {
            self.remove_present(intent)?;
            intent.removed = Some(self.state.lock().head.seq);
            // ORDER: before anything that may fail: what others bring back under these numbers is their own.
            self.write_intent(intent)?;
        }
        self.purge_doomed()?;
        self.check_closed(intent)?;
        self.commit(Reason::Asked)?;
        self.note_affected(intent)?;
        self.move_others(intent)?;
        // ORDER: before the commit: whatever checkpoint comes next has fresh pages only.
        self.outbound.lock().rewrite_all = true;
        for some in intent.inos.chunks(EXPUNGED_PER_OP_MAX) {
            self.do_now(&Op::Expunge { inos: some.to_vec() })?;
        }
        self.commit(Reason::Asked)?;
        intent.expunged = Some(self.state.lock().head.seq);
        // ORDER: before anything that may fail: each try would commit it anew.
        self.write_intent(intent)
    }

    /// Takes in which objects came since it was looked for: somebody may have written to it, or compacted it, before it was removed.
    fn note_affected(&self, intent: &mut Intent) -> Result<()> {
        let upto = self.state.lock().head.seq;
        let mut affected = self.look_since(intent.looked, &intent.inos)?.affected;
        affected.extend(&intent.affected);
        intent.affected = affected.into_iter().collect();
        intent.looked = Some(upto);
        self.write_intent(intent)
    }

    /// The note goes, or says of which commits nobody knows whether they hold something of it.
    fn end(&self, intent: Intent, left: Vec<u64>) -> Result<bool> {
        // ORDER: before the note goes. One that went away meanwhile has all of it still.
        self.need_all_copies()?;
        let Some(first) = left.first().copied() else {
            self.remove_intent()?;
            return Ok(true);
        };
        let count = left.len();
        self.write_intent(&Intent { left: Some(left), ..intent })?;
        let message = format!(
            "commits are damaged ({count}, the first is {first}), and what they hold of what was purged stays until they go; all \
             else of it is gone"
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// A checkpoint of the newest commit that names no page from before.
    fn freeze_fresh(&self) -> Result<u64> {
        // After an ending nobody remembers whether the last one was.
        self.outbound.lock().rewrite_all = true;
        loop {
            self.do_now(&Op::Expunge { inos: Vec::new() })?;
            let head = self.freeze_now()?.head;
            if !self.outbound.lock().rewrite_all {
                return Ok(head.seq);
            }
        }
    }

    fn strip_time(&self) -> i64 {
        let shared = self.outbound.lock().is_shared();
        let grace = self.options.tuning.purge_grace.as_nanos();
        let grace = i64::try_from(grace).unwrap_or(i64::MAX);
        self.services.clock.now_ns().saturating_add(if shared { grace } else { 0 })
    }

    /// Whether what looks done may be undone in a copy: what members of a mirror missed is forgotten with the process.
    fn may_differ(&self, begun: Begun) -> bool {
        begun == Begun::Before && self.store.is_mirrored()
    }

    /// A member of a mirror that is away would keep what is purged, and `scrub` would bring it back.
    fn need_all_copies(&self) -> Result<()> {
        if self.store.reaches_all() {
            return Ok(());
        }
        let text = "a member of the mirror is away and would keep what is purged";
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    fn check_removable(&self, found: &Found) -> Result<()> {
        let state = self.state.lock();
        let mut all = found.present.iter().chain(found.open.keys());
        if all.any(|ino| state.is_open(*ino)) {
            return Err(Error::new(ErrorKind::Busy, "a file of it is open; close it first"));
        }
        if found.other_names > 0 {
            let message =
                format!("{} of its files have names elsewhere; purge these too", found.other_names);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(())
    }

    /// What was opened before it lost its name is there with all that it holds.
    fn check_closed(&self, intent: &Intent) -> Result<()> {
        let map = self.state.lock().map.snapshot();
        for ino in intent.inos.iter().copied() {
            let Some(inode) = patiently(|| Txn::new(&map).find_inode(ino))? else { continue };
            if inode.kind != Kind::Folder && inode.link_count == 0 {
                return Err(self.still_open(intent, ino));
            }
        }
        Ok(())
    }

    fn still_open(&self, intent: &Intent, ino: Ino) -> Error {
        let place = match self.state.lock().is_open(ino) {
            true => String::new(),
            false => {
                let unlinked = self.look_since(intent.looked, &[]).map(|since| since.unlinked);
                let device = unlinked.ok().and_then(|unlinked| unlinked.get(&ino).copied());
                device.map_or(" elsewhere".to_owned(), |device| format!(" on device {device}"))
            }
        };
        let ino = ino.0;
        let message = format!(
            "a file that is being purged is open{place} (inode {ino}): that goes on once it is closed"
        );
        Error::new(ErrorKind::Busy, message)
    }

    /// What devices are called that have something open, each once.
    fn names_of_devices(&self, open: &BTreeMap<Ino, Option<DeviceId>>) -> Vec<String> {
        let devices: BTreeSet<DeviceId> = open.values().copied().flatten().collect();
        let name = |device: DeviceId| {
            let given = self.roster.with(|organisation| organisation.name(&device, &self.keys));
            given.unwrap_or_else(|| device.to_string())
        };
        devices.into_iter().map(name).collect()
    }

    fn intent(&self) -> Result<Option<Intent>> {
        let path = self.options.state_folder.join(PURGE_FILE);
        let bytes = match read_all(&*self.services.disk, &path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = || Error::new(ErrorKind::Corrupt, "the note of a purge under way is damaged");
        parse(&bytes).map(Some).ok_or_else(damaged)
    }

    fn write_intent(&self, intent: &Intent) -> Result<()> {
        let path = self.options.state_folder.join(PURGE_FILE);
        let mut bytes = cbor::encode(intent);
        let sum = blake3_256(&bytes);
        bytes.extend_from_slice(&sum);
        Ok(replace_file(&*self.services.disk, &path, &bytes)?)
    }

    fn remove_intent(&self) -> Result<()> {
        let path = self.options.state_folder.join(PURGE_FILE);
        Ok(self.services.disk.remove(&path)?)
    }
}

impl Intent {
    fn is_purged(&self, ino: Ino) -> bool {
        self.inos.binary_search(&ino).is_ok()
    }

    fn doomed(&self) -> BTreeSet<ObjectId> {
        self.doomed.iter().copied().collect()
    }
}

fn parse(bytes: &[u8]) -> Option<Intent> {
    let (facts, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
    (blake3_256(facts) == *sum).then(|| cbor::decode_canonical(facts).ok()).flatten()
}
