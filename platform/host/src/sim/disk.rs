//! A disk in memory that keeps apart what programs see and what is durable, and that fails on demand.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Chance;
use super::file::Change;
use super::tree::{FileNode, NameChange, Node, Operation, Tree};
use crate::disk::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

/// Kinds of calls that can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Opening an existing file.
    Open,
    /// Making a file, folder, link or lock.
    Create,
    /// Reading a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Reserving space for a file.
    Allocate,
    /// Making a file durable.
    Sync,
    /// Renaming.
    Rename,
    /// Removing a file or folder.
    Remove,
    /// Listing a folder.
    List,
    /// Making a folder's names durable.
    SyncFolder,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Once.
    Once,
    /// From its first time on.
    ForEver,
}

/// A planned failure.
pub struct Fault {
    act: Act,
    matches: Matcher,
    skip_count: u64,
    lasting: Lasting,
    errno: i32,
}

/// What a disk was asked to do so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `read_at`.
    pub reads: u64,
    /// Bytes they gave.
    pub read_bytes: u64,
    /// Calls of `write_at`.
    pub writes: u64,
    /// Bytes they took.
    pub written_bytes: u64,
    /// Calls of `sync_data`.
    pub syncs: u64,
    /// Calls of `sync_folder`.
    pub folder_syncs: u64,
    /// Calls of `open`, `lock` included.
    pub opens: u64,
    /// Renames, links and removals.
    pub name_changes: u64,
}

/// A simulated disk; clones are the same disk.
///
/// A write is visible at once and durable after `sync_data` of its file; a name is visible at once and durable
/// after `sync_folder` of its folder, even if its file was synced. After a failed `sync_data` some of the file's
/// unsynced bytes are lost for good though still visible, and the next sync says yes: as Linux does it.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
}

/// An open file of a simulated disk.
struct SimFile {
    shared: Arc<Mutex<State>>,
    node: FileNode,
    path: PathBuf,
    mode: OpenMode,
}

struct SimLock {
    shared: Arc<Mutex<State>>,
    path: PathBuf,
}

type Matcher = Box<dyn Fn(&Path) -> bool + Send>;

struct State {
    tree: Tree,
    chance: Chance,
    faults: Vec<Fault>,
    skipped_syncs: Vec<Matcher>,
    capacity_bytes: Option<u64>,
    counts: Counts,
    change_count: u64,
    changes_until_power_off: Option<u64>,
    locks: HashSet<PathBuf>,
    renaming: Renaming,
}

/// How a file gets a name that must be free.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renaming {
    AtOnce,
    /// A second name, then the first one goes: on file systems that cannot do it at once.
    ByLink,
}

impl Fault {
    /// The next `act` on a path for which `matches` says yes fails, once, with an I/O error.
    pub fn new(act: Act, matches: impl Fn(&Path) -> bool + Send + 'static) -> Self {
        let errno = libc::EIO;
        Fault { act, matches: Box::new(matches), skip_count: 0, lasting: Lasting::Once, errno }
    }

    /// The first `count` times pass.
    pub fn after(self, count: u64) -> Self {
        Fault { skip_count: count, ..self }
    }

    /// It does not end.
    pub fn for_ever(self) -> Self {
        Fault { lasting: Lasting::ForEver, ..self }
    }

    /// With "no space" instead.
    pub fn full(self) -> Self {
        self.errno(libc::ENOSPC)
    }

    /// With another number of the machine's.
    pub fn errno(self, errno: i32) -> Self {
        Fault { errno, ..self }
    }
}

impl SimDisk {
    /// An empty disk without limits. The seed decides what a failed sync loses.
    pub fn new(seed: u64) -> Self {
        SimDisk::over(Tree::new(), seed, None)
    }

    fn over(tree: Tree, seed: u64, capacity_bytes: Option<u64>) -> Self {
        let state = State {
            tree,
            chance: Chance::new(seed),
            faults: Vec::new(),
            skipped_syncs: Vec::new(),
            capacity_bytes,
            counts: Counts::default(),
            change_count: 0,
            changes_until_power_off: None,
            locks: HashSet::new(),
            renaming: Renaming::AtOnce,
        };
        SimDisk { shared: Arc::new(Mutex::new(state)) }
    }

    /// The disk after a loss of power: of what was not synced, chance keeps none, all, a beginning or some, torn at
    /// any byte. This disk stays as it is, so many such images can be taken of one moment. Faults, skipped
    /// syncs, counts and locks do not pass over.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let mut chance = Chance::new(seed);
        let state = self.shared.lock();
        let mut tree = state.tree.crash(&mut chance);
        tree.copy_files(&mut |file| file.crash(&mut chance));
        SimDisk::over(tree, chance.next_u64(), state.capacity_bytes)
    }

    /// The disk after the end of the process alone: everything visible is still there, synced or not.
    pub fn kill(&self) -> SimDisk {
        let mut state = self.shared.lock();
        let mut tree = state.tree.clone();
        tree.copy_files(&mut |file| file.clone());
        let seed = state.chance.next_u64();
        SimDisk::over(tree, seed, state.capacity_bytes)
    }

    /// Plans a failure.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Forgets all planned failures.
    pub fn heal(&self) {
        self.shared.lock().faults.clear();
    }

    /// Syncs of matching files and folders do nothing from now on and say yes: a deliberately broken program.
    pub fn skip_syncs(&self, matches: impl Fn(&Path) -> bool + Send + 'static) {
        self.shared.lock().skipped_syncs.push(Box::new(matches));
    }

    /// From now on `rename_new` is a link and a removal, and whatever ends may end between the two.
    pub fn rename_by_link(&self) {
        self.shared.lock().renaming = Renaming::ByLink;
    }

    /// Files may take this much in all; beyond is "no space".
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.shared.lock().capacity_bytes = capacity_bytes;
    }

    /// Files may take this much more than they do now.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = self.shared.lock();
        let used = state.used_bytes();
        state.capacity_bytes = Some(used + bytes);
    }

    /// After this many more changes (everything but reads and lists) every call fails: the moment for [`SimDisk::crash`].
    pub fn power_off_after(&self, change_count: u64) {
        self.shared.lock().changes_until_power_off = Some(change_count);
    }

    /// Whether power went, so that every call fails.
    pub fn is_off(&self) -> bool {
        self.shared.lock().changes_until_power_off == Some(0)
    }

    /// Changes so far: the number of moments at which power can go.
    pub fn change_count(&self) -> u64 {
        self.shared.lock().change_count
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Changes the bytes of a file, visible and durable: damage, or an attacker at the disk.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let state = self.shared.lock();
        let (folder, name) = state.tree.parent(path)?;
        let Some(Node::File(file)) = state.tree.find(folder, &name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.lock().tamper(change);
        Ok(())
    }
}

impl State {
    /// Counts a call and lets planned failures strike.
    fn begin(&mut self, act: Act, path: &Path) -> io::Result<()> {
        let is_change = !matches!(act, Act::Open | Act::Read | Act::List);
        if let Some(left) = &mut self.changes_until_power_off {
            if *left == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            *left -= u64::from(is_change);
        }
        self.change_count += u64::from(is_change);
        let matching = |fault: &Fault| fault.act == act && (fault.matches)(path);
        let Some(index) = self.faults.iter().position(matching) else { return Ok(()) };
        let fault = &mut self.faults[index];
        if fault.skip_count > 0 {
            fault.skip_count -= 1;
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(fault.errno);
        if fault.lasting == Lasting::Once {
            self.faults.remove(index);
        }
        Err(error)
    }

    fn is_skipped(&self, path: &Path) -> bool {
        self.skipped_syncs.iter().any(|matches| matches(path))
    }

    fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.capacity_bytes else { return u64::MAX };
        capacity.saturating_sub(self.used_bytes())
    }

    fn used_bytes(&self) -> u64 {
        self.tree.files().iter().map(|file| file.lock().used_bytes()).sum()
    }

    fn change_name(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let (folder, name) = self.tree.parent(path)?;
        self.tree.apply(Operation { changes: vec![NameChange { folder, name, node }] });
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let (folder, name) = self.tree.parent(path)?;
        self.tree.find(folder, &name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from, to) = (self.tree.parent(from)?, self.tree.parent(to)?);
        if from == to {
            return Ok(());
        }
        match (&node, self.tree.find(to.0, &to.1)) {
            (Node::File(_), Some(Node::Folder(_))) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Node::Folder(_), Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            // Two names of one file: POSIX leaves both.
            (Node::File(a), Some(Node::File(b))) if Arc::ptr_eq(a, b) => return Ok(()),
            _ => {}
        }
        let goes = NameChange { folder: from.0, name: from.1, node: None };
        let comes = NameChange { folder: to.0, name: to.1, node: Some(node) };
        self.tree.apply(Operation { changes: vec![goes, comes] });
        Ok(())
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<FileNode> {
        let found = self.find(path);
        let creates = matches!(mode, OpenMode::Create | OpenMode::CreateNew);
        match found {
            Ok(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            Ok(Node::File(_)) if mode == OpenMode::CreateNew => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Ok(Node::File(file)) => {
                self.begin(Act::Open, path)?;
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && creates => {
                self.begin(Act::Create, path)?;
                let file = FileNode::default();
                self.change_name(path, Some(Node::File(Arc::clone(&file))))?;
                Ok(file)
            }
            Err(error) => Err(error),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.shared.lock();
        state.counts.opens += 1;
        let node = state.open(path, mode)?;
        let (shared, path) = (Arc::clone(&self.shared), path.to_path_buf());
        Ok(Arc::new(SimFile { shared, node, path, mode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin(Act::Rename, to)?;
        state.counts.name_changes += 1;
        state.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin(Act::Rename, to)?;
        state.counts.name_changes += 1;
        let node = state.find(from)?;
        match state.find(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) if state.renaming == Renaming::AtOnce => state.rename(from, to),
            Err(_) => {
                state.change_name(to, Some(node))?;
                state.begin(Act::Remove, from)?;
                state.change_name(from, None)
            }
        }
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin(Act::Create, to)?;
        state.counts.name_changes += 1;
        let node = state.find(from)?;
        if state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change_name(to, Some(node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin(Act::Remove, path)?;
        state.counts.name_changes += 1;
        match state.find(path)? {
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
            Node::File(_) => state.change_name(path, None),
        }
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        let mut made = PathBuf::new();
        for component in path.components() {
            made.push(component);
            if made.file_name().is_none() {
                continue;
            }
            match state.find(&made) {
                Ok(Node::Folder(_)) => {}
                Ok(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    state.begin(Act::Create, &made)?;
                    let id = state.tree.new_folder();
                    state.change_name(&made, Some(Node::Folder(id)))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin(Act::Remove, path)?;
        state.counts.name_changes += 1;
        match state.find(path)? {
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            Node::Folder(id) if !state.tree.entries(id).is_empty() => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            Node::Folder(_) => state.change_name(path, None),
        }
    }

    fn list_page(
        &self,
        path: &Path,
        after: Option<&str>,
        count_max: usize,
    ) -> io::Result<Vec<DiskEntry>> {
        let mut state = self.shared.lock();
        state.begin(Act::List, path)?;
        let folder = state.tree.folder(path)?;
        let entries = state.tree.entries(folder).iter();
        let page = entries.filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        Ok(page.take(count_max).map(|(name, node)| describe(name, node)).collect())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.counts.folder_syncs += 1;
        state.begin(Act::SyncFolder, path)?;
        let folder = state.tree.folder(path)?;
        if !state.is_skipped(path) {
            state.tree.sync(folder);
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let state = self.shared.lock();
        let total_bytes = state.capacity_bytes.unwrap_or(1 << 40);
        Ok(DiskSpace { total_bytes, free_bytes: state.free_bytes().min(total_bytes) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.shared.lock();
        state.counts.opens += 1;
        state.open(path, OpenMode::Create)?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { shared: Arc::clone(&self.shared), path: path.to_path_buf() }))
    }
}

fn describe(name: &str, node: &Node) -> DiskEntry {
    let (is_folder, len) = match node {
        Node::Folder(_) => (true, 0),
        Node::File(file) => (false, file.lock().len()),
    };
    DiskEntry { name: name.to_owned(), is_folder, len }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.shared.lock().locks.remove(&self.path);
    }
}

impl SimFile {
    fn need_write(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::Error::from_raw_os_error(libc::EBADF)),
            OpenMode::Write | OpenMode::Create | OpenMode::CreateNew => Ok(()),
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.shared.lock();
        state.begin(Act::Read, &self.path)?;
        let read = self.node.lock().read_at(out, offset);
        state.counts.reads += 1;
        state.counts.read_bytes += read as u64;
        Ok(read)
    }

    /// A write that fails leaves a part behind, as the real one may.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.need_write()?;
        let mut state = self.shared.lock();
        state.counts.writes += 1;
        state.counts.written_bytes += data.len() as u64;
        if let Err(error) = state.begin(Act::Write, &self.path) {
            if state.changes_until_power_off != Some(0) {
                let part = state.chance.index(data.len() + 1);
                self.node.lock().change(Change::write(&data[..part], offset));
            }
            return Err(error);
        }
        let free = state.free_bytes();
        let mut file = self.node.lock();
        let needed = file.unreserved_bytes(offset, data.len());
        if needed > free {
            let part = usize::try_from(free / 2).map_or(data.len(), |part| part.min(data.len()));
            if file.unreserved_bytes(offset, part) <= free {
                file.change(Change::write(&data[..part], offset));
            }
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        file.change(Change::write(data, offset));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.lock().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.need_write()?;
        self.shared.lock().begin(Act::SetLen, &self.path)?;
        self.node.lock().change(Change::SetLen(len));
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.need_write()?;
        let mut state = self.shared.lock();
        state.begin(Act::Allocate, &self.path)?;
        let free = state.free_bytes();
        let mut file = self.node.lock();
        if len.saturating_sub(file.used_bytes()) > free {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        file.change(Change::Reserve(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.counts.syncs += 1;
        if let Err(error) = state.begin(Act::Sync, &self.path) {
            if state.changes_until_power_off != Some(0) {
                self.node.lock().fail_sync(&mut state.chance);
            }
            return Err(error);
        }
        if !state.is_skipped(&self.path) {
            self.node.lock().sync();
        }
        Ok(())
    }

    fn drop_cache(&self) {
        self.node.lock().drop_cache();
    }
}

#[cfg(test)]
mod tests;
