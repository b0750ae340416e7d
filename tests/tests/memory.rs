//! Memory caches hold their limits while many read and one writes, at every sample.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_host::sim::Chance;
use strongroom_tests::harness::files::{find, make, options, save};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_workspace::door::{Access, Core, Kind, WriteMode};
use strongroom_workspace::{Tuning, Workspace};

const PAGE_CACHE: u64 = 320 << 10;
const SEGMENT_CACHE: u64 = 1 << 20;
/// More than a hundred times the longest write: one of them may be over it, until the next.
const DIRTY: u64 = 2 << 20;
const FOLDERS: u64 = 24;
const NAMES: u64 = 100;
const FILES: u64 = 6;
const FILE_LEN: u64 = 600 << 10;
/// Samples that are enough.
const SAMPLES: u64 = 400;
const STEPS_MIN: u64 = 1500;
const STEPS_MAX: u64 = 1_000_000;

fn filled() -> World {
    let tuning = Tuning {
        page_cache_bytes: PAGE_CACHE,
        segment_cache_bytes: SEGMENT_CACHE,
        dirty_bytes: DIRTY,
        checkpoint_log_bytes: 256 << 10,
        batch_ops_bytes: 128 << 10,
        ..small_tuning()
    };
    let mut world = World::open(new_disk(), 1, Setting::new(tuning), None).unwrap();
    let core = world.workspace().clone();
    for folder in 0..FOLDERS {
        make(&core, &format!("{folder}"), Kind::Folder).unwrap();
        for name in 0..NAMES {
            make(&core, &format!("{folder}/{name}"), Kind::File).unwrap();
        }
        core.commit().unwrap();
    }
    for file in 0..FILES {
        save(&core, &format!("large {file}"), &vec![file as u8 + 1; FILE_LEN as usize]).unwrap();
        core.commit().unwrap();
    }
    drop(core);
    // All of it is in pages of a checkpoint then, none in memory.
    world.reopen().unwrap();
    world
}

fn read(core: &Workspace, chance: &mut Chance) {
    match chance.below(3) {
        0 => {
            let (folder, name) = (chance.below(FOLDERS), chance.below(NAMES));
            let ino = find(core, &format!("{folder}/{name}")).unwrap();
            done(core.attributes(ino)).unwrap();
        }
        _ => {
            let file = chance.below(FILES);
            let ino = find(core, &format!("large {file}")).unwrap();
            let handle = done(core.open(ino, options(Access::Read, false))).unwrap().handle;
            // Short ones are kept opened.
            let at = chance.below(FILE_LEN - 5000);
            let bytes = done(core.read(handle, at, 5000)).unwrap();
            assert!(bytes.iter().all(|byte| *byte == file as u8 + 1));
            core.release(handle);
        }
    }
}

fn write(core: &Workspace, chance: &mut Chance) {
    let ino = find(core, &format!("{}/0", chance.below(FOLDERS))).unwrap();
    let handle = done(core.open(ino, options(Access::Write, false))).unwrap().handle;
    let (at, len) = (chance.below(4 << 20), 1 + chance.index(9000));
    done(core.write(handle, at, &vec![7; len], WriteMode::At, false)).unwrap();
    core.release(handle);
}

#[test]
fn memory_caches_hold_their_limits_at_every_sample() {
    let world = filled();
    let core = world.workspace();
    let sampled = AtomicU64::new(0);
    let mut most = [0; 3];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let sampled = &sampled;
                scope.spawn(move || {
                    let mut chance = Chance::new(worker);
                    for step in 0..STEPS_MAX {
                        let enough = sampled.load(Ordering::Relaxed) > SAMPLES;
                        if enough && step >= STEPS_MIN {
                            break;
                        }
                        match worker {
                            0 if step % 700 == 699 => core.commit().unwrap(),
                            0 => write(core, &mut chance),
                            _ => read(core, &mut chance),
                        }
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            let status = core.status();
            let now = [status.page_cache_bytes, status.segment_cache_bytes, status.held_bytes];
            most = std::array::from_fn(|at| now[at].max(most[at]));
            sampled.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
    });
    let limits = [("pages", PAGE_CACHE), ("segments", SEGMENT_CACHE), ("written", DIRTY)];
    for ((what, limit), most) in limits.into_iter().zip(most) {
        assert!(most <= limit + limit / 100, "{what}: {most} bytes, the limit is {limit}");
        assert!(most > limit / 2, "{what}: {most} bytes of {limit} say nothing about the limit");
    }
}
