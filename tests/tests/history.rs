//! The past: how far it can be read, what snapshots keep, and that collection removes nothing else's and all of the rest.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "history/damaged.rs"]
mod damaged;
#[path = "history/hidden.rs"]
mod hidden;
#[path = "history/interrupted.rs"]
mod interrupted;
#[path = "history/moment.rs"]
mod moment;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use strongroom_check::{Area, Kind as Wrong, Report, Subject};
use strongroom_host::sim::Chance;
use strongroom_store::over::{Call, Over};
use strongroom_store::{Body, Family, Key as StoreKey, Store, now};
use strongroom_tests::harness::files::{find, load, make, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::seeds::{amount, repeat, seeds, trace};
use strongroom_tests::harness::tree::{Times, Tree, difference, read_tree};
use strongroom_tests::harness::world::{Setting, World, keys, new_disk, small_tuning};
use strongroom_workspace::door::{Core, Ino, Kind, ListDetail};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use strongroom_workspace::limits::Broken;
use strongroom_workspace::{At, Keep, Tuning, Workspace};

const DAY_MS: u64 = 24 * 3600 * 1000;
const YEAR_NS: i64 = 365 * DAY_MS as i64 * 1_000_000;

fn unlink(core: &dyn Core, path: &str) -> Result<()> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    done(core.unlink(find(core, folder)?, name.as_bytes()))
}

fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().repeat(len / 8 + 1);
    bytes.truncate(len);
    bytes
}

fn one_home(seed: u64, tuning: &Tuning) -> (Fleet, Workspace) {
    let mut fleet = Fleet::new(seed, 1, tuning);
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    (fleet, workspace)
}

/// Files come, change and go, over many checkpoints.
fn live_on(fleet: &Fleet, workspace: &Workspace, from: u64, rounds: u64) {
    for round in from..from + rounds {
        let name = format!("file {}", round % 5);
        save(workspace, &name, &content(round, 3000 + 5000 * (round as usize % 9))).unwrap();
        if round % 7 == 3 {
            unlink(workspace, &name).unwrap();
        }
        fleet.tick(0, 1100).unwrap();
    }
}

fn examine(fleet: &Fleet) -> Report {
    let subject =
        Subject { store: fleet.store().clone(), keys: keys(), local: None, now: fleet.now_ns() };
    strongroom_check::examine(&subject, &mut |_| ()).unwrap()
}

fn tree_at(workspace: &Workspace, at: At) -> Result<Tree> {
    read_tree(&workspace.at(&at)?)
}

fn snapshot(name: &str) -> At {
    At::Snapshot(name.to_owned())
}

#[track_caller]
fn assert_same(left: &Tree, right: &Tree) {
    assert_eq!(difference(left, right, Times::Compared), None);
}

fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error: Error| error.kind())
}

#[test]
fn a_snapshot_stays_as_it_was_and_takes_what_only_it_needs_along_when_it_goes() {
    let (fleet, workspace) = one_home(1, &small_tuning());
    live_on(&fleet, &workspace, 0, 30);
    workspace.make_snapshot("early").unwrap();
    let early = read_tree(&workspace).unwrap();
    live_on(&fleet, &workspace, 100, 40);
    workspace.make_snapshot("late").unwrap();
    let late = read_tree(&workspace).unwrap();
    live_on(&fleet, &workspace, 200, 60);
    assert_same(&early, &tree_at(&workspace, snapshot("early")).unwrap());
    assert_same(&late, &tree_at(&workspace, snapshot("late")).unwrap());
    let names: Vec<_> = workspace.snapshots().unwrap().iter().map(|s| s.name.clone()).collect();
    assert_eq!(names, ["early", "late"]);
    let usage = workspace.usage().unwrap();
    assert!(usage.snapshots.iter().all(|one| one.bytes > 0), "{usage:?}");
    assert_eq!(usage.garbage_bytes, 0, "{usage:?}");
    assert!(examine(&fleet).is_clean());
    workspace.drop_snapshot("early").unwrap();
    assert_same(&late, &tree_at(&workspace, snapshot("late")).unwrap());
    assert_eq!(kind_of(workspace.at(&snapshot("early"))), Some(ErrorKind::NotFound));
    let after = workspace.usage().unwrap();
    assert_eq!(after.garbage_bytes, 0, "{after:?}");
    assert!(after.snapshot_bytes < usage.snapshot_bytes);
    workspace.drop_snapshot("late").unwrap();
    let rest = workspace.usage().unwrap();
    assert_eq!((rest.garbage_bytes, rest.snapshot_bytes), (0, 0), "{rest:?}");
    assert!(examine(&fleet).is_clean());
}

/// Commits, checkpoints and objects in the store.
fn stored(fleet: &Fleet) -> Vec<StoreKey> {
    let families = [Family::Object, Family::Checkpoint, Family::Log];
    let listed = families.map(|family| now(fleet.store().list(family, None)).unwrap());
    listed.iter().flatten().map(|listed| listed.key).collect()
}

/// What check says while something is gone, or is different in one bit.
fn examine_without(fleet: &Fleet, key: StoreKey, flip_at: Option<usize>) -> Report {
    let store = fleet.store();
    let bytes = now(store.get(key, None)).unwrap();
    now(store.delete(key)).unwrap();
    if let Some(at) = flip_at {
        let mut bytes = bytes.to_vec();
        let last = bytes.len() - 1;
        bytes[at.min(last)] ^= 0x10;
        now(store.put(key, Body::Bytes(bytes.into()))).unwrap();
    }
    let report = examine(fleet);
    now(store.delete(key)).unwrap();
    now(store.put(key, Body::Bytes(bytes))).unwrap();
    report
}

fn finds(report: &Report, area: Area, kind: Wrong) -> bool {
    report.findings.iter().any(|found| (found.area, found.kind) == (area, kind))
}

/// What of a store without garbage check does not miss, gone or changed. Only who remembers it can miss the newest commit;
/// collection may have taken the oldest; and any checkpoint that no snapshot stands on does as well as another.
fn unnoticed(fleet: &Fleet, workspace: &Workspace) -> Vec<String> {
    let sound = examine(fleet);
    assert!(sound.is_clean(), "{}", sound.to_text());
    assert_eq!(workspace.usage().unwrap().garbage_bytes, 0);
    let mut unnoticed = Vec::new();
    if sound.counts.unnamed_objects > 0 {
        unnoticed.push(sound.to_text());
    }
    let keys = stored(fleet);
    let snapshots = workspace.snapshots().unwrap();
    let oldest = workspace.usage().unwrap().oldest_seq;
    for key in &keys {
        let may_go = match key {
            StoreKey::Log(seq) => *seq == workspace.status().head_seq || *seq == oldest + 1,
            StoreKey::Checkpoint(seq) => !snapshots.iter().any(|one| one.seq == *seq),
            _ => false,
        };
        if !may_go && examine_without(fleet, *key, None).is_clean() {
            unnoticed.push(format!("{key} is gone"));
        }
        if examine_without(fleet, *key, Some(usize::MAX)).is_clean() {
            unnoticed.push(format!("{key} is changed"));
        }
    }
    assert!(examine(fleet).is_clean());
    unnoticed
}

#[test]
fn check_misses_whatever_only_a_snapshot_needs() {
    let (fleet, workspace) = one_home(7, &small_tuning());
    live_on(&fleet, &workspace, 0, 6);
    save(&workspace, "only then", &content(1, 70_000)).unwrap();
    let before = stored(&fleet);
    workspace.make_snapshot("early").unwrap();
    let early = workspace.snapshots().unwrap()[0].seq;
    unlink(&workspace, "only then").unwrap();
    live_on(&fleet, &workspace, 100, 20);
    assert_eq!(unnoticed(&fleet, &workspace), Vec::<String>::new());
    let report = examine_without(&fleet, StoreKey::Checkpoint(early), None);
    assert!(finds(&report, Area::Checkpoint, Wrong::Missing), "{}", report.to_text());
    let report = examine_without(&fleet, StoreKey::Checkpoint(early), Some(200));
    assert!(finds(&report, Area::Checkpoint, Wrong::Changed), "{}", report.to_text());
    // The file is told, and in which snapshot.
    let large = |key: &StoreKey| {
        !before.contains(key)
            && matches!(key, StoreKey::Object(_))
            && now(fleet.store().get(*key, None)).unwrap().len() >= 70_000
    };
    let object = stored(&fleet).into_iter().find(large).unwrap();
    for flip_at in [None, Some(30_000)] {
        let report = examine_without(&fleet, object, flip_at);
        assert_eq!(finds(&report, Area::Object, Wrong::Missing), flip_at.is_none());
        let text = report.to_text();
        assert!(text.starts_with("/only then in snapshot `early`: bytes "), "{text}");
        assert_eq!(report.to_json()["damaged_files"][0]["snapshots"][0], "early");
    }
}

#[test]
fn check_misses_whatever_kept_history_needs_and_nothing_that_the_rule_lets_go() {
    let (fleet, workspace) = one_home(8, &small_tuning());
    workspace.set_keep(Keep { days: Some(2), last: None }).unwrap();
    live_on(&fleet, &workspace, 0, 25);
    assert_eq!(unnoticed(&fleet, &workspace), Vec::<String>::new());
    let missed = || {
        let objects = stored(&fleet).into_iter().filter(|key| matches!(key, StoreKey::Object(_)));
        let reports = objects.map(|key| examine_without(&fleet, key, None));
        reports.filter(|report| !report.is_clean()).collect::<Vec<_>>()
    };
    let kept = missed();
    let is_told = |report: &Report| report.to_text().contains(" as of commit ");
    assert!(kept.iter().any(is_told), "no file of a state before the present is told");
    // Collection may be under way, and it may never have ended.
    fleet.tick(0, 3 * DAY_MS).unwrap();
    let later = missed();
    assert!(!later.is_empty() && later.len() < kept.len(), "{} of {}", later.len(), kept.len());
    workspace.set_keep(Keep::default()).unwrap();
    assert!(examine(&fleet).is_clean());
    assert!(missed().len() < later.len());
}

/// A store in which a commit waits at the gate, once it is shut.
struct Gate {
    store: Arc<dyn Store>,
    is_shut: Arc<Mutex<bool>>,
    waiting: Arc<AtomicBool>,
}

impl Over for Gate {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        while matches!(call, Call::PutIfAbsent(_)) && *self.is_shut.lock() {
            self.waiting.store(true, Ordering::Relaxed);
            std::thread::yield_now();
        }
        Ok(())
    }
}

#[test]
fn a_rule_that_is_set_while_a_commit_is_on_its_way_keeps_what_follows() {
    let (is_shut, waiting) = (Arc::new(Mutex::new(false)), Arc::new(AtomicBool::new(false)));
    let parts = (is_shut.clone(), waiting.clone());
    let wrap = move |store| {
        let (is_shut, waiting) = parts.clone();
        Arc::new(Gate { store, is_shut, waiting }) as Arc<dyn Store>
    };
    let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(small_tuning()) };
    let world = World::open(new_disk(), 1, setting, None).unwrap();
    let workspace = world.workspace().clone();
    save(&workspace, "file 0", b"on its way").unwrap();
    let keep = Keep { days: Some(30), last: None };
    *is_shut.lock() = true;
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| workspace.commit());
        while !waiting.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let set = scope.spawn(|| workspace.set_keep(keep));
        while workspace.keep().unwrap() != keep {
            std::thread::yield_now();
        }
        *is_shut.lock() = false;
        commit.join().unwrap().unwrap();
        set.join().unwrap().unwrap();
    });
    let (seq, then) = (workspace.status().head_seq, read_tree(&workspace).unwrap());
    for round in 0..60 {
        save(&workspace, "file 0", &content(round, 3000)).unwrap();
        world.tick(1100).unwrap();
    }
    assert_same(&then, &tree_at(&workspace, At::Commit(seq)).unwrap());
}

#[test]
fn a_home_without_a_rule_keeps_the_present_alone() {
    let (fleet, workspace) = one_home(2, &small_tuning());
    live_on(&fleet, &workspace, 0, 60);
    workspace.make_snapshot("now").unwrap();
    workspace.drop_snapshot("now").unwrap();
    let usage = workspace.usage().unwrap();
    assert_eq!((usage.history_bytes, usage.garbage_bytes), (0, 0), "{usage:?}");
}

#[test]
fn history_reaches_as_far_back_as_the_rule_says_by_age_and_by_count() {
    let (fleet, workspace) = one_home(3, &small_tuning());
    workspace.set_keep(Keep { days: Some(2), last: None }).unwrap();
    let mut states = Vec::new();
    for day in 0..6 {
        live_on(&fleet, &workspace, day * 20, 20);
        workspace.commit().unwrap();
        states.push((workspace.status().head_seq, read_tree(&workspace).unwrap()));
        fleet.tick(0, DAY_MS).unwrap();
    }
    // One more checkpoint, after which what is too old goes.
    workspace.make_snapshot("end").unwrap();
    for (seq, tree) in &states[4..] {
        assert_same(tree, &tree_at(&workspace, At::Commit(*seq)).unwrap());
    }
    for (seq, _) in &states[..3] {
        assert_eq!(kind_of(workspace.at(&At::Commit(*seq))), Some(ErrorKind::NotFound), "{seq}");
    }
    let head = workspace.status().head_seq;
    workspace.set_keep(Keep { days: None, last: Some(head - states[4].0) }).unwrap();
    fleet.tick(0, 10 * DAY_MS).unwrap();
    workspace.make_snapshot("later").unwrap();
    assert_same(&states[5].1, &tree_at(&workspace, At::Commit(states[5].0)).unwrap());
    workspace.set_keep(Keep::default()).unwrap();
    workspace.drop_snapshot("end").unwrap();
    workspace.drop_snapshot("later").unwrap();
    live_on(&fleet, &workspace, 500, 30);
    let usage = workspace.usage().unwrap();
    assert_eq!((usage.history_bytes, usage.garbage_bytes), (0, 0), "{usage:?}");
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_clock_that_was_years_ahead_stops_no_collection_once_it_is_right() {
    let unnamed_grace = std::time::Duration::from_secs(60);
    let tuning = Tuning { unnamed_grace, checkpoint_log_bytes: 3 << 10, ..small_tuning() };
    let (fleet, workspace) = one_home(15, &tuning);
    workspace.set_keep(Keep { days: Some(2), last: None }).unwrap();
    live_on(&fleet, &workspace, 0, 10);
    let right = fleet.now_ns();
    fleet.homes[0].set_now_ns(right + 10 * YEAR_NS);
    live_on(&fleet, &workspace, 100, 30);
    fleet.homes[0].set_now_ns(right);
    live_on(&fleet, &workspace, 200, 30);
    let unnamed = StoreKey::Object(strongroom_format::ids::ObjectId([9; 16]));
    now(fleet.store().put(unnamed, Body::Bytes(vec![1; 100].into()))).unwrap();
    let before = stored(&fleet);
    for day in 0..6 {
        fleet.tick(0, DAY_MS).unwrap();
        live_on(&fleet, &workspace, 1000 + day * 100, 15);
    }
    let after = stored(&fleet);
    let is_old = |key: &&StoreKey| {
        matches!(key, StoreKey::Log(_) | StoreKey::Checkpoint(_)) && after.contains(key)
    };
    assert_eq!(before.iter().filter(is_old).collect::<Vec<_>>(), Vec::<&StoreKey>::new());
    assert!(!after.contains(&unnamed));
    assert_eq!(workspace.usage().unwrap().garbage_bytes, 0);
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_clock_that_jumps_ahead_removes_no_history_before_a_day_has_gone_by() {
    let unnamed_grace = std::time::Duration::from_secs(60);
    let tuning = Tuning { unnamed_grace, ..small_tuning() };
    let (fleet, workspace) = one_home(16, &tuning);
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    live_on(&fleet, &workspace, 0, 60);
    let unnamed = StoreKey::Object(strongroom_format::ids::ObjectId([9; 16]));
    now(fleet.store().put(unnamed, Body::Bytes(vec![1; 100].into()))).unwrap();
    let before = stored(&fleet);
    let gone = || {
        let after = stored(&fleet);
        before.iter().filter(|key| !after.contains(key)).count()
    };
    let right = fleet.now_ns();
    // A year on, back again, and on once more.
    for now_ns in [right + YEAR_NS, right, right + YEAR_NS] {
        fleet.homes[0].set_now_ns(now_ns);
        live_on(&fleet, &workspace, 100, 60);
        assert_eq!(gone(), 0);
        assert!(workspace.status().trouble.unwrap().contains("clock"));
    }
    fleet.tick(0, DAY_MS).unwrap();
    live_on(&fleet, &workspace, 200, 60);
    assert!(gone() > 0, "it is believed in the end");
    assert_eq!(workspace.status().trouble, None);
}

#[test]
fn a_time_stands_for_the_last_commit_before_it() {
    let (fleet, workspace) = one_home(4, &small_tuning());
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    let mut states = Vec::new();
    for hour in 0..5 {
        live_on(&fleet, &workspace, hour * 8, 8);
        workspace.commit().unwrap();
        let newest = workspace.versions(b"file 0").unwrap().last().unwrap().time;
        states.push((newest, read_tree(&workspace).unwrap()));
        fleet.tick(0, 3_600_000).unwrap();
    }
    for (time, tree) in &states {
        let half_an_hour_later = time + 1_800_000_000_000;
        assert_same(tree, &tree_at(&workspace, At::Time(half_an_hour_later)).unwrap());
    }
    assert_eq!(kind_of(workspace.at(&At::Time(0))), Some(ErrorKind::NotFound));
}

#[test]
fn versions_of_a_path_are_told_and_each_can_be_restored() {
    let (fleet, workspace) = one_home(5, &small_tuning());
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    make(&workspace, "folder", Kind::Folder).unwrap();
    for number in 0..6 {
        save(&workspace, "folder/report", &content(number, 900 + 9000 * number as usize)).unwrap();
        live_on(&fleet, &workspace, number * 10, 5);
    }
    unlink(&workspace, "folder/report").unwrap();
    workspace.commit().unwrap();
    let versions = workspace.versions(b"folder/report").unwrap();
    let sizes: Vec<_> = versions.iter().map(|version| (version.kind, version.size)).collect();
    let file = |number: u64| (Some(Kind::File), 900 + 9000 * number);
    assert_eq!(sizes, [file(0), file(1), file(2), file(3), file(4), file(5), (None, 0)]);
    for (number, version) in versions[..6].iter().enumerate() {
        let to = format!("back {number}");
        let at = At::Commit(version.seq);
        workspace.restore(b"folder/report", &at, to.as_bytes()).unwrap();
        let expected = content(number as u64, 900 + 9000 * number);
        assert_eq!(load(&workspace, &to).unwrap(), expected);
    }
    // In its place, over what is there, and a whole folder beside it.
    let at = At::Commit(versions[2].seq);
    workspace.restore(b"folder/report", &at, b"folder/report").unwrap();
    save(&workspace, "folder/report", b"newer").unwrap();
    workspace.restore(b"folder/report", &at, b"folder/report").unwrap();
    assert_eq!(load(&workspace, "folder/report").unwrap(), content(2, 18_900));
    assert_eq!(kind_of(workspace.restore(b"folder", &at, b"folder")), Some(ErrorKind::Exists));
    workspace.restore(b"folder", &at, b"folder of then").unwrap();
    assert_eq!(load(&workspace, "folder of then/report").unwrap(), content(2, 18_900));
    assert_eq!(kind_of(workspace.versions(b"never")), Some(ErrorKind::NotFound));
    assert!(examine(&fleet).is_clean());
}

fn names_of_restores(workspace: &Workspace) -> Vec<Vec<u8>> {
    let entries = done(workspace.read_folder(Ino::ROOT, 0, 1_000, ListDetail::Names)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with(b".restored")).collect()
}

#[test]
fn a_version_that_cannot_be_restored_leaves_nothing_behind_and_can_be_restored_later() {
    let (mut fleet, workspace) = one_home(5, &small_tuning());
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    make(&workspace, "folder", Kind::Folder).unwrap();
    make(&workspace, "folder/inner", Kind::Folder).unwrap();
    save(&workspace, "folder/inner/report", &content(1, 400_000)).unwrap();
    workspace.commit().unwrap();
    let at = At::Commit(workspace.versions(b"folder/inner/report").unwrap()[0].seq);
    drop(workspace);
    let cases =
        [("folder/inner/report", "there"), ("folder/inner/report", "new"), ("folder", "all")];
    for (path, to) in cases {
        let mut failed = 0;
        for requests in (0..).step_by(7) {
            // Opened anew, it holds nothing of the old state in memory.
            fleet.homes[0].down(Down::Closed).unwrap();
            fleet.homes[0].open().unwrap();
            let workspace = fleet.homes[0].workspace().unwrap().clone();
            if to == "there" {
                save(&workspace, to, b"present").unwrap();
            }
            fleet.homes[0].ends_after(Some(requests));
            let restored = workspace.restore(path.as_bytes(), &at, to.as_bytes());
            fleet.homes[0].ends_after(None);
            assert_eq!(names_of_restores(&workspace), [[0; 0]; 0], "{to} {requests}");
            if restored.is_ok() {
                break;
            }
            failed += 1;
            match to {
                "there" => assert_eq!(load(&workspace, to).unwrap(), b"present"),
                _ => assert_eq!(kind_of(find(&workspace, to)), Some(ErrorKind::NotFound)),
            }
        }
        let workspace = fleet.homes[0].workspace().unwrap();
        let file = if path == "folder" { "all/inner/report" } else { to };
        assert!(load(workspace, file).unwrap() == content(1, 400_000), "{to}");
        assert!(failed > 2, "{failed}");
    }
    assert!(examine(&fleet).is_clean());
}

#[test]
fn what_a_restore_that_was_killed_left_is_in_the_way_of_no_other() {
    let (_fleet, workspace) = one_home(5, &small_tuning());
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    make(&workspace, "folder", Kind::Folder).unwrap();
    save(&workspace, "folder/report", &content(1, 9_000)).unwrap();
    workspace.commit().unwrap();
    let at = At::Commit(workspace.versions(b"folder/report").unwrap()[0].seq);
    let left = |path| format!(".restored-{:016x}", find(&workspace, path).unwrap().0);
    let (file, folder) = (left("folder/report"), left("folder"));
    save(&workspace, &file, b"half").unwrap();
    make(&workspace, &folder, Kind::Folder).unwrap();
    save(&workspace, &format!("{folder}/report"), b"half").unwrap();
    workspace.restore(b"folder/report", &at, b"new").unwrap();
    workspace.restore(b"folder", &at, b"all").unwrap();
    assert_eq!(names_of_restores(&workspace), [[0; 0]; 0]);
    for path in ["new", "all/report"] {
        assert!(load(&workspace, path).unwrap() == content(1, 9_000), "{path}");
    }
}

#[test]
fn an_old_state_changes_no_more_and_refuses_changes() {
    let (fleet, workspace) = one_home(6, &small_tuning());
    live_on(&fleet, &workspace, 0, 12);
    workspace.make_snapshot("then").unwrap();
    let then = workspace.at(&snapshot("then")).unwrap();
    let before = read_tree(&then).unwrap();
    live_on(&fleet, &workspace, 50, 40);
    then.tick().unwrap();
    assert_same(&before, &read_tree(&then).unwrap());
    assert_eq!(kind_of(save(&then, "new", b"x")), Some(ErrorKind::ReadOnly));
    assert_eq!(kind_of(then.make_snapshot("x")), Some(ErrorKind::ReadOnly));
    assert_eq!(kind_of(workspace.make_snapshot("then")), Some(ErrorKind::Exists));
    for name in ["", "1st", "a/b", &"n".repeat(65)] {
        assert_eq!(kind_of(workspace.make_snapshot(name)), Some(ErrorKind::Invalid), "{name}");
    }
}

/// Several homes that work, snapshot, let go, change the rule, fall and come back.
struct Story {
    fleet: Fleet,
    chance: Chance,
    generators: Vec<Generator>,
    /// Snapshots that are there, with what they must show.
    kept: Vec<(String, Tree)>,
    next: u64,
}

impl Story {
    fn new(seed: u64, tuning: &Tuning) -> Self {
        let mut chance = Chance::new(seed);
        let count = 1 + chance.index(3);
        let generators = (0..count as u64).map(|home| Generator::new(seed * 8 + home, Mix::Local));
        let generators = generators.collect();
        let fleet = Fleet::new(seed, count, tuning);
        Self { fleet, chance, generators, kept: Vec::new(), next: 0 }
    }

    fn happen(&mut self) -> std::result::Result<(), String> {
        let home = self.chance.index(self.fleet.homes.len());
        let failed = |error: Error| match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Busy => Ok(()),
            _ => Err(format!("home {home}: {error}")),
        };
        if self.fleet.homes[home].workspace().is_none() {
            return self.fleet.homes[home].open().or_else(failed);
        }
        let workspace = self.fleet.homes[home].workspace().unwrap().clone();
        match self.chance.below(100) {
            0..55 => {
                for step in self.generators[home].steps(3) {
                    self.fleet.homes[home].take(&step);
                }
                Ok(())
            }
            55..78 => {
                let millis = self.chance.below(3000);
                self.fleet.tick(home, millis).or_else(failed)
            }
            78..86 => {
                let name = format!("s{}", self.next);
                self.next += 1;
                trace(|| format!("home {home} makes {name}"));
                let made = workspace.make_snapshot(&name);
                let tree = made.and_then(|made| tree_at(&workspace, At::Commit(made.seq)));
                tree.map(|tree| self.kept.push((name, tree))).or_else(failed)
            }
            86..91 if !self.kept.is_empty() => {
                let (name, _) = self.kept.remove(self.chance.index(self.kept.len()));
                trace(|| format!("home {home} lets {name} go"));
                match workspace.drop_snapshot(&name) {
                    // Another home made it, and this one has not heard of it.
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    result => result.or_else(failed),
                }
            }
            91..93 => {
                let days = [None, Some(0), Some(1), Some(20)][self.chance.index(4)];
                let last = [None, Some(3)][self.chance.index(2)];
                workspace.set_keep(Keep { days, last }).or_else(failed)
            }
            93..95 => self.look_back(&workspace),
            95..97 => self.fleet.homes[home].down(Down::Killed).or_else(failed),
            97..98 => {
                let seed = self.chance.next_u64();
                self.fleet.homes[home].down(Down::PowerLost(seed)).or_else(failed)
            }
            _ => self.fleet.homes[home].down(Down::Closed).or_else(failed),
        }
    }

    /// Whatever a home knows as a snapshot can be read there.
    fn look_back(&mut self, workspace: &Workspace) -> std::result::Result<(), String> {
        let known = workspace.snapshots().map_err(|error| error.to_string())?;
        for (name, tree) in &self.kept {
            if known.iter().any(|snapshot| snapshot.name == *name) {
                let seen = tree_at(workspace, snapshot(name))
                    .map_err(|error| format!("snapshot {name}: {error}"))?;
                if let Some(what) = difference(tree, &seen, Times::Compared) {
                    return Err(format!("snapshot {name} differs at {what}"));
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> std::result::Result<(), String> {
        let told = |error: Error| error.to_string();
        self.fleet.settle()?;
        let workspace = self.fleet.homes[0].workspace().unwrap().clone();
        self.look_back(&workspace)?;
        let all = workspace.snapshots().map_err(told)?;
        let missing = |(name, _): &&(String, Tree)| !all.iter().any(|one| one.name == *name);
        if let Some((name, _)) = self.kept.iter().find(missing) {
            return Err(format!("snapshot {name} is gone"));
        }
        workspace.set_keep(Keep::default()).map_err(told)?;
        for one in all {
            workspace.drop_snapshot(&one.name).map_err(told)?;
        }
        let trees = self.fleet.settle()?;
        for _ in 0..3 {
            // Everybody hears of it, time goes by, and a checkpoint follows.
            self.fleet.settle()?;
            self.fleet.tick(0, 31 * DAY_MS).map_err(told)?;
            for home in 0..self.fleet.homes.len() {
                self.fleet.tick(home, 2500).map_err(told)?;
            }
            workspace.make_snapshot("end").map_err(told)?;
            workspace.drop_snapshot("end").map_err(told)?;
        }
        let after = self.fleet.settle()?;
        if let Some(what) = difference(&trees[0], &after[0], Times::Ignored) {
            return Err(format!("collection changed {what}"));
        }
        let report = examine(&self.fleet);
        if !report.is_clean() {
            let found: Vec<_> = report.findings.iter().map(|found| found.text.clone()).collect();
            return Err(format!("check finds: {}", found.join("; ")));
        }
        let usage = workspace.usage().map_err(told)?;
        match usage.garbage_bytes + usage.snapshot_bytes {
            0 => Ok(()),
            _ => Err(format!("something is left that nobody needs: {usage:?}")),
        }
    }
}

fn live(seed: u64, tuning: &Tuning) -> std::result::Result<(), String> {
    let mut story = Story::new(seed, tuning);
    let steps = 40 + story.chance.index(100);
    for _ in 0..steps {
        story.happen()?;
    }
    story.end()
}

#[test]
fn collection_removes_nothing_that_a_state_needs_and_in_the_end_all_of_the_rest() {
    for seed in seeds(1, amount(30, 20_000)) {
        if let Err(what) = live(seed, &small_tuning()) {
            let test =
                "collection_removes_nothing_that_a_state_needs_and_in_the_end_all_of_the_rest";
            panic!("seed {seed}: {what}\n{}", repeat("history", test, seed));
        }
    }
}

#[test]
fn collection_that_forgets_snapshots_is_noticed() {
    let tuning = Tuning { broken: Some(Broken::SnapshotsNotKept), ..small_tuning() };
    assert!((1..=60).any(|seed| live(seed, &tuning).is_err()), "it was not noticed");
}
