//! One device with several homes: each keeps its own local state of the same workspace. What one has not committed is
//! never taken as committed because another has; it is put on top of that. `converge` has them all at once.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use strongroom_host::disk::{read_all, replace_file};
use strongroom_host::sim::{Chance, SimDisk};
use strongroom_tests::harness::files::find;
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::life::{Life, Twin};
use strongroom_tests::harness::runner::Seen;
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_workspace::door::{Access, WriteMode};
use strongroom_workspace::error::{Error, ErrorKind};
use strongroom_workspace::inbound::alone::Claim;

const HOMES: [&str; 3] = ["/home/alice", "/home/bob", "/home/charlie"];

/// Opens a home. Every opening has chance of its own, as on a real machine.
fn open(disk: &SimDisk, home: usize, seed: u64) -> Result<World, Error> {
    let setting = Setting { state: HOMES[home], ..Setting::new(small_tuning()) };
    World::open(disk.clone(), seed * 100 + home as u64, setting, None)
}

fn create(name: &str) -> [Step; 2] {
    let (path, mode, slot, access) = (name.to_owned(), 0o644, 0, Access::ReadWrite);
    let (offset, len, fill, drop_set_id) = (0, 3000, 7, false);
    let write = Step::Write { slot, offset, len, fill, mode: WriteMode::At, drop_set_id };
    [Step::CreateOpen { path, mode, slot, access }, write]
}

fn take(life: &mut Life, steps: &[Step]) {
    for step in steps {
        life.both(step).unwrap();
    }
}

/// Alice's process is killed with two changes that were never committed.
fn alice_leaves_changes() -> (SimDisk, Life) {
    let disk = new_disk();
    let mut alice = Life::over(open(&disk, 0, 1).unwrap());
    take(&mut alice, &[Step::Commit]);
    take(&mut alice, &create("a"));
    take(&mut alice, &[Step::Sync]);
    (alice.world.disk.kill(), alice)
}

#[test]
fn changes_wait_in_their_home_while_another_home_only_looks() {
    let (disk, mut alice) = alice_leaves_changes();
    open(&disk, 1, 2).unwrap().workspace().close().unwrap();
    alice.world = open(&disk, 0, 3).unwrap();
    alice.compare_trees().unwrap();
}

#[test]
fn changes_that_another_home_did_not_know_are_put_on_top_of_its_commits() {
    let (disk, _) = alice_leaves_changes();
    let mut bob = Life::over(open(&disk, 1, 2).unwrap());
    // More records than alice has, or hers would seem new by their numbers alone.
    for name in ["b", "c", "d"] {
        take(&mut bob, &create(name));
    }
    take(&mut bob, &[Step::Reopen]);
    let alice = open(&disk, 0, 3).unwrap();
    alice.workspace().close().unwrap();
    bob.twin = Twin::new(&bob.world.clock);
    for name in ["a", "b", "c", "d"] {
        for step in create(name) {
            bob.twin.take(&step);
        }
    }
    // Bob is not disturbed, sees hers, and goes on.
    bob.world.tick(2000).unwrap();
    take(&mut bob, &create("e"));
    bob.compare_trees().unwrap();
}

/// Homes take turns, close or are killed after a commit, and see one history.
fn take_turns(seed: u64) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut disk = new_disk();
    let mut twin = None;
    for turn in 0..12 {
        let home = chance.index(HOMES.len());
        let world = open(&disk, home, seed * 100 + turn)
            .map_err(|error| format!("turn {turn}: {error}"))?;
        let mut life = match twin.take() {
            None => Life::over(world),
            Some(twin) => Life::resume(world, twin),
        };
        life.compare_trees().map_err(|what| format!("turn {turn}, home {home}: {what}"))?;
        let mut steps = generator.steps(5 + chance.index(40));
        steps.push(if chance.one_in(2) { Step::Commit } else { Step::Reopen });
        for step in &steps {
            life.both(step).map_err(|what| format!("turn {turn}: {step:?} {what}"))?;
        }
        life.twin.take(&Step::Reopen);
        disk = life.world.disk.kill();
        twin = Some(life.twin);
    }
    Ok(())
}

#[test]
fn homes_that_take_turns_see_one_history() {
    for seed in seeds(700_000, amount(12, 500)) {
        if let Err(what) = take_turns(seed) {
            let again = repeat("homes", "homes_that_take_turns_see_one_history", seed);
            panic!("seed {seed}: {what}\n{again}");
        }
    }
}

#[test]
fn a_home_that_was_taken_over_writes_nothing_more() {
    let disk = new_disk();
    let mut alice = Life::over(open(&disk, 0, 1).unwrap());
    alice.world.workspace().write_alone(Claim::Keep).unwrap();
    take(&mut alice, &create("a"));
    take(&mut alice, &[Step::Commit]);
    let bob = Life::over(open(&disk, 1, 2).unwrap());
    bob.world.workspace().write_alone(Claim::TakeOver).unwrap();
    let seq = bob.world.workspace().status().head_seq;
    // She has not looked yet; what she writes stays with her.
    take(&mut alice, &create("b"));
    let refused = |life: &Life| life.world.workspace().commit().map_err(|error| error.kind());
    assert_eq!(refused(&alice), Err(ErrorKind::ReadOnly));
    let status = alice.world.workspace().status();
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("taken over")));
    assert!(status.pending_ops > 0);
    let told = alice.take(&create("c")[0]);
    assert_eq!(told, Seen::Refused(ErrorKind::ReadOnly));
    bob.world.tick(5000).unwrap();
    assert_eq!(bob.world.workspace().status().head_seq, seq);
    // Also the next time; until she takes over in turn, and what waited comes.
    drop(alice);
    let alice = open(&disk, 0, 3).unwrap();
    let kept = alice.workspace().write_alone(Claim::Keep).map_err(|error| error.kind());
    assert_eq!(kept, Err(ErrorKind::ReadOnly));
    alice.workspace().write_alone(Claim::TakeOver).unwrap();
    alice.workspace().commit().unwrap();
    assert!(find(alice.workspace(), "b").is_ok());
    assert_eq!(refused(&bob), Err(ErrorKind::ReadOnly));
    assert!(find(bob.world.workspace(), "b").is_ok(), "he still follows");
}

#[test]
fn another_history_than_the_one_a_home_remembers_is_refused_even_if_it_is_longer() {
    let disk = new_disk();
    drop(open(&disk, 0, 1).unwrap());
    let (ours, theirs) = (disk.kill(), disk.kill());
    let mut alice = Life::over(open(&ours, 0, 2).unwrap());
    take(&mut alice, &create("a"));
    take(&mut alice, &[Step::Commit]);
    let mut bob = Life::over(open(&theirs, 1, 3).unwrap());
    for name in ["b", "c", "d"] {
        take(&mut bob, &create(name));
        take(&mut bob, &[Step::Commit]);
    }
    take(&mut bob, &[Step::Reopen]);
    let head = Path::new("/home/alice/head");
    let remembered = read_all(&ours, head).unwrap();
    replace_file(&theirs, head, &remembered).unwrap();
    assert_eq!(open(&theirs, 0, 4).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
}
