//! Who carries out what the custody of personal data promises: applications, subjects, activities, consents, access,
//! export, erasure, rotation.
//!
//! Deciding is `policy/authorizer`'s, recording `policy/audit`'s, keys are `keystore/tree`'s: this room brings them together
//! in the order decision → record → release. It knows no kernel, no terminal and no path.
//!
//! ```text
//! Stewardship (device, store)  ->  Custodian (one application: register, keystore)  ->  subjects, activities, access, …
//! ```
//!
//! 1. Every change is one record of the register: objects and nodes are durable before it, cells follow from it, and
//!    whoever opens the register next carries out what a dead writer left.
//! 2. A key of a subject is released for a [`strongroom_audit::Grant`] only.
//! 3. What a subject is called, has or said is sealed under keys that can be ended: never under the register key alone.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod activities;
mod agreed;
mod audit;
mod closing;
mod consents;
mod counter;
mod custodian;
mod directory;
mod erase;
mod error;
mod export;
mod fence;
mod files;
mod follow;
mod holders;
mod idle;
mod joint;
mod keys;
mod leases;
mod ledger;
pub mod letters;
mod lookup;
mod merge;
mod moment;
mod normal;
mod opened;
mod policies;
mod reading;
mod receipts;
mod redecide;
mod register;
mod retire;
mod roster;
mod rotate;
mod schema;
mod scope;
mod sealers;
mod sending;
mod services;
mod subjects;
mod times;
mod turnstile;

pub use access::Asked;
pub use activities::Proposal;
pub use audit::{Finding, Looked, ReportLine, SubjectReport, Told, Verified, verified_json};
pub use closing::{Unclosed, close};
pub use consents::{Answer, Answered};
pub use counter::{About, Counter, Settled, Ticket, Turns};
pub use custodian::Custodian;
pub use directory::{NeededKey, Stewardship};
pub use erase::Erased;
pub use error::{Error, ErrorKind, Result};
pub use export::{Export, Exported, FileNames, Target, kind_text, report_line_json};
pub use fence::{Fence, Fenced, Waiting};
pub use files::{FileHome, FileLine, file_json};
pub use follow::News;
pub use holders::Holder;
pub use idle::{IdleLine, IdlePage, Kept, Swept, idle_line_json};
pub use joint::LentJoint;
pub use keys::{EverybodyStatus, KeysStatus, keys_json};
pub use leases::{
    OpenClass, OpenFile, Operator, Outlook, Prospect, Released, Rules, UNDECIDED_PAUSE, Wanted,
};
pub use ledger::Replayed;
pub use merge::Merged;
pub use moment::Moment;
pub use policies::{PolicyLanguage, Standing};
pub use reading::{MOVED_COUNT_MAX, Reading, moved_all_the_time};
pub use receipts::verify_receipt;
pub use redecide::Redecided;
pub use retire::{Carry, Retired};
pub use roster::Roster;
pub use rotate::{
    Depth, EverybodyRotated, RegisterKeyStatus, RegisterRotated, Resealed, Rotated, SubjectRotated,
};
pub use scope::ScopePage;
pub use sending::Sending;
pub use services::{Memory, Services};
pub use subjects::{NewSubject, Once, SubjectLine};
pub use times::{parse_time, time_text};
pub use turnstile::Turnstile;
