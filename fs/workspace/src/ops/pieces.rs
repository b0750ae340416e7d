//! What is done to files with very many extents goes in pieces: others work between them.
//!
//! An operation holds the lock while it is planned, journaled and installed. One that took a million extents away would
//! have everybody wait; so what can be done bit by bit is: first punches of a bounded number of extents each, and then
//! the operation itself, for what is left. LIMIT: `extents_per_removal` extents per operation.

use std::ops::Range;
use std::sync::Arc;

use strongroom_format::ids::Ino;
use strongroom_format::inode::Content;
use strongroom_format::op::Op;

use crate::door::Answer;
use crate::error::Result;
use crate::limits::OVERLAY_COUNT_MAX;
use crate::outbound::commit::Reason;
use crate::state::State;
use crate::tree::need::{Look, Need};
use crate::workspace::Inner;

impl Inner {
    /// Does what takes a range of a file away, where it has few enough extents; else the beginning goes first.
    pub(super) fn thinned<T: Send + 'static>(
        self: &Arc<Self>,
        ino: Ino,
        range: Range<u64>,
        then: impl FnOnce(&Arc<Self>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        if let Err(error) = self.writable() {
            return Answer::Ready(Err(error));
        }
        let first = self.state.lock().piece_end(ino, range.clone(), self.removal_max());
        match first {
            Ok(None) => return then(self),
            Err(Need::Failed(error)) => return Answer::Ready(Err(error)),
            Ok(Some(_)) | Err(Need::Page(_)) => {}
        }
        self.blocking(move |inner| {
            inner.thin_out(ino, range)?;
            then(inner).wait()
        })
    }

    /// Turns the beginning of a range of a file into a hole, until few enough extents are left in it. What a reader
    /// sees meanwhile, and what a crash leaves, is a file whose size has not changed yet.
    ///
    /// # Errors
    /// Those of journal and commit; what is punched stays punched.
    fn thin_out(&self, ino: Ino, range: Range<u64>) -> Result<()> {
        let (time, now) = self.times();
        let count_max = self.removal_max();
        let mut at = range.start;
        while let Some(end) =
            self.look_unlocked(|state| state.piece_end(ino, at..range.end, count_max))?
        {
            self.pace()?;
            let journal = self.journal()?;
            let op = Op::Punch { ino, offset: at, len: end - at, time };
            self.look_unlocked(|state| {
                // Whoever had it open may have closed it for good.
                if state.find_inode(ino)?.is_some() {
                    state.execute(journal, now, &op)?;
                }
                self.wake_if_full(state);
                Ok(())
            })?;
            at = end;
        }
        Ok(())
    }

    /// Commits before others would have to wait for it.
    ///
    /// # Errors
    /// What the commit met.
    pub(super) fn pace(&self) -> Result<()> {
        self.make_room()?;
        let is_ahead = {
            let state = self.state.lock();
            let behind =
                state.map.frozen.is_some() && state.map.changed_count() > OVERLAY_COUNT_MAX / 2;
            behind || state.batch.ops.len() > state.batch_bytes_limit / 4
        };
        if is_ahead || self.commit_is_due() {
            self.commit(Reason::Due)?;
        }
        Ok(())
    }
}

impl State {
    /// Where the first `count_max` extents in a range of a file end; none if there are no more than that.
    pub(super) fn piece_end(
        &self,
        ino: Ino,
        range: Range<u64>,
        count_max: usize,
    ) -> Look<Option<u64>> {
        match self.find_inode(ino)? {
            Some(inode) if inode.content == Content::Mapped => {
                self.end_of_extents(ino, range, count_max)
            }
            _ => Ok(None),
        }
    }
}
