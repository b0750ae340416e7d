//! Salts that stay safe when the machine's randomness fails or a machine is cloned.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

use crate::secret::HedgeKey;

/// First 24 bytes of HMAC-SHA-512(hedge key, random ‖ BLAKE3 of the plaintext ‖ counter, u64
/// little-endian). With bad randomness a salt repeats only for identical plaintext.
pub fn hedged_salt(
    hedge: &HedgeKey,
    random: [u8; 32],
    plaintext_hash: [u8; 32],
    counter: u64,
) -> [u8; 24] {
    let mut mac = Hmac::<Sha512>::new_from_slice(hedge.expose()).expect("HMAC takes any key");
    mac.update(&random);
    mac.update(&plaintext_hash);
    mac.update(&counter.to_le_bytes());
    let tag: [u8; 64] = mac.finalize().into_bytes().into();
    let (salt, _) = tag.split_first_chunk().expect("64 bytes have 24");
    *salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_the_salt() {
        let key = HedgeKey::from_bytes(&[1; 32]);
        let salt = hedged_salt(&key, [2; 32], [3; 32], 4);
        assert_eq!(salt, hedged_salt(&key, [2; 32], [3; 32], 4));
        assert_ne!(salt, hedged_salt(&HedgeKey::from_bytes(&[0; 32]), [2; 32], [3; 32], 4));
        assert_ne!(salt, hedged_salt(&key, [0; 32], [3; 32], 4));
        assert_ne!(salt, hedged_salt(&key, [2; 32], [0; 32], 4));
        assert_ne!(salt, hedged_salt(&key, [2; 32], [3; 32], 5));
    }
}
