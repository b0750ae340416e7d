//! What the suites share. The suites themselves are in `tests/` and `suites/`; ARCHITECTURE.md says which is which.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod harness;
pub mod hostile;
pub mod model;
pub mod mounted;
