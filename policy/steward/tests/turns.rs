//! Long work stands aside between its records: whatever others write meanwhile is in force at once, and neither is lost.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{World, answer, own, registered};
use strongroom_host::clock::Clock;
use strongroom_records::activity::Basis;
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{
    Carry, Custodian, Depth, Error, ErrorKind, NewSubject, Services, Stewardship, SubjectLine,
    Target, Turnstile,
};
use strongroom_store::{Key, Shelf};

/// Somebody else, who waits and does one thing at their turn of a number.
struct Others {
    other: Arc<Mutex<Custodian>>,
    turns: Arc<AtomicUsize>,
    place: usize,
    deed: Deed,
    people: People,
}

type People = [SubjectId; 3];
type Deed = fn(&mut Custodian, &People);
type Work = fn(&mut Custodian, &People) -> Result<(), Error>;

impl Turnstile for Others {
    fn is_due(&self) -> bool {
        true
    }

    fn leave(&mut self) {
        if self.turns.fetch_add(1, Ordering::SeqCst) == self.place {
            let mut other = self.other.lock().unwrap();
            other.follow().unwrap();
            other.catch_up().unwrap();
            (self.deed)(&mut other, &self.people);
        }
    }

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        Ok(())
    }
}

/// Ada, who agreed; her twin; bob. Each has files in both classes, old ones and new ones.
fn shop(world: &World) -> (Custodian, People) {
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable", "owned"]);
    shop.set_retention("owned", Some(30)).unwrap();
    let people = [(); 3].map(|()| shop.create_subject(&[]).unwrap());
    let put = |shop: &mut Custodian, name: &str| {
        for subject in people {
            for class in ["identifiable", "owned"] {
                shop.put_file(&own(subject, class), name, b"17 roses").unwrap();
            }
        }
    };
    put(&mut shop, "old");
    world.clock.advance(std::time::Duration::from_secs(40 * 86_400));
    put(&mut shop, "new");
    shop.answer(&people[0], &answer("newsletter", ConsentStatus::Given)).unwrap();
    (shop, people)
}

fn line(shop: &Custodian, subject: &SubjectId) -> SubjectLine {
    shop.subject(subject).unwrap()
}

fn status(shop: &Custodian, subject: &SubjectId) -> ConsentStatus {
    shop.consents(subject).unwrap()[0].1
}

const WORKS: [(&str, Work); 5] = [
    ("rotate everybody", |shop, _| shop.rotate_everybody(Depth::Deep, &mut |_| ()).map(drop)),
    ("rotate ada", |shop, [ada, ..]| {
        shop.rotate_subject(ada, Depth::Deep, None, &mut |_| ()).map(drop)
    }),
    ("retention", |shop, _| shop.retire(Carry::Out).map(drop)),
    ("the register's key", |shop, _| shop.rotate_register(&mut |_| ()).map(drop)),
    ("merge", |shop, [ada, twin, _]| shop.merge_subjects(ada, twin).map(drop)),
];

fn withdraws(shop: &mut Custodian, [ada, ..]: &People) {
    shop.answer(ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
}

fn writes(shop: &mut Custodian, people: &People) {
    shop.declare_class("health", false).unwrap();
    for subject in people {
        shop.put_file(&own(*subject, "health"), "late", b"a file").unwrap();
        shop.put_file(&own(*subject, "owned"), "late", b"a file").unwrap();
    }
}

fn holds(shop: &mut Custodian, people: &People) {
    for subject in people {
        shop.place_hold(subject, "litigation").unwrap();
    }
}

fn erases(shop: &mut Custodian, [_, _, bob]: &People) {
    shop.erase(bob).unwrap();
}

fn rotates(shop: &mut Custodian, _: &People) {
    shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap();
}

/// Works while another does one thing at a turn; whether there was such a turn. Then looks at both.
fn together(seed: u64, work: (&str, Work), place: usize, deed: (&str, Deed)) -> bool {
    let world = World::new(seed);
    let (mut shop, people) = shop(&world);
    let [ada, twin, bob] = people;
    let other = Arc::new(Mutex::new(world.open("shop")));
    let turns = Arc::new(AtomicUsize::new(0));
    let others = Others { other, turns: Arc::clone(&turns), place, deed: deed.1, people };
    shop.follow().unwrap();
    shop.set_turnstile(Box::new(others));
    let what = format!("{}, at turn {place} somebody {}", work.0, deed.0);
    (work.1)(&mut shop, &people).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(shop);
    let mut shop = Stewardship::open(world.services.clone())
        .unwrap()
        .application("shop", world.custody())
        .unwrap();
    let is_merged = line(&shop, &twin).state == SubjectState::Erased;
    assert_eq!(is_merged, work.0 == "merge", "{what}");
    let has_turn = turns.load(Ordering::SeqCst) > place;
    let is = |name: &str| has_turn && deed.0 == name;
    let expected = if is("withdraws") { ConsentStatus::Withdrawn } else { ConsentStatus::Given };
    assert_eq!(status(&shop, &ada), expected, "{what}");
    let expected = if is("erases") { SubjectState::Erased } else { SubjectState::Active };
    assert_eq!(line(&shop, &bob).state, expected, "{what}");
    for subject in &people {
        if line(&shop, subject).state == SubjectState::Erased {
            continue;
        }
        let mut read = |class: &str, name: &str| {
            let read = shop.read_file(&own(*subject, class), name);
            read.map(|bytes| bytes.len()).map_err(|error| error.kind())
        };
        for class in ["identifiable", "owned"] {
            assert_eq!(read(class, "new"), Ok(8), "{what}");
        }
        assert_eq!(read("identifiable", "old"), Ok(8), "{what}");
        let is_gone = work.0 == "retention" && !is("holds");
        if is_gone || work.0 != "retention" {
            let expected = if is_gone { Err(ErrorKind::NotFound) } else { Ok(8) };
            assert_eq!(read("owned", "old"), expected, "{what}");
        }
        if is("writes") {
            assert_eq!((read("health", "late"), read("owned", "late")), (Ok(6), Ok(6)), "{what}");
        }
        assert_eq!(line(&shop, subject).holds.is_empty(), !is("holds"), "{what}");
    }
    if is_merged && is("writes") {
        let mut names = shop.files(&own(ada, "health")).unwrap();
        names.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(names.len(), 2, "{what}: nothing of the one is lost");
    }
    assert!(shop.verify().unwrap().findings.is_empty(), "{what}");
    shop.rotate().unwrap();
    let application = shop.listed().application;
    let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
    assert_eq!(left.len(), 1, "{what}: application keys");
    has_turn
}

#[test]
fn whatever_others_write_between_two_records_of_something_long_is_in_force_and_neither_is_lost() {
    const DEEDS: [(&str, Deed); 5] = [
        ("withdraws", withdraws),
        ("writes", writes),
        ("holds", holds),
        ("erases", erases),
        ("rotates", rotates),
    ];
    let is_long = std::env::var_os("STRONGROOM_LONG").is_some();
    for (number, work) in WORKS.into_iter().enumerate() {
        let mut place = 0;
        loop {
            let mut has_turn = false;
            for (which, deed) in DEEDS.into_iter().enumerate() {
                // One of them at some turns; all of them at each in the long form.
                if is_long || which == (place + number) % DEEDS.len() {
                    has_turn = together(90 + number as u64, work, place, deed);
                }
            }
            if !has_turn {
                break;
            }
            place += if is_long { 1 } else { 3 };
        }
        assert!(place >= 2, "{}: others had {place} turns", work.0);
    }
}

/// Whether others are kept out; what they do as soon as they are not.
struct Door {
    is_shut: Arc<AtomicBool>,
    on_leave: Option<Box<dyn FnOnce() + Send>>,
}

impl Turnstile for Door {
    fn is_due(&self) -> bool {
        false
    }

    fn leave(&mut self) {
        self.is_shut.store(false, Ordering::SeqCst);
    }

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        if let Some(act) = self.on_leave.take() {
            act();
        }
        self.is_shut.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_page_of_a_job_is_looked_for_while_others_write_and_for_a_while_only() {
    let world = World::new(99);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let new = |_| NewSubject { once: None, lookups: Vec::new(), profile: None };
    let people = shop.create_subjects(&(0..200).map(new).collect::<Vec<_>>()).unwrap();
    for seen in [&people[3], &people[30], &people[133]] {
        shop.answer(seen, &answer("newsletter", ConsentStatus::Given)).unwrap();
    }
    // One of them withdraws after they were found.
    let other = Arc::new(Mutex::new(world.open("shop")));
    let gone = people[30];
    let withdraws = move || {
        let mut other = other.lock().unwrap();
        other.answer(&gone, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    };
    shop.follow().unwrap();
    let is_shut = Arc::new(AtomicBool::new(true));
    let on_leave = Some(Box::new(withdraws) as Box<dyn FnOnce() + Send>);
    shop.set_turnstile(Box::new(Door { is_shut: Arc::clone(&is_shut), on_leave }));
    // Cells are far away, and counted: while others wait, and in all.
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (counted, clock, shut) =
        (Arc::clone(&counts), Arc::clone(&world.clock), Arc::clone(&is_shut));
    world.store.fail_once(move |key| {
        if matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell) {
            clock.advance(std::time::Duration::from_millis(50));
            counted[0].fetch_add(usize::from(shut.load(Ordering::SeqCst)), Ordering::SeqCst);
            counted[1].fetch_add(1, Ordering::SeqCst);
        }
        false
    });
    let (mut after, mut calls, before) = (None, 0, shop.record_count());
    let page = loop {
        counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
        is_shut.store(true, Ordering::SeqCst);
        let page = shop.scope_after("newsletter", after, 10).unwrap();
        let [kept_out, all] = [0, 1].map(|which| counts[which].load(Ordering::SeqCst));
        calls += 1;
        assert!(all < 250 && (calls == 1 || kept_out < 20), "{kept_out} of {all}");
        if !page.shown.is_empty() {
            break page;
        }
        assert_eq!(shop.record_count(), before, "nothing is shown");
        after = Some(page.next.unwrap());
    };
    assert!(calls > 2, "{calls}");
    assert_eq!((page.shown.len(), page.next), (2, None));
    // The withdrawal, and the page.
    assert_eq!(shop.record_count(), before + 2);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn who_is_due_is_looked_for_while_others_write_and_a_page_costs_what_it_shows() {
    let world = World::new(111);
    let mut shop = world.create("shop");
    let people = shop.create_subjects(&vec![NewSubject::default(); 200]).unwrap();
    shop.set_idle_rule(Some((100, 30))).unwrap();
    world.clock.advance(std::time::Duration::from_secs(80 * 86_400));
    let [is_shut, is_far] = [true, false].map(|is| Arc::new(AtomicBool::new(is)));
    // Reads of cells, while others wait, and in all.
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    shop.follow().unwrap();
    shop.set_turnstile(Box::new(Door { is_shut: Arc::clone(&is_shut), on_leave: None }));
    let (clock, counted, far) =
        (Arc::clone(&world.clock), Arc::clone(&counts), Arc::clone(&is_far));
    world.store.fail_once(move |key| {
        if matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell) {
            let wait = if far.load(Ordering::SeqCst) { 50 } else { 0 };
            clock.advance(std::time::Duration::from_millis(wait));
            counted[0].fetch_add(usize::from(is_shut.load(Ordering::SeqCst)), Ordering::SeqCst);
            counted[1].fetch_add(1, Ordering::SeqCst);
        }
        false
    });
    let count = |shop: &mut Custodian, from, count| {
        counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
        let page = shop.idle_subjects_from(from, count).unwrap();
        (page, counts[0].load(Ordering::SeqCst), counts[1].load(Ordering::SeqCst))
    };
    let (page, kept_out, all) = count(&mut shop, 0, 10);
    assert_eq!((page.lines.len(), page.next), (10, Some(10)));
    assert!(kept_out < 10 && all < 40, "{kept_out} of {all}");
    // Where cells are far away a page ends after a while, and the next one goes on.
    is_far.store(true, Ordering::SeqCst);
    let (mut from, mut found, mut calls) = (Some(10), page.lines, 0);
    while let Some(place) = from {
        let (page, kept_out, all) = count(&mut shop, place, 1000);
        assert!(kept_out < 10 && all < 100, "{kept_out} of {all}");
        found.extend(page.lines);
        (from, calls) = (page.next, calls + 1);
    }
    assert!(calls > 2, "{calls}");
    assert_eq!(found.iter().map(|line| line.subject).collect::<Vec<_>>(), people);
    assert_eq!(shop.idle_subjects().unwrap().lines, found);
}

#[test]
fn a_register_is_verified_while_others_write_and_what_is_damaged_is_found() {
    let world = World::new(100);
    let (mut shop, [ada, _, bob]) = shop(&world);
    for _ in 0..100 {
        shop.find_subjects("name", "nobody").unwrap();
    }
    let other = Arc::new(Mutex::new(world.open("shop")));
    shop.follow().unwrap();
    let is_shut = Arc::new(AtomicBool::new(true));
    let writes = move || {
        let mut other = other.lock().unwrap();
        other.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
        other.erase(&bob).unwrap();
        other.create_subject(&[]).unwrap();
    };
    let on_leave = Some(Box::new(writes) as Box<dyn FnOnce() + Send>);
    shop.set_turnstile(Box::new(Door { is_shut: Arc::clone(&is_shut), on_leave }));
    let kept_out = Arc::new(AtomicUsize::new(0));
    let (counted, shut) = (Arc::clone(&kept_out), Arc::clone(&is_shut));
    world.store.fail_once(move |key| {
        let is_record = matches!(key, Key::Policy(key) if key.shelf == Shelf::Log);
        counted.fetch_add(usize::from(is_record && shut.load(Ordering::SeqCst)), Ordering::SeqCst);
        false
    });
    let verified = shop.verify_beside_others(&mut |_| ()).unwrap();
    assert_eq!((verified.findings, verified.records), (vec![], shop.record_count()));
    let read = kept_out.load(Ordering::SeqCst) as u64;
    assert!(read < shop.record_count() / 2, "{read} of {}", shop.record_count());
    // What nobody recorded is found all the same.
    let is_cell = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
    let (key, bytes) = world.store.live().into_iter().find(|(key, _)| is_cell(key)).unwrap();
    let mut damaged = bytes.to_vec();
    damaged[20] ^= 1;
    world.store.put_now(key, damaged.into());
    let findings = shop.verify_beside_others(&mut |_| ()).unwrap().findings;
    let what = "a cell of the register is not the one that was recorded";
    assert_eq!(findings.iter().filter(|found| found.what == what).count(), 1);
}

#[test]
fn what_is_on_record_about_somebody_is_read_while_others_write() {
    type Read = fn(&mut Custodian, &SubjectId) -> Result<u64, Error>;
    const READS: [(&str, Read); 3] = [
        ("report", |shop, ada| {
            let report = shop.report(ada)?;
            assert!(report.holds());
            Ok(report.last_number)
        }),
        ("export", |shop, ada| Ok(shop.export(ada, &mut Nowhere)?.deed.entries)),
        ("history", |shop, ada| Ok(shop.consent_history(ada)?.len() as u64)),
    ];
    for (name, read) in READS {
        let world = World::new(102);
        let (mut shop, [ada, _, bob]) = shop(&world);
        for _ in 0..100 {
            shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
        }
        let before = read(&mut shop, &ada).unwrap();
        // Once more, with somebody who waits: while that one is kept out, next to nothing is read.
        let other = Arc::new(Mutex::new(world.open("shop")));
        shop.follow().unwrap();
        let is_shut = Arc::new(AtomicBool::new(true));
        let writer = Arc::clone(&other);
        let writes = move || {
            let mut other = writer.lock().unwrap();
            other.follow().unwrap();
            other.catch_up().unwrap();
            other.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
            other.erase(&bob).unwrap();
        };
        let on_leave = Some(Box::new(writes) as Box<dyn FnOnce() + Send>);
        shop.set_turnstile(Box::new(Door { is_shut: Arc::clone(&is_shut), on_leave }));
        let kept_out = Arc::new(AtomicUsize::new(0));
        let (counted, shut) = (Arc::clone(&kept_out), Arc::clone(&is_shut));
        world.store.fail_once(move |key| {
            let is_read =
                matches!(key, Key::Policy(key) if matches!(key.shelf, Shelf::Log | Shelf::Tile));
            counted
                .fetch_add(usize::from(is_read && shut.load(Ordering::SeqCst)), Ordering::SeqCst);
            false
        });
        let during = read(&mut shop, &ada).unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = kept_out.load(Ordering::SeqCst);
        assert!(count < 50, "{name}: {count} of {before} entries");
        // The export before is on record as well: each decision, and that it was done.
        let own = if name == "export" { 5 } else { 0 };
        assert!((before..=before + own).contains(&during), "{name}: {during} after {before}");
        assert!(read(&mut shop, &ada).unwrap() > during, "{name}");
        assert_eq!(status(&shop, &ada), ConsentStatus::Given, "{name}");
        assert_eq!(line(&shop, &bob).state, SubjectState::Erased, "{name}");
        assert!(shop.verify().unwrap().findings.is_empty(), "{name}");
    }
}

/// Files are replaced, people go and come while everybody's files are looked at: none of that is damage, and what is stays told.
#[test]
fn what_others_take_away_while_files_are_looked_at_is_no_damage() {
    let world = World::new(101);
    let (mut shop, [ada, twin, bob]) = shop(&world);
    let is_object = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Object);
    let theirs = shop.create_subject(&[]).unwrap();
    let before = world.store.live();
    shop.put_file(&own(theirs, "owned"), "order", b"17 roses").unwrap();
    let is_lost = |key: &Key| is_object(key) && !before.contains_key(key);
    let lost = world.store.live().into_keys().find(is_lost).unwrap();
    let mut other = world.open("shop");
    strongroom_store::now(strongroom_store::Store::delete(&world.store.inner, lost)).unwrap();
    shop.follow().unwrap();
    let is_shut = Arc::new(AtomicBool::new(true));
    shop.set_turnstile(Box::new(Door { is_shut: Arc::clone(&is_shut), on_leave: None }));
    let mut looks = 0;
    let verified = shop.verify_beside_others(&mut |looked| {
        looks += 1;
        assert!(looked.files > 0 && !is_shut.load(Ordering::SeqCst), "others are kept out");
        match looks {
            // Ada has two files in each class, and one of the first was looked at.
            1 => ["new", "old"].into_iter().for_each(|name| {
                other.put_file(&own(ada, "identifiable"), name, b"18 roses").unwrap();
            }),
            2 => drop(other.erase(&bob).unwrap()),
            3 => drop(other.rotate_subject(&twin, Depth::Deep, None, &mut |_| ()).unwrap()),
            4 => drop(other.create_subject(&[]).unwrap()),
            _ => {}
        }
    });
    let verified = verified.unwrap();
    assert!(looks > 8, "{looks}");
    let [found] = &verified.findings[..] else { panic!("{:?}", verified.findings) };
    let expected = ("a subject's file is missing", Some(line(&shop, &theirs).pseudonym));
    assert_eq!((found.what, found.subject), expected);
    // Four of ada's and four of her twin's, and the lost one; who came meanwhile is not waited for.
    assert_eq!((verified.looked.subjects, verified.looked.files), (4, 9));
}

/// So many that they are verified in rounds while more come: a cell that one of them wrote is compared with the store all the
/// same.
#[test]
fn what_is_damaged_of_many_records_that_others_write_meanwhile_is_found() {
    let world = World::new(107);
    let (mut shop, _) = shop(&world);
    let mut other = world.open("shop");
    shop.follow().unwrap();
    let is_cell = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
    let is_shut = Arc::new(AtomicBool::new(true));
    shop.set_turnstile(Box::new(Door { is_shut, on_leave: None }));
    let mut looks = 0;
    let verified = shop.verify_beside_others(&mut |_| {
        looks += 1;
        if looks > 1 {
            return;
        }
        let before = world.store.live();
        other.create_subject(&[]).unwrap();
        let is_new = |key: &&Key| is_cell(key) && !before.contains_key(*key);
        let made = world.store.live();
        let (key, bytes) = made.iter().find(|(key, _)| is_new(key)).unwrap();
        for _ in 0..100 {
            other.find_subjects("name", "nobody").unwrap();
        }
        let mut damaged = bytes.to_vec();
        damaged[20] ^= 1;
        world.store.put_now(*key, damaged.into());
    });
    let what = "a cell of the register is not the one that was recorded";
    let findings = verified.unwrap().findings;
    assert_eq!(findings.iter().map(|found| found.what).collect::<Vec<_>>(), [what]);
}

/// Has the application disabled the first time that it stands aside.
struct Stop {
    services: Services,
    has_stopped: bool,
}

impl Turnstile for Stop {
    fn is_due(&self) -> bool {
        true
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.has_stopped, true) {
            let mut list = Stewardship::open(self.services.clone()).unwrap();
            list.set_state("shop", ApplicationState::Disabled).unwrap();
        }
    }

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        Ok(())
    }
}

struct Nowhere;

impl Target for Nowhere {
    fn write(&mut self, _: &str, _: &[u8]) -> strongroom_steward::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_under_way_when_an_application_is_disabled_stops_and_goes_on_when_asked_for_again() {
    let export: (&str, Work) =
        ("export", |shop, [ada, ..]| shop.export(ada, &mut Nowhere).map(drop));
    for (name, work) in WORKS.into_iter().chain([export]) {
        // Whoever asks for it while it is disabled knows that, and has it done.
        for again in [ApplicationState::Active, ApplicationState::Disabled] {
            let world = World::new(108);
            let (mut shop, people) = shop(&world);
            let services = world.services.clone();
            shop.set_turnstile(Box::new(Stop { services, has_stopped: false }));
            let stopped = work(&mut shop, &people).unwrap_err();
            assert_eq!(stopped.kind(), ErrorKind::Denied, "{name}");
            assert!(stopped.to_string().contains("disabled meanwhile"), "{name}: {stopped}");
            drop(shop);
            world.stewardship().set_state("shop", again).unwrap();
            let mut shop = world.open("shop");
            shop.set_turnstile(Box::new(Idle));
            work(&mut shop, &people).unwrap();
            assert!(shop.rotating_since().unwrap().is_none(), "{name}");
            assert!(shop.verify().unwrap().findings.is_empty(), "{name}");
        }
    }
}

/// Stands aside for nothing.
struct Idle;

impl Turnstile for Idle {
    fn is_due(&self) -> bool {
        true
    }

    fn leave(&mut self) {}

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        Ok(())
    }
}

/// Stands aside, and finds no way back.
struct NoWayBack;

impl Turnstile for NoWayBack {
    fn is_due(&self) -> bool {
        true
    }

    fn leave(&mut self) {}

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "another command works on the applications"))
    }
}

/// Somebody who does one thing at a turn of what the first one does.
fn meanwhile(world: &World, shop: &mut Custodian, people: People, place: usize, deed: Deed) {
    let other = Arc::new(Mutex::new(world.open("shop")));
    shop.follow().unwrap();
    let turns = Arc::default();
    shop.set_turnstile(Box::new(Others { other, turns, place, deed, people }));
}

#[test]
fn a_rule_that_is_taken_back_while_retention_works_is_heeded() {
    let world = World::new(104);
    let (mut shop, people) = shop(&world);
    shop.set_retention("identifiable", Some(30)).unwrap();
    // While ada's class before that one is sealed anew.
    meanwhile(&world, &mut shop, people, 0, |other, _| other.set_retention("owned", None).unwrap());
    assert_eq!(shop.retire(Carry::Out).unwrap().files, 3);
    for subject in people {
        assert_eq!(shop.read_file(&own(subject, "owned"), "old").unwrap(), b"17 roses");
    }
}

/// Between the erasures of one sweep others are let in: what they say of the next one counts.
#[test]
fn who_is_held_or_used_while_retention_erases_others_stays() {
    let deeds: [Deed; 3] = [
        |other, [_, twin, _]| other.place_hold(twin, "litigation").unwrap(),
        |other, [_, twin, _]| {
            drop(other.put_file(&own(*twin, "owned"), "late", b"a file").unwrap())
        },
        |other, _| other.set_idle_rule(None).unwrap(),
    ];
    for (place, deed) in (0..2).flat_map(|place| deeds.map(|deed| (place, deed))) {
        let world = World::new(106);
        let (mut shop, people) = shop(&world);
        shop.set_retention("owned", None).unwrap();
        shop.set_idle_rule(Some((100, 30))).unwrap();
        world.clock.advance(std::time::Duration::from_secs(80 * 86_400));
        assert_eq!(shop.retire(Carry::Out).unwrap().idle.noticed, 3);
        world.clock.advance(std::time::Duration::from_secs(30 * 86_400));
        meanwhile(&world, &mut shop, people, place, deed);
        let erased = shop.retire(Carry::Out).unwrap().idle.erased;
        let twin = people[1];
        let spared = line(&shop, &twin).state == SubjectState::Active;
        assert_eq!(spared, !erased.contains(&twin), "turn {place}");
        assert!(spared, "turn {place}");
        assert!(!erased.is_empty() || place == 0);
        assert!(shop.verify().unwrap().findings.is_empty());
    }
}

#[test]
fn a_deep_rotation_is_not_made_shallow_by_one_that_was_interrupted() {
    let world = World::new(105);
    let (mut shop, _) = shop(&world);
    shop.set_turnstile(Box::new(NoWayBack));
    let began = world.clock.now_ns();
    shop.rotate_everybody(Depth::Shallow, &mut |_| ()).unwrap_err();
    drop(shop);
    world.clock.advance(std::time::Duration::from_secs(60));
    let mut shop = world.open("shop");
    assert_eq!(shop.rotating_since().unwrap(), Some(began));
    let done = shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap().done;
    assert_eq!((done.files, done.subjects), (12, 3));
    assert!(shop.rotating_since().unwrap().is_none());
}

#[test]
fn who_ends_a_rotation_leaves_a_deeper_one_that_began_meanwhile_to_go_on() {
    let world = World::new(106);
    let (mut shop, people) = shop(&world);
    meanwhile(&world, &mut shop, people, 0, |other, _| {
        other.set_turnstile(Box::new(NoWayBack));
        other.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap_err();
    });
    shop.rotate_everybody(Depth::Shallow, &mut |_| ()).unwrap();
    assert!(shop.rotating_since().unwrap().is_some());
    drop(shop);
    let mut shop = world.open("shop");
    shop.rotate_everybody(Depth::Shallow, &mut |_| ()).unwrap();
    assert!(shop.rotating_since().unwrap().is_none());
    assert!(shop.verify().unwrap().findings.is_empty());
    for subject in people {
        assert_eq!(shop.read_file(&own(subject, "owned"), "new").unwrap(), b"17 roses");
    }
}
