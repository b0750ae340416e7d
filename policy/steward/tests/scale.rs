//! What one operation costs among few people and among many: requests to the store and bytes, which are the same on every
//! machine; and, in the long form, time.
//!
//! `STRONGROOM_LONG=1 STRONGROOM_PEOPLE=1000,10000 cargo test -p strongroom-steward --test scale -- --nocapture`

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use common::{World, answer, by, own, registered};
use strongroom_host::disk::Disk;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::SimDisk;
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, NewSubject, Result, Services, Stewardship, Target};
use strongroom_store::{Body, Family, FolderStore, Key, Later, Listed, Put, Store, Uploaded};

/// A store that counts.
struct Counting {
    inner: FolderStore,
    reads: AtomicU64,
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    fn wrote(&self, body: &Body) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if let Body::Bytes(bytes) = body {
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }

    fn so_far(&self) -> Cost {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Cost { reads: of(&self.reads), writes: of(&self.writes), bytes: of(&self.bytes), ns: 0 }
    }
}

impl Store for Counting {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key, range)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        self.wrote(&body);
        self.inner.put(key, body)
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        bodies.iter().for_each(|(_, body)| self.wrote(body));
        self.inner.put_many(bodies)
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.wrote(&Body::Bytes(bytes.clone()));
        self.inner.put_if_absent(key, bytes)
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.inner.list(family, after)
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.delete(key)
    }
}

/// What an operation took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    reads: u64,
    writes: u64,
    bytes: u64,
    ns: u128,
}

/// An application with many people.
struct Town {
    shop: Custodian,
    store: Arc<Counting>,
    people: Vec<SubjectId>,
}

/// How many people an operation is done for.
const COUNT: usize = 15;

/// A package that goes nowhere.
struct Nowhere;

impl Target for Nowhere {
    fn write(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

fn email(number: usize) -> String {
    format!("person-{number}@example.com")
}

impl Town {
    fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        let world = World::new(71);
        let inner = FolderStore::create(disk, root).unwrap();
        let (reads, writes, bytes) = Default::default();
        let store = Arc::new(Counting { inner, reads, writes, bytes });
        let services = Services { store: Arc::clone(&store) as _, ..world.services.clone() };
        let mut stewardship = Stewardship::open(services).unwrap();
        let mut shop = stewardship.create("shop", "vault:", world.custody(), 1).unwrap();
        shop.set_schema(r#"{"email": {"type": "email", "lookup": true}}"#).unwrap();
        registered(&mut shop, "newsletter", Basis::Consent, &["identifiable"]);
        registered(&mut shop, "shipping", Basis::Contract, &["identifiable"]);
        Self { shop, store, people: Vec::new() }
    }

    fn grow(&mut self, count: usize) {
        while self.people.len() < count {
            let end = count.min(self.people.len() + 1000);
            let person = |number| NewSubject {
                profile: Some(format!("{{\"email\": \"{}\"}}", email(number)).into_bytes()),
                ..NewSubject::default()
            };
            let some: Vec<NewSubject> = (self.people.len()..end).map(person).collect();
            self.people.extend(self.shop.create_subjects(&some).unwrap());
        }
    }

    /// The cost of an operation for some people: requests and bytes on average, the median of times.
    fn cost(&mut self, act: impl Fn(&mut Self, usize)) -> Cost {
        let before = self.store.so_far();
        let mut times = [0; COUNT];
        for (place, time) in times.iter_mut().enumerate() {
            // Spread over everybody, and another each time.
            let number = (place * 2 + 1) * self.people.len() / (2 * COUNT);
            let began = Instant::now();
            act(self, number);
            *time = began.elapsed().as_nanos();
        }
        times.sort_unstable();
        let (ns, after) = (times[COUNT / 2], self.store.so_far());
        let count = COUNT as u64;
        Cost {
            reads: (after.reads - before.reads) / count,
            writes: (after.writes - before.writes) / count,
            bytes: (after.bytes - before.bytes) / count,
            ns,
        }
    }

    /// Everything that is done for one person, each with its cost.
    fn costs(&mut self) -> Vec<(&'static str, Cost)> {
        let mut costs = Vec::new();
        costs.push((
            "create",
            self.cost(|town, number| {
                let lookups = [("email".to_owned(), format!("late-{number}@example.com"))];
                town.shop.create_subject(&lookups).unwrap();
            }),
        ));
        costs.push((
            "find",
            self.cost(|town, number| {
                let found = town.shop.find_subjects("email", &email(number)).unwrap();
                assert_eq!(found, [town.people[number]]);
            }),
        ));
        costs.push((
            "name",
            self.cost(|town, number| {
                town.shop.name_for(&town.people[number], "shipping").unwrap();
            }),
        ));
        let names: Vec<_> = self.people.iter().map(|_| None).collect();
        let names = std::cell::RefCell::new(names);
        self.cost(|town, number| {
            let name = town.shop.name_for(&town.people[number], "shipping").unwrap();
            names.borrow_mut()[number] = Some(name);
        });
        costs.push((
            "read by name",
            self.cost(|town, number| {
                let name = names.borrow()[number].unwrap();
                let asked = by("shipping", name, "identifiable");
                town.shop.read_file(&asked, "profile.json").unwrap();
            }),
        ));
        costs.push((
            "write",
            self.cost(|town, number| {
                let asked = own(town.people[number], "owned");
                town.shop.put_file(&asked, "order.txt", &[7; 500]).unwrap();
            }),
        ));
        costs.push((
            "consent",
            self.cost(|town, number| {
                let said = answer("newsletter", ConsentStatus::Given);
                town.shop.answer(&town.people[number], &said).unwrap();
            }),
        ));
        costs.push((
            "who agreed",
            self.cost(|town, _| {
                let rules = town.shop.rules("newsletter").unwrap();
                assert_eq!(town.shop.prospects(&rules).unwrap().len(), COUNT);
            }),
        ));
        costs.push((
            "export",
            self.cost(|town, number| {
                town.shop.export(&town.people[number], &mut Nowhere).unwrap();
            }),
        ));
        costs.push((
            "erase",
            self.cost(|town, number| {
                town.shop.erase(&town.people[number]).unwrap();
            }),
        ));
        costs
    }
}

/// Bytes of the tiles that one record may write.
const TILES_LEN: u64 = 2 * 8192;

#[test]
fn what_is_done_for_one_person_costs_the_same_among_few_and_many() {
    let mut few = Town::new(Arc::new(SimDisk::new(1)), "/store".into());
    few.grow(200);
    let mut many = Town::new(Arc::new(SimDisk::new(2)), "/store".into());
    many.grow(1500);
    for ((what, few), (_, many)) in few.costs().into_iter().zip(many.costs()) {
        let flat = |few: u64, many: u64| many <= 2 * few;
        assert!(flat(few.reads, many.reads), "{what}: reads {} and {}", few.reads, many.reads);
        assert!(flat(few.writes, many.writes), "{what}: writes {} and {}", few.writes, many.writes);
        // Besides, tiles of the audit tree grow to 8 KiB and begin anew, whoever is asked for.
        let (few, many) = (few.bytes, many.bytes.saturating_sub(TILES_LEN));
        assert!(flat(few, many), "{what}: bytes {few} and {many}");
    }
}

/// A table of costs, on a real disk. Not held against a limit: machines differ.
#[test]
fn costs_by_number_of_people() {
    if std::env::var_os("STRONGROOM_LONG").is_none() {
        return;
    }
    let sizes = std::env::var("STRONGROOM_PEOPLE").unwrap_or_else(|_| "1000,10000".to_owned());
    let root = std::env::temp_dir().join(format!("strongroom-scale-{}", std::process::id()));
    let mut town = Town::new(Arc::new(RealDisk), root.join("store"));
    let mut first: Option<Vec<(&str, Cost)>> = None;
    for size in sizes.split(',').map(|size| size.parse::<usize>().unwrap()) {
        let (before, began) = (town.people.len(), Instant::now());
        town.grow(size);
        let each = began.elapsed().as_micros() / (size - before).max(1) as u128;
        // What the machine has yet to write for the import is no cost of what follows.
        Command::new("sync").status().unwrap();
        eprintln!("{size} people; import {each} us each");
        let costs = town.costs();
        let few = first.get_or_insert_with(|| costs.clone());
        for ((what, cost), (_, few)) in costs.iter().zip(few) {
            let Cost { reads, writes, bytes, ns } = cost;
            let (ms, times) = (*ns as f64 / 1e6, *ns as f64 / few.ns as f64);
            eprintln!(
                "  {what:<14}{ms:>8.2} ms {times:>5.2} times {reads:>5} reads {writes:>4} writes {bytes:>8} B"
            );
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
