//! Processes end and power goes at any moment, also in the middle of a commit, a checkpoint or the recovery from the
//! end before: what was acknowledged is there, on each rung of the ladder, and nothing is half visible.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use strongroom_check::Subject;
use strongroom_host::sim::{Act, Chance, Fault, SimDisk};
use strongroom_store::{FolderStore, Mode};
use strongroom_tests::harness::distant::{Distant, Fates, Line};
use strongroom_tests::harness::files::{OPEN, find, make, save};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::mortal::{End, Mortal};
use strongroom_tests::harness::runner::{Seen, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds, trace};
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::world::{
    START_NS, STORE, Setting, World, keys, new_disk, small_tuning,
};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Access, Core, Kind, WriteMode};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::limits::Broken;

const ROUNDS_PER_LIFE: u64 = 8;

/// When power may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// At any.
    Any,
    /// In the middle of a commit or the checkpoint it brings along.
    Commit,
}

/// Fills objects that are then on their way, and leaves the rest to come.
fn sending(round: u64, chance: &mut Chance) -> Vec<Step> {
    let (path, slot) = (format!("sent {round}"), chance.index(3));
    let create = Step::CreateOpen { path, mode: 0o644, slot, access: Access::ReadWrite };
    let write = |number: u64| {
        let (offset, fill, mode) = (number * 70_000, number + round, WriteMode::At);
        Step::Write { slot, offset, len: 70_000, fill, mode, drop_set_id: false }
    };
    let mut steps = vec![Step::Commit, create];
    steps.extend((0..3 + chance.below(4)).map(write));
    if chance.one_in(2) {
        steps.push(Step::Sync);
    }
    steps.push(Step::Tick { millis: 1 });
    steps
}

/// Lives, ends, comes back and lives on, `ROUNDS_PER_LIFE` times on one disk.
fn end_often(seed: u64, end: End, moment: Moment, setting: &Setting) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, setting.clone());
    for round in 0..ROUNDS_PER_LIFE {
        let steps = generator.steps(10 + chance.index(70));
        let disk = mortal.life.world.disk.clone();
        let at = |what: String| format!("round {round}: {what}");
        if setting.line.is_some() {
            mortal.live(&sending(round, &mut chance)).map_err(at)?;
        }
        let choice = if moment == Moment::Commit { 1 } else { chance.below(4) };
        match choice {
            0 => mortal.live(&steps).map_err(at)?,
            1 => {
                mortal.live(&steps).map_err(at)?;
                disk.power_off_after(chance.below(40));
                mortal.live(&[Step::Commit]).map_err(at)?;
            }
            2 if setting.line.is_some() => mortal.live(&steps[..steps.len().min(3)]).map_err(at)?,
            _ => {
                disk.power_off_after(chance.below(250));
                mortal.live(&steps).map_err(at)?;
            }
        }
        let ends_in_recovery = if chance.one_in(3) { 1 + chance.index(2) } else { 0 };
        mortal.die(end, ends_in_recovery).map_err(at)?;
        if setting.line.is_some() {
            mortal.live(&[Step::Commit]).map_err(at)?;
            sound(&mortal.life.world.disk).map_err(at)?;
        }
    }
    mortal.life.compare_trees()
}

/// What the store holds, by hashes too.
fn sound(disk: &SimDisk) -> Result<u64, String> {
    let store = FolderStore::open(Arc::new(disk.clone()), STORE.into(), Mode::ReadOnly).unwrap();
    let (store, keys) = (Arc::new(store), keys());
    let subject = Subject { store, keys, local: None, now: START_NS };
    let report = strongroom_check::examine(&subject, &mut |_| ()).unwrap();
    match report.is_clean() {
        true => Ok(report.counts.unnamed_objects),
        false => Err(report.to_text()),
    }
}

fn setting() -> Setting {
    Setting::new(small_tuning())
}

/// A store behind a line that follows from the seed.
fn far(seed: u64) -> Setting {
    // So small that objects are full long before somebody asks for a commit.
    let tuning = Tuning { object_plain_bytes: 150 << 10, ..small_tuning() };
    Line::slow(seed).setting(Setting::new(tuning))
}

/// What makes a setting from a seed.
type Make = fn(u64) -> Setting;

fn end_all(test: &str, (first, count): (u64, u64), (end, make): (End, Make)) {
    let mut fates = Fates::default();
    let seeds = seeds(first, amount(count, 1500));
    for seed in seeds.clone() {
        let setting = make(seed);
        if let Err(what) = end_often(seed, end, Moment::Any, &setting) {
            panic!("seed {seed}: {what}\n{}", repeat("crash", test, seed));
        }
        fates += setting.line.map(|line| line.fates()).unwrap_or_default();
    }
    let is_far = make(first).line.is_some();
    assert!(!is_far || seeds.len() == 1 || fates.has_all(), "something never happened: {fates:?}");
}

#[test]
fn killed_process_loses_nothing() {
    end_all("killed_process_loses_nothing", (1, 40), (End::Kill, |_| setting()));
}

#[test]
fn power_loss_leaves_a_moment_not_older_than_the_last_fsync() {
    let test = "power_loss_leaves_a_moment_not_older_than_the_last_fsync";
    end_all(test, (100_000, 40), (End::PowerLoss, |_| setting()));
}

#[test]
fn killed_process_loses_nothing_that_was_on_its_way_to_a_far_store() {
    let test = "killed_process_loses_nothing_that_was_on_its_way_to_a_far_store";
    end_all(test, (700_000, 8), (End::Kill, far));
}

#[test]
fn power_loss_loses_nothing_that_was_on_its_way_to_a_far_store() {
    let test = "power_loss_loses_nothing_that_was_on_its_way_to_a_far_store";
    end_all(test, (800_000, 8), (End::PowerLoss, far));
}

/// Objects in the store that no state names.
fn unnamed(disk: &SimDisk) -> u64 {
    sound(disk).unwrap_or_else(|report| panic!("{report}"))
}

/// Over a far store, with two objects of `large` put and no commit that names them.
fn put_ahead() -> World {
    let tuning = Tuning { unnamed_grace: Duration::from_secs(60), ..small_tuning() };
    let setting = Distant::setting(Setting::new(tuning));
    let world = World::open(new_disk(), 1, setting, None).unwrap();
    let core = world.workspace();
    let ino = make(core, "large", Kind::File).unwrap();
    let handle = done(core.open(ino, OPEN)).unwrap().handle;
    for piece in 0..5 {
        let (at, bytes) = (piece * (100 << 10), [5; 100 << 10]);
        done(core.write(handle, at, &bytes, WriteMode::At, false)).unwrap();
    }
    world.tick(1).unwrap();
    assert_eq!(unnamed(&world.disk), 2);
    world
}

#[test]
fn what_was_put_ahead_and_lost_its_name_in_a_crash_is_collected() {
    const DAY: u64 = 24 * 3600 * 1000;
    let after_crash = |seed| {
        let mut world = put_ahead();
        world.disk = world.disk.crash(seed);
        world.open_again().unwrap();
        world
    };
    let is_lost = |world: &World| find(world.workspace(), "large").is_err();
    let world = (0..40).map(after_crash).find(is_lost).expect("no record of it was synced");
    let core = world.workspace();
    for _ in 0..3 {
        assert_eq!(unnamed(&world.disk), 2);
        for round in 0..30 {
            save(core, &format!("little {round}"), b"1").unwrap();
            world.tick(1200).unwrap();
        }
        world.tick(DAY).unwrap();
    }
    assert_eq!(unnamed(&world.disk), 0);
}

#[test]
fn what_was_put_ahead_is_the_same_here_after_a_loss_of_power() {
    let mut survived = 0;
    for seed in 0..24 {
        let mut world = put_ahead();
        world.disk = world.disk.crash(seed);
        world.open_again().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let core = world.workspace();
        save(core, "after", b"1").unwrap();
        core.commit().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        survived += u64::from(find(core, "large").is_ok_and(|ino| {
            done(core.attributes(ino)).is_ok_and(|attributes| attributes.size > 0)
        }));
        unnamed(&world.disk);
    }
    assert!(survived > 0, "no record of it ever survived");
}

const ACTS: [Act; 9] = [
    Act::Read,
    Act::Write,
    Act::Sync,
    Act::Sync,
    Act::Rename,
    Act::Remove,
    Act::Create,
    Act::SyncFolder,
    Act::Allocate,
];
const PLACES: [&str; 6] =
    ["/", "/store/object", "/store/log", "/store/checkpoint", "/state/journal", "/state/staged"];

/// One call of the disk fails now and then; nothing else is wrong with it.
fn fail_often(seed: u64, setting: Setting) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let is_far = setting.line.is_some();
    let mut mortal = Mortal::new(seed, setting);
    for round in 0..ROUNDS_PER_LIFE {
        let mut syncs_fail = false;
        for _ in 0..1 + chance.index(3) {
            let (act, place) = (ACTS[chance.index(ACTS.len())], PLACES[chance.index(PLACES.len())]);
            trace(|| format!("round {round}: {act:?} will fail below {place}"));
            syncs_fail |= act == Act::Sync;
            let mut fault =
                Fault::new(act, move |path| path.starts_with(place)).after(chance.below(20));
            if chance.one_in(3) {
                fault = fault.full();
            }
            mortal.life.world.disk.fail(fault);
        }
        let mut steps = if is_far { sending(round, &mut chance) } else { Vec::new() };
        steps.extend(generator.steps(20 + chance.index(80)));
        let end = if chance.one_in(2) { End::Kill } else { End::PowerLoss };
        mortal
            .live_on_failing_disk(&steps)
            .and_then(|refused| {
                if syncs_fail && refused > 0 {
                    // Bytes may have been lost by it. It was told.
                    mortal.sync_failed();
                }
                match chance.below(3) {
                    0 => mortal.heal_and_open(),
                    _ => mortal.die(end, 0),
                }
            })
            .map_err(|what| format!("round {round} ({end:?}): {what}"))?;
    }
    mortal.life.compare_trees()
}

#[test]
fn call_refused_by_a_failing_disk_has_no_effect_and_loses_nothing() {
    let test = "call_refused_by_a_failing_disk_has_no_effect_and_loses_nothing";
    for seed in seeds(200_000, amount(40, 1500)) {
        if let Err(what) = fail_often(seed, setting()) {
            panic!("seed {seed}: {what}\n{}", repeat("crash", test, seed));
        }
    }
}

#[test]
fn a_failing_disk_loses_nothing_that_was_on_its_way_to_a_far_store() {
    let test = "a_failing_disk_loses_nothing_that_was_on_its_way_to_a_far_store";
    for seed in seeds(900_000, amount(8, 1500)) {
        if let Err(what) = fail_often(seed, far(seed)) {
            panic!("seed {seed}: {what}\n{}", repeat("crash", test, seed));
        }
    }
}

/// The disk becomes full again and again, and gets room again.
fn fill_often(seed: u64) -> Result<usize, String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, setting());
    let mut refused = 0;
    for round in 0..ROUNDS_PER_LIFE {
        let at = |what: String| format!("round {round}: {what}");
        let room = chance.below(600_000);
        mortal.life.world.disk.leave_room(room);
        let steps = generator.steps(30 + chance.index(80));
        refused += mortal.live_on_failing_disk(&steps).map_err(at)?;
        if mortal.life.world.is_open() {
            mortal.life.compare_trees().map_err(at)?;
        }
        mortal.life.world.disk.set_capacity(None);
        match chance.below(3) {
            0 => mortal.heal_and_open().map_err(at)?,
            1 => mortal.die(End::Kill, 0).map_err(at)?,
            _ if mortal.life.world.is_open() => {
                // Without a new beginning: it goes on where it was stuck.
                let steps = generator.steps(20);
                mortal.live(&steps).map_err(at)?;
                mortal.life.compare_trees().map_err(at)?;
            }
            _ => mortal.heal_and_open().map_err(at)?,
        }
    }
    Ok(refused)
}

#[test]
fn full_disk_refuses_at_the_right_call_and_loses_nothing() {
    let test = "full_disk_refuses_at_the_right_call_and_loses_nothing";
    let mut refused = 0;
    let seeds = seeds(300_000, amount(30, 800));
    for seed in seeds.clone() {
        match fill_often(seed) {
            Ok(count) => refused += count,
            Err(what) => panic!("seed {seed}: {what}\n{}", repeat("crash", test, seed)),
        }
    }
    assert!(refused > 0 || seeds.len() == 1, "the disk was never full");
}

#[test]
fn same_seed_gives_the_same_life_call_by_call() {
    for seed in seeds(600_000, amount(6, 200)) {
        let live = || {
            let mut generator = Generator::new(seed, Mix::Atomic);
            let mut tuning = small_tuning();
            // So small that it matters which pages and segments stay.
            (tuning.page_cache_bytes, tuning.segment_cache_bytes) = (48 << 10, 96 << 10);
            let mut mortal = Mortal::new(seed, Setting::new(tuning));
            let mut counts = Vec::new();
            for _ in 0..3 {
                mortal.live(&generator.steps(150)).unwrap();
                mortal.live(&[Step::Tick { millis: 2000 }]).unwrap();
                counts.push(mortal.life.world.disk.counts());
                mortal.die(End::Kill, 0).unwrap();
            }
            counts
        };
        assert_eq!(live(), live(), "{}", repeat("crash", "same_seed_gives_the_same_life", seed));
    }
}

/// Whether the crash suite notices that something is broken, within this many lives.
fn is_noticed(make: impl Fn(u64) -> Setting, moment: Moment, lives: u64) -> bool {
    let fails = |seed| end_often(seed, End::PowerLoss, moment, &make(seed)).is_err();
    (400_000..400_000 + lives).any(fails)
}

#[test]
fn syncs_left_out_are_noticed() {
    for place in ["/state/journal", "/state/staged", "/store/object", "/store/log"] {
        let broken = Setting { unsynced: vec![place], ..setting() };
        assert!(
            is_noticed(|_| broken.clone(), Moment::Any, 60),
            "nobody noticed that {place} is not synced"
        );
    }
}

#[test]
fn steps_in_the_wrong_order_are_noticed() {
    for (broken, moment) in [
        (Broken::CommitBeforeObjects, Moment::Commit),
        (Broken::ReleaseBeforeCommit, Moment::Commit),
        (Broken::CutLogBeforeCheckpoint, Moment::Commit),
        (Broken::SyncWithoutStaging, Moment::Any),
    ] {
        let mut setting = setting();
        setting.tuning.broken = Some(broken);
        setting.tuning.journal_file_len = 32 << 10;
        assert!(is_noticed(|_| setting.clone(), moment, 100), "nobody noticed {broken:?}");
    }
}

#[test]
fn what_is_on_its_way_to_a_far_store_and_believed_to_be_there_is_noticed() {
    for broken in [Broken::AnswersNotAwaited, Broken::PutBeforeSync] {
        let broken_far = |seed| {
            let mut setting = far(seed);
            setting.tuning.broken = Some(broken);
            setting
        };
        assert!(is_noticed(broken_far, Moment::Any, 100), "nobody noticed {broken:?}");
    }
}

/// A workspace with one open file of these bytes, nothing committed.
fn one_file(len: usize) -> (Mortal, Vec<Step>) {
    let mut mortal = Mortal::new(1, setting());
    let create =
        Step::CreateOpen { path: "a".to_owned(), mode: 0o644, slot: 0, access: Access::ReadWrite };
    let steps = vec![create, write_at(0, len)];
    mortal.live(&steps).unwrap();
    (mortal, steps)
}

fn write_at(offset: u64, len: usize) -> Step {
    let (slot, fill, mode, drop_set_id) = (0, offset + 1, WriteMode::At, false);
    Step::Write { slot, offset, len, fill, mode, drop_set_id }
}

fn fails(mortal: &Mortal, act: Act, place: &'static str) {
    mortal.life.world.disk.fail(Fault::new(act, move |path| path.starts_with(place)));
}

#[test]
fn failed_fsync_is_told_and_stops_changes_but_not_reading() {
    let (mut mortal, _) = one_file(1000);
    mortal.live(&[Step::Sync, write_at(1000, 500)]).unwrap();
    fails(&mortal, Act::Sync, "/state/journal");
    let poisoned = Seen::Refused(ErrorKind::Poisoned);
    assert_eq!(mortal.life.take(&Step::Sync), poisoned);
    assert_eq!(mortal.life.take(&Step::Sync), poisoned, "never a yes after a no");
    assert_eq!(mortal.life.take(&write_at(0, 10)), poisoned);
    assert_eq!(mortal.life.take(&Step::Commit), poisoned);
    let read = mortal.life.take(&Step::Read { slot: 0, offset: 0, len: 2000 });
    assert!(matches!(read, Seen::Bytes(bytes) if bytes.len() == 1500));
    mortal.sync_failed();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn failed_fsync_of_staged_blocks_is_told_too_and_they_are_never_committed() {
    let (mut mortal, _) = one_file(100_000);
    fails(&mortal, Act::Sync, "/state/staged");
    let poisoned = Seen::Refused(ErrorKind::Poisoned);
    assert_eq!(mortal.life.take(&Step::Sync), poisoned);
    assert_eq!(mortal.life.take(&Step::Commit), poisoned);
    mortal.sync_failed();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn commit_whose_objects_could_not_be_synced_is_made_of_fresh_copies() {
    let (mut mortal, _) = one_file(200_000);
    mortal.live(&[write_at(300_000, 200_000)]).unwrap();
    // The first two syncs are the workspace's own, the next ones the store's.
    let third = Fault::new(Act::Sync, |path| path.starts_with("/state/staged")).after(2);
    mortal.life.world.disk.fail(third);
    assert!(matches!(mortal.life.take(&Step::Commit), Seen::Refused(_)));
    mortal.live(&[Step::Commit]).unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn commit_that_stopped_between_two_objects_goes_on() {
    let (mut mortal, _) = one_file(200_000);
    mortal.live(&[write_at(300_000, 200_000)]).unwrap();
    let second = Fault::new(Act::Create, |path| path.starts_with("/store/object")).after(1);
    mortal.life.world.disk.fail(second);
    assert!(matches!(mortal.life.take(&Step::Commit), Seen::Refused(_)));
    mortal.live(&[Step::Commit]).unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn commit_is_published_once_even_if_nothing_can_be_tidied_after_it() {
    for (act, place) in [
        (Act::Remove, "/store/object"),
        (Act::Remove, "/state/staged"),
        (Act::Write, "/state/head"),
        (Act::Create, "/state/head"),
        (Act::Rename, "/state/journal"),
    ] {
        let (mut mortal, _) = one_file(100_000);
        mortal.live(&[Step::Commit, write_at(0, 100_000), write_at(0, 90_000)]).unwrap();
        mortal.die(End::Kill, 0).unwrap();
        fails(&mortal, act, place);
        let other = Step::CreateOpen {
            path: "b".to_owned(),
            mode: 0o644,
            slot: 1,
            access: Access::ReadWrite,
        };
        mortal.live(&[other, Step::Commit, Step::Commit, Step::Commit]).unwrap();
        let unlink = Step::Unlink { path: "b".to_owned() };
        mortal.live(&[unlink, Step::Commit]).unwrap();
        mortal.die(End::PowerLoss, 0).unwrap();
    }
}

#[test]
fn operations_of_a_cut_that_met_a_bad_page_are_in_the_next_one() {
    let (mut mortal, _) = one_file(100_000);
    mortal.live(&[Step::Commit, write_at(200_000, 100_000)]).unwrap();
    mortal.die(End::Kill, 0).unwrap();
    let disk = mortal.life.world.disk.clone();
    for skip in 0..12 {
        let fault = Fault::new(Act::Read, |path| path.starts_with("/store/object"));
        disk.fail(fault.after(skip));
        mortal.life.take(&Step::Commit);
        disk.heal();
    }
    mortal.live(&[Step::Commit]).unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn bytes_whose_sealing_met_a_bad_page_are_in_the_next_commit() {
    let mut setting = setting();
    setting.tuning.page_cache_bytes = 20 << 10;
    let mut mortal = Mortal::new(1, setting);
    let create =
        Step::CreateOpen { path: "a".to_owned(), mode: 0o644, slot: 0, access: Access::ReadWrite };
    mortal.live(&[create]).unwrap();
    // More extents than one page of the manifest holds.
    for index in 0..500 {
        mortal.live(&[write_at(index * 70_000, 100)]).unwrap();
    }
    mortal.live(&[Step::Commit]).unwrap();
    let disk = mortal.life.world.disk.clone();
    let mut refused = 0;
    for skip in 0..8 {
        mortal.live(&[write_at((skip * 61 + 5) * 70_000 + 10, 50)]).unwrap();
        disk.fail(Fault::new(Act::Read, |path| path.starts_with("/store")).after(skip));
        refused += u32::from(mortal.life.take(&Step::Commit) != Seen::Done);
        disk.heal();
    }
    assert!(refused > 0, "{refused} failures strike");
    mortal.live(&[Step::Commit]).unwrap();
    mortal.life.compare_trees().unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn block_that_a_later_record_replaced_survives_until_a_commit_covers_both() {
    let (mut mortal, _) = one_file(100_000);
    mortal.live(&[write_at(0, 100_000), write_at(0, 100_000), Step::Sync]).unwrap();
    for _ in 0..3 {
        mortal.die(End::Kill, 0).unwrap();
    }
    mortal.die(End::PowerLoss, 2).unwrap();
}

#[test]
fn sync_that_failed_in_a_commit_is_not_forgotten_by_the_next_fsync() {
    let (mut mortal, _) = one_file(100_000);
    fails(&mortal, Act::Sync, "/state/staged");
    let poisoned = Seen::Refused(ErrorKind::Poisoned);
    assert_eq!(mortal.life.take(&Step::Commit), poisoned);
    assert_eq!(mortal.life.take(&Step::Sync), poisoned);
    mortal.sync_failed();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn block_lost_in_a_failed_sync_is_not_called_durable_by_the_next_process() {
    let (mut mortal, _) = one_file(100_000);
    fails(&mortal, Act::Sync, "/state/staged");
    assert_eq!(mortal.life.take(&Step::Sync), Seen::Refused(ErrorKind::Poisoned));
    mortal.sync_failed();
    mortal.die(End::Kill, 0).unwrap();
    mortal.live(&[Step::Sync]).unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn block_that_found_no_room_does_not_stop_later_commits() {
    let (mut mortal, _) = one_file(100_000);
    let full = Fault::new(Act::Write, |path| path.starts_with("/state/staged")).full();
    mortal.life.world.disk.fail(full);
    let refused = mortal.life.take(&write_at(200_000, 100_000));
    assert_eq!(refused, Seen::Refused(ErrorKind::Full));
    mortal.live(&[Step::Commit, write_at(300_000, 100_000), Step::Commit]).unwrap();
    mortal.die(End::PowerLoss, 0).unwrap();
}

#[test]
fn write_that_is_journaled_is_not_refused_for_want_of_room_for_its_block() {
    let (mut mortal, _) = one_file(50_000);
    let full = Fault::new(Act::Write, |path| path.starts_with("/state/staged")).full().for_ever();
    mortal.life.world.disk.fail(full);
    mortal.live(&[write_at(50_000, 50_000)]).unwrap();
    assert_eq!(mortal.life.take(&write_at(0, 50_000)), Seen::Refused(ErrorKind::Full));
    mortal.die(End::Kill, 0).unwrap();
}

#[test]
fn data_is_refused_while_there_is_room_to_empty_the_disk_again() {
    let mut setting = setting();
    setting.tuning.reserve_bytes = 2 << 20;
    let mut life = Mortal::new(1, setting).life;
    let create =
        Step::CreateOpen { path: "a".to_owned(), mode: 0o644, slot: 0, access: Access::ReadWrite };
    life.both(&create).unwrap();
    life.world.disk.leave_room(4 << 20);
    let mut written = 0;
    loop {
        let write = write_at(written * 100_000, 100_000);
        let seen = life.take(&write);
        if seen == Seen::Refused(ErrorKind::Full) {
            break;
        }
        life.compare(&write, &seen).unwrap();
        written += 1;
    }
    assert!((5..40).contains(&written), "{written} of 100 kB went into 4 MiB");
    let make = |path: &str| Step::Make { path: path.to_owned(), kind: Kind::Folder, mode: 0o755 };
    life.both(&make("b")).unwrap();
    life.both(&Step::Commit).unwrap();
    life.both(&Step::Unlink { path: "a".to_owned() }).unwrap();
    life.both(&Step::Release { slot: 0 }).unwrap();
    life.both(&Step::Commit).unwrap();
    life.both(&create).unwrap();
    life.both(&write_at(0, 100_000)).unwrap();
    life.compare_trees().unwrap();
}

#[test]
fn commit_whose_name_did_not_last_keeps_the_journal() {
    let (mut mortal, _) = one_file(1000);
    mortal.live(&[Step::Sync]).unwrap();
    fails(&mortal, Act::SyncFolder, "/store/log");
    assert!(matches!(mortal.life.take(&Step::Commit), Seen::Refused(_)));
    mortal.die(End::Kill, 0).unwrap();
    // Nothing to commit: the one before is there already.
    assert_eq!(mortal.life.take(&Step::Commit), Seen::Done);
    for _ in 0..20 {
        mortal.die(End::PowerLoss, 0).unwrap();
    }
}

#[test]
fn journal_file_is_written_again_only_when_its_old_name_is_gone_for_good() {
    for seed in 0..20 {
        let mut mortal = Mortal::new(seed, setting());
        let (whole, _) = one_file(1000);
        mortal.live(whole.history()).unwrap();
        mortal.die(End::Kill, 0).unwrap();
        // The old file becomes the spare, and its new name does not last.
        fails(&mortal, Act::SyncFolder, "/state/journal");
        mortal.live(&[Step::Commit]).unwrap();
        mortal.die(End::Kill, 0).unwrap();
        mortal.live(&[Step::Sync]).unwrap();
        mortal.die(End::PowerLoss, 0).unwrap();
    }
}
