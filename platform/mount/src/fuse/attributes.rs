//! Attributes, times, kinds and flags between the kernel's form and the core's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, TimeOrNow};
use strongroom_workspace::door::{
    Access, AllocateMode, Attributes, Ino, Kind, OpenOptions, SetTime, TimeNs,
};

/// What `stat` calls the best size of a read or write: one segment. Programs that size their buffers by it
/// send a sixteenth of the requests that 4 KiB would need.
const PREFERRED_IO_LEN: u32 = 64 * 1024;
const NANOSECONDS: i64 = 1_000_000_000;

pub(crate) fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime),
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.link_count,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: PREFERRED_IO_LEN,
        flags: 0,
    }
}

/// Inode 0 with a lifetime tells the kernel to remember that a name is missing.
pub(crate) fn missing_attr() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(crate) fn ino(node: INodeNo) -> Ino {
    Ino(node.0)
}

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::Char => FileType::CharDevice,
        Kind::Block => FileType::BlockDevice,
    }
}

/// The kind in the mode of a MKNOD; `None` for anything mknod(2) cannot make.
pub(crate) fn kind_of_mode(mode: u32) -> Option<Kind> {
    match mode & libc::S_IFMT {
        libc::S_IFREG | 0 => Some(Kind::File),
        libc::S_IFIFO => Some(Kind::Fifo),
        libc::S_IFSOCK => Some(Kind::Socket),
        libc::S_IFCHR => Some(Kind::Char),
        libc::S_IFBLK => Some(Kind::Block),
        _ => None,
    }
}

/// Permission bits of a mode.
pub(crate) fn permission_bits(mode: u32) -> u16 {
    // Twelve bits always fit.
    (mode & 0o7777) as u16
}

fn system_time(time: TimeNs) -> SystemTime {
    let distance = Duration::from_nanos(time.unsigned_abs());
    if time < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(time_from_kernel(time)),
    }
}

/// Years beyond what 64 bits of nanoseconds hold (1677 to 2262) are clamped.
///
/// fuser makes the kernel's (-1 s, 300 ms), which means -0.7 s, into -1.3 s before it gets here; as it does so
/// for every time before 1970, the two parts can be taken apart and put together rightly.
fn time_from_kernel(time: SystemTime) -> TimeNs {
    let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(distance) => (1, distance),
        Err(before) => (-1, before.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX).saturating_mul(sign);
    seconds.saturating_mul(NANOSECONDS).saturating_add(i64::from(distance.subsec_nanos()))
}

/// What the flags of OPEN and CREATE ask for.
pub(crate) fn open_options(flags: OpenFlags, drop_set_id: bool) -> OpenOptions {
    let access = match flags.acc_mode() {
        OpenAccMode::O_RDONLY => Access::Read,
        OpenAccMode::O_WRONLY => Access::Write,
        OpenAccMode::O_RDWR => Access::ReadWrite,
    };
    OpenOptions {
        access,
        truncate: flags.0 & libc::O_TRUNC != 0,
        // O_SYNC includes the bit of O_DSYNC.
        synchronous: flags.0 & libc::O_DSYNC != 0,
        drop_set_id,
    }
}

/// The mode of fallocate(2); `None` for what is not offered (collapse, insert, unshare).
pub(crate) fn allocate_mode(mode: i32) -> Option<AllocateMode> {
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    const PUNCH_KEEP: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Some(AllocateMode::Extend),
        libc::FALLOC_FL_KEEP_SIZE => Some(AllocateMode::KeepSize),
        PUNCH_KEEP => Some(AllocateMode::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Some(AllocateMode::ZeroRange),
        ZERO_KEEP => Some(AllocateMode::ZeroRangeKeepSize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_before_1970_keeps_its_fraction() {
        // As fuser hands over the kernel's (-2, 300_000_000), which is 1.7 s before 1970.
        let from_fuser = UNIX_EPOCH - Duration::new(2, 300_000_000);
        assert_eq!(time_from_kernel(from_fuser), -1_700_000_000);
        assert_eq!(time_from_kernel(UNIX_EPOCH + Duration::new(2, 5)), 2_000_000_005);
    }

    #[test]
    fn far_time_is_clamped() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(time_from_kernel(far), i64::MAX);
        assert_eq!(time_from_kernel(UNIX_EPOCH - Duration::from_secs(1 << 40)), i64::MIN);
    }

    #[test]
    fn time_survives_the_way_to_the_kernel() {
        assert_eq!(system_time(-1_700_000_000), UNIX_EPOCH - Duration::new(1, 700_000_000));
        assert_eq!(system_time(i64::MIN), UNIX_EPOCH - Duration::from_nanos(1 << 63));
    }

    #[test]
    fn open_flags_are_read() {
        let options = open_options(OpenFlags(libc::O_RDWR | libc::O_TRUNC | libc::O_SYNC), true);
        assert_eq!(options.access, Access::ReadWrite);
        assert!(options.truncate && options.synchronous && options.drop_set_id);
        assert!(!open_options(OpenFlags(libc::O_WRONLY), false).synchronous);
    }

    #[test]
    fn fallocate_modes_are_told_apart() {
        assert_eq!(allocate_mode(0), Some(AllocateMode::Extend));
        assert_eq!(allocate_mode(3), Some(AllocateMode::PunchHole));
        assert_eq!(allocate_mode(16), Some(AllocateMode::ZeroRange));
        assert_eq!(allocate_mode(17), Some(AllocateMode::ZeroRangeKeepSize));
        assert_eq!(allocate_mode(libc::FALLOC_FL_COLLAPSE_RANGE), None);
        assert_eq!(allocate_mode(libc::FALLOC_FL_INSERT_RANGE), None);
    }

    #[test]
    fn folders_are_not_made_by_mknod() {
        assert_eq!(kind_of_mode(libc::S_IFDIR | 0o755), None);
        assert_eq!(kind_of_mode(libc::S_IFIFO | 0o644), Some(Kind::Fifo));
    }
}
