//! Checkpoint and log: verified by the engine's own reader, applied by the engine's own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_crypto::secret::NameKey;
use strongroom_crypto::usage::Place;
use strongroom_format::ids::{CompartmentId, DeviceId, Ino, ObjectId, SnapshotId};
use strongroom_format::inode::{ObjectUse, Snapshot};
use strongroom_format::key::Key;
use strongroom_format::op::Op;
use strongroom_format::page::{Page, PageRef};
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Family, Key as StoreKey, Store};
use strongroom_workspace::history::keep::{KEEP_XATTR, Keep, keep_in};
use strongroom_workspace::history::snapshot::snapshots_in;
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
    organisation: Organisation,
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
    /// What the commits since the checkpoint say of objects.
    pub(crate) deeds: Deeds,
    /// Whether the log was read to its end and every operation applied.
    pub(crate) is_whole: bool,
}

/// What commits did with objects, and whether what they let go of had to stay.
#[derive(Default)]
pub(crate) struct Deeds {
    keeping: Keeping,
    /// Objects they brought: length and hash.
    pub(crate) added: BTreeMap<ObjectId, (u64, [u8; 32])>,
    /// Objects they let go of.
    pub(crate) released: BTreeSet<ObjectId>,
    /// Those of them that went while nothing but the present was kept: gone at once, whatever is kept since.
    pub(crate) excused: BTreeSet<ObjectId>,
}

/// Whether more than the present is kept: as homes decide it, commit by commit.
#[derive(Default)]
struct Keeping {
    has_rule: bool,
    snapshots: BTreeSet<SnapshotId>,
    /// Homes that write, or once did.
    homes: BTreeSet<(DeviceId, u64)>,
}

/// Snapshots, by commit.
pub(crate) type Snapshots = Vec<(SnapshotId, Arc<Snapshot>)>;

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
    let reader = reader(subject, &organisation);
    let checkpoint = match reader.checkpoint() {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            report.find(Area::Checkpoint, kind_of(&error)?, error.to_string());
            return Ok(None);
        }
    };
    let pages =
        Pages::new(subject.store.clone(), subject.keys.clone(), place(subject), PAGE_CACHE_BYTES);
    let mut history = begin(subject, organisation, (checkpoint, Arc::new(pages)))?;
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

/// A reader that knows nothing of the pins of others: a checkpoint that a purge wrote anew has a later one than those after it.
fn reader<'s>(subject: &'s Subject, organisation: &Organisation) -> Reader<'s> {
    let roster = Arc::new(Roster::new(organisation.clone()));
    Reader { store: &subject.store, keys: &subject.keys, roster, broken: None }
}

/// The kind of finding an error of the reader is; other errors end the examination.
pub(crate) fn kind_of(error: &Error) -> Result<Kind> {
    match error.kind() {
        // The reader's words for something that is not there.
        ErrorKind::Corrupt if error.to_string().ends_with("is missing") => Ok(Kind::Missing),
        ErrorKind::Corrupt if error.to_string().contains("no checkpoint") => Ok(Kind::Missing),
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Purged => Ok(Kind::Changed),
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

fn begin(
    subject: &Subject,
    organisation: Organisation,
    (checkpoint, pages): (Checkpoint, Arc<Pages>),
) -> Result<History> {
    let state = &checkpoint.state;
    let tree = Tree { root: state.root, height: state.height, count: state.count };
    let source = Arc::new(Patient(pages.clone()));
    let map = Map::new(tree, source);
    let head = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
    let own = state.journals.iter().filter(|mark| mark.device == subject.keys.device_id());
    let mut history = History {
        organisation,
        names: NameHash::new(NameKey::from_bytes(&state.name_key)),
        journals_upto: own.map(|mark| (mark.incarnation, mark.journal_upto)).collect(),
        heads: BTreeMap::from([(head.seq, head)]),
        deeds: Deeds::default(),
        is_whole: true,
        checkpoint,
        map,
        pages,
        head,
    };
    history.deeds = Deeds::behind(&history)?;
    Ok(history)
}

impl History {
    /// A reader of what this workspace keeps beside this.
    pub(crate) fn reader<'s>(&self, subject: &'s Subject) -> Reader<'s> {
        reader(subject, &self.organisation)
    }

    /// The state of another checkpoint, without a log behind it.
    pub(crate) fn at(&self, subject: &Subject, checkpoint: Checkpoint) -> Result<History> {
        begin(subject, self.organisation.clone(), (checkpoint, self.pages.clone()))
    }

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
        }
        self.deeds.note(commit);
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

/// The rule and the snapshots that a map names. None if that cannot be read.
pub(crate) fn kept_in(map: &Map) -> Result<Option<(Keep, Snapshots)>> {
    let found = keep_in(map).and_then(|keep| Ok((keep, snapshots_in(map)?)));
    match settled(found) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}

impl Keeping {
    /// At a checkpoint. What cannot be read there keeps nothing.
    fn of(history: &History) -> Result<Self> {
        let state = &history.checkpoint.state;
        let homes = state.slots.iter().map(|slot| (slot.device, slot.incarnation)).collect();
        let Some((keep, snapshots)) = kept_in(&history.map)? else {
            return Ok(Self { homes, ..Self::default() });
        };
        let snapshots = snapshots.into_iter().map(|(id, _)| id).collect();
        Ok(Self { has_rule: !keep.is_none(), snapshots, homes })
    }

    fn follow(&mut self, commit: &Commit) {
        self.homes.insert((commit.header.author, commit.header.incarnation));
        for op in &commit.body.ops {
            match op {
                Op::SetXattr { ino: Ino::ROOT, name, value, .. } if name == KEEP_XATTR => {
                    let rule = value.as_deref().map(Keep::parse);
                    // One that cannot be read keeps everything.
                    self.has_rule =
                        rule.is_some_and(|rule| rule.is_none_or(|rule| !rule.is_none()));
                }
                Op::SetSnapshot { id, snapshot: Some(_) } => drop(self.snapshots.insert(*id)),
                Op::SetSnapshot { id, snapshot: None } => drop(self.snapshots.remove(id)),
                _ => {}
            }
        }
    }

    fn keeps(&self) -> bool {
        self.has_rule || !self.snapshots.is_empty() || self.homes.len() > 1
    }
}

impl Deeds {
    /// Those of commits behind a state.
    pub(crate) fn behind(history: &History) -> Result<Self> {
        let keeping = Keeping::of(history)?;
        Ok(Self { keeping, ..Self::default() })
    }

    /// Whether several homes write, or once did.
    pub(crate) fn is_shared(&self) -> bool {
        self.keeping.homes.len() > 1
    }

    /// Follows the next commit.
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.keeping.follow(commit);
        for added in &commit.header.added {
            self.added.insert(added.object, (added.len, added.hash.0));
        }
        self.released.extend(&commit.header.released);
        if !self.keeping.keeps() {
            self.excused.extend(&commit.header.released);
        }
    }
}

fn settled<T>(look: Look<T>) -> Result<T> {
    look.map_err(|need| match need {
        Need::Failed(error) => error,
        Need::Page(_) => Error::new(ErrorKind::Internal, "a patient page source asked for a page"),
    })
}
