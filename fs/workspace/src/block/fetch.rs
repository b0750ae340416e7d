//! Reading blocks back: staged file or store, header part, segments, plaintext.
//!
//! Checked in this order: header part against the extent, segment against the header part, commitment, chunk tags.
//! Short reads keep the opened segment in memory; long ones go straight to the caller, whose kernel caches them.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use strongroom_crypto::block::{OpenedHeader, SEGMENT_LEN, header_len, segment_len, segment_range};
use strongroom_crypto::usage::Context;
use strongroom_crypto::wipe::Wiped;
use strongroom_format::ids::Digest;
use strongroom_format::inode::Extent;
use strongroom_store::{Key as StoreKey, Store};

use super::staging::Staging;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::HEADER_CACHE_COUNT;

/// An opened segment: hash of its block's header part, index.
type SegmentId = (Digest, u32);

/// Plaintext in memory, wiped when evicted and no longer lent.
#[derive(Clone)]
struct Opened(Arc<Wiped>);

#[derive(Clone)]
struct ByLength;

impl Weighter<SegmentId, Opened> for ByLength {
    fn weight(&self, _: &SegmentId, opened: &Opened) -> u64 {
        opened.0.len() as u64 + 128
    }
}

/// A part of a read: `len` bytes of an extent's block from `block_offset` on, to `at` in the answer.
#[derive(Clone)]
pub struct Wanted {
    /// The extent.
    pub extent: Extent,
    /// First byte wanted, counted in the block.
    pub block_offset: u32,
    /// How many.
    pub len: u32,
    /// Where they go in the answer.
    pub at: usize,
}

/// Opens blocks.
pub struct Blocks {
    store: Arc<dyn Store>,
    staging: Arc<Staging>,
    context: Context,
    headers: Cache<Digest, Arc<OpenedHeader>>,
    segments: Cache<SegmentId, Opened, ByLength>,
}

impl Blocks {
    /// Opens blocks of the compartment that `context` names.
    pub fn new(
        store: Arc<dyn Store>,
        staging: Arc<Staging>,
        context: Context,
        cache_bytes: u64,
    ) -> Self {
        let segments_expected = usize::try_from(cache_bytes / SEGMENT_LEN).unwrap_or(1024);
        let headers_expected = usize::try_from(HEADER_CACHE_COUNT).unwrap_or(1024);
        Self {
            store,
            staging,
            context,
            headers: Cache::new(headers_expected),
            segments: Cache::with_weighter(segments_expected, cache_bytes, ByLength),
        }
    }

    /// Memory for opened segments.
    pub fn bytes(&self) -> u64 {
        self.segments.weight()
    }

    /// Tells the store what a sequential reader will want.
    pub fn will_read(&self, part: &Wanted) {
        let block_len = u64::from(part.extent.block_len);
        let first = u64::from(part.block_offset) / SEGMENT_LEN;
        let last = (u64::from(part.block_offset) + u64::from(part.len) - 1) / SEGMENT_LEN;
        // The header part is wanted as well, and lies before the first segment.
        let start = if first == 0 { 0 } else { segment_range(block_len, first).start };
        self.announce(&part.extent, &(start..segment_range(block_len, last).end));
    }

    fn announce(&self, extent: &Extent, range: &std::ops::Range<u64>) {
        let place = u64::from(extent.place);
        let range = place + range.start..place + range.end;
        self.store.will_read(StoreKey::Object(extent.object), range);
    }

    /// Fills the parts of `out` that `wanted` names.
    ///
    /// # Errors
    /// `NotFound` when an object is gone (the caller looks at the map again), `Corrupt` when bytes do not verify.
    pub async fn read(&self, wanted: &[Wanted], out: &mut [u8]) -> Result<()> {
        for part in wanted {
            let target = &mut out[part.at..part.at + part.len as usize];
            match self.read_part(part, target).await {
                Err(error) if error.kind() == ErrorKind::Corrupt && self.has_nearer_copy(part) => {
                    self.read_part(part, target).await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Whether what did not verify may have been a damaged copy on this device; it is then forgotten.
    fn has_nearer_copy(&self, part: &Wanted) -> bool {
        self.store.distrust(StoreKey::Object(part.extent.object))
    }

    async fn read_part(&self, part: &Wanted, out: &mut [u8]) -> Result<()> {
        let block_len = u64::from(part.extent.block_len);
        let first = u64::from(part.block_offset) / SEGMENT_LEN;
        let end = u64::from(part.block_offset) + u64::from(part.len);
        let last = (end - 1) / SEGMENT_LEN;
        let whole = first != last || u64::from(part.len) == segment_len(block_len, first);
        if !whole {
            let offset = (u64::from(part.block_offset) - first * SEGMENT_LEN) as usize;
            let opened = self.segment(&part.extent, first).await?;
            out.copy_from_slice(&opened.0[offset..offset + out.len()]);
            return Ok(());
        }
        self.read_run(part, (first, last), out).await
    }

    /// One segment through the cache.
    async fn segment(&self, extent: &Extent, index: u64) -> Result<Opened> {
        let id = (extent.header_hash, index as u32);
        if let Some(found) = self.segments.get(&id) {
            return Ok(found);
        }
        let block_len = u64::from(extent.block_len);
        let range = segment_range(block_len, index);
        let header = self.headers.get(&extent.header_hash);
        let (header, sealed) = match header {
            Some(header) => (header, self.fetch(extent, range).await?),
            None if index == 0 => {
                let both = self.fetch(extent, 0..range.end).await?;
                let cut = header_len(block_len) as usize;
                (self.verified_header(extent, &both[..cut])?, both.slice(cut..))
            }
            None => {
                // Two places of a cold disk: the second is on its way while the first is waited for.
                self.announce(extent, &range);
                let bytes = self.fetch(extent, 0..header_len(block_len)).await?;
                (self.verified_header(extent, &bytes)?, self.fetch(extent, range).await?)
            }
        };
        let mut plain = Wiped::zeroed(segment_len(block_len, index) as usize);
        header.open_segment(index, &sealed, &mut plain).map_err(|_| damaged(extent))?;
        let opened = Opened(Arc::new(plain));
        self.segments.insert(id, opened.clone());
        Ok(opened)
    }

    /// Several segments, or a whole one, without the cache: one fetch, opened straight into the answer.
    async fn read_run(&self, part: &Wanted, run: (u64, u64), out: &mut [u8]) -> Result<()> {
        let extent = &part.extent;
        let block_len = u64::from(extent.block_len);
        let (first, last) = run;
        let end = segment_range(block_len, last).end;
        let (header, sealed, base) = match self.headers.get(&extent.header_hash) {
            Some(header) => {
                let start = segment_range(block_len, first).start;
                (header, self.fetch(extent, start..end).await?, start)
            }
            None => {
                // The header part is small beside a run, and mostly next to it.
                let cut = header_len(block_len);
                if first == 0 {
                    let both = self.fetch(extent, 0..end).await?;
                    (self.verified_header(extent, &both[..cut as usize])?, both, 0)
                } else {
                    let bytes = self.fetch(extent, 0..cut).await?;
                    let start = segment_range(block_len, first).start;
                    let header = self.verified_header(extent, &bytes)?;
                    (header, self.fetch(extent, start..end).await?, start)
                }
            }
        };
        let mut filled = 0;
        for index in first..=last {
            let range = segment_range(block_len, index);
            let sealed = &sealed[(range.start - base) as usize..(range.end - base) as usize];
            let segment_start = index * SEGMENT_LEN;
            let from = u64::from(part.block_offset).saturating_sub(segment_start) as usize;
            let len = segment_len(block_len, index) as usize;
            let take = (len - from).min(out.len() - filled);
            let target = &mut out[filled..filled + take];
            let done = if take == len {
                header.open_segment(index, sealed, target).map(drop)
            } else {
                header.open_range(index, sealed, from..from + take, target)
            };
            done.map_err(|_| damaged(extent))?;
            filled += take;
        }
        Ok(())
    }

    fn verified_header(&self, extent: &Extent, bytes: &[u8]) -> Result<Arc<OpenedHeader>> {
        let len = u64::from(extent.block_len);
        let hash = &extent.header_hash.0;
        let header = OpenedHeader::verify(bytes, len, hash, &extent.key, &self.context)
            .map_err(|_| damaged(extent))?;
        let header = Arc::new(header);
        self.headers.insert(extent.header_hash, header.clone());
        Ok(header)
    }

    /// Sealed bytes of a block, `range` counted in it.
    async fn fetch(&self, extent: &Extent, range: std::ops::Range<u64>) -> Result<Bytes> {
        let start = u64::from(extent.place) + range.start;
        let len = range.end - range.start;
        if let Some(staged) = self.staging.find(extent.object) {
            return Ok(staged.read(start, len as usize)?.into());
        }
        let key = StoreKey::Object(extent.object);
        let bytes = self.store.get(key, Some(start..start + len)).await?;
        if bytes.len() as u64 != len {
            return Err(damaged(extent));
        }
        Ok(bytes)
    }
}

fn damaged(extent: &Extent) -> Error {
    let message = format!("a block of object {} does not verify", extent.object);
    Error::new(ErrorKind::Corrupt, message)
}
