//! The desk of a view on a consumer's own device: it asks a custodian elsewhere, by letters, and holds what that lends.
//!
//! ```text
//! serve ──▶ ask ─▶ courier ─▶ store ─▶ custodian decides, records, releases ─▶ store ─▶ courier ─▶ take in ─▶ answers
//! heard ──▶ gates shut ─▶ kernel told ─▶ acknowledged once the kernel has dropped its pages
//! tend ───▶ leases that are over end; those in use are asked for anew at half their life
//! ```
//!
//! 1. A lease counts from before it was asked for, less a margin: it is over here before it is at the custodian's. One that
//!    answers nothing known here is none, whenever it was written.
//! 2. The desk waits for nobody: letters travel on a thread of their own, so that a lease ends whatever the network does.
//! 3. A custodian that begins a new life is told nothing of the old one: all is shut, and asked for anew. So is it after a refusal,
//!    unless the custodian could not answer just then: its session goes on, and leases end by themselves.

mod courier;
mod needs;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use strongroom_authorizer::Action;
use strongroom_crypto::secret::ClassKey;
use strongroom_format::ids::OrganisationId;
use strongroom_format::organisation::KEM_KEY_LEN;
use strongroom_records::exchange::{Answer, Ask as Letter, Lease, Need, Refusal};
use strongroom_records::ids::{ClassId, FileId, Pseudonym, SubjectId};
use strongroom_steward::{
    Error as StewardError, ErrorKind as StewardKind, FileHome, OpenClass, Prospect, Released,
};
use strongroom_store::Store;
use strongroom_workspace::door::{Change, Mark, Passing};
use strongroom_workspace::error::{Error, ErrorKind};

use crate::desk::{Ask, Request, refused};
use crate::gate::{Compartment, Standing};
use crate::view::Inner;

use courier::{Arrived, Courier, Post};
pub use courier::{Line, Pen, StoreLine};
use needs::Ahead;

/// How soon the desk looks up from waiting.
const PAUSE: Duration = Duration::from_millis(10);
/// LIMIT: how long an ask waits for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// LIMIT: the same once an ask was not answered, until anything is.
const SILENT_LIMIT: Duration = Duration::from_secs(5);
/// LIMIT: needs of one ask.
const NEED_COUNT_MAX: usize = 256;
/// How long what was opened waits for an ask that takes it along.
const OPENED_PAUSE: Duration = Duration::from_secs(2);
/// How long nobody is asked again who has refused, unless somebody waits.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAGE: Pseudonym = Pseudonym([0; 16]);
/// A lease ends here that much before it would: the kernel has dropped its pages by then.
const MARGIN: Duration = Duration::from_millis(250);

/// Who looks from elsewhere.
pub struct FarConsumer {
    /// Name of the application, as the custodian knows it.
    pub application: String,
    /// Name of the activity.
    pub activity: String,
    /// Organisation.
    pub organisation: OrganisationId,
    /// Where files are read from.
    pub store: Arc<dyn Store>,
    /// How letters travel.
    pub line: Box<dyn Line>,
    /// The device, and the custodian's.
    pub pen: Pen,
    /// How often the line is looked at.
    pub poll: Duration,
}

/// The thread's own.
pub(crate) struct FarDesk {
    application: String,
    activity: String,
    organisation: OrganisationId,
    store: Arc<dyn Store>,
    post: Post,
    inner: Arc<Inner>,
    /// Compartments with a lease.
    live: Vec<Arc<Compartment>>,
    class_names: BTreeMap<ClassId, String>,
    /// Asked, and not on its way yet.
    queue: Vec<Request>,
    /// On its way.
    asked: Option<Asked>,
    /// An ask was not answered, and nothing has come since.
    is_silent: bool,
    /// When each ask that may still be answered was sent.
    sent: BTreeMap<u64, Duration>,
    next_ask: u64,
    /// Answer that comes next.
    heard: u64,
    /// Answers before that are in force, with the kernel too.
    in_force: u64,
    /// What was heard before a number is in force once this has passed.
    passing: Option<(Passing, u64)>,
    /// Something was told to be gone, and the custodian waits to hear that it is.
    owes_word: bool,
    incarnation: u64,
    /// Where the next page of people begins; none before somebody wants to know, and once all were read.
    page: Option<Pseudonym>,
    /// Who waits for all pages.
    for_all: Vec<Request>,
    /// Nothing is asked for before that, unless somebody waits.
    quiet_until: Duration,
    ahead: Ahead,
    opened_since: Option<Duration>,
}

/// An ask that waits for its answer.
struct Asked {
    number: u64,
    waiting: Vec<Request>,
    is_page: bool,
}

impl FarDesk {
    pub fn new(consumer: FarConsumer, inner: Arc<Inner>) -> (Self, Courier) {
        let FarConsumer { application, activity, organisation, store, line, pen, poll } = consumer;
        let (post, courier) = courier::pair(line, pen, poll);
        let desk = Self {
            application,
            activity,
            organisation,
            store,
            post,
            inner,
            live: Vec::new(),
            class_names: BTreeMap::new(),
            queue: Vec::new(),
            asked: None,
            is_silent: false,
            sent: BTreeMap::new(),
            next_ask: 0,
            heard: 0,
            in_force: 0,
            passing: None,
            owes_word: false,
            incarnation: 0,
            page: None,
            for_all: Vec::new(),
            quiet_until: Duration::ZERO,
            ahead: Ahead::default(),
            opened_since: None,
        };
        (desk, courier)
    }

    /// Meets the custodian. Whom the activity may see is asked when somebody wants to know.
    ///
    /// # Errors
    /// `Denied` when there is no such activity, or this device is not for it; `Unavailable` when no custodian answers.
    pub fn open(&mut self) -> std::result::Result<(), StewardError> {
        self.send(Vec::new(), vec![Need::Look]);
        while self.asked.is_some() {
            self.inner.pause(PAUSE);
            self.take_in()?;
            if self.is_late() {
                let message = "no custodian answers: is one serving consumers?";
                return Err(StewardError::new(StewardKind::Unavailable, message));
            }
        }
        Ok(())
    }

    /// Until the view is gone.
    pub fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(PAUSE) {
                Ok(first) => self.queue.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.part(),
            }
            self.queue.extend(requests.try_iter().take(NEED_COUNT_MAX));
            if self.queue.iter().any(|request| matches!(request.ask, Ask::End)) {
                return self.part();
            }
            let taken = self.take_in();
            self.inner.note_trouble(taken.as_ref().err().map(ToString::to_string));
            self.lapse();
            if let Err(error) = taken {
                self.fail(&refused(&error));
            }
            if self.is_late() {
                let message = "the custodian does not answer";
                self.inner.note_trouble(Some(message.to_owned()));
                self.is_silent = true;
                let error = Error::new(ErrorKind::Unavailable, message);
                self.fail(&error);
                // Nor would it answer those who came since.
                for request in self.queue.drain(..) {
                    // Whoever asked may have given up.
                    let _ = request.reply.send(Err(error.clone()));
                }
            }
            self.speak();
        }
    }

    /// ORDER: with everything shut, nothing is opened any more that would not be told.
    fn part(&mut self) {
        self.close();
        while self.inner.has_opened() {
            self.write(Vec::new());
        }
        self.write(vec![Need::End]);
    }

    fn now(&self) -> Duration {
        self.inner.clock.since_boot()
    }

    fn is_late(&self) -> bool {
        let sent = self.asked.as_ref().and_then(|asked| self.sent.get(&asked.number));
        let limit = if self.is_silent { SILENT_LIMIT } else { ANSWER_LIMIT };
        sent.is_some_and(|sent| self.now() >= *sent + limit)
    }

    fn fail(&mut self, error: &Error) {
        let asked = self.asked.take().into_iter().flat_map(|asked| asked.waiting);
        for request in asked.chain(std::mem::take(&mut self.for_all)) {
            // Whoever asked may have given up.
            let _ = request.reply.send(Err(error.clone()));
        }
    }

    /// Takes in what has arrived. Whatever else goes wrong, what is told to be gone is gone.
    fn take_in(&mut self) -> std::result::Result<(), StewardError> {
        loop {
            match self.post.arrived() {
                Arrived::Nothing => return Ok(()),
                Arrived::Trouble(error) => return Err(error),
                Arrived::Letter { incarnation, answer } => {
                    if self.incarnation != 0 && incarnation != self.incarnation {
                        self.begin_anew();
                    }
                    self.incarnation = incarnation;
                    self.is_silent = false;
                    self.heard += 1;
                    self.obey(&answer)?;
                }
            }
        }
    }

    /// Another life of the counter knows nothing of what this one was told.
    fn begin_anew(&mut self) {
        self.close();
        let was_read = std::mem::replace(&mut self.inner.state.lock().is_read, false);
        self.page = (was_read || self.page.is_some()).then_some(FIRST_PAGE);
    }

    fn obey(&mut self, answer: &Answer) -> std::result::Result<(), StewardError> {
        for gone in &answer.gone {
            let left = self.classes_of(&gone.subject, |class| !gone.classes.contains(&class));
            self.settle(&gone.subject, left);
        }
        for subject in &answer.changed {
            self.rename(subject);
        }
        if !answer.gone.is_empty() || !answer.changed.is_empty() {
            // What is in force is also what the kernel knows.
            let (mark, passing) = Mark::new();
            self.inner.tell(Change::Mark(mark));
            (self.passing, self.owes_word) = (Some((passing, self.heard)), true);
        }
        let sent = answer.to.and_then(|to| self.sent.remove(&to));
        for lease in &answer.leases {
            self.admit(answer, lease, sent);
        }
        // Told unasked that there are more people: they are asked for, so that their leases count from then.
        if answer.to.is_none() && answer.next.is_some() {
            self.page = answer.next;
        }
        self.inner.count(answer.leases.len());
        if let Some(refusal) = answer.refusal {
            if refusal != Refusal::Unavailable {
                // The custodian has forgotten the session, whichever ask it was.
                self.begin_anew();
            }
            self.quiet_until = self.now() + REFUSED_PAUSE;
        }
        match self.asked.take_if(|asked| answer.to == Some(asked.number)) {
            Some(asked) => self.close_ask(asked, answer),
            None => Ok(()),
        }
    }

    fn close_ask(
        &mut self,
        asked: Asked,
        answer: &Answer,
    ) -> std::result::Result<(), StewardError> {
        if asked.is_page && answer.refusal.is_none() {
            self.page = answer.next;
            self.end_pages();
        }
        let done = answer.refusal.map_or(Ok(()), |refusal| Err(turned_away(refusal)));
        let apart = if done.is_err() { std::mem::take(&mut self.for_all) } else { Vec::new() };
        for request in asked.waiting.into_iter().chain(apart) {
            // Whoever asked may have given up.
            let _ = request.reply.send(done.clone().map_err(|error| refused(&error)));
        }
        done
    }

    /// After the last page it is known who may be seen.
    fn end_pages(&mut self) {
        if self.page.is_some() {
            return;
        }
        self.inner.state.lock().is_read = true;
        for request in self.for_all.drain(..) {
            // Whoever asked may have given up.
            let _ = request.reply.send(Ok(()));
        }
    }

    /// Whoever wants to know who may be seen waits for all pages.
    fn set_apart(&mut self) {
        let is_for_all = |request: &mut Request| matches!(request.ask, Ask::Everybody);
        self.for_all.extend(self.queue.extract_if(.., is_for_all));
        if self.for_all.is_empty() || self.page.is_some() {
            return;
        }
        let is_read = self.inner.state.lock().is_read;
        match is_read {
            true => self.end_pages(),
            false => self.page = Some(FIRST_PAGE),
        }
    }

    /// Classes of a subject that the view has and that stay.
    fn classes_of(&self, subject: &SubjectId, stays: impl Fn(ClassId) -> bool) -> Option<Prospect> {
        let state = self.inner.state.lock();
        let own = &state.person_of(subject)?.compartments;
        let pseudonym = own.first()?.pseudonym;
        let classes: Vec<ClassId> =
            own.iter().map(|own| own.class).filter(|class| stays(*class)).collect();
        (!classes.is_empty()).then_some(Prospect { subject: *subject, pseudonym, classes })
    }

    fn settle(&mut self, subject: &SubjectId, prospect: Option<Prospect>) {
        let names = &self.class_names;
        let name = |class: ClassId| names.get(&class).cloned().unwrap_or_default();
        let settled = self.inner.state.lock().settle(subject, prospect, name);
        self.live.retain(|own| !settled.gone.iter().any(|gone| Arc::ptr_eq(own, gone)));
        self.tell(settled.changes);
    }

    /// Files may have come and gone: names are asked for anew.
    fn rename(&mut self, subject: &SubjectId) {
        let mut changes = Vec::new();
        let state = self.inner.state.lock();
        for own in state.person_of(subject).map_or(&[][..], |person| &person.compartments) {
            own.forget_names();
            own.lapse_reading();
            changes.extend(state.renamed(own));
        }
        drop(state);
        self.tell(changes);
    }

    fn tell(&self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.inner.tell(change));
    }

    /// Takes a lease; it counts from before it was asked for. Where nobody knows when that was, whom it is about is known from
    /// here on, and has to be asked for anew.
    fn admit(&mut self, answer: &Answer, lease: &Lease, sent: Option<Duration>) {
        self.class_names.insert(lease.class, lease.class_name.clone());
        let known = self.classes_of(&lease.subject, |_| true);
        let has_it = known.as_ref().is_some_and(|own| {
            own.pseudonym == lease.pseudonym && own.classes.contains(&lease.class)
        });
        if !has_it {
            let mut classes = known.map(|own| own.classes).unwrap_or_default();
            classes.push(lease.class);
            classes.sort();
            let (subject, pseudonym) = (lease.subject, lease.pseudonym);
            self.settle(&lease.subject, Some(Prospect { subject, pseudonym, classes }));
        }
        let Some(own) = self.compartment(&lease.subject, lease.class) else { return };
        let Some(sent) = sent else { return };
        let end = sent + Duration::from_nanos(lease.life).saturating_sub(MARGIN);
        let class = self.class(answer, lease);
        match lease.action {
            action if action == Action::List.number() => own.show_lent(class, end),
            action if action == Action::Open.number() => {
                let mut files: Vec<FileId> = lease.files.iter().map(|file| file.id).collect();
                // Who knew a file before its keys were new knows it by another id; whether it is the same is seen as it is read.
                files.extend(self.inner.state.lock().known_files(&own));
                own.admit(class, &files, sent, end);
                self.note_read_on(&own);
            }
            // Of a newer custodian.
            _ => return,
        }
        if !self.live.iter().any(|live| Arc::ptr_eq(live, &own)) {
            self.live.push(own);
        }
    }

    /// What is open is read on under a new lease, also from pages that the kernel has: nobody is asked then.
    fn note_read_on(&self, own: &Arc<Compartment>) {
        let (state, now) = (self.inner.state.lock(), self.now());
        for handle in state.open_handles(own) {
            if let Standing::Live(class) = own.reads(&handle.file.id, now)
                && let Some(file) = handle.found(&class)
            {
                self.inner.note_opened(own, &file.id);
            }
        }
    }

    fn class(&self, answer: &Answer, lease: &Lease) -> OpenClass {
        let key = |lent: &strongroom_records::exchange::LentKey| {
            (lent.generation, ClassKey::from_bytes(&lent.key.0))
        };
        let released = Released {
            class: lease.class,
            keys: lease.keys.iter().map(key).collect(),
            files: lease.files.clone(),
            // A lease that comes by letter says nothing of them.
            joint: Vec::new(),
            version: 0,
        };
        let (organisation, application) = (self.organisation, answer.application);
        let home = FileHome { organisation, application, subject: lease.subject };
        OpenClass::lent(Arc::clone(&self.store), home, released)
    }

    fn compartment(&self, subject: &SubjectId, class: ClassId) -> Option<Arc<Compartment>> {
        let state = self.inner.state.lock();
        let own = &state.person_of(subject)?.compartments;
        own.iter().find(|own| own.class == class).cloned()
    }

    fn lapse(&mut self) {
        self.inner.lapse(&mut self.live);
    }

    /// Shuts everything: what is open reads no more.
    fn close(&mut self) {
        let all = self.inner.state.lock().subjects();
        for subject in all {
            self.settle(&subject, None);
        }
    }

    /// Asks for what is needed; says what was heard and opened.
    fn speak(&mut self) {
        self.see_passed();
        self.set_apart();
        let now = self.now();
        let is_wanted = !self.queue.is_empty() || !self.for_all.is_empty();
        let is_loud = now >= self.quiet_until;
        let is_page = self.page.is_some() && (is_loud || is_wanted);
        let is_renewal = is_loud && self.wants_renewal(now);
        if self.asked.is_none() && (is_page || !self.queue.is_empty() || is_renewal) {
            let waiting = std::mem::take(&mut self.queue);
            let needs = self.needs(&waiting);
            if is_page || !needs.is_empty() {
                return self.send(waiting, needs);
            }
            for request in waiting {
                // Whoever asked may have given up.
                let _ = request.reply.send(Ok(()));
            }
        }
        let has_word = self.owes_word && self.passing.is_none();
        let is_told_late =
            self.inner.has_opened() && now >= *self.opened_since.get_or_insert(now) + OPENED_PAUSE;
        if has_word || is_told_late || self.inner.has_opened_much() {
            self.write(Vec::new());
        }
    }

    fn see_passed(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        match &mut self.passing {
            Some((passing, heard)) => {
                if Pin::new(passing).poll(&mut context) == Poll::Ready(()) {
                    self.in_force = *heard;
                    self.passing = None;
                }
            }
            None => self.in_force = self.heard,
        }
    }

    /// Sends an ask that is answered, with the next page of people where there is one.
    fn send(&mut self, waiting: Vec<Request>, mut needs: Vec<Need>) {
        needs.extend(self.page.map(Need::Page));
        let is_page = self.page.is_some();
        self.asked = Some(Asked { number: self.next_ask, waiting, is_page });
        self.write(needs);
    }

    fn write(&mut self, needs: Vec<Need>) {
        let number = self.next_ask;
        self.next_ask += 1;
        if !needs.is_empty() {
            self.sent.insert(number, self.now());
        }
        while self.sent.len() > NEED_COUNT_MAX {
            self.sent.pop_first();
        }
        self.see_passed();
        self.owes_word &= self.passing.is_some();
        self.opened_since = None;
        let ask = Letter {
            application: self.application.clone(),
            activity: self.activity.clone(),
            // ORDER: what is not in force yet is not acknowledged.
            heard: self.in_force,
            needs,
            opened: self.inner.take_opened(),
            // Both are the courier's.
            expects: 0,
            answer_key: [0; KEM_KEY_LEN],
        };
        self.post.send(number, self.incarnation, ask);
    }
}

/// However the thread ends, nothing is read after it.
impl Drop for FarDesk {
    fn drop(&mut self) {
        self.close();
    }
}

fn turned_away(refusal: Refusal) -> StewardError {
    let (kind, message) = match refusal {
        Refusal::Denied => (StewardKind::Denied, "not allowed"),
        Refusal::Unavailable => (StewardKind::Unavailable, "the custodian cannot answer now"),
        Refusal::Damaged => (StewardKind::Corrupt, "the register is damaged"),
        Refusal::Locked => (StewardKind::Locked, "the custodian lacks the application key"),
    };
    StewardError::new(kind, message)
}
