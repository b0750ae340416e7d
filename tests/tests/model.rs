//! Random steps on a workspace over a simulated disk show what the plain model shows, step by step and as a whole.
#![allow(clippy::unwrap_used, missing_docs)]

use strongroom_tests::harness::files::OPEN;
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::life::Life;
use strongroom_tests::harness::real::{Real, is_root};
use strongroom_tests::harness::runner::{CALLER, Seen, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::shrink::shrink;
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::tree::{Times, difference, read_tree};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::Workspace;
use strongroom_workspace::door::{AllocateMode, Core, HandleId, Ino, OpenOptions, WriteMode};

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

/// What two kernels may answer differently to a request that is wrong in two ways.
fn is_refused_by_both(step: &Step, a: &Seen, b: &Seen) -> bool {
    let names = matches!(step, Step::Rename { .. } | Step::Link { .. });
    names && matches!((a, b), (Seen::Refused(_), Seen::Refused(_)))
}

/// A folder lists itself and the one above only where nobody does it for it.
fn without_dots(seen: Seen) -> Seen {
    match seen {
        Seen::Names(mut names) => {
            names.retain(|(name, _)| name != b"." && name != b"..");
            Seen::Names(names)
        }
        other => other,
    }
}

/// Returns how many steps were compared.
fn live_beside_a_folder(seed: u64, steps: &[Step]) -> Result<usize, String> {
    let mut compared = 0;
    let mut real = Real::new().map_err(|error| error.to_string())?;
    let mut life = Life::new(seed, small_tuning());
    for (at, step) in steps.iter().enumerate() {
        let Some(expected) = real.take(step) else { continue };
        compared += usize::from(!matches!(expected, Seen::Refused(_) | Seen::NoHandle));
        let seen = without_dots(life.take(step));
        if seen != expected && !is_refused_by_both(step, &seen, &expected) {
            return Err(format!("step {at} {step:?} showed {seen:?} but the folder {expected:?}"));
        }
        if at % STEPS_PER_TREE == STEPS_PER_TREE - 1 {
            let tree = read_tree(life.world.workspace()).map_err(|error| error.to_string())?;
            let folder = real.tree().map_err(|error| format!("the folder: {error}"))?;
            if let Some(what) = difference(&tree, &folder, Times::Ignored) {
                return Err(format!("after step {at} {step:?}: {what}"));
            }
        }
    }
    Ok(compared)
}

#[test]
fn any_sequence_equals_a_folder_of_the_local_file_system() {
    if !is_root() {
        eprintln!("\n*** SKIPPED: chown and modes without search permission need root ***\n");
        return;
    }
    let (mut all_compared, mut lives) = (0, 0);
    for seed in seeds(500_000, amount(15, 200)) {
        let steps = Generator::new(seed, Mix::Local).steps(STEPS_PER_LIFE as usize);
        let what = match live_beside_a_folder(seed, &steps) {
            Ok(compared) => {
                all_compared += compared as u64;
                lives += 1;
                continue;
            }
            Err(what) => what,
        };
        let fewer = shrink(&steps, &mut |steps| live_beside_a_folder(seed, steps).is_err());
        let why = live_beside_a_folder(seed, &fewer).unwrap_err();
        let test = "any_sequence_equals_a_folder_of_the_local_file_system";
        panic!(
            "seed {seed}: {what}\n{} steps are enough:\n{fewer:#?}\n{why}\n{}",
            fewer.len(),
            repeat("model", test, seed)
        );
    }
    let average = all_compared / lives;
    assert!(average > STEPS_PER_LIFE / 5, "only {average} steps of a life did something");
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

/// The mode of a file with suid and sgid after an act through a handle of somebody who may, or may not, keep them.
fn mode_after(drop_set_id: bool, act: impl Fn(&Workspace, HandleId, HandleId)) -> u16 {
    let life = Life::new(1, small_tuning());
    let workspace = life.world.workspace();
    let make = |name: &[u8]| {
        let options = OpenOptions { drop_set_id, ..OPEN };
        let made = workspace.create_open(CALLER, Ino::ROOT, name, 0o6755, options);
        let (made, opened) = done(made).unwrap();
        (made.ino, opened.handle)
    };
    let ((_, source), (ino, target)) = (make(b"source"), make(b"target"));
    done(workspace.write(source, 0, &[7; 200_000], WriteMode::At, false)).unwrap();
    act(workspace, source, target);
    done(workspace.attributes(ino)).unwrap().mode
}

#[test]
fn allocating_and_copying_drop_suid_and_sgid_of_who_may_not_keep_them() {
    for mode in [
        AllocateMode::Extend,
        AllocateMode::KeepSize,
        AllocateMode::PunchHole,
        AllocateMode::ZeroRange,
        AllocateMode::ZeroRangeKeepSize,
    ] {
        let allocate = |workspace: &Workspace, _: HandleId, target: HandleId| {
            done(workspace.allocate(target, mode, 0, 5000)).unwrap();
        };
        assert_eq!(mode_after(true, allocate), 0o755, "{mode:?}");
        assert_eq!(mode_after(false, allocate), 0o6755, "{mode:?}");
    }
    for len in [100, 200_000] {
        let copy = |workspace: &Workspace, source: HandleId, target: HandleId| {
            assert_eq!(done(workspace.copy_range((source, 0), (target, 0), len)).unwrap(), len);
        };
        assert_eq!(mode_after(true, copy), 0o755, "{len} bytes");
        assert_eq!(mode_after(false, copy), 0o6755, "{len} bytes");
    }
}
