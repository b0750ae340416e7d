//! A decision point of somebody else's, asked over HTTP: OpenID AuthZEN 1.0, `POST /access/v1/evaluation`.
//!
//! It stands behind the floor and behind our own policies ([`Both`]): it narrows and never widens. Only status 200 with a JSON
//! boolean allows. Whatever else comes, or comes too late, is a failure, and a failure denies.
//!
//! ```text
//! subject   type activity: name, consumer, purpose, basis, state   never the person the data is about
//! resource  type compartment: a name that says nothing to whoever does not know the person, class, state
//! context   time, device, purpose, consent
//! ```
//!
//! Answers are kept for a while, never longer than a lease, by the wall clock and by the one that counts from boot: by everything
//! that was asked but the time, so whatever changes is asked anew. After a failure nobody is kept waiting for a second.
//!
//! LIMIT: one request at a time to a place on this machine, in clear: put what speaks TLS beside it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_authorizer::{DecisionPoint, Facts, Request, Verdict};
use strongroom_crypto::hash::{Sha256, sha256};
use strongroom_host::clock::Clock;
use strongroom_records::activity::{Activity, Reach};
use strongroom_records::ids::{Hash, Pseudonym};
use strongroom_records::subject::{Consent, SubjectState};

pub use http::Place;

/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long nobody asks again after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// LIMIT: answers that are kept.
const KNOWN_COUNT_MAX: usize = 4096;
/// How the decision point is called among the policies that decided.
pub const NAME: &str = strongroom_authorizer::BESIDE;

/// A decision point at a place.
pub struct Remote {
    place: Place,
    clock: Arc<dyn Clock>,
    /// How long an answer counts, in nanoseconds.
    longest: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was answered, by the hash of what was asked.
    known: BTreeMap<[u8; 32], Known>,
    /// After a failure: when it is asked again.
    silent_until: Option<Duration>,
}

/// An answer, and until when it counts: leases are counted from boot, and the wall clock may be set back.
struct Known {
    decision: bool,
    until: i64,
    until_boot: Duration,
}

impl Remote {
    /// One at a place. Answers count for `longest` at most, and never beyond the end of consent or activity.
    pub fn new(place: Place, longest: Duration, clock: Arc<dyn Clock>) -> Self {
        let longest = i64::try_from(longest.as_nanos()).unwrap_or(i64::MAX);
        Self { place, clock, longest, state: Mutex::default() }
    }

    fn decide(&self, request: &Request, facts: &Facts) -> Option<bool> {
        let activity = facts.activity.as_ref()?;
        let mut asked = evaluation(request, facts, activity);
        let hash = sha256(asked.to_string().as_bytes());
        // Held while asking: whoever wants the same has it without a second question.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let booted = self.clock.since_boot();
        if let Some(known) = state.known.get(&hash)
            && request.now < known.until
            && booted < known.until_boot
        {
            return Some(known.decision);
        }
        let now = self.clock.elapsed();
        if state.silent_until.is_some_and(|until| now < until) {
            return None;
        }
        asked["context"]["time"] = (request.now / 1_000_000_000).into();
        let answer = http::post(&self.place, &asked.to_string(), DEADLINE, &*self.clock);
        let Some(decision) = answer.and_then(|body| decision_of(&body)) else {
            state.silent_until = Some(self.clock.elapsed() + PAUSE);
            return None;
        };
        state.silent_until = None;
        if state.known.len() >= KNOWN_COUNT_MAX {
            state.known.clear();
        }
        let ends = [facts.consent.as_ref().and_then(|consent| consent.until), activity.expires];
        let longest = request.now.saturating_add(self.longest);
        let until = ends.into_iter().flatten().fold(longest, i64::min);
        let life = u64::try_from(until.saturating_sub(request.now)).unwrap_or(0);
        let until_boot = booted + Duration::from_nanos(life);
        state.known.insert(hash, Known { decision, until, until_boot });
        Some(decision)
    }
}

impl DecisionPoint for Remote {
    fn digest(&self) -> Hash {
        Hash(Sha256::new().update(NAME.as_bytes()).update(self.place.as_str().as_bytes()).finish())
    }

    fn evaluate(&self, request: &Request, facts: &Facts) -> Verdict {
        let decision = self.decide(request, facts);
        let (allow, failed) = (decision == Some(true), decision.is_none());
        Verdict { allow, policies: vec![NAME.to_owned()], failed }
    }
}

/// Our own policies first, then the other: both must allow.
pub struct Both {
    /// Our own.
    pub own: Arc<dyn DecisionPoint>,
    /// The other.
    pub other: Arc<dyn DecisionPoint>,
}

impl DecisionPoint for Both {
    /// That of our own policies: they are archived, and can be asked again.
    fn digest(&self) -> Hash {
        self.own.digest()
    }

    fn evaluate(&self, request: &Request, facts: &Facts) -> Verdict {
        let own = self.own.evaluate(request, facts);
        if !own.allow || own.failed {
            return own;
        }
        let other = self.other.evaluate(request, facts);
        let policies = match other.allow && !other.failed {
            true => [own.policies, other.policies].concat(),
            false => other.policies,
        };
        Verdict { policies, ..other }
    }
}

/// Only `{"decision": true or false}`, perhaps with a context, is an answer.
fn decision_of(body: &[u8]) -> Option<bool> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let fields = json.as_object()?;
    if fields.keys().any(|name| name != "decision" && name != "context") {
        return None;
    }
    fields.get("decision")?.as_bool()
}

/// The question, but for the time.
fn evaluation(request: &Request, facts: &Facts, activity: &Activity) -> Value {
    let classes = |classes: &[strongroom_records::ids::ClassId]| {
        classes.iter().map(|class| class.0).collect::<Vec<_>>()
    };
    let consent = |consent: &Consent| {
        json!({
            "activity": consent.activity.to_string(),
            "status": consent.status.name(),
            "explicit": consent.explicit,
            "classes": classes(&consent.classes),
            "until": consent.until.map(seconds),
        })
    };
    json!({
        "subject": {
            "type": "activity",
            "id": request.activity.to_string(),
            "properties": {
                "name": activity.name,
                "consumer": activity.consumer,
                "purpose": activity.purpose,
                "basis": activity.basis.name(),
                "classes": classes(&activity.classes),
                "writes": activity.reach == Reach::Write,
                "state": activity.state.name(),
                "expires": activity.expires.map(seconds),
                "own": activity.id == strongroom_records::ids::ActivityId::OWN,
            },
        },
        "action": { "name": request.action.name() },
        "resource": {
            "type": "compartment",
            "id": format!("{}/{}", pseudonym(request), request.class.0),
            "properties": {
                "application": request.application.to_string(),
                "class": request.class.0,
                "special": facts.is_special,
                "state": facts.subject.map(state),
            },
        },
        "context": {
            "device": request.operator.to_string(),
            "device_certified": facts.operator_certified,
            "application_active": facts.application_active,
            "purpose": request.purpose.as_deref().unwrap_or(&activity.purpose),
            "consent": facts.consent.as_ref().map(consent),
        },
    })
}

/// What the decision point calls a person, for one activity: ids are random, so this leads back to nobody.
fn pseudonym(request: &Request) -> Pseudonym {
    let hash = Sha256::new()
        .update(NAME.as_bytes())
        .update(&request.application.0)
        .update(&request.activity.0)
        .update(&request.subject.0)
        .finish();
    Pseudonym(*hash.first_chunk().expect("32 bytes have 16"))
}

fn state(state: SubjectState) -> &'static str {
    match state {
        SubjectState::Active => "active",
        SubjectState::Restricted => "restricted",
        SubjectState::Erasing => "erasing",
        SubjectState::Erased => "erased",
    }
}

/// Seconds since 1970; an end within a second is before it.
fn seconds(ns: i64) -> i64 {
    ns.div_euclid(1_000_000_000)
}
