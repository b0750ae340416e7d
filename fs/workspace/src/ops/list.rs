//! Folder listings: stateless, continued from a cookie.

use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom_format::inode::Kind;
use strongroom_format::key::{Cookie, Key, Subject};

use crate::door::{Answer, FolderEntry, Folding, Ino, ListDetail};
use crate::error::ErrorKind;
use crate::limits::LISTING_COUNT_MAX;
use crate::state::{State, fail};
use crate::tree::map::{Value, subject};
use crate::tree::need::Look;
use crate::workspace::Inner;

const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;

impl Inner {
    pub(super) fn read_folder(
        self: &Arc<Self>,
        folder: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Answer<Vec<FolderEntry>> {
        let count_max = count_max.min(LISTING_COUNT_MAX) as usize;
        self.run(move |_, state| state.list(folder, cookie, count_max, detail))
    }
}

impl State {
    fn list(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: usize,
        detail: ListDetail,
    ) -> Look<Vec<FolderEntry>> {
        let Some(inode) = self.find_inode(folder)? else {
            // Removed while somebody still reads it: empty.
            return Ok(Vec::new());
        };
        if inode.kind != Kind::Folder {
            return Err(fail(ErrorKind::NotDirectory, "not a folder"));
        }
        let mut entries = Vec::new();
        let dots = [(b".".as_slice(), folder, COOKIE_DOT), (b"..", inode.parent, COOKIE_DOT_DOT)];
        for (name, ino, own) in dots {
            if cookie < own && entries.len() < count_max {
                let (name, kind) = (name.to_vec(), Kind::Folder);
                entries.push(FolderEntry { name, ino, kind, cookie: own, attributes: None });
            }
        }
        let from = Key::entry(folder, Cookie(cookie.max(COOKIE_DOT_DOT) + 1));
        let (_, to) = Key::entries_of(folder);
        if entries.len() < count_max && cookie < i64::MAX as u64 {
            self.map.scan(&from, &to, None, &mut |key, value| {
                if let (Subject::Entry { cookie, .. }, Value::Entry(entry)) = (subject(key), value)
                {
                    entries.push(FolderEntry {
                        name: entry.name.clone(),
                        ino: entry.ino,
                        kind: entry.kind,
                        cookie: cookie.0,
                        attributes: None,
                    });
                }
                let full = entries.len() >= count_max;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        if detail == ListDetail::Attributes {
            for entry in &mut entries {
                entry.attributes = Some(self.attributes(entry.ino)?);
            }
        }
        Ok(entries)
    }

    /// Inode of a name. `NotFound` if there is none.
    pub(super) fn find_name(&self, folder: Ino, name: &[u8], folding: Folding) -> Look<Ino> {
        if let Some(entry) = self.entry(folder, name)? {
            return Ok(entry.ino);
        }
        let mut found = None;
        if folding == Folding::Folded {
            let (from, to) = Key::slots_of(folder, self.names.of(name));
            self.map.scan(&from, &to, None, &mut |_, value| match value {
                Value::Entry(entry) if strongroom_format::name::fold_equal(&entry.name, name) => {
                    found = Some(entry.ino);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })?;
        }
        found.ok_or_else(|| fail(ErrorKind::NotFound, "no such name"))
    }
}
