//! The calls of the door, one file per kind of call. Each checks the request, makes one operation and executes it.

pub(crate) mod ask;
mod attributes;
mod core;
mod create;
mod file;
mod list;
mod pieces;
mod read;
pub(crate) mod remove;
mod rename;
mod sync;
mod write;
mod xattr;
