//! Policy sets: read, proposed, approved by devices, put in force; every one that ever was is kept.
//!
//! ```text
//! propose ─▶ signed by this device ─▶ enough devices?  yes ─▶ in force, archived under its version
//!                                                      no ──▶ waits; another device activates it by its signature
//! ```
//!
//! One set waits at a time: a new proposal takes the place of the one before, under a number of its own. A set is approved by
//! number and digest: who approves it has read that one and no other.

use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::Trust as _;
use strongroom_authorizer::DecisionPoint;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::application::{Approvable, Approval, Description, PolicySet};
use strongroom_records::ids::Hash;
use strongroom_records::log::{Kind, Stand};
use strongroom_records::register::CellKind;

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::register::{SINGLE, Transaction};

/// A language of policies. Implemented by `policy/cedar`.
pub trait PolicyLanguage: Send + Sync {
    /// The policies in force where nobody loaded others.
    fn built_in(&self) -> &str;

    /// Reads and strictly validates a set.
    ///
    /// # Errors
    /// `Invalid`, saying where.
    fn read(&self, text: &str) -> Result<Arc<dyn DecisionPoint>>;

    /// Asks a decision point at a place as well, and allows what both allow. Its answers count for `longest` at most.
    ///
    /// # Errors
    /// `Invalid` for what is no such place; `Unsupported` where none can be asked.
    fn beside(
        &self,
        own: Arc<dyn DecisionPoint>,
        place: &str,
        longest: Duration,
    ) -> Result<Arc<dyn DecisionPoint>> {
        let _ = (own, place, longest);
        Err(Error::new(ErrorKind::Unsupported, "no decision point can be asked here"))
    }
}

/// How a set stands that somebody proposed or approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Version.
    pub version: u64,
    /// Digest.
    pub digest: Hash,
    /// Devices that have to approve it before it is in force; 0 when it is.
    pub missing: usize,
}

/// LIMIT: bytes of a policy set.
const TEXT_LEN_MAX: usize = 1 << 20;
/// Id of the cell of the set that waits for approvals. Those in force before have their version as id.
const PROPOSED: [u8; 16] = [0xff; 16];

impl Custodian {
    /// Validates a policy set and signs it as this device. In force at once where one device is enough; else it waits for
    /// [`Custodian::activate_policies`] by others.
    ///
    /// # Errors
    /// `Invalid` when it does not validate.
    pub fn propose_policies(&mut self, text: &str) -> Result<Standing> {
        if text.len() > TEXT_LEN_MAX {
            return Err(Error::invalid("a policy set is larger than 1 MiB"));
        }
        let digest = self.services().language.read(text)?.digest();
        let previous = self.policy_set()?.map_or(0, |set| set.version);
        let waits = self.stored_set(&PROPOSED)?.map_or(0, |set| set.version);
        // Also above one that was never in force: a number means one text.
        let version = previous.max(waits) + 1;
        let approvals = vec![self.approval(version, digest)?];
        let time = self.services().clock.now_ns();
        let text = text.to_owned();
        self.put_policies(PolicySet { version, text, digest, approvals, time, previous })
    }

    /// Approves the set that waits, as this device, if it is that version with that digest. In force once enough devices have.
    ///
    /// # Errors
    /// `NotFound` when another one or none waits; `Denied` when this device stands behind it already.
    ///
    /// # Security
    /// Only with the digest of what a person has read: another set may have taken its place since.
    pub fn activate_policies(&mut self, version: u64, digest: &Hash) -> Result<Standing> {
        let set = self.proposed_policies()?;
        let set = set.filter(|set| set.version == version && set.digest == *digest);
        let none =
            || Error::new(ErrorKind::NotFound, "no policy set of that version and digest waits");
        let mut set = set.ok_or_else(none)?;
        let approval = self.approval(set.version, set.digest)?;
        if set.approvals.iter().any(|other| other.device == approval.device) {
            let message = "a policy set is approved by another device than proposed it";
            return Err(Error::new(ErrorKind::Denied, message));
        }
        // It is read again: what is in force was validated by whoever put it there.
        if self.services().language.read(&set.text)?.digest() != set.digest {
            return Err(Error::corrupt("the policy set is not the one that was approved"));
        }
        set.approvals.push(approval);
        set.time = self.services().clock.now_ns();
        self.put_policies(set)
    }

    /// The set in force, its signatures verified; none for the built-in one.
    ///
    /// # Errors
    /// `Corrupt` when the signatures do not hold.
    pub fn policy_set(&self) -> Result<Option<PolicySet>> {
        let Some(set) = self.stored_set(&SINGLE)? else { return Ok(None) };
        let behind = self.verify_approvals(&set)?.len();
        match self.approvals_needed()?.saturating_sub(behind) {
            0 => Ok(Some(set)),
            missing => {
                let message =
                    format!("the policy set needs the approval of {missing} more devices");
                Err(Error::new(ErrorKind::Denied, message))
            }
        }
    }

    /// The set that waits for approvals, its signatures verified.
    ///
    /// # Errors
    /// As [`Custodian::policy_set`].
    pub fn proposed_policies(&self) -> Result<Option<PolicySet>> {
        let Some(set) = self.stored_set(&PROPOSED)? else { return Ok(None) };
        self.verify_approvals(&set)?;
        let in_force = self.policy_set()?.map_or(0, |set| set.version);
        Ok((set.version > in_force).then_some(set))
    }

    /// Every set that ever was in force, oldest first, without the built-in one.
    ///
    /// # Errors
    /// As [`Custodian::policy_set`].
    pub fn policy_history(&self) -> Result<Vec<PolicySet>> {
        let mut history: Vec<PolicySet> = self.policy_set()?.into_iter().collect();
        while let Some(before) = history.last().map(|set| set.previous).filter(|set| *set > 0) {
            let set = self.stored_set(&archived(before))?;
            // Numbers fall, so this ends.
            let set = set.filter(|set| set.version == before && set.previous < before);
            let set = set.ok_or_else(|| Error::corrupt("a policy set of before is missing"))?;
            self.verify_approvals(&set)?;
            history.push(set);
        }
        history.reverse();
        Ok(history)
    }

    /// What decided by the set of a digest: the built-in one, or one that was in force.
    ///
    /// # Errors
    /// `NotFound` when no set of that digest ever was in force here.
    pub(crate) fn point_of(&self, digest: &Hash) -> Result<Arc<dyn DecisionPoint>> {
        let built_in = self.services().point(None)?;
        if built_in.digest() == *digest {
            return Ok(built_in);
        }
        let set = self.policy_history()?.into_iter().find(|set| set.digest == *digest);
        let unknown = || Error::new(ErrorKind::NotFound, "no policy set of that digest is kept");
        self.services().language.read(&set.ok_or_else(unknown)?.text)
    }

    /// Has a decision point of somebody else's asked as well, or no longer. It narrows what our own policies allow.
    ///
    /// # Errors
    /// `Invalid` for what is no such place.
    pub fn set_point(&mut self, place: Option<&str>) -> Result<()> {
        let description = Description { point: place.map(str::to_owned), ..self.description()? };
        let own = self.services().point(None)?;
        if let Some(place) = place {
            self.services().language.beside(own, place, Duration::ZERO)?;
        }
        self.describe(&description)
    }

    pub(crate) fn point(&self) -> Result<Arc<dyn DecisionPoint>> {
        let set = self.policy_set()?;
        let text = set.as_ref().map(|set| set.text.as_str());
        let point = self.read_set(text, &self.description()?)?;
        match set {
            Some(set) if set.digest != point.digest() => {
                Err(Error::corrupt("the policy set is not the one that was approved"))
            }
            _ => Ok(point),
        }
    }

    fn put_policies(&mut self, set: PolicySet) -> Result<Standing> {
        let missing = self.missing_approvals(&set)?;
        let bytes = cbor::encode(&set);
        let mut transaction = Transaction::new(self.register());
        match missing {
            0 => {
                transaction.cell(CellKind::PolicySet, &SINGLE, &bytes);
                transaction.cell(CellKind::PolicySet, &archived(set.version), &bytes);
            }
            _ => transaction.cell(CellKind::PolicySet, &PROPOSED, &bytes),
        }
        transaction.entry(Kind::Policy, |entry| entry.object = Some(set.digest));
        self.register_mut().commit(transaction)?;
        Ok(Standing { version: set.version, digest: set.digest, missing })
    }

    fn stored_set(&self, id: &[u8; 16]) -> Result<Option<PolicySet>> {
        let bytes = self.register().cell(CellKind::PolicySet, id)?;
        Ok(bytes.map(|bytes| cbor::decode_canonical(&bytes)).transpose()?)
    }

    /// How many devices have yet to approve a set that is not in force. What stands under it must hold, and who was removed
    /// meanwhile does not count.
    fn missing_approvals(&self, set: &PolicySet) -> Result<usize> {
        let behind = self.verify_approvals(set)?;
        let behind = behind.iter().filter(|device| self.counts(device)).count();
        Ok(self.approvals_needed()?.saturating_sub(behind))
    }

    /// How many different devices must stand behind something.
    pub(crate) fn approvals_needed(&self) -> Result<usize> {
        Ok(usize::from(self.description()?.approvals.max(1)))
    }

    /// Whether a device is in, and no consumer's.
    pub(crate) fn counts(&self, device: &DeviceId) -> bool {
        self.services().organisation.now().device(device).is_some()
    }

    /// Devices behind a set: each counted where it stood when it signed.
    fn verify_approvals(&self, set: &PolicySet) -> Result<Vec<DeviceId>> {
        let mut devices = Vec::new();
        for approval in &set.approvals {
            let record = self.approvable(set.version, set.digest, approval.stand);
            let author = self.services().author(&approval.device, &approval.stand)?;
            let holds = author.is_some_and(|author| {
                author.key.verify(Usage::SignPolicySet, &record, &approval.signature).is_ok()
            });
            if !holds {
                return Err(Error::corrupt("the signature under a policy set does not hold"));
            }
            devices.push(approval.device);
        }
        devices.sort();
        devices.dedup();
        Ok(devices)
    }

    fn approval(&self, version: u64, digest: Hash) -> Result<Approval> {
        let keys = &self.services().keys;
        let (stand, _) = self.services().organisation.stand(&keys.device_id())?;
        let record = self.approvable(version, digest, stand);
        let signature = keys.signing().sign(Usage::SignPolicySet, &record);
        Ok(Approval { device: keys.device_id(), signature, stand })
    }

    fn approvable(&self, version: u64, digest: Hash, stand: Stand) -> Vec<u8> {
        let application = self.register().application();
        cbor::encode(&Approvable { application, version, digest, stand })
    }
}

fn archived(version: u64) -> [u8; 16] {
    u128::from(version).to_be_bytes()
}
