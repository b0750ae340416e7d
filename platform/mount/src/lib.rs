//! Doors between a kernel and the filesystem: parse, call, reply.
//!
//! Here: the FUSE door ([`fuse`]), mounting and unmounting ([`session`]), mount options, errno, kernel cache
//! invalidation. Not here: caching, deciding, keys, the store (all behind
//! [`strongroom_workspace::door::Core`]). A WinFsp door will stand beside [`fuse`] and use the same trait.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(unix)]
pub mod fuse;

#[cfg(target_os = "linux")]
mod device;
pub mod error;
#[cfg(target_os = "linux")]
pub mod mountinfo;
#[cfg(target_os = "linux")]
mod namespace;
pub mod options;
#[cfg(target_os = "linux")]
pub mod session;
#[cfg(target_os = "linux")]
mod site;

pub use error::{Error, ErrorKind, Result};
#[cfg(unix)]
pub use fuse::counts::{RequestCounts, RequestKind};
#[cfg(target_os = "linux")]
pub use namespace::own_namespace;
pub use options::{Audience, MountOptions};
#[cfg(target_os = "linux")]
pub use session::{
    ANSWER_LIMIT, Force, Mount, Served, Unmounted, Unmounter, prepare, served, unmount_at,
};
