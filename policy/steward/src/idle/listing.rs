//! Who is due, looked for while others write. That they have notice and are erased is in [`super`].

use std::sync::Arc;
use std::time::Duration;

use strongroom_records::register::BLOCK_LEN;

use super::{IdleLine, Looked, Spans, is_to_be_read};
use crate::custodian::Custodian;
use crate::error::Result;

/// LIMIT: how long one call looks for who is due, once it has looked at some.
const LOOK_TIME_MAX: Duration = Duration::from_millis(500);
const LOOK_COUNT_MIN: u64 = 64;

/// Some of those who are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdlePage {
    /// They, in the order they were created, also those who stay.
    pub lines: Vec<IdleLine>,
    /// The place where the next page begins; none where this one is the last.
    pub next: Option<u64>,
}

impl Custodian {
    /// Who is due, in the order they were created, also those who stay.
    ///
    /// # Errors
    /// As [`Custodian::idle_subjects_from`].
    pub fn idle_subjects(&mut self) -> Result<Vec<IdleLine>> {
        let (mut lines, mut from) = (Vec::new(), Some(0));
        while let Some(place) = from {
            let page = self.idle_subjects_from(place, u64::MAX)?;
            lines.extend(page.lines);
            from = page.next;
        }
        Ok(lines)
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
            is_long || page.lines.len() as u64 >= count
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
                let found = self.keeping_up(|own| own.standing_of(&subject, &rule, now))?;
                page.lines.extend(Looked::line(found));
                (place, looked) = (place + 1, looked + 1);
            }
            place = next;
        }
        Ok(page)
    }
}
