//! A secret that somebody else keeps and hands over: by a variable, a descriptor, or a credential of the service manager.
//!
//! The application key of each generation is derived from the secret and the key's random id, so a new generation needs
//! no new secret. For the same reason nothing here can end a key: whoever has the secret and an old copy of the keystore
//! opens it. Receipts say so.

use strongroom_crypto::kdf;
use strongroom_crypto::secret::{CustodyKey, Secret};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};
use zeroize::Zeroizing;

use crate::{Custody, Description, Ending, Error, ErrorKind, KeyPlace, Kind, Result};

/// How the secret came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a variable of the process: inherited by children and visible to the machine's owner.
    Environment,
    /// From a descriptor.
    Descriptor,
    /// From a file in the service manager's folder of credentials.
    Credential,
}

/// Custody of a handed secret.
pub struct Handed {
    way: Way,
    secret: Secret<32>,
}

impl Handed {
    /// Takes the secret: 64 hexadecimal digits, as `openssl rand -hex 32` makes them, and perhaps a line end.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(way: Way, text: &[u8]) -> Result<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() != 64 {
            return Err(NO_SECRET);
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            let value = high.ok_or(NO_SECRET)? << 4 | low.ok_or(NO_SECRET)?;
            *byte = u8::try_from(value).map_err(|_| NO_SECRET)?;
        }
        Ok(Self { way, secret: Secret::from_bytes(&bytes) })
    }

    fn kind(&self) -> Kind {
        match self.way {
            Way::Environment => Kind::Environment,
            Way::Descriptor => Kind::Descriptor,
            Way::Credential => Kind::Credential,
        }
    }

    fn key(&self, place: &KeyPlace) -> CustodyKey {
        let fields = [Value::Bytes(&place.application.0), Value::Bytes(&place.key.0)];
        let context = Context::new(Usage::HandedKey, &place.organisation.0, &fields);
        CustodyKey::from(kdf::derive(&self.secret, &context))
    }
}

const NO_SECRET: Error =
    Error::new(ErrorKind::Invalid, "the secret of custody is not 64 hexadecimal digits");

impl Custody for Handed {
    fn describe(&self) -> Description {
        Description { kind: self.kind(), ending: Ending::NotOurs, is_extractable: true }
    }

    fn create(&self, _: &KeyPlace, _: &dyn Entropy) -> Result<()> {
        Ok(())
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        Ok(crate::wrap_under(&self.key(place), self.kind(), place, key, entropy))
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        crate::unwrap_under(&self.key(place), self.kind(), place, wrap)
    }

    fn destroy(&self, _: &ApplicationId, _: &KeyId) -> Result<()> {
        Ok(())
    }

    fn list(&self, _: &ApplicationId) -> Result<Vec<KeyId>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::conformance;

    const SECRET: &[u8] = b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn handed_secrets_conform() {
        for way in [Way::Environment, Way::Descriptor, Way::Credential] {
            conformance(&|| Box::new(Handed::parse(way, SECRET).unwrap()));
        }
    }

    #[test]
    fn a_secret_is_64_digits_and_perhaps_a_line_end() {
        let with_end = [SECRET, b"\r\n"].concat();
        assert!(Handed::parse(Way::Descriptor, &with_end).is_ok());
        for bad in [&b""[..], &SECRET[1..], b"zz", &[SECRET, b"0"].concat()] {
            assert!(Handed::parse(Way::Descriptor, bad).is_err());
        }
        assert!(Handed::parse(Way::Descriptor, &[b'g'; 64]).is_err());
    }
}
