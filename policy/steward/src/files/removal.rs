//! Removing a file of a subject by its name.

use strongroom_authorizer::Action;
use strongroom_records::ids::ClassId;
use strongroom_records::log::Kind;
use strongroom_records::subject::Detail;

use super::{OpenFolder, PROFILE, no_such_file};
use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::register::Transaction;

/// What is removed by a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Also a file that is about others as well, for all of them.
    OfWhomever,
    OfOne,
}

impl Custodian {
    /// Removes a file of a subject, for an activity that may write. Its key lives on with the class: a deep rotation of
    /// the class ends it.
    ///
    /// # Errors
    /// `Denied`; `NotFound` when the subject has no such file; `Held` while a hold keeps the class.
    pub fn remove_file(&mut self, asked: &Asked, name: &str) -> Result<()> {
        self.remove_named(asked, name, Removal::OfWhomever)
    }

    /// The same for whoever means a file that is about the subject alone: one about others as well is none.
    ///
    /// # Errors
    /// As [`Custodian::remove_file`].
    pub fn remove_file_of_one(&mut self, asked: &Asked, name: &str) -> Result<()> {
        self.remove_named(asked, name, Removal::OfOne)
    }

    fn remove_named(&mut self, asked: &Asked, name: &str, removal: Removal) -> Result<()> {
        let (mut own, grant) = self.ask(asked, Action::Write)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        own.check_replaceable(grant.class(), transaction.now)?;
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let mut folder = OpenFolder::open(register, &grant, &subject_key, &own.cell)?;
        if let Some(joint) = folder.find_joint(name)
            && removal == Removal::OfWhomever
        {
            return self.remove_joint(asked, grant, &joint.clone());
        }
        let id = folder.find(name).ok_or_else(no_such_file)?.id;
        folder.remove(id);
        transaction.drop_object(id);
        let detail = Detail { files: vec![id], ..Detail::default() };
        register.tell(&mut transaction, &mut own, Kind::Removed, Some(&detail), None, |entry| {
            (entry.activity, entry.class) = (Some(grant.activity()), Some(grant.class()));
        });
        let is_profile = grant.class() == ClassId::IDENTIFIABLE && name == PROFILE;
        let seq = transaction.seq();
        let put = self.put_folder(transaction, own, folder, is_profile.then(Vec::new));
        self.as_recorded(seq, put)
    }
}
