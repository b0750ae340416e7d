//! Activities: proposed by somebody, approved by somebody (another, where the application demands two), suspended, ended.

use strongroom_crypto::hash::sha256;
use strongroom_format::cbor;
use strongroom_records::activity::{
    Activities, Activity, ActivityState, Basis, NOTICE_LEN_MAX, Reach,
};
use strongroom_records::ids::{ActivityId, Hash};
use strongroom_records::log::Kind;
use strongroom_records::register::CellKind;

use crate::custodian::Custodian;
use crate::directory::check_name;
use crate::error::{Error, ErrorKind, Result};
use crate::register::{SINGLE, Transaction};

/// LIMIT: activities of an application.
const ACTIVITY_COUNT_MAX: usize = 10_000;

/// A processing job, as it is registered.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Its name.
    pub name: String,
    /// Who does it.
    pub consumer: String,
    /// What for.
    pub purpose: String,
    /// Why it is lawful.
    pub basis: Basis,
    /// Names of the classes it needs.
    pub classes: Vec<String>,
    /// What it does with them.
    pub reach: Reach,
    /// To whom it passes them on.
    pub recipients: Vec<String>,
    /// Days it keeps them.
    pub retention_days: Option<u32>,
    /// End of the activity.
    pub expires: Option<i64>,
    /// What subjects are told.
    pub notice: String,
}

impl Custodian {
    /// Registers an activity. It waits for approval; widening one later takes a new activity.
    ///
    /// # Errors
    /// `Exists` when the name is taken; `Invalid` for what makes no sense.
    pub fn register_activity(&mut self, proposal: Proposal) -> Result<ActivityId> {
        for name in [&proposal.name, &proposal.consumer, &proposal.purpose] {
            check_name(name)?;
        }
        let mut classes = Vec::new();
        for name in &proposal.classes {
            classes.push(self.class(name)?);
        }
        classes.sort();
        classes.dedup();
        if classes.is_empty() || proposal.notice.len() > NOTICE_LEN_MAX {
            return Err(Error::invalid("an activity has classes, and a notice of at most 64 KiB"));
        }
        let mut all = self.activities()?;
        if all.iter().any(|other| other.name == proposal.name) || proposal.name == "own" {
            return Err(Error::new(ErrorKind::Exists, "there is an activity of that name"));
        }
        if all.len() >= ACTIVITY_COUNT_MAX {
            return Err(Error::invalid("an application has 10,000 activities at most"));
        }
        let id = ActivityId(self.services().entropy.array());
        all.push(Activity {
            id,
            name: proposal.name,
            consumer: proposal.consumer,
            purpose: proposal.purpose,
            basis: proposal.basis,
            classes,
            reach: proposal.reach,
            recipients: proposal.recipients,
            retention_days: proposal.retention_days,
            expires: proposal.expires,
            notice_hash: Hash(sha256(proposal.notice.as_bytes())),
            notice: proposal.notice,
            state: ActivityState::Proposed,
            proposed_by: self.services().keys.device_id(),
            proposed_at: self.services().clock.now_ns(),
            approved_by: Vec::new(),
            code: None,
        });
        self.put_activities(all, Kind::ActivityProposed, id)?;
        Ok(id)
    }

    /// Approves an activity, or takes up a suspended one. It is in force once enough devices have. The proposal is the word of
    /// the device that made it, which then has no other; it goes with a suspension, as all approvals do.
    ///
    /// # Errors
    /// `NotFound`; `Denied` when this device's approval does not count; `Invalid` when the activity has ended.
    pub fn approve_activity(&mut self, name: &str) -> Result<ActivityState> {
        let device = self.services().keys.device_id();
        let needed = self.approvals_needed()?;
        let mut all = self.activities()?;
        let activity = find(&mut all, name)?;
        if activity.state == ActivityState::Ended {
            return Err(Error::invalid("the activity has ended: register a new one"));
        }
        let is_behind = needed > 1 && activity.state != ActivityState::Suspended;
        if is_behind && activity.proposed_by == device {
            let message = "an activity is approved by another device than proposed it";
            return Err(Error::new(ErrorKind::Denied, message));
        }
        if !activity.approved_by.contains(&device) {
            activity.approved_by.push(device);
        }
        // Who was removed meanwhile does not count.
        let approved = activity.approved_by.iter().filter(|device| self.counts(device)).count();
        let others = usize::from(is_behind && self.counts(&activity.proposed_by));
        if approved + others >= needed {
            activity.state = ActivityState::Approved;
        }
        let (id, state) = (activity.id, activity.state);
        self.put_activities(all, Kind::ActivityState, id)?;
        Ok(state)
    }

    /// Suspends an activity, or ends it for good. Nothing is released to it from here on.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when it has ended.
    pub fn stop_activity(&mut self, name: &str, state: ActivityState) -> Result<()> {
        let mut all = self.activities()?;
        let activity = find(&mut all, name)?;
        if activity.state == ActivityState::Ended {
            return Err(Error::invalid("the activity has ended"));
        }
        activity.state = state;
        activity.approved_by.clear();
        let id = activity.id;
        self.put_activities(all, Kind::ActivityState, id)
    }

    /// All activities, in the order of their registration: the record of processing.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn activities(&self) -> Result<Vec<Activity>> {
        match self.register().cell(CellKind::Activities, &SINGLE)? {
            None => Ok(Vec::new()),
            Some(bytes) => Ok(cbor::decode_canonical::<Activities>(&bytes)?.activities),
        }
    }

    fn put_activities(
        &mut self,
        activities: Vec<Activity>,
        kind: Kind,
        id: ActivityId,
    ) -> Result<()> {
        let mut transaction = Transaction::new(self.register());
        let cell = cbor::encode(&Activities { activities });
        transaction.cell(CellKind::Activities, &SINGLE, &cell);
        transaction.entry(kind, |entry| entry.activity = Some(id));
        self.register_mut().commit(transaction).map(drop)
    }
}

fn find<'a>(all: &'a mut [Activity], name: &str) -> Result<&'a mut Activity> {
    let found = all.iter_mut().find(|activity| activity.name == name);
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such activity"))
}
