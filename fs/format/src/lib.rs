//! Every byte at rest and on the wire: bounded canonical codecs and ids. docs/format.md is the same in prose.
//!
//! No I/O, async, clock or randomness here. Decoders never panic and never allocate from a length an
//! attacker chose; what is signed or sealed is accepted only if re-encoding gives the same bytes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cbor;
pub mod checkpoint;
pub mod commit;
pub mod device;
pub mod error;
mod frame;
pub mod genesis;
pub mod ids;
pub mod inode;
pub mod journal;
pub mod key;
pub mod name;
pub mod op;
pub mod ops;
pub mod organisation;
pub mod page;
pub mod request;
pub mod workspace;

pub use cbor::{decode_canonical, encode};
