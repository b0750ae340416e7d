//! Leases: what somebody who looks for a while may use, and for how long. Decided and recorded in batches, released class by
//! class, read in ranges.
//!
//! ```text
//! rules ──▶ prospects       whom an activity would see: nothing recorded, nothing released
//!   └─────▶ lend            decision → record → grants, all of a batch in one record
//!             └─▶ release   a grant for a class key and the names below it ─▶ file ─▶ ranges of its bytes
//! ```

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strongroom_audit::{Draft, Grant};
use strongroom_authorizer::{Action, Decision, DecisionPoint, Facts, Request, answers, decide};
use strongroom_crypto::seal::{CHUNK_LEN, CHUNK_SEALED_LEN, Opener, PREFIX_LEN, sealed_len};
use strongroom_crypto::secret::ClassKey;
use strongroom_format::ids::DeviceId;
use strongroom_records::activity::Activity;
use strongroom_records::application::Description;
use strongroom_records::ids::{ActivityId, ClassId, FileId, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind};
use strongroom_records::subject::{Detail, File, Row, SubjectState};
use strongroom_store::{ErrorKind as StoreKind, Key, PolicyKey, Shelf, Store};

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::export::FileNames;
use crate::files::{FileHome, OpenFolder, damaged};
use crate::joint::{self, LentJoint};
use crate::lookup::Buckets;
use crate::register::{Transaction, blank};
use crate::subjects::Subject;

/// How soon somebody else's decision point is asked again that said nothing.
pub const UNDECIDED_PAUSE: Duration = Duration::from_secs(1);

/// What holds for every decision about one activity on behalf of one device, as of one position of the register.
pub struct Rules {
    activity: Activity,
    /// Where it is to be narrower than the activity's.
    purpose: Option<String>,
    description: Description,
    point: Arc<dyn DecisionPoint>,
    active: bool,
    operator: Operator,
}

/// The device that asks, and that keys will go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Which.
    pub device: DeviceId,
    /// Whether it counts, and is one of those that run the activity.
    pub is_certified: bool,
}

/// A subject that an activity may see now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Who.
    pub subject: SubjectId,
    /// What the activity calls it.
    pub pseudonym: Pseudonym,
    /// The classes of its data that the activity may have.
    pub classes: Vec<ClassId>,
}

/// What is known of whether an activity may see a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may.
    Seen(Prospect),
    /// It may not.
    Hidden,
    /// Somebody else's decision point did not answer: it may not now, and perhaps once that is asked again.
    Undecided,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose data.
    pub subject: SubjectId,
    /// Of which class.
    pub class: ClassId,
    /// To do what.
    pub action: Action,
    /// Files it is about, if any: they stand in the sealed detail of the entry.
    pub files: Vec<FileId>,
}

/// A released class of a subject's data: the names of its files, and its key where contents may be read.
pub struct OpenClass {
    pub(crate) released: Released,
    pub(crate) home: FileHome,
    store: Arc<dyn Store>,
}

/// What a grant releases: the files by name, and where it is one for contents, the class key and older ones that files are
/// still sealed under.
pub struct Released {
    /// Of which class.
    pub class: ClassId,
    /// Keys by generation; none where names may be shown and nothing more.
    pub keys: Vec<(u64, ClassKey)>,
    /// By name, ascending.
    pub files: Vec<File>,
    /// Those that are about others as well.
    pub joint: Vec<LentJoint>,
    /// Changes of the folder so far: the same number, the same files.
    pub version: u64,
}

/// A file of a released class.
pub struct OpenFile {
    pub(crate) class: Arc<OpenClass>,
    /// The same class of the others whom it is about.
    pub(crate) others: Vec<Arc<OpenClass>>,
    pub(crate) file: File,
    pub(crate) opener: OnceLock<Opener>,
}

impl Rules {
    /// The activity.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(crate) fn operator(&self) -> Operator {
        self.operator
    }

    /// The name of a class.
    pub fn class_name(&self, class: ClassId) -> String {
        crate::custodian::name_of(&self.description, class)
    }

    fn is_special(&self, class: ClassId) -> bool {
        self.description.classes.iter().any(|own| own.class == class && own.special)
    }
}

impl Custodian {
    /// Reads what holds for an activity now.
    ///
    /// # Errors
    /// `Denied` when there is no such activity; `Corrupt`.
    pub fn rules(&self, activity: &str) -> Result<Rules> {
        self.rules_for(activity, self.own_operator())
    }

    /// The same for the application's own work.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn own_rules(&self) -> Result<Rules> {
        self.rules_of(self.own_activity()?, None, self.own_operator())
    }

    /// What holds for an activity, on behalf of another device.
    ///
    /// # Errors
    /// As [`Custodian::rules`].
    pub fn rules_for(&self, activity: &str, operator: Operator) -> Result<Rules> {
        let activity = self.acting(Some(activity))?.ok_or_else(Error::denied)?;
        self.rules_of(activity, None, operator)
    }

    /// Those of whoever asks.
    pub(crate) fn rules_asked(&self, asked: &Asked) -> Result<Rules> {
        let activity = self.acting(asked.activity.as_deref())?.ok_or_else(Error::denied)?;
        self.rules_of(activity, asked.purpose.clone(), self.own_operator())
    }

    fn rules_of(
        &self,
        activity: Activity,
        purpose: Option<String>,
        operator: Operator,
    ) -> Result<Rules> {
        let (description, point) = (self.description()?, self.point()?);
        Ok(Rules { activity, purpose, description, point, active: self.is_active(), operator })
    }

    fn own_operator(&self) -> Operator {
        let device = self.services().keys.device_id();
        let is_certified = self.counts(&device);
        Operator { device, is_certified }
    }

    /// Names of a subject's files, `class/name`, by id: what a report reads better with. On record, as the application's own
    /// listing of them. Without what the application may not have: all of it, once a subject is erased.
    ///
    /// # Errors
    /// `NotFound`; those of the store.
    pub fn file_names(&mut self, subject: &SubjectId) -> Result<FileNames> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let rules = self.own_rules()?;
        let filled = own.cell.classes.iter().filter(|class| !class.objects.is_empty());
        let (subject, action) = (*subject, Action::List);
        let wanted = |class| Wanted { subject, class, action, files: Vec::new() };
        let wanted: Vec<Wanted> = filled.map(|class| wanted(class.class)).collect();
        let mut names = FileNames::new();
        if wanted.is_empty() {
            return Ok(names);
        }
        for grant in self.lend(&rules, &wanted)?.into_iter().flatten() {
            let class = rules.class_name(grant.class());
            let folder = self.opened(&grant, &self.services().keys.device_id())?.folder;
            let joint = folder.joint.iter().map(|joint| &joint.file);
            for file in folder.files.iter().chain(joint) {
                names.insert(file.id, format!("{class}/{}", file.name));
            }
        }
        Ok(names)
    }

    /// Whether an activity would see a subject now, and what of it. Nothing is recorded and nothing released: what is told
    /// to anybody needs a lease first.
    ///
    /// # Errors
    /// `Unavailable` when somebody else's decision point did not answer; `Corrupt`.
    pub fn prospect(&self, rules: &Rules, subject: &SubjectId) -> Result<Option<Prospect>> {
        match self.outlook(rules, subject)? {
            Outlook::Seen(prospect) => Ok(Some(prospect)),
            Outlook::Hidden => Ok(None),
            Outlook::Undecided => Err(Error::undecided()),
        }
    }

    /// The same, for whoever goes on with others where one is undecided.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn outlook(&self, rules: &Rules, subject: &SubjectId) -> Result<Outlook> {
        // No key is needed to know that nobody is shown who is gone: it may have gone with them, and have to be obtained anew.
        let cell = self.register().subject_cell(subject)?;
        let Some(cell) = cell.filter(|cell| cell.state == SubjectState::Active) else {
            return Ok(Outlook::Hidden);
        };
        let own = self.register().opened(cell)?;
        let mut classes = Vec::new();
        for class in rules.activity.classes.iter().copied() {
            let decision = self.foreseen(rules, &own, class, Action::List);
            if decision.is_undecided() {
                return Ok(Outlook::Undecided);
            }
            classes.extend(decision.reason().is_none().then_some(class));
        }
        if classes.is_empty() {
            return Ok(Outlook::Hidden);
        }
        let Some(key) = self.register().subject_key(&own.cell)? else {
            return Ok(Outlook::Hidden);
        };
        let pseudonym = match rules.activity.id {
            // The application knows ids.
            ActivityId::OWN => Pseudonym(subject.0),
            other => self.register().pseudonym(&key, &own.cell, &other)?,
        };
        Ok(Outlook::Seen(Prospect { subject: *subject, pseudonym, classes }))
    }

    /// Whether something would be allowed now. Nothing is recorded.
    pub(crate) fn would(
        &self,
        rules: &Rules,
        own: &Subject,
        class: ClassId,
        action: Action,
    ) -> bool {
        self.foreseen(rules, own, class, action).reason().is_none()
    }

    /// What would be decided now. Nothing is recorded.
    pub(crate) fn foreseen(
        &self,
        rules: &Rules,
        own: &Subject,
        class: ClassId,
        action: Action,
    ) -> Decision {
        let request = self.request(rules, own.cell.subject, class, action);
        decide(&*rules.point, request, &self.known(rules, Some(own), class))
    }

    /// Everybody an activity would see now. As [`Custodian::prospect`].
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn prospects(&self, rules: &Rules) -> Result<Vec<Prospect>> {
        let mut all = Vec::new();
        for subject in self.candidates(rules)? {
            all.extend(self.prospect(rules, &subject)?);
        }
        Ok(all)
    }

    /// Decides each request and puts all decisions into one record. A grant for each that was allowed.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote meanwhile: follow and ask again. Those of the store. No grant then.
    pub fn lend(&mut self, rules: &Rules, wanted: &[Wanted]) -> Result<Vec<Option<Grant>>> {
        let grants = self.lend_early(rules, wanted)?;
        self.finish()?;
        Ok(grants)
    }

    /// Carries out what [`Custodian::lend_early`] recorded. Nobody else may be writing.
    ///
    /// # Errors
    /// Those of the store; the record counts all the same, and whoever is next makes it good.
    pub fn finish(&mut self) -> Result<()> {
        self.register_mut().finish()
    }

    /// Whether so much of that has come together, or waits for so long, that it is time to.
    pub fn is_finish_due(&self) -> bool {
        self.register().is_finish_due()
    }

    /// The same, with the grants as soon as the record is durable. [`Custodian::finish`] comes some time after it: records
    /// wait for each other, and whoever else writes next carries them out first.
    ///
    /// # Errors
    /// As [`Custodian::lend`].
    pub fn lend_early(&mut self, rules: &Rules, wanted: &[Wanted]) -> Result<Vec<Option<Grant>>> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let mut subjects: BTreeMap<SubjectId, Subject> = BTreeMap::new();
        let mut buckets = Buckets::default();
        for one in wanted {
            if !subjects.contains_key(&one.subject)
                && let Some(own) = register.subject(&one.subject)?
            {
                subjects.insert(one.subject, own);
            }
            let mut own = subjects.get_mut(&one.subject);
            let request = self.request(rules, one.subject, one.class, one.action);
            let request = Request { now: transaction.now, ..request };
            let facts = self.known(rules, own.as_deref(), one.class);
            let decision = decide(&*rules.point, request, &facts);
            if let Some(own) = own.as_ref()
                && one.action == Action::List
                && rules.activity.id != ActivityId::OWN
                && decision.reason().is_none()
                && let Some(key) = register.subject_key(&own.cell)?
            {
                // Whoever is shown a name may ask by it from here on.
                let name = register.pseudonym(&key, &own.cell, &rules.activity.id)?;
                let hash = register.name_hash(&rules.activity.id, &name)?;
                buckets.insert(register, Row { hash, subject: one.subject })?;
            }
            let life = self.life(&rules.description, one.class);
            let fill = |entry: &mut Entry| {
                entry.activity = Some(rules.activity.id);
                entry.class = Some(one.class);
            };
            match own.as_mut() {
                Some(own) => {
                    let detail = Detail { files: one.files.clone(), ..Detail::default() };
                    let detail = (!one.files.is_empty()).then_some(&detail);
                    let decision = Some((decision, life));
                    register.tell(&mut transaction, own, Kind::Access, detail, decision, fill);
                }
                None => {
                    let mut entry = blank(Kind::Access);
                    fill(&mut entry);
                    let decision = Some((decision, life));
                    transaction.draft(Draft { entry, detail: Vec::new(), decision });
                }
            }
        }
        for own in subjects.values_mut() {
            register.put_subject(&mut transaction, own);
        }
        register.put_leaves(&mut transaction, buckets)?;
        Ok(self.register_mut().record(transaction)?.1)
    }

    /// Releases the class that a grant names, on this device.
    ///
    /// # Errors
    /// `Denied` when the grant is over, for another device, or the subject gone; `Corrupt`.
    pub fn release(&self, grant: &Grant) -> Result<OpenClass> {
        let released = self.release_to(grant, &self.services().keys.device_id())?;
        let home = FileHome::new(self.register(), &grant.subject());
        Ok(OpenClass { released, home, store: Arc::clone(&self.services().store) })
    }

    /// Releases the class that a grant names, for the device that it names.
    ///
    /// # Errors
    /// As [`Custodian::release`].
    ///
    /// # Security
    /// What is returned goes to that device, sealed to it, and nowhere else.
    pub fn release_to(&self, grant: &Grant, device: &DeviceId) -> Result<Released> {
        Ok(self.opened(grant, device)?.into_released(grant))
    }

    /// The folder that a grant releases to a device.
    pub(crate) fn opened(&self, grant: &Grant, device: &DeviceId) -> Result<OpenFolder> {
        let (register, subject) = (self.register(), grant.subject());
        if grant.recipient() != *device {
            return Err(Error::denied());
        }
        let own = register.subject(&subject)?.ok_or_else(Error::denied)?;
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        OpenFolder::open(register, grant, &key, &own.cell)
    }

    /// Changes so far of a subject's folders, by class: what [`Released::version`] says.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn versions(&self, subject: &SubjectId) -> Result<Vec<(ClassId, u64)>> {
        let cell = self.register().subject_cell(subject)?;
        let classes = cell.map(|cell| cell.classes).unwrap_or_default();
        Ok(classes.iter().map(|class| (class.class, class.version)).collect())
    }

    fn request(
        &self,
        rules: &Rules,
        subject: SubjectId,
        class: ClassId,
        action: Action,
    ) -> Request {
        Request {
            application: self.register().application(),
            activity: rules.activity.id,
            action,
            subject,
            class,
            purpose: rules.purpose.clone(),
            operator: rules.operator.device,
            now: self.services().clock.now_ns(),
        }
    }

    fn known(&self, rules: &Rules, own: Option<&Subject>, class: ClassId) -> Facts {
        let all = own.map_or(&[][..], |own| &own.record.consents);
        let (consent, others) = answers(all, &rules.activity.id);
        Facts {
            application_active: rules.active,
            activity: Some(rules.activity.clone()),
            subject: own.map(|own| own.cell.state),
            consent,
            others,
            is_special: rules.is_special(class),
            operator_certified: rules.operator.is_certified,
        }
    }
}

impl Released {
    fn key_of(&self, file: &File) -> Result<&ClassKey> {
        let found = self.keys.iter().find(|(generation, _)| *generation == file.generation);
        let lost = || Error::corrupt("a subject's file is sealed under a key that is gone");
        found.map(|(_, key)| key).ok_or_else(lost)
    }
}

impl OpenClass {
    /// A class that a custodian released to this device from elsewhere.
    pub fn lent(store: Arc<dyn Store>, home: FileHome, released: Released) -> Self {
        Self { released, home, store }
    }

    /// Its files, by name.
    pub fn files(&self) -> &[File] {
        &self.released.files
    }

    /// Opens a file of it. Nothing is read yet.
    pub fn file(self: &Arc<Self>, file: &File) -> OpenFile {
        let (class, others) = (Arc::clone(self), Vec::new());
        OpenFile { class, others, file: file.clone(), opener: OnceLock::new() }
    }

    async fn sealed(&self, file: &FileId, range: Range<u64>) -> Result<bytes::Bytes> {
        let (application, name) = (self.home.application.0, u128::from_be_bytes(file.0));
        let key = Key::Policy(PolicyKey { application, shelf: Shelf::Object, name });
        self.store.get(key, Some(range)).await.map_err(|error| match error.kind() {
            StoreKind::NotFound => Error::new(ErrorKind::NotFound, "a subject's file is gone"),
            StoreKind::Corrupt => damaged(),
            _ => Error::new(ErrorKind::Unavailable, "a subject's file cannot be read"),
        })
    }
}

impl OpenFile {
    /// Reads up to `len` bytes; fewer only at the end. Takes no more memory than that and two chunks.
    ///
    /// # Errors
    /// `NotFound` when its bytes have been replaced or removed; `Corrupt`; those of the store.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>> {
        let end = self.file.len.min(offset.saturating_add(u64::from(len)));
        if offset >= end {
            return Ok(Vec::new());
        }
        let (chunk, total) = (CHUNK_LEN as u64, self.file.len);
        let (first, last) = (offset / chunk, (end - 1) / chunk);
        let sealed = |number: u64| PREFIX_LEN as u64 + number * CHUNK_SEALED_LEN as u64;
        let whole = sealed_len(usize::try_from(total).map_err(|_| damaged())?) as u64;
        let range = sealed(first)..sealed(last + 1).min(whole);
        let (opener, bytes) = match self.opener.get() {
            None if first == 0 => {
                // What opens the file lies before its first bytes: both come at once.
                let mut bytes = self.class.sealed(&self.file.id, 0..range.end).await?;
                let prefix = bytes.split_to(PREFIX_LEN.min(bytes.len()));
                (self.opened_by(&prefix)?, bytes)
            }
            _ => (self.opener().await?, self.class.sealed(&self.file.id, range).await?),
        };
        let opened = opener.open(first, &bytes).map_err(|_| damaged())?;
        let from = usize::try_from(offset - first * chunk).map_err(|_| damaged())?;
        let count = usize::try_from(end - offset).map_err(|_| damaged())?;
        let mut plain = opened.into_vec();
        if plain.len() < from + count {
            return Err(damaged());
        }
        plain.truncate(from + count);
        plain.drain(..from);
        Ok(plain)
    }

    async fn opener(&self) -> Result<&Opener> {
        if let Some(opener) = self.opener.get() {
            return Ok(opener);
        }
        let prefix = self.class.sealed(&self.file.id, 0..PREFIX_LEN as u64).await?;
        self.opened_by(&prefix)
    }

    fn opened_by(&self, prefix: &[u8]) -> Result<&Opener> {
        let class = &self.class;
        let opener = if self.others.is_empty() {
            let context = class.home.context(class.released.class, &self.file.id);
            let key = class.released.key_of(&self.file)?;
            Opener::new(key, &context, prefix).map_err(|_| damaged())?
        } else {
            let all: Vec<&OpenClass> =
                iter::once(class).chain(&self.others).map(|own| &**own).collect();
            joint::opener(&all, &self.file.id, prefix)?
        };
        Ok(self.opener.get_or_init(|| opener))
    }
}
