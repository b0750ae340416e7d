//! Names: what is allowed, how they fold, and their keyed hash.
//!
//! The hash places an entry in its folder. It is keyed with a secret of the compartment, so that nobody outside
//! can aim at collisions, and taken of the folded name, so that exact and case-insensitive lookup share one index.

use std::borrow::Cow;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// Longest name in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Unicode version of the full case folding; part of the format, since every device must give the same hashes.
pub const FOLDING_UNICODE: (u64, u64, u64) = (16, 0, 0);
/// Unicode version of the normalization; part of the format likewise.
pub const NORMALIZATION_UNICODE: (u8, u8, u8) = (18, 0, 0);

// A library with other tables would place entries elsewhere: that is a new format version, not an update.
const _: () = {
    let (major, minor, patch) = caseless::UNICODE_VERSION;
    assert!(major == FOLDING_UNICODE.0 && minor == FOLDING_UNICODE.1 && patch == FOLDING_UNICODE.2);
    let (major, minor, patch) = unicode_normalization::UNICODE_VERSION;
    let wanted = NORMALIZATION_UNICODE;
    assert!(major == wanted.0 && minor == wanted.1 && patch == wanted.2);
};

/// LIMIT: folding is stable after two rounds; the bound is only against tables that would not be.
const FOLD_ROUNDS_MAX: usize = 4;

/// Checks that a name may stand in a folder: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`.
///
/// # Errors
/// `Invalid` otherwise.
pub fn check(name: &[u8]) -> Result<()> {
    let bad = name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name == b"."
        || name == b".."
        || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if bad { Err(Error::invalid("malformed name")) } else { Ok(()) }
}

/// Folds a name: full case folding between normalizations to NFC until nothing changes, if the name is UTF-8;
/// the bytes as they are, if not.
pub fn fold(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        return if name.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
    }
    match std::str::from_utf8(name) {
        Ok(text) => Cow::Owned(fold_text(text).into_bytes()),
        Err(_) => Cow::Borrowed(name),
    }
}

/// Whether two names are the same on systems that ignore case.
pub fn fold_equal(a: &[u8], b: &[u8]) -> bool {
    a == b || fold(a) == fold(b)
}

/// 56-bit keyed hash of the folded name: the low 56 bits of SipHash-2-4; 1 in place of 0.
pub fn fold_hash(name_key: &[u8; 16], name: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(name_key);
    hasher.write(&fold(name));
    match hasher.finish() & ((1 << 56) - 1) {
        0 => 1,
        hash => hash,
    }
}

fn fold_text(text: &str) -> String {
    let mut now: String = text.nfc().collect();
    for _ in 0..FOLD_ROUNDS_MAX {
        let folded = caseless::default_case_fold_str(&now);
        let next: String = folded.nfc().collect();
        if next == now {
            break;
        }
        now = next;
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn names_that_no_folder_may_hold_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
            assert!(check(bad).is_err(), "{bad:02x?}");
        }
        for good in [&b"a"[..], b"...", b".a", b"\xff\xfe", &[b'x'; 255], "héllo".as_bytes()] {
            assert!(check(good).is_ok(), "{good:02x?}");
        }
    }

    #[test]
    fn names_that_differ_by_case_or_normal_form_fold_together() {
        for (a, b) in [
            ("README.md", "readme.MD"),
            ("Straße", "STRASSE"),
            ("é", "e\u{301}"),
            ("É", "e\u{301}"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("Å", "\u{212b}"),
            ("ﬁle", "FILE"),
            ("\u{345}a", "ιa"),
        ] {
            assert!(fold_equal(a.as_bytes(), b.as_bytes()), "{a} {b}");
            assert_eq!(fold_hash(&KEY, a.as_bytes()), fold_hash(&KEY, b.as_bytes()));
        }
        assert!(!fold_equal(b"a", b"b"));
        assert!(!fold_equal("ı".as_bytes(), b"i"));
    }

    #[test]
    fn names_that_are_not_text_keep_their_bytes() {
        assert_eq!(&*fold(b"A\xff"), b"A\xff");
        assert!(!fold_equal(b"A\xff", b"a\xff"));
    }

    #[test]
    fn folding_every_character_is_stable_after_one_call() {
        for character in (0..=0x10ffff_u32).filter_map(char::from_u32) {
            let once = fold_text(&character.to_string());
            assert_eq!(fold_text(&once), once, "U+{:04X}", character as u32);
        }
    }

    #[test]
    fn the_hash_is_siphash_of_the_folded_name() {
        // SipHash-2-4 reference vector for the key 00..0f and the message 00..0e: a129ca6149be45e5.
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(fold_hash(&KEY, &message), 0x29_ca61_49be_45e5);
    }
}
