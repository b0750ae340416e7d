//! A file that is being written: whole, in memory, until it is put on record.
//!
//! Files of people are sealed whole, under a new id each time, after a decision and its record. So what programs write comes
//! together here first, and goes on record when they close or sync; until then others see the file as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use strongroom_crypto::wipe::Wiped;
use strongroom_records::ids::FileId;
use strongroom_records::subject::File;
use strongroom_workspace::door::{Ino, TimeNs, WriteMode};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use crate::gate::Compartment;

/// LIMIT: bytes of one file. The register takes no larger ones.
const FILE_LEN_MAX: u64 = 64 << 20;
/// LIMIT: bytes of all files that are being written in one view.
const DRAFTS_LEN_MAX: usize = 256 << 20;
/// Bytes are kept in pieces, so that a file that grows leaves no copies behind.
const PIECE_LEN: usize = 64 << 10;

/// Memory for all drafts of a view.
#[derive(Default)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    fn take(&self, len: usize) -> Result<()> {
        let more = |taken: usize| Some(taken + len).filter(|taken| *taken <= DRAFTS_LEN_MAX);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let full = |_| Error::new(ErrorKind::Full, "256 MiB are being written and not closed yet");
        taken.map(drop).map_err(full)
    }

    fn give_back(&self, len: usize) {
        self.0.fetch_sub(len, Ordering::Relaxed);
    }
}

/// A file that is being written.
pub(crate) struct Draft {
    pub compartment: Arc<Compartment>,
    pub ino: Ino,
    room: Arc<Room>,
    body: Mutex<Body>,
}

struct Body {
    name: String,
    pieces: Vec<Wiped>,
    len: u64,
    changed: TimeNs,
    /// The file as it is on record, if it ever was.
    file: Option<File>,
    /// Changes so far; how many of them are on record, and how many were when that was refused.
    version: u64,
    put: u64,
    refused: Option<u64>,
    /// It was removed or replaced: nothing of it goes on record any more.
    is_gone: bool,
    /// Why a write was refused: what came before it is a part, and no part goes on record. Ends when the file is emptied.
    broken: Option<ErrorKind>,
}

/// What is to be put on record.
pub(crate) struct Content {
    pub name: String,
    pub bytes: Wiped,
    version: u64,
}

impl Draft {
    /// A new file, or one that is emptied: `file` is what it was.
    pub fn empty(
        compartment: Arc<Compartment>,
        ino: Ino,
        room: Arc<Room>,
        name: String,
        file: Option<File>,
        now: TimeNs,
    ) -> Self {
        let body = Body {
            name,
            pieces: Vec::new(),
            len: 0,
            changed: now,
            file,
            version: 1,
            put: 0,
            refused: None,
            is_gone: false,
            broken: None,
        };
        Self { compartment, ino, room, body: Mutex::new(body) }
    }

    /// A file as it is on record.
    ///
    /// # Errors
    /// `Full`.
    pub fn of(
        compartment: Arc<Compartment>,
        ino: Ino,
        room: Arc<Room>,
        file: File,
        bytes: &[u8],
    ) -> Result<Self> {
        let (name, written) = (file.name.clone(), file.written);
        let draft = Self::empty(compartment, ino, room, name, Some(file), written);
        draft.write(0, bytes, WriteMode::At, written)?;
        let mut body = draft.body.lock();
        body.put = body.version;
        drop(body);
        Ok(draft)
    }

    pub fn name(&self) -> String {
        self.body.lock().name.clone()
    }

    pub fn len(&self) -> u64 {
        self.body.lock().len
    }

    pub fn changed(&self) -> TimeNs {
        self.body.lock().changed
    }

    /// The file as it is on record, if it ever was.
    pub fn file(&self) -> Option<File> {
        self.body.lock().file.clone()
    }

    /// The file that has to be on record as opened before this is read.
    pub fn source(&self) -> Option<FileId> {
        self.body.lock().file.as_ref().map(|file| file.id)
    }

    pub fn is_gone(&self) -> bool {
        self.body.lock().is_gone
    }

    /// It was removed or replaced.
    pub fn remove(&self) {
        self.body.lock().is_gone = true;
    }

    pub fn rename(&self, name: &str) {
        let mut body = self.body.lock();
        name.clone_into(&mut body.name);
        if let Some(file) = &mut body.file {
            name.clone_into(&mut file.name);
        }
    }

    /// Whether there is something that is not on record.
    pub fn is_changed(&self) -> bool {
        let body = self.body.lock();
        !body.is_gone && body.put < body.version
    }

    /// Whether there is something that is not on record and that was not refused either.
    pub fn is_untold(&self) -> bool {
        let body = self.body.lock();
        let is_changed = !body.is_gone && body.put < body.version;
        is_changed && body.broken.is_none() && body.refused != Some(body.version)
    }

    /// A write was refused, or found refused already: nothing goes on record before the file is emptied.
    pub fn note_broken(&self, kind: ErrorKind) {
        self.body.lock().broken.get_or_insert(kind);
    }

    /// # Errors
    /// Why a write was refused.
    pub fn check_whole(&self) -> Result<()> {
        match self.body.lock().broken {
            None => Ok(()),
            Some(kind) => Err(Error::new(kind, "a part of it could not be written")),
        }
    }

    pub fn read(&self, offset: u64, len: u32) -> Vec<u8> {
        let body = self.body.lock();
        let end = offset.saturating_add(u64::from(len)).min(body.len);
        let mut out = Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        body.copy(offset, end, &mut out);
        out
    }

    /// Writes; returns how much.
    ///
    /// # Errors
    /// `TooLarge`; `Full`.
    pub fn write(&self, offset: u64, data: &[u8], mode: WriteMode, now: TimeNs) -> Result<u32> {
        let mut body = self.body.lock();
        let offset = if mode == WriteMode::Append { body.len } else { offset };
        let data = match mode {
            WriteMode::At | WriteMode::Append => data,
            WriteMode::WithinSize => {
                let room = usize::try_from(body.len.saturating_sub(offset)).unwrap_or(usize::MAX);
                &data[..data.len().min(room)]
            }
        };
        let end = offset.checked_add(data.len() as u64).ok_or_else(too_large)?;
        if !data.is_empty() && end > body.len {
            self.grow(&mut body, end)?;
        }
        let mut at = usize::try_from(offset).map_err(|_| too_large())?;
        let mut rest = data;
        while !rest.is_empty() {
            let (piece, from) = (at / PIECE_LEN, at % PIECE_LEN);
            let part = rest.len().min(PIECE_LEN - from);
            body.pieces[piece][from..from + part].copy_from_slice(&rest[..part]);
            rest = &rest[part..];
            at += part;
        }
        if !data.is_empty() {
            body.change(now);
        }
        u32::try_from(data.len()).map_err(|_| too_large())
    }

    /// Cuts it, or makes it longer with zeros.
    ///
    /// # Errors
    /// `TooLarge`; `Full`.
    pub fn resize(&self, len: u64, now: TimeNs) -> Result<()> {
        let mut body = self.body.lock();
        match len.cmp(&body.len) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.grow(&mut body, len)?,
            std::cmp::Ordering::Less => {
                let keep = usize::try_from(len).map_err(|_| too_large())?;
                let count = keep.div_ceil(PIECE_LEN);
                self.room.give_back((body.pieces.len() - count) * PIECE_LEN);
                body.pieces.truncate(count);
                // What is behind the end is zeros, or a file that grows again would show it.
                if let Some(last) = body.pieces.last_mut() {
                    let used = keep - (count - 1) * PIECE_LEN;
                    last[used..].fill(0);
                }
                body.len = len;
            }
        }
        if len == 0 {
            body.broken = None;
        }
        body.change(now);
        Ok(())
    }

    fn grow(&self, body: &mut Body, len: u64) -> Result<()> {
        if len > FILE_LEN_MAX {
            return Err(too_large());
        }
        let count = usize::try_from(len).map_err(|_| too_large())?.div_ceil(PIECE_LEN);
        while body.pieces.len() < count {
            self.room.take(PIECE_LEN)?;
            body.pieces.push(Wiped::zeroed(PIECE_LEN));
        }
        body.len = len;
        Ok(())
    }

    /// What has to go on record, if anything has.
    pub fn content(&self) -> Option<Content> {
        let body = self.body.lock();
        if body.is_gone || body.put >= body.version || body.broken.is_some() {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(body.len).unwrap_or(0));
        body.copy(0, body.len, &mut bytes);
        Some(Content { name: body.name.clone(), bytes: bytes.into(), version: body.version })
    }

    /// It is on record, as this file.
    pub fn note_put(&self, content: &Content, file: File) {
        let mut body = self.body.lock();
        body.put = body.put.max(content.version);
        body.file = Some(file);
    }

    /// It was refused, and whoever wrote it was told.
    pub fn note_refused(&self, content: &Content) {
        self.body.lock().refused = Some(content.version);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.room.give_back(self.body.get_mut().pieces.len() * PIECE_LEN);
    }
}

impl Body {
    fn change(&mut self, now: TimeNs) {
        self.version += 1;
        self.changed = now;
    }

    fn copy(&self, offset: u64, end: u64, out: &mut Vec<u8>) {
        let (mut at, end) = (offset, end.min(self.len));
        while at < end {
            let piece = PIECE_LEN as u64;
            let from = (at % piece) as usize;
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_LEN - from);
            out.extend_from_slice(&self.pieces[(at / piece) as usize][from..from + part]);
            at += part as u64;
        }
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "a file of a subject has 64 MiB at most")
}

#[cfg(test)]
mod tests {
    use strongroom_records::ids::{ClassId, Pseudonym, SubjectId};

    use super::*;

    fn draft(room: &Arc<Room>) -> Draft {
        let own = Compartment::new(
            SubjectId([1; 16]),
            Pseudonym([2; 16]),
            ClassId::OWNED,
            "owned".to_owned(),
        );
        Draft::empty(Arc::new(own), Ino(3), Arc::clone(room), "file".to_owned(), None, 0)
    }

    #[test]
    fn a_draft_reads_as_a_plain_vector_that_the_same_was_done_to() {
        let room = Arc::<Room>::default();
        let draft = draft(&room);
        let mut plain: Vec<u8> = Vec::new();
        let mut chance = 7_u64;
        let mut next = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) % below
        };
        for step in 0..400_u64 {
            let (at, len) = (next(200_000), next(90_000) as usize);
            let data = vec![step as u8; len];
            match next(5) {
                0 | 1 => {
                    draft.write(at, &data, WriteMode::At, 0).unwrap();
                    let end = at as usize + len;
                    if len > 0 && plain.len() < end {
                        plain.resize(end, 0);
                    }
                    if len > 0 {
                        plain[at as usize..end].copy_from_slice(&data);
                    }
                }
                2 => {
                    let room = plain.len().saturating_sub(at as usize).min(len);
                    let done = draft.write(at, &data, WriteMode::WithinSize, 0).unwrap();
                    assert_eq!(done as usize, room);
                    plain.iter_mut().skip(at as usize).take(room).for_each(|b| *b = step as u8);
                }
                3 => {
                    draft.write(0, &data[..len % 300], WriteMode::Append, 0).unwrap();
                    plain.extend_from_slice(&data[..len % 300]);
                }
                _ => {
                    draft.resize(at, 0).unwrap();
                    plain.resize(at as usize, 0);
                }
            }
            assert_eq!(draft.len(), plain.len() as u64);
            let from = next(250_000);
            let end = (from as usize + 70_000).min(plain.len());
            let want = plain.get(from as usize..end).unwrap_or_default();
            assert_eq!(draft.read(from, 70_000), want, "step {step}");
        }
        assert_eq!(*draft.content().unwrap().bytes, plain[..]);
    }

    #[test]
    fn one_file_and_all_of_them_have_a_limit_and_what_is_let_go_of_is_room_again() {
        let room = Arc::<Room>::default();
        let first = draft(&room);
        let kind = |result: Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(first.resize(FILE_LEN_MAX + 1, 0)), ErrorKind::TooLarge);
        assert_eq!(
            first.write(u64::MAX, b"x", WriteMode::At, 0).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        let all: Vec<Draft> = (0..4).map(|_| draft(&room)).collect();
        all.iter().for_each(|draft| draft.resize(FILE_LEN_MAX, 0).unwrap());
        assert_eq!(kind(first.resize(1, 0)), ErrorKind::Full);
        assert_eq!(first.len(), 0);
        all[0].resize(PIECE_LEN as u64, 0).unwrap();
        first.resize(1, 0).unwrap();
        drop((all, first));
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
