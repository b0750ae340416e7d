//! Stores that are reached over a network: S3 and what speaks like it, OpenStack Swift; and several stores as one.
//!
//! Sealed things by key, as in `strongroom-store`; no plaintext, no keys, no meaning. What a server said is not
//! believed beyond availability: who reads verifies.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
mod cache;
mod cells;
pub mod counts;
pub mod meter;
pub mod mirror;
mod open;
pub mod probe;
pub mod remote;
pub mod retry;
mod runtime;
#[cfg(feature = "s3")]
mod s3;
mod swift;
mod timer;
pub mod transport;
mod turns;

pub use address::Address;
pub use cache::{CachedStore, Limits};
pub use open::{open, open_later};
pub use probe::{Writers, probe};
pub use remote::{Access, Machine, RemoteStore};
pub use retry::Patience;
