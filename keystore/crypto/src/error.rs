//! What can fail here. Each error says one thing and carries nothing, so it cannot tell an attacker
//! which step refused.

use std::fmt;

macro_rules! single_error {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl std::error::Error for $name {}
    };
}

single_error!(
    /// Sealed bytes cannot be opened: wrong key, wrong context, or changed bytes.
    OpenError,
    "sealed data cannot be opened"
);
single_error!(
    /// A signature does not hold, or a public key is none or a weak one.
    SignatureError,
    "signature does not hold"
);
single_error!(
    /// Parameters of a key derivation outside the compiled-in limits.
    LimitError,
    "key derivation parameters outside the limits"
);
single_error!(
    /// The bytes are no public key of the KEM.
    KemKeyError,
    "no usable public key"
);
