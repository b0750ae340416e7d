//! Scope: whom an activity may see now, a page at a time.
//!
//! Pages are in an order of the activity's own, by a keyed hash, and a page is full unless it is the last. So neither the
//! order nor where a page begins or ends says who came when, how many are hidden in between, or who is the same person
//! elsewhere; what it says is the activity's own people. It costs a decision for each who is passed over.
//!
//! Who is to be shown is looked for while others write, for half a second at a time: whoever asks goes on with the next call,
//! which begins where this one ended. Only then are others kept out, those who were found decided anew, and recorded.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use strongroom_authorizer::{Action, Decision, DecisionPoint, Request, decide};
use strongroom_format::ids::DeviceId;
use strongroom_records::activity::Activity;
use strongroom_records::ids::{ActivityId, ClassId, Hash, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind};
use strongroom_records::subject::Row;

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::lookup::Buckets;
use crate::register::Transaction;
use crate::subjects::Subject;

/// LIMIT: subjects on a page, and in the record of it.
const PAGE_COUNT_MAX: u64 = 256;
/// LIMIT: activities whose order is kept ready, and pages of each that are looked for at a time.
const ORDER_COUNT_MAX: usize = 16;
const BEGUN_COUNT_MAX: usize = 64;
/// LIMIT: how long one call looks for whom to show, once it has looked at some.
const LOOK_TIME_MAX: Duration = Duration::from_millis(500);
const LOOK_COUNT_MIN: usize = 64;
/// LIMIT: how often a page is recorded again that somebody else's record came before.
const CONFLICT_COUNT_MAX: u32 = 8;

/// Some of those whom an activity may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePage {
    /// Pseudonyms, and the classes it may have of each.
    pub shown: Vec<(Pseudonym, Vec<ClassId>)>,
    /// After what the next page begins; none where this one is the last. With nobody shown, the same page is looked for still.
    pub next: Option<Hash>,
}

/// Everybody in the order of one activity, whether it may see them or not.
pub(crate) struct Order {
    activity: ActivityId,
    counted: u64,
    places: BTreeMap<Hash, SubjectId>,
    /// Pages that are looked for, the one that was asked for last at the end.
    begun: Vec<Begun>,
}

/// A page that is looked for.
struct Begun {
    after: Hash,
    count: usize,
    found: Vec<(Hash, SubjectId)>,
    /// Everybody up to there has been looked at.
    at: Hash,
}

/// What is asked of everybody.
struct Asking {
    activity: Activity,
    point: Arc<dyn DecisionPoint>,
    operator: DeviceId,
    now: i64,
}

impl Custodian {
    /// Whom an activity may see now: pseudonyms, and the classes it may have of each. On record, one entry for each
    /// subject shown.
    ///
    /// # Errors
    /// `Denied` when there is no such activity.
    pub fn scope(&mut self, activity: &str) -> Result<Vec<(Pseudonym, Vec<ClassId>)>> {
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let page = self.scope_after(activity, after, PAGE_COUNT_MAX)?;
            shown.extend(page.shown);
            after = page.next;
            if after.is_none() {
                return Ok(shown);
            }
        }
    }

    /// The same, at most so many after a place, in one record. Where it takes long to find them nobody is shown, nothing is
    /// recorded, and the next call with what is returned goes on.
    ///
    /// # Errors
    /// As [`Custodian::scope`].
    pub fn scope_after(
        &mut self,
        activity: &str,
        after: Option<Hash>,
        count: u64,
    ) -> Result<ScopePage> {
        let asking = self.asking(activity)?;
        let after = after.unwrap_or(Hash::NONE);
        let count = usize::try_from(count.clamp(1, PAGE_COUNT_MAX)).unwrap_or(1);
        let mut order = self.order(&asking.activity.id)?;
        let mut begun = order.resume(after, count);
        self.stand_aside();
        let looked = self.look_for(&asking, &order, &mut begun);
        if !matches!(looked, Ok(true)) {
            order.keep(begun);
            self.keep_order(order);
            looked?;
            return Ok(ScopePage { shown: Vec::new(), next: Some(after) });
        }
        self.keep_order(order);
        self.come_back()?;
        let last = begun.found.last().map(|(place, _)| *place);
        let next = last.filter(|_| begun.found.len() >= count);
        for _ in 0..CONFLICT_COUNT_MAX {
            match self.show(activity, &begun.found) {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    self.follow()?;
                    self.catch_up()?;
                }
                shown => return Ok(ScopePage { shown: shown?, next }),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "others write all the time"))
    }

    fn asking(&self, activity: &str) -> Result<Asking> {
        let activity = self.acting(Some(activity))?.ok_or_else(Error::denied)?;
        let (point, now) = (self.point()?, self.services().clock.now_ns());
        Ok(Asking { activity, point, operator: self.services().keys.device_id(), now })
    }

    /// Looks for whom to show, for a while; whether they were found, or there are no more. Others may be writing.
    fn look_for(&mut self, asking: &Asking, order: &Order, begun: &mut Begun) -> Result<bool> {
        let clock = Arc::clone(&self.services().clock);
        let end = clock.since_boot() + LOOK_TIME_MAX;
        let rest = (Bound::Excluded(begun.at), Bound::Unbounded);
        for (number, (place, subject)) in order.places.range(rest).enumerate() {
            if begun.found.len() >= begun.count {
                break;
            }
            if number >= LOOK_COUNT_MIN && clock.since_boot() >= end {
                return Ok(false);
            }
            if self.may_be_shown(asking, subject)? {
                begun.found.push((*place, *subject));
            }
            begun.at = *place;
        }
        Ok(true)
    }

    fn may_be_shown(&mut self, asking: &Asking, subject: &SubjectId) -> Result<bool> {
        self.keeping_up(|now| match now.register().subject(subject)? {
            Some(own) => Ok(!now.decided(asking, &own)?.is_empty()),
            None => Ok(false),
        })
    }

    /// Classes of somebody that may be shown, by which decision each.
    fn decided(&self, asking: &Asking, own: &Subject) -> Result<Vec<(ClassId, Decision)>> {
        let mut allowed = Vec::new();
        for class in &asking.activity.classes {
            let request = Request {
                application: self.register().application(),
                activity: asking.activity.id,
                action: Action::List,
                subject: own.cell.subject,
                class: *class,
                purpose: None,
                operator: asking.operator,
                now: asking.now,
            };
            let facts = self.facts(Some(asking.activity.clone()), Some(own), *class)?;
            let decision = decide(&*asking.point, request, &facts);
            if decision.reason().is_none() {
                allowed.push((*class, decision));
            }
        }
        Ok(allowed)
    }

    /// Decides whether some are shown, as of now, and records it. Nobody else may be writing.
    fn show(
        &mut self,
        activity: &str,
        found: &[(Hash, SubjectId)],
    ) -> Result<Vec<(Pseudonym, Vec<ClassId>)>> {
        let asking = self.asking(activity)?;
        let id = asking.activity.id;
        let register = self.register();
        let (mut shown, mut buckets) = (Vec::new(), Buckets::default());
        let mut transaction = Transaction::new(register);
        transaction.now = asking.now;
        for (_, subject) in found {
            let Some(mut own) = register.subject(subject)? else { continue };
            let decided = self.decided(&asking, &own)?;
            if decided.is_empty() {
                continue;
            }
            let classes = decided.iter().map(|(class, _)| *class).collect();
            for (class, decision) in decided {
                let decision = Some((decision, self.lease(class)?));
                let fill = |entry: &mut Entry| {
                    entry.activity = Some(id);
                    entry.class = Some(class);
                };
                register.tell(&mut transaction, &mut own, Kind::Access, None, decision, fill);
            }
            register.put_subject(&mut transaction, &mut own);
            if let Some(pseudonym) = self.known_as(subject, &id)? {
                let hash = register.name_hash(&id, &pseudonym)?;
                buckets.insert(register, Row { hash, subject: *subject })?;
                shown.push((pseudonym, classes));
            }
        }
        register.put_leaves(&mut transaction, buckets)?;
        if shown.is_empty() {
            transaction.entry(Kind::Lookup, |entry| entry.activity = Some(id));
        }
        self.register_mut().commit(transaction)?;
        Ok(shown)
    }

    /// The order of an activity, with everybody in it who came since.
    fn order(&mut self, activity: &ActivityId) -> Result<Order> {
        let known = self.orders.iter().position(|order| order.activity == *activity);
        let empty = || Order {
            activity: *activity,
            counted: 0,
            places: BTreeMap::new(),
            begun: Vec::new(),
        };
        let mut order = known.map_or_else(empty, |at| self.orders.remove(at));
        let count = self.subject_count();
        for subject in self.subject_ids_from(order.counted, count - order.counted)? {
            let of = [activity.0, subject.0].concat();
            order.places.insert(self.register().special_hash("order", &of)?, subject);
        }
        order.counted = count;
        Ok(order)
    }

    fn keep_order(&mut self, order: Order) {
        if self.orders.len() >= ORDER_COUNT_MAX {
            self.orders.remove(0);
        }
        self.orders.push(order);
    }
}

impl Order {
    /// A page after a place, as far as it has been looked for.
    fn resume(&mut self, after: Hash, count: usize) -> Begun {
        let is_it = |begun: &Begun| (begun.after, begun.count) == (after, count);
        let known = self.begun.iter().position(is_it);
        known.map_or_else(
            || Begun { after, count, found: Vec::new(), at: after },
            |at| self.begun.remove(at),
        )
    }

    fn keep(&mut self, begun: Begun) {
        if self.begun.len() >= BEGUN_COUNT_MAX {
            self.begun.remove(0);
        }
        self.begun.push(begun);
    }
}
