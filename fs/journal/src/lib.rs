//! Sealed records, durable on this device before anyone hears "written".
//!
//! What a record means and what is uploaded is the caller's business. Records have dense rising numbers over the
//! device's life; a record is sealed under its file's key with its number and the commitment of the record
//! before, so records cannot be exchanged, left out or put in from elsewhere. Bytes are laid out by
//! `strongroom_format::journal`.
//!
//! ```text
//! append ──> page cache (survives the end of the process)
//! sync   ──> disk       (survives loss of power); one in flight, shared by all who wait
//! ```
//!
//! 1. A file gets its name when its header is durable, and only after everything in the files before it is
//!    durable. So a gap between files is damage, and a torn end can only be in the last one.
//! 2. A failed write or sync poisons: nothing is appended or synced any more, and no file is synced a
//!    second time, because the machine may have dropped the pages and would say yes.
//! 3. Every open begins a new file. The last one is synced and read back from the disk first, for what a dead
//!    process left in the page cache is not durable by itself.
//! 4. LIMIT: one payload is at most 2 MiB, one file `file_len_max`; the number of files is bounded by how soon the
//!    caller releases. One released file is kept to be written again.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ahead;
mod error;
mod file;
mod replay;
mod salts;
mod syncer;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_crypto::secret::JournalKey;
use strongroom_format::ids::{DeviceId, OrganisationId};
pub use strongroom_format::journal::PAYLOAD_LEN_MAX;
use strongroom_host::disk::Disk;
use strongroom_host::entropy::Entropy;

pub use error::{Error, ErrorKind, Result};
use file::{ActiveFile, SPARE};
use replay::Replay;
use syncer::Syncer;

/// Which journal, and how large its files are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder that holds the journal's files and nothing else; made if missing.
    pub folder: PathBuf,
    /// Bytes reserved for one file. A record larger than that gets a larger file.
    pub file_len_max: u64,
    /// The device.
    pub device: DeviceId,
    /// Its organisation.
    pub organisation: OrganisationId,
    /// Incarnation of the device's counters. Files of earlier ones are replayed too.
    pub incarnation: u64,
    /// The next record's number is at least this.
    pub first_number_min: u64,
}

/// What the journal asks of the machine.
#[derive(Clone)]
pub struct Services {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Keys and salts.
    pub entropy: Arc<dyn Entropy>,
}

/// Evidence that a record is in the journal: it survives the end of this process. Made by an append alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journaled {
    number: u64,
}

impl Journaled {
    /// The record's number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Takes a replayed record: number and payload.
pub type ReplaySink<'a> = dyn FnMut(u64, &[u8]) -> Result<()> + 'a;

/// An open journal. One per folder: the caller holds the lock that makes it so.
pub struct Journal {
    writer: Mutex<Writer>,
    inherited: u64,
    first: u64,
    syncer: Syncer,
    releasing: Mutex<()>,
    folder: PathBuf,
    disk: Arc<dyn Disk>,
}

/// What appends need, under one lock.
struct Writer {
    options: Options,
    key: JournalKey,
    services: Services,
    salts: salts::Salts,
    active: ActiveFile,
    /// Files before the active one, oldest first.
    older: VecDeque<OlderFile>,
    spare: Spare,
    state: State,
}

/// A file that is complete.
struct OlderFile {
    number: u64,
    /// Number of its last record; one below its first if it has none.
    last: u64,
}

/// Whether a released file waits to be written again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spare {
    None,
    Kept,
}

/// Files taken out of use, on their way.
struct Retired {
    /// Whether there is a spare already, here or from before.
    spare: Spare,
    /// Whether one of these files became the spare.
    made: Spare,
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

/// Incarnation of the newest journal file in a folder; none if there is no file, nor maybe a folder.
///
/// # Errors
/// `Corrupt` if the newest file has no header; `Internal` if the disk refuses.
pub fn incarnation(disk: &dyn Disk, folder: &Path) -> Result<Option<u64>> {
    Ok(replay::newest_header(disk, folder)?.map(|header| header.incarnation))
}

/// Organisation and device whose journal is in a folder; none if there is no file, nor maybe a folder.
///
/// # Errors
/// As [`incarnation`].
pub fn owner(disk: &dyn Disk, folder: &Path) -> Result<Option<(OrganisationId, DeviceId)>> {
    Ok(replay::newest_header(disk, folder)?.map(|header| (header.organisation, header.device)))
}

impl Journal {
    /// Replays what is there, in order, and begins a new file. A torn end is cut off; what is replayed is durable.
    ///
    /// # Errors
    /// `Corrupt` for damage that is not a torn end, nothing is changed then; `Unsupported` for a newer format; `Full`,
    /// `Poisoned` if the disk fails; whatever `replay` returns.
    pub fn open(
        options: Options,
        key: &JournalKey,
        services: Services,
        replay: &mut ReplaySink<'_>,
    ) -> Result<Journal> {
        let key = JournalKey::from_bytes(key.expose());
        let found = Replay::run(&options, &key, services.disk.as_ref(), replay)?;
        let first = ahead::first_number(found.next_number, options.first_number_min);
        let mut salts = salts::Salts::new(Arc::clone(&services.entropy));
        let begin = file::Begin {
            options: &options,
            key: &key,
            services: &services,
            number: found.next_file,
            first_number: first,
            previous: found.previous,
            spare: Spare::None,
        };
        let active = begin.run(&mut salts, 0)?;
        let acknowledged = found.acknowledged;
        let syncer = Syncer::new(Arc::clone(&active.file), first - 1, acknowledged);
        let folder = options.folder.clone();
        let disk = Arc::clone(&services.disk);
        let writer = Writer {
            options,
            key,
            services,
            salts,
            active,
            older: found.files,
            spare: Spare::None,
            state: State::Open,
        };
        let (inherited, releasing) = (found.next_number - 1, Mutex::new(()));
        let writer = Mutex::new(writer);
        let journal = Journal { writer, inherited, first, syncer, releasing, folder, disk };
        // Files without records are of no use. Not before now: the newest may be all that knows the number.
        let mut retired = Retired { spare: Spare::None, made: Spare::None, count: 0 };
        for number in &found.empty {
            journal.retire(&journal.folder.join(file::name(*number)), &mut retired)?;
        }
        journal.end_retiring(&retired)?;
        Ok(journal)
    }

    /// Appends a record. On return it survives the end of the process; [`Journal::sync`] makes it durable. May take
    /// a sync and the making of a file, when the last one is full.
    ///
    /// # Errors
    /// `Invalid` for an empty payload or one over 2 MiB, or after close; `Full` if no new file can be reserved, nothing
    /// is written then and a later append may succeed; `Poisoned`.
    pub fn append(&self, payload: &[u8]) -> Result<Journaled> {
        if payload.is_empty() || payload.len() > PAYLOAD_LEN_MAX {
            return Err(Error::new(ErrorKind::Invalid, "length of a journal record"));
        }
        let mut writer = self.writer.lock();
        if writer.state == State::Closed {
            return Err(Error::new(ErrorKind::Invalid, "the journal is closed"));
        }
        self.syncer.check()?;
        if !writer.active.has_room(payload.len()) {
            self.next_file(&mut writer, payload.len())?;
        }
        let durable = self.syncer.acknowledged();
        let Writer { active, options, salts, .. } = &mut *writer;
        let number = active.next_number;
        active
            .write(options, salts.next(), payload, durable)
            .map_err(|cause| self.syncer.poison("a journal record cannot be written", &cause))?;
        self.syncer.appended(number);
        Ok(Journaled { number })
    }

    /// Makes all records up to number `up_to` durable. Waits for the sync in flight, then for at most one more.
    ///
    /// # Errors
    /// `Invalid` for a number not yet given; `Poisoned`.
    pub fn sync(&self, up_to: u64) -> Result<()> {
        self.syncer.sync(up_to)?;
        self.syncer.acknowledge(up_to);
        Ok(())
    }

    /// Number of the last record that some caller was told to be durable, as far as the records know: by this process
    /// or by those before it. What such a record names outside of the journal was durable, too, if callers see to that
    /// first.
    pub fn acknowledged(&self) -> u64 {
        self.syncer.acknowledged()
    }

    /// Number of the last record of the processes before, as far as the files tell.
    pub fn inherited(&self) -> u64 {
        self.inherited
    }

    /// Number of the last record of this process, if there is one.
    pub fn written(&self) -> Option<u64> {
        Some(self.position()).filter(|last| *last >= self.first)
    }

    /// Number before that of the next record.
    pub fn position(&self) -> u64 {
        self.syncer.position()
    }

    /// Number of the last record that is durable.
    pub fn durable(&self) -> u64 {
        self.syncer.durable()
    }

    /// Removes the files whose records are all at or below `up_to`. They do not come back after a power loss.
    ///
    /// # Errors
    /// `Internal` if the disk refuses; a later release takes what is left.
    pub fn release(&self, up_to: u64) -> Result<()> {
        let _one = self.releasing.lock();
        self.remove_older(up_to)
    }

    /// Ends the journal: everything is durable, and the file says that it is complete. Fine to repeat.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn close(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        if writer.state == State::Closed {
            return Ok(());
        }
        let last = writer.active.next_number - 1;
        self.syncer.sync(last)?;
        writer.state = State::Closed;
        let Writer { active, options, salts, .. } = &mut *writer;
        active
            .write(options, salts.next(), &[], self.syncer.acknowledged())
            .map_err(|cause| self.syncer.poison("a journal file cannot be ended", &cause))?;
        self.syncer.sync_end()
    }

    /// ORDER: the full file is durable before the next one gets its name.
    fn next_file(&self, writer: &mut Writer, payload_len: usize) -> Result<()> {
        let last = writer.active.next_number - 1;
        self.syncer.sync(last)?;
        let begin = file::Begin {
            options: &writer.options,
            key: &writer.key,
            services: &writer.services,
            number: writer.active.number + 1,
            first_number: writer.active.next_number,
            previous: writer.active.previous,
            spare: writer.spare,
        };
        let made = begin.run(&mut writer.salts, payload_len);
        let active = made.map_err(|error| self.syncer.note(error))?;
        writer.spare = Spare::None;
        self.syncer.change_file(Arc::clone(&active.file));
        let full = std::mem::replace(&mut writer.active, active);
        writer.older.push_back(OlderFile { number: full.number, last });
        Ok(())
    }

    /// Removes the oldest files whose last record is at or below `up_to`.
    ///
    /// ORDER: oldest first, and durable before the spare is written again, or after a power loss an old
    /// name could show the new content.
    fn remove_older(&self, up_to: u64) -> Result<()> {
        let spare = self.writer.lock().spare;
        let mut retired = Retired { spare, made: Spare::None, count: 0 };
        while let Some(path) = self.oldest_done(up_to) {
            self.retire(&path, &mut retired)?;
            self.writer.lock().older.pop_front();
        }
        self.end_retiring(&retired)
    }

    /// Removes a file, or keeps it as the spare.
    fn retire(&self, path: &Path, retired: &mut Retired) -> Result<()> {
        let removed = match retired.spare {
            Spare::Kept => self.disk.remove(path),
            Spare::None => {
                *retired = Retired { spare: Spare::Kept, made: Spare::Kept, ..*retired };
                self.disk.rename(path, &self.folder.join(SPARE))
            }
        };
        retired.count += 1;
        match removed {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("a journal file cannot be removed", &cause))
            }
            _ => Ok(()),
        }
    }

    /// The spare is given out only when its old name is gone for good.
    fn end_retiring(&self, retired: &Retired) -> Result<()> {
        if retired.count > 0 {
            let failed = |cause| Error::io("a journal file cannot be removed", &cause);
            self.disk.sync_folder(&self.folder).map_err(failed)?;
        }
        if retired.made == Spare::Kept {
            self.writer.lock().spare = Spare::Kept;
        }
        Ok(())
    }

    fn oldest_done(&self, up_to: u64) -> Option<PathBuf> {
        let writer = self.writer.lock();
        let file = writer.older.front().filter(|file| file.last <= up_to)?;
        Some(self.folder.join(file::name(file.number)))
    }
}
