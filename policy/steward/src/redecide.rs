//! Past decisions, decided again: by the policies of then, to explain them, or by others, to see what those would change.
//!
//! The facts of a decision are in the register: the record that holds the entry holds the subject as it stood, records before
//! it the activities. What the floor refused is refused under any policies and is not asked again. A decision point of somebody
//! else's is not asked about the past: what it said then counts.
//!
//! LIMIT: reads the register from its first record on. A narrower purpose than the activity's own is not on record: such a
//! request is decided again for the activity's own.

use strongroom_audit::log::policy_number;
use strongroom_authorizer::{
    Action, BESIDE, DecisionPoint, Facts, Reason, Request, answers, decide,
};
use strongroom_format::cbor;
use strongroom_records::activity::{Activities, Activity};
use strongroom_records::application::Description;
use strongroom_records::ids::ActivityId;
use strongroom_records::log::{Body, Entry, Header, Judgement, Outcome};
use strongroom_records::register::{Cell, CellKind, Payload};
use strongroom_records::subject::SubjectCell;

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::register::SINGLE;
use crate::subjects::Subject;

/// A decision of before, decided again.
#[derive(Clone, Debug)]
pub struct Redecided {
    /// The entry, with the judgement of then.
    pub entry: Entry,
    /// Name of the activity; none for one that is not registered.
    pub activity: Option<String>,
    /// What it would be now: none when it is allowed, as far as our own policies go.
    pub reason: Option<Reason>,
    /// Whether it would be up to a decision point beside our own that was not asked then: nobody can know what it had said.
    pub is_open: bool,
    /// Policies that decide now, by id.
    pub policies: Vec<String>,
}

impl Redecided {
    /// Whether the outcome is another one.
    pub fn differs(&self) -> bool {
        let was_allowed =
            self.entry.judgement.as_ref().is_some_and(|was| was.outcome == Outcome::Allow);
        !self.is_open && was_allowed != self.reason.is_none()
    }

    /// What our own policies allow is what the other says.
    fn hear(&mut self, beside: Beside) {
        match beside {
            Beside::Nobody => {}
            Beside::Allowed => self.policies.push(BESIDE.to_owned()),
            Beside::Refused(reason) => {
                (self.reason, self.policies) = (Some(reason), vec![BESIDE.to_owned()]);
            }
            Beside::NotAsked => self.is_open = true,
        }
    }
}

/// What a decision point beside our own policies said then. It is not asked about the past.
enum Beside {
    /// There was none.
    Nobody,
    Allowed,
    /// It refused, or gave no answer.
    Refused(Reason),
    /// Our own policies had refused.
    NotAsked,
}

impl Beside {
    fn then(was: &Judgement, description: &Description) -> Self {
        let is_asked = was.policies.contains(&policy_number(BESIDE));
        match Reason::from_number(was.reason) {
            Some(reason) if is_asked => Self::Refused(reason),
            None if is_asked => Self::Allowed,
            Some(_) if description.point.is_some() => Self::NotAsked,
            Some(_) | None => Self::Nobody,
        }
    }
}

/// What held when a record was written.
struct Then {
    activities: Vec<Activity>,
    description: Description,
}

impl Custodian {
    /// What another policy set would have decided, of all decisions since a moment. Nothing is changed and nothing recorded.
    ///
    /// # Errors
    /// `Invalid` when the set does not validate; `Corrupt`.
    pub fn what_if(&self, text: &str, since: i64) -> Result<Vec<Redecided>> {
        let point = self.services().language.read(text)?;
        let mut found = Vec::new();
        self.walk(self.record_count(), |then, entry, own| {
            if entry.time >= since {
                found.extend(self.again(&*point, then, entry, own)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Decisions of one record, decided again by the policies that were in force for each.
    ///
    /// # Errors
    /// `NotFound` without such a record, or when its policies are not kept; `Corrupt`.
    pub fn explain(&self, record: u64) -> Result<Vec<Redecided>> {
        if record >= self.record_count() {
            return Err(Error::new(ErrorKind::NotFound, "there is no such record"));
        }
        let mut found = Vec::new();
        self.walk(record + 1, |then, entry, own| {
            if let Some(was) = entry.judgement.as_ref().filter(|_| entry.seq == record) {
                let point = self.point_of(&was.policy_set)?;
                found.extend(self.again(&*point, then, entry, own)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Goes through all judged entries below a record, each with what held then and the subject as that record left it.
    fn walk(
        &self,
        end: u64,
        mut visit: impl FnMut(&Then, &Entry, Option<&Subject>) -> Result<()>,
    ) -> Result<()> {
        let register = self.register();
        let mut then = Then { activities: Vec::new(), description: self.description()? };
        for seq in 0..end {
            let (header, body) = register.log().body(&register.sealer(), seq)?;
            let subjects = self.take_in(&mut then, &header, &body)?;
            for logged in &body.entries {
                let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
                if entry.judgement.is_none() {
                    continue;
                }
                let about = entry.about.as_ref();
                let is_about = |cell: &&SubjectCell| {
                    about.is_some_and(|about| about.subject == cell.pseudonym)
                };
                let own = subjects.iter().find(is_about);
                let own = own.map(|cell| register.opened(cell.clone())).transpose()?;
                visit(&then, &entry, own.as_ref())?;
            }
        }
        Ok(())
    }

    /// What a record changes of what holds for everybody; returns the subjects it writes.
    fn take_in(&self, then: &mut Then, header: &Header, body: &Body) -> Result<Vec<SubjectCell>> {
        let register = self.register();
        let payload = Payload::parse(&body.payload)?;
        let mut subjects = Vec::new();
        let open = |name: &_, cell: &_| register.open_recorded(name, cell, header.generation());
        for change in payload.cells {
            let cell: Cell = cbor::decode_canonical(&change.cell)?;
            let is = |kind| register.cell_name(kind, &SINGLE) == change.name;
            if is(CellKind::Activities) {
                let plain = open(&change.name, &cell)?;
                then.activities = cbor::decode_canonical::<Activities>(&plain)?.activities;
            } else if is(CellKind::Description) {
                let plain = open(&change.name, &cell)?;
                then.description = cbor::decode_canonical(&plain)?;
            } else {
                let plain = open(&change.name, &cell)?;
                let subject = cbor::decode_canonical::<SubjectCell>(&plain).ok();
                subjects.extend(subject.filter(|subject| {
                    register.cell_name(CellKind::Subject, &subject.subject.0) == change.name
                }));
            }
        }
        Ok(subjects)
    }

    fn again(
        &self,
        point: &dyn DecisionPoint,
        then: &Then,
        entry: &Entry,
        own: Option<&Subject>,
    ) -> Result<Option<Redecided>> {
        let Some(was) = &entry.judgement else { return Ok(None) };
        let id = entry.activity.unwrap_or(ActivityId::OWN);
        let activity = match id {
            ActivityId::OWN => Some(self.own_activity_with(&then.description)?),
            id => then.activities.iter().find(|activity| activity.id == id).cloned(),
        };
        let name = activity.as_ref().map(|activity| activity.name.clone());
        let mut redecided = Redecided {
            entry: entry.clone(),
            activity: name,
            reason: None,
            is_open: false,
            policies: Vec::new(),
        };
        let asked = Action::from_number(was.action).zip(entry.class);
        let (Some((action, class)), Some(own), false) = (asked, own, by_floor(was)) else {
            redecided.reason = Reason::from_number(was.reason);
            return Ok(Some(redecided));
        };
        let (consent, others) = answers(&own.record.consents, &id);
        let request = Request {
            application: self.register().application(),
            activity: id,
            action,
            subject: own.cell.subject,
            class,
            purpose: None,
            operator: entry.operator,
            now: entry.time,
        };
        // What the floor asks of the world beside the register was as it had to be: it let the request pass.
        let facts = Facts {
            application_active: true,
            activity,
            subject: Some(own.cell.state),
            consent,
            others,
            is_special: then
                .description
                .classes
                .iter()
                .any(|own| own.class == class && own.special),
            operator_certified: true,
        };
        let decision = decide(point, request, &facts);
        redecided.reason = decision.reason();
        redecided.policies = decision.policies().to_vec();
        if decision.reason().is_none() {
            redecided.hear(Beside::then(was, &then.description));
        }
        Ok(Some(redecided))
    }
}

/// Whether the floor refused before any policy was asked.
fn by_floor(was: &Judgement) -> bool {
    let reason = Reason::from_number(was.reason);
    reason.is_some_and(|reason| !matches!(reason, Reason::PolicyRefuses | Reason::PolicyFailed))
}
