//! The ledger: signed lines at a place apart from store and home, so that a backup of both brings nobody back who was erased,
//! and no consent that was withdrawn.
//!
//! ```text
//! erase    entry of the register ─▶ line of the ledger ─▶ only then keys are destroyed
//! answer   see `said`
//! open     newest line stands in this register?  yes ─▶ go on
//!                                                no ──▶ it is an older one: everybody in the ledger is erased again, or a part
//!                                                       of another again, and what they said is on record again, first; then
//!                                                       a line says that this register has all that stands above
//! ```
//!
//! A line names a subject by slot and pseudonym of the audit log, and is signed like any receipt: whoever can write the
//! ledger can make nobody disappear. Receipts of erasures say the same and serve where there is no ledger.
//!
//! A ledger that moves leaves a line at the old place that names the new one, so that older copies, which name the old place,
//! are sent on. The last such line counts; one that names its own place says that the ledger is here again.
//!
//! LIMIT: what a ledger never heard of it cannot bring to mind: erasures and answers from before it was set are added when it
//! is, and of those after it was given up nothing is known. It knows of people: a policy, a job that was suspended, a hold and a
//! rule of retention are as the copy has them, so that whoever is held in it, with an erasure that had begun, is not erased again
//! by opening it, and stays unreadable; but notices that retention gave count for nothing in an older copy: they may have ended
//! since.

mod merged;
mod said;

pub(crate) use said::ToTell;

use std::collections::BTreeSet;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;
use strongroom_records::Signed;
use strongroom_records::application::Description;
use strongroom_records::ids::{Hash, Pseudonym, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::receipt::{
    Deed, MAGIC, MovedDeed, RECEIPT_LEN_MAX, Receipt, ReceivedDeed, ReplayedDeed, SaidDeed,
};
use strongroom_records::register::SUBJECT_SLOT;
use strongroom_records::subject::Named;

use crate::custodian::Custodian;
use crate::erase::Cause;
use crate::error::{Error, ErrorKind, Result};
use crate::subjects::Subject;

/// LIMIT: places a ledger is looked for at, one sending on to the next.
const MOVES_MAX: usize = 64;

/// Whom a ledger or receipts of erasures brought to mind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Those who were erased again.
    pub erased: Vec<SubjectId>,
    /// Those who became a part of another again.
    pub merged: Vec<SubjectId>,
    /// Those who are to be a part of somebody who is not here, or with whom there is no room: they stay, restricted.
    pub apart: Vec<SubjectId>,
    /// Those whose answers were put on record again, once for each.
    pub answered: Vec<SubjectId>,
}

/// What becomes of an erasure of this register that was interrupted and that the ledger has, when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Ends,
    Stays,
}

/// A line of a ledger, or a receipt of an erasure.
struct Line<'r> {
    what: What,
    /// Record of the entry that it stands for.
    position: u64,
    device: DeviceId,
    signed: Signed<'r>,
}

/// What a line says.
enum What {
    /// Somebody was erased, or became a part of another. With SHA-256 of the record's header; receipts of erasures don't say.
    Erased { own: Named, record: Option<Hash>, into: Option<Named> },
    /// Somebody said something.
    Said(SaidDeed),
    /// The register that has this record has all that stands above.
    Replayed { record: Hash },
}

impl Custodian {
    /// Keeps a ledger at a place from now on, with everybody who was erased so far; or none.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written, or the one before cannot.
    pub fn set_ledger(&mut self, place: Option<&str>) -> Result<()> {
        if let Some(place) = place {
            self.heed_ledger()?;
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
            let memory = &self.services().memory;
            let before = match self.ledger_in_use()? {
                Some((here, _)) if here == place => None,
                elsewhere => {
                    memory.add_to_ledger(place, &[])?;
                    elsewhere
                }
            };
            if let Some((_, receipts)) = &before {
                lines.extend(self.said_lines(receipts)?);
            }
            lines.extend(self.all_said()?);
            lines.extend(self.moved(place));
            memory.add_to_ledger(place, &lines)?;
            // ORDER: the old place sends on before the new one is in force, and after it has everybody.
            if let Some((before, _)) = before {
                memory.add_to_ledger(&before, &self.moved(place))?;
            }
        }
        let ledger = place.map(str::to_owned);
        self.describe(&Description { ledger, ..self.description()? })
    }

    /// Keeps none from here on, where the one that is kept cannot be read.
    pub(crate) fn give_up_ledger(&mut self) -> Result<()> {
        let place = self.ledger()?.ok_or_else(|| Error::invalid("no ledger is kept"))?;
        match self.ledger_in_use() {
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::invalid("the ledger is there: it is not given up")),
        }
        // ORDER: first, as nothing tells whether this is an older copy, in which notices may have ended.
        self.void_notices()?;
        let description = Description { ledger: None, ..self.description()? };
        let place = Hash(sha256(place.as_bytes()));
        self.describe_as(&description, Kind::LedgerLost, Some(place))
    }

    /// Where the ledger is kept.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn ledger(&self) -> Result<Option<String>> {
        Ok(self.description()?.ledger)
    }

    /// Erases everybody again who was erased after this register was copied, if it is an older copy, and puts on record again
    /// what was said since.
    pub(crate) fn replay_own_ledger(&mut self, begun: Begun) -> Result<Replayed> {
        let Some((place, receipts)) = self.ledger_in_use()? else {
            return Ok(Replayed::default());
        };
        let mut replayed = Replayed::default();
        let lines = self.lines(&receipts)?;
        if let Some(at) = newest(&lines) {
            self.verify_line(&lines[at])?;
            // The records are a chain: one that has the newest line's entry has all before it.
            if self.stands_in(&lines[at])? {
                replayed.erased = match begun {
                    Begun::Ends => self.finish_erasures(&lines[at..])?,
                    Begun::Stays => Vec::new(),
                };
            } else {
                replayed = self.replay_for(&receipts, Cause::Ledger)?;
                // ORDER: only after a replay: one that died before begins anew.
                self.services().memory.add_to_ledger(&place, &self.has_it_all()?)?;
            }
        }
        if self.ledger()?.as_ref() != Some(&place) {
            // An older copy, or whoever moved the ledger died before it said so.
            self.set_ledger(Some(&place))?;
        }
        Ok(replayed)
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
        Err(Error::corrupt("ledgers send from place to place without end"))
    }

    /// Erases everybody whom a ledger or receipts of erasures name and who is here all the same, or makes them a part of whom
    /// they became one of, and puts on record what a ledger says that they said since. Nothing is asked of holds: what was decided once is carried out again.
    ///
    /// # Errors
    /// `Corrupt` for lines that do not verify; those of custody and store. Asked again it goes on.
    pub fn replay(&mut self, receipts: &[u8]) -> Result<Replayed> {
        self.replay_for(receipts, Cause::Decided)
    }

    fn replay_for(&mut self, receipts: &[u8], cause: Cause) -> Result<Replayed> {
        let lines = self.lines(receipts)?;
        // Nobody is erased by a file that holds anything forged.
        lines.iter().try_for_each(|line| self.verify_line(line))?;
        if cause == Cause::Ledger {
            self.check_devices(&lines)?;
        }
        let mut erased = Vec::new();
        for subject in self.not_erased(&lines)? {
            // Who says so by hand knows more than this register.
            if cause != Cause::Ledger || !self.is_kept_from_ledger(&subject)? {
                erased.push(subject);
            }
        }
        if cause == Cause::Ledger || !erased.is_empty() {
            // ORDER: before anything that tells the next call that there is nothing left to do.
            self.void_notices()?;
        }
        let mut replayed = self.end_again(&erased, &lines, cause)?;
        replayed.answered = self.say_again(&lines)?;
        Ok(replayed)
    }

    /// Whom lines say to be erased and who is not, or not yet in full; once each.
    fn not_erased(&self, lines: &[Line<'_>]) -> Result<Vec<SubjectId>> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for line in lines {
            let What::Erased { own, .. } = &line.what else { continue };
            let Some(own) = self.named_by(&own.subject, own.slot)? else { continue };
            let is_closed = own.cell.erasure.is_some_and(|erasure| !erasure.receipt.is_empty());
            if !is_closed && seen.insert(own.cell.subject) {
                found.push(own.cell.subject);
            }
        }
        Ok(found)
    }

    /// Goes on with erasures that this register has and has not closed: it may be a copy that was made in the middle of one. An
    /// interrupted one that goes on is told below everything that came between. Whom a hold keeps since stays.
    fn finish_erasures(&mut self, lines: &[Line<'_>]) -> Result<Vec<SubjectId>> {
        let mut finished = Vec::new();
        for line in lines {
            let What::Erased { own, .. } = &line.what else { continue };
            let Some(own) = self.named_by(&own.subject, own.slot)? else { continue };
            let subject = own.cell.subject;
            let is_unfinished = own.cell.erasure.is_some_and(|erasure| erasure.receipt.is_empty());
            if is_unfinished && !self.is_kept_from_ledger(&subject)? {
                self.erase_for(&subject, Cause::Ledger)?;
                finished.push(subject);
            }
        }
        Ok(finished)
    }

    /// Whether an erasure is on record of which nothing is gone, and a hold came before it went on. That they stay is no refusal:
    /// nobody asked.
    fn is_kept_from_ledger(&self, subject: &SubjectId) -> Result<bool> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let is_whole = own.cell.erasure.as_ref().is_some_and(|erasure| erasure.punctured.is_none());
        Ok(is_whole && self.is_held_with_others(&own, self.services().clock.now_ns())?)
    }

    /// Whom a device names that was removed, and this register knows of no erasure, nobody erases who is not told to: the device
    /// may have written that afterwards.
    fn check_devices(&self, lines: &[Line<'_>]) -> Result<()> {
        let mut named = BTreeSet::new();
        for line in lines.iter().filter(|line| !self.counts(&line.device)) {
            let What::Erased { own, .. } = &line.what else { continue };
            let own =
                self.named_by(&own.subject, own.slot)?.filter(|own| own.cell.erasure.is_none());
            named.extend(own.map(|own| own.cell.subject.to_string()));
        }
        if named.is_empty() {
            return Ok(());
        }
        let named = named.into_iter().collect::<Vec<_>>().join(", ");
        Err(Error::invalid(format!(
            "a device that was removed says in the ledger that these were erased: {named}; `app replay` with the ledger erases them"
        )))
    }

    /// Before any key is destroyed: the ledger has it.
    pub(crate) fn note_in_ledger(&mut self, own: &Subject) -> Result<()> {
        self.heed_ledger()?;
        let Some((place, receipts)) = self.ledger_in_use()? else { return Ok(()) };
        let lines = self.lines(&receipts)?;
        if let Some(newest) = lines.last()
            && matches!(newest.what, What::Erased { own: named, .. } if named.subject == own.cell.pseudonym)
            && self.stands_in(newest)?
        {
            return Ok(());
        }
        self.services().memory.add_to_ledger(&place, &self.line(own)?)
    }

    fn line(&self, own: &Subject) -> Result<Vec<u8>> {
        let erasure = own.cell.erasure.as_ref().ok_or_else(Error::no_subject)?;
        let record = self.register().log().hash(erasure.received)?;
        let (subject, slot, into) = (own.cell.pseudonym, own.cell.slot, erasure.into);
        let deed = ReceivedDeed { subject, slot, record, into };
        let now = self.services().clock.now_ns();
        Ok(self.receipt(now, erasure.received, Deed::ErasureReceived(deed)))
    }

    /// A line that says that this register has all that stands above.
    fn has_it_all(&self) -> Result<Vec<u8>> {
        let now = self.services().clock.now_ns();
        let log = self.register().log();
        let newest = log.next_seq().saturating_sub(1);
        let deed = Deed::LedgerReplayed(ReplayedDeed { record: log.hash(newest)? });
        Ok(self.receipt(now, newest, deed))
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

    /// Those of them that say what became of anybody.
    fn lines<'r>(&self, receipts: &'r [u8]) -> Result<Vec<Line<'r>>> {
        let mut lines = Vec::new();
        for (receipt, signed) in self.own_receipts(receipts)? {
            let (device, mut position) = (receipt.device, receipt.position);
            let what = match receipt.deed {
                Deed::ErasureReceived(ReceivedDeed { subject, slot, record, into }) => {
                    What::Erased { own: Named { subject, slot }, record: Some(record), into }
                }
                Deed::Erasure(deed) => {
                    position = deed.received;
                    let own = Named { subject: deed.subject, slot: deed.slot };
                    What::Erased { own, record: None, into: deed.into }
                }
                Deed::Said(deed) => What::Said(deed),
                Deed::LedgerReplayed(deed) => What::Replayed { record: deed.record },
                Deed::Consent(_)
                | Deed::Export(_)
                | Deed::Rotation(_)
                | Deed::SubjectRotation(_)
                | Deed::LedgerMoved(_) => continue,
            };
            lines.push(Line { what, position, device, signed });
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

    /// Whether the entry of a line stands in this register, which then is no older than the line.
    fn stands_in(&self, line: &Line<'_>) -> Result<bool> {
        match &line.what {
            What::Erased { record: None, .. } => Ok(false),
            What::Erased { record: Some(record), .. } | What::Replayed { record } => {
                self.has_record(line.position, record)
            }
            What::Said(deed) => {
                Ok(self.leads_to(line, deed)? && self.has_said(line.position, deed)?)
            }
        }
    }

    /// Whether this register has the record before the one that a line stands for: its own records from there on are later than
    /// the line, or what it stands for.
    fn leads_to(&self, line: &Line<'_>, deed: &SaidDeed) -> Result<bool> {
        match line.position.checked_sub(1) {
            Some(before) => self.has_record(before, &deed.before),
            None => Ok(false),
        }
    }

    fn has_record(&self, position: u64, record: &Hash) -> Result<bool> {
        let log = self.register().log();
        Ok(position < log.next_seq() && log.hash(position)? == *record)
    }

    /// Whom a line means, if they are here at all: they may have come after the copy was made.
    fn named_by(&self, pseudonym: &Pseudonym, slot: u64) -> Result<Option<Subject>> {
        let Some(slot) = slot.checked_sub(SUBJECT_SLOT) else {
            return Err(Error::new(ErrorKind::Corrupt, "a line of the ledger names no subject"));
        };
        let Some(subject) = self.subject_ids_from(slot / 2, 1)?.pop() else { return Ok(None) };
        let own = self.register().subject(&subject)?.ok_or_else(Error::no_subject)?;
        Ok((own.cell.pseudonym == *pseudonym).then_some(own))
    }
}

/// The line that stands for the newest entry. What stands above one that says that a register has it all may be of another
/// register, whose records had other numbers; and below it an erasure that was interrupted is told later than it was recorded.
fn newest(lines: &[Line<'_>]) -> Option<usize> {
    let is_anchor = |line: &Line<'_>| matches!(line.what, What::Replayed { .. });
    let from = lines.iter().rposition(is_anchor).unwrap_or(0);
    (from..lines.len()).max_by_key(|at| lines[*at].position)
}

const STRANGER: &str = "the ledger is signed by a device nobody certified";
