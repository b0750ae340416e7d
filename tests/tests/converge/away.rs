//! Homes that are cut off, away for long, or begin without the store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_host::disk::{Disk, OpenMode, read_all};
use strongroom_store::{Body, Family, Key as StoreKey, now};
use strongroom_tests::harness::files::{OPEN, find, make, save};
use strongroom_tests::harness::fleet::{Down, Fleet, Home};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::tree::{Times, Tree, difference, read_tree};
use strongroom_tests::harness::world::STATE;
use strongroom_workspace::door::{Core, Ino, Kind, RenameMode, SyncLevel, SyncScope, WriteMode};
use strongroom_workspace::error::{ErrorKind, Result};
use strongroom_workspace::inbound::conflict::ConflictName;
use strongroom_workspace::{Tuning, Workspace};

use super::{
    bytes_of, content, examine, keeping_for, mark, marks, marks_in, marks_of, stored, tuning,
    write_for_long,
};

#[test]
fn a_home_that_is_cut_off_goes_on_and_says_what_waits() {
    let mut fleet = Fleet::new(5, 2, &tuning());
    write_for_long(&mut fleet, &[0, 1], 3, 1100);
    fleet.settle().unwrap();
    fleet.homes[0].cut(true);
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..3 {
        save(&workspace, &format!("offline {number}"), &content(number, 5000)).unwrap();
        // A commit that fails holds back nothing, and nothing that waits is forgotten.
        let failed = fleet.tick(0, 20_000).map_err(|error| error.kind());
        assert_eq!(failed, Err(ErrorKind::Unavailable));
        let status = workspace.status();
        assert!(status.pending_ops > number && !status.is_clean(), "{}", status.to_json());
        assert!(status.contact_age >= Duration::from_secs(20 * (number + 1)));
        assert!(status.trouble.is_some());
        let ino = find(&workspace, &format!("offline {number}")).unwrap();
        assert_eq!(marks(&workspace, ino).unwrap(), BTreeSet::from([mark(number)]));
    }
    fleet.homes[0].cut(false);
    let trees = fleet.settle().unwrap();
    assert!(workspace.status().contact_age < Duration::from_secs(20));
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!((0..3).all(|number| marks_in(&trees[1]).contains(&mark(number))));
}

#[test]
fn what_a_home_did_that_was_away_for_too_long_is_put_beside_what_others_did() {
    let mut fleet = Fleet::new(3, 2, &keeping_for(60));
    write_for_long(&mut fleet, &[0, 1], 4, 1100);
    let first = fleet.homes[0].workspace().unwrap().clone();
    make(&first, "gone", Kind::Folder).unwrap();
    save(&first, "gone/old", b"old").unwrap();
    for name in ["shared", "replaced", "removed"] {
        save(&first, name, &content(1, 3000)).unwrap();
    }
    fleet.settle().unwrap();

    fleet.homes[1].cut(true);
    let second = fleet.homes[1].workspace().unwrap().clone();
    save(&second, "late", &content(101, 70_000)).unwrap();
    save(&second, "shared", &content(102, 900)).unwrap();
    let ino = find(&second, "removed").unwrap();
    let handle = done(second.open(ino, OPEN)).unwrap().handle;
    done(second.write(handle, 5000, &content(103, 24), WriteMode::At, false)).unwrap();
    second.release(handle);
    save(&second, "gone/new", &content(104, 300)).unwrap();
    save(&second, "tmp", &content(105, 300)).unwrap();
    let places = ((Ino::ROOT, &b"tmp"[..]), (Ino::ROOT, &b"replaced"[..]));
    done(second.rename(places.0, places.1, RenameMode::Replace)).unwrap();
    done(second.unlink(Ino::ROOT, b"0-1")).unwrap();
    make(&second, "taken", Kind::Folder).unwrap();
    save(&second, "taken/in", &content(106, 300)).unwrap();
    done(second.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(second);

    let folder = find(&first, "gone").unwrap();
    done(first.unlink(folder, b"old")).unwrap();
    done(first.remove_folder(Ino::ROOT, b"gone")).unwrap();
    done(first.unlink(Ino::ROOT, b"removed")).unwrap();
    save(&first, "shared", &content(201, 900)).unwrap();
    save(&first, "taken", &content(202, 900)).unwrap();
    save(&first, "late", &content(203, 900)).unwrap();
    drop(first);
    write_for_long(&mut fleet, &[0], 300, 1100);

    // While it is mounted it says that it has to be mounted again.
    fleet.homes[1].cut(false);
    let refused = fleet.tick(1, 3000).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Stale));
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    for number in (101..=106).chain(201..=203) {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    let at = |path: &str| marks_of(&bytes_of(&trees[0][path.as_bytes()]));
    // What others have keeps its name, what only this home has gets its own.
    for (path, number) in [("/shared", 201), ("/taken", 202), ("/late", 203), ("/replaced", 1)] {
        assert_eq!(at(path), BTreeSet::from([mark(number)]), "{path}");
    }
    assert!(trees[0].contains_key(&b"/0-1"[..]), "who knows whether somebody went on with it");
    assert!(examine(&fleet).is_clean());
    // And it goes on as any other.
    write_for_long(&mut fleet, &[1, 0], 3, 1100);
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
}

/// Writes at the end of a file.
fn append(core: &dyn Core, path: &str, offset: u64, number: u64) {
    let handle = done(core.open(find(core, path).unwrap(), OPEN)).unwrap().handle;
    done(core.write(handle, offset, &mark(number), WriteMode::At, false)).unwrap();
    core.release(handle);
}

#[test]
fn what_a_home_was_away_for_too_long_to_keep_whole_says_so_in_its_name() {
    let mut fleet = Fleet::new(4, 2, &Tuning { compact_bytes: 0, ..keeping_for(60) });
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    let names = ["edited", "removed", "replaced", "copied"];
    names.iter().for_each(|name| save(&first, name, &content(1, 20_000)).unwrap());
    fleet.settle().unwrap();

    fleet.homes[1].cut(true);
    let second = fleet.homes[1].workspace().unwrap().clone();
    append(&second, "edited", 20_000, 101);
    append(&second, "removed", 20_000, 102);
    save(&second, "replaced", &content(103, 20_000)).unwrap();
    let ino = find(&second, "copied").unwrap();
    let from = done(second.open(ino, OPEN)).unwrap().handle;
    let (_, to) = done(second.create_open(CALLER, Ino::ROOT, b"copy", 0o600, OPEN)).unwrap();
    assert_eq!(done(second.copy_range((from, 0), (to.handle, 0), 20_000)).unwrap(), 20_000);
    second.release(from);
    second.release(to.handle);
    append(&second, "copy", 20_000, 104);
    done(second.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(second);

    save(&first, "edited", &content(201, 20_000)).unwrap();
    for name in ["removed", "replaced", "copied"] {
        done(first.unlink(Ino::ROOT, name.as_bytes())).unwrap();
    }
    drop(first);
    fleet.homes[1].down(Down::Killed).unwrap();
    write_for_long(&mut fleet, &[0], 300, 1100);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let held = |number: u64| {
        let tree = trees[0].iter().map(|(path, node)| (path, marks_of(&bytes_of(node))));
        let mut found = tree.filter(|(_, marks)| marks.contains(&mark(number)));
        let (path, marks) = found.next().unwrap_or_else(|| panic!("{number} is lost"));
        assert!(found.next().is_none(), "{number} is there twice");
        let name = ConflictName::parse(&path[1..]);
        (name.is_some_and(|name| name.is_incomplete), marks)
    };
    // An edit that went into the newest version, and what was written whole, lack nothing.
    assert_eq!(held(101), (false, BTreeSet::from([mark(201), mark(101)])));
    assert_eq!(held(102), (true, BTreeSet::from([mark(102)])));
    assert_eq!(held(103), (false, BTreeSet::from([mark(103)])));
    assert_eq!(held(104), (true, BTreeSet::from([mark(104)])));
    assert!(examine(&fleet).is_clean());
}

#[test]
fn what_came_to_nothing_here_stays_so_however_long_the_home_is_away_then() {
    let mut fleet = Fleet::new(17, 2, &keeping_for(60));
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "file", &content(1, 300)).unwrap();
    fleet.settle().unwrap();
    let second = fleet.homes[1].workspace().unwrap().clone();
    append(&second, "file", 300, 2);
    for core in [&second, &first] {
        done(core.unlink(Ino::ROOT, b"file")).unwrap();
    }
    first.commit().unwrap();
    fleet.tick(1, 2500).unwrap();
    let status = second.status();
    assert!(status.is_clean() && status.commits == 1, "{}", status.to_json());
    drop((first, second));
    fleet.homes[1].down(Down::Killed).unwrap();
    write_for_long(&mut fleet, &[0], 300, 1100);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(!marks_in(&trees[0]).contains(&mark(2)), "what was removed is back");
    // And what is done then says what it was done on top of.
    save(fleet.homes[1].workspace().unwrap(), "new", &content(3, 300)).unwrap();
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert!(marks_in(&trees[0]).contains(&mark(3)));
}

#[test]
fn a_home_that_was_open_before_opens_while_the_store_is_away() {
    let mut fleet = Fleet::new(6, 2, &tuning());
    fleet.keep_copies();
    write_for_long(&mut fleet, &[0, 1], 9, 1100);
    let before = fleet.settle().unwrap().remove(0);
    for how in [Down::Closed, Down::Killed] {
        fleet.homes[0].down(how).unwrap();
        fleet.homes[0].cut(true);
        fleet.homes[0].open().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let status = workspace.status();
        assert!(status.trouble.is_some(), "it says that the store is away");
        let seen = read_tree(&workspace).unwrap();
        let is_new = |path: &[u8]| path.starts_with(b"/new") || path.is_empty();
        let old = |tree: &Tree| -> Tree {
            let old = tree.iter().filter(|(path, _)| !is_new(path));
            old.map(|(path, node)| (path.clone(), node.clone())).collect()
        };
        assert_eq!(difference(&old(&before), &old(&seen), Times::Compared), None);
        let number = u64::from(how == Down::Killed);
        save(&workspace, &format!("new {number}"), &content(700 + number, 5000)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        let told = fleet.tick(0, 2500).map_err(|error| error.kind());
        assert_eq!(told, Err(ErrorKind::Unavailable));
        let status = workspace.status();
        assert!(status.pending_ops > number, "{}", status.to_json());
    }
    // The other one goes on meanwhile, over some checkpoints.
    write_for_long(&mut fleet, &[1], 60, 1100);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    for number in [700, 701] {
        assert!(marks_in(&trees[1]).contains(&mark(number)), "{number} is lost");
    }
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_home_that_was_never_open_needs_the_store() {
    let mut fleet = Fleet::new(8, 2, &tuning());
    fleet.keep_copies();
    write_for_long(&mut fleet, &[0], 3, 1100);
    fleet.homes[1].cut(true);
    let refused = fleet.homes[1].open().map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::Unavailable));
}

#[test]
fn a_home_that_does_not_know_its_first_commit_any_more_needs_the_store() {
    let mut refused = 0;
    for seed in 0..16 {
        let mut fleet = Fleet::new(10, 1, &tuning());
        fleet.keep_copies();
        fleet.homes[0].open().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        save(&workspace, "mine", &content(1, 500)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        drop(workspace);
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        fleet.homes[0].cut(true);
        if let Err(error) = fleet.homes[0].open() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
            refused += 1;
        }
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(marks_in(&trees[0]).contains(&mark(1)), "seed {seed}: it is lost");
    }
    assert!(refused > 0, "it always knew it");
}

#[test]
fn what_is_done_apart_after_a_loss_of_power_is_kept() {
    let mut opened = 0;
    for seed in 0..16 {
        let mut fleet = Fleet::new(seed, 1 + usize::from(seed % 2 == 0), &tuning());
        fleet.keep_copies();
        let homes: Vec<usize> = (0..fleet.homes.len()).collect();
        write_for_long(&mut fleet, &homes, 9, 1100);
        fleet.homes[0].down(Down::Closed).unwrap();
        fleet.homes[0].open().unwrap();
        // What was committed last may be neither in the journal nor among the copies when power comes back.
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        (0..4).for_each(|number| save(&workspace, &format!("little {number}"), b"1").unwrap());
        workspace.commit().unwrap();
        drop(workspace);
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        fleet.homes[0].cut(true);
        match fleet.homes[0].open() {
            Ok(()) => opened += 1,
            Err(error) if error.kind() == ErrorKind::Unavailable => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        save(&workspace, "apart", &content(900, 500)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        drop(workspace);
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(marks_in(&trees[0]).contains(&mark(900)), "seed {seed}: it is lost");
        assert!(examine(&fleet).is_clean(), "seed {seed}");
    }
    assert!(opened > 0, "it never opened");
}

/// Two homes of which the first is open at its own last commit, which it knows durably; both have `f`.
pub(super) fn open_at_its_own(seed: u64) -> Fleet {
    open_at_its_own_with(seed, &tuning())
}

pub(super) fn open_at_its_own_with(seed: u64, tuning: &Tuning) -> Fleet {
    let mut fleet = Fleet::new(seed, 2, tuning);
    fleet.keep_copies();
    fleet.homes[1].open().unwrap();
    fleet.homes[0].open().unwrap();
    fleet.settle().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    save(&workspace, "f", &content(1, 500)).unwrap();
    (0..24).for_each(|number| save(&workspace, &format!("own {number}"), b"1").unwrap());
    drop(workspace);
    // With a checkpoint, whose copy is durable.
    fleet.homes[0].down(Down::Closed).unwrap();
    fleet.homes[0].open().unwrap();
    fleet.tick(1, 2500).unwrap();
    fleet
}

/// The second removes `f`, among much else; the first hears of it and closes: its log is long, so it commits though it has
/// nothing to commit. Says whether that got through and it was not told, for so many requests before the line is cut.
fn closes_untold(fleet: &mut Fleet, requests: u64) -> bool {
    let second = fleet.homes[1].workspace().unwrap().clone();
    done(second.unlink(Ino::ROOT, b"f")).unwrap();
    (0..48).for_each(|number| save(&second, &format!("other {number}"), b"1").unwrap());
    second.commit().unwrap();
    drop(second);
    fleet.tick(0, 2500).unwrap();
    is_untold(fleet, requests, Workspace::close)
}

/// Whether a commit of the first gets through and it is not told, for so many requests before the line is cut.
pub(super) fn is_untold(
    fleet: &mut Fleet,
    requests: u64,
    commit: impl FnOnce(&Workspace) -> Result<()>,
) -> bool {
    let before = stored(fleet, Family::Log);
    fleet.homes[0].ends_untold_after(requests);
    let told = commit(fleet.homes[0].workspace().unwrap());
    fleet.homes[0].ends_after(None);
    fleet.homes[0].cut(true);
    told.is_err() && stored(fleet, Family::Log) == before + 1
}

fn requests_until_untold() -> u64 {
    let found = (0..40).find(|requests| closes_untold(&mut open_at_its_own(9), *requests));
    found.expect("the answer to a commit is lost")
}

#[test]
fn what_is_done_apart_goes_before_an_empty_commit_that_nobody_was_told_of() {
    let mut fleet = open_at_its_own(9);
    assert!(closes_untold(&mut fleet, requests_until_untold()));
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    save(&workspace, "apart", &content(900, 500)).unwrap();
    drop(workspace);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(marks_in(&trees[1]).contains(&mark(900)));
    assert!(examine(&fleet).is_clean());
    // And it goes on as any other.
    write_for_long(&mut fleet, &[0, 1], 3, 1100);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.settle().unwrap();
}

#[test]
fn what_is_done_apart_says_what_it_was_done_on_top_of() {
    let (requests, mut earlier) = (requests_until_untold(), 0);
    for seed in 0..16 {
        let mut fleet = open_at_its_own(9);
        assert!(closes_untold(&mut fleet, requests));
        // What it heard last it may not know any more when power comes back.
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        if let Err(error) = fleet.homes[0].open() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
            continue;
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        earlier += u64::from(find(&workspace, "f").is_ok());
        save(&workspace, "f", &content(900, 500)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        drop(workspace);
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None, "seed {seed}");
        assert!(marks_in(&trees[1]).contains(&mark(900)), "seed {seed}: it is lost");
        assert!(examine(&fleet).is_clean(), "seed {seed}");
    }
    assert!(earlier > 0, "it never opened from before");
}

#[test]
fn who_knows_of_no_others_any_more_does_not_begin_without_what_it_built_on() {
    let mut refused = 0;
    for seed in 0..16 {
        let mut fleet = Fleet::new(11, 2, &tuning());
        fleet.keep_copies();
        fleet.homes[0].open().unwrap();
        fleet.homes[0].down(Down::Closed).unwrap();
        fleet.homes[0].open().unwrap();
        // What it knows durably is from before there was another.
        fleet.homes[1].open().unwrap();
        let second = fleet.homes[1].workspace().unwrap().clone();
        save(&second, "f", &content(1, 500)).unwrap();
        second.commit().unwrap();
        drop(second);
        fleet.tick(0, 2500).unwrap();
        let first = fleet.homes[0].workspace().unwrap().clone();
        save(&first, "mine", &content(2, 500)).unwrap();
        first.commit().unwrap();
        drop(first);
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        fleet.homes[0].cut(true);
        if let Err(error) = fleet.homes[0].open() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
            refused += 1;
        }
        if let Some(first) = fleet.homes[0].workspace()
            && find(first, "f").is_err()
        {
            save(first, "f", &content(900, 500)).unwrap();
        }
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None, "seed {seed}");
        let found = marks_in(&trees[1]);
        assert!(found.contains(&mark(1)) && found.contains(&mark(2)), "seed {seed}: one is lost");
        assert!(examine(&fleet).is_clean(), "seed {seed}");
    }
    assert!(refused > 0, "it always knew enough");
}

/// Where a home keeps what it has read of the store.
pub(super) fn copy_of(key: StoreKey) -> PathBuf {
    Path::new("/cache/binder").join(key.path().replace('/', "-"))
}

/// How somebody's next commit gets among what a home keeps, which waits to commit and has not taken that in when it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    WhenItFollows,
    WhenItOpens,
}

/// The first has something waiting, and keeps a later commit of the second near than what that stands on, for so many
/// requests before the line is cut. Says whether it does.
fn hears_of_more_than_it_builds_on(fleet: &mut Fleet, heard: Heard, requests: u64) -> bool {
    fleet.homes[0].cut(true);
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "waits", &content(900, 5000)).unwrap();
    drop(first);
    let second = fleet.homes[1].workspace().unwrap().clone();
    save(&second, "f", &content(2, 5000)).unwrap();
    second.commit().unwrap();
    drop(second);
    if heard == Heard::WhenItOpens {
        fleet.homes[0].down(Down::Killed).unwrap();
    }
    fleet.homes[0].cut(false);
    fleet.homes[0].ends_after(Some(requests));
    let is_told = match heard {
        Heard::WhenItFollows => fleet.tick(0, 2500).is_ok(),
        // It begins without the store where that is cut in the middle.
        Heard::WhenItOpens => fleet.homes[0].open().and_then(|()| fleet.tick(0, 2500)).is_ok(),
    };
    fleet.homes[0].cut(true);
    fleet.homes[0].ends_after(None);
    fleet.homes[0].down(Down::Killed).unwrap();
    !is_told
}

#[test]
fn who_heard_of_more_than_what_waits_stands_on_begins_without_the_store_too() {
    for heard in [Heard::WhenItFollows, Heard::WhenItOpens] {
        for requests in 0.. {
            let mut fleet = open_at_its_own(9);
            if !hears_of_more_than_it_builds_on(&mut fleet, heard, requests) {
                assert!(requests > 2, "{heard:?}");
                break;
            }
            let told = format!("{heard:?}, {requests} requests");
            fleet.homes[0].open().unwrap_or_else(|error| panic!("{told}: {error}"));
            let workspace = fleet.homes[0].workspace().unwrap().clone();
            save(&workspace, "apart", &content(901, 500)).unwrap();
            done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
            drop(workspace);
            let trees = fleet.settle().unwrap_or_else(|what| panic!("{told}: {what}"));
            assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None, "{told}");
            let found = marks_in(&trees[1]);
            assert!([2, 900, 901].iter().all(|number| found.contains(&mark(*number))), "{told}");
            assert!(examine(&fleet).is_clean(), "{told}");
        }
    }
}

#[test]
fn a_store_that_shows_less_than_was_heard_of_is_refused_by_who_began_without_it() {
    let is_heard = |requests: &u64| {
        let mut fleet = open_at_its_own(9);
        hears_of_more_than_it_builds_on(&mut fleet, Heard::WhenItFollows, *requests);
        let newest = fleet.homes[1].workspace().unwrap().status().head_seq;
        fleet.homes[0].disk().open(&copy_of(StoreKey::Log(newest)), OpenMode::Read).is_ok()
    };
    let requests = (0..20).find(is_heard).expect("it hears of it");
    let mut fleet = open_at_its_own(9);
    assert!(hears_of_more_than_it_builds_on(&mut fleet, Heard::WhenItFollows, requests));
    let newest = StoreKey::Log(fleet.homes[1].workspace().unwrap().status().head_seq);
    let bytes = now(fleet.store().get(newest, None)).unwrap();
    now(fleet.store().delete(newest)).unwrap();
    fleet.homes[0].open().unwrap();
    fleet.homes[0].cut(false);
    for _ in 0..2 {
        let refused = fleet.tick(0, 2500).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Corrupt));
    }
    // Nor by the process after it.
    fleet.homes[0].down(Down::Killed).unwrap();
    let refused = fleet.homes[0].open().map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::Corrupt));
    assert!(now(fleet.store().get(newest, None)).is_err(), "something took its number");
    now(fleet.store().put(newest, Body::Bytes(bytes))).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(marks_in(&trees[1]).contains(&mark(900)));
}

/// Files with staged objects of a home.
fn staged(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let (disk, folder) = (home.disk(), Path::new(STATE).join("staged"));
    let paths = disk.list(&folder).unwrap().into_iter().map(|entry| folder.join(entry.name));
    paths.map(|path| (path.clone(), read_all(disk, &path).unwrap())).collect()
}

/// Two homes of which the first is open without the store. What it had staged for `f`, which is committed, is back, as after a loss
/// of power; of the map that says so it has no page.
fn begins_with_what_is_committed(tuning: &Tuning) -> Fleet {
    let mut fleet = Fleet::new(13, 2, tuning);
    fleet.keep_copies();
    fleet.settle().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "f", &content(1, 5000)).unwrap();
    fleet.homes[0].cut(true);
    first.commit().unwrap_err();
    let back = staged(&fleet.homes[0]);
    fleet.homes[0].cut(false);
    first.commit().unwrap();
    drop(first);
    assert!(!back.is_empty() && staged(&fleet.homes[0]).is_empty());
    fleet.tick(1, 2500).unwrap();
    let second = fleet.homes[1].workspace().unwrap().clone();
    (0..48).for_each(|number| save(&second, &format!("other {number}"), b"1").unwrap());
    drop(second);
    // With a checkpoint, which the first goes over to.
    fleet.homes[1].down(Down::Closed).unwrap();
    fleet.homes[1].open().unwrap();
    fleet.tick(0, 6000).unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    for (path, bytes) in back {
        fleet.homes[0].disk().open(&path, OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
    }
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    fleet
}

#[test]
fn what_is_committed_is_not_put_again_by_who_began_apart_nor_taken_from_the_past() {
    for requests in 0..40 {
        let mut fleet = begins_with_what_is_committed(&keeping_for(3600));
        fleet.homes[0].cut(false);
        let [first, second] = [0, 1].map(|home| fleet.homes[home].workspace().unwrap().clone());
        save(&first, "mine", &content(2, 300)).unwrap();
        fleet.homes[0].ends_after(Some(requests));
        let committed = first.commit();
        fleet.homes[0].ends_after(None);
        done(second.unlink(Ino::ROOT, b"f")).unwrap();
        second.commit().unwrap();
        fleet.tick(0, 2500).unwrap();
        save(&first, "more", &content(3, 300)).unwrap();
        first.commit().unwrap();
        drop((first, second));
        fleet.settle().unwrap();
        // The state before is kept, with all that it names.
        let report = examine(&fleet);
        assert!(report.is_clean(), "after {requests} requests: {:?}", report.findings);
        if committed.is_ok() {
            return;
        }
    }
    panic!("it never committed");
}

#[test]
fn who_began_apart_with_what_is_committed_and_was_away_for_too_long_is_told_to_mount_again() {
    let mut fleet = begins_with_what_is_committed(&keeping_for(60));
    done(fleet.homes[1].workspace().unwrap().unlink(Ino::ROOT, b"f")).unwrap();
    write_for_long(&mut fleet, &[1], 300, 1100);
    fleet.homes[0].cut(false);
    let told = fleet.tick(0, 2500).map_err(|error| error.kind());
    assert_eq!(told, Err(ErrorKind::Stale));
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(examine(&fleet).is_clean());
}
