//! Policy sets: read, approved by devices, put in force.

use std::sync::Arc;

use strongroom_authorizer::DecisionPoint;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_records::application::{Approvable, Approval, PolicySet};
use strongroom_records::ids::{ApplicationId, Hash};
use strongroom_records::log::Kind;
use strongroom_records::register::CellKind;

use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::register::{SINGLE, Transaction};
use crate::services::Services;

/// A language of policies. Implemented by `policy/cedar`.
pub trait PolicyLanguage: Send + Sync {
    /// The policies in force where nobody loaded others.
    fn built_in(&self) -> &str;

    /// Reads and strictly validates a set.
    ///
    /// # Errors
    /// `Invalid`, saying where.
    fn read(&self, text: &str) -> Result<Arc<dyn DecisionPoint>>;
}

/// LIMIT: bytes of a policy set.
const TEXT_LEN_MAX: usize = 1 << 20;

impl Custodian {
    /// Validates a policy set and puts it in force, signed by this device. `others` are approvals of further devices.
    ///
    /// # Errors
    /// `Invalid` when it does not validate; `Denied` when fewer devices stand behind it than the application demands.
    pub fn load_policies(&mut self, text: &str, others: &[Approval]) -> Result<Hash> {
        if text.len() > TEXT_LEN_MAX {
            return Err(Error::invalid("a policy set is larger than 1 MiB"));
        }
        let digest = self.services().language.read(text)?.digest();
        let version = self.policy_set()?.map_or(0, |set| set.version) + 1;
        let application = self.register().application();
        let mut approvals = vec![approve(self.services(), application, version, digest)];
        approvals.extend(others.iter().cloned());
        let set = PolicySet { version, text: text.to_owned(), digest, approvals };
        self.check_approvals(&set)?;
        let mut transaction = Transaction::new(self.register());
        transaction.cell(CellKind::PolicySet, &SINGLE, &cbor::encode(&set));
        transaction.entry(Kind::Policy, |entry| entry.object = Some(digest));
        self.register_mut().commit(transaction)?;
        Ok(digest)
    }

    /// What this device signs to approve a set that another device will load.
    ///
    /// # Errors
    /// `Invalid` when the set does not validate.
    pub fn approve_policies(&self, text: &str) -> Result<Approval> {
        let digest = self.services().language.read(text)?.digest();
        let version = self.policy_set()?.map_or(0, |set| set.version) + 1;
        Ok(approve(self.services(), self.register().application(), version, digest))
    }

    /// The set in force, its signatures verified; none for the built-in one.
    ///
    /// # Errors
    /// `Corrupt` when the signatures do not hold.
    pub fn policy_set(&self) -> Result<Option<PolicySet>> {
        let Some(bytes) = self.register().cell(CellKind::PolicySet, &SINGLE)? else {
            return Ok(None);
        };
        let set: PolicySet = cbor::decode_canonical(&bytes)?;
        self.check_approvals(&set)?;
        Ok(Some(set))
    }

    pub(crate) fn point(&self) -> Result<Arc<dyn DecisionPoint>> {
        let set = self.policy_set()?;
        let point = self.read_set(set.as_ref().map(|set| set.text.as_str()))?;
        match set {
            Some(set) if set.digest != point.digest() => {
                Err(Error::corrupt("the policy set is not the one that was approved"))
            }
            _ => Ok(point),
        }
    }

    fn check_approvals(&self, set: &PolicySet) -> Result<()> {
        let needed = usize::from(self.description()?.approvals.max(1));
        let application = self.register().application();
        let (version, digest) = (set.version, set.digest);
        let record = cbor::encode(&Approvable { application, version, digest });
        let mut devices: Vec<_> = Vec::new();
        for approval in &set.approvals {
            let key = self.services().organisation.former_or_present(&approval.device);
            let holds = key.is_some_and(|key| {
                key.verify(Usage::SignPolicySet, &record, &approval.signature).is_ok()
            });
            if !holds {
                return Err(Error::corrupt("the signature under a policy set does not hold"));
            }
            devices.push(approval.device);
        }
        devices.sort();
        devices.dedup();
        if devices.len() >= needed {
            Ok(())
        } else {
            Err(Error::new(
                crate::ErrorKind::Denied,
                format!("the policy set needs the approval of {needed} devices"),
            ))
        }
    }
}

fn approve(
    services: &Services,
    application: ApplicationId,
    version: u64,
    digest: Hash,
) -> Approval {
    let record = cbor::encode(&Approvable { application, version, digest });
    Approval {
        device: services.keys.device_id(),
        signature: services.keys.signing().sign(Usage::SignPolicySet, &record),
    }
}
