//! Leases that no session knows of: those of an earlier life of this device's counter, and of sessions that were refused. A
//! device may use them until they are over, so they are waited for until then.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::ids::Pseudonym;
use strongroom_records::log::{Entry, Kind};

use super::CLOCK_APART_MAX;
use crate::custodian::Custodian;
use crate::error::Result;

/// What is known of them.
#[derive(Default)]
pub(super) struct Past {
    /// When they are over.
    lent: BTreeMap<Lent, i64>,
    /// Of what may be gone by now.
    owed: BTreeMap<DeviceId, i64>,
}

/// What a lease is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lent {
    /// Place of the application.
    pub place: usize,
    /// Name of the subject in its log.
    pub subject: Pseudonym,
    /// Who has it.
    pub device: DeviceId,
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
        now: i64,
    ) -> Result<()> {
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
                let (device, activity) = (entry.operator, entry.activity);
                let subject = entry.about.as_ref().map(|about| about.subject);
                match entry.kind {
                    Kind::Opened | Kind::Lookup | Kind::Export => {}
                    Kind::LetGo => drop(let_go.insert((subject, device, activity))),
                    Kind::Access => {
                        let end = entry.judgement.and_then(|judgement| judgement.lease_end);
                        let is_own = header.device == *own
                            && device != *own
                            && !let_go.contains(&(subject, device, activity));
                        if let Some((subject, end)) = subject.zip(end)
                            && is_own
                            && now < end
                        {
                            self.note(Lent { place, subject, device }, end);
                            if changed.contains(&None) || changed.contains(&Some(subject)) {
                                self.owe_until(device, end);
                            }
                        }
                    }
                    _ => drop(changed.insert(subject)),
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, lent: Lent, end: i64) {
        let known = self.lent.entry(lent).or_insert(end);
        *known = end.max(*known);
    }

    /// Whether nothing changes any more by what is recorded.
    pub fn is_over(&self) -> bool {
        self.lent.is_empty()
    }

    /// Something changed about some of them: who has one owes a word.
    pub fn owe(&mut self, is_it: impl Fn(&Lent) -> bool) {
        let mut over = Vec::new();
        self.lent.retain(|lent, end| {
            let stays = !is_it(lent);
            over.extend((!stays).then_some((lent.device, *end)));
            stays
        });
        over.into_iter().for_each(|(device, end)| self.owe_until(device, end));
    }

    /// A device has leases until then, and owes a word.
    pub fn owe_until(&mut self, device: DeviceId, end: i64) {
        let owed = self.owed.entry(device).or_insert(end);
        *owed = end.max(*owed);
    }

    /// Devices that owe a word now.
    pub fn owing(&mut self, now: i64) -> usize {
        self.owed.retain(|_, end| now < *end);
        self.owed.len()
    }
}
