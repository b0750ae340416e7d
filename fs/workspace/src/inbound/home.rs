//! One device may have several homes: places that keep local state of the same workspace. Each has an incarnation of
//! its own, a random number, so that what a commit says of the journal of one home is not believed of another's.
//!
//! The journal's files carry the incarnation; a home without a journal begins a new one. LIMIT: a copy of a home is no
//! home of its own. One home may have several devices, one after the other: each has folders of its own there.

use std::path::{Path, PathBuf};

use strongroom_format::checkpoint::{JOURNALS_MAX, JournalMark, WriterSlot};
use strongroom_format::ids::{DeviceId, Ino};
use strongroom_format::op::Op;
use strongroom_host::disk::Disk;
use strongroom_journal as journal;
use strongroom_keyring::DeviceKeys;
use strongroom_store::Key as StoreKey;

use super::apart::away;
use super::log::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::commit::{Outbound, Reason};
use crate::state::State;
use crate::workspace::{Inner, Mode, Options, Services};

const JOURNAL_FOLDER: &str = "journal";
const STAGED_FOLDER: &str = "staged";
const SENT_FILE: &str = "sent";

/// Where a device keeps what is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFolders {
    /// Its journal.
    pub journal: PathBuf,
    /// Its staged objects.
    pub staged: PathBuf,
    /// The list of those that no commit names yet, but went to the store.
    pub sent: PathBuf,
}

impl OwnFolders {
    /// Those of a device in a folder of local state. Another device of its organisation may have been here before it: what
    /// that one left is sealed with keys of its own, and stays where it is. What is of no such device is refused later.
    ///
    /// # Errors
    /// `Corrupt` if the newest file of a journal has no header; `Internal` if the disk refuses.
    pub fn find(disk: &dyn Disk, state_folder: &Path, keys: &DeviceKeys) -> Result<Self> {
        let (organisation, device) = (keys.organisation(), keys.device_id());
        let first = Self::named(state_folder, "");
        let apart = Self::named(state_folder, &format!(".{device}"));
        if journal::owner(disk, &apart.journal)?.is_some() {
            return Ok(apart);
        }
        let owner = journal::owner(disk, &first.journal)?;
        Ok(if owner.is_none_or(|(of, owner)| of != organisation || owner == device) {
            first
        } else {
            apart
        })
    }

    fn named(state_folder: &Path, ending: &str) -> Self {
        Self {
            journal: state_folder.join(format!("{JOURNAL_FOLDER}{ending}")),
            staged: state_folder.join(format!("{STAGED_FOLDER}{ending}")),
            sent: state_folder.join(format!("{SENT_FILE}{ending}")),
        }
    }
}

/// Folders of a device in this home, and the home's incarnation: a fresh one if it has none yet.
pub(super) fn own(
    options: &Options,
    services: &Services,
    keys: &DeviceKeys,
) -> Result<(OwnFolders, u64)> {
    if options.mode == Mode::ReadOnly {
        return Ok((OwnFolders::named(&options.state_folder, ""), 0));
    }
    let folders = OwnFolders::find(&*services.disk, &options.state_folder, keys)?;
    let fresh = || u64::from_le_bytes(services.entropy.array()).max(1);
    let known = journal::incarnation(&*services.disk, &folders.journal)?;
    Ok((folders, known.unwrap_or_else(fresh)))
}

impl Outbound {
    /// Takes note of how far a commit contains the journal of its author, whose first one gives it a writer slot.
    pub(crate) fn note_mark(&mut self, mark: JournalMark) {
        if self.slot_of(mark.device, mark.incarnation).is_none() {
            let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            let (device, incarnation) = (mark.device, mark.incarnation);
            let next = Ino::first_counter(slot);
            self.slots.push(WriterSlot { slot, device, next, incarnation });
        }
        self.marks.insert((mark.device, mark.incarnation), mark);
    }

    /// Takes note of a commit that was taken in: of its author, and of the inode numbers that it gives.
    pub(crate) fn note_commit(&mut self, commit: &Commit) {
        self.note_mark(JournalMark {
            device: commit.header.author,
            incarnation: commit.header.incarnation,
            counter: commit.header.counter,
            journal_upto: commit.body.head.journal_upto,
            seq: commit.head.seq,
        });
        for op in &commit.body.ops {
            let Op::Create { ino, .. } = op else { continue };
            // What was given without the store follows nothing.
            if ino.is_far() {
                continue;
            }
            self.note_given((ino.slot(), ino.counter() + 1));
        }
    }

    /// Whether other homes write too, or once did. What they may need then stays: commits, checkpoints, and what these
    /// name.
    pub(crate) fn is_shared(&self) -> bool {
        self.slots.len() > 1
    }

    /// Numbers of a slot are given up to here, one after the other.
    pub(crate) fn note_given(&mut self, (slot, next): (u32, u64)) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.next = slot.next.max(next);
        }
    }

    fn slot_of(&self, device: DeviceId, incarnation: u64) -> Option<WriterSlot> {
        let is_it = |slot: &&WriterSlot| (slot.device, slot.incarnation) == (device, incarnation);
        self.slots.iter().find(is_it).copied()
    }

    /// How far journals are contained, for a checkpoint. The home that was not used for longest is forgotten first.
    pub(crate) fn marks_to_keep(&self) -> Vec<JournalMark> {
        let mut marks: Vec<JournalMark> = self.marks.values().copied().collect();
        if marks.len() > JOURNALS_MAX {
            marks.sort_unstable_by_key(|mark| std::cmp::Reverse(mark.seq));
            marks.truncate(JOURNALS_MAX);
            marks.sort_unstable_by_key(|mark| (mark.device, mark.incarnation));
        }
        marks
    }

    pub(super) fn own_mark(&self, device: DeviceId, incarnation: u64) -> Option<&JournalMark> {
        self.marks.get(&(device, incarnation))
    }
}

impl Inner {
    /// Takes counter and journal number of this home from its mark.
    pub(super) fn find_own_mark(&self, outbound: &mut Outbound) {
        if let Some(mark) = outbound.own_mark(self.keys.device_id(), self.incarnation) {
            (outbound.counter, outbound.journal_upto) = (mark.counter, mark.journal_upto);
        }
    }

    /// The writer slot of this home, once a commit has given it.
    pub(crate) fn own_slot(&self, outbound: &Outbound) -> Option<WriterSlot> {
        outbound.slot_of(self.keys.device_id(), self.incarnation)
    }

    /// Makes sure that this home has a writer slot.
    ///
    /// # Errors
    /// What the commit met.
    pub(super) fn claim_slot(&self) -> Result<()> {
        if self.options.mode == Mode::ReadOnly {
            return Ok(());
        }
        self.commit_if_slotless()?;
        let outbound = self.outbound.lock();
        self.take_slot(&outbound, &mut self.state.lock());
        Ok(())
    }

    fn commit_if_slotless(&self) -> Result<()> {
        if self.own_slot(&self.outbound.lock()).is_some() {
            return Ok(());
        }
        if self.is_apart() {
            return Err(away());
        }
        let before = self.memory();
        self.commit(Reason::Claiming)?;
        let seq = self.state.lock().head.seq;
        if self.outbound.lock().checkpoint_seq >= seq || !self.is_freed(seq, 0)? {
            return Ok(());
        }
        // The only home there was went on and cut its log, so that the number seemed free.
        self.delete_stored(StoreKey::Log(seq))?;
        self.remember_again(before.as_ref())?;
        let message = "another home was busy just when this one began; try again";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Numbers inodes in the slot of this home from here on.
    pub(super) fn take_slot(&self, outbound: &Outbound, state: &mut State) {
        if let Some(slot) = self.own_slot(outbound) {
            state.numbers.take_slot(slot.slot, slot.next);
        }
        if self.began_apart {
            state.numbers.go_far(u64::from_le_bytes(self.services.entropy.array()));
        }
    }

    /// The commit that the first journal record which no commit holds was done on top of: this home's own last one. None
    /// if it has been forgotten.
    pub(super) fn own_last_seq(&self, outbound: &Outbound) -> Option<u64> {
        outbound.own_mark(self.keys.device_id(), self.incarnation).map(|mark| mark.seq)
    }
}
