//! A store that lies, devices that live with it, and what is demanded of them all the same.
//!
//! ```text
//! people   an organisation with three devices and one that was lost
//! vault    everything that was ever stored, in one or more histories; a device's face to it lies as its mood says
//! oracle   who wrote what where, having seen what: which bytes a device may be shown, and which must not be lost
//! story    a life: honest at first, then the store lies, then it is honest again
//! ```
//!
//! What is demanded, whatever the store does: a device shows bytes that a device wrote at that path, never older ones than it
//! has seen there, or an error; it takes no commit that nobody made; it never ends in a panic and never asks without
//! end. Once the store is honest again, what a sync returned for is there. A device that was shown another history, or
//! whose store has thrown away what it had confirmed, says so instead.

pub mod oracle;
pub mod people;
pub mod story;
pub mod vault;
