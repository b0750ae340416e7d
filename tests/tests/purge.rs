//! Purge: nothing stored holds keys or bytes of what was purged, whatever else shares objects and pages with it, whenever
//! the process ends, and whoever else writes.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "purge/background.rs"]
mod background;
#[path = "purge/damaged.rs"]
mod damaged;
#[path = "purge/linked.rs"]
mod linked;
#[path = "purge/meanwhile.rs"]
mod meanwhile;
#[path = "purge/mirrored.rs"]
mod mirrored;
#[path = "purge/moved.rs"]
mod moved;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_check::Subject;
use strongroom_crypto::hash::blake3_256;
use strongroom_format::cbor::encode;
use strongroom_format::ids::ObjectId;
use strongroom_format::op::Op;
use strongroom_host::disk::replace_file;
use strongroom_host::sim::Chance;
use strongroom_store::over::Over;
use strongroom_store::{Key, Store, now};
use strongroom_tests::harness::files::{OPEN, find, load, make, options, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds, trace};
use strongroom_tests::harness::tree::{Times, Tree, difference, read_tree};
use strongroom_tests::harness::watch::{CANARY, Mark, Watch};
use strongroom_tests::harness::world::{STATE, keys, small_tuning};
use strongroom_workspace::door::{Access, Core, Ino, Kind, RenameMode, WriteMode};
use strongroom_workspace::error::{ErrorKind, Result};
use strongroom_workspace::history::purge::PURGE_FILE;
use strongroom_workspace::inbound::log::Reader;
use strongroom_workspace::limits::Broken;
use strongroom_workspace::state::Head;
use strongroom_workspace::{At, Keep, Tuning, Workspace};

/// Something secret, the longer the later.
fn secret(round: u64) -> Vec<u8> {
    let mut bytes = CANARY.to_vec();
    bytes.extend(round.to_le_bytes().repeat([4, 700, 4000][round as usize % 3]));
    bytes
}

fn plain(round: u64, name: u64) -> Vec<u8> {
    (round * 1000 + name).to_le_bytes().repeat(60 + 400 * (name as usize % 4))
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
        let fleet = Fleet::new(7, homes, tuning);
        let watch = Watch::new(fleet.store());
        Self::begin(fleet, watch, rounds)
    }

    fn begin(fleet: Fleet, watch: Watch, rounds: u64) -> Self {
        let mut fleet = fleet;
        for home in &mut fleet.homes {
            home.open().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
        make(&workspace, "vault", Kind::Folder).unwrap();
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

    /// Two homes must end alike, and what is left be whole.
    fn settle_and_check(&mut self) {
        let trees = self.fleet.settle().unwrap();
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
        let present = read_tree(&self.workspace).unwrap();
        self.check(&present);
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
        let report = examine(&self.fleet);
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
    let mut fleet = Fleet::new(3, 1, &small_tuning());
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "kept", b"kept").unwrap();
    fleet.homes[0].down(Down::Closed).unwrap();
    write_note(&fleet, (0..240_000).map(|number| Ino((1 << 45) + number)).collect());
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    assert!(workspace.is_purging().unwrap());
    fleet.tick(0, 1100).unwrap();
    assert!(!workspace.is_purging().unwrap());
    assert_eq!(load(&workspace, "kept").unwrap(), b"kept");
}

/// A store that says of itself that a deletion does not reach all of it.
struct Behind(Arc<dyn Store>, Arc<AtomicBool>);

impl Over for Behind {
    fn below(&self) -> &dyn Store {
        &*self.0
    }

    fn reaches_all(&self) -> bool {
        !self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_purge_that_cannot_go_on_holds_up_nothing_else_and_is_told() {
    let tuning = Tuning { extents_per_removal: 4, compact_bytes: 0, ..small_tuning() };
    let mut fleet = Fleet::new(4, 1, &tuning);
    let is_behind = Arc::new(AtomicBool::new(true));
    fleet.homes[0].leads_to(Arc::new(Behind(fleet.store().clone(), is_behind.clone())));
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    let (made, opened) =
        done(workspace.create_open(CALLER, Ino::ROOT, b"large", 0o600, OPEN)).unwrap();
    for number in 0..60 {
        done(workspace.write(opened.handle, number * 8192, b"a block", WriteMode::At, false))
            .unwrap();
    }
    workspace.release(opened.handle);
    workspace.commit().unwrap();
    write_note(&fleet, vec![made.ino]);
    done(workspace.unlink(Ino::ROOT, b"large")).unwrap();
    let mut ticks = 0;
    while examine(&fleet).counts.inodes > 1 {
        let before = workspace.status().head_seq;
        fleet.tick(0, 1100).unwrap();
        let status = workspace.status();
        assert!(status.head_seq > before, "what is done here waits for more than its second");
        assert!(status.trouble.unwrap().contains("would keep what is purged"));
        ticks += 1;
        assert!(ticks < 60, "what was removed stays");
    }
    assert!(ticks > 1 && workspace.is_purging().unwrap());
    is_behind.store(false, Ordering::Relaxed);
    // It is tried again half a minute later at most.
    for _ in 0..30 {
        fleet.tick(0, 1100).unwrap();
    }
    assert!(!workspace.is_purging().unwrap());
    assert_eq!(workspace.status().trouble, None);
}

/// As that of a purge whose process was killed when it had begun.
fn write_note(fleet: &Fleet, inos: Vec<Ino>) {
    type Intent = (Vec<Ino>, Vec<ObjectId>, Option<u64>, Option<u64>, Vec<ObjectId>, i64);
    let intent: Intent = (inos, Vec::new(), None, None, Vec::new(), 0);
    let mut note = encode(&intent);
    let sum = blake3_256(&note);
    note.extend_from_slice(&sum);
    replace_file(fleet.homes[0].disk(), &Path::new(STATE).join(PURGE_FILE), &note).unwrap();
}

fn examine(fleet: &Fleet) -> strongroom_check::Report {
    let subject =
        Subject { store: fleet.store().clone(), keys: keys(), local: None, now: fleet.now_ns() };
    strongroom_check::examine(&subject, &mut |_| ()).unwrap()
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
    scene.settle_and_check();
}

#[test]
fn a_purge_ends_though_the_clock_went_back_meanwhile() {
    const YEAR_NS: i64 = 365 * 24 * 3600 * 1_000_000_000;
    let scene = Scene::new(2, &small_tuning(), 6);
    scene.fleet.tick(1, 2500).unwrap();
    assert!(scene.workspace.purge(&[b"vault".to_vec()]).unwrap().goes_on);
    scene.fleet.homes[0].set_now_ns(scene.fleet.now_ns() - YEAR_NS);
    for _ in 0..20 {
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
    assert_eq!(scene.watch.leaks(), []);
}

#[test]
fn pages_of_snapshots_that_a_purge_wrote_anew_are_not_swept_by_who_knew_the_old_ones() {
    let tuning = Tuning { unnamed_grace: Duration::from_secs(60), ..small_tuning() };
    let scene = Scene::new(2, &tuning, 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    bob.usage().unwrap();
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    for _ in 0..20 {
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
    days_go_by(scene, bob);
}

/// The other home writes, writes checkpoints and collects for some days.
fn days_go_by(scene: Scene, bob: Workspace) {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut scene = scene;
    for day in 0..4 {
        for round in 0..30 {
            save(&bob, &format!("bob {round}"), &plain(day * 100 + round, 3)).unwrap();
            scene.fleet.tick(1, 1200).unwrap();
        }
        scene.fleet.tick(0, 2500).unwrap();
        scene.fleet.tick(1, DAY + 1).unwrap();
    }
    drop(bob);
    scene.settle_and_check();
}

#[test]
fn pages_of_snapshots_that_a_purge_wrote_anew_are_not_swept_by_who_opened_in_the_middle_of_it() {
    let tuning = Tuning { unnamed_grace: Duration::from_secs(60), ..small_tuning() };
    let mut scene = Scene::new(2, &tuning, 9);
    scene.fleet.homes[1].down(Down::Closed).unwrap();
    let kept = scene.workspace.snapshots().unwrap();
    let key = Key::Checkpoint(kept.iter().map(|snapshot| snapshot.seq).min().unwrap());
    let snapshot = |scene: &Scene| now(scene.fleet.store().get(key, None)).unwrap();
    let before = snapshot(&scene);
    let (reached, go) = scene.fleet.homes[0].stops_before_put(key);
    let alice = scene.workspace.clone();
    let purge = std::thread::spawn(move || alice.purge(&[b"vault".to_vec()]).map(drop));
    reached.recv_timeout(Duration::from_secs(120)).unwrap();
    // All commits of the purge are there, the snapshots are as they were.
    scene.fleet.homes[1].open().unwrap();
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    bob.usage().unwrap();
    assert!(snapshot(&scene) == before);
    go.send(()).unwrap();
    purge.join().unwrap().unwrap();
    for _ in 0..20 {
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(snapshot(&scene) != before && !scene.workspace.is_purging().unwrap());
    days_go_by(scene, bob);
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

/// Homes that write, are cut off and killed as it comes, make snapshots, and purge all that is secret.
struct Life {
    fleet: Fleet,
    chance: Chance,
    watch: Watch,
    /// Marks of what was purged.
    doomed: HashSet<Mark>,
    /// What each home last wrote into a file of its own.
    own: Vec<Option<Vec<u8>>>,
    purges: u64,
    round: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let count = 1 + chance.index(4);
        let tuning = Tuning { poll_interval: Duration::from_secs(2), ..small_tuning() };
        let mut fleet = Fleet::new(seed, count, &tuning);
        fleet.mount_again();
        let (watch, own) = (Watch::new(fleet.store()), vec![None; count]);
        let (doomed, purges, round) = (HashSet::new(), 0, seed << 16);
        Self { fleet, chance, watch, doomed, own, purges, round }
    }

    fn happen(&mut self) -> std::result::Result<(), String> {
        let home = self.chance.index(self.fleet.homes.len());
        self.round += 1;
        let act = self.chance.below(100);
        let done = match self.fleet.homes[home].workspace().cloned() {
            None => self.fleet.homes[home].open(),
            Some(core) => match act {
                0..25 => self.keep_secret(&core),
                25..45 => self.write_own(home, &core),
                45..52 => self.remove_secret(&core),
                52..76 => {
                    let millis = self.chance.below(6000);
                    self.fleet.tick(home, millis)
                }
                76..80 => {
                    self.fleet.homes[home].cut(!self.fleet.homes[home].is_cut());
                    Ok(())
                }
                80..83 => self.fleet.homes[home].down(Down::Killed),
                83..85 => self.fleet.homes[home].down(Down::Closed),
                85..92 => self.snapshot(&core),
                _ => self.purge(&core),
            },
        };
        trace(|| format!("home {home} act {act}: {done:?}"));
        match done {
            Err(error) if error.kind() == ErrorKind::Stale => {
                self.fleet.homes[home].down(Down::Killed).map_err(|error| error.to_string())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Poisoned
                ) =>
            {
                Err(format!("home {home} act {act}: {error}"))
            }
            _ => Ok(()),
        }
    }

    fn keep_secret(&mut self, core: &Workspace) -> Result<()> {
        let name = self.chance.below(3);
        if find(core, "vault").is_err() {
            make(core, "vault", Kind::Folder)?;
        }
        if self.chance.one_in(2) {
            return save(core, &format!("vault/{name}"), &secret(self.round));
        }
        save(core, "vault/.new", &secret(self.round))?;
        let (vault, to) = (find(core, "vault")?, name.to_string());
        done(core.rename((vault, b".new"), (vault, to.as_bytes()), RenameMode::Replace))
    }

    fn write_own(&mut self, home: usize, core: &Workspace) -> Result<()> {
        let bytes = plain(self.round, self.chance.below(4));
        save(core, &format!("own {home}"), &bytes)?;
        self.own[home] = Some(bytes);
        Ok(())
    }

    fn remove_secret(&mut self, core: &Workspace) -> Result<()> {
        let name = self.chance.below(3).to_string();
        done(core.unlink(find(core, "vault")?, name.as_bytes()))
    }

    fn snapshot(&mut self, core: &Workspace) -> Result<()> {
        let name = format!("s{}", self.chance.below(3));
        match self.chance.one_in(3) {
            true => core.drop_snapshot(&name),
            false => core.make_snapshot(&name).map(drop),
        }
    }

    /// Whatever is stored and secret, and known to who purges, is doomed.
    fn purge(&mut self, core: &Workspace) -> Result<()> {
        core.commit()?;
        core.tick()?;
        if core.is_purging()? {
            return Ok(());
        }
        let ever = self.ever_secret();
        self.watch.look(&ever);
        let purged = core.purge(&[b"vault".to_vec()]);
        match &purged {
            Ok(purged) if purged.moved == 0 => {
                self.doomed.extend(self.watch.marks.drain());
                self.purges += 1;
            }
            // Some of it is elsewhere now, and stays.
            Ok(_) => self.watch = Watch::new(self.fleet.store()),
            // It may go on, or not have begun.
            Err(_) => {}
        }
        purged.map(drop)
    }

    /// Inodes that ever were in a folder of that name, as far as the log tells.
    fn ever_secret(&self) -> BTreeSet<Ino> {
        let (store, device) = (self.fleet.store().clone(), keys());
        let reader = Reader::open(&store, &device, None).unwrap();
        let (mut vaults, mut inos) = (BTreeSet::new(), BTreeSet::new());
        let newest = reader.checkpoint().unwrap().root.seq;
        for seq in 0..=newest {
            let Ok(Some(checkpoint)) = reader.checkpoint_at(seq) else { continue };
            let start = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
            let read = reader.commits(start, &mut |commit| {
                for op in &commit.body.ops {
                    let (folder, name, ino) = match op {
                        Op::Create { folder, name, ino, .. }
                        | Op::Link { folder, name, ino, .. } => (folder, name, ino),
                        Op::Rename { to, to_name, ino, .. } => (to, to_name, ino),
                        _ => continue,
                    };
                    if vaults.contains(folder) {
                        inos.insert(*ino);
                    }
                    if *folder == Ino::ROOT && name == b"vault" {
                        vaults.insert(*ino);
                    }
                }
                Ok(())
            });
            if read.is_ok() {
                break;
            }
        }
        inos
    }

    fn end(mut self) -> std::result::Result<u64, String> {
        self.fleet.settle()?;
        // Whatever was begun ends.
        for _ in 0..6 {
            for home in 0..self.fleet.homes.len() {
                let ticked = self.fleet.tick(home, 6000);
                if ticked.is_err_and(|error| error.kind() != ErrorKind::Stale) {
                    return Err(format!("home {home} does not come to rest"));
                }
            }
        }
        let trees = self.fleet.settle()?;
        for (home, tree) in trees.iter().enumerate() {
            if let Some(what) = difference(&trees[0], tree, Times::Compared) {
                return Err(format!("homes 0 and {home} differ at {what}"));
            }
            let workspace = self.fleet.homes[home].workspace().unwrap();
            if workspace.is_purging().map_err(|error| error.to_string())? {
                return Err(format!("home {home} is purging still"));
            }
        }
        let core = self.fleet.homes[0].workspace().unwrap();
        for (home, bytes) in self.own.iter().enumerate() {
            let name = format!("/own {home}").into_bytes();
            let is_there = |path: &Vec<u8>| {
                let path = std::str::from_utf8(path).unwrap();
                path.as_bytes().starts_with(&name)
                    && load(core, path).ok().as_ref() == bytes.as_ref()
            };
            if bytes.is_some() && !trees[0].keys().any(is_there) {
                return Err(format!("what home {home} wrote is lost"));
            }
        }
        self.watch.marks = self.doomed;
        let leaks = self.watch.leaks();
        if !leaks.is_empty() {
            return Err(format!("something purged is still stored: {leaks:?}"));
        }
        let report = examine(&self.fleet);
        let found: Vec<_> = report.findings.iter().map(|finding| &finding.text).collect();
        if report.is_clean() { Ok(self.purges) } else { Err(format!("check finds {found:?}")) }
    }
}

#[test]
fn homes_that_purge_at_any_time_leave_nothing_of_it_and_end_equal() {
    let mut purges = 0;
    for seed in seeds(1, amount(25, 100_000)) {
        let mut life = Life::new(seed);
        let steps = 50 + life.chance.index(100);
        let told = (0..steps).try_for_each(|_| life.happen()).and_then(|()| life.end());
        match told {
            Ok(count) => purges += count,
            Err(what) => {
                let test = "homes_that_purge_at_any_time_leave_nothing_of_it_and_end_equal";
                panic!("seed {seed}: {what}\n{}", repeat("purge", test, seed));
            }
        }
    }
    assert!(purges > 0, "nothing was purged");
}
