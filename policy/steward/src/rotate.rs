//! A new application key: made in custody, the keystore's root wrapped anew, the old key destroyed, the receipt signed.
//!
//! 1. new key in custody, new root node: nothing old is touched;
//! 2. one record of the register switches;
//! 3. every key that was in custody before 1 is destroyed there, and unwrapping with the old one is tried.
//!
//! Interrupted before 2, the old key is in force and the next rotation destroys the new one. Interrupted after 2, the new key
//! is in force and [`Custodian::sweep`] destroys the old. A key that another home makes meanwhile is never touched: what is
//! destroyed was there before ours was made, or stands in an older record.

mod register;
mod subject;

use strongroom_records::keystore::Root;
use strongroom_records::log::Kind;
use strongroom_records::receipt::{Deed, Destroyed, Ending};

use crate::custodian::Custodian;
use crate::directory::NeededKey;
use crate::error::{Error, ErrorKind, Result};
use crate::register::Transaction;

pub use register::{RegisterKeyStatus, RegisterRotated};
pub use subject::{Depth, EverybodyRotated, Resealed, SubjectRotated};
pub(crate) use subject::{EVER, note_damaged};

/// A rotation that is done.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// Generation now in force.
    pub generation: u64,
    /// What became of the old key.
    pub destroyed: Destroyed,
    /// The signed receipt.
    pub receipt: Vec<u8>,
}

impl Custodian {
    /// Changes the application key.
    ///
    /// # Errors
    /// `Locked` when the present key is not in custody; those of custody and store. Whatever was interrupted is taken up
    /// by the next call.
    pub fn rotate(&mut self) -> Result<Rotated> {
        let (time, position, before) = self.change_application_key()?;
        let destroyed = self.destroy_before(&before)?;
        let receipt = self.receipt(time, position, Deed::Rotation(destroyed.clone()));
        Ok(Rotated { generation: self.register().root().generation, destroyed, receipt })
    }

    /// The first two steps: time and number of the record, and the root before.
    fn change_application_key(&mut self) -> Result<(i64, u64, Root)> {
        let register = self.register();
        let before = register.root().clone();
        let change = register.keystore().puncture(&before, &register.nodes(), &[], &[])?;
        let mut transaction = Transaction::new(register);
        let time = transaction.now;
        transaction.keystore(change);
        transaction.entry(Kind::ApplicationRotated, |_| ());
        let (position, _) = self.register_mut().commit(transaction)?;
        Ok((time, position, before))
    }

    /// Ends every application key but the one in force, also those that no record names: one that a change made which was
    /// interrupted, or which another home is about to record, opens what was there when it was made.
    ///
    /// # Errors
    /// `Unavailable` where others make keys meanwhile; those of custody and store.
    pub(crate) fn end_all_other_keys(&mut self) -> Result<()> {
        self.sweep()?;
        if self.register().has_one_key()? {
            return Ok(());
        }
        self.change_application_key().map_err(|error| self.or_conflict(error))?;
        self.sweep()?;
        match self.register().has_one_key()? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unavailable,
                "somebody else is changing the application key",
            )),
        }
    }

    /// The application key in force, if it has to be obtained before anything here can be opened: somebody else has changed it.
    pub fn needed_key(&self) -> Option<NeededKey> {
        let (custody, place) = self.register().keystore().needed(self.register().needed_root())?;
        Some(NeededKey { custody, place })
    }

    /// Generation of the application key in force.
    pub fn generation(&self) -> u64 {
        self.register().root().generation
    }

    /// Destroys application keys in custody that older records name: what an interrupted rotation or erasure left. One that
    /// no record names is left to the next rotation.
    ///
    /// # Errors
    /// Those of custody and store.
    pub fn sweep(&mut self) -> Result<usize> {
        self.register_mut().end_old_keys()
    }

    /// Destroys what an older root was wrapped under, and tries whether it still opens.
    pub(crate) fn destroy_before(&mut self, before: &Root) -> Result<Destroyed> {
        self.register_mut().end_old_keys()?;
        let register = self.register();
        let keystore = register.keystore();
        let ending = keystore.custody().describe().ending;
        let is_refused = match ending {
            Ending::NotOurs => false,
            // Somebody else who changes keys meanwhile ends the one that is in force here.
            _ => match keystore.still_opens(before, register.root()) {
                Ok(opens) => !opens,
                Err(_) if !self.is_newest()? => return Err(Error::overtaken()),
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Destroyed {
            provider: before.provider,
            key: before.key,
            generation: before.generation,
            ending,
            refused_afterwards: is_refused,
        })
    }
}
