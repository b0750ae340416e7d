//! The register's own key: once it is changed, whoever kept an old one can lay nothing in the place of anything.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::{World, answer, kind, own, registered};
use strongroom_crypto::seal;
use strongroom_crypto::secret::{RegisterKey, Secret};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_custody::{Custody, Description as Described, KeyPlace};
use strongroom_format::cbor;
use strongroom_host::entropy::Entropy;
use strongroom_records::activity::Basis;
use strongroom_records::application::Description;
use strongroom_records::ids::{ApplicationId, ClassId, KeyId, SubjectId};
use strongroom_records::log::Record;
use strongroom_records::register::{Cell, REGISTER_SLOT};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, ErrorKind};
use strongroom_store::{Key, PolicyKey, Shelf};
use strongroom_tree::{Keystore, Nodes};

/// Nodes as whoever can read the store has them.
struct Seen<'w>(&'w World, ApplicationId);

impl Nodes for Seen<'_> {
    fn node(&self, name: &[u8; 16]) -> strongroom_tree::Result<Vec<u8>> {
        let key = policy_key(self.1, Shelf::Node, u128::from_be_bytes(*name));
        Ok(self.0.store.get_now(key).unwrap().to_vec())
    }
}

fn policy_key(application: ApplicationId, shelf: Shelf, name: u128) -> Key {
    Key::Policy(PolicyKey { application: application.0, shelf, name })
}

/// Records of an application, oldest first.
fn records(world: &World, application: ApplicationId) -> Vec<Bytes> {
    let at = |seq| world.store.get_now(policy_key(application, Shelf::Log, seq));
    (0..).map_while(at).collect()
}

/// Whoever kept a key of the register, and can read and write the store.
struct Mallory<'w> {
    world: &'w World,
    application: ApplicationId,
    key: RegisterKey,
}

impl<'w> Mallory<'w> {
    fn with_generation(world: &'w World, shop: &Custodian, generation: u64) -> Self {
        let application = shop.listed().application;
        let newest = records(world, application).pop().unwrap();
        let root = Record::parse(&newest).unwrap().header.keystore.unwrap();
        let (organisation, entropy) = (world.services.keys.organisation(), &world.services.entropy);
        let keystore =
            Keystore::new(organisation, application, world.custody(), Arc::clone(entropy));
        let slot = REGISTER_SLOT + generation;
        let key = keystore.open(&root, &Seen(world, application), slot).unwrap().unwrap();
        Self { world, application, key: RegisterKey::from(key) }
    }

    fn context(&self, name: u128, version: u64) -> Context {
        let organisation = self.world.services.keys.organisation();
        let name = name.to_be_bytes();
        let fields = [Value::Bytes(&self.application.0), Value::Bytes(&name), Value::Uint(version)];
        Context::new(Usage::RegisterCell, &organisation.0, &fields)
    }

    fn opens_cell(&self, name: u128, bytes: &[u8]) -> Option<Vec<u8>> {
        let cell: Cell = cbor::decode_canonical(bytes).unwrap();
        let plain = seal::open(&self.key, &self.context(name, cell.version), &cell.sealed);
        plain.ok().map(|plain| plain.into_vec())
    }

    fn opens_record(&self, bytes: &[u8]) -> bool {
        let record = Record::parse(bytes).unwrap();
        let organisation = self.world.services.keys.organisation();
        let fields = [Value::Bytes(&self.application.0), Value::Uint(record.header.seq)];
        let context = Context::new(Usage::RegisterRecord, &organisation.0, &fields);
        seal::open(&self.key, &context, record.signed.rest).is_ok()
    }

    /// Cells as they lie in the store now.
    fn cells(&self) -> Vec<(u128, Bytes)> {
        let own = self.application.0;
        let live = self.world.store.live().into_iter();
        let cell = |(key, bytes)| match key {
            Key::Policy(key) if key.shelf == Shelf::Cell && key.application == own => {
                Some((key.name, bytes))
            }
            _ => None,
        };
        live.filter_map(cell).collect()
    }

    /// The cell with the application's description, while this key opens it.
    fn description(&self) -> (u128, Bytes, Description) {
        let described = |(name, bytes): (u128, Bytes)| {
            let plain = self.opens_cell(name, &bytes)?;
            let description = cbor::decode_canonical::<Description>(&plain).ok()?;
            (description.schema == SCHEMA).then_some((name, bytes, description))
        };
        self.cells().into_iter().find_map(described).unwrap()
    }

    /// Lays a cell over what is there.
    fn lay(&self, name: u128, version: u64, content: &Description) {
        let salt = self.world.services.entropy.array();
        let sealed =
            seal::seal(&self.key, &self.context(name, version), salt, &cbor::encode(content));
        self.put(name, cbor::encode(&Cell { version, sealed }).into());
    }

    fn put(&self, name: u128, bytes: Bytes) {
        self.world.store.put_now(policy_key(self.application, Shelf::Cell, name), bytes);
    }
}

const SCHEMA: &str = r#"{"email": {"type": "email", "lookup": true}}"#;

fn prepared(seed: u64) -> (World, Custodian, SubjectId) {
    let world = World::new(seed);
    let mut shop = world.create("shop");
    shop.set_schema(SCHEMA).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let ada = shop.create_subject(&[("email".into(), "ada@example.com".into())]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    (world, shop, ada)
}

/// A lease of a day, where the shop set none.
fn forged(of: &Description) -> Description {
    Description { leases: vec![(ClassId::OWNED, 86_400)], ..of.clone() }
}

#[test]
fn a_cell_laid_under_an_older_register_key_is_put_right_by_the_change_and_taken_by_nobody_after_it()
{
    let (world, shop, ada) = prepared(111);
    let mallory = Mallory::with_generation(&world, &shop, 0);
    let (name, recorded, description) = mallory.description();
    let version = cbor::decode_canonical::<Cell>(&recorded).unwrap().version;
    drop(shop);

    // What the change is for: a cell is not signed, and this one is believed.
    mallory.lay(name, version, &forged(&description));
    let mut shop = world.open("shop");
    assert_eq!(shop.description().unwrap().leases, [(ClassId::OWNED, 86_400)]);

    let done = shop.rotate_register(&mut |_| ()).unwrap();
    assert_eq!((done.generation, shop.description().unwrap()), (1, description.clone()));
    assert!(shop.verify().unwrap().findings.is_empty());

    let newest = records(&world, mallory.application).len() as u64 - 1;
    let whole = world.store.get_now(policy_key(mallory.application, Shelf::Cell, name)).unwrap();
    for version in [version, newest - 1, newest, newest + 1, u64::MAX] {
        mallory.lay(name, version, &forged(&description));
        assert_eq!(kind(shop.description()), ErrorKind::Corrupt, "{version}");
        let opened = world.stewardship().application("shop", world.custody());
        assert_eq!(kind(opened), ErrorKind::Corrupt, "{version}");
    }
    // Nor is one of before that was genuine.
    mallory.put(name, recorded);
    assert_eq!(kind(shop.description()), ErrorKind::Corrupt);
    mallory.put(name, whole);
    let mut shop = world.open("shop");
    assert_eq!(shop.description().unwrap(), description);
    assert_eq!(shop.find_subjects("email", "ada@example.com").unwrap(), [ada]);
}

#[test]
fn an_older_register_key_opens_nothing_of_now_and_the_new_one_nothing_of_before() {
    let (world, mut shop, ada) = prepared(112);
    let before = Mallory::with_generation(&world, &shop, 0);
    let first = shop.record_count();
    shop.rotate_register(&mut |_| ()).unwrap();
    shop.put_file(&own(ada, "owned"), "late.txt", b"18 roses").unwrap();
    let after = Mallory::with_generation(&world, &shop, 1);
    let cells = after.cells();
    assert!(cells.len() >= 7, "{}", cells.len());
    for (name, bytes) in cells {
        assert!(before.opens_cell(name, &bytes).is_none());
        assert!(after.opens_cell(name, &bytes).is_some());
    }
    for (seq, bytes) in (0..).zip(records(&world, before.application)) {
        assert_eq!(before.opens_record(&bytes), seq < first, "{seq}");
        assert_eq!(after.opens_record(&bytes), seq >= first, "{seq}");
    }
    // Records of before are read all the same.
    assert!(shop.report(&ada).unwrap().holds());
    assert_eq!(shop.entries(0, u64::MAX).unwrap().len(), shop.verify().unwrap().entries as usize);
}

#[test]
fn whoever_follows_goes_on_behind_changes_of_the_register_key_whose_application_keys_have_ended() {
    let (world, mut shop, ada) = prepared(113);
    let mut bob = world.open("shop");
    for generation in 1..=3 {
        assert_eq!(shop.rotate_register(&mut |_| ()).unwrap().generation, generation);
        shop.rotate().unwrap();
    }
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    assert!(bob.follow().unwrap().subjects.contains(&ada));
    assert_eq!(bob.consents(&ada).unwrap()[0].1, ConsentStatus::Withdrawn);
    bob.catch_up().unwrap();
    bob.put_file(&own(ada, "owned"), "order.txt", b"18 roses").unwrap();
    assert_eq!(bob.register_key().unwrap().generation, 3);
    shop.follow().unwrap();
    shop.catch_up().unwrap();
    assert_eq!(shop.read_file(&own(ada, "owned"), "order.txt").unwrap(), b"18 roses");
    assert!(world.open("shop").verify().unwrap().findings.is_empty());
}

/// Custody whose keys have to be obtained before they can be used, as those of a quorum.
struct Asked {
    inner: Arc<dyn Custody>,
    obtained: AtomicBool,
}

impl Custody for Asked {
    fn describe(&self) -> Described {
        self.inner.describe()
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> strongroom_custody::Result<()> {
        self.inner.create(place, entropy)
    }

    fn is_at_hand(&self, _: &KeyPlace) -> bool {
        self.obtained.load(Ordering::SeqCst)
    }

    fn obtain(&self, _: &KeyPlace) -> strongroom_custody::Result<()> {
        self.obtained.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn wrap(
        &self,
        place: &KeyPlace,
        key: &Secret<32>,
        entropy: &dyn Entropy,
    ) -> strongroom_custody::Result<Vec<u8>> {
        self.inner.wrap(place, key, entropy)
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> strongroom_custody::Result<Secret<32>> {
        assert!(self.is_at_hand(place), "used before it was obtained");
        self.inner.unwrap(place, wrap)
    }

    fn list(&self, application: &ApplicationId) -> strongroom_custody::Result<Vec<KeyId>> {
        self.inner.list(application)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> strongroom_custody::Result<()> {
        self.inner.destroy(application, key)
    }
}

#[test]
fn whoever_follows_says_which_key_has_to_be_obtained_before_a_new_register_key_is_known() {
    let (world, mut shop, ada) = prepared(114);
    let custody = Arc::new(Asked { inner: world.custody(), obtained: AtomicBool::new(true) });
    let own = Arc::clone(&custody) as Arc<dyn Custody>;
    let mut bob = world.stewardship().application("shop", own).unwrap();
    shop.rotate_register(&mut |_| ()).unwrap();
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    custody.obtained.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(kind(bob.follow()), ErrorKind::Unavailable);
    }
    bob.needed_key().unwrap().obtain().unwrap();
    bob.follow().unwrap();
    assert!(bob.needed_key().is_none());
    assert_eq!(bob.consents(&ada).unwrap()[0].1, ConsentStatus::Withdrawn);
}
