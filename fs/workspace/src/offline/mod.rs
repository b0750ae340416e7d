//! What stays readable on this device while the store cannot be reached, because somebody said so.

pub(crate) mod gather;
pub mod pins;
mod successors;
