//! Objects that no state names: left by a home that ended between putting an object and the commit that names it, or
//! between a commit and the removal of what it let go of. Nobody lists them, so they are looked for: once in a while,
//! after a checkpoint.
//!
//! What is not named may be on its way: another home may have put it and be cut off since. So it goes when it has been
//! seen unnamed for `UNNAMED_GRACE`; since when is remembered in the local state, and forgotten at worst.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_crypto::hash::blake3_256;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{read_all, replace_file};
use strongroom_store::Key as StoreKey;

use super::commit::Outbound;
use crate::error::{ErrorKind, Result};
use crate::history::past::Past;
use crate::history::space::objects_in;
use crate::limits::SWEEP_INTERVAL;
use crate::tree::map::Map;
use crate::workspace::Inner;

/// Name of the file in the folder of the local state.
const UNNAMED_FILE: &str = "unnamed";
const SUM_LEN: usize = 32;
const ENTRY_LEN: usize = 24;

/// When the last look was, and what was unnamed then, since when. Nanoseconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unnamed {
    looked: i64,
    since: BTreeMap<ObjectId, i64>,
}

impl Inner {
    /// Looks for objects that nobody names, if it is time.
    ///
    /// # Errors
    /// Those of the store, and of a manifest that cannot be read: nothing is removed then.
    pub(super) fn sweep_if_due(&self, outbound: &Outbound) -> Result<()> {
        if !self.ages.lock().can_be_told(&*self.services.clock) {
            return Ok(());
        }
        let path = self.options.state_folder.join(UNNAMED_FILE);
        let now = self.services.clock.now_ns();
        let before = read_all(&*self.services.disk, &path).ok().and_then(|bytes| parse(&bytes));
        let interval = i64::try_from(SWEEP_INTERVAL.as_nanos()).unwrap_or(i64::MAX);
        // A first look waits as well: most homes do not live as long.
        let before = before.unwrap_or(Unnamed { looked: now, since: BTreeMap::new() });
        // A look in the future was by a clock that was wrong then.
        let is_near = (0..interval).contains(&now.saturating_sub(before.looked));
        if is_near && before.looked != now {
            return Ok(());
        }
        let (after, swept) = match before.looked == now {
            true => (before, Ok(())),
            false => match self.sweep(outbound, &before, now) {
                Ok(after) => (after, Ok(())),
                // What cannot be read today cannot be read after the next checkpoint: each look reads all manifests.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    (Unnamed { looked: now, ..before }, Err(error))
                }
                Err(error) => return Err(error),
            },
        };
        replace_file(&*self.services.disk, &path, &bytes_of(&after))?;
        swept
    }

    fn sweep(&self, outbound: &Outbound, before: &Unnamed, now: i64) -> Result<Unnamed> {
        // A purge elsewhere may have replaced roots of snapshots, and what is not named here goes.
        self.past.lock().clear();
        // ORDER: what there is before what is named: a commit in between names what it brought.
        let there = self.object_sizes()?;
        let named = self.named(outbound)?;
        let grace = i64::try_from(self.options.tuning.unnamed_grace.as_nanos()).unwrap_or(i64::MAX);
        let mut after = Unnamed { looked: now, since: BTreeMap::new() };
        for object in there.into_keys().filter(|object| !named.contains(object)) {
            let since = before.since.get(&object).copied().unwrap_or(now).min(now);
            if now.saturating_sub(since) >= grace {
                self.delete_stored(StoreKey::Object(object))?;
            } else {
                after.since.insert(object, since);
            }
        }
        Ok(after)
    }

    /// What any state names, and what this home has on its way.
    fn named(&self, outbound: &Outbound) -> Result<BTreeSet<ObjectId>> {
        let (map, mut named) = self.on_its_way(outbound);
        named.extend(self.kept_objects(&map)?);
        Ok(named)
    }

    /// What a map names, and any state of the past.
    pub(crate) fn kept_objects(&self, map: &Map) -> Result<BTreeSet<ObjectId>> {
        let past = Past::open(self)?;
        let mut named = objects_in(map)?;
        named.extend(self.past_objects(&past)?);
        Ok(named)
    }

    /// The map as it is, and what this home has on its way besides.
    pub(crate) fn on_its_way(&self, outbound: &Outbound) -> (Map, BTreeSet<ObjectId>) {
        let map = self.state.lock().map.snapshot();
        let mut named: BTreeSet<ObjectId> = outbound.ledger.keys().copied().collect();
        named.extend(outbound.adopted.iter().chain(&outbound.tried).map(|added| added.object));
        if let Some(cut) = &outbound.pending {
            named.extend(cut.objects.iter().map(|object| object.id));
            named.extend(cut.adopted.iter().chain(&cut.superfluous).map(|added| added.object));
        }
        if let Some(written) = &outbound.written {
            named.extend(written.objects());
        }
        (map, named)
    }
}

fn bytes_of(unnamed: &Unnamed) -> Vec<u8> {
    let mut bytes = unnamed.looked.to_le_bytes().to_vec();
    for (object, since) in &unnamed.since {
        bytes.extend_from_slice(&object.0);
        bytes.extend_from_slice(&since.to_le_bytes());
    }
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Unnamed> {
    let (facts, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
    let (looked, rest) = facts.split_first_chunk::<8>()?;
    let (entries, none) = rest.as_chunks::<ENTRY_LEN>();
    if blake3_256(facts) != *sum || !none.is_empty() {
        return None;
    }
    let entry = |bytes: &[u8; ENTRY_LEN]| {
        let (object, since) = bytes.split_first_chunk::<16>()?;
        Some((ObjectId(*object), i64::from_le_bytes(since.try_into().ok()?)))
    };
    let since = entries.iter().map(entry).collect::<Option<_>>()?;
    Some(Unnamed { looked: i64::from_le_bytes(*looked), since })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unnamed_reads_as_it_is_written() {
        let since = BTreeMap::from([(ObjectId([1; 16]), 5), (ObjectId([2; 16]), -5)]);
        let unnamed = Unnamed { looked: 77, since };
        let bytes = bytes_of(&unnamed);
        assert_eq!(parse(&bytes), Some(unnamed));
        for at in 0..bytes.len() {
            assert_eq!(parse(&bytes[..at]), None);
        }
    }
}
