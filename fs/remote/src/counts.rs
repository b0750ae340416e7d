//! How many requests went out, and how many bytes went which way.

use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of requests, as they are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// GET of an object or a range.
    Get,
    /// PUT.
    Put,
    /// HEAD.
    Head,
    /// A page of a listing.
    List,
    /// DELETE.
    Delete,
}

/// Counters of one store; every try counts.
#[derive(Debug, Default)]
pub struct Counts {
    gets: AtomicU64,
    puts: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    failures: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn request(&self, act: Act) {
        let counter = match act {
            Act::Get => &self.gets,
            Act::Put => &self.puts,
            Act::Head => &self.heads,
            Act::List => &self.lists,
            Act::Delete => &self.deletes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hedge(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All of them by name, for `status`.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        [
            ("store_gets", &self.gets),
            ("store_puts", &self.puts),
            ("store_heads", &self.heads),
            ("store_lists", &self.lists),
            ("store_deletes", &self.deletes),
            ("store_retries", &self.retries),
            ("store_hedges", &self.hedges),
            ("store_failures", &self.failures),
            ("store_read_bytes", &self.read_bytes),
            ("store_written_bytes", &self.written_bytes),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
        .to_vec()
    }
}
