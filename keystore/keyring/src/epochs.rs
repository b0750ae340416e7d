//! The keys of epochs that a device holds: they come one after the other and never go while it is unlocked.

use std::sync::OnceLock;

use strongroom_crypto::secret::{EpochKey, HistoryKey};
use strongroom_format::ids::CompartmentId;

/// The two keys of an epoch.
pub(crate) struct Epoch {
    pub(crate) compartment: CompartmentId,
    pub(crate) number: u64,
    pub(crate) key: EpochKey,
    pub(crate) history: Option<HistoryKey>,
}

/// Grows only, so that keys can be lent while others are added.
#[derive(Default)]
pub(crate) struct Epochs(OnceLock<Box<Link>>);

struct Link {
    epoch: Epoch,
    next: Epochs,
}

impl Epochs {
    /// Adds an epoch; one that is there already stays as it is.
    pub(crate) fn add(&self, epoch: Epoch) {
        let place = (epoch.compartment, epoch.number);
        let mut new = Box::new(Link { epoch, next: Self::default() });
        let mut at = self;
        loop {
            match at.0.get() {
                Some(link) if (link.epoch.compartment, link.epoch.number) == place => return,
                Some(link) => at = &link.next,
                None => match at.0.set(new) {
                    Ok(()) => return,
                    // Somebody else added one in between.
                    Err(back) => new = back,
                },
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Epoch> {
        let first = self.0.get();
        std::iter::successors(first, |link| link.next.0.get()).map(|link| &link.epoch)
    }

    pub(crate) fn find(&self, compartment: &CompartmentId, number: u64) -> Option<&Epoch> {
        self.iter().find(|epoch| epoch.compartment == *compartment && epoch.number == number)
    }

    /// The newest epoch of a compartment.
    pub(crate) fn newest(&self, compartment: &CompartmentId) -> Option<&Epoch> {
        let own = self.iter().filter(|epoch| epoch.compartment == *compartment);
        own.max_by_key(|epoch| epoch.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64, byte: u8) -> Epoch {
        let compartment = CompartmentId::ORDINARY;
        Epoch { compartment, number, key: EpochKey::from_bytes(&[byte; 32]), history: None }
    }

    #[test]
    fn the_newest_epoch_is_the_one_with_the_highest_number_and_the_first_of_two_stays() {
        let epochs = Epochs::default();
        assert!(epochs.newest(&CompartmentId::ORDINARY).is_none());
        for (number, byte) in [(3, 3), (1, 1), (2, 2), (3, 9)] {
            epochs.add(epoch(number, byte));
        }
        let newest = epochs.newest(&CompartmentId::ORDINARY).unwrap();
        assert_eq!((newest.number, newest.key.expose()), (3, &[3; 32]));
        assert_eq!(epochs.iter().count(), 3);
        assert!(epochs.find(&CompartmentId::ORDINARY, 4).is_none());
        assert!(epochs.newest(&CompartmentId([1; 16])).is_none());
    }
}
