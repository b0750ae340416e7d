//! Single rules of putting work on top of others' commits, where chance hardly comes by.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use strongroom_tests::harness::files::{find, load, make, options, save};
use strongroom_tests::harness::fleet::Fleet;
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::door::{Access, Core, Ino, Kind, SetAttributes, WriteMode};
use strongroom_workspace::{Tuning, Workspace};

const LEN: usize = 200_000;

fn tuning() -> Tuning {
    Tuning { poll_interval: Duration::from_secs(2), ..small_tuning() }
}

/// Two homes, open, with what `begin` does in the first.
fn two(tuning: &Tuning, begin: impl FnOnce(&Workspace)) -> (Fleet, Workspace, Workspace) {
    let mut fleet = Fleet::new(1, 2, tuning);
    fleet.homes[0].open().unwrap();
    begin(fleet.homes[0].workspace().unwrap());
    fleet.settle().unwrap();
    let [alice, bob] = [0, 1].map(|home| fleet.homes[home].workspace().unwrap().clone());
    (fleet, alice, bob)
}

fn write(core: &dyn Core, path: &str, offset: u64, bytes: &[u8]) {
    let ino = find(core, path).unwrap();
    let handle = done(core.open(ino, options(Access::ReadWrite, false))).unwrap().handle;
    done(core.write(handle, offset, bytes, WriteMode::At, false)).unwrap();
    core.release(handle);
}

fn copy(core: &dyn Core, from: &str, to: &str) {
    copy_of(core, from, to, LEN);
}

fn copy_of(core: &dyn Core, from: &str, to: &str, len: usize) {
    make(core, to, Kind::File).unwrap();
    copy_onto(core, from, to, len);
}

fn copy_onto(core: &dyn Core, from: &str, to: &str, len: usize) {
    let [from, to] = [from, to].map(|path| find(core, path).unwrap());
    let open = |ino| done(core.open(ino, options(Access::ReadWrite, false))).unwrap().handle;
    let (source, target) = (open(from), open(to));
    let mut at = 0;
    while at < len as u64 {
        at += done(core.copy_range((source, at), (target, at), len as u64 - at)).unwrap();
    }
    core.release(source);
    core.release(target);
}

#[track_caller]
fn names(core: &dyn Core) -> Vec<String> {
    use strongroom_workspace::door::ListDetail;
    let listed = done(core.read_folder(Ino::ROOT, 0, 100, ListDetail::Names)).unwrap();
    let names = listed.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn a_copy_of_what_was_edited_and_then_removed_here_has_the_edit_though_others_edited_too() {
    let (mut fleet, alice, bob) =
        two(&tuning(), |first| save(first, "source", &vec![1; LEN]).unwrap());
    fleet.homes[0].cut(true);
    write(&alice, "source", 100_000, &[2; 70_000]);
    copy(&alice, "source", "copy");
    done(alice.unlink(Ino::ROOT, b"source")).unwrap();
    write(&bob, "source", 0, &[3; 70_000]);
    bob.commit().unwrap();

    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let expected: Vec<u8> = [vec![1; 100_000], vec![2; 70_000], vec![1; 30_000]].concat();
    assert!(load(&alice, "copy").unwrap() == expected, "the copy has what was copied");
    let expected: Vec<u8> = [vec![3; 70_000], vec![1; LEN - 70_000]].concat();
    assert!(load(&alice, "source").unwrap() == expected, "the other's edit stays");
    assert_eq!(names(&alice), ["copy", "source"], "and nothing else is left behind");
}

#[test]
fn a_copy_of_what_was_edited_and_then_removed_here_has_the_edit_though_others_removed_it_too() {
    let (mut fleet, alice, bob) = two(&tuning(), |first| {
        make(first, "folder", Kind::Folder).unwrap();
        save(first, "folder/source", &vec![1; LEN]).unwrap();
    });
    fleet.homes[0].cut(true);
    save(&alice, "folder/source", &vec![2; LEN]).unwrap();
    copy(&alice, "folder/source", "copy");
    for core in [&alice, &bob] {
        let folder = find(core, "folder").unwrap();
        done(core.unlink(folder, b"source")).unwrap();
        done(core.remove_folder(Ino::ROOT, b"folder")).unwrap();
    }
    bob.commit().unwrap();

    fleet.settle().unwrap();
    assert!(load(&bob, "copy").unwrap() == vec![2; LEN]);
    assert_eq!(names(&bob), ["copy"]);
}

#[test]
fn a_copy_of_what_was_edited_here_has_the_edit_though_others_edited_and_removed_it() {
    // What goes into blocks, and what is in the file itself.
    for len in [LEN, 900] {
        let (mut fleet, alice, bob) =
            two(&tuning(), |first| save(first, "source", &vec![1; len]).unwrap());
        fleet.homes[0].cut(true);
        write(&alice, "source", 700, &[2; 150]);
        copy_of(&alice, "source", "copy", len);
        write(&bob, "source", 0, &[3; 70]);
        bob.commit().unwrap();
        done(bob.unlink(Ino::ROOT, b"source")).unwrap();
        bob.commit().unwrap();

        let trees = fleet.settle().unwrap();
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
        let expected: Vec<u8> = [vec![1; 700], vec![2; 150], vec![1; len - 850]].concat();
        assert!(load(&bob, "copy").unwrap() == expected, "{len}: the copy has what was copied");
        assert!(load(&bob, "source").unwrap() == expected, "{len}: an edit brings a file back");
    }
}

/// A file of many extents: 24 bytes at every 8 KiB.
fn scattered(core: &dyn Core) -> Vec<u8> {
    const STRIDE: u64 = 8 << 10;
    save(core, "large", b"").unwrap();
    let mut expected = Vec::new();
    for number in 0..100 {
        let offset = number * STRIDE;
        write(core, "large", offset, &[7; 24]);
        expected.resize(offset as usize, 0);
        expected.extend([7; 24]);
    }
    expected
}

#[test]
fn what_goes_piece_by_piece_and_is_linked_elsewhere_meanwhile_comes_back_whole() {
    // Pieces taken away, and committed, before the other home's link gets through.
    for pieces_committed in [false, true] {
        let tuning = Tuning { extents_per_removal: 16, ..tuning() };
        let mut expected = Vec::new();
        let (mut fleet, alice, bob) = two(&tuning, |first| expected = scattered(first));
        fleet.homes[1].cut(true);
        done(alice.unlink(Ino::ROOT, b"large")).unwrap();
        alice.commit().unwrap();
        let ino = find(&bob, "large").unwrap();
        done(bob.link(ino, Ino::ROOT, b"again")).unwrap();
        fleet.homes[0].cut(!pieces_committed);
        // Whether this meets the store does not matter here.
        let _ = fleet.tick(0, 100);
        fleet.homes[1].cut(false);
        for _ in 0..3 {
            fleet.tick(1, 2500).unwrap();
            bob.commit().unwrap();
        }
        let trees = fleet.settle().unwrap();
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
        for core in [&alice, &bob] {
            let found = load(core, "again").unwrap();
            assert!(found == expected, "pieces committed: {pieces_committed}");
        }
    }
}

/// What another home does with a large file meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Linked,
    Edited,
}

/// The other home hears of the removal, cannot commit, and hears of pieces that went after it: with a line that ends after
/// so many requests. None if it did not end, else whether pieces went.
fn comes_back_in_two_rounds(how: Meanwhile, requests: u64) -> Option<bool> {
    // Each piece is a commit.
    let tuning = Tuning { extents_per_removal: 16, batch_ops_bytes: 1, ..tuning() };
    let mut expected = Vec::new();
    let (mut fleet, alice, bob) = two(&tuning, |first| expected = scattered(first));
    fleet.homes[1].cut(true);
    done(alice.unlink(Ino::ROOT, b"large")).unwrap();
    alice.commit().unwrap();
    let name = match how {
        Meanwhile::Linked => {
            let ino = find(&bob, "large").unwrap();
            done(bob.link(ino, Ino::ROOT, b"again")).unwrap();
            "again"
        }
        Meanwhile::Edited => {
            // More than one operation, on both sides of what goes first.
            write(&bob, "large", 8, &[9; 30_000]);
            write(&bob, "large", 600_000, &[9; 30_000]);
            expected[8..30_008].fill(9);
            expected[600_000..630_000].fill(9);
            "large"
        }
    };
    fleet.homes[1].cut(false);
    fleet.homes[1].ends_after(Some(requests));
    let ended = fleet.tick(1, 2500).and_then(|()| bob.commit()).is_err();
    // Pieces go, and are committed, up to some in the middle.
    let before = alice.status().head_seq;
    fleet.homes[0].ends_after(Some(28));
    let stopped = fleet.tick(0, 100).is_err() && alice.status().head_seq > before + 1;
    fleet.homes[1].ends_after(None);
    fleet.tick(1, 2500).unwrap();
    bob.commit().unwrap();
    fleet.homes[0].ends_after(None);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    for core in [&alice, &bob] {
        assert_eq!(names(core), [name], "{how:?}, {requests} requests");
        assert!(load(core, name).unwrap() == expected, "{how:?}, {requests} requests");
    }
    ended.then_some(stopped)
}

#[test]
fn what_goes_piece_by_piece_and_is_linked_or_edited_elsewhere_comes_back_whole_also_in_two_rounds()
{
    for how in [Meanwhile::Linked, Meanwhile::Edited] {
        let rounds = (2..7).map_while(|requests| comes_back_in_two_rounds(how, requests));
        assert!(rounds.filter(|stopped| *stopped).count() > 2, "{how:?}");
    }
}

#[test]
fn what_comes_back_has_nothing_of_what_was_written_elsewhere_into_its_holes() {
    let expected = [vec![0; 100_000], vec![1; 100_000]].concat();
    let (mut fleet, alice, bob) = two(&tuning(), |first| {
        save(first, "f", b"").unwrap();
        write(first, "f", 100_000, &[1; 100_000]);
    });
    fleet.homes[0].cut(true);
    let ino = find(&alice, "f").unwrap();
    done(alice.link(ino, Ino::ROOT, b"g")).unwrap();
    let theirs = find(&bob, "f").unwrap();
    let handle = done(bob.open(theirs, options(Access::ReadWrite, false))).unwrap().handle;
    done(bob.write(handle, 0, &[2; 250_000], WriteMode::At, false)).unwrap();
    bob.commit().unwrap();
    done(bob.unlink(Ino::ROOT, b"f")).unwrap();
    bob.commit().unwrap();

    fleet.homes[0].cut(false);
    fleet.tick(0, 2500).unwrap();
    alice.commit().unwrap();
    bob.release(handle);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert_eq!(names(&bob), ["g"]);
    assert!(load(&bob, "g").unwrap() == expected);
}

fn make_hole(core: &dyn Core, name: &str) {
    let hole = make(core, name, Kind::File).unwrap();
    let changes = SetAttributes { size: Some(LEN as u64), ..SetAttributes::default() };
    done(core.set_attributes(hole, changes)).unwrap();
}

#[test]
fn a_copy_of_a_hole_is_as_long_as_that_was_though_others_wrote_into_it() {
    let (mut fleet, alice, bob) = two(&tuning(), |first| make_hole(first, "hole"));
    fleet.homes[0].cut(true);
    copy(&alice, "hole", "copy");
    write(&bob, "hole", 0, &[2; 70_000]);
    bob.commit().unwrap();

    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(load(&bob, "copy").unwrap() == vec![0; LEN]);
}

/// What is done here with a file that held nothing but a hole, and comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Copied {
    OntoIt,
    FromIt,
}

#[test]
fn what_comes_back_can_be_copied_from_and_onto_though_others_made_it_small() {
    for copied in [Copied::OntoIt, Copied::FromIt] {
        let (mut fleet, alice, bob) = two(&tuning(), |first| {
            save(first, "source", &vec![1; LEN]).unwrap();
            make_hole(first, "hole");
        });
        fleet.homes[0].cut(true);
        let expected = match copied {
            Copied::OntoIt => {
                copy_onto(&alice, "source", "hole", 100_000);
                [vec![1; 100_000], vec![0; 100_000]].concat()
            }
            Copied::FromIt => {
                let ino = find(&alice, "hole").unwrap();
                done(alice.link(ino, Ino::ROOT, b"again")).unwrap();
                copy_onto(&alice, "hole", "source", 100_000);
                [vec![0; 100_000], vec![1; 100_000]].concat()
            }
        };
        let theirs = find(&bob, "hole").unwrap();
        let handle = done(bob.open(theirs, options(Access::ReadWrite, true))).unwrap().handle;
        done(bob.write(handle, 0, &[2; 100], WriteMode::At, false)).unwrap();
        bob.commit().unwrap();
        done(bob.unlink(Ino::ROOT, b"hole")).unwrap();
        bob.commit().unwrap();

        fleet.homes[0].cut(false);
        fleet.tick(0, 2500).unwrap();
        alice.commit().unwrap();
        bob.release(handle);
        let trees = fleet.settle().unwrap();
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
        let (back, target) = match copied {
            Copied::OntoIt => ("hole", "hole"),
            Copied::FromIt => ("again", "source"),
        };
        assert_eq!(names(&bob), [back, "source"], "{copied:?}");
        assert!(load(&bob, target).unwrap() == expected, "{copied:?}");
    }
}
