use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use strongroom_custody::Kind;
use strongroom_custody::vault::Vault;
use strongroom_host::sim::{Chance, SimEntropy};

use super::*;

/// Nodes in memory, with all that ever was.
#[derive(Default)]
struct Shelf {
    now: RefCell<BTreeMap<[u8; 16], Vec<u8>>>,
    ever: RefCell<BTreeMap<[u8; 16], Vec<u8>>>,
}

impl Nodes for Shelf {
    fn node(&self, name: &[u8; 16]) -> Result<Vec<u8>> {
        let missing = Error::new(ErrorKind::NotFound, "no such node");
        self.now.borrow().get(name).cloned().ok_or(missing)
    }
}

impl Shelf {
    fn apply(&self, change: &Change) {
        for (name, bytes) in &change.made {
            assert!(self.now.borrow_mut().insert(*name, bytes.clone()).is_none());
            self.ever.borrow_mut().insert(*name, bytes.clone());
        }
        for name in &change.gone {
            assert!(self.now.borrow_mut().remove(name).is_some(), "what goes was there");
        }
    }
}

fn secret(seed: u64) -> Secret<32> {
    Secret::fill_with(|out| SimEntropy::new(seed).fill(out))
}

fn keystore(vault: &Vault) -> Keystore {
    let (organisation, application) = (OrganisationId([1; 32]), ApplicationId([2; 16]));
    let entropy = Arc::new(SimEntropy::new(3));
    Keystore::new(organisation, application, Arc::new(vault.clone()), entropy)
}

fn planted(leaves: &[(u64, Secret<32>)]) -> (Vault, Keystore, Shelf, Root) {
    let vault = Vault::new();
    let (tree, shelf) = (keystore(&vault), Shelf::default());
    let change = tree.plant(leaves, 4096).unwrap();
    shelf.apply(&change);
    (vault, tree, shelf, change.root)
}

#[test]
fn what_was_put_opens_and_what_was_not_is_vacant() {
    let (_, tree, shelf, root) = planted(&[(0, secret(0))]);
    let change = tree.put(&root, &shelf, &[(4096, secret(1)), (4097, secret(2))], 4098).unwrap();
    assert_eq!(change.root.next_slot, 4098);
    shelf.apply(&change);
    for (slot, expected) in [(0, Some(0)), (4096, Some(1)), (4097, Some(2)), (4098, None)] {
        let found = tree.open(&change.root, &shelf, slot).unwrap();
        assert!(found == expected.map(secret), "slot {slot}");
    }
    assert!(tree.open(&change.root, &shelf, SLOT_COUNT).is_err());
}

#[test]
fn a_leaf_costs_four_nodes_and_leaves_no_old_ones() {
    let (_, tree, shelf, mut root) = planted(&[(0, secret(0))]);
    for slot in 4096..4196 {
        let change = tree.put(&root, &shelf, &[(slot, secret(slot))], slot + 1).unwrap();
        assert_eq!(change.made.len(), 4);
        shelf.apply(&change);
        root = change.root;
    }
    // The root; three below it for slot 0, and one, two for the others.
    assert_eq!(shelf.now.borrow().len(), 1 + 3 + 1 + 2);
}

#[test]
fn a_punctured_slot_is_vacant_and_all_others_are_whole() {
    let (vault, tree, shelf, mut root) = planted(&[(0, secret(0))]);
    let slots: Vec<u64> = (4096..4196).chain([1_000_000, SLOT_COUNT - 1]).collect();
    for slot in &slots {
        let change = tree.put(&root, &shelf, &[(*slot, secret(*slot))], slot + 1).unwrap();
        shelf.apply(&change);
        root = change.root;
    }
    let change = tree.puncture(&root, &shelf, &[4100], &[(4101, secret(7))]).unwrap();
    assert!(change.broken.is_empty());
    shelf.apply(&change);
    assert_eq!(change.ended, [root.key]);
    // Whoever makes one meanwhile keeps it.
    let place = KeyPlace {
        organisation: OrganisationId([1; 32]),
        application: ApplicationId([2; 16]),
        generation: 3,
        key: KeyId([9; 16]),
    };
    vault.create(&place, &SimEntropy::new(8)).unwrap();
    tree.destroy(&change.ended).unwrap();
    tree.destroy(&change.ended).unwrap();
    let still_opens = |own: &Root| tree.still_opens(own, &change.root);
    assert_eq!(still_opens(&root), Ok(false));
    // Custody that cannot be asked proves nothing.
    vault.set_away(true);
    assert_eq!(still_opens(&root).err().unwrap().kind(), ErrorKind::Unavailable);
    vault.set_away(false);
    // Nor does one of another kind, or one that has not the key in force either.
    let elsewhere = Root { provider: Kind::Pkcs11.number(), ..root.clone() };
    assert_eq!(still_opens(&elsewhere).err().unwrap().kind(), ErrorKind::Locked);
    let empty = keystore(&Vault::new());
    let refused = empty.still_opens(&root, &change.root).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(still_opens(&change.root), Ok(true));
    let left = vault.list(&ApplicationId([2; 16])).unwrap();
    assert_eq!(BTreeSet::from_iter(left), BTreeSet::from([change.root.key, place.key]));
    for slot in slots {
        let expected = match slot {
            4100 => None,
            4101 => Some(secret(7)),
            slot => Some(secret(slot)),
        };
        assert!(tree.open(&change.root, &shelf, slot).unwrap() == expected, "slot {slot}");
    }
}

#[test]
fn random_changes_equal_a_plain_map() {
    let (_, tree, shelf, mut root) = planted(&[(0, secret(0))]);
    let mut model: BTreeMap<u64, u64> = BTreeMap::from([(0, 0)]);
    let mut chance = Chance::new(11);
    for step in 1..120 {
        let slot = match chance.below(3) {
            0 => chance.below(SLOT_COUNT),
            _ => 4096 + chance.below(200),
        };
        let change = match chance.below(4) {
            0 => {
                model.remove(&slot);
                tree.puncture(&root, &shelf, &[slot], &[]).unwrap()
            }
            1 => {
                model.insert(slot, step);
                tree.puncture(&root, &shelf, &[], &[(slot, secret(step))]).unwrap()
            }
            _ => {
                model.insert(slot, step);
                tree.put(&root, &shelf, &[(slot, secret(step))], 0).unwrap()
            }
        };
        shelf.apply(&change);
        root = change.root;
        assert!(tree.open(&root, &shelf, slot).unwrap() == model.get(&slot).map(|s| secret(*s)));
    }
    for (slot, seed) in &model {
        assert!(tree.open(&root, &shelf, *slot).unwrap() == Some(secret(*seed)), "slot {slot}");
    }
}

#[test]
fn every_changed_node_is_damage() {
    let (_, tree, shelf, root) = planted(&[(0, secret(0)), (4096, secret(1))]);
    let names: Vec<[u8; 16]> = shelf.now.borrow().keys().copied().collect();
    for name in names {
        let good = shelf.now.borrow()[&name].clone();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            shelf.now.borrow_mut().insert(name, bad);
            let both = [tree.open(&root, &shelf, 0), tree.open(&root, &shelf, 4096)];
            let refused = both.iter().filter(|result| result.is_err()).count();
            assert!(refused > 0, "byte {at}");
            assert_eq!(tree.check(&root, &shelf).unwrap().1.len(), 1, "byte {at}");
        }
        shelf.now.borrow_mut().insert(name, good);
    }
    // Two paths of four nodes that share the upper two.
    assert_eq!(tree.check(&root, &shelf).unwrap(), (6, vec![]));
}

#[test]
fn a_key_of_another_generation_or_custody_does_not_open() {
    let (_, tree, shelf, root) = planted(&[(0, secret(0))]);
    let other = Root { generation: 2, ..root.clone() };
    assert_eq!(tree.open(&other, &shelf, 0).err().unwrap().kind(), ErrorKind::Locked);
    let other = Root { provider: 1, ..root.clone() };
    assert_eq!(tree.open(&other, &shelf, 0).err().unwrap().kind(), ErrorKind::Locked);
    let stranger = keystore(&Vault::new());
    assert_eq!(stranger.open(&root, &shelf, 0).err().unwrap().kind(), ErrorKind::Locked);
}

#[test]
fn a_wrap_that_does_not_open_is_listed_and_the_rest_is_punctured() {
    let (_, tree, shelf, root) =
        planted(&[(4096, secret(1)), (4097, secret(2)), (9000, secret(3))]);
    // A node as a faulty writer would have left it: its hash is right, one wrap is not.
    let mut path: Vec<Node> = Vec::new();
    for bytes in tree.path(&root, &shelf, 4096).unwrap() {
        path.push(cbor::decode_canonical(&bytes).unwrap());
    }
    let leaf = path.last_mut().unwrap();
    leaf.children[0].wrap[60] ^= 1;
    let mut place = NodePlace { name: [0; 16], hash: Hash::NONE };
    for (number, node) in path.iter_mut().rev().enumerate() {
        if number > 0 {
            let (_, at) = place_of(4096, node.level);
            let child = node.children.iter_mut().find(|child| child.place == at).unwrap();
            child.node = Some(place);
        }
        let bytes = cbor::encode(node);
        place = NodePlace { name: [u8::try_from(number).unwrap(); 16], hash: Hash(sha256(&bytes)) };
        shelf.now.borrow_mut().insert(place.name, bytes);
    }
    let root = Root { node: place, ..root };
    let change = tree.puncture(&root, &shelf, &[4097], &[]).unwrap();
    assert_eq!(change.broken, [Broken { level: 0, slot: 4096 }]);
    shelf.now.borrow_mut().extend(change.made.iter().cloned());
    assert!(tree.open(&change.root, &shelf, 4097).unwrap().is_none());
    assert!(tree.open(&change.root, &shelf, 9000).unwrap() == Some(secret(3)));
}

#[test]
fn vacancy_is_proved_without_keys_and_not_of_an_occupied_slot() {
    let (_, tree, shelf, root) = planted(&[(0, secret(0)), (4096, secret(1)), (4097, secret(2))]);
    let application = ApplicationId([2; 16]);
    let change = tree.puncture(&root, &shelf, &[4096], &[]).unwrap();
    shelf.apply(&change);
    let after = change.root.node.hash;
    let path = tree.path(&change.root, &shelf, 4096).unwrap();
    assert_eq!(verify_vacant(&application, &after, &path, 4096), Ok(()));
    assert!(verify_vacant(&application, &after, &path, 4097).is_err());
    assert!(verify_vacant(&application, &root.node.hash, &path, 4096).is_err());
    for cut in 0..path.len() {
        assert!(verify_vacant(&application, &after, &path[..cut], 4096).is_err());
    }
    // A slot in a region that never was: the proof is shorter.
    let far = tree.path(&change.root, &shelf, 10_000_000).unwrap();
    assert_eq!((far.len(), verify_vacant(&application, &after, &far, 10_000_000)), (1, Ok(())));
}

/// The omniscient archive, for the tree alone: every node that ever was, every root record, and what custody still has.
#[test]
fn nothing_that_ever_was_opens_a_punctured_slot() {
    let (_, tree, shelf, mut root) = planted(&[(0, secret(0))]);
    let mut roots = vec![root.clone()];
    let mut step = |change: Change, shelf: &Shelf| {
        shelf.apply(&change);
        roots.push(change.root.clone());
        change.root
    };
    for slot in 4096..4160 {
        let change = tree.put(&root, &shelf, &[(slot, secret(slot))], slot + 1).unwrap();
        root = step(change, &shelf);
    }
    let archive = |shelf: &Shelf| Shelf {
        now: RefCell::new(shelf.ever.borrow().clone()),
        ever: RefCell::default(),
    };
    let all = archive(&shelf);
    let found = |roots: &[Root], slot: u64| {
        let opens = |root: &&Root| matches!(tree.open(root, &all, slot), Ok(Some(_)));
        roots.iter().filter(opens).count()
    };
    // The control: before the end, every root since it was put opens it.
    assert_eq!(found(&roots, 4100), 64 - 4);
    let mut roots_before = roots.clone();
    let change = tree.puncture(&root, &shelf, &[4100], &[]).unwrap();
    shelf.apply(&change);
    roots_before.push(change.root.clone());
    tree.destroy(&change.ended).unwrap();
    let all = archive(&shelf);
    let opens = |slot: u64| {
        let opened = |root: &&Root| matches!(tree.open(root, &all, slot), Ok(Some(_)));
        roots_before.iter().filter(opened).count()
    };
    assert_eq!((opens(4100), opens(4101)), (0, 1));
}

#[test]
fn no_application_key_is_made_where_the_one_in_force_is_not() {
    let (vault, tree, shelf, root) = planted(&[(0, secret(0))]);
    assert!(tree.open(&root, &shelf, 0).is_ok());
    vault.destroy(&ApplicationId([2; 16]), &root.key).unwrap();
    let refused = tree.puncture(&root, &shelf, &[], &[]).err().unwrap();
    let left = vault.list(&ApplicationId([2; 16])).unwrap();
    assert_eq!((refused.kind(), left.len()), (ErrorKind::Locked, 0));
}
