//! A digest of a set that is kept up entry by entry: two devices with the same map have the same
//! digest, whatever order they got there in, and a change costs one entry and no walk.
//!
//! LtHash16: each entry is a vector of 1,024 lanes of 16 bits (BLAKE3 output, little-endian), the
//! state is their lane-wise sum. A multiset: adding an entry twice is not adding it once.

const LANES: usize = 1024;
/// Domain of element and digest hashes.
const ELEMENT_DOMAIN: &str = "strongroom/1 map digest element";
const DIGEST_DOMAIN: &str = "strongroom/1 map digest";

/// Bytes of an encoded state.
pub const STATE_LEN: usize = LANES * 2;

/// The running sum.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

impl Default for LtHash {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl LtHash {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up a state written by [`LtHash::to_bytes`].
    pub fn from_bytes(bytes: &[u8; STATE_LEN]) -> Self {
        let mut state = Self::default();
        for (lane, bytes) in state.0.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *lane = u16::from_le_bytes(*bytes);
        }
        state
    }

    /// The state, lanes little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// Adds an entry of the map.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.combine(key, value, u16::wrapping_add);
    }

    /// Removes an entry that was added.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.combine(key, value, u16::wrapping_sub);
    }

    /// Adds all entries of another sum.
    pub fn merge(&mut self, other: &LtHash) {
        for (lane, other) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*other);
        }
    }

    /// 32 bytes that stand for the set.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::Hasher::new_derive_key(DIGEST_DOMAIN)
            .update(&self.to_bytes())
            .finalize()
            .as_bytes()
    }

    fn combine(&mut self, key: &[u8], value: &[u8], operation: fn(u16, u16) -> u16) {
        let mut element = [0; STATE_LEN];
        let key_len = u64::try_from(key.len()).expect("lengths fit 64 bits");
        blake3::Hasher::new_derive_key(ELEMENT_DOMAIN)
            .update(&key_len.to_le_bytes())
            .update(key)
            .update(value)
            .finalize_xof()
            .fill(&mut element);
        for (lane, bytes) in self.0.iter_mut().zip(element.as_chunks::<2>().0) {
            *lane = operation(*lane, u16::from_le_bytes(*bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter() {
        let (mut one, mut two) = (LtHash::new(), LtHash::new());
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        two.add(b"b", b"2");
        two.add(b"a", b"1");
        assert_eq!(one.digest(), two.digest());
    }

    #[test]
    fn removal_undoes_addition() {
        let mut set = LtHash::new();
        set.add(b"a", b"1");
        let before = set.digest();
        set.add(b"b", b"2");
        assert_ne!(set.digest(), before);
        set.remove(b"b", b"2");
        assert_eq!(set.digest(), before);
    }

    #[test]
    fn key_and_value_do_not_run_together() {
        let (mut one, mut two) = (LtHash::new(), LtHash::new());
        one.add(b"ab", b"c");
        two.add(b"a", b"bc");
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn state_survives_encoding_and_merging() {
        let (mut one, mut two) = (LtHash::new(), LtHash::new());
        one.add(b"a", b"1");
        two.add(b"b", b"2");
        let bytes: [u8; STATE_LEN] = one.to_bytes().try_into().unwrap();
        let mut both = LtHash::from_bytes(&bytes);
        both.merge(&two);
        one.add(b"b", b"2");
        assert_eq!(both.digest(), one.digest());
    }
}
