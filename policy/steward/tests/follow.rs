//! Two who have one application open: each learns what the other recorded; what is leased is decided, on record, and read in
//! ranges.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use common::{World, answer, by, kind, own, registered};
use strongroom_authorizer::Action;
use strongroom_custody::Custody;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::{ClassId, SubjectId};
use strongroom_records::log::Outcome;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, ErrorKind, News, Wanted};
use strongroom_store::{Key, Shelf};

fn wanted(subject: SubjectId, action: Action) -> Wanted {
    Wanted { subject, class: ClassId::OWNED, action, files: Vec::new() }
}

/// A shop with ada, who agreed to the newsletter and has one file.
fn shop(world: &World) -> (Custodian, SubjectId) {
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "file", b"roses").unwrap();
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    (shop, ada)
}

#[test]
fn an_open_application_follows_what_another_recorded() {
    let world = World::new(1);
    let (mut writer, ada) = shop(&world);
    let mut reader = world.open("shop");
    assert_eq!(reader.follow().unwrap(), News::default());
    let rules = reader.rules("newsletter").unwrap();
    assert!(reader.prospect(&rules, &ada).unwrap().is_some());

    writer.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    let news = reader.follow().unwrap();
    assert_eq!((news.records, news.subjects.contains(&ada), news.rules), (1, true, false));
    assert_eq!(reader.prospect(&rules, &ada).unwrap(), None);

    writer.stop_activity("newsletter", ActivityState::Suspended).unwrap();
    assert!(reader.follow().unwrap().rules);
    world.stewardship().set_state("shop", ApplicationState::Disabled).unwrap();
    let mut listed = world.stewardship();
    assert!(reader.relist(listed.find("shop").unwrap()));
    assert!(!reader.relist(listed.find("shop").unwrap()));
    listed.follow().unwrap();
}

#[test]
fn a_withdrawal_counts_from_its_record_also_when_its_writer_dies_before_the_cell() {
    let world = World::new(2);
    let (mut writer, ada) = shop(&world);
    let mut reader = world.open("shop");
    // One change gets through: the record. The cell that follows from it does not.
    world.store.die_after(Some(1));
    let withdrawn = answer("newsletter", ConsentStatus::Withdrawn);
    assert_eq!(kind(writer.answer(&ada, &withdrawn)), ErrorKind::Unavailable);
    world.store.die_after(None);
    assert!(reader.follow().unwrap().subjects.contains(&ada));
    let rules = reader.rules("newsletter").unwrap();
    assert_eq!(reader.prospect(&rules, &ada).unwrap(), None);
    reader.catch_up().unwrap();
    assert_eq!(reader.prospect(&rules, &ada).unwrap(), None);
    assert!(reader.verify().unwrap().findings.is_empty());
}

#[test]
fn whoever_has_not_followed_gets_no_grant() {
    let world = World::new(3);
    let (mut writer, ada) = shop(&world);
    let mut reader = world.open("shop");
    let rules = reader.rules("newsletter").unwrap();
    writer.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    let refused = reader.lend(&rules, &[wanted(ada, Action::Open)]);
    assert_eq!(kind(refused), ErrorKind::Conflict);
    reader.follow().unwrap();
    reader.catch_up().unwrap();
    let grants = reader.lend(&rules, &[wanted(ada, Action::Open)]).unwrap();
    assert!(grants[0].is_none());
    let entry = reader.entries(reader.record_count() - 1, 1).unwrap().remove(0);
    assert_eq!(entry.judgement.unwrap().outcome, Outcome::Deny);
}

/// What follows from records may wait; whoever opens the register, or writes next, carries it out.
#[test]
fn records_whose_cells_wait_are_whole_to_whoever_comes_next() {
    let world = World::new(5);
    let (_, ada) = shop(&world);
    let mut lender = world.open("shop");
    let rules = lender.rules("newsletter").unwrap();
    let written = || world.store.ever.lock().unwrap().len();
    let before = written();
    for _ in 0..9 {
        let grants = lender.lend_early(&rules, &[wanted(ada, Action::Open)]).unwrap();
        assert!(lender.release(grants[0].as_ref().unwrap()).is_ok());
    }
    assert_eq!(written() - before, 9, "a record each and nothing else");
    assert!(!lender.is_finish_due());
    assert!(lender.verify().unwrap().findings.is_empty());
    assert!(lender.report(&ada).unwrap().holds());
    // Another process, as after a death: everything is there, and goes on from there.
    let mut other = world.open("shop");
    assert!(other.verify().unwrap().findings.is_empty());
    assert_eq!(other.report(&ada).unwrap().lines.len(), lender.report(&ada).unwrap().lines.len());
    other.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    // The first has not followed: what it would carry out is done, and it may write no more.
    world.clock.advance(std::time::Duration::from_secs(2));
    assert!(lender.is_finish_due());
    let before = written();
    lender.finish().unwrap();
    assert_eq!(written(), before);
    assert_eq!(kind(lender.lend(&rules, &[wanted(ada, Action::Open)])), ErrorKind::Conflict);
    lender.follow().unwrap();
    // Nor before what it followed is carried out.
    assert_eq!(kind(lender.lend(&rules, &[wanted(ada, Action::Open)])), ErrorKind::Conflict);
    lender.catch_up().unwrap();
    assert!(lender.lend(&rules, &[wanted(ada, Action::Open)]).unwrap()[0].is_none());
    assert!(world.open("shop").verify().unwrap().findings.is_empty());
}

#[test]
fn many_records_are_carried_out_in_one_go_and_a_death_in_it_loses_nothing() {
    for calls in (0..12).step_by(2) {
        let world = World::new(6);
        let (_, ada) = shop(&world);
        let mut lender = world.open("shop");
        let rules = lender.rules("newsletter").unwrap();
        while !lender.is_finish_due() {
            let asked = [wanted(ada, Action::Open), wanted(ada, Action::List)];
            lender.lend_early(&rules, &asked).unwrap();
        }
        world.store.die_after(Some(calls));
        let is_through = lender.finish().is_ok();
        world.store.die_after(None);
        let heads = lender.record_count();
        drop(lender);
        let mut other = world.open("shop");
        assert_eq!(other.record_count(), heads);
        assert!(other.verify().unwrap().findings.is_empty(), "after {calls} changes");
        assert!(other.report(&ada).unwrap().holds());
        if is_through {
            assert!((1..12).contains(&calls), "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}

#[test]
fn one_record_holds_all_that_was_asked_at_once_and_ranges_equal_the_file() {
    let world = World::new(4);
    let (mut shop, ada) = shop(&world);
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    shop.put_file(&own(ada, "owned"), "long", &bytes).unwrap();
    shop.put_file(&own(ada, "owned"), "empty", b"").unwrap();
    let rules = shop.rules("newsletter").unwrap();
    let before = shop.record_count();
    let stranger = SubjectId([9; 16]);
    let asked =
        [wanted(ada, Action::List), wanted(stranger, Action::Open), wanted(ada, Action::Open)];
    let mut grants = shop.lend(&rules, &asked).unwrap();
    assert_eq!(shop.record_count(), before + 1);
    assert_eq!(grants.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let class = Arc::new(shop.release(&grants.remove(2).unwrap()).unwrap());
    let names: Vec<&str> = class.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["empty", "file", "long"]);
    let long = class.file(&class.files()[2]);
    let read = |offset: u64, len: u32| now(long.read(offset, len));
    for (offset, len) in
        [(0, 1), (0, 200_000), (16_383, 2), (16_384, 16_384), (99_999, 9), (50_000, 40_000)]
    {
        let end = bytes.len().min(offset + len);
        assert_eq!(read(offset as u64, u32::try_from(len).unwrap()), bytes[offset..end]);
    }
    assert_eq!((read(100_000, 5), read(1 << 40, 5)), (vec![], vec![]));
    assert_eq!(now(class.file(&class.files()[0]).read(0, 9)), b"");
    assert!(shop.report(&ada).unwrap().holds());
    let refused = shop.read_file(&by("newsletter", ada, "owned"), "long");
    assert_eq!(kind(refused), ErrorKind::Denied, "a consumer does not know the subject by its id");
}

fn now(read: impl Future<Output = strongroom_steward::Result<Vec<u8>>>) -> Vec<u8> {
    let mut read = std::pin::pin!(read);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match read.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result.unwrap(),
        std::task::Poll::Pending => panic!("a store in memory answers at once"),
    }
}

/// A rotation ends nodes and the application key: what needs them has them again with its record.
#[test]
fn who_looks_while_others_change_the_application_key_goes_on_with_the_next() {
    let world = World::new(12);
    let (mut writer, ada) = shop(&world);
    let mut reader = world.open("shop");
    writer.rotate().unwrap();
    assert_eq!(reader.scope("newsletter").unwrap().len(), 1);
    writer.follow().unwrap();
    writer.catch_up().unwrap();
    writer.rotate().unwrap();
    reader.follow().unwrap();
    // The key that it knows of has ended before it was asked for.
    writer.rotate().unwrap();
    let rules = reader.rules("newsletter").unwrap();
    assert_eq!(kind(reader.prospect(&rules, &ada)), ErrorKind::Locked);
    assert_eq!(reader.scope("newsletter").unwrap().len(), 1);
    // So it is with what an act waits for.
    writer.follow().unwrap();
    writer.catch_up().unwrap();
    let record = writer.record_count() - 1;
    writer.rotate().unwrap();
    reader.follow().unwrap();
    writer.rotate().unwrap();
    assert_eq!(kind(reader.holders(&ada, record)), ErrorKind::Locked);
    assert_eq!(reader.keeping_up(|now| now.holders(&ada, record)).unwrap(), []);
    // A key that is gone with nothing newer stays gone.
    writer.rotate().unwrap();
    reader.follow().unwrap();
    let application = reader.listed().application;
    for key in world.vault.list(&application).unwrap() {
        world.vault.destroy(&application, &key).unwrap();
    }
    let looked = reader.keeping_up(|now| now.holders(&ada, record));
    assert_eq!(kind(looked), ErrorKind::Locked);
}

/// A writer that stands still between its record and its cells, while another one carries that out and goes on.
#[test]
fn what_another_has_carried_out_and_gone_on_from_stays() {
    let (world, [ada, _]) = shop_with_two();
    let mut own = world.open("shop");
    let mut other = world.open("shop");
    let withdraws = move || {
        other.follow().unwrap();
        other.catch_up().unwrap();
        other.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    };
    world.store.before_the_next_cell(withdraws);
    own.place_hold(&ada, "audit").unwrap();
    expect_held_and_withdrawn(&world, &ada);
    // What is refused where nobody has gone on is put again: it is older.
    let mut own = world.open("shop");
    world.store.before_the_next_cell(|| ());
    own.lift_hold(&ada, "audit").unwrap();
    assert!(world.open("shop").subject(&ada).unwrap().holds.is_empty());
}

/// The same of whoever opens, and carries out once more what a writer may have died over.
#[test]
fn who_opens_lays_nothing_in_the_place_of_what_is_newer() {
    let (world, [ada, _]) = shop_with_two();
    let mut other = world.open("shop");
    other.place_hold(&ada, "audit").unwrap();
    let is_cell = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
    world.store.while_read(is_cell, move || {
        other.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
        // What the newest record changed is put right by whoever opens.
        other.create_subject(&[]).unwrap();
    });
    drop(world.open("shop"));
    expect_held_and_withdrawn(&world, &ada);
}

fn shop_with_two() -> (World, [SubjectId; 2]) {
    let world = World::new(91);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let people = [(); 2].map(|()| shop.create_subject(&[]).unwrap());
    for subject in &people {
        shop.answer(subject, &answer("newsletter", ConsentStatus::Given)).unwrap();
    }
    (world, people)
}

#[track_caller]
fn expect_held_and_withdrawn(world: &World, subject: &SubjectId) {
    // Another record hides what whoever opens would put right.
    let mut shop = world.open("shop");
    shop.create_subject(&[]).unwrap();
    let shop = world.open("shop");
    assert_eq!(shop.consents(subject).unwrap()[0].1, ConsentStatus::Withdrawn);
    assert_eq!(shop.subject(subject).unwrap().holds.len(), 1);
    assert!(shop.verify().unwrap().findings.is_empty());
}
