//! How many requests of each kind the kernel sent. Tests hold speed by these numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! request_kinds {
    ($($kind:ident $text:literal),* $(,)?) => {
        /// Kind of a kernel request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum RequestKind { $($kind),* }

        impl RequestKind {
            /// All kinds.
            pub const ALL: &'static [RequestKind] = &[$(RequestKind::$kind),*];

            /// Name as the FUSE protocol has it.
            pub fn name(self) -> &'static str {
                match self { $(RequestKind::$kind => $text),* }
            }
        }
    };
}

request_kinds! {
    Lookup "LOOKUP", Forget "FORGET", Getattr "GETATTR", Setattr "SETATTR", Readlink "READLINK",
    Mknod "MKNOD", Mkdir "MKDIR", Unlink "UNLINK", Rmdir "RMDIR", Symlink "SYMLINK", Rename "RENAME",
    Link "LINK", Open "OPEN", Read "READ", Write "WRITE", Flush "FLUSH", Release "RELEASE",
    Fsync "FSYNC", Opendir "OPENDIR", Readdir "READDIR", Readdirplus "READDIRPLUS",
    Fsyncdir "FSYNCDIR", Statfs "STATFS", Setxattr "SETXATTR", Getxattr "GETXATTR",
    Listxattr "LISTXATTR", Removexattr "REMOVEXATTR", Create "CREATE", Fallocate "FALLOCATE",
    Lseek "LSEEK", CopyFileRange "COPY_FILE_RANGE",
}

/// Counters, one per kind. Reads while requests run are each right, but not of one instant.
#[derive(Debug, Default)]
pub struct RequestCounts {
    counts: [AtomicU64; RequestKind::ALL.len()],
}

impl RequestCounts {
    pub(crate) fn add(&self, kind: RequestKind) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many of one kind.
    pub fn of(&self, kind: RequestKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// How many in all, FORGET left out: the kernel sends it when memory is short.
    pub fn total(&self) -> u64 {
        RequestKind::ALL
            .iter()
            .filter(|kind| **kind != RequestKind::Forget)
            .map(|kind| self.of(*kind))
            .sum()
    }

    /// Sets every counter to 0.
    pub fn reset(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// `CREATE 1, WRITE 2`: the kinds that occurred, FORGET left out.
impl fmt::Display for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = RequestKind::ALL.iter().filter(|kind| **kind != RequestKind::Forget);
        let mut separator = "";
        for kind in seen.filter(|kind| self.of(**kind) > 0) {
            write!(f, "{separator}{} {}", kind.name(), self.of(*kind))?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_without_forget() {
        let counts = RequestCounts::default();
        counts.add(RequestKind::Write);
        counts.add(RequestKind::Write);
        counts.add(RequestKind::Create);
        counts.add(RequestKind::Forget);
        assert_eq!((counts.of(RequestKind::Write), counts.total()), (2, 3));
        assert_eq!(counts.to_string(), "WRITE 2, CREATE 1");
        counts.reset();
        assert_eq!(counts.total(), 0);
    }
}
