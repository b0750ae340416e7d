//! The copy-on-write B+tree of a checkpoint: lookups, scans, and the rewrite that makes the next tree.
//!
//! Pages are immutable. A rewrite reads the pages that its changes touch, puts new ones through a [`PageSink`] and
//! names those that the new tree no longer uses; all other pages are shared by both trees. The layout of a page is
//! in `strongroom_format::page`, opening and fetching pages is the [`PageSource`]'s.
//!
//! 1. The key of an inner entry is exactly the first key of its child.
//! 2. All leaves are on level 0.
//! 3. A page under a third full is merged with a neighbour when its surroundings are rewritten.
//! 4. The same tree and changes give the same pages in the same order.
//! 5. A rewrite holds two pages of entries per level, and the path it reads.

use std::collections::HashSet;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom_format::ids::ObjectId;
use strongroom_format::page::{LEVEL_MAX, PLAIN_LEN_MAX, Page, PageRef, Run};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::tree::need::Look;

/// A page below this many bytes is merged with a neighbour.
const MERGE_BELOW: usize = PLAIN_LEN_MAX / 3;

/// Gives opened pages.
pub trait PageSource {
    /// The page, verified against the reference.
    ///
    /// # Errors
    /// `Need::Page` when it is not in memory, `Corrupt` when it is not what the reference says.
    fn page(&self, at: &PageRef) -> Look<Arc<Page>>;
}

/// Takes new pages: seals them and gives them a place.
pub trait PageSink {
    /// Seals a page of a level (0 is a leaf) and says where it lies.
    ///
    /// # Errors
    /// What sealing or staging met.
    fn put(&mut self, plain: Zeroizing<Vec<u8>>, level: u8) -> Result<PageRef, Error>;
}

/// One change: a key and its new value, or none when the key goes.
pub type Change<'c> = (&'c [u8], Option<&'c [u8]>);

/// Sees keys and values of a scan, and says whether to go on.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// A tree of pages. Empty without a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Top page.
    pub root: Option<PageRef>,
    /// Levels: 0 when empty, 1 when the top page is a leaf.
    pub height: u8,
    /// Number of entries.
    pub count: u64,
}

/// What a rewrite made.
#[derive(Debug)]
pub struct Rewrite {
    /// The new tree.
    pub tree: Tree,
    /// Pages of the old tree that the new one does not use.
    pub released: Vec<PageRef>,
}

impl Tree {
    /// Reads a value.
    pub fn get(&self, pages: &dyn PageSource, key: &[u8]) -> Look<Option<Vec<u8>>> {
        self.get_with(pages, key, |value| value.to_vec())
    }

    /// Lets `read` see a value where it lies.
    pub fn get_with<T>(
        &self,
        pages: &dyn PageSource,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Look<Option<T>> {
        let Some(root) = self.root else { return Ok(None) };
        let mut page = open(pages, &root)?;
        while let Some(child) = child_for(&page, key) {
            page = open(pages, &child)?;
        }
        Ok(page.get(key).map(read))
    }

    /// Visits the entries from `from` up to but without `to`, ascending, until told to stop.
    pub fn scan(
        &self,
        pages: &dyn PageSource,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Look<()> {
        match self.root {
            Some(root) if from < to => scan(pages, &root, (from, to), visit).map(drop),
            _ => Ok(()),
        }
    }

    /// The last entry before `before` and not before `floor`.
    pub fn last_before(
        &self,
        pages: &dyn PageSource,
        floor: &[u8],
        before: &[u8],
    ) -> Look<Option<(Vec<u8>, Vec<u8>)>> {
        let Some(root) = self.root else { return Ok(None) };
        let mut page = open(pages, &root)?;
        loop {
            let at = page.search(before).unwrap_or_else(|place| place);
            // Keys of inner entries are exact, so whatever lies before `before` lies in the entry before it.
            let Some(index) = at.checked_sub(1) else { return Ok(None) };
            match page.child(index) {
                Some(child) => page = open(pages, &child)?,
                None if page.key(index) < floor => return Ok(None),
                None => return Ok(Some((page.key(index).to_vec(), page.value(index).to_vec()))),
            }
        }
    }

    /// Visits the reference of every page, parents before children. Reads inner pages only.
    pub fn page_refs(&self, pages: &dyn PageSource, visit: &mut dyn FnMut(&PageRef)) -> Look<()> {
        match self.root {
            Some(root) => page_refs(pages, &root, visit),
            None => Ok(()),
        }
    }

    /// Makes the tree that differs by `changes`, which rise by key. Pages in `victims` are put anew, so that those
    /// objects can go.
    ///
    /// # Errors
    /// `Need::Page` when a page is not in memory: the rewrite then starts over with a new sink, so a source that
    /// fetches by itself is better here. `Invalid` when changes do not rise or do not fit a page. What was put
    /// before a failure is in no tree.
    pub fn rewrite<'c>(
        &self,
        pages: &dyn PageSource,
        changes: impl Iterator<Item = Change<'c>>,
        victims: &HashSet<ObjectId>,
        sink: &mut dyn PageSink,
    ) -> Look<Rewrite> {
        let mut touched = Vec::new();
        if let Some(root) = self.root.filter(|_| !victims.is_empty()) {
            collect_touched(pages, &root, &[], victims, &mut touched)?;
        }
        let writer = Writer { pages, sink, runs: Vec::new(), released: Vec::new() };
        let mut changes = changes;
        let changes: &mut dyn Iterator<Item = Change<'c>> = &mut changes;
        let pending = Changes { rest: changes.peekable(), last: Vec::new() };
        let mut merge = Merge { writer, changes: pending, touched, passed: 0, count: self.count };
        merge.run(self.root)?;
        let root = merge.writer.finish()?;
        let tree = Tree { root, height: root.map_or(0, |root| root.level + 1), count: merge.count };
        Ok(Rewrite { tree, released: merge.writer.released })
    }
}

fn open(pages: &dyn PageSource, at: &PageRef) -> Look<Arc<Page>> {
    let page = pages.page(at)?;
    if page.level() != at.level {
        return Err(damaged().into());
    }
    Ok(page)
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "a manifest page is not what its parent says")
}

/// Child that would hold a key; none in a leaf, and none for keys before the first.
fn child_for(page: &Page, key: &[u8]) -> Option<PageRef> {
    match page.search(key) {
        Ok(index) => page.child(index),
        Err(place) => page.child(place.checked_sub(1)?),
    }
}

fn scan(
    pages: &dyn PageSource,
    at: &PageRef,
    (from, to): (&[u8], &[u8]),
    visit: &mut Visit<'_>,
) -> Look<ControlFlow<()>> {
    let page = open(pages, at)?;
    let found = page.search(from);
    let start = match (found, page.level()) {
        (Ok(index), _) => index,
        (Err(place), 0) => place,
        (Err(place), _) => place.saturating_sub(1),
    };
    for index in start..page.count() {
        if page.key(index) >= to {
            return Ok(ControlFlow::Break(()));
        }
        let flow = match page.child(index) {
            Some(child) => scan(pages, &child, (from, to), visit)?,
            None => visit(page.key(index), page.value(index)),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn page_refs(pages: &dyn PageSource, at: &PageRef, visit: &mut dyn FnMut(&PageRef)) -> Look<()> {
    visit(at);
    if at.level == 0 {
        return Ok(());
    }
    let page = open(pages, at)?;
    (0..page.count())
        .filter_map(|index| page.child(index))
        .try_for_each(|child| page_refs(pages, &child, visit))
}

/// A page in a victim object: its first key and level.
type Touched = (Vec<u8>, u8);

fn collect_touched(
    pages: &dyn PageSource,
    at: &PageRef,
    key: &[u8],
    victims: &HashSet<ObjectId>,
    touched: &mut Vec<Touched>,
) -> Look<()> {
    if victims.contains(&at.object) {
        touched.push((key.to_vec(), at.level));
    }
    if at.level == 0 {
        return Ok(());
    }
    let page = open(pages, at)?;
    for index in 0..page.count() {
        if let Some(child) = page.child(index) {
            // The first child's range begins where its parent's does, and so does what touches it.
            let key = if index == 0 { key } else { page.key(index) };
            collect_touched(pages, &child, key, victims, touched)?;
        }
    }
    Ok(())
}

/// Changes still to come, checked to rise.
struct Changes<'i, 'c> {
    rest: Peekable<&'i mut dyn Iterator<Item = Change<'c>>>,
    last: Vec<u8>,
}

impl<'c> Changes<'_, 'c> {
    /// Whether the next change lies before a bound; no bound is above everything.
    fn any_before(&mut self, bound: Option<&[u8]>) -> bool {
        self.rest.peek().is_some_and(|(key, _)| bound.is_none_or(|bound| *key < bound))
    }

    fn next_before(&mut self, bound: Option<&[u8]>) -> Result<Option<Change<'c>>, Error> {
        if !self.any_before(bound) {
            return Ok(None);
        }
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        if key <= self.last.as_slice() {
            return Err(Error::new(ErrorKind::Invalid, "changes of a tree must rise"));
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(Some((key, value)))
    }
}

/// The walk over the old tree that feeds the writer.
struct Merge<'a, 'i, 'c> {
    writer: Writer<'a>,
    changes: Changes<'i, 'c>,
    /// Pages to put anew, parents before children; those before `passed` are done.
    touched: Vec<Touched>,
    passed: usize,
    count: u64,
}

impl Merge<'_, '_, '_> {
    fn run(&mut self, root: Option<PageRef>) -> Look<()> {
        match root {
            Some(root) => {
                let key = self.writer.first_key(&root)?;
                self.walk(&root, &key, None)?;
            }
            None => self.insert_before(None)?,
        }
        Ok(())
    }

    /// Brings the subtree at `at`, whose keys lie before `bound`, up to date.
    fn walk(&mut self, at: &PageRef, key: &[u8], bound: Option<&[u8]>) -> Look<()> {
        if !self.is_touched(at.level, bound) {
            return self.writer.keep(at, key);
        }
        let page = open(self.writer.pages, at)?;
        self.writer.released.push(*at);
        if at.level == 0 {
            self.merge_leaf(&page, bound)?;
        } else {
            for index in 0..page.count() {
                let child = page.child(index).ok_or_else(damaged)?;
                let last = index + 1 == page.count();
                let child_bound = if last { bound } else { Some(page.key(index + 1)) };
                self.walk(&child, page.key(index), child_bound)?;
            }
        }
        self.passed += self.touched_before(bound).count();
        Ok(())
    }

    /// Whether the subtree of a page of this level has changes or pages to put anew at or below that level.
    fn is_touched(&mut self, level: u8, bound: Option<&[u8]>) -> bool {
        if self.changes.any_before(bound) {
            return true;
        }
        self.touched_before(bound).any(|(_, touched)| *touched <= level)
    }

    fn touched_before<'t>(&'t self, bound: Option<&[u8]>) -> impl Iterator<Item = &'t Touched> {
        let ahead = &self.touched[self.passed..];
        let len = match bound {
            Some(bound) => ahead.partition_point(|(key, _)| key.as_slice() < bound),
            None => ahead.len(),
        };
        ahead[..len].iter()
    }

    fn merge_leaf(&mut self, page: &Page, bound: Option<&[u8]>) -> Look<()> {
        for index in 0..page.count() {
            let key = page.key(index);
            self.insert_before(Some(key))?;
            let same = self.changes.rest.next_if(|(changed, _)| *changed == key);
            match same {
                None => self.writer.push_entry(page.entry(index))?,
                Some((key, change)) => {
                    self.changes.last = key.to_vec();
                    match change {
                        Some(value) => self.writer.push(key, value)?,
                        None => self.count -= 1,
                    }
                }
            }
        }
        self.insert_before(bound)
    }

    /// Takes changes of keys that the old tree does not have, up to a bound.
    fn insert_before(&mut self, bound: Option<&[u8]>) -> Look<()> {
        while let Some((key, value)) = self.changes.next_before(bound)? {
            if let Some(value) = value {
                self.writer.push(key, value)?;
                self.count += 1;
            }
        }
        Ok(())
    }
}

/// Builds the new tree from left to right: entries and kept subtrees go in, pages come out.
struct Writer<'a> {
    pages: &'a dyn PageSource,
    sink: &'a mut dyn PageSink,
    /// Per level, entries that are in no page yet. Those of level n + 1 refer to pages of level n.
    runs: Vec<Run>,
    released: Vec<PageRef>,
}

impl Writer<'_> {
    fn first_key(&self, at: &PageRef) -> Look<Vec<u8>> {
        Ok(open(self.pages, at)?.key(0).to_vec())
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> Look<()> {
        self.run(0)?.push(key, value).map_err(invalid)?;
        self.spill(0)
    }

    fn push_entry(&mut self, entry: &[u8]) -> Look<()> {
        self.run(0)?.push_entry(entry);
        self.spill(0)
    }

    /// Appends an unchanged subtree. Small runs before it swallow its first pages.
    fn keep(&mut self, at: &PageRef, key: &[u8]) -> Look<()> {
        for level in 0..=at.level {
            let run = self.run(level)?;
            if run.is_empty() {
                continue;
            }
            if run.page_len() < MERGE_BELOW {
                return self.unpack(at);
            }
            self.close(level)?;
        }
        self.push_child(at, key)
    }

    /// Appends what is in a page instead of the page.
    fn unpack(&mut self, at: &PageRef) -> Look<()> {
        let page = open(self.pages, at)?;
        self.released.push(*at);
        for index in 0..page.count() {
            match page.child(index) {
                Some(child) => self.keep(&child, page.key(index))?,
                None => self.push_entry(page.entry(index))?,
            }
        }
        Ok(())
    }

    fn push_child(&mut self, at: &PageRef, key: &[u8]) -> Look<()> {
        let level = at.level + 1;
        self.run(level)?.push_child(key, *at).map_err(invalid)?;
        self.spill(level)
    }

    /// Puts a full page when there is more than enough for two, so that the rest always makes a decent page.
    fn spill(&mut self, level: u8) -> Look<()> {
        let run = self.run(level)?;
        if run.page_len() <= 2 * PLAIN_LEN_MAX {
            return Ok(());
        }
        let count = run.count_within(PLAIN_LEN_MAX);
        self.put(level, count)
    }

    /// Puts all entries of a level, in pages of about the same length.
    fn close(&mut self, level: u8) -> Look<()> {
        loop {
            let run = self.run(level)?;
            if run.is_empty() {
                return Ok(());
            }
            let page_count = run.page_len().div_ceil(PLAIN_LEN_MAX);
            let fair = run.page_len().div_ceil(page_count);
            // Entries are long at times: the fair share is rounded up to the next entry where that fits.
            let below = run.count_within(fair);
            let fits =
                |count: usize| count <= run.count() && run.page_len_of(count) <= PLAIN_LEN_MAX;
            let up = page_count > 1 && run.page_len_of(below) < fair && fits(below + 1);
            let count = if up { below + 1 } else { below };
            self.put(level, count)?;
        }
    }

    fn put(&mut self, level: u8, count: usize) -> Look<()> {
        let run = self.run(level)?;
        let key = run.first_key().ok_or_else(damaged)?.to_vec();
        let plain = run.cut(count, level);
        let at = self.sink.put(plain, level)?;
        if at.level != level {
            return Err(Error::new(ErrorKind::Internal, "page put on another level").into());
        }
        self.push_child(&at, &key)
    }

    /// Closes all levels upwards and returns the top page.
    fn finish(&mut self) -> Look<Option<PageRef>> {
        let mut level = 0;
        loop {
            let above = usize::from(level) + 1;
            let is_top = self.runs.iter().skip(above).all(Run::is_empty);
            let run = self.run(level)?;
            match (is_top, run.count()) {
                (true, 0) => return Ok(None),
                (true, 1) if level > 0 => return Ok(run.pop_child().map(|(_, root)| root)),
                (false, 1..) if run.page_len() < MERGE_BELOW => self.join_previous(level)?,
                _ => {}
            }
            self.close(level)?;
            level += 1;
        }
    }

    /// Takes the last page before a small run apart and puts its entries in front.
    fn join_previous(&mut self, level: u8) -> Look<()> {
        let tail = std::mem::take(self.run(level)?);
        let mut above = usize::from(level) + 1;
        while self.runs.get(above).is_some_and(Run::is_empty) {
            above += 1;
        }
        while above > usize::from(level) {
            let Some((_, at)) = self.runs.get_mut(above).and_then(Run::pop_child) else {
                return Err(damaged().into());
            };
            let page = open(self.pages, &at)?;
            self.released.push(at);
            above -= 1;
            for index in 0..page.count() {
                self.runs[above].push_entry(page.entry(index));
            }
        }
        self.run(level)?.append(&tail);
        Ok(())
    }

    fn run(&mut self, level: u8) -> Result<&mut Run, Error> {
        if level > LEVEL_MAX {
            return Err(damaged());
        }
        let index = usize::from(level);
        if self.runs.len() <= index {
            self.runs.resize_with(index + 1, Run::default);
        }
        Ok(&mut self.runs[index])
    }
}

fn invalid(error: strongroom_format::error::Error) -> Error {
    Error::new(ErrorKind::Invalid, error.message())
}

#[cfg(test)]
mod tests;
