//! The register of an application as a verifiable log: signed, hash-chained, sealed records, whose entries are the leaves
//! of an RFC 6962 tree with signed heads. The only maker of [`Grant`].
//!
//! Deciding is `policy/authorizer`'s; what the records mean beyond their entries is `policy/steward`'s; private keys stay
//! behind [`Signer`] and [`Sealer`].
//!
//! 1. A record is durable before [`Log::append`] returns. Only that return makes a grant: no record, no key.
//! 2. The sequence has no gaps and no forks: a record is put if absent, and names the hash of the one before.
//! 3. The tree covers leaves that hold hashes of sealed details: it verifies before and after an erasure.
//! 4. Where writers stood in the organisation's log never falls along a log: who was removed writes no more once anybody has
//!    written, or closed the log, who knew of it; before, only what this device had seen of them counts.
//! 5. Hashes of the tree lie in tiles of 256, written after the record they belong to. They are unsigned and follow from the
//!    records: compared with the head before the next is signed, and made anew where they are wrong or missing.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod grant;
pub mod log;
pub mod merkle;
pub mod shelves;
mod tiles;
mod trust;
pub mod verify;

#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind, Result};
pub use grant::Grant;
pub use log::{Appended, Batch, Draft, Log, Pin, Sealer, Signer};
pub use trust::{Author, Trust};
