//! Which files were opened, in the entries of whom it is about: before one is read by name, and of consumers' devices what they
//! opened under leases that they were lent, as they say themselves.

use std::collections::BTreeMap;

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_records::exchange::OpenedFiles;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::log::{Entry, Kind, Outcome};
use strongroom_records::subject::Detail;

use crate::counter::CLOCK_APART_MAX;
use crate::custodian::Custodian;
use crate::error::Result;
use crate::leases::Rules;
use crate::register::Transaction;
use crate::subjects::Subject;

impl Custodian {
    /// Puts on record which file is about to be read under grants for its class, one for each whom it is about.
    /// [`Custodian::finish`] comes after it.
    pub(crate) fn tell_opened(
        &mut self,
        people: Vec<(Subject, &Grant)>,
        file: FileId,
    ) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let detail = Detail { files: vec![file], ..Detail::default() };
        for (mut own, grant) in people {
            register.tell(&mut transaction, &mut own, Kind::Opened, Some(&detail), None, |entry| {
                (entry.activity, entry.class) = (Some(grant.activity()), Some(grant.class()));
            });
            register.put_subject(&mut transaction, &mut own);
        }
        self.register_mut().record(transaction).map(drop)
    }

    /// Puts on record what a device says that it opened under leases it was given.
    ///
    /// # Errors
    /// As [`Custodian::lend`].
    pub fn note_opened(&mut self, rules: &Rules, opened: &[OpenedFiles]) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        // Entries about one person follow each other, in one record too.
        let mut subjects: BTreeMap<SubjectId, Subject> = BTreeMap::new();
        for one in opened {
            if !subjects.contains_key(&one.subject)
                && let Some(own) = register.subject(&one.subject)?
            {
                subjects.insert(one.subject, own);
            }
            let Some(own) = subjects.get_mut(&one.subject) else { continue };
            let detail = Detail { files: one.files.clone(), ..Detail::default() };
            register.tell(&mut transaction, own, Kind::Opened, Some(&detail), None, |entry| {
                entry.operator = rules.operator().device;
                (entry.activity, entry.class) = (Some(rules.activity().id), Some(one.class));
            });
        }
        for own in subjects.values_mut() {
            register.put_subject(&mut transaction, own);
        }
        match transaction.is_empty() {
            true => Ok(()),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    /// Of files that a device says it opened those that are not on record as opened under the newest lease by then that it was
    /// lent to read their class; none where it was lent none. `said` is when it said so, by its own clock.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn not_on_record(
        &self,
        rules: &Rules,
        one: &OpenedFiles,
        said: i64,
    ) -> Result<Vec<FileId>> {
        let Some(own) = self.register().subject(&one.subject)? else { return Ok(Vec::new()) };
        let (mut files, mut was_lent) = (one.files.clone(), false);
        self.each_about(&own, |_, entry, logged, _| {
            let is_theirs = entry.operator == rules.operator().device
                && entry.activity == Some(rules.activity().id)
                && entry.class == Some(one.class);
            let number = entry.about.as_ref().map(|about| about.number);
            match entry.kind {
                Kind::Opened if is_theirs => {
                    let detail = number.and_then(|number| {
                        self.register().open_detail(&own, number, &logged.detail)
                    });
                    let told = detail.map(|detail| detail.files).unwrap_or_default();
                    files.retain(|file| !told.contains(file));
                }
                Kind::Access if is_theirs && was_to_read(&entry) => {
                    was_lent = entry.time <= said.saturating_add(CLOCK_APART_MAX);
                    if !was_lent {
                        // What was opened under a lease that came after says nothing of what was before.
                        files.clone_from(&one.files);
                    }
                }
                _ => {}
            }
            Ok(!was_lent)
        })?;
        Ok(if was_lent { files } else { Vec::new() })
    }
}

/// Whether a lease to read was lent.
fn was_to_read(entry: &Entry) -> bool {
    let judgement = entry.judgement.as_ref();
    let judgement = judgement.filter(|own| own.outcome == Outcome::Allow);
    judgement.is_some_and(|own| own.action == Action::Open.number())
}
