//! The machine, as the rest of the program sees it: clock, randomness, disk, directories, signals, locked memory.
//!
//! Everything above asks these traits instead of the operating system, so that a test can hand in
//! [`sim`] twins and replay time, chance and failure from one seed. No knowledge of files as users
//! know them, of keys or of policy lives here.

pub mod clock;
pub mod disk;
pub mod entropy;
