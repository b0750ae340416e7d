//! Processes end and power goes at any moment, also in the middle of a commit, a checkpoint or the recovery from the
//! end before: what was acknowledged is there, on each rung of the ladder, and nothing is half visible.
#![allow(clippy::unwrap_used, missing_docs)]

use strongroom_host::sim::{Act, Chance, Fault};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::mortal::{End, Mortal};
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::world::{Setting, small_tuning};
use strongroom_workspace::limits::Broken;

const ROUNDS_PER_LIFE: u64 = 8;

/// Lives, ends, comes back and lives on, `ROUNDS_PER_LIFE` times on one disk.
fn end_often(seed: u64, end: End, setting: &Setting) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, setting.clone());
    for round in 0..ROUNDS_PER_LIFE {
        let steps = generator.steps(10 + chance.index(70));
        let disk = mortal.life.world.disk.clone();
        let at = |what: String| format!("round {round}: {what}");
        match chance.below(4) {
            0 => mortal.live(&steps).map_err(at)?,
            1 => {
                // In the middle of a commit or the checkpoint it brings along.
                mortal.live(&steps).map_err(at)?;
                disk.power_off_after(chance.below(40));
                mortal.live(&[Step::Commit]).map_err(at)?;
            }
            _ => {
                disk.power_off_after(chance.below(250));
                mortal.live(&steps).map_err(at)?;
            }
        }
        let ends_in_recovery = if chance.one_in(3) { 1 + chance.index(2) } else { 0 };
        mortal.die(end, ends_in_recovery).map_err(at)?;
    }
    mortal.life.compare_trees()
}

fn setting() -> Setting {
    Setting::new(small_tuning())
}

fn end_all(test: &str, first: u64, end: End) {
    for seed in seeds(first, amount(40, 1500)) {
        if let Err(what) = end_often(seed, end, &setting()) {
            panic!("seed {seed}: {what}\n{}", repeat("crash", test, seed));
        }
    }
}

#[test]
fn killed_process_loses_nothing() {
    end_all("killed_process_loses_nothing", 1, End::Kill);
}

#[test]
fn power_loss_leaves_a_moment_not_older_than_the_last_fsync() {
    let test = "power_loss_leaves_a_moment_not_older_than_the_last_fsync";
    end_all(test, 100_000, End::PowerLoss);
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
fn fail_often(seed: u64) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, setting());
    for round in 0..ROUNDS_PER_LIFE {
        for _ in 0..1 + chance.index(3) {
            let (act, place) = (ACTS[chance.index(ACTS.len())], PLACES[chance.index(PLACES.len())]);
            let mut fault =
                Fault::new(act, move |path| path.starts_with(place)).after(chance.below(20));
            if chance.one_in(3) {
                fault = fault.full();
            }
            mortal.life.world.disk.fail(fault);
        }
        let steps = generator.steps(20 + chance.index(80));
        let end = if chance.one_in(2) { End::Kill } else { End::PowerLoss };
        mortal
            .live_on_failing_disk(&steps)
            .and_then(|_| match chance.below(3) {
                0 => mortal.heal_and_open(),
                _ => mortal.die(end, 0),
            })
            .map_err(|what| format!("round {round} ({end:?}): {what}"))?;
    }
    mortal.life.compare_trees()
}

#[test]
fn call_refused_by_a_failing_disk_has_no_effect_and_loses_nothing() {
    let test = "call_refused_by_a_failing_disk_has_no_effect_and_loses_nothing";
    for seed in seeds(200_000, amount(40, 1500)) {
        if let Err(what) = fail_often(seed) {
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

/// Whether the crash suite notices that something is broken, within this many lives.
fn is_noticed(setting: &Setting, lives: u64) -> bool {
    (0..lives).any(|seed| end_often(400_000 + seed, End::PowerLoss, setting).is_err())
}

#[test]
fn syncs_left_out_are_noticed() {
    for place in ["/state/journal", "/state/staged", "/store/object", "/store/log"] {
        let broken = Setting { unsynced: vec![place], ..setting() };
        assert!(is_noticed(&broken, 60), "nobody noticed that {place} is not synced");
    }
}

#[test]
fn steps_in_the_wrong_order_are_noticed() {
    for broken in [
        Broken::CommitBeforeObjects,
        Broken::ReleaseBeforeCommit,
        Broken::CutLogBeforeCheckpoint,
        Broken::SyncWithoutStaging,
    ] {
        let mut setting = setting();
        setting.tuning.broken = Some(broken);
        setting.tuning.journal_file_len = 32 << 10;
        assert!(is_noticed(&setting, 60), "nobody noticed {broken:?}");
    }
}
