//! How many kernel requests each act costs. Speed is won by requests that are not sent; a change that adds one
//! changes a number here and says why.
//!
//! The model stands behind the door: what the kernel asks depends on the door's replies, not on the engine.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use strongroom_tests::model::Model;
use strongroom_tests::mounted::Mounted;
use strongroom_workspace::door::Caller;

fn mounted() -> Option<Mounted> {
    let time = AtomicI64::new(1_700_000_000_000_000_000);
    let now = Arc::new(move || time.fetch_add(1_000_000, Ordering::Relaxed));
    let owner =
        Caller { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    Mounted::start(Arc::new(Model::new(owner, now)), "")
}

#[test]
fn warm_stat_costs_nothing() {
    let Some(mounted) = mounted() else { return };
    fs::write(mounted.path("a"), b"x").unwrap();
    fs::metadata(mounted.path("a")).unwrap();
    let requests = mounted.requests(|| {
        for _ in 0..5 {
            fs::metadata(mounted.path("a")).unwrap();
        }
    });
    assert_eq!(requests, "");
}

#[test]
fn missing_name_is_asked_for_once() {
    let Some(mounted) = mounted() else { return };
    fs::metadata(mounted.root()).unwrap();
    let requests = mounted.requests(|| {
        for _ in 0..5 {
            fs::metadata(mounted.path("missing")).unwrap_err();
        }
    });
    assert_eq!(requests, "LOOKUP 1");
}

#[test]
fn name_that_was_missing_appears_at_once_when_made_here() {
    let Some(mounted) = mounted() else { return };
    fs::metadata(mounted.path("a")).unwrap_err();
    fs::write(mounted.path("a"), b"x").unwrap();
    fs::metadata(mounted.path("a")).unwrap();
}

#[test]
fn create_write_close_costs_five() {
    let Some(mounted) = mounted() else { return };
    fs::metadata(mounted.root()).unwrap();
    let requests = mounted.requests(|| {
        File::create(mounted.path("a")).unwrap().write_all(&[7; 4096]).unwrap();
    });
    // The GETXATTR is the kernel's, once per inode: security.capability.
    assert_eq!(requests, "LOOKUP 1, WRITE 1, RELEASE 1, GETXATTR 1, CREATE 1");
}

#[test]
fn further_write_costs_one() {
    let Some(mounted) = mounted() else { return };
    let mut file = OpenOptions::new().append(true).create(true).open(mounted.path("log")).unwrap();
    file.write_all(b"first\n").unwrap();
    let requests = mounted.mount().counts();
    requests.reset();
    file.write_all(b"second\n").unwrap();
    file.write_all(b"third\n").unwrap();
    assert_eq!(requests.to_string(), "WRITE 2");
    drop(file);
    assert_eq!(fs::read(mounted.path("log")).unwrap(), b"first\nsecond\nthird\n");
}

#[test]
fn megabyte_is_written_in_one_request() {
    let Some(mounted) = mounted() else { return };
    let mut file = File::create(mounted.path("big")).unwrap();
    file.write_all(&[1; 4096]).unwrap();
    let requests = mounted.mount().counts();
    requests.reset();
    file.write_all(&vec![7; 1 << 20]).unwrap();
    // A buffer need not begin where a page does; the rest of the megabyte goes in a second request then.
    assert!(matches!(requests.to_string().as_str(), "WRITE 1" | "WRITE 2"), "{requests}");
}

#[test]
fn open_read_close_of_a_cached_file_costs_two() {
    let Some(mounted) = mounted() else { return };
    fs::write(mounted.path("a"), [7; 4096]).unwrap();
    read_all(&mounted, "a");
    fs::metadata(mounted.path("a")).unwrap();
    let requests = mounted.requests(|| read_all(&mounted, "a"));
    assert_eq!(requests, "OPEN 1, RELEASE 1");
}

#[test]
fn fsync_costs_one() {
    let Some(mounted) = mounted() else { return };
    let mut file = File::create(mounted.path("a")).unwrap();
    file.write_all(b"x").unwrap();
    let requests = mounted.mount().counts();
    requests.reset();
    file.sync_data().unwrap();
    assert_eq!(requests.to_string(), "FSYNC 1");
}

#[test]
fn save_by_rename_costs_what_its_steps_cost() {
    let Some(mounted) = mounted() else { return };
    fs::write(mounted.path("a"), b"old").unwrap();
    fs::metadata(mounted.root()).unwrap();
    let requests = mounted.requests(|| {
        let mut file = File::create(mounted.path("a.new")).unwrap();
        file.write_all(b"new").unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(mounted.path("a.new"), mounted.path("a")).unwrap();
        File::open(mounted.root()).unwrap().sync_all().unwrap();
    });
    // The second LOOKUP: the kernel always asks again for the target of a rename. The GETATTR: it checks
    // permissions in a folder that it has just changed.
    assert_eq!(
        requests.replace("OPENDIR 1, ", ""),
        "LOOKUP 2, GETATTR 2, RENAME 1, WRITE 1, RELEASE 1, FSYNC 1, FSYNCDIR 1, GETXATTR 1, CREATE 1"
    );
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"new");
}

#[test]
fn rename_costs_one_and_a_lookup_of_the_new_name() {
    let Some(mounted) = mounted() else { return };
    fs::write(mounted.path("a"), b"x").unwrap();
    fs::metadata(mounted.root()).unwrap();
    let requests = mounted.requests(|| fs::rename(mounted.path("a"), mounted.path("b")).unwrap());
    assert_eq!(requests, "LOOKUP 1, RENAME 1");
    // The folder has changed, so the kernel asks for its attributes before it checks permissions again.
    fs::metadata(mounted.root()).unwrap();
    let requests = mounted.requests(|| fs::rename(mounted.path("b"), mounted.path("c")).unwrap());
    assert_eq!(requests, "LOOKUP 1, RENAME 1");
}

#[test]
fn long_listing_asks_for_no_single_entry() {
    let Some(mounted) = mounted() else { return };
    for number in 0..100 {
        fs::write(mounted.path(&format!("file-{number:03}")), b"").unwrap();
    }
    let list = || {
        let entries: Vec<_> =
            fs::read_dir(mounted.root()).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(entries.iter().all(|entry| entry.metadata().unwrap().is_file()));
        assert_eq!(entries.len(), 100);
    };
    list();
    let counts = mounted.mount().counts();
    counts.reset();
    list();
    assert!(!counts.to_string().contains("LOOKUP"), "{counts}");
    assert!(!counts.to_string().contains("OPENDIR"), "{counts}");
    assert!(counts.total() <= 8, "{counts}");
}

#[test]
fn link_target_is_asked_for_once() {
    let Some(mounted) = mounted() else { return };
    std::os::unix::fs::symlink("somewhere/else", mounted.path("link")).unwrap();
    fs::read_link(mounted.path("link")).unwrap();
    let requests = mounted.requests(|| {
        assert_eq!(fs::read_link(mounted.path("link")).unwrap().to_str(), Some("somewhere/else"));
    });
    assert_eq!(requests, "");
}

fn read_all(mounted: &Mounted, name: &str) {
    let mut data = Vec::new();
    File::open(mounted.path(name)).unwrap().read_to_end(&mut data).unwrap();
    assert_eq!(data, [7; 4096]);
}
