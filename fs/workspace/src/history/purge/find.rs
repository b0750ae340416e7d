//! What paths name and ever named, and the objects that hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::op::Op;

use crate::error::{Error, ErrorKind, Result};
use crate::history::past::Past;
use crate::history::versions::find_path;
use crate::outbound::compact::extents_in;
use crate::state::{Head, State};
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::rules::NameHash;
use crate::tree::rules::extents::overlapping;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// What a purge is about.
#[derive(Default)]
pub(super) struct Found {
    /// Inodes, of all states.
    pub(super) inos: BTreeSet<Ino>,
    /// Those of them that are in the present.
    pub(super) present: BTreeSet<Ino>,
    /// Objects with blocks of them.
    pub(super) affected: BTreeSet<ObjectId>,
    /// Inodes that are elsewhere in the present.
    pub(super) moved: u64,
    /// Files in the present with names elsewhere.
    pub(super) other_names: u64,
}

/// Gathers over states.
struct Search<'p> {
    paths: &'p [Vec<u8>],
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
        let mut search = Search { paths, inos: BTreeSet::new(), objects: BTreeMap::new() };
        search.look(&map, &names)?;
        let present = std::mem::take(&mut search.inos);
        let past = Past::open(self)?;
        let floor = past.floor()?.unwrap_or(u64::MAX);
        for seq in past.checkpoints.iter().copied().filter(|seq| *seq < floor) {
            if let Some(checkpoint) = past.checkpoint(seq)? {
                let state = self.scratch(&checkpoint);
                search.look(&state.map, &state.names)?;
            }
        }
        let mut from = Some(floor);
        while let Some(seq) = from {
            from = self.look_behind(&past, seq, &mut search)?;
        }
        search.end(present, &map)
    }

    /// Objects that commits after this one, or all that can be read, put blocks of inodes into.
    pub(super) fn affected_since(
        &self,
        seq: Option<u64>,
        inos: &[Ino],
    ) -> Result<BTreeSet<ObjectId>> {
        let past = Past::open(self)?;
        let mut search = Search { paths: &[], inos: BTreeSet::new(), objects: BTreeMap::new() };
        let mut from = match seq {
            Some(seq) => self.last_sound(&past, seq)?,
            None => past.floor()?,
        };
        while let Some(seq) = from {
            from = self.look_behind(&past, seq, &mut search)?;
        }
        let objects = inos.iter().filter_map(|ino| search.objects.get(ino));
        Ok(objects.flatten().copied().collect())
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
        search.look(&state.map, &state.names)?;
        let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
        let mut last = start.seq;
        let read = past.reader.commits(start, &mut |commit| {
            last = commit.head.seq;
            self.replay_commit(&mut state, commit)?;
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

impl Search<'_> {
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

    fn end(self, present: BTreeSet<Ino>, map: &Map) -> Result<Found> {
        let mut found = Found { present, ..Found::default() };
        for ino in self.inos.union(&found.present) {
            let there = patiently(|| Txn::new(map).find_inode(*ino))?;
            if there.is_some() && !found.present.contains(ino) {
                found.moved += 1;
                continue;
            }
            found.inos.insert(*ino);
        }
        for ino in &found.inos {
            found.affected.extend(self.objects.get(ino).into_iter().flatten());
        }
        found.other_names = other_names(map, &found.present)?;
        match found.inos.is_empty() {
            true => Err(Error::new(ErrorKind::NotFound, "nothing of this name in any kept state")),
            false => Ok(found),
        }
    }
}

/// Files among some inodes that have names in folders that are not among them, or more than are seen.
fn other_names(map: &Map, inos: &BTreeSet<Ino>) -> Result<u64> {
    let mut names: BTreeMap<Ino, u32> = BTreeMap::new();
    let mut linked = BTreeMap::new();
    for ino in inos {
        let Some(inode) = patiently(|| Txn::new(map).find_inode(*ino))? else { continue };
        if inode.kind == Kind::Folder {
            for child in patiently(|| map.children(*ino))? {
                *names.entry(child).or_default() += 1;
            }
        } else if inode.link_count > 1 {
            linked.insert(*ino, inode.link_count);
        }
    }
    let elsewhere = |(ino, count): &(&Ino, &u32)| names.get(*ino).copied().unwrap_or(1) < **count;
    Ok(linked.iter().filter(elsewhere).count() as u64)
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
