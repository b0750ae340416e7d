//! Lookup, attributes, symlink targets.

use std::sync::Arc;

use strongroom_format::inode::{Content, Inode, Kind};
use strongroom_format::name;
use strongroom_format::op::Op;
use strongroom_journal::Journal;

use crate::door::{
    Answer, Attributes, FILE_SIZE_MAX, Folding, Ino, NAME_LEN_MAX, SetAttributes, SetTime,
};
use crate::error::{Error, ErrorKind, Result};
use crate::state::{State, fail};
use crate::tree::need::Look;
use crate::workspace::Inner;

const SUID: u16 = 0o4000;
const SGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o0010;

/// Mode without suid, and without sgid where the group may execute.
pub(super) fn without_set_id(mode: u16) -> u16 {
    let mode = mode & !SUID;
    if mode & GROUP_EXECUTE != 0 { mode & !SGID } else { mode }
}

/// Checks a name that is to be made or found.
pub(super) fn check_name(bytes: &[u8]) -> Result<()> {
    if bytes.len() > NAME_LEN_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, "a name has at most 255 bytes"));
    }
    name::check(bytes).map_err(|_| Error::new(ErrorKind::Invalid, "not a name"))
}

impl State {
    /// Attributes of an inode, also of one that lost its last name but is still known.
    pub(super) fn attributes(&self, ino: Ino) -> Look<Attributes> {
        if let Some(inode) = self.find_inode(ino)? {
            return Ok(self.attributes_of(ino, &inode));
        }
        match self.files.get(&ino).and_then(|file| file.ghost.as_ref()) {
            Some(ghost) => Ok(self.attributes_of(ino, ghost)),
            None => Err(fail(ErrorKind::Stale, "the inode is gone")),
        }
    }

    /// Attributes from an inode.
    pub(super) fn attributes_of(&self, ino: Ino, inode: &Inode) -> Attributes {
        let unsealed = self.files.get(&ino).map_or(0, |file| file.dirty.bytes());
        let inline = match &inode.content {
            Content::Inline(data) => data.len() as u64,
            Content::Empty
            | Content::Target(_)
            | Content::Extents(_)
            | Content::Mapped
            | Content::Purged => 0,
        };
        let bytes = (inode.allocated + unsealed + inline).min(inode.size.next_multiple_of(4096));
        Attributes {
            ino,
            kind: inode.kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            link_count: inode.link_count,
            size: inode.size,
            blocks: bytes.div_ceil(512),
            rdev: inode.rdev,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            btime: inode.btime,
        }
    }

    /// Raises the lookup count.
    pub(super) fn count_lookup(&mut self, ino: Ino) {
        *self.lookups.entry(ino).or_default() += 1;
    }
}

impl Inner {
    pub(super) fn lookup(
        self: &Arc<Self>,
        folder: Ino,
        name: &[u8],
        folding: Folding,
    ) -> Answer<Attributes> {
        if name.len() > NAME_LEN_MAX {
            return Answer::Ready(check_name(name).map(|()| unreachable!("too long")));
        }
        let name = name.to_vec();
        self.run(move |_, state| {
            let parent = state.live_folder(folder)?;
            let ino = match name.as_slice() {
                b"." => folder,
                b".." => parent.parent,
                name => state.find_name(folder, name, folding)?,
            };
            let attributes = state.attributes(ino)?;
            state.count_lookup(ino);
            Ok(attributes)
        })
    }

    pub(super) fn attributes(self: &Arc<Self>, ino: Ino) -> Answer<Attributes> {
        self.run(move |_, state| state.attributes(ino))
    }

    pub(super) fn read_link(self: &Arc<Self>, ino: Ino) -> Answer<Vec<u8>> {
        self.run(move |_, state| match &state.inode(ino)?.content {
            Content::Target(target) => Ok(target.clone()),
            _ => Err(fail(ErrorKind::Invalid, "not a symlink")),
        })
    }

    pub(super) fn set_attributes(
        self: &Arc<Self>,
        ino: Ino,
        changes: SetAttributes,
    ) -> Answer<Attributes> {
        if changes.size.is_some_and(|size| size > FILE_SIZE_MAX) {
            let message = "past the largest file size";
            return Answer::Ready(Err(Error::new(ErrorKind::TooLarge, message)));
        }
        let (now_ns, now) = self.times();
        let set = move |_: &Inner, state: &mut State, journal: &Journal| -> Look<Attributes> {
            let inode = state.inode(ino)?;
            if changes.size.is_some() && inode.kind != Kind::File {
                let kind = if inode.kind == Kind::Folder {
                    ErrorKind::IsDirectory
                } else {
                    ErrorKind::Invalid
                };
                return Err(fail(kind, "only a regular file has a size to set"));
            }
            state.execute(journal, now, &attributes_op(ino, &inode, &changes, now_ns))?;
            state.attributes(ino)
        };
        match changes.size {
            Some(size) => self.thinned(ino, size..u64::MAX, move |inner| inner.change(set)),
            None => self.change(set),
        }
    }
}

/// The operation that a request for new attributes comes to.
fn attributes_op(ino: Ino, inode: &Inode, changes: &SetAttributes, now_ns: i64) -> Op {
    let time = |set: SetTime| match set {
        SetTime::Now => now_ns,
        SetTime::At(time) => time,
    };
    let drops = changes.drop_set_id && inode.kind != Kind::Folder;
    let mode = match (changes.mode, drops) {
        (Some(mode), _) => Some(mode & 0o7777),
        (None, true) if without_set_id(inode.mode) != inode.mode => {
            Some(without_set_id(inode.mode))
        }
        (None, _) => None,
    };
    let resized = changes.size.map(|_| now_ns);
    Op::SetAttributes {
        ino,
        mode,
        uid: changes.uid,
        gid: changes.gid,
        size: changes.size,
        atime: changes.atime.map(time),
        mtime: changes.mtime.map(time).or(resized),
        time: now_ns,
    }
}
