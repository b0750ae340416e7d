//! Rules of operations on names: create, link, unlink, rename, exchange, purge.

use strongroom_crypto::secret::NameKey;
use strongroom_format::ids::Ino;
use strongroom_format::inode::{Content, Entry, Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::name::fold_hash;
use strongroom_format::op::{Fate, Op};

use super::{contradiction, remove_inode};
use crate::tree::map::Value;
use crate::tree::need::Look;
use crate::tree::txn::Txn;

/// Where names of this compartment hash to.
pub struct NameHash(NameKey);

impl NameHash {
    /// Hashes with the compartment's name key.
    pub fn new(key: NameKey) -> Self {
        Self(key)
    }

    /// 56-bit hash of the folded name, never 0.
    pub fn of(&self, name: &[u8]) -> u64 {
        fold_hash(self.0.expose(), name)
    }

    /// The key itself, for the checkpoint root.
    pub fn key(&self) -> &NameKey {
        &self.0
    }
}

type Place<'a> = (Ino, &'a [u8]);

pub(super) fn create(txn: &mut Txn<'_>, hash: &NameHash, op: &Op) -> Look<()> {
    let Op::Create { folder, name, ino, kind, mode, uid, gid, rdev, target, time } = op else {
        return Err(contradiction());
    };
    let is_folder = *kind == Kind::Folder;
    let mut inode = Inode::new(*kind, *mode, (*uid, *gid), *folder, *time);
    (inode.rdev, inode.size) = (*rdev, target.len() as u64);
    if *kind == Kind::Symlink {
        inode.content = Content::Target(target.clone());
    }
    txn.put_inode(*ino, inode);
    add_name(txn, hash, (*folder, name), *ino, *kind)?;
    touch_folder(txn, *folder, if is_folder { 1 } else { 0 }, *time)
}

pub(super) fn link(
    txn: &mut Txn<'_>,
    hash: &NameHash,
    ino: Ino,
    at: Place<'_>,
    time: i64,
) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    if inode.link_count == 0 {
        // It comes back: somebody removed the last name while somebody else went on with the file.
        inode.parent = at.0;
        txn.remove(Key::orphan(ino));
    }
    inode.link_count += 1;
    inode.ctime = time;
    let kind = inode.kind;
    txn.put_inode(ino, inode);
    add_name(txn, hash, at, ino, kind)?;
    touch_folder(txn, at.0, 0, time)
}

pub(super) fn unlink(
    txn: &mut Txn<'_>,
    hash: &NameHash,
    at: Place<'_>,
    ino: Ino,
    fate: Fate,
    time: i64,
) -> Look<()> {
    let removed = remove_name(txn, hash, at)?;
    if removed.ino != ino {
        return Err(contradiction());
    }
    let lost_folder = if removed.kind == Kind::Folder { -1 } else { 0 };
    drop_link(txn, ino, fate, time)?;
    touch_folder(txn, at.0, lost_folder, time)
}

pub(super) fn rename(txn: &mut Txn<'_>, hash: &NameHash, op: &Op) -> Look<()> {
    let Op::Rename { from, from_name, to, to_name, ino, replaced, fate, time } = op else {
        return Err(contradiction());
    };
    let moved = remove_name(txn, hash, (*from, from_name))?;
    if moved.ino != *ino {
        return Err(contradiction());
    }
    let folder_moves = moved.kind == Kind::Folder;
    let mut to_delta = i64::from(folder_moves);
    if *replaced != Ino(0) {
        let gone = remove_name(txn, hash, (*to, to_name))?;
        if gone.ino != *replaced {
            return Err(contradiction());
        }
        to_delta -= i64::from(gone.kind == Kind::Folder);
        drop_link(txn, *replaced, *fate, *time)?;
    }
    add_name(txn, hash, (*to, to_name), *ino, moved.kind)?;
    set_parent(txn, *ino, *to, *time)?;
    touch_folder(txn, *from, -i64::from(folder_moves), *time)?;
    touch_folder(txn, *to, to_delta, *time)
}

pub(super) fn exchange(
    txn: &mut Txn<'_>,
    hash: &NameHash,
    first: Place<'_>,
    second: Place<'_>,
    time: i64,
) -> Look<()> {
    let a = remove_name(txn, hash, first)?;
    let b = remove_name(txn, hash, second)?;
    add_name(txn, hash, first, b.ino, b.kind)?;
    add_name(txn, hash, second, a.ino, a.kind)?;
    set_parent(txn, a.ino, second.0, time)?;
    set_parent(txn, b.ino, first.0, time)?;
    let folders = |kind| i64::from(kind == Kind::Folder);
    let delta = folders(b.kind) - folders(a.kind);
    touch_folder(txn, first.0, delta, time)?;
    touch_folder(txn, second.0, -delta, time)
}

pub(super) fn purge(txn: &mut Txn<'_>, ino: Ino) -> Look<()> {
    let inode = txn.inode(ino)?;
    if inode.link_count != 0 {
        return Err(contradiction());
    }
    remove_inode(txn, ino, &inode)?;
    txn.remove(Key::orphan(ino));
    Ok(())
}

/// Inodes that operations take a name from and say at once that they are purged.
pub(crate) fn purged_names(ops: &[Op]) -> impl Iterator<Item = Ino> {
    ops.windows(2).filter_map(|pair| purged_name(&pair[0], &pair[1]))
}

/// The inode that an operation takes a name from, if the one before it says that it is purged.
pub(crate) fn purged_name(before: &Op, op: &Op) -> Option<Ino> {
    match (before, op) {
        (Op::Expunge { inos }, Op::Unlink { ino, .. }) => inos.contains(ino).then_some(*ino),
        _ => None,
    }
}

fn add_name(txn: &mut Txn<'_>, hash: &NameHash, at: Place<'_>, ino: Ino, kind: Kind) -> Look<()> {
    let (folder, name) = at;
    let position = txn.free_place(folder, hash.of(name))?;
    let entry = Entry { name: name.to_vec(), ino, kind };
    txn.put(Key::entry(folder, position), Value::Entry(entry.into()));
    Ok(())
}

fn remove_name(txn: &mut Txn<'_>, hash: &NameHash, at: Place<'_>) -> Look<Entry> {
    let (folder, name) = at;
    let found = txn.find_entry(folder, hash.of(name), name)?;
    let (position, entry) = found.ok_or_else(contradiction)?;
    txn.remove(Key::entry(folder, position));
    Ok((*entry).clone())
}

/// One name fewer; the last one takes the inode along or makes it an orphan.
fn drop_link(txn: &mut Txn<'_>, ino: Ino, fate: Fate, time: i64) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    let last = inode.kind == Kind::Folder || inode.link_count <= 1;
    inode.ctime = time;
    if !last {
        inode.link_count -= 1;
        txn.put_inode(ino, inode);
        return Ok(());
    }
    inode.link_count = 0;
    match fate {
        Fate::Remove => remove_inode(txn, ino, &inode),
        Fate::Keep => {
            txn.put_inode(ino, inode);
            txn.put(Key::orphan(ino), Value::Orphan);
            Ok(())
        }
    }
}

fn set_parent(txn: &mut Txn<'_>, ino: Ino, parent: Ino, time: i64) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    inode.parent = parent;
    inode.ctime = time;
    txn.put_inode(ino, inode);
    Ok(())
}

fn touch_folder(txn: &mut Txn<'_>, folder: Ino, folders_delta: i64, time: i64) -> Look<()> {
    let mut inode = (*txn.inode(folder)?).clone();
    let links = i64::from(inode.link_count) + folders_delta;
    inode.link_count = u32::try_from(links).map_err(|_| contradiction())?;
    (inode.mtime, inode.ctime) = (time, time);
    txn.put_inode(folder, inode);
    Ok(())
}
