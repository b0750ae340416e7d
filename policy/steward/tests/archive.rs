//! The omniscient archive: every byte that was ever written, every key that is still alive, tried on each other. And what
//! stands in no stored byte at all.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use common::{World, answer, own, registered};
use strongroom_crypto::hash::sha256;
use strongroom_crypto::kem::KemKey;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{ClassKey, KeyShare, NodeKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_custody::file::KeyFile;
use strongroom_custody::{Custody, KeyPlace};
use strongroom_format::cbor;
use strongroom_host::disk::{Disk, read_all};
use strongroom_host::sim::SimDisk;
use strongroom_keyring::DeviceKeys;
use strongroom_records::Signed;
use strongroom_records::activity::Basis;
use strongroom_records::exchange::{self, ANSWER_MAGIC, ENVELOPE_LEN_MAX, Envelope, LentKey, Need};
use strongroom_records::ids::{ClassId, FileId, SessionId, SubjectId};
use strongroom_records::keystore::{Node, Root};
use strongroom_records::log::Record;
use strongroom_records::receipt::Ending;
use strongroom_records::register::{BUCKET_COUNT, BUCKET_SLOT, Cell};
use strongroom_records::subject::{Bucket, ConsentStatus, Folder, Row, SubjectCell};
use strongroom_steward::letters::{self, Direction, Outside, Recipient};
use strongroom_steward::{
    Carry, Counter, Custodian, Depth, Fence, Services, Stewardship, Turns, verify_receipt,
};
use strongroom_store::{Key, Letter, Shelf};

/// All that the archive has, sorted by kind.
#[derive(Default)]
struct Archive {
    roots: Vec<Root>,
    nodes: Vec<Node>,
    /// Ciphertexts of any kind, whole stored things.
    blobs: Vec<Vec<u8>>,
    objects: Vec<(FileId, Vec<u8>)>,
    /// Answers to consumers' devices.
    letters: Vec<Vec<u8>>,
}

impl Archive {
    fn of(world: &World) -> Self {
        let mut archive = Self::default();
        for (key, bytes) in world.store.ever.lock().unwrap().iter() {
            archive.blobs.push(bytes.to_vec());
            if let Key::Answer(_) = key {
                archive.letters.push(bytes.to_vec());
            }
            let Key::Policy(key) = key else { continue };
            match key.shelf {
                Shelf::Log => {
                    let record = Record::parse(bytes).unwrap();
                    archive.roots.extend(record.header.keystore);
                }
                Shelf::Node => archive.nodes.push(cbor::decode_canonical(bytes).unwrap()),
                Shelf::Object => {
                    archive.objects.push((FileId(key.name.to_be_bytes()), bytes.to_vec()));
                }
                Shelf::Cell | Shelf::Tile => {}
            }
        }
        archive
    }

    /// Every key of a keystore slot that some path of wraps leads to: all keys on all wraps, until nothing new opens.
    fn leaves(&self, world: &World, custody: &dyn Custody) -> Vec<(u64, Secret<32>)> {
        let organisation = world.services.keys.organisation();
        let application = self.nodes[0].application;
        let mut node_keys: Vec<NodeKey> = Vec::new();
        for root in &self.roots {
            let (generation, key) = (root.generation, root.key);
            let place = KeyPlace { organisation, application, generation, key };
            if let Ok(secret) = custody.unwrap(&place, &root.wrap) {
                let is_new = !node_keys.iter().any(|known| known.expose() == secret.expose());
                if is_new {
                    node_keys.push(NodeKey::from(secret));
                }
            }
        }
        let mut leaves = Vec::new();
        let mut tried = 0;
        while tried < node_keys.len() {
            let mut found = Vec::new();
            for node in &self.nodes {
                for child in &node.children {
                    let below = node.index * 64 + u64::from(child.place);
                    let (usage, number) = match node.level {
                        0 => (Usage::SubjectKeyWrap, below),
                        level => (Usage::KeystoreNode, u64::from(level - 1) << 56 | below),
                    };
                    let fields = [
                        Value::Bytes(&application.0),
                        Value::Uint(number),
                        Value::Uint(child.generation),
                    ];
                    let context = Context::new(usage, &organisation.0, &fields);
                    let Ok(plain) = seal::open(&node_keys[tried], &context, &child.wrap) else {
                        continue;
                    };
                    let secret = Secret::from_bytes(plain.expose().try_into().unwrap());
                    match node.level {
                        0 => leaves.push((below, secret)),
                        _ => found.push(NodeKey::from(secret)),
                    }
                }
            }
            for key in found {
                if !node_keys.iter().any(|known| known.expose() == key.expose()) {
                    node_keys.push(key);
                }
            }
            tried += 1;
        }
        leaves
    }

    /// Class keys that the leaves lead to. Their wraps are looked for in everything that the leaves themselves open.
    fn class_keys(
        &self,
        world: &World,
        leaves: &[(u64, Secret<32>)],
        subjects: &[SubjectId],
        opened: &[Vec<u8>],
    ) -> Vec<(SubjectId, u16, ClassKey)> {
        let organisation = world.services.keys.organisation().0;
        let mut class_keys: Vec<(SubjectId, u16, ClassKey)> = Vec::new();
        // A wrap stands in a record as a byte string of 104 bytes; the control shows that all are found so. What was
        // stored more than once is tried once.
        let windows: HashSet<&[u8]> = opened
            .iter()
            .flat_map(|bytes| bytes.windows(106))
            .filter_map(|window| window.strip_prefix(&[0x58, 104]))
            .collect();
        for (slot, secret) in leaves.iter().filter(|(slot, _)| *slot >= 131_072 && slot % 2 == 0) {
            let key = SubjectKey::from_bytes(secret.expose());
            let subject = subjects[usize::try_from((slot - 131_072) / 2).unwrap()];
            for (class, generation) in [(1_u16, 1), (1, 2), (2, 1), (2, 2)] {
                let fields = [
                    Value::Bytes(&subject.0),
                    Value::Uint(u64::from(class)),
                    Value::Uint(generation),
                ];
                let context = Context::new(Usage::ClassKeyWrap, &organisation, &fields);
                for window in &windows {
                    if let Ok(plain) = seal::open(&key, &context, window) {
                        let own = ClassKey::from_bytes(plain.expose().try_into().unwrap());
                        if !class_keys.iter().any(|(_, _, k)| k.expose() == own.expose()) {
                            class_keys.push((subject, class, own));
                        }
                    }
                }
            }
        }
        class_keys
    }

    /// Plaintexts of objects that class keys open.
    fn plaintexts(
        &self,
        world: &World,
        class_keys: &[(SubjectId, u16, ClassKey)],
    ) -> Vec<(FileId, Vec<u8>)> {
        let organisation = world.services.keys.organisation().0;
        let application = self.nodes[0].application;
        let mut plaintexts = Vec::new();
        for (subject, class, key) in class_keys {
            for (id, sealed) in &self.objects {
                let fields = [
                    Value::Bytes(&application.0),
                    Value::Bytes(&subject.0),
                    Value::Uint(u64::from(*class)),
                    Value::Bytes(&id.0),
                ];
                let context = Context::new(Usage::SubjectFile, &organisation, &fields);
                if let Ok(plain) = seal::open(key, &context, sealed) {
                    plaintexts.push((*id, plain.into_vec()));
                }
            }
        }
        plaintexts
    }

    /// What the register key, which lives, opens of all that was ever written: cells and bodies, where class wraps lie.
    fn register_plaintexts(&self, world: &World, leaves: &[(u64, Secret<32>)]) -> Vec<Vec<u8>> {
        use strongroom_crypto::secret::RegisterKey;
        use strongroom_records::register::Cell;
        let organisation = world.services.keys.organisation().0;
        let application = self.nodes[0].application;
        let mut opened = Vec::new();
        for (_, secret) in leaves.iter().filter(|(slot, _)| *slot == 0) {
            let key = RegisterKey::from_bytes(secret.expose());
            for (stored, bytes) in world.store.ever.lock().unwrap().iter() {
                let Key::Policy(stored) = stored else { continue };
                let plain = match stored.shelf {
                    Shelf::Cell => {
                        let cell: Cell = cbor::decode_canonical(bytes).unwrap();
                        let name = stored.name.to_be_bytes();
                        let fields = [
                            Value::Bytes(&application.0),
                            Value::Bytes(&name),
                            Value::Uint(cell.version),
                        ];
                        let context = Context::new(Usage::RegisterCell, &organisation, &fields);
                        seal::open(&key, &context, &cell.sealed)
                    }
                    Shelf::Log => {
                        let record = Record::parse(bytes).unwrap();
                        let seq = record.header.seq;
                        let fields = [Value::Bytes(&application.0), Value::Uint(seq)];
                        let context = Context::new(Usage::RegisterRecord, &organisation, &fields);
                        seal::open(&key, &context, record.signed.rest)
                    }
                    _ => continue,
                };
                opened.extend(plain.map(|plain| plain.into_vec()).ok());
            }
        }
        opened
    }

    /// Look-up rows that some living key opens in any bucket as it ever was.
    fn rows(&self, world: &World, custody: &dyn Custody) -> BTreeSet<Row> {
        use strongroom_crypto::secret::BucketKey;
        let organisation = world.services.keys.organisation().0;
        let application = self.nodes[0].application;
        let leaves = self.leaves(world, custody);
        let slots = BUCKET_SLOT..BUCKET_SLOT + BUCKET_COUNT;
        let mut rows = BTreeSet::new();
        for plain in self.register_plaintexts(world, &leaves) {
            let Ok(cell) = cbor::decode_canonical::<Cell>(&plain) else { continue };
            for (slot, secret) in leaves.iter().filter(|(slot, _)| slots.contains(slot)) {
                let fields = [
                    Value::Bytes(&application.0),
                    Value::Uint(slot - BUCKET_SLOT),
                    Value::Uint(cell.version),
                ];
                let context = Context::new(Usage::LookupBucket, &organisation, &fields);
                let key = BucketKey::from_bytes(secret.expose());
                if let Ok(plain) = seal::open(&key, &context, &cell.sealed) {
                    rows.extend(cbor::decode_canonical::<Bucket>(plain.expose()).unwrap().rows);
                }
            }
        }
        rows
    }

    /// Plaintexts of files about several people whose shares are all in lists that class keys open.
    fn joint_plaintexts(
        &self,
        world: &World,
        class_keys: &[(SubjectId, u16, ClassKey)],
        opened: &[Vec<u8>],
    ) -> Vec<Vec<u8>> {
        let organisation = world.services.keys.organisation().0;
        let application = self.nodes[0].application;
        let mut shares: BTreeMap<(u16, FileId), BTreeMap<SubjectId, KeyShare>> = BTreeMap::new();
        let cells = opened.iter().filter_map(|plain| cbor::decode_canonical(plain).ok());
        for cell in cells.collect::<Vec<SubjectCell>>() {
            for class in &cell.classes {
                let theirs = class_keys.iter().filter(|(own, _, _)| *own == cell.subject);
                for (_, number, key) in theirs.filter(|(_, own, _)| *own == class.class.0) {
                    let fields = [
                        Value::Bytes(&application.0),
                        Value::Bytes(&cell.subject.0),
                        Value::Uint(u64::from(*number)),
                        Value::Uint(class.version),
                    ];
                    let context = Context::new(Usage::SubjectFolder, &organisation, &fields);
                    let Ok(plain) = seal::open(key, &context, &class.folder) else { continue };
                    let folder: Folder = cbor::decode_canonical(plain.expose()).unwrap();
                    for joint in folder.joint {
                        let file = shares.entry((*number, joint.file.id)).or_default();
                        file.insert(cell.subject, joint.share);
                    }
                }
            }
        }
        let mut plaintexts = Vec::new();
        for ((class, id), shares) in shares {
            let people: Vec<u8> = shares.keys().flat_map(|subject| subject.0).collect();
            let people = sha256(&people);
            let fields = [
                Value::Bytes(&application.0),
                Value::Bytes(&people),
                Value::Uint(u64::from(class)),
                Value::Bytes(&id.0),
            ];
            let context = Context::new(Usage::JointFile, &organisation, &fields);
            let key = KeyShare::join(shares.values());
            let sealed = self.objects.iter().filter(|(own, _)| *own == id);
            let plain = sealed.filter_map(|(_, sealed)| seal::open(&key, &context, sealed).ok());
            plaintexts.extend(plain.map(|plain| plain.into_vec()));
        }
        plaintexts
    }

    /// Class keys in letters that somebody's key opens.
    fn lent(&self, world: &World, key: &KemKey) -> Vec<(SubjectId, u16, ClassKey)> {
        let mut lent = Vec::new();
        for letter in &self.letters {
            let signed = Signed::parse(ANSWER_MAGIC, ENVELOPE_LEN_MAX, letter).unwrap();
            let envelope: Envelope = cbor::decode_canonical(signed.record).unwrap();
            let fields = [
                Value::Bytes(&envelope.session.0),
                Value::Uint(envelope.number),
                Value::Bytes(&envelope.from.0),
                Value::Bytes(&envelope.to.0),
            ];
            let organisation = world.services.keys.organisation().0;
            let context = Context::new(Usage::ExchangeAnswer, &organisation, &fields);
            let Ok(body) = key.unwrap(&context, signed.rest) else { continue };
            let body: exchange::Answer = cbor::decode_canonical(body.expose()).unwrap();
            for lease in body.leases {
                let key = |own: LentKey| ClassKey::from_bytes(&own.key.0);
                let one = |own| (lease.subject, lease.class.0, key(own));
                lent.extend(lease.keys.into_iter().map(one));
            }
        }
        lent
    }

    fn all(&self, world: &World, custody: &dyn Custody, subjects: &[SubjectId]) -> Vec<Vec<u8>> {
        let leaves = self.leaves(world, custody);
        let opened = self.register_plaintexts(world, &leaves);
        let class_keys = self.class_keys(world, &leaves, subjects, &opened);
        let found = self.plaintexts(world, &class_keys);
        let joint = self.joint_plaintexts(world, &class_keys, &opened);
        found.into_iter().map(|(_, plain)| plain).chain(joint).chain(opened).collect()
    }
}

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

/// Asks by hand for everybody's profile, as a consumer's device does that has a view of them.
fn borrow(world: &World, mailer: &DeviceKeys, session_key: &KemKey, people: &[SubjectId]) {
    let fence = Fence::new(|| Some(Box::new(())));
    let (services, custodians) = (world.services.clone(), vec![world.open("shop")]);
    let counter = Counter::open(services, world.stewardship(), custodians, fence, Turns::default());
    let session = SessionId([0xff; 16]);
    let time = world.services.clock.now_ns();
    let outside = Outside { session, number: 0, incarnation: 0, time };
    let ask = exchange::Ask {
        application: "shop".into(),
        activity: "newsletter".into(),
        heard: 0,
        needs: people.iter().map(|own| Need::Open(*own, ClassId::IDENTIFIABLE)).collect(),
        opened: Vec::new(),
        expects: 0,
        answer_key: *session_key.public().as_bytes(),
    };
    let roster = world.services.organisation.now();
    let to = Recipient::custodian(roster.find(&world.services.keys.device_id()).unwrap());
    let (entropy, body) = (&*world.services.entropy, cbor::encode(&ask));
    let letter = letters::write(Direction::Ask, mailer, to, &outside, &body, entropy).unwrap();
    let place = Letter { session: session.0, number: 0 };
    world.store.put_now(Key::Ask(place), letter.into());
    counter.unwrap().turn().unwrap();
}

/// What a consumer's device was lent lies in letters, which a backup keeps: with all that this device has for good, and with all
/// that the custodian's has, they open nothing.
#[test]
fn an_erased_subject_is_in_no_letter_that_was_ever_written_to_a_consumers_device() {
    let mut world = World::new(31);
    let mailer = world.consumer("mailer");
    let subjects = peopled(&mut world.create("shop"));
    let session_key = KemKey::from_seed(Secret::from_bytes(&[1; 32]));
    borrow(&world, &mailer, &session_key, &subjects);
    world.open("shop").erase(&subjects[0]).unwrap();
    let archive = Archive::of(&world);
    // The control: with what the device had in memory as long as it looked, the same search finds all that it was lent.
    let found = archive.plaintexts(&world, &archive.lent(&world, &session_key));
    let found: Vec<Vec<u8>> = found.into_iter().map(|(_, plain)| plain).collect();
    for name in ["ada", "bob", "charlie"] {
        assert!(holds(&found, &format!("{name}-canary@example.com")), "{name}");
    }
    for device in [&mailer, &*world.services.keys] {
        assert!(archive.lent(&world, device.kem()).is_empty());
    }
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

/// With the old key held back, the archive opens: that is what destroying it is for.
#[test]
fn an_old_application_key_held_back_opens_the_archive_again() {
    let world = World::new(22);
    let mut shop = world.create("shop");
    let subjects = peopled(&mut shop);
    let held_back = strongroom_custody::vault::Vault::new();
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
