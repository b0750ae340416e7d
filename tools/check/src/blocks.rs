//! Blocks of files: header part and every segment that a file uses, fetched, verified and opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_crypto::block::{OpenedHeader, SEGMENT_LEN, header_len, segment_len, segment_range};
use strongroom_crypto::usage::Context;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_format::inode::Extent;
use strongroom_store::{Key, Store};
use strongroom_workspace::later::wait;

use crate::known::{BlockId, KnownBlocks};
use crate::{ErrorKind, Result, Subject, history};

/// LIMIT: blocks remembered, so that their segments are opened once.
const RECENT_COUNT: usize = 32;

/// Verifies extents one after the other.
pub(crate) struct Blocks<'a> {
    store: Arc<dyn Store>,
    context: Context,
    /// Objects that may be gone: nothing is asked of them.
    excused: &'a BTreeSet<ObjectId>,
    known: &'a mut KnownBlocks,
    /// The last blocks, newest last: pieces of one block come close to one another.
    recent: VecDeque<Block>,
    scratch: Vec<u8>,
    /// Plaintext bytes opened.
    pub(crate) bytes: u64,
}

struct Block {
    extent: Extent,
    /// `None` if the header part does not verify.
    header: Option<OpenedHeader>,
    /// Segments done: whether they verify.
    segments: BTreeMap<u64, bool>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(
        subject: &Subject,
        excused: &'a BTreeSet<ObjectId>,
        known: &'a mut KnownBlocks,
    ) -> Self {
        let context = Context::block(&history::place(subject));
        let scratch = vec![0; SEGMENT_LEN as usize];
        let store = subject.store.clone();
        Self { store, context, excused, known, recent: VecDeque::new(), scratch, bytes: 0 }
    }

    /// The bytes of the file that an extent cannot give.
    pub(crate) fn verify(&mut self, extent: &Extent) -> Result<Vec<(u64, u64)>> {
        let first = u64::from(extent.block_offset) / SEGMENT_LEN;
        let end = u64::from(extent.block_offset) + u64::from(extent.len);
        let last = (end - 1) / SEGMENT_LEN;
        let is_known = self.known.has(&BlockId::of(extent), first..=last);
        if is_known || self.excused.contains(&extent.object) {
            return Ok(Vec::new());
        }
        let known = self.recent.iter().position(|block| is_same_block(&block.extent, extent));
        let mut block = match known.and_then(|index| self.recent.remove(index)) {
            Some(block) => block,
            None => self.begin(extent, last)?,
        };
        let mut bad = Vec::new();
        self.run(&mut block, first..last + 1)?;
        for index in first..=last {
            if block.segments.get(&index) != Some(&true) {
                push_range(&mut bad, file_range(extent, index));
            }
        }
        let sound = block.segments.iter().filter(|(_, opens)| **opens).map(|(index, _)| *index);
        self.known.note(extent, sound);
        if self.recent.len() == RECENT_COUNT {
            self.recent.pop_front();
        }
        self.recent.push_back(block);
        Ok(bad)
    }

    /// Takes note of an extent that cannot be read in full. True if no state before had its block.
    pub(crate) fn note_broken(&mut self, extent: &Extent) -> bool {
        self.known.note_broken(BlockId::of(extent))
    }

    /// The same of a page.
    pub(crate) fn note_broken_page(&mut self, page: &Digest) -> bool {
        self.known.note_broken_page(page)
    }

    /// Reads the header part, and with it what lies directly behind.
    fn begin(&mut self, extent: &Extent, last: u64) -> Result<Block> {
        let len = u64::from(extent.block_len);
        let cut = header_len(len);
        let ahead = if extent.block_offset == 0 { segment_range(len, last).end } else { cut };
        let (bytes, ahead) = match self.fetch(extent, 0..ahead)? {
            Some(bytes) => (Some(bytes), ahead),
            None => (self.fetch(extent, 0..cut)?, cut),
        };
        let mut block = Block { extent: extent.clone(), header: None, segments: BTreeMap::new() };
        let Some(bytes) = bytes else { return Ok(block) };
        let hash = &extent.header_hash.0;
        let front = &bytes[..cut as usize];
        block.header = OpenedHeader::verify(front, len, hash, &extent.key, &self.context).ok();
        if ahead > cut {
            for index in 0..=last {
                let range = segment_range(len, index);
                self.open(&mut block, index, &bytes[range.start as usize..range.end as usize]);
            }
        }
        Ok(block)
    }

    /// Verifies those of a run of segments that are not done yet.
    fn run(&mut self, block: &mut Block, run: Range<u64>) -> Result<()> {
        if block.header.is_none() || run.clone().all(|index| block.segments.contains_key(&index)) {
            return Ok(());
        }
        let len = u64::from(block.extent.block_len);
        let base = segment_range(len, run.start).start;
        let whole = self.fetch(&block.extent, base..segment_range(len, run.end - 1).end)?;
        for index in run {
            let range = segment_range(len, index);
            let sealed = match &whole {
                Some(bytes) => {
                    Some(bytes.slice((range.start - base) as usize..(range.end - base) as usize))
                }
                None => self.fetch(&block.extent, range)?,
            };
            match sealed {
                Some(sealed) => self.open(block, index, &sealed),
                None => drop(block.segments.insert(index, false)),
            }
        }
        Ok(())
    }

    fn open(&mut self, block: &mut Block, index: u64, sealed: &[u8]) {
        let Some(header) = &block.header else { return };
        let opened = header.open_segment(index, sealed, &mut self.scratch).is_ok();
        if block.segments.insert(index, opened).is_none() && opened {
            self.bytes += segment_len(u64::from(block.extent.block_len), index);
        }
    }

    /// Sealed bytes of a block; `None` if they are not there or cannot be read.
    fn fetch(&self, extent: &Extent, range: Range<u64>) -> Result<Option<Bytes>> {
        let start = u64::from(extent.place);
        let range = start + range.start..start + range.end;
        let key = Key::Object(extent.object);
        match wait(async { Ok(self.store.get(key, Some(range)).await?) }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_same_block(a: &Extent, b: &Extent) -> bool {
    let facts = |extent: &Extent| (extent.object, extent.place, extent.block_len);
    facts(a) == facts(b) && a.header_hash == b.header_hash && a.key == b.key
}

/// The part of the file that an extent takes from one segment of its block.
fn file_range(extent: &Extent, index: u64) -> (u64, u64) {
    let begin = u64::from(extent.block_offset);
    let end = begin + u64::from(extent.len);
    let from = (index * SEGMENT_LEN).max(begin);
    let to = ((index + 1) * SEGMENT_LEN).min(end);
    (extent.offset + from - begin, extent.offset + to - begin)
}

/// Appends a range that does not begin before the last one does, joined to it where they touch.
pub(crate) fn push_range(ranges: &mut Vec<(u64, u64)>, range: (u64, u64)) {
    match ranges.last_mut() {
        Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
        _ => ranges.push(range),
    }
}
