//! The filesystem: operations, tree, handles, blocks, outbound and inbound exchange with the store.
//!
//! Sealed and plain meet here and nowhere else. Kernel types, errno, HTTP and terminals live elsewhere
//! (`platform/mount`, `fs/store`, `tools/cli`).

pub mod door;
pub mod error;
