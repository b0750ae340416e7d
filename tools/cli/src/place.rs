//! STORE on the command line: a folder, a URL, or a name from the configuration.
//!
//! A bare word is looked up in the configuration first; `./word` is always a folder.

use std::path::{Path, PathBuf};

use strongroom_remote::Address;

use crate::exit::{Exit, Failure, Result};
use crate::home::Home;

/// Where a workspace's sealed bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder on this machine: the embedded default.
    Folder(PathBuf),
    /// A bucket, or the like.
    Remote(Address),
    /// Several of these that hold the same.
    Mirror(Vec<Place>),
}

impl Place {
    /// Reads what was typed.
    ///
    /// # Errors
    /// A URL of a kind this version cannot open, or a configuration that does not parse.
    pub fn parse(typed: &str, home: &Home) -> Result<Self> {
        if !typed.contains('/')
            && let Some(configured) = home.stores()?.get(typed)
        {
            return Self::parse_literal(configured);
        }
        Self::parse_literal(typed)
    }

    fn parse_literal(text: &str) -> Result<Self> {
        if let Some(members) = text.strip_prefix("mirror:") {
            return Self::parse_mirror(members);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "file" if rest.starts_with('/') => Ok(Self::Folder(PathBuf::from(rest))),
                "strongroom" => Err(Failure::new(
                    Exit::Failed,
                    format!("`{scheme}://` stores are not in this version yet"),
                )
                .hint("give a folder, `s3://BUCKET/PREFIX` or `swift://CONTAINER/PREFIX`")),
                _ => Self::parse_remote(scheme, rest),
            };
        }
        let path = std::path::absolute(Path::new(text))
            .map_err(|error| Failure::io(format!("finding `{text}`"), &error))?;
        Ok(Self::Folder(path))
    }

    fn parse_mirror(members: &str) -> Result<Self> {
        let places = members.split(',').map(str::trim);
        let bad = |why: &str| {
            Failure::new(Exit::Usage, format!("`mirror:{members}`: {why}"))
                .hint("give `mirror:PLACE,PLACE,PLACE` with folders or URLs")
        };
        if places.clone().any(|place| place.is_empty() || place.starts_with("mirror:")) {
            return Err(bad("a member is a folder or a URL"));
        }
        let places = places.map(Self::parse_literal).collect::<Result<Vec<_>>>()?;
        if !strongroom_remote::mirror::MEMBER_COUNT.contains(&places.len()) {
            return Err(bad("a mirror has 2 to 8 members"));
        }
        if places.iter().enumerate().any(|(at, place)| places[..at].contains(place)) {
            return Err(bad("a member is named twice"));
        }
        Ok(Self::Mirror(places))
    }

    /// Whether any of it is reached over a network.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Remote(_) => true,
            Self::Mirror(members) => members.iter().any(Self::is_remote),
        }
    }

    fn parse_remote(scheme: &str, rest: &str) -> Result<Self> {
        let hint = "give a folder, `s3://BUCKET/PREFIX`, `swift://CONTAINER/PREFIX`, or a name from config.toml";
        match Address::parse(scheme, rest) {
            Some(Ok(address)) => Ok(Self::Remote(address)),
            Some(Err(error)) => Err(Failure::new(Exit::Usage, error.to_string()).hint(hint)),
            None => {
                let message = format!("unknown kind of store `{scheme}://`");
                Err(Failure::new(Exit::Usage, message).hint(hint))
            }
        }
    }

    /// Which member of a mirror it is, by its index.
    ///
    /// # Errors
    /// It is none.
    pub fn seat_in(&self, mirror: &Self) -> Result<usize> {
        let seat = match mirror {
            Self::Mirror(members) => members.iter().position(|member| member == self),
            Self::Folder(_) | Self::Remote(_) => None,
        };
        let text = || format!("`{}` is no member of `{}`", self.shown(), mirror.shown());
        seat.ok_or_else(|| Failure::new(Exit::Usage, text()))
    }

    /// How it is shown to people and in the mount table.
    pub fn shown(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Remote(address) => address.to_string(),
            Self::Mirror(members) => {
                let shown: Vec<String> = members.iter().map(Self::shown).collect();
                format!("mirror:{}", shown.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_folder_and_becomes_absolute() {
        assert_eq!(Place::parse_literal("/a/b").unwrap(), Place::Folder("/a/b".into()));
        assert_eq!(Place::parse_literal("file:///a").unwrap(), Place::Folder("/a".into()));
        let here = Place::parse_literal("x").unwrap();
        assert!(matches!(here, Place::Folder(path) if path.is_absolute() && path.ends_with("x")));
    }

    #[test]
    fn a_url_this_version_cannot_open_says_so() {
        let failure = Place::parse_literal("strongroom://h/o/w").unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.ends_with("not in this version yet"));
        assert_eq!(Place::parse_literal("ftp://x").unwrap_err().exit, Exit::Usage);
        assert_eq!(Place::parse_literal("s3://").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_mirror_is_a_list_of_places() {
        let place = Place::parse_literal("mirror:/a, s3://bucket/prefix,file:///b").unwrap();
        assert_eq!(place.shown(), "mirror:/a,s3://bucket/prefix,/b");
        assert!(place.is_remote());
        assert!(!Place::parse_literal("mirror:/a,/b").unwrap().is_remote());
        for bad in ["mirror:", "mirror:/a", "mirror:/a,,/b", "mirror:/a,mirror:/b", "mirror:/a,/a"]
        {
            assert_eq!(Place::parse_literal(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_bucket_is_shown_as_it_is_typed() {
        let place = Place::parse_literal("s3://bucket/prefix").unwrap();
        assert!(matches!(place, Place::Remote(_)));
        assert_eq!(place.shown(), "s3://bucket/prefix");
    }
}
