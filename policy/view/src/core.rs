//! The kernel door's trait over the view: answered from memory where a live lease allows it, else by asking the desk and
//! looking again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_records::ids::{ClassId, FileId, Pseudonym};
use strongroom_records::subject::File;
use strongroom_workspace::door::{
    AllocateMode, Answer, Attributes, Caller, Change, Core, FolderEntry, Folding, HandleId, Ino,
    Kind, ListDetail, NewNode, OpenOptions, Opened, RenameMode, SeekTarget, SetAttributes, Space,
    SyncLevel, SyncScope, TimeNs, WriteMode, XattrMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use crate::desk::{Ask, refused};
use crate::gate::{Compartment, Handle, Standing};
use crate::state::{SUBJECTS_NAME, State, Thing};
use crate::view::View;

/// LIMIT: how often one request asks the desk: for a grant, for what it releases, and again where others were faster.
const ASK_COUNT_MAX: u32 = 8;
/// LIMIT: people shown by one record.
const PAGE_COUNT_MAX: u32 = 256;
/// Cookies of `.`, `..`; entries come after.
const FIRST_COOKIE: u64 = 2;
/// Bits of a cookie that come from an id.
const COOKIE_BITS: u32 = 62;
const UNIT: u64 = 512;

const STATUS: &[u8] = b"user.strongroom.status";
const FOLLOW: &[u8] = b"user.strongroom.follow";
const SUBJECT: &[u8] = b"user.strongroom.subject";
const CLASS: &[u8] = b"user.strongroom.class";
const LEASE: &[u8] = b"user.strongroom.lease_seconds";

/// How far a request got with what is in memory.
enum Step<T> {
    Done(Result<T>),
    Ask(Ask),
}

impl<T> Step<T> {
    fn refuse(kind: ErrorKind, why: &str) -> Self {
        Step::Done(Err(Error::new(kind, why)))
    }

    fn missing() -> Self {
        Step::refuse(ErrorKind::NotFound, "no such name")
    }
}

impl View {
    /// Answers from memory, or after the desk has been asked.
    fn answer<T, F>(&self, step: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(&View) -> Step<T> + Send + 'static,
    {
        let first = match step(self) {
            Step::Done(result) => return Answer::Ready(result),
            Step::Ask(ask) => ask,
        };
        let view = self.clone();
        Answer::Later(Box::pin(async move {
            let mut ask = first;
            for _ in 0..ASK_COUNT_MAX {
                view.ask(ask).await?;
                match step(&view) {
                    Step::Done(result) => return result,
                    Step::Ask(next) => ask = next,
                }
            }
            Err(Error::new(ErrorKind::Unavailable, "a lease ends before it is used"))
        }))
    }

    fn find(&self, folder: Ino, name: &[u8]) -> Step<Attributes> {
        let mut state = self.inner.state.lock();
        let now = self.inner.now();
        let Some(thing) = state.thing(folder) else { return Step::missing() };
        let found = match thing {
            Thing::Root if name == SUBJECTS_NAME => Thing::Subjects,
            Thing::Root => return Step::missing(),
            Thing::Subjects => match self.find_person(&state, name, now) {
                Ok(person) => person,
                Err(step) => return step,
            },
            Thing::Person(pseudonym) => match find_class(&state, &pseudonym, name, now) {
                Ok(class) => class,
                Err(step) => return step,
            },
            Thing::Class(own) => match own.names(now) {
                Standing::Shut => return Step::missing(),
                Standing::Lapsed => return Step::Ask(Ask::Names(own)),
                Standing::Live(class) => {
                    match class.files().iter().find(|file| file.name.as_bytes() == name) {
                        Some(file) => Thing::File(own, file.clone()),
                        None => return Step::missing(),
                    }
                }
            },
            Thing::File(..) => return Step::refuse(ErrorKind::NotDirectory, "not a folder"),
        };
        let ino = state.ino(&found, 1);
        Step::Done(Ok(self.attributes_of(&found, ino)))
    }

    fn find_person(
        &self,
        state: &State,
        name: &[u8],
        now: Duration,
    ) -> std::result::Result<Thing, Step<Attributes>> {
        let pseudonym = std::str::from_utf8(name).ok().and_then(Pseudonym::parse);
        let person = pseudonym.and_then(|pseudonym| state.person(&pseudonym).zip(Some(pseudonym)));
        let Some((person, pseudonym)) = person else {
            if !state.is_read {
                return Err(Step::Ask(Ask::Everybody));
            }
            // Not agreed, erased, mistyped, never there: one answer, from the same memory.
            self.inner.note_stranger();
            return Err(Step::missing());
        };
        let lapsed = |own: &Arc<Compartment>| matches!(own.shown(now), Standing::Lapsed);
        match person.compartments.iter().any(lapsed) {
            true => Err(Step::Ask(Ask::Show(vec![person.subject]))),
            false => Ok(Thing::Person(pseudonym)),
        }
    }

    fn attributes_of(&self, thing: &Thing, ino: Ino) -> Attributes {
        let (kind, mode, size, time) = match thing {
            Thing::File(_, file) => (Kind::File, 0o400, file.len, file.written),
            Thing::Root | Thing::Subjects | Thing::Person(_) | Thing::Class(_) => {
                (Kind::Folder, 0o500, 0, self.inner.began)
            }
        };
        attributes(ino, kind, mode, size, time, self.inner.owner)
    }

    fn list(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: usize,
        detail: ListDetail,
    ) -> Step<Vec<FolderEntry>> {
        let mut state = self.inner.state.lock();
        let now = self.inner.now();
        let Some(thing) = state.thing(folder) else { return Step::missing() };
        let found: Vec<(Vec<u8>, Thing, u64)> = match &thing {
            Thing::Root if cookie > FIRST_COOKIE => Vec::new(),
            Thing::Root => vec![(SUBJECTS_NAME.to_vec(), Thing::Subjects, FIRST_COOKIE + 1)],
            Thing::Subjects => match list_people(&state, cookie, count_max, now) {
                Ok(found) => found,
                Err(ask) => return Step::Ask(ask),
            },
            Thing::Person(pseudonym) => match list_classes(&state, pseudonym, cookie, now) {
                Ok(found) => found,
                Err(step) => return step,
            },
            Thing::Class(own) => match own.names(now) {
                Standing::Shut => return Step::missing(),
                Standing::Lapsed => return Step::Ask(Ask::Names(Arc::clone(own))),
                Standing::Live(class) => list_files(own, class.files(), cookie, count_max),
            },
            Thing::File(..) => return Step::refuse(ErrorKind::NotDirectory, "not a folder"),
        };
        let mut entries = Vec::new();
        let own = [(&b"."[..], 1), (&b".."[..], FIRST_COOKIE)];
        for (name, at) in own.into_iter().filter(|(_, at)| *at > cookie) {
            entries.push(self.entry(name.to_vec(), &thing, folder, at, detail));
        }
        for (name, thing, at) in found {
            let ino = state.ino(&thing, 0);
            entries.push(self.entry(name, &thing, ino, at, detail));
        }
        Step::Done(Ok(entries))
    }

    fn entry(
        &self,
        name: Vec<u8>,
        thing: &Thing,
        ino: Ino,
        cookie: u64,
        detail: ListDetail,
    ) -> FolderEntry {
        let attributes = self.attributes_of(thing, ino);
        let kind = attributes.kind;
        let attributes = (detail == ListDetail::Attributes).then_some(attributes);
        FolderEntry { name, ino, kind, cookie, attributes }
    }

    fn stat(&self, ino: Ino) -> Step<Attributes> {
        let state = self.inner.state.lock();
        let Some(thing) = state.thing(ino) else { return Step::missing() };
        let standing = match &thing {
            Thing::Root | Thing::Subjects => Standing::Live(()),
            Thing::Person(pseudonym) => match state.person(pseudonym) {
                Some(_) => Standing::Live(()),
                None => Standing::Shut,
            },
            Thing::Class(own) | Thing::File(own, _) => own.shown(self.inner.now()),
        };
        match (standing, &thing) {
            (Standing::Live(()), _) => Step::Done(Ok(self.attributes_of(&thing, ino))),
            (Standing::Lapsed, Thing::Class(own) | Thing::File(own, _)) => {
                Step::Ask(Ask::Show(vec![own.subject]))
            }
            _ => Step::missing(),
        }
    }

    fn open_file(&self, ino: Ino) -> Step<Opened> {
        let mut state = self.inner.state.lock();
        let (own, file) = match state.thing(ino) {
            Some(Thing::File(own, file)) => (own, file),
            Some(_) => return Step::refuse(ErrorKind::IsDirectory, "a folder"),
            None => return Step::missing(),
        };
        match own.reads(&file.id, self.inner.now()) {
            Standing::Shut => Step::missing(),
            Standing::Lapsed => Step::Ask(Ask::Read(own, file.id)),
            Standing::Live(class) => {
                let handle = Handle::new(own, file);
                let Some(file) = handle.found(&class).map(|file| file.id) else {
                    return Step::refuse(ErrorKind::Stale, "the file was replaced or removed");
                };
                self.inner.note_opened(&handle.compartment, &file);
                handle.open(class);
                let handle = HandleId(state.open(handle));
                Step::Done(Ok(Opened { handle, keep_cache: true }))
            }
        }
    }

    /// Reads under the present lease, or a new one. A reply is checked against the gate once it is there.
    async fn read_file(self, handle: Arc<Handle>, offset: u64, len: u32) -> Result<Bytes> {
        let own = &handle.compartment;
        let mut is_again = false;
        for _ in 0..ASK_COUNT_MAX {
            let class = match own.reads(&handle.file.id, self.inner.now()) {
                Standing::Shut => return Err(denied()),
                Standing::Lapsed => {
                    self.ask(Ask::Read(Arc::clone(own), handle.file.id)).await?;
                    continue;
                }
                Standing::Live(class) => class,
            };
            let Some(file) = handle.open(class) else { return Err(stale()) };
            match file.read(offset, len).await {
                // Its bytes lie elsewhere now, under another key perhaps: a new lease shows where.
                Err(error)
                    if error.kind() == strongroom_steward::ErrorKind::NotFound && !is_again =>
                {
                    is_again = true;
                    own.lapse_reading();
                }
                Err(error) => return Err(refused(&error)),
                Ok(plain) => match own.reads(&handle.file.id, self.inner.now()) {
                    Standing::Shut => return Err(denied()),
                    Standing::Lapsed => {}
                    Standing::Live(_) => return Ok(Bytes::from(plain)),
                },
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "a lease ends before it is used"))
    }

    fn attribute(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let none = || Error::new(ErrorKind::NoData, "no such attribute");
        if ino == Ino::ROOT && name == STATUS {
            return Ok(self.status());
        }
        let thing = self.inner.state.lock().thing(ino).ok_or_else(missing)?;
        let (Thing::Class(own) | Thing::File(own, _)) = thing else { return Err(none()) };
        if matches!(own.shown(self.inner.now()), Standing::Shut) {
            return Err(missing());
        }
        match name {
            SUBJECT => Ok(own.pseudonym.to_string().into_bytes()),
            CLASS => Ok(own.name.clone().into_bytes()),
            LEASE => {
                let (listing, reading) = own.ends();
                let end = reading.or(listing).ok_or_else(none)?;
                Ok(end.saturating_sub(self.inner.now()).as_secs().to_string().into_bytes())
            }
            _ => Err(none()),
        }
    }
}

fn find_class(
    state: &State,
    pseudonym: &Pseudonym,
    name: &[u8],
    now: Duration,
) -> std::result::Result<Thing, Step<Attributes>> {
    let person = state.person(pseudonym).ok_or_else(Step::missing)?;
    let own = person.compartments.iter().find(|own| own.name.as_bytes() == name);
    let own = own.ok_or_else(Step::missing)?;
    match own.shown(now) {
        Standing::Live(()) => Ok(Thing::Class(Arc::clone(own))),
        Standing::Lapsed => Err(Step::Ask(Ask::Show(vec![person.subject]))),
        Standing::Shut => Err(Step::missing()),
    }
}

type Found = Vec<(Vec<u8>, Thing, u64)>;

/// A page of people; all who are on it are shown by one record.
fn list_people(
    state: &State,
    cookie: u64,
    count_max: usize,
    now: Duration,
) -> std::result::Result<Found, Ask> {
    if !state.is_read {
        return Err(Ask::Everybody);
    }
    let first = Pseudonym(first_id(cookie));
    let page = state.people_from(first).filter(|(id, _)| id_cookie(&id.0) > cookie);
    let (mut found, mut lapsed) = (Vec::new(), Vec::new());
    for (pseudonym, person) in page.take(count_max) {
        let is_lapsed = |own: &Arc<Compartment>| matches!(own.shown(now), Standing::Lapsed);
        if person.compartments.iter().any(is_lapsed) {
            lapsed.push(person.subject);
        }
        let name = pseudonym.to_string().into_bytes();
        found.push((name, Thing::Person(*pseudonym), id_cookie(&pseudonym.0)));
    }
    if lapsed.is_empty() { Ok(found) } else { Err(Ask::Show(lapsed)) }
}

fn list_classes(
    state: &State,
    pseudonym: &Pseudonym,
    cookie: u64,
    now: Duration,
) -> std::result::Result<Found, Step<Vec<FolderEntry>>> {
    let person = state.person(pseudonym).ok_or_else(Step::missing)?;
    let mut found = Vec::new();
    for own in &person.compartments {
        match own.shown(now) {
            Standing::Lapsed => return Err(Step::Ask(Ask::Show(vec![person.subject]))),
            Standing::Shut => continue,
            Standing::Live(()) => {}
        }
        let at = class_cookie(own.class);
        if at > cookie {
            found.push((own.name.clone().into_bytes(), Thing::Class(Arc::clone(own)), at));
        }
    }
    Ok(found)
}

/// Files in the order of their ids, so that one that comes or goes moves no other's cookie.
fn list_files(own: &Arc<Compartment>, files: &[File], cookie: u64, count_max: usize) -> Found {
    let mut page: Vec<(u64, &File)> =
        files.iter().map(|file| (file_cookie(&file.id), file)).collect();
    page.retain(|(at, _)| *at > cookie);
    page.sort_by_key(|(at, _)| *at);
    page.truncate(count_max);
    let entry = |(at, file): (u64, &File)| {
        let thing = Thing::File(Arc::clone(own), file.clone());
        (file.name.clone().into_bytes(), thing, at)
    };
    page.into_iter().map(entry).collect()
}

/// The first bits of an id, after the cookies of `.` and `..`.
fn id_cookie(id: &[u8; 16]) -> u64 {
    let first: &[u8; 8] = id.first_chunk().expect("16 bytes have 8");
    (u64::from_be_bytes(*first) >> (u64::BITS - COOKIE_BITS)) + FIRST_COOKIE + 1
}

/// The smallest id that has a cookie at or after this one.
fn first_id(cookie: u64) -> [u8; 16] {
    let bits = cookie.saturating_sub(FIRST_COOKIE + 1) << (u64::BITS - COOKIE_BITS);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&bits.to_be_bytes());
    id
}

fn file_cookie(id: &FileId) -> u64 {
    id_cookie(&id.0)
}

fn class_cookie(class: ClassId) -> u64 {
    u64::from(class.0) + FIRST_COOKIE + 1
}

fn attributes(
    ino: Ino,
    kind: Kind,
    mode: u16,
    size: u64,
    time: TimeNs,
    (uid, gid): (u32, u32),
) -> Attributes {
    Attributes {
        ino,
        kind,
        mode,
        uid,
        gid,
        link_count: 1,
        size,
        blocks: size.div_ceil(UNIT),
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    }
}

fn denied() -> Error {
    Error::new(ErrorKind::Denied, "no longer allowed")
}

fn stale() -> Error {
    Error::new(ErrorKind::Stale, "the file was replaced or removed")
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "no such name")
}

fn read_only<T>() -> Answer<T> {
    Answer::Ready(Err(Error::new(ErrorKind::ReadOnly, "a view is read-only")))
}

impl Core for View {
    fn lookup(&self, folder: Ino, name: &[u8], _: Folding) -> Answer<Attributes> {
        let name = name.to_vec();
        self.answer(move |view| view.find(folder, &name))
    }

    fn forget(&self, counts: &[(Ino, u64)]) {
        let mut state = self.inner.state.lock();
        counts.iter().for_each(|(ino, count)| state.forget(*ino, *count));
    }

    fn remember(&self, inos: &[Ino]) {
        let mut state = self.inner.state.lock();
        inos.iter().for_each(|ino| state.remember(*ino));
    }

    fn attributes(&self, ino: Ino) -> Answer<Attributes> {
        self.answer(move |view| view.stat(ino))
    }

    fn set_attributes(&self, _: Ino, _: SetAttributes) -> Answer<Attributes> {
        read_only()
    }

    fn read_link(&self, _: Ino) -> Answer<Vec<u8>> {
        Answer::Ready(Err(Error::new(ErrorKind::Invalid, "not a symlink")))
    }

    fn create(&self, _: Caller, _: Ino, _: &[u8], _: NewNode) -> Answer<Attributes> {
        read_only()
    }

    fn create_open(
        &self,
        _: Caller,
        _: Ino,
        _: &[u8],
        _: u16,
        _: OpenOptions,
    ) -> Answer<(Attributes, Opened)> {
        read_only()
    }

    fn link(&self, _: Ino, _: Ino, _: &[u8]) -> Answer<Attributes> {
        read_only()
    }

    fn unlink(&self, _: Ino, _: &[u8]) -> Answer<()> {
        read_only()
    }

    fn remove_folder(&self, _: Ino, _: &[u8]) -> Answer<()> {
        read_only()
    }

    fn rename(&self, _: (Ino, &[u8]), _: (Ino, &[u8]), _: RenameMode) -> Answer<()> {
        read_only()
    }

    fn open(&self, ino: Ino, options: OpenOptions) -> Answer<Opened> {
        use strongroom_workspace::door::Access;
        if options.access != Access::Read || options.truncate {
            return read_only();
        }
        self.answer(move |view| view.open_file(ino))
    }

    fn release(&self, handle: HandleId) {
        self.inner.state.lock().release(handle.0);
    }

    fn read(&self, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes> {
        let Some(handle) = self.inner.state.lock().handle(handle.0) else {
            return Answer::Ready(Err(Error::new(ErrorKind::BadHandle, "no such handle")));
        };
        Answer::Later(Box::pin(self.clone().read_file(handle, offset, len)))
    }

    fn write(&self, _: HandleId, _: u64, _: &[u8], _: WriteMode, _: bool) -> Answer<u32> {
        read_only()
    }

    fn allocate(&self, _: HandleId, _: AllocateMode, _: u64, _: u64) -> Answer<()> {
        read_only()
    }

    fn seek(&self, handle: HandleId, target: SeekTarget, offset: u64) -> Answer<u64> {
        let handle = self.inner.state.lock().handle(handle.0);
        Answer::Ready(match (handle, target) {
            (None, _) => Err(Error::new(ErrorKind::BadHandle, "no such handle")),
            (Some(handle), _) if offset >= handle.file.len => {
                Err(Error::new(ErrorKind::NoData, "past the end"))
            }
            (Some(_), SeekTarget::Data) => Ok(offset),
            (Some(handle), SeekTarget::Hole) => Ok(handle.file.len),
        })
    }

    fn copy_range(&self, _: (HandleId, u64), _: (HandleId, u64), _: u64) -> Answer<u64> {
        read_only()
    }

    fn read_folder(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Answer<Vec<FolderEntry>> {
        let count_max = usize::try_from(count_max.min(PAGE_COUNT_MAX)).unwrap_or(1);
        self.answer(move |view| view.list(folder, cookie, count_max, detail))
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Vec<u8>> {
        if ino == Ino::ROOT && name == FOLLOW {
            let view = self.clone();
            return Answer::Blocking(Box::new(move || view.follow()));
        }
        Answer::Ready(self.attribute(ino, name))
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        let thing = self.inner.state.lock().thing(ino);
        Answer::Ready(Ok(match thing {
            Some(Thing::Class(_) | Thing::File(..)) => {
                [SUBJECT, CLASS, LEASE].map(<[u8]>::to_vec).into()
            }
            _ => Vec::new(),
        }))
    }

    fn set_xattr(&self, _: Ino, _: &[u8], _: &[u8], _: XattrMode) -> Answer<()> {
        read_only()
    }

    fn remove_xattr(&self, _: Ino, _: &[u8]) -> Answer<()> {
        read_only()
    }

    fn sync(&self, _: SyncScope, _: SyncLevel) -> Answer<()> {
        Answer::Ready(Ok(()))
    }

    /// Constants: totals would tell how many there are.
    fn space(&self) -> Space {
        Space { total_bytes: 0, free_bytes: 0, total_inodes: 0, free_inodes: 0 }
    }

    fn changes(&self) -> Option<std::sync::mpsc::Receiver<Change>> {
        self.inner.take_news()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_leads_to_the_first_id_that_has_it_or_a_later_one() {
        let mut id = [0xa7; 16];
        for first in [0, 1, 3, 4, 0x40, 0xff] {
            id[7] = first;
            let cookie = id_cookie(&id);
            assert!(cookie > FIRST_COOKIE && cookie < 1 << 63);
            assert!(first_id(cookie) <= id);
            assert_eq!(id_cookie(&first_id(cookie)), cookie);
        }
        assert_eq!(first_id(0), [0; 16]);
    }
}
