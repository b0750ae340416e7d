//! Where this home has opened a workspace before, it mounts it also while the store cannot be reached, from what it keeps.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_format::workspace::WorkspaceFile;
use strongroom_host::disk::{create_folder_durably, replace_file};
use strongroom_host::real_disk::RealDisk;
use strongroom_store::{Binder, Key, Mode, Store, wait};

use super::stores;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// Name of the file in the local state that says where the workspace is.
const FILE: &str = "place";
/// Name of the folder with copies of what opening reads, below that with copies of objects.
const FOLDER: &str = "binder";

/// A store, and copies of what opening reads if it is far away.
pub(super) struct Bound {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    binder: Option<Arc<Binder>>,
    /// Why the store cannot be reached, if it cannot: copies answer.
    away: Option<Failure>,
}

impl Bound {
    /// Opens a store; in its place copies, if it cannot be reached and they are here.
    ///
    /// # Errors
    /// As opening the store.
    pub(super) fn open(home: &Home, place: &Place, mode: Mode) -> Result<Self> {
        match stores::open(place, mode) {
            Ok(store) => Ok(Self::there(home, place, store)),
            Err(away) if away.exit == Exit::Unreachable => Self::apart(home, place, mode, away),
            Err(failure) => Err(failure),
        }
    }

    /// Without copies, where they cannot be kept.
    fn there(home: &Home, place: &Place, store: Arc<dyn Store>) -> Self {
        let binder = match place {
            Place::Remote(_) => workspace_of(&*store).and_then(|id| bind(home, &store, &id)),
            Place::Folder(_) | Place::Mirror(_) => None,
        };
        if let Some(binder) = &binder {
            binder.ask_ahead();
        }
        let bound = binder.clone().map(|binder| binder as Arc<dyn Store>);
        Self { store: bound.unwrap_or(store), binder, away: None }
    }

    fn apart(home: &Home, place: &Place, mode: Mode, away: Failure) -> Result<Self> {
        let known = find(home, place);
        let Some((id, store)) = known.zip(stores::open_later(place, mode)) else {
            return Err(away);
        };
        let Some(binder) = bind(home, &store, &id) else { return Err(away) };
        binder.rely_on_copies();
        Ok(Self { store: binder.clone(), binder: Some(binder), away: Some(away) })
    }

    /// Whether copies answer.
    pub(super) fn is_apart(&self) -> bool {
        self.away.is_some()
    }

    /// What takes long and needs no store is done.
    pub(super) fn note_unlocked(&self) {
        if let Some(binder) = self.binder.as_ref().filter(|_| !self.is_apart()) {
            binder.ask_ends();
        }
    }

    /// From here on the store is asked again.
    pub(super) fn end_opening(&self) {
        if let Some(binder) = &self.binder {
            binder.end_ahead();
            binder.rely_on_store();
        }
    }

    /// What to say when opening failed: that the store cannot be reached, if copies do not suffice.
    pub(super) fn failure(self, failure: Failure) -> Failure {
        match (self.away, failure.exit) {
            (None, _) | (_, Exit::Locked | Exit::Failed | Exit::Denied) => failure,
            (Some(away), _) => Failure::new(
                Exit::Unreachable,
                format!("{}; what this device keeps does not suffice without it", away.message),
            )
            .hint("mount it once while the store can be reached"),
        }
    }
}

fn bind(home: &Home, store: &Arc<dyn Store>, id: &str) -> Option<Arc<Binder>> {
    let folder = home.directories().cache.join(id).join(FOLDER);
    Binder::open(store.clone(), Arc::new(RealDisk), folder).ok().map(Arc::new)
}

fn workspace_of(store: &dyn Store) -> Option<String> {
    let bytes = wait(store.get(Key::Workspace, None)).ok()?;
    WorkspaceFile::parse(&bytes).ok().map(|file| file.workspace.to_string())
}

/// Notes where a workspace is.
///
/// # Errors
/// Local state cannot be written.
pub(super) fn note(home: &Home, place: &Place, workspace: &str) -> Result<()> {
    let failed = |error| Failure::io("writing local state", &error);
    let folder = home.directories().state.join(workspace);
    create_folder_durably(&RealDisk, &folder).map_err(failed)?;
    let text = format!("{}\n", place.shown());
    replace_file(&RealDisk, &folder.join(FILE), text.as_bytes()).map_err(failed)
}

/// The workspace that was opened here from a place; the last one, if there were several.
pub(super) fn find(home: &Home, place: &Place) -> Option<String> {
    let shown = place.shown();
    let notes = fs::read_dir(&home.directories().state).ok()?.flatten().filter_map(|entry| {
        let note: PathBuf = entry.path().join(FILE);
        let is_it = fs::read_to_string(&note).is_ok_and(|text| text.trim_end() == shown);
        let noted = is_it.then(|| fs::metadata(&note).and_then(|found| found.modified()).ok());
        Some((noted??, entry.file_name().into_string().ok()?))
    });
    notes.max().map(|(_, workspace)| workspace)
}
