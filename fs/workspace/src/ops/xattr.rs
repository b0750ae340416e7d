//! Extended attributes, and the two that are the workspace's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_format::inode::XATTR_BYTES_MAX;
use strongroom_format::op::Op;

use super::ask::ASK_PREFIX;
use crate::door::{Answer, Ino, NAME_LEN_MAX, XattrMode};
use crate::error::{Error, ErrorKind};
use crate::history::keep::{KEEP_XATTR, check_rule};
use crate::outbound::commit::Reason;
use crate::state::fail;
use crate::workspace::{Inner, Workspace};

/// Reading it on the root gives the status as JSON.
pub const STATUS_XATTR: &[u8] = b"user.strongroom.status";
/// Setting it on the root asks for a commit of everything; status tells the rest. Reading it answers, with nothing,
/// when everything is committed.
pub const SYNC_XATTR: &[u8] = b"user.strongroom.sync";
/// What an attribute takes beside name and value, so that any inode fits a page.
const XATTR_OVERHEAD: usize = 8;

impl Inner {
    pub(super) fn xattr(self: &Arc<Self>, ino: Ino, name: &[u8]) -> Answer<Vec<u8>> {
        if ino == Ino::ROOT && name == STATUS_XATTR {
            return Answer::Ready(Ok(Workspace(self.clone()).status().to_json().into_bytes()));
        }
        if ino == Ino::ROOT && name == SYNC_XATTR {
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            return self.blocking(|inner| inner.commit(Reason::Asked).map(|()| Vec::new()));
        }
        if let Some(token) = asked(ino, name) {
            return self.reply(token);
        }
        let name = name.to_vec();
        self.run(move |_, state| {
            let inode = state.inode(ino)?;
            let found = inode.xattrs.iter().find(|xattr| xattr.name == name);
            found.map(|xattr| xattr.value.clone()).ok_or_else(no_such)
        })
    }

    pub(super) fn xattr_names(self: &Arc<Self>, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.run(move |_, state| {
            Ok(state.inode(ino)?.xattrs.iter().map(|xattr| xattr.name.clone()).collect())
        })
    }

    pub(super) fn set_xattr(
        self: &Arc<Self>,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Answer<()> {
        if ino == Ino::ROOT && name == SYNC_XATTR {
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            self.ask_commit();
            return Answer::Ready(Ok(()));
        }
        if let Some(token) = asked(ino, name) {
            self.asked(token, value);
            return Answer::Ready(Ok(()));
        }
        if ino == Ino::ROOT
            && name == KEEP_XATTR
            && let Err(error) = check_rule(value)
        {
            return Answer::Ready(Err(error));
        }
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            return Answer::Ready(Err(Error::new(ErrorKind::Range, "length of an attribute name")));
        }
        let (name, value) = (name.to_vec(), value.to_vec());
        let (time, now) = self.times();
        self.change(move |_, state, journal| {
            let inode = state.inode(ino)?;
            let exists = inode.xattrs.iter().any(|xattr| xattr.name == name);
            match (mode, exists) {
                (XattrMode::CreateOnly, true) => {
                    return Err(fail(ErrorKind::Exists, "the attribute exists"));
                }
                (XattrMode::ReplaceOnly, false) => return Err(no_such()),
                (XattrMode::Either | XattrMode::CreateOnly | XattrMode::ReplaceOnly, _) => {}
            }
            let others = inode.xattrs.iter().filter(|xattr| xattr.name != name);
            let bytes: usize =
                others.map(|xattr| XATTR_OVERHEAD + xattr.name.len() + xattr.value.len()).sum();
            if bytes + XATTR_OVERHEAD + name.len() + value.len() > XATTR_BYTES_MAX {
                return Err(fail(ErrorKind::Full, "extended attributes take at most 8 KiB a file"));
            }
            let value = Some(value.clone());
            state.execute(journal, now, &Op::SetXattr { ino, name: name.clone(), value, time })
        })
    }

    pub(super) fn remove_xattr(self: &Arc<Self>, ino: Ino, name: &[u8]) -> Answer<()> {
        let name = name.to_vec();
        let (time, now) = self.times();
        self.change(move |_, state, journal| {
            if !state.inode(ino)?.xattrs.iter().any(|xattr| xattr.name == name) {
                return Err(no_such());
            }
            let op = Op::SetXattr { ino, name: name.clone(), value: None, time };
            state.execute(journal, now, &op)
        })
    }
}

/// The token of a request, if an attribute is one.
fn asked(ino: Ino, name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(ASK_PREFIX).filter(|_| ino == Ino::ROOT)
}

fn no_such() -> crate::tree::need::Need {
    fail(ErrorKind::NoData, "no such extended attribute")
}
