//! Every byte at rest and on the wire: bounded canonical codecs and ids. docs/format.md is the same in prose.
//!
//! No I/O, async, clock or randomness here. Decoders never panic and never allocate from a length an
//! attacker chose; what is signed or sealed is accepted only if re-encoding gives the same bytes.

pub mod ids;
pub mod inode;
pub mod op;
