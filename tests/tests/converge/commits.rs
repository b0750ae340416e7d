//! What is committed, refused, tried again and let go of where several homes write.

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_format::commit::CommitFile;
use strongroom_store::Family;
use strongroom_tests::harness::files::{OPEN, find, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, difference, read_tree};
use strongroom_workspace::door::{Core, Ino, SyncLevel, SyncScope, WriteMode, XattrMode};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::inbound::conflict::ConflictName;
use strongroom_workspace::{Tuning, Workspace};

use super::{
    Mark, bytes_of, content, examine, keeping_for, mark, marks_in, marks_of, stored, stored_keys,
    tuning, write_for_long,
};

#[test]
fn what_nobody_may_need_any_more_goes_also_where_several_write() {
    let mut fleet = Fleet::new(1, 2, &keeping_for(100));
    write_for_long(&mut fleet, &[0, 1], 60, 1100);
    let sizes = [Family::Object, Family::Log, Family::Checkpoint];
    let early = sizes.map(|family| stored(&fleet, family));
    write_for_long(&mut fleet, &[0, 1], 240, 1100);
    let late = sizes.map(|family| stored(&fleet, family));
    for (early, late) in early.into_iter().zip(late) {
        assert!(late < early * 2, "{late} things are kept after five times as long, not {early}");
    }
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(examine(&fleet).is_clean());
}

fn is_copy(path: &[u8]) -> bool {
    path.starts_with(b"/file (")
}

/// Two homes of which the second has a conflict copy of `file` that it has not committed, and both workspaces.
fn with_a_copy_that_waits() -> (Fleet, [Workspace; 2]) {
    // Nothing is moved before it is time to remove it.
    let mut fleet = Fleet::new(15, 2, &Tuning { compact_bytes: 0, ..keeping_for(60) });
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "file", &content(1, 20_000)).unwrap();
    fleet.settle().unwrap();
    let [first, second] = [0, 1].map(|home| fleet.homes[home].workspace().unwrap().clone());
    for (core, number) in [(&first, 2), (&second, 3)] {
        let handle = done(core.open(find(core, "file").unwrap(), OPEN)).unwrap().handle;
        done(core.write(handle, 20_000, &mark(number), WriteMode::At, false)).unwrap();
        core.release(handle);
    }
    first.commit().unwrap();
    for requests in 1.. {
        fleet.homes[1].ends_after(Some(requests));
        second.commit().unwrap_err();
        fleet.homes[1].ends_after(None);
        if read_tree(&second).unwrap().keys().any(|path| is_copy(path)) {
            break;
        }
    }
    (fleet, [first, second])
}

/// Marks in a conflict copy that was made before another home did what `let_go` does, and committed after it.
fn copy_that_waited(let_go: impl FnOnce(&Workspace)) -> BTreeSet<Mark> {
    let (mut fleet, [first, second]) = with_a_copy_that_waits();
    let_go(&first);
    drop((first, second));
    fleet.settle().unwrap();
    write_for_long(&mut fleet, &[0, 1], 150, 1100);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(examine(&fleet).is_clean());
    let mut copies = trees[0].iter().filter(|(path, _)| is_copy(path));
    marks_of(&bytes_of(copies.next().unwrap().1))
}

#[test]
fn a_conflict_copy_keeps_what_others_let_go_of_before_it_was_committed() {
    let marks = copy_that_waited(|first| {
        save(first, "file", &content(4, 20_000)).unwrap();
        first.commit().unwrap();
    });
    assert_eq!(marks, BTreeSet::from([mark(1), mark(3)]));
}

#[test]
fn a_conflict_copy_brings_back_nothing_that_was_purged_before_it_was_committed() {
    let marks = copy_that_waited(|first| {
        first.purge(&[b"file".to_vec()]).unwrap();
    });
    assert_eq!(marks, BTreeSet::from([mark(3)]));
}

#[test]
fn what_was_synced_in_a_conflict_copy_survives_its_blocks_and_its_name_says_what_is_missing() {
    for more_is_written in [false, true] {
        let (mut fleet, [first, second]) = with_a_copy_that_waits();
        done(second.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        if more_is_written {
            // The journal says by this that what was before it is durable.
            save(&second, "after", &content(5, 300)).unwrap();
        }
        save(&first, "file", &content(4, 20_000)).unwrap();
        first.commit().unwrap();
        drop((first, second));
        fleet.homes[1].cut(true);
        fleet.homes[1].down(Down::Killed).unwrap();
        write_for_long(&mut fleet, &[0], 300, 1100);
        let trees = fleet.settle().unwrap();
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
        let copies: Vec<_> = trees[0].iter().filter(|(path, _)| is_copy(path)).collect();
        let [(path, copy)] = copies[..] else { panic!("{copies:?}") };
        assert_eq!(marks_of(&bytes_of(copy)), BTreeSet::from([mark(3)]));
        let name = ConflictName::parse(&path[1..]).unwrap();
        assert!(name.is_incomplete && name.original == b"file", "{}", path.escape_ascii());
        let after = trees[0].get(&b"/after"[..]).map(bytes_of);
        assert_eq!(after.is_some_and(|bytes| bytes == content(5, 300)), more_is_written);
        assert!(examine(&fleet).is_clean());
    }
}

#[test]
fn a_checkpoint_whose_answer_was_lost_keeps_its_pages() {
    for requests in 0.. {
        let mut fleet = Fleet::new(6, 2, &keeping_for(600));
        write_for_long(&mut fleet, &[0, 1], 8, 1100);
        let trees = fleet.settle().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let before = workspace.status().checkpoints;
        for number in 0..60 {
            save(&workspace, &format!("more {number}"), &[7; 200]).unwrap();
        }
        fleet.homes[0].ends_after(Some(requests));
        let committed = workspace.commit();
        fleet.homes[0].ends_after(None);
        // Others' checkpoints are looked for before anything is tried again.
        fleet.tick(0, 6_000).unwrap();
        save(&workspace, "last", b"last").unwrap();
        workspace.commit().unwrap();
        assert!(workspace.status().checkpoints > before || committed.is_err());
        drop(workspace);
        for home in &mut fleet.homes {
            home.down(Down::Killed).unwrap();
        }
        let again = fleet.settle().unwrap_or_else(|error| panic!("after {requests}: {error}"));
        assert_eq!(again[0].len(), trees[0].len() + 61, "after {requests}");
        let report = examine(&fleet);
        assert!(
            report.is_clean(),
            "after {requests}: {:?}",
            report.findings.first().map(|f| &f.text)
        );
        if committed.is_ok() {
            assert!(requests > 5, "nothing was cut off");
            return;
        }
    }
}

#[test]
fn what_could_not_be_committed_is_tried_again_though_nothing_more_is_written() {
    let mut fleet = Fleet::new(7, 1, &tuning());
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..60 {
        save(&workspace, &format!("file {number}"), &[7; 200]).unwrap();
    }
    fleet.homes[0].cut(true);
    let failed = fleet.tick(0, 2_000).map_err(|error| error.kind());
    assert_eq!(failed, Err(ErrorKind::Unavailable));
    fleet.homes[0].cut(false);
    for _ in 0..10 {
        fleet.tick(0, 30_000).unwrap();
    }
    let status = workspace.status();
    assert!(status.is_clean(), "{}", status.to_json());
    // A checkpoint that fails behind its commit is tried again as well.
    for requests in 0.. {
        let before = workspace.status();
        save(&workspace, "long", &content(requests, 70_000)).unwrap();
        for number in 0..60 {
            save(&workspace, &format!("file {number}"), &[8; 200]).unwrap();
        }
        fleet.homes[0].ends_after(Some(requests));
        let committed = workspace.commit();
        fleet.homes[0].ends_after(None);
        for _ in 0..3 {
            fleet.tick(0, 30_000).unwrap();
        }
        let status = workspace.status();
        assert!(status.is_clean() && status.trouble.is_none(), "{}", status.to_json());
        assert!(status.checkpoints > before.checkpoints, "after {requests}");
        if committed.is_ok() {
            return;
        }
    }
}

#[test]
fn what_is_too_much_for_one_commit_is_refused_and_never_published() {
    let no_limits = Tuning {
        batch_ops_bytes: usize::MAX,
        batch_ops_bytes_limit: usize::MAX,
        journal_file_len: 64 << 20,
        ..Tuning::default()
    };
    let mut fleet = Fleet::new(12, 2, &no_limits);
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    save(&workspace, "file", b"").unwrap();
    let ino = find(&workspace, "file").unwrap();
    for number in 0..4_300_u64 {
        let value = number.to_le_bytes().repeat(1000);
        done(workspace.set_xattr(ino, b"user.long", &value, XattrMode::Either)).unwrap();
    }
    // Sealed into a staged object. What no commit names may go from the store, so its file stays here.
    save(&workspace, "large", &content(1, 300_000)).unwrap();
    let before = stored(&fleet, Family::Object);
    assert_eq!(workspace.commit().map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert_eq!(stored(&fleet, Family::Object), before);
    assert!(workspace.status().staged_bytes > 300_000);
    save(fleet.homes[1].workspace().unwrap(), "other", b"").unwrap();
    fleet.homes[1].workspace().unwrap().commit().unwrap();
    assert_eq!(stored(&fleet, Family::Log), 3, "the two that began and the other's");
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_commit_lets_go_of_no_more_than_it_has_room_to_say_and_the_next_ones_of_the_rest() {
    // An early poll: what another home commits must not make it forget the rest.
    let few = Tuning {
        released_count: 7,
        checkpoint_log_bytes: 1 << 30,
        object_plain_bytes: 64 << 10,
        compact_bytes: 0,
        ..tuning()
    };
    let mut fleet = Fleet::new(13, 2, &few);
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..40 {
        let name = format!("file {number}");
        save(&workspace, &name, &content(number, 64 << 10)).unwrap();
    }
    workspace.commit().unwrap();
    for number in 0..40 {
        done(workspace.unlink(Ino::ROOT, format!("file {number}").as_bytes())).unwrap();
    }
    // The answer to the third commit, of six, is lost, and another home comes between.
    fleet.homes[0].ends_after(Some(6));
    assert!(workspace.commit().is_err());
    fleet.homes[0].ends_after(None);
    let other = fleet.homes[1].workspace().unwrap().clone();
    save(&other, "between", b"").unwrap();
    other.commit().unwrap();
    workspace.commit().unwrap();
    let (mut released, mut after) = (Vec::new(), None);
    loop {
        let page = strongroom_store::now(fleet.store().list(Family::Log, after)).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        for listed in page {
            let bytes = strongroom_store::now(fleet.store().get(listed.key, None)).unwrap();
            let header = CommitFile::parse(&bytes).unwrap().header;
            assert!(header.released.len() <= 7);
            released.extend(header.released);
        }
    }
    let count = released.len();
    released.sort();
    released.dedup();
    assert_eq!((count, released.len()), (40, 40), "each of them once");
    drop((workspace, other));
    fleet.settle().unwrap();
    assert!(examine(&fleet).is_clean());
}

#[test]
fn what_went_to_the_store_and_was_not_committed_is_kept_however_long_its_home_is_away() {
    let (mut left, grace) = (0, Duration::from_secs(60));
    for requests in 0..8 {
        let mut fleet = Fleet::new(12, 2, &Tuning { unnamed_grace: grace, ..tuning() });
        write_for_long(&mut fleet, &[0, 1], 2, 1100);
        fleet.settle().unwrap();
        let first = fleet.homes[0].workspace().unwrap().clone();
        save(&first, "f", &content(900, 70_000)).unwrap();
        done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        let [before, log] = [Family::Object, Family::Log].map(|family| stored_keys(&fleet, family));
        fleet.homes[0].ends_after(Some(requests));
        // It may get through without an answer.
        let _ = first.commit();
        drop(first);
        fleet.homes[0].down(Down::Killed).unwrap();
        fleet.homes[0].ends_after(None);
        let is_committed = stored_keys(&fleet, Family::Log) != log;
        let mut put = stored_keys(&fleet, Family::Object);
        put.retain(|key| !is_committed && !before.contains(key));
        // Whoever goes on meanwhile removes what nobody names for so long.
        for millis in [0, 86_400_000, 86_400_000] {
            fleet.tick(1, millis).unwrap();
            write_for_long(&mut fleet, &[1], 20, 1100);
        }
        let is_swept = put.is_disjoint(&stored_keys(&fleet, Family::Object));
        assert!(is_swept, "{requests} requests: nobody removed it, which proves nothing");
        left += put.len();
        let trees = fleet.settle().unwrap_or_else(|what| panic!("{requests} requests: {what}"));
        assert!(marks_in(&trees[1]).contains(&mark(900)), "{requests} requests: it is lost");
        assert!(examine(&fleet).is_clean(), "{requests} requests");
    }
    assert!(left > 0, "nothing was put without a commit");
}
