//! The omniscient archive: every byte that was ever written, every key that is still alive, tried on each other. And what
//! stands in no stored byte at all.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "archive/letters.rs"]
mod letters;
#[path = "archive/opening.rs"]
mod opening;
#[path = "archive/rows.rs"]
mod rows;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{World, answer, own, registered};
use opening::Archive;
use strongroom_crypto::secret::{ClassKey, Secret};
use strongroom_custody::file::KeyFile;
use strongroom_custody::vault::Vault;
use strongroom_custody::{Custody, ErrorKind as CustodyKind, KeyPlace};
use strongroom_host::disk::{Disk, read_all};
use strongroom_host::entropy::Entropy;
use strongroom_host::sim::SimDisk;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{ApplicationId, FileId, KeyId, SubjectId};
use strongroom_records::keystore::Root;
use strongroom_records::receipt::Ending;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, Depth, Services, Stewardship, verify_receipt};
use strongroom_store::{Key, Shelf};

fn holds(found: &[Vec<u8>], canary: &str) -> bool {
    found.iter().any(|bytes| bytes.windows(canary.len()).any(|w| w == canary.as_bytes()))
}

/// Three people with a profile and an order each; everything said once.
fn peopled(shop: &mut Custodian) -> Vec<SubjectId> {
    shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
    registered(shop, "newsletter", Basis::Consent, &["identifiable"]);
    let mut subjects = Vec::new();
    for name in ["ada", "bob", "charlie"] {
        let email = format!("{name}-canary@example.com");
        let subject = shop.create_subject(&[("email".into(), email.clone())]).unwrap();
        let profile = format!("{{\"email\": \"{email}\"}}");
        shop.put_file(&own(subject, "identifiable"), "profile.json", profile.as_bytes()).unwrap();
        let order = format!("{name}-canary ordered roses");
        shop.put_file(&own(subject, "owned"), &format!("{name}-canary.txt"), order.as_bytes())
            .unwrap();
        shop.answer(&subject, &answer("newsletter", ConsentStatus::Given)).unwrap();
        subjects.push(subject);
    }
    subjects
}

#[test]
fn a_file_about_somebody_erased_and_others_is_in_no_archive() {
    let world = World::new(29);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    let [ada, bob, charlie] = subjects[..] else { unreachable!() };
    let mut put = |one: SubjectId, other: SubjectId, text: &[u8]| {
        let (with, name) = ([other.to_string()], one.to_string());
        shop.put_file_about(&own(one, "owned"), &with, &name, text).unwrap();
    };
    put(bob, ada, b"a contract with canary-ada");
    put(charlie, ada, b"a first loan to canary-ada");
    put(ada, charlie, b"a second loan to canary-ada");
    let before = Archive::of(&world).all(&world, &world.vault, &subjects);
    for text in ["contract with", "first loan to", "second loan to"] {
        assert!(holds(&before, &format!("{text} canary-ada")), "{text}");
    }
    shop.erase(&ada).unwrap();
    let after = Archive::of(&world).all(&world, &world.vault, &subjects);
    assert!(!holds(&after, "canary-ada"));
    assert!(holds(&after, "bob-canary ordered"));
}

#[test]
fn an_erased_subject_is_in_no_archive_where_custody_ends_keys() {
    let world = World::new(21);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    // The control: before the end, the same search finds everybody's files.
    let before = Archive::of(&world).all(&world, &world.vault, &subjects);
    for name in ["ada", "bob", "charlie"] {
        assert!(holds(&before, &format!("{name}-canary ordered")), "{name}");
        assert!(holds(&before, &format!("{name}-canary@example.com")), "{name}");
    }
    let erased = shop.erase(&subjects[0]).unwrap();
    assert_eq!(erased.deed.destroyed.ending, Ending::Immediate);
    let after = Archive::of(&world).all(&world, &world.vault, &subjects);
    assert!(!holds(&after, "ada-canary"));
    for name in ["bob", "charlie"] {
        assert!(holds(&after, &format!("{name}-canary ordered")), "{name}");
    }
    // The hash of her address is testable by whoever has the register key: it must be in nothing that opens.
    let leaves = Archive::of(&world).leaves(&world, &world.vault);
    assert!(leaves.iter().all(|(slot, _)| *slot != 131_072), "her slot");
    assert!(shop.verify().unwrap().findings.is_empty());
}

/// The same, with a real module that holds the application key. The control is in the same search.
#[test]
fn an_erased_subject_is_in_no_archive_with_a_security_module() {
    let name = "an_erased_subject_is_in_no_archive_with_a_security_module";
    strongroom_custody::testing::with_a_token(
        name,
        &[&|token| {
            let world = World::new(26);
            let mut stewardship = world.stewardship();
            let custody = || Arc::new(token.open());
            let mut shop = stewardship.create("shop", "pkcs11:", custody(), 1).unwrap();
            let subjects = peopled(&mut shop);
            let before = Archive::of(&world).all(&world, &*custody(), &subjects);
            for name in ["ada", "bob", "charlie"] {
                assert!(holds(&before, &format!("{name}-canary ordered")), "{name}");
            }
            shop.rotate().unwrap();
            let erased = shop.erase(&subjects[0]).unwrap();
            let after = Archive::of(&world).all(&world, &*custody(), &subjects);
            assert!(!holds(&after, "ada-canary"));
            for name in ["bob", "charlie"] {
                assert!(holds(&after, &format!("{name}-canary ordered")), "{name}");
            }
            let deed = &erased.deed;
            assert_eq!(deed.destroyed.provider, strongroom_custody::Kind::Pkcs11.number());
            assert_eq!(deed.destroyed.ending, Ending::Immediate);
            assert!(deed.destroyed.refused_afterwards && deed.irrecoverable_from.is_some());
            assert!(deed.statement.starts_with("Irrecoverable from the time of this receipt on"));
            assert_eq!(custody().list(&shop.listed().application).unwrap().len(), 1);
        }],
    );
}

/// Keys from before a deep rotation open nothing that is stored now, keys of now nothing from before.
#[test]
fn after_a_deep_rotation_old_keys_and_new_data_have_nothing_in_common() {
    let world = World::new(28);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    let keys = || {
        let archive = Archive::of(&world);
        let leaves = archive.leaves(&world, &world.vault);
        let opened = archive.register_plaintexts(&world, &leaves);
        archive.class_keys(&world, &leaves, &subjects, &opened)
    };
    let live = || -> HashSet<FileId> {
        let objects = world.store.live().into_keys().filter_map(|key| match key {
            Key::Policy(key) if key.shelf == Shelf::Object => Some(FileId(key.name.to_be_bytes())),
            _ => None,
        });
        objects.collect()
    };
    let hers = |keys: Vec<(SubjectId, u16, ClassKey)>| -> Vec<(SubjectId, u16, ClassKey)> {
        keys.into_iter().filter(|(subject, _, _)| *subject == subjects[0]).collect()
    };
    let (keys_before, live_before) = (hers(keys()), live());
    let opened = Archive::of(&world).plaintexts(&world, &keys_before);
    assert_eq!(opened.iter().filter(|(id, _)| live_before.contains(id)).count(), 2);

    let rotated = shop.rotate_subject(&subjects[0], Depth::Deep, None, &mut |_| ()).unwrap();
    assert_eq!((rotated.deed.files, rotated.deed.generation), (2, 2));
    assert!(rotated.deed.destroyed.refused_afterwards);
    assert!(verify_receipt(&rotated.receipt, &world.services.organisation.now()).is_ok());

    let (keys_after, live_after) = (hers(keys()), live());
    // Whoever had her keys before has nothing that is stored now.
    let opened = Archive::of(&world).plaintexts(&world, &keys_before);
    assert_eq!(opened.iter().filter(|(id, _)| live_after.contains(id)).count(), 0);
    // Whoever has everything that lives now has nothing that was stored before, and all that is.
    let opened = Archive::of(&world).plaintexts(&world, &keys_after);
    assert_eq!(opened.iter().filter(|(id, _)| live_before.contains(id)).count(), 0);
    assert_eq!(opened.iter().filter(|(id, _)| live_after.contains(id)).count(), 2);
    assert_eq!(live_after.len(), live_before.len(), "nothing is left behind");
}

/// Custody that goes away between destroying and trying gives no receipt; asked again it does.
#[test]
fn an_end_that_could_not_be_tried_is_not_claimed() {
    let world = World::new(27);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    world.vault.go_away_after_destroying();
    let refused = shop.erase(&subjects[0]).err().unwrap();
    assert_eq!(refused.kind(), strongroom_steward::ErrorKind::Unavailable);
    world.vault.set_away(false);
    let erased = shop.erase(&subjects[0]).unwrap();
    assert!(erased.deed.destroyed.refused_afterwards);
}

/// Custody that is another one, or an empty place, once a key was destroyed.
#[derive(Default)]
struct Exchanged {
    vault: Vault,
    is_empty: AtomicBool,
}

impl Custody for Exchanged {
    fn describe(&self) -> strongroom_custody::Description {
        self.vault.describe()
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> strongroom_custody::Result<()> {
        self.vault.create(place, entropy)
    }

    fn wrap(
        &self,
        place: &KeyPlace,
        key: &Secret<32>,
        entropy: &dyn Entropy,
    ) -> strongroom_custody::Result<Vec<u8>> {
        self.vault.wrap(place, key, entropy)
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> strongroom_custody::Result<Secret<32>> {
        let missing = || strongroom_custody::Error::new(CustodyKind::NotFound, "no such key");
        match self.is_empty.load(Ordering::SeqCst) {
            true => Err(missing()),
            false => self.vault.unwrap(place, wrap),
        }
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> strongroom_custody::Result<()> {
        self.vault.destroy(application, key)?;
        self.is_empty.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn list(&self, application: &ApplicationId) -> strongroom_custody::Result<Vec<KeyId>> {
        match self.is_empty.load(Ordering::SeqCst) {
            true => Ok(Vec::new()),
            false => self.vault.list(application),
        }
    }
}

/// That it refuses the old key says nothing: it would refuse any.
#[test]
fn custody_that_has_not_the_key_in_force_either_proves_no_end() {
    let (world, custody) = (World::new(28), Arc::new(Exchanged::default()));
    let made = world.stewardship().create("shop", "vault:", Arc::clone(&custody) as Arc<_>, 1);
    let mut shop = made.unwrap();
    let subjects = peopled(&mut shop);
    let refused = shop.rotate().err().unwrap();
    assert_eq!(refused.kind(), strongroom_steward::ErrorKind::Unavailable, "{refused}");
    custody.is_empty.store(false, Ordering::SeqCst);
    assert!(shop.erase(&subjects[0]).is_err());
    custody.is_empty.store(false, Ordering::SeqCst);
    assert!(shop.erase(&subjects[0]).unwrap().deed.destroyed.refused_afterwards);
}

/// With the old key held back, the archive opens: that is what destroying it is for.
#[test]
fn an_old_application_key_held_back_opens_the_archive_again() {
    let world = World::new(22);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    let held_back = Vault::new();
    let root = Archive::of(&world).roots.last().cloned().unwrap();
    // A dishonest operator copies what the root is wrapped in before it ends.
    let place = KeyPlace {
        organisation: world.services.keys.organisation(),
        application: shop.listed().application,
        generation: root.generation,
        key: root.key,
    };
    let secret = world.vault.unwrap(&place, &root.wrap).unwrap();
    held_back.create(&place, &*world.services.entropy).unwrap();
    let wrap = held_back.wrap(&place, &secret, &*world.services.entropy).unwrap();
    shop.erase(&subjects[0]).unwrap();
    let mut archive = Archive::of(&world);
    archive.roots.push(Root { wrap, ..root });
    let found = archive.all(&world, &held_back, &subjects);
    assert!(holds(&found, "ada-canary ordered"));
}

/// A key file is best effort, and the receipt says exactly what the search then shows.
#[test]
fn a_copy_of_the_key_file_opens_the_archive_and_the_receipt_says_so() {
    let world = World::new(23);
    let disk = SimDisk::new(9);
    disk.create_folder("/custody".as_ref()).unwrap();
    let file = || KeyFile::new(Arc::new(disk.clone()), "/custody/keys".into());
    let mut stewardship = world.stewardship();
    let mut shop = stewardship.create("shop", "file:/custody/keys", Arc::new(file()), 1).unwrap();
    let subjects = peopled(&mut shop);
    let copy = read_all(&disk, "/custody/keys".as_ref()).unwrap();
    let erased = shop.erase(&subjects[0]).unwrap();
    // Without the copy: nothing, as everywhere.
    let found = Archive::of(&world).all(&world, &file(), &subjects);
    assert!(!holds(&found, "ada-canary"));
    // With it: everything, and the receipt promised no more.
    strongroom_host::disk::replace_file(&disk, "/custody/keys".as_ref(), &copy).unwrap();
    let found = Archive::of(&world).all(&world, &file(), &subjects);
    assert!(holds(&found, "ada-canary ordered"));
    assert_eq!(erased.deed.destroyed.ending, Ending::BestEffort);
    assert_eq!(erased.deed.irrecoverable_from, None);
    assert!(erased.deed.statement.starts_with("Best effort"));
}

#[test]
fn nothing_personal_stands_in_any_stored_byte() {
    let world = World::new(24);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    shop.scope("newsletter").unwrap();
    shop.find_subjects("email", "ada-canary@example.com").unwrap();
    shop.place_hold(&subjects[1], "litigation").unwrap();
    shop.rotate().unwrap();
    shop.erase(&subjects[0]).unwrap();
    let archive = Archive::of(&world);
    assert!(archive.blobs.len() > 100);
    for canary in [
        "canary",
        "example.com",
        "roses",
        "ticked",
        "profile.json",
        "newsletter",
        "shop",
        "litigation",
    ] {
        assert!(!holds(&archive.blobs, canary), "{canary}");
    }
}

/// Yesterday's store with today's custody: nobody comes back, because nothing of it opens.
#[test]
fn a_restored_backup_brings_nobody_back() {
    let world = World::new(25);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    let yesterday: BTreeMap<Key, _> = world.store.live();
    shop.erase(&subjects[0]).unwrap();
    drop(shop);
    for key in world.store.live().keys() {
        strongroom_store::now(strongroom_store::Store::delete(&*world.store, *key)).unwrap();
    }
    for (key, bytes) in yesterday {
        world.store.put_now(key, bytes);
    }
    // A device that saw the erasure notices that the register is older.
    let refused = world.stewardship().application("shop", world.custody()).err().unwrap();
    assert_eq!(refused.kind(), strongroom_steward::ErrorKind::Forked);
    // One that never saw anything has no key that opens it.
    let stranger = Services { memory: Arc::new(common::Pins::default()), ..world.services.clone() };
    let refused =
        Stewardship::open(stranger).unwrap().application("shop", world.custody()).err().unwrap();
    assert_eq!(refused.kind(), strongroom_steward::ErrorKind::Locked);
}
