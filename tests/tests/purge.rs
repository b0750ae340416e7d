//! Purge: nothing stored holds keys or bytes of what was purged, whatever else shares objects and pages with it, whenever
//! the process ends, and whoever else writes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_check::Subject;
use strongroom_crypto::hash::blake3_256;
use strongroom_format::cbor::encode;
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::{CompartmentId, ObjectId};
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_host::disk::replace_file;
use strongroom_store::{Family, Key, Store, now};
use strongroom_tests::harness::files::{find, load, make, options, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, Tree, difference, read_tree};
use strongroom_tests::harness::world::{STATE, keys, small_tuning};
use strongroom_workspace::door::{Access, Core, Ino, Kind, RenameMode, WriteMode};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::history::purge::PURGE_FILE;
use strongroom_workspace::inbound::log::{Checkpoint, Reader};
use strongroom_workspace::limits::{Broken, PAGE_CACHE_BYTES};
use strongroom_workspace::state::Head;
use strongroom_workspace::tree::btree::Tree as Pages;
use strongroom_workspace::tree::pages::Pages as PageCache;
use strongroom_workspace::{At, Keep, Tuning, Workspace};

const CANARY: &[u8] = b"mallory must never read this line again";
/// Bytes that tell one sealed thing from any other: its salt.
const MARK_LEN: usize = 24;

type Mark = [u8; MARK_LEN];

/// Something secret, the longer the later.
fn secret(round: u64) -> Vec<u8> {
    let mut bytes = CANARY.to_vec();
    bytes.extend(round.to_le_bytes().repeat([4, 700, 4000][round as usize % 3]));
    bytes
}

fn plain(round: u64, name: u64) -> Vec<u8> {
    (round * 1000 + name).to_le_bytes().repeat(60 + 400 * (name as usize % 4))
}

/// Watches what of the store holds something secret.
struct Watch {
    store: Arc<dyn Store>,
    /// Of sealed things that hold a secret, or a key to one.
    marks: HashSet<Mark>,
    /// Keys of blocks with secrets.
    secrets: BTreeSet<[u8; 32]>,
    seen: BTreeSet<(Key, u64)>,
}

impl Watch {
    fn new(fleet: &Fleet) -> Self {
        let (marks, secrets, seen) = Default::default();
        Self { store: fleet.store().clone(), marks, secrets, seen }
    }

    fn keys(&self, family: Family) -> Vec<Key> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = now(self.store.list(family, after)).unwrap();
            let Some(last) = page.last() else { return all };
            after = Some(last.key);
            all.extend(page.iter().map(|listed| listed.key));
        }
    }

    fn mark(&mut self, bytes: &[u8]) {
        self.marks.insert(bytes[..MARK_LEN].try_into().unwrap());
    }

    fn is_secret(&self, plain: &[u8]) -> bool {
        let holds = |what: &[u8]| plain.windows(what.len()).any(|window| window == what);
        holds(CANARY) || self.secrets.iter().any(|key| holds(key))
    }

    /// Takes note of everything there is: every commit, every page of every checkpoint.
    fn look(&mut self, secrets: &BTreeSet<Ino>) {
        let device = keys();
        let store = self.store.clone();
        let reader = Reader::open(&store, &device, None).unwrap();
        let checkpoints: Vec<Checkpoint> = self
            .keys(Family::Checkpoint)
            .into_iter()
            .filter_map(|key| match key {
                Key::Checkpoint(seq) => reader.checkpoint_at(seq).unwrap(),
                _ => None,
            })
            .collect();
        let first = &checkpoints[0];
        let start = Head { seq: first.root.seq, hash: first.root.head };
        let mut bodies = Vec::new();
        reader
            .commits(start, &mut |commit| {
                for op in &commit.body.ops {
                    if let Op::SetExtents { ino, extents, .. } | Op::Rewrite { ino, extents } = op
                        && secrets.contains(ino)
                    {
                        for extent in extents {
                            self.secrets.insert(*extent.key.expose());
                            let at = u64::from(extent.place);
                            let range = Some(at..at + MARK_LEN as u64);
                            let block = now(self.store.get(Key::Object(extent.object), range));
                            if let Ok(block) = block {
                                self.mark(&block);
                            }
                        }
                    }
                }
                bodies.push((commit.head.seq, ops::encode(&commit.body.ops).unwrap()));
                Ok(())
            })
            .unwrap();
        for (seq, plain) in bodies {
            if self.seen.insert((Key::Log(seq), 0)) && self.is_secret(&plain) {
                let bytes = now(self.store.get(Key::Log(seq), None)).unwrap();
                let file = CommitFile::parse(&bytes).unwrap();
                let ordinary = |(body, _): &(&strongroom_format::commit::BodyRef, _)| {
                    body.compartment == CompartmentId::ORDINARY
                };
                let (_, body) = file.header.bodies.iter().zip(&file.bodies).find(ordinary).unwrap();
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
                let page = strongroom_workspace::later::wait(cache.fetch(at)).unwrap();
                if page.iter().any(|(_, value)| self.is_secret(value)) {
                    let start = u64::from(at.place);
                    let range = Some(start..start + MARK_LEN as u64);
                    let sealed = now(self.store.get(place.0, range)).unwrap();
                    self.mark(&sealed);
                }
            }
        }
    }

    /// Where something secret is still stored.
    fn leaks(&self) -> Vec<Key> {
        let mut found = Vec::new();
        for family in [Family::Object, Family::Log, Family::Checkpoint] {
            for key in self.keys(family) {
                let bytes = now(self.store.get(key, None)).unwrap();
                let is_mark = |window: &[u8]| self.marks.contains(window);
                if bytes.windows(MARK_LEN).any(is_mark) {
                    found.push(key);
                }
            }
        }
        found
    }
}

/// A workspace with secrets among other files, of many versions, in two snapshots.
struct Scene {
    fleet: Fleet,
    workspace: Workspace,
    watch: Watch,
    /// Inodes that ever held a secret.
    inos: BTreeSet<Ino>,
    snapshots: BTreeMap<&'static str, Tree>,
}

impl Scene {
    fn new(homes: usize, tuning: &Tuning, rounds: u64) -> Self {
        let mut fleet = Fleet::new(7, homes, tuning);
        for home in &mut fleet.homes {
            home.open().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
        make(&workspace, "vault", Kind::Folder).unwrap();
        let watch = Watch::new(&fleet);
        let mut scene =
            Self { fleet, workspace, watch, inos: BTreeSet::new(), snapshots: BTreeMap::new() };
        for round in 0..rounds {
            scene.round(round);
            if round == rounds / 3 {
                scene.snapshot("early");
            }
            if round == 2 * rounds / 3 {
                scene.snapshot("late");
            }
        }
        scene.workspace.commit().unwrap();
        scene.look();
        scene
    }

    fn round(&mut self, round: u64) {
        let core = &self.workspace;
        save(core, "vault/diary", &secret(round)).unwrap();
        // As editors do: another inode each time.
        save(core, "vault/.letter", &secret(round + 1)).unwrap();
        let vault = find(core, "vault").unwrap();
        done(core.rename((vault, b".letter"), (vault, b"letter"), RenameMode::Replace)).unwrap();
        for path in ["vault/diary", "vault/letter"] {
            self.inos.insert(find(core, path).unwrap());
        }
        for name in 0..4 {
            save(core, &format!("plain {name}"), &plain(round, name)).unwrap();
        }
        self.fleet.tick(0, 1100).unwrap();
        if round % 4 == 3 {
            self.look();
        }
    }

    fn look(&mut self) {
        self.watch.look(&self.inos);
    }

    fn snapshot(&mut self, name: &'static str) {
        self.workspace.make_snapshot(name).unwrap();
        self.look();
        let at = self.workspace.at(&At::Snapshot(name.to_owned())).unwrap();
        self.snapshots.insert(name, read_tree(&at).unwrap());
    }

    /// What is left must be whole, and nothing secret be left.
    fn check(&self, present: &Tree) {
        let is_other = |path: &[u8]| !path.starts_with(b"/vault") && !path.is_empty();
        let others = |tree: &Tree| -> Tree {
            tree.iter()
                .filter(|(path, _)| is_other(path))
                .map(|(p, n)| (p.clone(), n.clone()))
                .collect()
        };
        let seen = read_tree(&self.workspace).unwrap();
        assert_eq!(difference(&others(present), &others(&seen), Times::Compared), None);
        for (name, before) in &self.snapshots {
            let at = self.workspace.at(&At::Snapshot((*name).to_owned())).unwrap();
            for path in ["vault/diary", "vault/letter"] {
                let read = load(&at, path).map(|bytes| bytes.len()).map_err(|error| error.kind());
                assert_eq!(read, Err(ErrorKind::Purged), "{name} {path}");
            }
            for (path, node) in before.iter().filter(|(path, _)| is_other(path)) {
                let path = String::from_utf8(path.clone()).unwrap();
                if node.shown.kind == Kind::File {
                    let mut bytes = vec![0; node.shown.size as usize];
                    for (page, content) in &node.content {
                        let start = *page as usize * 4096;
                        bytes[start..start + content.len()].copy_from_slice(content);
                    }
                    assert!(load(&at, &path).unwrap() == bytes, "{name} {path}");
                }
            }
        }
        assert_eq!(self.watch.leaks(), [], "something secret is still stored");
        let subject = Subject { store: self.fleet.store().clone(), keys: keys(), local: None };
        let report = strongroom_check::examine(&subject, &mut |_| ()).unwrap();
        let found: Vec<_> = report.findings.iter().map(|finding| &finding.text).collect();
        assert!(report.is_clean(), "{found:?}");
    }
}

#[test]
fn what_is_purged_is_in_no_stored_byte_and_all_else_stays() {
    let scene = Scene::new(1, &small_tuning(), 24);
    assert!(scene.watch.marks.len() > 60, "{} marks", scene.watch.marks.len());
    assert!(!scene.watch.leaks().is_empty(), "the watch sees nothing");
    let early = scene.workspace.versions(b"vault/diary").unwrap()[2].seq;
    let present = read_tree(&scene.workspace).unwrap();
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    assert!(!purged.goes_on && purged.moved == 0 && purged.inodes >= 20, "{purged:?}");
    assert_eq!(find(&scene.workspace, "vault").unwrap_err().kind(), ErrorKind::NotFound);
    scene.check(&present);
    let old = scene.workspace.at(&At::Commit(early)).err().unwrap().kind();
    assert_eq!(old, ErrorKind::Purged, "a state between snapshots says what became of it");
    let again = scene.workspace.purge(&[b"nothing".to_vec()]).unwrap_err().kind();
    assert_eq!(again, ErrorKind::NotFound);
    let usage = scene.workspace.usage().unwrap();
    assert_eq!(usage.garbage_bytes, 0, "{usage:?}");
}

#[test]
fn a_purge_that_leaves_something_out_is_noticed() {
    for broken in [Broken::SnapshotsNotPurged, Broken::BodiesNotDropped] {
        let scene = Scene::new(1, &Tuning { broken: Some(broken), ..small_tuning() }, 9);
        // Whether it says that it went well or not.
        let _ = scene.workspace.purge(&[b"vault".to_vec()]);
        assert!(!scene.watch.leaks().is_empty(), "{broken:?}");
    }
}

#[test]
fn a_purge_that_is_killed_at_any_call_of_the_store_ends_after_the_next_open() {
    let mut ended = false;
    let mut requests = 0;
    while !ended {
        let mut scene = Scene::new(1, &small_tuning(), 9);
        let present = read_tree(&scene.workspace).unwrap();
        scene.fleet.homes[0].ends_after(Some(requests));
        let purged = scene.workspace.purge(&[b"vault".to_vec()]);
        ended = purged.is_ok();
        scene.workspace.stop_background();
        scene.fleet.homes[0].down(Down::Killed).unwrap();
        scene.workspace = {
            // ORDER: the lock goes with the old one.
            drop(std::mem::replace(&mut scene.workspace, other()));
            scene.fleet.homes[0].ends_after(None);
            scene.fleet.homes[0].open().unwrap();
            scene.fleet.homes[0].workspace().unwrap().clone()
        };
        scene.fleet.tick(0, 1100).unwrap();
        assert!(!scene.workspace.is_purging().unwrap(), "after {requests} calls");
        if find(&scene.workspace, "vault").is_ok() {
            scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
        }
        scene.check(&present);
        requests += if strongroom_tests::harness::seeds::is_long() { 1 } else { 23 };
    }
    assert!(requests > 60, "{requests}");
}

/// Something to hold while nothing is open.
fn other() -> Workspace {
    let mut fleet = Fleet::new(99, 1, &small_tuning());
    fleet.homes[0].open().unwrap();
    fleet.homes[0].workspace().unwrap().clone()
}

#[test]
fn a_purge_of_very_many_inodes_comes_to_its_end() {
    // As the note of one that was killed: 240,000 of them do not fit into one record of the journal.
    type Intent = (Vec<Ino>, Vec<ObjectId>, Option<u64>, Option<u64>, Vec<ObjectId>, i64);
    let mut fleet = Fleet::new(3, 1, &small_tuning());
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "kept", b"kept").unwrap();
    fleet.homes[0].down(Down::Closed).unwrap();
    let inos = (0..240_000).map(|number| Ino((1 << 45) + number)).collect();
    let intent: Intent = (inos, Vec::new(), None, None, Vec::new(), 0);
    let mut note = encode(&intent);
    let sum = blake3_256(&note);
    note.extend_from_slice(&sum);
    replace_file(fleet.homes[0].disk(), &Path::new(STATE).join(PURGE_FILE), &note).unwrap();
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    assert!(workspace.is_purging().unwrap());
    fleet.tick(0, 1100).unwrap();
    assert!(!workspace.is_purging().unwrap());
    assert_eq!(load(&workspace, "kept").unwrap(), b"kept");
}

#[test]
fn another_home_goes_on_while_something_is_purged() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    let reader =
        scene.fleet.homes[1].reader().unwrap().at(&At::Snapshot("early".to_owned())).unwrap();
    // Bob has edited something secret, and says so after it was purged.
    scene.fleet.homes[1].cut(true);
    let mut handle =
        done(bob.open(find(&bob, "vault/diary").unwrap(), options(Access::Write, false)));
    let diary = handle.as_mut().unwrap().handle;
    done(bob.write(diary, 0, b"bob's own words", WriteMode::Append, false)).unwrap();
    bob.release(diary);
    save(&bob, "bob", b"bob's file").unwrap();
    scene.fleet.homes[1].cut(false);
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    assert!(purged.goes_on);
    for round in 0..20 {
        save(&bob, &format!("bob {}", round % 3), &plain(round, 2)).unwrap();
        save(&scene.workspace, "plain 1", &plain(round, 1)).unwrap();
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
    assert_eq!(load(&bob, "bob").unwrap(), b"bob's file");
    let back = load(&bob, "vault/diary").unwrap();
    assert!(back.ends_with(b"bob's own words"), "what he wrote is not lost");
    assert!(!back.windows(CANARY.len()).any(|window| window == CANARY), "and nothing else is back");
    reader.tick().unwrap();
    assert_eq!(load(&reader, "vault/diary").unwrap_err().kind(), ErrorKind::Purged);
    drop(bob);
    let trees = scene.fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}

#[test]
fn pages_of_snapshots_that_a_purge_wrote_anew_are_not_swept_by_who_knew_the_old_ones() {
    const DAY: u64 = 24 * 3600 * 1000;
    let tuning = Tuning { unnamed_grace: Duration::from_secs(60), ..small_tuning() };
    let mut scene = Scene::new(2, &tuning, 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    bob.usage().unwrap();
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    for _ in 0..20 {
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
    for day in 0..4 {
        for round in 0..30 {
            save(&bob, &format!("bob {round}"), &plain(day * 100 + round, 3)).unwrap();
            scene.fleet.tick(1, 1200).unwrap();
        }
        scene.fleet.tick(0, 2500).unwrap();
        scene.fleet.tick(1, DAY + 1).unwrap();
    }
    drop(bob);
    let trees = scene.fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}

#[test]
fn a_home_that_was_away_during_a_purge_is_told_and_goes_on_after_the_next_open() {
    let mut scene = Scene::new(2, &small_tuning(), 6);
    scene.fleet.tick(1, 2500).unwrap();
    scene.fleet.homes[1].cut(true);
    scene.workspace.purge(&[b"vault/diary".to_vec(), b"vault/letter".to_vec()]).unwrap();
    scene.fleet.tick(0, 20_000).unwrap();
    assert!(!scene.workspace.is_purging().unwrap());
    scene.fleet.homes[1].cut(false);
    let told = scene.fleet.tick(1, 2500).unwrap_err().kind();
    assert_eq!(told, ErrorKind::Stale);
    scene.fleet.homes[1].down(Down::Killed).unwrap();
    let trees = scene.fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert_eq!(scene.watch.leaks(), []);
}

#[test]
fn what_is_open_or_has_another_name_or_moved_away_is_not_purged_unasked() {
    let scene = Scene::new(1, &small_tuning(), 6);
    let core = &scene.workspace;
    let vault = vec![b"vault".to_vec()];
    let diary = find(core, "vault/diary").unwrap();
    let handle = done(core.open(diary, options(Access::Read, false))).unwrap().handle;
    assert_eq!(core.purge(&vault).unwrap_err().kind(), ErrorKind::Busy);
    core.release(handle);
    done(core.link(diary, Ino::ROOT, b"second name")).unwrap();
    assert_eq!(core.purge(&vault).unwrap_err().kind(), ErrorKind::Invalid);
    done(core.unlink(Ino::ROOT, b"second name")).unwrap();
    assert_eq!(core.purge(&[Vec::new()]).unwrap_err().kind(), ErrorKind::Invalid);
    let folder = find(core, "vault").unwrap();
    done(core.rename((folder, b"letter"), (Ino::ROOT, b"kept"), RenameMode::Replace)).unwrap();
    let before = load(core, "kept").unwrap();
    let purged = core.purge(&vault).unwrap();
    assert_eq!((purged.moved, purged.goes_on), (1, false));
    assert_eq!(load(core, "kept").unwrap(), before);
}
