//! Two subjects that are one person: nothing is lost, nothing is widened, and one of them is gone as after every erasure.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use common::{World, answer, by, kind, own, registered};
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{Answer, Custodian, ErrorKind, verify_receipt};

const SCHEMA: &str = r#"{"email": {"type": "email", "lookup": true}}"#;

fn profile(email: &str) -> Vec<u8> {
    format!("{{\"email\": \"{email}\"}}").into_bytes()
}

/// A shop that knows one woman twice, and bob.
fn shop(world: &World) -> (Custodian, [SubjectId; 3]) {
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable", "owned"]);
    let people = ["ada@example.com", "ada@work.example", "bob@example.com"].map(|email| {
        let subject = shop.create_subject(&[]).unwrap();
        shop.put_file(&own(subject, "identifiable"), "profile.json", &profile(email)).unwrap();
        shop.put_file(&own(subject, "owned"), "order.txt", email.as_bytes()).unwrap();
        subject
    });
    shop.put_file(&own(people[1], "owned"), "bill.txt", b"17 roses").unwrap();
    (shop, people)
}

fn names(shop: &mut Custodian, subject: SubjectId, class: &str) -> BTreeSet<String> {
    shop.files(&own(subject, class)).unwrap().into_iter().map(|line| line.name).collect()
}

/// Whole and merged, whatever happened before.
fn expect_merged(world: &World, shop: &mut Custodian, [ada, twin, bob]: [SubjectId; 3]) {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names(shop, ada, "owned"), set(&["order.txt", "order (2).txt", "bill.txt"]));
    assert_eq!(names(shop, ada, "identifiable"), set(&["profile.json", "profile (2).json"]));
    let read = |shop: &mut Custodian, name: &str| shop.read_file(&own(ada, "owned"), name).unwrap();
    assert_eq!(read(shop, "order.txt"), b"ada@example.com");
    assert_eq!(read(shop, "order (2).txt"), b"ada@work.example");
    assert_eq!(read(shop, "bill.txt"), b"17 roses");
    for email in ["ada@example.com", "ada@work.example"] {
        assert_eq!(shop.find_subjects("email", email).unwrap(), [ada], "{email}");
    }
    assert_eq!(shop.subject(&twin).unwrap().state, SubjectState::Erased);
    assert_eq!(kind(shop.read_file(&own(twin, "owned"), "bill.txt")), ErrorKind::Denied);
    assert_eq!(names(shop, bob, "owned"), set(&["order.txt"]));
    assert_eq!(shop.merged_into(&ada).unwrap(), [twin]);
    assert!(shop.report(&ada).unwrap().holds() && shop.report(&twin).unwrap().holds());
    assert!(shop.verify().unwrap().findings.is_empty());
    let application = shop.listed().application;
    let left = strongroom_custody::Custody::list(&world.vault, &application).unwrap();
    assert_eq!(left.len(), 1, "application keys");
}

#[test]
fn what_is_of_the_one_is_the_others_and_the_one_is_erased() {
    let world = World::new(61);
    let (mut shop, [ada, twin, bob]) = shop(&world);
    let before = shop.files(&own(twin, "owned")).unwrap();
    world.clock.advance(std::time::Duration::from_secs(9));
    let merged = shop.merge_subjects(&ada, &twin).unwrap();
    assert_eq!(merged.files, 3);
    assert!(verify_receipt(&merged.erased.receipt, &world.services.organisation.now()).is_ok());
    expect_merged(&world, &mut shop, [ada, twin, bob]);
    // Retention counts from when something was written, not from when it was moved.
    let after = shop.files(&own(ada, "owned")).unwrap();
    let written = |name: &str| after.iter().find(|line| line.name == name).unwrap().written;
    assert_eq!(
        written("bill.txt"),
        before.iter().find(|line| line.name == "bill.txt").unwrap().written
    );
    // Said again, it is the same answer; anything else is refused.
    let again = shop.merge_subjects(&ada, &twin).unwrap();
    assert_eq!((again.files, again.erased.receipt), (0, merged.erased.receipt));
    assert_eq!(kind(shop.merge_subjects(&ada, &ada)), ErrorKind::Invalid);
    assert_eq!(kind(shop.merge_subjects(&bob, &twin)), ErrorKind::NotFound);
    assert_eq!(kind(shop.merge_subjects(&twin, &ada)), ErrorKind::NotFound);
}

#[test]
fn a_no_of_either_stays_and_two_yeses_become_the_narrower() {
    use ConsentStatus::{Deferred, Given, Refused, Requested, Withdrawn};
    let said = |status: Option<ConsentStatus>, classes: &[&str]| {
        status.map(|status| Answer {
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            ..answer("newsletter", status)
        })
    };
    let both = ["identifiable", "owned"];
    let table = [
        (said(None, &[]), said(Some(Given), &both), Given, vec![true, true]),
        (said(Some(Given), &both), said(None, &[]), Given, vec![true, true]),
        (said(Some(Refused), &both), said(Some(Given), &both), Refused, vec![false, false]),
        (said(Some(Given), &both), said(Some(Withdrawn), &both), Withdrawn, vec![false, false]),
        (said(Some(Deferred), &both), said(Some(Given), &["owned"]), Given, vec![false, true]),
        (said(Some(Given), &["owned"]), said(Some(Given), &both), Given, vec![false, true]),
        (
            said(Some(Given), &["owned"]),
            said(Some(Given), &["identifiable"]),
            Requested,
            vec![false, false],
        ),
        (said(None, &[]), said(None, &[]), Requested, vec![false, false]),
    ];
    let world = World::new(62);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &both);
    for (number, (ours, theirs, status, opened)) in table.into_iter().enumerate() {
        let [ada, twin] = [0, 1].map(|_| shop.create_subject(&[]).unwrap());
        for class in both {
            shop.put_file(&own(ada, class), "file", b"roses").unwrap();
        }
        let name = shop.name_for(&ada, "newsletter").unwrap();
        for (subject, said) in [(ada, ours), (twin, theirs)] {
            if let Some(said) = said {
                shop.answer(&subject, &said).unwrap();
            }
            world.clock.advance(std::time::Duration::from_secs(1));
        }
        shop.merge_subjects(&ada, &twin).unwrap();
        assert_eq!(shop.consents(&ada).unwrap()[0].1, status, "{number}");
        let read = both.map(|class| shop.read_file(&by("newsletter", name, class), "file").is_ok());
        assert_eq!(read.to_vec(), opened, "{number}");
        let everybody = shop.prospects(&shop.rules("newsletter").unwrap()).unwrap();
        let is_shown = everybody.iter().any(|own| own.subject == ada);
        assert_eq!(is_shown, opened.contains(&true), "{number}");
    }
}

#[test]
fn what_was_held_or_restricted_stays_so() {
    let world = World::new(63);
    let (mut shop, [ada, twin, _]) = shop(&world);
    shop.place_hold(&twin, "litigation").unwrap();
    shop.restrict(&twin, true).unwrap();
    shop.merge_subjects(&ada, &twin).unwrap();
    assert_eq!(shop.subject(&twin).unwrap().state, SubjectState::Erased);
    assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Restricted);
    assert_eq!(kind(shop.erase(&ada)), ErrorKind::Held);
    shop.lift_hold(&ada, "litigation").unwrap();
    shop.erase(&ada).unwrap();
}

/// What the twin said no to, or not yes, is never had under what ada said, wherever the machine dies.
#[test]
fn no_file_is_had_under_an_answer_of_the_other_however_far_a_merge_came() {
    use ConsentStatus::{Given, Objected, Requested, Withdrawn};
    let said = |activity: &str, status: ConsentStatus, classes: &[&str]| Answer {
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
        ..answer(activity, status)
    };
    let table = [
        (
            Some(said("newsletter", Given, &["owned"])),
            said("newsletter", Withdrawn, &[]),
            Withdrawn,
        ),
        (
            Some(said("newsletter", Given, &["owned"])),
            said("newsletter", Given, &["identifiable"]),
            Requested,
        ),
        (None, said("fraud", Objected, &[]), Objected),
    ];
    for (ours, theirs, status) in table {
        let mut is_through = false;
        let mut deaths = 0;
        for calls in (0..300).step_by(4) {
            let world = World::new(65);
            let (mut shop, [ada, twin, _]) = shop(&world);
            registered(&mut shop, "fraud", Basis::LegitimateInterest, &["owned"]);
            let activity = theirs.activity.as_str();
            ours.iter().for_each(|said| drop(shop.answer(&ada, said).unwrap()));
            shop.answer(&twin, &theirs).unwrap();
            let name = shop.name_for(&ada, activity).unwrap();
            world.store.die_after(Some(calls));
            is_through = shop.merge_subjects(&ada, &twin).is_ok();
            world.store.die_after(None);
            drop(shop);
            let mut shop = world.open("shop");
            let mut had = shop.files(&by(activity, name, "owned")).unwrap_or_default();
            had.retain(|line| line.name != "order.txt");
            assert!(had.is_empty(), "{activity} has {had:?} after {calls} changes");
            shop.merge_subjects(&ada, &twin).unwrap();
            let all = shop.consents(&ada).unwrap();
            let last = all.iter().find(|(own, _)| own.name == activity).unwrap().1;
            assert_eq!(last, status, "{activity} after {calls} changes");
            assert_eq!(kind(shop.files(&by(activity, name, "owned"))), ErrorKind::Denied);
            assert!(shop.verify().unwrap().findings.is_empty());
            deaths += 1;
            if is_through {
                break;
            }
        }
        assert!(is_through && deaths > 5, "{deaths}");
    }
}

/// The machine dies at every single change; the same call goes on.
#[test]
fn a_merge_is_resumable_after_every_step_and_no_file_is_ever_in_two_folders() {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { 8 };
    for calls in (0..300).step_by(stride) {
        let world = World::new(64);
        let (mut shop, [ada, twin, bob]) = shop(&world);
        world.store.die_after(Some(calls));
        let is_through = shop.merge_subjects(&ada, &twin).is_ok();
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        let mut all: Vec<Vec<u8>> = Vec::new();
        for subject in [ada, twin] {
            let lives = shop.subject(&subject).unwrap().state == SubjectState::Active;
            for name in lives.then(|| names(&mut shop, subject, "owned")).into_iter().flatten() {
                all.push(shop.read_file(&own(subject, "owned"), &name).unwrap());
            }
        }
        all.sort();
        let whole: [&[u8]; 3] = [b"17 roses", b"ada@example.com", b"ada@work.example"];
        assert_eq!(all, whole, "after {calls} changes");
        shop.merge_subjects(&ada, &twin).unwrap();
        expect_merged(&world, &mut shop, [ada, twin, bob]);
        if is_through {
            assert!(calls > 20, "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}
