//! Everything the policy module stores, damaged, removed, swapped and rolled back: noticed, never believed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{World, answer, own, registered};
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::NewSubject;
use strongroom_store::{Key, PolicyKey, Shelf, Store};

fn prepared() -> (World, SubjectId) {
    let world = World::new(51);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let ada = shop.create_subject(&[("email".into(), "ada@example.com".into())]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    (world, ada)
}

/// Whether anything is amiss by opening and verifying; what only a class key opens is read as well.
fn is_noticed(world: &World, ada: SubjectId, shelf: Shelf) -> bool {
    let Ok(stewardship) = strongroom_steward::Stewardship::open(world.services.clone()) else {
        return true;
    };
    let Ok(mut shop) = stewardship.application("shop", world.custody()) else { return true };
    let is_sound = shop.verify().is_ok_and(|verified| verified.findings.is_empty());
    if shelf != Shelf::Object {
        return !is_sound;
    }
    let reads = shop.read_file(&own(ada, "owned"), "order.txt").is_ok_and(|b| b == b"17 roses");
    !(is_sound && reads)
}

fn restore(
    world: &World,
    whole: &BTreeMap<Key, Bytes>,
    pins: &BTreeMap<strongroom_records::ids::ApplicationId, strongroom_audit::Pin>,
) {
    for key in world.store.live().into_keys() {
        if !whole.contains_key(&key) {
            strongroom_store::now(world.store.inner.delete(key)).unwrap();
        }
    }
    for (key, bytes) in whole {
        world.store.put_now(*key, bytes.clone());
    }
    *world.pins.heads.lock().unwrap() = pins.clone();
}

#[test]
fn every_stored_thing_that_is_changed_or_gone_is_noticed() {
    let (world, ada) = prepared();
    let whole = world.store.live();
    let pins = world.pins.heads.lock().unwrap().clone();
    assert!(!is_noticed(&world, ada, Shelf::Object));
    restore(&world, &whole, &pins);
    let mut told = BTreeMap::new();
    for (key, bytes) in &whole {
        let Key::Policy(PolicyKey { shelf, .. }) = key else { continue };
        // Objects never change in a store; to damage one it goes first.
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x40;
            strongroom_store::now(world.store.inner.delete(*key)).unwrap();
            world.store.put_now(*key, Bytes::from(bad));
            // What can be made good from the newest record is made good instead.
            let noticed = is_noticed(&world, ada, *shelf);
            let is_made_good = world.store.get_now(*key).as_ref() == Some(bytes);
            assert!(noticed || is_made_good, "{key} byte {at}");
            assert!(is_made_good || *shelf != Shelf::Tile, "{key} byte {at}");
            *told.entry(*shelf).or_insert(0) += u32::from(noticed);
            restore(&world, &whole, &pins);
        }
        strongroom_store::now(world.store.inner.delete(*key)).unwrap();
        let noticed = is_noticed(&world, ada, *shelf);
        let is_made_good = world.store.get_now(*key).as_ref() == Some(bytes);
        assert!(noticed || is_made_good, "{key} gone");
        assert!(is_made_good || *shelf != Shelf::Tile, "{key} gone");
        restore(&world, &whole, &pins);
    }
    assert!(!is_noticed(&world, ada, Shelf::Object));
    for shelf in [Shelf::Log, Shelf::Cell, Shelf::Node, Shelf::Object] {
        assert!(told.get(&shelf).copied().unwrap_or_default() > 0, "{shelf:?}");
    }
}

/// A store that gives back an older cell (here: the consent before it was withdrawn) is told by verification.
#[test]
fn a_cell_that_is_rolled_back_is_told() {
    let (world, ada) = prepared();
    let before = world.store.live();
    let mut shop = world.open("shop");
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    // A later record, so that the newest one does not put it right.
    shop.create_subject(&[]).unwrap();
    let changed: Vec<Key> = before
        .iter()
        .filter(|(key, bytes)| {
            let is_cell = matches!(key, Key::Policy(PolicyKey { shelf: Shelf::Cell, .. }));
            is_cell && world.store.get_now(**key).as_ref() != Some(*bytes)
        })
        .map(|(key, _)| *key)
        .collect();
    assert!(!changed.is_empty());
    for key in changed {
        let now = world.store.get_now(key).unwrap();
        world.store.put_now(key, before[&key].clone());
        let findings = shop.verify().unwrap().findings;
        assert_eq!(findings.len(), 1, "{key}");
        assert_eq!(findings[0].what, "a cell of the register is not the one that was recorded");
        world.store.put_now(key, now);
    }
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// Records swapped between two applications do not fit anywhere.
#[test]
fn records_of_another_application_are_refused() {
    let (world, ada) = prepared();
    let clinic = world.create("clinic").listed().application;
    let shop = world.open("shop").listed().application;
    let key = |application: strongroom_records::ids::ApplicationId, name: u128| {
        Key::Policy(PolicyKey { application: application.0, shelf: Shelf::Log, name })
    };
    let theirs = world.store.get_now(key(clinic, 0)).unwrap();
    world.store.put_now(key(shop, 0), theirs);
    assert!(is_noticed(&world, ada, Shelf::Object));
}

/// Hashes of the audit tree follow from the records: they are made anew where a proof needs them, and close nothing.
#[test]
fn a_report_is_complete_whatever_happened_to_the_hashes_it_is_proved_by() {
    let (world, ada) = prepared();
    let mut shop = world.open("shop");
    let people: Vec<NewSubject> = (0..300).map(|_| NewSubject::default()).collect();
    shop.create_subjects(&people).unwrap();
    let key = |name: u128| {
        let application = shop.listed().application.0;
        Key::Policy(PolicyKey { application, shelf: Shelf::Tile, name })
    };
    for key in [0, 1].map(key) {
        let whole = world.store.get_now(key).unwrap();
        let mut bad = whole.to_vec();
        bad[7] ^= 1;
        world.store.put_now(key, bad.into());
        assert!(shop.report(&ada).unwrap().holds(), "{key}");
        assert_eq!(world.store.get_now(key).unwrap(), whole);
        strongroom_store::now(world.store.inner.delete(key)).unwrap();
        assert!(shop.report(&ada).unwrap().holds(), "{key}");
        assert_eq!(world.store.get_now(key).unwrap(), whole);
    }
}

#[test]
fn a_report_that_lacks_an_entry_or_a_proof_does_not_hold() {
    let (world, ada) = prepared();
    let whole = world.open("shop").report(&ada).unwrap();
    assert!(whole.holds() && whole.lines.len() > 2);
    for at in [0, 1, whole.lines.len() - 1] {
        let mut cut = whole.clone();
        cut.lines.remove(at);
        cut.proofs.remove(at);
        assert!(!cut.holds(), "without line {at}");
    }
    let mut bad = whole.clone();
    bad.proofs.pop();
    assert!(!bad.holds(), "a line without a proof");
    for at in 0..whole.proofs.len() {
        let mut bad = whole.clone();
        bad.proofs[at][0].0[31] ^= 1;
        assert!(!bad.holds(), "proof {at}");
        let mut bad = whole.clone();
        bad.lines[at].leaf[9] ^= 1;
        assert!(!bad.holds(), "leaf {at}");
    }
    let mut bad = whole;
    bad.tree_root.0[0] ^= 1;
    assert!(!bad.holds());
}
