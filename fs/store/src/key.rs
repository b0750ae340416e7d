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
    /// A commit of the log, by sequence number.
    Log(u64),
    /// An immutable object.
    Object(ObjectId),
    /// A checkpoint root, by the sequence number it stands for.
    Checkpoint(u64),
}

/// Keys that are listed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// [`Key::Organisation`].
    Organisation,
    /// [`Key::Device`].
    Device,
    /// [`Key::Log`].
    Log,
    /// [`Key::Object`].
    Object,
    /// [`Key::Checkpoint`].
    Checkpoint,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 5] =
        [Family::Organisation, Family::Device, Family::Log, Family::Object, Family::Checkpoint];

    /// Name of the folder or prefix.
    pub fn folder(self) -> &'static str {
        match self {
            Family::Organisation => "organisation",
            Family::Device => "device",
            Family::Log => "log",
            Family::Object => "object",
            Family::Checkpoint => "checkpoint",
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
            Key::Log(seq) => format!("log/{seq:016x}"),
            Key::Object(id) => format!("object/{:02x}/{id}", id.0[0]),
            Key::Checkpoint(seq) => format!("checkpoint/{seq:016x}"),
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
            "log" => Key::Log(parse_number(name)?),
            "object" => Key::Object(ObjectId(parse_id(name.split_once('/')?.1)?)),
            "checkpoint" => Key::Checkpoint(parse_number(name)?),
            _ => return None,
        };
        // One spelling each: upper case, signs and wrong sub-folders do not come back the same.
        (key.path() == path).then_some(key)
    }

    /// The family, `None` for the one key that is not listed.
    pub fn family(self) -> Option<Family> {
        match self {
            Key::Workspace => None,
            Key::Organisation(_) => Some(Family::Organisation),
            Key::Device(_) => Some(Family::Device),
            Key::Log(_) => Some(Family::Log),
            Key::Object(_) => Some(Family::Object),
            Key::Checkpoint(_) => Some(Family::Checkpoint),
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
            (Key::Log(0x1f), "log/000000000000001f".to_owned()),
            (Key::Object(ObjectId(id)), format!("object/ab/{}", "ab".repeat(16))),
            (Key::Checkpoint(u64::MAX), "checkpoint/ffffffffffffffff".to_owned()),
        ] {
            assert_eq!(key.path(), path);
            assert_eq!(Key::parse(&path), Some(key));
        }
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
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
