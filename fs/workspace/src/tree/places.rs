//! Where inodes have names.
//!
//! An inode says in which folder it was named first, or moved to last. A file that lost that name and has others is found by a look
//! through all names alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use minicbor::{Decode, Encode};
use strongroom_format::ids::Ino;
use strongroom_format::inode::{Entry, Kind};
use strongroom_format::key::{Cookie, Key, Subject};

use crate::error::Result;
use crate::tree::map::{Map, Value, subject};
use crate::tree::pages::patiently;
use crate::tree::txn::Txn;

/// A name of an inode, in a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) ino: Ino,
    pub(crate) folder: Ino,
    pub(crate) name: Vec<u8>,
}

/// The same in numbers: where the name stands in the folder, by a hash with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Place {
    #[n(0)]
    pub(crate) ino: Ino,
    #[n(1)]
    pub(crate) folder: Ino,
    #[n(2)]
    pub(crate) cookie: u64,
}

/// A folder and the name that an inode has there. None if it has none. May read all names there are.
pub(crate) fn place_of(map: &Map, ino: Ino) -> Result<Option<(Ino, Vec<u8>)>> {
    let Some(inode) = patiently(|| Txn::new(map).find_inode(ino))? else { return Ok(None) };
    let first = |range: (Key, Key)| {
        let mut found = None;
        visit_entries(map, range, &mut |folder, entry| {
            if entry.ino != ino {
                return ControlFlow::Continue(());
            }
            found = Some((folder, entry.name.clone()));
            ControlFlow::Break(())
        })?;
        Ok(found)
    };
    let found = first(Key::entries_of(inode.parent))?;
    if found.is_some() || inode.kind == Kind::Folder || inode.link_count == 0 {
        return Ok(found);
    }
    first(all_entries())
}

/// All names of some inodes. Reads all names there are.
pub(crate) fn names_of(map: &Map, inos: &BTreeSet<Ino>) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    visit_entries(map, all_entries(), &mut |folder, entry| {
        if inos.contains(&entry.ino) {
            found.push(Named { ino: entry.ino, folder, name: entry.name.clone() });
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Names at some places and below them, as far as these still are what they were.
pub(crate) fn names_below(map: &Map, places: &[Place]) -> Result<BTreeSet<Named>> {
    let (mut found, mut todo) = (BTreeSet::new(), Vec::new());
    let mut take = |todo: &mut Vec<Ino>, folder: Ino, entry: &Entry| {
        let named = Named { ino: entry.ino, folder, name: entry.name.clone() };
        if found.insert(named) && entry.kind == Kind::Folder {
            todo.push(entry.ino);
        }
    };
    for place in places {
        let key = Key::entry(place.folder, Cookie(place.cookie));
        match patiently(|| map.get(&key))? {
            Some(Value::Entry(entry)) if entry.ino == place.ino => {
                take(&mut todo, place.folder, &entry);
            }
            _ => {}
        }
    }
    while let Some(folder) = todo.pop() {
        visit_entries(map, Key::entries_of(folder), &mut |folder, entry| {
            take(&mut todo, folder, entry);
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

fn all_entries() -> (Key, Key) {
    (Key::entries_of(Ino(1)).0, Key::inodes().0)
}

fn visit_entries(
    map: &Map,
    (from, to): (Key, Key),
    visit: &mut dyn FnMut(Ino, &Entry) -> ControlFlow<()>,
) -> Result<()> {
    patiently(|| {
        map.scan(&from, &to, None, &mut |key, value| match (subject(key), value) {
            (Subject::Entry { folder, .. }, Value::Entry(entry)) => visit(folder, entry),
            _ => ControlFlow::Continue(()),
        })
    })
}
