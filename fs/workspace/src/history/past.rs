//! What of the past can still be read: the checkpoints there are, and the log behind the oldest one that it connects to.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use strongroom_format::ids::ObjectId;
use strongroom_format::key::{Key, Subject};
use strongroom_store::{Family, Key as StoreKey};

use super::at::gone;
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::log::{Checkpoint, Reader, get, keys_of, parse_if_sound, purged};
use crate::limits::CLOCK_SKEW_MAX;
use crate::tree::btree::Tree;
use crate::tree::pages::{WaitingPages, patiently};
use crate::workspace::Inner;

/// While this is there, this home collects nothing: somebody reads all of the past, and would take for damage what goes meanwhile.
pub(crate) struct Looking<'a>(&'a Inner);

impl Inner {
    /// Begins a long look at the past.
    pub(crate) fn begin_look(&self) -> Looking<'_> {
        // ORDER: behind a collection that is under way.
        let _outbound = self.outbound.lock();
        self.looks.fetch_add(1, Ordering::AcqRel);
        Looking(self)
    }

    /// Whether somebody reads all of the past.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.looks.load(Ordering::Acquire) > 0
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looks.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Checkpoints and log of a store, as listed.
pub(crate) struct Past<'a> {
    inner: &'a Inner,
    /// Reads the commits behind one checkpoint.
    pub(crate) reader: Reader<'a>,
    /// Numbers of the checkpoints, rising.
    pub(crate) checkpoints: Vec<u64>,
    /// Numbers of the commits, rising.
    pub(crate) log: Vec<u64>,
}

impl<'a> Past<'a> {
    pub(crate) fn open(inner: &'a Inner) -> Result<Self> {
        let reader = inner.reader_anew();
        let numbers = |family| -> Result<Vec<u64>> {
            Ok(keys_of(&inner.store, family)?.into_iter().filter_map(number).collect())
        };
        // ORDER: the log first, or a checkpoint that cut it meanwhile would seem to have no log behind it.
        let log = numbers(Family::Log)?;
        Ok(Self { inner, reader, checkpoints: numbers(Family::Checkpoint)?, log })
    }

    /// The oldest checkpoint with all of the log behind it: from here on every commit is a state. Those before stand
    /// alone.
    pub(crate) fn floor(&self) -> Result<Option<u64>> {
        floor(&self.checkpoints, &self.log, |seq| self.is_bare(seq))
    }

    /// Makes sure that the state after a commit can be read.
    pub(crate) fn require(&self, seq: u64) -> Result<()> {
        let floor = self.floor()?;
        if floor.is_some_and(|floor| seq >= floor) {
            return Ok(());
        }
        match self.log.contains(&seq) {
            true if self.is_bare(seq)? => Err(purged(StoreKey::Log(seq))),
            true | false => Err(gone()),
        }
    }

    /// When its author made a commit; one that is gone was made before everything.
    fn time_of(&self, seq: u64) -> Result<i64> {
        Ok(self.facts_of(seq)?.map_or(i64::MIN, |(time, _)| time))
    }

    fn is_bare(&self, seq: u64) -> Result<bool> {
        Ok(self.facts_of(seq)?.is_none_or(|(_, is_bare)| is_bare))
    }

    /// When a commit was made, and whether a purge took its body. Of one that is damaged: of the one before it. None if it is
    /// gone.
    fn facts_of(&self, seq: u64) -> Result<Option<(i64, bool)>> {
        let upto = self.log.partition_point(|at| *at <= seq);
        for at in self.log[..upto].iter().rev() {
            let Some(bytes) = get(&self.inner.store, StoreKey::Log(*at))? else { return Ok(None) };
            if let Some(file) = parse_if_sound(&bytes)? {
                return Ok(Some((file.header.time, file.is_bare)));
            }
        }
        Ok(None)
    }

    /// The last commit that was made before a time, by its author's clock, as far as it can be read.
    pub(crate) fn last_before(&self, time: i64) -> Result<Option<u64>> {
        let Some(floor) = self.floor()? else { return Ok(None) };
        let mut found = None;
        for seq in &self.checkpoints {
            // One that is damaged says nothing of the others.
            match self.inner.past_root_if_sound(*seq)? {
                Some(root) if root.time <= time => found = Some(*seq),
                // Clocks of authors differ: the first commits may say that they were made before it.
                Some(_) | None => {}
            }
        }
        let from = found.unwrap_or(0).max(floor);
        let is_later = |seq| Ok(seq > from && self.time_of(seq)? > time);
        let later = first_that(&self.log, is_later)?;
        let last = later.checked_sub(1).map(|index| self.log[index]);
        Ok(last.filter(|last| *last > from).or(found))
    }

    /// Reads one checkpoint. None if another home has removed it.
    pub(crate) fn checkpoint(&self, seq: u64) -> Result<Option<Checkpoint>> {
        // Each stands alone: one that a purge wrote anew pins a later position than those after it.
        self.inner.reader_anew().checkpoint_at(seq)
    }

    /// Data objects of a checkpoint that is there.
    pub(crate) fn objects_there(&self, seq: u64) -> Result<BTreeSet<ObjectId>> {
        self.objects(seq)?.ok_or_else(|| {
            let message = format!("the manifest of commit {seq} cannot be read");
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    /// Data objects that a checkpoint names. None if it, or a page of it, is damaged or not there any more.
    pub(crate) fn objects(&self, seq: u64) -> Result<Option<BTreeSet<ObjectId>>> {
        let checkpoint = match self.checkpoint(seq) {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
            Err(error) => return Err(error),
        };
        let state = &checkpoint.state;
        let tree = Tree { root: state.root, height: state.height, count: state.count };
        let (from, to) = Key::objects();
        let mut found = BTreeSet::new();
        let scanned = patiently(|| {
            tree.scan(
                &WaitingPages(&self.inner.pages),
                from.as_bytes(),
                to.as_bytes(),
                &mut |key, _| {
                    if let Ok(Subject::Object(object)) = strongroom_format::key::parse(key) {
                        found.insert(object);
                    }
                    std::ops::ControlFlow::Continue(())
                },
            )
        });
        match scanned {
            Ok(()) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The oldest of these checkpoints that has all of the log behind it, both rising by number. A commit without its body, which a
/// purge took, is no log.
///
/// # Errors
/// Those of `is_bare`.
pub fn floor(
    checkpoints: &[u64],
    log: &[u64],
    is_bare: impl Fn(u64) -> Result<bool>,
) -> Result<Option<u64>> {
    let Some(newest) = checkpoints.last().copied() else { return Ok(None) };
    // Those without a body come first, if any: a search in halves finds the end of them.
    let whole = first_that(log, |seq| Ok(!is_bare(seq)?))?;
    let first = log.get(whole).copied().unwrap_or(newest + 1);
    Ok(checkpoints.iter().copied().find(|seq| *seq + 1 >= first))
}

/// The floor that collection comes to: the newest of these checkpoints that is old, if all before it are, and of no commit after
/// `last`. Clocks of homes differ: one that looks old among newer ones removes nothing. One that says nothing of its age is
/// passed over.
///
/// # Errors
/// Those of `is_old`.
pub fn floor_due(
    checkpoints: &[u64],
    last: u64,
    is_old: impl Fn(u64) -> Result<Option<bool>>,
) -> Result<u64> {
    let mut floor = checkpoints.first().copied().unwrap_or(0);
    for seq in checkpoints.iter().copied().skip(1).filter(|seq| *seq <= last) {
        match is_old(seq)? {
            Some(true) => floor = seq,
            Some(false) => break,
            None => {}
        }
    }
    Ok(floor)
}

/// Whether something that its author's clock dates so is from before `began`. None: that clock was further ahead of `now` than clocks
/// are that somebody cares for, and says nothing of its age.
pub fn is_before(time: i64, began: i64, now: i64) -> Option<bool> {
    let skew = i64::try_from(CLOCK_SKEW_MAX.as_nanos()).unwrap_or(i64::MAX);
    (time <= now.saturating_add(skew)).then_some(time <= began)
}

/// Index of the first commit that is so, where all behind it are, too.
fn first_that(log: &[u64], is_so: impl Fn(u64) -> Result<bool>) -> Result<usize> {
    let (mut low, mut high) = (0, log.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if is_so(log[middle])? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

fn number(key: StoreKey) -> Option<u64> {
    match key {
        StoreKey::Checkpoint(seq) | StoreKey::Log(seq) => Some(seq),
        StoreKey::Workspace
        | StoreKey::Organisation(_)
        | StoreKey::Device(_)
        | StoreKey::Request(_)
        | StoreKey::Object(_)
        | StoreKey::Counter(_)
        | StoreKey::Ask(_)
        | StoreKey::Answer(_)
        | StoreKey::Policy(_) => None,
    }
}
