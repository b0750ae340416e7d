//! Inode numbers in a file of the local state: eight bytes each, then BLAKE3-256 of them.

use std::collections::BTreeSet;

use strongroom_crypto::hash::blake3_256;
use strongroom_format::ids::Ino;

const SUM_LEN: usize = 32;

/// The file.
pub(crate) fn bytes_of(inos: &BTreeSet<Ino>) -> Vec<u8> {
    let mut bytes: Vec<u8> = inos.iter().flat_map(|ino| ino.0.to_le_bytes()).collect();
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// What a file says; none if it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<BTreeSet<Ino>> {
    let (facts, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
    let (numbers, none) = facts.as_chunks::<8>();
    if blake3_256(facts) != *sum || !none.is_empty() {
        return None;
    }
    Some(numbers.iter().map(|number| Ino(u64::from_le_bytes(*number))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_it_is_written_and_a_broken_or_cut_one_is_none() {
        for inos in [BTreeSet::new(), BTreeSet::from([Ino(1), Ino(7), Ino(1 << 50)])] {
            let bytes = bytes_of(&inos);
            assert_eq!(parse(&bytes), Some(inos));
            for at in 0..bytes.len() {
                let mut broken = bytes.clone();
                broken[at] ^= 1;
                assert_eq!(parse(&broken), None);
                assert_eq!(parse(&bytes[..at]), None);
            }
        }
    }
}
