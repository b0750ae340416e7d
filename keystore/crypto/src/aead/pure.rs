//! The pure-Rust back end: where aws-lc does not build, and the cross-check of its bytes.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use super::{Aead, TAG_LEN};
use crate::error::OpenError;

/// AES-256-GCM by RustCrypto.
#[cfg_attr(
    all(feature = "aws-lc", not(test)),
    expect(dead_code, reason = "compiled everywhere, so that tests cross-check it")
)]
pub(crate) struct PureRust(Box<Aes256Gcm>);

impl Aead for PureRust {
    fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(Aes256Gcm::new(key.into())))
    }

    fn seal(&self, nonce: &[u8; 12], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self.0.encrypt_inout_detached(nonce.into(), &[], in_out.into());
        tag.expect("a chunk is far below the length limit of AES-GCM").into()
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        sealed: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let buffer = InOutBuf::new(sealed, out).map_err(|_| OpenError)?;
        self.0.decrypt_inout_detached(nonce.into(), &[], buffer, tag.into()).map_err(|_| OpenError)
    }
}
