//! An archive of everything that ever was in a store, and all that keys open of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kem::KemKey;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{ClassKey, KeyShare, NodeKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_custody::{Custody, KeyPlace};
use strongroom_format::cbor;
use strongroom_records::exchange::{ANSWER_MAGIC, ENVELOPE_LEN_MAX, Envelope, LentKey};
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::keystore::{Node, Root};
use strongroom_records::log::Record;
use strongroom_records::register::{BUCKET_COUNT, BUCKET_SLOT, Cell};
use strongroom_records::subject::{Bucket, Folder, Row, SubjectCell};
use strongroom_records::{Signed, exchange};
use strongroom_store::{Key, Shelf};

use crate::common::World;

/// All that the archive has, sorted by kind.
#[derive(Default)]
pub(super) struct Archive {
    pub(super) roots: Vec<Root>,
    nodes: Vec<Node>,
    /// Ciphertexts of any kind, whole stored things.
    pub(super) blobs: Vec<Vec<u8>>,
    objects: Vec<(FileId, Vec<u8>)>,
    /// Answers to consumers' devices.
    letters: Vec<Vec<u8>>,
}

impl Archive {
    pub(super) fn of(world: &World) -> Self {
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
    pub(super) fn leaves(&self, world: &World, custody: &dyn Custody) -> Vec<(u64, Secret<32>)> {
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
    pub(super) fn class_keys(
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
    pub(super) fn plaintexts(
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
    pub(super) fn register_plaintexts(
        &self,
        world: &World,
        leaves: &[(u64, Secret<32>)],
    ) -> Vec<Vec<u8>> {
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
    pub(super) fn rows(&self, world: &World, custody: &dyn Custody) -> BTreeSet<Row> {
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
    pub(super) fn lent(&self, world: &World, key: &KemKey) -> Vec<(SubjectId, u16, ClassKey)> {
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

    pub(super) fn all(
        &self,
        world: &World,
        custody: &dyn Custody,
        subjects: &[SubjectId],
    ) -> Vec<Vec<u8>> {
        let leaves = self.leaves(world, custody);
        let opened = self.register_plaintexts(world, &leaves);
        let class_keys = self.class_keys(world, &leaves, subjects, &opened);
        let found = self.plaintexts(world, &class_keys);
        let joint = self.joint_plaintexts(world, &class_keys, &opened);
        found.into_iter().map(|(_, plain)| plain).chain(joint).chain(opened).collect()
    }
}
