//! Reading a journal back: every file in order, the chain between them, and where the last one ends.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use strongroom_crypto::seal;
use strongroom_crypto::secret::{JournalKey, SecretBytes};
use strongroom_crypto::usage::Context;
use strongroom_format::journal::{
    FRAME_MAGIC, FRAME_PREFIX_LEN, FrameHeader, HEADER_LEN, JournalHeader, JournalStart,
};
use strongroom_host::disk::{Disk, DiskFile, OpenMode, create_folder_durably};

use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, SPARE, UNFINISHED};
use crate::{OlderFile, Options, ReplaySink};

/// Bytes read at a time; a record that is longer is read whole.
const WINDOW_LEN: usize = 1 << 20;

/// What a replay found.
pub(crate) struct Replay {
    /// Files with records, oldest first.
    pub(crate) files: VecDeque<OlderFile>,
    /// Numbers of files without any.
    pub(crate) empty: Vec<u64>,
    pub(crate) next_file: u64,
    pub(crate) next_number: u64,
    /// Newest record that a later one knows as durable.
    pub(crate) acknowledged: u64,
    /// Commitment of the last record, zeros if there is none.
    pub(crate) previous: [u8; 32],
}

/// How the frames of a file end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With an end mark.
    Closed,
    /// Where something begins that is no frame of this file, or one that cannot be opened.
    Torn,
}

/// A file being read.
struct Reader {
    file: Arc<dyn DiskFile>,
    header: JournalHeader,
    start: JournalStart,
    len: u64,
    offset: u64,
    acknowledged: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl Replay {
    /// Reads everything, hands it to `sink`, makes it durable, and ends a torn one.
    ///
    /// # Errors
    /// As [`crate::Journal::open`].
    pub(crate) fn run(
        options: &Options,
        key: &JournalKey,
        disk: &dyn Disk,
        sink: &mut ReplaySink<'_>,
    ) -> Result<Replay> {
        let failed = |cause| Error::io("the journal's folder cannot be read", &cause);
        create_folder_durably(disk, &options.folder).map_err(failed)?;
        let entries = disk.list(&options.folder).map_err(failed)?;
        let mut found = Replay {
            files: VecDeque::new(),
            empty: Vec::new(),
            next_file: 1,
            next_number: 1,
            acknowledged: 0,
            previous: [0; 32],
        };
        // ORDER: before a file is made. Where it gets its name by a link, the process before may have ended while it had two names, and
        // what is written under one of these would be under the other.
        let is_raw = |name: &str| [SPARE, UNFINISHED].contains(&name);
        let raw: Vec<_> = entries.iter().filter(|entry| is_raw(&entry.name)).collect();
        for entry in &raw {
            disk.remove(&options.folder.join(&entry.name)).map_err(failed)?;
        }
        if !raw.is_empty() {
            disk.sync_folder(&options.folder).map_err(failed)?;
        }
        let numbers: Vec<u64> =
            entries.iter().filter_map(|entry| file::parse_name(&entry.name)).collect();
        for (index, number) in numbers.iter().enumerate() {
            let file = found.open(options, disk, *number, index + 1 == numbers.len())?;
            let mut reader = Reader::begin(file, *number, options, key)?;
            found.link(&reader, index)?;
            let ending = found.read(&mut reader, sink)?;
            if index + 1 == numbers.len() && ending == Ending::Torn {
                reader.refuse_damage(found.next_number)?;
                reader.refuse_cut()?;
                reader.end_here()?;
            }
        }
        Ok(found)
    }

    /// The last file is read from the disk and not from what a dead process left in memory: later files will
    /// be chained to what is read here.
    fn open(
        &self,
        options: &Options,
        disk: &dyn Disk,
        number: u64,
        is_last: bool,
    ) -> Result<Arc<dyn DiskFile>> {
        let path = options.folder.join(file::name(number));
        let failed = |cause| Error::io("a journal file cannot be opened", &cause);
        let file = disk.open(&path, OpenMode::Write).map_err(failed)?;
        if is_last {
            file.sync_data().map_err(|cause| {
                let text = format!("the journal cannot be made durable: {cause}");
                Error::new(ErrorKind::Poisoned, text)
            })?;
            file.drop_cache();
        }
        Ok(file)
    }

    /// Checks that a file goes on where the one before ended.
    fn link(&mut self, reader: &Reader, index: usize) -> Result<()> {
        let (file, start) = (reader.header.file, &reader.start);
        let goes_on = start.previous == self.previous && start.first_number >= self.next_number;
        if index > 0 && !goes_on {
            let last = self.next_number - 1;
            let text = format!("journal file {file} does not follow record {last}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        self.previous = start.previous;
        self.next_number = start.first_number;
        self.next_file = file
            .checked_add(1)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "number of a journal file"))?;
        Ok(())
    }

    fn read(&mut self, reader: &mut Reader, sink: &mut ReplaySink<'_>) -> Result<Ending> {
        let first = self.next_number;
        let ending = loop {
            let Some((payload, commitment)) = reader.next(self.next_number, &self.previous)? else {
                break Ending::Torn;
            };
            if payload.is_empty() {
                break Ending::Closed;
            }
            sink(self.next_number, payload.expose())?;
            self.previous = commitment;
            self.next_number += 1;
        };
        self.acknowledged = self.acknowledged.max(reader.acknowledged);
        let number = reader.header.file;
        if self.next_number == first {
            self.empty.push(number);
        } else {
            self.files.push_back(OlderFile { number, last: self.next_number - 1 });
        }
        Ok(ending)
    }
}

impl Reader {
    fn begin(
        file: Arc<dyn DiskFile>,
        number: u64,
        options: &Options,
        key: &JournalKey,
    ) -> Result<Self> {
        let corrupt =
            |what| Error::new(ErrorKind::Corrupt, format!("journal file {number} {what}"));
        let header = header(&*file, number)?;
        if header.device != options.device || header.organisation != options.organisation {
            return Err(corrupt("belongs to another device"));
        }
        let context = Context::journal_file_key(
            &header.organisation.0,
            &header.device.0,
            header.incarnation,
            header.file,
        );
        let start = seal::open(key, &context, &header.sealed_start)
            .map_err(|_| corrupt("cannot be opened"))?;
        let start = JournalStart::parse(start.expose())?;
        let len = file.len().map_err(|cause| unreadable(&cause))?;
        let offset = HEADER_LEN as u64;
        let (window, window_offset, acknowledged) = (Vec::new(), 0, 0);
        Ok(Reader { file, header, start, len, offset, acknowledged, window, window_offset })
    }

    /// The next record and its commitment; `None` where the frames end.
    fn next(
        &mut self,
        number: u64,
        previous: &[u8; 32],
    ) -> Result<Option<(SecretBytes, [u8; 32])>> {
        let commitment = *self.header.commitment();
        let Some(front) = self.bytes(self.offset, FRAME_PREFIX_LEN)? else { return Ok(None) };
        let front = front.first_chunk().and_then(|bytes| FrameHeader::parse(bytes, &commitment));
        let Some(front) = front.filter(|front| front.number == number) else { return Ok(None) };
        let context = Context::journal_record(
            &self.header.organisation.0,
            &self.header.device.0,
            self.header.incarnation,
            number,
            previous,
        );
        let offset = self.offset + FRAME_PREFIX_LEN as u64;
        let Some(sealed) = self.bytes(offset, front.sealed_len)? else { return Ok(None) };
        let commitment = *seal::commitment(sealed).expect("a frame is longer than a commitment");
        let sealed = std::mem::take(&mut self.window);
        let start = usize::try_from(offset - self.window_offset).expect("inside the window");
        let opened =
            seal::open(&self.start.key, &context, &sealed[start..start + front.sealed_len]);
        self.window = sealed;
        let Ok(payload) = opened else { return Ok(None) };
        self.offset = offset + front.sealed_len as u64;
        self.acknowledged = self.acknowledged.max(front.durable);
        Ok(Some((payload, commitment)))
    }

    /// Bytes of the file, through the window; `None` if the file ends before.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let end = offset + len as u64;
        if end > self.len {
            return Ok(None);
        }
        if offset < self.window_offset || end > self.window_offset + self.window.len() as u64 {
            let rest = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
            self.window = vec![0; rest.min(WINDOW_LEN).max(len)];
            let read = self.file.read_at(&mut self.window, offset);
            self.window.truncate(read.map_err(|cause| unreadable(&cause))?);
            self.window_offset = offset;
        }
        let start = usize::try_from(offset - self.window_offset).expect("inside the window");
        Ok(self.window.get(start..start + len))
    }

    /// Tells damage from a torn end: the record `number` cannot be read here, so no later frame may know that it
    /// was durable.
    fn refuse_damage(&mut self, number: u64) -> Result<()> {
        let commitment = *self.header.commitment();
        let mut offset = self.offset;
        while offset + FRAME_PREFIX_LEN as u64 <= self.len {
            let len = usize::try_from(self.len - offset).map_or(WINDOW_LEN, |l| l.min(WINDOW_LEN));
            let Some(bytes) = self.bytes(offset, len)? else { break };
            // Before an end mark was written everything was durable.
            let ends_behind = |front: &FrameHeader| {
                front.sealed_len == seal::sealed_len(0) && front.number > number
            };
            let known = frames(bytes, &commitment)
                .any(|front| front.durable >= number || ends_behind(&front));
            if known {
                let file = self.header.file;
                let text = format!("record {number} of journal file {file} is damaged");
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            // A front that lies across two windows is whole in the next one.
            offset += (len - FRAME_PREFIX_LEN + 1) as u64;
        }
        Ok(())
    }

    /// A loss of power leaves a file as long as it was made. Behind a cut may have been records that were durable.
    fn refuse_cut(&self) -> Result<()> {
        let (len, capacity) = (self.len, self.start.capacity);
        if len >= capacity {
            return Ok(());
        }
        let text =
            format!("journal file {} is cut short: {len} of {capacity} bytes", self.header.file);
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Makes what lies behind the last whole record no frame, for good. The length stays: it tells a cut.
    fn end_here(&mut self) -> Result<()> {
        let end = self.len.min(self.offset + FRAME_PREFIX_LEN as u64);
        let zeros = vec![0; usize::try_from(end - self.offset).unwrap_or(0)];
        let ended = self.file.write_at(&zeros, self.offset).and_then(|()| self.file.sync_data());
        ended.map_err(|cause| Error::io("a torn journal file cannot be ended", &cause))
    }
}

/// Header of the newest file. What it says is verified when the journal is opened.
pub(crate) fn newest_header(disk: &dyn Disk, folder: &Path) -> Result<Option<JournalHeader>> {
    let failed = |cause| Error::io("the journal's folder cannot be read", &cause);
    let entries = match disk.list(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed.map_err(failed)?,
    };
    let Some(newest) = entries.iter().filter_map(|entry| file::parse_name(&entry.name)).max()
    else {
        return Ok(None);
    };
    let file = disk.open(&folder.join(file::name(newest)), OpenMode::Read).map_err(failed)?;
    header(&*file, newest).map(Some)
}

/// Reads the header of the file with this number.
fn header(file: &dyn DiskFile, number: u64) -> Result<JournalHeader> {
    let corrupt = |what| Error::new(ErrorKind::Corrupt, format!("journal file {number} {what}"));
    let mut bytes = [0; HEADER_LEN];
    let read = file.read_at(&mut bytes, 0).map_err(|cause| unreadable(&cause))?;
    if read < HEADER_LEN {
        return Err(corrupt("is cut short"));
    }
    let header = JournalHeader::parse(&bytes)?;
    if header.file != number {
        return Err(corrupt("is not what its name says"));
    }
    Ok(header)
}

/// The fronts of frames that begin anywhere in these bytes.
fn frames<'b>(
    bytes: &'b [u8],
    commitment: &'b [u8; seal::COMMITMENT_LEN],
) -> impl Iterator<Item = FrameHeader> + 'b {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let Some(start) = rest.iter().position(|byte| *byte == FRAME_MAGIC[0]) {
            let candidate = &rest[start..];
            rest = &rest[start + 1..];
            let front = candidate.first_chunk().and_then(|b| FrameHeader::parse(b, commitment));
            if front.is_some() {
                return front;
            }
        }
        None
    })
}

fn unreadable(cause: &io::Error) -> Error {
    // A disk that cannot give back what it took is damage.
    Error::new(ErrorKind::Corrupt, format!("a journal file cannot be read: {cause}"))
}
