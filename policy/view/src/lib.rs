//! What one processing job may see of people's data, or an application of its own people's, as a filesystem:
//! `subjects/<pseudonym>/<class>/<file>`, read-only unless the activity may write.
//!
//! Implements the kernel door's trait ([`strongroom_workspace::door::Core`]); the door itself is `platform/mount`'s. Deciding,
//! recording and releasing are `policy/steward`'s: one thread of the view, the *desk*, asks it, and follows what others record.
//!
//! ```text
//! kernel ─▶ View ── in memory, under a live lease ──▶ reply
//!             └─ else ─▶ desk: fence, follow, decide, record, release ─▶ reply
//! desk, all the time: new records ─▶ gates shut ─▶ kernel pages and names dropped
//! ```
//!
//! 1. Nothing is told or read without a recorded, unexpired grant. What was not agreed is not there: names, counts, numbers.
//! 2. A gate that is shut stays shut: handles opened before never read again, whatever is agreed later.
//! 3. A lease counts from before it was asked for, on a clock that goes on while the machine sleeps; use does not prolong it.
//! 4. A file about several people is shown and read under the leases of all of them together, and ends with the first.
//! 5. When the register cannot be followed or trusted, leases end by themselves, or at once.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod core;
mod desk;
mod draft;
pub mod far;
mod gate;
mod key;
mod listing;
mod parties;
mod state;
mod unwritten;
mod view;
mod writes;

pub use view::{Consumer, View};
