//! Wiping long buffers: a fill that the compiler may not leave out.
//!
//! `zeroize` wipes bytes one by one, which for a segment costs more than opening it.

use std::ops::{Deref, DerefMut};

/// Fills with zeros, for good.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// Bytes that are wiped when dropped. Not to be grown: a reallocation leaves the old bytes behind.
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Zeros.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiped_bytes_are_zeros() {
        let mut bytes = [7; 100];
        wipe(&mut bytes[3..97]);
        assert_eq!((bytes[2], bytes[97]), (7, 7));
        assert!(bytes[3..97].iter().all(|byte| *byte == 0));
    }
}
