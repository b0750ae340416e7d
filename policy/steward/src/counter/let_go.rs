//! What devices have let go of, on record: whoever waits for a withdrawal to be in force reads it there.

use std::collections::BTreeSet;

use strongroom_records::ids::{SessionId, SubjectId};

use super::Counter;
use super::past::{Lent, Whose};
use super::session::Session;
use crate::error::{ErrorKind, Result};
use crate::leases::Rules;

/// LIMIT: people that one record says it of; for others their leases are waited for.
const NOTED_COUNT_MAX: usize = 1024;

impl Counter {
    /// Puts on record who has let go of whom. While others write, it is left for the next turn: they go first.
    pub(super) fn note_let_go(&mut self) -> Result<()> {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let people = self.sessions.get_mut(&id).map(Session::take_let_go).unwrap_or_default();
            if people.is_empty() {
                continue;
            }
            let noted = self.record_let_go(&id, &people);
            if !matches!(noted, Ok(true))
                && let Some(session) = self.sessions.get_mut(&id)
            {
                session.put_let_go(people);
            }
            noted?;
        }
        Ok(())
    }

    /// False when somebody else writes, or wants to.
    fn record_let_go(&mut self, id: &SessionId, people: &BTreeSet<SubjectId>) -> Result<bool> {
        let Some(place) = self.sessions.get(id).map(|session| session.place) else {
            return Ok(true);
        };
        let Some(_others_wait) = self.stand_back(place) else { return Ok(false) };
        // ORDER: with everything recorded before taken in, what a session holds is what it may still use.
        self.look(place)?;
        self.custodians[place].catch_up()?;
        let Some(session) = self.sessions.get(id) else { return Ok(true) };
        let Some(rules) = &session.rules else { return Ok(true) };
        let mut free = Vec::new();
        for subject in people.iter().take(NOTED_COUNT_MAX) {
            if !self.holds_elsewhere(session, rules, subject)? {
                free.push(*subject);
            }
        }
        match self.custodians[place].note_let_go(rules, &free) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the device of a session may have anything of somebody, for the same activity, by any lease of this counter.
    fn holds_elsewhere(
        &self,
        session: &Session,
        rules: &Rules,
        subject: &SubjectId,
    ) -> Result<bool> {
        let (place, device) = (session.place, session.operator.device);
        let is_same = |other: &&Session| {
            other.place == place
                && other.operator.device == device
                && other.activity == session.activity
        };
        if self.sessions.values().filter(is_same).any(|own| own.holds(subject)) {
            return Ok(true);
        }
        if self.past.is_empty() {
            return Ok(false);
        }
        let pseudonym = self.custodians[place].subject(subject)?.pseudonym;
        let (activity, now) = (rules.activity().id, self.moment());
        let has = |whose| self.past.has(&Lent { device, place, activity, whose }, &now);
        Ok([Whose::Logged(pseudonym), Whose::Known(*subject)].into_iter().any(has))
    }
}
