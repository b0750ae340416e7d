//! Everything the policy module stores, damaged, removed, swapped and rolled back: noticed, never believed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::{World, answer, own, registered};
use strongroom_records::activity::Basis;
use strongroom_records::ids::{ClassId, SubjectId};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Carry, Depth, NewSubject, Retired};
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

/// Whether anything is amiss by opening and verifying.
fn is_noticed(world: &World) -> bool {
    let Ok(stewardship) = strongroom_steward::Stewardship::open(world.services.clone()) else {
        return true;
    };
    let Ok(shop) = stewardship.application("shop", world.custody()) else { return true };
    !shop.verify().is_ok_and(|verified| verified.findings.is_empty())
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
    let (world, _) = prepared();
    let whole = world.store.live();
    let pins = world.pins.heads.lock().unwrap().clone();
    assert!(!is_noticed(&world));
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
            let noticed = is_noticed(&world);
            let is_made_good = world.store.get_now(*key).as_ref() == Some(bytes);
            assert!(noticed || is_made_good, "{key} byte {at}");
            assert!(is_made_good || *shelf != Shelf::Tile, "{key} byte {at}");
            *told.entry(*shelf).or_insert(0) += u32::from(noticed);
            restore(&world, &whole, &pins);
        }
        strongroom_store::now(world.store.inner.delete(*key)).unwrap();
        let noticed = is_noticed(&world);
        let is_made_good = world.store.get_now(*key).as_ref() == Some(bytes);
        assert!(noticed || is_made_good, "{key} gone");
        assert!(is_made_good || *shelf != Shelf::Tile, "{key} gone");
        restore(&world, &whole, &pins);
    }
    assert!(!is_noticed(&world));
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
        let what = "a cell of the register is not the one that was recorded";
        // What follows from it for people is told as well.
        assert_eq!(findings.iter().filter(|found| found.what == what).count(), 1, "{key}");
        world.store.put_now(key, now);
    }
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// Ada and bob, each with a profile and an order; objects by whose they are and in which class.
fn two_people() -> (World, [SubjectId; 2], Vec<(Key, usize, ClassId)>) {
    let world = World::new(52);
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let people = [(); 2].map(|()| shop.create_subject(&[("name".into(), "x".into())]).unwrap());
    let mut objects = Vec::new();
    for (who, subject) in people.iter().enumerate() {
        for (class, name) in [(ClassId::IDENTIFIABLE, "profile.json"), (ClassId::OWNED, "order")] {
            let before = world.store.live();
            let asked = own(*subject, &shop.class_name(class).unwrap());
            shop.put_file(&asked, name, b"{\"roses\": \"17\"}").unwrap();
            let is_new = |key: &Key| is_object(key) && !before.contains_key(key);
            let key = world.store.live().into_keys().find(is_new).unwrap();
            objects.push((key, who, class));
        }
        shop.answer(subject, &answer("newsletter", ConsentStatus::Given)).unwrap();
    }
    (world, people, objects)
}

fn is_object(key: &Key) -> bool {
    matches!(key, Key::Policy(PolicyKey { shelf: Shelf::Object, .. }))
}

/// Objects never change in a store: to be another one it goes first.
fn replace(world: &World, key: Key, bytes: Option<Bytes>) {
    strongroom_store::now(world.store.inner.delete(key)).unwrap();
    bytes.into_iter().for_each(|bytes| world.store.put_now(key, bytes));
}

#[test]
fn verification_says_whose_files_are_gone_or_not_what_was_written() {
    let (world, people, objects) = two_people();
    let shop = world.open("shop");
    let sound = shop.verify().unwrap();
    assert_eq!((sound.findings, sound.looked.subjects, sound.looked.files), (vec![], 2, 4));
    assert_eq!(sound.looked.bytes, 4 * 15);
    for (at, (key, who, class)) in objects.iter().enumerate() {
        let whole = world.store.get_now(*key).unwrap();
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 1;
        let other = world.store.get_now(objects[(at + 1) % objects.len()].0);
        for (bad, what) in [
            (None, "a subject's file is missing"),
            (Some(flipped.into()), "a subject's file is damaged"),
            (Some(whole.slice(..whole.len() - 1)), "a subject's file is damaged"),
            (Some(Bytes::new()), "a subject's file is damaged"),
            (other, "a subject's file is damaged"),
        ] {
            replace(&world, *key, bad);
            let findings = shop.verify().unwrap().findings;
            let [found] = &findings[..] else { panic!("{key}, {what}: {findings:?}") };
            let pseudonym = shop.subject(&people[*who]).unwrap().pseudonym;
            assert_eq!(
                (found.what, found.subject, found.class),
                (what, Some(pseudonym), Some(*class))
            );
            let Key::Policy(PolicyKey { name, .. }) = key else { panic!("{key}") };
            assert_eq!(found.file.unwrap().0, name.to_be_bytes());
        }
        replace(&world, *key, Some(whole));
    }
    assert_eq!(shop.verify().unwrap().findings, []);
}

/// What an erasure took away is not missed, and whoever is left is looked at.
#[test]
fn what_is_gone_of_somebody_erased_is_no_damage() {
    let (world, [ada, bob], objects) = two_people();
    let mut shop = world.open("shop");
    shop.erase(&bob).unwrap();
    assert_eq!(world.store.live().into_keys().filter(is_object).count(), 2);
    let verified = shop.verify().unwrap();
    assert_eq!(
        (verified.findings, verified.looked.subjects, verified.looked.files),
        (vec![], 2, 2)
    );
    replace(&world, objects[0].0, None);
    let findings = shop.verify().unwrap().findings;
    assert_eq!(findings[0].subject, Some(shop.subject(&ada).unwrap().pseudonym));
    assert_eq!(findings.len(), 1);
}

/// Where what the register has of somebody cannot be read, nobody takes their files for sound.
#[test]
fn files_that_could_not_be_looked_at_are_told() {
    let (world, _, _) = two_people();
    let shop = world.open("shop");
    let is_cell = |key: &Key| matches!(key, Key::Policy(PolicyKey { shelf: Shelf::Cell, .. }));
    let cells: Vec<Key> = world.store.live().into_keys().filter(is_cell).collect();
    let mut told = std::collections::BTreeSet::new();
    for key in cells {
        let whole = world.store.get_now(key).unwrap();
        let mut bad = whole.to_vec();
        bad[whole.len() - 1] ^= 1;
        for bad in [Some(bad.into()), None] {
            replace(&world, key, bad);
            let Ok(verified) = shop.verify() else { continue };
            let whats: Vec<&str> = verified.findings.iter().map(|finding| finding.what).collect();
            assert!(!whats.is_empty(), "{key}");
            // Either all four files were seen, or it says which were not.
            let is_said = whats.iter().any(|what| what.ends_with("not looked at"));
            assert_eq!(is_said, verified.looked.files < 4, "{key}: {whats:?}");
            told.extend(whats);
        }
        replace(&world, key, Some(whole));
    }
    for what in [
        "a cell of the register is not the one that was recorded",
        "a subject cannot be read: its files were not looked at",
        "the list of subjects is damaged: some of them were not looked at",
        "what leads to a subject is missing from the look-up",
    ] {
        assert!(told.contains(what), "{what}: {told:?}");
    }
}

/// Records swapped between two applications do not fit anywhere.
#[test]
fn records_of_another_application_are_refused() {
    let (world, _) = prepared();
    let clinic = world.create("clinic").listed().application;
    let shop = world.open("shop").listed().application;
    let key = |application: strongroom_records::ids::ApplicationId, name: u128| {
        Key::Policy(PolicyKey { application: application.0, shelf: Shelf::Log, name })
    };
    let theirs = world.store.get_now(key(clinic, 0)).unwrap();
    world.store.put_now(key(shop, 0), theirs);
    assert!(is_noticed(&world));
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

/// A file of one person is gone or flipped: keys of all others are changed and end as if it was whole.
#[test]
fn a_damaged_file_keeps_nobody_elses_keys_from_being_changed_or_from_ending() {
    for (seed, is_gone) in [(61, false), (62, true)] {
        let world = World::new(seed);
        let mut shop = world.create("shop");
        let people = [(); 3].map(|()| shop.create_subject(&[]).unwrap());
        let before = world.store.live();
        shop.put_file(&own(people[1], "owned"), "new.txt", b"17 roses").unwrap();
        let mut objects = world.store.live().into_keys().filter(is_object);
        let key = objects.find(|key| !before.contains_key(key)).unwrap();
        for subject in [people[0], people[2]] {
            shop.put_file(&own(subject, "owned"), "new.txt", b"17 roses").unwrap();
        }
        let mut bytes = world.store.get_now(key).unwrap().to_vec();
        bytes[20] ^= 1;
        replace(&world, key, (!is_gone).then(|| bytes.into()));

        let rotated = shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap();
        assert_eq!((rotated.done.subjects, rotated.damaged), (2, vec![people[1]]), "{is_gone}");
        assert!(rotated.destroyed.unwrap().refused_afterwards);
        assert!(shop.rotating_since().unwrap().is_none());

        // What is due of a class goes with its key, of whom nothing is damaged.
        shop.set_retention("owned", Some(30)).unwrap();
        for subject in people {
            shop.put_file(&own(subject, "owned"), "due.txt", b"18 roses").unwrap();
        }
        world.clock.advance(Duration::from_secs(20 * 86_400));
        let generation = shop.generation();
        for (subject, is_damaged) in people.into_iter().zip([false, true, false]) {
            if !is_damaged {
                shop.put_file(&own(subject, "owned"), "new.txt", b"19 roses").unwrap();
            }
        }
        world.clock.advance(Duration::from_secs(11 * 86_400));
        let retired = shop.retire(Carry::Out).unwrap();
        assert_eq!(retired.left_out(), []);
        assert_eq!((retired.files, retired.subjects), (4, 3), "{is_gone}");
        assert_eq!(shop.generation(), generation + 1);
        assert_eq!(shop.read_file(&own(people[2], "owned"), "new.txt").unwrap(), b"19 roses");
    }
}

/// What stays of a class has to be sealed anew before the key ends of what was removed: it cannot be where it is damaged.
#[test]
fn retention_names_whose_files_are_damaged_and_ends_the_keys_of_all_others() {
    let world = World::new(63);
    let mut shop = world.create("shop");
    let people = [(); 3].map(|()| shop.create_subject(&[]).unwrap());
    shop.set_retention("owned", Some(30)).unwrap();
    for subject in people {
        shop.put_file(&own(subject, "owned"), "due.txt", b"18 roses").unwrap();
    }
    world.clock.advance(Duration::from_secs(20 * 86_400));
    let before = world.store.live();
    shop.put_file(&own(people[1], "owned"), "new.txt", b"17 roses").unwrap();
    let mut objects = world.store.live().into_keys().filter(is_object);
    let key = objects.find(|key| !before.contains_key(key)).unwrap();
    let whole = world.store.get_now(key);
    replace(&world, key, None);
    world.clock.advance(Duration::from_secs(11 * 86_400));
    let generation = shop.generation();
    let retired = shop.retire(Carry::Out).unwrap();
    assert_eq!((retired.files, retired.left_out()), (3, vec![people[1]]));
    assert_eq!(shop.generation(), generation + 1);
    assert!(shop.files(&own(people[0], "owned")).unwrap().is_empty());
    // Mended, the rest is done.
    replace(&world, key, whole);
    let retired = shop.retire(Carry::Out).unwrap();
    assert_eq!((retired.files, retired.left_out()), (0, vec![]));
    assert_eq!(shop.generation(), generation + 2);
    assert_eq!(shop.retire(Carry::Out).unwrap(), Retired::default());
    assert_eq!(shop.read_file(&own(people[1], "owned"), "new.txt").unwrap(), b"17 roses");
    assert!(shop.verify().unwrap().findings.is_empty());
}
