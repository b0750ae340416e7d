//! What deciding, recording and releasing cost: in calls of the store always, in time where it is asked for.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use common::{World, answer, own, registered};
use strongroom_authorizer::Action;
use strongroom_host::disk::Disk;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::SimDisk;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{ClassId, SubjectId};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, Rules, Services, Stewardship, Wanted};
use strongroom_store::{FolderStore, Key, Shelf};

const PEOPLE: usize = 32;
/// LIMIT of what waits to be carried out together.
const GROUP: usize = 64;

fn wanted(subject: SubjectId) -> Wanted {
    Wanted { subject, class: ClassId::OWNED, action: Action::Open, files: Vec::new() }
}

/// Somebody opens a file for the first time: one thing is written before the answer, the record; what follows from
/// many records is written in one go.
#[test]
fn a_first_open_writes_its_record_and_what_follows_from_many_is_written_once() {
    let world = World::new(91);
    let mut shop = world.create("shop");
    let (rules, people) = peopled(&mut shop);
    let written = || world.store.ever.lock().unwrap().len();
    let before = written();
    for at in 0..GROUP {
        assert!(!shop.is_finish_due());
        let grants = shop.lend_early(&rules, &[wanted(people[at % PEOPLE])]).unwrap();
        assert!(grants[0].is_some());
    }
    assert_eq!(written() - before, GROUP);
    assert!(shop.is_finish_due());
    let before = written();
    shop.finish().unwrap();
    let ever = world.store.ever.lock().unwrap();
    let shelf = |key: &Key| match key {
        Key::Policy(key) => key.shelf,
        key => panic!("{key}"),
    };
    let cells = ever[before..].iter().filter(|(key, _)| shelf(key) == Shelf::Cell).count();
    let tiles = ever[before..].iter().filter(|(key, _)| shelf(key) == Shelf::Tile).count();
    assert_eq!((cells, tiles, ever.len() - before), (PEOPLE, tiles, PEOPLE + tiles));
    assert!(tiles <= 3, "{tiles}");
}

fn peopled(shop: &mut Custodian) -> (Rules, Vec<SubjectId>) {
    registered(shop, "job", Basis::Consent, &["owned"]);
    let people: Vec<SubjectId> = (0..PEOPLE)
        .map(|_| {
            let subject = shop.create_subject(&[]).unwrap();
            shop.put_file(&own(subject, "owned"), "file", b"roses").unwrap();
            shop.answer(&subject, &answer("job", ConsentStatus::Given)).unwrap();
            subject
        })
        .collect();
    (shop.rules("job").unwrap(), people)
}

/// A table, in microseconds. Not held against a limit: machines and disks differ.
#[test]
fn times_of_decision_sealing_sync_and_release() {
    if std::env::var_os("STRONGROOM_LONG").is_none() {
        return;
    }
    let base =
        std::env::var_os("STRONGROOM_COST_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let root = base.join(format!("strongroom-cost-{}", std::process::id()));
    table("disk in memory", Arc::new(SimDisk::new(1)), "/store".as_ref());
    table("disk", Arc::new(RealDisk), &root.join("store"));
    std::fs::remove_dir_all(root).unwrap();
}

fn table(what: &str, disk: Arc<dyn Disk>, root: &Path) {
    let world = World::new(92);
    let store = Arc::new(FolderStore::create(disk, root.to_path_buf()).unwrap());
    let services = Services { store, ..world.services.clone() };
    let mut stewardship = Stewardship::open(services).unwrap();
    let mut shop = stewardship.create("shop", "vault:", world.custody(), 1).unwrap();
    let (rules, people) = peopled(&mut shop);
    let (mut decide, mut lend, mut release, mut finish) = (vec![], vec![], vec![], vec![]);
    for at in 0..1000 {
        let subject = people[at % PEOPLE];
        let began = Instant::now();
        assert!(shop.prospect(&rules, &subject).unwrap().is_some());
        decide.push(began.elapsed().as_micros());
        let began = Instant::now();
        let grants = shop.lend_early(&rules, &[wanted(subject)]).unwrap();
        lend.push(began.elapsed().as_micros());
        let began = Instant::now();
        assert_eq!(shop.release(grants[0].as_ref().unwrap()).unwrap().files().len(), 1);
        release.push(began.elapsed().as_micros());
        if shop.is_finish_due() {
            let began = Instant::now();
            shop.finish().unwrap();
            finish.push(began.elapsed().as_micros());
        }
    }
    let named = [
        ("read and decide", decide),
        ("read, decide, seal, record", lend),
        ("release", release),
        ("carry out 64 records", finish),
    ];
    eprintln!("{what}: µs p50 p99");
    for (name, mut times) in named {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        eprintln!("  {name:<28}{:>8}{:>8}", at(50), at(99));
    }
}
