//! The one rule for everything signed or sealed: decode, encode again, compare. It enforces deterministic CBOR
//! (RFC 8949, 4.2) and refuses unknown, duplicate, badly ordered and trailing data in one step.
//!
//! Structures are arrays in field order; fields that are absent at the end are left out, in the middle `null`.
//! Variants with fields are `[number, [fields]]`, bare variants a number; bytes are byte strings.

use std::convert::Infallible;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::error::{Error, Result};

/// Encodes a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// Appends the encoding of a value.
pub fn encode_into<T: Encode<()>>(value: &T, bytes: &mut Vec<u8>) {
    let outcome: std::result::Result<(), minicbor::encode::Error<Infallible>> =
        Encoder::new(bytes).encode(value).map(drop);
    outcome.expect("encoding own types to memory cannot fail");
}

/// Decodes a value that takes up all of `bytes`, canonically.
///
/// # Errors
/// `Corrupt` when the bytes are not exactly what [`encode`] gives for the value they mean.
pub fn decode_canonical<'b, T>(bytes: &'b [u8]) -> Result<T>
where
    T: Decode<'b, ()> + Encode<()>,
{
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Error::corrupt("bytes after the end of a record")),
    }
}

/// Decodes a value at the front of `bytes`, canonically, and returns what follows it.
///
/// # Errors
/// As [`decode_canonical`].
pub fn decode_prefix<'b, T>(bytes: &'b [u8]) -> Result<(T, &'b [u8])>
where
    T: Decode<'b, ()> + Encode<()>,
{
    let mut decoder = Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| Error::corrupt("record does not decode"))?;
    let (taken, rest) = bytes.split_at(decoder.position());
    let mut comparison = Comparison { expected: taken };
    let same = Encoder::new(&mut comparison).encode(&value).is_ok();
    if same && comparison.expected.is_empty() {
        Ok((value, rest))
    } else {
        Err(Error::corrupt("record is not canonical"))
    }
}

/// A writer that accepts the expected bytes only, so that comparing needs no second copy of what may be secret.
struct Comparison<'b> {
    expected: &'b [u8],
}

struct Differs;

impl Write for Comparison<'_> {
    type Error = Differs;

    fn write_all(&mut self, written: &[u8]) -> std::result::Result<(), Differs> {
        self.expected = self.expected.strip_prefix(written).ok_or(Differs)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Sample {
        #[n(0)]
        number: u64,
        #[n(1)]
        maybe: Option<u32>,
    }

    #[test]
    fn a_value_survives_encoding() {
        for sample in
            [Sample { number: 0, maybe: None }, Sample { number: u64::MAX, maybe: Some(7) }]
        {
            assert_eq!(decode_canonical::<Sample>(&encode(&sample)).unwrap(), sample);
        }
    }

    #[test]
    fn anything_but_the_canonical_bytes_is_refused() {
        for bad in [
            &b""[..],
            b"\x81\x18\x01",                         // integer longer than needed
            b"\x82\x01\xf6",                         // absent field written out
            b"\x83\x01\x02\x03",                     // unknown field
            b"\x82\x01\x02\x00",                     // trailing byte
            b"\x9f\x01\x02\xff",                     // indefinite length
            b"\x82\x01",                             // cut
            b"\xa2\x00\x01\x01\x02",                 // map
            b"\xc1\x82\x01\x02",                     // tagged
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", // absurd length
        ] {
            assert!(decode_canonical::<Sample>(bad).is_err(), "{bad:02x?}");
        }
        assert!(decode_canonical::<Sample>(b"\x82\x01\x02").is_ok());
        assert!(decode_canonical::<Sample>(b"\x81\x01").is_ok());
    }
}
