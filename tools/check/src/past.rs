//! States before the present that can still be read: snapshots, and what the rule keeps of history. Each is read from its own
//! checkpoint, the newest first, snapshots before the rest; what it shares with a state before it is not read again.
//!
//! ```text
//! snapshot     snapshot       from ─── checkpoint ─── log ───▶ newest checkpoint ─── log ───▶ present
//!    ▲ stands alone ▲           ▲ the floor, or where the rule lets collection move it
//! ```
//!
//! Every object that a state behind `from` needs is named by that checkpoint or was brought by a commit since.
//!
//! 1. Only what somebody may count on is missed. What the rule lets go of, or was let go of before there was one, is a leftover.
//! 2. LIMIT: nothing tells what collection took from the oldest end of the log from what a store took. That the operations of
//!    kept commits apply to the states before them is not tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_format::checkpoint::{CheckpointFile, PageObject};
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_store::{Family, Key as StoreKey};
use strongroom_workspace::history::keep::Keep;
use strongroom_workspace::history::past::{floor, floor_due, is_before};
use strongroom_workspace::inbound::log::{Checkpoint, keys_of};
use strongroom_workspace::later::wait;
use strongroom_workspace::limits::RETENTION;
use strongroom_workspace::state::Head;

use crate::census;
use crate::history::{Deeds, History, Snapshots, kept_in, kind_of};
use crate::known::{Known, Remember};
use crate::names;
use crate::report::{Area, Kind, Report, Then};
use crate::survey;
use crate::{ErrorKind, Progress, Result, Subject, Watch};

/// What is kept beside the present.
#[derive(Default)]
pub(crate) struct Past {
    states: Vec<State>,
    /// Objects that commits brought and that have to be there: length and hash.
    pub(crate) added: BTreeMap<ObjectId, (u64, [u8; 32])>,
    /// Objects that no state but a snapshot can count on.
    excused: BTreeSet<ObjectId>,
    /// Data objects that states name, with their lengths.
    needed: BTreeMap<ObjectId, u64>,
    /// Objects with pages of their checkpoints.
    pub(crate) pages: BTreeMap<ObjectId, PageObject>,
    /// Whether all of it could be read, so that what is not named is needed by nobody.
    pub(crate) is_whole: bool,
}

/// A state to read.
struct State {
    then: Then,
    /// Hash of its commit, as a snapshot or the log has it.
    head: Option<Digest>,
}

impl Past {
    /// Finds out what is kept, and reads the log before the newest checkpoint.
    pub(crate) fn plan(
        subject: &Subject,
        present: &History,
        report: &mut Report,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut past = Past { is_whole: true, ..Past::default() };
        let deeds = &present.deeds;
        past.added.clone_from(&deeds.added);
        let kept = kept_in(&present.map)?;
        past.is_whole &= kept.is_some();
        let (keep, snapshots) = kept.unwrap_or_default();
        if keep.is_none() && snapshots.is_empty() && !deeds.is_shared() {
            past.added.retain(|object, _| !deeds.released.contains(object));
            return Ok(past);
        }
        past.excused.clone_from(&deeds.excused);
        past.added.retain(|object, _| !deeds.excused.contains(object));
        let checkpoints = find_history(subject, present, keep)?;
        let heads = past.read_log(subject, present, &checkpoints, (report, watch))?;
        past.states = states(&snapshots, &checkpoints, &heads);
        if present.head.seq == present.checkpoint.root.seq {
            past.states.retain(|state| state.then.seq != present.head.seq);
        }
        Ok(past)
    }

    /// Whether there is anything to read beside the present.
    pub(crate) fn remember(&self) -> Remember {
        if self.states.is_empty() { Remember::No } else { Remember::Yes }
    }

    /// Reads the log from the first of these checkpoints that can be read to the newest. Returns the hashes of the commits.
    fn read_log(
        &mut self,
        subject: &Subject,
        present: &History,
        checkpoints: &[u64],
        (report, watch): (&mut Report, &mut Watch<'_>),
    ) -> Result<BTreeMap<u64, Digest>> {
        let mut heads = BTreeMap::new();
        let newest = &present.checkpoint.root;
        let end = Head { seq: newest.seq, hash: newest.head };
        let older = checkpoints.iter().copied().filter(|seq| *seq < end.seq);
        let mut begin = None;
        for seq in older {
            // One that cannot be read is told when its state is examined.
            if let Ok(Some(found)) = checkpoint_at(subject, present, seq)? {
                begin = Some(found);
                break;
            }
        }
        let Some(begin) = begin else { return Ok(heads) };
        let start = Head { seq: begin.root.seq, hash: begin.root.head };
        let mut deeds = Deeds::behind(&present.at(subject, begin)?)?;
        let read = present.reader(subject).commits_upto(start, end.seq, &mut |commit| {
            deeds.note(commit);
            heads.insert(commit.head.seq, commit.head.hash);
            report.counts.past_commits += 1;
            watch(Progress { stage: "commits", count: report.counts.past_commits, bytes: 0 });
            Ok(())
        });
        match read {
            Ok(head) if head == end => {}
            Ok(head) if head.seq < end.seq => {
                let text = format!("`{}` is missing", StoreKey::Log(head.seq + 1));
                report.find(Area::Log, Kind::Missing, text);
                self.is_whole = false;
            }
            Ok(_) => {
                let text = "the log leads to another commit than the newest checkpoint's";
                report.find(Area::Log, Kind::Contradiction, text);
            }
            Err(error) => {
                report.find(Area::Log, kind_of(&error)?, error.to_string());
                self.is_whole = false;
            }
        }
        self.excused.extend(deeds.excused);
        self.added.extend(deeds.added);
        self.added.retain(|object, _| !self.excused.contains(object));
        Ok(heads)
    }

    /// Examines every state.
    pub(crate) fn examine(
        &mut self,
        subject: &Subject,
        present: &History,
        known: &mut Known,
        (report, watch): (&mut Report, &mut Watch<'_>),
    ) -> Result<()> {
        for state in std::mem::take(&mut self.states) {
            match state.open(subject, present, report)? {
                Some(then) => self.read(subject, (&state, &then), known, (report, watch))?,
                None => self.is_whole = false,
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        subject: &Subject,
        (state, then): (&State, &History),
        known: &mut Known,
        (report, watch): (&mut Report, &mut Watch<'_>),
    ) -> Result<()> {
        let nothing = BTreeSet::new();
        let is_pinned = !state.then.snapshots.is_empty();
        let excused = if is_pinned { &nothing } else { &self.excused };
        let surveyed = survey::examine(subject, then, excused, known, watch)?;
        self.is_whole &= !surveyed.hides_uses;
        let uses = surveyed.uses.into_iter().filter(|(object, _)| !excused.contains(object));
        self.needed.extend(uses);
        let pages = &then.checkpoint.root.page_objects;
        self.pages.extend(pages.iter().map(|entry| (entry.object, *entry)));
        // What a newer state shows, too, is told of each snapshot, and not again of each step of history.
        if if is_pinned { surveyed.flaws } else { surveyed.news } > 0 {
            let mut told = Report::default();
            let found = census::examine(subject, then, (excused, known), &mut told, watch)?;
            names::tell(then, &found, &mut told)?;
            report.take_of(&state.then, told);
        }
        Ok(())
    }

    /// Length of an object that an earlier state needs.
    pub(crate) fn len_of(&self, object: ObjectId) -> Option<u64> {
        let needed = self.needed.get(&object).copied();
        let page = || self.pages.get(&object).map(|entry| entry.stored_len);
        needed.or_else(page).or_else(|| self.added.get(&object).map(|(len, _)| *len))
    }

    /// Objects that earlier states need, some of them more than once.
    pub(crate) fn named(&self) -> impl Iterator<Item = &ObjectId> {
        self.needed.keys().chain(self.pages.keys()).chain(self.added.keys())
    }
}

impl State {
    /// Its checkpoint. `None` if it is missing or does not verify, which is reported.
    fn open(
        &self,
        subject: &Subject,
        present: &History,
        report: &mut Report,
    ) -> Result<Option<History>> {
        let mut find = |kind, text: &str| {
            report.find(Area::Checkpoint, kind, format!("{}: {text}", self.then.words()));
            Ok(None)
        };
        match checkpoint_at(subject, present, self.then.seq)? {
            Ok(Some(found)) if self.head.is_none_or(|head| head == found.root.head) => {
                present.at(subject, found).map(Some)
            }
            Ok(Some(_)) => find(Kind::Contradiction, "its checkpoint is of another commit"),
            Ok(None) => find(Kind::Missing, "its checkpoint is missing"),
            Err((kind, text)) => find(kind, &text),
        }
    }
}

/// Checkpoints that the rule keeps, rising; the newest in any case.
fn find_history(subject: &Subject, present: &History, keep: Keep) -> Result<Vec<u64>> {
    let newest = present.checkpoint.root.seq;
    // ORDER: the log first, or a checkpoint that cut it meanwhile would seem to have no log behind it.
    let log = numbers(subject, Family::Log)?;
    let mut checkpoints = numbers(subject, Family::Checkpoint)?;
    checkpoints.retain(|seq| *seq <= newest);
    let floor = floor(&checkpoints, &log, |seq| is_bare(subject, seq))?;
    let shared = if present.deeds.is_shared() { RETENTION } else { Duration::ZERO };
    let began = keep.began(shared, subject.now);
    let due = floor_due(&checkpoints, keep.last_before(present.head.seq), |seq| match began {
        Some(began) => {
            Ok(time_of(subject, seq)?.and_then(|time| is_before(time, began, subject.now)))
        }
        None => Ok(Some(true)),
    })?;
    let from = floor.unwrap_or(newest).max(due);
    checkpoints.retain(|seq| *seq >= from);
    Ok(checkpoints)
}

/// Snapshots, then what the rule keeps; each the newest first.
fn states(snapshots: &Snapshots, checkpoints: &[u64], heads: &BTreeMap<u64, Digest>) -> Vec<State> {
    let mut pinned: BTreeMap<u64, State> = BTreeMap::new();
    for (_, snapshot) in snapshots {
        let then = Then { seq: snapshot.seq, snapshots: Vec::new() };
        let fresh = || State { then, head: Some(snapshot.head) };
        let state = pinned.entry(snapshot.seq).or_insert_with(fresh);
        state.then.snapshots.push(snapshot.name.clone());
    }
    let kept = checkpoints.iter().rev().filter(|seq| !pinned.contains_key(seq)).map(|seq| State {
        then: Then { seq: *seq, snapshots: Vec::new() },
        head: heads.get(seq).copied(),
    });
    let kept: Vec<State> = kept.collect();
    pinned.into_values().rev().chain(kept).collect()
}

/// A checkpoint that verifies, none where there is none, or what is wrong with it.
fn checkpoint_at(
    subject: &Subject,
    present: &History,
    seq: u64,
) -> Result<std::result::Result<Option<Checkpoint>, (Kind, String)>> {
    match present.reader(subject).checkpoint_at(seq) {
        Ok(found) => Ok(Ok(found)),
        Err(error) => Ok(Err((kind_of(&error)?, error.to_string()))),
    }
}

/// Numbers of commits or checkpoints, rising.
fn numbers(subject: &Subject, family: Family) -> Result<Vec<u64>> {
    let number = |key| match key {
        StoreKey::Log(seq) | StoreKey::Checkpoint(seq) => Some(seq),
        _ => None,
    };
    Ok(keys_of(&subject.store, family)?.into_iter().filter_map(number).collect())
}

/// Whether a purge took a commit's body. One that makes no sense is told when it is read.
fn is_bare(subject: &Subject, seq: u64) -> Result<bool> {
    let bytes = get(subject, StoreKey::Log(seq))?;
    Ok(bytes.is_none_or(|bytes| CommitFile::parse(&bytes).is_ok_and(|file| file.is_bare)))
}

/// Its author's clock, unverified: who lies here is told when it is read. None: it cannot be read.
fn time_of(subject: &Subject, seq: u64) -> Result<Option<i64>> {
    let bytes = get(subject, StoreKey::Checkpoint(seq))?;
    Ok(bytes.and_then(|bytes| Some(CheckpointFile::parse(&bytes).ok()?.root.time)))
}

fn get(subject: &Subject, key: StoreKey) -> Result<Option<bytes::Bytes>> {
    match wait(async { Ok(subject.store.get(key, None).await?) }) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
        Err(error) => Err(error),
    }
}
