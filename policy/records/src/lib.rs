//! Every byte the custody of personal data keeps: bounded canonical codecs and ids. docs/personal-data-format.md is the
//! same in prose.
//!
//! No I/O, clock, randomness or meaning here: `keystore/tree` works on nodes, `policy/audit` on the log,
//! `policy/steward` on all the rest. Everything is CBOR under the one rule of `fs/format`: decoded, encoded again,
//! compared.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod activity;
pub mod application;
pub mod exchange;
mod frame;
pub mod ids;
pub mod keystore;
pub mod log;
pub mod receipt;
pub mod register;
mod secret;
pub mod subject;

pub use frame::Signed;
