//! The FUSE door, on the fuser crate.
//!
//! [`adapter`] takes requests, [`answer`] decides between replying at once and spawning, the rest are tables.
//! No lock is held and no state kept here but counters: the core knows handles and lookup counts.

pub mod adapter;
pub(crate) mod answer;
pub mod attributes;
pub(crate) mod busy_poll;
pub mod capabilities;
pub mod counts;
pub mod errno;
pub(crate) mod listing;
pub mod notify;
pub(crate) mod reply;
pub(crate) mod request;
