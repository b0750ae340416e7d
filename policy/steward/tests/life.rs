//! A subject's life: created, written, consented, read, withdrawn, looked up, reported, erased.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{World, answer, by, kind, own, registered};
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::Hash;
use strongroom_records::log::Kind;
use strongroom_records::receipt::{Deed, Ending};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{
    Carry, Custodian, Depth, ErrorKind, NewSubject, Once, Retired, verify_receipt,
};

const PROFILE: &[u8] = br#"{"email": "ada@example.com", "name": "Ada"}"#;
const SCHEMA: &str =
    r#"{"email": {"type": "email", "required": true, "lookup": true}, "name": {"type": "text"}}"#;

#[test]
fn what_the_application_wrote_it_reads_again_after_a_restart() {
    let world = World::new(1);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "identifiable"), "profile.json", PROFILE).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    drop(shop);
    let mut shop = world.open("shop");
    assert_eq!(shop.read_file(&own(ada, "identifiable"), "profile.json").unwrap(), PROFILE);
    assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
    let files = shop.files(&own(ada, "owned")).unwrap();
    assert_eq!((files[0].name.as_str(), files[0].len), ("order.txt", 8));
    assert_eq!(kind(shop.read_file(&own(ada, "owned"), "other")), ErrorKind::NotFound);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn a_consumer_reads_while_consent_is_given_and_not_before_or_after() {
    let world = World::new(2);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "identifiable"), "profile.json", PROFILE).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    assert_eq!(shop.scope("newsletter").unwrap(), []);
    let open = shop.consents(&ada).unwrap();
    assert_eq!(open[0].1, ConsentStatus::Requested);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let scope = shop.scope("newsletter").unwrap();
    let asked = by("newsletter", scope[0].0, "identifiable");
    assert_eq!(shop.read_file(&asked, "profile.json").unwrap(), PROFILE);
    // Not by the subject's id, not another class, not to write.
    assert_eq!(
        kind(shop.read_file(&by("newsletter", ada, "identifiable"), "profile.json")),
        ErrorKind::Denied
    );
    assert_eq!(kind(shop.files(&by("newsletter", scope[0].0, "owned"))), ErrorKind::Denied);
    assert_eq!(kind(shop.put_file(&asked, "x", b"")), ErrorKind::Denied);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    assert_eq!(kind(shop.read_file(&asked, "profile.json")), ErrorKind::Denied);
    assert_eq!(shop.scope("newsletter").unwrap(), []);
    let history: Vec<ConsentStatus> =
        shop.consent_history(&ada).unwrap().iter().map(|said| said.consent.status).collect();
    assert_eq!(history, [ConsentStatus::Given, ConsentStatus::Withdrawn]);
    // Every use and refusal is on record, in a chain that the subject can check.
    let report = shop.report(&ada).unwrap();
    assert!(report.holds());
    let refused = report.lines.iter().filter(|line| {
        line.entry.judgement.as_ref().is_some_and(|judgement| judgement.reason != 0)
    });
    assert_eq!(refused.count(), 3);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn a_file_that_is_read_by_name_is_on_record_as_that_file_before_it_is_read() {
    let world = World::new(21);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    for name in ["first.txt", "order.txt"] {
        shop.put_file(&own(ada, "owned"), name, b"17 roses").unwrap();
    }
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let asked = by("newsletter", shop.scope("newsletter").unwrap()[0].0, "owned");
    let opened = |shop: &mut strongroom_steward::Custodian| -> Vec<(String, String)> {
        let names = shop.file_names(&ada).unwrap();
        let report = shop.report(&ada).unwrap();
        assert!(report.holds());
        let told = report.lines.into_iter().filter(|line| line.entry.kind == Kind::Opened);
        let by_name = |line: strongroom_steward::ReportLine| {
            let files = line.detail.unwrap().files;
            assert_eq!(files.len(), 1);
            (line.activity.unwrap_or_default(), names[&files[0]].clone())
        };
        told.map(by_name).collect()
    };
    assert_eq!(shop.read_file(&asked, "order.txt").unwrap(), b"17 roses");
    assert_eq!(kind(shop.read_file(&asked, "other")), ErrorKind::NotFound);
    assert_eq!(opened(&mut shop), [("newsletter".to_owned(), "owned/order.txt".to_owned())]);
    assert_eq!(shop.read_file(&own(ada, "owned"), "first.txt").unwrap(), b"17 roses");
    assert_eq!(opened(&mut shop).len(), 2);
    // Whatever cannot be written: what was read is on record, and the register is sound.
    let mut calls = 0;
    loop {
        world.store.die_after(Some(calls));
        let read = shop.read_file(&asked, "order.txt");
        world.store.die_after(None);
        let before = 2;
        shop = world.open("shop");
        let count = opened(&mut shop).len();
        assert_eq!(shop.verify().unwrap().findings, []);
        if read.is_ok() {
            assert!(count > before && calls > 1, "{count} after {calls}");
            break;
        }
        calls += 1;
    }
}

#[test]
fn a_denial_tells_neither_existence_nor_reason() {
    let world = World::new(3);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    let texts: Vec<String> = [
        shop.read_file(&by("newsletter", ada, "identifiable"), "x").unwrap_err(),
        shop.read_file(&by("newsletter", "ab".repeat(16), "identifiable"), "x").unwrap_err(),
        shop.read_file(&by("nobody", "ab".repeat(16), "identifiable"), "x").unwrap_err(),
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    assert_eq!(texts, ["not allowed", "not allowed", "not allowed"]);
    let entries = shop.entries(0, 100).unwrap();
    let denied = entries.iter().filter(|entry| entry.kind == Kind::Access).count();
    assert_eq!(denied, 3);
}

#[test]
fn subjects_are_found_by_what_the_profile_says_now() {
    let world = World::new(4);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    let ada = shop.create_subject(&[("email".into(), "ada@example.com".into())]).unwrap();
    let bob = shop.create_subject(&[]).unwrap();
    assert_eq!(shop.find_subjects("email", " ADA@example.com").unwrap(), [ada]);
    let bobs = br#"{"email": "bob@example.com"}"#;
    shop.put_file(&own(bob, "identifiable"), "profile.json", bobs).unwrap();
    assert_eq!(shop.find_subjects("email", "bob@example.com").unwrap(), [bob]);
    let moved = br#"{"email": "ada@new.example"}"#;
    shop.put_file(&own(ada, "identifiable"), "profile.json", moved).unwrap();
    assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap(), []);
    assert_eq!(shop.find_subjects("email", "ada@new.example").unwrap(), [ada]);
    let wrong = shop.put_file(&own(bob, "identifiable"), "profile.json", b"{}");
    assert_eq!(kind(wrong), ErrorKind::Invalid);
}

#[test]
fn what_somebody_was_created_with_leads_there_whatever_becomes_of_the_profile() {
    let world = World::new(41);
    let mut shop = world.create("shop");
    let asked = [("email".into(), "ada@example.com".into()), ("member".into(), "17".into())];
    let ada = shop.create_subject(&asked).unwrap();
    let put = |shop: &mut Custodian, profile: &[u8]| {
        shop.put_file(&own(ada, "identifiable"), "profile.json", profile).unwrap();
    };
    let found = |shop: &mut Custodian, name, value| shop.find_subjects(name, value).unwrap();
    // Without a schema a profile says nothing that anybody is looked up by.
    put(&mut shop, PROFILE);
    assert_eq!(found(&mut shop, "email", "ada@example.com"), [ada]);
    // With one it says it in the place of what was given by that name, and of nothing else.
    shop.set_schema(SCHEMA).unwrap();
    put(&mut shop, br#"{"email": "ada@new.example"}"#);
    assert_eq!(found(&mut shop, "email", "ada@example.com"), []);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), [ada]);
    assert_eq!(found(&mut shop, "member", "17"), [ada]);
    put(&mut shop, br#"{"email": "ada@work.example"}"#);
    assert_eq!(found(&mut shop, "email", "ada@new.example"), []);
    shop.remove_file(&own(ada, "identifiable"), "profile.json").unwrap();
    assert_eq!(found(&mut shop, "email", "ada@work.example"), []);
    assert_eq!(found(&mut shop, "member", "17"), [ada]);
    // It goes along where two are one person, and ends with that person.
    let other = shop.create_subject(&[("member".into(), "18".into())]).unwrap();
    shop.merge_subjects(&ada, &other).unwrap();
    put(&mut shop, PROFILE);
    assert_eq!(found(&mut shop, "member", "18"), [ada]);
    shop.erase(&ada).unwrap();
    assert_eq!(found(&mut shop, "member", "17"), []);
    assert_eq!(found(&mut shop, "member", "18"), []);
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn nobody_is_looked_up_by_what_is_empty_or_what_very_many_share() {
    let world = World::new(42);
    let mut shop = world.create("shop");
    for kind in ["number", "boolean", "list"] {
        let schema = format!(r#"{{"age": {{"type": "{kind}", "lookup": true}}}}"#);
        assert_eq!(common::kind(shop.set_schema(&schema)), ErrorKind::Invalid, "{kind}");
    }
    shop.set_schema(r#"{"town": {"type": "text", "lookup": true}}"#).unwrap();
    let profile = Some(br#"{"town": " "}"#.to_vec());
    let nowhere =
        NewSubject { profile, lookups: vec![("phone".into(), String::new())], once: None };
    let ada = shop.create_subjects(&[nowhere]).unwrap()[0];
    assert_eq!(shop.find_subjects("town", "").unwrap(), []);
    assert_eq!(shop.find_subjects("phone", "").unwrap(), []);
    let of_town =
        NewSubject { lookups: vec![("town".into(), "London".into())], ..NewSubject::default() };
    let londoners = shop.create_subjects(&vec![of_town.clone(); 500]).unwrap();
    assert_eq!(shop.find_subjects("town", "London").unwrap().len(), 500);
    assert_eq!(kind(shop.create_subjects(&[of_town])), ErrorKind::Invalid);
    let put = |shop: &mut Custodian, who| {
        shop.put_file(&own(who, "identifiable"), "profile.json", br#"{"town": "London"}"#)
    };
    assert_eq!(kind(put(&mut shop, ada)), ErrorKind::Invalid);
    // Who has it already may say it again, and who goes makes room.
    put(&mut shop, londoners[7]).unwrap();
    shop.erase(&londoners[8]).unwrap();
    put(&mut shop, ada).unwrap();
}

#[test]
fn an_erased_subject_is_gone_and_the_receipt_verifies_offline() {
    let world = World::new(5);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    let (ada, bob) = (shop.create_subject(&[]).unwrap(), shop.create_subject(&[]).unwrap());
    for subject in [ada, bob] {
        shop.put_file(&own(subject, "identifiable"), "profile.json", PROFILE).unwrap();
    }
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    shop.place_hold(&ada, "litigation").unwrap();
    assert_eq!(kind(shop.erase(&ada)), ErrorKind::Held);
    assert!(shop.read_file(&own(ada, "identifiable"), "profile.json").is_ok());
    shop.lift_hold(&ada, "litigation").unwrap();
    let erased = shop.erase(&ada).unwrap();
    assert_eq!((erased.deed.objects_removed, erased.deed.objects_left), (1, 0));
    assert_eq!(erased.deed.destroyed.ending, Ending::Immediate);
    assert!(erased.deed.irrecoverable_from.is_some());
    // Already so: the same receipt.
    assert_eq!(shop.erase(&ada).unwrap().receipt, erased.receipt);
    let receipt = verify_receipt(&erased.receipt, &world.services.organisation.now()).unwrap();
    assert!(matches!(receipt.deed, Deed::Erasure(_)));
    for at in 0..erased.receipt.len() {
        let mut bad = erased.receipt.clone();
        bad[at] ^= 1;
        assert!(verify_receipt(&bad, &world.services.organisation.now()).is_err(), "byte {at}");
    }
    assert_eq!(kind(shop.read_file(&own(ada, "identifiable"), "profile.json")), ErrorKind::Denied);
    assert_eq!(shop.read_file(&own(bob, "identifiable"), "profile.json").unwrap(), PROFILE);
    assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap(), [bob]);
    assert_eq!(
        kind(shop.answer(&ada, &answer("newsletter", ConsentStatus::Given))),
        ErrorKind::NotFound
    );
    assert!(shop.report(&ada).unwrap().holds());
    drop(shop);
    let shop = world.open("shop");
    assert!(shop.verify().unwrap().findings.is_empty());
}

#[test]
fn a_new_application_key_ends_the_old_and_loses_nobody() {
    let world = World::new(6);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    let rotated = shop.rotate().unwrap();
    assert_eq!((rotated.generation, rotated.destroyed.generation), (2, 1));
    assert!(rotated.destroyed.refused_afterwards);
    assert!(verify_receipt(&rotated.receipt, &world.services.organisation.now()).is_ok());
    drop(shop);
    let mut shop = world.open("shop");
    assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"17 roses");
}

#[test]
fn a_disabled_application_releases_nothing_until_it_is_enabled() {
    let world = World::new(7);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    drop(shop);
    world.stewardship().set_state("shop", ApplicationState::Disabled).unwrap();
    let mut shop = world.open("shop");
    assert_eq!(kind(shop.read_file(&own(ada, "owned"), "order.txt")), ErrorKind::Denied);
    assert_eq!(kind(shop.create_subject(&[])), ErrorKind::Denied);
    drop(shop);
    world.stewardship().set_state("shop", ApplicationState::Active).unwrap();
    assert!(world.open("shop").read_file(&own(ada, "owned"), "order.txt").is_ok());
}

#[test]
fn applications_of_one_workspace_do_not_meet() {
    let world = World::new(8);
    let mut shop = world.create("shop");
    let mut clinic = world.create("clinic");
    let ada = shop.create_subject(&[("email".into(), "ada@example.com".into())]).unwrap();
    clinic.create_subject(&[]).unwrap();
    assert_eq!(kind(clinic.subject(&ada)), ErrorKind::NotFound);
    assert_eq!(clinic.find_subjects("email", "ada@example.com").unwrap(), []);
    assert_eq!(
        kind(world.stewardship().create("shop", "vault:", world.custody(), 1)),
        ErrorKind::Exists
    );
    let names: Vec<String> =
        world.stewardship().applications().iter().map(|line| line.name.clone()).collect();
    assert_eq!(names, ["shop", "clinic"]);
}

#[test]
fn four_eyes_are_two_devices_where_the_application_demands_them() {
    let world = World::new(9);
    let mut shop = world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    shop.register_activity(common::proposal("newsletter", Basis::Consent, &["identifiable"]))
        .unwrap();
    assert_eq!(kind(shop.approve_activity("newsletter")), ErrorKind::Denied);
    assert_eq!(shop.activities().unwrap()[0].state, ActivityState::Proposed);
    let proposed = shop.propose_policies(strongroom_cedar::BUILT_IN).unwrap();
    assert_eq!((proposed.version, proposed.missing), (1, 1));
    assert_eq!(kind(shop.activate_policies(1, &proposed.digest)), ErrorKind::Denied);
    assert_eq!(kind(shop.activate_policies(2, &proposed.digest)), ErrorKind::NotFound);
    assert_eq!(shop.policy_set().unwrap(), None);
}

#[test]
fn a_loaded_policy_set_decides_and_is_named_in_entries() {
    let world = World::new(10);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    assert_eq!(
        kind(shop.propose_policies("permit (principal, action, nonsense);")),
        ErrorKind::Invalid
    );
    let closed = format!(
        "{}\n@id(\"closed\") forbid (principal, action, resource);",
        strongroom_cedar::BUILT_IN
    );
    let digest = shop.propose_policies(&closed).unwrap().digest;
    assert_eq!(kind(shop.read_file(&own(ada, "owned"), "order.txt")), ErrorKind::Denied);
    let last = shop.entries(shop.record_count() - 1, 1).unwrap().remove(0);
    assert_eq!(last.judgement.unwrap().policy_set, digest);
    shop.propose_policies(strongroom_cedar::BUILT_IN).unwrap();
    assert!(shop.read_file(&own(ada, "owned"), "order.txt").is_ok());
    assert_eq!(shop.policy_set().unwrap().unwrap().version, 2);
}

#[test]
fn restricted_data_is_stored_and_not_released() {
    let world = World::new(11);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    shop.restrict(&ada, true).unwrap();
    assert_eq!(kind(shop.read_file(&own(ada, "owned"), "order.txt")), ErrorKind::Denied);
    shop.restrict(&ada, false).unwrap();
    assert!(shop.read_file(&own(ada, "owned"), "order.txt").is_ok());
}

/// What consumers call people survives rotations; a class alone can be sealed anew; what is written meanwhile is under the new
/// key.
#[test]
fn rotation_changes_no_name_no_consent_and_no_byte() {
    let world = World::new(61);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    let ada = shop.create_subject(&[("email".into(), "ada@example.com".into())]).unwrap();
    for number in 0..70 {
        let name = format!("order-{number}.txt");
        shop.put_file(&own(ada, "owned"), &name, name.as_bytes()).unwrap();
    }
    shop.put_file(&own(ada, "identifiable"), "a.txt", b"a").unwrap();
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let seen = shop.scope("newsletter").unwrap();
    let read = by("newsletter", seen[0].0, "identifiable");
    let owned = shop.class("owned").unwrap();
    let mut told = Vec::new();
    let rotated = shop
        .rotate_subject(&ada, Depth::Deep, Some(owned), &mut |done| told.push(done.files))
        .unwrap();
    assert_eq!((rotated.deed.files, told.as_slice()), (70, &[32, 64, 70][..]));
    shop.rotate_subject(&ada, Depth::Shallow, None, &mut |_| ()).unwrap();
    let rotated = shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap();
    let (done, destroyed) = (rotated.done, rotated.destroyed);
    assert_eq!((done.subjects, done.files), (1, 71));
    assert!(destroyed.unwrap().refused_afterwards);
    assert_eq!(shop.scope("newsletter").unwrap(), seen);
    assert_eq!(shop.read_file(&read, "a.txt").unwrap(), b"a");
    assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap(), [ada]);
    for number in 0..70 {
        let name = format!("order-{number}.txt");
        assert_eq!(shop.read_file(&own(ada, "owned"), &name).unwrap(), name.as_bytes());
    }
    let erased = shop.erase(&ada).unwrap();
    assert_eq!((erased.deed.objects_removed, erased.deed.objects_left), (71, 0));
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// A name works once it was told to somebody: listed, or handed over by the application; and it gives nothing not agreed.
#[test]
fn names_of_activities_are_found_at_once_and_end_with_the_person() {
    let world = World::new(62);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    registered(&mut shop, "shipping", Basis::Contract, &["identifiable"]);
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "identifiable"), "a.txt", b"a").unwrap();
    let (letter, parcel) =
        (shop.name_for(&ada, "newsletter").unwrap(), shop.name_for(&ada, "shipping").unwrap());
    assert_ne!(letter, parcel);
    let mut read = |activity: &str, name| {
        shop.read_file(&by(activity, name, "identifiable"), "a.txt").map_err(|error| error.kind())
    };
    assert_eq!(read("shipping", parcel), Ok(b"a".to_vec()));
    assert_eq!(read("shipping", letter), Err(ErrorKind::Denied));
    assert_eq!(read("newsletter", letter), Err(ErrorKind::Denied));
    shop.erase(&ada).unwrap();
    let read = shop.read_file(&by("shipping", parcel, "identifiable"), "a.txt");
    assert_eq!(kind(read), ErrorKind::Denied);
}

/// Many at once are one record, found like any other; a repeated request makes nobody twice.
#[test]
fn subjects_created_together_are_like_those_created_alone() {
    let world = World::new(63);
    let mut shop = world.create("shop");
    shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
    let request = |n: usize| shop.once(&format!("import {n}"), Hash([7; 32])).unwrap();
    let ids: Vec<_> = (0..150).map(|n| request(n).id).collect();
    let people: Vec<NewSubject> = (0..150)
        .map(|n| NewSubject {
            once: Some(request(n)),
            lookups: vec![("number".into(), n.to_string())],
            profile: Some(format!("{{\"email\": \"p{n}@example.com\"}}").into_bytes()),
        })
        .collect();
    let records = shop.record_count();
    assert_eq!(shop.create_subjects(&people[..100]).unwrap(), ids[..100]);
    assert_eq!(shop.record_count(), records + 1);
    assert_eq!(shop.create_subjects(&people).unwrap(), ids);
    assert_eq!(shop.subject_count(), 150);
    assert_eq!(shop.create_subjects(&people).unwrap(), ids);
    assert_eq!((shop.subject_count(), shop.record_count()), (150, records + 2));
    for n in [0, 63, 64, 99, 100, 149] {
        let found = shop.find_subjects("email", &format!("p{n}@example.com")).unwrap();
        assert_eq!(found, [ids[n]]);
        assert_eq!(shop.find_subjects("number", &n.to_string()).unwrap(), [ids[n]]);
        let profile = shop.read_file(&own(ids[n], "identifiable"), "profile.json").unwrap();
        assert_eq!(profile, people[n].profile.clone().unwrap());
    }
    let listed: Vec<_> = shop.subjects_from(60, 10).unwrap().iter().map(|l| l.subject).collect();
    assert_eq!(listed, ids[60..70]);
    let bad = NewSubject { profile: Some(b"{\"email\": 7}".to_vec()), ..NewSubject::default() };
    assert_eq!(kind(shop.create_subjects(&[people[0].clone(), bad])), ErrorKind::Invalid);
    let other = Once { request: Hash([8; 32]), ..people[9].once.unwrap() };
    let other = NewSubject { once: Some(other), ..NewSubject::default() };
    assert_eq!(kind(shop.create_subjects(std::slice::from_ref(&other))), ErrorKind::Exists);
    shop.rotate_subject(&ids[9], Depth::Deep, None, &mut |_| ()).unwrap();
    assert_eq!(kind(shop.create_subjects(&[other])), ErrorKind::Exists);
    assert_eq!(shop.create_subjects(&people[9..10]).unwrap(), ids[9..10]);
    shop.erase(&ids[64]).unwrap();
    // Nothing is left to compare a request with, and nobody is made twice.
    assert_eq!(kind(shop.create_subjects(&people[64..65])), ErrorKind::NotFound);
    assert!(shop.find_subjects("email", "p64@example.com").unwrap().is_empty());
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// What was kept long enough goes by itself, with its key; what is held stays.
#[test]
fn retention_takes_away_what_is_due_and_leaves_what_is_held() {
    let world = World::new(64);
    let mut shop = world.create("shop");
    let (ada, bob) = (shop.create_subject(&[]).unwrap(), shop.create_subject(&[]).unwrap());
    let write = |shop: &mut strongroom_steward::Custodian, name: &str| {
        for subject in [ada, bob] {
            shop.put_file(&own(subject, "owned"), name, name.as_bytes()).unwrap();
            shop.put_file(&own(subject, "identifiable"), name, name.as_bytes()).unwrap();
        }
    };
    write(&mut shop, "old.txt");
    shop.set_retention("owned", Some(30)).unwrap();
    world.clock.advance(std::time::Duration::from_secs(29 * 86_400));
    write(&mut shop, "new.txt");
    assert_eq!(shop.retire(Carry::Out).unwrap(), Retired::default());
    world.clock.advance(std::time::Duration::from_secs(2 * 86_400));
    let owned = shop.class("owned").unwrap();
    shop.place_hold_on(&bob, "litigation", Some(owned)).unwrap();
    let expected = Retired { files: 1, subjects: 1, held: 1, ..Retired::default() };
    assert_eq!(shop.retire(Carry::Dry).unwrap(), expected);
    let names = |shop: &mut strongroom_steward::Custodian, subject, class: &str| {
        let files = shop.files(&own(subject, class)).unwrap();
        files.into_iter().map(|file| file.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut shop, ada, "owned"), ["new.txt", "old.txt"]);
    let generation = shop.generation();
    assert_eq!(shop.retire(Carry::Out).unwrap(), expected);
    assert_eq!(names(&mut shop, ada, "owned"), ["new.txt"]);
    assert_eq!(names(&mut shop, ada, "identifiable"), ["new.txt", "old.txt"]);
    assert_eq!(names(&mut shop, bob, "owned"), ["new.txt", "old.txt"]);
    assert_eq!(shop.read_file(&own(ada, "owned"), "new.txt").unwrap(), b"new.txt");
    assert_eq!(shop.generation(), generation + 1, "the key that led to it has ended");
    let removed = kind(shop.remove_file(&own(bob, "owned"), "new.txt"));
    assert_eq!(removed, ErrorKind::Held);
    shop.remove_file(&own(bob, "identifiable"), "new.txt").unwrap();
    assert_eq!(names(&mut shop, bob, "identifiable"), ["old.txt"]);
    assert_eq!(kind(shop.erase(&bob)), ErrorKind::Held);
    shop.lift_hold(&bob, "litigation").unwrap();
    let expected = Retired { held: 0, ..expected };
    assert_eq!(shop.retire(Carry::Out).unwrap(), expected);
    assert_eq!(shop.retire(Carry::Out).unwrap(), Retired::default());
    assert!(shop.report(&ada).unwrap().holds());
    assert!(shop.verify().unwrap().findings.is_empty());
}
