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
use crate::error::Result;
use crate::state::State;
use crate::tree::need::{Look, Need};
use crate::workspace::Inner;

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
        state.file(ino).touched = false;
        state.unsealed.remove(&ino);
        state.tidy(ino);
        Ok(())
    }

    /// Seals everything one file has, inline content too, as blocks: so that its extents can be shared.
    pub(crate) fn seal_as_blocks(&self, state: &mut State, ino: Ino) -> Result<()> {
        let inode = self.waiting(state, |state| state.inode(ino))?;
        let touched = state.files.get(&ino).is_some_and(|file| file.touched);
        if touched || matches!(inode.content, Content::Inline(_)) {
            self.waiting(state, |state| {
                self.seal_blocks(state, ino, self.services.clock.elapsed())
            })?;
            state.file(ino).touched = false;
            state.unsealed.remove(&ino);
            state.tidy(ino);
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
        let inode = state.inode(ino)?;
        if let Content::Inline(inline) = &inode.content {
            keep_inline(state, ino, inline);
        }
        loop {
            let extents = self.seal_runs(state, ino)?;
            let last = extents.len() < self.options.tuning.extents_per_op;
            let inode = state.inode(ino)?;
            let (mode, mtime, ctime) = (inode.mode, inode.mtime, inode.ctime);
            let op = if extents.is_empty() {
                Op::SetAttributes {
                    ino,
                    mode: Some(mode),
                    uid: None,
                    gid: None,
                    size: Some(inode.size),
                    atime: None,
                    mtime: Some(mtime),
                    time: ctime,
                }
            } else {
                Op::SetExtents { ino, size: inode.size, extents, mode, mtime, ctime }
            };
            self.materialise_waiting(state, now, &op)?;
            if last {
                return Ok(());
            }
        }
    }

    fn seal_runs(&self, state: &mut State, ino: Ino) -> Look<Vec<Extent>> {
        let mut extents = Vec::new();
        while extents.len() < self.options.tuning.extents_per_op {
            let mut run = None;
            state.change_dirty(ino, |dirty| run = dirty.take_run(BLOCK_LEN_MAX as usize));
            let Some(run) = run else { break };
            match self.sealer.seal(run.offset, &run.data) {
                Ok(extent) => extents.push(extent),
                Err(error) => {
                    state.change_dirty(ino, |dirty| dirty.write(run.offset, &run.data));
                    self.put_back(state, ino, &extents)?;
                    return Err(error.into());
                }
            }
            self.counts.blocks_sealed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(extents)
    }

    /// After a failure midway: what was sealed already is installed, so that no byte is in neither place.
    fn put_back(&self, state: &mut State, ino: Ino, extents: &[Extent]) -> Look<()> {
        if extents.is_empty() {
            return Ok(());
        }
        let inode = state.inode(ino)?;
        let op = Op::SetExtents {
            ino,
            size: inode.size,
            extents: extents.to_vec(),
            mode: inode.mode,
            mtime: inode.mtime,
            ctime: inode.ctime,
        };
        self.materialise_waiting(state, self.services.clock.elapsed(), &op)
    }

    /// Installs an operation that must not be repeated; pages it needs are fetched on the spot.
    pub(crate) fn materialise_waiting(
        &self,
        state: &mut State,
        now: Duration,
        op: &Op,
    ) -> Look<()> {
        loop {
            match state.materialise(now, op) {
                Err(Need::Page(page)) => crate::later::wait(self.pages.fetch(page)).map(drop)?,
                done => return done,
            }
        }
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
