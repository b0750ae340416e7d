//! Objects that went to the store and that no commit is known to name yet. Each was whole and durable on this device before: one that
//! is found neither here nor there when the journal is replayed was lost by the store. No loss of power did it, after which what
//! nobody was told to be durable is given up.
//!
//! ```text
//! 0          count n, u32
//! 4          n object ids, 16 bytes each
//! 4 + 16 n   BLAKE3-256 of all before; bytes behind it are of no meaning
//! ```
//!
//! Written in place and not synced: after a loss of power an older list is found, or none, which is safe against everything but a store
//! that loses objects at the same moment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_crypto::hash::blake3_256;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{Disk, OpenMode, read_all};

use crate::error::Result;

const ID_LEN: usize = 16;
const SUM_LEN: usize = 32;

/// The list.
pub struct Sent {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    objects: Mutex<BTreeSet<ObjectId>>,
}

impl Sent {
    /// What the process before listed; nothing where that cannot be read.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        let listed = read_all(&*disk, &path).ok().and_then(|bytes| parse(&bytes));
        Self { disk, path, objects: Mutex::new(listed.unwrap_or_default()) }
    }

    /// Lists objects.
    ///
    /// ORDER: after they are durable on this device, and before they are put.
    ///
    /// # Errors
    /// Those of the local disk.
    pub fn note(&self, objects: impl Iterator<Item = ObjectId>) -> Result<()> {
        let mut listed = self.objects.lock();
        let count = listed.len();
        listed.extend(objects);
        if listed.len() > count {
            self.disk.open(&self.path, OpenMode::Create)?.write_at(&bytes_of(&listed), 0)?;
        }
        Ok(())
    }

    /// Whether an object is listed.
    pub fn contains(&self, object: &ObjectId) -> bool {
        self.objects.lock().contains(object)
    }

    /// Commits name all of them, or no journal record does. The file stays as it is until there are others.
    pub fn clear(&self) {
        self.objects.lock().clear();
    }
}

fn bytes_of(objects: &BTreeSet<ObjectId>) -> Vec<u8> {
    let count = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend(objects.iter().flat_map(|object| object.0));
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn parse(bytes: &[u8]) -> Option<BTreeSet<ObjectId>> {
    let count = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let end = count.checked_mul(ID_LEN)?.checked_add(4)?;
    let sum = bytes.get(end..end.checked_add(SUM_LEN)?)?;
    let (ids, _) = bytes[4..end].as_chunks::<ID_LEN>();
    (blake3_256(&bytes[..end]) == *sum).then(|| ids.iter().copied().map(ObjectId).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_it_is_written_over_a_longer_one_and_a_broken_or_cut_one_is_none() {
        let list = |ids: &[u8]| ids.iter().map(|id| ObjectId([*id; 16])).collect::<BTreeSet<_>>();
        for listed in [list(&[]), list(&[1]), list(&[1, 2, 9])] {
            let bytes = bytes_of(&listed);
            let longer = [&bytes[..], b"of a longer one before"].concat();
            assert_eq!(parse(&longer), Some(listed));
            for at in 0..bytes.len() {
                let mut broken = bytes.clone();
                broken[at] ^= 1;
                assert_eq!(parse(&broken), None);
                assert_eq!(parse(&bytes[..at]), None);
            }
        }
    }
}
