//! Who may change what members hold of a thing: one at a time, so that an old copy is not put where it was just removed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use strongroom_store::Key;
use tokio::sync::{Mutex, MutexGuard};

/// LIMIT: things that are changed at once. Those that fall on one turn wait for each other.
const TURN_COUNT: usize = 64;

/// Turns of things.
pub(super) struct Turns([Mutex<()>; TURN_COUNT]);

impl Turns {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }

    /// Waits for the turns of all of these.
    pub(super) async fn take(&self, keys: &[Key]) -> Vec<MutexGuard<'_, ()>> {
        // ORDER: rising, so that two who need several never wait for each other.
        let places: BTreeSet<usize> = keys.iter().map(place).collect();
        let mut taken = Vec::with_capacity(places.len());
        for place in places {
            taken.push(self.0[place].lock().await);
        }
        taken
    }
}

fn place(key: &Key) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % TURN_COUNT as u64).expect("below 64")
}
