//! Reading what is replaced in place: what most members say.

use bytes::Bytes;
use strongroom_store::{Error, ErrorKind, Key, Result, wait};

use super::Inner;

impl Inner {
    /// Reads something that may have been replaced while a member was away: what most say, of as many as must agree.
    pub(super) async fn agreed(&self, key: Key) -> Result<Bytes> {
        let mut answers: Vec<(usize, Option<Bytes>)> = Vec::new();
        let mut failed = None;
        for index in self.order(key) {
            match self.ask(index, move |store| wait(store.get(key, None))).await {
                Ok(bytes) => answers.push((index, Some(bytes))),
                Err(error) if error.kind() == ErrorKind::NotFound => answers.push((index, None)),
                Err(error) => failed = Some(error),
            }
            let agree = answers.iter().all(|(_, bytes)| *bytes == answers[0].1);
            if answers.len() >= self.enough() && agree && answers[0].1.is_some() {
                break;
            }
        }
        let there: Vec<&Bytes> = answers.iter().filter_map(|(_, bytes)| bytes.as_ref()).collect();
        let votes = |bytes: &Bytes| there.iter().filter(|other| **other == bytes).count();
        // The earliest in the order of members wins a draw.
        let mut best: Option<&Bytes> = None;
        let mut by_seat: Vec<&(usize, Option<Bytes>)> = answers.iter().collect();
        by_seat.sort_by_key(|(index, _)| *index);
        for bytes in by_seat.iter().filter_map(|(_, bytes)| bytes.as_ref()) {
            if best.is_none_or(|best| votes(bytes) > votes(best)) {
                best = Some(bytes);
            }
        }
        let Some(best) = best.cloned() else {
            let enough = answers.len() >= self.enough();
            let missing = || Error::new(ErrorKind::NotFound, format!("`{key}` is not stored"));
            return Err(failed.filter(|_| !enough).unwrap_or_else(missing));
        };
        // What was replaced, and said to be, is on all but so many: of what more than these lack it is not the last.
        let lacking_max = if self.needs_all() { 0 } else { self.members.len() - self.quorum() };
        let may_count = |bytes: &Bytes| answers.len() - votes(bytes) <= lacking_max;
        let is_other_possible = there.iter().any(|bytes| **bytes != best && may_count(bytes));
        // Who holds nothing may be a fresh disk in the place of one that held the last: it speaks for none of those that differ.
        let is_most = votes(&best) * 2 > there.len();
        if is_other_possible || !(self.needs_all() || is_most) {
            let why = match answers.len() < self.members.len() {
                true => "the one that could tell which is newer is away",
                false => "nobody can tell which is newer",
            };
            let text = format!("members of the mirror differ in `{key}`, and {why}");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        if self.needs_all() || may_count(&best) {
            for (index, _) in answers.iter().filter(|(_, bytes)| bytes.as_ref() != Some(&best)) {
                self.miss(*index, key);
            }
        }
        Ok(best)
    }
}
