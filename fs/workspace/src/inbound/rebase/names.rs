//! Operations on names: what is taken gives way, what is gone comes back.

use strongroom_format::ids::Ino;
use strongroom_format::inode::Kind;
use strongroom_format::op::{Fate, Op};

use super::content::Before;
use super::{DEPTH_MAX, Rebase, find};
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::conflict::{ConflictName, conflict_name, incomplete_name};
use crate::limits::Broken;
use crate::tree::pages::patiently;
use crate::tree::places::place_of;
use crate::tree::txn::Txn;

/// LIMIT: conflict copies of one name on one day.
const TRIES_MAX: u32 = 10_000;

type Place<'n> = (Ino, &'n [u8]);

impl Rebase<'_> {
    pub(super) fn create(&mut self, op: Op) -> Result<()> {
        let Op::Create { folder, name, ino, kind, time, .. } = &op else { return Ok(()) };
        let (wanted, ino, kind, time) = ((*folder, name.clone()), *ino, *kind, *time);
        let folder = self.living_folder(*folder, time)?;
        if let Some(there) = self.entry(folder, name)?
            && (kind, there.kind) == (Kind::Folder, Kind::Folder)
        {
            self.merged.insert(ino, there.ino);
            return Ok(());
        }
        let mut made = ino;
        if find(&self.out.next, ino)?.is_some() {
            // It was removed and brought back here, and somebody else has brought it back, too.
            if kind == Kind::Folder {
                return Ok(());
            }
            made = self.out.numbers.give();
            self.copies.insert(ino, made);
            self.twice.insert(ino, made);
        }
        let name = self.place(wanted, folder, time)?;
        let mut op = op;
        if let Op::Create { folder: at, name: under, ino, .. } = &mut op {
            (*at, *under, *ino) = (folder, name, made);
        }
        self.emit(&op)
    }

    pub(super) fn link(&mut self, ino: Ino, at: Place<'_>, time: i64) -> Result<()> {
        let folder = self.living_folder(at.0, time)?;
        let ino = self.merged_into(ino);
        let base = find(self.base, ino)?;
        let Some(there) = find(&self.out.next, ino)? else {
            // Removed elsewhere, named anew here: it comes back under the new name.
            return if base.is_some() { self.revive_at(ino, (at.0, at.1), time) } else { Ok(()) };
        };
        if self.entry(folder, at.1)?.is_some_and(|entry| entry.ino == ino) {
            return Ok(());
        }
        let name = self.place((at.0, at.1.to_vec()), folder, time)?;
        self.emit(&Op::Link { ino, folder, name, time })?;
        match base {
            // Removed elsewhere, and on its way out: what is gone of it already comes back too. If it was without a name in the base as
            // well, this link was put on top of the removal before.
            Some(base) if there.link_count == 0 => self.refill(ino, &base, Before::Needed),
            _ => Ok(()),
        }
    }

    pub(super) fn unlink(&mut self, at: Place<'_>, ino: Ino, fate: Fate, time: i64) -> Result<()> {
        let found = self.find_placed(at, ino)?;
        self.placed.remove(&(at.0, at.1.to_vec()));
        let kept = self.spared.contains(&ino) || self.merged.contains_key(&ino);
        let Some((folder, name)) = found.filter(|_| !kept) else { return Ok(()) };
        let holder = self.merged_into(ino);
        if !self.may_go(holder)? {
            return Ok(());
        }
        // ORDER: only with the last name. Others would take what stays under another one for purged.
        if let Some(word) = self.word.take().filter(|_| holder == ino)
            && self.is_last_name(ino)?
        {
            self.emit(&word)?;
        }
        self.emit(&Op::Unlink { folder, name, ino: holder, fate, time })
    }

    pub(super) fn rename(&mut self, op: Op) -> Result<()> {
        let Op::Rename { from, from_name, to, to_name, ino, replaced, fate, time } = op else {
            return Ok(());
        };
        let Some(source) = self.find_placed((from, &from_name), ino)? else { return Ok(()) };
        self.placed.remove(&(from, from_name));
        let ino = self.merged_into(ino);
        let folder = self.living_folder(to, time)?;
        if self.is_inside(folder, ino)? {
            return Ok(());
        }
        // What this home had put there under another name is still what is replaced.
        let target = match self.find_placed((to, &to_name), replaced)? {
            Some((_, name)) => self.entry(folder, &name)?,
            None => self.entry(folder, &to_name)?,
        };
        let mut gone = Ino(0);
        let name = match target {
            None => to_name,
            Some(target) if target.ino == ino => return Ok(()),
            Some(target)
                if target.ino == self.merged_into(replaced)
                    && !self.spared.contains(&target.ino)
                    && self.may_go(target.ino)? =>
            {
                gone = target.ino;
                target.name.clone()
            }
            Some(_) => self.place((to, to_name), folder, time)?,
        };
        self.emit(&Op::Rename {
            from: source.0,
            from_name: source.1,
            to: folder,
            to_name: name,
            ino,
            replaced: gone,
            fate,
            time,
        })
    }

    pub(super) fn exchange(&mut self, a: Place<'_>, b: Place<'_>, time: i64) -> Result<()> {
        let (from, to) = (self.merged_into(a.0), self.merged_into(b.0));
        let (Some(first), Some(second)) = (self.entry(from, a.1)?, self.entry(to, b.1)?) else {
            return Ok(());
        };
        let same = first.ino == second.ino;
        if same || self.is_inside(to, first.ino)? || self.is_inside(from, second.ino)? {
            return Ok(());
        }
        let (from_name, to_name) = (a.1.to_vec(), b.1.to_vec());
        self.emit(&Op::Exchange { from, from_name, to, to_name, time })
    }

    /// Whether what has a name may lose it: a folder that others put something into stays.
    fn may_go(&self, ino: Ino) -> Result<bool> {
        match find(&self.out.next, ino)? {
            Some(inode) if inode.kind == Kind::Folder => {
                patiently(|| Txn::new(&self.out.next).is_empty_folder(ino))
            }
            Some(_) => {
                let is_as_here = self.copies.contains_key(&ino) || self.back.contains(&ino);
                let goes = is_as_here || self.expunged.contains(&ino);
                Ok(goes || !self.touched.is_edited(ino))
            }
            None => Ok(false),
        }
    }

    fn is_last_name(&self, ino: Ino) -> Result<bool> {
        let found = find(&self.out.next, ino)?;
        Ok(found.is_some_and(|inode| inode.kind == Kind::Folder || inode.link_count <= 1))
    }

    /// Where a name is that was made or found here: none if it is gone or stands for something else.
    fn find_placed(&self, at: Place<'_>, ino: Ino) -> Result<Option<(Ino, Vec<u8>)>> {
        let folder = self.merged_into(at.0);
        let name = self.placed.get(&(at.0, at.1.to_vec())).map_or(at.1, Vec::as_slice);
        let found = self.entry(folder, name)?;
        let is_it = |entry: &std::sync::Arc<strongroom_format::inode::Entry>| {
            entry.ino == self.merged_into(ino)
        };
        Ok(found.filter(is_it).map(|_| (folder, name.to_vec())))
    }

    /// The name wanted if it is free in the folder, else that of a conflict copy.
    pub(super) fn place(
        &mut self,
        wanted: (Ino, Vec<u8>),
        folder: Ino,
        time: i64,
    ) -> Result<Vec<u8>> {
        self.placed.remove(&wanted);
        let Some(there) = self.entry(folder, &wanted.1)? else { return Ok(wanted.1) };
        if self.inner.options.tuning.broken == Some(Broken::TakenNameIsTakenOver) {
            let (name, ino, fate) = (wanted.1.clone(), there.ino, Fate::Remove);
            self.emit(&Op::Unlink { folder, name, ino, fate, time })?;
            return Ok(wanted.1);
        }
        let name = self.free_name(folder, &wanted.1, time)?;
        self.placed.insert(wanted, name.clone());
        Ok(name)
    }

    pub(super) fn free_name(&self, folder: Ino, name: &[u8], time: i64) -> Result<Vec<u8>> {
        self.first_free(folder, |tries| conflict_name(name, &self.device, time, tries))
    }

    fn first_free(&self, folder: Ino, make: impl Fn(u32) -> Vec<u8>) -> Result<Vec<u8>> {
        for tries in 0..TRIES_MAX {
            let made = make(tries);
            if self.entry(folder, &made)?.is_none() {
                return Ok(made);
            }
        }
        Err(Error::new(ErrorKind::Full, "10,000 conflict copies of one name on one day"))
    }

    /// Says of each file that lost a part of what it held, in its name, that it did: it is not to be taken for whole.
    pub(super) fn name_incomplete(&mut self) -> Result<()> {
        for ino in std::mem::take(&mut self.incomplete) {
            let holder = self.copies.get(&ino).copied().unwrap_or_else(|| self.merged_into(ino));
            // What others hold under the same number is theirs.
            if holder != ino || self.back.contains(&ino) || !self.touched.is_edited(ino) {
                self.torn.insert(holder);
            }
        }
        for ino in std::mem::take(&mut self.torn) {
            let Some(inode) = find(&self.out.next, ino)? else { continue };
            let Some((folder, name)) = place_of(&self.out.next, ino)? else { continue };
            if ConflictName::parse(&name).is_some_and(|name| name.is_incomplete) {
                continue;
            }
            let make = |tries| incomplete_name(&name, &self.device, inode.mtime, tries);
            let to_name = self.first_free(folder, make)?;
            self.emit(&Op::Rename {
                from: folder,
                from_name: name,
                to: folder,
                to_name,
                ino,
                replaced: Ino(0),
                fate: Fate::Remove,
                time: inode.ctime,
            })?;
        }
        Ok(())
    }

    /// Whether a folder is `above` or below it.
    fn is_inside(&self, folder: Ino, above: Ino) -> Result<bool> {
        let mut at = folder;
        for _ in 0..DEPTH_MAX {
            if at == above {
                return Ok(true);
            }
            match find(&self.out.next, at)? {
                Some(inode) if at != Ino::ROOT => at = inode.parent,
                _ => return Ok(false),
            }
        }
        Err(Error::new(ErrorKind::Corrupt, "a folder is its own ancestor"))
    }

    /// A folder to put something into. One that others removed comes back where it was, with the folders above it.
    pub(super) fn living_folder(&mut self, folder: Ino, time: i64) -> Result<Ino> {
        let mut gone = Vec::new();
        let mut at = self.merged_into(folder);
        while find(&self.out.next, at)?.is_none_or(|inode| inode.kind != Kind::Folder) {
            if gone.len() == DEPTH_MAX || gone.contains(&at) {
                at = Ino::ROOT;
                break;
            }
            gone.push(at);
            at = self.merged_into(self.parent_of(at)?);
        }
        while let Some(lost) = gone.pop() {
            at = self.revive_folder(lost, at, time)?;
        }
        Ok(at)
    }

    fn parent_of(&self, folder: Ino) -> Result<Ino> {
        let found = match find(self.mine, folder)? {
            Some(inode) => Some(inode),
            None => find(self.base, folder)?,
        };
        Ok(found.map_or(Ino::ROOT, |inode| inode.parent))
    }

    fn revive_folder(&mut self, lost: Ino, parent: Ino, time: i64) -> Result<Ino> {
        let (map, found) = match find(self.mine, lost)? {
            Some(inode) => (self.mine, Some(inode)),
            None => (self.base, find(self.base, lost)?),
        };
        let Some(inode) = found else { return Ok(parent) };
        let name = place_of(map, lost)?.map(|(_, name)| name);
        let name = name.unwrap_or_else(|| format!("folder {:x}", lost.0).into_bytes());
        if let Some(there) = self.entry(parent, &name)?
            && there.kind == Kind::Folder
        {
            self.merged.insert(lost, there.ino);
            return Ok(there.ino);
        }
        let name = match self.entry(parent, &name)? {
            None => name,
            Some(_) => self.free_name(parent, &name, time)?,
        };
        self.emit(&Op::Create {
            folder: parent,
            name,
            ino: lost,
            kind: Kind::Folder,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            rdev: 0,
            target: Vec::new(),
            time,
        })?;
        self.set_xattrs(lost, &inode, time)?;
        Ok(lost)
    }

    /// Where a file is here, or was: folder and name.
    pub(super) fn place_here(&self, ino: Ino) -> Result<(Ino, Vec<u8>)> {
        for map in [self.mine, self.base] {
            if let Some(found) = place_of(map, ino)? {
                return Ok(found);
            }
        }
        Ok((Ino::ROOT, format!("file {:x}", ino.0).into_bytes()))
    }
}
