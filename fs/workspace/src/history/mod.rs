//! What was: how long it stays readable, snapshots, old states, versions of one path, and their removal for good.
//!
//! ```text
//! keep       how far back the log is kept            a rule on the root folder, so that every home has it
//! snapshot   commits that collection leaves readable  keys of the map
//! at         from a name, a time or a number to a commit, and a workspace open there
//! versions   what a path held, commit by commit
//! restore    a path as it was, copied into the present
//! space      whose bytes lie in the store
//! purge      a path and every version of it go for good
//! ```
//!
//! What of it is removed, and when, is decided in `outbound/expire`.

pub mod at;
pub mod keep;
pub mod past;
pub mod purge;
pub mod restore;
pub mod snapshot;
pub mod space;
pub mod versions;
