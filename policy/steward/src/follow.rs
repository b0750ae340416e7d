//! Following: an open application learns what others have recorded since, without being opened anew.
//!
//! A record counts from the moment it is durable, and its cells may reach the store a little later: what was followed is
//! believed over what is stored until then.

use std::collections::BTreeSet;

use strongroom_format::cbor;
use strongroom_records::application::Listed;
use strongroom_records::ids::SubjectId;
use strongroom_records::register::CellKind;
use strongroom_records::subject::SubjectCell;
use strongroom_store::Shelf;

use crate::custodian::Custodian;
use crate::directory::Stewardship;
use crate::error::{Error, ErrorKind, Result};
use crate::register::SINGLE;

/// LIMIT: how often a record is tried again that somebody else's came before.
pub(crate) const CONFLICT_COUNT_MAX: u32 = 50;

/// What others recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Records.
    pub records: u64,
    /// Subjects of whom anything changed: consents, files, state, keys.
    pub subjects: BTreeSet<SubjectId>,
    /// Whether what holds for everybody changed: activities, policies, classes, the state of the application.
    pub rules: bool,
}

impl Custodian {
    /// Reads on in the register. Costs one question when there is nothing new. An error that comes after something new is
    /// met again by the next call.
    ///
    /// # Errors
    /// `Corrupt` when what follows does not fit; those of the store.
    pub fn follow(&mut self) -> Result<News> {
        let mut news = News::default();
        let rules = [CellKind::Description, CellKind::Activities, CellKind::PolicySet];
        loop {
            let cells = match self.register_mut().follow() {
                Ok(Some(cells)) => cells,
                Err(error) if news.records == 0 => return Err(error),
                Ok(None) | Err(_) => return Ok(news),
            };
            news.records += 1;
            for (name, plain) in cells {
                let register = self.register();
                if rules.iter().any(|kind| register.cell_name(*kind, &SINGLE) == name) {
                    news.rules = true;
                } else if let Ok(cell) = cbor::decode_canonical::<SubjectCell>(&plain)
                    && register.cell_name(CellKind::Subject, &cell.subject.0) == name
                {
                    news.subjects.insert(cell.subject);
                }
            }
        }
    }

    /// Whether nobody has recorded anything since.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_newest(&self) -> Result<bool> {
        let log = self.register().log();
        Ok(!log.shelves().has(Shelf::Log, u128::from(log.next_seq()))?)
    }

    /// Whether what failed may be there again with what others have recorded since: whoever writes takes away what its record
    /// replaced, and who changes the application key ends the one before.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_overtaken(&self, error: &Error) -> Result<bool> {
        let may_be = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Locked);
        Ok(may_be && !self.is_newest()?)
    }

    /// Looks at something while others write: as often as they overtake it.
    ///
    /// # Errors
    /// Those of looking, and of [`Custodian::follow`].
    pub fn keeping_up<T>(&mut self, mut look: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        loop {
            match look(self) {
                Err(error) if self.is_overtaken(&error)? => drop(self.follow()?),
                looked => return looked,
            }
        }
    }

    /// Puts something on record after whatever others write that are not kept out: anew, knowing that, as often as they come
    /// before it.
    ///
    /// # Errors
    /// `Unavailable` when that is all the time; those of the record, and of [`Custodian::follow`].
    pub(crate) fn retried<T>(
        &mut self,
        mut record: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..CONFLICT_COUNT_MAX {
            match record(self) {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    self.follow()?;
                    self.catch_up()?;
                }
                recorded => return recorded,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "others write all the time"))
    }

    /// Carries out what another writer may have died over. Whoever calls it keeps other writers out meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub fn catch_up(&mut self) -> Result<()> {
        self.register_mut().catch_up()
    }

    /// Reads on in the list of applications as well, and takes the application's line as it is now.
    pub(crate) fn follow_list(&mut self) -> Result<()> {
        let mut list = match self.list.take() {
            Some(list) => list,
            None => Box::new(Stewardship::read(self.services().clone())?),
        };
        list.follow()?;
        let line = list.find(&self.listed().application.to_string())?.clone();
        self.relist(&line);
        self.list = Some(list);
        Ok(())
    }

    /// Takes the application's line in the list as it is now. True if anything changed.
    pub fn relist(&mut self, line: &Listed) -> bool {
        let changed = self.listed() != line;
        if changed {
            self.set_listed(line.clone());
        }
        changed
    }
}

impl Stewardship {
    /// Reads on in the list of applications.
    ///
    /// # Errors
    /// As [`Custodian::follow`].
    pub fn follow(&mut self) -> Result<()> {
        while self.follow_one()? {}
        Ok(())
    }
}
