//! What leads to people by their attributes.

use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_steward::{Carry, Custodian, Depth};
use strongroom_store::{Key, Shelf};

use crate::common::{World, own, registered};

use super::opening::Archive;

/// How many rows lead to each of these people.
fn rows_of<const N: usize>(world: &World, people: [SubjectId; N]) -> [usize; N] {
    let rows = Archive::of(world).rows(world, &world.vault);
    people.map(|subject| rows.iter().filter(|row| row.subject == subject).count())
}

fn be_called(shop: &mut Custodian, subject: SubjectId, email: &str) {
    let profile = format!(r#"{{"email": "{email}"}}"#);
    let place = own(subject, "identifiable");
    shop.put_file(&place, "profile.json", profile.as_bytes()).unwrap();
}

/// What somebody was once found by is as gone as what they were found by last: after an erasure, a merge, and retention.
#[test]
fn nothing_that_ever_was_tells_what_somebody_gone_was_once_found_by() {
    let world = World::new(28);
    let mut shop = world.create("shop");
    shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
    let people: Vec<SubjectId> = (0..4).map(|_| shop.create_subject(&[]).unwrap()).collect();
    let [ada, bob, charlie, eve] = people[..] else { unreachable!("four") };
    let set = |shop: &mut Custodian, name: &str| {
        let email = ("email".to_owned(), Some(name.to_owned()));
        shop.set_attributes(&ada, &[email]).unwrap();
    };
    set(&mut shop, "ada@first.example.com");
    set(&mut shop, "ada@second.example.com");
    for (name, subject) in ["ada", "bob", "charlie", "eve"].into_iter().zip(people) {
        be_called(&mut shop, subject, &format!("{name}@before.example.com"));
        be_called(&mut shop, subject, &format!("{name}@example.com"));
    }
    shop.remove_file(&own(charlie, "identifiable"), "profile.json").unwrap();
    // The control: all of them can be guessed at, in what was written before.
    assert_eq!(rows_of(&world, [ada, bob, charlie, eve]), [4, 2, 2, 2]);
    shop.erase(&ada).unwrap();
    assert_eq!(rows_of(&world, [ada, bob, charlie, eve]), [0, 2, 2, 2]);
    shop.merge_subjects(&eve, &charlie).unwrap();
    assert_eq!(rows_of(&world, [bob, charlie, eve]), [2, 0, 2]);
    shop.set_retention("identifiable", Some(30)).unwrap();
    shop.place_hold(&bob, "litigation").unwrap();
    world.clock.advance(std::time::Duration::from_secs(31 * 86_400));
    assert_eq!(shop.retire(Carry::Out).unwrap().files, 1);
    assert_eq!(shop.find_subjects("email", "eve@example.com").unwrap(), []);
    assert_eq!(shop.find_subjects("email", "bob@example.com").unwrap(), [bob]);
    assert_eq!(rows_of(&world, [bob, eve]), [2, 0]);
    shop.lift_hold(&bob, "litigation").unwrap();
    shop.erase(&bob).unwrap();
    assert_eq!(rows_of(&world, [bob]), [0]);
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// The machine dies at every change of the store while retention takes a profile away; keys are changed, and it goes on.
#[test]
fn retention_that_was_interrupted_leaves_no_row_whatever_comes_before_it_goes_on() {
    for calls in 0..200 {
        let world = World::new(29);
        let mut shop = world.create("shop");
        shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
        let ada = shop.create_subject(&[]).unwrap();
        be_called(&mut shop, ada, "ada@example.com");
        shop.set_retention("identifiable", Some(30)).unwrap();
        world.clock.advance(std::time::Duration::from_secs(31 * 86_400));
        assert_eq!(rows_of(&world, [ada]), [1]);
        world.store.die_after(Some(calls));
        let is_through = shop.retire(Carry::Out).is_ok();
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        shop.rotate_subject(&ada, Depth::Shallow, None, &mut |_| ()).unwrap();
        shop.retire(Carry::Out).unwrap();
        assert_eq!(rows_of(&world, [ada]), [0], "{calls}");
        if is_through {
            assert!(calls > 5, "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}

/// Where what is damaged keeps from knowing which buckets somebody's rows were in, no bucket keeps its key.
#[test]
fn somebody_whose_traces_are_not_known_is_in_no_row_that_ever_was() {
    let world = World::new(30);
    let mut shop = world.create("shop");
    shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
    let people: Vec<SubjectId> = (0..2).map(|_| shop.create_subject(&[]).unwrap()).collect();
    let [ada, bob] = people[..] else { unreachable!("two") };
    be_called(&mut shop, ada, "ada@before.example.com");
    be_called(&mut shop, ada, "ada@example.com");
    be_called(&mut shop, bob, "bob@example.com");
    let before = world.store.live();
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
    let after = world.store.live();
    // What the last record says is carried out again by whoever opens.
    shop.find_subjects("email", "ada@example.com").unwrap();
    drop(shop);
    // Nobody can tell any more which names activities have for her.
    for (key, bytes) in after {
        let is_cell = matches!(key, Key::Policy(key) if key.shelf == Shelf::Cell);
        if is_cell && before.get(&key) != Some(&bytes) {
            let mut bad = bytes.to_vec();
            *bad.last_mut().unwrap() ^= 1;
            world.store.put_now(key, bad.into());
        }
    }
    let mut shop = world.open("shop");
    assert!(shop.activities().is_err());
    assert_eq!(rows_of(&world, [ada, bob]), [2, 1]);
    shop.erase(&ada).unwrap();
    assert_eq!(rows_of(&world, [ada, bob]), [0, 1]);
    assert_eq!(shop.find_subjects("email", "bob@example.com").unwrap(), [bob]);
}
