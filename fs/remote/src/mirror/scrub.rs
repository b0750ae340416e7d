//! Comparing all members thing by thing, and making them the same again.
//!
//! What is right is told, in this order, by the hash in a signed record (commits and checkpoints name the objects they
//! bring), by the majority of those who have the thing, by all if they agree. A thing that two members hold differently
//! and nothing decides is left as it is and named; of what is replaced in place somebody may say which member is right.

use std::collections::HashMap;

use bytes::Bytes;
use strongroom_format::checkpoint::CheckpointFile;
use strongroom_format::commit::CommitFile;
use strongroom_store::{Error, ErrorKind, Family, Key, Result, wait};

use super::decide::same_everywhere;
use super::{Member, is_replaced};

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Things looked at.
    pub count: u64,
    /// Bytes read, of all members.
    pub bytes: u64,
    /// Copies that were missing or different and are right now.
    pub repaired: u64,
    /// Things that members hold differently, and nobody can tell which is right.
    pub unresolved: Vec<Key>,
}

/// Takes the number of things and bytes so far.
pub type Watch<'w> = dyn FnMut(&Scrubbed) + 'w;

/// Makes all members hold the same. Of what is replaced in place the `preferred` one is right, by its index, where nobody can
/// tell.
///
/// # Errors
/// That of a member that cannot be listed, read or written: all of them must answer.
pub fn scrub(
    members: &[Member],
    preferred: Option<usize>,
    watch: &mut Watch<'_>,
) -> Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    let mut known = Known { hashes: HashMap::new(), preferred };
    // ORDER: what is signed tells the hashes of what it names, so it comes before objects.
    let families = [
        Family::Organisation,
        Family::Device,
        Family::Request,
        Family::Log,
        Family::Checkpoint,
        Family::Object,
    ];
    one(members, Key::Workspace, &mut known, &mut scrubbed)?;
    for family in families {
        let mut after = None;
        loop {
            let page = page(members, family, after)?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            for key in page {
                one(members, key, &mut known, &mut scrubbed)?;
                watch(&scrubbed);
            }
        }
    }
    Ok(scrubbed)
}

/// Keys that any member has, up to where all of them were listed.
fn page(members: &[Member], family: Family, after: Option<Key>) -> Result<Vec<Key>> {
    let mut all = Vec::new();
    let mut end: Option<Key> = None;
    for member in members {
        let listed = wait(member.store.list(family, after)).map_err(|error| of(member, &error))?;
        let keys = || listed.iter().map(|listed| listed.key);
        if !after.into_iter().chain(keys()).is_sorted_by(|a, b| a < b) {
            // Who believed a page that repeats itself would ask for ever.
            let error = Error::new(ErrorKind::Corrupt, "its list is not in order");
            return Err(of(member, &error));
        }
        if let Some(last) = listed.last() {
            // Also of a page that is not full: a look behind it costs one listing.
            end = Some(end.map_or(last.key, |end| end.min(last.key)));
        }
        all.extend(listed.into_iter().map(|listed| listed.key));
    }
    all.retain(|key| end.is_none_or(|end| *key <= end));
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// What tells which copy is right.
struct Known {
    /// Of things that something signed names.
    hashes: HashMap<Key, [u8; 32]>,
    /// The member that somebody says is right, by its index.
    preferred: Option<usize>,
}

impl Known {
    /// The copy that counts; none if that cannot be told.
    fn right(&self, key: Key, copies: &[Option<Bytes>]) -> Option<Bytes> {
        // Of the rest a copy that differs is damaged, and who is right about one of them may hold another that is.
        let preferred = || copies[self.preferred.filter(|_| is_replaced(key))?].clone();
        right(copies, self.hashes.get(&key)).or_else(preferred)
    }
}

fn one(members: &[Member], key: Key, known: &mut Known, scrubbed: &mut Scrubbed) -> Result<()> {
    let mut copies: Vec<Option<Bytes>> = Vec::with_capacity(members.len());
    for member in members {
        copies.push(match wait(member.store.get(key, None)) {
            Ok(bytes) => Some(bytes),
            // A copy that cannot be read is as good as none.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
            Err(error) => return Err(of(member, &error)),
        });
    }
    scrubbed.count += 1;
    scrubbed.bytes += copies.iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>();
    let Some(right) = known.right(key, &copies) else {
        if copies.iter().any(Option::is_some) {
            scrubbed.unresolved.push(key);
        }
        return Ok(());
    };
    learn(key, &right, &mut known.hashes);
    for (member, _) in members.iter().zip(&copies).filter(|(_, copy)| copy.as_ref() != Some(&right))
    {
        same_everywhere(&*member.store, key, &right).map_err(|error| of(member, &error))?;
        scrubbed.repaired += 1;
    }
    Ok(())
}

/// The copy that a hash or the majority tells.
fn right(copies: &[Option<Bytes>], hash: Option<&[u8; 32]>) -> Option<Bytes> {
    let there: Vec<&Bytes> = copies.iter().flatten().collect();
    if let Some(hash) = hash {
        let found = there.iter().find(|bytes| blake3(bytes) == *hash);
        return found.map(|bytes| (*bytes).clone());
    }
    let votes = |bytes: &Bytes| there.iter().filter(|other| **other == bytes).count();
    let best = there.iter().max_by_key(|bytes| votes(bytes))?;
    (votes(best) * 2 > there.len()).then(|| (*best).clone())
}

/// Hashes that a commit or checkpoint names. Its own signature is for who has the keys: here the majority vouches for it.
fn learn(key: Key, bytes: &Bytes, known: &mut HashMap<Key, [u8; 32]>) {
    match key {
        Key::Log(_) => {
            if let Ok(file) = CommitFile::parse(bytes) {
                let added = file.header.added.into_iter();
                known.extend(added.map(|added| (Key::Object(added.object), added.hash.0)));
            }
        }
        Key::Checkpoint(_) => {
            if let Ok(file) = CheckpointFile::parse(bytes) {
                let pages = file.root.page_objects.into_iter();
                known.extend(pages.map(|page| (Key::Object(page.object), page.hash.0)));
            }
        }
        Key::Workspace
        | Key::Organisation(_)
        | Key::Device(_)
        | Key::Request(_)
        | Key::Object(_)
        | Key::Policy(_)
        | Key::Counter(_)
        | Key::Ask(_)
        | Key::Answer(_) => {}
    }
}

fn blake3(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn of(member: &Member, error: &Error) -> Error {
    Error::new(error.kind(), format!("`{}`: {error}", member.name))
}
