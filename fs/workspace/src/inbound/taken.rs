//! Commits of others, laid over what was committed before them, beside the map that is in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::op::Op;

use super::away::Fitted;
use super::log::Commit;
use crate::error::Result;
use crate::outbound::commit::with_stored_len;
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::rules::{self, NameHash};
use crate::tree::txn::Txn;

/// What others did, as far as it decides about conflicts.
#[derive(Default)]
pub(super) struct Touched {
    /// Files whose content they changed.
    edited: BTreeSet<Ino>,
    /// Inodes to which they gave a name, or another one.
    named: BTreeSet<Ino>,
    /// Nobody knows: they may have done anything, but to these, which are new.
    all_but: Option<BTreeSet<Ino>>,
    /// Files that they purged: what these held must not come back.
    pub(super) purged: BTreeSet<Ino>,
}

impl Touched {
    /// Whether they changed a file's content.
    pub(super) fn is_edited(&self, ino: Ino) -> bool {
        self.is_anything(ino) || self.edited.contains(&ino)
    }

    /// Whether they gave an inode a name, or another one.
    pub(super) fn is_named(&self, ino: Ino) -> bool {
        self.is_anything(ino) || self.named.contains(&ino)
    }

    /// Whether nobody knows what they did.
    pub(super) fn is_unknown(&self) -> bool {
        self.all_but.is_some()
    }

    fn is_anything(&self, ino: Ino) -> bool {
        self.all_but.as_ref().is_some_and(|new| !new.contains(&ino))
    }
}

/// The map with others' commits, and what these touched.
pub(super) struct Taken {
    /// Their changes are in its `settling` layer.
    pub(super) next: Map,
    pub(super) touched: Touched,
    /// Objects that they let go of.
    pub(super) released: BTreeSet<ObjectId>,
    /// Files here that lost a part of what they held, for it was kept for a time only.
    pub(super) incomplete: BTreeSet<Ino>,
    names: Arc<NameHash>,
}

impl Taken {
    pub(super) fn new(base: &Map, names: Arc<NameHash>) -> Self {
        Self {
            next: base.committed(),
            touched: Touched::default(),
            released: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            names,
        }
    }

    /// What others did is not known any more, only what came of it.
    pub(super) fn unknown(next: &Map, names: Arc<NameHash>, fitted: Fitted) -> Self {
        let touched = Touched { all_but: Some(fitted.new), ..Touched::default() };
        Self { touched, incomplete: fitted.incomplete, ..Self::new(next, names) }
    }

    /// Applies a commit.
    ///
    /// # Errors
    /// `Corrupt` when it does not apply; those of the store.
    pub(super) fn apply(&mut self, commit: &Commit) -> Result<()> {
        for op in &commit.body.ops {
            self.note(op)?;
            let plan = patiently(|| {
                let mut txn = Txn::new(&self.next);
                rules::plan(&mut txn, &self.names, op)?;
                Ok(txn.finish())
            })?;
            self.next.settling.extend(plan.layer);
        }
        for added in &commit.header.added {
            let usage = patiently(|| Txn::new(&self.next).object_use(added.object))?;
            if let Some(usage) = usage {
                let layer = with_stored_len(added.object, usage, added.len);
                self.next.settling.extend(layer);
            }
        }
        self.released.extend(&commit.header.released);
        Ok(())
    }

    fn note(&mut self, op: &Op) -> Result<()> {
        let Touched { edited, named, purged, all_but: _ } = &mut self.touched;
        match op {
            Op::SetInline { ino, .. }
            | Op::SetExtents { ino, .. }
            | Op::Punch { ino, .. }
            | Op::Clone { to: ino, .. }
            | Op::SetAttributes { ino, size: Some(_), .. } => drop(edited.insert(*ino)),
            Op::Create { ino, .. } | Op::Link { ino, .. } | Op::Rename { ino, .. } => {
                named.insert(*ino);
            }
            Op::Exchange { from, from_name, to, to_name, .. } => {
                for (folder, name) in [(from, from_name), (to, to_name)] {
                    let hash = self.names.of(name);
                    let txn = Txn::new(&self.next);
                    let found = patiently(|| txn.find_entry(*folder, hash, name))?;
                    named.extend(found.map(|(_, entry)| entry.ino));
                }
            }
            Op::Expunge { inos } => purged.extend(inos),
            Op::Unlink { .. }
            | Op::SetAttributes { size: None, .. }
            | Op::SetXattr { .. }
            | Op::Purge { .. }
            | Op::Relocate { .. }
            | Op::Rewrite { .. }
            | Op::SetSnapshot { .. }
            | Op::Based { .. }
            | Op::Write { .. } => {}
        }
        Ok(())
    }
}
