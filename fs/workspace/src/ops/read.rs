//! Reading: unsealed bytes lie over extents, extents over holes.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::inode::{Content, Extent};

use crate::block::fetch::Wanted;
use crate::door::{Access, Answer, HandleId, Ino};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::READ_TRIES_MAX;
use crate::state::{State, fail};
use crate::tree::need::{Look, Need};
use crate::tree::pages::look_again;
use crate::tree::rules::extents::{clip, overlapping};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// What a read is put together from.
pub(super) struct ReadPlan {
    /// Bytes from memory, zeros elsewhere.
    out: Vec<u8>,
    /// Parts of blocks that go below the bytes from memory.
    wanted: Vec<Wanted>,
    /// Unsealed bytes that lie over blocks: (place in the answer, bytes).
    over: Vec<(usize, Vec<u8>)>,
    /// What a sequential reader will want next.
    next: Vec<Wanted>,
}

impl ReadPlan {
    /// The bytes, if all of them are in memory.
    pub(super) fn in_memory(self) -> std::result::Result<Vec<u8>, ReadPlan> {
        if !self.wanted.is_empty() {
            return Err(self);
        }
        Ok(self.lay_over())
    }

    fn lay_over(mut self) -> Vec<u8> {
        for (at, bytes) in &self.over {
            self.out[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        self.out
    }
}

/// The part of an extent that is in a range of the file.
fn part(extent: Extent, start: u64, end: u64) -> Wanted {
    let piece = clip(&extent, start, end);
    let at = (piece.offset - start) as usize;
    Wanted { extent, block_offset: piece.block_offset, len: piece.len, at }
}

impl State {
    /// Plans the read of a range of a file. Short at its end only.
    pub(super) fn plan_read(&self, ino: Ino, offset: u64, len: u64) -> Look<ReadPlan> {
        let inode = self.inode(ino)?;
        let end = offset.saturating_add(len).min(inode.size);
        let mut plan =
            ReadPlan { out: Vec::new(), wanted: Vec::new(), over: Vec::new(), next: Vec::new() };
        if offset >= end {
            return Ok(plan);
        }
        plan.out = vec![0; (end - offset) as usize];
        let mut covered = 0;
        if let Some(file) = self.files.get(&ino) {
            file.dirty.visit(offset, end, |at, bytes| {
                covered += bytes.len() as u64;
                plan.over.push(((at - offset) as usize, bytes.to_vec()));
            });
        }
        if covered == end - offset {
            return Ok(plan);
        }
        if let Content::Inline(data) = &inode.content {
            let from = (offset as usize).min(data.len());
            let to = (end as usize).min(data.len());
            plan.out[..to - from].copy_from_slice(&data[from..to]);
        }
        for extent in overlapping(&Txn::new(&self.map), ino, &inode, offset, end)? {
            plan.wanted.push(part(extent, offset, end));
        }
        Ok(plan)
    }

    /// Where a range lies that a reader will come to.
    fn plan_next(&self, ino: Ino, range: std::ops::Range<u64>) -> Look<Vec<Wanted>> {
        let inode = self.inode(ino)?;
        let (start, end) = (range.start, range.end.min(inode.size));
        if start >= end {
            return Ok(Vec::new());
        }
        let extents = overlapping(&Txn::new(&self.map), ino, &inode, start, end)?;
        Ok(extents.into_iter().map(|extent| part(extent, start, end)).collect())
    }
}

impl Inner {
    pub(super) fn read(self: &Arc<Self>, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes> {
        match self.try_plan(handle, offset, len) {
            Ok(plan) => match plan.in_memory() {
                Ok(bytes) => Answer::Ready(Ok(bytes.into())),
                Err(plan) => {
                    let inner = self.clone();
                    Answer::Later(Box::pin(async move {
                        inner.finish_read(handle, offset, len, plan).await
                    }))
                }
            },
            Err(Need::Failed(error)) => Answer::Ready(Err(error)),
            Err(Need::Page(_)) => {
                let inner = self.clone();
                Answer::Later(Box::pin(async move {
                    let plan = inner.plan_waiting(handle, offset, len).await?;
                    inner.finish_read(handle, offset, len, plan).await
                }))
            }
        }
    }

    fn try_plan(&self, handle: HandleId, offset: u64, len: u32) -> Look<ReadPlan> {
        let mut state = self.state.lock();
        let open = state.handle(handle)?;
        if open.access == Access::Write {
            return Err(fail(ErrorKind::BadHandle, "the handle is for writing only"));
        }
        let mut plan = state.plan_read(open.ino, offset, u64::from(len))?;
        let len = plan.out.len() as u64;
        let ahead = state.handles.get_mut(&handle).and_then(|open| open.stream.follow(offset, len));
        if let Some(ahead) = ahead {
            plan.next = state.plan_next(open.ino, ahead).unwrap_or_default();
        }
        Ok(plan)
    }

    async fn plan_waiting(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        len: u32,
    ) -> Result<ReadPlan> {
        let (mut tries, mut failed) = (0, 0);
        loop {
            let fetched = match look_again(tries, || self.try_plan(handle, offset, len)) {
                Ok(plan) => return Ok(plan),
                Err(Need::Failed(error)) => Err(error),
                Err(Need::Page(page)) => self.pages.fetch(page).await.map(drop),
            };
            if let Err(error) = fetched
                && !self.is_worth_another_look(&error, &mut failed).await
            {
                return Err(error);
            }
            tries += 1;
        }
    }

    async fn finish_read(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        len: u32,
        plan: ReadPlan,
    ) -> Result<Bytes> {
        let mut plan = plan;
        for _ in 0..READ_TRIES_MAX {
            for part in &plan.next {
                self.blocks.will_read(part);
            }
            match self.blocks.read(&plan.wanted, &mut plan.out).await {
                Ok(()) => return Ok(plan.lay_over().into()),
                // Overwritten and collected since it was planned: the map knows where the bytes are now.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Where others write, this map may be old.
                    self.catch_up(&error).await;
                    plan = self.plan_waiting(handle, offset, len).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Corrupt, "an object that the manifest names is missing"))
    }
}
