//! A table of mounts of one's own.

use rustix::mount::{MountPropagationFlags, mount_change};

/// Gives this thread, and whatever it starts from now on, a table of mounts that others do not see into: what others mount
/// still appears in it, what is mounted from here appears nowhere else. False where the system does not let this user.
#[expect(unsafe_code, reason = "unshare has no safe interface")]
pub fn own_namespace() -> bool {
    // SAFETY: takes no pointers; threads that run already keep the table they have.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return false;
    }
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).is_ok()
}
