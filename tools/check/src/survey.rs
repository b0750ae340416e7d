//! A quick look at one earlier state: pages that no state read before had, and the blocks that they name. What keys say of one
//! another is not asked; where something cannot be read, the census finds what that means.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::ids::ObjectId;
use strongroom_format::inode::{Content, Extent};
use strongroom_format::key::{Key, Subject as KeySubject};
use strongroom_format::page::PageRef;
use strongroom_workspace::tree::map::{Layer, Value};

use crate::blocks::Blocks;
use crate::census::rules;
use crate::history::History;
use crate::known::Known;
use crate::merge::{Merge, Reader};
use crate::walk::{Span, Visit, Walk};
use crate::{Error, Progress, Result, Subject, Watch};

/// How often progress is told, in extents.
const WATCH_EVERY: u64 = 32;

/// What a survey found.
#[derive(Default)]
pub(crate) struct Surveyed {
    /// Data objects that pages not read before name, with their lengths.
    pub(crate) uses: BTreeMap<ObjectId, u64>,
    /// What cannot be read, or makes no sense.
    pub(crate) flaws: u64,
    /// How much of that is in no state that was read before.
    pub(crate) news: u64,
    /// Whether uses of objects may be among it.
    pub(crate) hides_uses: bool,
}

struct Survey<'a, 'w> {
    blocks: Blocks<'a>,
    watch: &'a mut Watch<'w>,
    extent_count: u64,
    surveyed: Surveyed,
}

/// Looks at the checkpoint of an earlier state. Blocks in `excused` objects may be gone.
pub(crate) fn examine(
    subject: &Subject,
    then: &History,
    excused: &BTreeSet<ObjectId>,
    known: &mut Known,
    watch: &mut Watch<'_>,
) -> Result<Surveyed> {
    let blocks = Blocks::new(subject, excused, &mut known.blocks);
    let mut survey = Survey { blocks, watch, extent_count: 0, surveyed: Surveyed::default() };
    let (from, to) = Key::all();
    let mut walk = Walk::new(&then.pages, (from.as_bytes(), to.as_bytes()));
    walk.known = Some((&mut known.pages, Visit::New));
    let none = Layer::new();
    walk.run(&then.map.tree, &mut Merge::new(&none, &mut survey))?;
    Ok(survey.surveyed)
}

impl Survey<'_, '_> {
    fn extent(&mut self, extent: &Extent) -> Result<()> {
        self.extent_count += 1;
        if self.extent_count.is_multiple_of(WATCH_EVERY) {
            let (count, bytes) = (self.extent_count, self.blocks.bytes);
            (self.watch)(Progress { stage: "extents of earlier states", count, bytes });
        }
        if rules::of_extent(extent).is_some() {
            self.flaw(true);
        } else if !self.blocks.verify(extent)?.is_empty() {
            let is_new = self.blocks.note_broken(extent);
            self.flaw(is_new);
        }
        Ok(())
    }

    fn flaw(&mut self, is_new: bool) {
        self.surveyed.flaws += 1;
        self.surveyed.news += u64::from(is_new);
    }
}

impl Reader for Survey<'_, '_> {
    fn value(&mut self, subject: KeySubject, value: &Value) -> Result<()> {
        match (subject, value) {
            (KeySubject::Inode(_), Value::Inode(inode)) => {
                if let Content::Extents(extents) = &inode.content {
                    extents.iter().try_for_each(|extent| self.extent(extent))?;
                }
            }
            (KeySubject::Extent { .. }, Value::Extent(extent)) => self.extent(extent)?,
            (KeySubject::Object(object), Value::Object(usage)) => {
                self.surveyed.uses.insert(object, usage.stored_len);
            }
            _ => {}
        }
        Ok(())
    }

    fn malformed(&mut self, _key: &[u8]) -> Result<()> {
        self.flaw(true);
        Ok(())
    }

    fn gap(&mut self, at: &PageRef, span: Span, _error: &Error) -> Result<()> {
        let (from, to) = Key::objects();
        self.surveyed.hides_uses |= span.meets(from.as_bytes(), to.as_bytes());
        let is_new = self.blocks.note_broken_page(&at.hash);
        self.flaw(is_new);
        Ok(())
    }

    fn flaws(&self) -> u64 {
        self.surveyed.flaws
    }
}
