//! Files on their way to whoever reads them: decided and put on record first, fetched from the store while others write, then given
//! out, if that still may be.
//!
//! ```text
//! begin   decision and which file, two records     others wait
//! fetch   its bytes are here, and whole             others write
//! end     does all of it still hold? ─▶ given out   others wait
//! ```
//!
//! 1. What was withdrawn, erased, restricted or disabled meanwhile counts: nothing is given out then.
//! 2. What has gone from where it was is read anew from the record on: another file may have the name, and new keys move a file.

use strongroom_audit::Grant;
use strongroom_audit::shelves::Shelves;
use strongroom_authorizer::Action;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{JointKey, SecretBytes};
use strongroom_crypto::usage::Context;
use strongroom_records::ids::{ClassId, SubjectId};
use strongroom_records::subject::{File, JointFile};

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{OpenFolder, damaged, no_such_file, sealed};
use crate::joint;
use crate::sending::TOGETHER_LEN;
use crate::subjects::Subject;

/// LIMIT: how often a file is read anew because others moved it.
pub const MOVED_COUNT_MAX: u32 = 8;

/// A file of a subject, or of several, on its way to whoever reads it.
pub struct Reading {
    asked: Asked,
    /// All whom it is about.
    people: Vec<SubjectId>,
    class: ClassId,
    /// Number of the next record as it was when that was decided.
    seen: u64,
    file: File,
    key: Key,
    context: Context,
    shelves: Shelves,
}

/// What a file that is read is sealed under.
enum Key {
    /// One of its class.
    Class(Box<OpenFolder>),
    /// One that several people have shares of.
    Joint(JointKey),
}

impl Reading {
    /// Bytes of its content.
    #[allow(clippy::len_without_is_empty, reason = "of the file, which is no collection")]
    pub fn len(&self) -> u64 {
        self.file.len
    }

    /// Whether it takes so long to fetch that others should write meanwhile.
    pub fn is_long(&self) -> bool {
        self.file.len > TOGETHER_LEN
    }

    /// Fetches and opens it. Others may write meanwhile.
    ///
    /// # Errors
    /// Those of the store; `Corrupt`.
    ///
    /// # Security
    /// What it returns goes nowhere before [`Custodian::end_read`].
    pub fn fetch(&self) -> Result<SecretBytes> {
        let sealed = sealed(&self.shelves, &self.file)?;
        let opened = match &self.key {
            Key::Class(folder) => seal::open(folder.key_of(&self.file)?, &self.context, &sealed),
            Key::Joint(key) => seal::open(key, &self.context, &sealed),
        };
        opened.map_err(|_| damaged())
    }
}

impl Custodian {
    /// Reads a file of a subject, for an activity that may. Others write while it is fetched from the store, if they were kept out.
    ///
    /// # Errors
    /// `Denied`; `NotFound` when the subject has no such file; `Corrupt`.
    pub fn read_file(&mut self, asked: &Asked, name: &str) -> Result<Vec<u8>> {
        for _ in 0..MOVED_COUNT_MAX {
            let reading = self.begin_read(asked, name)?;
            let fetched = match reading.is_long() {
                true => self.beside_others(|_| reading.fetch())?,
                false => reading.fetch(),
            };
            if let Some(plain) = self.end_read(&reading, fetched)? {
                return Ok(plain);
            }
        }
        Err(moved_all_the_time())
    }

    /// Decides whether a file may be read, and puts that and which one it is on record. It is to be fetched next.
    ///
    /// # Errors
    /// As [`Custodian::read_file`].
    pub fn begin_read(&mut self, asked: &Asked, name: &str) -> Result<Reading> {
        let begun = self.read_on_record(asked, name);
        self.finish()?;
        begun
    }

    /// What was fetched, if whoever asked for it still may have it. None where it has to be read anew, since others moved it.
    ///
    /// # Errors
    /// As [`Custodian::read_file`]; `fetched` itself.
    pub fn end_read(
        &mut self,
        reading: &Reading,
        fetched: Result<SecretBytes>,
    ) -> Result<Option<Vec<u8>>> {
        if self.register().log().next_seq() == reading.seen {
            return Ok(Some(fetched?.into_vec()));
        }
        self.check_may_still(reading)?;
        let first = reading.people.first().ok_or_else(Error::denied)?;
        match fetched {
            Err(_) if !self.register().has_file(first, &reading.file.id)? => Ok(None),
            fetched => Ok(Some(fetched?.into_vec())),
        }
    }

    /// Two records: that the class may be read, without which nobody knows which file has the name; and which one it is, without
    /// which none of it is read. What follows from both is carried out together.
    fn read_on_record(&mut self, asked: &Asked, name: &str) -> Result<Reading> {
        let (own, grant) = self.ask_early(asked, Action::Open)?;
        let register = self.register();
        let (subject, cell) = (own.cell.subject, &own.cell);
        let subject_key = register.subject_key(cell)?.ok_or_else(Error::denied)?;
        let folder = OpenFolder::open(register, &grant, &subject_key, cell)?;
        if let Some(joint) = folder.find_joint(name) {
            return self.read_joint(asked, (own, grant), &joint.clone());
        }
        let file = folder.find(name).ok_or_else(no_such_file)?.clone();
        let context = folder.context(register, &subject, &file);
        let class = grant.class();
        self.tell_opened(vec![(own, &grant)], file.id)?;
        let key = Key::Class(Box::new(folder));
        Ok(self.reading(asked, (vec![subject], class), file, (key, context)))
    }

    /// The same of one that is about others as well: on record with each of them.
    fn read_joint(
        &mut self,
        asked: &Asked,
        (own, grant): (Subject, Grant),
        joint: &JointFile,
    ) -> Result<Reading> {
        let class = grant.class();
        let parties = self.parties_on_record(asked, (own, grant), joint)?;
        let (key, context) = joint::opening(self.register(), &parties, &joint.file)?;
        let people = parties.iter().map(joint::Party::subject).collect();
        Ok(self.reading(asked, (people, class), joint.file.clone(), (Key::Joint(key), context)))
    }

    fn reading(
        &self,
        asked: &Asked,
        (people, class): (Vec<SubjectId>, ClassId),
        file: File,
        (key, context): (Key, Context),
    ) -> Reading {
        let log = self.register().log();
        let (asked, seen, shelves) = (asked.clone(), log.next_seq(), log.shelves().clone());
        Reading { asked, people, class, seen, file, key, context, shelves }
    }

    fn check_may_still(&self, reading: &Reading) -> Result<()> {
        let rules = self.rules_asked(&reading.asked)?;
        for subject in &reading.people {
            if !self.would_about(&rules, subject, reading.class, Action::Open)? {
                return Err(Error::denied());
            }
        }
        Ok(())
    }
}

/// What whoever reads hears where that comes to no end.
pub fn moved_all_the_time() -> Error {
    Error::new(ErrorKind::Unavailable, "the file is moved all the time: ask again")
}
