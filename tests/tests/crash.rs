//! Processes end and power goes at any moment, also in the middle of a commit, a checkpoint or the recovery from the
//! end before: what was acknowledged is there, on each rung of the ladder, and nothing is half visible.
#![allow(clippy::unwrap_used, missing_docs)]

use strongroom_host::sim::Chance;
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::mortal::{End, Mortal};
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::world::{Setting, small_tuning};

const ROUNDS_PER_LIFE: u64 = 8;

/// Lives, ends, comes back and lives on, `ROUNDS_PER_LIFE` times on one disk.
fn end_often(seed: u64, end: End, setting: &Setting) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, setting.clone());
    for round in 0..ROUNDS_PER_LIFE {
        let steps = generator.steps(10 + chance.index(70));
        if !chance.one_in(3) {
            mortal.life.world.disk.power_off_after(chance.below(250));
        }
        let ends_in_recovery = if chance.one_in(3) { 1 + chance.index(2) } else { 0 };
        mortal
            .live(&steps)
            .and_then(|()| mortal.die(end, ends_in_recovery))
            .map_err(|what| format!("round {round}: {what}"))?;
    }
    mortal.life.compare_trees()
}

fn setting() -> Setting {
    Setting { tuning: small_tuning(), wrap: None }
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
