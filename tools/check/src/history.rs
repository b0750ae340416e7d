//! Checkpoint and log: verified by the engine's own reader, applied by the engine's own rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_crypto::secret::NameKey;
use strongroom_crypto::usage::Place;
use strongroom_format::ids::{CompartmentId, ObjectId};
use strongroom_format::inode::ObjectUse;
use strongroom_format::key::Key;
use strongroom_format::op::Op;
use strongroom_format::page::{Page, PageRef};
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Family, Key as StoreKey, Store};
use strongroom_workspace::inbound::log::{Checkpoint, Commit, Reader, list_sizes};
use strongroom_workspace::inbound::roster::Roster;
use strongroom_workspace::state::Head;
use strongroom_workspace::tree::btree::{PageSource, Tree};
use strongroom_workspace::tree::map::{Layer, Map, Value};
use strongroom_workspace::tree::need::{Look, Need};
use strongroom_workspace::tree::pages::{Pages, WaitingPages};
use strongroom_workspace::tree::rules::{self, NameHash};
use strongroom_workspace::tree::txn::Txn;

use crate::report::{Area, Kind, Report};
use crate::{Error, ErrorKind, Progress, Result, Subject, Watch};

/// LIMIT: operations that do not apply, told one by one.
const TOLD_COUNT_MAX: u64 = 20;
/// Memory for opened pages.
const PAGE_CACHE_BYTES: u64 = 16 << 20;

/// What checkpoint and log say.
pub(crate) struct History {
    pub(crate) checkpoint: Checkpoint,
    /// The tree of the checkpoint, and the changes since as its overlay.
    pub(crate) map: Map,
    pub(crate) names: NameHash,
    pub(crate) pages: Arc<Pages>,
    pub(crate) head: Head,
    /// Heads after the checkpoint, to tell whether a remembered one is among them.
    pub(crate) heads: BTreeMap<u64, Head>,
    /// Last journal record that the commits contain, by incarnation of this device.
    pub(crate) journals_upto: BTreeMap<u64, u64>,
    /// Objects that the commits since the checkpoint brought to life: length and hash.
    pub(crate) added: BTreeMap<ObjectId, (u64, [u8; 32])>,
    /// Whether the log was read to its end and every operation applied.
    pub(crate) is_whole: bool,
}

/// Pages, fetched where they are needed.
struct Patient(Arc<Pages>);

impl PageSource for Patient {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        WaitingPages(&self.0).page(at)
    }
}

/// Newest commit and checkpoint by name.
pub(crate) fn newest(store: &Arc<dyn Store>) -> Result<[Option<StoreKey>; 2]> {
    let last = |family| -> Result<Option<StoreKey>> {
        let mut last = None;
        loop {
            match list_sizes(store, family, last)?.last() {
                Some(listed) => last = Some(listed.key),
                None => return Ok(last),
            }
        }
    };
    Ok([last(Family::Log)?, last(Family::Checkpoint)?])
}

/// Verifies the newest checkpoint and the log behind it. `None` without a checkpoint that verifies.
pub(crate) fn examine(
    subject: &Subject,
    organisation: Organisation,
    report: &mut Report,
    watch: &mut Watch<'_>,
) -> Result<Option<History>> {
    let roster = Arc::new(Roster::new(organisation));
    let reader = Reader { store: &subject.store, keys: &subject.keys, roster, broken: None };
    let checkpoint = match reader.checkpoint() {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            report.find(Area::Checkpoint, kind_of(&error)?, error.to_string());
            return Ok(None);
        }
    };
    let mut history = begin(subject, checkpoint);
    let start = history.head;
    let read = reader.commits(start, &mut |commit| {
        history.apply(subject, commit, report);
        watch(Progress { stage: "commits", count: report.counts.commits, bytes: 0 });
        Ok(())
    });
    if let Err(error) = read {
        history.is_whole = false;
        report.find(Area::Log, kind_of(&error)?, error.to_string());
    }
    report.head = history.head.seq;
    Ok(Some(history))
}

/// The kind of finding an error of the reader is; other errors end the examination.
fn kind_of(error: &Error) -> Result<Kind> {
    match error.kind() {
        // The reader's words for something that is not there.
        ErrorKind::Corrupt if error.to_string().ends_with("is missing") => Ok(Kind::Missing),
        ErrorKind::Corrupt if error.to_string().contains("no checkpoint") => Ok(Kind::Missing),
        ErrorKind::Corrupt | ErrorKind::Unsupported => Ok(Kind::Changed),
        _ => Err(error.clone()),
    }
}

pub(crate) fn place(subject: &Subject) -> Place {
    Place {
        organisation: subject.keys.organisation().0,
        workspace: subject.keys.workspace().0,
        compartment: CompartmentId::ORDINARY.0,
    }
}

fn begin(subject: &Subject, checkpoint: Checkpoint) -> History {
    let state = &checkpoint.state;
    let (store, keys) = (subject.store.clone(), subject.keys.clone());
    let pages = Arc::new(Pages::new(store, keys, place(subject), PAGE_CACHE_BYTES));
    let tree = Tree { root: state.root, height: state.height, count: state.count };
    let source = Arc::new(Patient(pages.clone()));
    let map = Map::new(tree, source);
    let head = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
    let own = state.journals.iter().filter(|mark| mark.device == subject.keys.device_id());
    History {
        names: NameHash::new(NameKey::from_bytes(&state.name_key)),
        journals_upto: own.map(|mark| (mark.incarnation, mark.journal_upto)).collect(),
        heads: BTreeMap::from([(head.seq, head)]),
        added: BTreeMap::new(),
        is_whole: true,
        checkpoint,
        map,
        pages,
        head,
    }
}

impl History {
    fn apply(&mut self, subject: &Subject, commit: &Commit, report: &mut Report) {
        let mut refused = 0;
        for op in &commit.body.ops {
            if let Err(error) = self.apply_op(op) {
                refused += 1;
                if refused <= TOLD_COUNT_MAX {
                    let seq = commit.head.seq;
                    let text = format!("an operation of commit {seq} does not apply: {error}");
                    report.find(Area::Log, Kind::Contradiction, text);
                }
            }
        }
        self.is_whole &= refused == 0;
        for added in &commit.header.added {
            self.note_added(added.object, added.len);
            self.added.insert(added.object, (added.len, added.hash.0));
        }
        for released in &commit.header.released {
            self.added.remove(released);
        }
        if commit.header.author == subject.keys.device_id() {
            self.journals_upto.insert(commit.header.incarnation, commit.body.head.journal_upto);
        }
        self.head = commit.head;
        self.heads.insert(commit.head.seq, commit.head);
        report.counts.commits += 1;
        report.counts.operations += commit.body.ops.len() as u64;
    }

    fn apply_op(&mut self, op: &Op) -> Result<()> {
        let mut txn = Txn::new(&self.map);
        settled(rules::plan(&mut txn, &self.names, op))?;
        let plan = txn.finish();
        self.map.install_committed(plan.layer);
        Ok(())
    }

    fn note_added(&mut self, object: ObjectId, len: u64) {
        let usage = settled(Txn::new(&self.map).object_use(object));
        if let Ok(Some(usage)) = usage {
            let usage = ObjectUse { stored_len: len, ..usage };
            self.map.install_committed(Layer::from([(
                Key::object(object),
                Some(Value::Object(usage)),
            )]));
        }
    }
}

fn settled<T>(look: Look<T>) -> Result<T> {
    look.map_err(|need| match need {
        Need::Failed(error) => error,
        Need::Page(_) => Error::new(ErrorKind::Internal, "a patient page source asked for a page"),
    })
}
