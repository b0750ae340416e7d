use std::sync::Arc;

use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::{HeadKey, SigningKey};
use strongroom_host::entropy::Entropy;
use strongroom_host::sim::{SimDisk, SimEntropy};
use strongroom_records::ids::Pseudonym;
use strongroom_records::log::{About, Kind};
use strongroom_store::{Body, FolderStore, Key, PolicyKey, Store};

use super::*;
use crate::merkle::{Tiles, leaf_hash, verify_consistency, verify_inclusion};
use crate::shelves::Shelves;
use crate::verify::verify;
use strongroom_crypto::secret::RegisterKey;
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_crypto::{hash::sha256, seal};
use strongroom_format::ids::DeviceId;
use strongroom_records::ids::{ApplicationId, Hash};
use strongroom_records::log::{Entry, Header, Record, Stand};
use strongroom_store::Shelf;

mod closing;
mod tiles;

const APPLICATION: ApplicationId = ApplicationId([3; 16]);
const STAND: Stand = Stand { position: 1, head: Hash([7; 32]) };

struct Desk {
    device: SigningKey,
    head: HeadKey,
    register: RegisterKey,
    entropy: SimEntropy,
}

impl Desk {
    fn new() -> Self {
        Self {
            device: SigningKey::from_seed(Secret::from_bytes(&[1; 32])),
            head: HeadKey::from_seed(Secret::from_bytes(&[2; 32])),
            register: RegisterKey::from_bytes(&[4; 32]),
            entropy: SimEntropy::new(5),
        }
    }

    fn context(seq: u64) -> Context {
        let fields = [Value::Bytes(&APPLICATION.0), Value::Uint(seq)];
        Context::new(Usage::RegisterRecord, &[9; 32], &fields)
    }
}

impl Signer for Desk {
    fn device(&self) -> DeviceId {
        DeviceId([8; 16])
    }
    fn stand(&self) -> Stand {
        STAND
    }
    fn sign_record(&self, header: &[u8]) -> [u8; 64] {
        self.device.sign(Usage::SignRegisterRecord, header)
    }
    fn sign_head(&self, note: &str) -> Vec<u8> {
        self.head.sign_note(note).to_vec()
    }
}

impl Sealer for Desk {
    fn epoch(&self) -> u64 {
        0
    }
    fn seal(&self, seq: u64, plain: &[u8]) -> Result<Vec<u8>> {
        Ok(seal::seal(&self.register, &Self::context(seq), self.entropy.bytes(), plain))
    }
    fn open(&self, header: &Header, sealed: &[u8]) -> Result<Vec<u8>> {
        let plain = seal::open(&self.register, &Self::context(header.seq), sealed);
        plain.map(|plain| plain.into_vec()).map_err(|_| Error::corrupt("body"))
    }
}

impl Trust for Desk {
    fn author(&self, device: &DeviceId, stand: &Stand) -> Result<Option<Author>> {
        let is_it = *device == DeviceId([8; 16]) && *stand == STAND;
        let author = || Author { key: self.device.verifying_key().clone(), epoch: 1 };
        Ok(is_it.then(author))
    }
    fn last_removal(&self) -> Option<u64> {
        None
    }
    fn removed_at(&self, _: &DeviceId) -> Option<u64> {
        None
    }
}

fn store() -> Arc<dyn Store> {
    let disk = SimDisk::new(1);
    Arc::new(FolderStore::create(Arc::new(disk), "/store".into()).unwrap())
}

fn wait(later: strongroom_store::Later<'_, ()>) -> strongroom_store::Result<()> {
    strongroom_store::now(later)
}

fn shelves(store: &Arc<dyn Store>) -> Shelves {
    Shelves::new(Arc::clone(store), wait, APPLICATION)
}

fn entry(about: Option<About>) -> Entry {
    Entry {
        kind: Kind::Access,
        time: 0,
        seq: 0,
        operator: DeviceId([0; 16]),
        activity: None,
        class: None,
        judgement: None,
        about,
        detail: None,
        object: None,
    }
}

fn draft(about: Option<About>, detail: &[u8]) -> Draft {
    Draft { entry: entry(about), detail: detail.to_vec(), decision: None }
}

fn batch(now: i64, drafts: Vec<Draft>) -> Batch {
    Batch { now, keystore: None, key: None, drafts, payload: b"payload".to_vec() }
}

/// A log of `count` records with one or two entries each, about two subjects.
fn written(store: &Arc<dyn Store>, desk: &Desk, count: u64) -> Log {
    let mut log = Log::find(shelves(store), desk, None).unwrap();
    let mut chains = [(0, Hash::NONE); 2];
    for number in 0..count {
        let who = usize::try_from(number % 2).unwrap();
        let about = About {
            subject: Pseudonym([u8::try_from(who).unwrap(); 16]),
            number: chains[who].0 + 1,
            previous: chains[who].1,
            previous_seq: None,
        };
        let mut drafts = vec![draft(Some(about), b"sealed detail")];
        if number % 3 == 0 {
            drafts.push(draft(None, b""));
        }
        let now = 1_000 + i64::try_from(number).unwrap();
        let appended = log.append(desk, desk, batch(now, drafts)).unwrap();
        chains[who] = (about.number, Hash(sha256(&appended.leaves[0])));
    }
    log
}

fn report(store: &Arc<dyn Store>, desk: &Desk) -> verify::Report {
    let log = Log::find(shelves(store), desk, None).unwrap();
    verify(&log, desk, desk, Some(desk.head.verifying_key()), &mut ()).unwrap()
}

fn key(shelf: Shelf, name: u128) -> Key {
    Key::Policy(PolicyKey { application: APPLICATION.0, shelf, name })
}

fn get(store: &Arc<dyn Store>, shelf: Shelf, name: u128) -> Vec<u8> {
    strongroom_store::now(store.get(key(shelf, name), None)).unwrap().to_vec()
}

fn put(store: &Arc<dyn Store>, shelf: Shelf, name: u128, bytes: Vec<u8>) {
    strongroom_store::now(store.put(key(shelf, name), Body::Bytes(bytes.into()))).unwrap();
}

fn delete(store: &Arc<dyn Store>, shelf: Shelf, name: u128) {
    strongroom_store::now(store.delete(key(shelf, name))).unwrap();
}

#[test]
fn what_was_appended_verifies_and_is_found_again() {
    let (store, desk) = (store(), Desk::new());
    let log = written(&store, &desk, 40);
    assert_eq!((log.next_seq(), log.tree_size()), (40, 54));
    let report = report(&store, &desk);
    assert_eq!((report.records, report.entries, report.findings), (40, 54, vec![]));
    let pin = log.pin().unwrap();
    let again = Log::find(shelves(&store), &desk, Some(&pin)).unwrap();
    assert_eq!(again.pin(), Some(pin));
}

#[test]
fn every_changed_byte_of_a_record_is_found() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 4);
    let good = get(&store, Shelf::Log, 1);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        put(&store, Shelf::Log, 1, bad);
        assert!(!report(&store, &desk).findings.is_empty(), "byte {at}");
    }
    put(&store, Shelf::Log, 1, good);
    assert!(report(&store, &desk).findings.is_empty());
}

#[test]
fn removed_and_reordered_records_are_found() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 6);
    let (two, three) = (get(&store, Shelf::Log, 2), get(&store, Shelf::Log, 3));
    put(&store, Shelf::Log, 2, three.clone());
    put(&store, Shelf::Log, 3, two.clone());
    assert!(!report(&store, &desk).findings.is_empty(), "reordered");
    put(&store, Shelf::Log, 2, two);
    put(&store, Shelf::Log, 3, three);
    assert!(report(&store, &desk).findings.is_empty());
    // One that is gone in the middle: what follows it is not taken for the end of the log by a device with a pin.
    let pin = Log::find(shelves(&store), &desk, None).unwrap().pin();
    delete(&store, Shelf::Log, 3);
    let log = Log::find(shelves(&store), &desk, pin.as_ref()).unwrap();
    let report = verify(&log, &desk, &desk, Some(desk.head.verifying_key()), &mut ()).unwrap();
    assert!(report.findings.iter().any(|finding| finding.what == "a record is missing"));
}

#[test]
fn a_truncated_or_forked_log_is_refused_by_who_has_seen_more() {
    let (store, desk) = (store(), Desk::new());
    let pin = written(&store, &desk, 6).pin();
    let five = get(&store, Shelf::Log, 5);
    delete(&store, Shelf::Log, 5);
    let refused = Log::find(shelves(&store), &desk, pin.as_ref()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Forked);
    // Another record in the same place, with every signature right: the device itself was made to write twice.
    let mut log = Log::find(shelves(&store), &desk, None).unwrap();
    log.append(&desk, &desk, batch(9_999, vec![draft(None, b"")])).unwrap();
    assert!(get(&store, Shelf::Log, 5) != five);
    let refused = Log::find(shelves(&store), &desk, pin.as_ref()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Forked);
}

#[test]
fn a_log_whose_end_follows_another_branch_than_the_one_seen_is_refused() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 5);
    let branch = |time: i64| {
        let mut log = Log::find(shelves(&store), &desk, None).unwrap();
        for step in 0..2 {
            log.append(&desk, &desk, batch(time + step, vec![draft(None, b"")])).unwrap();
        }
        log.pin().unwrap()
    };
    let whole = branch(8_888);
    let (five, six) = (get(&store, Shelf::Log, 5), get(&store, Shelf::Log, 6));
    let seen = Pin { seq: 5, hash: Hash(sha256(Record::parse(&five).unwrap().signed.record)) };
    delete(&store, Shelf::Log, 5);
    delete(&store, Shelf::Log, 6);
    branch(9_999);
    // The record that was seen is in its place, and behind it the end of the other branch.
    put(&store, Shelf::Log, 5, five);
    let refused = Log::find(shelves(&store), &desk, Some(&seen)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Forked);
    put(&store, Shelf::Log, 6, six);
    let found = Log::find(shelves(&store), &desk, Some(&seen)).unwrap();
    assert_eq!(found.pin(), Some(whole));
    // A pin further back: nothing between may be missing.
    let early = Pin { seq: 2, hash: found.hash(2).unwrap() };
    assert!(Log::find(shelves(&store), &desk, Some(&early)).is_ok());
    delete(&store, Shelf::Log, 4);
    let refused = Log::find(shelves(&store), &desk, Some(&early)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_record_of_another_device_or_head_key_is_found() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 3);
    let mallory =
        Desk { device: SigningKey::from_seed(Secret::from_bytes(&[6; 32])), ..Desk::new() };
    let mut log = Log::find(shelves(&store), &desk, None).unwrap();
    log.append(&mallory, &mallory, batch(5, vec![draft(None, b"")])).unwrap();
    assert_eq!(Log::find(shelves(&store), &desk, None).err().unwrap().kind(), ErrorKind::Corrupt);
    delete(&store, Shelf::Log, 3);
    let mallory = Desk { head: HeadKey::from_seed(Secret::from_bytes(&[7; 32])), ..Desk::new() };
    let mut log = Log::find(shelves(&store), &desk, None).unwrap();
    log.append(&mallory, &mallory, batch(5, vec![draft(None, b"")])).unwrap();
    let findings = report(&store, &desk).findings;
    assert_eq!(findings[0].what, "the signature of a head does not hold");
}

#[test]
fn an_entry_dropped_from_a_subjects_chain_is_found() {
    let (store, desk) = (store(), Desk::new());
    let mut log = written(&store, &desk, 5);
    // The custodian itself leaves one out: the numbers tell.
    let about = About {
        subject: Pseudonym([0; 16]),
        number: 5,
        previous: Hash([1; 32]),
        previous_seq: None,
    };
    log.append(&desk, &desk, batch(5, vec![draft(Some(about), b"")])).unwrap();
    let findings = report(&store, &desk).findings;
    assert_eq!(findings[0].what, "the entries about a subject have a gap or a fork");
}

#[test]
fn two_writers_at_once_leave_one_record_and_no_grant_to_the_loser() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 2);
    let mut alice = Log::find(shelves(&store), &desk, None).unwrap();
    let mut bob = Log::find(shelves(&store), &desk, None).unwrap();
    alice.append(&desk, &desk, batch(5, vec![draft(None, b"")])).unwrap();
    let lost = bob.append(&desk, &desk, batch(6, vec![draft(None, b"")])).err().unwrap();
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    assert!(report(&store, &desk).findings.is_empty());
}

#[test]
fn tiles_that_a_dead_writer_left_behind_are_settled() {
    let (store, desk) = (store(), Desk::new());
    let mut log = written(&store, &desk, 300);
    let before = get(&store, Shelf::Tile, 1);
    let drafts = (0..3).map(|_| draft(None, b"")).collect();
    log.append(&desk, &desk, batch(5, drafts)).unwrap();
    let after = get(&store, Shelf::Tile, 1);
    put(&store, Shelf::Tile, 1, before);
    let log = Log::find(shelves(&store), &desk, None).unwrap();
    log.settle(&desk, log.head().unwrap().seq).unwrap();
    assert_eq!(get(&store, Shelf::Tile, 1), after);
    assert!(report(&store, &desk).findings.is_empty());
}

#[test]
fn every_proof_of_a_stored_log_holds_and_no_other() {
    let (store, desk) = (store(), Desk::new());
    let log = written(&store, &desk, 230);
    let (size, root) = (log.tree_size(), log.head().unwrap().tree_root);
    assert!(size > 256, "two tiles and a level above");
    let mut index = 0;
    for seq in 0..log.next_seq() {
        let (_, body) = log.body(&desk, seq).unwrap();
        for logged in &body.entries {
            let proof = log.prove_inclusion(index).unwrap();
            let leaf = merkle::leaf_hash(&logged.leaf);
            assert!(verify_inclusion(&leaf, index, size, &proof, &root), "{index}");
            assert!(!verify_inclusion(&leaf, (index + 1) % size, size, &proof, &root));
            index += 1;
        }
        let (old, _) = log.body(&desk, seq).unwrap();
        let proof = log.prove_consistency(old.tree_size).unwrap();
        let first = (old.tree_size, &old.tree_root);
        assert!(verify_consistency(first, (size, &root), &proof), "{seq}");
        assert!(!verify_consistency((old.tree_size, &Hash([1; 32])), (size, &root), &proof));
    }
}

/// Tiles straight from leaves, for small trees.
struct Leaves(Vec<Hash>);

impl Tiles for Leaves {
    fn tile(&self, level: u8, _: u64) -> Result<Vec<Hash>> {
        Ok(if level == 0 { self.0.clone() } else { Vec::new() })
    }
}

/// The leaves, roots and proofs that the reference implementation of RFC 6962 publishes.
#[test]
fn roots_are_the_published_ones() {
    let leaves: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let tree = Leaves(leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect());
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (size, expected) in (1..).zip(roots) {
        assert_eq!(merkle::root(&tree, size).unwrap().to_string(), expected);
    }
    assert_eq!(
        merkle::empty_root().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn all_proofs_of_small_trees_hold_and_changed_ones_do_not() {
    let leaves: Vec<Hash> = (0_u8..20).map(|leaf| merkle::leaf_hash(&[leaf])).collect();
    let tree = Leaves(leaves.clone());
    let root = |size| merkle::root(&tree, size).unwrap();
    for size in 1..=20_u64 {
        for index in 0..size {
            let proof = merkle::inclusion(&tree, index, size).unwrap();
            let leaf = &leaves[usize::try_from(index).unwrap()];
            assert!(verify_inclusion(leaf, index, size, &proof, &root(size)));
            for at in 0..proof.len() {
                let mut bad = proof.clone();
                bad[at].0[0] ^= 1;
                assert!(!verify_inclusion(leaf, index, size, &bad, &root(size)));
                let cut = &proof[..at];
                assert!(!verify_inclusion(leaf, index, size, cut, &root(size)));
            }
        }
        for old in 1..=size {
            let proof = merkle::consistency(&tree, old, size).unwrap();
            let both = ((old, &root(old)), (size, &root(size)));
            assert!(verify_consistency(both.0, both.1, &proof), "{old} {size}");
            for at in 0..proof.len() {
                let mut bad = proof.clone();
                bad[at].0[31] ^= 1;
                assert!(!verify_consistency(both.0, both.1, &bad));
                assert!(!verify_consistency(both.0, both.1, &proof[..at]));
            }
        }
    }
}
