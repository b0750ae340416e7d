//! What is worth a rewrite: looks at the pages of one checkpoint's tree, without locks, and remembers little.

use std::collections::{BTreeSet, HashSet};
use std::ops::{Bound, ControlFlow};

use strongroom_crypto::block::{BLOCK_LEN_MAX, block_len};
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::Extent;
use strongroom_format::key::{self, Key, Subject};

use super::{Ended, Run, Todo, Window, extents_in};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    COMPACT_CANDIDATES_MAX, COMPACT_FRAGMENTS_MIN, COMPACT_FRAGMENTS_PER_BLOCK, COMPACT_GOOD_LEN,
    COMPACT_WINDOW_LEN, COMPACT_WINDOWS_PER_ROUND,
};
use crate::tree::btree::Tree;
use crate::tree::map::Value;
use crate::tree::need::Need;
use crate::tree::pages::WaitingPages;
use crate::workspace::Inner;

/// Entries of a scan between two looks at whether the workspace closes.
const ENTRIES_PER_LOOK: usize = 4096;

/// What a round may still move.
pub(super) struct Budget {
    /// Bytes of files.
    pub bytes: u64,
    /// Extents.
    pub extents: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.bytes == 0 || self.extents == 0
    }

    fn spend(&mut self, bytes: u64, extents: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.extents = self.extents.saturating_sub(extents);
    }
}

/// An object that is worth a rewrite.
pub(super) struct Candidate {
    object: ObjectId,
    live_bytes: u64,
    references: u64,
    /// Thousandths of the object that would be there still after a rewrite.
    rest: u64,
}

impl Inner {
    /// Objects that are mostly garbage, and tiny ones if there are many. The best last.
    pub(super) fn sparse_objects(
        &self,
        tree: &Tree,
        hopeless: &BTreeSet<ObjectId>,
    ) -> std::result::Result<Vec<Candidate>, Ended> {
        let (mut sparse, mut tiny) = (Vec::new(), Vec::new());
        let tuning = &self.options.tuning;
        self.scan_tree(tree, Key::objects(), &mut |subject, value| {
            let (Subject::Object(object), Value::Object(usage)) = (subject, value) else {
                return ControlFlow::Continue(());
            };
            // Sealing alone costs a little: what a rewrite would not make smaller is not sparse.
            let sealing = usage.references.saturating_mul(block_len(1));
            let needed = usage.live_bytes.saturating_add(sealing);
            let rest = needed.saturating_mul(1000).checked_div(usage.stored_len);
            if let Some(rest) = rest.filter(|_| !hopeless.contains(&object)) {
                let (live_bytes, references) = (usage.live_bytes, usage.references);
                let candidate = Candidate { object, live_bytes, references, rest };
                if rest < 500 {
                    sparse.push(candidate);
                } else if usage.stored_len < tuning.compact_tiny_len {
                    tiny.push(candidate);
                }
            }
            ControlFlow::Continue(())
        })?;
        if tiny.len() > tuning.compact_tiny_count {
            sparse.append(&mut tiny);
        }
        sparse.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.rest));
        let surplus = sparse.len().saturating_sub(COMPACT_CANDIDATES_MAX);
        sparse.drain(..surplus);
        Ok(sparse)
    }

    /// Runs of the extents that refer to the best objects that the budget allows.
    pub(super) fn extents_of_sparse(
        &self,
        tree: &Tree,
        todo: &mut Todo,
        budget: &mut Budget,
    ) -> std::result::Result<Vec<Run>, Ended> {
        let mut chosen = HashSet::new();
        while !budget.is_spent()
            && let Some(best) = todo.objects.pop()
        {
            budget.spend(best.live_bytes, usize::try_from(best.references).unwrap_or(usize::MAX));
            chosen.insert(best.object);
        }
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let mut runs = Runs::default();
        let mut survey = Survey::default();
        let count_max = self.options.tuning.compact_extents;
        for range in [Key::inodes(), all_extents()] {
            self.scan_tree(tree, range, &mut |subject, value| {
                let (Subject::Inode(ino) | Subject::Extent { ino, .. }) = subject else {
                    return ControlFlow::Continue(());
                };
                for extent in extents_in(value) {
                    if let Subject::Extent { .. } = subject {
                        survey.see(ino, extent, todo);
                    }
                    if chosen.contains(&extent.object) {
                        runs.push(ino, extent);
                    }
                }
                // What is left out is found again after the next checkpoint, its objects sparser than now.
                match runs.extent_count < count_max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
        }
        survey.end(todo);
        Ok(runs.done)
    }

    /// Runs of small neighbours in those changed parts of files that have too many extents.
    pub(super) fn fragments(
        &self,
        tree: &Tree,
        todo: &mut Todo,
        budget: &mut Budget,
    ) -> std::result::Result<Vec<Run>, Ended> {
        let mut all = Vec::new();
        for _ in 0..COMPACT_WINDOWS_PER_ROUND {
            let Some(window) = next_window(todo) else { break };
            if budget.is_spent() {
                break;
            }
            todo.windows.remove(&window);
            todo.next_window = Some(window);
            let extents = self.extents_in_window(tree, window)?;
            let bytes = extents.iter().map(|extent| u64::from(extent.len)).sum();
            if !is_fragmented(extents.len(), bytes) {
                continue;
            }
            let mut runs = Runs::default();
            for extent in &extents {
                let small = extent.len < COMPACT_GOOD_LEN;
                if small && !todo.hopeless.contains(&extent.object) {
                    runs.push(window.0, extent);
                }
            }
            runs.done.retain(|run| run.extents.len() > 1);
            let moved = runs.done.iter().map(|run| run.len() as u64).sum();
            budget.spend(moved, runs.extent_count);
            all.append(&mut runs.done);
        }
        Ok(all)
    }

    fn extents_in_window(
        &self,
        tree: &Tree,
        (ino, index): Window,
    ) -> std::result::Result<Vec<Extent>, Ended> {
        let from = index.saturating_mul(COMPACT_WINDOW_LEN);
        let range =
            (Key::extent(ino, from), Key::extent(ino, from.saturating_add(COMPACT_WINDOW_LEN)));
        let count_max = self.options.tuning.compact_extents;
        let mut found = Vec::new();
        self.scan_tree(tree, range, &mut |_, value| {
            found.extend_from_slice(extents_in(value));
            match found.len() < count_max {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(found)
    }

    /// Visits a range of a tree, and ends when the workspace does.
    fn scan_tree(
        &self,
        tree: &Tree,
        (from, to): (Key, Key),
        visit: &mut dyn FnMut(Subject, &Value) -> ControlFlow<()>,
    ) -> std::result::Result<(), Ended> {
        let (mut seen, mut closing, mut damage) = (0_usize, false, None);
        let pages = WaitingPages(&self.pages);
        let scanned = tree.scan(&pages, from.as_bytes(), to.as_bytes(), &mut |key, value| {
            seen += 1;
            closing = seen.is_multiple_of(ENTRIES_PER_LOOK) && self.is_ending();
            if closing {
                return ControlFlow::Break(());
            }
            match parse(key, value) {
                Ok((subject, value)) => visit(subject, &value),
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        match (scanned, damage) {
            (Err(Need::Failed(_) | Need::Page(_)), _) | (Ok(()), Some(_)) => Err(Ended::Failed),
            (Ok(()), None) if closing => Err(Ended::Closing),
            (Ok(()), None) => Ok(()),
        }
    }
}

fn parse(key: &[u8], value: &[u8]) -> Result<(Subject, Value)> {
    let subject = key::parse(key)
        .map_err(|_| Error::new(ErrorKind::Corrupt, "a manifest page holds a malformed key"))?;
    Ok((subject, Value::parse(key, value)?))
}

/// First key and the bound after the last of all extents: they lie between inodes and objects.
fn all_extents() -> (Key, Key) {
    (Key::inodes().1, Key::objects().0)
}

/// The first window from where the last round ended, around the end.
fn next_window(todo: &Todo) -> Option<Window> {
    let after = todo.next_window.map_or(Bound::Unbounded, Bound::Excluded);
    let ahead = todo.windows.range((after, Bound::Unbounded)).next();
    ahead.or(todo.windows.first()).copied()
}

/// Whether so many bytes have too many extents.
fn is_fragmented(count: usize, bytes: u64) -> bool {
    let blocks = usize::try_from(bytes.div_ceil(BLOCK_LEN_MAX)).unwrap_or(usize::MAX);
    let allowed = blocks.saturating_mul(COMPACT_FRAGMENTS_PER_BLOCK);
    count > allowed.max(COMPACT_FRAGMENTS_MIN)
}

/// Finds fragmented windows while all extents pass by anyway: those that were left before this mount.
#[derive(Default)]
struct Survey {
    window: Option<Window>,
    count: usize,
    bytes: u64,
}

impl Survey {
    fn see(&mut self, ino: Ino, extent: &Extent, todo: &mut Todo) {
        let window = (ino, extent.offset / COMPACT_WINDOW_LEN);
        if self.window != Some(window) {
            self.end(todo);
            *self = Survey { window: Some(window), count: 0, bytes: 0 };
        }
        self.count += 1;
        self.bytes += u64::from(extent.len);
    }

    fn end(&mut self, todo: &mut Todo) {
        if let Some(window) = self.window.take()
            && is_fragmented(self.count, self.bytes)
        {
            todo.add_window(window);
        }
    }
}

/// Joins neighbours into runs of at most one block.
#[derive(Default)]
struct Runs {
    done: Vec<Run>,
    extent_count: usize,
}

impl Runs {
    fn push(&mut self, ino: Ino, extent: &Extent) {
        self.extent_count += 1;
        if let Some(last) = self.done.last_mut() {
            let together = last.len() as u64 + u64::from(extent.len);
            let next_to = last.ino == ino && last.end() == extent.offset;
            if next_to && together <= BLOCK_LEN_MAX {
                last.extents.push(extent.clone());
                return;
            }
        }
        self.done.push(Run { ino, extents: vec![extent.clone()] });
    }
}
