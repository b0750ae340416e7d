//! One conversation with a consumer's device: what it was told, what it may use until when, what it has yet to hear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use strongroom_authorizer::Action;
use strongroom_crypto::kem::KemPublicKey;
use strongroom_records::exchange::GoneClasses;
use strongroom_records::ids::{ClassId, Pseudonym, SubjectId};

use super::letter::Loan;
use crate::custodian::Custodian;
use crate::error::Result;
use crate::leases::{Operator, Outlook, Prospect, Rules, Wanted};
use crate::moment::Moment;

/// LIMIT: asks that may yet be seen late.
const MISSED_COUNT_MAX: u64 = 256;

/// A conversation.
pub(super) struct Session {
    /// What answers are wrapped to.
    pub key: KemPublicKey,
    /// What its answers name: whoever reads another one than before begins anew.
    pub incarnation: u64,
    /// Which application.
    pub place: usize,
    pub activity: String,
    pub operator: Operator,
    pub rules: Option<Rules>,
    pub next_ask: u64,
    /// Asks before that one that were not seen: a store may list them late.
    missed: BTreeSet<u64>,
    pub next_answer: u64,
    /// Answers before that have been taken in.
    pub heard: u64,
    pub outbox: VecDeque<(u64, Vec<u8>)>,
    pub last_seen: Duration,
    /// Recorded and not decided anew yet.
    pub stale: BTreeSet<SubjectId>,
    /// Those about whom somebody else's decision point said nothing: decided anew some time later.
    undecided: BTreeSet<SubjectId>,
    pub stale_rules: bool,
    /// What was recorded while it is lent to.
    changed: Option<Changed>,
    told: BTreeMap<SubjectId, Told>,
    /// Whom it may see and was not told yet.
    waiting: BTreeMap<Pseudonym, Prospect>,
    pages: Pages,
    /// Whether the device knows that somebody waits to be told.
    is_hinted: bool,
    /// Of whom it was told that something is gone, and has not let go yet.
    owed: BTreeMap<SubjectId, Owed>,
    /// Of whom it has let go, which is not on record yet.
    let_go: BTreeSet<SubjectId>,
    /// It said good-bye: it has nothing, and is told nothing.
    pub is_over: bool,
}

/// A word that is owed: which answer said that something is gone, none before one is on its way, and when leases of it are
/// over.
#[derive(Clone, Copy)]
struct Owed {
    answer: Option<u64>,
    end: Moment,
}

/// Somebody who was shown.
struct Told {
    pseudonym: Pseudonym,
    classes: BTreeMap<ClassId, Given>,
}

#[derive(Clone, Copy)]
struct Given {
    version: u64,
    end: Moment,
}

/// How much of whom it may see a session has read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
    Unread,
    Begun,
    Read,
}

/// What a session has to be told.
#[derive(Default)]
pub(super) struct News {
    pub gone: BTreeMap<SubjectId, BTreeSet<ClassId>>,
    pub changed: BTreeSet<SubjectId>,
}

/// What was recorded while something long went on.
#[derive(Default)]
pub(super) struct Changed {
    rules: bool,
    subjects: BTreeSet<SubjectId>,
}

impl Changed {
    /// Whether it may be about somebody.
    pub fn concerns(&self, subject: &SubjectId) -> bool {
        self.rules || self.subjects.contains(subject)
    }
}

impl News {
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.changed.is_empty()
    }
}

impl Session {
    pub fn new(
        key: KemPublicKey,
        place: usize,
        activity: &str,
        operator: Operator,
        heard: u64,
    ) -> Self {
        Self {
            key,
            incarnation: 0,
            place,
            activity: activity.to_owned(),
            operator,
            rules: None,
            next_ask: 0,
            missed: BTreeSet::new(),
            next_answer: heard,
            heard,
            outbox: VecDeque::new(),
            last_seen: Duration::ZERO,
            stale: BTreeSet::new(),
            undecided: BTreeSet::new(),
            stale_rules: false,
            changed: None,
            told: BTreeMap::new(),
            waiting: BTreeMap::new(),
            pages: Pages::Unread,
            is_hinted: false,
            owed: BTreeMap::new(),
            let_go: BTreeSet::new(),
            is_over: false,
        }
    }

    /// An ask of a number is heeded.
    pub fn go_on_after(&mut self, number: u64) {
        let first = self.next_ask.max(number.saturating_sub(MISSED_COUNT_MAX));
        self.missed.extend(first..number);
        while self.missed.len() as u64 > MISSED_COUNT_MAX {
            self.missed.pop_first();
        }
        self.next_ask = number + 1;
    }

    /// An ask that was not seen when its turn came is seen. False where it was.
    pub fn take_missed(&mut self, number: u64) -> bool {
        self.missed.remove(&number)
    }

    /// Whether it may be lent anything.
    pub fn is_admitted(&self) -> bool {
        self.rules.is_some() && self.operator.is_certified
    }

    pub fn is_stale(&self) -> bool {
        self.rules.is_some() && (self.stale_rules || !self.stale.is_empty())
    }

    /// Notes of whom something has to be decided anew.
    pub fn mark(&mut self, rules: bool, subjects: &BTreeSet<SubjectId>) {
        self.stale_rules |= rules;
        self.stale.extend(subjects.iter().copied());
        if let Some(changed) = &mut self.changed {
            changed.rules |= rules;
            changed.subjects.extend(subjects.iter().copied());
        }
    }

    /// Those about whom nothing was decided are decided anew.
    pub fn ask_again(&mut self) {
        self.stale.append(&mut self.undecided);
    }

    /// From here on what is recorded is noted: what is about to be given is not told to be gone, since the device has not got it.
    pub fn begin_lending(&mut self) {
        self.changed = Some(Changed::default());
    }

    /// What was recorded since.
    pub fn end_lending(&mut self) -> Changed {
        self.changed.take().unwrap_or_default()
    }

    /// Decides anew what may have changed. What it returns has to be told; if it fails, all of it is stale still.
    pub fn reconsider(&mut self, custodian: &Custodian) -> Result<News> {
        let mut news = News::default();
        if self.rules.is_none() {
            return Ok(news);
        }
        if self.stale_rules {
            match custodian.rules_for(&self.activity, self.operator) {
                Ok(rules) => self.rules = Some(rules),
                Err(error) if error.kind() == crate::ErrorKind::Denied => return Ok(self.shut()),
                Err(error) => return Err(error),
            }
            self.stale.extend(self.told.keys().copied());
            if let Some(rules) = self.rules.as_ref().filter(|_| self.pages != Pages::Unread) {
                self.stale.extend(custodian.candidates(rules)?);
            }
            self.stale_rules = false;
        }
        let Some(rules) = &self.rules else { return Ok(news) };
        let mut decided = Vec::new();
        for subject in &self.stale {
            let versions = match self.told.contains_key(subject) {
                true => custodian.versions(subject)?,
                false => Vec::new(),
            };
            decided.push((*subject, custodian.outlook(rules, subject)?, versions));
        }
        self.stale.clear();
        for (subject, outlook, versions) in decided {
            let prospect = match outlook {
                Outlook::Seen(prospect) => Some(prospect),
                Outlook::Hidden => None,
                Outlook::Undecided => {
                    self.undecided.insert(subject);
                    None
                }
            };
            self.settle(subject, prospect, &versions, &mut news);
        }
        Ok(news)
    }

    fn settle(
        &mut self,
        subject: SubjectId,
        prospect: Option<Prospect>,
        versions: &[(ClassId, u64)],
        news: &mut News,
    ) {
        self.waiting.retain(|_, own| own.subject != subject);
        let may = prospect.as_ref().map_or(&[][..], |prospect| &prospect.classes);
        if let Some(told) = self.told.get_mut(&subject) {
            let same = prospect.as_ref().is_some_and(|own| own.pseudonym == told.pseudonym);
            let over = |class: &ClassId| !same || !may.contains(class);
            let gone: BTreeSet<ClassId> =
                told.classes.keys().copied().filter(|class| over(class)).collect();
            for class in &gone {
                if let Some(given) = told.classes.remove(class) {
                    owe(&mut self.owed, subject, given.end);
                }
            }
            for (class, version) in versions {
                if let Some(given) = told.classes.get_mut(class)
                    && given.version != *version
                {
                    given.version = *version;
                    news.changed.insert(subject);
                }
            }
            if told.classes.is_empty() {
                self.told.remove(&subject);
            }
            if !gone.is_empty() {
                news.gone.insert(subject, gone);
            }
        }
        let told = self.told.get(&subject);
        let is_new = |class: &&ClassId| told.is_none_or(|told| !told.classes.contains_key(class));
        let fresh: Vec<ClassId> = may.iter().filter(is_new).copied().collect();
        if let Some(prospect) = prospect.filter(|_| !fresh.is_empty())
            && self.pages != Pages::Unread
        {
            self.waiting.insert(prospect.pseudonym, Prospect { classes: fresh, ..prospect });
        }
    }

    /// Everything it was told is gone; it begins anew, if it may.
    pub fn shut(&mut self) -> News {
        let mut news = News::default();
        for (subject, told) in std::mem::take(&mut self.told) {
            for given in told.classes.values() {
                owe(&mut self.owed, subject, given.end);
            }
            news.gone.insert(subject, told.classes.keys().copied().collect());
        }
        self.waiting.clear();
        self.stale.clear();
        self.mark(true, &BTreeSet::new());
        if self.pages == Pages::Unread {
            return news;
        }
        self.pages = Pages::Read;
        news
    }

    /// Works out whom it may see, once.
    pub fn count_up(&mut self, custodian: &Custodian) -> Result<()> {
        let Some(rules) = self.rules.as_ref().filter(|_| self.pages == Pages::Unread) else {
            return Ok(());
        };
        for prospect in custodian.prospects(rules)? {
            self.waiting.insert(prospect.pseudonym, prospect);
        }
        self.pages = Pages::Begun;
        Ok(())
    }

    /// Takes the next people, from a name on, with at most so many classes together; always one.
    pub fn page(&mut self, from: Pseudonym, count_max: usize) -> Vec<Prospect> {
        let (mut page, mut count) = (Vec::new(), 0);
        for prospect in self.waiting.range(from..).map(|(_, prospect)| prospect) {
            count += prospect.classes.len();
            if count > count_max && !page.is_empty() {
                break;
            }
            page.push(prospect.clone());
        }
        for prospect in &page {
            self.waiting.remove(&prospect.pseudonym);
        }
        page
    }

    /// Where the page after this one begins.
    pub fn next_after(&mut self, page: &[Prospect]) -> Option<Pseudonym> {
        let last = page.last().map(|prospect| prospect.pseudonym);
        let next = last.and_then(|last| self.waiting.range(last..).next());
        let next = next.map(|(pseudonym, _)| *pseudonym);
        if next.is_none() {
            self.pages = Pages::Read;
        }
        self.is_hinted = next.is_some();
        next
    }

    /// A page did not have all who were to be on it: they come on the next.
    pub fn go_on_reading(&mut self) {
        (self.pages, self.is_hinted) = (Pages::Begun, true);
    }

    /// Whether people came since all pages were read, of whom the device has not heard that they did.
    pub fn take_hint(&mut self) -> bool {
        let is_due = self.pages == Pages::Read && !self.waiting.is_empty();
        is_due && !std::mem::replace(&mut self.is_hinted, true)
    }

    /// What shows somebody again.
    pub fn shown(&self, subject: &SubjectId) -> Vec<Wanted> {
        let classes = self.told.get(subject).map(|told| told.classes.keys());
        let one = |class: &ClassId| Wanted {
            subject: *subject,
            class: *class,
            action: Action::List,
            files: Vec::new(),
        };
        classes.into_iter().flatten().map(one).collect()
    }

    pub fn was_given(&self, subject: &SubjectId, class: ClassId) -> bool {
        self.told.get(subject).is_some_and(|told| told.classes.contains_key(&class))
    }

    /// Notes what is given.
    pub fn give(&mut self, loan: &Loan) {
        let Loan { lease, version, end } = loan;
        let (version, end, pseudonym) = (*version, *end, lease.pseudonym);
        let empty = || Told { pseudonym, classes: BTreeMap::new() };
        let told = self.told.entry(lease.subject).or_insert_with(empty);
        let given = told.classes.entry(lease.class).or_insert(Given { version, end });
        *given = Given { version, end: given.end.later(end) };
    }

    /// A letter is on its way; one that says something is gone has to be acknowledged.
    pub fn post(&mut self, letter: Vec<u8>, gone: &[GoneClasses]) {
        for one in gone {
            if let Some(owed) = self.owed.get_mut(&one.subject) {
                owed.answer = Some(self.next_answer);
            }
        }
        self.outbox.push_back((self.next_answer, letter));
        self.next_answer += 1;
    }

    /// Takes in what the device has heard; returns answers nobody needs any more.
    pub fn hear(&mut self, heard: u64) -> std::ops::Range<u64> {
        let heard = heard.clamp(self.heard, self.next_answer);
        let old = self.heard..heard;
        self.heard = heard;
        let is_heard = |_: &SubjectId, owed: &mut Owed| owed.answer.is_some_and(|own| own < heard);
        self.let_go.extend(self.owed.extract_if(.., is_heard).map(|(subject, _)| subject));
        old
    }

    /// It has let go of everything, and asks no more.
    pub fn end(&mut self) {
        self.is_over = true;
        self.pages = Pages::Unread;
        self.waiting.clear();
        self.outbox.clear();
        self.let_go.extend(std::mem::take(&mut self.owed).into_keys());
    }

    /// Whether it has yet to say that what is gone is gone there.
    pub fn owes(&self, now: &Moment) -> bool {
        self.owed.values().any(|owed| now.is_before(&owed.end))
    }

    /// The same of one person.
    pub fn owes_of(&self, subject: &SubjectId, now: &Moment) -> bool {
        self.owed.get(subject).is_some_and(|owed| now.is_before(&owed.end))
    }

    /// Whether it may have anything of somebody.
    pub fn holds(&self, subject: &SubjectId) -> bool {
        !self.is_over && (self.told.contains_key(subject) || self.owed.contains_key(subject))
    }

    /// Takes those of whom it has let go.
    pub fn take_let_go(&mut self) -> BTreeSet<SubjectId> {
        std::mem::take(&mut self.let_go)
    }

    /// Once more, later.
    pub fn put_let_go(&mut self, people: BTreeSet<SubjectId>) {
        self.let_go.extend(people);
    }

    /// Whose data it was given, and when each lease is over that it has not said to have let go of.
    pub fn leases(&self) -> impl Iterator<Item = (SubjectId, Moment)> {
        let given = |(subject, told): (&SubjectId, &Told)| {
            let ends: Vec<Moment> = told.classes.values().map(|given| given.end).collect();
            let subject = *subject;
            ends.into_iter().map(move |end| (subject, end))
        };
        let owed = self.owed.iter().map(|(subject, owed)| (*subject, owed.end));
        self.told.iter().flat_map(given).chain(owed)
    }

    /// Whether any of them may still be used.
    pub fn has_any(&self, now: &Moment) -> bool {
        self.leases().any(|(_, end)| now.is_before(&end))
    }
}

/// The answer that says so is none yet: it is set when the news are posted.
fn owe(owed: &mut BTreeMap<SubjectId, Owed>, subject: SubjectId, end: Moment) {
    let before = owed.get(&subject).map_or(end, |before| before.end.later(end));
    owed.insert(subject, Owed { answer: None, end: before });
}
