//! Records of the organisation log as a device writes them: the first epoch, a new epoch, a device in, a device out.
//!
//! Each is made on top of the log as it is known here and is good for the next position only: whoever loses the race
//! for it reads on and makes another.

use strongroom_crypto::secret::{EpochKey, HistoryKey};
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::ids::{CompartmentId, DeviceId};
use strongroom_format::organisation::{
    Act, Certificate, DEVICE_COUNT_MAX, Naming, Recipient, Record, Rotation, Share, build,
};
use strongroom_format::request::Request;
use strongroom_format::workspace::SUITE;
use strongroom_host::entropy::Entropy;

use crate::device::DeviceKeys;
use crate::enrolment::Applicant;
use crate::error::{Error, Result};
use crate::organisation::{Device, Organisation};
use crate::shares::{Pair, Place, Way, is_name};

pub(crate) const NO_NAME: Error =
    Error::invalid("a device's name has 1 to 64 bytes, no `/` and no control characters");

/// A device that writes a record: its keys, the log as it knows it, its clock, and chance.
pub struct Writer<'a> {
    /// The device's keys, which have learned all that the log gives them.
    pub keys: &'a DeviceKeys,
    /// The log.
    pub organisation: &'a Organisation,
    /// The device's clock, nanoseconds since 1970.
    pub time_ns: i64,
    /// Chance.
    pub entropy: &'a dyn Entropy,
}

impl Writer<'_> {
    /// The record that founds the workspace of an organisation of one device, which is called `name`.
    pub(crate) fn found(&self, name: &str) -> Result<Vec<u8>> {
        let names = |_: &Device| Ok(name.to_owned());
        let rotation = self.rotation(None, names)?;
        Ok(self.sign(Act::Rotate { rotation }))
    }

    /// A record with a new epoch, for all devices that count.
    ///
    /// # Errors
    /// `Corrupt` when a key of the log cannot be used.
    pub fn rotate(&self) -> Result<Vec<u8>> {
        let rotation = self.rotation(None, |device| Ok(self.name(device)))?;
        Ok(self.sign(Act::Rotate { rotation }))
    }

    /// A record that takes a device in, as one of this device's member.
    ///
    /// # Errors
    /// `Invalid` for a name that is none or taken, an applicant of another organisation or workspace, one that is known
    /// already, or one too many.
    ///
    /// # Security
    /// Only after people have compared the applicant's code.
    pub fn admit(&self, applicant: &Applicant, name: &str) -> Result<Vec<u8>> {
        let request = self.check_applicant(applicant, name)?;
        let (epoch, _) = self.keys.current_epoch();
        let kem = applicant.kem();
        let recipient = self.recipient(&self.pair(epoch)?, epoch, (request.device, kem), name)?;
        let certificate = self.certificate(request)?;
        let (workspace, compartment) = (self.keys.workspace(), CompartmentId::ORDINARY);
        let share = Share { workspace, compartment, epoch, recipient };
        Ok(self.sign(Act::AddDevice { certificate, share }))
    }

    /// A record that takes in a device which works for a consumer of personal data: it gets no key of the workspace.
    ///
    /// # Errors
    /// As [`Writer::admit`].
    ///
    /// # Security
    /// As [`Writer::admit`].
    pub fn admit_consumer(
        &self,
        applicant: &Applicant,
        name: &str,
        consumer: &str,
    ) -> Result<Vec<u8>> {
        let request = self.check_applicant(applicant, name)?;
        if !is_name(consumer) {
            return Err(NO_NAME);
        }
        let (epoch, key) = self.keys.current_epoch();
        let (place, device) = (self.place(epoch), request.device);
        let naming = Naming {
            epoch,
            name: place.seal_name(key, (&device, name), self.keys, self.entropy),
            consumer: place.seal_consumer(key, (&device, consumer), self.keys, self.entropy),
        };
        let certificate = self.certificate(request)?;
        Ok(self.sign(Act::AddConsumer { certificate, naming }))
    }

    fn check_applicant<'r>(&self, applicant: &'r Applicant, name: &str) -> Result<&'r Request> {
        if !is_name(name) {
            return Err(NO_NAME);
        }
        if self.organisation.live().any(|device| self.name(device) == name) {
            return Err(Error::invalid("another device has that name"));
        }
        if self.organisation.live().count() >= DEVICE_COUNT_MAX {
            return Err(Error::invalid("there are as many devices as there can be"));
        }
        let request = applicant.request();
        let asked = (request.organisation, request.workspace);
        if asked != (self.keys.organisation(), self.keys.workspace()) {
            return Err(Error::invalid("the request is for another workspace"));
        }
        if self.organisation.find(&request.device).is_some() {
            return Err(Error::invalid("the device is known already"));
        }
        Ok(request)
    }

    fn certificate(&self, request: &Request) -> Result<Certificate> {
        Ok(Certificate {
            device: request.device,
            member: self.own()?.member(),
            signing_key: request.signing_key,
            kem_key: request.kem_key,
        })
    }

    /// A record that takes a device out and begins an epoch that it has no key of.
    ///
    /// # Errors
    /// `Invalid` for a device that does not count, or this one.
    pub fn revoke(&self, device: &DeviceId) -> Result<Vec<u8>> {
        if *device == self.keys.device_id() {
            return Err(Error::invalid("a device does not remove itself: use another one"));
        }
        let found = self.organisation.live().find(|found| found.id() == *device);
        if found.is_none() {
            return Err(Error::invalid("there is no such device"));
        }
        let rotation = self.rotation(Some(device), |device| Ok(self.name(device)))?;
        Ok(self.sign(Act::RevokeDevice { device: *device, rotation }))
    }

    fn rotation(
        &self,
        gone: Option<&DeviceId>,
        name: impl Fn(&Device) -> Result<String>,
    ) -> Result<Rotation> {
        let newest = self.organisation.epochs().last().map(|epoch| epoch.number);
        let epoch = newest.unwrap_or(0) + 1;
        let (place, pair) = (self.place(epoch), Pair::generate(self.entropy));
        let back_link = match newest {
            Some(newest) => Some(pair.link(&place, &self.pair(newest)?, self.keys, self.entropy)),
            None => None,
        };
        let stay = self.organisation.holders().filter(|device| Some(&device.id()) != gone);
        let mut recipients = stay
            .map(|device| self.recipient(&pair, epoch, (device.id(), device.kem()), &name(device)?))
            .collect::<Result<Vec<_>>>()?;
        recipients.sort_unstable_by_key(|recipient| recipient.device);
        let [key_commitment, history_commitment] = pair.commitments(&place);
        Ok(Rotation {
            workspace: self.keys.workspace(),
            compartment: CompartmentId::ORDINARY,
            epoch,
            key_commitment,
            history_commitment,
            recipients,
            back_link,
        })
    }

    fn recipient(
        &self,
        pair: &Pair,
        epoch: u64,
        (device, kem): (DeviceId, &strongroom_crypto::kem::KemPublicKey),
        name: &str,
    ) -> Result<Recipient> {
        let place = self.place(epoch);
        let way = Way {
            recipient: device,
            kem,
            sharer: self.keys.device_id(),
            position: self.organisation.position() + 1,
        };
        let wrap = pair.wrap(&place, &way, self.entropy)?;
        let name = place.seal_name(&pair.key, (&device, name), self.keys, self.entropy);
        Ok(Recipient { device, wrap, name })
    }

    fn pair(&self, epoch: u64) -> Result<Pair> {
        let missing = Error::corrupt("the keys of the present epoch are missing");
        let key = self.keys.epoch_key(epoch).ok_or(missing.clone())?;
        let history = self.keys.history_key(&CompartmentId::ORDINARY, epoch).ok_or(missing)?;
        Ok(Pair {
            key: EpochKey::from_bytes(key.expose()),
            history: HistoryKey::from_bytes(history.expose()),
        })
    }

    /// A name that cannot be read any more is made anew.
    fn name(&self, device: &Device) -> String {
        let read = self.organisation.name(&device.id(), self.keys);
        read.unwrap_or_else(|| device.id().to_string()[..8].to_owned())
    }

    fn own(&self) -> Result<&Device> {
        let own = self.organisation.find(&self.keys.device_id());
        own.ok_or(Error::denied("this device was not taken in yet"))
    }

    fn place(&self, epoch: u64) -> Place {
        let (organisation, workspace) = (self.keys.organisation(), self.keys.workspace());
        Place { organisation, workspace, epoch }
    }

    fn sign(&self, act: Act) -> Vec<u8> {
        let record = cbor::encode(&Record {
            suite: SUITE,
            organisation: self.keys.organisation(),
            seq: self.organisation.position() + 1,
            parent: self.organisation.head(),
            author: self.keys.device_id(),
            act,
            time: self.time_ns,
        });
        let signature = self.keys.signing().sign(Usage::SignOrganisationRecord, &record);
        build(&record, &signature)
    }
}
