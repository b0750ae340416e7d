//! The fast back end: aws-lc's assembly.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Aead, TAG_LEN};
use crate::error::OpenError;

/// AES-256-GCM by aws-lc, which wipes the expanded key when freed.
pub(crate) struct AwsLc(LessSafeKey);

impl Aead for AwsLc {
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
        Self(LessSafeKey::new(key))
    }

    fn seal(&self, nonce: &[u8; 12], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), in_out);
        let tag = tag.expect("a chunk is far below the length limit of AES-GCM");
        tag.as_ref().try_into().expect("the tag of AES-GCM has 16 bytes")
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        sealed: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::empty(), sealed, tag, out).map_err(|_| OpenError)
    }
}
