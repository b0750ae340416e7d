//! Sequences of those who come, wait, write, go and die: each goes before whoever came later.

use strongroom_host::clock::Clock;
use strongroom_host::disk::OpenMode;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::{Chance, SimClock, SimDisk};

use super::*;

/// One of those who want to write.
enum One {
    Away,
    /// And how often somebody has begun to write at most, before it is their turn.
    Waits(Waiter, usize),
    Writes(Entered),
}

struct Scene {
    line: Line,
    disk: Arc<dyn Disk>,
    clock: Arc<SimClock>,
}

impl Scene {
    fn new() -> Self {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), Arc::new(SimClock::new(1)));
        disk.create_folder("/state".as_ref()).unwrap();
        let (lock, folder) = ("/state/lock".into(), "/state/line".into());
        let line = Line::new(disk.clone(), clock.clone(), lock, folder);
        Self { line, disk, clock }
    }

    fn later(&self) {
        self.clock.sleep(PAUSE_BEHIND);
    }

    /// A process that ends in the middle leaves its number behind, unlocked.
    fn kill(&self, waiter: Waiter) {
        let path = self.line.path(waiter.number);
        drop(waiter);
        self.disk.open(&path, OpenMode::CreateNew).unwrap();
    }
}

/// Those who want to write, and who of them waits, in the order in which they came.
struct Crowd {
    scene: Scene,
    all: Vec<One>,
    waiting: Vec<usize>,
    /// How often somebody has begun to write.
    begun: usize,
}

impl Crowd {
    /// One of them does what comes next, or dies over it.
    fn step(&mut self, own: usize, chance: u64) {
        let line = self.scene.line.clone();
        self.all[own] = match std::mem::replace(&mut self.all[own], One::Away) {
            One::Away if chance < 40 => One::Away,
            One::Away => match line.try_enter().unwrap() {
                Some(held) => {
                    assert!(self.waiting.is_empty(), "{own} went before those who wait");
                    self.begin(held)
                }
                None => {
                    let last = self.begun + self.waiting.len();
                    self.waiting.push(own);
                    One::Waits(line.wait().unwrap(), last)
                }
            },
            One::Waits(waiter, _) if chance < 3 => {
                self.waiting.retain(|other| *other != own);
                self.scene.kill(waiter);
                One::Away
            }
            One::Waits(mut waiter, last) => match waiter.try_enter().unwrap() {
                Some(held) => {
                    assert_eq!(self.waiting.remove(0), own, "it was not the first");
                    assert!(self.begun <= last, "{own} waited for {} too many", self.begun - last);
                    self.begin(held)
                }
                None => One::Waits(waiter, last),
            },
            One::Writes(held) if chance < 60 => One::Writes(held),
            One::Writes(_) => One::Away,
        };
    }

    fn begin(&mut self, held: Entered) -> One {
        self.begun += 1;
        assert!(!self.all.iter().any(|one| matches!(one, One::Writes(_))), "two write");
        One::Writes(held)
    }
}

#[test]
fn nobody_who_waits_to_write_is_overtaken_whoever_dies() {
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let all = (0..6).map(|_| One::Away).collect();
        let mut crowd = Crowd { scene: Scene::new(), all, waiting: Vec::new(), begun: 0 };
        for round in 0..150 {
            crowd.scene.later();
            let first = usize::try_from(chance.below(6)).unwrap();
            for own in (0..6).map(|own| (first + own) % 6) {
                println!("seed {seed}, round {round}, {own}");
                crowd.step(own, chance.below(100));
            }
        }
        assert!(crowd.begun > 30, "seed {seed}: {} wrote", crowd.begun);
    }
}

#[test]
fn who_was_stopped_while_first_in_line_holds_nobody_up() {
    let scene = Scene::new();
    let held = scene.line.try_enter().unwrap().unwrap();
    let (mut stopped, mut behind) = (scene.line.wait().unwrap(), scene.line.wait().unwrap());
    drop(held);
    let mut looks = 0;
    let held = loop {
        scene.later();
        looks += 1;
        if let Some(held) = behind.try_enter().unwrap() {
            break held;
        }
    };
    assert_eq!(looks, FREE_COUNT);
    drop((held, behind));
    // It goes on where it was: whoever comes now is behind it.
    assert!(scene.line.try_enter().unwrap().is_none());
    assert!(stopped.try_enter().unwrap().is_some());
}

#[test]
fn the_first_in_line_is_not_passed_while_somebody_writes() {
    let scene = Scene::new();
    let held = scene.line.try_enter().unwrap().unwrap();
    let (mut first, mut behind) = (scene.line.wait().unwrap(), scene.line.wait().unwrap());
    for _ in 0..3 * FREE_COUNT {
        scene.later();
        assert!(behind.try_enter().unwrap().is_none());
    }
    drop(held);
    assert!(behind.try_enter().unwrap().is_none());
    assert!(first.try_enter().unwrap().is_some());
}

#[test]
fn who_waits_longer_than_the_limit_is_told() {
    let scene = Scene::new();
    let held = scene.line.try_enter().unwrap();
    let begun = scene.clock.since_boot();
    let ended = scene.line.enter(Duration::from_secs(20)).err().map(|error| error.kind());
    assert_eq!(ended, Some(io::ErrorKind::TimedOut));
    let waited = scene.clock.since_boot() - begun;
    assert!(waited < Duration::from_secs(21), "{waited:?}");
    // It has left the line.
    drop(held);
    assert!(scene.line.try_enter().unwrap().is_some());
}

#[test]
fn on_a_real_disk_the_line_ends_with_those_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (lock, numbers) = (folder.path().join("lock"), folder.path().join("line"));
    let line =
        Line::new(Arc::new(RealDisk), Arc::new(SimClock::new(1)), lock.clone(), numbers.clone());
    let held = line.try_enter().unwrap().unwrap();
    let dead = line.wait().unwrap();
    let path = line.path(dead.number);
    drop(dead);
    std::fs::write(&path, "").unwrap();
    let mut waiter = line.wait().unwrap();
    assert!(waiter.number > 0 && waiter.try_enter().unwrap().is_none());
    drop(held);
    assert!(line.try_enter().unwrap().is_none(), "somebody waits");
    let held = waiter.try_enter().unwrap().unwrap();
    drop(waiter);
    assert_eq!(std::fs::read_dir(&numbers).unwrap().count(), 0);
    drop(held);
    assert!(line.try_enter().unwrap().is_some());
}
