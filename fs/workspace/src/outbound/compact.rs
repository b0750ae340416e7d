//! Compaction: live ranges of sparse objects, of tiny objects and of fragmented files are read and sealed anew as
//! larger blocks. The ordinary operation `SetExtents` names the new blocks; the old objects lose their references and
//! go the ordinary way.
//!
//! A round follows a checkpoint, and more rounds follow while nobody changes anything. What it may do is found in the
//! tree of that checkpoint (`choose`), which is immutable; a page that a later checkpoint deleted ends the round.
//!
//! A rewritten range has the same bytes, and its file the same size, mode and times. INVARIANT: a range is rewritten
//! only if the map still has exactly the extents that were read and no unsealed byte lies over them. What does not
//! verify is not touched. LIMIT: a round moves `compact_bytes` bytes and `compact_extents` extents; it holds the
//! state's lock for one block's operation at a time.

mod choose;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Content, Extent};
use strongroom_format::key::Subject;
use strongroom_format::op::Op;
use zeroize::Zeroizing;

use crate::block::fetch::Wanted;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::limits::{COMPACT_WINDOW_LEN, COMPACT_WINDOWS_MAX};
use crate::state::State;
use crate::tree::map::{Layer, Value, subject};
use crate::tree::need::{Look, Need};
use crate::tree::pages::look_again;
use crate::tree::rules::extents::{end_of, overlapping};
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Workspace};
use choose::Candidate;

/// What compaction did since the workspace was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Rounds begun.
    pub rounds: u64,
    /// Blocks made.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Runs left alone because the file changed meanwhile.
    pub changed: u64,
    /// Runs left alone because a block of them does not verify or is missing.
    pub damaged: u64,
}

/// What compaction has to do and did. Locks of their own: nobody waits for a round.
#[derive(Default)]
pub struct Compaction {
    /// Held through a round.
    running: Mutex<()>,
    todo: Mutex<Todo>,
    rounds: AtomicU64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    changed: AtomicU64,
    damaged: AtomicU64,
}

/// A part of a file, [`COMPACT_WINDOW_LEN`] bytes long: file, index.
type Window = (Ino, u64);

/// What may be worth a rewrite.
#[derive(Default)]
struct Todo {
    /// Set by a checkpoint: its objects were not looked at yet.
    fresh: bool,
    /// Where extents changed.
    windows: BTreeSet<Window>,
    /// Where the next round begins among them, so that none waits for ever.
    next_window: Option<Window>,
    /// Objects with much garbage, the best last.
    objects: Vec<Candidate>,
    /// Objects with a block that cannot be read. Not tried again until the next mount.
    hopeless: BTreeSet<ObjectId>,
}

impl Todo {
    fn is_empty(&self) -> bool {
        !self.fresh && self.windows.is_empty() && self.objects.is_empty()
    }

    fn add_window(&mut self, window: Window) {
        if self.windows.len() < COMPACT_WINDOWS_MAX {
            self.windows.insert(window);
        }
    }
}

/// Extents of one file without a gap between them, at most one block in all.
struct Run {
    ino: Ino,
    extents: Vec<Extent>,
}

impl Run {
    fn start(&self) -> u64 {
        self.extents.first().map_or(0, |extent| extent.offset)
    }

    fn end(&self) -> u64 {
        self.extents.last().map_or(0, end_of)
    }

    fn len(&self) -> usize {
        self.extents.iter().map(|extent| extent.len as usize).sum()
    }
}

/// Why a round ended before its work did.
enum Ended {
    /// The workspace closes.
    Closing,
    /// What sealing or the journal met; the next change will meet it too and tell.
    Failed,
}

impl From<Error> for Ended {
    fn from(_: Error) -> Self {
        Ended::Failed
    }
}

impl Compaction {
    /// Takes note of what a checkpoint wrote out.
    pub(super) fn note(&self, layer: &Layer) {
        let mut todo = self.todo.lock();
        todo.fresh = true;
        for (key, value) in layer {
            if let (Subject::Extent { ino, offset }, Some(_)) = (subject(key), value) {
                todo.add_window((ino, offset / COMPACT_WINDOW_LEN));
            }
        }
    }

    /// Puts back what a round left. Objects it had chosen do not count if a checkpoint came meanwhile.
    fn put_back(&self, left: Todo) {
        let mut todo = self.todo.lock();
        left.windows.into_iter().for_each(|window| todo.add_window(window));
        todo.hopeless.extend(left.hopeless);
        todo.next_window = left.next_window;
        if !todo.fresh {
            todo.objects = left.objects;
        }
    }
}

impl Inner {
    /// Does a round if there is something to do and it is time. What it meets ends it quietly.
    pub(crate) fn compact_if_due(&self) {
        let Some(_one) = self.compaction.running.try_lock() else { return };
        if !self.compaction_is_due() {
            return;
        }
        let mut todo = std::mem::take(&mut *self.compaction.todo.lock());
        self.compaction.rounds.fetch_add(1, Ordering::Relaxed);
        // Damage and failures are met and told where the bytes are needed.
        let _ended = self.compact(&mut todo);
        self.compaction.put_back(todo);
    }

    /// The first round after a checkpoint comes at once; the next ones when nothing waits to be committed.
    fn compaction_is_due(&self) -> bool {
        let (empty, fresh) = {
            let todo = self.compaction.todo.lock();
            (todo.is_empty(), todo.fresh)
        };
        let off = self.options.tuning.compact_bytes == 0;
        if off || empty || self.is_ending() || self.counts.failures.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let state = self.state.lock();
        let idle = state.batch.count == 0 && state.unsealed.is_empty();
        (fresh || idle) && !state.poisoned
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.due.lock().stop
    }

    fn compact(&self, todo: &mut Todo) -> std::result::Result<(), Ended> {
        let tree = self.state.lock().map.tree.clone();
        if std::mem::take(&mut todo.fresh) {
            todo.objects = self.sparse_objects(&tree, &todo.hopeless)?;
        }
        let whole = (self.options.tuning.compact_bytes, self.options.tuning.compact_extents);
        let mut budget = choose::Budget { bytes: whole.0 / 2, extents: whole.1 / 2 };
        for run in self.fragments(&tree, todo, &mut budget)? {
            self.rewrite_run(&run, todo)?;
        }
        budget.bytes += whole.0 - whole.0 / 2;
        budget.extents += whole.1 - whole.1 / 2;
        for run in self.extents_of_sparse(&tree, todo, &mut budget)? {
            self.rewrite_run(&run, todo)?;
        }
        Ok(())
    }

    fn rewrite_run(&self, run: &Run, todo: &mut Todo) -> std::result::Result<(), Ended> {
        if self.is_ending() {
            return Err(Ended::Closing);
        }
        self.make_room()?;
        if !self.look_unlocked(|state| state.has_run(run))? {
            self.compaction.changed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let Some(plain) = self.read_run(run, todo)? else {
            self.compaction.damaged.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        // ORDER: as for every writer, held from the seal to the operation; a cut in between would drop the block.
        let _gate = self.gate.read();
        // ORDER: asked under the gate: a closing commit that passed it already must be the last.
        if self.is_ending() {
            return Err(Ended::Closing);
        }
        let extent = self.sealer.seal(run.start(), &plain)?;
        let count = match self.look_unlocked(|state| self.replace_run(state, run, &extent))? {
            false => &self.compaction.changed,
            true => {
                self.compaction.bytes.fetch_add(u64::from(extent.len), Ordering::Relaxed);
                &self.compaction.blocks
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes of a run; none if some do not verify or are missing.
    fn read_run(&self, run: &Run, todo: &mut Todo) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let mut plain = Zeroizing::new(vec![0; run.len()]);
        let mut at = 0;
        for extent in &run.extents {
            let (block_offset, len) = (extent.block_offset, extent.len);
            let wanted = Wanted { extent: extent.clone(), block_offset, len, at };
            at += len as usize;
            match wait(self.blocks.read(&[wanted], &mut plain)) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    ErrorKind::Corrupt | ErrorKind::NotFound => {
                        todo.hopeless.insert(extent.object);
                        return Ok(None);
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Some(plain))
    }

    /// Puts the new block in place of a run, unless the file changed meanwhile.
    fn replace_run(&self, state: &mut State, run: &Run, extent: &Extent) -> Look<bool> {
        if !state.has_run(run)? {
            return Ok(false);
        }
        let op = Op::Rewrite { ino: run.ino, extents: vec![extent.clone()] };
        state.execute(self.journal()?, self.services.clock.elapsed(), &op)?;
        state.batch.data_bytes += u64::from(extent.len);
        self.wake_if_full(state);
        Ok(true)
    }

    /// Repeats a look until no page is missing, without the lock while one is fetched.
    pub(crate) fn look_unlocked<T>(&self, look: impl Fn(&mut State) -> Look<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            let mut state = self.state.lock();
            let looked = look_again(tries, || look(&mut state));
            // Whoever waits comes first.
            MutexGuard::unlock_fair(state);
            match looked {
                Ok(value) => return Ok(value),
                Err(Need::Failed(error)) => return Err(error),
                Err(Need::Page(page)) => drop(wait(self.pages.fetch(page))?),
            }
            tries += 1;
        }
    }
}

impl State {
    /// Whether a file still has exactly these extents there and no unsealed byte over them.
    fn has_run(&self, run: &Run) -> Look<bool> {
        let Some(inode) = self.find_inode(run.ino)? else { return Ok(false) };
        let (start, end) = (run.start(), run.end());
        let mut covered = false;
        if let Some(file) = self.files.get(&run.ino) {
            file.dirty.visit(start, end, |_, _| covered = true);
        }
        let there = overlapping(&Txn::new(&self.map), run.ino, &inode, start, end)?;
        Ok(!covered && there == run.extents)
    }
}

impl Workspace {
    /// What compaction did since the workspace was opened.
    pub fn compacted(&self) -> Compacted {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let compaction = &self.0.compaction;
        Compacted {
            rounds: of(&compaction.rounds),
            blocks: of(&compaction.blocks),
            bytes: of(&compaction.bytes),
            changed: of(&compaction.changed),
            damaged: of(&compaction.damaged),
        }
    }

    /// Number of extents of a file, unsealed bytes apart: how fragmented it is.
    ///
    /// # Errors
    /// `Stale` if it is gone; those of the store.
    pub fn extent_count(&self, ino: Ino) -> Result<usize> {
        self.0.look_unlocked(|state| {
            let inode = state.inode(ino)?;
            Ok(overlapping(&Txn::new(&state.map), ino, &inode, 0, u64::MAX)?.len())
        })
    }
}

/// The extents in a value of the map.
pub(crate) fn extents_in(value: &Value) -> &[Extent] {
    match value {
        Value::Extent(extent) => std::slice::from_ref(&**extent),
        Value::Inode(inode) => match &inode.content {
            Content::Extents(extents) => extents,
            Content::Empty
            | Content::Inline(_)
            | Content::Target(_)
            | Content::Mapped
            | Content::Purged => &[],
        },
        Value::Entry(_) | Value::Object(_) | Value::Orphan | Value::Snapshot(_) => &[],
    }
}
