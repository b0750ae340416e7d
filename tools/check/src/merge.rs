//! The map as it is now: what the pages say, overlaid by the changes of the commits since.

use std::collections::btree_map;
use std::iter::Peekable;

use strongroom_format::key::{self, Key, Subject};
use strongroom_format::page::PageRef;
use strongroom_workspace::tree::map::{Layer, Value};

use crate::walk::{Sink, Span};
use crate::{Error, Result};

/// Takes the map, in order of keys.
pub(crate) trait Reader {
    /// An entry as the pages have it, whether or not it still counts.
    fn paged(&mut self, _key: &[u8], _value: &[u8]) {}
    /// An entry that counts.
    fn value(&mut self, subject: Subject, value: &Value) -> Result<()>;
    /// An entry that makes no sense by itself.
    fn malformed(&mut self, key: &[u8]) -> Result<()>;
    /// A page that cannot be read.
    fn gap(&mut self, at: &PageRef, span: Span, error: &Error) -> Result<()>;
    /// What was not found sound up to now.
    fn flaws(&self) -> u64 {
        0
    }
}

/// Lays the overlay over a walk.
pub(crate) struct Merge<'a, R> {
    overlay: Peekable<btree_map::Iter<'a, Key, Option<Value>>>,
    reader: &'a mut R,
    /// Entries of pages that a change replaced: nobody looked at these.
    replaced: u64,
}

impl<'a, R: Reader> Merge<'a, R> {
    pub(crate) fn new(overlay: &'a Layer, reader: &'a mut R) -> Self {
        Self { overlay: overlay.iter().peekable(), reader, replaced: 0 }
    }

    /// Gives what of the overlay lies before a key, or all of it.
    pub(crate) fn catch_up(&mut self, before: Option<&[u8]>) -> Result<()> {
        while let Some((key, value)) =
            self.overlay.next_if(|(key, _)| before.is_none_or(|before| key.as_bytes() < before))
        {
            self.give(key, value.as_ref())?;
        }
        Ok(())
    }

    fn give(&mut self, key: &Key, value: Option<&Value>) -> Result<()> {
        match (value, key::parse(key.as_bytes())) {
            (Some(value), Ok(subject)) => self.reader.value(subject, value),
            (Some(_), Err(_)) => self.reader.malformed(key.as_bytes()),
            (None, _) => Ok(()),
        }
    }
}

impl<R: Reader> Sink for Merge<'_, R> {
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.reader.paged(key, value);
        self.catch_up(Some(key))?;
        if let Some((key, newer)) = self.overlay.next_if(|(newer, _)| newer.as_bytes() == key) {
            self.replaced += 1;
            return self.give(key, newer.as_ref());
        }
        match (key::parse(key), Value::parse(key, value)) {
            (Ok(subject), Ok(value)) => self.reader.value(subject, &value),
            _ => self.reader.malformed(key),
        }
    }

    fn gap(&mut self, at: &PageRef, span: Span, error: &Error) -> Result<()> {
        self.catch_up(Some(&span.from))?;
        self.reader.gap(at, span, error)
    }

    fn flaws(&self) -> u64 {
        self.replaced + self.reader.flaws()
    }
}
