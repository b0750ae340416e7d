//! Every page of the tree, from the top down and from left to right. A page that does not verify leaves a gap in the
//! stream of keys, and the walk goes on behind it.

use std::collections::BTreeMap;

use strongroom_format::ids::ObjectId;
use strongroom_format::page::PageRef;
use strongroom_workspace::later::wait;
use strongroom_workspace::tree::btree::Tree;
use strongroom_workspace::tree::pages::Pages;

use crate::known::KnownPages;
use crate::{Error, ErrorKind, Result};

/// Keys `from..to`; an end that is missing is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
}

impl Span {
    /// Whether a key lies inside.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && self.to.as_deref().is_none_or(|to| key < to)
    }

    /// Whether any of the keys `from..to` may lie inside.
    pub(crate) fn meets(&self, from: &[u8], to: &[u8]) -> bool {
        self.from.as_slice() < to && self.to.as_deref().is_none_or(|end| from < end)
    }
}

/// Takes what a walk meets, in order of keys.
pub(crate) trait Sink {
    /// An entry.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// A page that cannot be read: where it is and which keys it hides.
    fn gap(&mut self, at: &PageRef, span: Span, error: &Error) -> Result<()>;
    /// Entries up to now that were not found sound as the pages have them.
    fn flaws(&self) -> u64;
}

/// Which pages a walk reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// All.
    All,
    /// Those that no walk before found sound, with all that is beneath them.
    New,
}

/// A walk under way.
pub(crate) struct Walk<'a> {
    pub(crate) pages: &'a Pages,
    /// Only keys `from..to` are of interest.
    pub(crate) bounds: (&'a [u8], &'a [u8]),
    /// Pages seen, by object.
    pub(crate) seen: BTreeMap<ObjectId, u32>,
    pub(crate) page_count: u64,
    /// Where pages that are sound are noted; none: nowhere.
    pub(crate) known: Option<(&'a mut KnownPages, Visit)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(pages: &'a Pages, bounds: (&'a [u8], &'a [u8])) -> Self {
        Self { pages, bounds, seen: BTreeMap::new(), page_count: 0, known: None }
    }

    pub(crate) fn run(&mut self, tree: &Tree, sink: &mut dyn Sink) -> Result<()> {
        match &tree.root {
            Some(root) => self.visit(root, Span { from: Vec::new(), to: None }, sink),
            None => Ok(()),
        }
    }

    fn visit(&mut self, at: &PageRef, span: Span, sink: &mut dyn Sink) -> Result<()> {
        if !span.meets(self.bounds.0, self.bounds.1) {
            return Ok(());
        }
        if let Some((known, Visit::New)) = &self.known
            && known.has(&at.hash)
        {
            return Ok(());
        }
        let flaws = sink.flaws();
        *self.seen.entry(at.object).or_default() += 1;
        self.page_count += 1;
        let page = match wait(self.pages.fetch(*at)) {
            Ok(page) => page,
            Err(error) if error.kind() == ErrorKind::Corrupt => return sink.gap(at, span, &error),
            Err(error) => return Err(error),
        };
        let (first, last) = (page.key(0), page.key(page.count() - 1));
        let is_placed = (span.from.is_empty() || first == span.from) && span.has(last);
        let is_stepwise = (0..page.count())
            .filter_map(|index| page.child(index))
            .all(|child| at.level.checked_sub(1) == Some(child.level));
        if !is_placed || !is_stepwise {
            let error = Error::new(ErrorKind::Corrupt, "a page is not where its keys belong");
            return sink.gap(at, span, &error);
        }
        for index in 0..page.count() {
            match page.child(index) {
                None => sink.entry(page.key(index), page.value(index))?,
                Some(child) => {
                    let next = (index + 1 < page.count()).then(|| page.key(index + 1).to_vec());
                    let from = match index {
                        // What lies before the first key of all belongs to the first page.
                        0 => span.from.clone(),
                        _ => page.key(index).to_vec(),
                    };
                    let to = next.or_else(|| span.to.clone());
                    self.visit(&child, Span { from, to }, sink)?;
                }
            }
        }
        if let Some((known, _)) = &mut self.known
            && sink.flaws() == flaws
        {
            known.note(at.hash);
        }
        Ok(())
    }
}
