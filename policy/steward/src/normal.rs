//! Attributes in the form they are looked up by: without spaces around, in small letters.
//!
//! More than that would be guessing: whoever wants `a.b@example.com` and `ab@example.com` to be one registers them so.

/// LIMIT: bytes of an attribute.
pub(crate) const ATTRIBUTE_LEN_MAX: usize = 1024;

/// The bytes that the look-up hash is made of: the attribute's name, a zero, its value.
pub(crate) fn normal(name: &str, value: &str) -> Vec<u8> {
    [name.as_bytes(), &[0], value.trim().to_lowercase().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn spaces_around_and_capitals_make_no_difference_and_names_do() {
        assert_eq!(normal("email", " Ada@Example.COM\n"), normal("email", "ada@example.com"));
        assert_ne!(normal("email", "a"), normal("phone", "a"));
        assert_ne!(normal("ab", "c"), normal("a", "bc"));
    }
}
