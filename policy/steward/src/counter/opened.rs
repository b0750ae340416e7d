//! What devices opened under leases they were given, on record. Nobody waits for it: while others write, it is left for the
//! next turn.

use strongroom_records::exchange::OpenedFiles;
use strongroom_records::ids::SessionId;

use super::{Counter, LEASE_COUNT_MAX};
use crate::error::{ErrorKind, Result};

/// LIMIT: what one session said and is not on record yet; what comes beyond is not taken in.
const WAITING_COUNT_MAX: usize = 16 * LEASE_COUNT_MAX;

impl Counter {
    /// Takes in what a device says: only of what it was given, and no more often than it was.
    pub(super) fn hear_opened(&mut self, id: &SessionId, opened: Vec<OpenedFiles>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let room = WAITING_COUNT_MAX.saturating_sub(session.opened.len()).min(LEASE_COUNT_MAX);
        let opened = opened.into_iter().take(room);
        let known: Vec<OpenedFiles> =
            opened.filter(|one| session.was_given(&one.subject, one.class)).collect();
        session.opened.extend(known);
    }

    /// Puts it on record.
    pub(super) fn note_opened(&mut self) -> Result<()> {
        let waits = self.sessions.iter().filter(|(_, own)| !own.opened.is_empty());
        let ids: Vec<SessionId> = waits.map(|(id, _)| *id).collect();
        for id in ids {
            self.record_opened(&id)?;
        }
        Ok(())
    }

    fn record_opened(&mut self, id: &SessionId) -> Result<()> {
        let Some(place) = self.sessions.get(id).map(|session| session.place) else {
            return Ok(());
        };
        let Some(_others_wait) = self.fence.try_raise() else { return Ok(()) };
        self.look(place)?;
        self.custodians[place].catch_up()?;
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        let Some(rules) = &session.rules else { return Ok(()) };
        let count = session.opened.len().min(LEASE_COUNT_MAX);
        match self.custodians[place].note_opened(rules, &session.opened[..count]) {
            Ok(()) => {
                session.opened.drain(..count);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }
}
