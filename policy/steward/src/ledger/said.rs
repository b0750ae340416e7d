//! What people said of their data, in the ledger: answers and restrictions that a copy from before must not forget.
//!
//! ```text
//! a no, a restriction   line of the ledger ─▶ record       a writer that dies in between leaves a no that is in force once
//!                                                          the application is opened again, or somebody adds a line
//! a yes after an answer record ─▶ line of the ledger       one that dies in between leaves that answer in copies from before
//! a first yes           no line                            a copy from before has no answer, which is a no
//! ```
//!
//! What was said is sealed under the subject's audit key, which no rotation changes: whoever reads the ledger learns that a
//! pseudonym of the audit log said something at a time, and not what of. The last line of a person about an activity counts.
//! A no is put on record again whoever signed it; a yes only if that device is in the organisation now.
//!
//! Where the ledger is away a no is recorded all the same, and the error says that the ledger does not know it. What a merge carries
//! over from another subject waits for the ledger: asked again, it would be on record already, and nothing would tell it.

use std::collections::BTreeMap;

use strongroom_crypto::seal;
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::Signed;
use strongroom_records::ids::{ActivityId, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind};
use strongroom_records::receipt::{Deed, MAGIC, Said, SaidDeed};
use strongroom_records::subject::{Consent, SubjectState};

use super::{Line, What, newest};
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::register::Register;
use crate::subjects::Subject;

/// What is said to somebody whose act is on record and not in the ledger.
const UNTOLD: &str =
    "it is on record, but the ledger could not be told: say it again once that is there";

/// Lines for a ledger, before a record and after it.
pub(crate) struct ToTell {
    place: String,
    first: Vec<u8>,
    then: Vec<u8>,
}

impl Custodian {
    /// What the ledger is to be told of what a subject says in the next record; none where no ledger is kept.
    pub(crate) fn to_tell(&self, own: &Subject, said: &[Said]) -> Result<Option<ToTell>> {
        let Some(place) = self.ledger()?.filter(|_| !said.is_empty()) else { return Ok(None) };
        let mut to_tell = ToTell { place, first: Vec::new(), then: Vec::new() };
        let seq = self.register().log().next_seq();
        for said in said {
            let lines = if takes_away(said) { &mut to_tell.first } else { &mut to_tell.then };
            lines.extend(self.said_line(own, said, seq)?);
        }
        Ok(Some(to_tell))
    }

    /// Has a record made, and the ledger told: of what takes something away before, of all else after.
    ///
    /// # Errors
    /// Those of the record; where there is a record and the ledger was not told, that of the ledger.
    pub(crate) fn told<T>(
        &mut self,
        to_tell: Option<ToTell>,
        record: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let Some(ToTell { place, first, then }) = to_tell else { return record(self) };
        let told = self.tell_ledger(&place, &first);
        let recorded = record(self)?;
        let told = told.and_then(|()| self.tell_ledger(&place, &then));
        told.map_err(|error| Error::new(error.kind(), UNTOLD))?;
        Ok(recorded)
    }

    /// The same for what can wait: where the ledger is away, nothing is recorded, and whoever asks again has all of it done.
    ///
    /// # Errors
    /// Those of the ledger, with no record, and those of [`Custodian::told`].
    pub(crate) fn told_beforehand<T>(
        &mut self,
        mut to_tell: Option<ToTell>,
        record: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(ToTell { place, first, .. }) = &mut to_tell {
            // A yes has its line after the record: that the ledger is there is known before all the same.
            self.services().memory.ledger(place)?;
            self.tell_ledger(place, &std::mem::take(first))?;
        }
        self.told(to_tell, record)
    }

    /// Puts on record what the newest line says, where its writer died before: below another line nobody would look for it. Whether
    /// anything was. Comes before whoever is to be written is read; that a ledger is away is said to whoever adds to it.
    pub(crate) fn heed_ledger(&mut self) -> Result<bool> {
        let Ok(Some((_, receipts))) = self.ledger_in_use() else { return Ok(false) };
        let Ok(mut lines) = self.lines(&receipts) else { return Ok(false) };
        let Some(position) = newest(&lines).map(|at| lines[at].position) else {
            return Ok(false);
        };
        let is_ours = |line: &Line<'_>| match &line.what {
            What::Said(deed) => self.leads_to(line, deed).is_ok_and(|leads| leads),
            What::Erased { .. } | What::Replayed { .. } => false,
        };
        lines.retain(|line| {
            line.position == position && is_ours(line) && self.verify_line(line).is_ok()
        });
        Ok(!self.say_again(&lines)?.is_empty())
    }

    fn tell_ledger(&self, place: &str, lines: &[u8]) -> Result<()> {
        match lines {
            [] => Ok(()),
            lines => self.services().memory.add_to_ledger(place, lines),
        }
    }

    /// A line about what a subject says in a record.
    fn said_line(&self, own: &Subject, said: &Said, seq: u64) -> Result<Vec<u8>> {
        let register = self.register();
        let missing = || Error::corrupt("the key of what is on record about a subject is missing");
        let key = own.audit_key.as_ref().ok_or_else(missing)?;
        let (subject, slot) = (own.cell.pseudonym, own.cell.slot);
        let context = register.said_context(&subject, seq);
        let salt = self.services().entropy.array();
        let said = seal::seal(key, &context, salt, &cbor::encode(said));
        let before = register.log().hash(seq.saturating_sub(1))?;
        let deed = Deed::Said(SaidDeed { subject, slot, before, said });
        Ok(self.receipt(self.services().clock.now_ns(), seq, deed))
    }

    /// Lines about everything that everybody has said until now, for a ledger that begins: all but yeses that nothing narrows.
    pub(super) fn all_said(&self) -> Result<Vec<u8>> {
        let activities = self.activities()?;
        let is_whole = |consent: &Consent| {
            let of = activities.iter().find(|activity| activity.id == consent.activity);
            let covers_all = of.is_some_and(|activity| activity.classes == consent.classes);
            consent.status.allows() && consent.until.is_none() && covers_all
        };
        let mut lines = Vec::new();
        for subject in self.subject_ids()? {
            let own = self.register().subject(&subject)?.ok_or_else(Error::no_subject)?;
            if !own.is_there() {
                continue;
            }
            for consent in own.record.consents.iter().filter(|own| !is_whole(own)) {
                let said = Said::Consent(consent.clone());
                lines.extend(self.said_line(&own, &said, consent.position)?);
            }
            if own.cell.state == SubjectState::Restricted {
                let seq = self.restricted_at(&own)?;
                lines.extend(self.said_line(&own, &Said::Restricted, seq)?);
            }
        }
        Ok(lines)
    }

    /// Those lines of a ledger that say what somebody said, as they are.
    pub(super) fn said_lines(&self, receipts: &[u8]) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        for line in self.lines(receipts)? {
            if matches!(line.what, What::Said(_)) {
                let Signed { record, signature, .. } = line.signed;
                said.extend(Signed::build(MAGIC, record, &signature, &[]));
            }
        }
        Ok(said)
    }

    /// Puts on record what lines say that was said and this register does not have. Returns by whom.
    pub(super) fn say_again(&mut self, lines: &[Line<'_>]) -> Result<Vec<SubjectId>> {
        let mut last: BTreeMap<(SubjectId, Option<ActivityId>), (Said, bool)> = BTreeMap::new();
        for line in lines {
            let What::Said(deed) = &line.what else { continue };
            let Some(own) = self.named_by(&deed.subject, deed.slot)? else { continue };
            if !own.is_there() {
                continue;
            }
            let said = self.register().open_said(&own, deed, line.position)?;
            if !takes_away(&said) && !self.counts(&line.device) {
                continue;
            }
            let about = match &said {
                Said::Consent(consent) => Some(consent.activity),
                Said::Restricted | Said::Unrestricted => None,
            };
            let stands = self.stands_in(line)? || self.has_answered_since(&own, line, &said)?;
            last.insert((own.cell.subject, about), (said, stands));
        }
        let mut again = Vec::new();
        for ((subject, _), (said, stands)) in last {
            if !stands && self.say(&subject, said)? {
                again.push(subject);
            }
        }
        again.dedup();
        Ok(again)
    }

    /// Puts on record what a subject said, unless it is so already. The ledger has it.
    fn say(&mut self, subject: &SubjectId, said: Said) -> Result<bool> {
        let mut own = self.living(subject)?;
        match said {
            Said::Consent(consent) => {
                let position = self.register().log().next_seq();
                let consent = Consent { position, ..consent };
                let is_so = |own: &Consent| Consent { position, ..own.clone() } == consent;
                if own.record.consents.iter().any(is_so) {
                    return Ok(false);
                }
                self.put_consent(own, &consent, Vec::new())?;
            }
            Said::Restricted if own.cell.state == SubjectState::Active => {
                own.cell.state = SubjectState::Restricted;
                self.change_subject(own, Kind::Restriction)?;
            }
            Said::Unrestricted if own.cell.state == SubjectState::Restricted => {
                own.cell.state = SubjectState::Active;
                self.change_subject(own, Kind::Restriction)?;
            }
            Said::Restricted | Said::Unrestricted => return Ok(false),
        }
        Ok(true)
    }

    /// Whether a record has the entry of what a line says. Who was erased since left no key that opens the line.
    pub(super) fn has_said(&self, seq: u64, deed: &SaidDeed) -> Result<bool> {
        let register = self.register();
        if seq >= register.log().next_seq() {
            return Ok(false);
        }
        let own = self.named_by(&deed.subject, deed.slot)?.filter(Subject::has_audit_key);
        let said = own.map(|own| register.open_said(&own, deed, seq)).transpose()?;
        let (_, body) = register.log().body(&register.sealer(), seq)?;
        for logged in body.entries {
            let entry: Entry = cbor::decode_canonical(&logged.leaf)?;
            let is_theirs = entry.about.is_some_and(|own| own.subject == deed.subject);
            if is_theirs && tells(&entry, said.as_ref()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an answer is on record that was given after a line was written: a first yes has no line.
    fn has_answered_since(&self, own: &Subject, line: &Line<'_>, said: &Said) -> Result<bool> {
        let (What::Said(deed), Said::Consent(consent)) = (&line.what, said) else {
            return Ok(false);
        };
        let is_later =
            |own: &Consent| own.activity == consent.activity && own.position >= line.position;
        Ok(own.record.consents.iter().any(is_later) && self.leads_to(line, deed)?)
    }

    /// The record that restricted a subject.
    fn restricted_at(&self, own: &Subject) -> Result<u64> {
        let mut found = own.cell.entry_seq;
        self.each_about(own, |header, entry, _, _| {
            let is_it = entry.kind == Kind::Restriction;
            if is_it {
                found = header.seq;
            }
            Ok(!is_it)
        })?;
        Ok(found)
    }
}

impl Register {
    fn open_said(&self, own: &Subject, deed: &SaidDeed, seq: u64) -> Result<Said> {
        let damaged = || Error::corrupt("a line of the ledger cannot be opened");
        let key = own.audit_key.as_ref().ok_or_else(damaged)?;
        let plain = seal::open(key, &self.said_context(&deed.subject, seq), &deed.said);
        Ok(cbor::decode_canonical(plain.map_err(|_| damaged())?.expose())?)
    }

    fn said_context(&self, subject: &Pseudonym, seq: u64) -> Context {
        let application = self.application();
        let fields = [Value::Bytes(&application.0), Value::Bytes(&subject.0), Value::Uint(seq)];
        Context::new(Usage::LedgerAnswer, &self.services().keys.organisation().0, &fields)
    }
}

/// Whether an entry about whoever said something is the one of that.
fn tells(entry: &Entry, said: Option<&Said>) -> bool {
    match said {
        Some(Said::Consent(own)) => {
            entry.kind == Kind::Consent && entry.activity == Some(own.activity)
        }
        Some(Said::Restricted | Said::Unrestricted) => entry.kind == Kind::Restriction,
        None => matches!(entry.kind, Kind::Consent | Kind::Restriction),
    }
}

fn takes_away(said: &Said) -> bool {
    match said {
        Said::Consent(consent) => !consent.status.allows(),
        Said::Restricted => true,
        Said::Unrestricted => false,
    }
}
