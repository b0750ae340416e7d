//! All that the model holds, and what each call does to it.

use std::collections::HashMap;

use strongroom_workspace::door::{
    Access, AllocateMode, Attributes, Caller, FILE_SIZE_MAX, FolderEntry, HandleId, Ino, Kind,
    ListDetail, NAME_LEN_MAX, NewNode, OpenOptions, Opened, RenameMode, SetAttributes, SetTime,
    TARGET_LEN_MAX, TimeNs, WriteMode, XattrMode,
};
use strongroom_workspace::error::{ErrorKind, Result};

use super::content::Content;
use super::node::{Body, FIRST_COOKIE, Folder, Node, SGID, new_attributes};
use super::{Now, check, fail};

/// Names and values of one inode's extended attributes together.
const XATTR_BYTES_MAX: usize = 8192;
/// What each counts beside its bytes.
const XATTR_OVERHEAD: usize = 8;

pub(super) struct State {
    now: Now,
    pub(super) nodes: HashMap<Ino, Node>,
    pub(super) handles: HashMap<HandleId, OpenFile>,
    next_ino: u64,
    next_handle: u64,
}

#[derive(Clone, Copy)]
pub(super) struct OpenFile {
    pub(super) ino: Ino,
    access: Access,
}

impl State {
    /// Nothing but a root folder that belongs to `owner`.
    pub(super) fn new(owner: Caller, now: Now) -> Self {
        let root = new_attributes(Ino::ROOT, Kind::Folder, 0o755, (owner.uid, owner.gid), now());
        let root = Node::new(root, Body::Folder(Folder::new(Ino::ROOT)));
        Self {
            now,
            nodes: HashMap::from([(Ino::ROOT, root)]),
            handles: HashMap::new(),
            next_ino: 2,
            next_handle: 1,
        }
    }

    pub(super) fn time(&self) -> TimeNs {
        (self.now)()
    }

    pub(super) fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    pub(super) fn folder(&self, ino: Ino) -> Result<&Folder> {
        match &self.node(ino)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => fail(ErrorKind::NotDirectory),
        }
    }

    pub(super) fn folder_mut(&mut self, ino: Ino) -> Result<&mut Folder> {
        match &mut self.node_mut(ino)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => fail(ErrorKind::NotDirectory),
        }
    }

    pub(super) fn find(&self, folder: Ino, name: &[u8]) -> Result<Option<Ino>> {
        Ok(self.folder(folder)?.names.get(name).map(|entry| entry.ino))
    }

    fn find_existing(&self, folder: Ino, name: &[u8]) -> Result<Ino> {
        self.find(folder, name)?.map_or_else(|| fail(ErrorKind::NotFound), Ok)
    }

    /// A folder that still has a name, or is the root: only those take entries.
    pub(super) fn check_takes(&self, folder: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        self.folder(folder)?;
        check(self.node(folder)?.attributes.link_count > 0, ErrorKind::NotFound)
    }

    pub(super) fn open_file(&self, handle: HandleId, needs: Access) -> Result<Ino> {
        let open = self.handles.get(&handle).map_or_else(|| fail(ErrorKind::BadHandle), Ok)?;
        let allowed = open.access == Access::ReadWrite || open.access == needs;
        check(allowed, ErrorKind::BadHandle)?;
        Ok(open.ino)
    }

    pub(super) fn known(&mut self, ino: Ino) -> Result<Attributes> {
        let node = self.node_mut(ino)?;
        node.lookup_count += 1;
        Ok(node.shown())
    }

    pub(super) fn touch_folder(&mut self, folder: Ino, time: TimeNs) -> Result<()> {
        self.node_mut(folder)?.touch_content(time);
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        node: NewNode,
    ) -> Result<Ino> {
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

    pub(super) fn open(&mut self, ino: Ino, options: OpenOptions) -> Result<Opened> {
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
        Ok(Opened { handle, keep_cache: true, tells_close: false })
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

    pub(super) fn free_if_unused(&mut self, ino: Ino) {
        let unused = self.nodes.get(&ino).is_some_and(|node| {
            node.attributes.link_count == 0 && node.open_count == 0 && node.lookup_count == 0
        });
        if unused {
            self.nodes.remove(&ino);
        }
    }

    pub(super) fn unlink(&mut self, folder: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let ino = self.find_existing(folder, name)?;
        check(!self.node(ino)?.is_folder(), ErrorKind::IsDirectory)?;
        let time = self.time();
        self.folder_mut(folder)?.remove(name);
        self.touch_folder(folder, time)?;
        self.drop_link(ino, time)
    }

    pub(super) fn remove_folder(&mut self, folder: Ino, name: &[u8]) -> Result<()> {
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

    pub(super) fn rename(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
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

    pub(super) fn set_attributes(
        &mut self,
        ino: Ino,
        changes: SetAttributes,
    ) -> Result<Attributes> {
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

    pub(super) fn write(
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

    pub(super) fn allocate(
        &mut self,
        ino: Ino,
        mode: AllocateMode,
        offset: u64,
        len: u64,
    ) -> Result<()> {
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

    pub(super) fn copy_range(&mut self, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        let available = self.node(from.0)?.attributes.size.saturating_sub(from.1);
        let len = len.min(available);
        let apart = from.1.saturating_add(len) <= to.1 || to.1.saturating_add(len) <= from.1;
        check(from.0 != to.0 || apart, ErrorKind::Invalid)?;
        let data = self.node_mut(from.0)?.content()?.read(from.1, len as usize);
        self.write(to.0, (to.1, WriteMode::At), &data, false).map(u64::from)
    }

    pub(super) fn list(
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

    pub(super) fn set_xattr(
        &mut self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
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

fn check_name(name: &[u8]) -> Result<()> {
    check(name.len() <= NAME_LEN_MAX, ErrorKind::NameTooLong)?;
    let possible =
        !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
    check(possible, ErrorKind::Invalid)
}
