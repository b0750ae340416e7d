//! Sealed pages: opened ones in memory, fetching, and gathering new ones into page objects.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use strongroom_crypto::hash::blake3_256;
use strongroom_crypto::seal;
use strongroom_crypto::usage::{Context, Place, Usage};
use strongroom_format::checkpoint::PageObject;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_format::page::{Page, PageKind, PageRef};
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;
use strongroom_store::{Body, Key as StoreKey, Store};
use zeroize::Zeroizing;

use super::btree::{PageSink, PageSource};
use super::need::{Look, Need};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Broken, LOOK_TRIES_MAX};

/// Longest page object: 8 MiB.
const PAGE_OBJECT_LEN_MAX: usize = 8 << 20;

#[derive(Clone)]
struct ByLength;

impl Weighter<Digest, Arc<Page>> for ByLength {
    fn weight(&self, _: &Digest, page: &Arc<Page>) -> u64 {
        page.plain_len() as u64 + 128
    }
}

/// Opened pages of one compartment, bounded, with the means to fetch more.
pub struct Pages {
    store: Arc<dyn Store>,
    keys: Arc<DeviceKeys>,
    place: Place,
    cache: Cache<Digest, Arc<Page>, ByLength>,
    broken: Option<Broken>,
}

impl Pages {
    /// An empty cache over the store.
    pub fn new(
        store: Arc<dyn Store>,
        keys: Arc<DeviceKeys>,
        place: Place,
        cache_bytes: u64,
    ) -> Self {
        let expected = usize::try_from(cache_bytes / 16_384).unwrap_or(1024);
        let cache = Cache::with_weighter(expected, cache_bytes, ByLength);
        Self { store, keys, place, cache, broken: None }
    }

    /// Memory for opened pages.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// With a deliberate mistake, where tests ask for one.
    pub(crate) fn with_mistake(self, broken: Option<Broken>) -> Self {
        Self { broken, ..self }
    }

    /// Context that pages of this kind and epoch are sealed in.
    fn context(&self, kind: PageKind, epoch: u64) -> Context {
        let usage = match kind {
            PageKind::Leaf => Usage::PageLeaf,
            PageKind::Inner => Usage::PageInner,
        };
        Context::page(usage, &self.place, epoch)
    }

    /// Fetches a page into the cache.
    ///
    /// # Errors
    /// `Corrupt` when it is missing or does not verify; those of the store.
    pub async fn fetch(&self, at: PageRef) -> Result<Arc<Page>> {
        let page = match self.fetch_once(&at).await {
            // It may have been a damaged copy on this device.
            Err(error)
                if error.kind() == ErrorKind::Corrupt
                    && self.store.distrust(StoreKey::Object(at.object)) =>
            {
                self.fetch_once(&at).await?
            }
            result => result?,
        };
        self.cache.insert(at.hash, page.clone());
        Ok(page)
    }

    async fn fetch_once(&self, at: &PageRef) -> Result<Arc<Page>> {
        let range = u64::from(at.place)..u64::from(at.place) + u64::from(at.sealed_len);
        let sealed = self.store.get(StoreKey::Object(at.object), Some(range)).await;
        let sealed = sealed.map_err(|error| match Error::from(error) {
            error if error.kind() == ErrorKind::NotFound => damaged(at),
            error => error,
        })?;
        self.open(at, &sealed)
    }

    fn open(&self, at: &PageRef, sealed: &[u8]) -> Result<Arc<Page>> {
        let believed = self.broken == Some(Broken::PageHashNotCompared);
        if blake3_256(sealed) != at.hash.0 && !believed {
            return Err(damaged(at));
        }
        let key = self.keys.epoch_key(at.epoch).ok_or_else(|| damaged(at))?;
        let plain =
            seal::open(key, &self.context(at.kind(), at.epoch), sealed).map_err(|_| damaged(at))?;
        let page = Page::parse(Zeroizing::new(plain.into_vec())).map_err(|_| damaged(at))?;
        if page.level() != at.level {
            return Err(damaged(at));
        }
        Ok(Arc::new(page))
    }

    /// Forgets every opened page, as a fresh mount would.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

fn damaged(at: &PageRef) -> Error {
    let message = format!("manifest page at {} of object {} does not verify", at.place, at.object);
    Error::new(ErrorKind::Corrupt, message)
}

impl PageSource for Pages {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        match self.cache.get(&at.hash) {
            Some(page) => Ok(page),
            None if PATIENT.get() => Ok(crate::later::wait(self.fetch(*at))?),
            None => Err(Need::Page(*at)),
        }
    }
}

thread_local! {
    /// Whether looks of this thread fetch missing pages on the spot.
    static PATIENT: Cell<bool> = const { Cell::new(false) };
}

/// Makes a look that was made `tries` times before. Begun anew for each missing page it would take the square of its
/// time, and with more pages than the cache holds it would never end: so after some tries it fetches on the spot.
pub fn look_again<T>(tries: u32, look: impl FnOnce() -> Look<T>) -> Look<T> {
    let outer = PATIENT.get();
    PATIENT.set(outer || tries >= LOOK_TRIES_MAX);
    let looked = look();
    PATIENT.set(outer);
    looked
}

/// Makes a look that fetches missing pages on the spot.
///
/// # Errors
/// Those of the look and of fetching.
pub fn patiently<T>(look: impl FnOnce() -> Look<T>) -> Result<T> {
    look_again(LOOK_TRIES_MAX, look).map_err(Need::failure)
}

/// A page source for threads that may wait: fetches what is missing on the spot.
pub struct WaitingPages<'a>(pub &'a Pages);

impl PageSource for WaitingPages<'_> {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        match self.0.cache.get(&at.hash) {
            Some(page) => Ok(page),
            None => Ok(crate::later::wait(self.0.fetch(*at))?),
        }
    }
}

/// An object of new pages.
pub struct PageObjectMade {
    /// Length as stored.
    pub stored_len: u64,
    /// Pages in it.
    pub live_pages: u32,
    /// BLAKE3-256 of the stored bytes.
    pub hash: Digest,
}

/// Seals new pages and puts them into the store, 8 MiB at a time.
pub struct PageWriter<'a> {
    pages: &'a Pages,
    entropy: &'a dyn Entropy,
    object: ObjectId,
    bytes: Vec<u8>,
    pages_gathered: u32,
    /// Objects put so far.
    pub made: BTreeMap<ObjectId, PageObjectMade>,
}

impl<'a> PageWriter<'a> {
    /// Begins with an empty object.
    pub fn new(pages: &'a Pages, entropy: &'a dyn Entropy) -> Self {
        let object = ObjectId(entropy.array());
        Self { pages, entropy, object, bytes: Vec::new(), pages_gathered: 0, made: BTreeMap::new() }
    }

    /// What a checkpoint says of them.
    pub fn ledger(&self) -> impl Iterator<Item = PageObject> {
        self.made.iter().map(|(object, made)| PageObject {
            object: *object,
            stored_len: made.stored_len,
            live_pages: made.live_pages,
            hash: made.hash,
        })
    }

    /// Puts what is gathered.
    pub fn finish(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let next = ObjectId(self.entropy.array());
        let object = std::mem::replace(&mut self.object, next);
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let made = PageObjectMade {
            stored_len: bytes.len() as u64,
            live_pages: std::mem::take(&mut self.pages_gathered),
            hash: Digest(blake3_256(&bytes)),
        };
        crate::later::wait(async {
            Ok(self.pages.store.put(StoreKey::Object(object), Body::Bytes(bytes)).await?)
        })?;
        self.made.insert(object, made);
        Ok(())
    }
}

impl PageSink for PageWriter<'_> {
    fn put(&mut self, plain: Zeroizing<Vec<u8>>, level: u8) -> Result<PageRef> {
        let sealed_len = seal::sealed_len(plain.len());
        if self.bytes.len() + sealed_len > PAGE_OBJECT_LEN_MAX {
            self.finish()?;
        }
        let place = self.bytes.len();
        self.pages_gathered += 1;
        let (epoch, key) = self.pages.keys.current_epoch();
        let context = self.pages.context(PageKind::of_level(level), epoch);
        let salt = self.pages.keys.salt(self.entropy.array(), blake3_256(&plain));
        seal::seal_into(key, &context, salt, &plain, &mut self.bytes);
        Ok(PageRef {
            object: self.object,
            place: u32::try_from(place).expect("a page object is at most 8 MiB"),
            sealed_len: u32::try_from(sealed_len).expect("a page is at most 16 KiB"),
            level,
            epoch,
            hash: Digest(blake3_256(&self.bytes[place..])),
        })
    }
}
