//! The part of a store that one application's policy records use, as plain blocking calls.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_records::ids::ApplicationId;
use strongroom_store::{Body, Key, Later, PolicyKey, Put, Shelf, Store};

use crate::error::{Error, ErrorKind, Result};

/// Runs a future of the store to its end: [`strongroom_store::now`] for a folder, a runtime's for the rest.
pub type Wait = fn(Later<'_, ()>) -> strongroom_store::Result<()>;

/// The shelves of one application.
#[derive(Clone)]
pub struct Shelves {
    store: Arc<dyn Store>,
    wait: Wait,
    application: ApplicationId,
}

impl Shelves {
    /// Shelves in a store.
    pub fn new(store: Arc<dyn Store>, wait: Wait, application: ApplicationId) -> Self {
        Self { store, wait, application }
    }

    /// The same store, another application.
    pub fn of(&self, application: ApplicationId) -> Self {
        Self { store: Arc::clone(&self.store), wait: self.wait, application }
    }

    /// Whose.
    pub fn application(&self) -> ApplicationId {
        self.application
    }

    /// Reads.
    ///
    /// # Errors
    /// `NotFound` and those of the store.
    pub fn fetch(&self, shelf: Shelf, name: u128) -> Result<Bytes> {
        self.run(self.store.get(self.key(shelf, name), None))
    }

    /// Reads; none if nothing is there.
    ///
    /// # Errors
    /// Those of the store but `NotFound`.
    pub fn find(&self, shelf: Shelf, name: u128) -> Result<Option<Bytes>> {
        match self.fetch(shelf, name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether something that is never empty is there.
    ///
    /// # Errors
    /// Those of the store but `NotFound`.
    pub fn has(&self, shelf: Shelf, name: u128) -> Result<bool> {
        let first: Option<Range<u64>> = Some(0..1);
        match self.run(self.store.get(self.key(shelf, name), first)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores; durable on return, replaces what was there.
    ///
    /// # Errors
    /// Those of the store.
    pub fn put(&self, items: Vec<(Shelf, u128, Vec<u8>)>) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let bodies = items
            .into_iter()
            .map(|(shelf, name, bytes)| (self.key(shelf, name), Body::Bytes(Bytes::from(bytes))));
        let bodies = bodies.collect();
        self.run(self.store.put_many(bodies)).map(drop)
    }

    /// Stores unless something is there; durable on return.
    ///
    /// # Errors
    /// `Conflict` if something is; those of the store.
    pub fn put_new(&self, shelf: Shelf, name: u128, bytes: Vec<u8>) -> Result<()> {
        match self.run(self.store.put_if_absent(self.key(shelf, name), Bytes::from(bytes)))? {
            Put::Created(_) => Ok(()),
            Put::Exists => Err(Error::new(ErrorKind::Conflict, "somebody else wrote meanwhile")),
        }
    }

    /// Removes; fine if missing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn delete(&self, shelf: Shelf, name: u128) -> Result<()> {
        self.run(self.store.delete(self.key(shelf, name)))
    }

    fn key(&self, shelf: Shelf, name: u128) -> Key {
        Key::Policy(PolicyKey { application: self.application.0, shelf, name })
    }

    fn run<T: Send>(&self, later: Later<'_, T>) -> Result<T> {
        let mut answer = None;
        (self.wait)(Box::pin(async {
            answer = Some(later.await);
            Ok(())
        }))?;
        let answer = answer.ok_or_else(|| Error::new(ErrorKind::Internal, "the store is busy"))?;
        Ok(answer?)
    }
}
