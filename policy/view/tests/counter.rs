//! A custodian's counter, turn by turn: what it lends, whose word counts, what it remembers of an earlier life, and what waits.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/by_hand.rs"]
mod by_hand;
mod common;
#[path = "counter/giving.rs"]
mod giving;
#[path = "common/served.rs"]
mod served;

use std::sync::Arc;
use std::time::Duration;

use by_hand::{ByHand, everybody};
use bytes::Bytes;
use common::world::point::Silence;
use common::world::{World, is_registers, registered};
use served::{PASSPHRASE, Served};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::clock::Clock;
use strongroom_host::entropy::MachineEntropy;
use strongroom_keyring::device_file;
use strongroom_keyring::enrolment::{Applicant, request};
use strongroom_keyring::membership::Writer;
use strongroom_records::activity::Basis;
use strongroom_records::application::ApplicationState;
use strongroom_records::exchange::{Need, Refusal};
use strongroom_records::ids::{ActivityId, Pseudonym, SessionId};
use strongroom_records::subject::ConsentStatus::{Given, Refused, Withdrawn};
use strongroom_steward::letters::{self, Direction, Outside, Recipient};
use strongroom_steward::{About, Counter};
use strongroom_store::{Family, Key, Letter, PolicyKey, Shelf, Store};

#[test]
fn whoever_comes_later_is_told_by_a_hint_and_lent_when_asked_for() {
    let mut hand = ByHand::new(9);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.reader("bob");
    let hint = hand.answer();
    assert_eq!((hint.to, hint.leases.len(), hint.next), (None, 0, Some(Pseudonym([0; 16]))));
    hand.served.shop.reader("charlie");
    // Once is enough.
    let page = hand.ask(everybody());
    assert_eq!((page.leases.len(), page.next), (4, None));
    hand.served.shop.reader("eve");
    assert_eq!(hand.answer().next, Some(Pseudonym([0; 16])));
}

#[test]
fn what_an_earlier_life_lent_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(10);
    let [ada, bob] = ["ada", "bob"].map(|name| hand.served.shop.reader(name));
    hand.served.shop.say(bob, "newsletter", Refused);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.reopen();
    assert_eq!(hand.silent(), 0);
    // Nobody was lent anything of this one.
    hand.served.shop.say(bob, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 0);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
    // And not when it is long over.
    hand.reopen();
    hand.served.shop.say(ada, "newsletter", Given);
    assert_eq!(hand.silent(), 0);
}

#[test]
fn an_application_that_opens_later_is_served_and_what_an_earlier_life_lent_of_it_is_waited_for() {
    let mut hand = ByHand::new(27);
    let [ada, bob] = ["ada", "bob"].map(|name| hand.served.shop.reader(name));
    assert_eq!(hand.ask(everybody()).leases.len(), 4);
    let world = &hand.served.shop.world;
    let (fence, turns) = (hand.served.shop.fence.shared(), hand.served.turns.clone());
    let (services, list) = (hand.served.services(), world.stewardship());
    hand.counter = Counter::open(services, list, Vec::new(), fence, turns).unwrap();
    hand.begin_view();
    assert_eq!(hand.ask(everybody()).refusal, Some(Refusal::Denied));
    // Somebody wrote meanwhile.
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    let custody = hand.served.shop.world.custody();
    hand.counter.add("shop", custody).unwrap();
    assert_eq!(hand.silent_about(About::Everything), 1);
    hand.served.shop.say(bob, "newsletter", Withdrawn);
    hand.served.shop.reader("charlie");
    hand.begin_view();
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
}

#[test]
fn an_act_waits_for_what_it_took_away_and_not_for_what_others_did() {
    let mut hand = ByHand::new(14);
    let [ada, bob, charlie] = ["ada", "bob", "charlie"].map(|name| hand.served.shop.reader(name));
    hand.served.shop.say(charlie, "newsletter", Refused);
    let application = hand.served.shop.act(|shop| {
        registered(shop, "research", Basis::Consent, &["owned"]);
        shop.listed().application
    });
    assert_eq!(hand.ask(everybody()).leases.len(), 4);
    let activities = hand.served.shop.act(|shop| shop.activities().unwrap());
    let activity = |name: &str| {
        let found = activities.iter().find(|own| own.name == name).unwrap();
        About::Activity(application, found.id)
    };
    let of = |subject| About::Subject(application, subject);
    // The device says nothing from here on, and has what it was lent of her for minutes.
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    for _ in 0..2 {
        assert_eq!(hand.silent_about(of(ada)), 1);
        let began = hand.served.shop.world.clock.elapsed();
        hand.served.shop.say(charlie, "newsletter", Refused);
        let others = [of(bob), of(charlie), activity("research")];
        assert_eq!(others.map(|about| hand.silent_about(about)), [0; 3]);
        let waited = hand.served.shop.world.clock.elapsed() - began;
        assert!(waited < Duration::from_secs(1), "{waited:?}");
        // What a job had is waited for by whoever stops it.
        assert_eq!((hand.silent_about(activity("newsletter")), hand.silent()), (1, 1));
        // No session knows of it any more.
        hand.reopen();
    }
    hand.served.shop.act(|shop| shop.restrict(&bob, true).unwrap());
    assert_eq!((hand.silent_about(of(bob)), hand.silent_about(of(charlie))), (1, 0));
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!([of(ada), of(bob)].map(|about| hand.silent_about(about)), [0; 2]);
}

#[test]
fn what_is_wrong_with_one_application_keeps_nothing_from_another() {
    let mut hand = ByHand::new(15);
    let ada = hand.served.shop.reader("ada");
    let world = &hand.served.shop.world;
    let clinic = world.create("clinic");
    let (next, clinic) = (clinic.record_count(), clinic.listed().application);
    let shop = world.open("shop").listed().application;
    let custodians = ["clinic", "shop"].map(|name| world.open(name)).into();
    let (fence, turns) = (hand.served.shop.fence.shared(), hand.served.turns.clone());
    let (services, list) = (hand.served.services(), world.stewardship());
    hand.counter = Counter::open(services, list, custodians, fence, turns.clone()).unwrap();
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    // A record of the clinic that is none.
    let (application, shelf) = (clinic.0, Shelf::Log);
    let record = Key::Policy(PolicyKey { application, shelf, name: u128::from(next) });
    hand.served.shop.world.store.put_now(record, Bytes::from_static(b"none"));
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    let [of_shop, of_clinic] = [shop, clinic].map(|own| turns.ask(About::Subject(own, ada)));
    let told = Key::Answer(Letter { session: hand.session.0, number: hand.heard });
    assert!(hand.counter.turn().is_err() && hand.counter.turn().is_err());
    assert!(hand.served.shop.world.store.get_now(told).is_some(), "what is gone is told");
    hand.heard += 1;
    hand.post(vec![Need::Look]);
    assert!(hand.counter.turn().is_err());
    let clock = hand.served.services().clock;
    let silent = [of_shop, of_clinic].map(|own| own.wait(&*clock, Duration::ZERO).silent);
    assert_eq!(silent, [0, 1], "of the clinic nothing is known");
}

#[test]
fn the_word_of_one_view_counts_for_nothing_that_an_earlier_life_lent_to_another() {
    let mut hand = ByHand::new(24);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    // The first view only reads from here on.
    hand.reopen();
    hand.begin_view();
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let holder = hand.let_go(ada);
    let now = hand.served.services().clock.now_ns();
    assert!(holder.let_go.is_none() && holder.is_waited_for(now), "{holder:?}");
    assert_eq!(hand.silent(), 1);
    // Nor does the life after.
    hand.reopen();
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
    assert!(!holder.is_waited_for(hand.served.services().clock.now_ns()));
}

#[test]
fn the_word_of_one_view_counts_for_nothing_that_was_lent_to_another_whose_session_is_forgotten() {
    let mut hand = ByHand::new(25);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    // It has heard answers that this life never gave: its session begins anew.
    hand.heard += 1;
    assert_eq!(hand.ask(vec![Need::Look]).leases.len(), 0);
    hand.begin_view();
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let holder = hand.let_go(ada);
    let now = hand.served.services().clock.now_ns();
    assert!(holder.let_go.is_none() && holder.is_waited_for(now), "{holder:?}");
}

#[test]
fn what_a_device_lets_go_of_counts_for_the_custodian_that_it_said_so_to() {
    let (world, theirs) = World::of_two(26);
    let ours = world.services.clone();
    let mut hand = ByHand::over(world);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.world.services = theirs;
    hand.reopen();
    hand.begin_view();
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let holder = hand.let_go(ada);
    let now = hand.served.services().clock.now_ns();
    assert!(holder.let_go.is_none() && holder.is_waited_for(now), "{holder:?}");
    assert!(holder.is_waited_for_elsewhere(now));
    hand.served.shop.world.services = ours;
    hand.reopen();
    assert_eq!(hand.silent(), 1);
}

#[test]
fn what_was_withdrawn_while_nobody_served_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(13);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    hand.reopen();
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
}

#[test]
fn what_a_session_had_that_was_refused_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(11);
    let ada = hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    let (subject, class) = (page.leases[0].subject, page.leases[0].class);
    let held = hand.served.shop.fence.take();
    let refused = hand.ask(vec![Need::Open(subject, class)]);
    assert_eq!(refused.refusal, Some(Refusal::Unavailable));
    drop(held);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
}

/// Devices count from boot, and use what they have been lent as long as ever when a custodian's wall clock is set.
#[test]
fn what_is_lent_is_waited_for_as_long_as_devices_count_though_the_wall_clock_is_set_forward() {
    for seed in [33, 34] {
        let mut hand = ByHand::new(seed);
        let ada = hand.served.shop.reader("ada");
        let application = hand.served.shop.act(|shop| shop.listed().application);
        assert_eq!(hand.ask(everybody()).leases.len(), 2);
        if seed == 34 {
            // No session knows of it any more.
            hand.reopen();
        }
        hand.served.shop.say(ada, "newsletter", Withdrawn);
        let clock = Arc::clone(&hand.served.shop.world.clock);
        clock.set_now_ns(clock.now_ns() + 400_000_000_000);
        let all = [About::Subject(application, ada), About::Everything];
        assert_eq!(all.map(|about| hand.silent_about(about)), [1; 2]);
        clock.advance(Duration::from_secs(300));
        assert_eq!(all.map(|about| hand.silent_about(about)), [0; 2]);
    }
}

#[test]
fn who_is_refused_because_others_write_keeps_what_it_has_and_hears_what_goes() {
    let mut hand = ByHand::new(27);
    let ada = hand.served.shop.reader("ada");
    let held = hand.served.shop.fence.take();
    let began = hand.served.shop.world.clock.elapsed();
    (0..3).for_each(|_| hand.post(everybody()));
    hand.counter.turn().unwrap();
    // One turn waits once, and nobody is passed over for good.
    let waited = hand.served.shop.world.clock.elapsed() - began;
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    drop(held);
    for _ in 0..3 {
        assert_eq!(hand.answer().refusal, Some(Refusal::Unavailable));
    }
    let page = hand.ask(everybody());
    assert_eq!((page.leases.len(), page.next), (2, None));
    let read = vec![Need::Open(ada, page.leases[0].class)];
    let held = hand.served.shop.fence.take();
    assert_eq!(hand.ask(read.clone()).refusal, Some(Refusal::Unavailable));
    drop(held);
    // Nobody has asked since.
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(hand.answer().gone.len(), 1);
}

#[test]
fn asks_to_a_custodian_that_is_gone_keep_nobody_waiting_and_go_in_the_end() {
    let mut hand = ByHand::new(12);
    hand.served.shop.reader("ada");
    let gone = hand.served.device("mailer 2", "mailer");
    let gone = hand.served.organisation.find(&gone.device_id()).unwrap();
    let time = hand.served.services().clock.now_ns();
    let outside = Outside { session: SessionId([0; 16]), number: 0, incarnation: 0, time };
    let (device, to) = (&hand.device, Recipient::custodian(gone));
    let letter =
        letters::write(Direction::Ask, device, to, &outside, b"", &MachineEntropy).unwrap();
    let store = Arc::clone(&hand.served.shop.world.store);
    for number in 0..300 {
        let place = Letter { session: [0; 16], number };
        store.put_now(Key::Ask(place), letter.clone().into());
    }
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let waiting = || strongroom_store::now(store.list(Family::Ask, None)).unwrap().len();
    assert_eq!(waiting(), 300, "another custodian may yet answer");
    hand.served.shop.world.clock.advance(Duration::from_secs(7200));
    for _ in 0..3 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(waiting(), 0);
}

#[test]
fn an_ask_of_a_device_nobody_has_heard_of_waits_until_somebody_has() {
    let mut hand = ByHand::new(14);
    hand.served.shop.reader("ada");
    let (device, record) = hand.served.applicant("mailer 2", "mailer");
    hand.device = device;
    hand.post(everybody());
    for _ in 0..3 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(hand.waiting(), 1);
    hand.served.record(record);
    assert_eq!(hand.answer().leases.len(), 2);
    assert_eq!(hand.waiting(), 0);
}

#[test]
fn asks_of_devices_nobody_has_heard_of_wait_for_a_while_and_never_many() {
    let mut hand = ByHand::new(15);
    hand.served.shop.reader("ada");
    let known = Arc::clone(&hand.device);
    hand.device = hand.served.applicant("mailer 2", "mailer").0;
    (0..400).for_each(|_| hand.post(everybody()));
    // Who is known is answered all the same.
    (hand.device, hand.session, hand.asked) = (known, SessionId([0xfe; 16]), 0);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.counter.turn().unwrap();
    assert_eq!(hand.waiting(), 256);
    hand.served.shop.world.clock.advance(Duration::from_secs(601));
    for _ in 0..2 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(hand.waiting(), 0);
}

#[test]
fn a_device_that_is_taken_in_while_a_turn_looks_away_is_answered_in_that_turn() {
    let mut hand = ByHand::new(16);
    hand.served.shop.reader("ada");
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    let (device, record) = hand.served.applicant("mailer 2", "mailer");
    hand.device = device;
    let ask = hand.next_ask(everybody());
    let taken_in = Key::Organisation(hand.served.organisation.position() + 1);
    // After the turn has followed the organisation, and before it looks for asks.
    *cable.arrives.lock().unwrap() = vec![(taken_in, record.into()), ask];
    hand.counter.turn().unwrap();
    assert_eq!(hand.waiting(), 0);
    let first = Letter { session: hand.session.0, number: 0 };
    assert!(hand.served.shop.world.store.get_now(Key::Answer(first)).is_some());
}

#[test]
fn what_a_turn_learned_before_the_store_failed_is_heeded_in_the_next() {
    let mut hand = ByHand::new(17);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let device = Arc::clone(&hand.device);
    hand.served.revoke(&device);
    assert_eq!(hand.served.organisation.position(), 3);
    // What comes after the record that removes the device.
    hand.served.shop.world.store.fail_once(|key| *key == Key::Organisation(4));
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().gone.len(), 1);
}

#[test]
fn who_is_served_stays_so_where_another_device_goes_and_the_register_cannot_be_read_just_then() {
    let mut hand = ByHand::new(31);
    hand.served.shop.reader("ada");
    let other = hand.served.device("mailer 2", "mailer");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.revoke(&other);
    hand.served.shop.world.store.fail_once(|key| matches!(key, Key::Policy(_)));
    // What fails is met again.
    let _ = hand.counter.turn();
    hand.served.shop.reader("bob");
    assert_eq!(hand.answer().next, Some(Pseudonym([0; 16])));
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
}

#[test]
fn a_letter_that_cannot_be_read_keeps_nobody_from_being_answered() {
    let mut hand = ByHand::new(32);
    hand.served.shop.reader("ada");
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    let letter = Key::Ask(Letter { session: [0; 16], number: 0 });
    hand.served.shop.world.store.put_now(letter, Bytes::from_static(b"half of"));
    *cable.damaged.lock().unwrap() = Some(letter);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
}

#[test]
fn an_application_that_stops_is_shut_though_the_store_failed_meanwhile() {
    let mut hand = ByHand::new(18);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let mut list = hand.served.shop.world.stewardship();
    list.set_state("shop", ApplicationState::Disabled).unwrap();
    // The list was followed by then.
    hand.served.shop.world.store.fail_once(is_registers);
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().gone.len(), 1);
}

#[test]
fn an_ask_that_the_store_failed_under_is_answered_by_the_next_turn() {
    let mut hand = ByHand::new(19);
    assert_eq!(hand.ask(everybody()).leases.len(), 0);
    hand.post(vec![Need::Look]);
    // What was heard is taken away.
    hand.served.shop.world.store.fail_once(|key| matches!(key, Key::Answer(_)));
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().to, Some(1));
}

#[test]
fn a_custodian_that_was_just_taken_in_is_found_by_who_has_not_heard_of_it() {
    let served = Served::new(20);
    let (keys, store) = (Arc::clone(&served.services().keys), &served.shop.world.store);
    let mut heard = served.organisation.clone();
    let place = (keys.organisation(), keys.workspace());
    let cost = PassphraseCost::WEAK_FOR_TESTS;
    let asked = request(place, PASSPHRASE, cost, 1_000, &MachineEntropy).unwrap();
    let applicant = Applicant::verify(&asked.request).unwrap();
    let (organisation, entropy) = (&served.organisation, &MachineEntropy);
    let writer = Writer { keys: &keys, organisation, time_ns: 1_000, entropy };
    let record = writer.admit(&applicant, "office").unwrap();
    let taken_in = Key::Organisation(organisation.position() + 1);
    store.put_now(taken_in, record.into());
    let office = device_file::unlock(&asked.device_file, PASSPHRASE).unwrap();
    let note = letters::write_counter(&office, 1, i64::MAX);
    store.put_now(Key::Counter(office.device_id()), note.into());
    let found = letters::newest_counter(&**store, &mut heard).unwrap().unwrap();
    assert_eq!(found.id(), office.device_id());
}

#[test]
fn an_ask_on_its_way_when_another_was_refused_is_answered_under_a_number_of_its_own() {
    let mut hand = ByHand::new(22);
    hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    let read = Need::Open(page.leases[0].subject, page.leases[0].class);
    let held = hand.served.shop.fence.take();
    hand.post(vec![read.clone()]);
    hand.post(vec![read]);
    hand.counter.turn().unwrap();
    drop(held);
    let answers = [hand.answer(), hand.answer()];
    let refused = Some(Refusal::Unavailable);
    let told = answers.map(|answer| (answer.to, answer.refusal));
    assert_eq!(told, [(Some(1), refused), (Some(2), refused)]);
}

#[test]
fn a_device_that_has_read_further_than_a_new_life_knows_is_answered_where_it_looks() {
    let mut hand = ByHand::new(23);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let late = hand.next_ask(everybody());
    for name in ["bob", "charlie"] {
        hand.served.shop.reader(name);
        assert_eq!(hand.answer().to, None);
        assert!(hand.ask(everybody()).to.is_some());
    }
    // The life that follows finds an ask from before all that.
    hand.reopen();
    hand.served.shop.world.store.put_now(late.0, late.1);
    hand.counter.turn().unwrap();
    assert_eq!(hand.ask(everybody()).leases.len(), 6);
}

#[test]
fn a_device_that_said_nothing_for_long_is_answered_as_by_another_life() {
    let mut hand = ByHand::new(28);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let before = hand.incarnation;
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.ask(vec![Need::Show(ada)]).leases.len(), 2);
    assert_eq!(hand.incarnation, before);
    hand.served.shop.world.clock.advance(Duration::from_secs(1000));
    hand.counter.turn().unwrap();
    // Nothing is known of what it was told.
    assert_eq!(hand.ask(vec![Need::Show(ada)]).leases.len(), 0);
    assert_ne!(hand.incarnation, before);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
}

#[test]
fn whom_a_point_of_somebody_elses_says_nothing_about_is_lent_again_once_it_does() {
    let silence = Silence::default();
    let mut hand = ByHand::over(silence.world(29));
    let [ada, _] = ["ada", "bob"].map(|name| hand.served.shop.reader(name));
    hand.served.shop.act(|shop| shop.set_point(Some("http://127.0.0.1:1")).unwrap());
    assert_eq!(hand.ask(everybody()).leases.len(), 4);
    silence.begin(|request| request.activity != ActivityId::OWN);
    hand.served.shop.put(ada, "owned", "second", b"ada again");
    let told = hand.answer();
    assert_eq!(told.gone.iter().map(|gone| gone.subject).collect::<Vec<_>>(), [ada]);
    silence.end();
    // Nothing is recorded from here on.
    hand.served.shop.world.clock.advance(Duration::from_secs(2));
    assert_eq!(hand.answer().next, Some(Pseudonym([0; 16])));
    let page = hand.ask(everybody());
    assert_eq!(page.leases.iter().map(|own| own.subject).collect::<Vec<_>>(), [ada; 2]);
}

#[test]
fn an_answer_waits_for_what_a_policy_takes_from_another_activity_by_it() {
    let mut hand = ByHand::new(27);
    let ada = hand.served.shop.reader("ada");
    hand.served.shop.act(|shop| {
        registered(shop, "research", Basis::Consent, &["owned"]);
        let all = shop.activities().unwrap();
        let research = all.iter().find(|own| own.name == "research").unwrap().id;
        let together = format!(
            r#"@id("together") forbid (principal, action, resource) when {{ !principal.own &&
            resource.subject.hasTag("{research}") && resource.subject.getTag("{research}").status == "withdrawn" }};"#
        );
        shop.propose_policies(&format!("{}\n{together}", strongroom_cedar::BUILT_IN)).unwrap();
    });
    let withdraw = |hand: &mut ByHand| {
        hand.served.shop.say(ada, "research", Given);
        assert_eq!(hand.ask(everybody()).leases.len(), 2);
        hand.served.shop.say(ada, "research", Withdrawn);
        hand.served.shop.act(|shop| shop.record_count()) - 1
    };
    let holders = |hand: &ByHand, record| {
        let office = hand.served.shop.world.open("shop");
        office.holders(&ada, record).unwrap()
    };
    let record = withdraw(&mut hand);
    let now = hand.served.services().clock.now_ns();
    let waited = holders(&hand, record);
    assert!(waited.len() == 1 && waited[0].is_waited_for(now), "{waited:?}");
    assert_eq!(hand.answer().gone.len(), 1);
    hand.ask(vec![Need::Look]);
    let waited = holders(&hand, record);
    assert!(waited.len() == 1 && waited[0].let_go.is_some(), "{waited:?}");
    // What it let go of before the next answer is not waited for once more.
    hand.served.shop.say(ada, "research", Given);
    hand.served.shop.say(ada, "research", Withdrawn);
    let record = hand.served.shop.act(|shop| shop.record_count()) - 1;
    assert_eq!(holders(&hand, record), []);
    // What it was lent since is.
    let record = withdraw(&mut hand);
    let waited = holders(&hand, record);
    assert!(waited.len() == 1 && waited[0].is_waited_for(now), "{waited:?}");
}
