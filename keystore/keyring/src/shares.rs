//! How keys of an epoch travel: wrapped to each device, committed to in the log, linked to the epoch before; and with
//! them what people call each device.

use strongroom_crypto::kdf::derive;
use strongroom_crypto::kem::{KemPublicKey, RANDOM_LEN};
use strongroom_crypto::seal;
use strongroom_crypto::secret::{EpochKey, HistoryKey, Secret, SecretBytes};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::ids::{CompartmentId, DeviceId, Digest, OrganisationId, WorkspaceId};
use strongroom_format::organisation::NAME_LEN;
use strongroom_host::entropy::Entropy;
use zeroize::Zeroizing;

use crate::device::DeviceKeys;
use crate::epochs::Epoch;
use crate::error::{Error, Result};
use crate::organisation::Organisation;

const BAD: Error = Error::corrupt("the organisation log gives this device other keys than it says");

/// An epoch of the ordinary files of a workspace.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) organisation: OrganisationId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) epoch: u64,
}

/// Both keys of an epoch, on their way.
pub(crate) struct Pair {
    pub(crate) key: EpochKey,
    pub(crate) history: HistoryKey,
}

/// Who wraps for whom, and where in the log.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) recipient: DeviceId,
    pub(crate) kem: &'a KemPublicKey,
    pub(crate) sharer: DeviceId,
    pub(crate) position: u64,
}

impl Pair {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Self {
        let fresh = || Secret::fill_with(|out| entropy.fill(out));
        Self { key: EpochKey::from(fresh()), history: HistoryKey::from(fresh()) }
    }

    fn parse(bytes: &SecretBytes) -> Result<Self> {
        let (key, history) = bytes.expose().split_at_checked(32).ok_or(BAD)?;
        let whole = |part: &[u8]| <&[u8; 32]>::try_from(part).map(Secret::from_bytes);
        let (key, history) = (whole(key).map_err(|_| BAD)?, whole(history).map_err(|_| BAD)?);
        Ok(Self { key: EpochKey::from(key), history: HistoryKey::from(history) })
    }

    fn bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(self.key.expose());
        bytes[32..].copy_from_slice(self.history.expose());
        bytes
    }

    /// What the log says of the keys without showing them.
    pub(crate) fn commitments(&self, place: &Place) -> [Digest; 2] {
        let commit = |key: &[u8; 32], usage| {
            let context = Context::new(usage, &place.organisation.0, &place.fields());
            Digest(*derive(&Secret::from_bytes(key), &context).expose())
        };
        [
            commit(self.key.expose(), Usage::EpochKeyCommitment),
            commit(self.history.expose(), Usage::HistoryKeyCommitment),
        ]
    }

    pub(crate) fn wrap(
        &self,
        place: &Place,
        way: &Way<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        let random = entropy.array::<RANDOM_LEN>();
        let wrapped = way.kem.wrap(&place.wrap_context(way), random, &self.bytes()[..]);
        wrapped.map_err(|_| Error::corrupt("a device's public key cannot be used"))
    }

    /// The keys of the epoch before, for whoever has this one's history key.
    pub(crate) fn link(
        &self,
        place: &Place,
        before: &Pair,
        keys: &DeviceKeys,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        let bytes = before.bytes();
        let salt = keys.salt_for(&bytes[..], entropy);
        seal::seal(&self.history, &place.link_context(), salt, &bytes[..])
    }
}

impl Place {
    fn fields(&self) -> [Value<'_>; 3] {
        [
            Value::Bytes(&self.workspace.0),
            Value::Bytes(&CompartmentId::ORDINARY.0),
            Value::Uint(self.epoch),
        ]
    }

    fn wrap_context(&self, way: &Way<'_>) -> Context {
        let [workspace, compartment, epoch] = self.fields();
        let key_id = way.kem.id();
        let fields = [
            workspace,
            compartment,
            epoch,
            Value::Bytes(&way.recipient.0),
            Value::Bytes(&key_id),
            Value::Bytes(&way.sharer.0),
            Value::Uint(way.position),
        ];
        Context::new(Usage::PrincipalWrap, &self.organisation.0, &fields)
    }

    /// Of the link from this epoch to the one before.
    fn link_context(&self) -> Context {
        let [workspace, compartment, epoch] = self.fields();
        let fields = [workspace, compartment, Value::Uint(self.epoch - 1), epoch];
        Context::new(Usage::EpochBackLink, &self.organisation.0, &fields)
    }

    fn name_context(&self, usage: Usage, device: &DeviceId) -> Context {
        let fields =
            [Value::Bytes(&self.workspace.0), Value::Uint(self.epoch), Value::Bytes(&device.0)];
        Context::new(usage, &self.organisation.0, &fields)
    }

    pub(crate) fn seal_name(
        &self,
        key: &EpochKey,
        named: (&DeviceId, &str),
        keys: &DeviceKeys,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        self.seal_text((key, Usage::DeviceName), named, keys, entropy)
    }

    pub(crate) fn seal_consumer(
        &self,
        key: &EpochKey,
        named: (&DeviceId, &str),
        keys: &DeviceKeys,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        self.seal_text((key, Usage::ConsumerName), named, keys, entropy)
    }

    fn seal_text(
        &self,
        (key, usage): (&EpochKey, Usage),
        named: (&DeviceId, &str),
        keys: &DeviceKeys,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        let (device, name) = named;
        let mut plain = [0; NAME_LEN];
        plain[..name.len()].copy_from_slice(name.as_bytes());
        let salt = keys.salt_for(&plain, entropy);
        seal::seal(key, &self.name_context(usage, device), salt, &plain)
    }

    pub(crate) fn open_name(
        &self,
        key: &EpochKey,
        device: &DeviceId,
        sealed: &[u8],
    ) -> Option<String> {
        self.open_text(key, &self.name_context(Usage::DeviceName, device), sealed)
    }

    pub(crate) fn open_consumer(
        &self,
        key: &EpochKey,
        device: &DeviceId,
        sealed: &[u8],
    ) -> Option<String> {
        self.open_text(key, &self.name_context(Usage::ConsumerName, device), sealed)
    }

    fn open_text(&self, key: &EpochKey, context: &Context, sealed: &[u8]) -> Option<String> {
        let plain = seal::open(key, context, sealed).ok()?;
        let name = plain.expose().split(|byte| *byte == 0).next()?;
        std::str::from_utf8(name).ok().filter(|name| is_name(name)).map(str::to_owned)
    }
}

/// Whether people may call a device that.
pub fn is_name(name: &str) -> bool {
    let fits = (1..=NAME_LEN).contains(&name.len()) && name.trim() == name;
    fits && !name.chars().any(|c| c.is_control() || c == '/')
}

/// Takes what the log gives: the newest epoch by the device's own share, older ones along the links.
pub(crate) fn take(keys: &DeviceKeys, organisation: &Organisation) -> Result<()> {
    let Some(newest) = organisation.epochs().last() else { return Ok(()) };
    if organisation.workspace() != Some(keys.workspace()) {
        return Err(Error::corrupt("the organisation has another workspace"));
    }
    if keys.epoch_key(newest.number).is_some() {
        return Ok(());
    }
    let mut pair = own_share(keys, organisation)?;
    let mut found = Vec::new();
    for facts in organisation.epochs().iter().rev() {
        let place = place(keys, facts.number);
        if pair.commitments(&place) != facts.commitments {
            return Err(BAD);
        }
        let before = match &facts.back_link {
            Some(link) if keys.epoch_key(facts.number - 1).is_none() => {
                Some(open_link(&pair, &place, link)?)
            }
            Some(_) | None => None,
        };
        found.push((facts.number, pair));
        match before {
            Some(before) => pair = before,
            None => break,
        }
    }
    // ORDER: oldest first, so that who has the newest has all.
    found.into_iter().rev().for_each(|(number, pair)| hold(keys, number, &pair));
    Ok(())
}

fn own_share(keys: &DeviceKeys, organisation: &Organisation) -> Result<Pair> {
    let device = keys.device_id();
    let share = organisation.share(&device).ok_or(BAD)?;
    let way = Way {
        recipient: device,
        kem: keys.kem().public(),
        sharer: share.sharer,
        position: share.position,
    };
    let context = place(keys, share.epoch).wrap_context(&way);
    Pair::parse(&keys.kem().unwrap(&context, &share.wrap).map_err(|_| BAD)?)
}

fn open_link(pair: &Pair, place: &Place, link: &[u8]) -> Result<Pair> {
    Pair::parse(&seal::open(&pair.history, &place.link_context(), link).map_err(|_| BAD)?)
}

fn hold(keys: &DeviceKeys, number: u64, pair: &Pair) {
    // Into locked memory.
    let locked = |bytes: &[u8; 32]| crate::arena::keep(&mut Zeroizing::new(*bytes));
    keys.hold(Epoch {
        compartment: CompartmentId::ORDINARY,
        number,
        key: EpochKey::from(locked(pair.key.expose())),
        history: Some(HistoryKey::from(locked(pair.history.expose()))),
    });
}

fn place(keys: &DeviceKeys, epoch: u64) -> Place {
    Place { organisation: keys.organisation(), workspace: keys.workspace(), epoch }
}
