//! The workspace as a whole: its parts, how an operation runs against them, status and close.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use strongroom_crypto::usage::Place;
use strongroom_format::ids::{CompartmentId, Digest, WorkspaceId};
use strongroom_host::clock::Clock;
use strongroom_host::disk::Disk;
use strongroom_host::entropy::Entropy;
use strongroom_journal::Journal;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::enrolment::Code;
use strongroom_store::Store;

use crate::block::fetch::Blocks;
use crate::block::sent::Sent;
use crate::block::staging::Staging;
use crate::door::{Answer, Change};
use crate::error::{Error, ErrorKind, Result};
use crate::history::purge::Purging;
use crate::inbound::alone::taken_over;
use crate::inbound::apart::away;
use crate::inbound::renew::Renewing;
use crate::inbound::roster::{Roster, revoked};
use crate::limits::Tuning;
use crate::numbers::Numbers;
use crate::offline::pins::Pinning;
use crate::ops::ask::Requests;
use crate::outbound::age::Ages;
use crate::outbound::commit::Outbound;
use crate::outbound::compact::Compaction;
use crate::outbound::expire::PastRoot;
use crate::outbound::seal::Sealer;
use crate::state::{Head, State};
use crate::tree::need::{Look, Need};
use crate::tree::pages::{Pages, look_again};

/// Whether a workspace may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading and writing.
    ReadWrite,
    /// Reading what is committed; nothing is written, locally or in the store.
    ReadOnly,
}

/// What the caller decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of this device's local state of the workspace (lock, journal, staged objects, remembered head).
    pub state_folder: PathBuf,
    /// Whether it may change.
    pub mode: Mode,
    /// Owner of the root folder of a new workspace.
    pub owner: (u32, u32),
    /// Limits; the default is right outside of tests.
    pub tuning: Tuning,
}

/// What the workspace runs on.
#[derive(Clone)]
pub struct Services {
    /// Local disk.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Everything behind the door.
pub struct Inner {
    pub(crate) options: Options,
    pub(crate) services: Services,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) roster: Arc<Roster>,
    /// Set once it is known that this device counts no more.
    pub(crate) revoked: AtomicBool,
    /// Newest record of the organisation log that is remembered on the disk.
    pub(crate) organisation_seen: AtomicU64,
    /// Set once the store has shown a commit of another history: nothing is written on top of that.
    pub(crate) frozen: AtomicBool,
    /// Commits that were verified already, by number. Until they are taken in once more after opening went back before them.
    pub(crate) known: Mutex<BTreeMap<u64, Digest>>,
    /// Whether the store cannot tell several writers apart.
    pub(crate) alone: AtomicBool,
    /// Set once another home has taken over then.
    pub(crate) taken_over: AtomicBool,
    /// Set while nothing was settled with a store that was away when this was opened.
    pub(crate) apart: AtomicBool,
    /// Whether it was away then.
    pub(crate) began_apart: bool,
    /// Of this home; 0 when read-only.
    pub(crate) incarnation: u64,
    /// Empty when read-only, and while it is replayed.
    pub(crate) journal: OnceLock<Journal>,
    /// Last record in it of the processes before.
    pub(crate) inherited_upto: AtomicU64,
    pub(crate) staging: Arc<Staging>,
    pub(crate) sent: Sent,
    pub(crate) blocks: Blocks,
    pub(crate) pages: Arc<Pages>,
    pub(crate) sealer: Sealer,
    /// Held shared by writes that seal outside the lock, exclusively by a cut.
    pub(crate) gate: RwLock<()>,
    pub(crate) state: Mutex<State>,
    pub(crate) outbound: Mutex<Outbound>,
    /// The background thread waits here; `due` says why it should run.
    pub(crate) wake: Condvar,
    pub(crate) due: Mutex<Due>,
    pub(crate) compaction: Compaction,
    pub(crate) counts: Counts,
    pub(crate) changes: Mutex<Option<std::sync::mpsc::Receiver<Change>>>,
    /// Where changes by others are told.
    pub(crate) news: std::sync::mpsc::Sender<Change>,
    /// When the store was last asked for commits of others.
    pub(crate) polled: Mutex<Duration>,
    /// When it last answered, in milliseconds since the start.
    pub(crate) answered: AtomicU64,
    pub(crate) _lock: Option<Box<dyn Send + Sync>>,
    pub(crate) closed: AtomicBool,
    /// The old state that this is, if it is one: nothing is followed then.
    pub(crate) stands_at: OnceLock<Head>,
    /// Hash of the checkpoint that an old state stands on.
    pub(crate) stands_on: Mutex<Option<[u8; 32]>>,
    /// Commits that somebody is making snapshots of: no map names them yet.
    pub(crate) frozen_commits: Mutex<Vec<u64>>,
    /// Long looks at the past that are under way.
    pub(crate) looks: AtomicU64,
    /// Checkpoints read while collecting.
    pub(crate) past: Mutex<BTreeMap<u64, Arc<PastRoot>>>,
    /// Whether ages can be told.
    pub(crate) ages: Mutex<Ages>,
    /// Held by who fetches what is pinned, however long that takes, or lets go of it.
    // ORDER: before `pinning`.
    pub(crate) holding: Mutex<()>,
    /// Held by who restores, however long that takes.
    pub(crate) restoring: Mutex<()>,
    /// Held for a moment by who changes pins.
    pub(crate) pinning: Mutex<Pinning>,
    /// Whether somebody purges, and what the last try met.
    pub(crate) purging: Mutex<Purging>,
    /// Held for a moment by who needs a newer map to read, or brings it.
    pub(crate) renewing: Mutex<Renewing>,
    /// Commit up to which what is pinned is here.
    pub(crate) pinned_at: AtomicU64,
    /// What was asked through the mount.
    pub(crate) requests: Mutex<Requests>,
    /// Set when the next change must make room first.
    pub(crate) overfull: AtomicBool,
}

/// Why the background thread should look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due {
    /// A commit is wanted now.
    pub commit: bool,
    /// An object is full, and may go to a store that is far away.
    pub put: bool,
    /// The thread should end.
    pub stop: bool,
    /// When what did not get through is tried again; none: all did.
    pub again: Option<Duration>,
}

/// Counters for status and flow tests.
#[derive(Default)]
pub struct Counts {
    /// Commits published.
    pub commits: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Blocks sealed.
    pub blocks_sealed: AtomicU64,
    /// Local syncs done for callers.
    pub syncs: AtomicU64,
    /// Commits asked for through the mount.
    pub asked: AtomicU64,
    /// Operations that made no sense any more after others' commits came in.
    pub unplaced: AtomicU64,
    /// Failures of the background work since the last success.
    pub failures: AtomicU64,
    /// Commits tried.
    pub tries: AtomicU64,
}

/// An open workspace. Cheap to clone; all clones are the same workspace.
#[derive(Clone)]
pub struct Workspace(pub(crate) Arc<Inner>);

/// What a workspace says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub workspace: WorkspaceId,
    /// Newest commit.
    pub head_seq: u64,
    /// Stands for the newest commit and all before it: two devices at the same number show the same letters, or the
    /// store has shown them different things.
    pub head_code: Code,
    /// Operations that found no place on top of others' commits since it was opened.
    pub unplaced_ops: u64,
    /// Operations not committed yet.
    pub pending_ops: u64,
    /// Bytes written and not sealed yet.
    pub dirty_bytes: u64,
    /// Bytes sealed and not committed yet.
    pub staged_bytes: u64,
    /// Memory for bytes written and not sealed yet.
    pub held_bytes: u64,
    /// Memory for opened manifest pages.
    pub page_cache_bytes: u64,
    /// Memory for opened segments of files.
    pub segment_cache_bytes: u64,
    /// How long ago the store last answered whether there is anything new.
    pub contact_age: Duration,
    /// Commits since it was opened.
    pub commits: u64,
    /// Checkpoints since it was opened.
    pub checkpoints: u64,
    /// Open handles.
    pub open_handles: u64,
    /// Why the last commit did not go through, others' could not be taken in, a purge does not go on, something pinned is not
    /// here, or nothing goes by its age, if so.
    pub trouble: Option<String>,
    /// Whether it may change.
    pub mode: Mode,
    /// Whether a failed fsync stopped all changes.
    pub poisoned: bool,
    /// What was asked of the store, by name.
    pub counters: Vec<(&'static str, u64)>,
}

impl Status {
    /// The status as one line of JSON.
    pub fn to_json(&self) -> String {
        let trouble = match &self.trouble {
            Some(text) => format!("\"{}\"", text.replace(['"', '\\'], "'")),
            None => "null".to_owned(),
        };
        let counters: String =
            self.counters.iter().map(|(name, count)| format!(",\"{name}\":{count}")).collect();
        let mode = match self.mode {
            Mode::ReadWrite => "rw",
            Mode::ReadOnly => "ro",
        };
        format!(
            concat!(
                "{{\"workspace\":\"{}\",\"mode\":\"{}\",\"head\":{},\"head_code\":\"{}\",",
                "\"unplaced_ops\":{},\"pending_ops\":{},",
                "\"dirty_bytes\":{},\"staged_bytes\":{},\"held_bytes\":{},",
                "\"page_cache_bytes\":{},\"segment_cache_bytes\":{},\"contact_seconds\":{},",
                "\"commits\":{},\"checkpoints\":{},",
                "\"open_handles\":{},\"poisoned\":{},\"trouble\":{}{}}}"
            ),
            self.workspace,
            mode,
            self.head_seq,
            self.head_code,
            self.unplaced_ops,
            self.pending_ops,
            self.dirty_bytes,
            self.staged_bytes,
            self.held_bytes,
            self.page_cache_bytes,
            self.segment_cache_bytes,
            self.contact_age.as_secs(),
            self.commits,
            self.checkpoints,
            self.open_handles,
            self.poisoned,
            trouble,
            counters
        )
    }

    /// Whether everything is committed.
    pub fn is_clean(&self) -> bool {
        self.pending_ops == 0 && self.dirty_bytes == 0
    }
}

/// Where compartment 0 of a workspace stands in contexts.
pub(crate) fn ordinary_place(keys: &DeviceKeys) -> Place {
    Place {
        organisation: keys.organisation().0,
        workspace: keys.workspace().0,
        compartment: CompartmentId::ORDINARY.0,
    }
}

impl Workspace {
    /// What it says of itself.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Does what is due: a commit when the batch is old or large enough, the checkpoint it brings along, a round
    /// of compaction after that, what changed of what is pinned, and what a purge has left.
    /// The background threads do the same; a simulation calls this.
    ///
    /// # Errors
    /// What the commit met; it is tried again at the next call.
    pub fn tick(&self) -> Result<()> {
        self.0.upkeep()?;
        self.0.renew_pins();
        self.0.purge_if_under_way();
        Ok(())
    }

    /// Commits everything there is.
    ///
    /// # Errors
    /// What the store or the local disk said; nothing acknowledged is lost.
    pub fn commit(&self) -> Result<()> {
        self.0.commit(crate::outbound::commit::Reason::Asked)
    }

    /// Commits everything and ends. Later calls answer `Stale`.
    ///
    /// # Errors
    /// What the commit met; the journal then keeps what was not committed for the next open.
    pub fn close(&self) -> Result<()> {
        self.stop_background();
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let result = self.0.commit(crate::outbound::commit::Reason::Closing);
        if let Some(journal) = self.0.journal.get() {
            journal.close()?;
        }
        result
    }

    /// Begins committing in a thread of its own, purging in another one, and bringing in what is pinned in a third.
    ///
    /// # Errors
    /// `Internal` when the machine gives no thread.
    pub fn run_background(&self) -> Result<()> {
        let (commits, purges, pins) = (self.0.clone(), self.0.clone(), self.0.clone());
        strongroom_host::thread::spawn("commit", move || commits.background())?;
        strongroom_host::thread::spawn("purge", move || purges.purge_in_background())?;
        strongroom_host::thread::spawn("pins", move || pins.renew_pins_in_background())?;
        Ok(())
    }

    /// Ends the background threads at their next step.
    pub fn stop_background(&self) {
        self.0.due.lock().stop = true;
        self.0.wake.notify_all();
    }
}

impl Inner {
    /// Runs a look against the state; when a page is missing, fetches it and looks again.
    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl Fn(&Inner, &mut State) -> Look<T> + Send + Sync + 'static,
    ) -> Answer<T> {
        match look(self, &mut self.state.lock()) {
            Ok(value) => Answer::Ready(Ok(value)),
            Err(Need::Failed(error)) => Answer::Ready(Err(error)),
            Err(Need::Page(page)) => {
                let inner = self.clone();
                Answer::Later(Box::pin(async move {
                    let (mut fetched, mut tries, mut failed) =
                        (inner.pages.fetch(page).await, 1, 0);
                    loop {
                        if let Err(error) = fetched
                            && !inner.is_worth_another_look(&error, &mut failed).await
                        {
                            return Err(error);
                        }
                        fetched = match look_again(tries, || look(&inner, &mut inner.state.lock()))
                        {
                            Ok(value) => return Ok(value),
                            Err(Need::Failed(error)) => Err(error),
                            Err(Need::Page(page)) => inner.pages.fetch(page).await,
                        };
                        tries += 1;
                    }
                }))
            }
        }
    }

    /// Runs a change: refused when read-only, poisoned or closed; wakes the committer when a batch is full.
    pub(crate) fn change<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl Fn(&Inner, &mut State, &Journal) -> Look<T> + Send + Sync + 'static,
    ) -> Answer<T> {
        if let Err(error) = self.writable() {
            return Answer::Ready(Err(error));
        }
        let look = move |inner: &Inner, state: &mut State| -> Look<T> {
            let Some(journal) = inner.journal.get() else { return Err(read_only().into()) };
            let done = look(inner, state, journal)?;
            inner.wake_if_full(state);
            Ok(done)
        };
        if self.needs_room() {
            return self.blocking(move |inner| {
                inner.make_room()?;
                inner.look_unlocked(|state| look(inner, state))
            });
        }
        self.run(look)
    }

    /// Work for a thread that may wait.
    pub(crate) fn blocking<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let inner = self.clone();
        Answer::Blocking(Box::new(move || work(&inner)))
    }

    /// Refuses changes where none can be taken.
    ///
    /// # Errors
    /// `ReadOnly`, `Stale` after close, `Denied` on a device that counts no more.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.options.mode == Mode::ReadOnly {
            return Err(read_only());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Stale, "the workspace is closed"));
        }
        if self.revoked.load(Ordering::Acquire) {
            return Err(revoked());
        }
        if self.frozen.load(Ordering::Acquire) {
            return Err(frozen(ErrorKind::ReadOnly));
        }
        if self.is_taken_over() {
            return Err(taken_over());
        }
        Ok(())
    }

    /// The journal.
    ///
    /// # Errors
    /// `ReadOnly` when there is none.
    pub(crate) fn journal(&self) -> Result<&Journal> {
        self.journal.get().ok_or_else(read_only)
    }

    fn contact_age(&self) -> Duration {
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        self.services.clock.elapsed().saturating_sub(answered)
    }

    fn status(&self) -> Status {
        let trouble = match self.is_taken_over() {
            true => Some(taken_over().to_string()),
            false => self.outbound.try_lock().and_then(|outbound| outbound.trouble()),
        };
        let trouble = trouble.or_else(|| self.purge_trouble());
        let trouble = trouble.or_else(|| self.ages.lock().trouble());
        // Who asks the store at this moment holds the other.
        let trouble = trouble.or_else(|| self.is_apart().then(|| away().to_string()));
        let trouble = trouble.or_else(|| self.pinning.lock().trouble());
        let state = self.state.lock();
        Status {
            workspace: self.keys.workspace(),
            head_seq: state.head.seq,
            head_code: Code::of_hash(&state.head.hash.0),
            unplaced_ops: self.counts.unplaced.load(Ordering::Relaxed),
            pending_ops: state.batch.count + state.cut_count + state.unsealed.len() as u64,
            contact_age: self.contact_age(),
            dirty_bytes: state.dirty_bytes,
            staged_bytes: self.staging.bytes(),
            held_bytes: state.held_bytes,
            page_cache_bytes: self.pages.bytes(),
            segment_cache_bytes: self.blocks.bytes(),
            commits: self.counts.commits.load(Ordering::Relaxed),
            checkpoints: self.counts.checkpoints.load(Ordering::Relaxed),
            open_handles: state.handles.len() as u64,
            trouble,
            mode: self.options.mode,
            poisoned: state.poisoned,
            counters: self.store.counters(),
        }
    }
}

/// The error where a fork was found.
pub(crate) fn frozen(kind: ErrorKind) -> Error {
    let message = "the store has shown different things to different devices; nothing more is written here until it is \
                   mounted again";
    Error::new(kind, message)
}

pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::ReadOnly, "the workspace is open read-only")
}

/// A state with an empty batch around a map.
pub(crate) fn fresh_state(
    map: crate::tree::map::Map,
    names: crate::tree::rules::NameHash,
    head: crate::state::Head,
    batch_bytes_limit: usize,
) -> State {
    State {
        map,
        names: Arc::new(names),
        lookups: HashMap::new(),
        files: BTreeMap::new(),
        unsealed: BTreeSet::new(),
        doomed: BTreeMap::new(),
        nameless: BTreeSet::new(),
        handles: BTreeMap::new(),
        next_handle: 1,
        numbers: Numbers::NONE,
        batch: crate::state::Batch::default(),
        cut_count: 0,
        dirty_bytes: 0,
        held_bytes: 0,
        head,
        unmarked_base: false,
        unmarked_from: None,
        outdated: BTreeSet::new(),
        keeps_history: None,
        history_changes: 0,
        log_bytes: 0,
        poisoned: false,
        batch_bytes_limit,
    }
}
