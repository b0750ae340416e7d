//! Writing the map out as a tree of sealed pages, signing its root, and letting go of log and pages it replaces.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use strongroom_crypto::hash::{blake3_256, sha256};
use strongroom_crypto::lthash::LtHash;
use strongroom_crypto::seal;
use strongroom_crypto::usage::{Context, Usage};
use strongroom_format::cbor::encode;
use strongroom_format::checkpoint::{
    CheckpointRoot, CompartmentState, JournalMark, PageObject, PartRef, build,
};
use strongroom_format::ids::{CompartmentId, Digest, ObjectId};
use strongroom_format::page::PageRef;
use strongroom_format::workspace::SUITE;
use strongroom_store::{Body, Family, Key as StoreKey};

use super::commit::Outbound;
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::log::{get, list};
use crate::inbound::roster::Pin;
use crate::later::wait;
use crate::limits::Broken;
use crate::state::Head;
use crate::tree::btree::{Rewrite, Tree};
use crate::tree::map::Layer;
use crate::tree::need::{Look, Need};
use crate::tree::pages::{PageWriter, WaitingPages};
use crate::workspace::{Inner, ordinary_place};

/// Share of live pages under which a page object is rewritten: one third.
const REPACK_BELOW: u32 = 3;
/// Sealed length of a full page, to tell how many pages an object once had.
const PAGE_LEN_TYPICAL: u64 = 12_000;

/// Page objects of a checkpoint.
pub type Ledger = BTreeMap<ObjectId, PageObject>;

/// A commit at which the overlay was frozen, to be written out.
#[derive(Clone)]
pub struct CheckpointDue {
    /// The commit.
    pub head: Head,
    /// How far journals are contained there.
    pub marks: Vec<JournalMark>,
}

/// A checkpoint whose pages are in the store.
pub struct Written {
    tree: Tree,
    digest: LtHash,
    ledger: Ledger,
}

impl Written {
    /// Objects that it names.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.ledger.keys().copied()
    }
}

impl Inner {
    /// Writes the checkpoint that a published cut asked for.
    pub(super) fn checkpoint_if_due(&self, outbound: &mut Outbound) -> Result<()> {
        let Some(due) = outbound.checkpoint_due.clone() else { return Ok(()) };
        let (layer, tree) = {
            let state = self.state.lock();
            let Some(layer) = state.map.frozen.clone() else { return Ok(()) };
            (layer, state.map.tree.clone())
        };
        if self.options.tuning.broken == Some(Broken::CutLogBeforeCheckpoint) {
            self.cut_log(due.head.seq)?;
        }
        // A root that may be in the store is put again, never another in its place.
        let written = match outbound.written.take() {
            Some(written) => written,
            None => {
                let written = self.write_pages(outbound, &tree, &layer)?;
                outbound.fresh_written = outbound.rewrite_all;
                written
            }
        };
        if let Err(error) = self.put_root(outbound, &due, &written) {
            outbound.written = Some(written);
            return Err(error);
        }
        {
            let mut state = self.state.lock();
            state.map.tree = written.tree;
            state.map.frozen = None;
            state.log_bytes = 0;
        }
        outbound.digest = written.digest;
        let before = std::mem::replace(&mut outbound.ledger, written.ledger);
        let keeps = self.keeps_history(outbound) || outbound.has_past;
        if !keeps {
            let gone = before.keys().filter(|object| !outbound.ledger.contains_key(*object));
            outbound.leftovers.stored.extend(gone);
        }
        outbound.checkpoint_due = None;
        outbound.checkpoint_seq = due.head.seq;
        if std::mem::take(&mut outbound.fresh_written) {
            outbound.rewrite_all = false;
        }
        self.counts.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.compaction.note(&layer);
        outbound.leftovers.sweep = true;
        if keeps {
            outbound.leftovers.expire = true;
        } else {
            outbound.leftovers.log_upto = Some(due.head.seq);
        }
        Ok(())
    }

    /// Writes the pages of the next checkpoint. Those of a failed try go again: no root names them.
    fn write_pages(&self, outbound: &mut Outbound, tree: &Tree, layer: &Layer) -> Result<Written> {
        let digest = self.digest_after(outbound, tree, layer)?;
        let mut writer = PageWriter::new(&self.pages, &*self.services.entropy);
        let victims = match outbound.rewrite_all {
            true => outbound.ledger.keys().copied().collect(),
            false => sparse_objects(&outbound.ledger),
        };
        let rewrite = self.rewrite(tree, layer, &victims, &mut writer);
        let rewrite = rewrite.and_then(|rewrite| writer.finish().map(|()| rewrite));
        let rewrite = rewrite.and_then(|rewrite| self.confirm_pages(&writer).map(|()| rewrite));
        match rewrite {
            Ok(rewrite) => {
                let ledger = next_ledger(&outbound.ledger, &rewrite, &writer);
                Ok(Written { tree: rewrite.tree, digest, ledger })
            }
            Err(error) => {
                outbound.leftovers.stored.extend(writer.made.keys());
                Err(error)
            }
        }
    }

    /// Asks for the end of every new object of pages, where it is kept: what was put can be read here all the same.
    ///
    /// ORDER: before a root names them, and the log and the pages that they replace go for good.
    fn confirm_pages(&self, writer: &PageWriter<'_>) -> Result<()> {
        if self.options.tuning.broken == Some(Broken::PutBelieved) {
            return Ok(());
        }
        for (object, made) in &writer.made {
            let key = StoreKey::Object(*object);
            let there = wait(async { Ok(self.store.confirm(key, made.stored_len).await) })?;
            there.map_err(|_| not_kept(key))?;
        }
        Ok(())
    }

    fn rewrite(
        &self,
        tree: &Tree,
        layer: &Layer,
        victims: &HashSet<ObjectId>,
        writer: &mut PageWriter<'_>,
    ) -> Result<Rewrite> {
        let changes: Vec<_> = layer
            .iter()
            .map(|(key, value)| (*key, value.as_ref().map(|value| value.to_bytes())))
            .collect();
        let changes = changes.iter().map(|(key, value)| (key.as_bytes(), value.as_deref()));
        settled(tree.rewrite(&WaitingPages(&self.pages), changes, victims, writer))
    }

    /// Digest of the map once the layer is in it.
    fn digest_after(&self, outbound: &Outbound, tree: &Tree, layer: &Layer) -> Result<LtHash> {
        self.digest_with(outbound.digest.clone(), tree, layer)
    }

    /// Digest of a tree's map once a layer is in it; `digest` is that without.
    pub(crate) fn digest_with(&self, digest: LtHash, tree: &Tree, layer: &Layer) -> Result<LtHash> {
        let mut digest = digest;
        let pages = WaitingPages(&self.pages);
        for (key, value) in layer {
            let key = key.as_bytes();
            if let Some(old) = settled(tree.get(&pages, key))? {
                digest.remove(key, &old);
            }
            if let Some(value) = value {
                digest.add(key, &value.to_bytes());
            }
        }
        Ok(digest)
    }

    fn put_root(&self, outbound: &Outbound, due: &CheckpointDue, written: &Written) -> Result<()> {
        let Written { tree, digest, ledger } = written;
        let name_key = *self.state.lock().names.key().expose();
        let part = CompartmentState {
            compartment: CompartmentId::ORDINARY,
            seq: due.head.seq,
            root: tree.root,
            height: tree.height,
            count: tree.count,
            name_key,
            digest: digest.to_bytes(),
            slots: outbound.slots.clone(),
            journals: due.marks.clone(),
        };
        let ledger = ledger.values().copied().collect();
        let (pin, time) = (self.roster.pin()?, self.services.clock.now_ns());
        let facts = HeadFacts { head: due.head, pin, time };
        let bytes = seal_checkpoint(&self.keys, &*self.services.entropy, &facts, &part, ledger)?;
        let key = StoreKey::Checkpoint(due.head.seq);
        let body = Body::Bytes(bytes.clone());
        wait(async { Ok(self.store.put(key, body).await.map(drop)?) })?;
        let believed = self.options.tuning.broken == Some(Broken::PutBelieved);
        if believed || get(&self.store, key)?.is_some_and(|there| there == bytes) {
            return Ok(());
        }
        Err(not_kept(key))
    }

    /// Deletes older checkpoints and the log the new one covers.
    /// ORDER: only after the new root is durable.
    pub(super) fn cut_log(&self, seq: u64) -> Result<()> {
        let older = |key| match key {
            StoreKey::Log(of) => of <= seq,
            StoreKey::Checkpoint(of) => of < seq,
            StoreKey::Workspace
            | StoreKey::Organisation(_)
            | StoreKey::Device(_)
            | StoreKey::Request(_)
            | StoreKey::Policy(_)
            | StoreKey::Counter(_)
            | StoreKey::Ask(_)
            | StoreKey::Answer(_)
            | StoreKey::Object(_) => false,
        };
        for family in [Family::Checkpoint, Family::Log] {
            let mut after = None;
            loop {
                let page = list(&self.store, family, after)?;
                let last = page.last().copied();
                self.delete_all(page.into_iter().filter(|key| older(*key)))?;
                // In order: behind one that stays all stay, however much the store says there is.
                after = last.filter(|key| older(*key));
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Head and time for a checkpoint's root.
pub(crate) struct HeadFacts {
    /// Commit it stands for.
    pub head: Head,
    /// Newest organisation record the author had seen.
    pub pin: Pin,
    /// Author's clock.
    pub time: i64,
}

/// Seals the part, signs the root, and returns the file.
pub(crate) fn seal_checkpoint(
    keys: &strongroom_keyring::DeviceKeys,
    entropy: &dyn strongroom_host::entropy::Entropy,
    facts: &HeadFacts,
    part: &CompartmentState,
    page_objects: Vec<PageObject>,
) -> Result<Bytes> {
    let context = Context::page(Usage::PageRoot, &ordinary_place(keys), facts.pin.epoch);
    let no_key = || Error::new(ErrorKind::Locked, "the workspace key is missing");
    let key = keys.epoch_key(facts.pin.epoch).ok_or_else(no_key)?;
    let plain = part.encode();
    let salt = keys.salt(entropy.array(), blake3_256(&plain));
    let sealed = seal::seal(key, &context, salt, &plain);
    let root = CheckpointRoot {
        suite: SUITE,
        organisation: keys.organisation(),
        workspace: keys.workspace(),
        seq: facts.head.seq,
        head: facts.head.hash,
        author: keys.device_id(),
        organisation_seq: facts.pin.seq,
        organisation_head: facts.pin.head,
        parts: vec![PartRef {
            compartment: CompartmentId::ORDINARY,
            epoch: facts.pin.epoch,
            seq: facts.head.seq,
            len: sealed.len() as u64,
            sha256: Digest(sha256(&sealed)),
        }],
        page_objects,
        time: facts.time,
    };
    let root_bytes = encode(&root);
    let signature = keys.signing().sign(Usage::SignCheckpoint, &root_bytes);
    Ok(build(&root_bytes, &signature, &[sealed]).into())
}

/// The error of a store that said that it keeps something, and does not.
fn not_kept(key: StoreKey) -> Error {
    let message = format!("the store said that it took `{key}`, and does not give it back");
    Error::new(ErrorKind::Unavailable, message)
}

/// A look over waiting pages never asks for one.
fn settled<T>(look: Look<T>) -> Result<T> {
    look.map_err(|need| match need {
        Need::Failed(error) => error,
        Need::Page(_) => Error::new(ErrorKind::Internal, "a waiting page source asked for a page"),
    })
}

/// Page objects whose live share is so small that their pages move to new ones.
fn sparse_objects(ledger: &Ledger) -> HashSet<ObjectId> {
    let sparse = |object: &&PageObject| {
        let pages_once = object.stored_len / PAGE_LEN_TYPICAL;
        u64::from(object.live_pages) * u64::from(REPACK_BELOW) < pages_once
    };
    ledger.values().filter(sparse).map(|object| object.object).collect()
}

fn next_ledger(ledger: &Ledger, rewrite: &Rewrite, writer: &PageWriter<'_>) -> Ledger {
    let mut next = ledger.clone();
    for PageRef { object, .. } in &rewrite.released {
        if let Some(entry) = next.get_mut(object) {
            entry.live_pages = entry.live_pages.saturating_sub(1);
        }
    }
    next.extend(writer.ledger().map(|entry| (entry.object, entry)));
    next.retain(|_, entry| entry.live_pages > 0);
    next
}
