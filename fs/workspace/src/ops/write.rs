//! Writing. Short writes go to the journal and stay unsealed in memory; long ones are sealed at once into a staged
//! object, and the journal names the block.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_crypto::block::BLOCK_LEN_MAX;
use strongroom_format::op::Op;

use super::attributes::without_set_id;
use crate::door::{Access, Answer, FILE_SIZE_MAX, HandleId, WriteMode};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::DIRECT_LEN_MIN;
use crate::outbound::commit::Reason;
use crate::state::{Handle, State, fail, poisoned};
use crate::tree::need::Look;
use crate::workspace::Inner;

/// Where a write goes, and what becomes of the inode.
struct Target {
    offset: u64,
    len: usize,
    size: u64,
    mode: u16,
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
        Answer::Ready(self.write_now(handle, offset, data, mode, drop_set_id))
    }

    fn write_now(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        drop_set_id: bool,
    ) -> Result<u32> {
        self.writable()?;
        self.make_room()?;
        self.keep_reserve(data.len() as u64)?;
        let how = How { offset, mode, drop_set_id };
        let (open, written) = if data.len() >= DIRECT_LEN_MIN {
            self.write_direct(handle, &how, data)?
        } else {
            self.write_journaled(handle, &how, data)?
        };
        if open.synchronous {
            self.sync_local()?;
        }
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    fn write_journaled(&self, handle: HandleId, how: &How, data: &[u8]) -> Result<(Handle, usize)> {
        let (time, now) = self.times();
        let journal = self.journal()?;
        let mut state = self.state.lock();
        let (open, target) =
            self.waiting(&mut state, |state| state.aim(handle, how, data.len()))?;
        if target.len == 0 {
            return Ok((open, 0));
        }
        let dirty_bytes_max = self.options.tuning.dirty_bytes;
        if state.held_bytes > dirty_bytes_max
            && let Some(ino) = state.unsealed.first().copied()
        {
            self.seal_some(&mut state, ino)?;
        }
        let op = Op::Write {
            ino: open.ino,
            offset: target.offset,
            data: data[..target.len].to_vec(),
            mode: target.mode,
            time,
        };
        self.waiting(&mut state, |state| state.execute(journal, now, &op))?;
        if state.held_bytes > dirty_bytes_max {
            // The write is done. If there is no room for its block, the next one is told.
            let _ = self.seal_some(&mut state, open.ino);
        }
        self.wake_if_full(&state);
        Ok((open, target.len))
    }

    fn write_direct(&self, handle: HandleId, how: &How, data: &[u8]) -> Result<(Handle, usize)> {
        let (time, now) = self.times();
        let journal = self.journal()?;
        let mut done = 0;
        let mut open = self.state.lock().handles.get(&handle).copied().ok_or_else(bad_handle)?;
        for chunk in data.chunks(BLOCK_LEN_MAX as usize) {
            let at = How { offset: how.offset + done as u64, ..*how };
            // ORDER: held until the operation that names the block is in; a cut in between would drop the block.
            let _gate = self.gate.read();
            let mut extent = self.sealer.seal(0, chunk)?;
            self.counts.blocks_sealed.fetch_add(1, Ordering::Relaxed);
            let mut state = self.state.lock();
            let (now_open, target) =
                self.waiting(&mut state, |state| state.aim(handle, &at, chunk.len()))?;
            open = now_open;
            if target.len == 0 {
                break;
            }
            extent.offset = target.offset;
            extent.len = u32::try_from(target.len).expect("at most 1 MiB");
            let op = Op::SetExtents {
                ino: open.ino,
                size: target.size,
                extents: vec![extent],
                mode: target.mode,
                mtime: time,
                ctime: time,
            };
            self.waiting(&mut state, |state| state.execute(journal, now, &op))?;
            state.batch.data_bytes += target.len as u64;
            self.wake_if_full(&state);
            done += target.len;
        }
        Ok((open, done))
    }

    /// Refuses data that would take the last free bytes of the store's disk. What is staged will go there too; where
    /// staged files lie on the same disk a commit tells, for then they count no more.
    fn keep_reserve(&self, len: u64) -> Result<()> {
        let fits = || {
            let free = self.store.space().map_or(u64::MAX, |space| space.free_bytes);
            let wanted = self.options.tuning.reserve_bytes.saturating_add(len);
            free >= wanted.saturating_add(self.staging.bytes())
        };
        if fits() {
            return Ok(());
        }
        self.commit(Reason::Due)?;
        if fits() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Full, "the disk of the store is full"))
    }

    /// Makes the writer wait, by doing the work itself, when too much is unsealed, staged or unwritten.
    ///
    /// # Errors
    /// What the commit met, when there is no more room without it.
    pub(crate) fn make_room(&self) -> Result<()> {
        let overfull = self.overfull.swap(false, Ordering::AcqRel);
        if overfull || self.staging.bytes() > self.options.tuning.staged_bytes {
            let done = self.commit(Reason::Due);
            self.overfull.store(done.is_err() && overfull, Ordering::Release);
            return done;
        }
        Ok(())
    }
}

/// How a caller wants to write.
#[derive(Clone, Copy)]
struct How {
    offset: u64,
    mode: WriteMode,
    drop_set_id: bool,
}

impl State {
    /// Checks handle and size and settles the offset.
    fn aim(&self, handle: HandleId, how: &How, len: usize) -> Look<(Handle, Target)> {
        if self.poisoned {
            return Err(poisoned().into());
        }
        let open = self.handle(handle)?;
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

fn bad_handle() -> Error {
    Error::new(ErrorKind::BadHandle, "no such handle")
}
