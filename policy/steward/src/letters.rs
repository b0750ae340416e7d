//! Letters between a consumer's device and a custodian: sealed to the recipient, signed by the sender's device.

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kem::{KemKey, KemPublicKey, RANDOM_LEN};
use strongroom_crypto::secret::SecretBytes;
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::{Device, Organisation};
use strongroom_records::Signed;
use strongroom_records::exchange::{
    ANSWER_MAGIC, ASK_MAGIC, COUNTER_MAGIC, CounterNote, ENVELOPE_LEN_MAX, Envelope, SUITE,
};
use strongroom_records::ids::{Hash, SessionId};
use strongroom_store::{Family, Key, Store, wait};

use crate::error::{Error, Result, stored};

/// In which direction a letter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a custodian.
    Ask,
    /// To a consumer's device.
    Answer,
}

/// Who can open a letter.
#[derive(Clone, Copy)]
pub struct Recipient<'r> {
    /// Device.
    pub device: DeviceId,
    /// Of a custodian's device its own key, of a consumer's that of the session: answers have class keys.
    pub kem: &'r KemPublicKey,
}

impl<'r> Recipient<'r> {
    /// A custodian's device.
    pub fn custodian(device: &'r Device) -> Self {
        Self { device: device.id(), kem: device.kem() }
    }
}

/// What a writer says outside of a letter.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    /// Conversation.
    pub session: SessionId,
    /// Which letter of it.
    pub number: u64,
    /// Life of the counter.
    pub incarnation: u64,
    /// The writer's clock.
    pub time: i64,
}

impl Direction {
    fn magic(self) -> [u8; 4] {
        match self {
            Self::Ask => ASK_MAGIC,
            Self::Answer => ANSWER_MAGIC,
        }
    }

    fn seals(self) -> Usage {
        match self {
            Self::Ask => Usage::ExchangeAsk,
            Self::Answer => Usage::ExchangeAnswer,
        }
    }

    fn signs(self) -> Usage {
        match self {
            Self::Ask => Usage::SignAsk,
            Self::Answer => Usage::SignAnswer,
        }
    }

    fn context(self, envelope: &Envelope) -> Context {
        let fields = [
            Value::Bytes(&envelope.session.0),
            Value::Uint(envelope.number),
            Value::Bytes(&envelope.from.0),
            Value::Bytes(&envelope.to.0),
        ];
        Context::new(self.seals(), &envelope.organisation.0, &fields)
    }
}

/// Writes a letter.
///
/// # Errors
/// `Corrupt` when the recipient's key cannot be used.
pub fn write(
    direction: Direction,
    keys: &DeviceKeys,
    to: Recipient<'_>,
    outside: &Outside,
    body: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    let mut envelope = Envelope {
        suite: SUITE,
        organisation: keys.organisation(),
        session: outside.session,
        number: outside.number,
        from: keys.device_id(),
        to: to.device,
        incarnation: outside.incarnation,
        time: outside.time,
        body_hash: Hash::NONE,
    };
    let random = entropy.array::<RANDOM_LEN>();
    let sealed = to.kem.wrap(&direction.context(&envelope), random, body);
    let sealed = sealed.map_err(|_| Error::corrupt("a recipient's public key cannot be used"))?;
    envelope.body_hash = Hash(sha256(&sealed));
    let record = cbor::encode(&envelope);
    let signature = keys.signing().sign(direction.signs(), &record);
    Ok(Signed::build(direction.magic(), &record, &signature, &sealed))
}

/// Reads the outside of a letter. Nothing of it is verified.
///
/// # Errors
/// `Corrupt`; `Unsupported` when a newer version wrote it.
pub fn outside(direction: Direction, letter: &[u8]) -> Result<Envelope> {
    let signed = Signed::parse(direction.magic(), ENVELOPE_LEN_MAX, letter)?;
    let envelope: Envelope = cbor::decode_canonical(signed.record)?;
    envelope.check()?;
    Ok(envelope)
}

/// Verifies a letter by its sender and opens it with the private half of what it was written to.
///
/// # Errors
/// `Corrupt` when anything does not hold, `Unsupported` when a newer version wrote it.
pub fn read(
    direction: Direction,
    keys: &DeviceKeys,
    kem: &KemKey,
    from: &Device,
    letter: &[u8],
) -> Result<(Envelope, SecretBytes)> {
    let bad = || Error::corrupt("a letter does not verify");
    let envelope = outside(direction, letter)?;
    let signed = Signed::parse(direction.magic(), ENVELOPE_LEN_MAX, letter)?;
    let is_meant = envelope.organisation == keys.organisation()
        && (envelope.from, envelope.to) == (from.id(), keys.device_id())
        && envelope.body_hash.0 == sha256(signed.rest);
    if !is_meant {
        return Err(bad());
    }
    signed.verify(direction.signs(), from.signing()).map_err(|_| bad())?;
    let body = kem.unwrap(&direction.context(&envelope), signed.rest);
    Ok((envelope, body.map_err(|_| bad())?))
}

/// Says where this device serves consumers, from now on.
pub fn write_counter(keys: &DeviceKeys, incarnation: u64, time: i64) -> Vec<u8> {
    let record = cbor::encode(&CounterNote {
        suite: SUITE,
        organisation: keys.organisation(),
        workspace: keys.workspace(),
        device: keys.device_id(),
        incarnation,
        time,
    });
    let signature = keys.signing().sign(Usage::SignCounter, &record);
    Signed::build(COUNTER_MAGIC, &record, &signature, &[])
}

/// Verifies what a device says about its counter: it must count, and be no consumer's.
///
/// # Errors
/// As [`read`].
pub fn read_counter(
    organisation: &Organisation,
    device: &DeviceId,
    note: &[u8],
) -> Result<CounterNote> {
    let bad = || Error::corrupt("what says where a custodian serves does not verify");
    let signed = Signed::parse(COUNTER_MAGIC, ENVELOPE_LEN_MAX, note)?;
    let counter: CounterNote = cbor::decode_canonical(signed.record)?;
    let is_meant = counter.suite == SUITE
        && signed.rest.is_empty()
        && counter.organisation == *organisation.id()
        && organisation.workspace() == Some(counter.workspace)
        && counter.device == *device;
    let key = organisation.device(device).filter(|_| is_meant).ok_or_else(bad)?;
    signed.verify(Usage::SignCounter, key).map_err(|_| bad())?;
    Ok(counter)
}

/// The custodian's device that began last to serve consumers, as its note says. If somebody's is there who is not known yet,
/// the organisation's log is read on first.
///
/// # Errors
/// Those of the store; `Corrupt` when the log does not go on.
pub fn newest_counter(
    store: &dyn Store,
    organisation: &mut Organisation,
) -> Result<Option<Device>> {
    let mut notes = Vec::new();
    for listed in wait(store.list(Family::Counter, None)).map_err(stored)? {
        if let Key::Counter(device) = listed.key
            && let Ok(note) = wait(store.get(listed.key, None))
        {
            notes.push((device, note));
        }
    }
    if notes.iter().any(|(device, _)| organisation.find(device).is_none()) {
        read_on(store, organisation)?;
    }
    // What does not verify serves nobody.
    let read = |(device, note)| read_counter(organisation, device, note).ok();
    let notes = notes.iter().map(|(device, note)| (device, &note[..])).filter_map(read);
    let newest = notes.max_by_key(|note| (note.time, note.device));
    Ok(newest.and_then(|note| organisation.find(&note.device)).cloned())
}

/// Reads on in the organisation's log.
pub(crate) fn read_on(store: &dyn Store, organisation: &mut Organisation) -> Result<()> {
    let followed =
        organisation.follow(|position| match wait(store.get(Key::Organisation(position), None)) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == strongroom_store::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(stored(error)),
        });
    followed.map(drop)
}
