//! Tiles follow from the records: whatever happens to them, no head goes wrong, nothing stays closed, every proof holds again.

use super::*;

fn flip(store: &Arc<dyn Store>, name: u128, at: usize) {
    let mut bytes = get(store, Shelf::Tile, name);
    bytes[at] ^= 1;
    put(store, Shelf::Tile, name, bytes);
}

fn found(store: &Arc<dyn Store>, desk: &Desk) -> Log {
    Log::find(shelves(store), desk, None).unwrap()
}

fn settled(store: &Arc<dyn Store>, desk: &Desk) -> Log {
    let log = found(store, desk);
    log.settle(desk, log.next_seq() - 1).unwrap();
    log
}

fn every_proof_holds(log: &Log, desk: &Desk) -> bool {
    let (size, root) = (log.tree_size(), log.head().unwrap().tree_root);
    let bodies = (0..log.next_seq()).map(|seq| log.body(desk, seq).unwrap().1);
    let leaves = bodies.flat_map(|body| body.entries).map(|logged| leaf_hash(&logged.leaf));
    leaves.zip(0..).all(|(leaf, index)| {
        let proof = log.prove_inclusion(index);
        proof.is_ok_and(|proof| verify_inclusion(&leaf, index, size, &proof, &root))
    })
}

/// The tile that is grown, the one above it, and one that is full, of a tree of 400 leaves.
const EDGE: u128 = 1;
const ABOVE: u128 = 1 << 64;
const FULL: u128 = 0;

#[test]
fn no_head_is_signed_of_a_tile_that_is_not_that_of_the_head_before() {
    for name in [EDGE, ABOVE] {
        let (store, desk) = (store(), Desk::new());
        written(&store, &desk, 300);
        let mut log = found(&store, &desk);
        flip(&store, name, 5);
        log.append(&desk, &desk, batch(5, vec![draft(None, b"")])).unwrap();
        let whole = get(&store, Shelf::Tile, name);
        assert_eq!(report(&store, &desk).findings, vec![], "{name}");
        assert!(every_proof_holds(&found(&store, &desk), &desk), "{name}");
        assert_eq!(get(&store, Shelf::Tile, name), whole, "made good before it was grown");
    }
}

#[test]
fn tiles_that_are_damaged_or_gone_are_made_anew_from_the_records() {
    let (store, desk) = (store(), Desk::new());
    written(&store, &desk, 300);
    let names = [FULL, EDGE, ABOVE];
    let whole = names.map(|name| get(&store, Shelf::Tile, name));
    for (gone, name) in names.into_iter().enumerate().skip(1) {
        delete(&store, Shelf::Tile, name);
        settled(&store, &desk);
        assert!(get(&store, Shelf::Tile, name) == whole[gone], "{name} gone");
        put(&store, Shelf::Tile, name, whole[gone][..whole[gone].len() - 1].to_vec());
        settled(&store, &desk);
        assert!(get(&store, Shelf::Tile, name) == whole[gone], "{name} cut off");
    }
    names.iter().for_each(|name| delete(&store, Shelf::Tile, *name));
    assert!(every_proof_holds(&settled(&store, &desk), &desk));
    assert!(names.map(|name| get(&store, Shelf::Tile, name)) == whole);
}

#[test]
fn a_tree_that_ends_with_its_tile_is_made_anew_as_well() {
    for size in [255_u64, 256, 257, 512] {
        let (store, desk) = (store(), Desk::new());
        let mut log = found(&store, &desk);
        let mut left = size;
        while left > 0 {
            let count = left.min(50);
            let drafts = (0..count).map(|_| draft(None, b"")).collect();
            log.append(&desk, &desk, batch(5, drafts)).unwrap();
            left -= count;
        }
        let edge = u128::from((size - 1) / 256);
        let whole = get(&store, Shelf::Tile, edge);
        flip(&store, edge, 5);
        if size % 256 == 0 {
            delete(&store, Shelf::Tile, ABOVE);
        }
        assert!(every_proof_holds(&settled(&store, &desk), &desk), "{size}");
        assert!(get(&store, Shelf::Tile, edge) == whole, "{size}");
    }
}

#[test]
fn verification_sees_every_tile_and_makes_it_good() {
    let (store, desk) = (store(), Desk::new());
    let log = written(&store, &desk, 300);
    let verified = || {
        let report = report(&store, &desk);
        (report.mended_tiles, report.findings.len())
    };
    for name in [FULL, EDGE, ABOVE] {
        assert_eq!(verified(), (0, 0));
        let whole = get(&store, Shelf::Tile, name);
        for at in [0, whole.len() - 1] {
            flip(&store, name, at);
            assert_eq!(verified(), (1, 0), "{name} byte {at}");
            assert!(get(&store, Shelf::Tile, name) == whole, "{name} byte {at}");
        }
        delete(&store, Shelf::Tile, name);
        assert_eq!(verified(), (1, 0), "{name} gone");
        assert!(get(&store, Shelf::Tile, name) == whole, "{name} gone");
    }
    assert!(every_proof_holds(&log, &desk));
}

/// Made good is what follows from sound records only.
#[test]
fn tiles_of_records_that_are_damaged_stay_as_they_are() {
    let (store, desk) = (store(), Desk::new());
    let log = written(&store, &desk, 300);
    let mut bad = get(&store, Shelf::Log, 3);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    put(&store, Shelf::Log, 3, bad);
    delete(&store, Shelf::Tile, FULL);
    let report = report(&store, &desk);
    assert!(report.mended_tiles == 0 && !report.findings.is_empty());
    assert_eq!(log.mend(&desk).err().unwrap().kind(), ErrorKind::Corrupt);
    assert!(strongroom_store::now(store.get(key(Shelf::Tile, FULL), None)).is_err());
}
