//! Erasures that were interrupted: retention ends them, whoever began them.

use strongroom_records::ids::SubjectId;
use strongroom_records::subject::SubjectState;
use strongroom_steward::{Carry, Custodian, Result, Swept, Turnstile};

use crate::common::World;

use super::{crowd, days, due, person, shop, state, swept};

#[test]
fn an_erasure_that_retention_began_is_listed_and_finished_though_people_are_kept_longer_by_then() {
    let mut count = 0;
    for calls in (0..).step_by(2) {
        let world = World::new(922);
        let mut shop = shop(&world);
        let ada = shop.create_subject(&[]).unwrap();
        days(&world, 60);
        crowd(&mut shop, 63);
        days(&world, 20);
        assert_eq!(swept(&mut shop), Swept { noticed: 1, ..Swept::default() });
        days(&world, 30);
        world.store.die_after(Some(calls));
        let done = shop.retire(Carry::Out);
        world.store.die_after(None);
        let mut shop = world.open("shop");
        shop.set_idle_rule(Some((10_000, 31))).unwrap();
        let is_unfinished = shop.unfinished_erasures().unwrap() == [ada];
        let listed: Vec<_> =
            due(&mut shop).iter().map(|line| (line.subject, line.is_begun)).collect();
        let (all, erased) =
            if is_unfinished { (vec![(ada, true)], vec![ada]) } else { (vec![], vec![]) };
        assert_eq!(listed, all, "{calls}");
        assert_eq!(shop.retire(Carry::Dry).unwrap().idle.erased, erased, "{calls}");
        assert_eq!(swept(&mut shop).erased, erased, "{calls}");
        assert_eq!(due(&mut shop), [], "{calls}");
        count += u32::from(is_unfinished);
        if done.is_ok_and(|done| done.idle.failure.is_none()) {
            break;
        }
    }
    assert!(count > 2, "{count}");
}

/// Where people are kept for ever as well, by a timer that is for files alone; and by whatever opens for long.
#[test]
fn an_erasure_that_was_interrupted_is_finished_also_where_no_rule_is_for_people() {
    type End = fn(&mut Custodian) -> Swept;
    let ends: [End; 2] = [swept, |shop| shop.end_interrupted().unwrap()];
    for end in ends {
        let mut count = 0;
        for calls in 0.. {
            let world = World::new(924);
            let mut shop = shop(&world);
            shop.set_idle_rule(None).unwrap();
            let ada = person(&mut shop);
            crowd(&mut shop, 70);
            world.store.die_after(Some(calls));
            let done = shop.erase(&ada);
            world.store.die_after(None);
            let mut shop = world.open("shop");
            let is_unfinished = shop.unfinished_erasures().unwrap() == [ada];
            let erased = if is_unfinished { vec![ada] } else { vec![] };
            assert_eq!(end(&mut shop), Swept { erased, ..Swept::default() }, "{calls}");
            assert_eq!(shop.unfinished_erasures().unwrap(), [], "{calls}");
            // Nothing is looked for twice.
            let before = shop.record_count();
            assert_eq!(end(&mut shop), Swept::default(), "{calls}");
            assert_eq!(shop.record_count(), before, "{calls}");
            count += u32::from(is_unfinished);
            if done.is_ok() {
                break;
            }
        }
        assert!(count > 2, "{count}");
    }
}

#[test]
fn an_interrupted_erasure_of_somebody_who_is_held_since_stays_where_it_is() {
    let world = World::new(925);
    let mut shop = shop(&world);
    shop.set_idle_rule(None).unwrap();
    let ada = person(&mut shop);
    // Received, and nothing else.
    for calls in 0.. {
        world.store.die_after(Some(calls));
        assert!(shop.erase(&ada).is_err());
        world.store.die_after(None);
        shop = world.open("shop");
        if state(&shop, &ada) == SubjectState::Erasing {
            break;
        }
    }
    shop.place_hold(&ada, "litigation").unwrap();
    assert_eq!(shop.end_interrupted().unwrap(), Swept { kept: 1, ..Swept::default() });
    assert_eq!(state(&shop, &ada), SubjectState::Erasing);
    shop.lift_hold(&ada, "litigation").unwrap();
    assert_eq!(shop.end_interrupted().unwrap().erased, [ada]);
}

#[test]
fn whoevers_erasure_or_merge_was_interrupted_is_listed_and_erased_by_the_next_run() {
    type Act = fn(&mut Custodian, [&SubjectId; 2]) -> bool;
    let acts: [Act; 2] = [
        |shop, [_, ada]| shop.erase(ada).is_ok(),
        |shop, [bob, ada]| shop.merge_subjects(bob, ada).is_ok(),
    ];
    for act in acts {
        let (mut count, mut is_through) = (0, false);
        for calls in (0..100).step_by(3) {
            let world = World::new(924);
            let mut shop = shop(&world);
            let [bob, ada] = [(); 2].map(|()| person(&mut shop));
            // Their block is full, and nobody in it is due for a long time.
            crowd(&mut shop, 63);
            assert_eq!(swept(&mut shop), Swept::default());
            world.store.die_after(Some(calls));
            is_through = act(&mut shop, [&bob, &ada]);
            world.store.die_after(None);
            let mut shop = world.open("shop");
            let unfinished = shop.unfinished_erasures().unwrap();
            let listed: Vec<_> =
                due(&mut shop).iter().map(|line| (line.subject, line.is_begun)).collect();
            let all: Vec<_> = unfinished.iter().map(|one| (*one, true)).collect();
            assert_eq!(listed, all, "{calls}");
            assert_eq!(swept(&mut shop).erased, unfinished, "{calls}");
            assert_eq!((due(&mut shop), swept(&mut shop)), (vec![], Swept::default()), "{calls}");
            count += unfinished.len();
            if is_through {
                break;
            }
        }
        assert!(is_through && count > 2, "{count}");
    }
}

/// Others, who do one thing the first time they are let in.
struct Others(Option<Box<dyn FnOnce() + Send>>);

impl Turnstile for Others {
    fn is_due(&self) -> bool {
        self.0.is_some()
    }

    fn leave(&mut self) {
        self.0.take().into_iter().for_each(|act| act());
    }

    fn enter(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn whoevers_erasure_is_interrupted_while_a_run_looks_at_others_is_erased_by_the_next_run() {
    for before in ["nobody looked", "notice is given", "another one is erased"] {
        let mut count = 0;
        for calls in (0..40).step_by(3) {
            let world = World::new(925);
            let mut shop = shop(&world);
            // Their block is full.
            let people = crowd(&mut shop, 64);
            let [ada, bob] = [people[7], people[50]];
            if before != "nobody looked" {
                assert_eq!(swept(&mut shop), Swept::default());
                days(&world, 60);
                for subject in people.iter().filter(|subject| **subject != bob) {
                    shop.restrict(subject, true).unwrap();
                    shop.restrict(subject, false).unwrap();
                }
                days(&world, 10);
            }
            if before == "another one is erased" {
                assert_eq!(swept(&mut shop).noticed, 1);
                days(&world, 30);
            }
            let (mut other, store) = (world.open("shop"), world.store.clone());
            shop.set_turnstile(Box::new(Others(Some(Box::new(move || {
                other.follow().unwrap();
                other.catch_up().unwrap();
                store.die_after(Some(calls));
                let _ = other.erase(&ada);
                store.die_after(None);
            })))));
            let first = swept(&mut shop);
            assert_eq!(first.noticed, u64::from(before == "notice is given"));
            assert_eq!(first.erased.contains(&bob), before == "another one is erased");
            let mut shop = world.open("shop");
            let unfinished = shop.unfinished_erasures().unwrap();
            assert_eq!(swept(&mut shop).erased, unfinished, "{before}, {calls}");
            count += unfinished.len();
        }
        assert!(count > 2, "{before}: {count}");
    }
}
