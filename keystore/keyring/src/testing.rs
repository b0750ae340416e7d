//! Chance that repeats itself, and a founded organisation, for the tests of this crate.

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_crypto::hash::Blake3;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::entropy::Entropy;

use crate::founding::{Founded, found};
use crate::organisation::Organisation;

/// Below the floor, and accepted in tests only.
pub(crate) const QUICK: PassphraseCost = PassphraseCost::WEAK_FOR_TESTS;
pub(crate) const PASSPHRASE: &[u8] = b"alice's passphrase";

/// Bytes that depend on the seed and the number of the call.
pub(crate) struct Repeating {
    seed: u64,
    count: AtomicU64,
}

impl Repeating {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { seed, count: AtomicU64::new(0) }
    }
}

impl Entropy for Repeating {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            let mut hash = Blake3::new();
            hash.update(&self.seed.to_le_bytes()).update(&count.to_le_bytes());
            piece.copy_from_slice(&hash.finish()[..piece.len()]);
        }
    }
}

pub(crate) fn founded(seed: u64) -> Founded {
    found(PASSPHRASE, QUICK, 1_700_000_000_000_000_000, &Repeating::from_seed(seed)).unwrap()
}

/// The organisation as its founding leaves it.
pub(crate) fn organisation(founded: &Founded) -> Organisation {
    let pinned = founded.keys.organisation();
    let mut organisation = Organisation::verify(&founded.genesis, &pinned).unwrap();
    organisation.extend(&founded.first_epoch).unwrap();
    organisation
}
