//! Whose prospects changed: what sessions were told is decided anew.

use std::collections::BTreeSet;

use strongroom_records::ids::{SessionId, SubjectId};

use super::Counter;
use super::session::Session;
use crate::error::Result;
use crate::leases::UNDECIDED_PAUSE;

impl Counter {
    /// Notes of whom something has to be decided anew.
    pub(super) fn mark(&mut self, place: usize, rules: bool, subjects: &BTreeSet<SubjectId>) {
        if rules {
            self.past.owe(|lent| lent.place == place);
        }
        for session in self.sessions.values_mut().filter(|own| own.place == place) {
            session.mark(rules, subjects);
        }
    }

    pub(super) fn decide_anew(&mut self, place: usize) -> Result<()> {
        for id in self.stale_at(place) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let news = session.reconsider(&self.custodians[place])?;
            self.tell(&id, news, None)?;
        }
        Ok(())
    }

    /// What cannot be decided is not lent.
    pub(super) fn shut_undecided(&mut self, place: usize) -> Result<()> {
        for id in self.stale_at(place) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let news = session.shut();
            self.tell(&id, news, None)?;
        }
        Ok(())
    }

    /// Those about whom nothing was decided are decided anew, now and then: nobody records that a decision point is back.
    pub(super) fn ask_again(&mut self) {
        if self.now() >= self.again_at {
            self.again_at = self.now() + UNDECIDED_PAUSE;
            self.sessions.values_mut().for_each(Session::ask_again);
        }
    }

    fn stale_at(&self, place: usize) -> Vec<SessionId> {
        let own = |(id, session): (&SessionId, &Session)| {
            (session.place == place && session.is_stale()).then_some(*id)
        };
        self.sessions.iter().filter_map(own).collect()
    }
}
