//! Writing. Short writes go to the journal and stay unsealed in memory; long ones are sealed at once into a staged
//! object, and the journal names the block.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_crypto::block::BLOCK_LEN_MAX;
use strongroom_format::op::Op;

use super::attributes::without_set_id;
use crate::door::{Access, Answer, FILE_SIZE_MAX, HandleId, WriteMode};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{DIRECT_LEN_MIN, GATE_WAIT_MAX};
use crate::outbound::commit::Reason;
use crate::state::{Handle, State, fail, poisoned};
use crate::tree::need::{Look, Need};
use crate::workspace::Inner;

/// Where a write goes, and what becomes of the inode.
struct Target {
    offset: u64,
    len: usize,
    size: u64,
    mode: u16,
}

/// Why a write did not end.
enum Stop {
    /// It takes time that there is not here.
    Elsewhere,
    Failed(Error),
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        match need {
            Need::Page(_) => Stop::Elsewhere,
            Need::Failed(error) => Stop::Failed(error),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// Whether a page that is missing is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// On a request thread of the door: whoever needs a page, or more than a moment at the gate, goes elsewhere.
    None,
    /// On a thread that may wait. The lock is free meanwhile.
    Any,
}

impl Inner {
    pub(super) fn write(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        drop_set_id: bool,
    ) -> Answer<u32> {
        let how = How { handle, offset, mode, drop_set_id };
        if let Err(error) = self.writable() {
            return Answer::Ready(Err(error));
        }
        let mut done = 0;
        if !self.needs_room() && self.leaves_reserve(data.len() as u64) {
            match self.write_some(&how, data, &mut done, Patience::None) {
                Ok(written) => return Answer::Ready(Ok(written)),
                Err(Stop::Failed(error)) => return Answer::Ready(Err(error)),
                Err(Stop::Elsewhere) => {}
            }
        }
        let data = data.to_vec();
        self.blocking(move |inner| {
            inner.make_room()?;
            inner.keep_reserve((data.len() - done) as u64)?;
            inner.write_some(&how, &data, &mut done, Patience::Any).map_err(|stop| match stop {
                Stop::Failed(error) => error,
                Stop::Elsewhere => Error::new(ErrorKind::Internal, "a patient write gave up"),
            })
        })
    }

    /// Writes what is not `done` yet.
    fn write_some(
        &self,
        how: &How,
        data: &[u8],
        done: &mut usize,
        patience: Patience,
    ) -> std::result::Result<u32, Stop> {
        let open = if data.len() >= DIRECT_LEN_MIN {
            self.write_direct(how, data, done, patience)?
        } else {
            self.write_journaled(how, data, done, patience)?
        };
        if open.synchronous {
            self.sync_local()?;
        }
        Ok(u32::try_from(*done).unwrap_or(u32::MAX))
    }

    fn write_journaled(
        &self,
        how: &How,
        data: &[u8],
        done: &mut usize,
        patience: Patience,
    ) -> std::result::Result<Handle, Stop> {
        let (time, now) = self.times();
        let journal = self.journal()?;
        let dirty_bytes_max = self.options.tuning.dirty_bytes;
        let (open, len) = self.look(patience, |state| {
            let (open, target) = state.aim(how, data.len())?;
            if target.len == 0 {
                return Ok((open, 0));
            }
            if state.held_bytes > dirty_bytes_max
                && let Some(ino) = state.unsealed.first().copied()
            {
                self.seal_some(state, ino)?;
            }
            let op = Op::Write {
                ino: open.ino,
                offset: target.offset,
                data: data[..target.len].to_vec(),
                mode: target.mode,
                time,
            };
            state.execute(journal, now, &op)?;
            if state.held_bytes > dirty_bytes_max {
                // The write is done. What keeps its block from being sealed, the next one is told.
                let _ = self.seal_some(state, open.ino);
            }
            self.wake_if_full(state);
            Ok((open, target.len))
        })?;
        *done = len;
        Ok(open)
    }

    fn write_direct(
        &self,
        how: &How,
        data: &[u8],
        done: &mut usize,
        patience: Patience,
    ) -> std::result::Result<Handle, Stop> {
        let (time, now) = self.times();
        let journal = self.journal()?;
        let mut open = self.state.lock().handle(how.handle)?;
        for chunk in data[*done..].chunks(BLOCK_LEN_MAX as usize) {
            let at = How { offset: how.offset + *done as u64, ..*how };
            // ORDER: what may be missing is looked for first: a block is sealed once, and the gate held for no page.
            let len = self.look(patience, |state| {
                let (open, target) = state.aim(&at, chunk.len())?;
                let inode = state.inode(open.ino)?;
                state.touch_extents(open.ino, &inode, target.offset, target.len as u64)?;
                Ok(target.len)
            })?;
            if len == 0 {
                break;
            }
            // ORDER: held until the operation that names the block is in; a cut in between would drop the block.
            let _gate = match patience {
                Patience::None => self.gate.try_read_for(GATE_WAIT_MAX).ok_or(Stop::Elsewhere)?,
                Patience::Any => self.gate.read(),
            };
            let sealed = self.sealer.seal(0, chunk)?;
            self.counts.blocks_sealed.fetch_add(1, Ordering::Relaxed);
            let (now_open, len) = self.look(Patience::Any, |state| {
                let (now_open, target) = state.aim(&at, chunk.len())?;
                if target.len == 0 {
                    return Ok((now_open, 0));
                }
                let mut extent = sealed.clone();
                extent.offset = target.offset;
                extent.len = u32::try_from(target.len).expect("at most 1 MiB");
                state.map.unborn.insert(extent.object);
                let op = Op::SetExtents {
                    ino: now_open.ino,
                    size: target.size,
                    extents: vec![extent],
                    mode: target.mode,
                    mtime: time,
                    ctime: time,
                };
                state.execute(journal, now, &op)?;
                state.batch.data_bytes += target.len as u64;
                self.wake_if_full(state);
                Ok((now_open, target.len))
            })?;
            open = now_open;
            if len == 0 {
                break;
            }
            *done += len;
        }
        Ok(open)
    }

    /// Looks at the state; with patience, until no page is missing.
    fn look<T>(
        &self,
        patience: Patience,
        look: impl Fn(&mut State) -> Look<T>,
    ) -> std::result::Result<T, Stop> {
        match patience {
            Patience::None => Ok(look(&mut self.state.lock())?),
            Patience::Any => Ok(self.look_unlocked(look)?),
        }
    }

    /// Whether data leaves the last free bytes of the store's disk alone. What is staged will go there too; where
    /// staged files lie on the same disk a commit tells, for then they count no more.
    fn leaves_reserve(&self, len: u64) -> bool {
        let free = self.store.space().map_or(u64::MAX, |space| space.free_bytes);
        let wanted = self.options.tuning.reserve_bytes.saturating_add(len);
        free >= wanted.saturating_add(self.staging.bytes())
    }

    /// Refuses data that would take the last free bytes.
    fn keep_reserve(&self, len: u64) -> Result<()> {
        if self.leaves_reserve(len) {
            return Ok(());
        }
        self.commit(Reason::Due)?;
        if self.leaves_reserve(len) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Full, "the disk of the store is full"))
    }

    /// Whether too much is unsealed, staged or unwritten for a further change.
    pub(crate) fn needs_room(&self) -> bool {
        self.overfull.load(Ordering::Acquire)
            || self.staging.bytes() > self.options.tuning.staged_bytes
    }

    /// Makes the writer wait, by doing the work itself, when there is too much. Of several who wait one commits; what
    /// it meets they all hear, or the last would wait for the tries of all others.
    ///
    /// # Errors
    /// What the commit met, when there is no more room without it.
    pub(crate) fn make_room(&self) -> Result<()> {
        let tries = self.counts.tries.load(Ordering::Acquire);
        if !self.needs_room() {
            return Ok(());
        }
        let mut outbound = self.outbound.lock();
        if self.counts.tries.load(Ordering::Acquire) != tries {
            if !self.needs_room() {
                return Ok(());
            }
            if self.counts.failures.load(Ordering::Relaxed) > 0
                && let Some(error) = outbound.last_error.clone()
            {
                return Err(error);
            }
        }
        let overfull = self.overfull.swap(false, Ordering::AcqRel);
        let done = self.commit_alone(&mut outbound, Reason::Due);
        if done.is_err() && overfull {
            self.overfull.store(true, Ordering::Release);
        }
        done
    }
}

/// How a caller wants to write.
#[derive(Clone, Copy)]
struct How {
    handle: HandleId,
    offset: u64,
    mode: WriteMode,
    drop_set_id: bool,
}

impl State {
    /// Checks handle and size and settles the offset.
    fn aim(&self, how: &How, len: usize) -> Look<(Handle, Target)> {
        if self.poisoned {
            return Err(poisoned().into());
        }
        let open = self.handle(how.handle)?;
        if open.access == Access::Read {
            return Err(fail(ErrorKind::BadHandle, "the handle is for reading only"));
        }
        let inode = self.inode(open.ino)?;
        let offset = match how.mode {
            WriteMode::At | WriteMode::WithinSize => how.offset,
            WriteMode::Append => inode.size,
        };
        let len = match how.mode {
            WriteMode::At | WriteMode::Append => len,
            WriteMode::WithinSize => {
                let room = inode.size.saturating_sub(offset);
                len.min(usize::try_from(room).unwrap_or(usize::MAX))
            }
        };
        let end = offset.saturating_add(len as u64);
        if end > FILE_SIZE_MAX {
            return Err(fail(ErrorKind::TooLarge, "past the largest file size"));
        }
        let mode = if how.drop_set_id { without_set_id(inode.mode) } else { inode.mode };
        Ok((open, Target { offset, len, size: inode.size.max(end), mode }))
    }
}
