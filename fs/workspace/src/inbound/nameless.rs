//! Files that were removed while they were open. Others mount meanwhile: what is without a name belongs to the home where it
//! lost the last one, and only that home knows when nobody there has it open any more. So each home keeps a list of its
//! own, and ends them when it opens again. What a home leaves that never opens again goes when nothing has changed in it for
//! `UNNAMED_GRACE`.
//!
//! ```text
//! 0      inode numbers, u64 each
//!        BLAKE3-256 of all before
//! ```
//!
//! ORDER: the list is durable before the journal lets go of the records that say the same.

use std::collections::BTreeSet;
use std::path::PathBuf;

use strongroom_format::ids::Ino;
use strongroom_host::disk::{read_all, replace_file};

use crate::error::Result;
use crate::ino_list;
use crate::ops::remove::purge_if_orphan;
use crate::outbound::commit::Outbound;
use crate::workspace::Inner;

/// Name of the file in the folder of the local state.
pub const NAMELESS_FILE: &str = "nameless";

impl Inner {
    /// Ends the orphans that this home left, and those that nobody came back for.
    pub(super) fn purge_orphans(&self) -> Result<()> {
        let (own, is_alone) = {
            let mut outbound = self.outbound.lock();
            outbound.nameless = self.listed_nameless();
            // One that begins now has no slot yet.
            let is_alone = !outbound.is_shared() && self.own_slot(&outbound).is_some();
            (outbound.nameless.clone(), is_alone)
        };
        let mut state = self.state.lock();
        let orphans = self.waiting(&mut state, |state| state.orphans())?;
        let (now, wall) = (self.services.clock.elapsed(), self.services.clock.now_ns());
        let grace = i64::try_from(self.options.tuning.unnamed_grace.as_nanos()).unwrap_or(i64::MAX);
        let count_max = self.options.tuning.extents_per_removal;
        for ino in orphans {
            let inode = self.waiting(&mut state, |state| state.find_inode(ino))?;
            let is_old = inode.is_some_and(|inode| wall.saturating_sub(inode.ctime) >= grace);
            let is_own = is_alone || own.contains(&ino) || state.nameless.contains(&ino);
            if !is_own && !is_old {
                continue;
            }
            // It may have to go piece by piece.
            state.nameless.insert(ino);
            let journal = self.journal()?;
            self.waiting(&mut state, |state| {
                purge_if_orphan(state, journal, now, (ino, count_max))
            })?;
        }
        Ok(())
    }

    /// Writes the list down if it is another one.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(crate) fn list_nameless(&self, outbound: &mut Outbound) -> Result<()> {
        let nameless = self.state.lock().nameless.clone();
        if nameless != outbound.nameless {
            replace_file(
                &*self.services.disk,
                &self.nameless_path(),
                &ino_list::bytes_of(&nameless),
            )?;
            outbound.nameless = nameless;
        }
        Ok(())
    }

    fn listed_nameless(&self) -> BTreeSet<Ino> {
        let bytes = read_all(&*self.services.disk, &self.nameless_path());
        bytes.ok().and_then(|bytes| ino_list::parse(&bytes)).unwrap_or_default()
    }

    fn nameless_path(&self) -> PathBuf {
        self.options.state_folder.join(NAMELESS_FILE)
    }
}
