//! Watches what of a store holds something secret, sealed or not.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use strongroom_format::commit::CommitFile;
use strongroom_format::ids::{CompartmentId, Ino};
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_store::{Family, Key, Store, now};
use strongroom_workspace::inbound::log::{Checkpoint, Reader};
use strongroom_workspace::limits::PAGE_CACHE_BYTES;
use strongroom_workspace::state::Head;
use strongroom_workspace::tree::btree::Tree as Pages;
use strongroom_workspace::tree::pages::Pages as PageCache;

use super::world::keys;

/// What every secret begins with.
pub const CANARY: &[u8] = b"mallory must never read this line again";
/// Bytes that tell one sealed thing from any other: its salt.
pub const MARK_LEN: usize = 24;

/// Of a sealed thing.
pub type Mark = [u8; MARK_LEN];

/// Watches what of the store holds something secret.
pub struct Watch {
    store: Arc<dyn Store>,
    /// Of sealed things that hold a secret, or a key to one.
    pub marks: HashSet<Mark>,
    /// Keys of blocks with secrets.
    secrets: BTreeSet<[u8; 32]>,
    seen: BTreeSet<(Key, u64)>,
}

impl Watch {
    /// Watches a store.
    pub fn new(store: &Arc<dyn Store>) -> Self {
        let (marks, secrets, seen) = Default::default();
        Self { store: store.clone(), marks, secrets, seen }
    }

    fn keys(&self, family: Family) -> Vec<Key> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = now(self.store.list(family, after)).expect("what is stored can be read");
            let Some(last) = page.last() else { return all };
            after = Some(last.key);
            all.extend(page.iter().map(|listed| listed.key));
        }
    }

    fn mark(&mut self, bytes: &[u8]) {
        self.marks.insert(bytes[..MARK_LEN].try_into().expect("what is stored can be read"));
    }

    fn is_secret(&self, plain: &[u8]) -> bool {
        let holds = |what: &[u8]| plain.windows(what.len()).any(|window| window == what);
        holds(CANARY) || self.secrets.iter().any(|key| holds(key))
    }

    /// Takes note of everything there is: every commit, every page of every checkpoint.
    pub fn look(&mut self, secrets: &BTreeSet<Ino>) {
        let device = keys();
        let store = self.store.clone();
        let reader = Reader::open(&store, &device, None).expect("what is stored can be read");
        let checkpoints: Vec<Checkpoint> = self
            .keys(Family::Checkpoint)
            .into_iter()
            .filter_map(|key| match key {
                Key::Checkpoint(seq) => {
                    reader.checkpoint_at(seq).expect("what is stored can be read")
                }
                _ => None,
            })
            .collect();
        let mut bodies = Vec::new();
        for checkpoint in &checkpoints {
            let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
            let read = reader.commits(start, &mut |commit| {
                self.look_at_ops(&commit.body.ops, secrets);
                let plain = ops::encode(&commit.body.ops).expect("operations encode");
                bodies.push((commit.head.seq, plain));
                Ok(())
            });
            // Behind a snapshot the log may have been cut or stripped.
            if read.is_ok() {
                break;
            }
        }
        for (seq, plain) in bodies {
            if self.seen.insert((Key::Log(seq), 0)) && self.is_secret(&plain) {
                let bytes =
                    now(self.store.get(Key::Log(seq), None)).expect("what is stored can be read");
                let file = CommitFile::parse(&bytes).expect("what is stored can be read");
                let ordinary = |(body, _): &(&strongroom_format::commit::BodyRef, _)| {
                    body.compartment == CompartmentId::ORDINARY
                };
                let (_, body) = file
                    .header
                    .bodies
                    .iter()
                    .zip(&file.bodies)
                    .find(ordinary)
                    .expect("what is stored can be read");
                self.mark(body);
            }
        }
        let place = strongroom_crypto::usage::Place {
            organisation: device.organisation().0,
            workspace: device.workspace().0,
            compartment: CompartmentId::ORDINARY.0,
        };
        let cache = PageCache::new(self.store.clone(), device.clone(), place, PAGE_CACHE_BYTES);
        let source = strongroom_workspace::tree::pages::WaitingPages(&cache);
        for checkpoint in checkpoints {
            let state = &checkpoint.state;
            let tree = Pages { root: state.root, height: state.height, count: state.count };
            let mut refs = Vec::new();
            assert!(tree.page_refs(&source, &mut |at| refs.push(*at)).is_ok());
            for at in refs {
                let place = (Key::Object(at.object), u64::from(at.place));
                if at.level > 0 || !self.seen.insert(place) {
                    continue;
                }
                // What a collection takes away meanwhile holds nothing any more.
                let Ok(page) = strongroom_workspace::later::wait(cache.fetch(at)) else { continue };
                if page.iter().any(|(_, value)| self.is_secret(value)) {
                    let start = u64::from(at.place);
                    let range = Some(start..start + MARK_LEN as u64);
                    let sealed =
                        now(self.store.get(place.0, range)).expect("what is stored can be read");
                    self.mark(&sealed);
                }
            }
        }
    }

    fn look_at_ops(&mut self, ops: &[Op], secrets: &BTreeSet<Ino>) {
        for op in ops {
            let (Op::SetExtents { ino, extents, .. } | Op::Rewrite { ino, extents }) = op else {
                continue;
            };
            for extent in extents.iter().filter(|_| secrets.contains(ino)) {
                self.secrets.insert(*extent.key.expose());
                let at = u64::from(extent.place);
                let range = Some(at..at + MARK_LEN as u64);
                if let Ok(block) = now(self.store.get(Key::Object(extent.object), range)) {
                    self.mark(&block);
                }
            }
        }
    }

    /// Where something marked is still stored.
    pub fn leaks(&self) -> Vec<Key> {
        let mut found = Vec::new();
        for family in [Family::Object, Family::Log, Family::Checkpoint] {
            for key in self.keys(family) {
                let bytes = now(self.store.get(key, None)).expect("what is stored can be read");
                let is_mark = |window: &[u8]| self.marks.contains(window);
                if bytes.windows(MARK_LEN).any(is_mark) {
                    found.push(key);
                }
            }
        }
        found
    }
}
