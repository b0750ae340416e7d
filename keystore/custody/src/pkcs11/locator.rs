//! Where a token is, written as RFC 7512 writes it: `pkcs11:token=prod?module-path=/usr/lib/x.so&pin-source=file:/etc/pin`.
//!
//! Taken from it: `token`, `serial`; `module-path` and `pin-source`, which are demanded. A PIN itself is refused: a locator
//! is stored and shown.

use std::path::PathBuf;

use crate::{Error, ErrorKind, Result};

/// Place of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Label of the token.
    pub token: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The module: a shared library.
    pub module: PathBuf,
    /// Where the PIN is: `file:PATH` or `env:NAME`.
    pub pin_source: String,
}

impl Locator {
    /// Reads what follows `pkcs11:`.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut token, mut serial, mut module, mut pin_source) = (None, None, None, None);
        for part in path.split(';').chain(query.split('&')).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(NO_LOCATOR)?;
            let place = match name {
                "token" => &mut token,
                "serial" => &mut serial,
                "module-path" => &mut module,
                "pin-source" => &mut pin_source,
                "pin-value" => return Err(PIN_INSIDE),
                _ => return Err(NO_LOCATOR),
            };
            if place.replace(decoded(value)?).is_some() {
                return Err(NO_LOCATOR);
            }
        }
        let module = PathBuf::from(module.ok_or(NO_MODULE)?);
        // A bare name would be looked for along the search path of libraries.
        if !module.is_absolute() {
            return Err(NO_MODULE);
        }
        let pin_source = pin_source.ok_or(NO_PIN)?;
        let pin_source = match pin_source.starts_with('/') {
            true => format!("file:{pin_source}"),
            false => pin_source,
        };
        Ok(Self { token, serial, module, pin_source })
    }
}

const NO_LOCATOR: Error = Error::new(
    ErrorKind::Invalid,
    "a token is named by `token`, `serial`, `module-path` and `pin-source`",
);
const PIN_INSIDE: Error =
    Error::new(ErrorKind::Invalid, "a PIN does not belong into the name of a token");
const NO_MODULE: Error =
    Error::new(ErrorKind::Invalid, "a token needs `module-path`, an absolute path");
const NO_PIN: Error = Error::new(ErrorKind::Invalid, "a token needs `pin-source`");

/// Takes percent signs out.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(NO_LOCATOR);
                let value = digit(high)? << 4 | digit(low)?;
                bytes.push(u8::try_from(value).map_err(|_| NO_LOCATOR)?);
                rest = after;
            }
            (b'%', _) => return Err(NO_LOCATOR),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| NO_LOCATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_as_rfc_7512_writes_it() {
        let text = "token=my%20shop;serial=0a?module-path=/usr/lib/x.so&pin-source=/etc/pin";
        let expected = Locator {
            token: Some("my shop".into()),
            serial: Some("0a".into()),
            module: "/usr/lib/x.so".into(),
            pin_source: "file:/etc/pin".into(),
        };
        assert_eq!(Locator::parse(text), Ok(expected));
    }

    #[test]
    fn a_name_without_module_or_pin_source_or_with_a_pin_is_refused() {
        for bad in [
            "",
            "token=a",
            "token=a?module-path=/x.so",
            "token=a?module-path=x.so&pin-source=env:PIN",
            "token=a?module-path=/x.so&pin-source=env:PIN&pin-value=1234",
            "token=a;token=b?module-path=/x.so&pin-source=env:PIN",
            "token=%zz?module-path=/x.so&pin-source=env:PIN",
            "token=%a?module-path=/x.so&pin-source=env:PIN",
            "colour=red?module-path=/x.so&pin-source=env:PIN",
        ] {
            assert!(Locator::parse(bad).is_err(), "{bad}");
        }
    }
}
