//! The frame of a signed record file: `magic 4 · length u32 · record · signature 64 · what the record describes`.

use crate::error::{Error, ErrorKind, Result};

/// Length of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// The parts of a framed file.
pub struct Frame<'b> {
    pub record: &'b [u8],
    pub signature: [u8; SIGNATURE_LEN],
    pub rest: &'b [u8],
}

/// Puts record and signature into a frame; the caller appends the rest.
pub fn build(magic: [u8; 4], record: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    let mut bytes = begin(magic, record);
    bytes.extend_from_slice(signature);
    bytes
}

/// Magic, length and record, for files whose record is not signed.
pub fn begin(magic: [u8; 4], record: &[u8]) -> Vec<u8> {
    let len = u32::try_from(record.len()).expect("records are far below 4 GiB");
    let mut bytes = Vec::with_capacity(8 + record.len() + SIGNATURE_LEN);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// Takes a frame apart.
pub fn parse(magic: [u8; 4], len_max: usize, bytes: &[u8]) -> Result<Frame<'_>> {
    let (record, rest) = split(magic, len_max, bytes)?;
    let (signature, rest) = rest.split_first_chunk().ok_or(CUT)?;
    Ok(Frame { record, signature: *signature, rest })
}

/// Takes magic, length and record off the front.
pub fn split(magic: [u8; 4], len_max: usize, bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    if *found != magic {
        return Err(other_magic(*found, magic));
    }
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > len_max {
        return Err(Error::corrupt("record longer than allowed"));
    }
    rest.split_at_checked(len).ok_or(CUT)
}

const CUT: Error = Error::corrupt("record file is cut short");

/// The last byte of a magic is the version: `1` now, a later digit from a newer program.
fn other_magic(found: [u8; 4], expected: [u8; 4]) -> Error {
    if found[..3] == expected[..3] && found[3].is_ascii_digit() && found[3] > expected[3] {
        Error::new(ErrorKind::Unsupported, "record of a newer format")
    } else {
        Error::corrupt("not the kind of record expected here")
    }
}
