//! What the kernel has to be told after others' commits came in: names, attributes and contents that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_format::ids::Ino;
use strongroom_format::inode::Inode;
use strongroom_format::key::{Key, Subject};
use strongroom_host::thread::wait_within;

use crate::door::{Change, Mark};
use crate::error::Result;
use crate::state::State;
use crate::tree::map::{Map, Value, subject};
use crate::tree::pages::patiently;
use crate::workspace::Inner;

/// LIMIT: how long whoever changed something waits for the kernel to hear of it.
const HEARING_LIMIT: Duration = Duration::from_secs(1);

/// What differs.
#[derive(Default)]
pub(super) struct News {
    /// Inodes, and whether their content differs.
    inos: BTreeMap<Ino, bool>,
    names: BTreeSet<(Ino, Vec<u8>)>,
}

impl News {
    /// Compares two maps that differ at most in what lies above the overlay of either.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn between(old: &Map, new: &Map) -> Result<Self> {
        let mut news = Self::default();
        let layers = [&new.settling, &new.local, &old.settling, &old.local];
        let keys: BTreeSet<Key> =
            layers.into_iter().flat_map(|layer| layer.keys().copied()).collect();
        for key in keys {
            let (before, after) = (patiently(|| old.get(&key))?, patiently(|| new.get(&key))?);
            if before != after {
                news.note(&key, before.as_ref(), after.as_ref());
            }
        }
        Ok(news)
    }

    fn note(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        match subject(key) {
            Subject::Entry { folder, .. } => {
                for value in [before, after].into_iter().flatten() {
                    if let Value::Entry(entry) = value {
                        self.names.insert((folder, entry.name.clone()));
                    }
                }
            }
            Subject::Inode(ino) => {
                let content = match (before, after) {
                    (Some(Value::Inode(before)), Some(Value::Inode(after))) => {
                        is_other(before, after)
                    }
                    _ => true,
                };
                *self.inos.entry(ino).or_default() |= content;
            }
            Subject::Extent { ino, .. } => drop(self.inos.insert(ino, true)),
            Subject::Object(_) | Subject::Orphan(_) | Subject::Snapshot(_) => {}
        }
    }

    /// What of it the kernel knows, for the door. Pages of files that are open stay until they are opened again.
    pub(super) fn tell(self, state: &mut State) -> Vec<Change> {
        let mut changes = Vec::new();
        for (folder, name) in self.names {
            if folder == Ino::ROOT || state.lookups.contains_key(&folder) {
                changes.push(Change::Name { folder, name });
            }
        }
        for (ino, content) in self.inos {
            if ino != Ino::ROOT && !state.lookups.contains_key(&ino) {
                continue;
            }
            if content {
                state.outdated.insert(ino);
            }
            changes.push(Change::Inode { ino, content: content && !state.is_open(ino) });
        }
        changes
    }
}

impl Inner {
    /// Tells the kernel of what was changed here and not by it, and returns when it has heard of that.
    pub(crate) fn tell_kernel(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            // Nobody listens where nothing is mounted.
            let _ = self.news.send(change);
        }
        if self.changes.lock().is_some() {
            return;
        }
        let (mark, passing) = Mark::new();
        if self.news.send(Change::Mark(mark)).is_ok() {
            // Where somebody keeps the kernel from hearing, it hears later.
            let _ = wait_within(HEARING_LIMIT, passing);
        }
    }
}

fn is_other(before: &Inode, after: &Inode) -> bool {
    before.size != after.size || before.content != after.content
}
