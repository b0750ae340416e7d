//! What comes between two steps of a purge, here or in another home.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use strongroom_store::over::{Call, Over};
use strongroom_store::{Family, Key, Store, now};
use strongroom_tests::harness::files::{find, load, make, options, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::watch::{CANARY, Watch};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::Workspace;
use strongroom_workspace::door::{Access, Core, HandleId, Kind, WriteMode};
use strongroom_workspace::error::ErrorKind;

use super::{Scene, examine, other, secret};

/// What a home does to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Call(Call),
    /// It asks whether a deletion reaches all copies: a purge does when it begins, and before the first name goes.
    Asks,
}

/// Whether what was waited for has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Goes,
    Ends,
}

type Act = Box<dyn FnMut(Moment) -> Wait + Send>;

/// A store where something else is done at some moments.
struct Meanwhile {
    store: Arc<dyn Store>,
    /// Not there while it is done, which may ask the store for something itself.
    act: Mutex<Option<Act>>,
}

impl Meanwhile {
    fn tell(&self, moment: Moment) {
        let Some(mut act) = self.act.lock().unwrap().take() else { return };
        if act(moment) == Wait::Goes {
            *self.act.lock().unwrap() = Some(act);
        }
    }
}

impl Over for Meanwhile {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        self.tell(Moment::Call(call));
        Ok(())
    }

    fn reaches_all(&self) -> bool {
        self.tell(Moment::Asks);
        true
    }
}

/// The first home does this as well at some moments of what it does to the store.
fn meanwhile(fleet: &Fleet, act: impl FnMut(Moment) -> Wait + Send + 'static) {
    let act: Mutex<Option<Act>> = Mutex::new(Some(Box::new(act)));
    fleet.homes[0].leads_to(Arc::new(Meanwhile { store: fleet.store().clone(), act }));
}

/// The same, once, before the first name goes.
pub(super) fn before_removal(fleet: &Fleet, act: impl FnOnce() + Send + 'static) {
    let (mut asked, mut act) = (0, Some(act));
    meanwhile(fleet, move |moment| {
        asked += u64::from(moment == Moment::Asks);
        if asked < 2 {
            return Wait::Goes;
        }
        act.take().unwrap()();
        Wait::Ends
    });
}

fn last_commit(store: &Arc<dyn Store>) -> Key {
    now(store.list(Family::Log, None)).unwrap().last().unwrap().key
}

pub(super) fn open(core: &Workspace, path: &str) -> HandleId {
    done(core.open(find(core, path).unwrap(), options(Access::ReadWrite, false))).unwrap().handle
}

pub(super) fn append(core: &Workspace, path: &str, bytes: &[u8]) {
    let handle = open(core, path);
    done(core.write(handle, 0, bytes, WriteMode::Append, false)).unwrap();
    core.release(handle);
}

fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY)
}

/// Time goes by for both homes until what was begun has ended.
pub(super) fn come_to_its_end(scene: &Scene) {
    for _ in 0..20 {
        scene.fleet.tick(1, 1200).unwrap();
        scene.fleet.tick(0, 1200).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
}

#[test]
fn what_another_home_brings_back_in_the_middle_of_a_purge_is_its_own_words_alone() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    append(&bob, "vault/diary", b"bob's own words");
    let (store, before) = (scene.fleet.store().clone(), last_commit(scene.fleet.store()));
    let committing = bob.clone();
    meanwhile(&scene.fleet, move |_| {
        if last_commit(&store) == before {
            return Wait::Goes;
        }
        committing.commit().unwrap();
        Wait::Ends
    });
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    come_to_its_end(&scene);
    let back = load(&bob, "vault/diary").unwrap();
    assert!(back.ends_with(b"bob's own words"), "what he wrote is not lost");
    assert!(!holds_canary(&back), "something purged is back");
    drop(bob);
    scene.settle_and_check();
}

#[test]
fn what_another_home_adds_to_a_file_just_before_it_is_purged_goes_with_it() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    let (tell, hear) = channel();
    let (mut watch, inos) = (Watch::new(scene.fleet.store()), scene.inos.clone());
    let writing = bob.clone();
    before_removal(&scene.fleet, move || {
        // Both in one object.
        save(&writing, "vault/diary", &secret(101)).unwrap();
        save(&writing, "bob", &secret(5)[CANARY.len()..]).unwrap();
        writing.commit().unwrap();
        watch.look(&inos);
        tell.send(watch).unwrap();
    });
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    scene.watch.marks.extend(hear.recv().unwrap().marks);
    come_to_its_end(&scene);
    let gone = find(&scene.workspace, "vault").map_err(|error| error.kind());
    assert_eq!(gone, Err(ErrorKind::NotFound));
    assert_eq!(load(&bob, "bob").unwrap(), &secret(5)[CANARY.len()..]);
    drop(bob);
    scene.settle_and_check();
}

#[test]
fn what_is_copied_by_reference_while_a_purge_moves_it_keeps_nothing_that_was_purged() {
    let scene = Scene::new(1, &small_tuning(), 9);
    let (store, before) = (scene.fleet.store().clone(), last_commit(scene.fleet.store()));
    let core = scene.workspace.clone();
    let mut copies = 0;
    meanwhile(&scene.fleet, move |moment| {
        let puts = matches!(moment, Moment::Call(Call::Put(Key::Object(_))));
        if puts && last_commit(&store) > before {
            copies += 1;
            let to = format!("copy {copies}");
            make(&core, &to, Kind::File).unwrap();
            let (from, to) = (open(&core, "plain 3"), open(&core, &to));
            assert!(done(core.copy_range((from, 0), (to, 0), 1 << 20)).unwrap() > 1024);
            core.release(from);
            core.release(to);
        }
        if copies < 5 { Wait::Goes } else { Wait::Ends }
    });
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    let kept = load(&scene.workspace, "plain 3").unwrap();
    assert!(load(&scene.workspace, "copy 1").unwrap() == kept);
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}

/// Begins to purge while somebody opens a file of it that was closed when that was looked at.
fn purge_while_opened(scene: &Scene) -> HandleId {
    let (tell, hear) = channel();
    let core = scene.workspace.clone();
    before_removal(&scene.fleet, move || tell.send(open(&core, "vault/diary")).unwrap());
    let told = scene.workspace.purge(&[b"vault".to_vec()]).map(|purged| purged.inodes);
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    assert_eq!(told.map_err(|error| error.kind()), Err(ErrorKind::Busy));
    hear.recv().unwrap()
}

#[test]
fn a_file_that_is_opened_while_a_purge_begins_holds_that_up_until_it_is_closed() {
    let scene = Scene::new(1, &small_tuning(), 9);
    let handle = purge_while_opened(&scene);
    scene.fleet.tick(0, 1100).unwrap();
    assert!(holds_canary(&done(scene.workspace.read(handle, 0, 1 << 20)).unwrap()));
    assert!(scene.workspace.is_purging().unwrap());
    let trouble = scene.workspace.status().trouble.unwrap();
    assert!(trouble.contains("is open"), "{trouble}");
    scene.workspace.release(handle);
    // It is tried again half a minute later at most.
    for _ in 0..30 {
        scene.fleet.tick(0, 1100).unwrap();
    }
    assert!(!scene.workspace.is_purging().unwrap());
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}

#[test]
fn what_another_home_brings_back_while_a_purge_waits_for_a_closing_is_its_own_words_alone() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    append(&bob, "vault/diary", b"bob's own words");
    let handle = purge_while_opened(&scene);
    scene.fleet.tick(0, 1100).unwrap();
    bob.commit().unwrap();
    scene.workspace.release(handle);
    come_to_its_end(&scene);
    let back = load(&bob, "vault/diary").unwrap();
    assert!(back.ends_with(b"bob's own words"), "what he wrote is not lost");
    assert!(!holds_canary(&back), "something purged is back");
    drop(bob);
    scene.settle_and_check();
}

/// The process of the first home ends, and another one begins.
pub(super) fn begin_again(scene: &mut Scene) {
    scene.workspace.stop_background();
    scene.fleet.homes[0].down(Down::Killed).unwrap();
    // ORDER: the lock goes with the old one.
    drop(std::mem::replace(&mut scene.workspace, other()));
    scene.fleet.homes[0].open().unwrap();
    scene.workspace = scene.fleet.homes[0].workspace().unwrap().clone();
}

/// A purge is interrupted when it has removed all of it, another home brings a file back, and the purge comes to its end.
fn bring_back_after_interruption() -> (Scene, Workspace) {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    append(&bob, "vault/diary", b"bob's own words");
    // The store is away when the removal is to be committed; later it is committed like anything else.
    scene.fleet.homes[0].keeps_back();
    let told = scene.workspace.purge(&[b"vault".to_vec()]).map_err(|error| error.kind());
    assert_eq!(told.map(drop), Err(ErrorKind::Unavailable));
    scene.workspace.commit().unwrap();
    bob.commit().unwrap();
    append(&bob, "vault/diary", b", and more of them");
    bob.commit().unwrap();
    begin_again(&mut scene);
    come_to_its_end(&scene);
    (scene, bob)
}

#[test]
fn what_another_home_brings_back_after_a_purge_was_interrupted_stays_when_that_goes_on() {
    let (mut scene, bob) = bring_back_after_interruption();
    let back = load(&bob, "vault/diary").unwrap();
    assert!(back.ends_with(b"bob's own words, and more of them"), "what he wrote is lost");
    assert!(!holds_canary(&back), "something purged is back");
    drop(bob);
    scene.settle_and_check();
}

#[test]
fn what_another_home_brought_back_after_one_purge_goes_with_the_next() {
    let (scene, bob) = bring_back_after_interruption();
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    come_to_its_end(&scene);
    for core in [&scene.workspace, &bob] {
        let gone = find(core, "vault").map_err(|error| error.kind());
        assert_eq!(gone, Err(ErrorKind::NotFound));
    }
}

#[test]
fn what_is_collected_while_a_purge_reads_all_of_the_past_is_no_damage() {
    let mut fleet = Fleet::new(11, 1, &small_tuning());
    fleet.homes[0].open().unwrap();
    let core = fleet.homes[0].workspace().unwrap().clone();
    make(&core, "vault", Kind::Folder).unwrap();
    save(&core, "vault/diary", &secret(1)).unwrap();
    for number in 0..2_000 {
        save(&core, &format!("{number:0200}"), b"so that not all pages stay in memory").unwrap();
    }
    drop(core);
    fleet.homes[0].down(Down::Closed).unwrap();
    fleet.homes[0].open().unwrap();
    let core = fleet.homes[0].workspace().unwrap().clone();
    let (writing, mut is_reading, mut rounds) = (core.clone(), false, 0);
    meanwhile(&fleet, move |moment| {
        is_reading |= matches!(moment, Moment::Call(Call::Get(Key::Checkpoint(_))));
        if !is_reading {
            return Wait::Goes;
        }
        rounds += 1;
        for number in 0..100 {
            save(&writing, &format!("{number:0200}"), b"another one").unwrap();
        }
        writing.commit().unwrap();
        if rounds < 9 { Wait::Goes } else { Wait::Ends }
    });
    core.purge(&[b"vault".to_vec()]).unwrap();
    fleet.homes[0].leads_to(fleet.store().clone());
    save(&core, "last", b"one more").unwrap();
    core.commit().unwrap();
    assert_eq!(core.usage().unwrap().garbage_bytes, 0, "what waited goes after it");
    let report = examine(&fleet);
    assert!(report.is_clean(), "{:?}", report.findings);
}
