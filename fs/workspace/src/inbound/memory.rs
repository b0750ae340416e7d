//! What this home has seen of the history, kept on its own disk: a store that shows less, or something else, is refused.
//!
//! 1. The newest commit seen, by number and hash: a history that still shows that number must show that commit.
//! 2. How far the commits and the journal of every home were contained there. A checkpoint cuts away the log below it, and
//!    with it the commit to compare; but whatever goes on from what was seen contains at least as much of each home.
//!
//! ```text
//! 0      head: number u64, hash 32, BLAKE3-256 of these
//! 72     count u32, then per home: device 16, incarnation, counter, journal number, number of its last commit, each u64
//!        BLAKE3-256 of all before
//! ```
//!
//! Written in place and not synced with every commit: after a loss of power an older memory is found, or none of the
//! second part, which is safe against everything but a store that goes back at the same moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_crypto::hash::blake3_256;
use strongroom_format::checkpoint::{JOURNALS_MAX, JournalMark};
use strongroom_format::ids::{DeviceId, Digest};
use strongroom_host::disk::{DiskFile, OpenMode, read_all};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Broken;
use crate::outbound::commit::Outbound;
use crate::state::{Head, State};
use crate::workspace::Inner;

/// Name of the file with what this home has seen.
pub const HEAD_FILE: &str = "head";
const HEAD_LEN: usize = 72;
const MARK_LEN: usize = 48;
const SUM_LEN: usize = 32;

/// How far each home is contained, by device and incarnation.
pub(crate) type Marks = BTreeMap<(DeviceId, u64), JournalMark>;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The newest commit.
    pub(crate) head: Head,
    /// How far every home was contained there. Empty if that is not known.
    pub(crate) marks: Marks,
}

impl Memory {
    /// What is in use.
    pub(crate) fn of(state: &State, outbound: &Outbound) -> Self {
        Self { head: state.head, marks: outbound.marks.clone() }
    }

    /// Refuses a history that cannot go on from what was seen.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn check(&self, head: Head, marks: &Marks, broken: Option<Broken>) -> Result<()> {
        let seen = self.head;
        if broken == Some(Broken::HeadNotRemembered) {
            return Ok(());
        }
        if head.seq < seen.seq {
            let (end, seen) = (head.seq, seen.seq);
            return Err(other_store(&format!("it ends at commit {end}, this device saw {seen}")));
        }
        check_history(Some(seen), head)?;
        let is_full = marks.len() >= JOURNALS_MAX;
        let lacking = self.marks.iter().find(|(home, seen)| match marks.get(*home) {
            Some(mark) => !goes_on_from(mark, seen),
            // Forgotten as the one unused for longest.
            None => !is_full,
        });
        match lacking {
            Some((_, mark)) if broken != Some(Broken::MarksNotCompared) => {
                let JournalMark { seq, device, .. } = mark;
                let lacks = format!("it lacks commit {seq} of device {device}, which this one saw");
                Err(other_store(&lacks))
            }
            _ => Ok(()),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = head_bytes(self.head);
        let count = u32::try_from(self.marks.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for mark in self.marks.values() {
            bytes.extend_from_slice(&mark.device.0);
            for number in [mark.incarnation, mark.counter, mark.journal_upto, mark.seq] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let sum = blake3_256(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let head = parse_head(bytes)?;
        Some(Self { head, marks: parse_marks(bytes).unwrap_or_default() })
    }
}

/// Whether a file with what was seen is as it was written.
pub fn is_whole(bytes: &[u8]) -> bool {
    parse_head(bytes).is_some() && parse_marks(bytes).is_some()
}

fn goes_on_from(mark: &JournalMark, seen: &JournalMark) -> bool {
    match mark.counter == seen.counter {
        true => (mark.seq, mark.journal_upto) == (seen.seq, seen.journal_upto),
        false => mark.counter > seen.counter && mark.seq > seen.seq,
    }
}

fn parse_marks(bytes: &[u8]) -> Option<Marks> {
    let count = number_at(bytes, HEAD_LEN, 4)?;
    let end = HEAD_LEN + 4 + usize::try_from(count).ok()?.checked_mul(MARK_LEN)?;
    let sum = bytes.get(end..end + SUM_LEN)?;
    if blake3_256(&bytes[..end]) != *sum {
        return None;
    }
    let marks = bytes[HEAD_LEN + 4..end].chunks_exact(MARK_LEN).map(|bytes| {
        let device = DeviceId(bytes[..16].try_into().ok()?);
        let [incarnation, counter, journal_upto, seq] =
            [16, 24, 32, 40].map(|at| number_at(bytes, at, 8));
        let incarnation = incarnation?;
        let (counter, journal_upto, seq) = (counter?, journal_upto?, seq?);
        let mark = JournalMark { device, incarnation, counter, journal_upto, seq };
        Some(((device, incarnation), mark))
    });
    marks.collect()
}

fn number_at(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..len].copy_from_slice(bytes.get(at..at + len)?);
    Some(u64::from_le_bytes(number))
}

/// Refuses another history than the one this device has seen, also one that goes on for longer.
pub(super) fn check_history(remembered: Option<Head>, head: Head) -> Result<()> {
    if remembered.is_none_or(|seen| seen.seq != head.seq || seen.hash == head.hash) {
        return Ok(());
    }
    Err(other_store(&format!("commit {} is another one", head.seq)))
}

/// The error of a store that is not what this device last saw.
pub(super) fn other_store(how: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the store is not what this device last saw: {how}"))
}

impl Inner {
    pub(super) fn memory(&self) -> Option<Memory> {
        if self.options.tuning.broken == Some(Broken::HeadNotRemembered) {
            return None;
        }
        Memory::parse(&read_all(&*self.services.disk, &self.memory_path()).ok()?)
    }

    fn memory_path(&self) -> PathBuf {
        self.options.state_folder.join(HEAD_FILE)
    }

    /// Notes what was seen. Not synced: after a power loss an older one is remembered.
    pub(crate) fn remember(&self, seen: &Memory) -> Result<()> {
        let went_back =
            self.known.lock().keys().next_back().is_some_and(|seq| *seq > seen.head.seq);
        if went_back {
            // More is remembered, which is taken in once more first.
            return Ok(());
        }
        self.write_memory(seen).map(drop)
    }

    /// A deliberate mistake, where tests ask for one: what is refused after `before` is noted as if it had been taken in.
    pub(super) fn remember_refused(&self, before: Head, commit: &[u8]) {
        if self.options.tuning.broken == Some(Broken::RefusedRemembered) {
            let head = Head { seq: before.seq + 1, hash: Digest(blake3_256(commit)) };
            drop(self.remember(&Memory { head, marks: Marks::new() }));
        }
    }

    /// Notes what was seen, durably.
    pub(super) fn remember_durably(&self, seen: &Memory) -> Result<()> {
        self.write_memory(seen)?.sync_data()?;
        Ok(self.services.disk.sync_folder(&self.options.state_folder)?)
    }

    fn write_memory(&self, seen: &Memory) -> Result<Arc<dyn DiskFile>> {
        let file = self.services.disk.open(&self.memory_path(), OpenMode::Create)?;
        file.write_at(&seen.to_bytes(), 0)?;
        Ok(file)
    }

    /// Goes back to what was remembered before something that is taken back.
    pub(super) fn remember_again(&self, before: Option<&Memory>) -> Result<()> {
        match before {
            Some(before) => self.remember_durably(before),
            None => match self.services.disk.remove(&self.memory_path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        }
    }
}

/// A head as it is remembered.
pub(super) fn head_bytes(head: Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN);
    bytes.extend_from_slice(&head.seq.to_le_bytes());
    bytes.extend_from_slice(&head.hash.0);
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// Parses the file with the remembered head; none if its sum does not hold.
pub fn parse_head(bytes: &[u8]) -> Option<Head> {
    let (facts, sum) = bytes.get(..HEAD_LEN)?.split_at(40);
    if blake3_256(facts) != *sum {
        return None;
    }
    let (seq, hash) = facts.split_at(8);
    let seq = u64::from_le_bytes(seq.try_into().ok()?);
    Some(Head { seq, hash: Digest(hash.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(seq: u64, homes: &[(u8, u64)]) -> Memory {
        let marks = homes.iter().map(|(device, counter)| {
            let mark = JournalMark {
                device: DeviceId([*device; 16]),
                incarnation: 7,
                counter: *counter,
                journal_upto: counter * 10,
                seq: *counter,
            };
            ((mark.device, 7), mark)
        });
        Memory { head: Head { seq, hash: Digest([9; 32]) }, marks: marks.collect() }
    }

    #[test]
    fn what_was_seen_is_found_again_and_damage_of_the_second_part_leaves_the_first() {
        let seen = memory(4, &[(1, 3), (2, 4)]);
        let mut bytes = seen.to_bytes();
        assert_eq!(Memory::parse(&bytes), Some(seen.clone()));
        bytes.extend_from_slice(b"of a longer one before");
        assert_eq!(Memory::parse(&bytes), Some(seen.clone()));
        bytes[HEAD_LEN + 20] ^= 1;
        assert_eq!(Memory::parse(&bytes), Some(Memory { marks: Marks::new(), ..seen }));
        bytes[3] ^= 1;
        assert_eq!(Memory::parse(&bytes), None);
    }

    #[test]
    fn a_history_that_lacks_what_was_seen_of_any_home_is_refused_though_it_is_longer() {
        let seen = memory(4, &[(1, 3), (2, 4)]);
        let check = |other: &Memory| seen.check(other.head, &other.marks, None).is_ok();
        assert!(check(&seen) && check(&memory(9, &[(1, 3), (2, 8), (3, 9)])));
        assert!(!check(&memory(3, &[(1, 3)])), "it ends before");
        assert!(!check(&memory(9, &[(1, 3), (3, 9)])), "without the second home");
        assert!(!check(&memory(9, &[(1, 2), (2, 9)])), "with less of the first");
        let mut other = memory(4, &[(1, 3), (2, 4)]);
        other.head.hash = Digest([8; 32]);
        assert!(!check(&other), "another commit of that number");
    }
}
