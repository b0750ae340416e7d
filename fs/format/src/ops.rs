//! Lists of operations: the canonical encodings one after the other, with the count kept beside them.

use crate::cbor;
use crate::error::{Error, Result};
use crate::op::Op;

/// Longest encoding of one operation.
pub const OP_LEN_MAX: usize = 2 << 20;

/// Encodes operations one after the other.
///
/// # Errors
/// `Invalid` when one is longer than [`OP_LEN_MAX`].
pub fn encode(ops: &[Op]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for op in ops {
        encode_into(op, &mut bytes)?;
    }
    Ok(bytes)
}

/// Appends one operation and returns its encoded length.
///
/// # Errors
/// `Invalid` when it is longer than [`OP_LEN_MAX`]; `bytes` is then as before.
pub fn encode_into(op: &Op, bytes: &mut Vec<u8>) -> Result<usize> {
    let before = bytes.len();
    cbor::encode_into(op, bytes);
    let len = bytes.len() - before;
    if len > OP_LEN_MAX {
        bytes.truncate(before);
        return Err(Error::invalid("operation too long"));
    }
    Ok(len)
}

/// Decodes exactly `count` operations that take up all of `bytes`.
///
/// # Errors
/// `Corrupt` when there are fewer, more, or one is not canonical or too long.
pub fn decode(count: u64, bytes: &[u8]) -> Result<Vec<Op>> {
    let mut ops = Vec::new();
    let mut rest = bytes;
    for _ in 0..count {
        let (op, after) = decode_one(rest)?;
        ops.push(op);
        rest = after;
    }
    if rest.is_empty() { Ok(ops) } else { Err(Error::corrupt("bytes after the last operation")) }
}

/// Decodes the operation at the front and returns what follows it.
///
/// # Errors
/// `Corrupt` when there is none, or it is not canonical or too long.
pub fn decode_one(bytes: &[u8]) -> Result<(Op, &[u8])> {
    let (op, rest) = cbor::decode_prefix::<Op>(bytes)?;
    if bytes.len() - rest.len() > OP_LEN_MAX {
        return Err(Error::corrupt("operation too long"));
    }
    Ok((op, rest))
}
