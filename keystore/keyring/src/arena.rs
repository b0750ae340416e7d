//! Secrets in the locked memory of `platform/host`.

use strongroom_crypto::secret::Secret;
use strongroom_host::locked::Locked;

struct Kept<const N: usize>(Locked<N>);

impl<const N: usize> AsRef<[u8; N]> for Kept<N> {
    fn as_ref(&self) -> &[u8; N] {
        self.0.bytes()
    }
}

/// Moves a secret into locked memory and wipes where it came from.
pub(crate) fn keep<const N: usize>(bytes: &mut [u8; N]) -> Secret<N> {
    Secret::held(Box::new(Kept(Locked::take(bytes))))
}
