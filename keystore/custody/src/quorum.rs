//! A quorum: several devices hold shares of each application key, and so many of them must agree before one process has it.
//!
//! ```text
//! create     a fresh key, cut into shares, each wrapped to one holder's public key; then the maker forgets it
//! asker      FOLDER/<request>.ask: who asks for which key, signed; a key pair of its own for this request alone; dated anew
//!            each minute, as long as somebody waits
//! holders    each opens its own share and wraps it to that key: FOLDER/<request>-<holder>.share
//! asker      enough shares: the key, in memory until this process ends, or has another once this one was ended
//! ```
//!
//! The folder is where they meet, on storage that all of them reach; what lies in it opens nothing by itself (`folder`). Holders are
//! devices of the organisation: whoever opens a quorum brings their public keys, verified.
//!
//! A key is cut so that fewer than enough shares say nothing at all of it: for each group of holders that is enough, the
//! key is the exclusive or of one random piece for each of the group. That is simple to be sure of, and small for so few.
//!
//! **What it is not.** Whoever got the key once has it until it is changed: rotate after an opening that was an exception.
//! Ending a key removes its shares here; holders who copied theirs before, and are enough, have it. New keys need nobody.

mod folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use minicbor::{Decode, Encode};
use strongroom_crypto::kem::{KemKey, KemPublicKey, PUBLIC_LEN};
use strongroom_crypto::secret::{CustodyKey, Secret, SecretBytes};
use strongroom_crypto::sign::{SIGNATURE_LEN, VerifyingKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_host::clock::Clock;
use strongroom_host::disk::Disk;
use strongroom_host::entropy::Entropy;
use strongroom_records::Signed;
use strongroom_records::ids::{ApplicationId, KeyId};
use zeroize::Zeroizing;

use self::folder::io_error;
use crate::{Custody, Description, Ending, Error, ErrorKind, KeyPlace, Kind, Result};

/// LIMIT: holders of a quorum; with eight there are at most 70 groups that are enough.
pub const HOLDER_COUNT_MAX: usize = 8;
/// How long a request is good for from when it was dated last, in nanoseconds: clocks of devices may be that much apart. What
/// was left behind by who waits no more is over as soon.
const REQUEST_LIFE_NS: i64 = 300_000_000_000;
/// How often who waits dates it anew.
const RENEWAL: Duration = Duration::from_secs(60);
const MAGIC: [u8; 4] = *b"SRh1";
const REQUEST_LEN_MAX: usize = 4096;
const POLL: Duration = Duration::from_millis(250);

/// Public keys of devices, verified, as of when it is asked; none of one that is no device of the organisation any more. What
/// the others hold opens what they are enough for; no new key is cut for it.
pub type Kems = Arc<dyn Fn(&[DeviceId]) -> Result<Vec<Option<KemPublicKey>>> + Send + Sync>;

/// Who is needed.
#[derive(Clone)]
pub struct Terms {
    /// How many.
    pub enough: usize,
    /// Of whom, in an order that stays.
    pub holders: Vec<DeviceId>,
    /// What a share is wrapped to.
    pub kems: Kems,
}

/// The device that takes part here: as asker, as holder, or as both.
pub trait Member: Send + Sync {
    /// The device.
    fn device(&self) -> DeviceId;
    /// Opens what was wrapped to it; none if that was not to be opened.
    fn unwrap(&self, context: &Context, wrapped: &[u8]) -> Option<SecretBytes>;
    /// Signs a request as [`Usage::SignQuorumRequest`].
    fn sign_request(&self, record: &[u8]) -> [u8; SIGNATURE_LEN];
}

/// Where the members of a quorum meet.
#[derive(Clone)]
pub struct Meeting {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The folder, which must be there.
    pub folder: PathBuf,
    /// The organisation.
    pub organisation: OrganisationId,
    /// This device.
    pub member: Arc<dyn Member>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A request that waits for holders.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Organisation.
    #[n(0)]
    pub organisation: OrganisationId,
    /// Application whose key is asked for.
    #[n(1)]
    pub application: ApplicationId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// Its own id.
    #[n(3)]
    pub id: KeyId,
    /// Who asks.
    #[n(4)]
    pub device: DeviceId,
    /// When.
    #[n(5)]
    pub time: i64,
    /// What shares are wrapped to, this once.
    #[cbor(n(6), with = "minicbor::bytes")]
    public: Vec<u8>,
}

/// A key, as the folder has it.
#[derive(Encode, Decode)]
struct Kept {
    #[n(0)]
    enough: u16,
    #[n(1)]
    shares: Vec<Wrapped>,
}

impl Kept {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let kept: Self = cbor::decode_canonical(bytes).map_err(|_| NO_KEY)?;
        let is_quorum = kept.shares.len() <= HOLDER_COUNT_MAX
            && (2..=kept.shares.len()).contains(&usize::from(kept.enough));
        if is_quorum { Ok(kept) } else { Err(NO_KEY) }
    }
}

/// One holder's share.
#[derive(Encode, Decode)]
struct Wrapped {
    #[n(0)]
    device: DeviceId,
    #[cbor(n(1), with = "minicbor::bytes")]
    share: Vec<u8>,
}

/// Custody by a quorum.
pub struct Quorum {
    meeting: Meeting,
    terms: Terms,
    patience: Duration,
    waits: Box<dyn Waits>,
    known: Mutex<BTreeMap<(ApplicationId, KeyId), CustodyKey>>,
    /// Whoever asks: one after the other, so that holders are asked once.
    asking: Mutex<()>,
}

/// Who waits for holders.
pub trait Waits: Send + Sync {
    /// They are asked: this is the request that they are to approve.
    fn begin(&self, request: &Request);

    /// Whether to wait no longer.
    fn is_over(&self) -> bool;

    /// They are asked no more: there is nothing left to approve.
    fn end(&self);
}

impl Quorum {
    /// Custody by these terms. It waits for holders as long as `patience` and `waits` say.
    ///
    /// # Errors
    /// `Invalid` for terms that make no quorum.
    pub fn new(
        meeting: Meeting,
        terms: Terms,
        patience: Duration,
        waits: Box<dyn Waits>,
    ) -> Result<Self> {
        let mut devices: Vec<DeviceId> = terms.holders.clone();
        devices.sort();
        devices.dedup();
        let count = terms.holders.len();
        let is_quorum = (2..=count).contains(&terms.enough)
            && count <= HOLDER_COUNT_MAX
            && devices.len() == count;
        if !is_quorum {
            let message = "a quorum is at least two of at most eight different devices";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let (known, asking) = (Mutex::default(), Mutex::default());
        Ok(Self { meeting, terms, patience, waits, known, asking })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(ApplicationId, KeyId), CustodyKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the key is at hand, and none of the application's that somebody has ended.
    fn learn(&self, place: &KeyPlace, key: CustodyKey) {
        // A folder that is away says nothing about what was ended.
        let there = self.list(&place.application).ok();
        let is_ended = |own: &KeyId| there.as_ref().is_some_and(|there| !there.contains(own));
        let mut known = self.known();
        known.retain(|(application, own), _| *application != place.application || !is_ended(own));
        known.insert((place.application, place.key), key);
    }

    fn with_key<T>(&self, place: &KeyPlace, act: impl FnOnce(&CustodyKey) -> T) -> Result<T> {
        // Whoever ended it ended it for this process too.
        let kept = self.meeting.kept(&place.application, &place.key)?;
        let mut known = self.known();
        if kept.is_none() {
            known.remove(&(place.application, place.key));
            return Err(Error::MISSING_KEY);
        }
        let key = known.get(&(place.application, place.key)).ok_or(NOT_OBTAINED)?;
        Ok(act(key))
    }

    fn open(&self, place: &KeyPlace, kept: &Kept) -> Result<CustodyKey> {
        let mut shares = BTreeMap::new();
        if let Some((at, share)) = self.meeting.own_share(&place.application, &place.key, kept) {
            shares.insert(at, share);
        }
        let enough = usize::from(kept.enough);
        if shares.len() < enough {
            let once = KemKey::from_seed(Secret::fill_with(|out| self.meeting.entropy.fill(out)));
            let mut request = self.request(place, &once);
            let answered = self.ask(&mut request, &once, kept, &mut shares);
            // Answers open nothing any more: the key they are wrapped to ends here.
            let withdrawn = self.meeting.withdraw(&request.id, kept);
            self.waits.end();
            answered.and(withdrawn)?;
        }
        let key = join(&shares, kept.shares.len(), enough).ok_or(Error::WRONG_KEY)?;
        Ok(CustodyKey::from(key))
    }

    fn request(&self, place: &KeyPlace, once: &KemKey) -> Request {
        let meeting = &self.meeting;
        Request {
            organisation: meeting.organisation,
            application: place.application,
            key: place.key,
            id: KeyId(meeting.entropy.array()),
            device: meeting.member.device(),
            time: meeting.clock.now_ns(),
            public: once.public().as_bytes().to_vec(),
        }
    }

    /// Asks, and waits until enough have answered.
    fn ask(
        &self,
        request: &mut Request,
        once: &KemKey,
        kept: &Kept,
        shares: &mut BTreeMap<usize, SecretBytes>,
    ) -> Result<()> {
        let (meeting, began) = (&self.meeting, self.meeting.clock.elapsed());
        let mut dated = began;
        self.waits.begin(request);
        meeting.post(request)?;
        loop {
            for (at, holder) in kept.shares.iter().enumerate() {
                let path = meeting.share_path(&request.id, &holder.device);
                let Some(answer) = meeting.find(&path)? else { continue };
                let context = answer_context(request, &holder.device);
                if let Ok(share) = once.unwrap(&context, &answer) {
                    shares.insert(at, share);
                }
            }
            let now = meeting.clock.elapsed();
            if shares.len() >= usize::from(kept.enough) {
                return Ok(());
            } else if self.waits.is_over() || now.saturating_sub(began) >= self.patience {
                return Err(NOT_OBTAINED);
            } else if now.saturating_sub(dated) >= RENEWAL {
                (request.time, dated) = (meeting.clock.now_ns(), now);
                meeting.post(request)?;
            }
            meeting.clock.sleep(POLL);
            if meeting.kept(&request.application, &request.key)?.is_none() {
                // Somebody has changed it: nobody has a share of it any more.
                return Err(Error::MISSING_KEY);
            }
        }
    }
}

impl Custody for Quorum {
    fn describe(&self) -> Description {
        Description { kind: Kind::Quorum, ending: Ending::BestEffort, is_extractable: true }
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()> {
        let meeting = &self.meeting;
        let path = meeting.key_path(&place.application, &place.key);
        if meeting.find(&path)?.is_some() {
            return Err(Error::new(ErrorKind::Exists, "there is a key of that id in custody"));
        }
        let gone = Error::new(
            ErrorKind::Invalid,
            "a holder of the quorum is no device of the organisation any more: name others with `app custody`",
        );
        // ORDER: whoever was removed while this is open gets no share either.
        let kems = (self.terms.kems)(&self.terms.holders)?;
        let holders = self.terms.holders.iter().zip(kems).map(|(own, kem)| Some((*own, kem?)));
        let holders = holders.collect::<Option<Vec<_>>>().ok_or(gone)?;
        let key = Secret::fill_with(|out| entropy.fill(out));
        let cut = split(&key, holders.len(), self.terms.enough, entropy);
        let mut shares = Vec::new();
        for ((device, kem), share) in holders.into_iter().zip(cut) {
            let context = meeting.share_context(&place.application, &place.key, &device);
            let share = kem.wrap(&context, entropy.array(), share.expose());
            let bad = |_| Error::new(ErrorKind::Invalid, "a holder's public key cannot be used");
            shares.push(Wrapped { device, share: share.map_err(bad)? });
        }
        let enough = u16::try_from(self.terms.enough).unwrap_or(u16::MAX);
        meeting.write(&path, &cbor::encode(&Kept { enough, shares }))?;
        self.learn(place, CustodyKey::from(key));
        Ok(())
    }

    fn is_at_hand(&self, place: &KeyPlace) -> bool {
        self.known().contains_key(&(place.application, place.key))
    }

    fn obtain(&self, place: &KeyPlace) -> Result<()> {
        let _others_wait = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_at_hand(place) {
            return Ok(());
        }
        let kept = self.meeting.kept(&place.application, &place.key)?.ok_or(Error::MISSING_KEY)?;
        let key = self.open(place, &kept)?;
        self.learn(place, key);
        Ok(())
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.with_key(place, |own| crate::wrap_under(own, Kind::Quorum, place, key, entropy))
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        let opened =
            self.with_key(place, |own| crate::unwrap_under(own, Kind::Quorum, place, wrap))?;
        if opened.is_err() {
            // Some holder's share may have been bad: the next time they are asked again.
            self.known().remove(&(place.application, place.key));
        }
        opened
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        self.known().remove(&(*application, *key));
        self.meeting.shred(&self.meeting.key_path(application, key))
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        let mut keys = Vec::new();
        for entry in self.meeting.disk.list(&self.meeting.folder).map_err(|e| io_error(&e))? {
            let name = entry.name.strip_suffix(".key").and_then(|name| name.split_once('-'));
            if let Some((own, key)) = name
                && own == application.to_string()
            {
                keys.extend(KeyId::parse(key));
            }
        }
        keys.sort();
        Ok(keys)
    }
}

impl Meeting {
    /// Requests that wait, their signatures verified by `trust`.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`.
    pub fn requests(&self, trust: Trust<'_>) -> Result<Vec<Request>> {
        let mut found = Vec::new();
        for entry in self.disk.list(&self.folder).map_err(|error| io_error(&error))? {
            if entry.name.ends_with(".ask") {
                // What is no request of ours is nobody's to answer.
                found.extend(self.request(&self.folder.join(&entry.name), trust)?);
            }
        }
        found.sort_by_key(|request| request.time);
        Ok(found)
    }

    /// Agrees to a request, as [`Meeting::requests`] had it: opens this device's share and wraps it to whoever asked.
    ///
    /// # Errors
    /// `NotFound` when that request is no longer there, or it is over; `Denied` when this device holds no share of that key.
    ///
    /// # Security
    /// Only after a person has agreed to what the request says. Whoever may write to the folder may have put another
    /// there meanwhile: that one gets nothing.
    pub fn approve(&self, request: &Request, trust: Trust<'_>) -> Result<()> {
        let there = self.request(&self.request_path(&request.id), trust)?;
        // Dated anew meanwhile it is the same.
        let is_it = |there: Request| Request { time: request.time, ..there } == *request;
        if !there.is_some_and(is_it) {
            return Err(NO_REQUEST);
        }
        let kept = self.kept(&request.application, &request.key)?.ok_or(Error::MISSING_KEY)?;
        let own = self.own_share(&request.application, &request.key, &kept);
        let stranger = Error::new(ErrorKind::Denied, "this device holds no share of that key");
        let (_, share) = own.ok_or(stranger)?;
        let bad = || Error::new(ErrorKind::Invalid, "the request has no usable key");
        let public: &[u8; PUBLIC_LEN] = request.public[..].try_into().map_err(|_| bad())?;
        let public = KemPublicKey::parse(public).map_err(|_| bad())?;
        let context = answer_context(request, &self.member.device());
        let answer = public.wrap(&context, self.entropy.array(), share.expose());
        let path = self.share_path(&request.id, &self.member.device());
        self.write(&path, &answer.map_err(|_| bad())?)
    }

    fn request(&self, path: &Path, trust: Trust<'_>) -> Result<Option<Request>> {
        let Some(bytes) = self.find(path)? else { return Ok(None) };
        let Ok(signed) = Signed::parse(MAGIC, REQUEST_LEN_MAX, &bytes) else { return Ok(None) };
        let Ok(request) = cbor::decode_canonical::<Request>(signed.record) else { return Ok(None) };
        let holds = trust(&request.device)
            .is_some_and(|key| signed.verify(Usage::SignQuorumRequest, &key).is_ok());
        // One that is dated ahead is over as soon: or it would never be.
        let age = self.clock.now_ns().abs_diff(request.time);
        let is_good = holds
            && signed.rest.is_empty()
            && request.organisation == self.organisation
            && age < REQUEST_LIFE_NS.unsigned_abs();
        Ok(is_good.then_some(request))
    }

    /// Puts a request where holders find it.
    fn post(&self, request: &Request) -> Result<()> {
        let record = cbor::encode(request);
        let signature = self.member.sign_request(&record);
        let asked = Signed::build(MAGIC, &record, &signature, &[]);
        self.write(&self.request_path(&request.id), &asked)
    }

    /// Takes a request away, and what was answered to it. Nobody can answer it before nobody looks for answers.
    fn withdraw(&self, request: &KeyId, kept: &Kept) -> Result<()> {
        let asked = self.remove(&self.request_path(request));
        for holder in &kept.shares {
            self.remove(&self.share_path(request, &holder.device))?;
        }
        asked
    }

    /// This device's share and its place among the holders.
    fn own_share(
        &self,
        application: &ApplicationId,
        key: &KeyId,
        kept: &Kept,
    ) -> Option<(usize, SecretBytes)> {
        let device = self.member.device();
        let at = kept.shares.iter().position(|wrapped| wrapped.device == device)?;
        let context = self.share_context(application, key, &device);
        Some((at, self.member.unwrap(&context, &kept.shares[at].share)?))
    }

    fn kept(&self, application: &ApplicationId, key: &KeyId) -> Result<Option<Kept>> {
        let Some(bytes) = self.find(&self.key_path(application, key))? else { return Ok(None) };
        Kept::parse(&bytes).map(Some)
    }

    fn share_context(
        &self,
        application: &ApplicationId,
        key: &KeyId,
        device: &DeviceId,
    ) -> Context {
        let fields = [Value::Bytes(&application.0), Value::Bytes(&key.0), Value::Bytes(&device.0)];
        Context::new(Usage::QuorumShare, &self.organisation.0, &fields)
    }

    fn key_path(&self, application: &ApplicationId, key: &KeyId) -> PathBuf {
        self.folder.join(format!("{application}-{key}.key"))
    }

    fn request_path(&self, id: &KeyId) -> PathBuf {
        self.folder.join(format!("{id}.ask"))
    }

    fn share_path(&self, id: &KeyId, device: &DeviceId) -> PathBuf {
        self.folder.join(format!("{id}-{device}.share"))
    }
}

/// The public key of a certified device.
pub type Trust<'t> = &'t dyn Fn(&DeviceId) -> Option<VerifyingKey>;

/// What a holder is told who is to agree to what is not there.
pub const NO_REQUEST: Error =
    Error::new(ErrorKind::NotFound, "there is no such request, or it is over");
const NO_KEY: Error = Error::new(ErrorKind::Invalid, "a key of the quorum is damaged");
const NOT_OBTAINED: Error =
    Error::new(ErrorKind::Unavailable, "too few holders of the quorum have agreed yet");

fn answer_context(request: &Request, holder: &DeviceId) -> Context {
    let fields = [
        Value::Bytes(&request.application.0),
        Value::Bytes(&request.key.0),
        Value::Bytes(&request.id.0),
        Value::Bytes(&holder.0),
    ];
    Context::new(Usage::QuorumAnswer, &request.organisation.0, &fields)
}

/// Groups of `enough` out of `count`, as bits, ascending.
fn groups(count: usize, enough: usize) -> impl Iterator<Item = u32> {
    let enough = u32::try_from(enough).unwrap_or(u32::MAX);
    (0..1_u32 << count).filter(move |bits| bits.count_ones() == enough)
}

fn is_in(group: u32, at: usize) -> bool {
    group >> at & 1 == 1
}

/// Cuts a key: each holder's share is one piece for every group that it is in, in the order of the groups.
fn split(key: &Secret<32>, count: usize, enough: usize, entropy: &dyn Entropy) -> Vec<SecretBytes> {
    let whole = 32 * groups(count, enough).count();
    let mut shares: Vec<Vec<u8>> = (0..count).map(|_| Vec::with_capacity(whole)).collect();
    for group in groups(count, enough) {
        let mut rest = Zeroizing::new(*key.expose());
        let members: Vec<usize> = (0..count).filter(|at| is_in(group, *at)).collect();
        for (number, at) in members.iter().enumerate() {
            let mut piece = Zeroizing::new([0; 32]);
            if number + 1 < members.len() {
                entropy.fill(&mut piece[..]);
                xor(&mut rest, &piece[..]);
            } else {
                piece.copy_from_slice(&rest[..]);
            }
            shares[*at].extend_from_slice(&piece[..]);
        }
    }
    shares.into_iter().map(SecretBytes::new).collect()
}

/// Puts a key together from enough shares, by their places; none if they are too few or cut otherwise.
fn join(shares: &BTreeMap<usize, SecretBytes>, count: usize, enough: usize) -> Option<Secret<32>> {
    let places: Vec<usize> = shares.keys().copied().take(enough).collect();
    if places.len() < enough {
        return None;
    }
    let group = places.iter().fold(0_u32, |group, at| group | 1 << at);
    let mut key = Zeroizing::new([0; 32]);
    for at in places {
        let before = groups(count, enough).take_while(|other| *other != group);
        let number = before.filter(|other| is_in(*other, at)).count();
        let share = shares.get(&at)?;
        xor(&mut key, share.expose().get(32 * number..32 * (number + 1))?);
    }
    Some(Secret::from_bytes(&key))
}

fn xor(into: &mut [u8; 32], piece: &[u8]) {
    into.iter_mut().zip(piece).for_each(|(into, byte)| *into ^= byte);
}

#[cfg(test)]
mod tests;
