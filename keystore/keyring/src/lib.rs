//! Who holds which key: the organisation's root of trust, the device and its unlocked keys.
//!
//! Founding makes organisation, first device and first workspace in one step ([`founding`]); the
//! device file keeps the device's secrets under a passphrase ([`device_file`]); unlocking gives
//! [`DeviceKeys`]; [`organisation`] reads the log that tells whose signature counts where and gives
//! devices the keys of each epoch; [`membership`] writes it, [`enrolment`] is how a new device asks.
//! Constructions live in `keystore/crypto`, layouts in `fs/format`, prompts and paths in `tools`.
//!
//! 1. Keys of people and devices are taken from the organisation log only, whose genesis is pinned
//!    by its hash in the device file: nothing a store says makes a key.
//! 2. Unlocked secrets live in locked memory (`platform/host`) and are wiped when dropped.
//! 3. The root's private key is in memory while founding and re-sealing, never in [`DeviceKeys`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arena;
pub mod device;
pub mod device_file;
pub mod enrolment;
mod epochs;
pub mod error;
pub mod founding;
pub mod membership;
pub mod organisation;
mod shares;
#[cfg(test)]
mod testing;

pub use device::DeviceKeys;
pub use shares::is_name;
