//! Consents: a subject's answers to activities, with evidence, history and signed receipts.

use serde_json::{Value, json};
use strongroom_crypto::hash::sha256;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_records::Signed;
use strongroom_records::activity::{Activity, ActivityState, Basis};
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::log::{Kind, base64};
use strongroom_records::receipt::{ConsentDeed, Deed, MAGIC, Receipt, Said};
use strongroom_records::subject::{Consent, ConsentStatus, Detail, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::lookup::Buckets;
use crate::register::Transaction;
use crate::services::Services;
use crate::subjects::Subject;
use crate::times::time_text;

/// LIMIT: bytes of evidence.
const EVIDENCE_LEN_MAX: usize = 64 << 10;

/// An answer of a subject.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Name of the activity.
    pub activity: String,
    /// The answer.
    pub status: ConsentStatus,
    /// Whether it was expressed explicitly.
    pub explicit: bool,
    /// Names of the classes it covers; none is all that the activity declared.
    pub classes: Vec<String>,
    /// End.
    pub until: Option<i64>,
    /// Who expressed it, how and when, as the application knows it.
    pub evidence: Vec<u8>,
}

/// An answer that somebody gave once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The answer.
    pub consent: Consent,
    /// Its evidence, as it was given; none where there was none, or where it is on record about whom this one was made of.
    pub evidence: Option<Vec<u8>>,
}

impl Custodian {
    /// Records an answer; returns the signed receipt. In force when this returns.
    ///
    /// # Errors
    /// `NotFound` for an unknown subject or activity; `Invalid` for an answer that fits no activity; where the ledger is away,
    /// its error, and the answer is on record all the same.
    pub fn answer(&mut self, subject: &SubjectId, answer: &Answer) -> Result<Vec<u8>> {
        let mut own = self.speaker(subject)?;
        let activities = self.activities()?;
        let activity = activities.iter().find(|activity| activity.name == answer.activity);
        let activity =
            activity.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such activity"))?;
        let had_answered = own.record.consents.iter().any(|own| own.activity == activity.id);
        // A copy from before has no answer where this is the first yes.
        let is_told = had_answered || !answer.status.allows();
        if is_told && self.heed_ledger()? {
            own = self.speaker(subject)?;
        }
        let consent = self.consent(activity, answer)?;
        let names = [&activity.name, &activity.consumer, &activity.purpose].map(String::clone);
        let said = is_told.then(|| Said::Consent(consent.clone()));
        let to_tell = self.to_tell(&own, said.as_slice())?;
        let (time, position) = self.told(to_tell, |custodian| {
            custodian.put_consent(own, &consent, answer.evidence.clone())
        })?;
        let deed = ConsentDeed { subject: *subject, consent, activity: names.into() };
        Ok(self.receipt(time, position, Deed::Consent(deed)))
    }

    fn speaker(&self, subject: &SubjectId) -> Result<Subject> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        match own.cell.state {
            SubjectState::Erased | SubjectState::Erasing => Err(Error::no_subject()),
            SubjectState::Active | SubjectState::Restricted => Ok(own),
        }
    }

    /// Puts an answer on record. Returns time and number of the record.
    pub(crate) fn put_consent(
        &mut self,
        mut own: Subject,
        consent: &Consent,
        evidence: Vec<u8>,
    ) -> Result<(i64, u64)> {
        let (activity, consents) = (consent.activity, &mut own.record.consents);
        match consents.binary_search_by_key(&activity, |consent| consent.activity) {
            Ok(at) => consents[at] = consent.clone(),
            Err(at) => consents.insert(at, consent.clone()),
        }
        let consent = Some(consent.clone());
        let detail = Detail { files: Vec::new(), consent, evidence, merged: None };
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let time = transaction.now;
        register.tell(&mut transaction, &mut own, Kind::Consent, Some(&detail), None, |entry| {
            entry.activity = Some(activity);
        });
        let mut buckets = Buckets::default();
        register.enlist(&mut transaction, &mut buckets, &mut own)?;
        register.put_subject(&mut transaction, &mut own);
        register.put_leaves(&mut transaction, buckets)?;
        let (position, _) = self.register_mut().commit(transaction)?;
        Ok((time, position))
    }

    /// A subject's answers, and the questions that are open: approved activities with basis consent and no answer.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn consents(&self, subject: &SubjectId) -> Result<Vec<(Activity, ConsentStatus)>> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let mut answers = Vec::new();
        for activity in self.activities()? {
            let given = own.record.consents.iter().find(|c| c.activity == activity.id);
            let is_open = activity.state == ActivityState::Approved
                && activity.basis == Basis::Consent
                && own.cell.state != SubjectState::Erased;
            match given {
                Some(consent) => answers.push((activity, self.standing(consent))),
                None if is_open => answers.push((activity, ConsentStatus::Requested)),
                None => {}
            }
        }
        Ok(answers)
    }

    /// Every answer a subject ever gave, oldest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn consent_history(&mut self, subject: &SubjectId) -> Result<Vec<Answered>> {
        let details = self.entries_about(subject)?.into_iter().filter_map(|line| line.detail);
        let answered = |detail: Detail| {
            let evidence = Some(detail.evidence).filter(|evidence| !evidence.is_empty());
            Some(Answered { consent: detail.consent?, evidence })
        };
        Ok(details.filter_map(answered).collect())
    }

    fn standing(&self, consent: &Consent) -> ConsentStatus {
        let now = self.services().clock.now_ns();
        match consent.until {
            Some(end) if consent.status.allows() && now >= end => ConsentStatus::Expired,
            _ => consent.status,
        }
    }

    fn consent(&self, activity: &Activity, answer: &Answer) -> Result<Consent> {
        if answer.evidence.len() > EVIDENCE_LEN_MAX {
            return Err(Error::invalid("evidence is larger than 64 KiB"));
        }
        if answer.status.allows() && activity.state != ActivityState::Approved {
            return Err(Error::invalid("nobody can agree to an activity that is not approved"));
        }
        if answer.status.allows() && activity.basis != Basis::Consent {
            return Err(Error::invalid("the activity does not rest on consent"));
        }
        let is_objection = answer.status == ConsentStatus::Objected;
        if is_objection && activity.basis != Basis::LegitimateInterest {
            return Err(Error::invalid("only a legitimate interest can be objected to"));
        }
        let mut classes = Vec::new();
        for name in &answer.classes {
            classes.push(self.class(name)?);
        }
        if classes.is_empty() {
            classes = activity.classes.clone();
        }
        classes.sort();
        classes.dedup();
        if classes.iter().any(|class| !activity.classes.contains(class)) {
            return Err(Error::invalid("the activity never declared one of the classes"));
        }
        Ok(Consent {
            activity: activity.id,
            status: answer.status,
            explicit: answer.explicit,
            classes,
            until: answer.until,
            expressed: self.services().clock.now_ns(),
            notice_hash: activity.notice_hash,
            evidence_hash: Hash(sha256(&answer.evidence)),
            position: self.register().log().next_seq(),
        })
    }

    /// The same for machines, as the command and the agent answer it.
    ///
    /// # Errors
    /// As [`Custodian::consent_history`].
    pub fn consent_history_json(&mut self, subject: &SubjectId) -> Result<Vec<Value>> {
        let activities = self.activities()?;
        let line = |Answered { consent, evidence }: Answered| {
            let found = activities.iter().find(|activity| activity.id == consent.activity);
            json!({
                "time": time_text(consent.expressed),
                "activity": found.map_or_else(|| consent.activity.to_string(), |a| a.name.clone()),
                "status": consent.status.name(),
                "record": consent.position,
                "evidence": evidence.as_deref().map(base64),
                "evidence_sha256": consent.evidence_hash.to_string(),
                "notice_sha256": consent.notice_hash.to_string(),
            })
        };
        Ok(self.consent_history(subject)?.into_iter().map(line).collect())
    }

    pub(crate) fn receipt(&self, time: i64, position: u64, deed: Deed) -> Vec<u8> {
        signed_receipt(self.services(), self.register().application(), time, position, deed)
    }
}

fn signed_receipt(
    services: &Services,
    application: strongroom_records::ids::ApplicationId,
    time: i64,
    position: u64,
    deed: Deed,
) -> Vec<u8> {
    let receipt = Receipt {
        organisation: services.keys.organisation(),
        application,
        device: services.keys.device_id(),
        time,
        position,
        deed,
    };
    let record = cbor::encode(&receipt);
    let signature = services.keys.signing().sign(Usage::SignReceipt, &record);
    Signed::build(MAGIC, &record, &signature, &[])
}
