//! Primitives and secret types. No I/O, no async, no users; no Debug, Clone or Copy on keys.
//!
//! One construction each: sealing ([`seal`], [`block`]), derivation ([`kdf`]), signature ([`sign`]),
//! wraps to public keys ([`kem`]), hashes ([`hash`], [`lthash`]). What a key may be used for stands in [`usage`], and nowhere else.
//! Which key belongs to whom is the keyring's business; how sealed bytes are laid out in files,
//! commits and pages is `fs/format`'s.
//!
//! 1. No plaintext leaves an opener before its tag is verified; on failure the output is wiped.
//! 2. A failed opening or verification says one thing, whichever step failed.
//! 3. Randomness comes from the caller; nothing here asks the machine for anything.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aead;
pub mod block;
pub mod error;
pub mod hash;
pub mod hedge;
pub mod kdf;
pub mod kem;
pub mod lthash;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod usage;
pub mod wipe;

#[cfg(test)]
mod vectors;
