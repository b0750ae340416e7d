//! Everything that was ever stored, in one or more histories, and the face that the store shows to each device.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_crypto::hash::sha256;
use strongroom_format::checkpoint::CheckpointFile;
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_host::disk::{Disk, read_all};
use strongroom_host::sim::{Chance, SimDisk};
use strongroom_keyring::enrolment::Code;
use strongroom_store::{
    Body, Error, ErrorKind, Family, Key, LIST_COUNT_MAX, Later, Listed, Put, Result, Store,
    Uploaded,
};

use super::people::{Shelves, Spot, people};

/// LIMIT: moments of the past that are kept.
const PAST_MAX: usize = 12;
/// LIMIT: requests in one act of a device. More never end.
const REQUESTS_MAX: u64 = 20_000;

/// One lie in answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// There is nothing.
    Missing,
    /// What was there before.
    Old,
    /// What lies under another key of the family.
    Other,
    /// All of it, whatever range was asked for, from under another key.
    WholeOther,
    /// What another organisation has there.
    Foreign,
    /// A part of it.
    Cut,
    /// More than there is.
    Grown,
    /// With a bit turned.
    Flipped,
    /// Cannot be reached.
    Away,
    /// A list without some of its keys.
    Omitted,
    /// A list with keys that are not there.
    Invented,
    /// A list from the beginning, whatever it was to go on after.
    Repeated,
    /// A list in another order.
    Unordered,
    /// Taken, as it says, and not kept. Of checkpoints and what is put from memory.
    NotKept,
    /// The same of staged objects.
    DataNotKept,
    /// Kept with a bit turned.
    KeptFlipped,
    /// Created, though something was there, or without keeping it.
    Won,
    /// Something was there, though there was nothing.
    Lost,
    /// Carried out, but the answer is lost.
    AnswerLost,
    /// Removed, as it says.
    NotRemoved,
}

/// How the store is disposed towards a device.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// Which history it is shown; 0 is the true one.
    pub branch: usize,
    /// What it may be told instead of the truth,
    pub lies: Vec<Lie>,
    /// … once in so many requests; 0: never.
    pub one_in: u64,
    /// Commits and checkpoints after this number are kept back.
    pub log_end: Option<u64>,
    /// Records of the organisation log after this position are kept back.
    pub organisation_end: Option<u64>,
    /// A commit in a place of its own.
    pub forged: Option<(Key, Bytes)>,
    /// Commits that are missing in its history come from this one.
    pub crossed: Option<usize>,
}

impl Mood {
    /// Whether nothing but the truth is told.
    pub fn is_honest(&self) -> bool {
        self.branch == 0
            && (self.one_in == 0 || self.lies.is_empty())
            && (self.log_end, self.organisation_end) == (None, None)
            && (&self.forged, self.crossed) == (&None, None)
    }
}

/// What is stored.
pub struct Vault(Mutex<Stored>);

struct Stored {
    branches: Vec<Shelves>,
    past: Vec<Shelves>,
    /// Everything that anybody ever put, by key.
    ever: BTreeMap<Key, Vec<Bytes>>,
    /// Number and letters of every commit that a device ever made.
    made: BTreeSet<(u64, String)>,
    /// What each of them was made on top of.
    parents: BTreeMap<Digest, Digest>,
    /// Those of the true history.
    heads: BTreeMap<u64, Head>,
    /// A device that was shown another history wrote into the true one.
    is_torn: bool,
    chance: Chance,
}

struct Head {
    hash: Digest,
    parent: Digest,
    code: String,
    pin: u64,
}

impl Vault {
    /// A new workspace.
    pub fn new(seed: u64) -> Self {
        let stored = people().stored.clone();
        let ever = stored.iter().map(|(key, bytes)| (*key, vec![bytes.clone()])).collect();
        Self(Mutex::new(Stored {
            branches: vec![stored],
            past: Vec::new(),
            ever,
            made: BTreeSet::new(),
            parents: BTreeMap::new(),
            heads: BTreeMap::new(),
            is_torn: false,
            chance: Chance::new(seed ^ 0x7a17),
        }))
    }

    /// The true history as it stands.
    pub fn truth(&self) -> Shelves {
        self.0.lock().branches[0].clone()
    }

    /// The newest commit of the true history, and the position that it pins.
    pub fn newest(&self) -> Option<Spot> {
        let stored = self.0.lock();
        let newest = stored.heads.last_key_value();
        newest.map(|(seq, head)| Spot { seq: *seq, hash: head.hash, pin: head.pin })
    }

    /// Whether a device that was shown another history wrote into the true one, which then says so to everybody.
    pub fn is_torn(&self) -> bool {
        self.0.lock().is_torn
    }

    /// Another history, beginning with a moment of the past, or with now.
    pub fn fork(&self, from_past: bool) -> usize {
        let mut stored = self.0.lock();
        let from = match stored.past.len() {
            count if count > 0 && from_past => {
                let index = stored.chance.index(count);
                stored.past[index].clone()
            }
            _ => stored.branches[0].clone(),
        };
        stored.branches.push(from);
        stored.branches.len() - 1
    }

    /// Whether a device made the commit with this number and these letters.
    pub fn was_made(&self, head: &(u64, String)) -> bool {
        head.0 == 0 || self.0.lock().made.contains(head)
    }

    /// Whether it is one of the true history.
    pub fn is_true(&self, head: &(u64, String)) -> bool {
        let stored = self.0.lock();
        head.0 == 0 || stored.heads.get(&head.0).is_some_and(|there| there.code == head.1)
    }

    /// Whether a commit is one of the true history, or one below it that the store itself does not have: a device that was
    /// shown it went on from there.
    pub fn is_in_truth(&self, commit: Digest) -> bool {
        let stored = self.0.lock();
        let newest = stored.heads.last_key_value().map(|(_, head)| head.hash);
        let below = |hash: &Digest| stored.parents.get(hash).copied();
        let mut way = std::iter::successors(newest, below);
        way.any(|hash| hash == commit) || stored.heads.values().any(|head| head.hash == commit)
    }

    /// Adds a record to the true organisation log.
    pub fn extend_organisation(&self, position: u64, record: Bytes) {
        self.0.lock().set(0, Key::Organisation(position), record);
    }

    /// The newest position of the true organisation log.
    pub fn organisation_end(&self) -> u64 {
        let stored = self.0.lock();
        let all = stored.branches[0].range(Key::Organisation(0)..Key::Device(FIRST_DEVICE));
        all.filter(|(key, _)| key.family() == Some(Family::Organisation)).count() as u64 - 1
    }
}

const FIRST_DEVICE: strongroom_format::ids::DeviceId = strongroom_format::ids::DeviceId([0; 16]);

impl Stored {
    fn set(&mut self, branch: usize, key: Key, bytes: Bytes) {
        self.ever.entry(key).or_default().push(bytes.clone());
        self.branches[branch].insert(key, bytes.clone());
        if let Key::Object(_) = key {
            // Names are chosen by chance: no two histories have the same.
            for shelves in &mut self.branches {
                shelves.insert(key, bytes.clone());
            }
        }
        if let (0, Key::Log(seq), Some(head)) = (branch, key, head_of(&bytes)) {
            let before = self.heads.get(&(seq - 1)).map(|head| head.hash);
            self.is_torn |= seq > 1 && before != Some(head.parent);
            self.heads.insert(seq, head);
        }
        if let (0, Key::Checkpoint(seq), Ok(file)) = (branch, key, CheckpointFile::parse(&bytes)) {
            // All that the commit held is in it, also where the commit itself was thrown away.
            let (hash, pin) = (file.root.head, file.root.organisation_seq);
            let code = Code::of_hash(&hash.0).to_string();
            let parent = Digest([0; 32]);
            self.heads.entry(seq).or_insert(Head { hash, parent, code, pin });
        }
        if branch == 0 && self.chance.one_in(3) {
            let now = self.branches[0].clone();
            match self.past.len() {
                PAST_MAX => {
                    let index = self.chance.index(PAST_MAX);
                    self.past[index] = now;
                }
                _ => self.past.push(now),
            }
        }
    }
}

fn head_of(commit: &Bytes) -> Option<Head> {
    let file = CommitFile::parse(commit).ok()?;
    let hash = sha256(file.header_bytes);
    Some(Head {
        hash: Digest(hash),
        parent: file.header.parent,
        code: Code::of_hash(&hash).to_string(),
        pin: file.header.organisation_seq,
    })
}

/// The store as one device meets it.
pub struct Face {
    vault: Arc<Vault>,
    disk: Mutex<Arc<dyn Disk>>,
    chance: Mutex<Chance>,
    mood: Mutex<Mood>,
    requests: AtomicU64,
    /// Newest position of the organisation log that the device was given.
    organisation: AtomicU64,
    /// The newest commit that the device made and that the store kept, and said so.
    made: Mutex<Option<Digest>>,
    /// What it did that it must not do.
    fault: Mutex<Option<String>>,
}

impl Face {
    /// An honest one.
    pub fn new(vault: Arc<Vault>, disk: &SimDisk, seed: u64) -> Self {
        Self {
            vault,
            disk: Mutex::new(Arc::new(disk.clone())),
            chance: Mutex::new(Chance::new(seed)),
            mood: Mutex::default(),
            requests: AtomicU64::new(0),
            organisation: AtomicU64::new(0),
            made: Mutex::default(),
            fault: Mutex::new(None),
        }
    }

    /// Changes its mood.
    pub fn be(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Its mood.
    pub fn mood(&self) -> Mood {
        self.mood.lock().clone()
    }

    /// The newest commit that the device made and knows to be in the store.
    pub fn made(&self) -> Option<Digest> {
        *self.made.lock()
    }

    /// The device's disk is another one from now on.
    pub fn change_disk(&self, disk: &SimDisk) {
        *self.disk.lock() = Arc::new(disk.clone());
    }

    /// A device begins an act.
    ///
    /// # Errors
    /// What it did before that it must not do.
    pub fn begin(&self) -> std::result::Result<(), String> {
        self.requests.store(0, Ordering::Relaxed);
        self.fault.lock().take().map_or(Ok(()), Err)
    }

    /// Counts a request, and chooses a lie of those that fit it.
    fn ask(&self, fits: &[Lie]) -> (Mood, Option<Lie>) {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        assert!(count < REQUESTS_MAX, "the device asks without end");
        let mood = self.mood();
        let mut chance = self.chance.lock();
        let fitting: Vec<Lie> =
            mood.lies.iter().copied().filter(|lie| fits.contains(lie)).collect();
        let lies = !fitting.is_empty() && mood.one_in > 0 && chance.one_in(mood.one_in);
        let lie = lies.then(|| fitting[chance.index(fitting.len())]);
        (mood, lie)
    }

    fn answer_get(&self, key: Key, range: Option<Range<u64>>) -> Result<Bytes> {
        const FITS: [Lie; 9] = [
            Lie::Missing,
            Lie::Old,
            Lie::Other,
            Lie::WholeOther,
            Lie::Foreign,
            Lie::Cut,
            Lie::Grown,
            Lie::Flipped,
            Lie::Away,
        ];
        let (mood, lie) = self.ask(&FITS);
        let stored = self.vault.0.lock();
        let mut bytes = stored.branches[mood.branch].get(&key).cloned();
        if is_hidden(&mood, key) {
            bytes = None;
        }
        if let (None, Key::Log(_), Some(other)) = (&bytes, key, mood.crossed) {
            bytes = stored.branches[other].get(&key).cloned();
        }
        if let Some((_, forged)) = mood.forged.as_ref().filter(|(at, _)| *at == key) {
            bytes = Some(forged.clone());
        }
        let mut chance = self.chance.lock();
        let mut range = range;
        match lie {
            None => {}
            Some(Lie::Away) => return Err(away()),
            Some(Lie::Missing) => bytes = None,
            Some(Lie::Old) => {
                let ever = stored.ever.get(&key).map_or(&[][..], Vec::as_slice);
                bytes = ever.get(chance.index(ever.len())).cloned();
            }
            Some(Lie::Other | Lie::WholeOther) => {
                let alike: Vec<_> =
                    stored.ever.keys().filter(|other| other.family() == key.family()).collect();
                let other = alike.get(chance.index(alike.len()));
                bytes = other.and_then(|other| stored.ever[other].last()).cloned();
                if lie == Some(Lie::WholeOther) {
                    range = None;
                }
            }
            Some(Lie::Foreign) => bytes = people().foreign.get(&key).cloned(),
            Some(lie) => bytes = bytes.map(|bytes| bend(&bytes, lie, &mut chance)),
        }
        if let (Key::Organisation(position), Some(_), None) = (key, &bytes, lie) {
            self.organisation.fetch_max(position, Ordering::Relaxed);
        }
        let bytes = bytes
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("`{key}` is not there")))?;
        cut_out(key, &bytes, range, lie)
    }

    fn answer_put(&self, key: Key, body: Body) -> Result<Uploaded> {
        const FROM_MEMORY: [Lie; 4] = [Lie::NotKept, Lie::KeptFlipped, Lie::AnswerLost, Lie::Away];
        const STAGED: [Lie; 4] = [Lie::DataNotKept, Lie::KeptFlipped, Lie::AnswerLost, Lie::Away];
        let (mood, lie) = self.ask(match body {
            Body::Bytes(_) => &FROM_MEMORY,
            Body::File(_) => &STAGED,
        });
        if lie == Some(Lie::Away) {
            return Err(away());
        }
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(path) => {
                let read = read_all(&**self.disk.lock(), &path);
                let read = read.map_err(|_| Error::new(ErrorKind::Internal, "a staged file"))?;
                Bytes::from(read)
            }
        };
        let len = bytes.len() as u64;
        let mut stored = self.vault.0.lock();
        let there = stored.branches[mood.branch].get(&key).map(Bytes::len);
        match (key, there) {
            (Key::Object(_), Some(there)) if there as u64 != len => {
                return Err(Error::new(ErrorKind::Corrupt, "an object of another length"));
            }
            (Key::Object(_), Some(_)) => {}
            _ if matches!(lie, Some(Lie::NotKept | Lie::DataNotKept)) => {
                stored.ever.entry(key).or_default().push(bytes);
            }
            _ if lie == Some(Lie::KeptFlipped) => {
                let bent = bend(&bytes, Lie::Flipped, &mut self.chance.lock());
                stored.set(mood.branch, key, bent);
            }
            _ => stored.set(mood.branch, key, bytes),
        }
        match lie {
            Some(Lie::AnswerLost) => Err(away()),
            _ => Ok(Uploaded::attest(key, len)),
        }
    }

    fn answer_put_if_absent(&self, key: Key, bytes: Bytes) -> Result<Put> {
        let (mood, lie) = self.ask(&[Lie::Won, Lie::Lost, Lie::AnswerLost, Lie::Away]);
        let end = self.vault.organisation_end();
        let mut stored = self.vault.0.lock();
        // One that is there is confirmed, not made.
        let is_new = stored.branches[mood.branch].get(&key) != Some(&bytes);
        let mut made = None;
        if let (Key::Log(seq), true, Ok(file)) = (key, is_new, CommitFile::parse(&bytes)) {
            let hash = sha256(file.header_bytes);
            stored.made.insert((seq, Code::of_hash(&hash).to_string()));
            stored.parents.insert(Digest(hash), file.header.parent);
            made = Some(Digest(hash));
            let pinned = file.header.organisation_seq;
            let known = match mood.is_honest() {
                true => end,
                false => self.organisation.load(Ordering::Relaxed),
            };
            if pinned < known {
                let what = format!("pins position {pinned} though it knows {known}");
                self.fault.lock().get_or_insert(what);
            }
        }
        let attested = Put::Created(Uploaded::attest(key, bytes.len() as u64));
        let there = stored.branches[mood.branch].contains_key(&key);
        match lie {
            Some(Lie::Away) => Err(away()),
            Some(Lie::Won) => {
                stored.ever.entry(key).or_default().push(bytes);
                Ok(attested)
            }
            Some(Lie::Lost) => Ok(Put::Exists),
            _ if there => Ok(Put::Exists),
            _ => {
                stored.set(mood.branch, key, bytes);
                if lie == Some(Lie::AnswerLost) {
                    return Err(away());
                }
                let mut newest = self.made.lock();
                *newest = made.or(*newest);
                Ok(attested)
            }
        }
    }

    fn answer_list(&self, family: Family, after: Option<Key>) -> Result<Vec<Listed>> {
        const FITS: [Lie; 5] =
            [Lie::Omitted, Lie::Invented, Lie::Repeated, Lie::Unordered, Lie::Away];
        let (mood, lie) = self.ask(&FITS);
        let stored = self.vault.0.lock();
        let mut chance = self.chance.lock();
        let after = after.filter(|_| lie != Some(Lie::Repeated));
        let mut listed: Vec<Listed> = stored.branches[mood.branch]
            .iter()
            .filter(|(key, _)| key.family() == Some(family) && !is_hidden(&mood, **key))
            .filter(|(key, _)| after.is_none_or(|after| **key > after))
            .map(|(key, bytes)| Listed { key: *key, len: bytes.len() as u64 })
            .take(LIST_COUNT_MAX)
            .collect();
        match lie {
            Some(Lie::Away) => return Err(away()),
            Some(Lie::Omitted) => listed.retain(|_| chance.one_in(2)),
            Some(Lie::Unordered) => listed.reverse(),
            Some(Lie::Invented) => {
                let last = listed.last().map(|listed| listed.key).or(after);
                let key = invented(family, last, chance.below(4));
                listed.extend(key.map(|key| Listed { key, len: 100 }));
            }
            _ => {}
        }
        Ok(listed)
    }
}

impl Store for Face {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        Box::pin(std::future::ready(self.answer_get(key, range)))
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        Box::pin(std::future::ready(self.answer_put(key, body)))
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        Box::pin(std::future::ready(self.answer_put_if_absent(key, bytes)))
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        Box::pin(std::future::ready(self.answer_list(family, after)))
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        let (mood, lie) = self.ask(&[Lie::NotRemoved, Lie::Away]);
        if lie.is_none() {
            self.vault.0.lock().branches[mood.branch].remove(&key);
        }
        let done = if lie == Some(Lie::Away) { Err(away()) } else { Ok(()) };
        Box::pin(std::future::ready(done))
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the store does not answer")
}

fn is_hidden(mood: &Mood, key: Key) -> bool {
    let (end, of_organisation) = (mood.log_end, mood.organisation_end);
    match key {
        Key::Log(seq) | Key::Checkpoint(seq) => end.is_some_and(|end| seq > end),
        Key::Organisation(seq) => of_organisation.is_some_and(|end| seq > end),
        _ => false,
    }
}

fn bend(bytes: &Bytes, lie: Lie, chance: &mut Chance) -> Bytes {
    let mut bent = bytes.to_vec();
    match lie {
        Lie::Cut => bent.truncate(chance.index(bytes.len())),
        Lie::Grown => bent.extend_from_slice(&[0; 40]),
        _ if !bent.is_empty() => {
            let at = chance.index(bent.len());
            bent[at] ^= 1 << chance.index(8);
        }
        _ => {}
    }
    bent.into()
}

fn cut_out(key: Key, bytes: &Bytes, range: Option<Range<u64>>, lie: Option<Lie>) -> Result<Bytes> {
    let Some(range) = range else { return Ok(bytes.clone()) };
    let len = bytes.len() as u64;
    if range.end > len && lie.is_none() {
        return Err(Error::new(ErrorKind::Corrupt, format!("`{key}` ends at {len}")));
    }
    // Who lies gives what there is, also too much.
    let extra = if lie == Some(Lie::Grown) { 8 } else { 0 };
    let place = |at: u64| usize::try_from(at.min(len)).expect("a short thing");
    Ok(bytes.slice(place(range.start)..place(range.end + extra)))
}

fn invented(family: Family, last: Option<Key>, by: u64) -> Option<Key> {
    let next = |number: u64| number + 1 + by;
    Some(match (family, last) {
        (Family::Log, Some(Key::Log(seq))) => Key::Log(next(seq)),
        (Family::Log, _) => Key::Log(1),
        (Family::Checkpoint, Some(Key::Checkpoint(seq))) => Key::Checkpoint(next(seq)),
        (Family::Checkpoint, _) => Key::Checkpoint(next(1)),
        (Family::Object, _) => Key::Object(ObjectId([0xff; 16])),
        _ => return None,
    })
}
