//! Names in the folder: listed, and made durable before anybody builds on what they name.

use std::io;
use std::path::Path;

use strongroom_host::disk::OpenMode;

use super::FolderStore;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Family, Key};
use crate::{LIST_COUNT_MAX, Listed, require_same_family};

impl FolderStore {
    pub(super) fn sync_folder(&self, folder: &Path) -> Result<()> {
        let synced = self.disk.sync_folder(folder);
        let mut unsure = self.unsure.lock();
        if synced.is_ok() {
            unsure.remove(folder);
        } else {
            unsure.insert(folder.to_path_buf());
        }
        synced.map_err(|cause| Error::io("a folder of the store cannot be made durable", cause))
    }

    /// Makes names durable that a process before may have left unsure, where devices remember how far they have read.
    pub(super) fn sync_names(&self) -> Result<()> {
        for family in [Family::Organisation, Family::Log] {
            let folder = self.root.join(family.folder());
            match self.sync_folder(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.unsure.lock().remove(&folder);
                }
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Makes a name durable that may be lost, before anybody builds on what it names.
    pub(super) fn be_sure_of(&self, key: Key) -> Result<()> {
        if self.unsure.lock().is_empty() {
            return Ok(());
        }
        let folder = self.folder_of(key);
        let is_unsure = self.unsure.lock().contains(&folder);
        if is_unsure { self.sync_folder(&folder) } else { Ok(()) }
    }

    /// Whether something has the name of a key, as far as the disk tells.
    pub(super) fn is_listed(&self, key: Key) -> bool {
        let (folder, path) = (self.folder_of(key), self.path(key));
        let entries = self.disk.list(&folder);
        entries.is_ok_and(|all| all.into_iter().any(|entry| folder.join(entry.name) == path))
    }

    /// Makes sure that the store is where it was before anything is written there or said to be gone. A disk that is taken out
    /// leaves nothing, or the empty folder where it was mounted: another disk would take what is written, and nobody find it.
    pub(super) fn need_place(&self) -> Result<()> {
        let Err(cause) = self.disk.open(&self.path(Key::Workspace), OpenMode::Read) else {
            return Ok(());
        };
        // One that is only just being made.
        let entries = self.disk.list(&self.root).unwrap_or_default();
        let is_there = |family: &Family| entries.iter().any(|entry| entry.name == family.folder());
        if Family::ALL.iter().all(is_there) {
            return Ok(());
        }
        let text = match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                "nothing of the store is in its folder: is its disk mounted?"
            }
            _ => return Err(Error::io("the store's folder cannot be looked at", cause)),
        };
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    pub(super) fn names(&self, family: Family, after: Option<Key>) -> Result<Vec<Listed>> {
        require_same_family(family, after)?;
        match (family, after) {
            (Family::Object, after) => self.object_names(after),
            (_, after) => {
                let mut found = Vec::new();
                self.page(family.folder(), after, &mut found)?;
                Ok(found)
            }
        }
    }

    pub(super) fn object_names(&self, after: Option<Key>) -> Result<Vec<Listed>> {
        let first = match after {
            Some(Key::Object(id)) => id.0[0],
            _ => 0,
        };
        let mut found = Vec::new();
        for prefix in first..=u8::MAX {
            self.page(&format!("object/{prefix:02x}"), after, &mut found)?;
            if found.len() >= LIST_COUNT_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Adds the keys of one folder that come after `after`, until the page is full.
    pub(super) fn page(
        &self,
        folder: &str,
        after: Option<Key>,
        found: &mut Vec<Listed>,
    ) -> Result<()> {
        let mut name = after
            .map(Key::path)
            .and_then(|path| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned));
        while found.len() < LIST_COUNT_MAX {
            let wanted = LIST_COUNT_MAX - found.len();
            let entries =
                match self.disk.list_page(&self.root.join(folder), name.as_deref(), wanted) {
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
                    result => {
                        result.map_err(|cause| Error::io("the store cannot be listed", cause))?
                    }
                };
            let Some(last) = entries.last() else { return Ok(()) };
            name = Some(last.name.clone());
            let is_last = entries.len() < wanted;
            // Names that are no keys are not ours: left alone and not shown.
            found.extend(entries.iter().filter(|entry| !entry.is_folder).filter_map(|entry| {
                let key = Key::parse(&format!("{folder}/{}", entry.name))?;
                Some(Listed { key, len: entry.len })
            }));
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }
}
