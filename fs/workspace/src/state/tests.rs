//! What an operation does when the pages it read go away under it.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_crypto::secret::{BlockKey, JournalKey, NameKey};
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_format::inode::Extent;
use strongroom_format::page::{Page, PageRef};
use strongroom_host::sim::{SimDisk, SimEntropy};
use zeroize::Zeroizing;

use super::*;
use crate::tree::btree::{PageSink, PageSource, Tree};
use crate::workspace::fresh_state;

/// Pages that are in memory for so many looks, and then are not.
#[derive(Default)]
struct Fading {
    pages: HashMap<Digest, Arc<Page>>,
    looks_left: AtomicU64,
}

impl PageSource for Fading {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        let left = self
            .looks_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match (left, self.pages.get(&at.hash)) {
            (Ok(_), Some(page)) => Ok(page.clone()),
            _ => Err(Need::Page(*at)),
        }
    }
}

impl PageSink for Fading {
    fn put(&mut self, plain: Zeroizing<Vec<u8>>, level: u8) -> Result<PageRef, Error> {
        let hash = Digest([self.pages.len() as u8; 32]);
        let sealed_len = plain.len() as u32 + 72;
        self.pages.insert(hash, Arc::new(Page::parse(plain).unwrap()));
        Ok(PageRef { object: ObjectId([1; 16]), place: 0, sealed_len, level, epoch: 1, hash })
    }
}

const FILE: Ino = Ino(7);

fn file_with(content: Content) -> Inode {
    Inode { size: 5, content, ..Inode::new(Kind::File, 0o644, (0, 0), Ino(0), 0) }
}

/// A state over a tree that holds one file, whose page is in memory for `looks` looks.
fn state_over(content: Content, looks: u64) -> State {
    let mut pages = Fading::default();
    let (key, value) = (Key::inode(FILE), encode(&file_with(content)));
    let changes = [(key.as_bytes(), Some(value.as_slice()))];
    let none = Fading::default();
    let made = Tree::default().rewrite(&none, changes.into_iter(), &Default::default(), &mut pages);
    let tree = made.ok().unwrap().tree;
    pages.looks_left = AtomicU64::new(looks);
    let map = Map::new(tree, Arc::new(pages));
    let head = Head { seq: 0, hash: Digest([0; 32]) };
    fresh_state(map, NameHash::new(NameKey::from_bytes(&[0; 16])), head, 1 << 20)
}

fn journal() -> Journal {
    let options = strongroom_journal::Options {
        folder: PathBuf::from("/journal"),
        file_len_max: 1 << 20,
        device: DeviceId([1; 16]),
        organisation: OrganisationId([2; 32]),
        incarnation: 1,
        first_number_min: 1,
    };
    let services = strongroom_journal::Services {
        disk: Arc::new(SimDisk::new(1)),
        entropy: Arc::new(SimEntropy::new(1)),
    };
    Journal::open(options, &JournalKey::from_bytes(&[3; 32]), services, &mut |_, _| Ok(())).unwrap()
}

fn block_over_all() -> Op {
    let extent = Extent {
        offset: 0,
        len: 100,
        object: ObjectId([9; 16]),
        place: 0,
        block_len: 100,
        block_offset: 0,
        key: BlockKey::from_bytes(&[4; 32]),
        header_hash: Digest([5; 32]),
    };
    Op::SetExtents { ino: FILE, size: 100, extents: vec![extent], mode: 0o644, mtime: 1, ctime: 1 }
}

#[test]
fn operation_that_needs_a_page_again_is_journaled_once() {
    for looks in 0..6 {
        let mut state = state_over(Content::Inline(b"hello".to_vec()), looks);
        let journal = journal();
        let done = state.execute(&journal, Duration::ZERO, &block_over_all());
        let records = journal.position();
        match done {
            Ok(()) => assert_eq!((records, state.batch.count), (1, 1), "{looks} looks"),
            Err(_) => assert_eq!((records, state.batch.count), (0, 0), "{looks} looks"),
        }
    }
}
