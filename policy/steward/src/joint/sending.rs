//! A file about several people on its way. Its key is its own, so that no new key of theirs overtakes it.

use std::collections::BTreeSet;

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::subject::{File, JOINT_PEOPLE_MAX};

use super::{Party, Shared, check_replaceable, former, hand_out, share};
use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::files::PROFILE;
use crate::register::Transaction;

impl Custodian {
    /// Whether there may be a file about so many people.
    pub(crate) fn check_joint(&self, asked: &Asked, others: &[String], name: &str) -> Result<()> {
        if others.len() >= JOINT_PEOPLE_MAX {
            return Err(Error::invalid("a file is about eight people at most"));
        }
        if self.class(&asked.class)? == ClassId::IDENTIFIABLE && name == PROFILE {
            return Err(Error::invalid("a profile is about one person"));
        }
        Ok(())
    }

    /// Grants for all whom a file is to be about, after that for the first of them.
    pub(crate) fn granted_about(
        &mut self,
        asked: &Asked,
        others: &[String],
        first: Grant,
    ) -> Result<Vec<Grant>> {
        let mut subjects = Vec::new();
        for other in others {
            let known = self.resolve(other, &first.activity())?;
            subjects.push(known.unwrap_or(SubjectId([0; 16])));
        }
        let rules = self.rules_asked(asked)?;
        let what = (first.class(), Action::Write);
        let others_agree = self.lend_together(&rules, &subjects, what, Vec::new())?;
        let mut grants = others_agree.ok_or_else(Error::denied)?;
        grants.insert(0, first);
        match people(&grants).len() == grants.len() {
            true => Ok(grants),
            false => Err(Error::invalid("somebody is named twice")),
        }
    }

    /// A file as it goes to the store, unless it could not go on record.
    pub(crate) fn shared_for(
        &self,
        grants: &[Grant],
        (id, name): (FileId, &str),
        plain: &[u8],
    ) -> Result<(Shared, Vec<u8>)> {
        let now = self.services().clock.now_ns();
        let (mut parties, former) = self.parties_for(grants, name, now)?;
        let (shared, sealed) = share(self.register(), &parties, (id, name.to_owned()), plain)?;
        hand_out(&mut parties, &shared, now, former)?;
        Ok((shared, sealed))
    }

    /// Puts one on record that was sent.
    pub(crate) fn put_shared(
        &mut self,
        mut transaction: Transaction,
        shared: &Shared,
        grants: &[Grant],
    ) -> Result<File> {
        // The seal is bound to them.
        if people(grants) != shared.people {
            return Err(Error::denied());
        }
        let now = transaction.now;
        let (mut parties, former) = self.parties_for(grants, &shared.file.name, now)?;
        hand_out(&mut parties, shared, now, former)?;
        former.into_iter().for_each(|former| transaction.drop_object(former));
        for party in parties {
            party.close(self.register(), &mut transaction, None);
        }
        self.register_mut().commit(transaction)?;
        Ok(File { written: now, ..shared.file.clone() })
    }

    /// Those whom a file of a name is about, and the one that it takes the place of.
    fn parties_for(
        &self,
        grants: &[Grant],
        name: &str,
        now: i64,
    ) -> Result<(Vec<Party>, Option<FileId>)> {
        let mut parties = self.parties_by(grants, name)?;
        let former = former(&mut parties, &people(grants))?;
        if former.is_some() {
            check_replaceable(&parties, now)?;
        }
        Ok((parties, former))
    }
}

fn people(grants: &[Grant]) -> BTreeSet<SubjectId> {
    grants.iter().map(Grant::subject).collect()
}
