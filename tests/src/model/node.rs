//! What an inode of the model is.

use std::collections::{BTreeMap, HashMap};

use strongroom_workspace::door::{Attributes, FILE_SIZE_MAX, Ino, Kind, TimeNs};
use strongroom_workspace::error::{ErrorKind, Result};

use super::content::Content;
use super::{check, fail};

pub(super) const SGID: u16 = 0o2000;
const SUID: u16 = 0o4000;
const GROUP_EXECUTE: u16 = 0o0010;
/// First cookie of a real entry; 0 is the start, 1 and 2 are `.` and `..`.
pub(super) const FIRST_COOKIE: u64 = 3;

pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) lookup_count: u64,
    pub(super) open_count: u64,
}

pub(super) enum Body {
    File(Content),
    Folder(Folder),
    Symlink(Vec<u8>),
    Special,
}

pub(super) struct Folder {
    pub(super) parent: Ino,
    pub(super) names: HashMap<Vec<u8>, Entry>,
    pub(super) order: BTreeMap<u64, Vec<u8>>,
    next_cookie: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) ino: Ino,
    cookie: u64,
}

impl Node {
    pub(super) fn new(attributes: Attributes, body: Body) -> Self {
        Self { attributes, body, xattrs: BTreeMap::new(), lookup_count: 0, open_count: 0 }
    }

    pub(super) fn shown(&self) -> Attributes {
        let mut attributes = self.attributes;
        if let Body::File(content) = &self.body {
            attributes.blocks = content.blocks();
        }
        attributes
    }

    pub(super) fn content(&mut self) -> Result<&mut Content> {
        match &mut self.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => fail(ErrorKind::IsDirectory),
            Body::Symlink(_) | Body::Special => fail(ErrorKind::Invalid),
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self.body, Body::Folder(_))
    }

    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        check(size <= FILE_SIZE_MAX, ErrorKind::TooLarge)?;
        let old = self.attributes.size;
        self.content()?.clear(size, old);
        self.attributes.size = size;
        Ok(())
    }

    pub(super) fn touch_content(&mut self, time: TimeNs) {
        self.attributes.mtime = time;
        self.attributes.ctime = time;
    }

    /// A size or owner change by somebody who may not keep them.
    pub(super) fn clear_set_id(&mut self) {
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
    pub(super) fn new(parent: Ino) -> Self {
        Self { parent, names: HashMap::new(), order: BTreeMap::new(), next_cookie: FIRST_COOKIE }
    }

    pub(super) fn add(&mut self, name: &[u8], ino: Ino) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.names.insert(name.to_vec(), Entry { ino, cookie });
        self.order.insert(cookie, name.to_vec());
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(entry) = self.names.remove(name) {
            self.order.remove(&entry.cookie);
        }
    }

    pub(super) fn point(&mut self, name: &[u8], ino: Ino) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.ino = ino;
        }
    }
}

pub(super) fn new_attributes(
    ino: Ino,
    kind: Kind,
    mode: u16,
    owner: (u32, u32),
    time: TimeNs,
) -> Attributes {
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
