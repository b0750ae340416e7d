//! Sealed bytes of objects kept on the local disk, up to a limit.
//!
//! ```text
//! FOLDER/<2 hex>/<32 hex>        a whole object
//! FOLDER/<2 hex>/<32 hex>.part   pieces in the order they came: mark 4, check 4, start 4, length 4, bytes
//! ….held                         either of both that is held: it stays until it is let go
//! ```
//!
//! 1. The bytes of all files never exceed the limit: room is made before anything is written. What is held has a limit of
//!    its own, and nothing else makes room for it.
//! 2. Nothing is synced and nothing here is believed: who reads verifies, and has a copy that does not verify forgotten.
//! 3. What was asked for again since it came stays longer than what was asked for once: a scan does not empty the shelf.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{Disk, DiskFile, OpenMode};

const PART_ENDING: &str = ".part";
const HELD_ENDING: &str = ".held";
const HEAD_LEN: u64 = 16;
const MARK: u32 = 0x5352_4331;
/// LIMIT: files held open at a time.
const HANDLE_COUNT_MAX: usize = 128;
/// Times that something asked for again survives being next to go.
const HITS_MAX: u8 = 3;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files that are not held.
    pub bytes_max: u64,
    /// Bytes of all files that are held.
    pub held_bytes_max: u64,
    /// Bytes that stay free on the disk.
    pub free_bytes_min: u64,
}

/// The shelf.
pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// Held as long as the folder is in use.
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
struct State {
    objects: HashMap<ObjectId, Object>,
    /// Next to go at the front.
    queue: VecDeque<ObjectId>,
    /// Those with an open file, the longest open at the front.
    open: VecDeque<ObjectId>,
    bytes: u64,
    held_bytes: u64,
}

struct Object {
    form: Form,
    /// Whether it stays until it is let go.
    class: Class,
    /// Bytes of its file; where the next piece goes.
    len: u64,
    file: Option<Arc<dyn DiskFile>>,
    hits: u8,
}

/// Which limit a file counts for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Usual,
    Held,
}

/// Why an object cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldFull {
    /// The limit.
    pub(crate) bytes_max: u64,
}

impl State {
    fn bytes_of(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Usual => &mut self.bytes,
            Class::Held => &mut self.held_bytes,
        }
    }
}

enum Form {
    Whole,
    /// None: not looked at since the folder was opened.
    Parts(Option<Pieces>),
}

/// Start in the object to end and place in the file.
// INVARIANT: none begins before the one in front ends, so that the last one that begins at or before a byte has it, if any does.
type Pieces = BTreeMap<u64, Piece>;

#[derive(Clone, Copy)]
struct Piece {
    end: u64,
    place: u64,
}

impl Shelf {
    /// Opens a folder, made if missing, with what is in it. `WouldBlock` when another process has it.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: PathBuf, limits: Limits) -> io::Result<Self> {
        disk.create_folder(&folder)?;
        let lock = disk.lock(&folder.join("lock"))?;
        let mut state = State::default();
        for prefix in 0..=u8::MAX {
            let inner = folder.join(format!("{prefix:02x}"));
            disk.create_folder(&inner)?;
            for entry in disk.list(&inner)? {
                let (name, class) = match entry.name.strip_suffix(HELD_ENDING) {
                    Some(name) => (name, Class::Held),
                    None => (entry.name.as_str(), Class::Usual),
                };
                let (name, form) = match name.strip_suffix(PART_ENDING) {
                    Some(name) => (name, Form::Parts(None)),
                    None => (name, Form::Whole),
                };
                let id = parse_id(name).filter(|id| !state.objects.contains_key(id));
                let Some(id) = id else {
                    disk.remove(&inner.join(&entry.name))?;
                    continue;
                };
                *state.bytes_of(class) += entry.len;
                if class == Class::Usual {
                    state.queue.push_back(id);
                }
                let object = Object { form, class, len: entry.len, file: None, hits: 0 };
                state.objects.insert(id, object);
            }
        }
        let shelf = Self { disk, folder, limits, state: Mutex::new(state), _lock: lock };
        shelf.make_room(&mut shelf.state.lock(), 0);
        Ok(shelf)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Bytes of all files that are held.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.state.lock().held_bytes
    }

    /// Objects that are held.
    pub(crate) fn held(&self) -> Vec<ObjectId> {
        let state = self.state.lock();
        let held = state.objects.iter().filter(|(_, object)| object.class == Class::Held);
        held.map(|(id, _)| *id).collect()
    }

    /// Holds what is here of an object from here on. False if nothing of it is.
    pub(crate) fn hold(&self, id: ObjectId) -> Result<bool, HeldFull> {
        let mut state = self.state.lock();
        let held_bytes = state.held_bytes;
        let Some(object) = state.objects.get_mut(&id) else { return Ok(false) };
        if object.class == Class::Held {
            return Ok(true);
        }
        if held_bytes + object.len > self.limits.held_bytes_max {
            return Err(self.full());
        }
        let len = object.len;
        let before = self.path(id, &object.form, Class::Usual);
        if self.disk.rename(&before, &self.path(id, &object.form, Class::Held)).is_err() {
            return Ok(false);
        }
        object.class = Class::Held;
        state.bytes -= len;
        state.held_bytes += len;
        state.queue.retain(|other| *other != id);
        Ok(true)
    }

    /// The object counts as any other again.
    pub(crate) fn let_go(&self, id: ObjectId) {
        let mut state = self.state.lock();
        let Some(object) = state.objects.get_mut(&id).filter(|one| one.class == Class::Held) else {
            return;
        };
        let len = object.len;
        let before = self.path(id, &object.form, Class::Held);
        if self.disk.rename(&before, &self.path(id, &object.form, Class::Usual)).is_err() {
            self.remove(&mut state, id);
            return;
        }
        object.class = Class::Usual;
        state.held_bytes -= len;
        state.bytes += len;
        state.queue.push_back(id);
        self.make_room(&mut state, 0);
    }

    fn full(&self) -> HeldFull {
        HeldFull { bytes_max: self.limits.held_bytes_max }
    }

    /// Whether a piece of an object that is to be held would fit, beside what is here of the object already.
    pub(crate) fn fits_held(&self, id: ObjectId, len: u64) -> Result<(), HeldFull> {
        let need = HEAD_LEN + len;
        let free = self.disk.space(&self.folder).map_or(u64::MAX, |space| space.free_bytes);
        let state = self.state.lock();
        let here = state.objects.get(&id).filter(|object| object.class == Class::Usual);
        let held_bytes = state.held_bytes + here.map_or(0, |object| object.len);
        let room = free >= self.limits.free_bytes_min.saturating_add(need);
        match room && held_bytes + need <= self.limits.held_bytes_max {
            true => Ok(()),
            false => Err(self.full()),
        }
    }

    /// Keeps a piece of an object that is to be held.
    pub(crate) fn insert_held(
        &self,
        id: ObjectId,
        start: u64,
        bytes: &Bytes,
    ) -> Result<bool, HeldFull> {
        if !self.hold(id)? {
            let mut state = self.state.lock();
            let form = Form::Parts(Some(Pieces::new()));
            let object = Object { form, class: Class::Held, len: 0, file: None, hits: 0 };
            state.objects.entry(id).or_insert(object);
        }
        self.fits_held(id, bytes.len() as u64)?;
        self.keep(id, start, bytes, Class::Held);
        // Somebody who fetched the same may have put it there meanwhile, and not to be held.
        Ok(self.hold(id)? && self.has(id, &(start..start + bytes.len() as u64)))
    }

    /// The bytes of a range, or of all of a whole object, if all of them are here.
    pub(crate) fn find(&self, id: ObjectId, range: Option<&Range<u64>>) -> Option<Bytes> {
        let (file, spans) = self.spans(id, range)?;
        let total: u64 = spans.iter().map(|(_, len)| len).sum();
        if let [(place, len)] = spans[..] {
            let read = file.read_new(usize::try_from(len).ok()?, place).ok()?;
            return (read.len() as u64 == len).then(|| read.into());
        }
        let mut out = BytesMut::with_capacity(usize::try_from(total).ok()?);
        for (place, len) in spans {
            out.extend_from_slice(&file.read_new(usize::try_from(len).ok()?, place).ok()?);
        }
        (out.len() as u64 == total).then(|| out.freeze())
    }

    /// Whether [`Shelf::find`] would find a range.
    pub(crate) fn has(&self, id: ObjectId, range: &Range<u64>) -> bool {
        self.spans(id, Some(range)).is_some()
    }

    /// Where in which file a range lies.
    #[expect(clippy::type_complexity, reason = "read where it is made")]
    fn spans(
        &self,
        id: ObjectId,
        range: Option<&Range<u64>>,
    ) -> Option<(Arc<dyn DiskFile>, Vec<(u64, u64)>)> {
        let mut state = self.state.lock();
        let file = self.file(&mut state, id)?;
        self.look_at(&mut state, id, &*file);
        let object = state.objects.get_mut(&id)?;
        let len = object.len;
        let spans = match &object.form {
            Form::Whole => {
                let range = range.cloned().unwrap_or(0..len);
                (range.end <= len).then(|| vec![(range.start, range.end - range.start)])?
            }
            Form::Parts(pieces) => cover(pieces.as_ref()?, range?)?,
        };
        object.hits = (object.hits + 1).min(HITS_MAX);
        Some((file, spans))
    }

    /// Keeps a piece of an object; false if it could not, or the object is held: what somebody reads beside what is held would take
    /// the room of what is to be held.
    pub(crate) fn insert(&self, id: ObjectId, start: u64, bytes: &Bytes) -> bool {
        self.keep(id, start, bytes, Class::Usual)
    }

    fn keep(&self, id: ObjectId, start: u64, bytes: &Bytes, wanted: Class) -> bool {
        let need = HEAD_LEN + bytes.len() as u64;
        if bytes.is_empty() || !self.fits(id, need) {
            return false;
        }
        let Some((file, place)) = self.reserve(id, need, wanted) else { return false };
        // ORDER: the bytes before the head that names them, so that a piece cut off half way is none.
        let written = file
            .write_at(bytes, place + HEAD_LEN)
            .and_then(|()| file.write_at(&head(start, bytes.len() as u64), place));
        if written.is_err() {
            self.give_back(id, place, need);
            return false;
        }
        let mut state = self.state.lock();
        if let Some(object) = state.objects.get_mut(&id)
            && object.file.as_ref().is_none_or(|now| Arc::ptr_eq(now, &file))
            && let Form::Parts(Some(pieces)) = &mut object.form
        {
            let piece = Piece { end: start + bytes.len() as u64, place: place + HEAD_LEN };
            lay(pieces, start, piece);
        }
        true
    }

    /// Room for a piece at the end of an object's file; none if it is here whole, or cannot be.
    fn reserve(&self, id: ObjectId, need: u64, wanted: Class) -> Option<(Arc<dyn DiskFile>, u64)> {
        let mut state = self.state.lock();
        let class = state.objects.get(&id).map_or(Class::Usual, |object| object.class);
        match class {
            Class::Usual => self.make_room(&mut state, need),
            Class::Held if wanted == Class::Usual => return None,
            Class::Held if state.held_bytes + need > self.limits.held_bytes_max => return None,
            Class::Held => {}
        }
        if let Entry::Vacant(vacant) = state.objects.entry(id) {
            let form = Form::Parts(Some(Pieces::new()));
            vacant.insert(Object { form, class: Class::Usual, len: 0, file: None, hits: 0 });
            state.queue.push_back(id);
        }
        let file = self.file(&mut state, id)?;
        // Before it grows: behind the present end there is nothing to look at.
        self.look_at(&mut state, id, &*file);
        let object = state.objects.get_mut(&id)?;
        if matches!(object.form, Form::Whole) {
            return None;
        }
        let place = object.len;
        object.len += need;
        *state.bytes_of(class) += need;
        Some((file, place))
    }

    /// Gives back the room of a piece that could not be written. What is held stays, or it would be missed by nobody until
    /// it is needed; a piece behind this one is fetched again after the next start.
    fn give_back(&self, id: ObjectId, place: u64, need: u64) {
        let mut state = self.state.lock();
        let Some(object) = state.objects.get_mut(&id) else { return };
        let class = object.class;
        if class == Class::Held && object.len == place + need {
            object.len = place;
            *state.bytes_of(class) -= need;
        } else if class == Class::Usual {
            drop(state);
            self.forget(id);
        }
    }

    /// Takes a file that holds a whole object; false if it stays where it is.
    pub(crate) fn adopt(&self, id: ObjectId, path: &Path, len: u64) -> bool {
        if !self.fits(id, len) {
            return false;
        }
        self.forget(id);
        let mut state = self.state.lock();
        self.make_room(&mut state, len);
        let to = self.path(id, &Form::Whole, Class::Usual);
        if self.disk.rename(path, &to).is_err() {
            return false;
        }
        let (form, class) = (Form::Whole, Class::Usual);
        state.objects.insert(id, Object { form, class, len, file: None, hits: 0 });
        state.queue.push_back(id);
        state.bytes += len;
        true
    }

    /// Lets go of an object; true if there was something of it.
    pub(crate) fn forget(&self, id: ObjectId) -> bool {
        let mut state = self.state.lock();
        state.queue.retain(|other| *other != id);
        self.remove(&mut state, id)
    }

    /// Lets go of an object unless it is held.
    pub(crate) fn forget_usual(&self, id: ObjectId) {
        // ORDER: one lock over both. It may be held a moment after it was looked at.
        let mut state = self.state.lock();
        if state.objects.get(&id).is_some_and(|object| object.class == Class::Usual) {
            state.queue.retain(|other| *other != id);
            self.remove(&mut state, id);
        }
    }

    /// Whether so much may be kept at all.
    fn fits(&self, id: ObjectId, need: u64) -> bool {
        let free = self.disk.space(&self.folder).map_or(u64::MAX, |space| space.free_bytes);
        let is_held = |object: &Object| object.class == Class::Held;
        let max = match self.state.lock().objects.get(&id).is_some_and(is_held) {
            true => self.limits.held_bytes_max,
            false => self.limits.bytes_max,
        };
        need <= max && free >= self.limits.free_bytes_min.saturating_add(need)
    }

    fn make_room(&self, state: &mut State, need: u64) {
        while state.bytes + need > self.limits.bytes_max {
            let Some(id) = state.queue.pop_front() else { return };
            match state.objects.get_mut(&id) {
                Some(object) if object.hits > 0 => {
                    object.hits -= 1;
                    state.queue.push_back(id);
                }
                _ => drop(self.remove(state, id)),
            }
        }
    }

    fn remove(&self, state: &mut State, id: ObjectId) -> bool {
        let Some(object) = state.objects.remove(&id) else { return false };
        // A file that cannot go is counted again at the next open.
        let _ = self.disk.remove(&self.path(id, &object.form, object.class));
        state.open.retain(|other| *other != id);
        *state.bytes_of(object.class) -= object.len;
        true
    }

    fn file(&self, state: &mut State, id: ObjectId) -> Option<Arc<dyn DiskFile>> {
        let object = state.objects.get(&id)?;
        if let Some(file) = &object.file {
            return Some(file.clone());
        }
        let mode = match object.form {
            Form::Whole => OpenMode::Read,
            Form::Parts(_) => OpenMode::Create,
        };
        let file = match self.disk.open(&self.path(id, &object.form, object.class), mode) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.queue.retain(|other| *other != id);
                self.remove(state, id);
                return None;
            }
            // It may open the next time: too many files are open, perhaps.
            Err(_) => return None,
        };
        state.objects.get_mut(&id)?.file = Some(file.clone());
        state.open.push_back(id);
        if state.open.len() > HANDLE_COUNT_MAX
            && let Some(oldest) = state.open.pop_front()
            && let Some(object) = state.objects.get_mut(&oldest)
        {
            object.file = None;
        }
        Some(file)
    }

    /// Reads what pieces an object has, if nobody has since the folder was opened. The file is cut where they end:
    /// what came behind a broken one would not be found again.
    fn look_at(&self, state: &mut State, id: ObjectId, file: &dyn DiskFile) {
        let Some(object) = state.objects.get_mut(&id) else { return };
        let Form::Parts(none @ None) = &mut object.form else { return };
        let (pieces, end) = read_pieces(file, object.len);
        *none = Some(pieces);
        if end < object.len && file.set_len(end).is_ok() {
            let (class, cut) = (object.class, object.len - end);
            object.len = end;
            *state.bytes_of(class) -= cut;
        }
    }

    fn path(&self, id: ObjectId, form: &Form, class: Class) -> PathBuf {
        let ending = match form {
            Form::Whole => "",
            Form::Parts(_) => PART_ENDING,
        };
        let held = match class {
            Class::Usual => "",
            Class::Held => HELD_ENDING,
        };
        self.folder.join(format!("{:02x}", id.0[0])).join(format!("{id}{ending}{held}"))
    }
}

fn parse_id(name: &str) -> Option<ObjectId> {
    let number = (name.len() == 32).then(|| u128::from_str_radix(name, 16).ok()).flatten()?;
    let id = ObjectId(number.to_be_bytes());
    (id.to_string() == name).then_some(id)
}

/// Pieces one after the other that cover a range: places and lengths.
fn cover(pieces: &Pieces, range: &Range<u64>) -> Option<Vec<(u64, u64)>> {
    let mut spans = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (start, piece) = pieces.range(..=at).next_back()?;
        if piece.end <= at {
            return None;
        }
        let end = piece.end.min(range.end);
        spans.push((piece.place + (at - start), end - at));
        at = end;
    }
    (!spans.is_empty()).then_some(spans)
}

/// Lays a piece among the others: it gives way to what is behind it, and takes the place of what is in front.
fn lay(pieces: &mut Pieces, start: u64, mut piece: Piece) {
    if let Some((_, before)) = pieces.range_mut(..=start).next_back() {
        if before.end >= piece.end {
            return;
        }
        before.end = before.end.min(start);
    }
    // One that begins where this one does is empty by now.
    while let Some((&other, behind)) = pieces.range(start..piece.end).next_back() {
        if behind.end > piece.end {
            piece.end = other;
        } else {
            pieces.remove(&other);
        }
    }
    pieces.insert(start, piece);
}

fn head(start: u64, len: u64) -> [u8; HEAD_LEN as usize] {
    let (start, len) = (as_u32(start), as_u32(len));
    let mut out = [0; HEAD_LEN as usize];
    out[..4].copy_from_slice(&MARK.to_le_bytes());
    out[4..8].copy_from_slice(&check(start, len).to_le_bytes());
    out[8..12].copy_from_slice(&start.to_le_bytes());
    out[12..].copy_from_slice(&len.to_le_bytes());
    out
}

fn as_u32(number: u64) -> u32 {
    u32::try_from(number).expect("an object is far below 4 GiB")
}

fn check(start: u32, len: u32) -> u32 {
    MARK ^ start.rotate_left(7) ^ len.rotate_left(19)
}

/// Reads the heads of a file with pieces, and where they end; what follows a broken one is lost, which costs another fetch.
fn read_pieces(file: &dyn DiskFile, len: u64) -> (Pieces, u64) {
    let mut pieces = Pieces::new();
    let mut place = 0;
    let mut bytes = [0; HEAD_LEN as usize];
    while place + HEAD_LEN <= len {
        if !matches!(file.read_at(&mut bytes, place), Ok(read) if read == bytes.len()) {
            break;
        }
        let number = |at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes of sixteen"))
        };
        let (start, count) = (number(8), number(12));
        let end = place + HEAD_LEN + u64::from(count);
        if number(0) != MARK || number(4) != check(start, count) || end > len {
            break;
        }
        let piece = Piece { end: u64::from(start) + u64::from(count), place: place + HEAD_LEN };
        lay(&mut pieces, u64::from(start), piece);
        place = end;
    }
    (pieces, place)
}

#[cfg(test)]
mod tests;
