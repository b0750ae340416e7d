//! A member that could not be opened: it says so to everybody, until the mirror is opened anew.

use std::ops::Range;

use bytes::Bytes;
use strongroom_store::{Body, Error, ErrorKind, Family, Key, Later, Listed, Put, Store, Uploaded};

/// Stands for a store that is away.
pub struct Away;

fn away<'a, T: Send + 'a>() -> Later<'a, T> {
    let error = Error::new(ErrorKind::Unavailable, "this member of the mirror is away");
    Box::pin(std::future::ready(Err(error)))
}

impl Store for Away {
    fn get<'a>(&'a self, _: Key, _: Option<Range<u64>>) -> Later<'a, Bytes> {
        away()
    }

    fn put<'a>(&'a self, _: Key, _: Body) -> Later<'a, Uploaded> {
        away()
    }

    fn put_if_absent<'a>(&'a self, _: Key, _: Bytes) -> Later<'a, Put> {
        away()
    }

    fn list<'a>(&'a self, _: Family, _: Option<Key>) -> Later<'a, Vec<Listed>> {
        away()
    }

    fn delete<'a>(&'a self, _: Key) -> Later<'a, ()> {
        away()
    }
}
