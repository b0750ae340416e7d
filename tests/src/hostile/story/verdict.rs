//! What is demanded of devices once the store is honest again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_workspace::Workspace;
use strongroom_workspace::door::{Core, Ino, Kind, ListDetail};
use strongroom_workspace::error::Result;

use super::{Device, FOLDER, PATHS, Story, Told, is_fault, read};
use crate::harness::files::find;
use crate::harness::runner::done;
use crate::harness::seeds::trace;
use crate::hostile::oracle::original;
use crate::hostile::vault::Mood;

/// What a device shows at the end.
#[derive(Default, PartialEq)]
struct Shown {
    /// Files; none for one that cannot be read.
    files: BTreeMap<String, Option<Vec<u8>>>,
    /// Folders that cannot be listed to their end, as paths of what is in them begin.
    torn: BTreeSet<&'static str>,
}

impl Story {
    /// The store is honest again: what was promised is there, and all see the same, but for those who say that the
    /// store is not what it was. Returns how many devices showed files and were held to them.
    pub(super) fn judge(&mut self) -> Told<usize> {
        for device in &self.devices {
            device.face.be(Mood::default());
        }
        if self.chance.one_in(2) {
            for device in 0..self.devices.len() {
                self.kill(device)?;
            }
        }
        let mut errors = self.settle()?;
        let diverged = self.diverged();
        if !diverged.is_empty() {
            // Who is ahead of the store and has nothing to say hears of it when it is mounted again.
            diverged.iter().try_for_each(|device| self.kill(*device))?;
            errors = self.settle()?;
        }
        let refused: BTreeSet<usize> = errors.keys().copied().collect();
        if let Some(device) = diverged.difference(&refused).next() {
            return Err(format!("device {device} went on silently from a history that is no more"));
        }
        if !self.plan.destroys() && !self.vault.is_torn() {
            errors.retain(|device, _| !diverged.contains(device));
            if let Some((device, error)) = errors.first_key_value() {
                return Err(format!("device {device}, with an honest store: {error}"));
            }
        }
        let there: Vec<usize> =
            (0..self.devices.len()).filter(|device| !refused.contains(device)).collect();
        let mut all = Vec::new();
        for device in &there {
            all.push(self.examine(*device)?);
        }
        for (device, shown) in there.iter().zip(&all) {
            if *shown != all[0] && !self.plan.destroys() {
                return Err(format!("devices {} and {device} show different files", there[0]));
            }
            for number in self.oracle.owed(*device) {
                self.demand(*device, number, shown)?;
            }
        }
        Ok(all.iter().filter(|shown| !shown.files.is_empty()).count())
    }

    /// Devices whose newest commit is not one of the true history: the one that they said they were at, or one that they made
    /// while they were opened, which says nothing of it where it fails after that.
    fn diverged(&self) -> BTreeSet<usize> {
        let is_apart = |device: &&Device| {
            let made_apart = |made| !self.vault.is_in_truth(made);
            !self.vault.is_true(&device.head) || device.face.made().is_some_and(made_apart)
        };
        self.devices.iter().filter(is_apart).map(|device| device.number).collect()
    }

    /// Lets everything come to rest. Devices that cannot, with what they say.
    fn settle(&mut self) -> Told<BTreeMap<usize, String>> {
        let mut errors = BTreeMap::new();
        for round in 0..10 {
            for number in 0..self.devices.len() {
                for device in &self.devices {
                    device.clock.advance(Duration::from_millis(1500));
                }
                self.begin(number)?;
                match self.rest(number) {
                    Ok(()) => drop(errors.remove(&number)),
                    Err(error) => {
                        trace(|| format!("device {number} does not settle: {error}"));
                        if is_fault(&error) {
                            return Err(format!("device {number} settles: {error}"));
                        }
                        errors.insert(number, error.to_string());
                        // It says so; somebody mounts it again.
                        self.devices[number].kill();
                    }
                }
                self.note_head(number)?;
            }
            if round > 1 && self.is_at_rest(&errors) {
                return Ok(errors);
            }
            if round == 4 {
                (0..self.devices.len()).try_for_each(|device| self.kill(device))?;
            }
        }
        let heads: Vec<_> = self.devices.iter().map(|device| device.head.clone()).collect();
        Err(format!("they do not come to rest: {heads:?} {errors:?}"))
    }

    fn rest(&mut self, number: usize) -> Result<()> {
        let device = &mut self.devices[number];
        if device.workspace.is_none() {
            device.open()?;
        }
        device.core().tick()?;
        device.core().commit()
    }

    fn is_at_rest(&self, errors: &BTreeMap<usize, String>) -> bool {
        let well = self.devices.iter().filter(|device| !errors.contains_key(&device.number));
        let statuses = well.filter_map(|device| device.workspace.as_ref()).map(Workspace::status);
        let heads: BTreeSet<_> =
            statuses.map(|status| (status.head_seq, status.is_clean())).collect();
        heads.len() <= 1 && heads.iter().all(|(_, clean)| *clean)
    }

    /// Every file that a device has, judged.
    fn examine(&mut self, device: usize) -> Told<Shown> {
        self.begin(device)?;
        let mut shown = Shown::default();
        let mut paths = Vec::new();
        for prefix in PREFIXES {
            match names(self.devices[device].core(), prefix, &mut paths) {
                Ok(()) => {}
                Err(_) if self.plan.destroys() => drop(shown.torn.insert(prefix)),
                Err(error) => return Err(format!("device {device} cannot list: {error}")),
            }
        }
        for path in paths {
            let found = read(self.devices[device].core(), &path);
            let bytes = match found {
                Ok(bytes) => bytes,
                Err(_) if self.plan.destroys() => None,
                Err(error) => return Err(format!("device {device} cannot read {path}: {error}")),
            };
            if let Some(bytes) = &bytes {
                self.judge_bytes(device, &path, bytes)?;
            }
            shown.files.insert(path, bytes);
        }
        Ok(shown)
    }

    fn judge_bytes(&mut self, device: usize, path: &str, bytes: &[u8]) -> Told<()> {
        let judged = match PATHS.contains(&path) {
            true => self.oracle.shown(device, path, bytes),
            // A save that was interrupted may have left it without content.
            false if bytes.is_empty() => Ok(()),
            false => self.oracle.recognise(path, bytes).map(drop),
        };
        judged.map_err(|what| format!("device {device}, at the end: {what}"))
    }

    /// What was promised is in place or in a conflict copy, or one of these cannot be read and says so.
    fn demand(&self, device: usize, number: u64, shown: &Shown) -> Told<()> {
        let is_it = |bytes: &Vec<u8>| bytes.first_chunk() == Some(&number.to_le_bytes());
        let path = self.oracle.path_of(number);
        let is_there = shown.files.values().flatten().any(is_it);
        let lies_there = |(there, bytes): (&String, &Option<Vec<u8>>)| {
            bytes.is_none() && original(there) == path
        };
        let folder = if path.starts_with(PREFIXES[1]) { PREFIXES[1] } else { PREFIXES[0] };
        let is_told = shown.files.iter().any(lies_there) || shown.torn.contains(folder);
        if is_there || (is_told && self.plan.destroys()) {
            return Ok(());
        }
        Err(format!("device {device}: {number:x} at {path} was synced and is lost"))
    }
}

/// How paths begin, by folder.
const PREFIXES: [&str; 2] = ["", "d/"];

/// Paths of the files in a folder.
fn names(core: &dyn Core, prefix: &str, all: &mut Vec<String>) -> Result<()> {
    let folder = if prefix.is_empty() { Ino::ROOT } else { find(core, FOLDER)? };
    let mut cookie = 0;
    loop {
        let entries = done(core.read_folder(folder, cookie, 100, ListDetail::Names))?;
        let Some(last) = entries.last() else { return Ok(()) };
        cookie = last.cookie;
        let files = entries.iter().filter(|entry| entry.kind == Kind::File);
        all.extend(files.map(|entry| format!("{prefix}{}", String::from_utf8_lossy(&entry.name))));
    }
}
