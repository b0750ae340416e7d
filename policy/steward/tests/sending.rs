//! A file goes to the store, or comes from it, while others write. What they record meanwhile decides whether it goes on record, and
//! what does not leaves nothing; and whether it is given out.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Tee, World, answer, by, kind, own, proposal};
use strongroom_records::activity::{ActivityState, Basis, Reach};
use strongroom_records::ids::{Pseudonym, SubjectId};
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};
use strongroom_steward::{Asked, Custodian, Depth, Error, ErrorKind, Proposal, Turnstile};
use strongroom_store::{Key, Shelf};

/// Longer than what goes to the store with its record.
const LEN: usize = 300_000;
const DAYS: Duration = Duration::from_secs(2 * 86_400);

/// Whether others are kept out, and whether they stay in when it is their turn to go.
#[derive(Clone, Default)]
struct Door(Arc<AtomicBool>, Arc<AtomicBool>);

impl Turnstile for Door {
    fn is_due(&self) -> bool {
        false
    }

    fn leave(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "another writer takes too long"));
        }
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Cells of registers that are in a store.
fn cells(store: &Tee) -> BTreeMap<Key, Bytes> {
    let is_cell = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
    store.live().into_iter().filter(|(key, _)| is_cell(key)).collect()
}

/// A shop that keeps others out, and one of its people, who lets an editor write files of a class.
struct Shop {
    world: World,
    shop: Custodian,
    door: Door,
    ada: SubjectId,
    name: Pseudonym,
}

impl Shop {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let mut shop = world.create("shop");
        let editor = proposal("editor", Basis::Consent, &["owned"]);
        shop.register_activity(Proposal { reach: Reach::Write, ..editor }).unwrap();
        shop.approve_activity("editor").unwrap();
        let ada = shop.create_subject(&[]).unwrap();
        shop.answer(&ada, &answer("editor", Given)).unwrap();
        let name = shop.name_for(&ada, "editor").unwrap();
        shop.put_file(&own(ada, "owned"), "first", b"17 roses").unwrap();
        let door = Door(Arc::new(AtomicBool::new(true)), Arc::default());
        shop.set_turnstile(Box::new(door.clone()));
        Self { world, shop, door, ada, name }
    }

    fn editor(&self) -> Asked {
        by("editor", self.name, "owned")
    }

    /// Somebody else does something while the next file is on its way, unless they are kept out. How often they were let in.
    fn meanwhile(&self, deed: impl Fn(&mut Custodian) + Send + 'static) -> Arc<AtomicUsize> {
        let (count, happens) = self.unless_kept_out(deed);
        self.world.store.while_sent(happens);
        count
    }

    /// What the editor reads while somebody else does something, who is let in as it is fetched and kept out again after.
    fn read_while(
        &mut self,
        name: &str,
        deed: impl Fn(&mut Custodian) + Send + 'static,
    ) -> strongroom_steward::Result<Vec<u8>> {
        let (count, happens) = self.unless_kept_out(deed);
        let is_file = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Object);
        self.world.store.while_read(is_file, happens);
        let read = self.shop.read_file(&self.editor(), name);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(self.door.0.load(Ordering::SeqCst), "they are kept out again");
        read
    }

    fn unless_kept_out(
        &self,
        deed: impl Fn(&mut Custodian) + Send + 'static,
    ) -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
        let (mut other, door) = (self.world.open("shop"), self.door.clone());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let happens = move || {
            if !door.0.load(Ordering::SeqCst) {
                other.follow().unwrap();
                other.catch_up().unwrap();
                deed(&mut other);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        };
        (count, happens)
    }

    fn names(&mut self) -> Vec<String> {
        let files = self.shop.files(&own(self.ada, "owned")).unwrap();
        files.into_iter().map(|file| file.name).collect()
    }

    fn check_sound(&self) {
        let verified = self.world.open("shop").verify().unwrap();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    }
}

#[test]
fn others_write_while_a_file_is_on_its_way() {
    let mut at = Shop::new(1);
    let ada = at.ada;
    let let_in = at.meanwhile(move |other| {
        other.put_file(&own(ada, "owned"), "theirs", b"18 roses").unwrap();
        other.create_subject(&[]).unwrap();
    });
    at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
    assert_eq!(let_in.load(Ordering::SeqCst), 1);
    assert!(at.door.0.load(Ordering::SeqCst), "they are kept out again");
    assert_eq!(at.names(), ["first", "long", "theirs"]);
    assert_eq!(at.shop.read_file(&own(ada, "owned"), "long").unwrap(), vec![7; LEN]);
    assert_eq!(at.world.store.file_count(), 3);
    at.check_sound();
}

#[test]
fn what_is_taken_away_while_a_file_is_on_its_way_keeps_it_off_record() {
    type Deed = fn(&mut Custodian, SubjectId);
    let deeds: [(&str, Deed, ErrorKind, usize); 5] = [
        (
            "withdrawn",
            |other, ada| drop(other.answer(&ada, &answer("editor", Withdrawn)).unwrap()),
            ErrorKind::Denied,
            1,
        ),
        ("erased", |other, ada| drop(other.erase(&ada).unwrap()), ErrorKind::Denied, 0),
        ("held", |other, ada| other.place_hold(&ada, "litigation").unwrap(), ErrorKind::Held, 1),
        ("restricted", |other, ada| other.restrict(&ada, true).unwrap(), ErrorKind::Denied, 1),
        (
            "suspended",
            |other, _| other.stop_activity("editor", ActivityState::Suspended).unwrap(),
            ErrorKind::Denied,
            1,
        ),
    ];
    for (seed, (what, deed, refused, files)) in (10..).zip(deeds) {
        let mut at = Shop::new(seed);
        let ada = at.ada;
        let let_in = at.meanwhile(move |other| deed(other, ada));
        // It would take the place of one that is there.
        let put = at.shop.put_file(&at.editor(), "first", &vec![7; LEN]);
        assert_eq!(kind(put), refused, "{what}");
        assert_eq!(let_in.load(Ordering::SeqCst), 1, "{what}");
        assert_eq!(at.world.store.file_count(), files, "{what}");
        if files > 0 && what != "restricted" {
            assert_eq!(at.shop.read_file(&own(ada, "owned"), "first").unwrap(), b"17 roses");
        }
        at.check_sound();
    }
}

#[test]
fn what_is_taken_away_while_a_file_is_fetched_is_given_to_nobody() {
    type Deed = fn(&mut Custodian, SubjectId);
    let deeds: [(&str, Deed); 4] = [
        ("withdrawn", |other, ada| drop(other.answer(&ada, &answer("editor", Withdrawn)).unwrap())),
        ("erased", |other, ada| drop(other.erase(&ada).unwrap())),
        ("restricted", |other, ada| other.restrict(&ada, true).unwrap()),
        ("suspended", |other, _| {
            other.stop_activity("editor", ActivityState::Suspended).unwrap();
        }),
    ];
    for (seed, (what, deed)) in (50..).zip(deeds) {
        let mut at = Shop::new(seed);
        let ada = at.ada;
        at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
        let read = at.read_while("long", move |other| deed(other, ada));
        assert_eq!(kind(read), ErrorKind::Denied, "{what}");
        at.check_sound();
    }
}

#[test]
fn a_file_is_read_whatever_others_do_to_it_while_it_is_fetched() {
    let mut at = Shop::new(60);
    let ada = at.ada;
    at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
    // Sealed anew, it lies elsewhere.
    let read = at.read_while("long", move |other| {
        other.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap();
    });
    assert_eq!(read.unwrap(), vec![7; LEN]);
    let read = at.read_while("long", move |other| {
        other.put_file(&own(ada, "owned"), "long", &vec![8; LEN]).unwrap();
    });
    assert_eq!(read.unwrap(), vec![8; LEN]);
    let read = at.read_while("long", move |other| {
        other.remove_file(&own(ada, "owned"), "long").unwrap();
    });
    assert_eq!(kind(read), ErrorKind::NotFound);
    at.check_sound();
}

#[test]
fn a_file_about_several_people_is_given_out_while_it_may_be_with_each_of_them() {
    let mut at = Shop::new(61);
    let (ada, bob) = (at.ada, at.shop.create_subject(&[]).unwrap());
    at.shop.answer(&bob, &answer("editor", Given)).unwrap();
    let (asked, others) = (own(ada, "owned"), [bob.to_string()]);
    at.shop.put_file_about(&asked, &others, "contract", &vec![7; LEN]).unwrap();
    assert_eq!(at.shop.read_file(&at.editor(), "contract").unwrap(), vec![7; LEN]);
    let read = at.read_while("contract", move |other| {
        other.answer(&bob, &answer("editor", Withdrawn)).unwrap();
    });
    assert_eq!(kind(read), ErrorKind::Denied);
    at.check_sound();
}

#[test]
fn a_file_whose_writer_was_asked_again_meanwhile_goes_on_record_by_a_decision_of_its_own() {
    let mut at = Shop::new(20);
    let ada = at.ada;
    let _ = at.meanwhile(move |other| {
        other.answer(&ada, &answer("editor", Withdrawn)).unwrap();
        other.answer(&ada, &answer("editor", Given)).unwrap();
    });
    let before = at.shop.record_count();
    at.shop.put_file(&at.editor(), "long", &vec![7; LEN]).unwrap();
    // Decided, withdrawn, agreed, decided again, put.
    assert_eq!(at.shop.record_count() - before, 5);
    at.check_sound();
}

#[test]
fn a_file_that_is_on_its_way_for_longer_than_its_lease_is_decided_again() {
    let mut at = Shop::new(21);
    let ada = at.ada;
    let clock = Arc::clone(&at.world.clock);
    at.world.store.while_sent(move || clock.advance(Duration::from_secs(400)));
    let before = at.shop.record_count();
    at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
    assert_eq!(at.shop.record_count() - before, 3);
    assert_eq!(at.shop.read_file(&own(ada, "owned"), "long").unwrap(), vec![7; LEN]);
}

#[test]
fn a_file_that_new_keys_overtake_goes_on_record_under_the_newest() {
    for (seed, class) in (30..).zip(["owned", "identifiable"]) {
        for depth in [Depth::Shallow, Depth::Deep] {
            let mut at = Shop::new(seed);
            let ada = at.ada;
            let let_in = at.meanwhile(move |other| {
                // In one of the classes nobody has written yet.
                other.rotate_subject(&ada, depth, None, &mut |_| ()).unwrap();
            });
            at.shop.put_file(&own(ada, class), "long", &vec![7; LEN]).unwrap();
            assert_eq!(let_in.load(Ordering::SeqCst), 1);
            assert_eq!(at.shop.read_file(&own(ada, class), "long").unwrap(), vec![7; LEN]);
            assert_eq!(at.world.store.file_count(), 2, "what was sealed before is gone");
            // Nothing is left under a key on its way out.
            let again = at.shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap();
            assert_eq!(again.deed.files, 2, "{class}");
            at.check_sound();
        }
    }
}

#[test]
fn the_first_files_of_a_class_that_two_send_at_a_time_are_both_read() {
    let mut at = Shop::new(40);
    let ada = at.ada;
    let _ = at.meanwhile(move |other| {
        other.put_file(&own(ada, "identifiable"), "theirs", b"18 roses").unwrap();
    });
    at.shop.put_file(&own(ada, "identifiable"), "long", &vec![7; LEN]).unwrap();
    for (name, bytes) in [("theirs", b"18 roses".to_vec()), ("long", vec![7; LEN])] {
        assert_eq!(at.shop.read_file(&own(ada, "identifiable"), name).unwrap(), bytes);
    }
    assert_eq!(at.world.store.file_count(), 3);
    at.check_sound();
}

#[test]
fn whoever_dies_over_a_file_on_its_way_leaves_nothing_and_no_file_on_record_is_missed() {
    for len in [10, LEN] {
        for calls in 0.. {
            let mut at = Shop::new(50);
            let ada = at.ada;
            at.world.store.die_after(Some(calls));
            let put = at.shop.put_file(&own(ada, "owned"), "long", &vec![7; len]);
            let is_through = at.world.store.has_room();
            at.world.store.die_after(None);
            drop(std::mem::replace(&mut at.shop, at.world.open("shop")));
            at.world.clock.advance(DAYS);
            at.shop = at.world.open("shop");
            let names = at.names();
            assert_eq!(at.world.store.file_count(), names.len(), "dead after {calls} calls");
            for name in names {
                at.shop.read_file(&own(ada, "owned"), &name).unwrap();
            }
            at.check_sound();
            if is_through {
                put.unwrap();
                break;
            }
        }
    }
}

#[test]
fn what_others_recorded_and_died_over_while_a_file_was_on_its_way_is_not_lost_when_it_is_given_up()
{
    for calls in 0.. {
        let mut at = Shop::new(55);
        let (ada, store, through) = (at.ada, Arc::clone(&at.world.store), Arc::default());
        let (recorded, is_through): (Arc<AtomicUsize>, Arc<AtomicBool>) = (Arc::default(), through);
        let (counted, came) = (Arc::clone(&recorded), Arc::clone(&is_through));
        let _ = at.meanwhile(move |other| {
            let before = other.record_count();
            store.die_after(Some(calls));
            let answered = other.answer(&ada, &answer("editor", Withdrawn));
            store.die_after(None);
            came.store(answered.is_ok(), Ordering::SeqCst);
            counted
                .store(usize::try_from(other.record_count() - before).unwrap(), Ordering::SeqCst);
            // Whoever sent it follows them, and cannot carry out what they have left.
            store.fail_once(|key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell));
        });
        at.shop.put_file(&at.editor(), "long", &vec![7; LEN]).unwrap_err();
        assert!(!at.world.store.will_fail(), "dead after {calls} calls");
        at.world.clock.advance(DAYS);
        drop(std::mem::replace(&mut at.shop, at.world.open("shop")));
        let put = at.shop.put_file(&at.editor(), "again", b"18 roses");
        let is_withdrawn = recorded.load(Ordering::SeqCst) > 0;
        assert_eq!(put.is_err(), is_withdrawn, "dead after {calls} calls");
        assert_eq!(at.world.store.file_count(), at.names().len(), "dead after {calls} calls");
        at.check_sound();
        if is_through.load(Ordering::SeqCst) {
            break;
        }
    }
}

#[test]
fn whoever_cannot_keep_others_out_again_writes_nothing() {
    let mut at = Shop::new(56);
    let stay = Arc::clone(&at.door.1);
    let let_in = at.meanwhile(move |_| stay.store(true, Ordering::SeqCst));
    let before = at.shop.record_count();
    let put = at.shop.put_file(&at.editor(), "long", &vec![7; LEN]);
    assert_eq!(kind(put), ErrorKind::Unavailable);
    assert_eq!(let_in.load(Ordering::SeqCst), 1);
    let records = at.world.open("shop").record_count();
    assert_eq!(records - before, 1, "that it was to be sent, and no more");
    // Nothing of it stays.
    at.world.clock.advance(DAYS);
    at.door.1.store(false, Ordering::SeqCst);
    drop(std::mem::replace(&mut at.shop, at.world.open("shop")));
    assert_eq!(at.world.store.file_count(), 1);
    at.check_sound();
}

#[test]
fn who_is_on_the_way_for_longer_than_anything_is_kept_for_it_sends_again() {
    let mut at = Shop::new(60);
    let (ada, clock) = (at.ada, Arc::clone(&at.world.clock));
    // Somebody else begins a file after days, and takes away what seems to be left of this one.
    let let_in = at.meanwhile(move |other| {
        clock.advance(DAYS);
        other.put_file(&own(ada, "owned"), "theirs", b"18 roses").unwrap();
    });
    at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
    assert_eq!(let_in.load(Ordering::SeqCst), 1);
    assert_eq!(at.shop.read_file(&own(ada, "owned"), "long").unwrap(), vec![7; LEN]);
    assert_eq!(at.world.store.file_count(), 3);
    at.check_sound();
}

#[test]
fn a_list_of_files_on_their_way_that_is_older_than_the_register_costs_no_file_on_record() {
    let mut at = Shop::new(65);
    let (ada, bob) = (at.ada, at.shop.create_subject(&[]).unwrap());
    let begun = cells(&at.world.store);
    at.shop.put_file(&own(bob, "owned"), "bobs", b"18 roses").unwrap();
    let others = cells(&at.world.store);
    let sent = Arc::new(Mutex::new(BTreeMap::new()));
    let (seen, store) = (Arc::clone(&sent), Arc::clone(&at.world.store));
    at.world.store.while_sent(move || *seen.lock().unwrap() = cells(&store));
    at.shop.put_file(&own(ada, "owned"), "long", &vec![7; LEN]).unwrap();
    at.shop.create_subject(&[]).unwrap();
    // What changes with files of each of them is the list. It comes to the store once more, as it was.
    let (sent, ended) = (std::mem::take(&mut *sent.lock().unwrap()), cells(&at.world.store));
    let is_list = |key: &&Key| begun.get(key) != others.get(key) && sent.get(key) != ended.get(key);
    let list: Vec<&Key> = sent.keys().filter(is_list).collect();
    assert_eq!(list.len(), 1);
    at.world.store.put_now(*list[0], sent[list[0]].clone());
    at.world.clock.advance(DAYS);
    at.shop = at.world.open("shop");
    assert_eq!(at.shop.read_file(&own(ada, "owned"), "long").unwrap(), vec![7; LEN]);
    assert_eq!(at.world.store.file_count(), 3);
    // It is not on the list any more.
    assert_ne!(cells(&at.world.store)[list[0]], sent[list[0]]);
    at.check_sound();
}

#[test]
fn whoever_writes_a_file_is_told_of_a_failure_only_if_it_is_not_on_record() {
    for len in [10, LEN] {
        let mut counts = [0, 0];
        for calls in 0.. {
            let mut at = Shop::new(66);
            at.world.store.die_after(Some(calls));
            let put = at.shop.put_file(&at.editor(), "first", &vec![7; len]);
            let is_through = at.world.store.has_room();
            at.world.store.die_after(None);
            drop(std::mem::replace(&mut at.shop, at.world.open("shop")));
            let read = at.shop.read_file(&own(at.ada, "owned"), "first").unwrap();
            assert_eq!(put.is_ok(), read == vec![7; len], "dead after {calls} calls");
            counts[usize::from(put.is_ok())] += 1;
            at.check_sound();
            if is_through {
                break;
            }
        }
        assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    }
}

#[test]
fn whoever_removes_or_renames_a_file_is_told_of_a_failure_only_if_it_is_not_on_record() {
    type Deed = fn(&mut Custodian, SubjectId) -> Result<(), Error>;
    let deeds: [(&str, Deed); 4] = [
        ("first", |shop, ada| shop.remove_file(&own(ada, "owned"), "first")),
        ("first", |shop, ada| shop.rename_file(&own(ada, "owned"), "first", "moved")),
        ("first", |shop, ada| shop.rename_file(&own(ada, "owned"), "first", "second")),
        ("joint", |shop, ada| shop.remove_file(&own(ada, "owned"), "joint")),
    ];
    for (seed, (name, deed)) in (100..).zip(deeds) {
        let mut counts = [0, 0];
        for calls in 0.. {
            let mut at = Shop::new(seed);
            let (ada, bob) = (at.ada, at.shop.create_subject(&[]).unwrap().to_string());
            at.shop.put_file(&own(ada, "owned"), "second", b"18 roses").unwrap();
            at.shop.put_file_about(&own(ada, "owned"), &[bob], "joint", b"19 roses").unwrap();
            at.world.store.die_after(Some(calls));
            let done = deed(&mut at.shop, ada);
            let is_through = at.world.store.has_room();
            at.world.store.die_after(None);
            drop(std::mem::replace(&mut at.shop, at.world.open("shop")));
            let is_gone = !at.names().contains(&name.to_owned());
            assert_eq!(done.is_ok(), is_gone, "{seed}, dead after {calls} calls");
            counts[usize::from(done.is_ok())] += 1;
            at.check_sound();
            if is_through {
                break;
            }
        }
        assert!(counts.iter().all(|count| *count > 1), "{seed}: {counts:?}");
    }
}

#[test]
fn what_is_refused_before_it_is_sent_is_not_sent() {
    let mut at = Shop::new(70);
    let ada = at.ada;
    at.shop.place_hold(&ada, "litigation").unwrap();
    let put = at.shop.put_file(&own(ada, "owned"), "first", &vec![7; LEN]);
    assert_eq!(kind(put), ErrorKind::Held);
    let is_file =
        |(key, _): &&(Key, _)| matches!(key, Key::Policy(key) if key.shelf == Shelf::Object);
    assert_eq!(at.world.store.ever.lock().unwrap().iter().filter(is_file).count(), 1);
}

#[test]
fn a_file_whose_record_came_to_a_store_that_was_in_doubt_is_on_record_once_and_there() {
    for len in [10, LEN] {
        let mut at = Shop::new(80);
        let (ada, store) = (at.ada, Arc::clone(&at.world.store));
        at.world.store.while_sent(move || store.is_in_doubt.store(true, Ordering::SeqCst));
        let before = at.shop.record_count();
        at.shop.put_file(&own(ada, "owned"), "long", &vec![7; len]).unwrap();
        assert_eq!(at.shop.record_count() - before, 2);
        assert_eq!(at.shop.read_file(&own(ada, "owned"), "long").unwrap(), vec![7; len]);
        assert_eq!(at.world.store.file_count(), 2);
        at.check_sound();
    }
}

#[test]
fn a_file_about_several_people_is_on_its_way_as_any_other() {
    type Deed = fn(&mut Custodian, SubjectId);
    let deeds: [(&str, Deed, Option<ErrorKind>); 4] = [
        (
            "writes",
            |other, _| {
                other.create_subject(&[]).unwrap();
            },
            None,
        ),
        (
            "rotates",
            |other, bob| {
                drop(other.rotate_subject(&bob, Depth::Deep, None, &mut |_| ()).unwrap());
            },
            None,
        ),
        ("erases", |other, bob| drop(other.erase(&bob).unwrap()), Some(ErrorKind::Denied)),
        ("restricts", |other, bob| other.restrict(&bob, true).unwrap(), Some(ErrorKind::Denied)),
    ];
    for (seed, (what, deed, refused)) in (90..).zip(deeds) {
        let mut at = Shop::new(seed);
        let (ada, bob) = (at.ada, at.shop.create_subject(&[]).unwrap());
        let let_in = at.meanwhile(move |other| deed(other, bob));
        let others = [bob.to_string()];
        let put = at.shop.put_file_about(&own(ada, "owned"), &others, "both", &vec![7; LEN]);
        assert_eq!(let_in.load(Ordering::SeqCst), 1, "{what}");
        match refused {
            None => {
                put.unwrap();
                for who in [ada, bob] {
                    let read = at.shop.read_file(&own(who, "owned"), "both").unwrap();
                    assert_eq!(read, vec![7; LEN], "{what}");
                }
                assert_eq!(at.world.store.file_count(), 2, "{what}");
            }
            Some(refused) => {
                assert_eq!(kind(put), refused, "{what}");
                assert_eq!(at.world.store.file_count(), 1, "{what}");
            }
        }
        at.check_sound();
    }
}
