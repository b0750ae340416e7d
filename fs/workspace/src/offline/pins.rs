//! Pins: files and folders whose bytes are kept on this device. Each home has its own; they are inode numbers in a file of
//! the local state, so a name that moves stays pinned. Who saves anew in place of a pinned file is in `successors`.
//!
//! A pin returns when everything is here. After that a thread of its own brings in what changed or was lost; what does not fit then,
//! or cannot be fetched, is told in `status` and tried again. Nobody else waits for either. LIMIT: [`PINS_MAX`] pins, and the store's own limit in
//! bytes (`Store::hold`).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use strongroom_format::ids::Ino;
use strongroom_host::disk::{read_all, replace_file};
use strongroom_store::Key as StoreKey;

use super::gather::{Ranges, path_of};
use crate::error::{Error, ErrorKind, Result};
use crate::history::versions::find_path;
use crate::ino_list;
use crate::later::wait;
use crate::outbound::background::Setback;
use crate::workspace::{Inner, Mode, Workspace};

/// Name of the file with the pins in the folder of the local state.
pub const PINS_FILE: &str = "pins";
/// LIMIT: pins of one home.
pub const PINS_MAX: usize = 10_000;

/// How much of what is pinned is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    All,
    /// But for what was still on its way to the store.
    NotStaged,
}

/// What commands ask for, and how it went in the background.
#[derive(Debug, Default)]
pub(crate) struct Pinning {
    /// What commands are about to pin. One that is unpinned meanwhile is taken away here.
    asked: Vec<Ino>,
    /// Times that a pin was taken away.
    ended_count: u64,
    /// Objects that were held when all that is pinned was here.
    held_count: usize,
    setback: Setback,
}

impl Pinning {
    /// Why something that is pinned is not here, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.setback.trouble()
    }

    /// What commands are about to pin.
    pub(super) fn asked(&self) -> impl Iterator<Item = Ino> {
        self.asked.iter().copied()
    }

    fn take_back(&mut self, ino: Ino) -> bool {
        let index = self.asked.iter().position(|other| *other == ino);
        index.map(|index| self.asked.swap_remove(index)).is_some()
    }
}

impl Workspace {
    /// Fetches a file, or all files of a folder, and keeps them on this device, also what they become. Returns when they
    /// are here.
    ///
    /// # Errors
    /// `NotFound`; `Full` when they do not fit, and nothing is pinned then; `Busy` when they are unpinned meanwhile, or the
    /// workspace ends; `Unsupported` where this device keeps no copies; those of the store.
    pub fn pin(&self, path: &[u8]) -> Result<()> {
        let inner = &self.0;
        inner.writable()?;
        // What is on its way to the store is in no object that could be held.
        inner.commit(crate::outbound::commit::Reason::Asked)?;
        let ino = inner.find(path)?;
        inner.pinning.lock().asked.push(ino);
        let _one = inner.holding.lock();
        let held = inner.hold_another(ino);
        let went = {
            let mut pinning = inner.pinning.lock();
            let still_asked = pinning.take_back(ino);
            held.and_then(|()| match still_asked {
                true => {
                    pinning.setback = Setback::default();
                    inner.change_pins(|pins| pins.insert(ino)).map(drop)
                }
                false => Err(ended()),
            })
        };
        if went.is_err() {
            inner.let_go_of_unpinned();
        }
        went
    }

    /// Ends a pin, also one that is being made. Copies go when others need the room.
    ///
    /// # Errors
    /// `NotFound` if it is not pinned itself.
    pub fn unpin(&self, path: &[u8]) -> Result<()> {
        let inner = &self.0;
        inner.writable()?;
        let ino = inner.find(path)?;
        if !inner.pins()?.contains(&ino) {
            // It may have come in place of one that is.
            inner.follow_pins()?;
        }
        {
            let mut pinning = inner.pinning.lock();
            let was_asked = pinning.take_back(ino);
            if !inner.change_pins(|pins| pins.remove(&ino))? && !was_asked {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "this is not pinned; a folder above it may be",
                ));
            }
            pinning.ended_count += 1;
            pinning.setback = Setback::default();
        }
        match inner.holding.try_lock() {
            Some(_one) => inner.let_go_of_unpinned(),
            // Who fetches at this moment needs some of it, perhaps.
            None => inner.pinned_at.store(u64::MAX, Ordering::Release),
        }
        Ok(())
    }

    /// Drops the copies of a file, or of all files of a folder, that this device keeps. What is pinned, or not yet in the
    /// store, stays.
    ///
    /// # Errors
    /// `NotFound`; those of the store.
    pub fn free(&self, path: &[u8]) -> Result<()> {
        let inner = &self.0;
        let ino = inner.find(path)?;
        for object in inner.gather_blocks(&[ino])? {
            if inner.staging.find(object).is_none() {
                inner.store.drop_copy(StoreKey::Object(object));
            }
        }
        Ok(())
    }

    /// Paths that are pinned on this device.
    ///
    /// # Errors
    /// Those of the local disk and of the store.
    pub fn pins(&self) -> Result<Vec<Vec<u8>>> {
        let inner = &self.0;
        let map = inner.state.lock().map.snapshot();
        let mut paths = Vec::new();
        for ino in inner.pins()? {
            paths.extend(path_of(&map, ino)?);
        }
        Ok(paths)
    }
}

impl Inner {
    fn find(&self, path: &[u8]) -> Result<Ino> {
        let found = self.look_unlocked(|state| find_path(&state.map, &state.names, path))?;
        let missing = || Error::new(ErrorKind::NotFound, "there is nothing of this name");
        found.map(|(ino, _)| ino).ok_or_else(missing)
    }

    pub(super) fn pins(&self) -> Result<BTreeSet<Ino>> {
        let path = self.options.state_folder.join(PINS_FILE);
        match read_all(&*self.services.disk, &path) {
            // One that does not check is as good as none: what was pinned is fetched when it is read.
            Ok(bytes) => Ok(ino_list::parse(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes what is pinned; false if there was nothing to change. Only with `pinning` held.
    pub(super) fn change_pins(
        &self,
        change: impl FnOnce(&mut BTreeSet<Ino>) -> bool,
    ) -> Result<bool> {
        let mut pins = self.pins()?;
        let changed = change(&mut pins);
        if changed {
            let path = self.options.state_folder.join(PINS_FILE);
            replace_file(&*self.services.disk, &path, &ino_list::bytes_of(&pins))?;
        }
        Ok(changed)
    }

    /// Fetches what one more pin needs, until that is asked for no more.
    fn hold_another(&self, ino: Ino) -> Result<()> {
        self.follow_pins()?;
        let mut pins = self.pins()?;
        pins.insert(ino);
        if pins.len() > PINS_MAX {
            return Err(Error::new(ErrorKind::Full, "there are 10,000 pins"));
        }
        self.hold_all(&pins, &|| self.pinning.lock().asked.contains(&ino)).map(drop)
    }

    fn gather_all(&self, pins: &BTreeSet<Ino>) -> Result<Ranges> {
        let inos: Vec<Ino> = pins.iter().copied().collect();
        match inos.is_empty() {
            true => Ok(Ranges::new()),
            false => self.gather(&inos),
        }
    }

    /// Lets go of what no pin needs. Only with `holding` held.
    fn let_go_of_unpinned(&self) {
        match self.pins().and_then(|pins| self.gather_all(&pins)) {
            Ok(wanted) => self.let_go_of_others(&wanted),
            // The next round does it, when the store can be asked for pages.
            Err(_) => self.pinned_at.store(u64::MAX, Ordering::Release),
        }
    }

    fn let_go_of_others(&self, wanted: &Ranges) {
        for key in self.store.held() {
            if let StoreKey::Object(object) = key
                && !wanted.contains_key(&object)
            {
                self.store.let_go(key);
            }
        }
    }

    /// Lets go of what pins do not need, and fetches what is missing of them, until somebody says no more. What is on its way to
    /// the store is held by a later round.
    fn hold_all(&self, pins: &BTreeSet<Ino>, goes_on: &dyn Fn() -> bool) -> Result<Held> {
        let wanted = self.gather_all(pins)?;
        self.let_go_of_others(&wanted);
        let mut held = Held::All;
        for (object, ranges) in wanted {
            if self.staging.find(object).is_some() {
                held = Held::NotStaged;
                continue;
            }
            for range in ranges {
                if self.is_ending() || !goes_on() {
                    return Err(ended());
                }
                let key = StoreKey::Object(object);
                wait(async { Ok(self.store.hold(key, range).await?) })?;
            }
        }
        self.pinning.lock().held_count = self.store.held().len();
        Ok(held)
    }

    /// Brings in what changed of what is pinned, if anything did. Gives way to commands, and what it meets is told in the
    /// status and tried again, later each time.
    pub(crate) fn renew_pins(&self) {
        let (now, head) = (self.services.clock.elapsed(), self.state.lock().head.seq);
        if self.options.mode == Mode::ReadOnly || self.pinning.lock().setback.waits(now) {
            return;
        }
        let Some(_one) = self.holding.try_lock() else { return };
        let ended_count = {
            let pinning = self.pinning.lock();
            // A copy that does not verify, or whose file somebody removed, is held no more.
            let is_lost = pinning.held_count > 0 && self.store.held().len() < pinning.held_count;
            if !pinning.asked.is_empty() {
                return;
            }
            let is_new = self.pinned_at.swap(head, Ordering::AcqRel) != head;
            if !is_new && !is_lost {
                return;
            }
            pinning.ended_count
        };
        let goes_on = || {
            let pinning = self.pinning.lock();
            pinning.asked.is_empty() && pinning.ended_count == ended_count
        };
        let went = self.follow_pins().and_then(|()| self.hold_all(&self.pins()?, &goes_on));
        if !matches!(went, Ok(Held::All)) {
            self.pinned_at.store(u64::MAX, Ordering::Release);
        }
        let went = went.map(drop);
        // What somebody ended is no failure.
        let went = if goes_on() && !self.is_ending() { went } else { Ok(()) };
        self.pinning.lock().setback.note(self.services.clock.elapsed(), went);
    }
}

/// The error of who is told to fetch no more.
fn ended() -> Error {
    Error::new(ErrorKind::Busy, "it was unpinned, or unmounted, before all of it was here")
}
