//! The machine, as the rest of the program sees it: clock, randomness, disk, directories, signals, threads, locked memory.
//!
//! Everything above asks these traits instead of the operating system, so that a test can hand in
//! [`sim`] twins and replay time, chance and failure from one seed. No knowledge of files as users
//! know them, of keys or of policy lives here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod directories;
pub mod disk;
pub mod entropy;
pub mod locked;
pub mod real_disk;
pub mod signals;
pub mod sim;
pub mod thread;
