//! Random salts, fetched from the machine many at a time: a call to it for each record would cost as much as the seal.

use std::sync::Arc;

use strongroom_crypto::seal::SALT_LEN;
use strongroom_host::entropy::Entropy;

const COUNT: usize = 4096 / SALT_LEN;

/// A supply of salts; each is given once.
pub(crate) struct Salts {
    entropy: Arc<dyn Entropy>,
    fresh: Vec<[u8; SALT_LEN]>,
}

impl Salts {
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Salts { entropy, fresh: Vec::with_capacity(COUNT) }
    }

    pub(crate) fn next(&mut self) -> [u8; SALT_LEN] {
        loop {
            if let Some(salt) = self.fresh.pop() {
                return salt;
            }
            let mut bytes = [0; COUNT * SALT_LEN];
            self.entropy.fill(&mut bytes);
            self.fresh.extend(bytes.as_chunks().0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use strongroom_host::entropy::MachineEntropy;

    use super::*;

    #[test]
    fn no_salt_is_given_twice() {
        let mut salts = Salts::new(Arc::new(MachineEntropy));
        let given: HashSet<_> = (0..1000).map(|_| salts.next()).collect();
        assert_eq!(given.len(), 1000);
    }
}
