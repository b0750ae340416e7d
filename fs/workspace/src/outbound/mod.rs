//! From this device to the store: sealing unsealed bytes, commits, checkpoints, compaction.

pub(crate) mod age;
pub mod background;
pub mod checkpoint;
pub mod commit;
pub mod compact;
pub(crate) mod expire;
pub mod publish;
pub mod seal;
mod sweep;
