//! Who asks: devices as the organisation's log has them.

use strongroom_format::ids::DeviceId;
use strongroom_keyring::organisation::Device;

use super::Counter;
use super::session::Session;
use crate::error::Result;
use crate::leases::Operator;
use crate::services::Services;

impl Counter {
    /// Reads on in the organisation's log. What was read counts, whatever becomes of what follows it.
    pub(super) fn follow_organisation(&mut self) -> Result<()> {
        let Services { store, keys, organisation, .. } = &self.services;
        let followed = organisation.follow(&**store, keys);
        self.roster = organisation.now();
        self.take_in_roster()?;
        followed
    }

    /// Nothing is taken in twice, and nothing is left out because something failed.
    fn take_in_roster(&mut self) -> Result<()> {
        let position = self.roster.position();
        if self.taken_in == Some(position) {
            return Ok(());
        }
        let learned = self.services.keys.learn(&self.roster);
        let roster = &self.roster;
        let counts = |found: &Device| found.revoked_at().is_none();
        self.past.owe(|lent| !roster.find(&lent.device).is_some_and(counts));
        let operators: Vec<_> =
            self.sessions.iter().map(|(id, own)| (*id, self.operator(own))).collect();
        for (id, operator) in operators {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.stale_rules |= session.operator != operator;
                session.operator = operator;
            }
        }
        learned?;
        self.taken_in = Some(position);
        Ok(())
    }

    /// Whether nobody has heard of a device. Its ask was written after the record that took it in: the log is read on first.
    pub(super) fn is_unknown(&mut self, device: &DeviceId) -> Result<bool> {
        if self.roster.find(device).is_none() {
            self.follow_organisation()?;
        }
        Ok(self.roster.find(device).is_none())
    }

    /// Who asks in a session: whether its device counts is the roster's to say, for whom it works the activity's. That one never
    /// changes, so nothing is read that might fail. Without rules nothing was lent.
    fn operator(&self, session: &Session) -> Operator {
        let consumer = session.rules.as_ref().map(|rules| rules.activity().consumer.as_str());
        self.operator_of(session.operator.device, consumer.unwrap_or_default())
    }

    pub(super) fn operator_of(&self, device: DeviceId, consumer: &str) -> Operator {
        let found = self.roster.find(&device).filter(|found| found.revoked_at().is_none());
        let is_certified = match found {
            None => false,
            Some(found) if !found.is_consumer() => true,
            Some(_) => {
                let name = self.roster.consumer(&device, &self.services.keys);
                name.is_some_and(|name| name == consumer)
            }
        };
        Operator { device, is_certified }
    }
}
