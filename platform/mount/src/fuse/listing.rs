//! Filling the kernel's buffer with folder entries, without state between requests.
//!
//! The cookie of the last entry that fitted is where the next request goes on. Entries that did not fit are
//! not counted as known to the kernel.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use strongroom_workspace::door::{Core, FolderEntry, Ino, ListDetail};
use strongroom_workspace::error::{ErrorKind, Result};

use super::answer::{Driver, Patience, wait};
use super::attributes::{file_attr, file_type};
use super::reply::GENERATION;

/// Names taken from the core at a time.
const NAMES_BATCH_COUNT: u32 = 256;
/// Entries with attributes taken from the core at a time: about what fits into the kernel's usual buffer.
const DETAILS_BATCH_COUNT: u32 = 64;

/// Answers READDIR.
pub(crate) async fn list_names(
    core: Arc<dyn Core>,
    driver: Driver,
    (folder, mut cookie): (Ino, u64),
    mut reply: ReplyDirectory,
) {
    let mut is_empty = true;
    loop {
        let batch = core.read_folder(folder, cookie, NAMES_BATCH_COUNT, ListDetail::Names);
        let entries = match driver.outcome(wait(batch, driver.patience()).await) {
            Ok(entries) => entries,
            // What is in the buffer is good; the error comes again with the next request.
            Err(_) if !is_empty => return reply.ok(),
            Err(errno) => return reply.error(errno),
        };
        let Some(last) = entries.last() else { return reply.ok() };
        is_empty = false;
        cookie = last.cookie;
        for entry in &entries {
            let name = OsStr::from_bytes(&entry.name);
            if reply.add(INodeNo(entry.ino.0), entry.cookie, file_type(entry.kind), name) {
                return reply.ok();
            }
        }
    }
}

/// Answers READDIRPLUS; every entry but `.` and `..` that fits is a lookup for the kernel.
pub(crate) async fn list_details(
    core: Arc<dyn Core>,
    driver: Driver,
    (folder, mut cookie): (Ino, u64),
    lifetime: Duration,
    mut reply: ReplyDirectoryPlus,
) {
    let mut known = Vec::new();
    let outcome = loop {
        let place = (folder, &mut cookie);
        let patience = driver.patience();
        match add_batch(&core, place, (lifetime, patience), (&mut reply, &mut known)).await {
            Ok(Room::Left) => {}
            Ok(Room::None) => break Ok(()),
            // What is in the buffer is good; the error comes again with the next request.
            Err(_) if !known.is_empty() => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    match driver.outcome(outcome) {
        Ok(()) => {
            // ORDER: counted before the kernel can send a forget for it.
            core.remember(&known);
            reply.ok();
        }
        Err(errno) => reply.error(errno),
    }
}

enum Room {
    Left,
    None,
}

async fn add_batch(
    core: &Arc<dyn Core>,
    (folder, cookie): (Ino, &mut u64),
    (lifetime, patience): (Duration, Patience),
    (reply, known): (&mut ReplyDirectoryPlus, &mut Vec<Ino>),
) -> Result<Room> {
    let batch = core.read_folder(folder, *cookie, DETAILS_BATCH_COUNT, ListDetail::Attributes);
    let entries = wait(batch, patience).await?;
    if entries.is_empty() {
        return Ok(Room::None);
    }
    for entry in &entries {
        let Some(attributes) = attributes_of(core, entry, patience).await? else { continue };
        let name = OsStr::from_bytes(&entry.name);
        let node = INodeNo(entry.ino.0);
        if reply.add(node, entry.cookie, name, &lifetime, &attributes, GENERATION) {
            return Ok(Room::None);
        }
        *cookie = entry.cookie;
        if !matches!(entry.name.as_slice(), b"." | b"..") {
            known.push(entry.ino);
        }
    }
    Ok(Room::Left)
}

/// `None` if the entry went away meanwhile.
async fn attributes_of(
    core: &Arc<dyn Core>,
    entry: &FolderEntry,
    patience: Patience,
) -> Result<Option<fuser::FileAttr>> {
    if let Some(attributes) = &entry.attributes {
        return Ok(Some(file_attr(attributes)));
    }
    match wait(core.attributes(entry.ino), patience).await {
        Ok(attributes) => Ok(Some(file_attr(&attributes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
