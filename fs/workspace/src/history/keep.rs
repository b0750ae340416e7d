//! How far back history is kept: a rule that lies as an extended attribute on the root folder, so that every home has it
//! with the log and the later of two rules wins.

use std::fmt;
use std::time::Duration;

use strongroom_format::ids::Ino;
use strongroom_format::inode::Inode;
use strongroom_format::key::Key;
use strongroom_format::op::Op;

use crate::error::{Error, ErrorKind, Result};
use crate::outbound::commit::Reason;
use crate::tree::map::{Map, Value};
use crate::tree::need::Look;
use crate::workspace::{Inner, Workspace};

/// Where the rule lies on the root folder.
pub const KEEP_XATTR: &[u8] = b"user.strongroom.keep";

/// A rule. History reaches back to whichever of both is further; without either it is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// So many days.
    pub days: Option<u32>,
    /// So many commits.
    pub last: Option<u64>,
}

impl Keep {
    /// Parses `days=N last=N`, either of which may be missing.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut keep = Self::default();
        for word in std::str::from_utf8(bytes).ok()?.split_whitespace() {
            match word.split_once('=')? {
                ("days", count) if keep.days.is_none() => keep.days = Some(count.parse().ok()?),
                ("last", count) if keep.last.is_none() => keep.last = Some(count.parse().ok()?),
                _ => return None,
            }
        }
        Some(keep)
    }

    /// Whether it keeps nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The last commit that history need not reach back to by count, if this is the newest.
    pub fn last_before(&self, head: u64) -> u64 {
        head.saturating_sub(self.last.unwrap_or(0))
    }

    /// The time that history reaches back to by age, nanoseconds since 1970; none: not at all. Where several homes write, it is
    /// kept for `shared` at least.
    pub fn began(&self, shared: Duration, now: i64) -> Option<i64> {
        let days = Duration::from_secs(u64::from(self.days.unwrap_or(0)) * 24 * 3600);
        let age = i64::try_from(days.max(shared).as_nanos()).unwrap_or(i64::MAX);
        (age > 0).then(|| now.saturating_sub(age))
    }

    pub(crate) fn of(root: &Inode) -> Self {
        let found = root.xattrs.iter().find(|xattr| xattr.name == KEEP_XATTR);
        // One that a later version wrote keeps everything rather than nothing.
        let unknown = Self { days: Some(u32::MAX), last: None };
        found.map_or(Self::default(), |xattr| Self::parse(&xattr.value).unwrap_or(unknown))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.days.map(|days| format!("days={days}")));
        words.extend(self.last.map(|last| format!("last={last}")));
        f.write_str(&words.join(" "))
    }
}

/// The rule that a map holds.
///
/// # Errors
/// Those of the map.
pub fn keep_in(map: &Map) -> Look<Keep> {
    match map.get(&Key::inode(Ino::ROOT))? {
        Some(Value::Inode(root)) => Ok(Keep::of(&root)),
        _ => Ok(Keep::default()),
    }
}

impl Inner {
    /// The rule in force.
    pub(crate) fn keep(&self) -> Result<Keep> {
        self.look_unlocked(|state| keep_in(&state.map))
    }

    pub(crate) fn set_keep(&self, keep: Keep) -> Result<()> {
        self.writable()?;
        let time = self.services.clock.now_ns();
        let value = (!keep.is_none()).then(|| keep.to_string().into_bytes());
        let (ino, name) = (Ino::ROOT, KEEP_XATTR.to_vec());
        self.do_now(&Op::SetXattr { ino, name, value, time })?;
        self.commit(Reason::Asked)
    }

    /// Does one operation that no kernel asked for.
    pub(crate) fn do_now(&self, op: &Op) -> Result<()> {
        let journal = self.journal()?;
        let now = self.services.clock.elapsed();
        self.look_unlocked(|state| state.execute(journal, now, op))
    }
}

impl Workspace {
    /// How far back history is kept.
    ///
    /// # Errors
    /// Those of the store.
    pub fn keep(&self) -> Result<Keep> {
        self.0.keep()
    }

    /// Changes that, for all homes. What is beyond the new rule goes with the next checkpoints. Returns when it is
    /// committed.
    ///
    /// # Errors
    /// `ReadOnly`; what the commit met.
    pub fn set_keep(&self, keep: Keep) -> Result<()> {
        self.0.set_keep(keep)
    }
}

/// What an attribute of the root must look like if it is the rule.
pub(crate) fn check_rule(value: &[u8]) -> Result<()> {
    let wrong = || Error::new(ErrorKind::Invalid, "a rule reads `days=N last=N`");
    Keep::parse(value).map(drop).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_is_written() {
        let both = Keep { days: Some(30), last: Some(100) };
        assert_eq!(both.to_string(), "days=30 last=100");
        assert_eq!(Keep::parse(b"days=30 last=100"), Some(both));
        assert_eq!(Keep::parse(b"last=7"), Some(Keep { days: None, last: Some(7) }));
        assert_eq!(Keep::parse(b""), Some(Keep::default()));
        for wrong in [&b"days"[..], b"days=", b"days=-1", b"weeks=1", b"days=1 days=2", b"\xff"] {
            assert_eq!(Keep::parse(wrong), None);
        }
    }
}
