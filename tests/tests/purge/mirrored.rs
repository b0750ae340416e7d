//! Purges on a mirror of three, one member of which goes away in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_remote::Machine;
use strongroom_remote::mirror::{Member, MirrorStore};
use strongroom_store::over::{Call, Over};
use strongroom_store::{Error, ErrorKind, Result, Store};
use strongroom_tests::harness::files::find;
use strongroom_tests::harness::fleet::{Down, Fleet, new_store};
use strongroom_tests::harness::seeds::is_long;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::watch::Watch;
use strongroom_tests::harness::world::{START_NS, small_tuning};

use super::{Scene, other};

/// How long a member stays away, in calls.
const A_WHILE: u64 = 9;

/// A member that is away for some of its calls. Each takes a second.
struct Leaving {
    store: Arc<dyn Store>,
    clock: Arc<SimClock>,
    calls: AtomicU64,
    away: (AtomicU64, AtomicU64),
}

impl Leaving {
    fn new(clock: &Arc<SimClock>) -> Arc<Self> {
        let (store, clock) = (new_store(), clock.clone());
        let away = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
        Arc::new(Self { store, clock, calls: AtomicU64::new(0), away })
    }

    /// From so many calls on, for so many.
    fn leaves(&self, from: u64, count: u64) {
        let from = self.calls.load(Ordering::Relaxed).saturating_add(from);
        self.away.0.store(from, Ordering::Relaxed);
        self.away.1.store(from.saturating_add(count), Ordering::Relaxed);
    }

    /// Whether it was asked since it left.
    fn was_missed(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > self.away.0.load(Ordering::Relaxed)
    }
}

impl Over for Leaving {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, _: Call) -> Result<()> {
        self.clock.advance(Duration::from_secs(1));
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (from, to) = (&self.away.0, &self.away.1);
        match (from.load(Ordering::Relaxed)..to.load(Ordering::Relaxed)).contains(&call) {
            true => Err(Error::new(ErrorKind::Unavailable, "this member is away")),
            false => Ok(()),
        }
    }
}

struct Mirrored {
    scene: Scene,
    clock: Arc<SimClock>,
    members: Vec<Arc<Leaving>>,
}

impl Mirrored {
    fn new() -> Self {
        let clock = Arc::new(SimClock::new(START_NS));
        let members: Vec<_> = (0..3).map(|_| Leaving::new(&clock)).collect();
        let fleet = Fleet::over(mirror(&members, &clock), 7, 1, &small_tuning());
        let watch = Watch::new(&members[0].store);
        Self { scene: Scene::begin(fleet, watch, 9), clock, members }
    }

    /// Whether the process ends, so that nobody remembers what the member missed.
    fn open_again(&mut self) {
        let home = &mut self.scene.fleet.homes[0];
        self.scene.workspace.stop_background();
        home.down(Down::Killed).unwrap();
        // ORDER: the lock goes with the old one.
        drop(std::mem::replace(&mut self.scene.workspace, other()));
        home.leads_to(mirror(&self.members, &self.clock));
        home.open().unwrap();
        self.scene.workspace = home.workspace().unwrap().clone();
    }

    /// Goes on with everybody there, until it is done.
    fn end(&mut self) {
        for _ in 0..600 {
            if !self.scene.workspace.is_purging().unwrap() {
                return;
            }
            // The mirror heals in its own time.
            std::thread::sleep(Duration::from_millis(100));
            self.clock.advance(Duration::from_secs(6));
            let _ = self.scene.fleet.tick(0, 31_000);
        }
        panic!("it never ends");
    }
}

fn mirror(members: &[Arc<Leaving>], clock: &Arc<SimClock>) -> Arc<dyn Store> {
    let machine = Machine {
        disk: Arc::new(SimDisk::new(1)),
        clock: clock.clone(),
        entropy: Arc::new(SimEntropy::new(1)),
    };
    let seats = members.iter().map(|store| Member { name: String::new(), store: store.clone() });
    Arc::new(MirrorStore::new(seats.collect(), &machine).unwrap())
}

#[test]
fn a_purge_on_a_mirror_is_done_when_no_member_keeps_anything_whenever_one_was_away() {
    let (mut calls, mut interrupted) = (0, 0);
    for round in 0.. {
        let mut mirrored = Mirrored::new();
        let present = read_tree(&mirrored.scene.workspace).unwrap();
        let (comes_back, is_killed) = (round % 2 == 0, round % 4 >= 2);
        mirrored.members[2].leaves(calls, if comes_back { A_WHILE } else { u64::MAX });
        let purged = mirrored.scene.workspace.purge(&[b"vault".to_vec()]);
        let was_missed = mirrored.members[2].was_missed();
        mirrored.members[2].leaves(u64::MAX, 0);
        if purged.is_err() {
            interrupted += 1;
            if is_killed {
                mirrored.open_again();
            }
            mirrored.end();
            if find(&mirrored.scene.workspace, "vault").is_ok() {
                mirrored.scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
            }
        }
        for (number, member) in mirrored.members.iter().enumerate() {
            let mut watch = Watch::new(&member.store);
            watch.marks = mirrored.scene.watch.marks.clone();
            assert!(watch.leaks().is_empty(), "member {number}, away after {calls} calls");
        }
        if !was_missed {
            mirrored.scene.check(&present);
            break;
        }
        calls += if is_long() { 1 } else { 31 };
    }
    assert!(interrupted > 2, "{interrupted} of {calls}");
}
