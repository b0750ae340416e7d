//! Group commit: one sync in flight, shared by all who wait, and the poison when one fails.
//!
//! INVARIANT: a file is synced by one thread at a time. The machine reports a failure to one caller only; a
//! second one at the same time would hear "yes" and believe it.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use strongroom_host::disk::DiskFile;

use crate::error::{Error, ErrorKind, Result};

pub(crate) struct Syncer {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The file that holds the records after `durable`.
    file: Arc<dyn DiskFile>,
    appended: u64,
    durable: u64,
    /// Last record that a caller was told to be durable: what it stands for besides the record is, too.
    acknowledged: u64,
    flight: Flight,
    poison: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flight {
    None,
    Syncing,
}

impl Syncer {
    /// Everything up to `durable` is durable already, and up to `acknowledged` a caller was told so.
    pub(crate) fn new(file: Arc<dyn DiskFile>, durable: u64, acknowledged: u64) -> Self {
        let (flight, poison) = (Flight::None, None);
        let state = State { file, appended: durable, durable, acknowledged, flight, poison };
        Syncer { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.state.lock().check()
    }

    pub(crate) fn position(&self) -> u64 {
        self.state.lock().appended
    }

    pub(crate) fn durable(&self) -> u64 {
        self.state.lock().durable
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.state.lock().acknowledged
    }

    pub(crate) fn acknowledge(&self, number: u64) {
        let mut state = self.state.lock();
        state.acknowledged = state.acknowledged.max(number);
    }

    pub(crate) fn appended(&self, number: u64) {
        self.state.lock().appended = number;
    }

    /// Records from now on are in another file; those before are durable.
    pub(crate) fn change_file(&self, file: Arc<dyn DiskFile>) {
        let mut state = self.state.lock();
        debug_assert!(state.durable == state.appended, "a full file is synced first");
        state.file = file;
    }

    pub(crate) fn sync(&self, up_to: u64) -> Result<()> {
        let mut state = self.state.lock();
        if up_to > state.appended {
            return Err(Error::new(ErrorKind::Invalid, "a sync of a record that is not there"));
        }
        loop {
            state.check()?;
            if state.durable >= up_to {
                return Ok(());
            }
            if state.flight == Flight::None {
                break;
            }
            self.changed.wait(&mut state);
        }
        // Whatever was appended until now shares this sync; what follows waits for the next.
        let target = state.appended;
        let file = Arc::clone(&state.file);
        state.flight = Flight::Syncing;
        drop(state);
        self.land(target, &file.sync_data())
    }

    /// A sync that nobody else can share: after the last record of all.
    pub(crate) fn sync_end(&self) -> Result<()> {
        let mut state = self.state.lock();
        while state.flight == Flight::Syncing {
            self.changed.wait(&mut state);
        }
        state.check()?;
        let target = state.appended;
        let file = Arc::clone(&state.file);
        state.flight = Flight::Syncing;
        drop(state);
        self.land(target, &file.sync_data())
    }

    /// Poisons the journal; gives the error that everybody gets from now on: that of the first failure.
    pub(crate) fn poison(&self, what: &str, cause: &io::Error) -> Error {
        let error = self.state.lock().poison_with(what, cause);
        self.changed.notify_all();
        error
    }

    /// Poisons the journal if the error says so, and gives it back.
    pub(crate) fn note(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Poisoned {
            self.state.lock().poison.get_or_insert_with(|| error.clone());
            self.changed.notify_all();
        }
        error
    }

    fn land(&self, target: u64, synced: &io::Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        state.flight = Flight::None;
        let result = match synced {
            Ok(()) => {
                state.durable = state.durable.max(target);
                Ok(())
            }
            Err(cause) => Err(state.poison_with("the journal cannot be made durable", cause)),
        };
        self.changed.notify_all();
        result
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// The first failure is the one that is told.
    fn poison_with(&mut self, what: &str, cause: &io::Error) -> Error {
        let error = || Error::new(ErrorKind::Poisoned, format!("{what}: {cause}"));
        self.poison.get_or_insert_with(error).clone()
    }
}
