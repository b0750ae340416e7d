//! The ledger of erasures: signed lines at a place apart from store and home, so that a backup of both brings nobody back.
//!
//! ```text
//! erase    entry of the register ─▶ line of the ledger ─▶ only then keys are destroyed
//! open     newest line stands in this register?  yes ─▶ go on
//!                                                no ──▶ it is an older one: everybody in the ledger is erased again, first
//! ```
//!
//! A line names a subject by slot and pseudonym of the audit log, and is signed like any receipt: whoever can write the
//! ledger can make nobody disappear. Receipts of erasures say the same and serve where there is no ledger.
//!
//! A ledger that moves leaves a line at the old place that names the new one, so that older copies, which name the old place,
//! are sent on. The last such line counts; one that names its own place says that the ledger is here again.
//!
//! LIMIT: what a ledger never heard of it cannot bring to mind: erasures from before it was set are added when it is, and of
//! those after it was given up nothing is known.

use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::Signed;
use strongroom_records::application::Description;
use strongroom_records::ids::{Hash, Pseudonym, SubjectId};
use strongroom_records::receipt::{Deed, MAGIC, MovedDeed, RECEIPT_LEN_MAX, Receipt, ReceivedDeed};
use strongroom_records::register::SUBJECT_SLOT;

use crate::custodian::Custodian;
use crate::erase::Cause;
use crate::error::{Error, ErrorKind, Result};
use crate::subjects::Subject;

/// LIMIT: places a ledger is looked for at, one sending on to the next.
const MOVES_MAX: usize = 64;

/// Somebody who was erased, as a ledger or a receipt has it.
struct Line<'r> {
    subject: Pseudonym,
    slot: u64,
    /// Record of the entry that the erasure began with.
    position: u64,
    /// SHA-256 of its header; receipts of erasures don't say.
    record: Option<Hash>,
    device: DeviceId,
    signed: Signed<'r>,
}

impl Custodian {
    /// Keeps a ledger at a place from now on, with everybody who was erased so far; or none.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written, or the one before cannot.
    pub fn set_ledger(&mut self, place: Option<&str>) -> Result<()> {
        if let Some(place) = place {
            let mut erased = Vec::new();
            for subject in self.subject_ids()? {
                let own = self.register().subject(&subject)?.ok_or_else(Error::no_subject)?;
                let received = own.cell.erasure.as_ref().map(|erasure| erasure.received);
                erased.extend(received.map(|received| (received, own)));
            }
            // ORDER: the last line is taken for the newest.
            erased.sort_by_key(|(received, _)| *received);
            let mut lines = Vec::new();
            for (_, own) in &erased {
                lines.extend(self.line(own)?);
            }
            lines.extend(self.moved(place));
            let memory = &self.services().memory;
            memory.add_to_ledger(place, &lines)?;
            // ORDER: the old place sends on before the new one is in force, and after it has everybody.
            if let Some((before, _)) = self.ledger_in_use()?.filter(|(before, _)| before != place) {
                memory.add_to_ledger(&before, &self.moved(place))?;
            }
        }
        let ledger = place.map(str::to_owned);
        self.describe(&Description { ledger, ..self.description()? })
    }

    /// Where the ledger is kept.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn ledger(&self) -> Result<Option<String>> {
        Ok(self.description()?.ledger)
    }

    /// Erases everybody again who was erased after this register was copied, if it is an older copy. Returns whom.
    pub(crate) fn replay_own_ledger(&mut self) -> Result<Vec<SubjectId>> {
        let Some((place, receipts)) = self.ledger_in_use()? else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        if let Some(newest) = self.lines(&receipts)?.pop() {
            self.verify_line(&newest)?;
            // The records are a chain: one that has the newest line's entry has all before it.
            if !self.stands_in(&newest)? {
                gone = self.replay_for(&receipts, Cause::Ledger)?;
                self.say_it_is_newest(&place, &receipts)?;
            }
        }
        if self.ledger()?.as_ref() != Some(&place) {
            // An older copy, or whoever moved the ledger died before it said so.
            self.set_ledger(Some(&place))?;
        }
        Ok(gone)
    }

    /// Only after a replay: a line says that this register has it all. One that died before begins anew.
    fn say_it_is_newest(&self, place: &str, receipts: &[u8]) -> Result<()> {
        for line in self.lines(receipts)?.iter().rev() {
            if let Some(own) = self.named_by(line)? {
                return self.services().memory.add_to_ledger(place, &self.line(&own)?);
            }
        }
        Ok(())
    }

    /// The place where the ledger is kept by now, and what it holds.
    fn ledger_in_use(&self) -> Result<Option<(String, Vec<u8>)>> {
        let Some(mut place) = self.ledger()? else { return Ok(None) };
        for _ in 0..MOVES_MAX {
            let receipts = self.services().memory.ledger(&place)?;
            match self.sent_on(&receipts)?.filter(|next| *next != place) {
                Some(next) => place = next,
                None => return Ok(Some((place, receipts))),
            }
        }
        Err(Error::corrupt("ledgers of erasures send from place to place without end"))
    }

    /// Erases everybody whom a ledger or receipts of erasures name and who is here all the same. Nothing is asked of holds:
    /// what was decided once is carried out again. Returns whom.
    ///
    /// # Errors
    /// `Corrupt` for lines that do not verify; those of custody and store. Asked again it goes on.
    pub fn replay(&mut self, receipts: &[u8]) -> Result<Vec<SubjectId>> {
        self.replay_for(receipts, Cause::Decided)
    }

    fn replay_for(&mut self, receipts: &[u8], cause: Cause) -> Result<Vec<SubjectId>> {
        let lines = self.lines(receipts)?;
        // Nobody is erased by a file that holds anything forged.
        lines.iter().try_for_each(|line| self.verify_line(line))?;
        let mut gone = Vec::new();
        for line in &lines {
            let Some(own) = self.named_by(line)? else { continue };
            let is_closed = own.cell.erasure.is_some_and(|erasure| !erasure.receipt.is_empty());
            if !is_closed {
                self.erase_for(&own.cell.subject, cause)?;
                gone.push(own.cell.subject);
            }
        }
        Ok(gone)
    }

    /// Before any key is destroyed: the ledger has it.
    pub(crate) fn note_in_ledger(&self, own: &Subject) -> Result<()> {
        let Some((place, receipts)) = self.ledger_in_use()? else { return Ok(()) };
        if let Some(newest) = self.lines(&receipts)?.pop()
            && newest.subject == own.cell.pseudonym
            && self.stands_in(&newest)?
        {
            return Ok(());
        }
        self.services().memory.add_to_ledger(&place, &self.line(own)?)
    }

    fn line(&self, own: &Subject) -> Result<Vec<u8>> {
        let erasure = own.cell.erasure.as_ref().ok_or_else(Error::no_subject)?;
        let record = self.register().log().hash(erasure.received)?;
        let deed = ReceivedDeed { subject: own.cell.pseudonym, slot: own.cell.slot, record };
        let now = self.services().clock.now_ns();
        Ok(self.receipt(now, erasure.received, Deed::ErasureReceived(deed)))
    }

    /// A line that says where the ledger is from here on.
    fn moved(&self, to: &str) -> Vec<u8> {
        let now = self.services().clock.now_ns();
        let deed = Deed::LedgerMoved(MovedDeed { to: to.to_owned() });
        self.receipt(now, self.register().log().next_seq(), deed)
    }

    /// Where a ledger says that it is kept, if it says so.
    fn sent_on(&self, receipts: &[u8]) -> Result<Option<String>> {
        let mut last = None;
        for (receipt, signed) in self.own_receipts(receipts)? {
            if let Deed::LedgerMoved(deed) = receipt.deed {
                last = Some((deed.to, receipt.device, signed));
            }
        }
        let Some((to, device, signed)) = last else { return Ok(None) };
        self.verify_signed(&signed, &device)?;
        Ok(Some(to))
    }

    /// Receipts about this application. Their signatures are not verified here.
    fn own_receipts<'r>(&self, mut receipts: &'r [u8]) -> Result<Vec<(Receipt, Signed<'r>)>> {
        let organisation = self.services().keys.organisation();
        let application = self.register().application();
        let mut own = Vec::new();
        while !receipts.is_empty() {
            let signed = Signed::parse(MAGIC, RECEIPT_LEN_MAX, receipts)?;
            receipts = signed.rest;
            let receipt: Receipt = cbor::decode_canonical(signed.record)?;
            if receipt.organisation == organisation && receipt.application == application {
                own.push((receipt, signed));
            }
        }
        Ok(own)
    }

    /// Those of them that say who was erased.
    fn lines<'r>(&self, receipts: &'r [u8]) -> Result<Vec<Line<'r>>> {
        let mut lines = Vec::new();
        for (receipt, signed) in self.own_receipts(receipts)? {
            let (subject, slot, position, record) = match receipt.deed {
                Deed::ErasureReceived(deed) => {
                    (deed.subject, deed.slot, receipt.position, Some(deed.record))
                }
                Deed::Erasure(deed) => (deed.subject, deed.slot, deed.received, None),
                Deed::Consent(_)
                | Deed::Export(_)
                | Deed::Rotation(_)
                | Deed::SubjectRotation(_)
                | Deed::LedgerMoved(_) => continue,
            };
            let device = receipt.device;
            lines.push(Line { subject, slot, position, record, device, signed });
        }
        Ok(lines)
    }

    fn verify_line(&self, line: &Line<'_>) -> Result<()> {
        self.verify_signed(&line.signed, &line.device)
    }

    fn verify_signed(&self, signed: &Signed<'_>, device: &DeviceId) -> Result<()> {
        let organisation = self.services().organisation.now();
        let key = organisation.former_or_present(device);
        let key = key.ok_or_else(|| Error::corrupt(STRANGER))?;
        Ok(signed.verify(Usage::SignReceipt, key)?)
    }

    /// Whether the record of a line stands in this register, which then is no older than the line.
    fn stands_in(&self, line: &Line<'_>) -> Result<bool> {
        let log = self.register().log();
        let Some(record) = line.record.filter(|_| line.position < log.next_seq()) else {
            return Ok(false);
        };
        Ok(log.hash(line.position)? == record)
    }

    /// Whom a line means, if they are here at all: they may have come after the copy was made.
    fn named_by(&self, line: &Line<'_>) -> Result<Option<Subject>> {
        let Some(slot) = line.slot.checked_sub(SUBJECT_SLOT) else {
            return Err(Error::new(ErrorKind::Corrupt, "a line of the ledger names no subject"));
        };
        let Some(subject) = self.subject_ids_from(slot / 2, 1)?.pop() else { return Ok(None) };
        let own = self.register().subject(&subject)?.ok_or_else(Error::no_subject)?;
        Ok((own.cell.pseudonym == line.subject).then_some(own))
    }
}

const STRANGER: &str = "the ledger is signed by a device nobody certified";
