//! The workspace's list of applications.

use std::sync::Arc;

use strongroom_audit::shelves::Shelves;
use strongroom_audit::verify::verify;
use strongroom_audit::{Batch, Draft, Log, Trust as _};
use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::HeadKey;
use strongroom_custody::{Custody, KeyPlace};
use strongroom_format::cbor;
use strongroom_records::application::{ApplicationState, Description, Listed, NAME_LEN_MAX};
use strongroom_records::ids::{ApplicationId, KeyId};
use strongroom_records::log::Kind;
use zeroize::Zeroize;

use crate::closing::{close, see};
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Begun, Replayed};
use crate::register::{Register, blank};
use crate::sealers::{DeviceSigner, DirectorySealer};
use crate::services::Services;

/// An application key that cannot be used before others agree.
pub struct NeededKey {
    pub(crate) custody: Arc<dyn Custody>,
    pub(crate) place: KeyPlace,
}

impl NeededKey {
    /// Asks them, and waits: for minutes, perhaps. Whoever calls it keeps nobody out meanwhile, and finds out afterwards
    /// what others have recorded; that may have been another key.
    ///
    /// # Errors
    /// `Unavailable` when too few agree; `Locked` when it is not in custody, or no longer; `Denied`.
    pub fn obtain(&self) -> Result<()> {
        Ok(self.custody.obtain(&self.place)?)
    }

    /// Which.
    pub fn id(&self) -> KeyId {
        self.place.key
    }
}

/// The applications of a workspace.
pub struct Stewardship {
    services: Services,
    log: Log,
    listed: Vec<Listed>,
}

impl Stewardship {
    /// Reads the list. Where a device was removed since anybody wrote to it, all logs are closed first, as far as this device
    /// may: whoever removed it may have died over that.
    ///
    /// # Errors
    /// `Forked` when it is older than this device has seen; `Corrupt`.
    pub fn open(services: Services) -> Result<Self> {
        let read = Self::read(services)?;
        match (read.log.head(), read.services.last_removal()) {
            (Some(head), Some(removal)) if removal > head.stand.position => {
                // What cannot be closed says so where it is opened.
                close(&read.services, &read.services, &read.listed);
                Self::read(read.services)
            }
            _ => Ok(read),
        }
    }

    /// Reads the list, and closes nothing.
    pub(crate) fn read(services: Services) -> Result<Self> {
        let store = Arc::clone(&services.store);
        let shelves = Shelves::new(store, services.wait, ApplicationId::DIRECTORY);
        let pin = services.memory.recall(&ApplicationId::DIRECTORY)?;
        let log = Log::find(shelves, &services, pin.as_ref())?;
        let sealer = DirectorySealer::opening(&services);
        log.settle(&sealer, log.newest_change()?.unwrap_or(0))?;
        // The list is short, so all of it is verified each time, and its tiles are made good.
        let report = verify(&log, &services, &sealer, None, &mut ())?;
        if !report.findings.is_empty() {
            return Err(Error::corrupt("the list of applications is damaged or forged"));
        }
        let mut listed: Vec<Listed> = Vec::new();
        for seq in 0..log.next_seq() {
            let (header, body) = log.body(&sealer, seq)?;
            if !header.is_closing() {
                list(&mut listed, cbor::decode_canonical(&body.payload)?);
            }
        }
        let stewardship = Self { services, log, listed };
        stewardship.remember(pin)?;
        Ok(stewardship)
    }

    /// Applications, in the order they were made.
    pub fn applications(&self) -> &[Listed] {
        &self.listed
    }

    /// Application of a name or id.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn find(&self, name: &str) -> Result<&Listed> {
        let is_it = |line: &&Listed| line.name == name || line.application.to_string() == name;
        // A name that a crash left half made may have been given again: the finished one is meant.
        let is_done = |line: &&Listed| line.state != ApplicationState::Making;
        let mut all = self.listed.iter().filter(is_it);
        let found = all.clone().find(is_done).or_else(|| all.next());
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such application"))
    }

    /// Finds the newest record of every register, as far as it can be read: what is there counts as seen by this device.
    pub fn see_registers(&self) {
        for line in &self.listed {
            // What is wrong with one is said to whoever opens it.
            let _ = see(&self.services, line.application);
        }
    }

    /// Makes an application: its key in custody, its keystore and its register.
    ///
    /// # Errors
    /// `Exists` when the name is taken; `Invalid` when it is none; those of custody.
    pub fn create(
        &mut self,
        name: &str,
        locator: &str,
        custody: Arc<dyn Custody>,
        approvals: u16,
    ) -> Result<Custodian> {
        check_name(name)?;
        if self.listed.iter().any(|l| l.name == name && l.state != ApplicationState::Making) {
            return Err(Error::new(ErrorKind::Exists, "there is an application of that name"));
        }
        let entropy = &self.services.entropy;
        let application = ApplicationId(entropy.array());
        let mut seed: [u8; 32] = entropy.array();
        let head_key = HeadKey::from_seed(Secret::from_bytes(&seed));
        let mut line = Listed {
            application,
            name: name.to_owned(),
            custody: locator.to_owned(),
            state: ApplicationState::Making,
            created: self.services.clock.now_ns(),
            head_key: *head_key.verifying_key().as_bytes(),
        };
        // ORDER: listed as being made first: what a crash leaves behind has an owner, and the name is free again.
        self.write(Kind::ApplicationCreated, line.clone())?;
        let description = Description {
            classes: Vec::new(),
            schema: String::new(),
            approvals,
            leases: Vec::new(),
            rotation: None,
            retention: Vec::new(),
            ledger: None,
            point: None,
            idle: None,
        };
        let description = cbor::encode(&description);
        let founded =
            Register::found(&self.services, application, custody, &mut seed, &description);
        seed.zeroize();
        let register = founded?;
        line.state = ApplicationState::Active;
        self.write(Kind::ApplicationState, line.clone())?;
        Ok(Custodian::new(register, line))
    }

    /// Opens an application. Where its ledger of erasures names somebody who is here all the same, they are erased again before
    /// this returns.
    ///
    /// # Errors
    /// `NotFound`; `Locked` when its key is not in that custody; `Unavailable` when its ledger is not to be read.
    pub fn application(&self, name: &str, custody: Arc<dyn Custody>) -> Result<Custodian> {
        self.opened_where(Begun::Ends, name, custody)
    }

    /// The same for whoever is to place a hold, which comes before an erasure that was interrupted: that is left as it is.
    ///
    /// # Errors
    /// As [`Stewardship::application`].
    pub fn application_to_hold(&self, name: &str, custody: Arc<dyn Custody>) -> Result<Custodian> {
        self.opened_where(Begun::Stays, name, custody)
    }

    fn opened_where(
        &self,
        begun: Begun,
        name: &str,
        custody: Arc<dyn Custody>,
    ) -> Result<Custodian> {
        let mut custodian = self.before_ledger(name, custody)?;
        custodian.replay_own_ledger(begun)?;
        custodian.sweep_if_possible();
        Ok(custodian)
    }

    /// The same, after [`Custodian::replay`]: what a person agrees to, who has looked at it, needs no device that counts.
    ///
    /// # Errors
    /// As [`Stewardship::application`], and as [`Custodian::replay`].
    pub fn application_told(
        &self,
        name: &str,
        custody: Arc<dyn Custody>,
        receipts: &[u8],
    ) -> Result<(Custodian, Replayed)> {
        let mut custodian = self.before_ledger(name, custody)?;
        let mut replayed = custodian.replay(receipts)?;
        let own = custodian.replay_own_ledger(Begun::Ends)?;
        replayed.erased.extend(own.erased);
        replayed.merged.extend(own.merged);
        replayed.apart.extend(own.apart);
        replayed.answered.extend(own.answered);
        custodian.sweep_if_possible();
        Ok((custodian, replayed))
    }

    /// Opens an application whose ledger is lost for good, and keeps none from here on.
    ///
    /// # Errors
    /// As [`Stewardship::application`]; `Invalid` when none is kept, or when it is there.
    ///
    /// # Security
    /// Where this is an older copy, whoever was erased since is back, and what was said since is unsaid.
    pub fn application_without_ledger(
        &self,
        name: &str,
        custody: Arc<dyn Custody>,
    ) -> Result<Custodian> {
        let mut custodian = self.before_ledger(name, custody)?;
        custodian.give_up_ledger()?;
        custodian.sweep_if_possible();
        Ok(custodian)
    }

    fn before_ledger(&self, name: &str, custody: Arc<dyn Custody>) -> Result<Custodian> {
        let line = self.find(name)?.clone();
        if line.state == ApplicationState::Making {
            return Err(Error::invalid("the application was never finished: create it again"));
        }
        let register = Register::open(&self.services, line.application, custody)?;
        if *register.head_key().verifying_key().as_bytes() != line.head_key {
            return Err(Error::corrupt("the register has another head key than is listed"));
        }
        Ok(Custodian::new(register, line))
    }

    /// The application key that is in force, if it has to be obtained from a custody before it is of use. Nobody need be kept out
    /// to find that out, and whoever obtains it keeps nobody out.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`; those of the store.
    pub fn needed_key(&self, name: &str, custody: &Arc<dyn Custody>) -> Result<Option<NeededKey>> {
        let application = self.find(name)?.application;
        let shelves =
            Shelves::new(Arc::clone(&self.services.store), self.services.wait, application);
        let pin = self.services.memory.recall(&application)?;
        let log = Log::find(shelves, &self.services, pin.as_ref())?;
        let root = log.head().and_then(|head| head.keystore.clone());
        let root = root.ok_or_else(|| Error::corrupt("the register has no keystore"))?;
        let organisation = self.services.keys.organisation();
        let (generation, key) = (root.generation, root.key);
        let place = KeyPlace { organisation, application, generation, key };
        let needed = || NeededKey { custody: Arc::clone(custody), place };
        Ok((!custody.is_at_hand(&place)).then(needed))
    }

    /// Disables an application, or enables it again. Nothing is released while it is disabled.
    ///
    /// # Errors
    /// `NotFound`; those of the store.
    pub fn set_state(&mut self, name: &str, state: ApplicationState) -> Result<()> {
        let line = Listed { state, ..self.find(name)?.clone() };
        self.write(Kind::ApplicationState, line)
    }

    /// Writes down where an application's key is kept from now on. Whoever asks for that has opened it from there.
    ///
    /// # Errors
    /// `NotFound`; those of the store.
    pub fn set_custody(&mut self, name: &str, locator: &str) -> Result<()> {
        let line = Listed { custody: locator.to_owned(), ..self.find(name)?.clone() };
        self.write(Kind::ApplicationState, line)
    }

    /// Goes one record on; false when there is none.
    pub(crate) fn follow_one(&mut self) -> Result<bool> {
        let sealer = DirectorySealer::opening(&self.services);
        let Some((header, body)) = self.log.advance(&self.services, &sealer)? else {
            return Ok(false);
        };
        if header.is_closing() {
            return Ok(true);
        }
        let line = cbor::decode_canonical::<Listed>(&body.payload);
        // What is not understood is not skipped: nothing is listed any more.
        let line = line.inspect_err(|_| self.listed.clear())?;
        list(&mut self.listed, line);
        Ok(true)
    }

    fn write(&mut self, kind: Kind, line: Listed) -> Result<()> {
        let now = self.services.clock.now_ns();
        let drafts = vec![Draft { entry: blank(kind), detail: Vec::new(), decision: None }];
        let batch = Batch { now, keystore: None, key: None, drafts, payload: cbor::encode(&line) };
        let Services { keys, organisation, .. } = &self.services;
        let (stand, epoch) = organisation.stand(&keys.device_id())?;
        let signer = DeviceSigner { keys, stand, head: None };
        let sealer = DirectorySealer { services: &self.services, epoch };
        self.log.append(&sealer, &signer, batch)?;
        list(&mut self.listed, line);
        self.remember(None)
    }

    fn remember(&self, known: Option<strongroom_audit::Pin>) -> Result<()> {
        match self.log.pin() {
            Some(pin) if Some(pin) != known => {
                self.services.memory.remember(&ApplicationId::DIRECTORY, &pin)
            }
            _ => Ok(()),
        }
    }
}

/// A later line about the same application replaces the earlier one.
fn list(listed: &mut Vec<Listed>, line: Listed) {
    match listed.iter_mut().find(|other| other.application == line.application) {
        Some(other) => *other = line,
        None => listed.push(line),
    }
}

/// Refuses a name that would not read well in answers and policies.
///
/// # Errors
/// `Invalid`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_plain) {
        return Err(Error::invalid("a name has letters, digits, `.`, `-` and `_`, at most 128"));
    }
    Ok(())
}
