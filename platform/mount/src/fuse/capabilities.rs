//! What the door asks of the kernel: one list, because fuser accepts bits it cannot serve.

use fuser::{InitFlags, KernelConfig};

/// Everything that may ever be asked for.
///
/// Left out on purpose: locks (the kernel's own local locks need no request), writeback cache (the kernel then
/// ignores the server's file size), AUTO_INVAL_DATA (a touch elsewhere would drop pages), NO_OPEN_SUPPORT (open
/// is where access is decided), passthrough and every bit fuser takes without serving it.
pub const ALLOWED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_NO_OPENDIR_SUPPORT)
    .union(InitFlags::FUSE_ATOMIC_O_TRUNC)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_EXPLICIT_INVAL_DATA)
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2);

/// Largest WRITE. The kernel's own limit is the same.
pub const WRITE_LEN_MAX: u32 = 1024 * 1024;
/// Read-ahead to ask for; the kernel may grant less. A page fault in a mapped file reads as much around it, so it is not more.
pub const READ_AHEAD_LEN: u32 = 512 * 1024;
/// Background requests (read-ahead, asynchronous I/O) in flight.
pub const BACKGROUND_COUNT: u16 = 64;
/// From how many on the kernel holds back.
pub const CONGESTION_COUNT: u16 = 60;

/// Of what the kernel offers, what the door takes.
pub fn wanted(offered: InitFlags) -> InitFlags {
    offered & ALLOWED
}

/// Negotiates; returns what was agreed.
pub(crate) fn negotiate(config: &mut KernelConfig) -> InitFlags {
    let wanted = wanted(config.capabilities());
    // Only bits that the kernel offered are added, so this cannot be refused; the limits below are clamped by
    // the kernel's side, and a refusal names the nearest value that works.
    let _ = config.add_capabilities(wanted);
    let _ = config.set_max_write(WRITE_LEN_MAX);
    if let Err(nearest) = config.set_max_readahead(READ_AHEAD_LEN) {
        let _ = config.set_max_readahead(nearest);
    }
    let _ = config.set_max_background(BACKGROUND_COUNT);
    let _ = config.set_congestion_threshold(CONGESTION_COUNT);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_list_is_ever_asked_for() {
        let taken = wanted(InitFlags::from_bits_retain(u64::MAX));
        // Bits by number, so that a renamed or added constant cannot slip in:
        // 0 ASYNC_READ, 3 ATOMIC_O_TRUNC, 5 BIG_WRITES, 13 DO_READDIRPLUS, 14 READDIRPLUS_AUTO, 15 ASYNC_DIO,
        // 18 PARALLEL_DIROPS, 22 MAX_PAGES, 23 CACHE_SYMLINKS, 24 NO_OPENDIR_SUPPORT, 25 EXPLICIT_INVAL_DATA,
        // 28 HANDLE_KILLPRIV_V2.
        let bits = [0, 3, 5, 13, 14, 15, 18, 22, 23, 24, 25, 28];
        assert_eq!(taken.bits(), bits.iter().map(|bit| 1_u64 << bit).sum::<u64>());
    }

    #[test]
    fn what_the_kernel_lacks_is_not_asked_for() {
        assert_eq!(wanted(InitFlags::FUSE_BIG_WRITES), InitFlags::FUSE_BIG_WRITES);
        assert_eq!(wanted(InitFlags::FUSE_WRITEBACK_CACHE), InitFlags::empty());
    }

    #[test]
    fn bits_that_fuser_cannot_serve_stay_off() {
        for dangerous in [
            InitFlags::FUSE_SETXATTR_EXT,
            InitFlags::FUSE_OVER_IO_URING,
            InitFlags::FUSE_SECURITY_CTX,
            InitFlags::FUSE_CREATE_SUPP_GROUP,
            InitFlags::FUSE_ALLOW_IDMAP,
            InitFlags::FUSE_SUBMOUNTS,
            InitFlags::FUSE_PASSTHROUGH,
            InitFlags::FUSE_POSIX_LOCKS,
            InitFlags::FUSE_FLOCK_LOCKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
        ] {
            assert!(!ALLOWED.intersects(dangerous), "{dangerous:?}");
        }
    }
}
