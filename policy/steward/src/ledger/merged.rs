//! Who became a part of another, in the ledger: in a copy from before they do so again, and nothing of the person is taken away.
//!
//! The chain of who became a part of whom is followed to its end, by lines and by what the register itself has of erasures:
//!
//! ```text
//! somebody who is here        a part of them, with files, holds and restrictions
//! somebody who was erased     erased, as what was theirs has been
//! nobody who is here          kept and restricted: the copy is older than whoever has what is theirs
//! ```

use std::collections::BTreeSet;

use strongroom_records::ids::SubjectId;
use strongroom_records::log::Kind;
use strongroom_records::subject::{Named, SubjectState};

use super::{Line, Replayed, What};
use crate::custodian::Custodian;
use crate::erase::Cause;
use crate::error::{Error, ErrorKind, Result};

/// What becomes of somebody whom a line names.
enum Fate {
    Erased,
    PartOf(SubjectId),
    /// To be a part of somebody who is not here.
    Apart,
}

impl Custodian {
    /// Ends again whom lines name, each as the lines say.
    pub(super) fn end_again(
        &mut self,
        subjects: &[SubjectId],
        lines: &[Line<'_>],
        cause: Cause,
    ) -> Result<Replayed> {
        let mut replayed = Replayed::default();
        for subject in subjects {
            match self.fate_of(subject, lines)? {
                Fate::Erased => {
                    self.erase_for(subject, cause)?;
                    replayed.erased.push(*subject);
                }
                Fate::PartOf(into) if self.become_part(&into, subject, cause)? => {
                    replayed.merged.push(*subject);
                }
                Fate::PartOf(_) | Fate::Apart => {
                    self.keep_apart(subject)?;
                    replayed.apart.push(*subject);
                }
            }
        }
        Ok(replayed)
    }

    fn fate_of(&self, subject: &SubjectId, lines: &[Line<'_>]) -> Result<Fate> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        if own.cell.erasure.is_some() {
            // Nothing of theirs is left here that is not to go.
            return Ok(Fate::Erased);
        }
        let mut at = Named { subject: own.cell.pseudonym, slot: own.cell.slot };
        let mut seen = BTreeSet::new();
        while seen.insert(at.subject) {
            let found = self.named_by(&at.subject, at.slot)?;
            let erasure = found.as_ref().and_then(|own| own.cell.erasure.as_ref());
            let next = match (told_of(lines, &at), erasure, &found) {
                (Some(into), _, _) => into,
                (None, Some(erasure), _) => erasure.into,
                (None, None, Some(own)) => return Ok(Fate::PartOf(own.cell.subject)),
                (None, None, None) => return Ok(Fate::Apart),
            };
            match next {
                Some(into) => at = into,
                None => return Ok(Fate::Erased),
            }
        }
        Ok(Fate::Apart)
    }

    /// Whether somebody has become a part of another. What is damaged, or finds no room there, keeps nobody else shut out.
    fn become_part(&mut self, into: &SubjectId, from: &SubjectId, cause: Cause) -> Result<bool> {
        match self.merge_for(into, from, cause) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt) => {
                let own = self.register().subject(from)?.ok_or_else(Error::no_subject)?;
                if own.cell.erasure.is_some() { Err(error) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps somebody, with nothing released to any job: what was said of them since is not known here.
    fn keep_apart(&mut self, subject: &SubjectId) -> Result<()> {
        let mut own = self.living(subject)?;
        if own.cell.state == SubjectState::Restricted {
            return Ok(());
        }
        own.cell.state = SubjectState::Restricted;
        self.change_subject(own, Kind::Restriction)
    }
}

/// Of whom lines say that somebody became a part, if they name the one at all. The last one counts: whoever was kept apart may
/// have been erased since.
fn told_of(lines: &[Line<'_>], named: &Named) -> Option<Option<Named>> {
    lines.iter().rev().find_map(|line| match &line.what {
        What::Erased { own, into, .. } if own == named => Some(*into),
        What::Erased { .. } | What::Said(_) | What::Replayed { .. } => None,
    })
}
