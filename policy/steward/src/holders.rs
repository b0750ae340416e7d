//! Who still holds what was taken back: consumers' devices that leases of somebody's data were lent to, and what became of
//! those leases.
//!
//! Both are on record: what was lent as decisions, what a device let go of as the custodian that serves it heard. So the
//! answer needs nobody but the register, and is the same whatever custodian lent, and whether it still lives.

use std::collections::BTreeMap;

use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_keyring::organisation::Device;
use strongroom_records::activity::ActivityState;
use strongroom_records::ids::{ActivityId, ClassId, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind, Outcome};
use strongroom_records::register::CellKind;

use crate::custodian::{Custodian, LEASE_SECONDS_MAX, classes_of};
use crate::error::{Error, Result};
use crate::leases::{Operator, Rules};
use crate::register::{SINGLE, Transaction};
use crate::subjects::Subject;

/// LIMIT: how far clocks of custodians may be apart.
const CLOCK_APART_MAX: i64 = 600_000_000_000;
/// LIMIT: records that are read to find out who was lent what for an activity.
const READ_COUNT_MAX: u64 = 4096;
/// No lease lives longer.
const LEASE_LONGEST: i64 = LEASE_SECONDS_MAX as i64 * 1_000_000_000;

/// A device that leases of one person's data were lent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub device: DeviceId,
    /// When the last of the leases is over that it was not heard to have let go of, by this device's clock; of all of them
    /// where it was.
    pub until: i64,
    /// The same of those that other custodians lent, if any are left.
    pub until_elsewhere: Option<i64>,
    /// When it was heard to have let go of everything, by each custodian of what that lent.
    pub let_go: Option<i64>,
}

impl Holder {
    /// Whether it may still use something.
    pub fn is_waited_for(&self, now: i64) -> bool {
        self.let_go.is_none() && now < self.until
    }

    /// Takes in what is known of further leases: nothing is let go of before all of it is.
    fn join(&mut self, other: &Self) {
        self.until = match (self.let_go, other.let_go) {
            (Some(_), None) => other.until,
            (None, Some(_)) => self.until,
            (Some(_), Some(_)) | (None, None) => self.until.max(other.until),
        };
        self.until_elsewhere = self.until_elsewhere.max(other.until_elsewhere);
        self.let_go = self.let_go.zip(other.let_go).map(|(own, other)| own.max(other));
    }

    /// Whether it may still use something that another custodian lent.
    pub fn is_waited_for_elsewhere(&self, now: i64) -> bool {
        self.until_elsewhere.is_some_and(|until| now < until)
    }
}

/// By whom, for which activity, of whom and of which class something was lent, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Loan {
    holder: DeviceId,
    activity: ActivityId,
    lender: DeviceId,
    subject: Pseudonym,
    class: ClassId,
}

/// What entries tell of leases that a record took the ground from. They are heard backwards.
struct Loans {
    /// Who reads.
    own: DeviceId,
    record: u64,
    /// When it was written, and since when leases may live that it took the ground from.
    at: i64,
    began: i64,
    /// When they end, and when they were let go of.
    lent: BTreeMap<Loan, (i64, Option<i64>)>,
    /// What devices let go of: last by what is heard first.
    said: BTreeMap<(DeviceId, ActivityId, DeviceId, Pseudonym), (u64, i64)>,
}

impl Custodian {
    /// Consumers' devices with leases that a record took the ground from, as of what is on record now: those of classes that
    /// they may still have are not among them, nor those that they had let go of before. Whatever activity they were lent for: a
    /// policy may speak of what was answered to another. Nor are devices that hold the application's key: they follow the register
    /// themselves. A device that keeps another class of the person says nothing of what is gone: its leases are waited for.
    ///
    /// # Errors
    /// `NotFound` for an unknown subject; `Corrupt`; `Locked` when the application key was changed: see
    /// [`Custodian::keeping_up`].
    pub fn holders(&self, subject: &SubjectId, record: u64) -> Result<Vec<Holder>> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let mut loans = self.loans_at(record)?;
        self.each_about(&own, |header, entry, _, _| {
            if self.is_consumers(&entry.operator) {
                loans.hear(&header.device, &entry);
            }
            Ok(entry.time >= loans.began)
        })?;
        loans.holders(|loan, end| self.may_keep(&own, loan, end))
    }

    /// The same for everybody of whom an activity was lent something, where a record stopped it. None where too much was recorded
    /// since those leases may have been lent.
    ///
    /// # Errors
    /// As [`Custodian::holders`].
    pub fn holders_for(&self, activity: &ActivityId, record: u64) -> Result<Option<Vec<Holder>>> {
        let all = self.activities()?;
        let found = all.iter().find(|own| own.id == *activity);
        let goes_on = found.is_some_and(|own| own.state == ActivityState::Approved);
        if goes_on || !self.services().organisation.now().devices().any(Device::is_consumer) {
            return Ok(Some(Vec::new()));
        }
        let mut loans = self.loans_at(record)?;
        let register = self.register();
        let newest = register.log().next_seq();
        for seq in (0..newest).rev() {
            let (header, body) = register.log().body(&register.sealer(), seq)?;
            if header.time < loans.began {
                break;
            }
            if newest - seq > READ_COUNT_MAX {
                return Ok(None);
            }
            for logged in body.entries.iter().rev() {
                let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
                if entry.activity == Some(*activity) && self.is_consumers(&entry.operator) {
                    loans.hear(&header.device, &entry);
                }
            }
        }
        loans.holders(|_, _| Ok(false)).map(Some)
    }

    fn loans_at(&self, record: u64) -> Result<Loans> {
        let at = self.time_of(record)?;
        let began = at.saturating_sub(self.longest_life(at)?).saturating_sub(CLOCK_APART_MAX);
        let own = self.services().keys.device_id();
        Ok(Loans { own, record, at, began, lent: BTreeMap::new(), said: BTreeMap::new() })
    }

    /// Whether the ground is still there for a device to use a class of somebody until a lease of it is over.
    fn may_keep(&self, own: &Subject, loan: &Loan, end: i64) -> Result<bool> {
        let Loan { holder: device, activity, class, .. } = *loan;
        let all = self.activities()?;
        let Some(found) = all.iter().find(|found| found.id == activity) else { return Ok(false) };
        let organisation = self.services().organisation.now();
        let certified = organisation.find(&device);
        let is_certified = certified.is_some_and(|found| found.revoked_at().is_none());
        let rules = self.rules_for(&found.name, Operator { device, is_certified })?;
        let consent = own.record.consents.iter().find(|own| own.activity == activity);
        let ends_before = consent.and_then(|own| own.until).is_some_and(|until| until < end);
        let prospect = self.prospect(&rules, &own.cell.subject)?;
        Ok(!ends_before && prospect.is_some_and(|seen| seen.classes.contains(&class)))
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

impl Loans {
    fn hear(&mut self, lender: &DeviceId, entry: &Entry) {
        let (Some(activity), Some(about)) = (entry.activity, &entry.about) else { return };
        // Whoever hears it lent as well, and knows what it lent. Entries are read backwards: what is known here of a device was
        // said after all that is still to come.
        let by = (entry.operator, activity, *lender, about.subject);
        if entry.kind == Kind::LetGo {
            self.said.insert(by, (entry.seq, entry.time));
        }
        let let_go = self.said.get(&by).copied();
        let is_there = entry.seq < self.record && let_go.is_none_or(|(seq, _)| seq > self.record);
        // Somebody else's clock: the lease was lent before the record, so it lives no longer than its life after it.
        let apart = if *lender == self.own { 0 } else { CLOCK_APART_MAX };
        let end = lease_end(entry).filter(|_| is_there).map(|end| {
            let longest = self.at.saturating_add(end.saturating_sub(entry.time));
            end.saturating_add(apart).min(longest)
        });
        if let (Some(end), Some(class)) = (end.filter(|end| *end > self.at), entry.class) {
            let (holder, lender, subject) = (entry.operator, *lender, about.subject);
            let let_go = let_go.map(|(_, time)| time);
            let loan = Loan { holder, activity, lender, subject, class };
            let longest = self.lent.entry(loan).or_insert((end, let_go));
            longest.0 = end.max(longest.0);
        }
    }

    /// The devices, without what they may keep.
    fn holders(self, may_keep: impl Fn(&Loan, i64) -> Result<bool>) -> Result<Vec<Holder>> {
        let mut holders: BTreeMap<DeviceId, Holder> = BTreeMap::new();
        for (loan, (end, let_go)) in self.lent {
            if may_keep(&loan, end)? {
                continue;
            }
            let elsewhere = loan.lender != self.own && let_go.is_none();
            let until_elsewhere = elsewhere.then_some(end);
            let new = Holder { device: loan.holder, until: end, until_elsewhere, let_go };
            holders.entry(loan.holder).and_modify(|own| own.join(&new)).or_insert(new);
        }
        Ok(holders.into_values().collect())
    }
}

fn lease_end(entry: &Entry) -> Option<i64> {
    let judgement = entry.judgement.as_ref().filter(|own| own.outcome == Outcome::Allow)?;
    judgement.lease_end.filter(|_| entry.kind == Kind::Access)
}
