//! Whom a file is about, in a view: a class of one person, or of each of several. What ends for one of them ends for the file.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use strongroom_records::ids::{FileId, SubjectId};
use strongroom_steward::{LentJoint, OpenClass};

use crate::desk::Ask;
use crate::gate::{Compartment, Ending, Standing};
use crate::state::State;

/// Compartments of all whom a file is about. They are held, not looked for by name: what is agreed again later is another one.
#[derive(Clone)]
pub(crate) struct Parties {
    /// The one in whose folder the file is.
    own: Arc<Compartment>,
    others: Vec<Arc<Compartment>>,
}

impl Parties {
    /// Of a file that is about one person.
    pub fn one(own: &Arc<Compartment>) -> Self {
        Self { own: Arc::clone(own), others: Vec::new() }
    }

    /// Of one that is about others as well, if all of them are in the view.
    pub fn find(state: &State, own: &Arc<Compartment>, others: &[SubjectId]) -> Option<Self> {
        let other = |subject: &SubjectId| {
            let mut all = state.person_of(subject)?.compartments.iter();
            all.find(|other| other.class == own.class).cloned()
        };
        let others = others.iter().map(other).collect::<Option<Vec<_>>>()?;
        Some(Self { own: Arc::clone(own), others })
    }

    pub fn own(&self) -> &Arc<Compartment> {
        &self.own
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Compartment>> {
        iter::once(&self.own).chain(&self.others)
    }

    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    pub fn has(&self, compartment: &Arc<Compartment>) -> bool {
        self.all().any(|own| Arc::ptr_eq(own, compartment))
    }

    /// Whether something of one of them is gone for good, and with it the file.
    pub fn are_shut(&self) -> bool {
        self.all().any(|own| own.is_shut())
    }

    /// Whether a file of a lease is about these, apart from the one in whose folder it is.
    pub fn are_with(&self, joint: &LentJoint) -> bool {
        let mut others: Vec<SubjectId> = self.others.iter().map(|other| other.subject).collect();
        others.sort();
        others == joint.others
    }

    /// Whether the name may be shown.
    pub fn shown(&self, now: Duration) -> Standing<()> {
        let shown = self.all().map(|own| own.shown(now));
        together(shown).map(drop)
    }

    /// What it takes to show the name.
    pub fn ask(&self, now: Duration) -> Ask {
        if self.others.is_empty() {
            return Ask::Show(vec![self.own.subject]);
        }
        let is_lapsed = |own: &&Arc<Compartment>| matches!(own.shown(now), Standing::Lapsed);
        Ask::ShowEach(self.all().filter(is_lapsed).cloned().collect())
    }

    /// What reads the file, if opening it is on record for each.
    pub fn reads(&self, file: &FileId, now: Duration) -> Standing<Vec<Arc<OpenClass>>> {
        together(self.all().map(|own| own.reads(file, now)))
    }

    /// Hears what ends from now on.
    pub fn ending(&self) -> Ending {
        Ending::of(self.all())
    }

    /// Whether the kernel is dropping contents.
    pub fn is_draining(&self) -> bool {
        self.all().any(|own| own.is_draining())
    }

    /// Ends the leases of contents: a read that goes on asks anew.
    pub fn lapse_reading(&self) {
        self.all().for_each(|own| own.lapse_reading());
    }

    /// How long the lease lasts that ends first.
    pub fn end(&self) -> Option<Duration> {
        let end = |own: &Arc<Compartment>| {
            let (listing, reading) = own.ends();
            reading.or(listing)
        };
        self.all().map(end).collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

/// What is shut for one is shut, what one has no lease of has to be asked for.
fn together<T>(all: impl Iterator<Item = Standing<T>>) -> Standing<Vec<T>> {
    let (mut live, mut is_lapsed) = (Vec::new(), false);
    for one in all {
        match one {
            Standing::Shut => return Standing::Shut,
            Standing::Lapsed => is_lapsed = true,
            Standing::Live(one) => live.push(one),
        }
    }
    if is_lapsed { Standing::Lapsed } else { Standing::Live(live) }
}
