//! Who is waited for: devices that have yet to say that something is gone there. An act waits for what it may have taken away
//! itself, and not for what somebody else's has left with a device that says nothing.

use strongroom_records::ids::{ActivityId, ApplicationId, Pseudonym, SubjectId};

use super::Counter;
use super::past::Whose;
use super::session::Session;
use super::turns::About;
use crate::custodian::Custodian;
use crate::moment::Moment;

impl Counter {
    /// Devices that owe a word of what somebody waits for; none where it is not known, since what was recorded could not be
    /// taken in.
    pub(super) fn owing(&self, about: &About, now: &Moment, unknown: &[usize]) -> Option<usize> {
        let is_known = |application| {
            let place = self.place_of(application);
            place.is_none_or(|place| !unknown.contains(&place))
        };
        match about {
            About::Everything => unknown.is_empty().then(|| {
                let sessions = self.sessions.values().filter(|own| own.owes(now));
                sessions.count() + self.past.owing(|_| true)
            }),
            About::Subject(application, subject) => {
                is_known(application).then(|| self.owing_of(application, subject, now))
            }
            About::Activity(application, activity) => {
                is_known(application).then(|| self.owing_for(application, activity, now))
            }
        }
    }

    fn owing_of(&self, application: &ApplicationId, subject: &SubjectId, now: &Moment) -> usize {
        let Some(place) = self.place_of(application) else { return 0 };
        let is_its = |own: &&Session| own.place == place && own.owes_of(subject, now);
        let sessions = self.sessions.values().filter(is_its).count();
        if self.past.is_empty() {
            return sessions;
        }
        let found = self.custodians[place].subject(subject);
        let logged: Option<Pseudonym> = found.ok().map(|found| found.pseudonym);
        let past = self.past.owing(|lent| {
            let is_theirs = match lent.whose {
                Whose::Known(own) => own == *subject,
                // Where nobody can tell whose it is, it is theirs.
                Whose::Logged(own) => logged.is_none_or(|logged| own == logged),
            };
            lent.place == place && is_theirs
        });
        sessions + past
    }

    fn owing_for(&self, application: &ApplicationId, activity: &ActivityId, now: &Moment) -> usize {
        let Some(place) = self.place_of(application) else { return 0 };
        let is_its = |own: &&Session| {
            // Without rules it was lent nothing.
            let rules = own.rules.as_ref().filter(|_| own.place == place);
            rules.is_some_and(|rules| rules.activity().id == *activity) && own.owes(now)
        };
        let past = self.past.owing(|lent| lent.place == place && lent.activity == *activity);
        self.sessions.values().filter(is_its).count() + past
    }

    /// Which of the applications here it is; none for one that nothing is lent of from here.
    fn place_of(&self, application: &ApplicationId) -> Option<usize> {
        self.custodians.iter().position(|own| own.listed().application == *application)
    }

    /// Where the application of a name is.
    pub(super) fn place_named(&self, application: &str) -> Option<usize> {
        let is_it = |own: &Custodian| {
            let line = own.listed();
            line.name == application || line.application.to_string() == application
        };
        self.custodians.iter().position(is_it)
    }
}
