//! From this device to the store: sealing unsealed bytes, commits, checkpoints, collection.

pub mod background;
pub mod checkpoint;
pub mod commit;
pub mod publish;
pub mod seal;
