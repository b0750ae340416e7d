//! Whose records count, by where they say that they stood in the organisation's log.

use strongroom_crypto::sign::VerifyingKey;
use strongroom_crypto::usage::Usage;
use strongroom_format::ids::DeviceId;
use strongroom_records::ids::ApplicationId;
use strongroom_records::log::{Header, KeyInForce, Record, Stand};

use crate::error::{Error, Result};

/// Whose signatures count, by the organisation's log.
pub trait Trust {
    /// What signs for a device where it stood; none if it did not count there, or nobody can have stood there. Reads on in the
    /// organisation's log if the position is not known yet.
    ///
    /// # Errors
    /// Those of reading on.
    fn author(&self, device: &DeviceId, stand: &Stand) -> Result<Option<Author>>;
    /// The newest position known at which a device was removed.
    fn last_removal(&self) -> Option<u64>;
    /// Where a device was removed, if it is known to be.
    fn removed_at(&self, device: &DeviceId) -> Option<u64>;
}

/// A device that counts, where it stood.
pub struct Author {
    /// What it signs with.
    pub key: VerifyingKey,
    /// The epoch that seals what is the workspace's there.
    pub epoch: u64,
}

/// Checks a record's signature, by a device that counted where it says it stood, and the epoch of there.
pub(crate) fn verify_record(record: &Record<'_>, trust: &dyn Trust) -> Result<()> {
    let unknown = || Error::corrupt("a register record is signed by a device that did not count");
    let header = &record.header;
    let author = trust.author(&header.device, &header.stand)?.ok_or_else(unknown)?;
    let is_list = header.application == ApplicationId::DIRECTORY;
    if header.epoch != if is_list { author.epoch } else { 0 } {
        return Err(Error::corrupt("a register record is sealed under another epoch"));
    }
    Ok(record.signed.verify(Usage::SignRegisterRecord, &author.key)?)
}

/// Whether a record may stand behind another: positions and generations of the register key never fall, and a closing record
/// changes nothing but rises. Numbers and hashes are compared by those who have them.
pub(crate) fn follows(before: Option<&Header>, header: &Header) -> bool {
    let Some(before) = before else { return !header.is_closing() && header.key.is_none() };
    if !header.is_closing() {
        return header.stand.position >= before.stand.position
            && KeyInForce::follows(header.key, before.key, header.seq);
    }
    header.stand.position > before.stand.position
        && header.tree_size == before.tree_size
        && header.tree_root == before.tree_root
        && header.head_signature == before.head_signature
        && header.keystore == before.keystore
        && header.key == before.key
}
