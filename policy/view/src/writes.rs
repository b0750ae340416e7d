//! Writing, where the activity may: what programs write comes together in drafts, and goes on record when they close or sync.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_crypto::wipe::Wiped;
use strongroom_records::subject::{FILE_NAME_LEN_MAX, File};
use strongroom_workspace::door::{
    Access, AllocateMode, Answer, Attributes, HandleId, Ino, Kind, Opened, RenameMode,
    SetAttributes, SyncScope, WriteMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};

use crate::core::{ASK_COUNT_MAX, Step, denied, missing};
use crate::desk::{Ask, Work};
use crate::draft::Draft;
use crate::gate::{Compartment, Standing};
use crate::listing::find_joint;
use crate::parties::Parties;
use crate::state::{Thing, Writer};
use crate::view::View;

/// Bytes that are read at a time where a file is to be changed in part.
const LOAD_LEN: u32 = 1 << 20;
/// Who sees the view writes its files; nobody else does.
const FILE_MODE: u16 = 0o600;

/// What has a name in a class.
struct Named {
    own: Arc<Compartment>,
    draft: Option<Arc<Draft>>,
    file: Option<File>,
}

impl View {
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.may_write() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::ReadOnly, "this view is read-only")),
        }
    }

    /// What `work` does, unless nothing may be written here.
    pub(crate) fn writing<T, F>(&self, work: impl FnOnce(View) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.check_writable() {
            Ok(()) => Answer::Later(Box::pin(work(self.clone()))),
            Err(error) => Answer::Ready(Err(error)),
        }
    }

    /// A new file, empty until something is written.
    pub(crate) fn create_file(
        &self,
        folder: Ino,
        name: &[u8],
        access: Access,
    ) -> Step<(Attributes, Opened)> {
        let mut state = self.inner.state.lock();
        let now = self.inner.now();
        let own = match state.thing(folder) {
            Some(Thing::Class(own)) => own,
            Some(Thing::File(..) | Thing::Draft(_)) => {
                return Step::refuse(ErrorKind::NotDirectory, "not a folder");
            }
            Some(Thing::Root | Thing::Subjects | Thing::Person(_)) => {
                let why = "people and classes are made by commands";
                return Step::refuse(ErrorKind::NotPermitted, why);
            }
            None => return Step::missing(),
        };
        let class = match own.names(now) {
            Standing::Shut => return Step::missing(),
            Standing::Lapsed => return Step::Ask(Ask::Names(own)),
            Standing::Live(class) => class,
        };
        let name = match file_name(name) {
            Ok(name) => name,
            Err(error) => return Step::Done(Err(error)),
        };
        let is_joint = match find_joint(&state, &own, &class, name.as_bytes(), now) {
            Ok(found) => found.is_some(),
            Err(ask) => return Step::Ask(ask),
        };
        let is_there = class.files().iter().any(|file| file.name == name);
        if is_joint || is_there || state.draft(&own, name).is_some() {
            return Step::refuse(ErrorKind::Exists, "the name is taken");
        }
        let (room, time) = (Arc::clone(&self.inner.room), self.inner.clock.now_ns());
        let ino = state.fresh_ino();
        let draft = Arc::new(Draft::empty(own, ino, room, name.to_owned(), None, time));
        state.begin(&draft);
        state.remember(ino);
        let opened = opened(state.open_writer(Arc::clone(&draft), access));
        Step::Done(Ok((self.attributes_of(&Thing::Draft(draft), ino), opened)))
    }

    /// A new file that nobody has open.
    pub(crate) async fn make_file(self, folder: Ino, name: Vec<u8>) -> Result<Attributes> {
        let made = self.answer(move |view| view.create_file(folder, &name, Access::Write));
        let (attributes, opened) = done(made).await?;
        let put = self.clone().put_handle(opened.handle).await;
        self.release_writer(opened.handle);
        put.map(|()| attributes)
    }

    /// Opens a file to write it. One that is not emptied is read first, which is on record.
    pub(crate) async fn open_to_write(
        self,
        ino: Ino,
        access: Access,
        is_emptied: bool,
    ) -> Result<Opened> {
        for _ in 0..ASK_COUNT_MAX {
            if let Some(opened) = self.open_draft(ino, access, is_emptied)? {
                return Ok(opened);
            }
            let (file, bytes) = self.load(ino).await?;
            let mut state = self.inner.state.lock();
            match state.thing(ino) {
                Some(Thing::File(parties, now)) if now.id == file.id => {
                    let (own, room) = (Arc::clone(parties.own()), Arc::clone(&self.inner.room));
                    state.begin(&Arc::new(Draft::of(own, ino, room, file, &bytes)?));
                }
                // Others were faster.
                Some(_) => {}
                None => return Err(missing()),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "others replace the file all the time"))
    }

    /// Opens what is being written already, or is to be emptied; none if it has to be read first.
    fn open_draft(&self, ino: Ino, access: Access, is_emptied: bool) -> Result<Option<Opened>> {
        let mut state = self.inner.state.lock();
        let time = self.inner.clock.now_ns();
        let draft = match state.thing(ino) {
            Some(Thing::Draft(draft)) => {
                if is_emptied {
                    draft.resize(0, time)?;
                }
                draft
            }
            Some(Thing::File(parties, _)) if parties.are_several() => return Err(of_several()),
            Some(Thing::File(parties, file)) if is_emptied => {
                let own = Arc::clone(parties.own());
                if matches!(own.shown(self.inner.now()), Standing::Shut) {
                    return Err(missing());
                }
                let (room, name) = (Arc::clone(&self.inner.room), file.name.clone());
                let draft = Arc::new(Draft::empty(own, ino, room, name, Some(file), time));
                state.begin(&draft);
                draft
            }
            Some(Thing::File(..)) => return Ok(None),
            Some(_) => return Err(Error::new(ErrorKind::IsDirectory, "a folder")),
            None => return Err(missing()),
        };
        Ok(Some(opened(state.open_writer(draft, access))))
    }

    /// All bytes of a file.
    async fn load(&self, ino: Ino) -> Result<(File, Wiped)> {
        let handle = done(self.answer(move |view| view.open_file(ino))).await?.handle;
        let reader = self.inner.state.lock().handle(handle.0);
        let loaded = match reader {
            Some(reader) => {
                let file = reader.file.clone();
                let mut bytes = Wiped::zeroed(usize::try_from(file.len).unwrap_or(0));
                let mut read = Ok(());
                for (number, piece) in bytes.chunks_mut(LOAD_LEN as usize).enumerate() {
                    let offset = number as u64 * u64::from(LOAD_LEN);
                    let part = self.clone().read_file(Arc::clone(&reader), offset, LOAD_LEN).await;
                    match part {
                        Ok(part) if part.len() == piece.len() => piece.copy_from_slice(&part),
                        Ok(_) => read = Err(missing()),
                        Err(error) => read = Err(error),
                    }
                    if read.is_err() {
                        break;
                    }
                }
                read.map(|()| (file, bytes))
            }
            None => Err(missing()),
        };
        self.inner.state.lock().release(handle.0);
        loaded
    }

    /// Reads what is being written. What it was made from has to be on record as opened, as for any reader.
    pub(crate) async fn read_draft(
        self,
        draft: Arc<Draft>,
        offset: u64,
        len: u32,
    ) -> Result<Bytes> {
        let own = &draft.compartment;
        for _ in 0..ASK_COUNT_MAX {
            let parties = Parties::one(own);
            let (now, mut ending) = (self.inner.now(), parties.ending());
            let standing = match draft.source() {
                None if !matches!(own.shown(now), Standing::Shut) => Standing::Live(()),
                None => Standing::Shut,
                Some(file) => match own.reads(&file, now) {
                    Standing::Live(_) => Standing::Live(()),
                    Standing::Lapsed => {
                        self.ask_to_read(&parties, file, &mut ending).await?;
                        continue;
                    }
                    Standing::Shut => Standing::Shut,
                },
            };
            return match standing {
                Standing::Live(()) => Ok(Bytes::from(draft.read(offset, len))),
                Standing::Lapsed | Standing::Shut => Err(denied()),
            };
        }
        Err(Error::new(ErrorKind::Unavailable, "a lease ends before it is used"))
    }

    pub(crate) fn write_draft(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
    ) -> Result<u32> {
        let draft = self.writable(handle)?;
        let written = draft.write(offset, data, mode, self.inner.clock.now_ns());
        if let Err(error) = &written {
            draft.note_broken(error.kind());
        }
        written
    }

    /// Makes room, which is never reserved.
    pub(crate) fn allocate_draft(
        &self,
        handle: HandleId,
        mode: AllocateMode,
        end: u64,
    ) -> Result<()> {
        let draft = self.writable(handle)?;
        match mode {
            AllocateMode::Extend if end > draft.len() => {
                draft.resize(end, self.inner.clock.now_ns())
            }
            AllocateMode::Extend | AllocateMode::KeepSize => Ok(()),
            AllocateMode::PunchHole | AllocateMode::ZeroRange | AllocateMode::ZeroRangeKeepSize => {
                Err(Error::new(ErrorKind::Unsupported, "files of people have no holes"))
            }
        }
    }

    /// What a handle writes, if it may.
    fn writable(&self, handle: HandleId) -> Result<Arc<Draft>> {
        self.check_writable()?;
        let writer = self.inner.state.lock().writer(handle.0);
        let bad = || Error::new(ErrorKind::BadHandle, "the handle is not for writing");
        let Writer { draft, access } = writer.ok_or_else(bad)?;
        if access == Access::Read {
            return Err(bad());
        }
        match draft.compartment.shown(self.inner.now()) {
            Standing::Shut => {
                draft.note_broken(ErrorKind::Denied);
                Err(denied())
            }
            Standing::Live(()) | Standing::Lapsed => Ok(draft),
        }
    }

    /// Puts what was written by a handle on record.
    pub(crate) async fn put_handle(self, handle: HandleId) -> Result<()> {
        let writer = self.inner.state.lock().writer(handle.0);
        match writer {
            Some(Writer { access: Access::Read, .. }) | None => Ok(()),
            Some(Writer { draft, .. }) => self.put(draft).await,
        }
    }

    async fn put(&self, draft: Arc<Draft>) -> Result<()> {
        if !draft.is_changed() {
            return Ok(());
        }
        draft.check_whole()?;
        let work = self.work_of(draft);
        self.ask(Ask::Write(work)).await
    }

    /// Puts what is written on record: of one file, or of all.
    pub(crate) async fn put_scope(self, scope: SyncScope) -> Result<()> {
        let drafts = match scope {
            SyncScope::All => self.inner.state.lock().drafts(),
            SyncScope::Inode(ino) => match self.inner.state.lock().thing(ino) {
                Some(Thing::Draft(draft)) => vec![draft],
                _ => Vec::new(),
            },
        };
        for draft in drafts {
            self.put(draft).await?;
        }
        Ok(())
    }

    /// The same for all, which nobody waits for.
    pub(crate) fn send_drafts(&self) {
        for draft in self.inner.state.lock().drafts() {
            self.send(Ask::Write(self.work_of(draft)));
        }
    }

    /// A handle ends. What came after the last close, from mappings, still goes on record; nobody is there to hear of it.
    pub(crate) fn release_writer(&self, handle: HandleId) {
        let last = self.inner.state.lock().release_writer(handle.0);
        let Some(draft) = last else { return };
        if draft.is_untold() {
            self.send(Ask::Write(self.work_of(draft)));
        } else {
            self.inner.end_draft(&draft);
        }
    }

    fn named(&self, folder: Ino, name: &[u8]) -> Step<Named> {
        let state = self.inner.state.lock();
        let own = match state.thing(folder) {
            Some(Thing::Class(own)) => own,
            Some(_) => {
                let why = "people and classes are removed by commands";
                return Step::refuse(ErrorKind::NotPermitted, why);
            }
            None => return Step::missing(),
        };
        match own.names(self.inner.now()) {
            Standing::Shut => Step::missing(),
            Standing::Lapsed => Step::Ask(Ask::Names(own)),
            Standing::Live(class) => {
                let Ok(name) = file_name(name) else { return Step::missing() };
                let file = class.files().iter().find(|file| file.name == name).cloned();
                let draft = state.draft(&own, name);
                match find_joint(&state, &own, &class, name.as_bytes(), self.inner.now()) {
                    Ok(Some(_)) if draft.is_none() => return Step::Done(Err(of_several())),
                    Ok(_) => {}
                    Err(ask) => return Step::Ask(ask),
                }
                Step::Done(Ok(Named { own, draft, file }))
            }
        }
    }

    pub(crate) async fn remove(self, folder: Ino, name: Vec<u8>) -> Result<()> {
        let of = name.clone();
        let named = done(self.answer(move |view| view.named(folder, &of))).await?;
        if named.file.is_none() && named.draft.is_none() {
            return Err(missing());
        }
        // Also where nothing is on record yet: it may be on its way there.
        self.ask(Ask::Write(Work::Remove(named.own, file_name(&name)?.to_owned()))).await
    }

    pub(crate) async fn rename_file(
        self,
        (folder, from): (Ino, Vec<u8>),
        (target, to): (Ino, Vec<u8>),
        mode: RenameMode,
    ) -> Result<()> {
        let (of, new) = (from.clone(), to.clone());
        let named = done(self.answer(move |view| view.named(folder, &of))).await?;
        let replaced = done(self.answer(move |view| view.named(target, &new))).await?;
        if named.file.is_none() && named.draft.is_none() {
            return Err(missing());
        }
        if !Arc::ptr_eq(&named.own, &replaced.own) {
            let why = "each class of a person has keys of its own";
            return Err(Error::new(ErrorKind::CrossesCompartments, why));
        }
        let is_taken = replaced.file.is_some() || replaced.draft.is_some();
        match mode {
            RenameMode::Replace => {}
            RenameMode::NoReplace if !is_taken => {}
            RenameMode::NoReplace => {
                return Err(Error::new(ErrorKind::Exists, "the name is taken"));
            }
            RenameMode::Exchange => {
                return Err(Error::new(ErrorKind::Invalid, "names cannot be swapped here"));
            }
        }
        if from == to {
            return Ok(());
        }
        let (from, to) = (file_name(&from)?.to_owned(), file_name(&to)?.to_owned());
        // Only what is on record has a name there.
        if let Some(draft) = &named.draft {
            self.put(Arc::clone(draft)).await?;
        }
        self.ask(Ask::Write(Work::Rename(named.own, from, to))).await
    }

    /// Changes the length. Owner and mode are those of the view, times those of writing: what asks for no others is granted.
    pub(crate) async fn change(self, ino: Ino, changes: SetAttributes) -> Result<Attributes> {
        let (uid, gid) = self.inner.owner;
        let is_other = changes.mode.is_some_and(|mode| mode != FILE_MODE)
            || changes.uid.is_some_and(|other| other != uid)
            || changes.gid.is_some_and(|other| other != gid);
        let thing = self.inner.state.lock().thing(ino).ok_or_else(missing)?;
        if let Thing::File(parties, _) = &thing
            && parties.are_several()
        {
            return Err(of_several());
        }
        let (Thing::File(..) | Thing::Draft(_)) = thing else {
            return Err(Error::new(ErrorKind::NotPermitted, "folders stay as they are"));
        };
        if is_other {
            let why = "owner and mode are those of the view";
            return Err(Error::new(ErrorKind::NotPermitted, why));
        }
        if let Some(len) = changes.size {
            let opened = self.clone().open_to_write(ino, Access::Write, len == 0).await?;
            let resized = self.resize(opened.handle, len).await;
            self.release_writer(opened.handle);
            resized?;
        }
        done(self.answer(move |view| view.stat(ino))).await
    }

    /// What nobody else has open goes on record at once: no close comes after it.
    async fn resize(&self, handle: HandleId, len: u64) -> Result<()> {
        let draft = self.writable(handle)?;
        if draft.len() != len {
            draft.resize(len, self.inner.clock.now_ns())?;
        }
        let is_alone = self.inner.state.lock().writer_count(&draft) == 1;
        if is_alone { self.put(draft).await } else { Ok(()) }
    }
}

/// What an answer turns out to be.
async fn done<T>(answer: Answer<T>) -> Result<T> {
    match answer {
        Answer::Ready(result) => result,
        Answer::Later(later) => later.await,
        Answer::Blocking(work) => work(),
    }
}

fn opened(number: u64) -> Opened {
    Opened { handle: HandleId(number), keep_cache: false, tells_close: true }
}

/// One of them cannot be asked whether all agree to what is written: that is a command's, which says who they are.
fn of_several() -> Error {
    let why = "a file about several people is written and removed by commands";
    Error::new(ErrorKind::NotPermitted, why)
}

fn file_name(name: &[u8]) -> Result<&str> {
    if name.len() > FILE_NAME_LEN_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, "a file's name has 255 bytes at most"));
    }
    let no_text = |_| Error::new(ErrorKind::Invalid, "a file's name is UTF-8");
    std::str::from_utf8(name).map_err(no_text)
}

/// What a node to make would be.
pub(crate) fn check_kind(kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        _ => Err(Error::new(ErrorKind::NotPermitted, "classes have files and nothing else")),
    }
}
