//! A plain filesystem in memory: the oracle of model tests, and something to mount before any engine.
//!
//! Every rule stands here once, in the shortest form that is right, under one lock. Nothing is sealed, stored
//! or fast. Where POSIX leaves a choice, ext4's answer is taken. Inode numbers count up from 2 in the order of
//! creation, as they do on a workspace's first device.

mod content;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_workspace::door::{
    Access, AllocateMode, Answer, Attributes, Caller, Change, Core, FILE_SIZE_MAX, FolderEntry,
    Folding, HandleId, Ino, Kind, ListDetail, NAME_LEN_MAX, NewNode, OpenOptions, Opened,
    RenameMode, SeekTarget, SetAttributes, SetTime, Space, SyncLevel, SyncScope, TARGET_LEN_MAX,
    TimeNs, WriteMode, XattrMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use content::Content;

const SUID: u16 = 0o4000;
const SGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o0010;
/// First cookie of a real entry; 0 is the start, 1 and 2 are `.` and `..`.
const FIRST_COOKIE: u64 = 3;
/// Names and values of one inode's extended attributes together.
const XATTR_BYTES_MAX: usize = 8192;
/// What each counts beside its bytes.
const XATTR_OVERHEAD: usize = 8;
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

struct State {
    now: Now,
    nodes: HashMap<Ino, Node>,
    handles: HashMap<HandleId, OpenFile>,
    next_ino: u64,
    next_handle: u64,
}

struct Node {
    attributes: Attributes,
    body: Body,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    lookup_count: u64,
    open_count: u64,
}

enum Body {
    File(Content),
    Folder(Folder),
    Symlink(Vec<u8>),
    Special,
}

struct Folder {
    parent: Ino,
    names: HashMap<Vec<u8>, Entry>,
    order: BTreeMap<u64, Vec<u8>>,
    next_cookie: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    ino: Ino,
    cookie: u64,
}

#[derive(Clone, Copy)]
struct OpenFile {
    ino: Ino,
    access: Access,
}

impl Model {
    /// An empty workspace whose root belongs to `owner`.
    pub fn new(owner: Caller, now: Now) -> Self {
        let time = now();
        let mut state = State {
            now,
            nodes: HashMap::new(),
            handles: HashMap::new(),
            next_ino: 2,
            next_handle: 1,
        };
        let root = new_attributes(Ino::ROOT, Kind::Folder, 0o755, (owner.uid, owner.gid), time);
        state.nodes.insert(Ino::ROOT, Node::new(root, Body::Folder(Folder::new(Ino::ROOT))));
        let (sender, receiver) = channel();
        Self { state: Mutex::new(state), sender, changes: Mutex::new(Some(receiver)) }
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

fn check_name(name: &[u8]) -> Result<()> {
    check(name.len() <= NAME_LEN_MAX, ErrorKind::NameTooLong)?;
    let possible =
        !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
    check(possible, ErrorKind::Invalid)
}

fn new_attributes(ino: Ino, kind: Kind, mode: u16, owner: (u32, u32), time: TimeNs) -> Attributes {
    Attributes {
        ino,
        kind,
        mode,
        uid: owner.0,
        gid: owner.1,
        link_count: if kind == Kind::Folder { 2 } else { 1 },
        size: 0,
        blocks: 0,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    }
}

impl Node {
    fn new(attributes: Attributes, body: Body) -> Self {
        Self { attributes, body, xattrs: BTreeMap::new(), lookup_count: 0, open_count: 0 }
    }

    fn shown(&self) -> Attributes {
        let mut attributes = self.attributes;
        if let Body::File(content) = &self.body {
            attributes.blocks = content.blocks();
        }
        attributes
    }

    fn content(&mut self) -> Result<&mut Content> {
        match &mut self.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => fail(ErrorKind::IsDirectory),
            Body::Symlink(_) | Body::Special => fail(ErrorKind::Invalid),
        }
    }

    fn is_folder(&self) -> bool {
        matches!(self.body, Body::Folder(_))
    }

    fn resize(&mut self, size: u64) -> Result<()> {
        check(size <= FILE_SIZE_MAX, ErrorKind::TooLarge)?;
        let old = self.attributes.size;
        self.content()?.clear(size, old);
        self.attributes.size = size;
        Ok(())
    }

    fn touch_content(&mut self, time: TimeNs) {
        self.attributes.mtime = time;
        self.attributes.ctime = time;
    }

    /// A size or owner change by somebody who may not keep them.
    fn clear_set_id(&mut self) {
        if self.is_folder() {
            return;
        }
        self.attributes.mode &= !SUID;
        if self.attributes.mode & GROUP_EXECUTE != 0 {
            self.attributes.mode &= !SGID;
        }
    }
}

impl Folder {
    fn new(parent: Ino) -> Self {
        Self { parent, names: HashMap::new(), order: BTreeMap::new(), next_cookie: FIRST_COOKIE }
    }

    fn add(&mut self, name: &[u8], ino: Ino) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.names.insert(name.to_vec(), Entry { ino, cookie });
        self.order.insert(cookie, name.to_vec());
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(entry) = self.names.remove(name) {
            self.order.remove(&entry.cookie);
        }
    }

    fn point(&mut self, name: &[u8], ino: Ino) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.ino = ino;
        }
    }
}

impl State {
    fn time(&self) -> TimeNs {
        (self.now)()
    }

    fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    fn folder(&self, ino: Ino) -> Result<&Folder> {
        match &self.node(ino)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => fail(ErrorKind::NotDirectory),
        }
    }

    fn folder_mut(&mut self, ino: Ino) -> Result<&mut Folder> {
        match &mut self.node_mut(ino)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => fail(ErrorKind::NotDirectory),
        }
    }

    fn find(&self, folder: Ino, name: &[u8]) -> Result<Option<Ino>> {
        Ok(self.folder(folder)?.names.get(name).map(|entry| entry.ino))
    }

    fn find_existing(&self, folder: Ino, name: &[u8]) -> Result<Ino> {
        self.find(folder, name)?.map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    /// A folder that still has a name, or is the root: only those take entries.
    fn check_takes(&self, folder: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        self.folder(folder)?;
        check(self.node(folder)?.attributes.link_count > 0, ErrorKind::NotFound)
    }

    fn open_file(&self, handle: HandleId, needs: Access) -> Result<Ino> {
        let open = self.handles.get(&handle).map_or_else(|| fail(ErrorKind::BadHandle), Ok)?;
        let allowed = open.access == Access::ReadWrite || open.access == needs;
        check(allowed, ErrorKind::BadHandle)?;
        Ok(open.ino)
    }

    fn known(&mut self, ino: Ino) -> Result<Attributes> {
        let node = self.node_mut(ino)?;
        node.lookup_count += 1;
        Ok(node.shown())
    }

    fn touch_folder(&mut self, folder: Ino, time: TimeNs) -> Result<()> {
        self.node_mut(folder)?.touch_content(time);
        Ok(())
    }

    fn create(&mut self, caller: Caller, folder: Ino, name: &[u8], node: NewNode) -> Result<Ino> {
        self.check_takes(folder, name)?;
        check(self.find(folder, name)?.is_none(), ErrorKind::Exists)?;
        check(node.target.len() <= TARGET_LEN_MAX, ErrorKind::NameTooLong)?;
        let (ino, time) = (Ino(self.next_ino), self.time());
        self.next_ino += 1;
        let parent = self.node(folder)?.attributes;
        let inherits = parent.mode & SGID != 0;
        let owner = (caller.uid, if inherits { parent.gid } else { caller.gid });
        let mut attributes = new_attributes(ino, node.kind, node.mode & 0o7777, owner, time);
        attributes.rdev = node.rdev;
        attributes.size = node.target.len() as u64;
        let body = match node.kind {
            Kind::File => Body::File(Content::default()),
            Kind::Folder => Body::Folder(Folder::new(folder)),
            Kind::Symlink => Body::Symlink(node.target),
            Kind::Fifo | Kind::Socket | Kind::Char | Kind::Block => Body::Special,
        };
        if node.kind == Kind::Folder {
            attributes.mode |= parent.mode & SGID;
            self.node_mut(folder)?.attributes.link_count += 1;
        }
        self.nodes.insert(ino, Node::new(attributes, body));
        self.folder_mut(folder)?.add(name, ino);
        self.touch_folder(folder, time)?;
        Ok(ino)
    }

    fn open(&mut self, ino: Ino, options: OpenOptions) -> Result<Opened> {
        let time = self.time();
        let node = self.node_mut(ino)?;
        node.content()?;
        if options.truncate {
            node.resize(0)?;
            node.touch_content(time);
            if options.drop_set_id {
                node.clear_set_id();
            }
        }
        node.open_count += 1;
        let handle = HandleId(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(handle, OpenFile { ino, access: options.access });
        Ok(Opened { handle, keep_cache: true })
    }

    /// Takes one name away from an inode.
    fn drop_link(&mut self, ino: Ino, time: TimeNs) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.attributes.ctime = time;
        node.attributes.link_count =
            if node.is_folder() { 0 } else { node.attributes.link_count - 1 };
        self.free_if_unused(ino);
        Ok(())
    }

    fn free_if_unused(&mut self, ino: Ino) {
        let unused = self.nodes.get(&ino).is_some_and(|node| {
            node.attributes.link_count == 0 && node.open_count == 0 && node.lookup_count == 0
        });
        if unused {
            self.nodes.remove(&ino);
        }
    }

    fn unlink(&mut self, folder: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let ino = self.find_existing(folder, name)?;
        check(!self.node(ino)?.is_folder(), ErrorKind::IsDirectory)?;
        let time = self.time();
        self.folder_mut(folder)?.remove(name);
        self.touch_folder(folder, time)?;
        self.drop_link(ino, time)
    }

    fn remove_folder(&mut self, folder: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let ino = self.find_existing(folder, name)?;
        check(self.folder(ino)?.names.is_empty(), ErrorKind::NotEmpty)?;
        let time = self.time();
        self.folder_mut(folder)?.remove(name);
        self.node_mut(folder)?.attributes.link_count -= 1;
        self.touch_folder(folder, time)?;
        self.drop_link(ino, time)
    }

    /// Whether `ino` is `folder` or lies above it.
    fn is_above(&self, ino: Ino, folder: Ino) -> Result<bool> {
        let mut at = folder;
        while at != ino && at != Ino::ROOT {
            at = self.folder(at)?.parent;
        }
        Ok(at == ino)
    }

    fn rename(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        check_name(from.1)?;
        check_name(to.1)?;
        self.check_takes(from.0, from.1)?;
        self.check_takes(to.0, to.1)?;
        let ino = self.find_existing(from.0, from.1)?;
        check(!self.is_above(ino, to.0)?, ErrorKind::Invalid)?;
        match (mode, self.find(to.0, to.1)?) {
            (RenameMode::Replace | RenameMode::Exchange, Some(other)) if other == ino => Ok(()),
            (RenameMode::Exchange, Some(other)) => self.exchange((from, ino), (to, other)),
            (RenameMode::Exchange, None) => fail(ErrorKind::NotFound),
            (RenameMode::NoReplace, Some(_)) => fail(ErrorKind::Exists),
            (_, None) => self.move_name(from, to, ino),
            (RenameMode::Replace, Some(other)) => {
                self.check_replaceable(from.0, ino, other)?;
                match self.node(other)?.is_folder() {
                    true => self.remove_folder(to.0, to.1)?,
                    false => self.unlink(to.0, to.1)?,
                }
                self.move_name(from, to, ino)
            }
        }
    }

    fn check_replaceable(&self, from: Ino, ino: Ino, other: Ino) -> Result<()> {
        match (self.node(ino)?.is_folder(), self.node(other)?.is_folder()) {
            (true, false) => fail(ErrorKind::NotDirectory),
            (false, true) => fail(ErrorKind::IsDirectory),
            (false, false) => Ok(()),
            (true, true) => {
                check(!self.is_above(other, from)?, ErrorKind::NotEmpty)?;
                check(self.folder(other)?.names.is_empty(), ErrorKind::NotEmpty)
            }
        }
    }

    /// The target name is free.
    fn move_name(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8]), ino: Ino) -> Result<()> {
        let time = self.time();
        self.folder_mut(from.0)?.remove(from.1);
        self.folder_mut(to.0)?.add(to.1, ino);
        self.reparent(ino, from.0, to.0)?;
        self.node_mut(ino)?.attributes.ctime = time;
        self.touch_folder(from.0, time)?;
        self.touch_folder(to.0, time)
    }

    fn exchange(&mut self, a: ((Ino, &[u8]), Ino), b: ((Ino, &[u8]), Ino)) -> Result<()> {
        check(!self.is_above(b.1, a.0.0)?, ErrorKind::Invalid)?;
        let time = self.time();
        self.folder_mut(a.0.0)?.point(a.0.1, b.1);
        self.folder_mut(b.0.0)?.point(b.0.1, a.1);
        self.reparent(a.1, a.0.0, b.0.0)?;
        self.reparent(b.1, b.0.0, a.0.0)?;
        for ino in [a.1, b.1] {
            self.node_mut(ino)?.attributes.ctime = time;
        }
        self.touch_folder(a.0.0, time)?;
        self.touch_folder(b.0.0, time)
    }

    fn reparent(&mut self, ino: Ino, from: Ino, to: Ino) -> Result<()> {
        if from == to || !self.node(ino)?.is_folder() {
            return Ok(());
        }
        self.folder_mut(ino)?.parent = to;
        self.node_mut(from)?.attributes.link_count -= 1;
        self.node_mut(to)?.attributes.link_count += 1;
        Ok(())
    }

    fn set_attributes(&mut self, ino: Ino, changes: SetAttributes) -> Result<Attributes> {
        let time = self.time();
        let node = self.node_mut(ino)?;
        if let Some(size) = changes.size {
            node.resize(size)?;
            node.touch_content(time);
        }
        if changes.drop_set_id {
            node.clear_set_id();
        }
        let set = |to: Option<SetTime>, old: TimeNs| match to {
            None => old,
            Some(SetTime::Now) => time,
            Some(SetTime::At(at)) => at,
        };
        let attributes = &mut node.attributes;
        attributes.mode = changes.mode.map_or(attributes.mode, |mode| mode & 0o7777);
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        attributes.atime = set(changes.atime, attributes.atime);
        attributes.mtime = set(changes.mtime, attributes.mtime);
        attributes.ctime = time;
        Ok(node.shown())
    }

    fn write(
        &mut self,
        ino: Ino,
        at: (u64, WriteMode),
        data: &[u8],
        drop_set_id: bool,
    ) -> Result<u32> {
        let time = self.time();
        let node = self.node_mut(ino)?;
        let size = node.attributes.size;
        let offset = if at.1 == WriteMode::Append { size } else { at.0 };
        let data = match at.1 {
            WriteMode::WithinSize => &data[..data.len().min(size.saturating_sub(offset) as usize)],
            WriteMode::At | WriteMode::Append => data,
        };
        if data.is_empty() {
            return Ok(0);
        }
        let end = offset.saturating_add(data.len() as u64);
        check(end <= FILE_SIZE_MAX, ErrorKind::TooLarge)?;
        node.content()?.write(offset, data);
        node.attributes.size = size.max(end);
        node.touch_content(time);
        if drop_set_id {
            node.clear_set_id();
        }
        Ok(data.len() as u32)
    }

    fn allocate(&mut self, ino: Ino, mode: AllocateMode, offset: u64, len: u64) -> Result<()> {
        check(len > 0, ErrorKind::Invalid)?;
        let end = offset.saturating_add(len);
        check(end <= FILE_SIZE_MAX, ErrorKind::TooLarge)?;
        let time = self.time();
        let node = self.node_mut(ino)?;
        match mode {
            AllocateMode::Extend | AllocateMode::KeepSize => {}
            AllocateMode::PunchHole | AllocateMode::ZeroRange | AllocateMode::ZeroRangeKeepSize => {
                node.content()?.clear(offset, end);
            }
        }
        if matches!(mode, AllocateMode::Extend | AllocateMode::ZeroRange) {
            node.attributes.size = node.attributes.size.max(end);
        }
        if mode != AllocateMode::KeepSize {
            node.touch_content(time);
        }
        Ok(())
    }

    fn copy_range(&mut self, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        let available = self.node(from.0)?.attributes.size.saturating_sub(from.1);
        let len = len.min(available);
        let apart = from.1.saturating_add(len) <= to.1 || to.1.saturating_add(len) <= from.1;
        check(from.0 != to.0 || apart, ErrorKind::Invalid)?;
        let data = self.node_mut(from.0)?.content()?.read(from.1, len as usize);
        self.write(to.0, (to.1, WriteMode::At), &data, false).map(u64::from)
    }

    fn list(
        &self,
        ino: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Result<Vec<FolderEntry>> {
        let folder = self.folder(ino)?;
        let dots = [(1, b".".as_slice(), ino), (2, b"..".as_slice(), folder.parent)];
        let after = FIRST_COOKIE.max(cookie.saturating_add(1));
        let real = folder
            .order
            .range(after..)
            .map(|(cookie, name)| (*cookie, name.as_slice(), folder.names[name.as_slice()].ino));
        dots.into_iter()
            .filter(|(at, _, _)| *at > cookie)
            .chain(real)
            .take(count_max as usize)
            .map(|(cookie, name, ino)| {
                let attributes = self.node(ino)?.shown();
                Ok(FolderEntry {
                    name: name.to_vec(),
                    ino,
                    kind: attributes.kind,
                    cookie,
                    attributes: (detail == ListDetail::Attributes).then_some(attributes),
                })
            })
            .collect()
    }

    fn set_xattr(&mut self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let time = self.time();
        let node = self.node_mut(ino)?;
        match (mode, node.xattrs.contains_key(name)) {
            (XattrMode::CreateOnly, true) => return fail(ErrorKind::Exists),
            (XattrMode::ReplaceOnly, false) => return fail(ErrorKind::NoData),
            _ => {}
        }
        let others: usize = node
            .xattrs
            .iter()
            .filter(|(other, _)| other.as_slice() != name)
            .map(|(other, value)| XATTR_OVERHEAD + other.len() + value.len())
            .sum();
        let own = XATTR_OVERHEAD + name.len() + value.len();
        check(others + own <= XATTR_BYTES_MAX, ErrorKind::Full)?;
        node.xattrs.insert(name.to_vec(), value.to_vec());
        node.attributes.ctime = time;
        Ok(())
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
