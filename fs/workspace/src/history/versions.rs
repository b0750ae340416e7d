//! What a path held, commit by commit, as far as that can still be read.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use strongroom_format::ids::{DeviceId, Ino};
use strongroom_format::inode::{Content, Inode, Kind};
use strongroom_keyring::organisation::Organisation;

use super::past::Past;
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::log::Checkpoint;
use crate::inbound::open::initial_state;
use crate::state::{Head, State};
use crate::tree::map::Map;
use crate::tree::need::Look;
use crate::tree::pages::patiently;
use crate::tree::places::Place;
use crate::tree::rules::NameHash;
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Workspace};

/// LIMIT: versions told; the newest.
const VERSIONS_MAX: usize = 500;

/// What was at a path from one commit on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Version {
    /// The commit that made it; of a snapshot that stands alone, that of the snapshot.
    #[n(0)]
    pub seq: u64,
    /// The author's clock, nanoseconds since 1970.
    #[n(1)]
    pub time: i64,
    /// Who committed it.
    #[n(2)]
    pub device: DeviceId,
    /// What it was; none: nothing was there.
    #[n(3)]
    pub kind: Option<Kind>,
    /// Bytes.
    #[n(4)]
    pub size: u64,
    /// Content modified.
    #[n(5)]
    pub mtime: i64,
    /// Whether what it held was purged.
    #[n(6)]
    pub is_purged: bool,
    /// What people call the device, if the organisation's log gave it a name.
    #[n(7)]
    pub device_name: Option<String>,
}

/// Finds what a path names in a map.
pub(crate) fn find_path(map: &Map, names: &NameHash, path: &[u8]) -> Look<Option<Found>> {
    let ino = match find_place(map, names, path)? {
        Some(place) => place.ino,
        None if parts(path).next().is_none() => Ino::ROOT,
        None => return Ok(None),
    };
    Ok(Txn::new(map).find_inode(ino)?.map(|inode| (ino, inode)))
}

/// Finds where the last name of a path stands. None for the root, which has no name.
pub(crate) fn find_place(map: &Map, names: &NameHash, path: &[u8]) -> Look<Option<Place>> {
    let txn = Txn::new(map);
    let (mut folder, mut found) = (Ino::ROOT, None);
    for name in parts(path) {
        let Some((cookie, entry)) = txn.find_entry(folder, names.of(name), name)? else {
            return Ok(None);
        };
        found = Some(Place { ino: entry.ino, folder, cookie: cookie.0 });
        folder = entry.ino;
    }
    Ok(found)
}

/// An inode and its number.
pub(crate) type Found = (Ino, Arc<Inode>);

/// Names of a path, outermost first.
pub(crate) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

impl Workspace {
    /// Versions of a path, oldest first: one for each commit that changed content, size or kind of what the path names.
    ///
    /// # Errors
    /// `NotFound` if the path never was in any state that can be read; those of the store.
    pub fn versions(&self, path: &[u8]) -> Result<Vec<Version>> {
        let past = Past::open(&self.0)?;
        let mut seen = Seen { path, versions: Vec::new() };
        let floor = past.floor()?.unwrap_or(u64::MAX);
        for seq in past.checkpoints.iter().copied().filter(|seq| *seq < floor) {
            if let Some(checkpoint) = past.checkpoint(seq)? {
                seen.look_at(&self.0.scratch(&checkpoint), (seq, &checkpoint))?;
            }
        }
        if let Some(checkpoint) = past.checkpoint(floor)? {
            self.0.replay_past(&past, &checkpoint, &mut seen)?;
        }
        if seen.versions.iter().all(|version| version.kind.is_none()) {
            return Err(Error::new(ErrorKind::NotFound, "nothing of this name in any kept state"));
        }
        let surplus = seen.versions.len().saturating_sub(VERSIONS_MAX);
        seen.versions.drain(..surplus);
        for version in &mut seen.versions {
            let name =
                |organisation: &Organisation| organisation.name(&version.device, &self.0.keys);
            version.device_name = self.0.roster.with(name);
        }
        Ok(seen.versions)
    }
}

impl Inner {
    /// The state of a checkpoint, beside what is in use.
    pub(crate) fn scratch(&self, checkpoint: &Checkpoint) -> State {
        initial_state(checkpoint, &self.pages, &self.options)
    }

    fn replay_past(
        &self,
        past: &Past<'_>,
        checkpoint: &Checkpoint,
        seen: &mut Seen<'_>,
    ) -> Result<()> {
        let mut state = self.scratch(checkpoint);
        seen.look_at(&state, (checkpoint.root.seq, checkpoint))?;
        let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
        past.reader.commits(start, &mut |commit| {
            self.replay_commit(&mut state, commit)?;
            seen.look(&state, |version| {
                let (seq, time, device) =
                    (commit.head.seq, commit.header.time, commit.header.author);
                Version { seq, time, device, ..version }
            })
        })?;
        Ok(())
    }
}

struct Seen<'p> {
    path: &'p [u8],
    versions: Vec<Version>,
}

impl Seen<'_> {
    fn look_at(&mut self, state: &State, (seq, checkpoint): (u64, &Checkpoint)) -> Result<()> {
        let (time, device) = (checkpoint.root.time, checkpoint.root.author);
        self.look(state, |version| Version { seq, time, device, ..version })
    }

    fn look(&mut self, state: &State, sign: impl Fn(Version) -> Version) -> Result<()> {
        let found = patiently(|| find_path(&state.map, &state.names, self.path))?;
        let version = sign(shown(found.as_ref().map(|(_, inode)| &**inode)));
        let same = |last: &Version| {
            (last.kind, last.size, last.mtime, last.is_purged)
                == (version.kind, version.size, version.mtime, version.is_purged)
        };
        let is_new = match self.versions.last() {
            Some(last) => !same(last),
            None => version.kind.is_some(),
        };
        if is_new {
            self.versions.push(version);
        }
        Ok(())
    }
}

fn shown(inode: Option<&Inode>) -> Version {
    Version {
        seq: 0,
        time: 0,
        device: DeviceId([0; 16]),
        kind: inode.map(|inode| inode.kind),
        size: inode.map_or(0, |inode| inode.size),
        mtime: inode.map_or(0, |inode| inode.mtime),
        is_purged: inode.is_some_and(|inode| inode.content == Content::Purged),
        device_name: None,
    }
}
