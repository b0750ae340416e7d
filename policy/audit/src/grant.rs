//! Evidence that an allowed request is on record.

use strongroom_authorizer::{Action, Decision};
use strongroom_format::ids::DeviceId;
use strongroom_records::ids::{ActivityId, ClassId, SubjectId};

/// An allow that has been recorded. Made by an append that is durable, and by nothing else; not to be copied.
#[derive(Debug)]
pub struct Grant {
    activity: ActivityId,
    subject: SubjectId,
    class: ClassId,
    action: Action,
    recipient: DeviceId,
    begin: i64,
    end: i64,
    position: u64,
}

impl Grant {
    pub(crate) fn recorded(decision: &Decision, end: i64, position: u64) -> Self {
        let request = decision.request();
        Self {
            activity: request.activity,
            subject: request.subject,
            class: request.class,
            action: request.action,
            recipient: request.operator,
            begin: request.now,
            end,
            position,
        }
    }

    /// For which activity.
    pub fn activity(&self) -> ActivityId {
        self.activity
    }

    /// Whose data.
    pub fn subject(&self) -> SubjectId {
        self.subject
    }

    /// Of which class.
    pub fn class(&self) -> ClassId {
        self.class
    }

    /// To do what.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Whether a key goes with it: names and sizes are told by whoever has the key, so that listing needs none.
    pub fn gives_key(&self) -> bool {
        match self.action {
            Action::List => false,
            Action::Open | Action::Write | Action::Export => true,
        }
    }

    /// Whether it is good for a class at a moment.
    pub fn is_good(&self, class: ClassId, now: i64) -> bool {
        self.class == class && (self.begin..self.end).contains(&now)
    }

    /// Which device may have the key.
    pub fn recipient(&self) -> DeviceId {
        self.recipient
    }

    /// From when.
    pub fn begin(&self) -> i64 {
        self.begin
    }

    /// Until when, not included.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Record that it stands in.
    pub fn position(&self) -> u64 {
        self.position
    }
}
