//! Snapshots that are made while something is committed or purged, at every moment of it that asks for the time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{ThreadId, current};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_host::clock::Clock;
use strongroom_host::sim::{SimClock, SimEntropy};
use strongroom_store::{FolderStore, Mode as StoreMode};
use strongroom_tests::harness::files::{load, save};
use strongroom_tests::harness::runner::CALLER;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::{START_NS, STATE, STORE, keys, new_disk, small_tuning};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{At, Mode, Options, Services, Tuning, Workspace};

/// Waits no longer for the other one: it may be waiting itself, for who looked at the clock.
const PATIENCE: Duration = Duration::from_millis(200);

/// A clock that lets another thread go first when it is looked at for the n-th time.
struct Moment {
    clock: SimClock,
    turn: Mutex<Option<Turn>>,
}

struct Turn {
    looking: ThreadId,
    looks_left: u32,
    go: Sender<()>,
    done: Receiver<()>,
}

impl Clock for Moment {
    fn now_ns(&self) -> i64 {
        let due = {
            let mut turn = self.turn.lock();
            if let Some(turn) = turn.as_mut().filter(|turn| turn.looking == current().id()) {
                turn.looks_left -= 1;
            }
            turn.take_if(|turn| turn.looks_left == 0)
        };
        if let Some(turn) = due {
            turn.go.send(()).unwrap();
            let _ = turn.done.recv_timeout(PATIENCE);
        }
        self.clock.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.clock.sleep(time);
    }
}

fn open(clock: &Arc<Moment>) -> Workspace {
    let disk = Arc::new(new_disk());
    let store = FolderStore::open(disk.clone(), PathBuf::from(STORE), StoreMode::ReadWrite);
    let services = Services { disk, clock: clock.clone(), entropy: Arc::new(SimEntropy::new(1)) };
    let options = Options {
        state_folder: PathBuf::from(STATE),
        mode: Mode::ReadWrite,
        owner: (CALLER.uid, CALLER.gid),
        // A checkpoint with every commit.
        tuning: Tuning { checkpoint_log_bytes: 1, ..small_tuning() },
    };
    Workspace::open(options, Arc::new(store.unwrap()), keys(), services).unwrap()
}

/// What happens while a snapshot is made.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    /// Something is committed twice.
    Commits,
    Purge,
}

impl Meanwhile {
    fn happen(self, workspace: &Workspace) {
        if self == Self::Purge {
            workspace.purge(&[b"secret".to_vec()]).unwrap();
            return;
        }
        for round in 1..3 {
            save(workspace, "file", &content(round)).unwrap();
            workspace.commit().unwrap();
        }
    }
}

fn content(round: u8) -> Vec<u8> {
    vec![round; 9000]
}

/// Makes a snapshot; at the n-th look at the clock something else happens. Whether it came to that.
fn make_with_something_at(look: u32, meanwhile: Meanwhile) -> bool {
    let clock = Arc::new(Moment { clock: SimClock::new(START_NS), turn: Mutex::new(None) });
    let workspace = open(&clock);
    save(&workspace, "file", &content(0)).unwrap();
    save(&workspace, "other", b"stays").unwrap();
    save(&workspace, "secret", b"goes").unwrap();
    let ((go, begin), (end, done)) = (channel(), channel());
    let was_there = std::thread::scope(|scope| {
        let other = scope.spawn({
            let workspace = &workspace;
            move || {
                if begin.recv().is_err() {
                    return false;
                }
                meanwhile.happen(workspace);
                // Nobody waits any more where it took longer.
                let _ = end.send(());
                true
            }
        });
        let turn = Turn { looking: current().id(), looks_left: look, go, done };
        *clock.turn.lock() = Some(turn);
        workspace.make_snapshot("now").unwrap();
        // The other one waits no more, if it does.
        drop(clock.turn.lock().take());
        other.join().unwrap()
    });
    for _ in 0..2 {
        let at = workspace.at(&At::Snapshot("now".to_owned()));
        let at = at.unwrap_or_else(|error| panic!("at look {look}: {error}"));
        let there = load(&at, "file").unwrap();
        assert!((0..3).any(|round| there == content(round)), "at look {look}");
        assert_eq!(load(&at, "other").unwrap(), b"stays", "at look {look}");
        if was_there && meanwhile == Meanwhile::Purge {
            let told = load(&at, "secret").map_err(|error| error.kind());
            let is_gone = matches!(told, Err(ErrorKind::Purged | ErrorKind::NotFound));
            assert!(is_gone, "at look {look}: {told:?}");
        } else {
            read_tree(&at).unwrap_or_else(|error| panic!("at look {look}: {error}"));
        }
        save(&workspace, "file", &content(9)).unwrap();
        workspace.commit().unwrap();
    }
    was_there
}

#[test]
fn a_snapshot_holds_whatever_is_committed_while_it_is_made() {
    let is_there = |look: &u32| make_with_something_at(*look, Meanwhile::Commits);
    let looks = (1..).take_while(is_there).count();
    assert!(looks > 3, "{looks}");
}

#[test]
fn a_snapshot_that_is_made_during_a_purge_can_be_read_and_holds_nothing_of_what_was_purged() {
    let is_there = |look: &u32| make_with_something_at(*look, Meanwhile::Purge);
    let looks = (1..).take_while(is_there).count();
    assert!(looks > 3, "{looks}");
}
