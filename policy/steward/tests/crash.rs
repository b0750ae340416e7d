//! The machine dies at every single change of the store, in the middle of every operation. Afterwards everything is as
//! before or as after, and asking again finishes it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{World, answer, own, registered};
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::log::Kind;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{Carry, Custodian, Depth, ErrorKind, Kept, verify_receipt};

const PROFILE: &[u8] = br#"{"email": "ada@example.com"}"#;

fn prepared(seed: u64) -> (World, SubjectId, SubjectId) {
    let world = World::new(seed);
    let mut shop = world.create("shop");
    shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    let ada = shop.create_subject(&[]).unwrap();
    let bob = shop.create_subject(&[]).unwrap();
    for subject in [ada, bob] {
        shop.put_file(&own(subject, "identifiable"), "profile.json", PROFILE).unwrap();
        shop.put_file(&own(subject, "owned"), "order.txt", b"17 roses").unwrap();
    }
    world.clock.advance(std::time::Duration::from_secs(60));
    (world, ada, bob)
}

/// Lets the machine die after 0, 1, 2, … changes within `act`, until it gets through. After each death the register is
/// opened anew, must be sound, and `check` looks at it.
fn die_everywhere(
    seed: u64,
    act: impl Fn(&mut Custodian, SubjectId) -> Result<(), strongroom_steward::Error>,
    check: impl Fn(&World, &mut Custodian, SubjectId, SubjectId),
) -> u64 {
    die_at_every(1, seed, act, check)
}

/// The same at every so manieth change; at each in the long form.
fn die_at_every(
    stride: usize,
    seed: u64,
    act: impl Fn(&mut Custodian, SubjectId) -> Result<(), strongroom_steward::Error>,
    check: impl Fn(&World, &mut Custodian, SubjectId, SubjectId),
) -> u64 {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { stride };
    for calls in (0..400).step_by(stride) {
        let (world, ada, bob) = prepared(seed);
        let mut shop = world.open("shop");
        world.store.die_after(Some(calls));
        let result = act(&mut shop, ada);
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        let findings = shop.verify().unwrap().findings;
        assert!(findings.is_empty(), "after {calls} changes: {findings:?}");
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
        check(&world, &mut shop, ada, bob);
        if result.is_ok() {
            return calls;
        }
    }
    panic!("it never gets through");
}

#[test]
fn erasure_is_resumable_after_every_step_and_never_half_done() {
    let deaths = die_everywhere(
        31,
        |shop, ada| shop.erase(&ada).map(drop),
        |world, shop, ada, bob| {
            let state = shop.subject(&ada).unwrap().state;
            let read = shop.read_file(&own(ada, "owned"), "order.txt");
            match state {
                SubjectState::Active => assert!(read.is_ok()),
                _ => assert_eq!(read.err().unwrap().kind(), ErrorKind::Denied),
            }
            let first = shop.erase(&ada).unwrap();
            assert!(verify_receipt(&first.receipt, &world.services.organisation.now()).is_ok());
            assert_eq!(shop.erase(&ada).unwrap().receipt, first.receipt);
            assert_eq!(first.deed.objects_left, 0);
            assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erased);
            assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap(), [bob]);
            // Exactly one application key is left in custody.
            let application = shop.listed().application;
            let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
            assert_eq!(left.len(), 1);
            assert!(shop.verify().unwrap().findings.is_empty());
        },
    );
    assert!(deaths > 20, "{deaths}");
}

#[test]
fn a_hold_on_somebody_whose_erasure_was_interrupted_is_heeded_till_the_first_key_is_gone() {
    let (mut heeded, mut late) = (0, 0);
    for calls in 0..60 {
        let (world, ada, _) = prepared(44);
        let mut shop = world.open("shop");
        world.store.die_after(Some(calls));
        let is_through = shop.erase(&ada).is_ok();
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        let placed = shop.place_hold(&ada, "litigation");
        match shop.subject(&ada).unwrap().state {
            SubjectState::Erased => {
                let refused = placed.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::NotFound);
                let is_begun = refused.to_string().contains("is being erased");
                let is_unfinished = shop.unfinished_erasures().unwrap() == [ada];
                assert_eq!(is_begun, is_unfinished, "after {calls} changes: {refused}");
                late += u32::from(is_begun);
            }
            before => {
                placed.unwrap();
                let held = shop.erase(&ada).map(drop).unwrap_err();
                assert_eq!(held.kind(), ErrorKind::Held);
                assert_eq!(shop.subject(&ada).unwrap().state, before);
                shop.lift_hold(&ada, "litigation").unwrap();
                heeded += u32::from(before == SubjectState::Erasing);
            }
        }
        shop.erase(&ada).unwrap();
        assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erased);
        assert!(shop.verify().unwrap().findings.is_empty());
        if is_through {
            break;
        }
    }
    assert!(heeded > 2 && late > 2, "{heeded}, {late}");
}

/// A change of the application key that died before its record left a key that opens ada in what was stored then.
#[test]
fn a_key_that_an_interrupted_rotation_left_ends_before_an_erasure_is_said_to_be_final() {
    let mut is_through = false;
    for calls in 0..60 {
        let (world, ada, bob) = prepared(42);
        let mut shop = world.open("shop");
        let application = shop.listed().application;
        let keys = || strongroom_custody::Custody::list(&world.vault, &application).unwrap();
        world.store.die_after(Some(1));
        shop.rotate().unwrap_err();
        world.store.die_after(None);
        assert_eq!(keys().len(), 2);
        let mut shop = world.open("shop");
        world.store.die_after(Some(calls));
        is_through = shop.erase(&ada).is_ok();
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        let erased = shop.erase(&ada).unwrap();
        assert!(erased.deed.irrecoverable_from.is_some());
        assert_eq!(keys().len(), 1, "after {calls} changes");
        assert!(verify_receipt(&erased.receipt, &world.services.organisation.now()).is_ok());
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
        assert!(shop.verify().unwrap().findings.is_empty());
        if is_through {
            break;
        }
    }
    assert!(is_through);
}

#[test]
fn rotation_is_resumable_after_every_step() {
    let deaths = die_everywhere(
        32,
        |shop, _| shop.rotate().map(drop),
        |world, shop, ada, _| {
            assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
            shop.rotate().unwrap();
            let application = shop.listed().application;
            let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
            assert_eq!(left.len(), 1);
            assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
        },
    );
    assert!(deaths >= 4, "{deaths}");
}

#[test]
fn a_change_of_the_registers_own_key_is_resumable_after_every_step_and_nothing_is_unreadable_meanwhile()
 {
    let change = |shop: &mut Custodian| shop.rotate_register(&mut |_| ());
    let deaths = die_everywhere(
        41,
        |shop, _| change(shop).map(drop),
        |world, shop, ada, bob| {
            let before = shop.register_key().unwrap();
            assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
            shop.put_file(&own(ada, "owned"), "order.txt", b"18 roses").unwrap();
            let done = change(shop).unwrap();
            // One that began goes on, and one that never did, or is done, begins.
            let begun = u64::from(before.is_whole);
            assert_eq!(done.generation, before.generation + begun);
            let after = shop.register_key().unwrap();
            assert!(after.is_whole && !after.is_due);
            assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap().len(), 2);
            for (subject, order) in [(ada, b"18 roses"), (bob, b"17 roses")] {
                let read = shop.read_file(&own(subject, "owned"), "order.txt").unwrap();
                assert_eq!(read, order);
                assert!(shop.report(&subject).unwrap().holds());
            }
            let application = shop.listed().application;
            let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
            assert_eq!(left.len(), 1, "application keys");
            assert!(shop.verify().unwrap().findings.is_empty());
        },
    );
    assert!(deaths > 15, "{deaths}");
}

/// Readers go on at every moment, whatever died; a deep rotation goes on where it stood, for one subject and for all.
#[test]
fn deep_rotation_is_resumable_after_every_step_and_nothing_is_unreadable_meanwhile() {
    let deep = |shop: &mut Custodian, subject: &SubjectId| {
        shop.rotate_subject(subject, Depth::Deep, None, &mut |_| ())
    };
    let whole = |world: &World, shop: &mut Custodian, subject: SubjectId| {
        assert_eq!(shop.read_file(&own(subject, "owned"), "order.txt").unwrap(), b"17 roses");
        assert_eq!(shop.read_file(&own(subject, "identifiable"), "profile.json").unwrap(), PROFILE);
        let application = shop.listed().application;
        let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
        assert_eq!(left.len(), 1, "application keys");
    };
    let deaths = die_everywhere(
        35,
        |shop, ada| deep(shop, &ada).map(drop),
        |world, shop, ada, _| {
            assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
            let done = deep(shop, &ada).unwrap();
            assert!(done.deed.generation >= 2 && done.deed.before != done.deed.after);
            // A key that was new to the one that died is not to whoever asks now.
            assert_eq!(done.deed.files, 2);
            whole(world, shop, ada);
        },
    );
    assert!(deaths > 20, "{deaths}");
    let deaths = die_at_every(
        5,
        39,
        |shop, ada| deep(shop, &ada).map(drop),
        |world, shop, ada, bob| {
            // Nor to whoever goes on with everybody's that began since.
            world.store.die_after(Some(3));
            shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap_err();
            world.store.die_after(None);
            let mut shop = world.open("shop");
            assert!(shop.rotating_since().unwrap().is_some());
            let done = shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap().done;
            assert_eq!(done.files, 4);
            whole(world, &mut shop, ada);
            whole(world, &mut shop, bob);
        },
    );
    assert!(deaths > 20, "{deaths}");
    let deaths = die_at_every(
        5,
        36,
        |shop, _| shop.rotate_everybody(Depth::Deep, &mut |_| ()).map(drop),
        |world, shop, ada, bob| {
            let was_rotating = shop.rotating_since().unwrap().is_some();
            let done = shop.rotate_everybody(Depth::Shallow, &mut |_| ()).unwrap().done;
            // What began deep ends deep.
            assert!(!was_rotating || done.files <= 4);
            assert!(shop.rotating_since().unwrap().is_none());
            whole(world, shop, ada);
            whole(world, shop, bob);
        },
    );
    assert!(deaths > 20, "{deaths}");
}

#[test]
fn retention_is_resumable_after_every_step() {
    // What was written before now is due; bob is held, so that somebody's file stays.
    let act = |shop: &mut Custodian, ada: SubjectId| {
        let others = shop.subjects()?.into_iter().filter(|line| line.subject != ada);
        for bob in others.filter(|line| line.holds.is_empty()) {
            shop.place_hold(&bob.subject, "litigation")?;
        }
        shop.set_retention("owned", Some(0))?;
        shop.retire(Carry::Out).map(drop)
    };
    let deaths = die_everywhere(38, act, |world, shop, ada, _| {
        act(shop, ada).unwrap();
        assert!(shop.files(&own(ada, "owned")).unwrap().is_empty());
        let read = shop.read_file(&own(ada, "identifiable"), "profile.json").unwrap();
        assert_eq!(read, PROFILE);
        let application = shop.listed().application;
        let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
        assert_eq!(left.len(), 1, "application keys");
    });
    assert!(deaths > 10, "{deaths}");
}

/// Ada is told of and erased, bob has somebody who has a use for him. After each death somebody sweeps again.
#[test]
fn retention_of_people_is_resumable_after_every_step() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    let mut deaths = [0, 0];
    for (sweep, calls) in
        [0, 1].into_iter().flat_map(|sweep| (0..200).map(move |calls| (sweep, calls)))
    {
        if deaths[sweep] < calls {
            continue;
        }
        let (world, ada, bob) = prepared(39);
        let mut shop = world.open("shop");
        shop.set_idle_rule(Some((100, 30))).unwrap();
        for now in 0..2 {
            world.clock.advance(DAY * [75, 30][now]);
            shop.read_file(&own(bob, "owned"), "order.txt").unwrap();
            world.store.die_after((now == sweep).then_some(calls));
            let done = shop.retire(Carry::Out);
            world.store.die_after(None);
            let is_dead = done.map_or(true, |retired| retired.idle.failure.is_some());
            deaths[sweep] += u64::from(now == sweep && is_dead);
            drop(shop);
            shop = world.open("shop");
            let findings = shop.verify().unwrap().findings;
            assert!(findings.is_empty(), "sweep {sweep}, {calls} changes: {findings:?}");
            if shop.subject(&ada).unwrap().state == SubjectState::Erasing {
                // Nothing of hers is gone yet, so that a hold keeps what there is till it is lifted.
                shop.place_hold(&ada, "late").unwrap();
                let idle = shop.retire(Carry::Out).unwrap().idle;
                assert_eq!((idle.kept, idle.erased), (1, vec![]));
                assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erasing);
                assert_eq!(shop.idle_subjects().unwrap().lines[0].kept, Some(Kept::Held));
                shop.lift_hold(&ada, "late").unwrap();
            }
            shop.retire(Carry::Out).unwrap();
        }
        assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erased);
        assert_eq!(shop.retire(Carry::Out).unwrap(), strongroom_steward::Retired::default());
        let report = shop.report(&ada).unwrap();
        let mut kinds: Vec<_> = report.lines.iter().map(|line| line.entry.kind).collect();
        let end = [Kind::Noticed, Kind::ErasureReceived, Kind::ErasureKeys, Kind::ErasureClosed];
        kinds.retain(|kind| end.contains(kind));
        assert_eq!(kinds, end, "sweep {sweep}, {calls} changes");
        let first = shop.erase(&ada).unwrap();
        assert!(verify_receipt(&first.receipt, &world.services.organisation.now()).is_ok());
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
        let application = shop.listed().application;
        let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
        assert_eq!(left.len(), 1, "application keys");
    }
    assert!(deaths[0] >= 2 && deaths[1] > 20, "{deaths:?}");
}

/// An erasure does not wait for a rotation, and a rotation never brings anybody back.
#[test]
fn an_erasure_in_the_middle_of_a_rotation_ends_both() {
    for calls in [5, 12, 20, 28, 36, 44] {
        let (world, ada, bob) = prepared(37);
        let mut shop = world.open("shop");
        world.store.die_after(Some(calls));
        let _ = shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ());
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        let erased = shop.erase(&ada).unwrap();
        assert_eq!(erased.deed.objects_left, 0);
        let refused = shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
        assert!(shop.verify().unwrap().findings.is_empty());
    }
}

#[test]
fn writes_answers_and_new_subjects_are_whole_or_absent() {
    die_everywhere(
        33,
        |shop, ada| {
            shop.put_file(&own(ada, "owned"), "order.txt", b"18 roses")?;
            shop.answer(&ada, &answer("newsletter", ConsentStatus::Given))?;
            let eve = shop.create_subject(&[("email".into(), "eve@example.com".into())])?;
            shop.put_file(&own(eve, "identifiable"), "profile.json", PROFILE).map(drop)
        },
        |_, shop, ada, _| {
            let order = shop.read_file(&own(ada, "owned"), "order.txt").unwrap();
            assert!(order == b"17 roses" || order == b"18 roses");
            let consents = shop.consents(&ada).unwrap();
            assert!(matches!(consents[0].1, ConsentStatus::Requested | ConsentStatus::Given));
            for subject in shop.subjects().unwrap() {
                assert!(shop.report(&subject.subject).unwrap().holds());
            }
            let found = shop.find_subjects("email", "eve@example.com").unwrap();
            assert!(found.len() <= 1);
        },
    );
}

#[test]
fn attributes_that_are_set_are_whole_or_as_before() {
    let set = |shop: &mut Custodian, ada: SubjectId, name: &str, value: &str| {
        shop.set_attributes(&ada, &[(name.to_owned(), Some(value.to_owned()))])
    };
    die_everywhere(
        40,
        |shop, ada| {
            set(shop, ada, "member", "17")?;
            shop.set_attributes(
                &ada,
                &[("member".into(), Some("18".into())), ("phone".into(), Some("555".into()))],
            )
        },
        |_, shop, ada, bob| {
            let mut found = |name, value| shop.find_subjects(name, value).unwrap() == [ada];
            let (before, after) = (found("member", "17"), found("member", "18"));
            assert!(!(before && after), "both");
            assert_eq!(after, found("phone", "555"));
            set(shop, ada, "member", "19").unwrap();
            for old in ["17", "18"] {
                assert_eq!(shop.find_subjects("member", old).unwrap(), []);
            }
            assert_eq!(shop.find_subjects("member", "19").unwrap(), [ada]);
            let both = shop.find_subjects("email", "ada@example.com").unwrap();
            assert!(both.len() == 2 && both.contains(&bob), "{both:?}");
        },
    );
}

#[test]
fn an_application_half_made_leaves_its_name_free() {
    for calls in 0..40 {
        let world = World::new(34);
        world.store.die_after(Some(calls));
        let made = world.stewardship().create("shop", "vault:", world.custody(), 1).is_ok();
        world.store.die_after(None);
        let again = world.stewardship().create("shop", "vault:", world.custody(), 1);
        match made {
            true => assert_eq!(again.err().unwrap().kind(), ErrorKind::Exists),
            false => assert!(again.is_ok() || again.err().unwrap().kind() == ErrorKind::Exists),
        }
        let mut shop = world.open("shop");
        assert!(shop.create_subject(&[]).is_ok());
        if made {
            return;
        }
    }
    panic!("it never gets through");
}
