//! Sealing: bytes of files into blocks in staged objects, and the operations that name them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_crypto::block::{BLOCK_LEN_MAX, seal_block};
use strongroom_crypto::hash::blake3_256;
use strongroom_crypto::secret::BlockKey;
use strongroom_crypto::usage::Context;
use strongroom_format::ids::{Digest, Ino};
use strongroom_format::inode::{Content, Extent, INLINE_LEN_MAX, Inode, Kind};
use strongroom_format::op::Op;
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;

use crate::block::staging::Staging;
use crate::error::{Error, Result};
use crate::state::State;
use crate::tree::need::Look;
use crate::tree::rules::extents::overlapping;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// Whether unsealed bytes are left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

/// Seals blocks of one compartment.
pub struct Sealer {
    staging: Arc<Staging>,
    entropy: Arc<dyn Entropy>,
    keys: Arc<DeviceKeys>,
    context: Context,
}

impl Sealer {
    /// Seals into `staging`.
    pub fn new(
        staging: Arc<Staging>,
        entropy: Arc<dyn Entropy>,
        keys: Arc<DeviceKeys>,
        context: Context,
    ) -> Self {
        Self { staging, entropy, keys, context }
    }

    /// Seals up to 1 MiB as one block under a fresh key and returns the extent that names it. The sealed bytes are in
    /// the staged file when this returns.
    ///
    /// # Errors
    /// `Full` and other failures of the local disk.
    pub fn seal(&self, offset: u64, plain: &[u8]) -> Result<Extent> {
        let secret: [u8; 64] = self.entropy.array();
        let (key, random) = secret.split_at(32);
        let key = BlockKey::from_bytes(key.try_into().expect("half of 64"));
        let salt = self.keys.salt(random.try_into().expect("half of 64"), blake3_256(plain));
        let mut sealed = Vec::new();
        let header_hash = seal_block(&key, &self.context, salt, plain, &mut sealed);
        let (object, place) = self.staging.allocate(plain.len() as u64)?;
        object.write(place, &sealed)?;
        let len = u32::try_from(plain.len()).expect("a block is at most 1 MiB");
        Ok(Extent {
            offset,
            len,
            object: object.id,
            place,
            block_len: len,
            block_offset: 0,
            key,
            header_hash: Digest(header_hash),
        })
    }
}

impl Inner {
    /// Seals everything one file has unsealed. The map then tells its whole content.
    ///
    /// # Errors
    /// `Full` and other failures of the local disk; what was not sealed stays unsealed.
    pub(crate) fn seal_file(&self, state: &mut State, ino: Ino) -> Look<()> {
        let touched = state.files.get(&ino).is_some_and(|file| file.touched);
        if !touched {
            return Ok(());
        }
        let inode = state.inode(ino)?;
        let now = self.services.clock.elapsed();
        if fits_inline(&inode) {
            self.seal_inline(state, ino, &inode, now)?;
        } else {
            self.seal_blocks(state, ino, now)?;
        }
        state.note_sealed(ino);
        Ok(())
    }

    /// Seals some of what one file has unsealed: as much as one operation names. Others wait no longer than that.
    pub(crate) fn seal_some(&self, state: &mut State, ino: Ino) -> Look<()> {
        let touched = state.files.get(&ino).is_some_and(|file| file.touched);
        let now = self.services.clock.elapsed();
        match state.find_inode(ino)? {
            Some(inode) if touched && !fits_inline(&inode) => {
                if self.seal_round(state, ino, now)? == Left::Nothing {
                    state.note_sealed(ino);
                }
                Ok(())
            }
            // A small file goes whole.
            _ => self.seal_file(state, ino),
        }
    }

    /// Seals everything one file has, inline content too, as blocks: so that its extents can be shared.
    pub(crate) fn seal_as_blocks(&self, state: &mut State, ino: Ino) -> Look<()> {
        let inode = state.inode(ino)?;
        let touched = state.files.get(&ino).is_some_and(|file| file.touched);
        if touched || matches!(inode.content, Content::Inline(_)) {
            self.seal_blocks(state, ino, self.services.clock.elapsed())?;
            state.note_sealed(ino);
        }
        Ok(())
    }

    fn seal_inline(&self, state: &mut State, ino: Ino, inode: &Inode, now: Duration) -> Look<()> {
        let mut data = match &inode.content {
            Content::Inline(data) => data.clone(),
            _ => Vec::new(),
        };
        if let Some(file) = state.files.get(&ino) {
            file.dirty.visit(0, inode.size, |at, bytes| {
                let at = at as usize;
                if data.len() < at + bytes.len() {
                    data.resize(at + bytes.len(), 0);
                }
                data[at..at + bytes.len()].copy_from_slice(bytes);
            });
        }
        let op = Op::SetInline {
            ino,
            size: inode.size,
            data,
            mode: inode.mode,
            mtime: inode.mtime,
            ctime: inode.ctime,
        };
        state.materialise(now, &op)
    }

    /// Unsealed runs become blocks; inline content that stays visible joins them first.
    fn seal_blocks(&self, state: &mut State, ino: Ino, now: Duration) -> Look<()> {
        while self.seal_round(state, ino, now)? == Left::More {}
        Ok(())
    }

    /// As many runs as one operation names.
    fn seal_round(&self, state: &mut State, ino: Ino, now: Duration) -> Look<Left> {
        let inode = state.inode(ino)?;
        if let Content::Inline(inline) = &inode.content {
            keep_inline(state, ino, inline);
            // Until they are sealed they are unsealed bytes like others, whatever comes in between.
            state.file(ino).touched = true;
            state.unsealed.insert(ino);
        }
        // ORDER: before anything is sealed, which a page that is missing would make vain.
        state.touch_runs(ino, &inode, self.options.tuning.extents_per_op)?;
        let facts = (inode.size, inode.mode, inode.mtime, inode.ctime);
        let (extents, failed) = self.seal_runs(state, ino);
        state.map.unborn.extend(extents.iter().map(|extent| extent.object));
        let last = extents.len() < self.options.tuning.extents_per_op;
        if !extents.is_empty() || failed.is_none() {
            // ORDER: this takes the bytes out of memory. If it fails, they are still there.
            self.materialise_waiting(state, now, &seal_op(ino, extents, facts))?;
        }
        match failed {
            Some(error) => Err(error.into()),
            None if last => Ok(Left::Nothing),
            None => Ok(Left::More),
        }
    }

    /// Seals copies of the first unsealed runs. After a failure: those before it, and the failure.
    fn seal_runs(&self, state: &State, ino: Ino) -> (Vec<Extent>, Option<Error>) {
        let (mut extents, mut from) = (Vec::new(), 0);
        let Some(file) = state.files.get(&ino) else { return (extents, None) };
        while extents.len() < self.options.tuning.extents_per_op
            && let Some(run) = file.dirty.run_from(from, BLOCK_LEN_MAX as usize)
        {
            match self.sealer.seal(run.offset, &run.data) {
                Ok(extent) => extents.push(extent),
                Err(error) => return (extents, Some(error)),
            }
            from = run.end();
            self.counts.blocks_sealed.fetch_add(1, Ordering::Relaxed);
        }
        (extents, None)
    }

    /// Installs an operation with all pages that it needs, under the lock that the caller holds.
    fn materialise_waiting(&self, state: &mut State, now: Duration, op: &Op) -> Look<()> {
        Ok(self.waiting(state, |state| state.materialise(now, op))?)
    }
}

impl State {
    /// Looks at all that blocks in a range of a file will take the place of, so that it is in memory.
    pub(crate) fn touch_extents(&self, ino: Ino, inode: &Inode, offset: u64, len: u64) -> Look<()> {
        let txn = Txn::new(&self.map);
        for extent in overlapping(&txn, ino, inode, offset, offset.saturating_add(len))? {
            txn.object_use(extent.object)?;
        }
        Ok(())
    }

    /// The same for the first unsealed runs, as many as one operation names.
    fn touch_runs(&self, ino: Ino, inode: &Inode, count_max: usize) -> Look<()> {
        let Some(file) = self.files.get(&ino) else { return Ok(()) };
        let (mut count, mut began, mut ended) = (0, 0, u64::MAX);
        for (start, end) in file.dirty.ranges() {
            if start != ended || end - began > BLOCK_LEN_MAX {
                (count, began) = (count + 1, start);
            }
            if count > count_max {
                break;
            }
            ended = end;
            self.touch_extents(ino, inode, start, end - start)?;
        }
        Ok(())
    }
}

/// The operation that says what was sealed; without extents it says what became of the inode.
pub(crate) fn seal_op(
    ino: Ino,
    extents: Vec<Extent>,
    (size, mode, mtime, ctime): (u64, u16, i64, i64),
) -> Op {
    if !extents.is_empty() {
        return Op::SetExtents { ino, size, extents, mode, mtime, ctime };
    }
    Op::SetAttributes {
        ino,
        mode: Some(mode),
        uid: None,
        gid: None,
        size: Some(size),
        atime: None,
        mtime: Some(mtime),
        time: ctime,
    }
}

/// Whether the whole content goes into the inode.
fn fits_inline(inode: &Inode) -> bool {
    let no_extents = matches!(inode.content, Content::Empty | Content::Inline(_));
    inode.kind == Kind::File && inode.size <= INLINE_LEN_MAX as u64 && no_extents
}

/// Makes inline bytes that were not overwritten unsealed bytes like the others.
pub(crate) fn keep_inline(state: &mut State, ino: Ino, inline: &[u8]) {
    let mut whole = crate::block::dirty::Dirty::default();
    whole.write(0, inline);
    if let Some(file) = state.files.get(&ino) {
        file.dirty.visit(0, inline.len() as u64, |at, bytes| {
            whole.clear(at, at + bytes.len() as u64);
        });
    }
    let mut missing = Vec::new();
    whole.visit(0, inline.len() as u64, |at, bytes| missing.push((at, bytes.to_vec())));
    state.change_dirty(ino, |dirty| {
        for (at, bytes) in &missing {
            dirty.write(*at, bytes);
        }
    });
}
