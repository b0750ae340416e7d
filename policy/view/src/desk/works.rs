//! What the desk puts on record of what programs wrote: a decision and its record for each, as for whatever is read.
//!
//! A file that is long is sent to the store by a thread of its own: the desk follows meanwhile, and whoever reads is served. What
//! was asked to be written after it waits.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};

use strongroom_host::thread;
use strongroom_steward::{self as steward, ErrorKind as StewardKind, Fenced, Sending};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::{Ask, CONFLICT_COUNT_MAX, Desk, Request, answer, refused};
use crate::core::denied;
use crate::draft::{Content, Draft};
use crate::gate::{Compartment, Standing};

/// What is to be put on record.
#[derive(Clone)]
pub(crate) enum Work {
    /// A file, as it is written by now; and who is told when it has come to the store.
    Put(Arc<Draft>, Sender<Request>),
    /// That a file is removed.
    Remove(Arc<Compartment>, String),
    /// That a file has another name.
    Rename(Arc<Compartment>, String, String),
}

/// Something to be put on record, and who waits for that.
pub(super) type Asked = (Work, oneshot::Sender<Result<()>>);

/// A file on its way to the store.
pub(super) struct UnderWay {
    asked: Asked,
    content: Content,
    sent: Receiver<(Sending, steward::Result<()>)>,
}

impl Work {
    fn compartment(&self) -> &Arc<Compartment> {
        match self {
            Work::Put(draft, _) => &draft.compartment,
            Work::Remove(own, _) | Work::Rename(own, ..) => own,
        }
    }
}

impl Desk {
    /// Takes up what waits to be put on record, and nothing else that was asked.
    pub(super) fn gather_works(&mut self) {
        let work = |Request { ask, reply }| match ask {
            Ask::Write(work) => Some((work, reply)),
            _ => None,
        };
        self.works.extend(std::mem::take(&mut self.queue).into_iter().filter_map(work));
    }

    /// Puts on record what was written, each for itself and in its order: what is refused of one says nothing of another. Ends
    /// early while a file is on its way.
    pub(super) fn write_all(
        &mut self,
        mut guard: Option<Fenced>,
        requests: &Receiver<Request>,
    ) -> Option<Fenced> {
        loop {
            let arrived = match self.under_way.take() {
                Some(under_way) => match under_way.sent.try_recv() {
                    Err(TryRecvError::Empty) => {
                        self.under_way = Some(under_way);
                        return guard;
                    }
                    sent => Some((under_way, sent.ok())),
                },
                None if self.works.is_empty() => return guard,
                None if self.inner.unwritten.is_over() => {
                    self.refuse_all();
                    return guard;
                }
                None => None,
            };
            let raised = match guard.take() {
                Some(guard) => Ok(guard),
                None => self.wait_for_fence(requests),
            };
            let fenced = raised.as_ref().map(drop).map_err(Clone::clone);
            match arrived {
                Some((under_way, sent)) => self.arrive(under_way, sent, fenced),
                None => self.begin(fenced),
            }
            guard = raised.ok();
        }
    }

    /// Nothing goes on record any more.
    fn refuse_all(&mut self) {
        while let Some(asked) = self.works.pop_front() {
            self.end_work(asked, Err(refused(&over())));
        }
    }

    /// Begins with what was asked first.
    fn begin(&mut self, fenced: Result<()>) {
        let Some(asked) = self.works.pop_front() else { return };
        match fenced.and_then(|()| self.write(&asked.0)) {
            Ok(Some((content, sending))) => self.send(asked, content, sending),
            Ok(None) => self.end_work(asked, Ok(())),
            Err(error) => self.end_work(asked, Err(error)),
        }
    }

    /// Puts something on record; a file that is long is to be sent first.
    fn write(&mut self, work: &Work) -> Result<Option<(Content, Sending)>> {
        self.check_shown(work)?;
        let (begun, content) = match work {
            Work::Put(draft, _) => match draft.content() {
                None => return Ok(None),
                Some(content) => (self.put(draft, &content), Some(content)),
            },
            Work::Remove(own, name) => (self.remove(own, name).map(|()| None), None),
            Work::Rename(own, from, to) => (self.rename(own, from, to).map(|()| None), None),
        };
        match (begun, content) {
            (Ok(Some(sending)), Some(content)) => Ok(Some((content, sending))),
            (Ok(_), _) => Ok(None),
            (Err(error), content) => Err(self.not_written(work, content.as_ref(), &error)),
        }
    }

    /// What was agreed again since is another one: what was written before is not for it.
    fn check_shown(&self, work: &Work) -> Result<()> {
        match work.compartment().shown(self.now()) {
            Standing::Shut => Err(denied()),
            Standing::Live(()) | Standing::Lapsed => Ok(()),
        }
    }

    /// Sends a file, in a thread that says when it has done.
    fn send(&mut self, asked: Asked, content: Content, mut sending: Sending) {
        let Work::Put(_, wake) = &asked.0 else { return };
        let (wake, (say, sent)) = (wake.clone(), mpsc::channel());
        self.under_way = Some(UnderWay { asked, content, sent });
        // Where no thread begins, nothing comes: that is found as if one had died.
        let _ = thread::spawn("view-send", move || {
            let done = sending.send();
            let _ = say.send((sending, done));
            let (reply, _) = oneshot::channel();
            let _ = wake.send(Request { ask: Ask::Sent, reply });
        });
    }

    /// A file has come to the store, or has not.
    fn arrive(
        &mut self,
        under_way: UnderWay,
        sent: Option<(Sending, steward::Result<()>)>,
        fenced: Result<()>,
    ) {
        let UnderWay { asked, content, .. } = under_way;
        let lost = || Error::new(ErrorKind::Unavailable, "the machine has no thread left");
        let arrived = match (fenced, sent) {
            (Ok(()), Some((sending, done))) => self.put_sent(&asked.0, &content, sending, done),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(lost()),
        };
        match arrived {
            Ok(None) => self.end_work(asked, Ok(())),
            Ok(Some(sending)) => self.send(asked, content, sending),
            Err(error) => self.end_work(asked, Err(error)),
        }
    }

    /// Puts a file on record that was sent; or it has to be sent once more.
    fn put_sent(
        &mut self,
        work: &Work,
        content: &Content,
        mut sending: Sending,
        done: steward::Result<()>,
    ) -> Result<Option<Sending>> {
        let Work::Put(draft, _) = work else { return Ok(None) };
        // ORDER: what others recorded meanwhile is in force here before it is put.
        let looked = self.look().and_then(|()| self.custodian.catch_up());
        let put = match self.check_shown(work) {
            Ok(()) => looked.and(done).and_then(|()| self.end_put(draft, content, &mut sending)),
            Err(shut) => {
                self.custodian.give_up(&sending);
                return Err(shut);
            }
        };
        match put {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(sending)),
            Err(error) => {
                self.custodian.give_up(&sending);
                Err(self.not_written(work, Some(content), &error))
            }
        }
    }

    fn end_work(&mut self, (work, reply): Asked, done: Result<()>) {
        let is_lost = done.is_err() && reply.is_closed();
        if let Work::Put(draft, _) = &work {
            match is_lost {
                true => self.inner.unwritten.note(draft),
                false => self.inner.unwritten.forget(draft),
            }
            self.inner.end_draft(draft);
        }
        answer(reply, done);
    }

    /// Why something is not on record, as whoever wrote it is told.
    fn not_written(
        &mut self,
        work: &Work,
        content: Option<&Content>,
        error: &steward::Error,
    ) -> Error {
        self.key.obtain(&self.custodian);
        if let (Work::Put(draft, _), Some(content)) = (work, content) {
            draft.note_refused(content);
        }
        self.inner.note_trouble(Some(error.to_string()));
        match error.kind() {
            StewardKind::Invalid => Error::new(ErrorKind::Invalid, error.to_string()),
            StewardKind::NotFound => Error::new(ErrorKind::NotFound, error.to_string()),
            StewardKind::Exists => Error::new(ErrorKind::Exists, error.to_string()),
            _ => refused(error),
        }
    }

    fn asked(&self, own: &Compartment) -> steward::Asked {
        steward::Asked {
            activity: self.activity.clone(),
            subject: own.pseudonym.to_string(),
            class: own.name.clone(),
            purpose: None,
        }
    }

    /// Does something, with everything known that others recorded: again where their record came before.
    fn in_turn<T>(
        &mut self,
        mut act: impl FnMut(&mut Self) -> steward::Result<T>,
    ) -> steward::Result<T> {
        for _ in 0..CONFLICT_COUNT_MAX {
            self.look()?;
            self.custodian.catch_up()?;
            match act(self) {
                Err(error) if error.kind() == StewardKind::Conflict => {}
                done => return done,
            }
        }
        Err(steward::Error::new(StewardKind::Unavailable, "others write all the time"))
    }

    /// Something of a compartment is on record, whatever comes after it. Who cannot be decided about anew now is before anybody is
    /// served.
    fn written(&mut self, own: &Compartment) {
        self.inner.count(1);
        if let Err(error) = self.reconsider(&own.subject) {
            self.stale.insert(own.subject);
            self.forget_files(&own.subject);
            self.inner.note_trouble(Some(error.to_string()));
        }
    }

    /// Puts a file on record; one that is long is to be sent first.
    fn put(&mut self, draft: &Arc<Draft>, content: &Content) -> steward::Result<Option<Sending>> {
        let asked = self.asked(&draft.compartment);
        let mut sending = self
            .in_turn(|desk| desk.custodian.begin_put(&asked, &[], &content.name, &content.bytes))?;
        if sending.is_long() {
            return Ok(Some(sending));
        }
        let put = loop {
            let put = sending.send().and_then(|()| self.end_put(draft, content, &mut sending));
            match put {
                Ok(false) => {}
                put => break put.map(drop),
            }
        };
        put.inspect_err(|_| self.custodian.give_up(&sending)).map(|()| None)
    }

    /// Puts a file on record that was sent. False where it has to be sent once more.
    fn end_put(
        &mut self,
        draft: &Arc<Draft>,
        content: &Content,
        sending: &mut Sending,
    ) -> steward::Result<bool> {
        let inner = Arc::clone(&self.inner);
        let Some(_recording) = inner.unwritten.record() else { return Err(over()) };
        let put = match self.custodian.end_put(sending, &content.bytes) {
            Err(error) if error.kind() == StewardKind::Conflict => {
                self.in_turn(|desk| desk.custodian.end_put(sending, &content.bytes))
            }
            put => put,
        };
        let Some(file) = put? else { return Ok(false) };
        draft.note_put(content, file);
        self.written(&draft.compartment);
        Ok(true)
    }

    fn rename(&mut self, own: &Arc<Compartment>, from: &str, to: &str) -> steward::Result<()> {
        let asked = self.asked(own);
        self.in_turn(|desk| {
            desk.custodian.rename_file(&asked, from, to)?;
            // ORDER: what is put after it goes by the names that are on record then.
            desk.inner.state.lock().rename(own, from, to);
            Ok(())
        })?;
        self.written(own);
        Ok(())
    }

    /// Removes a file, on record or not: what is being written under its name goes nowhere from here on.
    fn remove(&mut self, own: &Arc<Compartment>, name: &str) -> steward::Result<()> {
        let asked = self.asked(own);
        let draft = self.inner.state.lock().draft(own, name);
        // A file about several people that has come to have the name is not the one that was meant.
        self.in_turn(|desk| match desk.custodian.remove_file_of_one(&asked, name) {
            Err(error) if error.kind() == StewardKind::NotFound && draft.is_some() => Ok(()),
            removed => removed,
        })?;
        if let Some(draft) = draft {
            self.inner.state.lock().drop_draft(&draft);
        }
        self.written(own);
        Ok(())
    }
}

/// Nothing goes on record any more.
fn over() -> steward::Error {
    steward::Error::new(StewardKind::Unavailable, "the view has ended")
}
