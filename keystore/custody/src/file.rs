//! A file of this machine, for its owner alone, with the application keys in it.
//!
//! ```text
//! "SRq1" · canonical CBOR [[application, key id, key 32], …], ascending
//! ```
//!
//! A key is ended by writing the file anew without it and overwriting the old bytes. That is best effort: a journaling
//! file system, a flash disk or a backup may keep them, and then an old copy of the keystore opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use strongroom_crypto::secret::{CustodyKey, Secret, SecretBytes};
use strongroom_format::cbor;
use strongroom_host::disk::{Disk, OpenMode, read_all, replace_file};
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};
use zeroize::Zeroizing;

use crate::{Custody, Description, Ending, Error, ErrorKind, KeyPlace, Kind, Result};

const MAGIC: &[u8; 4] = b"SRq1";
/// Generation of the key that an application begins with.
const FIRST: u64 = 1;
/// LIMIT: keys in one file.
const KEY_COUNT_MAX: usize = 1024;
/// More than an encoded key ever takes, so that the buffer never grows and leaves no copy behind.
const ENCODED_LEN_MAX: usize = 96;

/// Custody in a file.
pub struct KeyFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    tell: Tell,
}

/// Hears that a key has ended in the file: whoever keeps a copy of it has one that opens nothing that is stored from here on.
pub type Tell = Box<dyn Fn(&Path) + Send + Sync>;

#[derive(Default, Encode, Decode)]
#[cbor(transparent)]
struct Keys(#[n(0)] Vec<Kept>);

#[derive(Encode, Decode)]
struct Kept {
    #[n(0)]
    application: ApplicationId,
    #[n(1)]
    key: KeyId,
    #[cbor(n(2), with = "secret")]
    secret: Box<Zeroizing<[u8; 32]>>,
}

impl KeyFile {
    /// Custody in the file of that path. It is made with the first key of an application, and never for a later one: where the
    /// key before is not, the file is somewhere else.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, tell: Box::new(|_| ()) }
    }

    /// The same, with somebody who hears when a key has ended.
    pub fn telling(self, tell: Tell) -> Self {
        Self { tell, ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_there(&self) -> Result<bool> {
        match self.disk.open(&self.path, OpenMode::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error(&error)),
        }
    }

    fn read(&self) -> Result<Keys> {
        let bytes = match read_all(&*self.disk, &self.path) {
            Ok(bytes) => SecretBytes::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Keys::default());
            }
            Err(error) => return Err(io_error(&error)),
        };
        let keys = bytes.expose().strip_prefix(MAGIC).ok_or(NO_KEY_FILE)?;
        let keys: Keys = cbor::decode_canonical(keys).map_err(|_| NO_KEY_FILE)?;
        let ordered = keys.0.is_sorted_by(|a, b| (a.application, a.key) < (b.application, b.key));
        if ordered { Ok(keys) } else { Err(NO_KEY_FILE) }
    }

    fn write(&self, keys: &Keys) -> Result<()> {
        let mut bytes = Vec::with_capacity(16 + ENCODED_LEN_MAX * keys.0.len());
        let capacity = bytes.capacity();
        bytes.extend_from_slice(MAGIC);
        cbor::encode_into(keys, &mut bytes);
        assert_eq!(bytes.capacity(), capacity, "keys fit the buffer, so no copy is left behind");
        let bytes = SecretBytes::new(bytes);
        let before = self.disk.open(&self.path, OpenMode::Write).ok();
        replace_file(&*self.disk, &self.path, bytes.expose()).map_err(|e| io_error(&e))?;
        // ORDER: the new file is durable before the old bytes go, or a crash would lose all keys.
        if let Some(before) = before {
            let len = usize::try_from(before.len().map_err(|e| io_error(&e))?).unwrap_or(0);
            before.write_at(&vec![0; len], 0).map_err(|e| io_error(&e))?;
            before.sync_data().map_err(|e| io_error(&e))?;
        }
        Ok(())
    }

    /// Changes the keys; whether there was anything to change.
    fn change(&self, change: impl FnOnce(&mut Keys) -> Result<bool>) -> Result<bool> {
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lock");
        let _lock = self.disk.lock(Path::new(&lock)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                Error::new(ErrorKind::Unavailable, "the key file is in use by another process")
            }
            _ => io_error(&error),
        })?;
        let mut keys = self.read()?;
        let is_changed = change(&mut keys)?;
        if is_changed {
            self.write(&keys)?;
        }
        Ok(is_changed)
    }

    fn key(&self, place: &KeyPlace) -> Result<CustodyKey> {
        let keys = self.read()?;
        let at = keys.find(&place.application, &place.key).map_err(|_| Error::MISSING_KEY)?;
        Ok(CustodyKey::from_bytes(&keys.0[at].secret))
    }
}

impl Keys {
    fn find(&self, application: &ApplicationId, key: &KeyId) -> std::result::Result<usize, usize> {
        self.0.binary_search_by_key(&(*application, *key), |kept| (kept.application, kept.key))
    }
}

impl Custody for KeyFile {
    fn describe(&self) -> Description {
        Description { kind: Kind::File, ending: Ending::BestEffort, is_extractable: true }
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()> {
        self.change(|keys| {
            if place.generation > FIRST && !self.is_there()? {
                return Err(Error::MISSING_KEY);
            }
            let Err(at) = keys.find(&place.application, &place.key) else {
                return Err(Error::new(ErrorKind::Exists, "there is a key of that id in custody"));
            };
            if keys.0.len() >= KEY_COUNT_MAX {
                return Err(Error::new(ErrorKind::Invalid, "the key file is full"));
            }
            let mut secret = Box::new(Zeroizing::new([0; 32]));
            entropy.fill(&mut secret[..]);
            let (application, key) = (place.application, place.key);
            keys.0.insert(at, Kept { application, key, secret });
            Ok(true)
        })
        .map(drop)
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        Ok(crate::wrap_under(&self.key(place)?, Kind::File, place, key, entropy))
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        crate::unwrap_under(&self.key(place)?, Kind::File, place, wrap)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        let is_changed = self.change(|keys| match keys.find(application, key) {
            Ok(at) => {
                keys.0.remove(at);
                Ok(true)
            }
            Err(_) => Ok(false),
        })?;
        if is_changed {
            (self.tell)(&self.path);
        }
        Ok(())
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        let keys = self.read()?;
        let own = keys.0.iter().filter(|kept| kept.application == *application);
        Ok(own.map(|kept| kept.key).collect())
    }
}

const NO_KEY_FILE: Error = Error::new(ErrorKind::Invalid, "the file of custody is no key file");

fn io_error(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, "the key file may not be read or written")
        }
        _ => Error::new(ErrorKind::Unavailable, "the key file cannot be read or written"),
    }
}

/// A secret of 32 bytes as a byte string, straight into memory that is wiped.
mod secret {
    use minicbor::decode::Error;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};
    use zeroize::Zeroizing;

    pub(super) fn encode<C, W: Write>(
        secret: &Zeroizing<[u8; 32]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&secret[..])?;
        Ok(())
    }

    pub(super) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Box<Zeroizing<[u8; 32]>>, Error> {
        let bytes = d.bytes()?;
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != secret.len() {
            return Err(Error::message("not a 32-byte key"));
        }
        secret.copy_from_slice(bytes);
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimDisk;

    use super::*;
    use crate::conformance::{conformance, place, seeded};

    #[test]
    fn a_key_file_conforms() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/custody")).unwrap();
        conformance(&|| Box::new(KeyFile::new(Arc::new(disk.clone()), "/custody/keys".into())));
    }

    #[test]
    fn a_destroyed_key_is_in_no_byte_of_the_disk_that_a_program_can_read() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/custody")).unwrap();
        let file = KeyFile::new(Arc::new(disk.clone()), "/custody/keys".into());
        file.create(&place(1, 1), &seeded(1)).unwrap();
        file.create(&place(1, 2), &seeded(2)).unwrap();
        let secret = *file.key(&place(1, 1)).unwrap().expose();
        file.destroy(&place(1, 1).application, &place(1, 1).key).unwrap();
        for entry in disk.list(Path::new("/custody")).unwrap() {
            let bytes = read_all(&disk, &Path::new("/custody").join(entry.name)).unwrap();
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    }

    #[test]
    fn a_key_file_that_is_gone_is_made_anew_for_no_application_that_has_a_key() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/custody")).unwrap();
        let file = KeyFile::new(Arc::new(disk.clone()), "/custody/keys".into());
        let refused = file.create(&place(1, 2), &seeded(1)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert!(disk.open(file.path(), OpenMode::Read).is_err());
        file.create(&place(1, 1), &seeded(1)).unwrap();
        file.create(&place(1, 2), &seeded(2)).unwrap();
    }

    #[test]
    fn whoever_keeps_a_copy_hears_that_a_key_has_ended_and_of_nothing_else() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/custody")).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let file = KeyFile::new(Arc::new(disk), "/custody/keys".into());
        let file = file.telling(Box::new(move |path| told.send(path.to_owned()).unwrap()));
        let destroy = |place: KeyPlace| file.destroy(&place.application, &place.key).unwrap();
        file.create(&place(1, 1), &seeded(1)).unwrap();
        file.create(&place(1, 2), &seeded(2)).unwrap();
        destroy(place(1, 3));
        assert_eq!(heard.try_iter().count(), 0);
        destroy(place(1, 1));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Path::new("/custody/keys")]);
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/custody")).unwrap();
        replace_file(&disk, Path::new("/custody/keys"), b"a diary").unwrap();
        let file = KeyFile::new(Arc::new(disk), "/custody/keys".into());
        let refused = file.create(&place(1, 1), &seeded(1)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
}
