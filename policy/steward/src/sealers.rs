//! How bodies of records are sealed and signed: under the register key, or the workspace's for the list of applications.

use strongroom_audit::{Sealer, Signer};
use strongroom_crypto::seal;
use strongroom_crypto::sign::{HeadKey, SIGNATURE_LEN};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::ids::DeviceId;
use strongroom_keyring::DeviceKeys;
use strongroom_records::ids::ApplicationId;
use strongroom_records::log::{Header, Stand};

use crate::register::KeyRing;
use crate::services::Services;

/// Bodies under the register keys of an application.
pub(crate) struct RegisterSealer<'s> {
    pub services: &'s Services,
    pub application: ApplicationId,
    pub keys: &'s KeyRing,
    /// Generation of the key that what is sealed goes under.
    pub generation: u64,
}

impl RegisterSealer<'_> {
    fn context(&self, seq: u64) -> Context {
        let fields = [Value::Bytes(&self.application.0), Value::Uint(seq)];
        Context::new(Usage::RegisterRecord, &self.services.keys.organisation().0, &fields)
    }
}

impl Sealer for RegisterSealer<'_> {
    fn epoch(&self) -> u64 {
        0
    }

    fn seal(&self, seq: u64, plain: &[u8]) -> strongroom_audit::Result<Vec<u8>> {
        let key = self.keys.of(self.generation).ok_or_else(shut)?;
        Ok(seal::seal(key, &self.context(seq), self.services.entropy.array(), plain))
    }

    fn open(&self, header: &Header, sealed: &[u8]) -> strongroom_audit::Result<Vec<u8>> {
        let key = self.keys.of(header.generation()).ok_or_else(shut)?;
        let plain = seal::open(key, &self.context(header.seq), sealed);
        plain.map(|plain| plain.into_vec()).map_err(|_| shut())
    }
}

/// Bodies of the list of applications, under the workspace's key of the epoch where their writers stood.
pub(crate) struct DirectorySealer<'s> {
    pub services: &'s Services,
    /// What is sealed goes under this one.
    pub epoch: u64,
}

impl<'s> DirectorySealer<'s> {
    /// One that only opens.
    pub fn opening(services: &'s Services) -> Self {
        Self { services, epoch: 0 }
    }

    fn context(&self, epoch: u64, seq: u64) -> Context {
        let keys = &self.services.keys;
        let fields = [Value::Bytes(&keys.workspace().0), Value::Uint(epoch), Value::Uint(seq)];
        Context::new(Usage::DirectoryRecord, &keys.organisation().0, &fields)
    }
}

impl Sealer for DirectorySealer<'_> {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn seal(&self, seq: u64, plain: &[u8]) -> strongroom_audit::Result<Vec<u8>> {
        let key = self.services.keys.epoch_key(self.epoch).ok_or_else(shut)?;
        Ok(seal::seal(key, &self.context(self.epoch, seq), self.services.entropy.array(), plain))
    }

    fn open(&self, header: &Header, sealed: &[u8]) -> strongroom_audit::Result<Vec<u8>> {
        let key = self.services.keys.epoch_key(header.epoch).ok_or_else(shut)?;
        let plain = seal::open(key, &self.context(header.epoch, header.seq), sealed);
        plain.map(|plain| plain.into_vec()).map_err(|_| shut())
    }
}

fn shut() -> strongroom_audit::Error {
    strongroom_audit::Error::new(
        strongroom_audit::ErrorKind::Corrupt,
        "the body of a register record cannot be opened",
    )
}

/// Signs as the device, and heads with the register's key.
pub(crate) struct DeviceSigner<'s> {
    pub keys: &'s DeviceKeys,
    pub stand: Stand,
    pub head: Option<&'s HeadKey>,
}

impl Signer for DeviceSigner<'_> {
    fn device(&self) -> DeviceId {
        self.keys.device_id()
    }

    fn stand(&self) -> Stand {
        self.stand
    }

    fn sign_record(&self, header: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.keys.signing().sign(Usage::SignRegisterRecord, header)
    }

    fn sign_head(&self, note: &str) -> Vec<u8> {
        self.head.map(|key| key.sign_note(note).to_vec()).unwrap_or_default()
    }
}
