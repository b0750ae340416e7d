//! Starting a view, and what its threads share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use strongroom_host::clock::Clock;
use strongroom_host::thread;
use strongroom_records::exchange::OpenedFiles;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_steward::{Custodian, Error, ErrorKind, Fence, Stewardship};
use strongroom_workspace::door::{Change, Mark, Passing, TimeNs};
use tokio::sync::oneshot;

use crate::desk::{Ask, Desk, Request, Work};
use crate::draft::{Draft, Room};
use crate::far::{FarConsumer, FarDesk};
use crate::gate::Compartment;
use crate::state::State;
use crate::unwritten::{Last, Unwritten};

/// LIMIT: how long one waits to hear that what was recorded is in force. No command waits for as long; a view that was late is
/// asked again once it has said so.
const FOLLOW_LIMIT: Duration = Duration::from_secs(10);

/// LIMIT: how long the end of a view waits until what was opened is told, and until what is about to go on record is there.
pub(crate) const END_LIMIT: Duration = Duration::from_secs(5);
/// LIMIT: how long it waits until what was written is on record. A store that stands still says so before.
const WRITTEN_LIMIT: Duration = Duration::from_secs(60);
/// LIMIT: classes, and files of them, that one ask says were opened: as many as a custodian takes in at a time.
const TOLD_CLASS_COUNT_MAX: usize = 256;
const TOLD_FILE_COUNT_MAX: usize = 8192;

/// Who looks, and through whom.
pub struct Consumer {
    /// The list of applications.
    pub stewardship: Stewardship,
    /// The application.
    pub custodian: Custodian,
    /// Name of the activity; none is the application's own work.
    pub activity: Option<String>,
    /// Keeps other writers out.
    pub fence: Fence,
    /// How often the register is looked at for what others recorded.
    pub poll: Duration,
}

/// What one activity may see, as a filesystem. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub struct View {
    pub(crate) inner: Arc<Inner>,
    requests: Sender<Request>,
}

pub(crate) struct Inner {
    pub state: Mutex<State>,
    pub clock: Arc<dyn Clock>,
    changes: Sender<Change>,
    /// Who all of it belongs to.
    pub owner: (u32, u32),
    /// Time of folders: tells nothing about people.
    pub began: TimeNs,
    /// None is the application's own work.
    activity: Option<String>,
    application: String,
    /// Memory for what is being written.
    pub room: Arc<Room>,
    may_write: AtomicBool,
    news: Mutex<Option<Receiver<Change>>>,
    trouble: Mutex<Option<String>>,
    stranger: AtomicBool,
    recorded: AtomicU64,
    opening: Opening,
    opened: Mutex<BTreeMap<(SubjectId, ClassId), BTreeSet<FileId>>>,
    pub unwritten: Unwritten,
    /// Passes once everything of it has ended.
    ending: Mutex<Option<Passing>>,
}

impl View {
    /// Reads whom the activity may see, and follows from then on. `owner` is whose the files shall be.
    ///
    /// # Errors
    /// `Denied` when there is no such activity; `Corrupt`; `Internal` when no thread can be started.
    pub fn start(
        consumer: Consumer,
        clock: Arc<dyn Clock>,
        owner: (u32, u32),
    ) -> Result<Self, Error> {
        let names = (consumer.activity.clone(), consumer.custodian.listed().name.clone());
        let inner = Inner::new(names, clock, owner, Opening::IsDecided);
        let desk = Desk::open(consumer, Arc::clone(&inner))?;
        let end = inner.ends();
        let (requests, asked) = mpsc::channel();
        let work = move || {
            desk.run(&asked);
            drop(end);
        };
        thread::spawn("view-desk", work).map_err(no_thread)?;
        Ok(Self { inner, requests })
    }

    /// The same on a consumer's own device: a custodian elsewhere decides and lends.
    ///
    /// # Errors
    /// `Denied` when there is no such activity, or this device is not for it; `Unavailable` when no custodian answers.
    pub fn start_far(
        consumer: FarConsumer,
        clock: Arc<dyn Clock>,
        owner: (u32, u32),
    ) -> Result<Self, Error> {
        let names = (Some(consumer.activity.clone()), consumer.application.clone());
        let inner = Inner::new(names, clock, owner, Opening::IsTold);
        let (mut desk, courier) = FarDesk::new(consumer, Arc::clone(&inner));
        // The courier ends after the desk, once all is sent.
        let end = inner.ends();
        let work = move || {
            courier.run();
            drop(end);
        };
        thread::spawn("view-courier", work).map_err(no_thread)?;
        desk.open()?;
        let (requests, asked) = mpsc::channel();
        let started = thread::spawn("view-desk", move || desk.run(&asked));
        started.map_err(no_thread)?;
        Ok(Self { inner, requests })
    }

    /// Whether files may be written, as far as is known now.
    pub fn may_write(&self) -> bool {
        self.inner.may_write.load(Ordering::Relaxed)
    }

    /// Hands a request to the desk that nobody waits for.
    pub(crate) fn send(&self, ask: Ask) {
        let (reply, _) = oneshot::channel();
        // A desk that is gone does nothing any more.
        let _ = self.requests.send(Request { ask, reply });
    }

    /// What puts a draft on record.
    pub(crate) fn work_of(&self, draft: Arc<Draft>) -> Work {
        Work::Put(draft, self.requests.clone())
    }

    /// Hands a request to the desk and waits for it.
    pub(crate) async fn ask(&self, ask: Ask) -> strongroom_workspace::error::Result<()> {
        use strongroom_workspace::error::{Error, ErrorKind};
        let gone = || Error::new(ErrorKind::Unavailable, "the view has ended");
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { ask, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Waits until everything recorded so far is in force here, which is then also what the kernel knows; for a while only.
    pub(crate) fn follow(&self) -> strongroom_workspace::error::Result<Vec<u8>> {
        use strongroom_workspace::error::{Error, ErrorKind};
        let followed = thread::wait_within(FOLLOW_LIMIT, async {
            self.ask(Ask::Look).await?;
            let (mark, passing) = Mark::new();
            self.inner.tell(Change::Mark(mark));
            passing.await;
            Ok(self.status())
        });
        let late = || Error::new(ErrorKind::Unavailable, "the view does not follow in time");
        followed.unwrap_or_else(|| Err(late()))
    }

    /// Ends it, also where clones are left: nothing is read any more. Returns when what was opened is told, or after
    /// [`END_LIMIT`]; and when what was written is on record, or after [`WRITTEN_LIMIT`].
    ///
    /// # Errors
    /// `Unavailable` where something that was written is not on record. It does not come to be after that.
    pub fn close(&self) -> strongroom_workspace::error::Result<()> {
        self.close_within(match self.inner.opening {
            Opening::IsDecided => WRITTEN_LIMIT,
            Opening::IsTold => END_LIMIT,
        })
    }

    /// The same, for whoever waits no longer than that.
    ///
    /// # Errors
    /// As [`View::close`].
    pub fn close_within(&self, limit: Duration) -> strongroom_workspace::error::Result<()> {
        let inner = &self.inner;
        self.send(Ask::End);
        let ending = inner.ending.lock().take();
        let is_late = ending.is_some_and(|end| thread::wait_within(limit, end).is_none());
        let last = match is_late {
            true => inner.unwritten.end(END_LIMIT),
            false => Last::Known,
        };
        inner.note_unwritten();
        inner.unwritten.check(last)
    }

    /// What it says about itself.
    pub(crate) fn status(&self) -> Vec<u8> {
        let inner = &self.inner;
        let json = json!({
            "mode": if inner.activity.is_some() { "activity" } else { "application" },
            "writable": self.may_write(),
            "activity": inner.activity,
            "application": inner.application,
            "subjects": inner.state.lock().people_count(),
            "recorded_decisions": inner.recorded.load(Ordering::Relaxed),
            "trouble": *inner.trouble.lock(),
        });
        json.to_string().into_bytes()
    }
}

fn no_thread(_: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the machine has no thread left")
}

/// What becomes of a file that is opened under a lease.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// It is on record: the lease names it.
    IsDecided,
    /// The custodian is told of it.
    IsTold,
}

impl Inner {
    fn new(
        (activity, application): (Option<String>, String),
        clock: Arc<dyn Clock>,
        owner: (u32, u32),
        opening: Opening,
    ) -> Arc<Self> {
        let (changes, news) = mpsc::channel();
        Arc::new(Self {
            state: Mutex::new(State::new()),
            began: clock.now_ns(),
            clock,
            changes,
            owner,
            activity,
            application,
            room: Arc::default(),
            may_write: AtomicBool::new(false),
            news: Mutex::new(Some(news)),
            trouble: Mutex::default(),
            stranger: AtomicBool::new(false),
            recorded: AtomicU64::new(0),
            opening,
            opened: Mutex::default(),
            unwritten: Unwritten::default(),
            ending: Mutex::default(),
        })
    }

    /// What the last thread to end lets go of.
    fn ends(&self) -> Mark {
        let (mark, passing) = Mark::new();
        *self.ending.lock() = Some(passing);
        mark
    }

    /// A file is opened, or read on, under a lease that lives: told once for each, or a job that opens what it has again and
    /// again would have the custodian record that all the time.
    pub fn note_opened(&self, own: &Compartment, file: &FileId) {
        if self.opening == Opening::IsTold && own.note_opened(file) {
            let mut opened = self.opened.lock();
            opened.entry((own.subject, own.class)).or_default().insert(*file);
        }
    }

    pub fn allow_writing(&self, may_write: bool) {
        self.may_write.store(may_write, Ordering::Relaxed);
    }

    /// Whether people are called by their ids: the application knows them.
    pub fn knows_ids(&self) -> bool {
        self.activity.is_none()
    }

    /// What is being written and was neither put on record nor refused.
    pub fn note_unwritten(&self) {
        let drafts = self.state.lock().drafts();
        drafts
            .iter()
            .filter(|draft| draft.is_untold())
            .for_each(|draft| self.unwritten.note(draft));
    }

    /// A file may be written by nobody any more.
    pub fn end_draft(&self, draft: &Arc<Draft>) {
        let change = self.state.lock().end_draft(draft);
        if let Some(change) = change {
            self.tell(change);
        }
    }

    pub fn has_opened(&self) -> bool {
        !self.opened.lock().is_empty()
    }

    /// Whether there is more than one ask can tell.
    pub fn has_opened_much(&self) -> bool {
        self.opened.lock().len() >= TOLD_CLASS_COUNT_MAX
    }

    /// Takes as much as one ask can tell.
    pub fn take_opened(&self) -> Vec<OpenedFiles> {
        let mut opened = self.opened.lock();
        let (mut taken, mut room) = (Vec::new(), TOLD_FILE_COUNT_MAX);
        while taken.len() < TOLD_CLASS_COUNT_MAX && room > 0 {
            let Some(mut first) = opened.first_entry() else { break };
            let (subject, class) = *first.key();
            let left = first.get_mut();
            let files: Vec<FileId> = std::iter::from_fn(|| left.pop_first()).take(room).collect();
            room -= files.len();
            if left.is_empty() {
                first.remove();
            }
            taken.push(OpenedFiles { subject, class, files });
        }
        taken
    }

    pub fn now(&self) -> Duration {
        self.clock.since_boot()
    }

    pub fn pause(&self, time: Duration) {
        self.clock.sleep(time);
    }

    pub fn take_news(&self) -> Option<Receiver<Change>> {
        self.news.lock().take()
    }

    /// Ends the leases that are over, and tells the kernel. `live` are the compartments with a lease; those without go.
    pub fn lapse(&self, live: &mut Vec<Arc<Compartment>>) {
        let (now, mut changes, mut unlisted) = (self.clock.since_boot(), Vec::new(), Vec::new());
        for compartment in &*live {
            let lapse = compartment.lapse(now);
            if lapse.reading {
                changes.extend(self.state.lock().unread(compartment));
            }
            if lapse.listing {
                unlisted.push(Arc::clone(compartment));
            }
            changes.extend(lapse.mark.map(Change::Mark));
        }
        if !unlisted.is_empty() {
            changes.extend(self.state.lock().unlisted(&unlisted));
        }
        live.retain(|own| own.ends() != (None, None));
        changes.into_iter().for_each(|change| self.tell(change));
    }

    /// Tells the kernel. Nobody listens before something is mounted, and then nothing is known there either.
    pub fn tell(&self, change: Change) {
        if self.news.lock().is_none() {
            // A mount that has just gone takes nothing any more.
            let _ = self.changes.send(change);
        }
    }

    pub fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock() = trouble;
    }

    pub fn note_stranger(&self) {
        self.stranger.store(true, Ordering::Relaxed);
    }

    pub fn take_stranger(&self) -> bool {
        self.stranger.swap(false, Ordering::Relaxed)
    }

    pub fn count(&self, decisions: usize) {
        self.recorded.fetch_add(decisions as u64, Ordering::Relaxed);
    }
}
