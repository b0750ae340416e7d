//! Access: a request becomes a decision, the decision an entry, the entry a grant. Nothing is released in any other way.

use std::time::Duration;

use strongroom_audit::Grant;
use strongroom_authorizer::{Action, Decision, Facts, Request, answers, decide};
use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_records::application::{DeclaredClass, Description};
use strongroom_records::ids::{ActivityId, ClassId, FileId, Hash, Pseudonym, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::Row;

use crate::custodian::{Custodian, classes_of};
use crate::error::{Error, Result};
use crate::lookup::Buckets;
use crate::register::{Transaction, blank};
use crate::subjects::Subject;

/// How long what is released may be used, in nanoseconds, counted from the record.
const LEASE_IDENTIFIABLE: i64 = 120_000_000_000;
const LEASE_OWNED: i64 = 300_000_000_000;
const LEASE_SPECIAL: i64 = 60_000_000_000;

/// No lease is shorter than this: what an answer of somebody else's may be kept for.
pub(crate) fn shortest_lease(description: &Description) -> Duration {
    let declared =
        description.leases.iter().map(|(_, seconds)| Duration::from_secs(u64::from(*seconds)));
    declared.fold(Duration::from_nanos(LEASE_SPECIAL.unsigned_abs()), Duration::min)
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Name of the activity; none is the application's own work.
    pub activity: Option<String>,
    /// The subject: its id for the application, its pseudonym for everybody else.
    pub subject: String,
    /// Name of the class.
    pub class: String,
    /// Purpose, if it is to be narrower than the activity's.
    pub purpose: Option<String>,
}

impl Custodian {
    /// Asks, records, and returns the grant with the subject as it stands after the record.
    ///
    /// # Errors
    /// `Denied`, with the same words whatever the reason: the audit log has it.
    pub(crate) fn ask(&mut self, asked: &Asked, action: Action) -> Result<(Subject, Grant)> {
        let answered = self.ask_early(asked, action);
        self.finish()?;
        answered
    }

    /// The same, with the grant as soon as the record is durable. [`Custodian::finish`] comes after it.
    pub(crate) fn ask_early(&mut self, asked: &Asked, action: Action) -> Result<(Subject, Grant)> {
        self.ask_with(asked, action, None)
    }

    /// The same for a file that is to be sent, which is named by the record if it may be written.
    pub(crate) fn ask_to_send(&mut self, asked: &Asked, id: FileId) -> Result<(Subject, Grant)> {
        self.ask_with(asked, Action::Write, Some(id))
    }

    fn ask_with(
        &mut self,
        asked: &Asked,
        action: Action,
        coming: Option<FileId>,
    ) -> Result<(Subject, Grant)> {
        let class = self.class(&asked.class)?;
        let activity = self.acting(asked.activity.as_deref())?;
        let id = activity.as_ref().map_or(ActivityId([0xff; 16]), |activity| activity.id);
        let subject = self.resolve(&asked.subject, &id)?;
        let own = match &subject {
            Some(subject) => self.register().subject(subject)?,
            None => None,
        };
        let subject = subject.unwrap_or(SubjectId([0; 16]));
        let request = Request {
            application: self.register().application(),
            activity: id,
            action,
            subject,
            class,
            purpose: asked.purpose.clone(),
            operator: self.services().keys.device_id(),
            now: self.services().clock.now_ns(),
        };
        let facts = self.facts(activity, own.as_ref(), class)?;
        let decision = decide(&*self.point()?, request, &facts);
        self.record(own, decision, coming)
    }

    /// What is known about a request.
    pub(crate) fn facts(
        &self,
        activity: Option<Activity>,
        own: Option<&Subject>,
        class: ClassId,
    ) -> Result<Facts> {
        let device = self.services().keys.device_id();
        let all = own.map_or(&[][..], |own| &own.record.consents);
        let (consent, others) = match &activity {
            Some(activity) => answers(all, &activity.id),
            None => (None, Vec::new()),
        };
        Ok(Facts {
            application_active: self.is_active(),
            activity,
            subject: own.map(|own| own.cell.state),
            consent,
            others,
            is_special: self.is_special(class)?,
            operator_certified: self.counts(&device),
        })
    }

    fn record(
        &mut self,
        own: Option<Subject>,
        decision: Decision,
        coming: Option<FileId>,
    ) -> Result<(Subject, Grant)> {
        let request = decision.request();
        let (activity, class) = (request.activity, request.class);
        let life = self.lease(class)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        transaction.now = request.now;
        if let Some(id) = coming.filter(|_| decision.reason().is_none()) {
            register.change_coming(&mut transaction, None, Some((id, request.subject)))?;
        }
        let decision = Some((decision, life));
        let fill = |entry: &mut strongroom_records::log::Entry| {
            entry.activity = Some(activity);
            entry.class = Some(class);
        };
        let own = match own {
            Some(mut own) => {
                register.tell(&mut transaction, &mut own, Kind::Access, None, decision, fill);
                register.put_subject(&mut transaction, &mut own);
                Some(own)
            }
            None => {
                let mut entry = blank(Kind::Access);
                fill(&mut entry);
                let detail = Vec::new();
                transaction.draft(strongroom_audit::Draft { entry, detail, decision });
                None
            }
        };
        let (_, grants) = self.register_mut().record(transaction)?;
        let grant = grants.into_iter().next().flatten();
        own.zip(grant).ok_or_else(Error::denied)
    }

    /// The activity that acts: the application's own, or a registered one; none if there is none of that name.
    pub(crate) fn acting(&self, name: Option<&str>) -> Result<Option<Activity>> {
        match name {
            None => Ok(Some(self.own_activity()?)),
            Some(name) => {
                let all = self.activities()?;
                Ok(all.into_iter().find(|activity| activity.name == name))
            }
        }
    }

    /// The application's own work with its subjects' data.
    pub(crate) fn own_activity(&self) -> Result<Activity> {
        self.own_activity_with(&self.description()?)
    }

    /// The same, with the classes of a description.
    pub(crate) fn own_activity_with(&self, description: &Description) -> Result<Activity> {
        let device = self.services().keys.device_id();
        Ok(Activity {
            id: ActivityId::OWN,
            name: "own".to_owned(),
            consumer: self.listed().name.clone(),
            purpose: "service".to_owned(),
            basis: Basis::Contract,
            classes: classes_of(description),
            reach: Reach::Write,
            recipients: Vec::new(),
            retention_days: None,
            expires: None,
            notice: String::new(),
            notice_hash: Hash::NONE,
            state: ActivityState::Approved,
            proposed_by: device,
            proposed_at: self.listed().created,
            approved_by: vec![device],
            code: None,
        })
    }

    /// Whom an activity means. The application knows ids, everybody else their own pseudonyms.
    pub(crate) fn resolve(&self, text: &str, activity: &ActivityId) -> Result<Option<SubjectId>> {
        let no_id = || Error::invalid("a subject is named by 32 hexadecimal digits");
        if *activity == ActivityId::OWN {
            return SubjectId::parse(text).map(Some).ok_or_else(no_id);
        }
        let pseudonym = Pseudonym::parse(text).ok_or_else(no_id)?;
        self.register().named(activity, &pseudonym)
    }

    /// What an activity calls a subject; none once it is erased.
    pub(crate) fn known_as(
        &self,
        subject: &SubjectId,
        activity: &ActivityId,
    ) -> Result<Option<Pseudonym>> {
        let register = self.register();
        let own = register.subject(subject)?.ok_or_else(Error::no_subject)?;
        let Some(key) = register.subject_key(&own.cell)? else { return Ok(None) };
        register.pseudonym(&key, &own.cell, activity).map(Some)
    }

    /// What an activity calls a subject, for an application that tells a job whom to work on. On record. From here on the
    /// activity may ask by that name, which gives it nothing that was not agreed.
    ///
    /// # Errors
    /// `NotFound` for an unknown subject or activity.
    pub fn name_for(&mut self, subject: &SubjectId, activity: &str) -> Result<Pseudonym> {
        let unknown = || Error::new(crate::ErrorKind::NotFound, "there is no such activity");
        let activity = self.acting(Some(activity))?.ok_or_else(unknown)?;
        let name = self.known_as(subject, &activity.id)?.ok_or_else(Error::no_subject)?;
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let mut buckets = Buckets::default();
        let hash = register.name_hash(&activity.id, &name)?;
        buckets.insert(register, Row { hash, subject: *subject })?;
        register.tell(&mut transaction, &mut own, Kind::Lookup, None, None, |entry| {
            entry.activity = Some(activity.id);
        });
        register.put_subject(&mut transaction, &mut own);
        register.put_leaves(&mut transaction, buckets)?;
        self.register_mut().commit(transaction)?;
        Ok(name)
    }

    /// How long a release of a class lives.
    pub(crate) fn lease(&self, class: ClassId) -> Result<i64> {
        Ok(self.life(&self.description()?, class))
    }

    pub(crate) fn life(&self, description: &Description, class: ClassId) -> i64 {
        if let Some((_, seconds)) = description.leases.iter().find(|(own, _)| *own == class) {
            return i64::from(*seconds).saturating_mul(1_000_000_000);
        }
        let is_special = |own: &DeclaredClass| own.class == class && own.special;
        match class {
            _ if description.classes.iter().any(is_special) => LEASE_SPECIAL,
            ClassId::IDENTIFIABLE => LEASE_IDENTIFIABLE,
            _ => LEASE_OWNED,
        }
    }
}
