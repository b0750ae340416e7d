//! Files that were put in place of pinned ones, as editors do that save under another name first: the pin goes over to them.
//!
//! For that, a file of the local state says beside each pinned file where it has its name: the folder's number and the place there,
//! which a keyed hash tells. No name is on the disk. LIMIT: who moves the old file out of the way takes the pin along with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_format::ids::Ino;
use strongroom_format::inode::{Entry, Kind};
use strongroom_format::key::{Cookie, Key};
use strongroom_host::disk::{read_all, replace_file};

use crate::error::{Error, ErrorKind, Result};
use crate::ino_list;
use crate::tree::map::{Map, Value};
use crate::tree::pages::patiently;
use crate::tree::places::place_of;
use crate::tree::rules::NameHash;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// Name of the file in the folder of the local state.
const PLACES_FILE: &str = "pins.places";

/// A folder, and where in it something has its name.
type Place = (Ino, Cookie);

/// What became of pinned files.
#[derive(Default)]
struct Fates {
    places: BTreeMap<Ino, Place>,
    /// Those that have no name any more, and what has it now.
    replaced: Vec<(Ino, Ino)>,
    gone: BTreeSet<Ino>,
}

impl Inner {
    /// Pins what was put in place of pinned files, and takes pins of what is gone away. What is gone here only may come back when
    /// others' commits are taken in.
    pub(super) fn follow_pins(&self) -> Result<()> {
        if self.is_apart() {
            // Copies may be of before what was pinned came.
            return Ok(());
        }
        let mut pins = self.pins()?;
        pins.extend(self.pinning.lock().asked());
        let before = self.pin_places()?;
        let fates = self.fates_of(&pins, &before)?;
        let _one = self.pinning.lock();
        if !(fates.replaced.is_empty() && fates.gone.is_empty()) {
            self.change_pins(|pins| {
                let before = pins.clone();
                // Not of what was unpinned meanwhile.
                let replaced = fates.replaced.iter().filter(|(ino, _)| before.contains(ino));
                pins.extend(replaced.map(|(_, next)| *next));
                pins.retain(|ino| !fates.gone.contains(ino));
                *pins != before
            })?;
        }
        if fates.places != before {
            // ORDER: behind the pins. What was replaced has no place any more, and nobody would know what came in place of it.
            let path = self.options.state_folder.join(PLACES_FILE);
            let bytes = ino_list::bytes_of_places(&fates.places);
            replace_file(&*self.services.disk, &path, &bytes)?;
        }
        Ok(())
    }

    fn pin_places(&self) -> Result<BTreeMap<Ino, Place>> {
        let path = self.options.state_folder.join(PLACES_FILE);
        match read_all(&*self.services.disk, &path) {
            // One that does not check is as good as none: it is written anew at once.
            Ok(bytes) => Ok(ino_list::parse_places(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn fates_of(&self, pins: &BTreeSet<Ino>, before: &BTreeMap<Ino, Place>) -> Result<Fates> {
        let (map, committed, names) = {
            let state = self.state.lock();
            (state.map.snapshot(), state.map.committed(), state.names.clone())
        };
        let mut fates = Fates::default();
        for ino in pins.iter().copied() {
            let known = before.get(&ino).copied();
            let here = patiently(|| Txn::new(&map).find_inode(ino))?;
            if here.as_ref().is_some_and(|inode| inode.kind != Kind::File) {
                continue;
            }
            if here.is_none() && patiently(|| Txn::new(&committed).find_inode(ino))?.is_none() {
                fates.gone.insert(ino);
            }
            let now = place_now(&map, &names, (ino, known))?;
            let Some(place) = now.or(known) else { continue };
            let next = match now {
                Some(_) => None,
                None => entry_at(&map, place)?.filter(|entry| entry.kind == Kind::File),
            };
            match next {
                // Once: who unpins it does not get it back.
                Some(next) => {
                    fates.places.insert(next.ino, place);
                    fates.replaced.push((ino, next.ino));
                }
                None if fates.gone.contains(&ino) => {}
                None => drop(fates.places.insert(ino, place)),
            }
        }
        Ok(fates)
    }
}

/// Where a file has its name, if it has one. Looks first where that was.
fn place_now(
    map: &Map,
    names: &NameHash,
    (ino, known): (Ino, Option<Place>),
) -> Result<Option<Place>> {
    if let Some(place) = known
        && entry_at(map, place)?.is_some_and(|entry| entry.ino == ino)
    {
        return Ok(known);
    }
    let Some((folder, name)) = place_of(map, ino)? else { return Ok(None) };
    let found = patiently(|| Txn::new(map).find_entry(folder, names.of(&name), &name))?;
    Ok(found.map(|(cookie, _)| (folder, cookie)))
}

fn entry_at(map: &Map, (folder, cookie): Place) -> Result<Option<Arc<Entry>>> {
    match patiently(|| Txn::new(map).get(&Key::entry(folder, cookie)))? {
        Some(Value::Entry(entry)) => Ok(Some(entry)),
        Some(_) => Err(Error::new(ErrorKind::Corrupt, "a folder entry is something else")),
        None => Ok(None),
    }
}
