//! Journal files: a header, then frames, each one sealed record. Fixed-width tables, integers little-endian.
//!
//! ```text
//! file    offset width                              frame   offset width
//!              0     4  magic "SRJ1"                            0     4  magic "SRR1"
//!              4     4  zero                                    4     4  length of the sealed record
//!              8     8  file number                             8     8  record number
//!             16     8  incarnation of the device              16     8  last record known durable
//!             24    16  device                                 24     8  check
//!             40    32  organisation                           32        sealed record
//!             72   152  sealed start
//!            224    32  zero                       start        0    32  key of the file
//!            256        frames, one behind                     32     8  number of the first record
//!                       the other                              40    32  commitment of the record before
//!                                                              72     8  bytes reserved for the file
//! ```
//!
//! 1. The commitment in a start is that of the last record of the file before (zeros if there was none): files
//!    are a chain as records are.
//! 2. A frame's check is the first 8 bytes of BLAKE3(frame bytes 0 to 23 ‖ commitment of the sealed start). It
//!    finds the end of what was written, also in a file whose blocks were used before; it proves nothing.
//!    What proves is the seal.
//! 3. A sealed record with an empty plaintext is the end mark of a file that was closed; it has the number that
//!    the next record will have.
//! 4. "Last record known durable" tells a torn tail from damage: a bad frame with a number at or below one that
//!    a later frame knows durable is damage.
//! 5. A file has its reserved length before it has its name. A loss of power never shortens it: a newest file that is
//!    shorter, and has no end mark, was cut by something else, and may have held records that were durable.

use strongroom_crypto::hash;
use strongroom_crypto::seal::{self, COMMITMENT_LEN};
use strongroom_crypto::secret::JournalFileKey;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{DeviceId, OrganisationId};

/// Bytes of a file header.
pub const HEADER_LEN: usize = 256;
/// Bytes of a frame before the sealed record.
pub const FRAME_PREFIX_LEN: usize = 32;
/// Bytes of the sealed start of a file.
pub const SEALED_START_LEN: usize = seal::sealed_len(START_LEN);
/// Most plaintext bytes of a record.
pub const PAYLOAD_LEN_MAX: usize = 2 << 20;
/// First bytes of every frame.
pub const FRAME_MAGIC: [u8; 4] = *b"SRR1";

const START_LEN: usize = 80;
const FILE_MAGIC: [u8; 4] = *b"SRJ1";
const SEALED_LEN_MIN: usize = seal::sealed_len(0);
const SEALED_LEN_MAX: usize = seal::sealed_len(PAYLOAD_LEN_MAX);

/// The clear front of a journal file.
#[derive(Clone, PartialEq, Eq)]
pub struct JournalHeader {
    /// Number of the file; rises over the device's life and is its name.
    pub file: u64,
    /// Incarnation of the device that wrote it.
    pub incarnation: u64,
    /// Whose journal it is.
    pub device: DeviceId,
    /// Organisation of the device.
    pub organisation: OrganisationId,
    /// The start, sealed under the device's journal key.
    pub sealed_start: [u8; SEALED_START_LEN],
}

/// What a file begins with, under seal.
#[derive(PartialEq, Eq)]
pub struct JournalStart {
    /// Key of the file.
    pub key: JournalFileKey,
    /// Number of its first record, at least 1.
    pub first_number: u64,
    /// Commitment of the record before the first one, zeros if there was none.
    pub previous: [u8; COMMITMENT_LEN],
    /// Bytes that were reserved for the file: it is never shorter.
    pub capacity: u64,
}

/// The clear front of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the sealed record that follows.
    pub sealed_len: usize,
    /// Number of the record.
    pub number: u64,
    /// Last record that was known durable when this one was written.
    pub durable: u64,
}

impl JournalHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&FILE_MAGIC);
        out[8..16].copy_from_slice(&self.file.to_le_bytes());
        out[16..24].copy_from_slice(&self.incarnation.to_le_bytes());
        out[24..40].copy_from_slice(&self.device.0);
        out[40..72].copy_from_slice(&self.organisation.0);
        out[72..224].copy_from_slice(&self.sealed_start);
        out
    }

    /// Takes a header apart.
    ///
    /// # Errors
    /// `Unsupported` for a newer version, `Corrupt` for anything else that is no header.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self> {
        let magic: [u8; 4] = part(bytes, 0);
        if magic != FILE_MAGIC {
            return Err(match magic {
                [b'S', b'R', b'J', b'2'..=b'9'] => {
                    Error::new(ErrorKind::Unsupported, "journal file of a newer format")
                }
                _ => Error::new(ErrorKind::Corrupt, "not a journal file"),
            });
        }
        let header = JournalHeader {
            file: u64::from_le_bytes(part(bytes, 8)),
            incarnation: u64::from_le_bytes(part(bytes, 16)),
            device: DeviceId(part(bytes, 24)),
            organisation: OrganisationId(part(bytes, 40)),
            sealed_start: part(bytes, 72),
        };
        // The zeros are zeros: one spelling for each header.
        if header.encode() == *bytes {
            Ok(header)
        } else {
            Err(Error::new(ErrorKind::Corrupt, "journal file with a damaged header"))
        }
    }
}

impl JournalHeader {
    /// Commitment of the sealed start: different in every file that was ever made.
    pub fn commitment(&self) -> &[u8; COMMITMENT_LEN] {
        seal::commitment(&self.sealed_start).expect("a sealed start has a commitment")
    }
}

impl JournalStart {
    /// The bytes that are sealed.
    pub fn encode(&self) -> Zeroizing<[u8; START_LEN]> {
        let mut out = Zeroizing::new([0; START_LEN]);
        out[0..32].copy_from_slice(self.key.expose());
        out[32..40].copy_from_slice(&self.first_number.to_le_bytes());
        out[40..72].copy_from_slice(&self.previous);
        out[72..80].copy_from_slice(&self.capacity.to_le_bytes());
        out
    }

    /// Takes the opened bytes apart.
    ///
    /// # Errors
    /// `Corrupt` for another length or a first number of 0.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; START_LEN] = bytes
            .try_into()
            .map_err(|_| Error::new(ErrorKind::Corrupt, "start of a journal file"))?;
        let key = Zeroizing::new(part::<32>(bytes, 0));
        let start = JournalStart {
            key: JournalFileKey::from_bytes(&key),
            first_number: u64::from_le_bytes(part(bytes, 32)),
            previous: part(bytes, 40),
            capacity: u64::from_le_bytes(part(bytes, 72)),
        };
        match start.first_number {
            0 => Err(Error::new(ErrorKind::Corrupt, "number of a journal record")),
            _ => Ok(start),
        }
    }
}

impl FrameHeader {
    /// The bytes before a sealed record in the file whose sealed start has this commitment.
    ///
    /// # Panics
    /// If the length is none a record can have.
    pub fn encode(&self, commitment: &[u8; COMMITMENT_LEN]) -> [u8; FRAME_PREFIX_LEN] {
        assert!((SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&self.sealed_len), "length of a record");
        let len = u32::try_from(self.sealed_len).expect("2 MiB fit");
        let mut out = [0; FRAME_PREFIX_LEN];
        out[0..4].copy_from_slice(&FRAME_MAGIC);
        out[4..8].copy_from_slice(&len.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.durable.to_le_bytes());
        let check = check(&out, commitment);
        out[24..32].copy_from_slice(&check);
        out
    }

    /// The front of a frame of that file; none if these bytes are not one.
    pub fn parse(
        bytes: &[u8; FRAME_PREFIX_LEN],
        commitment: &[u8; COMMITMENT_LEN],
    ) -> Option<Self> {
        let sealed_len = usize::try_from(u32::from_le_bytes(part(bytes, 4))).ok()?;
        let is_frame = bytes[0..4] == FRAME_MAGIC
            && (SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&sealed_len)
            && bytes[24..32] == check(bytes, commitment);
        is_frame.then(|| FrameHeader {
            sealed_len,
            number: u64::from_le_bytes(part(bytes, 8)),
            durable: u64::from_le_bytes(part(bytes, 16)),
        })
    }
}

fn check(bytes: &[u8; FRAME_PREFIX_LEN], commitment: &[u8; COMMITMENT_LEN]) -> [u8; 8] {
    let mut input = [0; 24 + COMMITMENT_LEN];
    input[..24].copy_from_slice(&bytes[..24]);
    input[24..].copy_from_slice(commitment);
    part(&hash::blake3_256(&input), 0)
}

fn part<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes[offset..].first_chunk().expect("the tables end inside the buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> JournalHeader {
        JournalHeader {
            file: 3,
            incarnation: 1,
            device: DeviceId([0xd0; 16]),
            organisation: OrganisationId([0x0a; 32]),
            sealed_start: [0x5e; SEALED_START_LEN],
        }
    }

    #[test]
    fn a_header_lies_where_the_table_says() {
        let bytes = header().encode();
        assert_eq!(&bytes[..10], b"SRJ1\0\0\0\0\x03\0");
        assert_eq!((bytes[16], bytes[24], bytes[39], bytes[40]), (1, 0xd0, 0xd0, 0x0a));
        assert_eq!((bytes[71], bytes[72], bytes[223]), (0x0a, 0x5e, 0x5e));
        assert_eq!(bytes[224..], [0; 32]);
        assert!(JournalHeader::parse(&bytes).unwrap() == header());
    }

    #[test]
    fn other_bytes_are_no_header() {
        let mut bytes = header().encode();
        bytes[5] = 1;
        assert_eq!(JournalHeader::parse(&bytes).err().unwrap().kind(), ErrorKind::Corrupt);
        bytes = header().encode();
        bytes[3] = b'2';
        assert_eq!(JournalHeader::parse(&bytes).err().unwrap().kind(), ErrorKind::Unsupported);
        assert_eq!(JournalHeader::parse(&[0; 256]).err().unwrap().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_start_lies_where_the_table_says() {
        let start = JournalStart {
            key: JournalFileKey::from_bytes(&[0xc0; 32]),
            first_number: 0x0102,
            previous: [0x9b; 32],
            capacity: 0x0304,
        };
        let bytes = start.encode();
        assert_eq!((bytes[31], bytes[32], bytes[33], bytes[34]), (0xc0, 2, 1, 0));
        assert_eq!((bytes[39], bytes[40], bytes[71]), (0, 0x9b, 0x9b));
        assert_eq!((bytes[72], bytes[73], bytes[74], bytes[79]), (4, 3, 0, 0));
        assert!(JournalStart::parse(bytes.as_ref()).unwrap() == start);
        assert!(JournalStart::parse(&bytes[..79]).is_err());
        assert!(JournalStart::parse(&[0; 80]).is_err());
    }

    #[test]
    fn a_frame_is_known_in_its_own_file_only() {
        let frame = FrameHeader { sealed_len: 72, number: 9, durable: 7 };
        let bytes = frame.encode(&[1; COMMITMENT_LEN]);
        assert_eq!(bytes[..9], *b"SRR1\x48\0\0\0\x09");
        assert_eq!(FrameHeader::parse(&bytes, &[1; COMMITMENT_LEN]), Some(frame));
        assert_eq!(FrameHeader::parse(&bytes, &[2; COMMITMENT_LEN]), None);
    }

    #[test]
    fn a_frame_with_any_bit_changed_is_none() {
        let key = [1; COMMITMENT_LEN];
        let bytes = FrameHeader { sealed_len: 4000, number: 9, durable: 7 }.encode(&key);
        for bit in 0..FRAME_PREFIX_LEN * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::parse(&changed, &key), None, "bit {bit}");
        }
    }

    #[test]
    fn a_length_no_record_has_is_refused() {
        let key = [1; COMMITMENT_LEN];
        let mut bytes = FrameHeader { sealed_len: 72, number: 9, durable: 7 }.encode(&key);
        for len in [0_u32, 71, 2_200_000, u32::MAX] {
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
            let check = check(&bytes, &key);
            bytes[24..32].copy_from_slice(&check);
            assert_eq!(FrameHeader::parse(&bytes, &key), None);
        }
    }
}
