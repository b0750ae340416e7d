//! What an ask is given: decided, put on record, and then released.
//!
//! Where an act waits for devices, no ask is given more than one record lends: a device that waits for its answer lets go of nothing
//! that the kernel looks up just then, and nobody is heard before the turn is over. Nor is one given for longer than a part of what
//! it is lent: leases count from when they were asked for, and what is given first would be over as the answer comes.

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_records::exchange::{Answer, Lease, Need};
use strongroom_records::ids::{SessionId, SubjectId};

use super::letter::{answer, listing, loan};
use super::session::News;
use super::{Counter, LEASE_COUNT_MAX, TOGETHER_COUNT_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::follow::CONFLICT_COUNT_MAX;
use crate::leases::Wanted;

/// LIMIT: how long an ask is given more.
const SPAN: Duration = Duration::from_secs(2);
/// LIMIT: the same, as a part of the shortest lease that it was given.
const SPAN_PART: u32 = 4;

/// What an ask is given.
#[derive(Default)]
struct Given {
    leases: Vec<Lease>,
    news: News,
    /// Of whom there is more to give.
    left: BTreeSet<SubjectId>,
}

impl Counter {
    pub(super) fn serve(&mut self, id: &SessionId, number: u64, needs: &[Need]) -> Result<()> {
        if needs.is_empty() {
            return Ok(());
        }
        match self.served(id, number, needs) {
            Ok(answer) => self.post(id, answer),
            Err(error) => self.refuse(*id, number, &error),
        }
    }

    fn served(&mut self, id: &SessionId, number: u64, needs: &[Need]) -> Result<Answer> {
        let session = self.sessions.get(id).ok_or_else(Error::denied)?;
        let (place, is_stale) = (session.place, session.is_stale());
        if is_stale {
            self.look(place)?;
        }
        let application = self.custodians[place].listed().application;
        let (mut wanted, mut page, mut next) = (Vec::new(), Vec::new(), None);
        for need in needs {
            let session = self.sessions.get_mut(id).ok_or_else(Error::denied)?;
            match need {
                Need::Page(from) => {
                    session.count_up(&self.custodians[place])?;
                    page = session.page(*from, LEASE_COUNT_MAX);
                    next = session.next_after(&page);
                    wanted.extend(page.iter().flat_map(listing));
                }
                Need::Show(subject) => wanted.extend(session.shown(subject)),
                Need::Open(subject, class) => wanted.push(Wanted {
                    subject: *subject,
                    class: *class,
                    action: Action::Open,
                    files: Vec::new(),
                }),
                Need::Look | Need::End => {}
            }
        }
        let given = self.give(id, &wanted);
        if given.is_err()
            && let Some(session) = self.sessions.get_mut(id)
        {
            // Whoever was on the page waits for the next one.
            session.stale.extend(wanted.iter().map(|one| one.subject));
        }
        let Given { leases, news, left } = given?;
        // Of the page, too, less may have been given: the next one begins there.
        if let Some(first) = page.iter().find(|own| left.contains(&own.subject)) {
            next = Some(first.pseudonym);
            self.sessions.get_mut(id).ok_or_else(Error::denied)?.go_on_reading();
        }
        Ok(Answer { next, ..answer(application, Some(number), news, leases) })
    }

    /// Decides, records and releases. What is refused is looked at again: it may be gone. What is left is to be asked for again.
    fn give(&mut self, id: &SessionId, wanted: &[Wanted]) -> Result<Given> {
        let (mut loans, mut refused) = (Vec::new(), BTreeSet::new());
        if wanted.is_empty() {
            return Ok(Given::default());
        }
        self.sessions.get_mut(id).ok_or_else(Error::denied)?.begin_lending();
        let (mut given_count, begun, mut span) = (0, self.now(), SPAN);
        for some in wanted.chunks(TOGETHER_COUNT_MAX) {
            let is_much = given_count >= 2 * LEASE_COUNT_MAX || self.now() >= begun + span;
            if given_count > 0 && (is_much || self.turns.is_awaited()) {
                break;
            }
            given_count += some.len();
            let grants = self.lend(id, some)?;
            // ORDER: what is gone is told before what is given, and does not wait for all of that.
            self.flush()?;
            // The device counts from when it asked, which is earlier.
            let now = self.moment();
            let session = self.sessions.get(id).ok_or_else(Error::denied)?;
            let custodian = &self.custodians[session.place];
            for (one, grant) in some.iter().zip(grants) {
                match grant {
                    Some(grant) => {
                        let Some(lent) = loan(custodian, session, one, &grant, now)? else {
                            continue;
                        };
                        span = span.min(Duration::from_nanos(lent.lease.life) / SPAN_PART);
                        loans.push(lent);
                    }
                    None => drop(refused.insert(one.subject)),
                }
            }
        }
        let session = self.sessions.get_mut(id).ok_or_else(Error::denied)?;
        let custodian = &self.custodians[session.place];
        // Of whom something changed meanwhile nothing is given: the device asks again, if it may.
        let changed = session.end_lending();
        loans.retain(|loan| !changed.concerns(&loan.lease.subject));
        // ORDER: what is noted as given is on its way, so nothing fails from here on. What cannot be looked at now is by the
        // next turn.
        loans.iter().for_each(|loan| session.give(loan));
        session.stale.extend(refused);
        let left: BTreeSet<SubjectId> =
            wanted[given_count..].iter().map(|one| one.subject).collect();
        session.stale.extend(&left);
        let news = session.reconsider(custodian).unwrap_or_default();
        Ok(Given { leases: loans.into_iter().map(|loan| loan.lease).collect(), news, left })
    }

    pub(super) fn lend(&mut self, id: &SessionId, wanted: &[Wanted]) -> Result<Vec<Option<Grant>>> {
        let place = self.sessions.get(id).ok_or_else(Error::denied)?.place;
        for _ in 0..CONFLICT_COUNT_MAX {
            let _guard = self.wait_for_fence(place)?;
            self.look(place)?;
            self.custodians[place].catch_up()?;
            let session = self.sessions.get(id).ok_or_else(Error::denied)?;
            let rules = session.rules.as_ref().ok_or_else(Error::denied)?;
            match self.custodians[place].lend(rules, wanted) {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                grants => return grants,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "others write all the time"))
    }
}
