//! Receipts, for whoever holds one: parsed and verified without any key of ours.

use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_keyring::organisation::Organisation;
use strongroom_records::Signed;
use strongroom_records::receipt::{Deed, Ending, MAGIC, RECEIPT_LEN_MAX, Receipt};
use strongroom_tree::verify_vacant;

use crate::error::{Error, Result};

/// Parses a receipt without verifying it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Receipt> {
    let signed = Signed::parse(MAGIC, RECEIPT_LEN_MAX, bytes)?;
    if !signed.rest.is_empty() {
        return Err(Error::corrupt("bytes after the end of a receipt"));
    }
    Ok(cbor::decode_canonical(signed.record)?)
}

/// Verifies a receipt: signature by a device the organisation certified, and what it claims of itself. An erasure's shows
/// that the slot is vacant below the keystore root it names.
///
/// # Errors
/// `Corrupt` when anything does not hold.
pub fn verify_receipt(bytes: &[u8], organisation: &Organisation) -> Result<Receipt> {
    let receipt = parse(bytes)?;
    let signed = Signed::parse(MAGIC, RECEIPT_LEN_MAX, bytes)?;
    let stranger = || Error::corrupt("the receipt is signed by a device nobody certified");
    let key = organisation.former_or_present(&receipt.device).ok_or_else(stranger)?;
    signed.verify(Usage::SignReceipt, key)?;
    if receipt.organisation != *organisation.id() {
        return Err(Error::corrupt("the receipt is of another organisation"));
    }
    if let Deed::Erasure(deed) = &receipt.deed {
        let path: Vec<&[u8]> = deed.path.iter().map(|bytes| bytes.as_slice()).collect();
        verify_vacant(&receipt.application, &deed.root_after, &path, deed.slot)?;
        let claims_an_end = deed.irrecoverable_from.is_some();
        let is_final =
            deed.destroyed.ending == Ending::Immediate && deed.destroyed.refused_afterwards;
        if deed.root_before == deed.root_after || claims_an_end != is_final {
            return Err(Error::corrupt("the receipt of an erasure contradicts itself"));
        }
    }
    Ok(receipt)
}
