//! What paths name and ever named, and the objects that hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use strongroom_format::ids::{DeviceId, Ino, ObjectId};
use strongroom_format::inode::{Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::op::{Fate, Op};

use crate::error::{Error, ErrorKind, Result};
use crate::history::past::Past;
use crate::history::versions::{find_path, find_place};
use crate::inbound::log::Commit;
use crate::outbound::compact::extents_in;
use crate::state::{Head, State};
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::places::{Named, Place, names_below};
use crate::tree::rules::extents::overlapping;
use crate::tree::rules::{NameHash, purged_names};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// What a purge is about.
#[derive(Default)]
pub(super) struct Found {
    /// Inodes, of all states.
    pub(super) inos: BTreeSet<Ino>,
    /// Those of them that are in the present.
    pub(super) present: BTreeSet<Ino>,
    /// Where the paths are in the present.
    pub(super) places: Vec<Place>,
    /// Inodes without a name that somebody has open, and on which device they lost it, where that can be read still.
    pub(super) open: BTreeMap<Ino, Option<DeviceId>>,
    /// Objects with blocks of them.
    pub(super) affected: BTreeSet<ObjectId>,
    /// Inodes that are elsewhere in the present.
    pub(super) moved: u64,
    /// Files in the present with names elsewhere.
    pub(super) other_names: u64,
}

/// What commits did since a purge looked for what it is about.
pub(super) struct Since {
    /// Objects that they put blocks of it into.
    pub(super) affected: BTreeSet<ObjectId>,
    /// What they removed of it for a purge.
    pub(super) removed: BTreeSet<Ino>,
    /// Who took the last name from what was open.
    pub(super) unlinked: BTreeMap<Ino, DeviceId>,
}

/// Gathers over states.
struct Search<'p> {
    paths: &'p [Vec<u8>],
    /// The commit behind which it is noted what goes for a purge. None: it is not.
    since: Option<u64>,
    /// What went for a purge, whatever came back of it.
    removed: BTreeSet<Ino>,
    /// Who took the last name from what was open.
    unlinked: BTreeMap<Ino, DeviceId>,
    inos: BTreeSet<Ino>,
    /// Objects that each inode ever had blocks in.
    objects: BTreeMap<Ino, BTreeSet<ObjectId>>,
}

impl Inner {
    pub(super) fn find_all(&self, paths: &[Vec<u8>]) -> Result<Found> {
        if paths.iter().any(|path| crate::history::versions::parts(path).next().is_none()) {
            return Err(Error::new(ErrorKind::Invalid, "the root cannot be purged"));
        }
        let (map, names) = {
            let state = self.state.lock();
            (state.map.snapshot(), state.names.clone())
        };
        let mut search = Search::new(paths, None);
        search.look(&map, &names)?;
        let present = std::mem::take(&mut search.inos);
        let mut places = Vec::new();
        for path in paths {
            places.extend(patiently(|| find_place(&map, &names, path))?);
        }
        let past = Past::open(self)?;
        let floor = past.floor()?.unwrap_or(u64::MAX);
        for seq in past.checkpoints.iter().copied().filter(|seq| *seq < floor) {
            if let Some(checkpoint) = past.checkpoint(seq)? {
                let state = self.scratch(&checkpoint);
                search.look_at_checkpoint(&state)?;
            }
        }
        let mut from = Some(floor);
        while let Some(seq) = from {
            from = self.look_behind(&past, seq, &mut search)?;
        }
        search.end(Found { present, places, ..Found::default() }, &map)
    }

    /// What commits after this one, or all that can be read, did to inodes.
    pub(super) fn look_since(&self, seq: Option<u64>, inos: &[Ino]) -> Result<Since> {
        let past = Past::open(self)?;
        let mut search = Search::new(&[], seq);
        let mut from = match seq {
            Some(seq) => self.last_sound(&past, seq)?,
            None => past.floor()?,
        };
        while let Some(seq) = from {
            from = self.look_behind(&past, seq, &mut search)?;
        }
        let objects = inos.iter().filter_map(|ino| search.objects.get(ino));
        let affected = objects.flatten().copied().collect();
        Ok(Since { affected, removed: search.removed, unlinked: search.unlinked })
    }

    /// The newest checkpoint of no commit after this one that can be read.
    fn last_sound(&self, past: &Past<'_>, seq: u64) -> Result<Option<u64>> {
        for at in past.checkpoints.iter().rev().copied().filter(|at| *at <= seq) {
            if self.past_root_if_sound(at)?.is_some() {
                return Ok(Some(at));
            }
        }
        past.floor()
    }

    /// Takes what is in a checkpoint and in the commits behind it. Where one of these cannot be read: the checkpoint to go on from.
    fn look_behind(
        &self,
        past: &Past<'_>,
        seq: u64,
        search: &mut Search<'_>,
    ) -> Result<Option<u64>> {
        let Some(checkpoint) = past.checkpoint(seq)? else { return Ok(None) };
        let mut state = self.scratch(&checkpoint);
        search.look_at_checkpoint(&state)?;
        let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
        let mut last = start.seq;
        let read = past.reader.commits(start, &mut |commit| {
            last = commit.head.seq;
            self.replay_commit(&mut state, commit)?;
            search.note_removed(&state, commit)?;
            search.note_unlinked(commit);
            search.see(&state, &commit.body.ops)
        });
        let next = past.checkpoints.iter().copied().find(|at| *at > last);
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Purged) => {
                next.map(Some).ok_or(error)
            }
            read => read.map(|_| None),
        }
    }
}

impl<'p> Search<'p> {
    fn new(paths: &'p [Vec<u8>], since: Option<u64>) -> Self {
        let (inos, removed) = (BTreeSet::new(), BTreeSet::new());
        let (unlinked, objects) = (BTreeMap::new(), BTreeMap::new());
        Self { paths, since, removed, unlinked, inos, objects }
    }

    /// Takes who removed what was open there.
    fn note_unlinked(&mut self, commit: &Commit) {
        for op in &commit.body.ops {
            if let Op::Unlink { ino, fate: Fate::Keep, .. }
            | Op::Rename { replaced: ino, fate: Fate::Keep, .. } = op
            {
                self.unlinked.insert(*ino, commit.header.author);
            }
        }
    }

    /// Takes what lost its last name in a commit that says as well that it is purged.
    fn note_removed(&mut self, state: &State, commit: &Commit) -> Result<()> {
        // What an earlier purge removed, and this one found again, is none of it.
        if self.since.is_none_or(|seq| commit.head.seq <= seq) {
            return Ok(());
        }
        for ino in purged_names(&commit.body.ops) {
            let inode = patiently(|| Txn::new(&state.map).find_inode(ino))?;
            if inode.is_none_or(|inode| inode.link_count == 0) {
                self.removed.insert(ino);
            }
        }
        Ok(())
    }

    /// Takes what a state holds that no commit told of: also of files that have no name in it, but had one at a path before.
    fn look_at_checkpoint(&mut self, state: &State) -> Result<()> {
        self.look(&state.map, &state.names)?;
        for ino in patiently(|| state.orphans())? {
            self.note_extents(&state.map, ino)?;
        }
        Ok(())
    }

    /// Takes everything at and below the paths in one state.
    fn look(&mut self, map: &Map, names: &NameHash) -> Result<()> {
        for path in self.paths {
            let found = patiently(|| find_path(map, names, path))?;
            let mut todo: Vec<Ino> = found.into_iter().map(|(ino, _)| ino).collect();
            while let Some(ino) = todo.pop() {
                let Some(inode) = patiently(|| Txn::new(map).find_inode(ino))? else { continue };
                self.inos.insert(ino);
                if inode.kind == Kind::Folder {
                    todo.extend(patiently(|| map.children(ino))?);
                }
                self.note_extents(map, ino)?;
            }
        }
        Ok(())
    }

    /// Takes what an inode has in one state.
    fn note_extents(&mut self, map: &Map, ino: Ino) -> Result<()> {
        let extents = patiently(|| {
            let txn = Txn::new(map);
            let Some(inode) = txn.find_inode(ino)? else { return Ok(Vec::new()) };
            overlapping(&txn, ino, &inode, 0, u64::MAX)
        })?;
        let objects = extents.iter().map(|extent| extent.object);
        self.objects.entry(ino).or_default().extend(objects);
        Ok(())
    }

    /// Takes what a commit named or filled below the paths.
    fn see(&mut self, state: &State, ops: &[Op]) -> Result<()> {
        let mut named = false;
        for op in ops {
            match op {
                Op::SetExtents { ino, extents, .. } | Op::Rewrite { ino, extents } => {
                    let objects = extents.iter().map(|extent| extent.object);
                    self.objects.entry(*ino).or_default().extend(objects);
                }
                Op::Relocate { to, inos, .. } => {
                    for ino in inos {
                        self.objects.entry(*ino).or_default().insert(*to);
                    }
                }
                Op::Clone { to, .. } => self.note_extents(&state.map, *to)?,
                Op::Create { .. } | Op::Link { .. } | Op::Rename { .. } | Op::Exchange { .. } => {
                    named = true;
                }
                _ => {}
            }
        }
        if named { self.look(&state.map, &state.names) } else { Ok(()) }
    }

    fn end(self, found: Found, map: &Map) -> Result<Found> {
        let mut found = found;
        for ino in self.inos.union(&found.present) {
            let there = patiently(|| Txn::new(map).find_inode(*ino))?;
            if let Some(inode) = there.filter(|_| !found.present.contains(ino)) {
                match inode.link_count {
                    0 => drop(found.open.insert(*ino, self.unlinked.get(ino).copied())),
                    _ => found.moved += 1,
                }
                continue;
            }
            found.inos.insert(*ino);
        }
        for ino in &found.inos {
            found.affected.extend(self.objects.get(ino).into_iter().flatten());
        }
        found.other_names = other_names(map, &names_below(map, &found.places)?)?;
        match found.inos.is_empty() && found.open.is_empty() {
            true => Err(Error::new(ErrorKind::NotFound, "nothing of this name in any kept state")),
            false => Ok(found),
        }
    }
}

/// Files among those that have some names that have others as well.
fn other_names(map: &Map, names: &BTreeSet<Named>) -> Result<u64> {
    let mut counts: BTreeMap<Ino, u32> = BTreeMap::new();
    for named in names {
        *counts.entry(named.ino).or_default() += 1;
    }
    let mut others = 0;
    for (ino, count) in counts {
        let inode = patiently(|| Txn::new(map).find_inode(ino))?;
        let has_more = |inode: &Inode| inode.kind != Kind::Folder && inode.link_count > count;
        others += u64::from(inode.is_some_and(|inode| has_more(&inode)));
    }
    Ok(others)
}

/// Visits every extent of a map with its inode.
pub(super) fn visit_extents(
    map: &Map,
    visit: &mut dyn FnMut(Ino, &strongroom_format::inode::Extent),
) -> Result<()> {
    let (from, _) = Key::inodes();
    let (to, _) = Key::objects();
    patiently(|| {
        map.scan(&from, &to, None, &mut |key, value| {
            use strongroom_format::key::Subject;
            if let Subject::Inode(ino) | Subject::Extent { ino, .. } =
                crate::tree::map::subject(key)
            {
                extents_in(value).iter().for_each(|extent| visit(ino, extent));
            }
            ControlFlow::Continue(())
        })
    })
}

/// Whether an inode holds anything of its own.
pub(super) fn holds(inode: &Inode) -> bool {
    use strongroom_format::inode::Content;
    !matches!(inode.content, Content::Empty | Content::Purged) || !inode.xattrs.is_empty()
}
