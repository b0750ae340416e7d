//! A hardened process. Alone in its file: hardening holds for the whole process and for good.

#![allow(clippy::unwrap_used)]

use strongroom_host::locked::harden;

#[test]
#[expect(unsafe_code, reason = "asks what was set")]
fn a_hardened_process_leaves_no_core_image_and_keeps_its_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("file")).unwrap();
    harden().unwrap();
    let mut limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: integers and a valid structure.
    let dumpable = unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
        libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0)
    };
    assert_eq!((dumpable, limit.rlim_cur, limit.rlim_max), (0, 0, 0));
    use std::os::fd::AsRawFd;
    std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    std::fs::read_to_string("/proc/self/mountinfo").unwrap();
}
