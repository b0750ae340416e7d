//! Who may be seen: read when somebody wants to know, some at a time, so that a withdrawal never waits for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strongroom_authorizer::Action;
use strongroom_records::activity::Reach;
use strongroom_records::ids::SubjectId;
use strongroom_steward::{Error as StewardError, OpenClass, Outlook, UNDECIDED_PAUSE, Wanted};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::{Desk, Needs, answer, need, refused};
use crate::gate::Compartment;

/// LIMIT: people who are read before the register is looked at again: a withdrawal waits for no more.
const READ_COUNT_MAX: usize = 64;

/// Refused look-ups are recorded no more often than that.
const STRANGER_PAUSE: Duration = Duration::from_secs(60);
/// LIMIT: people beside a folder who are shown by one record, which has what each of their cells is by then: others write between
/// two of them.
const BESIDE_COUNT_MAX: usize = 64;

/// Classes of people that are still to be shown, and who waits for all of them.
pub(super) struct Beside {
    pub left: Vec<Arc<Compartment>>,
    pub reply: oneshot::Sender<Result<()>>,
}

/// Whether it is known who may be seen: nobody is read before somebody wants to know.
pub(super) enum People {
    Unread,
    /// Who is left, and who waits for all of them.
    Reading(Vec<SubjectId>, Vec<oneshot::Sender<Result<()>>>),
    Read,
}

impl Desk {
    /// Somebody wants to know who may be seen.
    pub(super) fn read_for(&mut self, reply: oneshot::Sender<Result<()>>) {
        match &mut self.people {
            People::Read => answer(reply, Ok(())),
            People::Reading(_, waiting) => waiting.push(reply),
            // Trouble is told to who waits.
            People::Unread => drop(self.begin_reading(vec![reply])),
        }
    }

    /// Somebody the application asks for by id, before everybody has been read.
    pub(super) fn meet(&mut self, subject: &SubjectId) -> Result<()> {
        let prospect = self.custodian.prospect(&self.rules, subject);
        let prospect = prospect.map_err(|error| {
            self.key.obtain(&self.custodian);
            refused(&error)
        })?;
        if prospect.is_none() {
            self.inner.note_stranger();
            return Err(Error::new(ErrorKind::NotFound, "no such name"));
        }
        self.settle(subject, prospect);
        Ok(())
    }

    /// Whom files in a folder are about as well: they decide whether these are shown. Nothing is recorded before one is.
    /// LIMIT: seven for each of the thousand such files that a folder has at most.
    pub(super) fn meet_others(
        &mut self,
        own: &Arc<Compartment>,
        class: &OpenClass,
    ) -> std::result::Result<(), StewardError> {
        let others: BTreeSet<SubjectId> =
            class.joint().iter().flat_map(|joint| joint.others.iter().copied()).collect();
        // ORDER: whoever comes from here on, or goes, has the folder listed anew.
        self.inner.state.lock().note_beside(own, &others);
        for subject in others {
            let is_known = self.inner.state.lock().person_of(&subject).is_some();
            if !is_known && let Some(prospect) = self.custodian.prospect(&self.rules, &subject)? {
                self.settle(&subject, Some(prospect));
            }
        }
        Ok(())
    }

    /// Some of those who wait to be shown beside others, for the next record. Returns who waits for no more than these.
    pub(super) fn gather_beside(&mut self, needs: &mut Needs) -> Vec<oneshot::Sender<Result<()>>> {
        let (mut room, mut last) = (BESIDE_COUNT_MAX, Vec::new());
        while let Some(first) = self.beside.front_mut() {
            let count = first.left.len().min(room);
            first.left.drain(..count).for_each(|own| need(needs, &own).shown = true);
            room -= count;
            if !first.left.is_empty() {
                break;
            }
            last.extend(self.beside.pop_front().map(|beside| beside.reply));
        }
        last
    }

    /// The view ends: whoever waits for people is told so, and nobody is read any more. Only what was written is waited for.
    pub(super) fn let_go(&mut self) {
        self.beside.clear();
        self.people = People::Unread;
    }

    /// Decides anew about everybody who is shown: those with leases first, so that what is withdrawn from them ends soonest.
    /// Who else may be seen now is read after that.
    pub(super) fn reconsider_all(&mut self) -> std::result::Result<(), StewardError> {
        self.rules = super::rules(&self.custodian, self.activity.as_deref())?;
        self.inner.allow_writing(self.rules.activity().reach == Reach::Write);
        let mut first: Vec<SubjectId> = self.live.iter().map(|own| own.subject).collect();
        first.extend(self.inner.state.lock().subjects());
        let mut done = BTreeSet::new();
        for subject in first {
            if done.insert(subject) {
                self.reconsider(&subject)?;
            }
        }
        match std::mem::replace(&mut self.people, People::Unread) {
            People::Unread => Ok(()),
            People::Read => self.begin_reading(Vec::new()),
            People::Reading(_, waiting) => self.begin_reading(waiting),
        }
    }

    pub(super) fn reconsider(
        &mut self,
        subject: &SubjectId,
    ) -> std::result::Result<(), StewardError> {
        let prospect = match self.custodian.outlook(&self.rules, subject)? {
            Outlook::Seen(prospect) => Some(prospect),
            Outlook::Hidden => None,
            Outlook::Undecided => {
                self.undecided.insert(*subject);
                self.again_at = self.now() + UNDECIDED_PAUSE;
                None
            }
        };
        self.settle(subject, prospect);
        self.forget_files(subject);
        Ok(())
    }

    pub(super) fn begin_reading(
        &mut self,
        waiting: Vec<oneshot::Sender<Result<()>>>,
    ) -> std::result::Result<(), StewardError> {
        self.inner.state.lock().is_read = false;
        match self.custodian.candidates(&self.rules) {
            Ok(left) => {
                self.people = People::Reading(left, waiting);
                Ok(())
            }
            Err(error) => {
                self.key.obtain(&self.custodian);
                waiting.into_iter().for_each(|reply| answer(reply, Err(refused(&error))));
                Err(error)
            }
        }
    }

    /// Reads some more of those who may be seen.
    pub(super) fn read_some(&mut self) {
        let (mut left, waiting) = match std::mem::replace(&mut self.people, People::Unread) {
            People::Reading(left, waiting) => (left, waiting),
            other => return self.people = other,
        };
        for _ in 0..READ_COUNT_MAX {
            let Some(subject) = left.last().copied() else { break };
            match self.custodian.prospect(&self.rules, &subject) {
                Ok(prospect) => {
                    self.settle(&subject, prospect);
                    left.pop();
                }
                // Whoever writes meanwhile takes away what its record replaced: with that record all is there again.
                Err(error) if self.custodian.is_newest().unwrap_or(true) => {
                    self.key.obtain(&self.custodian);
                    return waiting
                        .into_iter()
                        .for_each(|reply| answer(reply, Err(refused(&error))));
                }
                Err(_) => break,
            }
        }
        if left.is_empty() {
            self.inner.state.lock().is_read = true;
            self.people = People::Read;
            waiting.into_iter().for_each(|reply| answer(reply, Ok(())));
        } else {
            self.people = People::Reading(left, waiting);
        }
    }

    /// Somebody asked for names that are not there: on record once a minute, so that a crawl cannot flood the log. After the
    /// answer, so that its time tells nothing.
    pub(super) fn tell_strangers(&mut self) {
        let now = self.now();
        let is_early = self.stranger_told.is_some_and(|told| now < told + STRANGER_PAUSE);
        if is_early || !self.inner.take_stranger() {
            return;
        }
        self.stranger_told = Some(now);
        let Some(class) = self.rules.activity().classes.first().copied() else { return };
        let Some(_guard) = self.fence.try_raise() else { return self.inner.note_stranger() };
        let (subject, files) = (SubjectId([0; 16]), Vec::new());
        let wanted = [Wanted { subject, class, action: Action::List, files }];
        let told = self.look().and_then(|()| self.custodian.catch_up());
        let told = told.and_then(|()| self.custodian.lend(&self.rules, &wanted));
        if told.is_err() {
            (self.stranger_told, _) = (None, self.inner.note_stranger());
        }
    }
}
