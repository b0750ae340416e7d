//! People whom nobody has any use for: notice is given that they are erased, and then they are.
//!
//! ```text
//! due       nobody had a use for so many days, less those of the notice: an entry says that notice is given
//! erased    after the last of those days, and after all days of the notice: as by [`Custodian::erase`]
//! ```
//!
//! 1. Nobody is erased with less than a whole notice under the rule in force, however late it was set or looked at.
//! 2. Whoever is used again, restricted or held stays; a notice from before counts for nothing then.
//! 3. A sweep gives so many notices and erases so many; the next one goes on, also with an erasure that was interrupted, whoever
//!    asked for it, and whatever the rule is by then. Each begins at another place of the register, so that nobody waits for all who fall due before them.
//!
//! A use is whatever reads, writes or hands out somebody's data, and whatever they say themselves. That somebody is listed or
//! looked up, new keys, holds and what retention takes away are none. The subject's cell says when the last one was; where a
//! program that did not write it down left the cell, its entries say it.
//!
//! Moments are those of the clocks of many machines. What one that was ahead wrote down counts as now for whoever sweeps, and a
//! machine whose clock is far from the newest record sweeps nothing.

mod listing;
mod run;
mod spans;

use strongroom_authorizer::{Action, Decision};
use strongroom_records::application::{Description, IdleRule};
use strongroom_records::ids::SubjectId;
use strongroom_records::log::{Entry as Leaf, Kind, Outcome};
use strongroom_records::register::{BLOCK_LEN, Idle};
use strongroom_records::subject::{SubjectCell, SubjectRecord, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result, whole};
use crate::register::Transaction;
use crate::retire::{Carry, DAY_NS};
use crate::subjects::Subject;
use run::NEVER;
pub(crate) use run::{Errand, Run};
use spans::Spans;

pub use listing::{IdleLine, IdlePage, Kept, idle_line_json};

/// LIMIT: a hundred years.
const DAYS_MAX: u32 = 36_500;
/// LIMIT: notices that one sweep gives, and subjects that it erases, each of which takes a new application key.
const NOTICE_COUNT_MAX: u64 = 1024;
const ERASED_COUNT_MAX: usize = 64;
/// Blocks after which what was found of them is put on record, so that a sweep that ends early is not begun anew.
const REMEMBERED_COUNT: u64 = 16;
/// LIMIT: days that a machine's clock may be behind the newest record, and ahead of it beyond those of a notice, in which nobody
/// need write anything.
const BEHIND_DAYS_MAX: u32 = 1;
const AHEAD_DAYS_MAX: u32 = 183;

/// What a sweep did with people whom nobody has any use for, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// To whom it gave notice, by count.
    pub noticed: u64,
    /// Whose notice was running already.
    pub running: u64,
    /// Who was erased.
    pub erased: Vec<SubjectId>,
    /// Who is due and stays: held, or restricted.
    pub kept: u64,
    /// Whether there is more to do than one sweep does.
    pub is_more: bool,
    /// Who is left out since what is stored of them is damaged.
    pub damaged: Vec<SubjectId>,
    /// What ended it early, after somebody was erased.
    pub failure: Option<Error>,
}

impl Custodian {
    /// Erases people so many days after the last use, with notice on so many of the last days; none is never. Notices that were
    /// given under another rule count for nothing, and under the same one where clocks differ: whoever sets it says that this
    /// one is right.
    ///
    /// # Errors
    /// `Invalid` for a notice of no day, or one that is longer than the days.
    pub fn set_idle_rule(&mut self, days: Option<(u32, u32)>) -> Result<()> {
        if days.is_some_and(|(days, notice)| notice == 0 || notice > days || days > DAYS_MAX) {
            let message = "notice is given for a day at least, and no longer than people are kept";
            return Err(Error::invalid(message));
        }
        let description = self.description()?;
        let since = self.services().clock.now_ns();
        let is_in_force = |rule: &IdleRule| rule.since <= since && self.check_clock(rule).is_ok();
        if days == description.idle.map(|rule| (rule.days, rule.notice_days))
            && description.idle.as_ref().is_none_or(is_in_force)
        {
            return Ok(());
        }
        let rule = |(days, notice_days)| IdleRule { days, notice_days, since };
        self.describe(&Description { idle: days.map(rule), ..description })
    }

    /// Whether the clock of this machine is near enough to the newest record for retention to go by it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) fn check_clock(&self, rule: &IdleRule) -> Result<()> {
        let Some(head) = self.register().log().head() else { return Ok(()) };
        let (newest, now) = (head.time, self.services().clock.now_ns());
        let ahead = rule.notice_days.saturating_add(AHEAD_DAYS_MAX);
        if later(now, BEHIND_DAYS_MAX) >= newest && later(newest, ahead) >= now {
            return Ok(());
        }
        let (word, days) = (if now > newest { "ahead of" } else { "behind" }, now.abs_diff(newest));
        let days = days / DAY_NS.unsigned_abs();
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "nobody is erased by retention: the clock of this machine is {days} days {word} the newest record; if it is \
                 right, set the rule for subjects again, which begins all notices anew"
            ),
        ))
    }

    /// Begins all notices anew: this register is an older copy, and what ended one since is not in it; or the rule is from the
    /// future.
    pub(crate) fn void_notices(&mut self) -> Result<()> {
        let description = self.description()?;
        let Some(rule) = description.idle else { return Ok(()) };
        let since = self.services().clock.now_ns();
        self.describe(&Description { idle: Some(IdleRule { since, ..rule }), ..description })
    }

    /// How long people are kept after the last use.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn idle_rule(&self) -> Result<Option<IdleRule>> {
        Ok(self.description()?.idle)
    }

    /// Gives notice to who is due, and erases those whose notice is over. Interrupted, the next call goes on. An error that comes
    /// after somebody was erased is told with them.
    pub(crate) fn retire_idle(&mut self, run: &Run) -> Result<Swept> {
        let mut swept = Swept::default();
        match self.sweep_idle(run, &mut swept) {
            Err(error) if swept.erased.is_empty() => Err(error),
            done => Ok(Swept { failure: done.err(), ..swept }),
        }
    }

    fn sweep_idle(&mut self, run: &Run, swept: &mut Swept) -> Result<()> {
        let rule = self.rule_of(run)?;
        let now = self.services().clock.now_ns();
        if rule.since > now && run.carry == Carry::Out && run.clock.is_ok() {
            self.retried(Self::void_notices)?;
        }
        let (mut read, mut spans) = (0, Spans::default());
        for block in run.blocks(self.block_count()) {
            if swept.is_full() {
                break;
            }
            if is_to_be_read(spans.oldest(self.register(), block)?, &rule, now) {
                let begun = swept.clone();
                self.retried(|own| {
                    let erased = std::mem::take(&mut swept.erased);
                    *swept = Swept { erased, ..begun.clone() };
                    own.sweep_block((block, &mut spans), run, swept)
                })?;
                read += 1;
                if read % REMEMBERED_COUNT == 0 {
                    self.put_spans(&mut spans, run)?;
                }
                self.let_others_in()?;
            }
        }
        self.put_spans(&mut spans, run)
    }

    /// What there is to do in one block.
    fn sweep_block(
        &mut self,
        (block, spans): (u64, &mut Spans),
        run: &Run,
        swept: &mut Swept,
    ) -> Result<()> {
        // Others were let in: they may have set another rule.
        let rule = self.rule_of(run)?;
        let now = self.services().clock.now_ns();
        let mut found = Found::default();
        for (subject, looked) in self.note_block((block, spans), &rule, &swept.damaged)? {
            match looked {
                Some(looked) => found.add(subject, &looked, now, swept),
                None => swept.damaged.push(subject),
            }
        }
        if rule == NEVER {
            // No clock was looked at that they could be put right by.
            found.ahead.clear();
        }
        if !found.is_empty() {
            run.clock.clone()?;
        }
        match run.carry {
            Carry::Dry => {
                swept.noticed += swept.some_of(&mut found.new);
                let room = ERASED_COUNT_MAX.saturating_sub(swept.erased.len());
                swept.is_more |= found.over.len() > room;
                swept.erased.extend(found.over.into_iter().take(room));
            }
            Carry::Out => {
                self.use_now(&found.ahead)?;
                self.give_notice(found.new, swept)?;
                for subject in &found.over {
                    self.erase_if_whole(subject, run, swept)?;
                }
                if !found.over.is_empty() {
                    // Each erasure that began has it looked at again, also that of others who were let in.
                    self.note_block((block, spans), &rule, &swept.damaged)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at a block, and notes when the one was last used for whom nobody had a use the longest; who cannot be read is none.
    fn note_block(
        &self,
        (block, spans): (u64, &mut Spans),
        rule: &IdleRule,
        damaged: &[SubjectId],
    ) -> Result<Vec<(SubjectId, Option<Looked>)>> {
        let before = spans::now(self.register(), block)?;
        let mut all = Vec::new();
        for (subject, looked) in self.look_at_block(block, rule, self.services().clock.now_ns())? {
            all.push((subject, whole(looked.map_err(|error| self.or_conflict(error)))?));
        }
        // Others may be added to a block that is not full.
        let is_full = all.len() as u64 == BLOCK_LEN;
        let least = if is_full { Idle::NOBODY } else { Idle::UNKNOWN };
        let used = |(subject, looked): &(SubjectId, Option<Looked>)| match looked {
            Some(looked) if !damaged.contains(subject) => looked.used,
            _ => spans::BEGUN,
        };
        let oldest = all.iter().map(used).fold(Idle::NOBODY, i64::min);
        let moment = if spans::is_marked(oldest) { oldest } else { oldest.min(least) };
        spans.set(block, before, moment);
        Ok(all)
    }

    /// What a clock that was ahead wrote down as the last use is now, so that their days begin.
    fn use_now(&mut self, ahead: &[SubjectId]) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        for subject in ahead {
            // Who cannot be read is named once they are due.
            let Some(mut own) = whole(register.subject(subject))?.flatten() else { continue };
            own.cell.used = Some(transaction.now);
            register.put_subject(&mut transaction, &mut own);
        }
        match transaction.is_empty() {
            true => Ok(()),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    /// One record by which all of them have notice.
    fn give_notice(&mut self, mut new: Vec<SubjectId>, swept: &mut Swept) -> Result<()> {
        let count = swept.some_of(&mut new);
        let register = self.register();
        let mut transaction = Transaction::new(register);
        for subject in &new {
            let mut own = register.subject(subject)?.ok_or_else(Error::no_subject)?;
            own.cell.used = Some(self.last_use(&own.cell)?);
            own.cell.noticed = Some(transaction.now);
            register.tell(&mut transaction, &mut own, Kind::Noticed, None, None, |_| ());
            register.put_subject(&mut transaction, &mut own);
        }
        swept.noticed += count;
        match transaction.is_empty() {
            true => Ok(()),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    /// Erases somebody whose notice is over, unless what is stored of them is damaged.
    fn erase_if_whole(&mut self, subject: &SubjectId, run: &Run, swept: &mut Swept) -> Result<()> {
        if swept.erased.len() >= ERASED_COUNT_MAX {
            swept.is_more = true;
            return Ok(());
        }
        self.let_others_in()?;
        let done =
            whole(self.retried(|own| {
                own.erase_idle(subject, run).map_err(|error| own.or_conflict(error))
            }));
        let is_erased = match &done {
            Ok(done) => *done == Some(true),
            // Its last record is durable, and what follows from it waits.
            Err(_) => self.is_closed(subject).unwrap_or_default(),
        };
        swept.erased.extend(is_erased.then_some(*subject));
        swept.damaged.extend(done?.is_none().then_some(*subject));
        Ok(())
    }

    /// What is missing since others took it away meanwhile is no damage.
    pub(crate) fn or_conflict(&self, error: Error) -> Error {
        match self.is_overtaken(&error) {
            Ok(true) => Error::overtaken(),
            Ok(false) | Err(_) => error,
        }
    }

    fn is_closed(&self, subject: &SubjectId) -> Result<bool> {
        let erasure = self.register().subject_cell(subject)?.and_then(|cell| cell.erasure);
        Ok(erasure.is_some_and(|erasure| !erasure.receipt.is_empty()))
    }

    /// Erases somebody whose notice is over, if that is so still once others were let in.
    fn erase_idle(&mut self, subject: &SubjectId, run: &Run) -> Result<bool> {
        let rule = self.rule_of(run)?;
        let now = self.services().clock.now_ns();
        if !self.standing_of(subject, &rule, now)?.standing.is_over(now) {
            return Ok(false);
        }
        self.erase(subject)?;
        Ok(true)
    }

    fn put_spans(&mut self, spans: &mut Spans, run: &Run) -> Result<()> {
        if run.carry == Carry::Dry {
            return Ok(());
        }
        self.retried(|own| {
            let mut transaction = Transaction::new(own.register());
            spans.put(own.register(), &mut transaction)?;
            match transaction.is_empty() {
                true => Ok(()),
                false => own.register_mut().commit(transaction).map(drop),
            }
        })?;
        spans.are_put();
        Ok(())
    }

    fn block_count(&self) -> u64 {
        self.subject_count().div_ceil(BLOCK_LEN)
    }

    fn look_at_block(
        &self,
        block: u64,
        rule: &IdleRule,
        now: i64,
    ) -> Result<Vec<(SubjectId, Result<Looked>)>> {
        let ids = self.subject_ids_from(block * BLOCK_LEN, BLOCK_LEN)?;
        let looked = |subject| (subject, self.standing_of(&subject, rule, now));
        Ok(ids.into_iter().map(looked).collect())
    }

    fn standing_of(&self, subject: &SubjectId, rule: &IdleRule, now: i64) -> Result<Looked> {
        let missing = || Error::corrupt("the cell of a subject is missing");
        let cell = self.register().subject_cell(subject)?.ok_or_else(missing)?;
        let is_unfinished = |cell: &SubjectCell| {
            cell.erasure.as_ref().is_some_and(|erasure| erasure.receipt.is_empty())
        };
        match cell.state {
            SubjectState::Erasing | SubjectState::Erased if is_unfinished(&cell) => {
                let line = self.begun_line(cell, now)?;
                // Whoever looks for them finds them.
                let (used, standing) = (spans::BEGUN, Standing::Unfinished(line));
                return Ok(Looked { used, standing, is_ahead: false });
            }
            SubjectState::Erasing | SubjectState::Erased => {
                let (used, standing) = (Idle::NOBODY, Standing::Gone);
                return Ok(Looked { used, standing, is_ahead: false });
            }
            SubjectState::Active | SubjectState::Restricted => {}
        }
        let written = self.last_use(&cell)?;
        let used = written.min(now);
        let standing = match used <= horizon(rule, now) {
            true => Standing::Due(self.idle_line(cell, used, rule, now)?),
            false => Standing::InUse,
        };
        Ok(Looked { used, standing, is_ahead: written > now })
    }

    /// Somebody whose erasure began, whoever asked for it: what they are about with others is closed. A hold keeps what there is till keys go.
    fn begun_line(&self, cell: SubjectCell, now: i64) -> Result<IdleLine> {
        let (used, noticed) = (self.last_use(&cell)?.min(now), cell.noticed);
        let (subject, is_whole) = (cell.subject, cell.state == SubjectState::Erasing);
        let is_held = is_whole && self.is_held_with_others(&self.register().opened(cell)?, now)?;
        let (ends, kept, joint_files) = (None, is_held.then_some(Kept::Held), 0);
        Ok(IdleLine { subject, used, noticed, ends, kept, joint_files, is_begun: true })
    }

    fn idle_line(
        &self,
        cell: SubjectCell,
        used: i64,
        rule: &IdleRule,
        now: i64,
    ) -> Result<IdleLine> {
        let noticed = cell.noticed.filter(|noticed| (rule.since..=now).contains(noticed));
        let (subject, state) = (cell.subject, cell.state);
        let own = self.register().opened(cell)?;
        let with = self.with_others(&own, now)?;
        let is_restricted = state == SubjectState::Restricted || with.is_restricted;
        let kept = match own.is_held_at_all(now) || with.is_held {
            true => Some(Kept::Held),
            false => is_restricted.then_some(Kept::Restricted),
        };
        let end = |noticed: i64| later(used, rule.days).max(later(noticed, rule.notice_days));
        let ends = noticed.map(end).filter(|_| kept.is_none());
        Ok(IdleLine {
            subject,
            used,
            noticed,
            ends,
            kept,
            joint_files: with.files,
            is_begun: false,
        })
    }

    /// When somebody last had a use for a subject.
    fn last_use(&self, cell: &SubjectCell) -> Result<i64> {
        if let Some(used) = cell.used {
            return Ok(used);
        }
        let (mut used, record) = (cell.created, SubjectRecord::default());
        let own = Subject { cell: cell.clone(), record, audit_key: None };
        self.each_about(&own, |_, entry, _, _| {
            let found = is_recorded_use(&entry);
            used = if found { entry.time } else { used };
            Ok(!found)
        })?;
        Ok(used)
    }
}

/// What a look at somebody found.
struct Looked {
    used: i64,
    standing: Standing,
    /// Whether the last use is written down as one that is still to come.
    is_ahead: bool,
}

/// How somebody stands with the rule.
enum Standing {
    Gone,
    InUse,
    Due(IdleLine),
    /// Their erasure began.
    Unfinished(IdleLine),
}

impl Standing {
    fn is_over(&self, now: i64) -> bool {
        match self {
            Self::Gone | Self::InUse => false,
            Self::Due(line) => line.ends.is_some_and(|ends| ends <= now),
            Self::Unfinished(line) => line.kept.is_none(),
        }
    }
}

impl Looked {
    fn line(self) -> Option<IdleLine> {
        match self.standing {
            Standing::Due(line) | Standing::Unfinished(line) => Some(line),
            Standing::Gone | Standing::InUse => None,
        }
    }
}

/// Whom a sweep has to do something about.
#[derive(Default)]
struct Found {
    new: Vec<SubjectId>,
    over: Vec<SubjectId>,
    ahead: Vec<SubjectId>,
}

impl Found {
    fn add(&mut self, subject: SubjectId, looked: &Looked, now: i64, swept: &mut Swept) {
        self.ahead.extend(looked.is_ahead.then_some(subject));
        match &looked.standing {
            Standing::Gone | Standing::InUse => {}
            Standing::Due(line) | Standing::Unfinished(line) if line.kept.is_some() => {
                swept.kept += 1;
            }
            Standing::Due(line) if line.noticed.is_none() => self.new.push(subject),
            standing if standing.is_over(now) => self.over.push(subject),
            Standing::Due(_) | Standing::Unfinished(_) => swept.running += 1,
        }
    }

    const fn is_empty(&self) -> bool {
        self.new.is_empty() && self.over.is_empty() && self.ahead.is_empty()
    }
}

impl Swept {
    /// Whether nothing more is done, and it is known that there is more to do.
    fn is_full(&self) -> bool {
        let is_at_limits =
            self.noticed >= NOTICE_COUNT_MAX && self.erased.len() >= ERASED_COUNT_MAX;
        is_at_limits && self.is_more
    }

    /// Leaves as many as there are notices left for; how many.
    fn some_of(&mut self, new: &mut Vec<SubjectId>) -> u64 {
        let room = usize::try_from(NOTICE_COUNT_MAX.saturating_sub(self.noticed)).unwrap_or(0);
        self.is_more |= new.len() > room;
        new.truncate(room);
        new.len() as u64
    }
}

/// Whether a block may have anybody for a sweep. Without a rule those are read in which an erasure began.
fn is_to_be_read(oldest: i64, rule: &IdleRule, now: i64) -> bool {
    if *rule == NEVER {
        return spans::is_marked(oldest);
    }
    let is_ahead = oldest > now && oldest != Idle::NOBODY;
    oldest <= horizon(rule, now) || is_ahead
}

/// Whoever was last used then, or before, is due.
fn horizon(rule: &IdleRule, now: i64) -> i64 {
    now.saturating_sub(i64::from(rule.days - rule.notice_days).saturating_mul(DAY_NS))
}

fn later(moment: i64, days: u32) -> i64 {
    moment.saturating_add(i64::from(days).saturating_mul(DAY_NS))
}

/// What an entry about somebody does to the notice: a use begins their days anew, a hold ends a notice alone.
pub(crate) fn touch(
    cell: &mut SubjectCell,
    kind: Kind,
    decision: Option<&(Decision, i64)>,
    now: i64,
) {
    if !matches!(cell.state, SubjectState::Active | SubjectState::Restricted) {
        return;
    }
    let did = decision
        .map(|(decision, _)| (decision.request().action.number(), decision.reason().is_none()));
    if is_use(kind, did) {
        cell.used = Some(cell.used.map_or(now, |used| used.max(now)));
        cell.noticed = None;
    } else if kind == Kind::Hold {
        cell.noticed = None;
    }
}

fn is_recorded_use(entry: &Leaf) -> bool {
    let judgement = entry.judgement.as_ref();
    is_use(entry.kind, judgement.map(|own| (own.action, own.outcome == Outcome::Allow)))
}

/// Whether somebody had a use for whom an entry is about: by its kind, or by what was decided, and how.
fn is_use(kind: Kind, did: Option<(u16, bool)>) -> bool {
    match kind {
        Kind::SubjectCreated
        | Kind::Consent
        | Kind::Export
        | Kind::Restriction
        | Kind::Merged
        | Kind::Opened => true,
        Kind::Access => did.is_some_and(|(action, is_allowed)| {
            is_allowed && Action::from_number(action).is_some_and(|own| own != Action::List)
        }),
        Kind::ApplicationCreated
        | Kind::ApplicationRotated
        | Kind::ApplicationState
        | Kind::ActivityProposed
        | Kind::ActivityState
        | Kind::ErasureReceived
        | Kind::ErasureKeys
        | Kind::ErasureClosed
        | Kind::ErasureRefused
        | Kind::Hold
        | Kind::Policy
        | Kind::SubjectRotated
        | Kind::Lookup
        | Kind::Declared
        | Kind::Removed
        | Kind::RegisterRotated
        | Kind::LetGo
        | Kind::Noticed
        | Kind::LedgerLost => false,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_records::ids::Hash;
    use strongroom_records::log::Judgement;

    use super::*;
    use crate::register::blank;

    /// Where the cell does not say when somebody was used.
    #[test]
    fn an_entry_is_a_use_by_its_kind_and_by_what_was_decided() {
        let decided = |action: Action, outcome| {
            let (action, policy_set) = (action.number(), Hash::NONE);
            let judgement = Judgement {
                outcome,
                action,
                reason: 0,
                policies: vec![],
                policy_set,
                consent: None,
                lease_end: None,
            };
            let entry = Leaf { judgement: Some(judgement), ..blank(Kind::Access) };
            is_recorded_use(&entry)
        };
        assert!(decided(Action::Open, Outcome::Allow) && decided(Action::Write, Outcome::Allow));
        assert!(!decided(Action::Open, Outcome::Deny) && !decided(Action::List, Outcome::Allow));
        assert!(is_recorded_use(&blank(Kind::SubjectCreated)));
        assert!(!is_recorded_use(&blank(Kind::Access)) && !is_recorded_use(&blank(Kind::Noticed)));
    }
}
