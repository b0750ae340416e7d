//! What an ask is given, and how much of it at a time.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use strongroom_records::exchange::Need;
use strongroom_records::ids::ClassId;
use strongroom_records::subject::ConsentStatus::Withdrawn;
use strongroom_store::over::Call;
use strongroom_store::{Key, Store};

use crate::by_hand::{ByHand, everybody, is_record};
use crate::common::world::answer;

#[test]
fn whoever_may_list_alone_is_told_names_and_given_no_key() {
    let mut hand = ByHand::new(8);
    hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    assert_eq!(page.leases.len(), 2);
    for lease in &page.leases {
        assert_eq!((lease.action, lease.keys.len(), lease.files.len()), (1, 0, 1));
    }
    let (subject, class) = (page.leases[0].subject, page.leases[0].class);
    let read = hand.ask(vec![Need::Open(subject, class)]);
    let given: Vec<_> = read.leases.iter().map(|own| (own.action, own.keys.len())).collect();
    assert_eq!(given, [(2, 1)]);
    // A set that lets nobody open anything leaves names.
    let closed = r#"@id("closed") forbid (principal, action == Action::"open", resource);"#;
    let closed = format!("{}\n{closed}", strongroom_cedar::BUILT_IN);
    hand.served.shop.act(|shop| shop.propose_policies(&closed).map(drop).unwrap());
    let read = hand.ask(vec![Need::Open(subject, class), Need::Show(subject)]);
    let given: Vec<_> = read.leases.iter().map(|own| (own.action, own.keys.len())).collect();
    assert_eq!(given, [(1, 0), (1, 0)]);
}

#[test]
fn what_is_withdrawn_while_many_are_lent_to_is_told_before_all_of_them_are() {
    let mut hand = ByHand::new(50);
    let people: Vec<_> = (0..40).map(|_| hand.served.shop.reader("somebody")).collect();
    let mut other = hand.served.shop.world.open("shop");
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    assert_eq!(hand.ask(everybody()).leases.len(), 80);
    let opens = people.iter().flat_map(|subject| {
        [ClassId::IDENTIFIABLE, ClassId::OWNED].map(|class| Need::Open(*subject, class))
    });
    hand.post(opens.collect());
    // Once the first of them are on record and nobody is kept out, somebody among the first withdraws, and among the last.
    let (first, last) = (people[0], people[39]);
    let (mut is_on_record, mut looked) = (false, 0);
    *cable.listener.lock().unwrap() = Some(Box::new(move |call| {
        is_on_record |= is_record(call);
        looked += usize::from(is_on_record && matches!(call, Call::Get(Key::Policy(_))));
        if looked < 20 {
            return ControlFlow::Continue(());
        }
        other.follow().unwrap();
        other.catch_up().unwrap();
        for subject in [first, last] {
            other.answer(&subject, &answer("newsletter", Withdrawn)).unwrap();
        }
        ControlFlow::Break(())
    }));
    let told = hand.answer();
    let gone: Vec<_> = told.gone.iter().map(|gone| gone.subject).collect();
    assert!(told.to.is_none() && gone.contains(&first) && gone.contains(&last));
    let given = hand.answer();
    let lent: Vec<_> = given.leases.iter().map(|lease| lease.subject).collect();
    assert_eq!((given.to, lent.len()), (Some(1), 76));
    assert!(!lent.contains(&first) && !lent.contains(&last));
}

#[test]
fn while_an_act_waits_an_ask_is_given_what_one_record_lends_and_the_rest_when_it_asks_on() {
    let mut hand = ByHand::new(71);
    let people: Vec<_> = (0..40).map(|_| hand.served.shop.reader("somebody")).collect();
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    // The act begins as the first of them are put on record.
    let act = hand.act_at_a_record(&cable);
    let mut lent = Vec::new();
    let first = hand.ask(everybody());
    assert_eq!(first.leases.len(), 32);
    drop(act.lock().unwrap().take().unwrap());
    lent.extend(first.leases);
    let rest = hand.ask(vec![Need::Page(first.next.unwrap())]);
    assert_eq!((rest.leases.len(), rest.next), (48, None));
    lent.extend(rest.leases);
    let mut listed: Vec<_> = lent.iter().map(|lease| (lease.subject, lease.class)).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 80, "each of them once");
    let opens = people.iter().flat_map(|subject| {
        [ClassId::IDENTIFIABLE, ClassId::OWNED].map(|class| Need::Open(*subject, class))
    });
    let opens: Vec<Need> = opens.collect();
    let act = hand.act_at_a_record(&cable);
    let first = hand.ask(opens.clone());
    assert!(first.gone.is_empty() && first.next.is_none());
    let first: Vec<_> =
        first.leases.iter().map(|lease| Need::Open(lease.subject, lease.class)).collect();
    assert_eq!(first, opens[..32]);
    drop(act.lock().unwrap().take().unwrap());
    assert_eq!(hand.ask(opens[32..].to_vec()).leases.len(), 48);
}

#[test]
fn an_ask_is_given_no_more_than_what_is_still_of_use_when_it_is_answered() {
    let mut hand = ByHand::new(72);
    for _ in 0..60 {
        hand.served.shop.reader("somebody");
    }
    hand.served.shop.act(|shop| shop.set_lease(ClassId::IDENTIFIABLE, 2).unwrap());
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    // A record takes long: all of them would take as long as the shortest lease.
    let clock = Arc::clone(&hand.served.shop.world.clock);
    let slow = move |call| {
        if is_record(call) {
            clock.advance(Duration::from_millis(400));
        }
        ControlFlow::Continue(())
    };
    *cable.listener.lock().unwrap() = Some(Box::new(slow));
    let mut lent = Vec::new();
    let mut page = hand.ask(everybody());
    assert_eq!(page.leases.len(), 64, "what two records lend");
    lent.append(&mut page.leases);
    let mut rest = hand.ask(vec![Need::Page(page.next.unwrap())]);
    assert_eq!((rest.leases.len(), rest.next), (56, None));
    lent.append(&mut rest.leases);
    let mut people: Vec<_> = lent.iter().map(|lease| (lease.subject, lease.class)).collect();
    people.sort();
    people.dedup();
    assert_eq!(people.len(), 120, "each of them once");
}

#[test]
fn whoever_is_on_a_page_is_lent_however_much_was_asked_for_with_it() {
    let mut hand = ByHand::new(73);
    let known: Vec<_> = (0..130).map(|_| hand.served.shop.reader("somebody")).collect();
    let mut page = hand.ask(everybody());
    let mut next = page.next;
    while let Some(from) = next {
        page = hand.ask(vec![Need::Page(from)]);
        next = page.next;
    }
    for _ in 0..130 {
        hand.served.shop.reader("somebody else");
    }
    // They are told of by a hint: there is a page of them.
    let hint = hand.answer();
    let mut next = Some(hint.next.unwrap());
    let mut shown = BTreeSet::new();
    let twice = known.iter().chain(&known).take(255);
    let mut needs: Vec<Need> = twice.map(|subject| Need::Show(*subject)).collect();
    while let Some(from) = next {
        needs.push(Need::Page(from));
        let answer = hand.ask(std::mem::take(&mut needs));
        shown.extend(answer.leases.iter().map(|lease| lease.subject));
        next = answer.next;
    }
    assert_eq!(shown.len(), 260);
}
