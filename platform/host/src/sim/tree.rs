//! Names of a simulated disk: what programs see, what is durable, and the changes in between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Chance;
use super::file::FileState;

pub(super) type FileNode = Arc<Mutex<FileState>>;
pub(super) type FolderId = u64;
pub(super) const ROOT: FolderId = 0;

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Folder(FolderId),
}

/// One atomic change of names: in one folder, or (a rename) in two.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) changes: Vec<NameChange>,
}

/// A name comes to stand for a node, or goes.
#[derive(Clone)]
pub(super) struct NameChange {
    pub(super) folder: FolderId,
    pub(super) name: String,
    pub(super) node: Option<Node>,
}

#[derive(Clone, Default)]
struct Folder {
    current: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// Operations not yet durable, in order.
    pending: Vec<u64>,
}

#[derive(Clone)]
pub(super) struct Tree {
    folders: HashMap<FolderId, Folder>,
    operations: BTreeMap<u64, Operation>,
    next_id: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        let folders = HashMap::from([(ROOT, Folder::default())]);
        Tree { folders, operations: BTreeMap::new(), next_id: 1 }
    }

    /// The folder a path lies in, and the last name.
    pub(super) fn parent(&self, path: &Path) -> io::Result<(FolderId, String)> {
        let names = names(path)?;
        let Some((last, above)) = names.split_last() else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        Ok((self.walk(above)?, last.clone()))
    }

    pub(super) fn folder(&self, path: &Path) -> io::Result<FolderId> {
        self.walk(&names(path)?)
    }

    pub(super) fn find(&self, folder: FolderId, name: &str) -> Option<&Node> {
        self.folders[&folder].current.get(name)
    }

    pub(super) fn entries(&self, folder: FolderId) -> &BTreeMap<String, Node> {
        &self.folders[&folder].current
    }

    pub(super) fn new_folder(&mut self) -> FolderId {
        let id = self.next_id;
        self.next_id += 1;
        self.folders.insert(id, Folder::default());
        id
    }

    /// Carries an operation out; it is visible at once and durable later.
    pub(super) fn apply(&mut self, operation: Operation) {
        let id = self.next_id;
        self.next_id += 1;
        for change in &operation.changes {
            let folder = self.folders.get_mut(&change.folder).expect("folders are never forgotten");
            set(&mut folder.current, change);
            if folder.pending.last() != Some(&id) {
                folder.pending.push(id);
            }
        }
        self.operations.insert(id, operation);
    }

    /// Makes the names of a folder durable, and what must have come before in other folders.
    pub(super) fn sync(&mut self, folder: FolderId) {
        let mut cuts = HashMap::from([(folder, self.folders[&folder].pending.len())]);
        loop {
            let operations = self.before(&cuts);
            let mut grown = cuts.clone();
            for id in &operations {
                for change in &self.operations[id].changes {
                    let needed = 1 + self.place(change.folder, *id);
                    let cut = grown.entry(change.folder).or_insert(0);
                    *cut = needed.max(*cut);
                }
            }
            if grown == cuts {
                return self.settle(&operations, &cuts);
            }
            cuts = grown;
        }
    }

    /// The tree after a loss of power: of each folder's open operations a beginning survived.
    pub(super) fn crash(&self, chance: &mut Chance) -> Tree {
        let mut tree = self.clone();
        let mut ids: Vec<FolderId> = tree.folders.keys().copied().collect();
        ids.sort_unstable();
        let mut cuts = HashMap::new();
        for id in ids {
            cuts.insert(id, chance.index(tree.folders[&id].pending.len() + 1));
        }
        loop {
            let torn = tree.operations.iter().find(|(id, operation)| {
                let within =
                    |change: &NameChange| tree.place(change.folder, **id) < cuts[&change.folder];
                let count = operation.changes.iter().filter(|change| within(change)).count();
                count > 0 && count < operation.changes.len()
            });
            // A rename happened in both folders or in none.
            let Some((id, operation)) = torn else { break };
            for change in &operation.changes {
                let place = tree.place(change.folder, *id);
                let cut = cuts.get_mut(&change.folder).expect("every folder has a cut");
                *cut = place.min(*cut);
            }
        }
        let survived = tree.before(&cuts);
        tree.settle(&survived, &cuts);
        tree.operations.clear();
        for folder in tree.folders.values_mut() {
            folder.current = folder.durable.clone();
            folder.pending.clear();
        }
        tree
    }

    /// Puts copies in the place of all files, the same one under all names of a file.
    pub(super) fn copy_files(&mut self, copy: &mut dyn FnMut(&FileState) -> FileState) {
        let mut copies: HashMap<*const Mutex<FileState>, FileNode> = HashMap::new();
        let mut renew = |node: &mut Node| {
            if let Node::File(file) = node {
                let old = Arc::clone(file);
                let new = copies
                    .entry(Arc::as_ptr(&old))
                    .or_insert_with(|| Arc::new(Mutex::new(copy(&old.lock()))));
                *file = Arc::clone(new);
            }
        };
        let mut ids: Vec<FolderId> = self.folders.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let folder = self.folders.get_mut(&id).expect("just listed");
            folder.durable.values_mut().for_each(&mut renew);
            folder.current.values_mut().for_each(&mut renew);
        }
        for operation in self.operations.values_mut() {
            operation.changes.iter_mut().filter_map(|c| c.node.as_mut()).for_each(&mut renew);
        }
    }

    /// All files that have a name.
    pub(super) fn files(&self) -> Vec<FileNode> {
        let mut found: BTreeMap<*const Mutex<FileState>, FileNode> = BTreeMap::new();
        for node in self.folders.values().flat_map(|folder| folder.current.values()) {
            if let Node::File(file) = node {
                found.insert(Arc::as_ptr(file), Arc::clone(file));
            }
        }
        found.into_values().collect()
    }

    fn walk(&self, names: &[String]) -> io::Result<FolderId> {
        names.iter().try_fold(ROOT, |folder, name| match self.find(folder, name) {
            Some(Node::Folder(id)) => Ok(*id),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn place(&self, folder: FolderId, operation: u64) -> usize {
        let pending = &self.folders[&folder].pending;
        pending.iter().position(|id| *id == operation).expect("open in all its folders")
    }

    /// Operations in the beginnings that the cuts leave.
    fn before(&self, cuts: &HashMap<FolderId, usize>) -> BTreeSet<u64> {
        let kept =
            |(folder, cut): (&FolderId, &usize)| self.folders[folder].pending[..*cut].to_vec();
        cuts.iter().flat_map(kept).collect()
    }

    fn settle(&mut self, operations: &BTreeSet<u64>, cuts: &HashMap<FolderId, usize>) {
        for id in operations {
            let operation = self.operations.remove(id).expect("open operations are kept");
            for change in &operation.changes {
                let folder = self.folders.get_mut(&change.folder).expect("never forgotten");
                set(&mut folder.durable, change);
            }
        }
        for (id, cut) in cuts {
            self.folders.get_mut(id).expect("never forgotten").pending.drain(..*cut);
        }
    }
}

fn set(entries: &mut BTreeMap<String, Node>, change: &NameChange) {
    match &change.node {
        Some(node) => entries.insert(change.name.clone(), node.clone()),
        None => entries.remove(&change.name),
    };
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let name = name.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
                names.push(name.to_owned());
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
