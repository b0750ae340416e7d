//! From the store to this device: making a workspace, opening one, replaying log and journal.

pub mod create;
pub mod home;
pub mod log;
pub mod open;
pub mod recover;
