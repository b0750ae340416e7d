//! Where a store cannot tell several writers apart, one home writes. Another takes over by a commit of its own: the first
//! one looks for it before each of its own commits, and writes nothing more from there on.
//!
//! LIMIT: a commit of the first one that is under way at that moment may still arrive, and one of the two be lost on a
//! store that lets both win; whoever reads that number again is told of a fork.

use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::outbound::commit::{Outbound, Reason};
use crate::workspace::{Inner, Workspace};

/// Whether a home may become the one that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is, unless another one has taken over.
    Keep,
    /// It takes over from another one.
    TakeOver,
}

impl Workspace {
    /// This is the one home that writes, from here on and until another one takes over.
    ///
    /// # Errors
    /// `ReadOnly` when another one has taken over; those of the commit that tells others.
    pub fn write_alone(&self, claim: Claim) -> Result<()> {
        let inner = &self.0;
        let wrote_last = {
            let head = inner.state.lock().head.seq;
            inner.own_last_seq(&inner.outbound.lock()) == Some(head)
        };
        match (wrote_last, claim) {
            (true, _) => {}
            (false, Claim::Keep) => return Err(taken_over()),
            (false, Claim::TakeOver) => inner.commit(Reason::Covering)?,
        }
        inner.alone.store(true, Ordering::Release);
        Ok(())
    }
}

impl Inner {
    /// Looks whether another home has taken over, just before something is published.
    ///
    /// # Errors
    /// `ReadOnly` if so; those of following.
    pub(crate) fn check_alone(&self, outbound: &mut Outbound) -> Result<()> {
        if self.alone.load(Ordering::Acquire) {
            self.follow(outbound)?;
        }
        if self.is_taken_over() { Err(taken_over()) } else { Ok(()) }
    }

    /// Another home has committed.
    pub(super) fn note_another(&self) {
        if self.alone.load(Ordering::Acquire) {
            self.taken_over.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::Acquire)
    }
}

/// The error of a home that writes no more.
pub(crate) fn taken_over() -> Error {
    let message =
        "another home has taken over writing; what was not committed here waits in its local state";
    Error::new(ErrorKind::ReadOnly, message)
}
