//! Names of what is stored. The one place that knows how a key becomes a path and back.

use std::fmt;

use strongroom_format::ids::{DeviceId, ObjectId};

/// What is stored, by name. The order is that of listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The clear description of the workspace.
    Workspace,
    /// A record of the organisation log; the genesis is 0.
    Organisation(u64),
    /// A sealed device file.
    Device(DeviceId),
    /// A device's request to be taken in.
    Request(DeviceId),
    /// A commit of the log, by sequence number.
    Log(u64),
    /// An immutable object.
    Object(ObjectId),
    /// A checkpoint root, by the sequence number it stands for.
    Checkpoint(u64),
    /// Something the policy module keeps beside the workspace. Never listed: its log says what there is.
    Policy(PolicyKey),
    /// Where a custodian's device serves consumers.
    Counter(DeviceId),
    /// What a consumer's device asks a custodian.
    Ask(Letter),
    /// What a custodian answers.
    Answer(Letter),
}

/// A message between a consumer's device and a custodian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// Which conversation.
    pub session: [u8; 16],
    /// Which message of it, in its direction.
    pub number: u64,
}

impl Letter {
    fn path(self, family: Family) -> String {
        let (folder, session) = (family.folder(), u128::from_be_bytes(self.session));
        format!("{folder}/{session:032x}{:016x}", self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (session, number) = name.split_at_checked(32)?;
        Some(Self { session: parse_id(session)?, number: parse_number(number)? })
    }
}

/// Where something of the policy module lies. What each shelf means is described with its formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Whose it is: an application, or all zero for the list of applications.
    pub application: [u8; 16],
    /// Which kind of thing.
    pub shelf: Shelf,
    /// Sequence number, or a name of 16 bytes.
    pub name: u128,
}

/// Kinds of things of the policy module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shelf {
    /// Records, by sequence number.
    Log,
    /// State that is replaced, by keyed name.
    Cell,
    /// Immutable nodes of a keystore, by random name.
    Node,
    /// Immutable sealed files, by random name.
    Object,
    /// Hashes of the audit tree, by level and index.
    Tile,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Shelf; 5] = [Shelf::Log, Shelf::Cell, Shelf::Node, Shelf::Object, Shelf::Tile];

    fn folder(self) -> &'static str {
        match self {
            Shelf::Log => "log",
            Shelf::Cell => "cell",
            Shelf::Node => "node",
            Shelf::Object => "object",
            Shelf::Tile => "tile",
        }
    }
}

impl PolicyKey {
    fn path(self) -> String {
        let application = u128::from_be_bytes(self.application);
        let (folder, name) = (self.shelf.folder(), self.name);
        match self.shelf {
            Shelf::Log | Shelf::Tile => format!("policy/{application:032x}/{folder}/{name:032x}"),
            Shelf::Cell | Shelf::Node | Shelf::Object => {
                let first = name.to_be_bytes()[0];
                format!("policy/{application:032x}/{folder}/{first:02x}/{name:032x}")
            }
        }
    }

    fn parse(rest: &str) -> Option<Self> {
        let mut parts = rest.split('/');
        let application = parse_id(parts.next()?)?;
        let folder = parts.next()?;
        let shelf = Shelf::ALL.into_iter().find(|shelf| shelf.folder() == folder)?;
        let name = u128::from_be_bytes(parse_id(parts.next_back()?)?);
        Some(Self { application, shelf, name })
    }
}

/// Keys that are listed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// [`Key::Organisation`].
    Organisation,
    /// [`Key::Device`].
    Device,
    /// [`Key::Request`].
    Request,
    /// [`Key::Log`].
    Log,
    /// [`Key::Object`].
    Object,
    /// [`Key::Checkpoint`].
    Checkpoint,
    /// [`Key::Counter`].
    Counter,
    /// [`Key::Ask`].
    Ask,
    /// [`Key::Answer`].
    Answer,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 9] = [
        Family::Organisation,
        Family::Device,
        Family::Request,
        Family::Log,
        Family::Object,
        Family::Checkpoint,
        Family::Counter,
        Family::Ask,
        Family::Answer,
    ];

    /// Name of the folder or prefix.
    pub fn folder(self) -> &'static str {
        match self {
            Family::Organisation => "organisation",
            Family::Device => "device",
            Family::Request => "request",
            Family::Log => "log",
            Family::Object => "object",
            Family::Checkpoint => "checkpoint",
            Family::Counter => "counter",
            Family::Ask => "ask",
            Family::Answer => "answer",
        }
    }
}

impl Key {
    /// Path below the store's root, with `/` between the parts.
    pub fn path(self) -> String {
        match self {
            Key::Workspace => "workspace".to_owned(),
            Key::Organisation(seq) => format!("organisation/{seq:016x}"),
            Key::Device(id) => format!("device/{id}"),
            Key::Request(id) => format!("request/{id}"),
            Key::Log(seq) => format!("log/{seq:016x}"),
            Key::Object(id) => format!("object/{:02x}/{id}", id.0[0]),
            Key::Checkpoint(seq) => format!("checkpoint/{seq:016x}"),
            Key::Policy(key) => key.path(),
            Key::Counter(id) => format!("counter/{id}"),
            Key::Ask(letter) => letter.path(Family::Ask),
            Key::Answer(letter) => letter.path(Family::Answer),
        }
    }

    /// The key of a path below the store's root; `None` for any other text.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, name) = match path.split_once('/') {
            Some(parts) => parts,
            None => return (path == "workspace").then_some(Key::Workspace),
        };
        let key = match folder {
            "organisation" => Key::Organisation(parse_number(name)?),
            "device" => Key::Device(DeviceId(parse_id(name)?)),
            "request" => Key::Request(DeviceId(parse_id(name)?)),
            "log" => Key::Log(parse_number(name)?),
            "object" => Key::Object(ObjectId(parse_id(name.split_once('/')?.1)?)),
            "checkpoint" => Key::Checkpoint(parse_number(name)?),
            "policy" => Key::Policy(PolicyKey::parse(name)?),
            "counter" => Key::Counter(DeviceId(parse_id(name)?)),
            "ask" => Key::Ask(Letter::parse(name)?),
            "answer" => Key::Answer(Letter::parse(name)?),
            _ => return None,
        };
        // One spelling each: upper case, signs and wrong sub-folders do not come back the same.
        (key.path() == path).then_some(key)
    }

    /// The family, `None` for keys that are not listed.
    pub fn family(self) -> Option<Family> {
        match self {
            Key::Workspace | Key::Policy(_) => None,
            Key::Organisation(_) => Some(Family::Organisation),
            Key::Device(_) => Some(Family::Device),
            Key::Request(_) => Some(Family::Request),
            Key::Log(_) => Some(Family::Log),
            Key::Object(_) => Some(Family::Object),
            Key::Checkpoint(_) => Some(Family::Checkpoint),
            Key::Counter(_) => Some(Family::Counter),
            Key::Ask(_) => Some(Family::Ask),
            Key::Answer(_) => Some(Family::Answer),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

fn parse_number(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_documented_ones() {
        let id = [0xab; 16];
        for (key, path) in [
            (Key::Workspace, "workspace".to_owned()),
            (Key::Organisation(0), "organisation/0000000000000000".to_owned()),
            (Key::Device(DeviceId(id)), format!("device/{}", "ab".repeat(16))),
            (Key::Request(DeviceId(id)), format!("request/{}", "ab".repeat(16))),
            (Key::Log(0x1f), "log/000000000000001f".to_owned()),
            (Key::Object(ObjectId(id)), format!("object/ab/{}", "ab".repeat(16))),
            (Key::Checkpoint(u64::MAX), "checkpoint/ffffffffffffffff".to_owned()),
            (policy(Shelf::Log, 0x1f), format!("policy/{}/log/{:032x}", "ab".repeat(16), 0x1f)),
            (
                policy(Shelf::Cell, 0xcd << 120),
                format!("policy/{}/cell/cd/cd{}", "ab".repeat(16), "0".repeat(30)),
            ),
            (Key::Counter(DeviceId(id)), format!("counter/{}", "ab".repeat(16))),
            (
                Key::Ask(Letter { session: id, number: 0x1f }),
                format!("ask/{}000000000000001f", "ab".repeat(16)),
            ),
            (
                Key::Answer(Letter { session: id, number: 0 }),
                format!("answer/{}0000000000000000", "ab".repeat(16)),
            ),
        ] {
            assert_eq!(key.path(), path);
            assert_eq!(Key::parse(&path), Some(key));
        }
    }

    fn policy(shelf: Shelf, name: u128) -> Key {
        Key::Policy(PolicyKey { application: [0xab; 16], shelf, name })
    }

    #[test]
    fn other_texts_are_not_keys() {
        for text in [
            "",
            "/",
            "workspace/",
            "log",
            "log/",
            "log/1f",
            "log/000000000000001F",
            "log/+00000000000001f",
            "log/.tmp-0123456789abcdef",
            "object/ab",
            "object/ac/abababababababababababababababab",
            "object/abababababababababababababababab",
            "device/../workspace",
            "policy/abababababababababababababababab",
            "ask/abababababababababababababababab",
            "answer/abababababababababababababababab-000000000000001",
            "policy/abababababababababababababababab/other/abababababababababababababababab",
            "policy/abababababababababababababababab/cell/abababababababababababababababab",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
