//! Who still holds what was taken back: consumers' devices that leases of somebody's data were lent to, and what became of
//! those leases.
//!
//! Both are on record: what was lent as decisions, what a device let go of as the custodian that serves it heard. So the
//! answer needs nobody but the register, and is the same whatever custodian lent, and whether it still lives.

use std::collections::BTreeMap;

use strongroom_format::ids::DeviceId;
use strongroom_records::ids::{ActivityId, SubjectId};
use strongroom_records::log::{Entry, Kind, Outcome};
use strongroom_records::register::CellKind;

use crate::custodian::{Custodian, LEASE_SECONDS_MAX, classes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::leases::Rules;
use crate::register::{SINGLE, Transaction};

/// LIMIT: how far clocks of custodians may be apart.
const CLOCK_APART_MAX: i64 = 600_000_000_000;
/// No lease lives longer.
const LEASE_LONGEST: i64 = LEASE_SECONDS_MAX as i64 * 1_000_000_000;

/// A device that leases of one person's data were lent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub device: DeviceId,
    /// When the last of its leases is over, by this device's clock.
    pub until: i64,
    /// When it was heard to have let go of everything.
    pub let_go: Option<i64>,
}

impl Holder {
    /// Whether it may still use something.
    pub fn is_waited_for(&self, now: i64) -> bool {
        self.let_go.is_none() && now < self.until
    }
}

impl Custodian {
    /// Consumers' devices with leases that a record took the ground from, as of what is on record now. Devices that hold the
    /// application's key are not among them: they follow the register themselves.
    ///
    /// # Errors
    /// `NotFound` for an unknown subject or activity; `Corrupt`.
    pub fn holders(&self, subject: &SubjectId, activity: &str, record: u64) -> Result<Vec<Holder>> {
        let unknown = || Error::new(ErrorKind::NotFound, "there is no such activity");
        let activity: ActivityId = self.acting(Some(activity))?.ok_or_else(unknown)?.id;
        let at = self.time_of(record)?;
        let began = at.saturating_sub(self.longest_life(at)?).saturating_sub(CLOCK_APART_MAX);
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let (mut until, mut let_go) = (BTreeMap::new(), BTreeMap::new());
        let device = self.services().keys.device_id();
        self.each_about(&own, |header, entry, _, _| {
            let is_its = entry.activity == Some(activity) && self.is_consumers(&entry.operator);
            if is_its && entry.seq > record && entry.kind == Kind::LetGo {
                let_go.insert(entry.operator, entry.time);
            }
            // Somebody else's clock: the lease was lent before the record, so it lives no longer than its life after it.
            let apart = if header.device == device { 0 } else { CLOCK_APART_MAX };
            let end = lease_end(&entry).filter(|_| is_its && entry.seq < record).map(|end| {
                let longest = at.saturating_add(end.saturating_sub(entry.time));
                end.saturating_add(apart).min(longest)
            });
            if let Some(end) = end.filter(|end| *end > at) {
                let longest: &mut i64 = until.entry(entry.operator).or_insert(end);
                *longest = end.max(*longest);
            }
            Ok(entry.time >= began)
        })?;
        let holder = |(device, until)| {
            let let_go = let_go.get(&device).copied();
            Holder { device, until, let_go }
        };
        Ok(until.into_iter().map(holder).collect())
    }

    /// Puts on record that a device has let go of everything of some people: it told the custodian that serves it.
    ///
    /// # Errors
    /// As [`Custodian::lend`].
    pub(crate) fn note_let_go(&mut self, rules: &Rules, people: &[SubjectId]) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        for subject in people {
            let Some(mut own) = register.subject(subject)?.filter(|own| own.is_there()) else {
                continue;
            };
            register.tell(&mut transaction, &mut own, Kind::LetGo, None, None, |entry| {
                entry.operator = rules.operator().device;
                entry.activity = Some(rules.activity().id);
            });
            register.put_subject(&mut transaction, &mut own);
        }
        match transaction.is_empty() {
            true => Ok(()),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    fn is_consumers(&self, device: &DeviceId) -> bool {
        let organisation = self.services().organisation.now();
        organisation.find(device).is_some_and(|device| device.is_consumer())
    }

    fn time_of(&self, record: u64) -> Result<i64> {
        let register = self.register();
        Ok(register.log().body(&register.sealer(), record)?.0.time)
    }

    /// No lease that lives at a time is older than this. Lives were perhaps longer before the description was last changed.
    pub(crate) fn longest_life(&self, at: i64) -> Result<i64> {
        let version = self.register().cell_version(CellKind::Description, &SINGLE)?;
        if self.time_of(version)? > at.saturating_sub(LEASE_LONGEST) {
            return Ok(LEASE_LONGEST);
        }
        let description = self.description()?;
        let lives =
            classes_of(&description).into_iter().map(|class| self.life(&description, class));
        Ok(lives.max().unwrap_or(LEASE_LONGEST))
    }
}

fn lease_end(entry: &Entry) -> Option<i64> {
    let judgement = entry.judgement.as_ref().filter(|own| own.outcome == Outcome::Allow)?;
    judgement.lease_end.filter(|_| entry.kind == Kind::Access)
}
