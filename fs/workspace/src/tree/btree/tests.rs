//! The tree against a plain ordered map, over many seeds.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use strongroom_format::ids::Digest;

use super::*;
use crate::tree::need::Need;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Pages in memory. 40 go to one object, and every rewrite begins a new one.
#[derive(Default)]
struct Pages {
    stored: HashMap<PageRef, Arc<Page>>,
    put_count: u64,
    reads: Cell<u64>,
}

impl PageSource for Pages {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        self.reads.set(self.reads.get() + 1);
        self.stored.get(at).cloned().ok_or(Need::Page(*at))
    }
}

/// New pages of one rewrite, which the source does not have yet, as in a checkpoint.
struct Staged<'a> {
    pages: &'a mut Vec<(PageRef, Arc<Page>)>,
    number: u64,
}

impl PageSink for Staged<'_> {
    fn put(&mut self, plain: Zeroizing<Vec<u8>>, level: u8) -> Result<PageRef, Error> {
        let number = self.number + self.pages.len() as u64;
        let mut object = [0; 16];
        object[..8].copy_from_slice(&(number / 40).to_le_bytes());
        let at = PageRef {
            object: ObjectId(object),
            place: (number % 40) as u32 * 16_384,
            sealed_len: plain.len() as u32 + 72,
            level,
            epoch: 1,
            hash: Digest([number as u8; 32]),
        };
        let page = Page::parse(plain).unwrap();
        assert_eq!(page.level(), level);
        self.pages.push((at, Arc::new(page)));
        Ok(at)
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

/// A tree with its pages and the map it must equal.
#[derive(Default)]
struct World {
    pages: Pages,
    tree: Tree,
    model: Model,
}

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl World {
    /// Rewrites, applies to the model, checks pages and content. Returns how many pages were put.
    fn rewrite(&mut self, changes: &Changes, victims: &HashSet<ObjectId>) -> usize {
        let mut new = Vec::new();
        let number = self.pages.put_count.next_multiple_of(40);
        let mut sink = Staged { pages: &mut new, number };
        let list = changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
        let outcome = self.tree.rewrite(&self.pages, list, victims, &mut sink);
        let Ok(rewrite) = outcome else { panic!("rewrite failed") };
        let put = new.len();
        self.pages.put_count = number + put as u64;
        for (at, page) in new {
            assert!(self.pages.stored.insert(at, page).is_none());
        }
        for at in &rewrite.released {
            assert!(self.pages.stored.remove(at).is_some(), "released twice or never put");
        }
        self.tree = rewrite.tree;
        for (key, value) in changes {
            match value {
                Some(value) => self.model.insert(key.clone(), value.clone()),
                None => self.model.remove(key),
            };
        }
        self.check_pages();
        put
    }

    /// Live pages are exactly the stored ones; keys of inner entries are exact; the counts are right.
    fn check_pages(&self) {
        let mut live = 0;
        let mut entries = 0;
        let visited = self.tree.page_refs(&self.pages, &mut |at| {
            live += 1;
            let page = &self.pages.stored[at];
            for index in 0..page.count() {
                match page.child(index) {
                    Some(child) => {
                        assert_eq!(self.pages.stored[&child].key(0), page.key(index));
                    }
                    None => entries += 1,
                }
            }
        });
        assert!(visited.is_ok());
        assert_eq!(live, self.pages.stored.len(), "live pages");
        assert_eq!(entries, self.model.len());
        assert_eq!(self.tree.count, self.model.len() as u64);
        assert_eq!(self.tree.height, self.tree.root.map_or(0, |root| root.level + 1));
        if let Some(root) = self.tree.root.filter(|root| root.level > 0) {
            assert!(self.pages.stored[&root].count() > 1, "a root with one child");
        }
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let outcome = self.tree.scan(&self.pages, from, to, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        });
        assert!(outcome.is_ok());
        found
    }

    fn check_content(&self, dice: &mut Dice) {
        let all = self.scan(&[], &[0xff; 33]);
        assert!(all.iter().map(|(k, v)| (k, v)).eq(self.model.iter()));
        for _ in 0..50 {
            let (a, b) = (key_of(dice.below(3000)), key_of(dice.below(3000)));
            let Ok(found) = self.tree.get(&self.pages, &a) else { panic!("get failed") };
            assert_eq!(found.as_ref(), self.model.get(&a));
            let Ok(last) = self.tree.last_before(&self.pages, &a, &b) else {
                panic!("look failed")
            };
            let (low, high) = if a <= b { (a, b) } else { (b.clone(), b) };
            let expected = self.model.range(low.clone()..high.clone()).next_back();
            assert_eq!(last.as_ref().map(|(k, v)| (k, v)), expected);
            let range = self.scan(&low, &high);
            assert!(range.iter().map(|(k, v)| (k, v)).eq(self.model.range(low..high)));
        }
    }

    fn objects(&self) -> Vec<ObjectId> {
        let mut objects: Vec<_> = self.pages.stored.keys().map(|at| at.object).collect();
        objects.sort();
        objects.dedup();
        objects
    }
}

fn key_of(number: u64) -> Vec<u8> {
    let mut key = vec![0x10];
    key.extend(number.to_be_bytes());
    if number.is_multiple_of(3) {
        key.extend([7; 8]);
    }
    key
}

fn value_of(dice: &mut Dice, long_share: u64) -> Vec<u8> {
    let len = if dice.below(100) < long_share { dice.below(10_241) } else { dice.below(300) };
    vec![len as u8; len as usize]
}

fn random_changes(dice: &mut Dice, count: u64, delete_share: u64, long_share: u64) -> Changes {
    let base = dice.below(3000);
    let spread = 1 + dice.below(3000);
    (0..count)
        .map(|_| {
            let key = key_of((base + dice.below(spread)) % 3000);
            let value = (dice.below(100) >= delete_share).then(|| value_of(dice, long_share));
            (key, value)
        })
        .collect()
}

#[test]
fn random_rewrites_equal_an_ordered_map() {
    let seed_count = std::env::var("STRONGROOM_TREE_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seed_count.unwrap_or(20) {
        let mut dice = Dice(seed);
        let mut world = World::default();
        for step in 0..25 {
            let long_share = [0, 0, 5, 50][dice.below(4) as usize];
            let delete_share = [0, 10, 50, 90, 100][dice.below(5) as usize];
            let count = [0, 1, 3, 30, 600][dice.below(5) as usize];
            let changes = random_changes(&mut dice, count, delete_share, long_share);
            let objects = world.objects();
            let victims: HashSet<_> = match dice.below(4) {
                0 => objects.iter().copied().filter(|_| dice.below(3) == 0).collect(),
                _ => HashSet::new(),
            };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                world.rewrite(&changes, &victims);
                assert!(world.objects().iter().all(|object| !victims.contains(object)));
                world.check_content(&mut dice);
            }));
            assert!(outcome.is_ok(), "seed {seed} step {step}");
        }
        let everything = world.model.keys().map(|key| (key.clone(), None)).collect();
        world.rewrite(&everything, &HashSet::new());
        assert_eq!(world.tree, Tree::default(), "seed {seed}");
    }
}

#[test]
fn nothing_to_change_puts_and_releases_nothing() {
    let mut world = World::default();
    assert_eq!(world.rewrite(&Changes::new(), &HashSet::new()), 0);
    let mut dice = Dice(1);
    world.rewrite(&random_changes(&mut dice, 2000, 0, 0), &HashSet::new());
    let before = world.tree.clone();
    assert_eq!(world.rewrite(&Changes::new(), &HashSet::new()), 0);
    assert_eq!(world.tree, before);
}

#[test]
fn the_same_tree_and_changes_give_the_same_pages() {
    let make = || {
        let mut dice = Dice(5);
        let mut world = World::default();
        for _ in 0..5 {
            world.rewrite(&random_changes(&mut dice, 500, 20, 5), &HashSet::new());
        }
        world.tree
    };
    assert_eq!(make(), make());
}

#[test]
fn ascending_entries_fill_their_pages() {
    let mut world = World::default();
    let bulk = (0..50_000).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    let bytes: usize = world.pages.stored.values().map(|page| page.plain_len()).sum();
    assert!(bytes * 100 / (world.pages.stored.len() * PLAIN_LEN_MAX) >= 95);
}

#[test]
fn appending_batch_after_batch_keeps_pages_decently_full() {
    let mut world = World::default();
    for batch in 0..40_u64 {
        let changes = (0..2000).map(|n| (key_of(batch * 2000 + n), Some(vec![1; 60]))).collect();
        world.rewrite(&changes, &HashSet::new());
    }
    let bytes: usize = world.pages.stored.values().map(|page| page.plain_len()).sum();
    assert!(bytes * 100 / (world.pages.stored.len() * PLAIN_LEN_MAX) >= 85);
}

#[test]
fn one_change_rewrites_one_path() {
    let mut world = World::default();
    let bulk = (0..100_000).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    assert_eq!(world.tree.height, 3);
    let change = Changes::from([(key_of(50_001), Some(vec![2; 100]))]);
    world.pages.reads.set(0);
    assert_eq!(world.rewrite(&change, &HashSet::new()), 3);
    // Removing most entries of a few leaves merges them instead of leaving crumbs.
    let few = (40_000..41_000).filter(|n| n % 50 != 0).map(|n| (key_of(n), None)).collect();
    assert!(world.rewrite(&few, &HashSet::new()) <= 6);
}

#[test]
fn thinning_out_keeps_pages_decently_full() {
    let mut world = World::default();
    let bulk = (0..50_000).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    let mut dice = Dice(9);
    for _ in 0..30 {
        let gone = (0..1500).map(|_| (key_of(dice.below(50_000)), None)).collect();
        world.rewrite(&gone, &HashSet::new());
    }
    let bytes: usize = world.pages.stored.values().map(|page| page.plain_len()).sum();
    assert!(bytes * 100 / (world.pages.stored.len() * PLAIN_LEN_MAX) >= 40);
}

#[test]
fn changes_that_do_not_rise_are_refused() {
    let mut world = World::default();
    let bulk = (0..100).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    let (low, high) = (key_of(3), key_of(200));
    for pair in [[&high, &low], [&low, &low], [&high, &high]] {
        let mut new = Vec::new();
        let mut sink = Staged { pages: &mut new, number: 0 };
        let list = pair.into_iter().map(|key| (key.as_slice(), None));
        let none = HashSet::new();
        let outcome = world.tree.rewrite(&world.pages, list, &none, &mut sink);
        assert!(matches!(outcome, Err(Need::Failed(error)) if error.kind() == ErrorKind::Invalid));
    }
}

#[test]
fn a_missing_page_is_asked_for() {
    let mut world = World::default();
    let bulk = (0..5000).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    let root = world.tree.root.unwrap();
    let first = world.pages.stored[&root].child(0).unwrap();
    world.pages.stored.remove(&first);
    let outcome = world.tree.get(&world.pages, &key_of(0));
    assert!(matches!(outcome, Err(Need::Page(at)) if at == first));
    assert!(matches!(world.tree.get(&world.pages, &key_of(4999)), Ok(Some(_))));
}

#[test]
fn a_page_of_another_level_is_refused() {
    let mut world = World::default();
    let bulk = (0..5000).map(|n| (key_of(n), Some(vec![1; 100]))).collect();
    world.rewrite(&bulk, &HashSet::new());
    let root = world.tree.root.unwrap();
    let leaf = world.pages.stored[&root].child(0).unwrap();
    let page = Arc::clone(&world.pages.stored[&leaf]);
    world.pages.stored.insert(root, page);
    let outcome = world.tree.get(&world.pages, &key_of(0));
    assert!(matches!(outcome, Err(Need::Failed(error)) if error.kind() == ErrorKind::Corrupt));
}

/// Figures, not a proof: `cargo test --release -p strongroom-workspace million -- --ignored --nocapture`.
#[test]
#[ignore = "measures, takes a while"]
fn a_million_entries_measured() {
    let mut world = World::default();
    let bulk: Changes = (0..1_000_000).map(|n| (key_of(n), Some(vec![1; 150]))).collect();
    let began = std::time::Instant::now();
    let mut new = Vec::new();
    let list = bulk.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
    let mut sink = Staged { pages: &mut new, number: 0 };
    let Ok(rewrite) = Tree::default().rewrite(&world.pages, list, &HashSet::new(), &mut sink)
    else {
        panic!("rewrite failed")
    };
    println!("bulk: {:?}, {} pages", began.elapsed(), new.len());
    world.pages.stored = new.into_iter().collect();
    world.tree = rewrite.tree;
    let mut dice = Dice(3);
    let began = std::time::Instant::now();
    let mut found = 0;
    for _ in 0..1_000_000 {
        let key = key_of(dice.below(1_000_000));
        found += u64::from(matches!(
            world.tree.get_with(&world.pages, &key, <[u8]>::len),
            Ok(Some(150))
        ));
    }
    println!("get: {:?} each", began.elapsed() / 1_000_000);
    assert_eq!(found, 1_000_000);
    let began = std::time::Instant::now();
    for round in 0..1_000_000 {
        let key = key_of(500_000 + round % 2000);
        let read = world.tree.get_with(&world.pages, &key, <[u8]>::len);
        assert!(matches!(read, Ok(Some(150))));
    }
    println!("get of near keys: {:?} each", began.elapsed() / 1_000_000);
    for count in [1_000_u64, 67_000] {
        let changes: Changes =
            (0..count).map(|_| (key_of(dice.below(1_000_000)), Some(vec![2; 150]))).collect();
        let list = changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
        let mut new = Vec::new();
        let mut sink = Staged { pages: &mut new, number: 1 << 40 };
        let began = std::time::Instant::now();
        let outcome = world.tree.rewrite(&world.pages, list, &HashSet::new(), &mut sink);
        assert!(outcome.is_ok());
        println!("{count} random changes: {:?}, {} pages", began.elapsed(), new.len());
    }
}
