//! The file that is being written: how it begins and how a record gets into it.

use std::io;
use std::sync::Arc;

use strongroom_crypto::seal::{self, COMMITMENT_LEN, SALT_LEN};
use strongroom_crypto::secret::{JournalFileKey, JournalKey, Secret};
use strongroom_crypto::usage::Context;
use strongroom_format::journal::{
    FRAME_PREFIX_LEN, FrameHeader, HEADER_LEN, JournalHeader, JournalStart,
};
use strongroom_host::disk::{DiskFile, OpenMode};

use crate::error::{Error, ErrorKind, Result};
use crate::salts::Salts;
use crate::{Options, Services, Spare};

/// Name of a released file that waits to be written again.
pub(crate) const SPARE: &str = "spare";
/// Name of a file that has no header yet.
pub(crate) const UNFINISHED: &str = "unfinished";
/// How much may be written before the machine is told to begin with it, so that a sync has little left to do.
const WRITE_BACK_LEN: u64 = 8 << 20;

/// The file that is being written.
pub(crate) struct ActiveFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) number: u64,
    pub(crate) next_number: u64,
    /// Commitment of the last record.
    pub(crate) previous: [u8; 32],
    key: JournalFileKey,
    /// What the checks of frames are bound to.
    commitment: [u8; COMMITMENT_LEN],
    offset: u64,
    capacity: u64,
    write_back_from: u64,
    /// Kept so that no append allocates.
    frame: Vec<u8>,
}

/// What a new file begins with.
pub(crate) struct Begin<'a> {
    pub(crate) options: &'a Options,
    pub(crate) key: &'a JournalKey,
    pub(crate) services: &'a Services,
    pub(crate) number: u64,
    pub(crate) first_number: u64,
    pub(crate) previous: [u8; 32],
    pub(crate) spare: Spare,
}

/// Name of a journal file.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}")
}

/// Number of a journal file; `None` for any other name.
pub(crate) fn parse_name(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    (name(number) == text).then_some(number)
}

/// Bytes a payload takes in a file.
fn frame_len(payload_len: usize) -> u64 {
    (FRAME_PREFIX_LEN + seal::sealed_len(payload_len)) as u64
}

impl Begin<'_> {
    /// Makes the file, with room for a payload of `payload_len` at least. Durable on return, name included.
    ///
    /// # Errors
    /// `Full` if the space cannot be reserved; nothing is changed then.
    pub(crate) fn run(self, salts: &mut Salts, payload_len: usize) -> Result<ActiveFile> {
        let least = HEADER_LEN as u64 + frame_len(payload_len) + frame_len(0);
        let capacity = self.options.file_len_max.max(least);
        let (key, header) = self.header(salts, capacity);
        let file = self.make(capacity, &header)?;
        Ok(ActiveFile {
            file,
            number: self.number,
            next_number: self.first_number,
            previous: self.previous,
            key,
            commitment: *header.commitment(),
            offset: HEADER_LEN as u64,
            capacity,
            write_back_from: 0,
            frame: Vec::new(),
        })
    }

    fn header(&self, salts: &mut Salts, capacity: u64) -> (JournalFileKey, JournalHeader) {
        let options = self.options;
        let key = JournalFileKey::from(Secret::fill_with(|out| self.services.entropy.fill(out)));
        let context = Context::journal_file_key(
            &options.organisation.0,
            &options.device.0,
            options.incarnation,
            self.number,
        );
        let (first_number, previous) = (self.first_number, self.previous);
        let start = JournalStart { key, first_number, previous, capacity };
        let sealed = seal::seal(self.key, &context, salts.next(), start.encode().as_ref());
        let header = JournalHeader {
            file: self.number,
            incarnation: options.incarnation,
            device: options.device,
            organisation: options.organisation,
            sealed_start: sealed.try_into().expect("the sealed start has one length"),
        };
        (start.key, header)
    }

    /// ORDER: the header is durable before the name, the name before any record.
    fn make(&self, capacity: u64, header: &JournalHeader) -> Result<Arc<dyn DiskFile>> {
        let disk = self.services.disk.as_ref();
        let folder = &self.options.folder;
        let raw = folder.join(match self.spare {
            Spare::Kept => SPARE,
            Spare::None => UNFINISHED,
        });
        let written = disk.open(&raw, OpenMode::Create).and_then(|file| {
            file.allocate(capacity)?;
            file.write_at(&header.encode(), 0)?;
            Ok(file)
        });
        let file = written.map_err(|cause| {
            if self.spare == Spare::None {
                // What is left of it is in nobody's way, and the next attempt begins with it.
                let _ = disk.remove(&raw);
            }
            failed(&cause)
        })?;
        file.sync_data().map_err(|cause| poisoned(&cause))?;
        disk.rename_new(&raw, &folder.join(name(self.number))).map_err(|cause| failed(&cause))?;
        disk.sync_folder(folder).map_err(|cause| poisoned(&cause))?;
        Ok(file)
    }
}

fn failed(cause: &io::Error) -> Error {
    Error::io("a journal file cannot be made", cause)
}

fn poisoned(cause: &io::Error) -> Error {
    let text = format!("a journal file cannot be made durable: {cause}");
    Error::new(ErrorKind::Poisoned, text)
}

impl ActiveFile {
    /// Whether a payload fits, with the end mark behind it.
    pub(crate) fn has_room(&self, payload_len: usize) -> bool {
        self.offset + frame_len(payload_len) + frame_len(0) <= self.capacity
    }

    /// Seals and writes one record: one seal, one write. An empty payload is the end mark.
    pub(crate) fn write(
        &mut self,
        options: &Options,
        salt: [u8; SALT_LEN],
        payload: &[u8],
        durable: u64,
    ) -> io::Result<()> {
        let number = self.next_number;
        let context = Context::journal_record(
            &options.organisation.0,
            &options.device.0,
            options.incarnation,
            number,
            &self.previous,
        );
        self.frame.clear();
        self.frame.resize(FRAME_PREFIX_LEN, 0);
        seal::seal_into(&self.key, &context, salt, payload, &mut self.frame);
        let sealed = &self.frame[FRAME_PREFIX_LEN..];
        let previous = *seal::commitment(sealed).expect("it was sealed just now");
        let front = FrameHeader { sealed_len: sealed.len(), number, durable };
        self.frame[..FRAME_PREFIX_LEN].copy_from_slice(&front.encode(&self.commitment));
        self.file.write_at(&self.frame, self.offset)?;
        self.offset += self.frame.len() as u64;
        self.next_number = number + 1;
        self.previous = previous;
        self.begin_write_back();
        Ok(())
    }

    fn begin_write_back(&mut self) {
        if self.offset - self.write_back_from >= WRITE_BACK_LEN {
            self.write_back_from = self.offset;
            self.file.will_sync();
        }
    }
}
