//! Custody at a place: what is to be opened, read or asked for each kind of it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use strongroom_custody::Custody;
use strongroom_custody::file::{KeyFile, Tell};
use strongroom_custody::handed::{Handed, Way};
use strongroom_custody::pkcs11::{Locator, Token};
use strongroom_host::locked::keep_from_programs;
use strongroom_host::real_disk::{RealDisk, behind_links};
use strongroom_steward::Services;
use zeroize::Zeroizing;

use super::{failure, quorum};
use crate::exit::{Exit, Failure, Result};
use crate::ui;

/// LIMIT: bytes of a secret handed over.
const SECRET_LEN_MAX: u64 = 4096;

/// Custody at a place.
///
/// # Errors
/// No such kind; the secret is missing or none.
pub(super) fn custody(locator: &str, services: &Services) -> Result<Arc<dyn Custody>> {
    let unknown = || {
        Failure::new(Exit::Usage, "no such kind of custody")
            .hint("give file:PATH, env:NAME, fd:N, credential:NAME, pkcs11:… or quorum:…")
    };
    let (kind, rest) = locator.split_once(':').ok_or_else(unknown)?;
    let handed = |way: Way, text: Zeroizing<Vec<u8>>| -> Result<Arc<dyn Custody>> {
        let parsed = Handed::parse(way, &text).map_err(|error| failure(&error.into()))?;
        Ok(Arc::new(parsed))
    };
    match kind {
        "file" => {
            let path = std::path::absolute(rest)
                .map_err(|error| Failure::io("finding the key file", &error))?;
            let file = KeyFile::new(Arc::new(RealDisk), behind_links(&path));
            Ok(Arc::new(file.telling(copy_is_old())))
        }
        "env" => {
            let missing = || {
                Failure::new(Exit::Locked, format!("the variable `{rest}` of custody is not set"))
                    .hint("set it to 64 hexadecimal digits; better, use a file, fd:N or credential:NAME")
            };
            let value = std::env::var_os(rest).ok_or_else(missing)?;
            handed(Way::Environment, Zeroizing::new(value.into_encoded_bytes()))
        }
        "fd" => {
            let number: u32 = rest.parse().map_err(|_| unknown())?;
            let secret = secret_from(Path::new(&format!("/proc/self/fd/{number}")))?;
            if number > 2 {
                let failed = |error| Failure::io("keeping the secret of custody", &error);
                keep_from_programs(number).map_err(failed)?;
            }
            handed(Way::Descriptor, secret)
        }
        "credential" => {
            let missing = || {
                Failure::new(Exit::Locked, "there is no folder of credentials").hint(
                    "run it as a service with `LoadCredential=`, or set CREDENTIALS_DIRECTORY",
                )
            };
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(missing)?;
            if rest.is_empty() || rest.contains('/') {
                return Err(unknown());
            }
            handed(Way::Credential, secret_from(&PathBuf::from(folder).join(rest))?)
        }
        "pkcs11" => {
            let place = Locator::parse(rest).map_err(|error| failure(&error.into()).hint(TOKEN))?;
            let pin = pin(&place.pin_source)?;
            let token = Token::open(place, pin).map_err(|error| failure(&error.into()))?;
            Ok(Arc::new(token))
        }
        "quorum" => Ok(Arc::new(quorum::open(rest, services)?)),
        _ => Err(unknown()),
    }
}

/// Tells whoever has a copy of a key file, once, that it is worth nothing any more.
fn copy_is_old() -> Tell {
    let once = Once::new();
    Box::new(move |path| {
        let text = format!(
            "the key in `{}` is new: renew the copy that you keep elsewhere, and destroy the old one",
            path.display()
        );
        once.call_once(|| ui::tell(&text));
    })
}

/// A path from the root on.
pub(super) fn absolute(path: &str) -> Result<String> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::io(format!("finding `{path}`"), &error))?;
    let no_text = |_| Failure::new(Exit::Failed, "the path of custody is no UTF-8 text");
    whole.into_os_string().into_string().map_err(no_text)
}

/// The variable of this process that custody at a place has its secret in, if it is in one.
pub fn variable_of(locator: &str) -> Option<String> {
    secret_place(locator)?.strip_prefix("env:").map(str::to_owned)
}

/// The file or descriptor that custody at a place has its secret in, if it is in one.
pub fn file_of(locator: &str) -> Option<PathBuf> {
    let place = secret_place(locator)?;
    match place.split_once(':')? {
        ("file", path) => Some(PathBuf::from(path)),
        ("fd", number) => {
            number.parse().ok().map(|number: u32| PathBuf::from(format!("/dev/fd/{number}")))
        }
        ("credential", name) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(name))
        }
        _ => None,
    }
}

fn secret_place(locator: &str) -> Option<String> {
    Some(match locator.split_once(':')? {
        ("pkcs11", rest) => Locator::parse(rest).ok()?.pin_source,
        _ => locator.to_owned(),
    })
}

const TOKEN: &str =
    "write pkcs11:token=LABEL?module-path=/usr/lib/…/module.so&pin-source=file:PATH (or env:NAME)";

/// The PIN of a token, without its line end.
fn pin(source: &str) -> Result<Zeroizing<String>> {
    let text = match source.split_once(':') {
        Some(("file", path)) => secret_from(Path::new(path))?,
        Some(("env", name)) => {
            let missing = || {
                Failure::new(Exit::Locked, format!("the variable `{name}` of custody is not set"))
                    .hint("set it to the PIN of the token")
            };
            Zeroizing::new(std::env::var_os(name).ok_or_else(missing)?.into_encoded_bytes())
        }
        _ => return Err(Failure::new(Exit::Usage, "no such place of a PIN").hint(TOKEN)),
    };
    let text = std::str::from_utf8(&text)
        .map_err(|_| Failure::new(Exit::Locked, "the PIN of custody is no text"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn secret_from(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: &std::io::Error| Failure {
        exit: Exit::Locked,
        ..Failure::io("reading the secret of custody", error)
    };
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = Zeroizing::new(Vec::with_capacity(256));
    file.take(SECRET_LEN_MAX).read_to_end(&mut text).map_err(|error| failed(&error))?;
    Ok(text)
}
