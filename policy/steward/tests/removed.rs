//! A device that was removed: what it wrote before stays, what it writes afterwards nobody takes, whatever position it names.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use common::{Pins, START_NS, World, answer, kind, own, registered};
use strongroom_authorizer::Action;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_keyring::device_file;
use strongroom_keyring::enrolment::{self, Applicant};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::ClassId;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{
    Custodian, Error, ErrorKind, Roster, Services, Stewardship, Wanted, close,
};
use strongroom_store::{Key, Store};

/// The organisation without a device any more, for those who know of it, and in the store for those who ask.
fn removed(world: &World, theirs: &Services) -> Services {
    let mut organisation = Organisation::clone(&world.services.organisation.now());
    let Services { keys, entropy, .. } = &world.services;
    let time_ns = START_NS;
    let writer = Writer { keys, organisation: &organisation, time_ns, entropy: &**entropy };
    let record = writer.revoke(&theirs.keys.device_id()).unwrap();
    organisation.extend(&record).unwrap();
    world.store.put_now(Key::Organisation(organisation.position()), record.into());
    keys.learn(&organisation).unwrap();
    Services { organisation: Arc::new(Roster::new(organisation)), ..world.services.clone() }
}

#[test]
fn a_removed_device_cannot_write_the_list_of_applications() {
    let (world, theirs) = World::of_two(61);
    world.create("shop");
    let knowing = removed(&world, &theirs);
    let mut bob = Stewardship::open(theirs).unwrap();
    bob.set_state("shop", ApplicationState::Disabled).unwrap();
    assert_eq!(kind(Stewardship::open(knowing)), ErrorKind::Corrupt);
}

#[test]
fn a_removed_device_that_has_the_register_key_cannot_write_a_register() {
    let (world, theirs) = World::of_two(62);
    world.create("shop");
    let knowing = removed(&world, &theirs);
    let mut bob = open(theirs, &world).unwrap();
    bob.create_subject(&[]).unwrap();
    let list = Stewardship::open(knowing).unwrap();
    assert_eq!(kind(list.application("shop", world.custody())), ErrorKind::Corrupt);
}

#[test]
fn an_approval_of_a_device_that_was_removed_meanwhile_does_not_count() {
    let (world, theirs) = World::of_two(63);
    world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    let mut bob = open(theirs.clone(), &world).unwrap();
    let waits = bob.propose_policies(strongroom_cedar::BUILT_IN).unwrap();
    bob.register_activity(common::proposal("newsletter", Basis::Consent, &["owned"])).unwrap();
    world.open("shop");
    let knowing = removed(&world, &theirs);
    let mut shop = open(knowing, &world).unwrap();
    assert_eq!(shop.activate_policies(1, &waits.digest).unwrap().missing, 1);
    assert_eq!(shop.policy_set().unwrap(), None);
    assert_eq!(shop.approve_activity("newsletter").unwrap(), ActivityState::Proposed);
}

/// Signed again, by a device that is in, it would count; a no does whoever signed it.
#[test]
fn a_yes_in_the_ledger_of_a_device_that_was_removed_since_is_not_believed_after_a_restore() {
    const LEDGER: &str = "file:/apart/erased";
    for (is_removed, now) in [(false, ConsentStatus::Given), (true, ConsentStatus::Withdrawn)] {
        let (world, theirs) = World::of_two(73);
        let theirs = Services { memory: Arc::clone(&world.services.memory), ..theirs };
        world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), Vec::new());
        let mut shop = world.create("shop");
        registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
        let ada = shop.create_subject(&[]).unwrap();
        shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
        shop.set_ledger(Some(LEDGER)).unwrap();
        let (store, heads) = (world.store.live(), world.pins.heads.lock().unwrap().clone());
        shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
        drop(shop);
        let mut bob = open(theirs.clone(), &world).unwrap();
        bob.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
        for key in world.store.live().keys().filter(|key| !store.contains_key(*key)) {
            strongroom_store::now(world.store.delete(*key)).unwrap();
        }
        store.into_iter().for_each(|(key, bytes)| world.store.put_now(key, bytes));
        *world.pins.heads.lock().unwrap() = heads;
        let ours = if is_removed { removed(&world, &theirs) } else { world.services.clone() };
        let shop = open(ours, &world).unwrap();
        assert_eq!(shop.consents(&ada).unwrap()[0].1, now, "{is_removed}");
    }
}

/// It may write to the ledger still, and names whomever it likes.
#[test]
fn an_erasure_in_the_ledger_of_a_device_that_was_removed_since_is_carried_out_by_a_person_only() {
    const LEDGER: &str = "file:/apart/erased";
    for is_removed in [false, true] {
        let (world, theirs) = World::of_two(74);
        let theirs = Services { memory: Arc::clone(&world.services.memory), ..theirs };
        world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), Vec::new());
        let mut shop = world.create("shop");
        let ada = shop.create_subject(&[]).unwrap();
        shop.set_ledger(Some(LEDGER)).unwrap();
        drop(shop);
        let (store, heads) = (world.store.live(), world.pins.heads.lock().unwrap().clone());
        // Bob dies once the ledger has it: the register as it was before knows nothing of it.
        let mut bob = open(theirs.clone(), &world).unwrap();
        let away = world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
        bob.erase(&ada).unwrap_err();
        world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), away);
        world.store.die_after(Some(0));
        bob.erase(&ada).unwrap_err();
        world.store.die_after(None);
        for key in world.store.live().keys().filter(|key| !store.contains_key(*key)) {
            strongroom_store::now(world.store.delete(*key)).unwrap();
        }
        store.into_iter().for_each(|(key, bytes)| world.store.put_now(key, bytes));
        *world.pins.heads.lock().unwrap() = heads;
        let ours = if is_removed { removed(&world, &theirs) } else { world.services.clone() };
        if is_removed {
            let refused = open(ours.clone(), &world).err().unwrap();
            assert!(refused.to_string().contains(&ada.to_string()), "{refused}");
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let list = Stewardship::open(ours.clone()).unwrap();
            let lines = world.pins.ledgers.lock().unwrap()[LEDGER].clone();
            let told = list.application_told("shop", world.custody(), &lines);
            assert_eq!(told.unwrap().1.erased, [ada]);
        }
        let shop = open(ours, &world).unwrap();
        assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erased, "{is_removed}");
        let records = shop.record_count();
        drop(shop);
        assert_eq!(world.open("shop").record_count(), records);
    }
}

/// Somebody else at the same store who has seen nothing, with what they know of the organisation.
fn newcomer(known: &Services) -> Services {
    let organisation = Organisation::clone(&known.organisation.now());
    let (organisation, memory) = (Arc::new(Roster::new(organisation)), Arc::new(Pins::default()));
    Services { organisation, memory, ..known.clone() }
}

/// A device that is taken in now.
fn admitted(world: &World, known: &Services) -> Services {
    let mut organisation = Organisation::clone(&known.organisation.now());
    let Services { keys, entropy, .. } = known;
    let place = (keys.organisation(), keys.workspace());
    let (cost, time_ns) = (PassphraseCost::WEAK_FOR_TESTS, START_NS);
    let asked = enrolment::request(place, b"carol", cost, time_ns, &**entropy).unwrap();
    let applicant = Applicant::verify(&asked.request).unwrap();
    let writer = Writer { keys, organisation: &organisation, time_ns, entropy: &**entropy };
    let record = writer.admit(&applicant, "carol's laptop").unwrap();
    organisation.extend(&record).unwrap();
    world.store.put_now(Key::Organisation(organisation.position()), record.into());
    let carol = device_file::unlock(&asked.device_file, b"carol").unwrap();
    carol.learn(&organisation).unwrap();
    let organisation = Arc::new(Roster::new(organisation));
    Services { keys: Arc::new(carol), organisation, ..newcomer(known) }
}

fn open(services: Services, world: &World) -> Result<Custodian, Error> {
    Stewardship::open(services)?.application("shop", world.custody())
}

/// A shop that bob has worked in, as he has it open.
fn bobs_shop(world: &World, theirs: &Services) -> Custodian {
    world.create("shop");
    let mut bob = open(theirs.clone(), world).unwrap();
    registered(&mut bob, "newsletter", Basis::Consent, &["owned"]);
    let ada = bob.create_subject(&[]).unwrap();
    bob.put_file(&own(ada, "owned"), "file", b"roses").unwrap();
    bob
}

#[test]
fn once_its_logs_are_closed_a_removed_device_adds_nothing_and_everybody_else_opens_them() {
    let (world, theirs) = World::of_two(65);
    let mut bob = bobs_shop(&world, &theirs);
    let mut bobs_list = Stewardship::open(theirs.clone()).unwrap();
    // Whoever removes him has never looked into the shop, and needs no key of it.
    let before = newcomer(&world.services);
    let list = Stewardship::open(before.clone()).unwrap();
    let knowing = removed(&world, &theirs);
    let after = Services { organisation: knowing.organisation, ..before.clone() };
    assert!(close(&before, &after, list.applications()).is_empty());

    assert_eq!(kind(bobs_list.set_state("shop", ApplicationState::Disabled)), ErrorKind::Conflict);
    assert_eq!(kind(bob.create_subject(&[])), ErrorKind::Conflict);
    assert_eq!(kind(bob.follow()), ErrorKind::Denied);
    assert_eq!(kind(bob.propose_policies(strongroom_cedar::BUILT_IN)), ErrorKind::Denied);
    bobs_list.follow().unwrap();
    assert_eq!(kind(bobs_list.set_state("shop", ApplicationState::Disabled)), ErrorKind::Denied);

    let carol = admitted(&world, &after);
    for services in [after.clone(), newcomer(&after), carol, world.services.clone()] {
        let mut shop = open(services, &world).unwrap();
        assert!(shop.verify().unwrap().findings.is_empty());
        assert_eq!(shop.activities().unwrap().len(), 1);
        shop.create_subject(&[]).unwrap();
    }
}

#[test]
fn what_a_writer_died_over_is_carried_out_behind_a_closing_record() {
    for calls in 1..4 {
        let (world, theirs) = World::of_two(66);
        let mut bob = bobs_shop(&world, &theirs);
        world.store.die_after(Some(calls));
        let _ = bob.declare_class("health", true);
        world.store.die_after(None);
        let before = world.services.clone();
        let list = Stewardship::open(before.clone()).unwrap();
        let knowing = removed(&world, &theirs);
        assert!(close(&before, &knowing, list.applications()).is_empty());
        let shop = open(knowing, &world).unwrap();
        assert!(shop.class("health").is_ok(), "after {calls} changes");
        assert!(shop.verify().unwrap().findings.is_empty(), "after {calls} changes");
    }
}

#[test]
fn who_has_records_to_carry_out_goes_on_behind_a_closing_record() {
    let (world, theirs) = World::of_two(67);
    let mut bob = bobs_shop(&world, &theirs);
    let ada = bob.create_subject(&[]).unwrap();
    bob.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let mut lender = open(world.services.clone(), &world).unwrap();
    let rules = lender.rules("newsletter").unwrap();
    let asked =
        [Wanted { subject: ada, class: ClassId::OWNED, action: Action::List, files: vec![] }];
    for _ in 0..3 {
        lender.lend_early(&rules, &asked).unwrap();
    }
    let before = newcomer(&world.services);
    let knowing = removed(&world, &theirs);
    let list = Stewardship::open(before.clone()).unwrap();
    assert!(close(&before, &knowing, list.applications()).is_empty());
    assert_eq!(kind(lender.lend_early(&rules, &asked)), ErrorKind::Conflict);
    assert_eq!(lender.follow().unwrap().records, 1);
    lender.lend_early(&rules, &asked).unwrap();
    lender.finish().unwrap();
    let mut shop = open(newcomer(&knowing), &world).unwrap();
    assert!(shop.verify().unwrap().findings.is_empty());
    assert!(shop.report(&ada).unwrap().holds());
}

#[test]
fn whoever_has_seen_the_logs_closes_them_if_nobody_did() {
    let (world, theirs) = World::of_two(68);
    bobs_shop(&world, &theirs);
    world.open("shop");
    // The one who removed him died over it.
    let knowing = removed(&world, &theirs);
    let stranger = newcomer(&knowing);
    // Nobody knows when bob wrote there.
    assert_eq!(kind(open(stranger.clone(), &world)), ErrorKind::Corrupt);
    Stewardship::open(knowing).unwrap();
    assert!(open(stranger, &world).unwrap().verify().unwrap().findings.is_empty());
}

#[test]
fn a_set_in_force_stays_when_one_who_approved_it_is_removed() {
    let (world, theirs) = World::of_two(69);
    let mut alice = world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    let waits = alice.propose_policies(strongroom_cedar::BUILT_IN).unwrap();
    let mut bob = open(theirs.clone(), &world).unwrap();
    assert_eq!(bob.activate_policies(1, &waits.digest).unwrap().missing, 0);
    world.open("shop");
    let knowing = removed(&world, &theirs);
    let shop = open(knowing, &world).unwrap();
    assert_eq!(shop.policy_set().unwrap().unwrap().approvals.len(), 2);
    assert_eq!(shop.policy_history().unwrap().len(), 1);
}

#[test]
fn after_a_removal_the_register_key_is_due_and_one_that_was_being_changed_is_changed_anew() {
    let (world, theirs) = World::of_two(75);
    bobs_shop(&world, &theirs);
    let mut shop = world.open("shop");
    assert!(!shop.register_key().unwrap().is_due);
    world.store.die_after(Some(8));
    shop.rotate_register(&mut |_| ()).unwrap_err();
    world.store.die_after(None);
    drop(shop);
    let knowing = removed(&world, &theirs);
    let mut shop = open(knowing, &world).unwrap();
    let begun = shop.register_key().unwrap();
    assert_eq!((begun.generation, begun.is_whole, begun.is_due), (1, false, true));
    assert_eq!(shop.rotate_register(&mut |_| ()).unwrap().generation, 2);
    let done = shop.register_key().unwrap();
    assert_eq!((done.generation, done.is_whole, done.is_due), (2, true, false));
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn what_a_device_wrote_before_its_removal_stays_for_those_who_have_seen_it() {
    let (world, theirs) = World::of_two(64);
    bobs_shop(&world, &theirs);
    world.open("shop");
    let knowing = removed(&world, &theirs);
    let shop = open(knowing, &world).unwrap();
    assert!(shop.verify().unwrap().findings.is_empty());
}
