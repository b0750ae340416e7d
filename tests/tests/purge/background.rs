//! A purge goes on in a thread of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use strongroom_store::over::{Call, Over};
use strongroom_store::{Family, Key, Store, now};
use strongroom_tests::harness::files::{load, make, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;

use strongroom_workspace::door::Kind;

use super::{Scene, examine, plain};

/// Looks again and again, while time goes by for everybody, until it is so.
fn until(scene: &Scene, what: &str, is_so: impl Fn(&Scene) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so(scene) {
        assert!(Instant::now() < end, "{what}");
        scene.fleet.tick(1, 300).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_is_committed_and_followed_while_a_purge_takes_long() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    assert!(scene.workspace.purge(&[b"vault".to_vec()]).unwrap().goes_on);
    let first = now(scene.fleet.store().list(Family::Log, None)).unwrap()[0].key;
    let (reached, go_on) = scene.fleet.homes[0].stops_before_put(first);
    scene.workspace.run_background().unwrap();
    until(&scene, "the log is never stripped", |_| reached.try_recv().is_ok());
    save(&scene.workspace, "alice", &plain(1, 1)).unwrap();
    save(&bob, "bob", &plain(2, 2)).unwrap();
    until(&scene, "nothing is committed or followed", |scene| {
        load(&bob, "alice").is_ok() && load(&scene.workspace, "bob").is_ok()
    });
    assert!(scene.workspace.is_purging().unwrap());
    go_on.send(()).unwrap();
    until(&scene, "it never ends", |scene| !scene.workspace.is_purging().unwrap());
    scene.workspace.stop_background();
    drop(bob);
    scene.fleet.settle().unwrap();
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}

/// A store where somebody else commits before each page that one thread asks for, once that has put some objects.
struct Busy {
    store: Arc<dyn Store>,
    whose: ThreadId,
    puts: AtomicU64,
    /// Asks for a commit, and hears that it is done; not while that has to wait for the one who asks.
    commits: Mutex<(Sender<()>, Receiver<()>)>,
    done: AtomicU64,
}

impl Over for Busy {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        if std::thread::current().id() != self.whose {
            return Ok(());
        }
        match call {
            Call::Put(Key::Object(_)) => drop(self.puts.fetch_add(1, Ordering::Relaxed)),
            Call::Get(Key::Object(_)) if self.puts.load(Ordering::Relaxed) >= 12 => {
                let commits = self.commits.lock().unwrap();
                commits.0.send(()).unwrap();
                let heard = commits.1.recv_timeout(Duration::from_millis(20));
                self.done.fetch_add(u64::from(heard.is_ok()), Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn commits_while_a_purge_moves_what_others_have_take_nothing_of_it_away() {
    let mut fleet = Fleet::new(11, 1, &small_tuning());
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    let kept = |number: u64| number.to_le_bytes().repeat(8_000);
    make(&workspace, "vault", Kind::Folder).unwrap();
    for number in 0..48 {
        save(&workspace, &format!("vault/{number}"), &[7; 9_000]).unwrap();
        save(&workspace, &format!("kept {number}"), &kept(number)).unwrap();
    }
    for number in 0..2_000 {
        save(&workspace, &format!("{number:0200}"), b"so that not all pages stay in memory")
            .unwrap();
    }
    drop(workspace);
    fleet.homes[0].down(Down::Closed).unwrap();
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    let (ask, asked) = channel();
    let (tell, heard) = channel();
    let busy = Arc::new(Busy {
        store: fleet.store().clone(),
        whose: std::thread::current().id(),
        puts: AtomicU64::new(0),
        commits: Mutex::new((ask, heard)),
        done: AtomicU64::new(0),
    });
    fleet.homes[0].leads_to(busy.clone());
    let committing = workspace.clone();
    let committer = std::thread::spawn(move || {
        while asked.recv().is_ok() {
            committing.commit().unwrap();
            // Nobody listens any more once the purge is over.
            let _ = tell.send(());
        }
    });
    workspace.purge(&[b"vault".to_vec()]).unwrap();
    fleet.homes[0].leads_to(fleet.store().clone());
    assert!(busy.done.load(Ordering::Relaxed) > 0, "nobody committed meanwhile");
    drop(busy);
    committer.join().unwrap();
    fleet.settle().unwrap();
    for number in 0..48 {
        assert!(load(&workspace, &format!("kept {number}")).unwrap() == kept(number), "{number}");
    }
    let report = examine(&fleet);
    assert!(report.is_clean(), "{:?}", report.findings);
}
