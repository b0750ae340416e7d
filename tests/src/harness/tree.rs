//! A whole tree as one value, to be compared.

use std::collections::BTreeMap;

use strongroom_workspace::door::{
    Access, Core, HandleId, Ino, Kind, ListDetail, SeekTarget, TimeNs,
};
use strongroom_workspace::error::{ErrorKind, Result};

use super::files::options;
use super::runner::{Shown, done};

const PAGE_LEN: u64 = 4096;
/// Bytes read at a time.
const READ_LEN: u32 = 1 << 20;

/// Everything under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Attributes.
    pub shown: Shown,
    /// atime, mtime, ctime, btime.
    pub times: [TimeNs; 4],
    /// First path with the same inode.
    pub first: Vec<u8>,
    /// Pages of content that are not all zero.
    pub content: BTreeMap<u64, Vec<u8>>,
    /// Target of a symlink.
    pub target: Vec<u8>,
    /// Extended attributes by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Nodes by path.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Reads a whole tree.
///
/// # Errors
/// Whatever reading it meets.
pub fn read_tree(core: &dyn Core) -> Result<Tree> {
    let mut inos = BTreeMap::from([(Vec::new(), Ino::ROOT)]);
    add_names(core, &mut inos, Ino::ROOT, &[])?;
    let mut firsts = BTreeMap::new();
    let mut tree = Tree::new();
    for (path, ino) in inos {
        // In the order of paths, so that it does not depend on the order of listings which name is the first.
        let first = firsts.entry(ino).or_insert_with(|| path.clone()).clone();
        let node = read_node(core, ino, first == path)?;
        tree.insert(path, Node { first, ..node });
    }
    Ok(tree)
}

fn add_names(
    core: &dyn Core,
    inos: &mut BTreeMap<Vec<u8>, Ino>,
    folder: Ino,
    path: &[u8],
) -> Result<()> {
    let mut cookie = 0;
    loop {
        let entries = done(core.read_folder(folder, cookie, 100, ListDetail::Names))?;
        let Some(last) = entries.last() else { return Ok(()) };
        cookie = last.cookie;
        for entry in entries.iter().filter(|entry| entry.name != b"." && entry.name != b"..") {
            let below = [path, b"/", &entry.name].concat();
            if entry.kind == Kind::Folder {
                add_names(core, inos, entry.ino, &below)?;
            }
            inos.insert(below, entry.ino);
        }
    }
}

fn read_node(core: &dyn Core, ino: Ino, with_content: bool) -> Result<Node> {
    let attributes = done(core.attributes(ino))?;
    let mut xattrs = Vec::new();
    for name in done(core.xattr_names(ino))? {
        let value = done(core.xattr(ino, &name))?;
        xattrs.push((name, value));
    }
    xattrs.sort_unstable();
    let content = match attributes.kind {
        Kind::File if with_content => read_content(core, ino, attributes.size)?,
        _ => BTreeMap::new(),
    };
    let target = match attributes.kind {
        Kind::Symlink => done(core.read_link(ino))?,
        _ => Vec::new(),
    };
    let times = [attributes.atime, attributes.mtime, attributes.ctime, attributes.btime];
    Ok(Node { shown: attributes.into(), times, first: Vec::new(), content, target, xattrs })
}

fn read_content(core: &dyn Core, ino: Ino, size: u64) -> Result<BTreeMap<u64, Vec<u8>>> {
    let handle = done(core.open(ino, options(Access::Read, false)))?.handle;
    let result = read_pages(core, handle, size);
    core.release(handle);
    result
}

fn read_pages(core: &dyn Core, handle: HandleId, size: u64) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut pages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut at = 0;
    while at < size {
        match done(core.seek(handle, SeekTarget::Data, at)) {
            Ok(data) => at = data / PAGE_LEN * PAGE_LEN,
            Err(error) if error.kind() == ErrorKind::NoData => break,
            Err(error) => return Err(error),
        }
        let bytes = done(core.read(handle, at, READ_LEN))?;
        assert!(!bytes.is_empty(), "a read before the end gives something");
        for (index, page) in bytes.chunks(PAGE_LEN as usize).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                let mut page = page.to_vec();
                while page.last() == Some(&0) {
                    page.pop();
                }
                pages.insert(at / PAGE_LEN + index as u64, page);
            }
        }
        at += bytes.len() as u64;
    }
    Ok(pages)
}

/// Whether times count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// They must be the same.
    Compared,
    /// They may differ.
    Ignored,
}

/// The first difference in words, if there is one.
pub fn difference(a: &Tree, b: &Tree, times: Times) -> Option<String> {
    let show = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for (path, node) in a {
        let Some(other) = b.get(path) else {
            return Some(format!("only the first has {:?}", show(path)));
        };
        let what = node_difference(node, other, times);
        if let Some(what) = what {
            return Some(format!("{:?}: {what}", show(path)));
        }
    }
    let extra = b.keys().find(|path| !a.contains_key(*path));
    extra.map(|path| format!("only the second has {:?}", show(path)))
}

fn node_difference(a: &Node, b: &Node, times: Times) -> Option<String> {
    if a.shown != b.shown {
        return Some(format!("{:?} and {:?}", a.shown, b.shown));
    }
    if times == Times::Compared && a.times != b.times {
        return Some(format!("times {:?} and {:?}", a.times, b.times));
    }
    if (&a.first, &a.target, &a.xattrs) != (&b.first, &b.target, &b.xattrs) {
        return Some("links, target or extended attributes".to_owned());
    }
    if a.content != b.content {
        let pages = a.content.keys().chain(b.content.keys());
        let page = pages.filter(|page| a.content.get(page) != b.content.get(page)).min();
        let at = page.map(|page| page * PAGE_LEN);
        let bytes = |node: &Node| page.and_then(|page| node.content.get(page).cloned());
        let (a, b) = (bytes(a).unwrap_or_default(), bytes(b).unwrap_or_default());
        let from = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
        let show = |page: &[u8]| page.iter().skip(from).take(8).copied().collect::<Vec<_>>();
        let (a, b) = (show(&a), show(&b));
        return Some(format!("content in the page at {at:?} from {from}: {a:?} and {b:?}"));
    }
    None
}
