//! What a token's refusals mean here.

use cryptoki::context::Function;
use cryptoki::error::{Error as TokenError, RvError};

use crate::{Error, ErrorKind};

/// The token does not take the PIN.
pub(super) const REFUSED_PIN: Error =
    Error::new(ErrorKind::Denied, "the token refuses the PIN; it is not tried again");

/// Whether the session is gone, and a new one may do.
pub(super) fn is_lost_session(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent,
            _
        )
    )
}

/// Whether a token said so of a wrap that is not of its key. Some have no better word than a general error.
pub(super) fn is_refused_wrap(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Pkcs11(
            RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::ArgumentsBad
                | RvError::GeneralError
                | RvError::FunctionFailed,
            Function::UnwrapKey
        )
    )
}

/// The error in the words of custody.
pub(super) fn translate(error: &TokenError) -> Error {
    let refused = |message| Error::new(ErrorKind::Denied, message);
    let away = |message| Error::new(ErrorKind::Unavailable, message);
    let wrong = |message| Error::new(ErrorKind::Invalid, message);
    match error {
        TokenError::LibraryLoading(_)
        | TokenError::MissingSymbol(_)
        | TokenError::NullFunctionPointer => wrong("the module of custody is no PKCS#11 module"),
        TokenError::Pkcs11(code, _) => match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => REFUSED_PIN,
            RvError::PinLocked => refused("the PIN of the token is locked"),
            RvError::PinExpired => refused("the PIN of the token has expired"),
            RvError::UserPinNotInitialized => refused("the token has no user PIN yet"),
            RvError::KeyFunctionNotPermitted
            | RvError::ActionProhibited
            | RvError::UserNotLoggedIn
            | RvError::TokenWriteProtected
            | RvError::SessionReadOnly => refused("the token does not allow it"),
            RvError::MechanismInvalid | RvError::FunctionNotSupported => {
                wrong("the token has no AES key wrap")
            }
            _ => away("the token does not answer as it should"),
        },
        _ => away("the token does not answer as it should"),
    }
}
