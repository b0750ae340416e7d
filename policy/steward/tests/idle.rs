//! People whom nobody has any use for: notice is given, and then they are erased, unless somebody has a use for them or a hold
//! keeps them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "idle/interrupted.rs"]
mod interrupted;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{World, Written, answer, by, kind, own, registered};
use strongroom_host::clock::Clock;
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::log::Kind;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{
    Carry, Custodian, Depth, ErrorKind, IdleLine, Kept, NewSubject, Swept, verify_receipt,
};
use strongroom_store::{Key, Shelf};

const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Kept for 100 days after the last use, with notice on the last 30 of them.
const RULE: Option<(u32, u32)> = Some((100, 30));

fn days(world: &World, days: u64) {
    world.clock.advance(Duration::from_secs(days * 86_400));
}

fn shop(world: &World) -> Custodian {
    let mut shop = world.create("shop");
    shop.set_idle_rule(RULE).unwrap();
    shop
}

fn person(shop: &mut Custodian) -> SubjectId {
    let subject = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(subject, "owned"), "order.txt", b"17 roses").unwrap();
    subject
}

fn swept(shop: &mut Custodian) -> Swept {
    shop.retire(Carry::Out).unwrap().idle
}

fn due(shop: &mut Custodian) -> Vec<IdleLine> {
    let page = shop.idle_subjects().unwrap();
    assert_eq!((page.damaged, page.next), (vec![], None));
    page.lines
}

fn state(shop: &Custodian, subject: &SubjectId) -> SubjectState {
    shop.subject(subject).unwrap().state
}

fn kinds(shop: &mut Custodian, subject: &SubjectId) -> Vec<Kind> {
    let report = shop.report(subject).unwrap();
    assert!(report.holds());
    report.lines.iter().map(|line| line.entry.kind).collect()
}

#[test]
fn whoever_is_not_used_is_told_of_and_then_erased_by_retention() {
    let world = World::new(901);
    let mut shop = shop(&world);
    let (ada, bob) = (person(&mut shop), person(&mut shop));
    let used = world.clock.now_ns();
    days(&world, 69);
    assert_eq!((swept(&mut shop), due(&mut shop)), (Swept::default(), vec![]));
    days(&world, 2);
    // Nothing is on record yet: they are listed, and a dry run tells what a sweep would do.
    let line = |subject, noticed, ends| IdleLine {
        subject,
        used,
        noticed,
        ends,
        kept: None,
        joint_files: 0,
        is_begun: false,
    };
    assert_eq!(due(&mut shop), [line(ada, None, None), line(bob, None, None)]);
    let told = Swept { noticed: 2, ..Swept::default() };
    assert_eq!(shop.retire(Carry::Dry).unwrap().idle, told);
    assert_eq!(shop.retire(Carry::Dry).unwrap().idle, told);
    assert_eq!(swept(&mut shop), told);
    let noticed = world.clock.now_ns();
    let ends = Some(noticed + 30 * DAY_NS);
    let both = [line(ada, Some(noticed), ends), line(bob, Some(noticed), ends)];
    assert_eq!(due(&mut shop), both);
    assert_eq!(swept(&mut shop), Swept { running: 2, ..Swept::default() });
    days(&world, 29);
    assert_eq!(swept(&mut shop).erased, []);
    shop.read_file(&own(bob, "owned"), "order.txt").unwrap();
    assert_eq!(due(&mut shop), both[..1]);
    days(&world, 1);
    let gone = Swept { erased: vec![ada], ..Swept::default() };
    assert_eq!(shop.retire(Carry::Dry).unwrap().idle, gone);
    assert_eq!(state(&shop, &ada), SubjectState::Active);
    assert_eq!(swept(&mut shop), gone);
    assert_eq!(
        (state(&shop, &ada), state(&shop, &bob)),
        (SubjectState::Erased, SubjectState::Active)
    );
    assert_eq!(swept(&mut shop), Swept::default());
    let receipt = shop.erase(&ada).unwrap().receipt;
    assert!(verify_receipt(&receipt, &world.services.organisation.now()).is_ok());
    let kinds = kinds(&mut shop, &ada);
    let end = [Kind::Noticed, Kind::ErasureReceived, Kind::ErasureKeys, Kind::ErasureClosed];
    assert_eq!(kinds[kinds.len() - 4..], end);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn nobody_is_erased_without_a_whole_notice_under_the_rule_in_force() {
    let world = World::new(902);
    let mut shop = world.create("shop");
    let ada = person(&mut shop);
    // Long idle when the rule comes, and nobody sweeps for long.
    days(&world, 1000);
    shop.set_idle_rule(RULE).unwrap();
    days(&world, 200);
    assert_eq!(swept(&mut shop).noticed, 1);
    days(&world, 29);
    // The same rule again changes nothing, another one begins anew.
    shop.set_idle_rule(RULE).unwrap();
    assert_eq!(swept(&mut shop).running, 1);
    shop.set_idle_rule(Some((100, 31))).unwrap();
    days(&world, 1);
    assert_eq!(swept(&mut shop), Swept { noticed: 1, ..Swept::default() });
    days(&world, 30);
    assert_eq!(swept(&mut shop).erased, []);
    // Taken back and set again, it begins anew as well.
    shop.set_idle_rule(None).unwrap();
    assert_eq!((swept(&mut shop), due(&mut shop)), (Swept::default(), vec![]));
    days(&world, 1000);
    shop.set_idle_rule(Some((100, 31))).unwrap();
    assert_eq!(swept(&mut shop), Swept { noticed: 1, ..Swept::default() });
    // A rule that keeps longer keeps.
    shop.set_idle_rule(Some((10_000, 31))).unwrap();
    days(&world, 100);
    assert_eq!((swept(&mut shop), due(&mut shop)), (Swept::default(), vec![]));
    shop.set_idle_rule(RULE).unwrap();
    assert_eq!(swept(&mut shop).noticed, 1);
    days(&world, 30);
    assert_eq!(swept(&mut shop).erased, [ada]);
    // Who comes later, where everybody else is erased, has the same notice.
    person(&mut shop);
    days(&world, 70);
    assert_eq!(swept(&mut shop).noticed, 1);
    for bad in [(0, 0), (100, 0), (100, 101), (40_000, 30)] {
        assert_eq!(kind(shop.set_idle_rule(Some(bad))), ErrorKind::Invalid, "{bad:?}");
    }
}

type Deed = fn(&mut Custodian, SubjectId);

#[test]
fn what_uses_somebody_counts_and_nothing_else_does() {
    let uses: [(&str, Deed); 7] = [
        ("reads", |shop, ada| {
            shop.read_file(&own(ada, "owned"), "order.txt").unwrap();
        }),
        ("writes", |shop, ada| {
            shop.put_file(&own(ada, "owned"), "b.txt", b"18 roses").unwrap();
        }),
        ("removes", |shop, ada| shop.remove_file(&own(ada, "owned"), "order.txt").unwrap()),
        ("says yes", |shop, ada| {
            shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
        }),
        ("is exported", |shop, ada| {
            shop.export(&ada, &mut Written::default()).unwrap();
        }),
        ("is restricted and freed", |shop, ada| {
            shop.restrict(&ada, true).unwrap();
            shop.restrict(&ada, false).unwrap();
        }),
        ("is merged", |shop, ada| {
            let other = shop.create_subject(&[]).unwrap();
            shop.merge_subjects(&ada, &other).unwrap();
        }),
    ];
    let others: [(&str, Deed); 6] = [
        ("nothing", |_, _| ()),
        ("is listed", |shop, ada| {
            shop.files(&own(ada, "owned")).unwrap();
            shop.scope("study").unwrap();
        }),
        ("is refused to a job", |shop, ada| {
            let name = shop.name_for(&ada, "newsletter").unwrap();
            shop.read_file(&by("newsletter", name, "owned"), "order.txt").unwrap_err();
        }),
        ("is looked up", |shop, _| {
            shop.find_subjects("email", "ada@example.com").unwrap();
        }),
        ("gets new keys", |shop, ada| {
            shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap();
            shop.rotate_everybody(Depth::Shallow, &mut |_| ()).unwrap();
        }),
        ("loses old files", |shop, _| {
            shop.set_retention("owned", Some(10)).unwrap();
            assert_eq!(shop.retire(Carry::Out).unwrap().files, 1);
        }),
    ];
    let all = uses.map(|own| (own, true)).into_iter().chain(others.map(|own| (own, false)));
    for ((what, deed), is_use) in all {
        let world = World::new(903);
        let mut shop = shop(&world);
        registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
        registered(&mut shop, "study", Basis::PublicTask, &["owned"]);
        let ada = person(&mut shop);
        days(&world, 80);
        assert_eq!(swept(&mut shop).noticed, 1, "{what}");
        days(&world, 19);
        deed(&mut shop, ada);
        assert_eq!(due(&mut shop).is_empty(), is_use, "{what}");
        days(&world, 12);
        let erased = if is_use { vec![] } else { vec![ada] };
        assert_eq!(swept(&mut shop).erased, erased, "{what}");
        days(&world, 69 - 12);
        assert_eq!(swept(&mut shop), Swept::default(), "{what}");
        days(&world, 2);
        assert_eq!(swept(&mut shop).noticed, u64::from(is_use), "{what}");
        days(&world, 30);
        assert_eq!(swept(&mut shop).erased.len(), usize::from(is_use), "{what}");
    }
}

#[test]
fn whoever_is_held_or_restricted_stays_and_is_listed_with_why() {
    let world = World::new(904);
    let mut shop = shop(&world);
    let [ada, bob, charlie] = [(); 3].map(|()| person(&mut shop));
    shop.put_file_about(&own(ada, "owned"), &[charlie.to_string()], "contract", b"both").unwrap();
    shop.restrict(&bob, true).unwrap();
    days(&world, 80);
    let why = |shop: &mut Custodian| due(shop).iter().map(|line| line.kept).collect::<Vec<_>>();
    assert_eq!(swept(&mut shop), Swept { noticed: 2, kept: 1, ..Swept::default() });
    assert_eq!(why(&mut shop), [None, Some(Kept::Restricted), None]);
    let owned = shop.class("owned").unwrap();
    shop.place_hold_on(&charlie, "litigation", Some(owned)).unwrap();
    days(&world, 1000);
    // Charlie's hold keeps the file that is about ada as well, and her.
    assert_eq!(swept(&mut shop), Swept { kept: 3, ..Swept::default() });
    assert_eq!(why(&mut shop), [Some(Kept::Held), Some(Kept::Restricted), Some(Kept::Held)]);
    let refused = kinds(&mut shop, &ada).contains(&Kind::ErasureRefused);
    assert!(!refused, "nobody asked");
    shop.lift_hold(&charlie, "litigation").unwrap();
    // What ran out while a hold was in force is no notice.
    assert_eq!(
        due(&mut shop).iter().map(|line| line.noticed.is_some()).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert_eq!(
        swept(&mut shop),
        Swept { noticed: 1, kept: 1, erased: vec![ada], ..Swept::default() }
    );
    days(&world, 29);
    assert_eq!(swept(&mut shop).erased, []);
    shop.place_hold(&charlie, "audit").unwrap();
    shop.lift_hold(&charlie, "audit").unwrap();
    days(&world, 2);
    assert_eq!(swept(&mut shop), Swept { noticed: 1, kept: 1, ..Swept::default() });
    days(&world, 30);
    assert_eq!(swept(&mut shop), Swept { kept: 1, erased: vec![charlie], ..Swept::default() });
    shop.restrict(&bob, false).unwrap();
    assert_eq!((swept(&mut shop), due(&mut shop)), (Swept::default(), vec![]));
}

/// What is about both goes with either of them.
#[test]
fn whoever_shares_a_file_with_somebody_restricted_stays_and_the_list_counts_such_files() {
    let world = World::new(917);
    let mut shop = shop(&world);
    let [ada, bob] = [(); 2].map(|()| person(&mut shop));
    for name in ["contract", "minutes"] {
        shop.put_file_about(&own(ada, "owned"), &[bob.to_string()], name, b"both").unwrap();
    }
    shop.restrict(&bob, true).unwrap();
    days(&world, 80);
    assert_eq!(swept(&mut shop), Swept { kept: 2, ..Swept::default() });
    days(&world, 1000);
    assert_eq!(swept(&mut shop), Swept { kept: 2, ..Swept::default() });
    let kept: Vec<_> = due(&mut shop).iter().map(|line| (line.kept, line.joint_files)).collect();
    assert_eq!(kept, [(Some(Kept::Restricted), 2), (Some(Kept::Restricted), 2)]);
    shop.restrict(&bob, false).unwrap();
    assert_eq!(swept(&mut shop), Swept { noticed: 1, ..Swept::default() });
    let line = &due(&mut shop)[0];
    assert_eq!((line.subject, line.kept, line.joint_files), (ada, None, 2));
    days(&world, 30);
    assert_eq!(swept(&mut shop).erased, [ada]);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn one_sweep_erases_so_many_and_the_next_one_the_others() {
    let world = World::new(905);
    let mut shop = shop(&world);
    let people: Vec<NewSubject> = (0..70).map(|_| NewSubject::default()).collect();
    shop.create_subjects(&people).unwrap();
    days(&world, 80);
    assert_eq!(swept(&mut shop), Swept { noticed: 70, ..Swept::default() });
    days(&world, 30);
    let first = swept(&mut shop);
    assert_eq!((first.erased.len(), first.is_more), (64, true));
    let second = swept(&mut shop);
    assert_eq!((second.erased.len(), second.is_more), (6, false));
    let erased = shop.subjects().unwrap();
    assert!(erased.iter().all(|line| line.state == SubjectState::Erased));
}

#[test]
fn a_sweep_reads_nobody_before_their_time() {
    let world = World::new(906);
    let mut shop = shop(&world);
    let people: Vec<NewSubject> = (0..640).map(|_| NewSubject::default()).collect();
    let people = shop.create_subjects(&people).unwrap();
    let reads = |shop: &mut Custodian| {
        let before = world.store.looked.load(Ordering::Relaxed);
        let swept = swept(shop);
        (swept, world.store.looked.load(Ordering::Relaxed) - before)
    };
    days(&world, 60);
    for subject in people.iter().filter(|subject| *subject != &people[200]) {
        shop.put_file(&own(*subject, "owned"), "order.txt", b"17 roses").unwrap();
    }
    assert!(reads(&mut shop).1 > 640);
    days(&world, 9);
    assert!(reads(&mut shop).1 < 20);
    days(&world, 1);
    // One block has somebody whose time has come.
    let (swept, count) = reads(&mut shop);
    assert_eq!(swept.noticed, 1);
    assert!((64..200).contains(&count), "{count}");
    assert_eq!(due(&mut shop).len(), 1);
    days(&world, 30);
    assert_eq!(reads(&mut shop).0.erased, [people[200]]);
    days(&world, 29);
    let (swept, count) = reads(&mut shop);
    assert_eq!(swept, Swept::default());
    assert!(count < 20, "{count}");
    days(&world, 1);
    assert_eq!(reads(&mut shop).0.noticed, 639);
}

fn set_days(world: &World, from_start: i64) {
    world.clock.set_now_ns(common::START_NS + from_start * DAY_NS);
}

fn written(shop: &mut Custodian) {
    shop.create_subject(&[]).unwrap();
}

#[test]
fn what_a_clock_that_was_ahead_left_behind_keeps_nobody_for_ever() {
    let world = World::new(907);
    let mut shop = shop(&world);
    let ada = person(&mut shop);
    // Ten years ahead: a use, and a rule that is set anew.
    set_days(&world, 3650);
    shop.read_file(&own(ada, "owned"), "order.txt").unwrap();
    shop.set_idle_rule(None).unwrap();
    shop.set_idle_rule(RULE).unwrap();
    set_days(&world, 10);
    written(&mut shop);
    assert_eq!((swept(&mut shop), due(&mut shop)), (Swept::default(), vec![]));
    // Whoever was used then counts as used now.
    set_days(&world, 79);
    assert_eq!(swept(&mut shop), Swept::default());
    set_days(&world, 81);
    assert_eq!(swept(&mut shop).noticed, 2);
    assert_eq!(swept(&mut shop), Swept { running: 2, ..Swept::default() });
    set_days(&world, 111);
    assert_eq!(swept(&mut shop).erased.len(), 2);
    assert_eq!(state(&shop, &ada), SubjectState::Erased);
}

#[test]
fn a_notice_of_a_clock_that_was_ahead_is_given_again_once() {
    let world = World::new(908);
    let mut shop = shop(&world);
    let ada = person(&mut shop);
    set_days(&world, 200);
    assert_eq!(swept(&mut shop).noticed, 1);
    set_days(&world, 75);
    written(&mut shop);
    assert_eq!(due(&mut shop)[0].noticed, None);
    assert_eq!(swept(&mut shop).noticed, 1);
    assert_eq!(swept(&mut shop), Swept { running: 1, ..Swept::default() });
    let noticed = kinds(&mut shop, &ada).iter().filter(|kind| **kind == Kind::Noticed).count();
    assert_eq!(noticed, 2);
    set_days(&world, 104);
    assert_eq!(swept(&mut shop).erased, []);
    set_days(&world, 105);
    assert_eq!(swept(&mut shop).erased, [ada]);
}

#[test]
fn a_clock_far_from_the_newest_record_erases_nobody_and_tells_nobody_of_it() {
    let refused = |shop: &mut Custodian| kind(shop.retire(Carry::Out)) == ErrorKind::Unavailable;
    for (wrong, is_ahead) in [(80 + 30 + 184, true), (78, false)] {
        let world = World::new(909);
        let mut shop = shop(&world);
        let ada = person(&mut shop);
        set_days(&world, 75);
        let bob = person(&mut shop);
        set_days(&world, 80);
        assert_eq!(swept(&mut shop).noticed, 1);
        if !is_ahead {
            // Somebody else would be told of with a date from before.
            shop.set_idle_rule(Some((30, 29))).unwrap();
        }
        set_days(&world, wrong);
        let records = shop.record_count();
        assert!(refused(&mut shop) && refused(&mut shop), "{wrong}");
        assert_eq!(kind(shop.retire(Carry::Dry)), ErrorKind::Unavailable);
        assert_eq!(shop.record_count(), records);
        // Who says that the clock is right sets the rule again: everybody has a whole notice by it.
        let rule = shop.idle_rule().unwrap().map(|rule| (rule.days, rule.notice_days));
        shop.set_idle_rule(rule).unwrap();
        assert_eq!(swept(&mut shop), Swept { noticed: 2, ..Swept::default() });
        set_days(&world, wrong + 30);
        assert_eq!(swept(&mut shop).erased, [ada, bob]);
    }
}

/// A rule from the future voids every notice until then: who sets it again brings it into force.
#[test]
fn a_rule_of_a_clock_that_was_ahead_is_in_force_once_it_is_set_again() {
    let world = World::new(910);
    let mut shop = world.create("shop");
    let ada = person(&mut shop);
    set_days(&world, 3650);
    shop.set_idle_rule(RULE).unwrap();
    set_days(&world, 80);
    shop.set_idle_rule(RULE).unwrap();
    assert_eq!(shop.idle_rule().unwrap().unwrap().since, world.clock.now_ns());
    assert_eq!(swept(&mut shop).noticed, 1);
    set_days(&world, 110);
    assert_eq!(swept(&mut shop).erased, [ada]);
}

/// The cells that something changes.
fn changed_cells(world: &World, change: impl FnOnce()) -> Vec<Key> {
    let before = world.store.live();
    change();
    let is_cell = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
    let now = world.store.live().into_iter();
    now.filter(|(key, bytes)| is_cell(key) && before.get(key) != Some(bytes))
        .map(|(key, _)| key)
        .collect()
}

fn damage(world: &World, keys: &[Key]) {
    for key in keys {
        let mut bytes = world.store.get_now(*key).unwrap().to_vec();
        bytes[20] ^= 1;
        world.store.put_now(*key, bytes.into());
    }
}

#[test]
fn somebody_whose_cell_is_damaged_is_named_and_keeps_nobody_else() {
    let world = World::new(911);
    let mut shop = shop(&world);
    let [ada, bob, charlie] = [(); 3].map(|()| person(&mut shop));
    let cells = changed_cells(&world, || shop.place_hold(&bob, "audit").unwrap());
    assert_eq!(cells.len(), 1);
    shop.lift_hold(&bob, "audit").unwrap();
    days(&world, 80);
    assert_eq!(swept(&mut shop).noticed, 3);
    days(&world, 30);
    written(&mut shop);
    damage(&world, &cells);
    let mut shop = world.open("shop");
    let told = Swept { erased: vec![ada, charlie], damaged: vec![bob], ..Swept::default() };
    assert_eq!(shop.retire(Carry::Dry).unwrap().idle, told);
    assert_eq!(swept(&mut shop), told);
    // Nor is the block of somebody who cannot be read left out the next time.
    assert_eq!(swept(&mut shop), Swept { damaged: vec![bob], ..Swept::default() });
}

#[test]
fn a_block_whose_span_is_damaged_is_looked_at() {
    let world = World::new(912);
    let mut shop = shop(&world);
    let people: Vec<NewSubject> = (0..64).map(|_| NewSubject::default()).collect();
    shop.create_subjects(&people).unwrap();
    let spans = changed_cells(&world, || assert_eq!(swept(&mut shop), Swept::default()));
    assert_eq!(spans.len(), 1);
    written(&mut shop);
    days(&world, 80);
    damage(&world, &spans);
    let mut shop = world.open("shop");
    assert_eq!(due(&mut shop).len(), 65);
    assert_eq!(swept(&mut shop), Swept { noticed: 65, ..Swept::default() });
    written(&mut shop);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn what_another_machine_records_ends_no_run() {
    let world = World::new(913);
    let mut shop = shop(&world);
    let ada = person(&mut shop);
    let mut other = world.open("shop");
    days(&world, 80);
    written(&mut other);
    assert_eq!(swept(&mut shop), Swept { noticed: 1, ..Swept::default() });
    other.follow().unwrap();
    other.catch_up().unwrap();
    days(&world, 30);
    written(&mut other);
    assert_eq!(swept(&mut shop).erased, [ada]);
}

#[test]
fn who_was_erased_before_an_error_is_told_with_it() {
    let mut told_with_it = 0;
    for calls in 0.. {
        let world = World::new(914);
        let mut shop = shop(&world);
        let people = [(); 2].map(|()| person(&mut shop));
        days(&world, 80);
        assert_eq!(swept(&mut shop).noticed, 2);
        days(&world, 30);
        world.store.die_after(Some(calls));
        let done = shop.retire(Carry::Out);
        world.store.die_after(None);
        let shop = world.open("shop");
        let unfinished = shop.unfinished_erasures().unwrap();
        let is_gone = |one: &SubjectId| state(&shop, one) == SubjectState::Erased;
        let gone = people.iter().filter(|one| is_gone(one) && !unfinished.contains(one)).count();
        let Ok(swept) = done.map(|retired| retired.idle) else {
            assert_eq!(gone, 0, "{calls}");
            continue;
        };
        assert_eq!(gone, swept.erased.len(), "{calls}");
        told_with_it += u32::from(swept.failure.is_some());
        if swept.failure.is_none() {
            break;
        }
    }
    assert!(told_with_it > 5, "{told_with_it}");
}

#[test]
fn a_run_that_ends_early_is_not_begun_anew() {
    let world = World::new(915);
    let mut shop = shop(&world);
    let people: Vec<NewSubject> = (0..9 * 64).map(|_| NewSubject::default()).collect();
    shop.create_subjects(&people).unwrap();
    shop.create_subjects(&people).unwrap();
    let mut shop = world.open("shop");
    let mut reads = 0;
    world.store.fail_once(move |key| {
        let is_cell = matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
        reads += u64::from(is_cell);
        reads > 17 * 64
    });
    assert!(shop.retire(Carry::Out).is_err() && !world.store.will_fail());
    let before = world.store.looked.load(Ordering::Relaxed);
    assert_eq!(swept(&mut shop), Swept::default());
    let count = world.store.looked.load(Ordering::Relaxed) - before;
    assert!(count < 400, "{count}");
}

/// So many people who fall due together.
fn crowd(shop: &mut Custodian, count: usize) -> Vec<SubjectId> {
    let people: Vec<NewSubject> = (0..count).map(|_| NewSubject::default()).collect();
    shop.create_subjects(&people).unwrap()
}

#[test]
fn where_more_fall_due_than_a_run_erases_no_part_of_the_register_waits_for_all_the_others() {
    let world = World::new(920);
    let mut shop = shop(&world);
    let people = crowd(&mut shop, 10 * 64);
    days(&world, 80);
    assert_eq!(swept(&mut shop).noticed, 640);
    days(&world, 30);
    let mut erased = Vec::new();
    for _ in 0..3 {
        erased.extend(swept(&mut shop).erased);
    }
    assert_eq!(erased.len(), 3 * 64);
    assert!(erased.iter().any(|one| !people[..3 * 64].contains(one)), "always the first of all");
}

#[test]
fn a_run_that_ends_exactly_at_its_limits_says_that_there_is_more_and_a_dry_one_tells_the_same() {
    let world = World::new(921);
    let mut shop = shop(&world);
    let first = crowd(&mut shop, 64);
    days(&world, 10);
    crowd(&mut shop, 600);
    crowd(&mut shop, 1088 - 600);
    days(&world, 61);
    assert_eq!(swept(&mut shop).noticed, 64);
    days(&world, 30);
    let dry = shop.retire(Carry::Dry).unwrap().idle;
    assert_eq!(dry, Swept { noticed: 1024, erased: first, is_more: true, ..Swept::default() });
    assert_eq!(swept(&mut shop), dry);
    let rest = Swept { noticed: 64, running: 1024, ..Swept::default() };
    assert_eq!(shop.retire(Carry::Dry).unwrap().idle, rest);
    assert_eq!(swept(&mut shop), rest);
}

#[test]
fn somebody_whose_cell_is_damaged_is_named_in_the_list_and_hides_nobody_else() {
    let world = World::new(923);
    let mut shop = shop(&world);
    let [ada, bob, charlie] = [(); 3].map(|()| person(&mut shop));
    let cells = changed_cells(&world, || shop.place_hold(&bob, "audit").unwrap());
    shop.lift_hold(&bob, "audit").unwrap();
    days(&world, 80);
    written(&mut shop);
    damage(&world, &cells);
    let mut shop = world.open("shop");
    let page = shop.idle_subjects().unwrap();
    let listed: Vec<SubjectId> = page.lines.iter().map(|line| line.subject).collect();
    assert_eq!((listed, page.damaged), (vec![ada, charlie], vec![bob]));
    let first = shop.idle_subjects_from(0, 1).unwrap();
    assert_eq!((first.lines.len(), first.next), (1, Some(1)));
    let rest = shop.idle_subjects_from(1, 9).unwrap();
    assert_eq!((rest.lines.len(), rest.damaged, rest.next), (1, vec![bob], None));
}
