//! Names that go, and inodes that go with them.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use strongroom_format::inode::{Entry, Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::op::{Fate, Op};
use strongroom_journal::Journal;

use super::attributes::check_name;
use crate::door::{Answer, HandleId, Ino};
use crate::error::{ErrorKind, Result};
use crate::state::{State, fail};
use crate::tree::map::Value;
use crate::tree::need::{Look, Need};
use crate::tree::rules::extents::end_of;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// What may be under a name that is to go, and what is said of it.
#[derive(Clone, Copy)]
enum Removed {
    File,
    Folder,
    /// This inode, of whatever kind, which is purged.
    Purged(Ino),
}

impl Removed {
    fn check(self, entry: &Entry) -> Look<()> {
        match (self, entry.kind) {
            (Self::File, Kind::Folder) => {
                Err(fail(ErrorKind::IsDirectory, "a folder is removed another way"))
            }
            (Self::Folder, kind) if kind != Kind::Folder => {
                Err(fail(ErrorKind::NotDirectory, "not a folder"))
            }
            (Self::Purged(ino), _) if entry.ino != ino => {
                Err(fail(ErrorKind::NotFound, "the name is another one's now"))
            }
            (Self::File | Self::Folder | Self::Purged(_), _) => Ok(()),
        }
    }
}

impl Inner {
    pub(crate) fn unlink(self: &Arc<Self>, folder: Ino, name: &[u8]) -> Answer<()> {
        self.remove(folder, name, Removed::File)
    }

    pub(crate) fn remove_folder(self: &Arc<Self>, folder: Ino, name: &[u8]) -> Answer<()> {
        self.remove(folder, name, Removed::Folder)
    }

    /// Removes a name of an inode, and says in the same commit that this is purged.
    pub(crate) fn remove_purged(self: &Arc<Self>, at: (Ino, &[u8]), ino: Ino) -> Answer<()> {
        self.remove(at.0, at.1, Removed::Purged(ino))
    }

    fn remove(self: &Arc<Self>, folder: Ino, name: &[u8], removed: Removed) -> Answer<()> {
        if let Err(error) = check_name(name) {
            return Answer::Ready(Err(error));
        }
        let (name, (time, now)) = (name.to_vec(), self.times());
        self.change(move |inner, state, journal| {
            state.live_folder(folder)?;
            let entry = state.entry(folder, &name)?;
            let entry = entry.ok_or_else(|| fail(ErrorKind::NotFound, "no such name"))?;
            removed.check(&entry)?;
            if entry.kind == Kind::Folder {
                state.check_empty(entry.ino)?;
            }
            let inode = state.inode(entry.ino)?;
            let fate = state.fate_of(entry.ino, inner.removal_max())?;
            let op = Op::Unlink { folder, name: name.clone(), ino: entry.ino, fate, time };
            if let Removed::Purged(ino) = removed {
                state.look_ahead(&op)?;
                // ORDER: under one lock, so no commit has one without the other: who hears of the removal alone may bring all of
                // it back.
                state.execute(journal, now, &Op::Expunge { inos: vec![ino] })?;
            }
            state.execute(journal, now, &op)?;
            state.keep_ghost(entry.ino, &inode, time);
            state.doom_if_closed(entry.ino);
            Ok(())
        })
    }

    /// Ends a handle; the last one of an orphan takes it along.
    pub(super) fn release(&self, handle: HandleId) {
        let now = self.services.clock.elapsed();
        let mut state = self.state.lock();
        let Some(closed) = state.handles.remove(&handle) else { return };
        let file = state.file(closed.ino);
        file.handles = file.handles.saturating_sub(1);
        let last = file.handles == 0;
        state.tidy(closed.ino);
        if last && let Some(journal) = self.journal.get() {
            // A failure leaves an orphan; the next open purges it.
            let gone = purge_if_orphan(&mut state, journal, now, (closed.ino, self.removal_max()));
            if let Err(Need::Page(_)) = gone {
                // Nobody waits for that; whether it is one turns out in the background.
                state.doomed.entry(closed.ino).or_default();
            }
        }
    }

    /// Lowers lookup counts; what nobody knows any more is forgotten.
    pub(super) fn forget(&self, counts: &[(Ino, u64)]) {
        let mut state = self.state.lock();
        for (ino, count) in counts {
            let Some(known) = state.lookups.get_mut(ino) else { continue };
            *known = known.saturating_sub(*count);
            if *known == 0 {
                state.lookups.remove(ino);
                if let Some(file) = state.files.get_mut(ino) {
                    file.ghost = None;
                }
                state.tidy(*ino);
            }
        }
    }
}

/// Purges an inode without a name, or lets it go piece by piece if it has more extents than `count_max`.
pub(crate) fn purge_if_orphan(
    state: &mut State,
    journal: &Journal,
    now: Duration,
    (ino, count_max): (Ino, usize),
) -> Look<()> {
    let Some(inode) = state.find_inode(ino)? else { return Ok(()) };
    if inode.link_count != 0 {
        return Ok(());
    }
    if state.end_of_extents(ino, 0..u64::MAX, count_max)?.is_some() {
        state.doom(ino);
        return Ok(());
    }
    state.execute(journal, now, &Op::Purge { ino })?;
    state.keep_ghost(ino, &inode, inode.ctime);
    Ok(())
}

impl Inner {
    pub(super) fn removal_max(&self) -> usize {
        self.options.tuning.extents_per_removal
    }

    /// Takes orphans away that have too many extents for one operation. Others work between the operations.
    ///
    /// # Errors
    /// Those of journal and commit; what is left goes at the next call, or after the next open.
    pub(crate) fn purge_doomed(&self) -> Result<()> {
        let journal = match self.journal.get() {
            Some(journal) if !self.state.lock().doomed.is_empty() => journal,
            _ => return Ok(()),
        };
        loop {
            // ORDER: not behind the gate that a commit shuts.
            self.pace()?;
            // ORDER: a closing commit must be the last.
            let _gate = self.gate.read();
            if self.is_ending() {
                return Ok(());
            }
            let now = self.services.clock.elapsed();
            let is_done = self.look_unlocked(|state| {
                let first = state.doomed.first_key_value().map(|(ino, at)| (*ino, *at));
                let Some(first) = first else { return Ok(true) };
                state.purge_piece(journal, now, first, self.removal_max())?;
                self.wake_if_full(state);
                Ok(false)
            })?;
            if is_done {
                return Ok(());
            }
        }
    }
}

impl State {
    /// Whether an inode that loses its last name stays: because it is open, or because it has more extents than go at
    /// once.
    pub(super) fn fate_of(&self, ino: Ino, count_max: usize) -> Look<Fate> {
        let keep = self.is_open(ino) || self.end_of_extents(ino, 0..u64::MAX, count_max)?.is_some();
        Ok(if keep { Fate::Keep } else { Fate::Remove })
    }

    /// Where the first `count_max` extents that begin in a range end; none if there are no more than that.
    pub(super) fn end_of_extents(
        &self,
        ino: Ino,
        range: Range<u64>,
        count_max: usize,
    ) -> Look<Option<u64>> {
        let (mut count, mut end, mut more) = (0, 0, false);
        self.map.scan(
            &Key::extent(ino, range.start),
            &Key::extents_of(ino).1.min(Key::extent(ino, range.end)),
            None,
            &mut |_, value| {
                if count == count_max {
                    more = true;
                    return ControlFlow::Break(());
                }
                count += 1;
                if let Value::Extent(extent) = value {
                    end = end_of(extent);
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok(more.then_some(end))
    }

    /// Takes the first extents of an orphan away, or what is left of it.
    fn purge_piece(
        &mut self,
        journal: &Journal,
        now: Duration,
        (ino, from): (Ino, u64),
        count_max: usize,
    ) -> Look<()> {
        // Another home may have given it a name again.
        let Some(inode) = self.find_inode(ino)?.filter(|inode| inode.link_count == 0) else {
            self.doomed.remove(&ino);
            return Ok(());
        };
        if inode.link_count != 0 || self.is_open(ino) {
            self.doomed.remove(&ino);
            return Ok(());
        }
        match self.end_of_extents(ino, from..u64::MAX, count_max)? {
            Some(end) => {
                let op = Op::Punch { ino, offset: from, len: end - from, time: inode.ctime };
                self.execute(journal, now, &op)?;
                self.doomed.insert(ino, end);
            }
            None => {
                self.execute(journal, now, &Op::Purge { ino })?;
                self.keep_ghost(ino, &inode, inode.ctime);
            }
        }
        Ok(())
    }

    /// Fails unless a folder has no entries.
    pub(super) fn check_empty(&self, folder: Ino) -> Look<()> {
        match Txn::new(&self.map).is_empty_folder(folder)? {
            true => Ok(()),
            false => Err(fail(ErrorKind::NotEmpty, "the folder has entries")),
        }
    }

    /// Keeps the last attributes of an inode that is gone while the kernel knows it. `before` is how it was.
    pub(super) fn keep_ghost(&mut self, ino: Ino, before: &Arc<Inode>, time: i64) {
        let gone = matches!(self.find_inode(ino), Ok(None) | Err(Need::Page(_)));
        if gone && self.lookups.contains_key(&ino) {
            let mut ghost = (**before).clone();
            ghost.link_count = 0;
            ghost.ctime = time;
            self.file(ino).ghost = Some(Arc::new(ghost));
        }
    }
}
