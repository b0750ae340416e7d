//! Scope: whom an activity may see now, a page at a time.
//!
//! Pages are in an order of the activity's own, by a keyed hash, and a page is full unless it is the last. So neither the
//! order nor where a page begins or ends says who came when, how many are hidden in between, or who is the same person
//! elsewhere; what it says is the activity's own people. It costs a decision for each who is passed over.

use std::collections::BTreeMap;
use std::ops::Bound;

use strongroom_authorizer::{Action, Request, decide};
use strongroom_records::ids::{ActivityId, ClassId, Hash, Pseudonym, SubjectId};
use strongroom_records::log::{Entry, Kind};
use strongroom_records::subject::Row;

use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::lookup::Buckets;
use crate::register::Transaction;

/// LIMIT: subjects on a page, and in the record of it.
const PAGE_COUNT_MAX: u64 = 256;
/// LIMIT: activities whose order is kept ready.
const ORDER_COUNT_MAX: usize = 16;

/// Some of those whom an activity may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePage {
    /// Pseudonyms, and the classes it may have of each.
    pub shown: Vec<(Pseudonym, Vec<ClassId>)>,
    /// After what the next page begins; none where this one is not full.
    pub next: Option<Hash>,
}

/// Everybody in the order of one activity, whether it may see them or not.
pub(crate) struct Order {
    activity: ActivityId,
    counted: u64,
    places: BTreeMap<Hash, SubjectId>,
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

    /// The same, at most so many after a place, in one record.
    ///
    /// # Errors
    /// As [`Custodian::scope`].
    pub fn scope_after(
        &mut self,
        activity: &str,
        after: Option<Hash>,
        count: u64,
    ) -> Result<ScopePage> {
        let activity = self.acting(Some(activity))?.ok_or_else(Error::denied)?;
        let point = self.point()?;
        let now = self.services().clock.now_ns();
        let operator = self.services().keys.device_id();
        let count = usize::try_from(count.clamp(1, PAGE_COUNT_MAX)).unwrap_or(1);
        let mut page = ScopePage { shown: Vec::new(), next: None };
        let mut transaction = Transaction::new(self.register());
        let mut buckets = Buckets::default();
        transaction.now = now;
        let order = self.order(&activity.id)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (place, subject) in order.places.range((start, Bound::Unbounded)) {
            let Some(mut own) = self.register().subject(subject)? else { continue };
            let mut allowed = Vec::new();
            for class in activity.classes.clone() {
                let request = Request {
                    application: self.register().application(),
                    activity: activity.id,
                    action: Action::List,
                    subject: *subject,
                    class,
                    purpose: None,
                    operator,
                    now,
                };
                let facts = self.facts(Some(activity.clone()), Some(&own), class)?;
                let decision = decide(&*point, request, &facts);
                if decision.reason().is_some() {
                    continue;
                }
                allowed.push(class);
                let life = self.lease(class)?;
                let fill = |entry: &mut Entry| {
                    entry.activity = Some(activity.id);
                    entry.class = Some(class);
                };
                let (register, decision) = (self.register(), Some((decision, life)));
                register.tell(&mut transaction, &mut own, Kind::Access, None, decision, fill);
            }
            if allowed.is_empty() {
                continue;
            }
            self.register().put_subject(&mut transaction, &mut own);
            if let Some(pseudonym) = self.known_as(subject, &activity.id)? {
                let hash = self.register().name_hash(&activity.id, &pseudonym)?;
                buckets.insert(self.register(), Row { hash, subject: *subject })?;
                page.shown.push((pseudonym, allowed));
            }
            if page.shown.len() >= count {
                page.next = Some(*place);
                break;
            }
        }
        self.keep_order(order);
        self.register().put_leaves(&mut transaction, buckets)?;
        if page.shown.is_empty() {
            transaction.entry(Kind::Lookup, |entry| entry.activity = Some(activity.id));
        }
        self.register_mut().commit(transaction)?;
        Ok(page)
    }

    /// The order of an activity, with everybody in it who came since.
    fn order(&mut self, activity: &ActivityId) -> Result<Order> {
        let known = self.orders.iter().position(|order| order.activity == *activity);
        let empty = || Order { activity: *activity, counted: 0, places: BTreeMap::new() };
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
