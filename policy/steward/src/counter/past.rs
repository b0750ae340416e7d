//! Leases that no session knows of: those of an earlier life of this device's counter, and of sessions that were refused. A
//! device may use them until they are over, so they are waited for until then.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_host::clock::Clock;
use strongroom_records::ids::{ActivityId, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind};

use super::CLOCK_APART_MAX;
use crate::custodian::Custodian;
use crate::error::Result;
use crate::moment::Moment;

/// When they are over.
#[derive(Default)]
pub(super) struct Past {
    /// Those of what has not changed since.
    lent: BTreeMap<Lent, Moment>,
    /// Those of what may be gone by now.
    owed: BTreeMap<Lent, Moment>,
}

/// What a lease is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lent {
    /// Who has it.
    pub device: DeviceId,
    /// Place of the application.
    pub place: usize,
    /// For which activity.
    pub activity: ActivityId,
    /// Of whom.
    pub whose: Whose,
}

/// A subject, as far as it is known who.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// By its name in the log.
    Logged(Pseudonym),
    /// As a session had it.
    Known(SubjectId),
}

impl Past {
    /// Reads from a register what this device lent to others and is not over. What may be gone since is owed at once.
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub fn read(
        &mut self,
        place: usize,
        custodian: &Custodian,
        own: &DeviceId,
        clock: &dyn Clock,
    ) -> Result<()> {
        let (now, moment) = (clock.now_ns(), Moment::now(clock));
        let register = custodian.register();
        let began = now.saturating_sub(custodian.longest_life(now)?);
        // Subjects about whom something was recorded after what is read, none for everybody; and what was let go of.
        let (mut changed, mut let_go) = (BTreeSet::new(), BTreeSet::new());
        for seq in (0..register.log().next_seq()).rev() {
            let (header, body) = register.log().body(&register.sealer(), seq)?;
            if header.time < began.saturating_sub(CLOCK_APART_MAX) {
                break;
            }
            for logged in body.entries {
                let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
                let device = entry.operator;
                let subject = entry.about.as_ref().map(|about| about.subject);
                let lent = (entry.activity.zip(subject)).map(|(activity, subject)| Lent {
                    device,
                    place,
                    activity,
                    whose: Whose::Logged(subject),
                });
                // Who served may be somebody else, and hears of what it lent itself.
                let is_own = header.device == *own && device != *own;
                match entry.kind {
                    Kind::Opened | Kind::Lookup | Kind::Export => {}
                    Kind::LetGo => let_go.extend(lent.filter(|_| is_own)),
                    Kind::Access => {
                        let end = entry.judgement.and_then(|judgement| judgement.lease_end);
                        let lives = |(lent, end): &(Lent, i64)| {
                            is_own && now < *end && !let_go.contains(lent)
                        };
                        let Some((lent, end)) = lent.zip(end).filter(lives) else { continue };
                        let end = moment.end_at(end);
                        match changed.contains(&None) || changed.contains(&subject) {
                            true => self.owe_until(lent, end),
                            false => note(&mut self.lent, lent, end),
                        }
                    }
                    _ => drop(changed.insert(subject)),
                }
            }
        }
        Ok(())
    }

    /// Whether nothing changes any more by what is recorded.
    pub fn is_over(&self) -> bool {
        self.lent.is_empty()
    }

    /// Whether it knows of no lease.
    pub fn is_empty(&self) -> bool {
        self.lent.is_empty() && self.owed.is_empty()
    }

    /// Something changed about some of them: who has one owes a word.
    pub fn owe(&mut self, is_it: impl Fn(&Lent) -> bool) {
        for (lent, end) in self.lent.extract_if(.., |lent, _| is_it(lent)) {
            note(&mut self.owed, lent, end);
        }
    }

    /// A device has a lease until then, and owes a word.
    pub fn owe_until(&mut self, lent: Lent, end: Moment) {
        note(&mut self.owed, lent, end);
    }

    /// Whether a lease may still be used.
    pub fn has(&self, lent: &Lent, now: &Moment) -> bool {
        let ends = [&self.lent, &self.owed].map(|all| all.get(lent));
        ends.into_iter().flatten().any(|end| now.is_before(end))
    }

    /// Forgets those of what may be gone that are over.
    pub fn lapse(&mut self, now: &Moment) {
        self.owed.retain(|_, end| now.is_before(end));
    }

    /// Devices that owe a word of some of them.
    pub fn owing(&self, is_it: impl Fn(&Lent) -> bool) -> usize {
        let owed = self.owed.keys().filter(|lent| is_it(lent));
        owed.map(|lent| &lent.device).collect::<BTreeSet<&DeviceId>>().len()
    }
}

fn note(leases: &mut BTreeMap<Lent, Moment>, lent: Lent, end: Moment) {
    let known = leases.entry(lent).or_insert(end);
    *known = end.later(*known);
}
