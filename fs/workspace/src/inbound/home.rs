//! One device may have several homes: places that keep local state of the same workspace. Each has an incarnation of
//! its own, a random number, so that what a commit says of the journal of one home is not believed of another's.
//!
//! The journal's files carry the incarnation; a home without a journal begins a new one. LIMIT: a copy of a home is no
//! home of its own.

use strongroom_format::checkpoint::{JOURNALS_MAX, JournalMark};
use strongroom_format::ids::DeviceId;
use strongroom_journal as journal;

use crate::error::{Error, ErrorKind, Result};
use crate::outbound::commit::Outbound;
use crate::workspace::{Inner, Mode, Options, Services};

/// Name of the folder with the journal in the folder of the local state.
pub const JOURNAL_FOLDER: &str = "journal";

/// Incarnation of the home with this local state; a fresh one if it has none yet.
pub(super) fn incarnation(options: &Options, services: &Services) -> Result<u64> {
    if options.mode == Mode::ReadOnly {
        return Ok(0);
    }
    let folder = options.state_folder.join(JOURNAL_FOLDER);
    let fresh = || u64::from_le_bytes(services.entropy.array()).max(1);
    Ok(journal::incarnation(&*services.disk, &folder)?.unwrap_or_else(fresh))
}

impl Outbound {
    /// Takes note of how far a commit contains the journal of its author.
    pub(crate) fn note_mark(&mut self, mark: JournalMark) {
        self.marks.insert((mark.device, mark.incarnation), mark);
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

    fn own_mark(&self, device: DeviceId, incarnation: u64) -> Option<&JournalMark> {
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

    /// The newest commit that this home's journal can build on: what it remembers, or its own last one.
    pub(super) fn base_seq(&self, remembered_seq: Option<u64>) -> u64 {
        let outbound = self.outbound.lock();
        let own = outbound.own_mark(self.keys.device_id(), self.incarnation);
        remembered_seq.max(own.map(|mark| mark.seq)).unwrap_or(0)
    }

    /// Fails if what this home's journal holds was done without knowing what others have committed since.
    ///
    /// # Errors
    /// `Conflict`; the journal keeps everything.
    pub(super) fn check_unmoved(&self, base_seq: u64) -> Result<()> {
        let outbound = self.outbound.lock();
        let own = (self.keys.device_id(), self.incarnation);
        let moved = outbound.marks.iter().any(|(home, mark)| *home != own && mark.seq > base_seq);
        let forgotten = outbound.marks.len() >= JOURNALS_MAX && !outbound.marks.contains_key(&own);
        if !moved && !forgotten {
            return Ok(());
        }
        let message = format!(
            "changes made here on top of commit {base_seq} were never committed, and another home has committed since; \
             they are kept in the local state and not applied"
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }
}
