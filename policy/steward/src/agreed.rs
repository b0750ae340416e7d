//! Who agreed to an activity: found without reading everybody.
//!
//! Rows lie in the look-up buckets, by a hash of activity and page, so an erasure ends them with the keys of its buckets, like
//! all else that leads to somebody. A row says that somebody agreed once; whether that holds still is decided, each time.

use strongroom_format::cbor;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{ActivityId, Hash, SubjectId};
use strongroom_records::register::{AGREED_LEN, Agreed, CellKind};
use strongroom_records::subject::Row;

use crate::custodian::Custodian;
use crate::error::Result;
use crate::leases::Rules;
use crate::lookup::Buckets;
use crate::register::{Register, Transaction};
use crate::subjects::Subject;

impl Custodian {
    /// Everybody an activity might see; who it is not, it sees nothing of.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn candidates(&self, rules: &Rules) -> Result<Vec<SubjectId>> {
        let activity = rules.activity();
        match activity.basis {
            Basis::Consent => self.register().agreed(&activity.id),
            Basis::Contract
            | Basis::LegalObligation
            | Basis::VitalInterests
            | Basis::PublicTask
            | Basis::LegitimateInterest => self.subject_ids(),
        }
    }
}

impl Register {
    /// Puts a subject among those who agreed to whatever its record says yes to. One row for each activity, ever.
    pub fn enlist(
        &self,
        transaction: &mut Transaction,
        buckets: &mut Buckets,
        own: &mut Subject,
    ) -> Result<()> {
        let record = &mut own.record;
        for consent in record.consents.iter().filter(|consent| consent.status.allows()) {
            let activity = consent.activity;
            let Err(at) = record.agreed.binary_search_by_key(&activity, |(own, _)| *own) else {
                continue;
            };
            let count = self.agreed_count(&activity)?;
            let page = count / AGREED_LEN;
            let hash = self.agreed_hash(&activity, page)?;
            buckets.insert(self, Row { hash, subject: own.cell.subject })?;
            record.agreed.insert(at, (activity, page));
            let agreed = Agreed { count: count + 1 };
            transaction.cell(CellKind::Agreed, &activity.0, &cbor::encode(&agreed));
        }
        Ok(())
    }

    /// What leads to those on a page.
    pub fn agreed_hash(&self, activity: &ActivityId, page: u64) -> Result<Hash> {
        self.special_hash("agreed", &[&activity.0[..], &page.to_be_bytes()].concat())
    }

    fn agreed_count(&self, activity: &ActivityId) -> Result<u64> {
        let Some(bytes) = self.cell(CellKind::Agreed, &activity.0)? else { return Ok(0) };
        Ok(cbor::decode_canonical::<Agreed>(&bytes)?.count)
    }

    fn agreed(&self, activity: &ActivityId) -> Result<Vec<SubjectId>> {
        let mut all = Vec::new();
        for page in 0..self.agreed_count(activity)?.div_ceil(AGREED_LEN) {
            let hash = self.agreed_hash(activity, page)?;
            let rows = self.bucket(Self::bucket_number(&hash))?.bucket.rows;
            all.extend(rows.iter().filter(|row| row.hash == hash).map(|row| row.subject));
        }
        Ok(all)
    }
}
