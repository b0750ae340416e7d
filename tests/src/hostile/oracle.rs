//! Who wrote what where, having seen what.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_workspace::inbound::conflict::ConflictName;

/// What was written once: its number is in its bytes.
struct Version {
    path: String,
    /// None for a removal.
    len: Option<usize>,
    /// Everything that its writer had seen or written there, and what their writers had.
    ancestors: BTreeSet<u64>,
    /// Whether the writer was told that it is done.
    is_done: bool,
}

/// What one device knows of one path.
#[derive(Default)]
struct Known {
    seen: BTreeSet<u64>,
    /// What something seen replaced: to be shown that again is a step back.
    replaced: BTreeSet<u64>,
}

/// What was written, seen and promised.
pub struct Oracle {
    versions: BTreeMap<u64, Version>,
    known: Vec<BTreeMap<String, Known>>,
    /// Written by a device since its last sync.
    waiting: Vec<Vec<u64>>,
    promised: Vec<BTreeSet<u64>>,
    next: u64,
}

/// The bytes of a version.
pub fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().repeat(len.div_ceil(8));
    bytes.truncate(len);
    bytes
}

impl Oracle {
    /// Nothing yet, with that many devices.
    pub fn new(devices: usize) -> Self {
        Self {
            versions: BTreeMap::new(),
            known: (0..devices).map(|_| BTreeMap::new()).collect(),
            waiting: vec![Vec::new(); devices],
            promised: vec![BTreeSet::new(); devices],
            // No zeros at the end of a file: they could not be told from a hole.
            next: 0x5a01_0101_0101_0101,
        }
    }

    /// A device is about to write, or to remove (`len` none): the number to write.
    pub fn begin(&mut self, device: usize, path: &str, len: Option<usize>) -> u64 {
        let known = self.known[device].entry(path.to_owned()).or_default();
        let ancestors = known.seen.union(&known.replaced).copied().collect();
        let number = self.next;
        self.next += 1;
        let version = Version { path: path.to_owned(), len, ancestors, is_done: false };
        self.versions.insert(number, version);
        number
    }

    /// It did.
    pub fn done(&mut self, device: usize, number: u64) {
        self.note(device, number);
        if let Some(version) = self.versions.get_mut(&number) {
            version.is_done = true;
        }
        if self.versions[&number].len.is_some() {
            self.waiting[device].push(number);
        }
    }

    /// A sync of a device returned.
    pub fn synced(&mut self, device: usize) {
        self.promised[device].extend(self.waiting[device].drain(..));
    }

    fn note(&mut self, device: usize, number: u64) {
        let version = &self.versions[&number];
        let known = self.known[device].entry(version.path.clone()).or_default();
        known.seen.insert(number);
        known.replaced.extend(&version.ancestors);
    }

    /// A device was shown bytes.
    ///
    /// # Errors
    /// Nobody wrote that there, or it is older than what the device has seen.
    pub fn shown(&mut self, device: usize, path: &str, bytes: &[u8]) -> Result<(), String> {
        let number = self.recognise(path, bytes)?;
        let known = self.known[device].entry(path.to_owned()).or_default();
        if known.replaced.contains(&number) {
            return Err(format!(
                "{path}: {number:x} again, which was replaced by what it has seen"
            ));
        }
        self.note(device, number);
        Ok(())
    }

    /// A device was told that there is nothing.
    ///
    /// # Errors
    /// It had seen something, and nobody removed that.
    pub fn shown_nothing(&mut self, device: usize, path: &str) -> Result<(), String> {
        let Some(known) = self.known[device].get(path).filter(|known| !known.seen.is_empty())
        else {
            return Ok(());
        };
        let removed = self.versions.iter().any(|(number, version)| {
            version.path == path && version.len.is_none() && !known.replaced.contains(number)
        });
        if removed { Ok(()) } else { Err(format!("{path} is gone, and nobody removed it")) }
    }

    /// The version that bytes are, at its own path or in a conflict copy of it.
    ///
    /// # Errors
    /// Nobody wrote that there.
    pub fn recognise(&self, path: &str, bytes: &[u8]) -> Result<u64, String> {
        let wrong = || format!("{path} has {} bytes that nobody wrote there", bytes.len());
        let first = bytes.first_chunk().ok_or_else(wrong)?;
        let number = u64::from_le_bytes(*first);
        let version = self.versions.get(&number).ok_or_else(wrong)?;
        let is_it = version.len == Some(bytes.len()) && content(number, bytes.len()) == bytes;
        let is_there = version.path == original(path) || is_temporary(path);
        if is_it && is_there { Ok(number) } else { Err(wrong()) }
    }

    /// Path of a version.
    pub fn path_of(&self, number: u64) -> &str {
        &self.versions[&number].path
    }

    /// What was promised on a device and that nobody who had seen it replaced.
    pub fn owed(&self, device: usize) -> BTreeSet<u64> {
        let done = self.versions.values().filter(|version| version.is_done);
        let replaced: BTreeSet<u64> =
            done.flat_map(|version| version.ancestors.iter().copied()).collect();
        self.promised[device].difference(&replaced).copied().collect()
    }
}

/// The path that a conflict copy is of, however often it met one.
pub fn original(path: &str) -> String {
    let (folder, mut name) = match path.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name.as_bytes().to_vec()),
        None => (String::new(), path.as_bytes().to_vec()),
    };
    while let Some(parsed) = ConflictName::parse(&name) {
        name = parsed.original;
    }
    folder + &String::from_utf8_lossy(&name)
}

/// Whether a name is one that a save uses on its way.
fn is_temporary(path: &str) -> bool {
    original(path).rsplit('/').next().is_some_and(|name| {
        // The second where its name was lost.
        name.starts_with("tmp-") || name.starts_with("file ")
    })
}
