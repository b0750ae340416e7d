//! What the desk puts on record of what programs wrote: a decision and its record for each, as for whatever is read.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use strongroom_steward::{Asked, Error as StewardError, ErrorKind as StewardKind, Fenced};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::{Ask, CONFLICT_COUNT_MAX, Desk, Request, answer, refused};
use crate::core::denied;
use crate::draft::{Content, Draft};
use crate::gate::{Compartment, Standing};

/// What is to be put on record.
#[derive(Clone)]
pub(crate) enum Work {
    /// A file, as it is written by now.
    Put(Arc<Draft>),
    /// That a file is removed.
    Remove(Arc<Compartment>, String),
    /// That a file has another name.
    Rename(Arc<Compartment>, String, String),
}

impl Work {
    fn compartment(&self) -> &Arc<Compartment> {
        match self {
            Work::Put(draft) => &draft.compartment,
            Work::Remove(own, _) | Work::Rename(own, ..) => own,
        }
    }
}

impl Desk {
    /// What waits to be put on record.
    pub(super) fn works(&mut self) -> Vec<(Work, oneshot::Sender<Result<()>>)> {
        let work = |Request { ask, reply }| match ask {
            Ask::Write(work) => Some((work, reply)),
            _ => None,
        };
        std::mem::take(&mut self.queue).into_iter().filter_map(work).collect()
    }

    /// Puts on record what was written, each for itself: what is refused of one says nothing of another.
    pub(super) fn write_all(
        &mut self,
        works: Vec<(Work, oneshot::Sender<Result<()>>)>,
        guard: Option<Fenced>,
        requests: &Receiver<Request>,
    ) -> Option<Fenced> {
        if works.is_empty() {
            return guard;
        }
        let raised = match guard {
            Some(guard) => Ok(guard),
            None => self.wait_for_fence(requests),
        };
        for (work, reply) in works {
            let done = match &raised {
                Ok(_) => self.write(&work),
                Err(error) => Err(error.clone()),
            };
            if let Work::Put(draft) = &work {
                self.inner.end_draft(draft);
            }
            answer(reply, done);
        }
        raised.ok()
    }

    fn write(&mut self, work: &Work) -> Result<()> {
        // What was agreed again since is another one: what was written before is not for it.
        if matches!(work.compartment().shown(self.now()), Standing::Shut) {
            return Err(denied());
        }
        let content = match work {
            Work::Put(draft) => match draft.content() {
                None => return Ok(()),
                content => content,
            },
            Work::Remove(..) | Work::Rename(..) => None,
        };
        let written = self.write_alone(work, content.as_ref());
        if let Err(error) = &written {
            self.key.obtain(&self.custodian);
            if let (Work::Put(draft), Some(content)) = (work, &content) {
                draft.note_refused(content);
            }
            self.inner.note_trouble(Some(error.to_string()));
        }
        written.map_err(|error| match error.kind() {
            StewardKind::Invalid => Error::new(ErrorKind::Invalid, error.to_string()),
            StewardKind::NotFound => Error::new(ErrorKind::NotFound, error.to_string()),
            StewardKind::Exists => Error::new(ErrorKind::Exists, error.to_string()),
            _ => refused(&error),
        })
    }

    fn write_alone(
        &mut self,
        work: &Work,
        content: Option<&Content>,
    ) -> std::result::Result<(), StewardError> {
        let own = work.compartment();
        let asked = Asked {
            activity: self.activity.clone(),
            subject: own.pseudonym.to_string(),
            class: own.name.clone(),
            purpose: None,
        };
        for _ in 0..CONFLICT_COUNT_MAX {
            self.look()?;
            self.custodian.catch_up()?;
            let done = match (work, content) {
                (Work::Put(draft), Some(content)) => {
                    let put = self.custodian.put_file(&asked, &content.name, &content.bytes);
                    put.map(|file| draft.note_put(content, file))
                }
                (Work::Put(_), None) => Ok(()),
                (Work::Remove(_, name), _) => self.remove(&asked, own, name),
                (Work::Rename(_, from, to), _) => {
                    let renamed = self.custodian.rename_file(&asked, from, to);
                    // ORDER: what is put after it goes by the names that are on record then.
                    renamed.map(|()| self.inner.state.lock().rename(own, from, to))
                }
            };
            match done {
                Err(error) if error.kind() == StewardKind::Conflict => continue,
                done => done?,
            }
            self.inner.count(1);
            return self.reconsider(&own.subject);
        }
        Err(StewardError::new(StewardKind::Unavailable, "others write all the time"))
    }

    /// Removes a file, on record or not: what is being written under its name goes nowhere from here on.
    fn remove(
        &mut self,
        asked: &Asked,
        own: &Arc<Compartment>,
        name: &str,
    ) -> std::result::Result<(), StewardError> {
        let draft = self.inner.state.lock().draft(own, name);
        match self.custodian.remove_file(asked, name) {
            Err(error) if error.kind() == StewardKind::NotFound && draft.is_some() => {}
            removed => removed?,
        }
        if let Some(draft) = draft {
            self.inner.state.lock().drop_draft(&draft);
        }
        Ok(())
    }
}
