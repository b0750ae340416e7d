//! Names that go, and inodes that go with them.

use std::sync::Arc;
use std::time::Duration;

use strongroom_format::inode::{Inode, Kind};
use strongroom_format::op::{Fate, Op};
use strongroom_journal::Journal;

use super::attributes::check_name;
use crate::door::{Answer, HandleId, Ino};
use crate::error::ErrorKind;
use crate::state::{State, fail};
use crate::tree::need::{Look, Need};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

impl Inner {
    pub(super) fn unlink(self: &Arc<Self>, folder: Ino, name: &[u8]) -> Answer<()> {
        self.remove(folder, name, |kind| match kind {
            Kind::Folder => Err(fail(ErrorKind::IsDirectory, "a folder is removed another way")),
            _ => Ok(()),
        })
    }

    pub(super) fn remove_folder(self: &Arc<Self>, folder: Ino, name: &[u8]) -> Answer<()> {
        self.remove(folder, name, |kind| match kind {
            Kind::Folder => Ok(()),
            _ => Err(fail(ErrorKind::NotDirectory, "not a folder")),
        })
    }

    fn remove(
        self: &Arc<Self>,
        folder: Ino,
        name: &[u8],
        check: fn(Kind) -> Look<()>,
    ) -> Answer<()> {
        if let Err(error) = check_name(name) {
            return Answer::Ready(Err(error));
        }
        let (name, (time, now)) = (name.to_vec(), self.times());
        self.change(move |_, state, journal| {
            state.live_folder(folder)?;
            let entry = state.entry(folder, &name)?;
            let entry = entry.ok_or_else(|| fail(ErrorKind::NotFound, "no such name"))?;
            check(entry.kind)?;
            if entry.kind == Kind::Folder {
                state.check_empty(entry.ino)?;
            }
            let inode = state.inode(entry.ino)?;
            let fate = state.fate_of(entry.ino);
            let op = Op::Unlink { folder, name: name.clone(), ino: entry.ino, fate, time };
            state.execute(journal, now, &op)?;
            state.keep_ghost(entry.ino, &inode, time);
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
            let _ =
                self.waiting(&mut state, |state| purge_if_orphan(state, journal, now, closed.ino));
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

fn purge_if_orphan(state: &mut State, journal: &Journal, now: Duration, ino: Ino) -> Look<()> {
    let Some(inode) = state.find_inode(ino)? else { return Ok(()) };
    if inode.link_count != 0 {
        return Ok(());
    }
    state.execute(journal, now, &Op::Purge { ino })?;
    state.keep_ghost(ino, &inode, inode.ctime);
    Ok(())
}

impl State {
    /// Whether an inode that loses its last name stays because it is open.
    pub(super) fn fate_of(&self, ino: Ino) -> Fate {
        let open = self.files.get(&ino).is_some_and(|file| file.handles > 0);
        if open { Fate::Keep } else { Fate::Remove }
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
