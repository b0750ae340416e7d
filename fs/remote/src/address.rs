//! Addresses of network stores, as people write them.
//!
//! ```text
//! s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&profile=NAME&sse=AES256|aws:kms&sse-key=ID]
//! swift://CONTAINER[/PREFIX]
//! ```
//!
//! Secrets are never part of an address.

use std::fmt;

/// A prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Address {
    /// Bucket.
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Section of the shared configuration files.
    pub profile: Option<String>,
    /// Encryption by the server that every PUT asks for, where a bucket's policy demands it: `AES256` or `aws:kms`.
    pub sse: Option<String>,
    /// Its key, with `aws:kms`.
    pub sse_key: Option<String>,
}

/// A prefix of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwiftAddress {
    /// Container.
    pub container: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

/// Where a network store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `s3://…`
    S3(S3Address),
    /// `swift://…`
    Swift(SwiftAddress),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress(pub String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Address {
    /// Parses `scheme://rest`; none if this room knows no such scheme.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(scheme: &str, rest: &str) -> Option<Result<Self, NoAddress>> {
        match scheme {
            "s3" => Some(parse_s3(rest).map(Self::S3)),
            "swift" => Some(parse_swift(rest).map(Self::Swift)),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(address) => {
                write_place(f, "s3", &address.bucket, &address.prefix)?;
                let options = [
                    ("endpoint", &address.endpoint),
                    ("region", &address.region),
                    ("profile", &address.profile),
                    ("sse", &address.sse),
                    ("sse-key", &address.sse_key),
                ];
                let set = options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
                for (index, (name, value)) in set.enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
                }
                Ok(())
            }
            Self::Swift(address) => write_place(f, "swift", &address.container, &address.prefix),
        }
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    scheme: &str,
    bucket: &str,
    prefix: &str,
) -> fmt::Result {
    let slash = if prefix.is_empty() { "" } else { "/" };
    write!(f, "{scheme}://{bucket}{slash}{prefix}")
}

fn parse_swift(rest: &str) -> Result<SwiftAddress, NoAddress> {
    match rest.split_once('?') {
        Some(_) => Err(NoAddress("`swift://` takes no options".to_owned())),
        None => split_place(rest).map(|(container, prefix)| SwiftAddress { container, prefix }),
    }
}

fn parse_s3(rest: &str) -> Result<S3Address, NoAddress> {
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = split_place(place)?;
    let mut address = S3Address {
        bucket,
        prefix,
        endpoint: None,
        region: None,
        profile: None,
        sse: None,
        sse_key: None,
    };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let field = match name {
            "endpoint" => &mut address.endpoint,
            "region" => &mut address.region,
            "profile" => &mut address.profile,
            "sse" => &mut address.sse,
            "sse-key" => &mut address.sse_key,
            _ => return Err(NoAddress(format!("`{name}` is no option of an address"))),
        };
        if value.is_empty() {
            return Err(NoAddress(format!("`{name}` has no value")));
        }
        *field = Some(value.to_owned());
    }
    match (address.sse.as_deref(), &address.sse_key) {
        (None, None) | (Some("AES256"), None) | (Some("aws:kms"), _) => Ok(address),
        (Some("AES256") | None, Some(_)) => {
            Err(NoAddress("`sse-key` goes with `sse=aws:kms`".to_owned()))
        }
        (Some(_), _) => Err(NoAddress("`sse` is `AES256` or `aws:kms`".to_owned())),
    }
}

/// Bucket or container, and prefix.
fn split_place(place: &str) -> Result<(String, String), NoAddress> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if bucket.is_empty() || !bucket.bytes().all(is_name) {
        return Err(NoAddress(format!("`{bucket}` is no name of a bucket")));
    }
    let prefix = prefix.trim_matches('/');
    let parts_fit =
        prefix.is_empty() || prefix.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !parts_fit || prefix.chars().any(char::is_control) {
        return Err(NoAddress(format!("`{prefix}` is no prefix")));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<String, String> {
        match Address::parse("s3", rest).unwrap() {
            Ok(address) => Ok(address.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn an_address_comes_back_as_it_is_written() {
        for text in [
            "bucket",
            "b/work",
            "b/a/b?endpoint=https://s3.example:9000&profile=home",
            "b?sse=AES256",
            "b?sse=aws:kms&sse-key=alias/drive",
        ] {
            assert_eq!(parse(text), Ok(format!("s3://{text}")));
        }
        assert_eq!(parse("b//work/"), Ok("s3://b/work".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, why) in [
            ("", "`` is no name of a bucket"),
            ("a b/x", "`a b` is no name of a bucket"),
            ("b/x/../y", "`x/../y` is no prefix"),
            ("b?key=secret", "`key` is no option of an address"),
            ("b?region=", "`region` has no value"),
            ("b?sse=DES", "`sse` is `AES256` or `aws:kms`"),
            ("b?sse=AES256&sse-key=k", "`sse-key` goes with `sse=aws:kms`"),
            ("b?sse-key=k", "`sse-key` goes with `sse=aws:kms`"),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
        assert!(Address::parse("ftp", "x").is_none());
        assert!(Address::parse("swift", "c/p?x=y").unwrap().is_err());
        assert_eq!(Address::parse("swift", "c/p/").unwrap().unwrap().to_string(), "swift://c/p");
    }
}
