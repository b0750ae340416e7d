//! Two homes work on one application at once: each has its own memory, and both have the store and custody.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{Pins, World, own};
use strongroom_crypto::secret::Secret;
use strongroom_custody::vault::Vault;
use strongroom_custody::{Custody, Description, KeyPlace};
use strongroom_host::entropy::Entropy;
use strongroom_host::sim::SimEntropy;
use strongroom_records::ids::{ApplicationId, KeyId, SubjectId};
use strongroom_records::log::Record;
use strongroom_steward::{Custodian, Depth, ErrorKind, Services, Stewardship};
use strongroom_store::{Key, Shelf};

type Hook = Box<dyn FnOnce() + Send>;

/// Custody in which something happens as soon as somebody looks what keys there are and finds several.
struct Watched {
    vault: Vault,
    hook: Mutex<Option<Hook>>,
}

impl Custody for Watched {
    fn describe(&self) -> Description {
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
        self.vault.unwrap(place, wrap)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> strongroom_custody::Result<()> {
        self.vault.destroy(application, key)
    }

    fn list(&self, application: &ApplicationId) -> strongroom_custody::Result<Vec<KeyId>> {
        if self.vault.list(application)?.len() > 1
            && let Some(hook) = self.hook.lock().unwrap().take()
        {
            hook();
        }
        self.vault.list(application)
    }
}

/// Two homes change keys of one application. What ends in custody is what the one that ends it knows to be over, whatever the
/// other does between a record and the end of the key before.
#[test]
fn a_key_that_another_home_has_made_meanwhile_is_never_ended() {
    type Act = fn(&mut Custodian, &SubjectId) -> strongroom_steward::Result<()>;
    let acts: [Act; 3] = [
        |shop, _| shop.rotate().map(drop),
        |shop, ada| shop.erase(ada).map(drop),
        |shop, ada| shop.rotate_subject(ada, Depth::Deep, None, &mut |_| ()).map(drop),
    ];
    for (seed, act) in (40..).zip(acts) {
        let world = World::new(seed);
        let mut shop = world.create("shop");
        let [ada, bob] = [(); 2].map(|()| shop.create_subject(&[]).unwrap());
        for subject in [ada, bob] {
            shop.put_file(&own(subject, "owned"), "order.txt", b"17 roses").unwrap();
        }
        drop(shop);
        let application = world.open("shop").listed().application;
        let services = Services {
            memory: Arc::new(Pins::default()),
            entropy: Arc::new(SimEntropy::new(seed + 100)),
            ..world.services.clone()
        };
        let (vault, ids) = (world.vault.clone(), SimEntropy::new(seed + 200));
        let organisation = world.services.keys.organisation();
        let other = move || {
            let custody = Arc::new(vault.clone());
            let mut there =
                Stewardship::open(services).unwrap().application("shop", custody).unwrap();
            there.rotate().unwrap();
            // And a key that no record names yet.
            let (generation, key) = (there.generation() + 1, KeyId(ids.bytes()));
            vault.create(&KeyPlace { organisation, application, generation, key }, &ids).unwrap();
        };
        let hook = Mutex::new(Some(Box::new(other) as Hook));
        let custody = Arc::new(Watched { vault: world.vault.clone(), hook });
        let mut shop =
            world.stewardship().application("shop", Arc::clone(&custody) as Arc<_>).unwrap();
        if let Err(error) = act(&mut shop, &ada) {
            assert_eq!(error.kind(), ErrorKind::Conflict);
        }
        assert!(custody.hook.lock().unwrap().is_none(), "the other home was there");
        drop(shop);
        let mut shop = world.open("shop");
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
        // The key in force, and the one that is on its way.
        assert_eq!(world.vault.list(&application).unwrap().len(), 2);
        shop.sweep().unwrap();
        assert_eq!(world.vault.list(&application).unwrap().len(), 2);
        act(&mut shop, &ada).unwrap();
        shop.rotate().unwrap();
        assert_eq!(world.vault.list(&application).unwrap().len(), 1);
        assert_eq!(shop.read_file(&own(bob, "owned"), "order.txt").unwrap(), b"17 roses");
    }
}

/// Among many records, what an interrupted change left is found, and what no record names is not looked for in all of them.
#[test]
fn keys_that_were_left_are_found_by_a_few_records_however_many_there_are() {
    let world = World::new(46);
    let mut shop = world.create("shop");
    let is_record = |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Log);
    // The list of applications is a log too, and has no keystore.
    let records = world.store.live().into_iter().filter(|(key, _)| is_record(key));
    let mut roots = records.filter_map(|(_, bytes)| Record::parse(&bytes).unwrap().header.keystore);
    let first = roots.next().unwrap();
    for count in [100, 2] {
        for _ in 0..count {
            shop.find_subjects("name", "nobody").unwrap();
        }
        shop.rotate().unwrap();
    }
    let (organisation, ids) = (world.services.keys.organisation(), SimEntropy::new(246));
    let application = shop.listed().application;
    let left = KeyPlace { organisation, application, generation: 1, key: first.key };
    let nobodys = KeyPlace { generation: 9, key: KeyId(ids.bytes()), ..left };
    for place in [&left, &nobodys] {
        world.vault.create(place, &ids).unwrap();
    }
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    world.store.fail_once(move |key| {
        counted.fetch_add(u64::from(is_record(key)), Ordering::Relaxed);
        false
    });
    assert_eq!(shop.sweep().unwrap(), 1);
    let all = shop.record_count();
    assert!(read.load(Ordering::Relaxed) < all / 2, "{read:?} of {all}");
    assert_eq!(world.vault.list(&application).unwrap().len(), 2);
    shop.rotate().unwrap();
    assert_eq!(world.vault.list(&application).unwrap().len(), 1);
}

/// A key that another home made and is about to record is named by no record of anybody; the store says that an old one does.
#[test]
fn a_record_that_the_store_made_up_ends_no_application_key() {
    let world = World::new(47);
    let mut shop = world.create("shop");
    let application = shop.listed().application;
    let [before] = world.vault.list(&application).unwrap()[..] else { panic!("one key") };
    shop.rotate().unwrap();
    let (organisation, ids) = (world.services.keys.organisation(), SimEntropy::new(247));
    let key = KeyId(ids.bytes());
    let theirs = KeyPlace { organisation, application, generation: 3, key };
    world.vault.create(&theirs, &ids).unwrap();
    for (place, bytes) in world.store.live() {
        let mut bytes = bytes.to_vec();
        let Some(at) = bytes.windows(16).position(|some| some == before.0) else { continue };
        bytes[at..at + 16].copy_from_slice(&key.0);
        world.store.put_now(place, bytes.into());
    }
    assert_eq!(shop.sweep().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(world.vault.list(&application).unwrap().contains(&key));
}
