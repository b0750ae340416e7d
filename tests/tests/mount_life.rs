//! A mount's life: refusals, dead mounts, open files at the end, users that are not root.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_mount::{ErrorKind, Force, Mount, MountOptions, Unmounted, mountinfo, unmount_at};
use strongroom_tests::model::Model;
use strongroom_tests::mounted::Mounted;
use strongroom_workspace::door::Caller;

const NOBODY: u32 = 65534;
const WAIT_LIMIT: Duration = Duration::from_secs(10);

fn model() -> Arc<Model> {
    let owner =
        Caller { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    Arc::new(Model::new(owner, Arc::new(|| 1_700_000_000_000_000_000)))
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn is_mounted(path: &Path) -> bool {
    mountinfo::mounted_at(&path.canonicalize().unwrap_or(path.to_path_buf())).unwrap().is_some()
}

/// The model in a process of its own, as `uid`; ready on return.
fn serve(mountpoint: &Path, uid: Option<u32>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model_mount"));
    command.arg(mountpoint).stderr(Stdio::piped());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let child = command.spawn().unwrap();
    let place = mountpoint.to_path_buf();
    eventually("the model is mounted", || mountinfo::mounted_at(&place).unwrap().is_some());
    child
}

#[test]
fn second_mount_in_the_same_place_is_refused() {
    let Some(mounted) = Mounted::start(model(), "") else { return };
    let error = Mount::start(model(), mounted.root(), MountOptions::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyMounted);
    assert!(error.advice().unwrap().contains("unmount"));
}

#[test]
fn table_of_mounts_shows_source_and_type() {
    let Some(mounted) = Mounted::start(model(), r"fsname=my\,team,subtype=vault") else { return };
    let entry = mountinfo::mounted_at(&mounted.root().canonicalize().unwrap()).unwrap().unwrap();
    assert_eq!((entry.source.as_str(), entry.fs_type.as_str()), ("my_team", "fuse.vault"));
}

/// What the kernel grants by itself leaves a disk idle between requests.
#[test]
fn mount_by_root_reads_ahead_further_than_the_kernel_grants() {
    let Some(mounted) = Mounted::start(model(), "") else { return };
    let entry = mountinfo::mounted_at(&mounted.root().canonicalize().unwrap()).unwrap().unwrap();
    let setting = PathBuf::from(format!("/sys/class/bdi/{}/read_ahead_kb", entry.device));
    if fs::OpenOptions::new().write(true).open(&setting).is_err() {
        return; // Not root, or a machine that shows no such settings.
    }
    assert_eq!(fs::read_to_string(&setting).unwrap().trim(), "512");
    fs::write(mounted.path("a"), b"x").unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"x");
    assert_eq!(
        fs::read_to_string(&setting).unwrap().trim(),
        "512",
        "after the kernel's own settings"
    );
}

#[test]
fn read_only_mount_refuses_changes() {
    let Some(mounted) = Mounted::start(model(), "ro") else { return };
    let error = fs::write(mounted.path("a"), b"x").unwrap_err();
    assert_eq!(error.kind(), IoKind::ReadOnlyFilesystem);
}

#[test]
fn unmount_from_outside_ends_serving() {
    let Some(mounted) = Mounted::start(model(), "") else { return };
    fs::write(mounted.path("a"), b"x").unwrap();
    assert_eq!(unmount_at(mounted.root(), Force::No).unwrap(), Unmounted::Clean);
    assert!(!is_mounted(mounted.root()));
    let again = unmount_at(mounted.root(), Force::No).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotMounted);
    // Dropping joins the threads; it must neither hang nor unmount anything else.
}

#[test]
fn end_of_one_mount_leaves_a_later_one_in_its_place_alone() {
    let Some(first) = Mounted::start(model(), "") else { return };
    let unmounter = first.mount().unmounter();
    unmount_at(first.root(), Force::No).unwrap();
    eventually("the first mount has ended", || unmounter.has_ended());
    let second = Mount::start(model(), first.root(), MountOptions::default()).unwrap();
    unmounter.unmount().unwrap();
    assert!(is_mounted(first.root()));
    assert_eq!(second.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn open_file_does_not_keep_a_mount_in_the_tree() {
    let Some(mounted) = Mounted::start(model(), "") else { return };
    let mut file = File::create(mounted.path("a")).unwrap();
    let busy = unmount_at(mounted.root(), Force::No).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert_eq!(mounted.mount().unmounter().unmount().unwrap(), Unmounted::WhileBusy);
    assert!(!is_mounted(mounted.root()));
    file.write_all(b"still served").unwrap();
}

#[test]
fn dead_mount_is_cleared_away() {
    let Some(probe) = Mounted::start(model(), "") else { return };
    drop(probe);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let mut child = serve(&place, None);
    // What the kernel remembers of the root must not make the mount look alive.
    fs::metadata(&place).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let dead = fs::write(place.join("a"), b"x").unwrap_err();
    assert_eq!(dead.raw_os_error(), Some(libc::ENOTCONN));
    let mount = Mount::start(model(), &place, MountOptions::default()).unwrap();
    fs::write(place.join("a"), b"x").unwrap();
    assert_eq!(mount.unmount().unwrap(), Unmounted::Clean);
    assert!(!is_mounted(&place));
}

#[test]
fn user_who_is_not_root_mounts_through_the_helper() {
    if !rustix::process::geteuid().is_root() || !open_to_all(Path::new("/dev/fuse")) {
        eprintln!(
            "\n*** SKIPPED: needs root to become another user, and /dev/fuse with mode 0666 ***\n"
        );
        return;
    }
    let Some(probe) = Mounted::start(model(), "") else { return };
    drop(probe);
    // Only folders that the other user may pass through and write.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = folder.path().canonicalize().unwrap().join("point");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    if !readable_by_all(Path::new(env!("CARGO_BIN_EXE_model_mount"))) {
        eprintln!("\n*** SKIPPED: the other user may not run the test's program ***\n");
        return;
    }
    let mut child = serve(&place, Some(NOBODY));
    // The folder is entered after becoming the other user: root may not look into somebody else's mount.
    let script =
        "set -e; cd \"$1\"; echo hello > a; test \"$(cat a)\" = hello; mv a b; test -O b; ls -l";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(&place).uid(NOBODY).gid(NOBODY);
    let status = shell.status().unwrap();
    let unmounted =
        Command::new("fusermount3").arg("-u").arg(&place).uid(NOBODY).gid(NOBODY).status().unwrap();
    assert!(status.success() && unmounted.success());
    assert!(child.wait().unwrap().success());
}

fn open_to_all(device: &Path) -> bool {
    fs::metadata(device).is_ok_and(|metadata| metadata.permissions().mode() & 0o006 == 0o006)
}

fn readable_by_all(program: &Path) -> bool {
    program.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    })
}
