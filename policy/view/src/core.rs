//! The kernel door's trait over the view: answered from memory where a live lease allows it, else by asking the desk and
//! looking again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_workspace::door::{
    Access, AllocateMode, Answer, Attributes, Caller, Change, Core, FolderEntry, Folding, HandleId,
    Ino, Kind, ListDetail, NewNode, OpenOptions, Opened, RenameMode, SeekTarget, SetAttributes,
    Space, SyncLevel, SyncScope, TimeNs, WriteMode, XattrMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use crate::desk::{Ask, refused};
use crate::gate::{Compartment, Ending, Handle, Standing};
use crate::listing::{
    FIRST_COOKIE, find_class, find_joint, joint_files, list_classes, list_files, list_people,
    pseudonym_of,
};
use crate::parties::Parties;
use crate::state::{SUBJECTS_NAME, State, Thing};
use crate::view::View;
use crate::writes::check_kind;

/// LIMIT: how often one request asks the desk: for a grant, for what it releases, and again where others were faster.
pub(crate) const ASK_COUNT_MAX: u32 = 8;
/// LIMIT: people shown by one record.
const PAGE_COUNT_MAX: u32 = 256;
const UNIT: u64 = 512;
/// Room that is shown where files may be written.
const SPACE_SHOWN: u64 = 1 << 40;

const STATUS: &[u8] = b"user.strongroom.status";
const FOLLOW: &[u8] = b"user.strongroom.follow";
const SYNC: &[u8] = b"user.strongroom.sync";
const SUBJECT: &[u8] = b"user.strongroom.subject";
const CLASS: &[u8] = b"user.strongroom.class";
const LEASE: &[u8] = b"user.strongroom.lease_seconds";

/// How far a request got with what is in memory.
pub(crate) enum Step<T> {
    Done(Result<T>),
    Ask(Ask),
}

impl<T> Step<T> {
    pub(crate) fn refuse(kind: ErrorKind, why: &str) -> Self {
        Step::Done(Err(Error::new(kind, why)))
    }

    pub(crate) fn missing() -> Self {
        Step::refuse(ErrorKind::NotFound, "no such name")
    }
}

impl View {
    /// Answers from memory, or after the desk has been asked.
    pub(crate) fn answer<T, F>(&self, step: F) -> Answer<T>
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
                    let draft = std::str::from_utf8(name).ok();
                    let draft = draft.and_then(|name| state.draft(&own, name));
                    let file = class.files().iter().find(|file| file.name.as_bytes() == name);
                    match (draft, file) {
                        (Some(draft), _) => Thing::Draft(draft),
                        (None, Some(file)) => Thing::File(Parties::one(&own), file.clone()),
                        (None, None) => match find_joint(&state, &own, &class, name, now) {
                            Ok(Some((parties, file))) => Thing::File(parties, file),
                            Ok(None) => return Step::missing(),
                            Err(ask) => return Step::Ask(ask),
                        },
                    }
                }
            },
            Thing::File(..) | Thing::Draft(_) => {
                return Step::refuse(ErrorKind::NotDirectory, "not a folder");
            }
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
        let pseudonym = pseudonym_of(name);
        let person = pseudonym.and_then(|pseudonym| state.person(&pseudonym).zip(Some(pseudonym)));
        let Some((person, pseudonym)) = person else {
            if !state.is_read {
                return Err(match pseudonym_of(name).filter(|_| self.inner.knows_ids()) {
                    Some(id) => Step::Ask(Ask::Meet(SubjectId(id.0))),
                    None => Step::Ask(Ask::Everybody),
                });
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

    pub(crate) fn attributes_of(&self, thing: &Thing, ino: Ino) -> Attributes {
        let writing = if self.may_write() { 0o200 } else { 0 };
        let (kind, mode, size, time) = match thing {
            Thing::File(parties, file) => {
                let writing = if parties.are_several() { 0 } else { writing };
                (Kind::File, 0o400 | writing, file.len, file.written)
            }
            Thing::Draft(draft) => (Kind::File, 0o400 | writing, draft.len(), draft.changed()),
            Thing::Class(_) => (Kind::Folder, 0o500 | writing, 0, self.inner.began),
            Thing::Root | Thing::Subjects | Thing::Person(_) => {
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
                Standing::Live(class) => {
                    let drafts = state.drafts_of(own);
                    let joint = match joint_files(&state, own, class.joint().iter(), now) {
                        Ok(joint) => joint,
                        Err(ask) => return Step::Ask(ask),
                    };
                    list_files(own, class.files(), joint, &drafts, cookie, count_max)
                }
            },
            Thing::File(..) | Thing::Draft(_) => {
                return Step::refuse(ErrorKind::NotDirectory, "not a folder");
            }
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

    pub(crate) fn stat(&self, ino: Ino) -> Step<Attributes> {
        let state = self.inner.state.lock();
        let Some(thing) = state.thing(ino) else { return Step::missing() };
        let standing = match &thing {
            Thing::Root | Thing::Subjects => Standing::Live(()),
            Thing::Person(pseudonym) => match state.person(pseudonym) {
                Some(_) => Standing::Live(()),
                None => Standing::Shut,
            },
            Thing::Class(_) | Thing::File(..) | Thing::Draft(_) => {
                thing.parties().map_or(Standing::Shut, |all| all.shown(self.inner.now()))
            }
        };
        match (standing, thing.parties()) {
            (Standing::Live(()), _) => Step::Done(Ok(self.attributes_of(&thing, ino))),
            (Standing::Lapsed, Some(parties)) => Step::Ask(parties.ask(self.inner.now())),
            _ => Step::missing(),
        }
    }

    pub(crate) fn open_file(&self, ino: Ino) -> Step<Opened> {
        let mut state = self.inner.state.lock();
        let (parties, file) = match state.thing(ino) {
            Some(Thing::File(parties, file)) => (parties, file),
            Some(Thing::Draft(draft)) => {
                let handle = HandleId(state.open_writer(draft, Access::Read));
                let opened = Opened { handle, keep_cache: true, tells_close: false };
                return Step::Done(Ok(opened));
            }
            Some(_) => return Step::refuse(ErrorKind::IsDirectory, "a folder"),
            None => return Step::missing(),
        };
        match parties.reads(&file.id, self.inner.now()) {
            Standing::Shut => Step::missing(),
            Standing::Lapsed => Step::Ask(Ask::Read(parties, file.id)),
            Standing::Live(classes) => {
                let handle = Handle::new(parties, file);
                let found = classes.first().and_then(|class| handle.found(class));
                let Some(file) = found.map(|file| file.id) else {
                    return Step::refuse(ErrorKind::Stale, "the file was replaced or removed");
                };
                self.inner.note_opened(handle.parties.own(), &file);
                handle.open(&classes);
                let handle = HandleId(state.open(handle));
                Step::Done(Ok(Opened { handle, keep_cache: true, tells_close: false }))
            }
        }
    }

    /// Reads under the present lease, or a new one. A reply is checked against the gate once it is there, and nobody waits for
    /// one whose ground is gone.
    pub(crate) async fn read_file(
        self,
        handle: Arc<Handle>,
        offset: u64,
        len: u32,
    ) -> Result<Bytes> {
        let parties = &handle.parties;
        let mut is_again = false;
        for _ in 0..ASK_COUNT_MAX {
            let mut ending = parties.ending();
            let classes = match parties.reads(&handle.file.id, self.inner.now()) {
                Standing::Shut => return Err(denied()),
                Standing::Lapsed => {
                    self.ask_to_read(parties, handle.file.id, &mut ending).await?;
                    continue;
                }
                Standing::Live(classes) => classes,
            };
            let file = match handle.open(&classes) {
                Some(file) => file,
                // New keys of one are new shares for all: leases from before and after make no key together.
                None if handle.is_in(&classes) && !is_again => {
                    is_again = true;
                    parties.lapse_reading();
                    continue;
                }
                None => return Err(stale()),
            };
            match ending.unless(file.read(offset, len)).await {
                None => {}
                // Its bytes lie elsewhere now, under another key perhaps: a new lease shows where.
                Some(Err(error))
                    if error.kind() == strongroom_steward::ErrorKind::NotFound && !is_again =>
                {
                    is_again = true;
                    parties.lapse_reading();
                }
                Some(Err(error)) => return Err(refused(&error)),
                Some(Ok(plain)) => match parties.reads(&handle.file.id, self.inner.now()) {
                    Standing::Shut => return Err(denied()),
                    Standing::Lapsed => {}
                    Standing::Live(_) => return Ok(Bytes::from(plain)),
                },
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "a lease ends before it is used"))
    }

    /// Asks for a lease to read on. Not while the kernel is being told of one that is over: it would wait for who waits here.
    pub(crate) async fn ask_to_read(
        &self,
        parties: &Parties,
        file: FileId,
        ending: &mut Ending,
    ) -> Result<()> {
        if parties.is_draining() {
            let why = "the lease is over and was not renewed in time";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        // What ends meanwhile is met when it is looked at again.
        ending.unless(self.ask(Ask::Read(parties.clone(), file))).await.unwrap_or(Ok(()))
    }

    fn attribute(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let none = || Error::new(ErrorKind::NoData, "no such attribute");
        if ino == Ino::ROOT && name == STATUS {
            return Ok(self.status());
        }
        let thing = self.inner.state.lock().thing(ino).ok_or_else(missing)?;
        let parties = thing.parties().ok_or_else(none)?;
        let own = parties.own();
        if matches!(parties.shown(self.inner.now()), Standing::Shut) {
            return Err(missing());
        }
        match name {
            SUBJECT => Ok(own.pseudonym.to_string().into_bytes()),
            CLASS => Ok(own.name.clone().into_bytes()),
            LEASE => {
                let end = parties.end().ok_or_else(none)?;
                Ok(end.saturating_sub(self.inner.now()).as_secs().to_string().into_bytes())
            }
            _ => Err(none()),
        }
    }
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

pub(crate) fn denied() -> Error {
    Error::new(ErrorKind::Denied, "no longer allowed")
}

fn stale() -> Error {
    Error::new(ErrorKind::Stale, "the file was replaced or removed")
}

pub(crate) fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "no such name")
}

fn not_here<T>(view: &View) -> Answer<T> {
    let why = "classes have files and nothing else";
    let refused = Error::new(ErrorKind::NotPermitted, why);
    Answer::Ready(Err(view.check_writable().err().unwrap_or(refused)))
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

    fn set_attributes(&self, ino: Ino, changes: SetAttributes) -> Answer<Attributes> {
        self.writing(move |view| view.change(ino, changes))
    }

    fn read_link(&self, _: Ino) -> Answer<Vec<u8>> {
        Answer::Ready(Err(Error::new(ErrorKind::Invalid, "not a symlink")))
    }

    fn create(&self, _: Caller, folder: Ino, name: &[u8], node: NewNode) -> Answer<Attributes> {
        let name = name.to_vec();
        self.writing(move |view| async move {
            check_kind(node.kind)?;
            view.make_file(folder, name).await
        })
    }

    fn create_open(
        &self,
        _: Caller,
        folder: Ino,
        name: &[u8],
        _: u16,
        options: OpenOptions,
    ) -> Answer<(Attributes, Opened)> {
        if let Err(error) = self.check_writable() {
            return Answer::Ready(Err(error));
        }
        let name = name.to_vec();
        self.answer(move |view| view.create_file(folder, &name, options.access))
    }

    fn link(&self, _: Ino, _: Ino, _: &[u8]) -> Answer<Attributes> {
        not_here(self)
    }

    fn unlink(&self, folder: Ino, name: &[u8]) -> Answer<()> {
        let name = name.to_vec();
        self.writing(move |view| view.remove(folder, name))
    }

    fn remove_folder(&self, _: Ino, _: &[u8]) -> Answer<()> {
        not_here(self)
    }

    fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Answer<()> {
        let (from, to) = ((from.0, from.1.to_vec()), (to.0, to.1.to_vec()));
        self.writing(move |view| view.rename_file(from, to, mode))
    }

    fn open(&self, ino: Ino, options: OpenOptions) -> Answer<Opened> {
        if options.access == Access::Read && !options.truncate {
            return self.answer(move |view| view.open_file(ino));
        }
        self.writing(move |view| view.open_to_write(ino, options.access, options.truncate))
    }

    fn flush(&self, handle: HandleId) -> Answer<()> {
        Answer::Later(Box::pin(self.clone().put_handle(handle)))
    }

    fn release(&self, handle: HandleId) {
        self.inner.state.lock().release(handle.0);
        self.release_writer(handle);
    }

    fn read(&self, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes> {
        let state = self.inner.state.lock();
        if let Some(handle) = state.handle(handle.0) {
            return Answer::Later(Box::pin(self.clone().read_file(handle, offset, len)));
        }
        match state.writer(handle.0) {
            Some(writer) => {
                Answer::Later(Box::pin(self.clone().read_draft(writer.draft, offset, len)))
            }
            None => Answer::Ready(Err(Error::new(ErrorKind::BadHandle, "no such handle"))),
        }
    }

    fn write(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        _: bool,
    ) -> Answer<u32> {
        Answer::Ready(self.write_draft(handle, offset, data, mode))
    }

    fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Answer<()> {
        Answer::Ready(self.allocate_draft(handle, mode, offset.saturating_add(len)))
    }

    fn seek(&self, handle: HandleId, target: SeekTarget, offset: u64) -> Answer<u64> {
        let state = self.inner.state.lock();
        let len = state.handle(handle.0).map(|handle| handle.file.len);
        let len = len.or_else(|| state.writer(handle.0).map(|writer| writer.draft.len()));
        Answer::Ready(match (len, target) {
            (None, _) => Err(Error::new(ErrorKind::BadHandle, "no such handle")),
            (Some(len), _) if offset >= len => Err(Error::new(ErrorKind::NoData, "past the end")),
            (Some(_), SeekTarget::Data) => Ok(offset),
            (Some(len), SeekTarget::Hole) => Ok(len),
        })
    }

    fn copy_range(&self, _: (HandleId, u64), _: (HandleId, u64), _: u64) -> Answer<u64> {
        let why = "files of people share no bytes";
        let refused = Error::new(ErrorKind::Unsupported, why);
        Answer::Ready(Err(self.check_writable().err().unwrap_or(refused)))
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
        if ino == Ino::ROOT && name == SYNC {
            return self.writing(|view| async move {
                view.put_scope(SyncScope::All).await.map(|()| Vec::new())
            });
        }
        Answer::Ready(self.attribute(ino, name))
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        let thing = self.inner.state.lock().thing(ino);
        Answer::Ready(Ok(match thing {
            Some(Thing::Class(_) | Thing::File(..) | Thing::Draft(_)) => {
                [SUBJECT, CLASS, LEASE].map(<[u8]>::to_vec).into()
            }
            _ => Vec::new(),
        }))
    }

    fn set_xattr(&self, ino: Ino, name: &[u8], _: &[u8], _: XattrMode) -> Answer<()> {
        if ino == Ino::ROOT && name == SYNC && self.may_write() {
            self.send_drafts();
            return Answer::Ready(Ok(()));
        }
        not_here(self)
    }

    fn remove_xattr(&self, _: Ino, _: &[u8]) -> Answer<()> {
        not_here(self)
    }

    fn sync(&self, scope: SyncScope, _: SyncLevel) -> Answer<()> {
        Answer::Later(Box::pin(self.clone().put_scope(scope)))
    }

    /// Constants: totals would tell how many there are. Where files may be written there is room for programs that look first.
    fn space(&self) -> Space {
        let bytes = if self.may_write() { SPACE_SHOWN } else { 0 };
        let (total_bytes, free_bytes) = (bytes, bytes);
        Space { total_bytes, free_bytes, total_inodes: 0, free_inodes: 0 }
    }

    fn changes(&self) -> Option<std::sync::mpsc::Receiver<Change>> {
        self.inner.take_news()
    }
}
