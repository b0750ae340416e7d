//! A plain filesystem in memory: the oracle of model tests, and something to mount before any engine.
//!
//! Every rule stands here once, in the shortest form that is right, under one lock. Nothing is sealed, stored
//! or fast. Where POSIX leaves a choice, ext4's answer is taken. Inode numbers count up from 2 in the order of
//! creation, as they do on a workspace's first device.

mod content;
mod node;
mod state;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_workspace::door::{
    Access, AllocateMode, Answer, Attributes, Caller, Change, Core, FolderEntry, Folding, HandleId,
    Ino, Kind, ListDetail, NAME_LEN_MAX, NewNode, OpenOptions, Opened, RenameMode, SeekTarget,
    SetAttributes, Space, SyncLevel, SyncScope, TimeNs, WriteMode, XattrMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use node::Body;
use state::State;

const SPACE_BYTES: u64 = 1 << 50;
const SPACE_INODES: u64 = 1 << 40;

/// Where the model takes its time from.
pub type Now = Arc<dyn Fn() -> TimeNs + Send + Sync>;

/// The filesystem.
pub struct Model {
    state: Mutex<State>,
    sender: Sender<Change>,
    changes: Mutex<Option<Receiver<Change>>>,
}

impl Model {
    /// An empty workspace whose root belongs to `owner`.
    pub fn new(owner: Caller, now: Now) -> Self {
        let (sender, receiver) = channel();
        let state = Mutex::new(State::new(owner, now));
        Self { state, sender, changes: Mutex::new(Some(receiver)) }
    }

    /// Tells the door of a change, as the engine does when another device made it.
    pub fn tell(&self, change: Change) {
        // A door that has gone does not listen any more.
        let _ = self.sender.send(change);
    }

    /// How many inodes there are, the root included.
    pub fn inode_count(&self) -> usize {
        self.state.lock().nodes.len()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Answer<T> {
        Answer::Ready(act(&mut self.state.lock()))
    }
}

impl Core for Model {
    fn lookup(&self, folder: Ino, name: &[u8], folding: Folding) -> Answer<Attributes> {
        self.with(|state| {
            check(name.len() <= NAME_LEN_MAX, ErrorKind::NameTooLong)?;
            let exact = state.find(folder, name)?;
            let found = match (exact, folding) {
                (None, Folding::Folded) => state
                    .folder(folder)?
                    .names
                    .iter()
                    .find_map(|(other, entry)| same_letters(other, name).then_some(entry.ino)),
                (found, _) => found,
            };
            found.map_or_else(|| fail(ErrorKind::NotFound), |ino| state.known(ino))
        })
    }

    fn forget(&self, counts: &[(Ino, u64)]) {
        let mut state = self.state.lock();
        for (ino, count) in counts {
            if let Some(node) = state.nodes.get_mut(ino) {
                node.lookup_count = node.lookup_count.saturating_sub(*count);
            }
            state.free_if_unused(*ino);
        }
    }

    fn remember(&self, inos: &[Ino]) {
        let mut state = self.state.lock();
        for ino in inos {
            if let Some(node) = state.nodes.get_mut(ino) {
                node.lookup_count += 1;
            }
        }
    }

    fn attributes(&self, ino: Ino) -> Answer<Attributes> {
        self.with(|state| Ok(state.node(ino)?.shown()))
    }

    fn set_attributes(&self, ino: Ino, changes: SetAttributes) -> Answer<Attributes> {
        self.with(|state| state.set_attributes(ino, changes))
    }

    fn read_link(&self, ino: Ino) -> Answer<Vec<u8>> {
        self.with(|state| match &state.node(ino)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => fail(ErrorKind::Invalid),
        })
    }

    fn create(
        &self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        node: NewNode,
    ) -> Answer<Attributes> {
        self.with(|state| state.create(caller, folder, name, node).and_then(|ino| state.known(ino)))
    }

    fn create_open(
        &self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        mode: u16,
        options: OpenOptions,
    ) -> Answer<(Attributes, Opened)> {
        self.with(|state| {
            let node = NewNode { kind: Kind::File, mode, rdev: 0, target: Vec::new() };
            let ino = state.create(caller, folder, name, node)?;
            let opened = state.open(ino, options)?;
            Ok((state.known(ino)?, opened))
        })
    }

    fn link(&self, ino: Ino, folder: Ino, name: &[u8]) -> Answer<Attributes> {
        self.with(|state| {
            state.check_takes(folder, name)?;
            check(!state.node(ino)?.is_folder(), ErrorKind::NotPermitted)?;
            check(state.node(ino)?.attributes.link_count > 0, ErrorKind::NotFound)?;
            check(state.find(folder, name)?.is_none(), ErrorKind::Exists)?;
            let time = state.time();
            state.folder_mut(folder)?.add(name, ino);
            state.touch_folder(folder, time)?;
            let node = state.node_mut(ino)?;
            node.attributes.link_count += 1;
            node.attributes.ctime = time;
            state.known(ino)
        })
    }

    fn unlink(&self, folder: Ino, name: &[u8]) -> Answer<()> {
        self.with(|state| state.unlink(folder, name))
    }

    fn remove_folder(&self, folder: Ino, name: &[u8]) -> Answer<()> {
        self.with(|state| state.remove_folder(folder, name))
    }

    fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Answer<()> {
        self.with(|state| state.rename(from, to, mode))
    }

    fn open(&self, ino: Ino, options: OpenOptions) -> Answer<Opened> {
        self.with(|state| state.open(ino, options))
    }

    fn release(&self, handle: HandleId) {
        let mut state = self.state.lock();
        let Some(open) = state.handles.remove(&handle) else { return };
        if let Some(node) = state.nodes.get_mut(&open.ino) {
            node.open_count -= 1;
        }
        state.free_if_unused(open.ino);
    }

    fn read(&self, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes> {
        self.with(|state| {
            let ino = state.open_file(handle, Access::Read)?;
            let node = state.node_mut(ino)?;
            let len = node.attributes.size.saturating_sub(offset).min(u64::from(len));
            Ok(node.content()?.read(offset, len as usize).into())
        })
    }

    fn write(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        drop_set_id: bool,
    ) -> Answer<u32> {
        self.with(|state| {
            let ino = state.open_file(handle, Access::Write)?;
            state.write(ino, (offset, mode), data, drop_set_id)
        })
    }

    fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Answer<()> {
        self.with(|state| {
            let ino = state.open_file(handle, Access::Write)?;
            state.allocate(ino, mode, offset, len)
        })
    }

    fn seek(&self, handle: HandleId, target: SeekTarget, offset: u64) -> Answer<u64> {
        self.with(|state| {
            let open = state.handles.get(&handle).map_or_else(|| fail(ErrorKind::BadHandle), Ok)?;
            let ino = open.ino;
            let size = state.node(ino)?.attributes.size;
            check(offset < size, ErrorKind::NoData)?;
            let content = state.node_mut(ino)?.content()?;
            match target {
                SeekTarget::Data => {
                    content.next_data(offset, size).map_or_else(|| fail(ErrorKind::NoData), Ok)
                }
                SeekTarget::Hole => Ok(content.next_hole(offset, size)),
            }
        })
    }

    fn copy_range(&self, from: (HandleId, u64), to: (HandleId, u64), len: u64) -> Answer<u64> {
        self.with(|state| {
            let source = state.open_file(from.0, Access::Read)?;
            let target = state.open_file(to.0, Access::Write)?;
            state.copy_range((source, from.1), (target, to.1), len)
        })
    }

    fn read_folder(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Answer<Vec<FolderEntry>> {
        self.with(|state| state.list(folder, cookie, count_max, detail))
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Vec<u8>> {
        self.with(|state| {
            state.node(ino)?.xattrs.get(name).cloned().map_or_else(|| fail(ErrorKind::NoData), Ok)
        })
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.with(|state| Ok(state.node(ino)?.xattrs.keys().cloned().collect()))
    }

    fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Answer<()> {
        self.with(|state| state.set_xattr(ino, name, value, mode))
    }

    fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Answer<()> {
        self.with(|state| {
            let time = state.time();
            let node = state.node_mut(ino)?;
            check(node.xattrs.remove(name).is_some(), ErrorKind::NoData)?;
            node.attributes.ctime = time;
            Ok(())
        })
    }

    fn sync(&self, _scope: SyncScope, _level: SyncLevel) -> Answer<()> {
        Answer::Ready(Ok(()))
    }

    fn space(&self) -> Space {
        Space {
            total_bytes: SPACE_BYTES,
            free_bytes: SPACE_BYTES,
            total_inodes: SPACE_INODES,
            free_inodes: SPACE_INODES,
        }
    }

    fn changes(&self) -> Option<Receiver<Change>> {
        self.changes.lock().take()
    }
}

fn fail<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, format!("{kind:?}")))
}

fn check(condition: bool, kind: ErrorKind) -> Result<()> {
    if condition { Ok(()) } else { fail(kind) }
}

/// Whether two names differ by case alone, in the plain sense of the standard library.
fn same_letters(a: &[u8], b: &[u8]) -> bool {
    let lower = |name| String::from_utf8_lossy(name).to_lowercase();
    lower(a) == lower(b)
}
