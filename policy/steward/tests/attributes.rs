//! Attributes that somebody is looked up by are changed while they exist.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{World, kind, own};
use strongroom_records::ids::SubjectId;
use strongroom_records::log::{Kind, Outcome};
use strongroom_steward::{Custodian, ErrorKind};

const SCHEMA: &str = r#"{"email": {"type": "email", "lookup": true}, "n": {"type": "number"}}"#;

fn set(
    shop: &mut Custodian,
    subject: &SubjectId,
    attributes: &[(&str, Option<&str>)],
) -> strongroom_steward::Result<()> {
    let owned =
        |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    shop.set_attributes(subject, &attributes.iter().map(owned).collect::<Vec<_>>())
}

fn found(shop: &mut Custodian, name: &str, value: &str) -> Vec<SubjectId> {
    shop.find_subjects(name, value).unwrap()
}

fn ada(shop: &mut Custodian) -> SubjectId {
    let given = [("email".into(), "ada@example.com".into()), ("member".into(), "17".into())];
    shop.create_subject(&given).unwrap()
}

#[test]
fn what_somebody_is_looked_up_by_is_set_and_taken_away_while_they_exist() {
    let world = World::new(911);
    let mut shop = world.create("shop");
    let ada = ada(&mut shop);
    let bob = shop.create_subject(&[]).unwrap();
    set(&mut shop, &ada, &[("email", Some("Ada@New.example ")), ("phone", Some("555"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@example.com"), []);
    for (name, value) in [("email", "ada@new.example"), ("phone", "555"), ("member", "17")] {
        assert_eq!(found(&mut shop, name, value), [ada], "{name}");
    }
    // Who had none gets some, and two may share one.
    set(&mut shop, &bob, &[("phone", Some("555"))]).unwrap();
    assert_eq!(found(&mut shop, "phone", "555").len(), 2);
    drop(shop);
    let mut shop = world.open("shop");
    // Taken away, as nothing is; what was not there is no mistake.
    set(&mut shop, &ada, &[("phone", None), ("member", Some(" ")), ("fax", None)]).unwrap();
    assert_eq!(found(&mut shop, "phone", "555"), [bob]);
    assert_eq!(found(&mut shop, "member", "17"), []);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), [ada]);
    let report = shop.report(&ada).unwrap();
    let last = &report.lines.last().unwrap().entry;
    let judgement = last.judgement.as_ref().unwrap();
    assert_eq!((last.kind, judgement.outcome), (Kind::Access, Outcome::Allow));
    shop.erase(&ada).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@new.example"), []);
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// Two places that say different things of one name would both lead there.
#[test]
fn what_a_profile_says_is_changed_in_the_profile() {
    let world = World::new(912);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    let ada = ada(&mut shop);
    let profile = |shop: &mut Custodian, text: &str| {
        shop.put_file(&own(ada, "identifiable"), "profile.json", text.as_bytes()).unwrap();
    };
    profile(&mut shop, r#"{"email": "ada@work.example", "n": 3}"#);
    for value in [Some("ada@new.example"), None] {
        let refused = set(&mut shop, &ada, &[("email", value), ("member", None)]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert_eq!(refused.to_string(), "the profile says `email`: write the profile anew");
    }
    // All or nothing; what the profile does not say is set beside it, also by a name that it has and nobody is looked up by.
    assert_eq!(found(&mut shop, "member", "17"), [ada]);
    set(&mut shop, &ada, &[("member", Some("18")), ("n", Some("4"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@work.example"), [ada]);
    assert_eq!(
        (found(&mut shop, "member", "17"), found(&mut shop, "member", "18")),
        (vec![], vec![ada])
    );
    // What it said under a schema of before leads there until it is written anew.
    shop.set_schema(r#"{"n": {"type": "number"}, "email": {"type": "email"}}"#).unwrap();
    set(&mut shop, &ada, &[("member", Some("19"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@work.example"), [ada]);
    profile(&mut shop, r#"{"n": 5}"#);
    assert_eq!(found(&mut shop, "email", "ada@work.example"), []);
    assert_eq!(found(&mut shop, "member", "19"), [ada]);
    set(&mut shop, &ada, &[("email", Some("ada@new.example"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@new.example"), [ada]);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn attributes_are_refused_as_when_somebody_is_created_and_for_whom_nothing_may_be_written() {
    let world = World::new(913);
    let mut shop = world.create("shop");
    let ada = ada(&mut shop);
    let long = "x".repeat(1100);
    let bad: [&[(&str, Option<&str>)]; 4] =
        [&[], &[("", Some("x"))], &[("phone", Some(&long))], &[("\0name", Some("x"))]];
    for attributes in bad {
        assert_eq!(kind(set(&mut shop, &ada, attributes)), ErrorKind::Invalid, "{attributes:?}");
    }
    let new = [("email", Some("ada@new.example"))];
    shop.place_hold(&ada, "litigation").unwrap();
    assert_eq!(kind(set(&mut shop, &ada, &new)), ErrorKind::Held);
    shop.lift_hold(&ada, "litigation").unwrap();
    shop.restrict(&ada, true).unwrap();
    assert_eq!(kind(set(&mut shop, &ada, &new)), ErrorKind::Denied);
    shop.restrict(&ada, false).unwrap();
    assert_eq!(kind(set(&mut shop, &SubjectId([7; 16]), &new)), ErrorKind::Denied);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), []);
    assert_eq!(found(&mut shop, "email", "ada@example.com"), [ada]);
    shop.erase(&ada).unwrap();
    assert_eq!(kind(set(&mut shop, &ada, &new)), ErrorKind::Denied);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), []);
}

/// Somebody whose profile says no address, and whom somebody else became a part of whose profile says something.
fn merged(shop: &mut Custodian, text: &str) -> SubjectId {
    let bob = shop.create_subject(&[]).unwrap();
    let eve = shop.create_subject(&[("member".into(), "18".into())]).unwrap();
    for (subject, text) in [(bob, r#"{"n": 4}"#), (eve, text)] {
        shop.put_file(&own(subject, "identifiable"), "profile.json", text.as_bytes()).unwrap();
    }
    shop.merge_subjects(&bob, &eve).unwrap();
    bob
}

/// Under a schema of before, or as somebody who is a part of this one now.
#[test]
fn what_any_profile_said_leads_nowhere_once_something_else_is_set_in_its_place() {
    let world = World::new(914);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    let ada = shop.create_subject(&[]).unwrap();
    let text = br#"{"email": "ada@work.example"}"#;
    shop.put_file(&own(ada, "identifiable"), "profile.json", text).unwrap();
    shop.set_schema(r#"{"n": {"type": "number"}, "email": {"type": "email"}}"#).unwrap();
    set(&mut shop, &ada, &[("email", Some("ada@new.example"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@work.example"), []);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), [ada]);
    shop.set_schema(SCHEMA).unwrap();
    let bob = merged(&mut shop, r#"{"email": "eve@work.example"}"#);
    assert_eq!(found(&mut shop, "email", "eve@work.example"), [bob]);
    set(&mut shop, &bob, &[("email", None)]).unwrap();
    assert_eq!(found(&mut shop, "email", "eve@work.example"), []);
    assert_eq!(found(&mut shop, "member", "18"), [bob]);
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// The hash of a value does not say of which name it is.
#[test]
fn what_cannot_be_told_from_what_is_set_is_named_or_taken_away_first() {
    let world = World::new(915);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    let bob = merged(&mut shop, r#"{"email": "eve@work.example"}"#);
    shop.remove_file(&own(bob, "identifiable"), "profile (2).json").unwrap();
    for attributes in [[("email", Some("bob@new.example"))], [("phone", None)]] {
        let refused = set(&mut shop, &bob, &attributes).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        let message = "1 attribute of this person cannot be told from what is set: set what there is by its name first, or \
                       take away all that have none by an empty name";
        assert_eq!(refused.to_string(), message);
    }
    assert_eq!(found(&mut shop, "email", "eve@work.example"), [bob]);
    // Named, it is as any other; or it goes with all that have no name.
    set(&mut shop, &bob, &[("email", Some("eve@work.example"))]).unwrap();
    set(&mut shop, &bob, &[("email", Some("bob@new.example"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "eve@work.example"), []);
    assert_eq!(found(&mut shop, "email", "bob@new.example"), [bob]);
    let ada = merged(&mut shop, r#"{"email": "ada@work.example"}"#);
    shop.remove_file(&own(ada, "identifiable"), "profile (2).json").unwrap();
    set(&mut shop, &ada, &[("", None), ("phone", Some("555"))]).unwrap();
    assert_eq!(found(&mut shop, "email", "ada@work.example"), []);
    assert_eq!(found(&mut shop, "phone", "555"), [ada]);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn nobody_is_given_more_attributes_than_64() {
    let world = World::new(916);
    let mut shop = world.create("shop");
    let many = |count: usize| (0..count).map(|n| (format!("name{n}"), "x".to_owned()));
    let ada = shop.create_subject(&many(64).collect::<Vec<_>>()).unwrap();
    let refused = shop.create_subject(&many(65).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(refused.to_string(), "somebody is given 64 attributes at most");
    let refused = set(&mut shop, &ada, &[("another", Some("x"))]).unwrap_err();
    assert_eq!(refused.to_string(), "somebody is given 64 attributes at most");
    assert_eq!(found(&mut shop, "another", "x"), []);
    // In the place of one that is there, and where one goes.
    set(&mut shop, &ada, &[("name7", Some("y"))]).unwrap();
    set(&mut shop, &ada, &[("name8", None), ("another", Some("x"))]).unwrap();
    assert_eq!(found(&mut shop, "another", "x"), [ada]);
}
