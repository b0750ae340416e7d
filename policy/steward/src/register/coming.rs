//! Files that are being sent to the store: named by a record before the first byte, and taken off that list by the record that
//! puts them into a folder, or gives them up.
//!
//! INVARIANT: what is removed was on the list until that very record, and what a folder comes to name was on it until that record
//! as well. So whoever takes away what a writer left who died never takes away what is on record; a list that is older than the
//! register, because a cell of it came late to the store, is not believed alone.

use strongroom_format::cbor;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::register::{CellKind, Coming, ComingFile};

use super::{Register, SINGLE, Transaction};
use crate::error::{Error, ErrorKind, Result};

/// How long a file may be on its way: longer than a store takes for anything, however far clocks of devices are apart.
const KEPT_NS: i64 = 86_400_000_000_000;
/// LIMIT: files that are on their way at a time.
const COUNT_MAX: usize = 1024;

impl Register {
    /// Takes one off the list, and puts another one of somebody on it; what is left there for long is removed. Whether the one
    /// was on it.
    ///
    /// # Errors
    /// `Unavailable` when too many are on their way.
    pub fn change_coming(
        &self,
        transaction: &mut Transaction,
        one: Option<FileId>,
        other: Option<(FileId, SubjectId)>,
    ) -> Result<bool> {
        let mut coming = self.coming()?;
        let now = transaction.now;
        let before = coming.files.len();
        coming.files.retain(|file| Some(file.id) != one);
        let had = coming.files.len() < before;
        coming.files.retain(|file| {
            if !is_left(file, now) {
                return true;
            }
            let is_on_record = self.has_file(&file.subject, &file.id);
            if matches!(is_on_record, Ok(false)) {
                transaction.drop_object(file.id);
            }
            // What cannot be told now is by the next to come.
            is_on_record.is_err()
        });
        if let Some((id, subject)) = other {
            if coming.files.len() >= COUNT_MAX {
                let message = "too many files are on their way at a time: try again";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            coming.files.push(ComingFile { id, since: now, subject });
        }
        if had || other.is_some() || coming.files.len() < before {
            transaction.cell(CellKind::Coming, &SINGLE, &cbor::encode(&coming));
        }
        Ok(had)
    }

    /// Whether a file is on record as somebody's.
    pub fn has_file(&self, subject: &SubjectId, id: &FileId) -> Result<bool> {
        let classes = self.subject_cell(subject)?.map_or_else(Vec::new, |cell| cell.classes);
        Ok(classes.iter().any(|class| class.objects.contains(id)))
    }

    fn coming(&self) -> Result<Coming> {
        match self.cell(CellKind::Coming, &SINGLE)? {
            Some(bytes) => Ok(cbor::decode_canonical(&bytes)?),
            None => Ok(Coming::default()),
        }
    }
}

/// A clock that was set back counts like one that went on.
fn is_left(file: &ComingFile, now: i64) -> bool {
    now.abs_diff(file.since) > KEPT_NS.unsigned_abs()
}
