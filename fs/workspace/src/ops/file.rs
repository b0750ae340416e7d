//! Handles, and what is done to ranges of files: allocate, seek, copy.

use std::sync::Arc;

use strongroom_format::ids::Ino;
use strongroom_format::inode::{Content, Inode, Kind};
use strongroom_format::op::Op;
use strongroom_journal::Journal;

use super::attributes::without_set_id;
use crate::block::stream::Stream;
use crate::door::{
    Access, AllocateMode, Answer, FILE_SIZE_MAX, HandleId, OpenOptions, Opened, SeekTarget,
};
use crate::error::{Error, ErrorKind};
use crate::limits::DIRECT_LEN_MIN;
use crate::state::{Handle, State, fail};
use crate::tree::need::{Look, Need};
use crate::tree::rules::extents::{end_of, overlapping};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

impl State {
    /// Opens a handle.
    pub(super) fn open_handle(&mut self, ino: Ino, options: OpenOptions) -> Opened {
        let handle = HandleId(self.next_handle);
        self.next_handle += 1;
        let OpenOptions { access, synchronous, drop_set_id, .. } = options;
        self.handles.insert(
            handle,
            Handle { ino, access, synchronous, drop_set_id, stream: Stream::default() },
        );
        self.file(ino).handles += 1;
        // What others changed is told to the kernel, but not while the file was open.
        Opened { handle, keep_cache: !self.outdated.remove(&ino), tells_close: false }
    }

    fn writing(&self, handle: HandleId) -> Look<Ino> {
        let open = self.handle(handle)?;
        match open.access {
            Access::Read => Err(fail(ErrorKind::BadHandle, "the handle is for reading only")),
            Access::Write | Access::ReadWrite => Ok(open.ino),
        }
    }

    /// The file of a handle that may read.
    fn reading(&self, handle: HandleId) -> Look<Ino> {
        let open = self.handle(handle)?;
        match open.access {
            Access::Write => Err(fail(ErrorKind::BadHandle, "the handle is for writing only")),
            Access::Read | Access::ReadWrite => Ok(open.ino),
        }
    }
}

/// The error of a file in a snapshot from before it was purged.
fn purged_content() -> crate::tree::need::Need {
    fail(ErrorKind::Purged, "what this file held was purged from history")
}

impl Inner {
    pub(super) fn open(self: &Arc<Self>, ino: Ino, options: OpenOptions) -> Answer<Opened> {
        let (time, now) = self.times();
        let open = move |inner: &Inner, state: &mut State| -> Look<Opened> {
            let inode = state.inode(ino)?;
            match inode.kind {
                Kind::File if inode.content == Content::Purged => return Err(purged_content()),
                Kind::File => {}
                Kind::Folder => return Err(fail(ErrorKind::IsDirectory, "a folder")),
                Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Char | Kind::Block => {
                    return Err(fail(ErrorKind::Invalid, "not a regular file"));
                }
            }
            if inode.link_count == 0 && !state.is_open(ino) {
                return Err(fail(ErrorKind::Stale, "the inode is gone"));
            }
            if options.truncate {
                let mode =
                    if options.drop_set_id { without_set_id(inode.mode) } else { inode.mode };
                let op = Op::SetAttributes {
                    ino,
                    mode: (mode != inode.mode).then_some(mode),
                    uid: None,
                    gid: None,
                    size: Some(0),
                    atime: None,
                    mtime: Some(time),
                    time,
                };
                state.execute(inner.journal()?, now, &op)?;
            }
            Ok(state.open_handle(ino, options))
        };
        match options.truncate {
            true => self.thinned(ino, 0..u64::MAX, move |inner| inner.run(open)),
            false => self.run(open),
        }
    }

    pub(super) fn allocate(
        self: &Arc<Self>,
        handle: HandleId,
        mode: AllocateMode,
        offset: u64,
        len: u64,
    ) -> Answer<()> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX) else {
            return Answer::Ready(Err(Error::new(
                ErrorKind::TooLarge,
                "past the largest file size",
            )));
        };
        if len == 0 {
            return Answer::Ready(Err(Error::new(ErrorKind::Invalid, "an empty range")));
        }
        let (time, now) = self.times();
        let (punches, extends) = match mode {
            AllocateMode::Extend => (false, true),
            AllocateMode::KeepSize => (false, false),
            AllocateMode::PunchHole | AllocateMode::ZeroRangeKeepSize => (true, false),
            AllocateMode::ZeroRange => (true, true),
        };
        let act = move |_: &Inner, state: &mut State, journal: &Journal| -> Look<()> {
            let ino = state.writing(handle)?;
            let inode = state.inode(ino)?;
            let mode = state.mode_to_set(handle, &inode)?;
            let size = Some(end).filter(|end| extends && *end > inode.size);
            // ORDER: these first: they can be repeated if the punch has to wait for a page.
            if mode.is_some() || size.is_some() {
                state.execute(journal, now, &set_op(ino, (mode, size), time))?;
            }
            if punches {
                state.execute(journal, now, &Op::Punch { ino, offset, len, time })?;
            }
            Ok(())
        };
        let ino = self.state.lock().writing(handle).map_err(Need::failure);
        match ino {
            Err(error) => Answer::Ready(Err(self.writable().err().unwrap_or(error))),
            Ok(ino) if punches => self.thinned(ino, offset..end, move |inner| inner.change(act)),
            Ok(_) => self.change(act),
        }
    }

    pub(super) fn seek(
        self: &Arc<Self>,
        handle: HandleId,
        target: SeekTarget,
        offset: u64,
    ) -> Answer<u64> {
        self.run(move |_, state| {
            let ino = state.handle(handle)?.ino;
            let size = state.inode(ino)?.size;
            if offset >= size {
                return Err(fail(ErrorKind::NoData, "past the end of the file"));
            }
            let data = state.data_ranges(ino, offset, size)?;
            match target {
                SeekTarget::Data => match data.iter().find(|(_, end)| *end > offset) {
                    Some((start, _)) => Ok((*start).max(offset)),
                    None => Err(fail(ErrorKind::NoData, "no data from here on")),
                },
                SeekTarget::Hole => {
                    let mut at = offset;
                    for (start, end) in data {
                        if start > at {
                            break;
                        }
                        at = at.max(end);
                    }
                    Ok(at.min(size))
                }
            }
        })
    }

    pub(super) fn copy_range(
        self: &Arc<Self>,
        from: (HandleId, u64),
        to: (HandleId, u64),
        len: u64,
    ) -> Answer<u64> {
        if let Err(error) = self.writable() {
            return Answer::Ready(Err(error));
        }
        if !self.needs_room() {
            let copied = self.copy_some(&mut self.state.lock(), from, to, len);
            match copied {
                Ok(len) => return Answer::Ready(Ok(len)),
                Err(Need::Failed(error)) => return Answer::Ready(Err(error)),
                Err(Need::Page(_)) => {}
            }
        }
        self.blocking(move |inner| {
            inner.make_room()?;
            inner.look_unlocked(|state| inner.copy_some(state, from, to, len))
        })
    }

    fn copy_some(
        &self,
        state: &mut State,
        from: (HandleId, u64),
        to: (HandleId, u64),
        len: u64,
    ) -> Look<u64> {
        let (time, now) = self.times();
        let journal = self.journal()?;
        let source = state.reading(from.0)?;
        let target = state.writing(to.0)?;
        let source_size = state.inode(source)?.size;
        let len = len.min(source_size.saturating_sub(from.1));
        let end = to.1.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX);
        let end = end.ok_or_else(|| fail(ErrorKind::TooLarge, "past the largest file size"))?;
        if len == 0 {
            return Ok(0);
        }
        if source == target && from.1 < end && to.1 < from.1 + len {
            return Err(fail(ErrorKind::Invalid, "the ranges overlap"));
        }
        let inode = state.inode(target)?;
        let mode = state.mode_to_set(to.0, &inode)?;
        let mut len = len;
        let op = match state.small_source(source, from.1, len)? {
            Some(data) => {
                let mode = mode.unwrap_or(inode.mode);
                Op::Write { ino: target, offset: to.1, data, mode, time }
            }
            None => {
                self.seal_as_blocks(state, source)?;
                self.seal_as_blocks(state, target)?;
                len = state.clonable_len(
                    (source, from.1),
                    (target, to.1),
                    len,
                    self.removal_max(),
                )?;
                // It can be repeated if the copy has to wait for a page.
                if mode.is_some() {
                    state.execute(journal, now, &set_op(target, (mode, None), time))?;
                }
                let size = inode.size.max(to.1 + len);
                let (from, from_offset, to, to_offset) = (source, from.1, target, to.1);
                Op::Clone { from, from_offset, to, to_offset, len, size, time }
            }
        };
        state.execute(journal, now, &op)?;
        self.wake_if_full(state);
        Ok(len)
    }
}

impl State {
    /// How much of a range goes with one operation: whoever copies asks again for the rest.
    fn clonable_len(
        &self,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
        count_max: usize,
    ) -> Look<u64> {
        let mut fits = len;
        for (ino, start) in [from, to] {
            let end = self.piece_end(ino, start..start.saturating_add(len), count_max)?;
            fits = fits.min(end.map_or(len, |end| end - start));
        }
        Ok(fits)
    }

    /// Bytes of a short range that are in memory anyway: copying them costs less than sharing a block.
    fn small_source(&self, ino: Ino, offset: u64, len: u64) -> Look<Option<Vec<u8>>> {
        if len >= DIRECT_LEN_MIN as u64 {
            return Ok(None);
        }
        Ok(self.plan_read(ino, offset, len)?.in_memory().ok())
    }
}

/// Sets mode and size, whichever is given.
fn set_op(ino: Ino, (mode, size): (Option<u16>, Option<u64>), time: i64) -> Op {
    let mtime = size.map(|_| time);
    Op::SetAttributes { ino, mode, uid: None, gid: None, size, atime: None, mtime, time }
}

impl State {
    /// The mode without suid and sgid, where a change through this handle drops them.
    fn mode_to_set(&self, handle: HandleId, inode: &Inode) -> Look<Option<u16>> {
        let mode = without_set_id(inode.mode);
        Ok((self.handle(handle)?.drop_set_id && mode != inode.mode).then_some(mode))
    }
}

impl State {
    /// Where a file has data at or after `offset`: sorted, maybe touching, not all of it if there is much.
    fn data_ranges(&self, ino: Ino, offset: u64, size: u64) -> Look<Vec<(u64, u64)>> {
        let inode = self.inode(ino)?;
        let mut ranges = Vec::new();
        if let Content::Inline(data) = &inode.content {
            ranges.push((0, data.len() as u64));
        }
        for extent in overlapping(&Txn::new(&self.map), ino, &inode, offset, size)? {
            ranges.push((extent.offset, end_of(&extent)));
        }
        if let Some(file) = self.files.get(&ino) {
            file.dirty.visit(offset, size, |at, bytes| ranges.push((at, at + bytes.len() as u64)));
        }
        ranges.retain(|(_, end)| *end > offset);
        ranges.sort_unstable();
        Ok(ranges)
    }
}
