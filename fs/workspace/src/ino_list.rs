//! Inode numbers in a file of the local state: eight bytes each, with or without a time of eight bytes or a place of sixteen, then
//! BLAKE3-256 of all.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_crypto::hash::blake3_256;
use strongroom_format::ids::Ino;
use strongroom_format::key::Cookie;

const SUM_LEN: usize = 32;

/// The file.
pub(crate) fn bytes_of(inos: &BTreeSet<Ino>) -> Vec<u8> {
    with_sum(inos.iter().flat_map(|ino| ino.0.to_le_bytes()).collect())
}

/// The file, with a time for each.
pub(crate) fn bytes_of_times(times: &BTreeMap<Ino, i64>) -> Vec<u8> {
    with_sum(
        times
            .iter()
            .flat_map(|(ino, time)| [ino.0.to_le_bytes(), time.to_le_bytes()])
            .flatten()
            .collect(),
    )
}

/// The file, with a folder and a place there for each.
pub(crate) fn bytes_of_places(places: &BTreeMap<Ino, (Ino, Cookie)>) -> Vec<u8> {
    let numbers = places.iter().flat_map(|(ino, (folder, cookie))| [ino.0, folder.0, cookie.0]);
    with_sum(numbers.flat_map(u64::to_le_bytes).collect())
}

/// What a file says; none if it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<BTreeSet<Ino>> {
    let (numbers, none) = without_sum(bytes)?.as_chunks::<8>();
    let inos = numbers.iter().map(|number| Ino(u64::from_le_bytes(*number)));
    none.is_empty().then(|| inos.collect())
}

/// What a file with times says; none if it is not whole.
pub(crate) fn parse_times(bytes: &[u8]) -> Option<BTreeMap<Ino, i64>> {
    let (numbers, none) = without_sum(bytes)?.as_chunks::<8>();
    let (entries, half) = numbers.as_chunks::<2>();
    let times = entries
        .iter()
        .map(|[ino, time]| (Ino(u64::from_le_bytes(*ino)), i64::from_le_bytes(*time)));
    (none.is_empty() && half.is_empty()).then(|| times.collect())
}

/// What a file with places says; none if it is not whole.
pub(crate) fn parse_places(bytes: &[u8]) -> Option<BTreeMap<Ino, (Ino, Cookie)>> {
    let (numbers, none) = without_sum(bytes)?.as_chunks::<8>();
    let (entries, part) = numbers.as_chunks::<3>();
    let places = entries.iter().map(|entry| {
        let [ino, folder, cookie] = entry.map(u64::from_le_bytes);
        (Ino(ino), (Ino(folder), Cookie(cookie)))
    });
    (none.is_empty() && part.is_empty()).then(|| places.collect())
}

fn with_sum(bytes: Vec<u8>) -> Vec<u8> {
    let mut bytes = bytes;
    let sum = blake3_256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn without_sum(bytes: &[u8]) -> Option<&[u8]> {
    let (facts, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
    (blake3_256(facts) == *sum).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_written_and_a_cut_file_is_none() {
        for times in [BTreeMap::new(), BTreeMap::from([(Ino(1), 5), (Ino(7), -5)])] {
            let bytes = bytes_of_times(&times);
            assert_eq!(parse_times(&bytes), Some(times));
            assert!((0..bytes.len()).all(|at| parse_times(&bytes[..at]).is_none()));
        }
        assert_eq!(parse_times(&bytes_of(&BTreeSet::from([Ino(1)]))), None);
    }

    #[test]
    fn places_read_as_they_are_written_and_a_cut_file_is_none() {
        for places in [BTreeMap::new(), BTreeMap::from([(Ino(7), (Ino(1), Cookie(1 << 60)))])] {
            let bytes = bytes_of_places(&places);
            assert_eq!(parse_places(&bytes), Some(places));
            assert!((0..bytes.len()).all(|at| parse_places(&bytes[..at]).is_none()));
        }
        assert_eq!(parse_places(&bytes_of(&BTreeSet::from([Ino(1)]))), None);
    }

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
