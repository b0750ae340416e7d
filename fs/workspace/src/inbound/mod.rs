//! From the store to this device: making a workspace, opening one, replaying log and journal, and taking in what
//! others commit meanwhile.

mod ahead;
pub mod alone;
pub(crate) mod apart;
mod away;
pub mod conflict;
pub mod create;
pub mod follow;
pub mod home;
pub mod log;
pub mod memory;
pub mod nameless;
mod news;
pub mod open;
mod rebase;
pub mod recover;
pub(crate) mod renew;
pub mod roster;
mod taken;
