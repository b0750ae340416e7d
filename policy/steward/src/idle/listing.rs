//! Who is due, looked for while others write. That they have notice and are erased is in [`super`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_records::ids::SubjectId;
use strongroom_records::register::BLOCK_LEN;

use super::{Looked, Spans, is_to_be_read};
use crate::custodian::Custodian;
use crate::error::{Result, whole};
use crate::times::time_text;

/// LIMIT: how long one call looks for who is due, once it has looked at some.
const LOOK_TIME_MAX: Duration = Duration::from_millis(500);
const LOOK_COUNT_MIN: u64 = 64;

/// Why somebody stays who is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A hold is in force, on them or on somebody whom a file is about as well.
    Held,
    /// Their data, or that of somebody whom a file is about as well, is restricted: they may need it.
    Restricted,
}

impl Kept {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Restricted => "restricted",
        }
    }
}

/// Somebody who is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleLine {
    /// Who.
    pub subject: SubjectId,
    /// When there was a use for them last.
    pub used: i64,
    /// When notice was given; none before the next sweep.
    pub noticed: Option<i64>,
    /// From when on they are erased, if nothing comes between.
    pub ends: Option<i64>,
    /// Why they stay all the same.
    pub kept: Option<Kept>,
    /// Files about others as well: they go with them.
    pub joint_files: u64,
    /// Whether their erasure began, which the next run ends, whoever asked for it, and whatever the rule is by then.
    pub is_begun: bool,
}

/// Some of those who are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdlePage {
    /// They, in the order they were created, also those who stay.
    pub lines: Vec<IdleLine>,
    /// Who is left out since what is stored of them is damaged.
    pub damaged: Vec<SubjectId>,
    /// The place where the next page begins; none where this one is the last.
    pub next: Option<u64>,
}

impl Custodian {
    /// Who is due, in the order they were created, also those who stay.
    ///
    /// # Errors
    /// As [`Custodian::idle_subjects_from`].
    pub fn idle_subjects(&mut self) -> Result<IdlePage> {
        let mut all = self.idle_subjects_from(0, u64::MAX)?;
        while let Some(place) = all.next {
            let page = self.idle_subjects_from(place, u64::MAX)?;
            all.lines.extend(page.lines);
            all.damaged.extend(page.damaged);
            all.next = page.next;
        }
        Ok(all)
    }

    /// The same, at most so many from a place on: the first one's is 0, and where the next page begins the one before says. Others
    /// write meanwhile. Where it takes long to find them a page has fewer, or nobody.
    ///
    /// # Errors
    /// `Corrupt`; those of following.
    pub fn idle_subjects_from(&mut self, from: u64, count: u64) -> Result<IdlePage> {
        self.stand_aside();
        let page = self.look_for_idle(from, count.max(1));
        self.come_back()?;
        page
    }

    fn look_for_idle(&mut self, from: u64, count: u64) -> Result<IdlePage> {
        let (mut page, mut spans) = (IdlePage::default(), Spans::default());
        let Some(rule) = self.keeping_up(Self::idle_rule)? else { return Ok(page) };
        let clock = Arc::clone(&self.services().clock);
        let (now, end) = (clock.now_ns(), clock.since_boot() + LOOK_TIME_MAX);
        let is_over = |page: &IdlePage, looked: u64| {
            let is_long = looked >= LOOK_COUNT_MIN && clock.since_boot() >= end;
            is_long || (page.lines.len() + page.damaged.len()) as u64 >= count
        };
        let (mut place, mut looked) = (from, 0);
        while place < self.subject_count() {
            let block = place / BLOCK_LEN;
            let next = (block + 1) * BLOCK_LEN;
            let oldest = self.keeping_up(|own| spans.oldest(own.register(), block))?;
            let subjects = match is_to_be_read(oldest, &rule, now) {
                true => self.keeping_up(|own| own.subject_ids_from(place, next - place))?,
                false => Vec::new(),
            };
            for subject in subjects {
                if is_over(&page, looked) {
                    return Ok(IdlePage { next: Some(place), ..page });
                }
                match whole(self.keeping_up(|own| own.standing_of(&subject, &rule, now)))? {
                    Some(found) => page.lines.extend(Looked::line(found)),
                    None => page.damaged.push(subject),
                }
                (place, looked) = (place + 1, looked + 1);
            }
            place = next;
        }
        Ok(page)
    }
}

/// Somebody who is due, as commands and the agent's API tell it.
pub fn idle_line_json(line: &IdleLine) -> Value {
    json!({
        "subject": line.subject.to_string(),
        "used": time_text(line.used),
        "noticed": line.noticed.map(time_text),
        "erased_from": line.ends.map(time_text),
        "kept": line.kept.map(Kept::name),
        "joint_files": line.joint_files, "begun": line.is_begun,
    })
}
