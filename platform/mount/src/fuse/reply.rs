//! Outcomes of the core as replies to the kernel.

use std::time::Duration;

use fuser::{Errno, FopenFlags, Generation, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr};
use strongroom_workspace::door::{Attributes, Opened};

use super::answer::Outcome;
use super::attributes::file_attr;

/// Inode numbers are never used again, so a generation adds nothing.
pub(crate) const GENERATION: Generation = Generation(0);

/// No FLUSH at close unless the core wants it: write-through delivered the data at write(2).
pub(crate) fn open_flags(opened: Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_NOFLUSH, !opened.tells_close);
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags
}

pub(crate) fn empty(reply: ReplyEmpty) -> impl FnOnce(Outcome<()>) + Send + 'static {
    move |outcome| match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(crate) fn entry(
    reply: ReplyEntry,
    lifetime: Duration,
) -> impl FnOnce(Outcome<Attributes>) + Send + 'static {
    move |outcome| match outcome {
        Ok(attributes) => reply.entry(&lifetime, &file_attr(&attributes), GENERATION),
        Err(errno) => reply.error(errno),
    }
}

pub(crate) fn attr(
    reply: ReplyAttr,
    lifetime: Duration,
) -> impl FnOnce(Outcome<Attributes>) + Send + 'static {
    move |outcome| match outcome {
        Ok(attributes) => reply.attr(&lifetime, &file_attr(&attributes)),
        Err(errno) => reply.error(errno),
    }
}

/// Size 0 asks how much there is; a buffer too small is ERANGE.
pub(crate) fn xattr(
    reply: ReplyXattr,
    size: u32,
) -> impl FnOnce(Outcome<Vec<u8>>) + Send + 'static {
    move |outcome| match (outcome, size) {
        (Ok(value), 0) => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        (Ok(value), size) if value.len() > size as usize => reply.error(Errno::ERANGE),
        (Ok(value), _) => reply.data(&value),
        (Err(errno), _) => reply.error(errno),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_workspace::door::HandleId;

    use super::*;

    #[test]
    fn close_sends_no_flush_unless_it_is_wanted() {
        let opened = Opened { handle: HandleId(1), keep_cache: true, tells_close: false };
        assert_eq!(open_flags(opened), FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_KEEP_CACHE);
        let opened = Opened { keep_cache: false, ..opened };
        assert_eq!(open_flags(opened), FopenFlags::FOPEN_NOFLUSH);
        let opened = Opened { tells_close: true, ..opened };
        assert_eq!(open_flags(opened), FopenFlags::empty());
    }
}
