//! New nodes and new names.

use std::sync::Arc;
use std::time::Duration;

use strongroom_format::inode::Kind;
use strongroom_format::op::Op;
use strongroom_journal::Journal;

use super::attributes::check_name;
use crate::door::{Answer, Attributes, Caller, Ino, NewNode, OpenOptions, Opened, TARGET_LEN_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::LINK_COUNT_MAX;
use crate::state::{State, fail};
use crate::tree::need::Look;
use crate::workspace::Inner;

const SGID: u16 = 0o2000;

impl Inner {
    /// Wall clock in nanoseconds, and elapsed time.
    pub(super) fn times(&self) -> (i64, Duration) {
        (self.services.clock.now_ns(), self.services.clock.elapsed())
    }

    pub(super) fn create(
        self: &Arc<Self>,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        node: NewNode,
    ) -> Answer<Attributes> {
        if let Err(error) = check_node(name, &node) {
            return Answer::Ready(Err(error));
        }
        let (name, times) = (name.to_vec(), self.times());
        self.change(move |_, state, journal| {
            let ino = make(state, journal, times, caller, (folder, &name), &node)?;
            state.count_lookup(ino);
            state.attributes(ino)
        })
    }

    pub(super) fn create_open(
        self: &Arc<Self>,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        mode: u16,
        options: OpenOptions,
    ) -> Answer<(Attributes, Opened)> {
        let node = NewNode { kind: Kind::File, mode, rdev: 0, target: Vec::new() };
        if let Err(error) = check_node(name, &node) {
            return Answer::Ready(Err(error));
        }
        let (name, times) = (name.to_vec(), self.times());
        self.change(move |_, state, journal| {
            let ino = make(state, journal, times, caller, (folder, &name), &node)?;
            state.count_lookup(ino);
            Ok((state.attributes(ino)?, state.open_handle(ino, options)))
        })
    }

    pub(super) fn link(self: &Arc<Self>, ino: Ino, folder: Ino, name: &[u8]) -> Answer<Attributes> {
        if let Err(error) = check_name(name) {
            return Answer::Ready(Err(error));
        }
        let (name, (time, now)) = (name.to_vec(), self.times());
        self.change(move |_, state, journal| {
            state.live_folder(folder)?;
            let inode = state.inode(ino)?;
            if inode.kind == Kind::Folder {
                return Err(fail(ErrorKind::NotPermitted, "a folder has one name"));
            }
            if inode.link_count == 0 {
                return Err(fail(ErrorKind::NotFound, "the file has no name left"));
            }
            if inode.link_count >= LINK_COUNT_MAX {
                return Err(fail(ErrorKind::TooManyLinks, "the file has 65,000 names"));
            }
            if state.entry(folder, &name)?.is_some() {
                return Err(fail(ErrorKind::Exists, "the name is taken"));
            }
            let op = Op::Link { ino, folder, name: name.clone(), time };
            state.execute(journal, now, &op)?;
            state.count_lookup(ino);
            state.attributes(ino)
        })
    }
}

fn check_node(name: &[u8], node: &NewNode) -> Result<()> {
    check_name(name)?;
    if node.target.len() > TARGET_LEN_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, "a symlink target has at most 4095 bytes"));
    }
    Ok(())
}

fn make(
    state: &mut State,
    journal: &Journal,
    times: (i64, Duration),
    caller: Caller,
    at: (Ino, &[u8]),
    node: &NewNode,
) -> Look<Ino> {
    let (folder, name) = at;
    let parent = state.live_folder(folder)?;
    if state.entry(folder, name)?.is_some() {
        return Err(fail(ErrorKind::Exists, "the name is taken"));
    }
    let inherits = parent.mode & SGID != 0;
    let inherited_bit = if inherits && node.kind == Kind::Folder { SGID } else { 0 };
    let ino = state.numbers.next();
    let op = Op::Create {
        folder,
        name: name.to_vec(),
        ino,
        kind: node.kind,
        mode: (node.mode & 0o7777) | inherited_bit,
        uid: caller.uid,
        gid: if inherits { parent.gid } else { caller.gid },
        rdev: node.rdev,
        target: node.target.clone(),
        time: times.0,
    };
    state.execute(journal, times.1, &op)?;
    Ok(ino)
}
