//! The filesystem: operations, tree, handles, blocks, outbound and inbound exchange with the store.
//!
//! Sealed and plain meet here and nowhere else. Kernel types, errno, HTTP and terminals live elsewhere
//! (`platform/mount`, `fs/store`, `tools/cli`).
//!
//! ```text
//! door ─ ops ─ state (one lock: map, unsealed bytes, batch) ─ tree (overlay, frozen, pages)
//!                │                                            block (unsealed, staging, fetch)
//!                └ journal                     outbound (seal, commit, checkpoint)   inbound (open, replay)
//! ```
//!
//! 1. Every change is one operation: planned without side effects, journaled, installed.
//! 2. The order of the journal is the order of the map.
//! 3. Plaintext is in memory only: bytes not sealed yet, opened segments and pages.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ask;
pub mod block;
pub mod door;
pub mod error;
pub mod history;
pub mod inbound;
mod ino_list;
pub mod later;
pub mod limits;
mod numbers;
pub mod offline;
pub mod ops;
pub mod outbound;
pub mod state;
pub mod tree;
pub mod workspace;

pub use history::at::At;
pub use history::keep::Keep;
pub use inbound::create::Foundation;
pub use limits::Tuning;
pub use workspace::{Mode, Options, Services, Status, Workspace};
