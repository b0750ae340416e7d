//! A store that does not answer: whoever reads lets go when the ground for it goes, and so the kernel drops what it has.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use common::{Shop, follow, kind, mounted, now, only, open};
use strongroom_host::clock::MachineClock;
use strongroom_mount::MountOptions;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};
use strongroom_view::View;
use strongroom_workspace::door::{Core, HandleId};
use strongroom_workspace::error::ErrorKind;

/// Nobody waits for as long unless it waits for the store.
const PATIENCE: Duration = Duration::from_secs(60);
const FILE_LEN: usize = 400_000;

/// Two files of somebody who agreed.
fn agreed(shop: &mut Shop) -> SubjectId {
    let ada = shop.person();
    for name in ["one", "two"] {
        shop.put(ada, "owned", name, &vec![b'a'; FILE_LEN]);
    }
    shop.say(ada, "newsletter", Given);
    ada
}

/// Reads where nothing has been read yet, in a thread of its own. What comes of it comes through the channel.
fn reading(view: &View, handle: HandleId) -> mpsc::Receiver<ErrorKind> {
    let (view, (say, heard)) = (view.clone(), mpsc::channel());
    std::thread::spawn(move || {
        let read = now(view.read(handle, 300_000, 4096));
        // Whoever listened may have given up.
        let _ = say.send(kind(read));
    });
    heard
}

#[test]
fn whoever_waits_for_the_store_is_refused_when_consent_is_withdrawn() {
    let mut shop = Shop::new(1);
    let ada = agreed(&mut shop);
    let view = shop.view("newsletter");
    let path = format!("{}/owned/one", only(&view));
    let handle = open(&view, &path).unwrap();
    shop.world.store.stalls.store(true, Ordering::Relaxed);
    let heard = reading(&view, handle);
    assert!(heard.recv_timeout(Duration::from_millis(200)).is_err(), "it waits for the store");
    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(ErrorKind::Denied));
}

#[test]
fn whoever_waits_for_the_store_is_refused_when_the_lease_is_over() {
    let mut shop = Shop::new(2);
    agreed(&mut shop);
    let view = shop.view("newsletter");
    let path = format!("{}/owned/one", only(&view));
    let handle = open(&view, &path).unwrap();
    shop.world.store.stalls.store(true, Ordering::Relaxed);
    let heard = reading(&view, handle);
    assert!(heard.recv_timeout(Duration::from_millis(200)).is_err(), "it waits for the store");
    // Nothing is renewed: others write all the while.
    let held = shop.fence.wait();
    shop.world.clock.advance(Duration::from_secs(301));
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(ErrorKind::Unavailable));
    drop(held);
}

#[test]
fn what_the_kernel_has_is_dropped_though_a_read_of_the_same_file_waits_for_the_store() {
    let mut shop = Shop::new(3);
    let ada = agreed(&mut shop);
    let view = shop.view_by("newsletter", Arc::new(MachineClock::new()));
    let folder = tempfile::tempdir().unwrap();
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    let Some(mount) = mounted(view.clone(), folder.path(), options) else { return };
    let owned = folder.path().join(only(&view)).join("owned");
    let files = ["one", "two"].map(|name| File::open(owned.join(name)).unwrap());
    let mut page = [0; 4096];
    for file in &files {
        file.read_exact_at(&mut page, 0).unwrap();
    }
    shop.world.store.stalls.store(true, Ordering::Relaxed);
    let (waits, (say, heard)) = (files[0].try_clone().unwrap(), mpsc::channel());
    std::thread::spawn(move || {
        let read = waits.read_at(&mut [0; 4096], 300_000);
        let _ = say.send(read.unwrap_err().raw_os_error());
    });
    assert!(heard.recv_timeout(Duration::from_millis(500)).is_err(), "it waits for the store");
    shop.say(ada, "newsletter", Withdrawn);
    // Ends once the kernel has been told of everything.
    follow(&view);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(Some(libc::EACCES)));
    for file in &files {
        let refused = file.read_at(&mut page, 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    }
    mount.unmount().unwrap();
}
