//! What goes into an answer.

use std::collections::BTreeSet;

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_format::device::Secret32;
use strongroom_records::exchange::{Answer, GoneClasses, Lease, LentKey};
use strongroom_records::ids::{ApplicationId, SubjectId};
use zeroize::Zeroizing;

use super::session::{News, Session};
use crate::custodian::Custodian;
use crate::error::Result;
use crate::leases::{Prospect, Wanted};
use crate::moment::Moment;

pub(super) fn answer(
    application: ApplicationId,
    to: Option<u64>,
    news: News,
    leases: Vec<Lease>,
) -> Answer {
    let gone = |(subject, classes): (SubjectId, BTreeSet<_>)| GoneClasses {
        subject,
        classes: classes.into_iter().collect(),
    };
    Answer {
        application,
        to,
        refusal: None,
        gone: news.gone.into_iter().map(gone).collect(),
        changed: news.changed.into_iter().collect(),
        leases,
        next: None,
    }
}

pub(super) fn listing(prospect: &Prospect) -> Vec<Wanted> {
    let (subject, action) = (prospect.subject, Action::List);
    let one = |class: &_| Wanted { subject, class: *class, action, files: Vec::new() };
    prospect.classes.iter().map(one).collect()
}

/// A lease, as its session has it.
pub(super) struct Loan {
    pub lease: Lease,
    /// Of the folder.
    pub version: u64,
    pub end: Moment,
}

/// What a grant is for the device that it names; nothing where the subject has gone since.
pub(super) fn loan(
    custodian: &Custodian,
    session: &Session,
    wanted: &Wanted,
    grant: &Grant,
    now: Moment,
) -> Result<Option<Loan>> {
    let Some(rules) = &session.rules else { return Ok(None) };
    let Some(pseudonym) = custodian.known_as(&wanted.subject, &rules.activity().id)? else {
        return Ok(None);
    };
    let class_name = rules.class_name(wanted.class);
    let released = custodian.release_to(grant, &session.operator.device)?;
    let keys = released.keys.iter().map(|(generation, key)| LentKey {
        generation: *generation,
        key: Secret32(Box::new(Zeroizing::new(*key.expose()))),
    });
    let life = grant.end().saturating_sub(grant.begin());
    let lease = Lease {
        subject: wanted.subject,
        pseudonym,
        class: wanted.class,
        class_name,
        action: wanted.action.number(),
        life: u64::try_from(life).unwrap_or(0),
        record: grant.position(),
        keys: keys.collect(),
        files: released.files,
    };
    Ok(Some(Loan { lease, version: released.version, end: now.end(grant.end(), life) }))
}
