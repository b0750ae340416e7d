//! Random steps on a workspace over a simulated disk show what the plain model shows, step by step and as a whole.
#![allow(clippy::unwrap_used, missing_docs)]

use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::life::Life;
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::shrink::shrink;
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::world::small_tuning;

const STEPS_PER_LIFE: u64 = 500;
const STEPS_PER_TREE: usize = 50;

fn live(seed: u64, steps: &[Step]) -> Result<(), String> {
    let mut life = Life::new(seed, small_tuning());
    for (at, step) in steps.iter().enumerate() {
        life.both(step).map_err(|what| format!("step {at} {step:?} {what}"))?;
        if at % STEPS_PER_TREE == STEPS_PER_TREE - 1 {
            life.compare_trees().map_err(|what| format!("after step {at} {step:?}: {what}"))?;
        }
    }
    life.compare_trees()?;
    life.both(&Step::Reopen).map_err(|what| format!("at the end: {what}"))?;
    life.compare_trees().map_err(|what| format!("opened again: {what}"))
}

#[test]
fn any_sequence_equals_the_model() {
    let count = amount(40, 1_000_000 / STEPS_PER_LIFE);
    for seed in seeds(1, count) {
        let steps = Generator::new(seed, Mix::All).steps(STEPS_PER_LIFE as usize);
        let Err(what) = live(seed, &steps) else { continue };
        let fewer = shrink(&steps, &mut |steps| live(seed, steps).is_err());
        let why = live(seed, &fewer).unwrap_err();
        panic!(
            "seed {seed}: {what}\n{} steps are enough:\n{fewer:#?}\n{why}\n{}",
            fewer.len(),
            repeat("model", "any_sequence_equals_the_model", seed)
        );
    }
}
