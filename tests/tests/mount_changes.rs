//! Changes made elsewhere reach the kernel: what it believes for an hour is taken back at once.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_mount::RequestKind;
use strongroom_tests::harness::files::options;
use strongroom_tests::model::Model;
use strongroom_tests::mounted::Mounted;
use strongroom_workspace::door::{
    Access, Answer, Caller, Change, Core, Folding, Ino, Kind, NewNode, WriteMode,
};

const CALLER: Caller = Caller { uid: 0, gid: 0 };
const WAIT_LIMIT: Duration = Duration::from_secs(10);

fn mounted() -> Option<(Arc<Model>, Mounted)> {
    let owner =
        Caller { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    let model = Arc::new(Model::new(owner, Arc::new(|| 1_700_000_000_000_000_000)));
    Mounted::start(model.clone(), "").map(|mounted| (model, mounted))
}

fn ready<T>(answer: Answer<T>) -> T {
    match answer {
        Answer::Ready(result) => result.unwrap(),
        Answer::Later(_) | Answer::Blocking(_) => panic!("the model is always ready"),
    }
}

/// What another device does: past the kernel.
fn write_elsewhere(model: &Model, name: &[u8], data: &[u8]) -> Ino {
    let ino = ready(model.lookup(Ino::ROOT, name, Folding::Exact)).ino;
    let opened = ready(model.open(ino, options(Access::Write, true)));
    ready(model.write(opened.handle, 0, data, WriteMode::At, false));
    model.release(opened.handle);
    model.forget(&[(ino, 1)]);
    ino
}

fn create_elsewhere(model: &Model, name: &[u8]) {
    let node = NewNode { kind: Kind::File, mode: 0o644, rdev: 0, target: Vec::new() };
    let made = ready(model.create(CALLER, Ino::ROOT, name, node));
    model.forget(&[(made.ino, 1)]);
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn content_written_elsewhere_is_read() {
    let Some((model, mounted)) = mounted() else { return };
    fs::write(mounted.path("a"), vec![1; 4096]).unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap().len(), 4096);
    let ino = write_elsewhere(&model, b"a", &[2; 9000]);
    assert_eq!(fs::metadata(mounted.path("a")).unwrap().len(), 4096);
    model.tell(Change::Inode { ino, content: true });
    eventually("the new size shows", || fs::metadata(mounted.path("a")).unwrap().len() == 9000);
    assert_eq!(fs::read(mounted.path("a")).unwrap(), vec![2; 9000]);
}

#[test]
fn attributes_changed_elsewhere_do_not_drop_pages() {
    let Some((model, mounted)) = mounted() else { return };
    fs::write(mounted.path("a"), vec![1; 4096]).unwrap();
    fs::read(mounted.path("a")).unwrap();
    let ino = ready(model.lookup(Ino::ROOT, b"a", Folding::Exact)).ino;
    model.forget(&[(ino, 1)]);
    let counts = mounted.mount().counts();
    model.tell(Change::Inode { ino, content: false });
    let before = counts.of(RequestKind::Getattr);
    eventually("the attributes are asked for again", || {
        fs::metadata(mounted.path("a")).unwrap();
        counts.of(RequestKind::Getattr) > before
    });
    let reads = counts.of(RequestKind::Read);
    fs::read(mounted.path("a")).unwrap();
    assert_eq!(counts.of(RequestKind::Read), reads);
}

#[test]
fn name_made_elsewhere_replaces_the_belief_that_it_is_missing() {
    let Some((model, mounted)) = mounted() else { return };
    fs::metadata(mounted.path("new")).unwrap_err();
    create_elsewhere(&model, b"new");
    fs::metadata(mounted.path("new")).unwrap_err();
    model.tell(Change::Name { folder: Ino::ROOT, name: b"new".to_vec() });
    eventually("the name shows", || fs::metadata(mounted.path("new")).is_ok());
}

#[test]
fn listing_shows_what_was_made_elsewhere() {
    let Some((model, mounted)) = mounted() else { return };
    let names = || {
        let mut names: Vec<_> = fs::read_dir(mounted.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    fs::write(mounted.path("a"), b"").unwrap();
    assert_eq!(names(), ["a"]);
    assert_eq!(names(), ["a"]);
    create_elsewhere(&model, b"b");
    model.tell(Change::Name { folder: Ino::ROOT, name: b"b".to_vec() });
    eventually("the new name is listed", || names() == ["a", "b"]);
}

#[test]
fn name_removed_elsewhere_is_gone_though_open_files_go_on() {
    let Some((model, mounted)) = mounted() else { return };
    let mut file = File::create_new(mounted.path("a")).unwrap();
    file.write_all(b"kept").unwrap();
    let reader = File::open(mounted.path("a")).unwrap();
    ready(model.unlink(Ino::ROOT, b"a"));
    model.tell(Change::Name { folder: Ino::ROOT, name: b"a".to_vec() });
    eventually("the name is gone", || fs::metadata(mounted.path("a")).is_err());
    let mut kept = [0; 4];
    reader.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(&kept, b"kept");
    drop((file, reader));
    drop(mounted);
    assert_eq!(model.inode_count(), 1, "nothing but the root is kept");
}

#[test]
fn unlinked_file_can_still_be_written_and_read() {
    let Some((model, mounted)) = mounted() else { return };
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(mounted.path("a"))
        .unwrap();
    fs::remove_file(mounted.path("a")).unwrap();
    file.write_all(b"still here").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    assert_eq!(model.inode_count(), 2);
    drop(file);
    eventually("the inode is freed", || model.inode_count() == 1);
}
