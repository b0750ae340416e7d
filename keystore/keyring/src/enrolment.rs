//! A new device asks to be taken in: it makes its keys, and a request that anybody may read.
//!
//! ```text
//! new device   keys -> request, signed by itself, in the store -> its code, shown
//! old device   reads the request -> its code, computed -> people compare -> a record of the organisation log
//! ```
//!
//! The store can put another request in the place of the true one; it would have another code. To find one with the same
//! code takes 2^60 times the work of Argon2id over 64 MiB, so nobody has to answer anybody in time.

use std::fmt;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf::{PassphraseCost, argon2id};
use strongroom_crypto::kem::{KemKey, KemPublicKey};
use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::{SigningKey, VerifyingKey};
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::device::{DeviceSecrets, Secret32};
use strongroom_format::ids::{DeviceId, OrganisationId, WorkspaceId};
use strongroom_format::request::{self, Request, RequestFile};
use strongroom_format::workspace::SUITE;
use strongroom_host::entropy::Entropy;
use zeroize::Zeroizing;

use crate::device_file;
use crate::error::{Error, Result};

/// How long a request is good for: an hour, in nanoseconds.
pub const REQUEST_LIFE_NS: i64 = 3_600_000_000_000;

const CODE_LABEL: &[u8; 28] = b"strongroom/1 device request\0";
const CODE_LEN: usize = 12;
const GROUP_LEN: usize = 4;
/// Without i, l, o and u: nobody takes one for another.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Working through one request to its code.
const CODE_COST: PassphraseCost = PassphraseCost::SMALL;

/// What asking makes. The caller stores both files; nothing is durable yet.
pub struct Requested {
    /// The new device.
    pub device: DeviceId,
    /// Its sealed device file.
    pub device_file: Vec<u8>,
    /// The request.
    pub request: Vec<u8>,
    /// What people compare.
    pub code: Code,
}

/// Makes a device that wants to be in an organisation and pins it. Takes twice the time that a passphrase takes.
///
/// # Errors
/// `Invalid` when the passphrase is empty or the cost is outside the limits.
pub fn request(
    (organisation, workspace): (OrganisationId, WorkspaceId),
    passphrase: &[u8],
    cost: PassphraseCost,
    time_ns: i64,
    entropy: &dyn Entropy,
) -> Result<Requested> {
    let secrets = generate_secrets(workspace, None, entropy);
    let device_file = device_file::seal(organisation, &secrets, passphrase, cost, entropy)?;
    let (signing, kem) = public_keys(&secrets);
    let record = cbor::encode(&Request {
        suite: SUITE,
        organisation,
        workspace,
        device: secrets.device,
        signing_key: *signing.verifying_key().as_bytes(),
        kem_key: *kem.public().as_bytes(),
        time: time_ns,
        expires: time_ns.saturating_add(REQUEST_LIFE_NS),
    });
    let signature = signing.sign(Usage::SignDeviceRequest, &record);
    let (device, code) = (secrets.device, Code::of(&record, &secrets.device));
    Ok(Requested { device, device_file, request: request::build(&record, &signature), code })
}

/// Fresh secrets of a device.
pub(crate) fn generate_secrets(
    workspace: WorkspaceId,
    root_seed: Option<Secret32>,
    entropy: &dyn Entropy,
) -> DeviceSecrets {
    DeviceSecrets {
        device: DeviceId(entropy.array()),
        workspace,
        signing_seed: generate(entropy),
        store_key: generate(entropy),
        hedge_key: generate(entropy),
        kem_seed: generate(entropy),
        root_seed,
    }
}

pub(crate) fn generate(entropy: &dyn Entropy) -> Secret32 {
    let mut secret = Box::new(Zeroizing::new([0; 32]));
    entropy.fill(&mut secret[..]);
    Secret32(secret)
}

/// The key pairs of fresh secrets.
pub(crate) fn public_keys(secrets: &DeviceSecrets) -> (SigningKey, KemKey) {
    let signing = SigningKey::from_seed(Secret::from_bytes(&secrets.signing_seed.0));
    (signing, KemKey::from_seed(Secret::from_bytes(&secrets.kem_seed.0)))
}

/// A device that asks, as far as its request proves it: somebody has these keys.
pub struct Applicant {
    request: Request,
    kem: KemPublicKey,
    record: Vec<u8>,
}

impl Applicant {
    /// Verifies a request: keys, and the signature by the device itself.
    ///
    /// # Errors
    /// `Corrupt` when anything does not hold, `Unsupported` when a newer version wrote it.
    pub fn verify(file: &[u8]) -> Result<Self> {
        const BAD: Error = Error::corrupt("the request does not verify");
        let parsed = RequestFile::parse(file)?;
        if parsed.record.suite != SUITE {
            return Err(Error::unsupported("a request of a newer suite"));
        }
        let signing = VerifyingKey::parse(&parsed.record.signing_key).map_err(|_| BAD)?;
        let kem = KemPublicKey::parse(&parsed.record.kem_key).map_err(|_| BAD)?;
        signing
            .verify(Usage::SignDeviceRequest, parsed.record_bytes, &parsed.signature)
            .map_err(|_| BAD)?;
        Ok(Self { request: parsed.record, kem, record: parsed.record_bytes.to_vec() })
    }

    /// What it asks.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Its code. Takes a fraction of a second and 64 MiB.
    pub fn code(&self) -> Code {
        Code::of(&self.record, &self.request.device)
    }

    /// Whether it asked too long ago, or its clock and this one are further apart than a request lives.
    pub fn is_void(&self, now_ns: i64) -> bool {
        let early = self.request.time.saturating_sub(REQUEST_LIFE_NS);
        now_ns > self.request.expires || now_ns < early
    }

    pub(crate) fn kem(&self) -> &KemPublicKey {
        &self.kem
    }
}

/// Twelve letters and digits that stand for a request, or another thing that people compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code([u8; CODE_LEN]);

impl Code {
    fn of(record: &[u8], device: &DeviceId) -> Self {
        let mut input = CODE_LABEL.to_vec();
        input.extend_from_slice(&sha256(record));
        let hash = argon2id(&input, &device.0, CODE_COST).expect("a cost within the limits");
        Self::of_hash(hash.expose())
    }

    /// Letters for the first 60 bits of a hash, for people to compare.
    pub fn of_hash(hash: &[u8; 32]) -> Self {
        let mut bits = u64::from_be_bytes(*hash.first_chunk().expect("32 bytes"));
        let mut letters = [0; CODE_LEN];
        for letter in &mut letters {
            *letter = LETTERS[(bits >> 59) as usize];
            bits <<= 5;
        }
        Self(letters)
    }

    /// Reads a code as people type it: in either case, with or without hyphens and spaces; none if it is no code.
    pub fn parse(typed: &str) -> Option<Self> {
        let meant = |c: char| match c.to_ascii_lowercase() {
            'o' => Some('0'),
            'i' | 'l' => Some('1'),
            c => LETTERS.contains(&u8::try_from(c).ok()?).then_some(c),
        };
        let mut letters = [0; CODE_LEN];
        let mut count = 0;
        for c in typed.chars().filter(|c| !matches!(c, '-' | ' ')) {
            *letters.get_mut(count)? = u8::try_from(meant(c)?).ok()?;
            count += 1;
        }
        (count == CODE_LEN).then_some(Self(letters))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.0.chunks(GROUP_LEN).enumerate() {
            let hyphen = if index == 0 { "" } else { "-" };
            write!(f, "{hyphen}{}", String::from_utf8_lossy(group))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PASSPHRASE, QUICK, Repeating};

    fn requested() -> Requested {
        let place = (OrganisationId([1; 32]), WorkspaceId([2; 16]));
        request(place, PASSPHRASE, QUICK, 1_000, &Repeating::from_seed(3)).unwrap()
    }

    #[test]
    fn a_request_shows_the_code_that_its_device_showed() {
        let made = requested();
        let applicant = Applicant::verify(&made.request).unwrap();
        assert_eq!(applicant.code(), made.code);
        assert_eq!(applicant.request().device, made.device);
        let shown = made.code.to_string();
        assert_eq!((shown.len(), Code::parse(&shown)), (14, Some(made.code)));
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = Code(*b"01ab23cd45ef");
        assert_eq!(code.to_string(), "01ab-23cd-45ef");
        for typed in
            ["01ab-23cd-45ef", "oiab23cd45ef", " O L A B 2 3 C D 4 5 E F ", "01AB-23CD-45EF"]
        {
            assert_eq!(Code::parse(typed), Some(code), "{typed}");
        }
        for typed in
            ["", "01ab-23cd-45e", "01ab-23cd-45eff", "01ab-23cd-45eu", "01ab-23cd-45e\u{e9}"]
        {
            assert_eq!(Code::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn every_flipped_bit_and_cut_of_a_request_is_refused() {
        let good = requested().request;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Applicant::verify(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(Applicant::verify(&good[..len]).is_err());
        }
    }

    #[test]
    fn a_request_is_void_after_an_hour_and_far_before_it() {
        let applicant = Applicant::verify(&requested().request).unwrap();
        for (now, void) in [
            (1_000, false),
            (1_000 + REQUEST_LIFE_NS, false),
            (1_001 + REQUEST_LIFE_NS, true),
            (1_000 - REQUEST_LIFE_NS, false),
            (999 - REQUEST_LIFE_NS, true),
        ] {
            assert_eq!(applicant.is_void(now), void, "{now}");
        }
    }
}
