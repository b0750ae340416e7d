//! Takes steps on anything behind the door, as a kernel would: walks paths by lookups, forgets what it looked up.

use strongroom_workspace::door::{
    Answer, Attributes, Caller, Core, FolderEntry, Folding, HandleId, Ino, Kind, ListDetail,
    NewNode, SetAttributes, SetTime, SyncLevel, SyncScope,
};
use strongroom_workspace::error::{ErrorKind, Result};

use super::files::options;
use super::step::{SLOT_COUNT, Step, fill_bytes};

/// What a step showed. Two filesystems agree when they show the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing but that it went well.
    Done,
    /// Attributes.
    Attributes(Shown),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number.
    Count(u64),
    /// Names, sorted.
    Names(Vec<(Vec<u8>, Option<Kind>)>),
    /// It was refused.
    Refused(ErrorKind),
    /// The slot was empty: nothing was asked.
    NoHandle,
}

/// Attributes that everybody must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Kind.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub link_count: u32,
    /// Size; 0 for what is no file or symlink.
    pub size: u64,
}

impl From<Attributes> for Shown {
    fn from(a: Attributes) -> Self {
        let sized = matches!(a.kind, Kind::File | Kind::Symlink);
        Shown {
            kind: a.kind,
            mode: a.mode,
            uid: a.uid,
            gid: a.gid,
            link_count: a.link_count,
            size: if sized { a.size } else { 0 },
        }
    }
}

/// Who makes things.
pub const CALLER: Caller = Caller { uid: 1000, gid: 1000 };

/// Waits for an answer.
pub fn done<T>(answer: Answer<T>) -> Result<T> {
    answer.wait()
}

/// Something that takes steps.
pub trait Taker {
    /// Takes one.
    fn take(&mut self, step: &Step) -> Seen;
}

/// Open handles by slot.
#[derive(Default)]
pub struct Slots([Option<(HandleId, Ino)>; SLOT_COUNT]);

impl Slots {
    /// The handle in a slot.
    pub fn handle(&self, slot: usize) -> Option<HandleId> {
        self.0[slot].map(|(handle, _)| handle)
    }
}

/// Takes steps on a core.
pub struct Runner<'c> {
    core: &'c dyn Core,
    slots: &'c mut Slots,
}

impl<'c> Runner<'c> {
    /// On this core, with handles that stay between runners.
    pub fn new(core: &'c dyn Core, slots: &'c mut Slots) -> Self {
        Self { core, slots }
    }

    /// Ends all handles.
    pub fn release_all(&mut self) {
        (0..SLOT_COUNT).for_each(|slot| self.release(slot));
    }

    fn release(&mut self, slot: usize) {
        if let Some((handle, ino)) = self.slots.0[slot].take() {
            self.core.release(handle);
            self.core.forget(&[(ino, 1)]);
        }
    }

    fn keep(&mut self, slot: usize, handle: HandleId, ino: Ino) {
        self.release(slot);
        self.slots.0[slot] = Some((handle, ino));
    }

    fn find(&self, path: &str, folding: Folding) -> Result<Attributes> {
        let mut at = done(self.core.attributes(Ino::ROOT))?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = done(self.core.lookup(at.ino, name.as_bytes(), folding));
            if at.ino != Ino::ROOT {
                self.core.forget(&[(at.ino, 1)]);
            }
            at = found?;
        }
        Ok(at)
    }

    fn forget(&self, ino: Ino) {
        if ino != Ino::ROOT {
            self.core.forget(&[(ino, 1)]);
        }
    }

    /// Does something with the inode of a path.
    fn at<T>(&self, path: &str, act: impl FnOnce(Ino) -> Result<T>) -> Result<T> {
        let ino = self.find(path, Folding::Exact)?.ino;
        let result = act(ino);
        self.forget(ino);
        result
    }

    /// Does something with the folder of a path and its last name.
    fn within<'p, T>(
        &self,
        path: &'p str,
        act: impl FnOnce(Ino, &'p [u8]) -> Result<T>,
    ) -> Result<T> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(folder, |ino| act(ino, name.as_bytes()))
    }

    fn open_slot<T>(&self, slot: usize, act: impl FnOnce(HandleId, Ino) -> Result<T>) -> Slot<T> {
        match self.slots.0[slot] {
            None => Slot::Empty,
            Some((handle, ino)) => Slot::Open(act(handle, ino)),
        }
    }

    fn set(&self, ino: Ino, changes: SetAttributes) -> Result<Shown> {
        done(self.core.set_attributes(ino, changes)).map(Shown::from)
    }

    fn list(&self, ino: Ino, page: u32) -> Result<Vec<FolderEntry>> {
        let mut all: Vec<FolderEntry> = Vec::new();
        loop {
            let cookie = all.last().map_or(0, |entry| entry.cookie);
            let more = done(self.core.read_folder(ino, cookie, page, ListDetail::Attributes))?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    fn names(&mut self, step: &Step) -> Result<Seen> {
        match step {
            Step::Make { path, kind, mode } => {
                let target = if *kind == Kind::Symlink { b"to/nowhere".to_vec() } else { vec![] };
                let node = NewNode { kind: *kind, mode: *mode, rdev: 0, target };
                let made = self.within(path, |folder, name| {
                    done(self.core.create(CALLER, folder, name, node))
                })?;
                self.forget(made.ino);
                Ok(Seen::Attributes(made.into()))
            }
            Step::CreateOpen { path, mode, slot, access } => {
                let (made, opened) = self.within(path, |folder, name| {
                    let options = options(*access, false);
                    done(self.core.create_open(CALLER, folder, name, *mode, options))
                })?;
                self.keep(*slot, opened.handle, made.ino);
                Ok(Seen::Attributes(made.into()))
            }
            Step::Link { from, to } => {
                let linked = self.at(from, |ino| {
                    self.within(to, |folder, name| done(self.core.link(ino, folder, name)))
                })?;
                self.forget(linked.ino);
                Ok(Seen::Attributes(linked.into()))
            }
            Step::Unlink { path } => self
                .within(path, |folder, name| done(self.core.unlink(folder, name)))
                .map(|()| Seen::Done),
            Step::RemoveFolder { path } => self
                .within(path, |folder, name| done(self.core.remove_folder(folder, name)))
                .map(|()| Seen::Done),
            Step::Rename { from, to, mode } => self
                .within(from, |from, from_name| {
                    self.within(to, |to, to_name| {
                        done(self.core.rename((from, from_name), (to, to_name), *mode))
                    })
                })
                .map(|()| Seen::Done),
            Step::Open { path, slot, access, truncate } => {
                let ino = self.find(path, Folding::Exact)?.ino;
                match done(self.core.open(ino, options(*access, *truncate))) {
                    Ok(opened) => self.keep(*slot, opened.handle, ino),
                    Err(error) => {
                        self.forget(ino);
                        return Err(error);
                    }
                }
                Ok(Seen::Done)
            }
            _ => self.look(step),
        }
    }

    fn look(&mut self, step: &Step) -> Result<Seen> {
        let shown = |result: Result<Shown>| result.map(Seen::Attributes);
        match step {
            Step::Stat { path } => self
                .at(path, |ino| done(self.core.attributes(ino)))
                .map(|a| Seen::Attributes(a.into())),
            Step::FindFolded { path } => {
                let found = self.find(path, Folding::Folded)?;
                self.forget(found.ino);
                Ok(Seen::Attributes(found.into()))
            }
            Step::ReadLink { path } => {
                self.at(path, |ino| done(self.core.read_link(ino))).map(Seen::Bytes)
            }
            Step::List { path, page } => {
                let entries = self.at(path, |ino| self.list(ino, *page))?;
                let mut names: Vec<_> =
                    entries.into_iter().map(|entry| (entry.name, Some(entry.kind))).collect();
                names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                Ok(Seen::Names(names))
            }
            Step::ResizePath { path, size } => {
                let changes = SetAttributes { size: Some(*size), ..SetAttributes::default() };
                shown(self.at(path, |ino| self.set(ino, changes)))
            }
            Step::SetMode { path, mode } => {
                let changes = SetAttributes { mode: Some(*mode), ..SetAttributes::default() };
                shown(self.at(path, |ino| self.set(ino, changes)))
            }
            Step::SetOwner { path, uid, gid } => {
                let changes = SetAttributes {
                    uid: Some(*uid),
                    gid: Some(*gid),
                    drop_set_id: true,
                    ..SetAttributes::default()
                };
                shown(self.at(path, |ino| self.set(ino, changes)))
            }
            Step::SetTimes { path, time } => {
                let time = Some(SetTime::At(*time));
                let changes =
                    SetAttributes { atime: time, mtime: time, ..SetAttributes::default() };
                shown(self.at(path, |ino| self.set(ino, changes)))
            }
            _ => self.attributes(step),
        }
    }

    fn attributes(&mut self, step: &Step) -> Result<Seen> {
        match step {
            Step::SetXattr { path, name, len, fill, mode } => {
                let value = fill_bytes(*fill, *len);
                let set = |ino| done(self.core.set_xattr(ino, name.as_bytes(), &value, *mode));
                self.at(path, set).map(|()| Seen::Done)
            }
            Step::Xattr { path, name } => {
                self.at(path, |ino| done(self.core.xattr(ino, name.as_bytes()))).map(Seen::Bytes)
            }
            Step::XattrNames { path } => {
                let mut names = self.at(path, |ino| done(self.core.xattr_names(ino)))?;
                names.sort_unstable();
                Ok(Seen::Names(names.into_iter().map(|name| (name, None)).collect()))
            }
            Step::RemoveXattr { path, name } => self
                .at(path, |ino| done(self.core.remove_xattr(ino, name.as_bytes())))
                .map(|()| Seen::Done),
            Step::Sync => {
                done(self.core.sync(SyncScope::All, SyncLevel::Local)).map(|()| Seen::Done)
            }
            Step::Commit => {
                done(self.core.sync(SyncScope::All, SyncLevel::Remote)).map(|()| Seen::Done)
            }
            // The world does what these say.
            Step::Tick { .. } | Step::Reopen => Ok(Seen::Done),
            _ => Ok(self.handle(step)),
        }
    }

    fn handle(&mut self, step: &Step) -> Seen {
        let core = self.core;
        let sized = |ino, size| {
            let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
            self.set(ino, changes).map(Seen::Attributes)
        };
        let slot = match step {
            Step::Release { slot } => {
                self.release(*slot);
                return Seen::Done;
            }
            Step::Write { slot, offset, len, fill, mode, drop_set_id } => {
                let data = fill_bytes(*fill, *len);
                self.open_slot(*slot, |handle, _| {
                    done(core.write(handle, *offset, &data, *mode, *drop_set_id))
                        .map(|count| Seen::Count(u64::from(count)))
                })
            }
            Step::Read { slot, offset, len } => self.open_slot(*slot, |handle, _| {
                done(core.read(handle, *offset, *len)).map(|bytes| Seen::Bytes(bytes.to_vec()))
            }),
            Step::Allocate { slot, mode, offset, len } => self.open_slot(*slot, |handle, _| {
                done(core.allocate(handle, *mode, *offset, *len)).map(|()| Seen::Done)
            }),
            Step::Seek { slot, target, offset } => self.open_slot(*slot, |handle, _| {
                done(core.seek(handle, *target, *offset)).map(Seen::Count)
            }),
            Step::Copy { from, to, len } => match self.slots.handle(to.0) {
                None => Slot::Empty,
                Some(target) => self.open_slot(from.0, |source, _| {
                    done(core.copy_range((source, from.1), (target, to.1), *len)).map(Seen::Count)
                }),
            },
            Step::Resize { slot, size } => self.open_slot(*slot, |_, ino| sized(ino, *size)),
            Step::SetModeOpen { slot, mode } => self.open_slot(*slot, |_, ino| {
                let changes = SetAttributes { mode: Some(*mode), ..SetAttributes::default() };
                self.set(ino, changes).map(Seen::Attributes)
            }),
            Step::StatOpen { slot } => self.open_slot(*slot, |_, ino| {
                done(core.attributes(ino)).map(|a| Seen::Attributes(a.into()))
            }),
            other => unreachable!("{other:?} is taken elsewhere"),
        };
        match slot {
            Slot::Empty => Seen::NoHandle,
            Slot::Open(Ok(seen)) => seen,
            Slot::Open(Err(error)) => Seen::Refused(error.kind()),
        }
    }
}

enum Slot<T> {
    Empty,
    Open(Result<T>),
}

impl Taker for Runner<'_> {
    fn take(&mut self, step: &Step) -> Seen {
        self.names(step).unwrap_or_else(|error| Seen::Refused(error.kind()))
    }
}
