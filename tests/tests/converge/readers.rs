//! Homes that only read go on while others write, checkpoint and collect.

use std::time::Duration;

use strongroom_tests::harness::files::{load, save};
use strongroom_tests::harness::fleet::Fleet;
use strongroom_tests::harness::tree::{Times, difference, read_tree};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Change, Core, Ino};
use strongroom_workspace::error::{ErrorKind, Result};

use super::{content, keeping_for, tuning, write_for_long};

/// A home that writes nothing reads everything again and again while another one writes checkpoint after checkpoint.
fn reads_on(renew_interval: Duration) -> Result<()> {
    let tuning = Tuning { renew_interval, page_cache_bytes: 1, ..keeping_for(60) };
    let mut fleet = Fleet::new(2, 2, &tuning);
    fleet.homes[1].open()?;
    for _ in 0..30 {
        write_for_long(&mut fleet, &[0], 8, 1100);
        fleet.tick(1, 100)?;
        read_tree(fleet.homes[1].workspace().unwrap())?;
    }
    Ok(())
}

#[test]
fn a_home_that_only_reads_goes_over_to_newer_checkpoints_of_others() {
    reads_on(Duration::from_secs(5)).unwrap();
    let lost = reads_on(Duration::from_secs(100_000)).map_err(|error| error.kind());
    assert_eq!(lost, Err(ErrorKind::Corrupt), "its pages are gone if it does not");
}

#[test]
fn who_only_reads_follows_also_where_the_only_writer_cuts_its_log() {
    let mut fleet = Fleet::new(4, 1, &keeping_for(60));
    fleet.homes[0].open().unwrap();
    let reader = fleet.homes[0].reader().unwrap();
    let changes = reader.changes().unwrap();
    for round in 0..6 {
        // The second time commits are gone before they were asked for.
        write_for_long(&mut fleet, &[0], if round == 1 { 60 } else { 3 }, 1100);
        let writer = fleet.homes[0].workspace().unwrap();
        save(writer, &format!("round {round}"), b"new").unwrap();
        writer.commit().unwrap();
        fleet.tick(0, 70_000).unwrap();
        reader.tick().unwrap();
        let there = read_tree(fleet.homes[0].workspace().unwrap()).unwrap();
        let seen = read_tree(&reader).unwrap();
        assert_eq!(difference(&there, &seen, Times::Compared), None, "round {round}");
        let told = changes.try_iter().any(|change| match change {
            Change::Name { folder, .. } => folder == Ino::ROOT,
            Change::Inode { ino, content } => ino == Ino::ROOT && content,
            Change::Mark(_) => false,
        });
        assert!(told, "round {round}");
    }
}

#[test]
fn who_only_reads_finds_everything_also_between_two_looks_for_what_is_new() {
    // Nothing is in memory, and who writes alone removes at once what its checkpoints and commits replace.
    let tuning = Tuning { page_cache_bytes: 1, segment_cache_bytes: 1, ..tuning() };
    let mut fleet = Fleet::new(10, 1, &tuning);
    write_for_long(&mut fleet, &[0], 8, 1100);
    let reader = fleet.homes[0].reader().unwrap();
    for round in 0..12 {
        write_for_long(&mut fleet, &[0], 6, 1100);
        fleet.tick(0, 3_000).unwrap();
        if round % 3 == 2 {
            reader.tick().unwrap();
        }
        read_tree(&reader).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    fleet.tick(0, 70_000).unwrap();
    reader.tick().unwrap();
    let there = read_tree(fleet.homes[0].workspace().unwrap()).unwrap();
    assert_eq!(difference(&there, &read_tree(&reader).unwrap(), Times::Compared), None);
}

#[test]
fn who_only_reads_finds_what_was_overwritten_since_though_it_knows_where_it_was() {
    let mut fleet = Fleet::new(11, 1, &Tuning { segment_cache_bytes: 1, ..tuning() });
    fleet.homes[0].open().unwrap();
    let writer = fleet.homes[0].workspace().unwrap().clone();
    save(&writer, "f", &content(1, 70_000)).unwrap();
    writer.commit().unwrap();
    let reader = fleet.homes[0].reader().unwrap();
    assert!(load(&reader, "f").unwrap() == content(1, 70_000));
    save(&writer, "f", &content(2, 70_000)).unwrap();
    let before = writer.status().checkpoints;
    write_for_long(&mut fleet, &[0], 60, 1100);
    assert!(writer.status().checkpoints > before + 1);
    assert!(load(&reader, "f").unwrap() == content(2, 70_000));
}
