//! Reading checkpoint and log back: every signature, hash and link of the chain is checked here.

use std::sync::Arc;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::seal;
use strongroom_crypto::sign::VerifyingKey;
use strongroom_crypto::usage::{Author, Context, Usage};
use strongroom_format::checkpoint::{CheckpointFile, CheckpointRoot, CompartmentState};
use strongroom_format::commit::{Body, CommitFile, CommitHeader};
use strongroom_format::ids::{CompartmentId, DeviceId, Digest};
use strongroom_format::op::Op;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_keyring::DeviceKeys;
use strongroom_store::{Family, Key as StoreKey, Listed, Store};

use super::roster::Roster;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::limits::Broken;
use crate::state::Head;
use crate::workspace::ordinary_place;

/// LIMIT: keys of one family that are listed in one go.
const LISTED_MAX: usize = 1 << 22;
/// LIMIT: pages of a list. Stores give a thousand keys a page; one that gives one more each time would be asked for days.
const PAGES_MAX: usize = 4096;

/// A verified checkpoint.
pub struct Checkpoint {
    /// What was signed.
    pub root: CheckpointRoot,
    /// Compartment 0.
    pub state: CompartmentState,
    /// Whether there was no other in the store.
    pub is_alone: bool,
}

/// A verified commit.
pub struct Commit {
    /// What was signed.
    pub header: CommitHeader,
    /// The head it makes.
    pub head: Head,
    /// Body of compartment 0.
    pub body: Body,
    /// Length of the file.
    pub len: u64,
}

impl Commit {
    /// Whether it says that something is purged.
    pub(super) fn purges(&self) -> bool {
        self.body.ops.iter().any(|op| matches!(op, Op::Expunge { .. }))
    }
}

/// Reads what the store holds of a workspace.
pub struct Reader<'a> {
    /// The store.
    pub store: &'a Arc<dyn Store>,
    /// This device's keys.
    pub keys: &'a DeviceKeys,
    /// Whose signatures count.
    pub roster: Arc<Roster>,
    /// A deliberate mistake, where tests ask for one.
    #[doc(hidden)]
    pub broken: Option<Broken>,
}

impl<'a> Reader<'a> {
    /// Reads the workspace file and the organisation and verifies them.
    ///
    /// # Errors
    /// `Corrupt` when the store is another workspace's, or the organisation is not the one that the device pins;
    /// `Denied` when this device does not count there.
    pub fn open(
        store: &'a Arc<dyn Store>,
        keys: &'a DeviceKeys,
        broken: Option<Broken>,
    ) -> Result<Self> {
        let key = StoreKey::Workspace;
        let file = WorkspaceFile::parse(&get(store, key)?.ok_or_else(|| missing(key))?)?;
        if (file.organisation, file.workspace) != (keys.organisation(), keys.workspace()) {
            let message = "`workspace` names another workspace than the device's keys";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let roster = Arc::new(Roster::open(store, keys)?.with_mistake(broken));
        Ok(Self { store, keys, roster, broken })
    }

    /// The newest checkpoint. A broken newest one is an error, never an older one in its place.
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.checkpoint_upto(u64::MAX)
    }

    /// The newest checkpoint that covers no commit after `seq`.
    ///
    /// # Errors
    /// As [`Reader::checkpoint`].
    pub fn checkpoint_upto(&self, seq: u64) -> Result<Checkpoint> {
        let keys = keys_of(self.store, Family::Checkpoint)?;
        let is_alone = keys.len() == 1;
        let newest = keys.into_iter().rfind(|key| *key <= StoreKey::Checkpoint(seq));
        let key = newest
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the store holds no checkpoint"))?;
        let bytes = get(self.store, key)?.ok_or_else(|| missing(key))?;
        Ok(Checkpoint { is_alone, ..self.open_checkpoint(key, &bytes)? })
    }

    /// The checkpoint of one commit; none if it is not there.
    ///
    /// # Errors
    /// As [`Reader::checkpoint`].
    pub fn checkpoint_at(&self, seq: u64) -> Result<Option<Checkpoint>> {
        let key = StoreKey::Checkpoint(seq);
        get(self.store, key)?.map(|bytes| self.open_checkpoint(key, &bytes)).transpose()
    }

    fn open_checkpoint(&self, key: StoreKey, bytes: &[u8]) -> Result<Checkpoint> {
        let bad = || damaged(key);
        let file = CheckpointFile::parse(bytes).map_err(|error| damaged_by(key, error))?;
        let root = file.root;
        let pin = (root.organisation_seq, root.organisation_head);
        let (author, epoch) = self.author(&root.author, pin)?.ok_or_else(bad)?;
        author
            .verify(Usage::SignCheckpoint, file.root_bytes, &file.signature)
            .map_err(|_| bad())?;
        let here = (root.organisation, root.workspace, StoreKey::Checkpoint(root.seq));
        if here != (self.keys.organisation(), self.keys.workspace(), key) {
            return Err(bad());
        }
        let (part, sealed) = root
            .parts
            .iter()
            .zip(&file.parts)
            .find(|(part, _)| part.compartment == CompartmentId::ORDINARY)
            .ok_or_else(bad)?;
        if sha256(sealed) != part.sha256.0 || part.epoch != epoch {
            return Err(bad());
        }
        let context = Context::page(Usage::PageRoot, &ordinary_place(self.keys), part.epoch);
        let epoch_key = self.keys.epoch_key(part.epoch).ok_or_else(bad)?;
        let plain = seal::open(epoch_key, &context, sealed).map_err(|_| bad())?;
        let state = CompartmentState::parse(plain.expose()).map_err(|_| bad())?;
        if state.compartment != part.compartment || state.seq != part.seq || state.seq != root.seq {
            return Err(bad());
        }
        self.roster.note_pin(root.organisation_seq);
        Ok(Checkpoint { root, state, is_alone: true })
    }

    /// Visits the commits after `head` in order.
    ///
    /// # Errors
    /// `Corrupt` when one does not verify, does not connect, or is missing though a later one is there.
    pub fn commits(
        &self,
        head: Head,
        visit: &mut dyn FnMut(&Commit) -> Result<()>,
    ) -> Result<Head> {
        self.commits_upto(head, u64::MAX, visit)
    }

    /// Visits the commits after `head` up to number `last` in order.
    ///
    /// # Errors
    /// As [`Reader::commits`].
    pub fn commits_upto(
        &self,
        head: Head,
        last: u64,
        visit: &mut dyn FnMut(&Commit) -> Result<()>,
    ) -> Result<Head> {
        let mut head = head;
        loop {
            // Page by page: what is listed behind a commit that does not verify is never asked for.
            let page = list(self.store, Family::Log, Some(StoreKey::Log(head.seq)))?;
            if page.is_empty() {
                return Ok(head);
            }
            for key in page {
                if key > StoreKey::Log(last) {
                    return Ok(head);
                }
                if key != StoreKey::Log(head.seq + 1) {
                    return Err(missing(StoreKey::Log(head.seq + 1)));
                }
                let bytes = get(self.store, key)?.ok_or_else(|| missing(key))?;
                let commit = self.open_commit(key, head, &bytes)?;
                visit(&commit)?;
                head = commit.head;
            }
        }
    }

    /// The author's key and the epoch at the position that something signed is pinned to.
    fn author(&self, author: &DeviceId, pin: (u64, Digest)) -> Result<Option<(VerifyingKey, u64)>> {
        self.roster.author(self.store, self.keys, author, pin)
    }

    /// Whether a commit that cannot be opened is sound, but made on top of another history.
    pub(super) fn is_fork(&self, key: StoreKey, parent: Head, bytes: &[u8]) -> bool {
        let signed = self.signed_commit(key, bytes);
        signed.is_ok_and(|(file, _)| file.header.parent != parent.hash)
    }

    /// Whether a commit is there without its body, which a purge takes.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn is_stripped(&self, seq: u64) -> Result<bool> {
        let key = StoreKey::Log(seq);
        let Some(bytes) = get(self.store, key)? else { return Ok(false) };
        Ok(self.signed_commit(key, &bytes).is_ok_and(|(file, _)| file.is_bare))
    }

    /// Parses a commit and verifies author, signature and place; also says which epoch has to seal it.
    fn signed_commit<'b>(&self, key: StoreKey, bytes: &'b [u8]) -> Result<(CommitFile<'b>, u64)> {
        let bad = || damaged(key);
        let file = CommitFile::parse(bytes).map_err(|error| damaged_by(key, error))?;
        let header = &file.header;
        let pin = (header.organisation_seq, header.organisation_head);
        let (author, epoch) = self.author(&header.author, pin)?.ok_or_else(bad)?;
        let signed = author.verify(Usage::SignCommit, file.header_bytes, &file.signature);
        if signed.is_err() && self.broken != Some(Broken::SignatureNotVerified) {
            return Err(bad());
        }
        let here = (header.organisation, header.workspace, StoreKey::Log(header.seq));
        if here != (self.keys.organisation(), self.keys.workspace(), key) {
            return Err(bad());
        }
        Ok((file, epoch))
    }

    /// Verifies the commit that follows `parent`.
    ///
    /// # Errors
    /// `Corrupt` when it does not verify or connect.
    pub(crate) fn open_commit(&self, key: StoreKey, parent: Head, bytes: &[u8]) -> Result<Commit> {
        let bad = || damaged(key);
        let (file, epoch) = self.signed_commit(key, bytes)?;
        let header = file.header;
        if header.seq != parent.seq + 1 {
            return Err(bad());
        }
        if header.parent != parent.hash && self.broken != Some(Broken::ParentNotCompared) {
            return Err(forked(key));
        }
        if file.is_bare {
            return Err(purged(key));
        }
        let (body, sealed) = header
            .bodies
            .iter()
            .zip(&file.bodies)
            .find(|(body, _)| body.compartment == CompartmentId::ORDINARY)
            .ok_or_else(bad)?;
        if sha256(sealed) != body.sha256.0 || body.epoch != epoch {
            return Err(bad());
        }
        let author = Author {
            device: header.author.0,
            incarnation: header.incarnation,
            counter: header.counter,
        };
        let context = Context::commit_body(&ordinary_place(self.keys), body.epoch, &author);
        let epoch_key = self.keys.epoch_key(body.epoch).ok_or_else(bad)?;
        let plain = seal::open(epoch_key, &context, sealed).map_err(|_| bad())?;
        let body = Body::parse(plain.expose()).map_err(|_| bad())?;
        let said =
            (body.head.compartment, body.head.author, body.head.incarnation, body.head.counter);
        let expected = (CompartmentId::ORDINARY, header.author, header.incarnation, header.counter);
        if said != expected {
            return Err(bad());
        }
        let head = Head { seq: header.seq, hash: Digest(sha256(file.header_bytes)) };
        self.roster.note_pin(header.organisation_seq);
        Ok(Commit { header, head, body, len: bytes.len() as u64 })
    }
}

/// What a commit's file says, unverified. None if it is damaged.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn parse_if_sound(bytes: &[u8]) -> Result<Option<CommitFile<'_>>> {
    match CommitFile::parse(bytes).map_err(Error::from) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        parsed => parsed.map(Some),
    }
}

/// Keys of a family in order.
///
/// # Errors
/// `Corrupt` for a listing that is not in order or does not end; those of the store.
pub fn keys_of(store: &Arc<dyn Store>, family: Family) -> Result<Vec<StoreKey>> {
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = list(store, family, all.last().copied())?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
        if all.len() > LISTED_MAX {
            break;
        }
    }
    Err(unlisted(family))
}

/// Some keys after `after`, in order; none at the end.
pub(crate) fn list(
    store: &Arc<dyn Store>,
    family: Family,
    after: Option<StoreKey>,
) -> Result<Vec<StoreKey>> {
    Ok(list_sizes(store, family, after)?.iter().map(|listed| listed.key).collect())
}

/// The same, with lengths.
///
/// # Errors
/// `Corrupt` for a listing that is not in order; those of the store.
pub fn list_sizes(
    store: &Arc<dyn Store>,
    family: Family,
    after: Option<StoreKey>,
) -> Result<Vec<Listed>> {
    let page = wait(async { Ok(store.list(family, after).await?) })?;
    let mut before = after;
    for Listed { key, .. } in &page {
        // Who believed a page that repeats itself would ask for ever.
        if key.family() != Some(family) || before.is_some_and(|before| *key <= before) {
            return Err(unlisted(family));
        }
        before = Some(*key);
    }
    Ok(page)
}

fn unlisted(family: Family) -> Error {
    let message = format!("the store's list of `{}` is not in order", family.folder());
    Error::new(ErrorKind::Corrupt, message)
}

/// Reads a whole key; none if it is not there.
pub(crate) fn get(store: &Arc<dyn Store>, key: StoreKey) -> Result<Option<bytes::Bytes>> {
    match wait(async { Ok(store.get(key, None).await?) }) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn damaged(key: StoreKey) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{key}` does not verify"))
}

fn damaged_by(key: StoreKey, error: strongroom_format::error::Error) -> Error {
    match error.kind() {
        strongroom_format::error::ErrorKind::Unsupported => error.into(),
        strongroom_format::error::ErrorKind::Corrupt
        | strongroom_format::error::ErrorKind::Invalid => damaged(key),
    }
}

/// A commit that its author made on top of another history: somebody was shown other commits than this device.
pub(super) fn forked(key: StoreKey) -> Error {
    let message = format!(
        "`{key}` goes on from another history than the one this device saw: the store has shown different things to \
         different devices"
    );
    Error::new(ErrorKind::Corrupt, message).of_a_fork()
}

/// The error for a commit that was taken out of history; that it was made is still known.
pub(crate) fn purged(key: StoreKey) -> Error {
    Error::new(ErrorKind::Purged, format!("what `{key}` did was purged from history"))
}

fn missing(key: StoreKey) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{key}` is missing"))
}
