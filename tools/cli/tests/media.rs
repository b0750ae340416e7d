//! Stores on media that refuse: read-only, too small. Needs root to make such media.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Place, can_mount};

/// A mount of this test's own; taken away when dropped.
struct Medium(PathBuf);

impl Medium {
    fn mount(at: &Path, options: &[&str]) -> Self {
        let ended = Command::new("mount").args(options).arg(at).status().unwrap();
        assert!(ended.success(), "mount {options:?} {}", at.display());
        Self(at.to_path_buf())
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn can_make_media() -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !is_root {
        eprintln!("skipped: needs root to make media");
    }
    is_root && can_mount()
}

#[test]
fn a_read_only_store_is_mounted_with_ro_and_says_so() {
    if !can_make_media() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    fs::write(place.drive().join("kept"), "as it was").unwrap();
    place.unmount();
    let store = place.store();
    let _medium = Medium::mount(&store, &["--bind", &store.to_string_lossy()]);
    let locked =
        Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&store).status().unwrap();
    assert!(locked.success());
    for verb in ["mount STORE DRIVE", "passwd STORE --new-passphrase-file PASS"] {
        place.run(&format!("{verb} --passphrase-file PASS")).expect_refused(
            1,
            "strongroom: the store `STORE` is read-only\nhint: mount it with `-o ro`, which needs no writing\n",
        );
    }
    place.run("mount STORE DRIVE --background -o ro --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(place.drive().join("kept")).unwrap(), "as it was");
    place.unmount();
    place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn a_full_store_refuses_the_write_that_meets_it_and_loses_nothing() {
    if !can_make_media() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    let _medium = Medium::mount(&place.path("small"), &["-t", "tmpfs", "-o", "size=96m", "none"]);
    place.run("init small/store --little-memory --passphrase-file PASS").expect_done();
    let mount = "mount small/store DRIVE --background --passphrase-file PASS";
    place.run(mount).expect_done();
    let content = |index: u8| vec![index; 4 << 20];
    let mut written = 0;
    let refusal = loop {
        match fs::write(place.drive().join(format!("file{written}")), content(written)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::StorageFull);
    assert!(written >= 2, "only {written} files fitted");
    place.run("sync --wait DRIVE").expect_done();
    place.unmount();
    place.run(mount).expect_done();
    for index in 0..written {
        assert!(
            fs::read(place.drive().join(format!("file{index}"))).unwrap() == content(index),
            "file{index}"
        );
    }
    // Room can be made.
    for index in 0..written {
        fs::remove_file(place.drive().join(format!("file{index}"))).unwrap();
    }
    place.unmount();
    place.run("check small/store --passphrase-file PASS").expect_sound();
}
