//! Files that were removed while they were open. Others mount meanwhile: what is without a name belongs to the home where it
//! lost the last one, and only that home knows when nobody there has it open any more. So each home keeps a list of its
//! own, and ends them when it opens again. What a home leaves that never opens again goes when nothing has changed in it for
//! `UNNAMED_GRACE`, by the clock of who changed it, and another one has known it for as long, by its own: one of the two may be wrong.
//!
//! ```text
//! nameless   inode numbers, u64 each
//!            BLAKE3-256 of all before
//! unclaimed  inode number, u64, and when it was first seen here, i64, nanoseconds since 1970; each
//!            BLAKE3-256 of all before
//! ```
//!
//! ORDER: an inode is in the list before the commit is put that takes its last name, and until one is that ends it: what a commit covers
//! is not replayed from the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use strongroom_format::ids::Ino;
use strongroom_format::key::{Key, Subject};
use strongroom_host::disk::{read_all, replace_file};

use crate::error::Result;
use crate::ino_list;
use crate::ops::remove::purge_if_orphan;
use crate::outbound::commit::Outbound;
use crate::state::State;
use crate::tree::map::{Map, subject};
use crate::tree::pages::patiently;
use crate::workspace::Inner;

/// Name of the file in the folder of the local state.
pub const NAMELESS_FILE: &str = "nameless";
/// Name of the file with those of other homes.
const UNCLAIMED_FILE: &str = "unclaimed";

impl Inner {
    /// Ends the orphans that this home left, and those that nobody came back for.
    pub(super) fn purge_orphans(&self) -> Result<()> {
        let (own, is_alone) = {
            let outbound = self.outbound.lock();
            // One that begins now has no slot yet.
            let is_alone = !outbound.is_shared() && self.own_slot(&outbound).is_some();
            (outbound.nameless.clone(), is_alone)
        };
        let mut state = self.state.lock();
        let orphans = self.waiting(&mut state, |state| state.orphans())?;
        let is_own = |state: &State, ino: &Ino| {
            is_alone || own.contains(ino) || state.nameless.contains(ino)
        };
        let others = orphans.iter().copied().filter(|ino| !is_own(&state, ino));
        let since = self.note_unclaimed(others.collect())?;
        let (now, wall) = (self.services.clock.elapsed(), self.services.clock.now_ns());
        let grace = i64::try_from(self.options.tuning.unnamed_grace.as_nanos()).unwrap_or(i64::MAX);
        let count_max = self.options.tuning.extents_per_removal;
        for ino in orphans {
            let inode = self.waiting(&mut state, |state| state.find_inode(ino))?;
            let is_old = |time: i64| wall.saturating_sub(time) >= grace;
            let is_left = since.get(&ino).is_some_and(|since| is_old(*since))
                && inode.is_some_and(|inode| is_old(inode.ctime));
            if !is_own(&state, &ino) && !is_left {
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

    /// Since when orphans of other homes are known here. Costs nothing where there are none.
    fn note_unclaimed(&self, inos: BTreeSet<Ino>) -> Result<BTreeMap<Ino, i64>> {
        if inos.is_empty() {
            return Ok(BTreeMap::new());
        }
        let path = self.options.state_folder.join(UNCLAIMED_FILE);
        let bytes = read_all(&*self.services.disk, &path).ok();
        let before = bytes.and_then(|bytes| ino_list::parse_times(&bytes)).unwrap_or_default();
        let now = self.services.clock.now_ns();
        let since = |ino: Ino| (ino, before.get(&ino).copied().unwrap_or(now).min(now));
        let after: BTreeMap<Ino, i64> = inos.into_iter().map(since).collect();
        if after != before {
            replace_file(&*self.services.disk, &path, &ino_list::bytes_of_times(&after))?;
        }
        Ok(after)
    }

    /// Takes the list from the local disk.
    pub(super) fn load_nameless(&self) {
        let bytes = read_all(&*self.services.disk, &self.nameless_path());
        let listed = bytes.ok().and_then(|bytes| ino_list::parse(&bytes)).unwrap_or_default();
        self.outbound.lock().nameless = listed;
    }

    /// Lists what lost its last name here since, before a commit says so.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(crate) fn list_nameless(&self, outbound: &mut Outbound) -> Result<()> {
        let mut listed = outbound.nameless.clone();
        {
            let state = self.state.lock();
            listed.extend(&state.nameless);
            // Also what is gone since, if it is not gone by this commit.
            let (from, to) = Key::orphans();
            let orphans = state.map.settling.range(from..to).filter(|(_, value)| value.is_some());
            listed.extend(orphans.filter_map(|(key, _)| match subject(key) {
                Subject::Orphan(ino) => Some(ino),
                _ => None,
            }));
        }
        self.write_nameless(outbound, listed)
    }

    /// Strikes out what is an orphan neither here nor by what is committed.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(crate) fn strike_nameless(&self, outbound: &mut Outbound) -> Result<()> {
        if outbound.nameless.is_empty() {
            return Ok(());
        }
        let (here, committed) = {
            let state = self.state.lock();
            (state.nameless.clone(), state.map.committed())
        };
        let stays = |ino: &Ino| here.contains(ino) || is_orphan(&committed, *ino);
        let listed = outbound.nameless.iter().copied().filter(stays).collect();
        self.write_nameless(outbound, listed)
    }

    fn write_nameless(&self, outbound: &mut Outbound, listed: BTreeSet<Ino>) -> Result<()> {
        if listed != outbound.nameless {
            let bytes = ino_list::bytes_of(&listed);
            replace_file(&*self.services.disk, &self.nameless_path(), &bytes)?;
            outbound.nameless = listed;
        }
        Ok(())
    }

    fn nameless_path(&self) -> PathBuf {
        self.options.state_folder.join(NAMELESS_FILE)
    }
}

/// Whether an inode is an orphan, or may be one because the map cannot be read.
pub(super) fn is_orphan(map: &Map, ino: Ino) -> bool {
    patiently(|| map.get(&Key::orphan(ino))).map_or(true, |value| value.is_some())
}
