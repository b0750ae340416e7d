//! Pins: files and folders whose bytes are kept on this device. Each home has its own; they are inode numbers in a file of
//! the local state, so a name that moves stays pinned.
//!
//! A pin returns when everything is here. After that the background work brings in what changed; what does not fit then,
//! or cannot be fetched, is counted in `status` and tried again. LIMIT: [`PINS_MAX`] pins, and the store's own limit in
//! bytes (`Store::hold`).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use strongroom_format::ids::Ino;
use strongroom_host::disk::{read_all, replace_file};
use strongroom_store::Key as StoreKey;

use super::gather::path_of;
use crate::error::{Error, ErrorKind, Result};
use crate::history::versions::find_path;
use crate::ino_list;
use crate::later::wait;
use crate::workspace::{Inner, Mode, Workspace};

/// Name of the file with the pins in the folder of the local state.
pub const PINS_FILE: &str = "pins";
/// LIMIT: pins of one home.
pub const PINS_MAX: usize = 10_000;

impl Workspace {
    /// Fetches a file, or all files of a folder, and keeps them on this device, also what they become. Returns when they
    /// are here.
    ///
    /// # Errors
    /// `NotFound`; `Full` when they do not fit, and nothing is pinned then; `Unsupported` where this device keeps no
    /// copies; those of the store.
    pub fn pin(&self, path: &[u8]) -> Result<()> {
        let inner = &self.0;
        inner.writable()?;
        // What is on its way to the store is in no object that could be held.
        inner.commit(crate::outbound::commit::Reason::Asked)?;
        let ino = inner.find(path)?;
        let _one = inner.pinning.lock();
        let before = inner.pins()?;
        let mut after = before.clone();
        after.insert(ino);
        if after.len() > PINS_MAX {
            return Err(Error::new(ErrorKind::Full, "there are 10,000 pins"));
        }
        match inner.hold_all(&after) {
            Ok(()) => inner.write_pins(&after),
            Err(error) => {
                // What the others need is here already.
                let _ = inner.hold_all(&before);
                Err(error)
            }
        }
    }

    /// Ends a pin. Copies go when others need the room.
    ///
    /// # Errors
    /// `NotFound` if it is not pinned itself.
    pub fn unpin(&self, path: &[u8]) -> Result<()> {
        let inner = &self.0;
        inner.writable()?;
        let ino = inner.find(path)?;
        let _one = inner.pinning.lock();
        let mut pins = inner.pins()?;
        if !pins.remove(&ino) {
            return Err(Error::new(
                ErrorKind::NotFound,
                "this is not pinned; a folder above it may be",
            ));
        }
        inner.write_pins(&pins)?;
        inner.hold_all(&pins)
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

    fn pins(&self) -> Result<BTreeSet<Ino>> {
        let path = self.options.state_folder.join(PINS_FILE);
        match read_all(&*self.services.disk, &path) {
            // One that does not check is as good as none: what was pinned is fetched when it is read.
            Ok(bytes) => Ok(ino_list::parse(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_pins(&self, pins: &BTreeSet<Ino>) -> Result<()> {
        let path = self.options.state_folder.join(PINS_FILE);
        Ok(replace_file(&*self.services.disk, &path, &ino_list::bytes_of(pins))?)
    }

    /// Fetches what is missing of the pins, and lets go of what they do not need.
    fn hold_all(&self, pins: &BTreeSet<Ino>) -> Result<()> {
        let inos: Vec<Ino> = pins.iter().copied().collect();
        let wanted = match inos.is_empty() {
            true => Default::default(),
            false => self.gather(&inos)?,
        };
        for key in self.store.held() {
            if let StoreKey::Object(object) = key
                && !wanted.contains_key(&object)
            {
                self.store.let_go(key);
            }
        }
        for (object, ranges) in wanted {
            if self.staging.find(object).is_some() {
                continue;
            }
            for range in ranges {
                let key = StoreKey::Object(object);
                wait(async { Ok(self.store.hold(key, range).await?) })?;
            }
        }
        Ok(())
    }

    /// Brings in what changed of what is pinned, if anything did.
    pub(crate) fn renew_pins(&self) {
        let head = self.state.lock().head.seq;
        if self.options.mode == Mode::ReadOnly
            || self.pinned_at.swap(head, Ordering::AcqRel) == head
        {
            return;
        }
        let _one = self.pinning.lock();
        let held = match self.pins() {
            Ok(pins) if pins.is_empty() => Ok(()),
            Ok(pins) => self.hold_all(&pins),
            Err(error) => Err(error),
        };
        if held.is_err() {
            // Tried again with the next round.
            self.pinned_at.store(u64::MAX, Ordering::Release);
        }
    }
}
