//! What an ask asks for: what was wanted and no lease covers, what is in use and soon over, what comes next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strongroom_records::exchange::Need;
use strongroom_records::ids::{ClassId, Pseudonym, SubjectId};

use super::{FarDesk, NEED_COUNT_MAX};
use crate::desk::{Ask, Request};
use crate::gate::{Compartment, Standing};

/// LIMIT: compartments that whoever goes through all of them may leave out.
const GAP_MAX: usize = 4;

/// What is asked for before somebody needs it, because jobs go through people in their order.
#[derive(Default)]
pub(super) struct Ahead {
    /// Compartments asked for by asks that followed each other.
    count: usize,
    /// The last of them.
    last: Option<(Pseudonym, ClassId)>,
}

impl FarDesk {
    pub(super) fn wants_renewal(&self, now: Duration) -> bool {
        self.live.iter().any(|own| own.wants_renewal(now))
    }

    /// What no live lease covers, of what was asked; leases in use past their half; compartments that come next.
    pub(super) fn needs(&mut self, waiting: &[Request]) -> Vec<Need> {
        let (now, mut shows, mut opens) = (self.now(), Vec::new(), BTreeSet::new());
        let mut looks = false;
        let mut touched = None;
        for Request { ask, .. } in waiting {
            match ask {
                Ask::Look => looks = true,
                // See [`FarDesk::set_apart`] and [`FarDesk::run`]; nobody writes here, or knows people by their ids.
                Ask::Everybody | Ask::Meet(_) | Ask::Write(_) | Ask::Sent | Ask::End => {}
                Ask::Show(subjects) => shows.extend(subjects.iter().copied()),
                Ask::ShowEach(all) => shows.extend(all.iter().map(|own| own.subject)),
                Ask::Names(own) => {
                    if matches!(own.names(now), Standing::Lapsed) {
                        shows.push(own.subject);
                    }
                }
                Ask::Read(parties, file) => {
                    let own = parties.own();
                    if matches!(own.reads(file, now), Standing::Lapsed) {
                        opens.insert((own.subject, own.class));
                        touched = Some((own.pseudonym, own.class));
                    }
                }
            }
        }
        let renewed = self.live.iter().filter(|own| own.wants_renewal(now));
        let mut more: BTreeSet<_> = renewed.map(|own| (own.subject, own.class)).collect();
        if let Some(touched) = touched {
            self.look_ahead(touched, &mut more);
        }
        let more: Vec<_> = more.difference(&opens).copied().collect();
        let mut known = BTreeSet::new();
        let shows = shows.into_iter().filter(|subject| known.insert(*subject)).map(Need::Show);
        // ORDER: what somebody waits for is first, and as it was asked for: a custodian may give less than all at a time. Whoever
        // reads waits for one, whoever lists for the first of many.
        let open = |(subject, class)| Need::Open(subject, class);
        let (opens, more) = (opens.into_iter().map(open), more.into_iter().map(open));
        let looks = looks.then_some(Need::Look).into_iter();
        looks.chain(opens).chain(shows).chain(more).take(NEED_COUNT_MAX).collect()
    }

    /// A job that goes through everybody would ask for each alone. So whoever goes on where the last ask ended gets as many
    /// more as were asked for so far.
    fn look_ahead(
        &mut self,
        from: (Pseudonym, ClassId),
        opens: &mut BTreeSet<(SubjectId, ClassId)>,
    ) {
        let now = self.now();
        let state = self.inner.state.lock();
        let place = |own: &Arc<Compartment>| (own.pseudonym, own.class);
        let after = |last: (Pseudonym, ClassId)| {
            let people = state.people_from(last.0).flat_map(|(_, person)| &person.compartments);
            people.filter(move |own| place(own) > last)
        };
        let gap = |last| after(last).take_while(|own| place(own) < from).take(GAP_MAX + 1).count();
        let follows = |last: &_| *last < from && gap(*last) <= GAP_MAX;
        let count =
            if self.ahead.last.as_ref().is_some_and(follows) { self.ahead.count } else { 0 };
        let is_unread =
            |own: &&Arc<Compartment>| own.ends().1.is_none() && own.shown(now).is_live();
        let next: Vec<_> = after(from).filter(is_unread).take(count).cloned().collect();
        drop(state);
        let last = next.last().map_or(from, place);
        opens.extend(next.iter().map(|own| (own.subject, own.class)));
        let count = (count + next.len() + 1).min(NEED_COUNT_MAX / 2);
        self.ahead = Ahead { count, last: Some(last) };
    }
}
