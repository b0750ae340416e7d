//! The desk: the one thread of a view that decides, records and releases, and that follows what others record.
//!
//! ```text
//! look ──▶ follow the register ─▶ whose prospects changed? ─▶ gates shut, kernel told
//! serve ─▶ fence ─▶ catch up, look ─▶ one record for all that was asked ─▶ release ─▶ fence down ─▶ answers
//! tend ──▶ leases that are over end; those in use are renewed at half their life, by a full decision
//! ```
//!
//! ORDER: a gate is shut before the kernel is told to drop pages, and nothing is answered from behind a gate that is shut.

mod people;
mod works;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_records::activity::Reach;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_steward::{
    Custodian, Error as StewardError, ErrorKind as StewardKind, Fence, Fenced, Rules, Stewardship,
    Wanted,
};
use strongroom_workspace::door::Change;
use strongroom_workspace::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::gate::{Compartment, Standing};
use crate::key::Key;
use crate::parties::Parties;
use crate::view::{Consumer, Inner};
use people::{Beside, People};
pub(crate) use works::Work;
use works::{Asked, UnderWay};

/// LIMIT: requests that are answered by one record.
const BATCH_COUNT_MAX: usize = 256;
/// LIMIT: how often a record is tried again that somebody else's came before.
const CONFLICT_COUNT_MAX: u32 = 50;
/// LIMIT: followed records whose cells are kept in memory until nobody else writes.
const BEHIND_COUNT_MAX: u64 = 1024;

/// What a kernel request has to wait for.
#[derive(Clone)]
pub(crate) enum Ask {
    /// These people may be shown.
    Show(Vec<SubjectId>),
    /// The names in a class may be shown.
    Names(Arc<Compartment>),
    /// These classes of people may be shown.
    ShowEach(Vec<Arc<Compartment>>),
    /// A file may be read.
    Read(Parties, FileId),
    /// Everything recorded so far is in force here.
    Look,
    /// It is known who may be seen.
    Everybody,
    /// It is known whether this one may be.
    Meet(SubjectId),
    /// Something is on record.
    Write(Work),
    /// Nothing: a file has come to the store, or has not.
    Sent,
    /// The view ends.
    End,
}

impl Ask {
    /// What several ask for, one after the other, that classes are shown: in one record.
    pub fn together(all: Vec<Self>) -> Self {
        let mut each: Vec<Arc<Compartment>> = Vec::new();
        for ask in all {
            let Self::ShowEach(some) = ask else { return ask };
            for own in some {
                if !each.iter().any(|known| Arc::ptr_eq(known, &own)) {
                    each.push(own);
                }
            }
        }
        Self::ShowEach(each)
    }
}

/// A request and who waits for it.
pub(crate) struct Request {
    pub ask: Ask,
    pub reply: oneshot::Sender<Result<()>>,
}

/// The thread's own.
pub(crate) struct Desk {
    stewardship: Stewardship,
    custodian: Custodian,
    activity: Option<String>,
    rules: Rules,
    fence: Fence,
    poll: Duration,
    inner: Arc<Inner>,
    /// Compartments with a lease.
    live: Vec<Arc<Compartment>>,
    people: People,
    beside: VecDeque<Beside>,
    /// Recorded by others and not decided anew yet.
    stale_rules: bool,
    stale: BTreeSet<SubjectId>,
    /// Those about whom somebody else's decision point said nothing, and when it is asked again.
    undecided: BTreeSet<SubjectId>,
    again_at: Duration,
    stranger_told: Option<Duration>,
    /// Records followed since the store was last made sure of.
    behind: u64,
    /// What was asked while others wrote.
    queue: VecDeque<Request>,
    /// What is to be put on record, in the order in which it was asked, and the file of it that is on its way to the store.
    works: VecDeque<Asked>,
    under_way: Option<UnderWay>,
    /// Somebody asked for the end.
    is_ending: bool,
    key: Key,
}

/// Requests by compartment: whether names are wanted, which files.
type Needs = Vec<(Arc<Compartment>, Need)>;

#[derive(Clone, Default)]
struct Need {
    shown: bool,
    names: bool,
    files: Vec<FileId>,
}

impl Desk {
    /// Reads what holds for the activity, and nobody yet.
    pub fn open(consumer: Consumer, inner: Arc<Inner>) -> std::result::Result<Self, StewardError> {
        let Consumer { stewardship, custodian, activity, fence, poll } = consumer;
        let rules = rules(&custodian, activity.as_deref())?;
        inner.allow_writing(rules.activity().reach == Reach::Write);
        let mut desk = Self {
            stewardship,
            custodian,
            activity,
            rules,
            fence,
            poll,
            inner,
            live: Vec::new(),
            people: People::Unread,
            beside: VecDeque::new(),
            stale_rules: true,
            stale: BTreeSet::new(),
            undecided: BTreeSet::new(),
            again_at: Duration::ZERO,
            stranger_told: None,
            behind: 0,
            queue: VecDeque::new(),
            works: VecDeque::new(),
            under_way: None,
            is_ending: false,
            key: Key::default(),
        };
        desk.look()?;
        Ok(desk)
    }

    /// Until the view is gone.
    pub fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let pause = match self.people {
                _ if !self.queue.is_empty() || !self.beside.is_empty() => Duration::ZERO,
                People::Reading(..) => Duration::ZERO,
                People::Unread | People::Read => self.poll,
            };
            match requests.recv_timeout(pause) {
                Ok(first) => self.queue.push_back(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            self.watch_for(requests);
            if self.is_ending {
                self.gather_works();
                self.let_go();
                drop(self.write_all(None, requests));
                if self.under_way.is_none() {
                    return self.end();
                }
                continue;
            }
            let asked = self.queue.len().min(BATCH_COUNT_MAX);
            let asked: Vec<Request> = self.queue.drain(..asked).collect();
            let (mut needs, mut replies) = (Needs::new(), Vec::new());
            for Request { ask, reply } in asked {
                match ask {
                    Ask::Everybody => self.read_for(reply),
                    Ask::Meet(subject) => answer(reply, self.meet(&subject)),
                    Ask::Write(work) => self.works.push_back((work, reply)),
                    Ask::ShowEach(left) => self.beside.push_back(Beside { left, reply }),
                    ask => {
                        self.gather(ask, &mut needs);
                        replies.push(reply);
                    }
                }
            }
            self.read_some();
            replies.extend(self.gather_beside(&mut needs));
            self.renewals(&mut needs);
            let (done, guard) = self.serve(&needs, requests);
            if done.is_err() {
                // Nobody is told that all of theirs are shown.
                replies.extend(self.beside.drain(..).map(|beside| beside.reply));
            }
            replies.into_iter().for_each(|reply| answer(reply, done.clone()));
            let guard = self.write_all(guard, requests);
            self.finish(guard);
            self.tell_strangers();
        }
    }

    /// What is not carried out now is by whoever opens the register next.
    fn end(&mut self) {
        if let Some(_guard) = self.fence.try_raise() {
            let _ = self.custodian.finish();
        }
    }

    /// Shuts everything: what is open reads no more.
    fn close(&mut self) {
        let all = self.inner.state.lock().subjects();
        for subject in all {
            self.settle(&subject, None);
        }
    }

    fn now(&self) -> Duration {
        self.inner.clock.since_boot()
    }

    /// Follows, and tells those who only wait for that: they wait for nobody's lease, and not until others have written.
    fn watch_for(&mut self, requests: &Receiver<Request>) {
        // ORDER: what was asked before this look is answered by it; what comes later waits for the next.
        self.queue.extend(requests.try_iter().take(BATCH_COUNT_MAX));
        let watched = self.watch().map_err(|error| refused(&error));
        for request in std::mem::take(&mut self.queue) {
            match request.ask {
                Ask::Look => answer(request.reply, watched.clone()),
                Ask::End => self.is_ending = true,
                _ => self.queue.push_back(request),
            }
        }
    }

    /// Follows, and ends leases that are over. What cannot be trusted ends everything.
    fn watch(&mut self) -> std::result::Result<(), StewardError> {
        let looked = self.look();
        if looked.is_err() {
            self.key.obtain(&self.custodian);
        }
        let undecided = (!self.undecided.is_empty()).then_some("a decision point does not answer");
        let trouble = looked.as_ref().err().map(ToString::to_string);
        self.inner.note_trouble(trouble.or_else(|| undecided.map(str::to_owned)));
        let passes = |kind| {
            use StewardKind as S;
            matches!(kind, S::Unavailable | S::Conflict | S::Full | S::ReadOnly)
        };
        if looked.as_ref().is_err_and(|error| !passes(error.kind())) {
            self.close();
            self.stale_rules = true;
        }
        self.lapse();
        if self.behind > BEHIND_COUNT_MAX
            && let Some(_guard) = self.fence.try_raise()
            && self.custodian.catch_up().is_ok()
        {
            self.behind = 0;
        }
        looked
    }

    /// Follows, and decides anew what that concerns. What cannot be decided is shut until it can be.
    fn look(&mut self) -> std::result::Result<(), StewardError> {
        if self.now() >= self.again_at {
            self.stale.append(&mut self.undecided);
        }
        loop {
            self.stewardship.follow()?;
            let id = self.custodian.listed().application.to_string();
            let line = self.stewardship.find(&id)?.clone();
            // ORDER: what is known counts, also when what follows cannot be read.
            self.stale_rules |= self.custodian.relist(&line);
            let news = self.custodian.follow()?;
            self.behind += news.records;
            self.stale_rules |= news.rules;
            self.stale.extend(news.subjects);
            let Err(error) = self.decide_anew() else { return Ok(()) };
            // Whoever writes meanwhile takes away what its record replaced: with that record all is there again.
            if !self.custodian.is_overtaken(&error)? {
                self.shut_undecided();
                return Err(error);
            }
        }
    }

    fn decide_anew(&mut self) -> std::result::Result<(), StewardError> {
        if self.stale_rules {
            self.reconsider_all()?;
            self.stale_rules = false;
            self.stale.clear();
        }
        while let Some(subject) = self.stale.first().copied() {
            self.reconsider(&subject)?;
            self.stale.remove(&subject);
        }
        Ok(())
    }

    fn shut_undecided(&mut self) {
        if self.stale_rules {
            return self.close();
        }
        for subject in self.stale.clone() {
            self.settle(&subject, None);
        }
    }

    /// Files of somebody may have come and gone.
    fn forget_files(&self, subject: &SubjectId) {
        let mut changes = Vec::new();
        let state = self.inner.state.lock();
        for compartment in state.person_of(subject).map_or(&[][..], |person| &person.compartments) {
            compartment.forget_names();
            changes.extend(state.renamed(compartment));
        }
        drop(state);
        self.tell(changes);
    }

    fn settle(&mut self, subject: &SubjectId, prospect: Option<strongroom_steward::Prospect>) {
        let name = |class: ClassId| self.rules.class_name(class);
        let settled = self.inner.state.lock().settle(subject, prospect, name);
        self.live.retain(|own| !settled.gone.iter().any(|gone| Arc::ptr_eq(own, gone)));
        self.tell(settled.changes);
    }

    fn tell(&self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.inner.tell(change));
    }

    fn lapse(&mut self) {
        self.inner.lapse(&mut self.live);
    }

    fn gather(&self, ask: Ask, needs: &mut Needs) {
        match ask {
            Ask::Look
            | Ask::Everybody
            | Ask::Meet(_)
            | Ask::ShowEach(_)
            | Ask::Write(_)
            | Ask::Sent
            | Ask::End => {}
            Ask::Show(subjects) => {
                let state = self.inner.state.lock();
                for person in subjects.iter().filter_map(|subject| state.person_of(subject)) {
                    for compartment in &person.compartments {
                        need(needs, compartment).shown = true;
                    }
                }
            }
            Ask::Names(compartment) => {
                let need = need(needs, &compartment);
                (need.shown, need.names) = (true, true);
            }
            Ask::Read(parties, file) => {
                for compartment in parties.all() {
                    let files = &mut need(needs, compartment).files;
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
        }
    }

    /// Leases in use, past their half.
    fn renewals(&self, needs: &mut Needs) {
        let now = self.now();
        for compartment in self.live.iter().filter(|own| own.wants_renewal(now)) {
            let open = self.inner.state.lock().open_files(compartment);
            if open.is_empty() {
                // What is open is about somebody else as well, and gone with them: nobody uses this lease.
                continue;
            }
            let files = &mut need(needs, compartment).files;
            files.extend(open);
            files.sort();
            files.dedup();
        }
    }

    /// Decides, records, releases what is needed. What was refused is gone from the view when this returns. The fence stays
    /// up until the record is carried out as well, which nobody has to wait for.
    fn serve(
        &mut self,
        needs: &Needs,
        requests: &Receiver<Request>,
    ) -> (Result<()>, Option<Fenced>) {
        if needs.is_empty() {
            return (Ok(()), None);
        }
        let guard = match self.wait_for_fence(requests) {
            Ok(guard) => guard,
            Err(error) => return (Err(error), None),
        };
        let served = self.serve_alone(needs).map_err(|error| refused(&error));
        if served.is_err() {
            self.key.obtain(&self.custodian);
        }
        self.inner.note_trouble(served.as_ref().err().map(ToString::to_string));
        (served, Some(guard))
    }

    /// What follows from records is carried out for many together: none waits longer than a second, and nobody for it.
    fn finish(&mut self, guard: Option<Fenced>) {
        if !self.custodian.is_finish_due() {
            return;
        }
        let Some(_guard) = guard.or_else(|| self.fence.try_raise()) else { return };
        if let Err(error) = self.custodian.finish() {
            self.inner.note_trouble(Some(error.to_string()));
        }
    }

    /// While others write, what they record is followed: a withdrawal does not wait for us, nor we for more than it.
    fn wait_for_fence(&mut self, requests: &Receiver<Request>) -> Result<Fenced> {
        let (fence, inner) = (self.fence.clone(), Arc::clone(&self.inner));
        let raised = fence.raise(&*inner.clock, || {
            // Trouble is noted, and met again under the fence.
            self.watch_for(requests);
            Ok(())
        });
        raised.map_err(|error| refused(&error))
    }

    fn serve_alone(&mut self, needs: &Needs) -> std::result::Result<(), StewardError> {
        for _ in 0..CONFLICT_COUNT_MAX {
            self.look()?;
            self.custodian.catch_up()?;
            let wanted = self.wanted(needs);
            // ORDER: the lease's own clock starts before the custodian's does.
            let now = self.now();
            let asked: Vec<Wanted> = wanted.iter().map(|(_, wanted)| wanted.clone()).collect();
            let grants = match asked.is_empty() {
                true => Vec::new(),
                false => match self.custodian.lend_early(&self.rules, &asked) {
                    Err(error) if error.kind() == StewardKind::Conflict => continue,
                    grants => grants?,
                },
            };
            self.inner.count(asked.len());
            for ((compartment, wanted), grant) in wanted.into_iter().zip(grants) {
                match grant {
                    Some(grant) => self.admit(&compartment, &wanted, grant, now)?,
                    None => self.reconsider(&wanted.subject)?,
                }
            }
            for (compartment, _) in needs.iter().filter(|(_, need)| need.names) {
                let custodian = &self.custodian;
                let Some(class) = compartment.open_names(|grant| custodian.release(grant))? else {
                    continue;
                };
                // ORDER: names are shown once all are met who decide which of them are, or files would be missing for a lease.
                self.meet_others(compartment, &class)?;
                compartment.show_names(class);
            }
            return Ok(());
        }
        Err(StewardError::new(StewardKind::Unavailable, "others write all the time"))
    }

    /// What needs a record: what no live lease covers.
    fn wanted(&self, needs: &Needs) -> Vec<(Arc<Compartment>, Wanted)> {
        let now = self.now();
        let mut wanted = Vec::new();
        for (compartment, need) in needs {
            let (subject, class) = (compartment.subject, compartment.class);
            if need.shown && matches!(compartment.shown(now), Standing::Lapsed) {
                let files = Vec::new();
                let one = Wanted { subject, class, action: Action::List, files };
                wanted.push((Arc::clone(compartment), one));
            }
            let is_lapsed =
                |file: &&FileId| matches!(compartment.reads(file, now), Standing::Lapsed);
            let mut files: Vec<FileId> = need.files.iter().filter(is_lapsed).copied().collect();
            if compartment.wants_renewal(now) {
                files.clone_from(&need.files);
            }
            if !files.is_empty() && !matches!(compartment.shown(now), Standing::Shut) {
                let one = Wanted { subject, class, action: Action::Open, files };
                wanted.push((Arc::clone(compartment), one));
            }
        }
        wanted
    }

    fn admit(
        &mut self,
        compartment: &Arc<Compartment>,
        wanted: &Wanted,
        grant: Grant,
        now: Duration,
    ) -> std::result::Result<(), StewardError> {
        let life = u64::try_from(grant.end().saturating_sub(grant.begin())).unwrap_or(0);
        let end = now + Duration::from_nanos(life);
        match wanted.action {
            Action::List => compartment.show(grant, end),
            Action::Open | Action::Write | Action::Export => {
                let class = self.custodian.release(&grant)?;
                compartment.admit(class, &wanted.files, now, end);
            }
        }
        if !self.live.iter().any(|own| Arc::ptr_eq(own, compartment)) {
            self.live.push(Arc::clone(compartment));
        }
        Ok(())
    }
}

/// However the thread ends, nothing is read after it.
impl Drop for Desk {
    fn drop(&mut self) {
        self.inner.note_unwritten();
        self.close();
    }
}

/// What holds for an activity, or for the application's own work.
fn rules(
    custodian: &Custodian,
    activity: Option<&str>,
) -> std::result::Result<Rules, StewardError> {
    activity.map_or_else(|| custodian.own_rules(), |activity| custodian.rules(activity))
}

/// Whoever asked may have given up.
fn answer(reply: oneshot::Sender<Result<()>>, done: Result<()>) {
    let _ = reply.send(done);
}

fn need<'n>(needs: &'n mut Needs, compartment: &Arc<Compartment>) -> &'n mut Need {
    let at = needs.iter().position(|(own, _)| Arc::ptr_eq(own, compartment));
    let at = at.unwrap_or_else(|| {
        needs.push((Arc::clone(compartment), Need::default()));
        needs.len() - 1
    });
    &mut needs[at].1
}

/// A steward's refusal, as the filesystem says it.
pub(crate) fn refused(error: &StewardError) -> Error {
    use StewardKind as S;
    let kind = match error.kind() {
        S::NotFound => ErrorKind::Stale,
        S::Denied | S::Held => ErrorKind::Denied,
        S::Locked => ErrorKind::Locked,
        S::Forked | S::Corrupt => ErrorKind::Corrupt,
        S::Unavailable | S::Conflict => ErrorKind::Unavailable,
        S::Full => ErrorKind::Full,
        S::ReadOnly => ErrorKind::ReadOnly,
        S::Unsupported => ErrorKind::Unsupported,
        S::Exists | S::Invalid | S::Internal => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string())
}
