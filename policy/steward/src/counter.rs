//! The counter: where a custodian serves consumers on devices of their own, by letters that lie in the store.
//!
//! ```text
//! turn ──▶ follow the organisation and the registers ─▶ whose prospects changed? ─▶ tell sessions what is gone
//!      ──▶ read asks ─▶ fence ─▶ decide, record, release ─▶ answers, sealed to the session that asked
//! ```
//!
//! 1. What is gone is told before anything else is answered.
//! 2. A device is told nothing that is not on record, and given a key only by a grant that names it.
//! 3. A life of a counter knows its own sessions only, and those for a while after their last lease. Each session begins with an
//!    incarnation of its own: what was told before is asked for anew, from the beginning.
//! 4. Who is refused because others write keeps its session and what it has; any other refusal ends the session.
//! 5. A session owes an acknowledgement of what it was told is gone, until its leases of that are over by both clocks. Leases
//!    that no session knows of, of another life or of a session that was refused, are waited for all the same.
//! 6. What a device says that it opened is put on record whatever becomes of its session: see [`opened`].

mod anew;
mod asks;
mod fenced;
mod giving;
mod let_go;
mod letter;
mod opened;
mod owing;
mod past;
mod roster;
mod session;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_authorizer::Action;
use strongroom_crypto::kem::KemPublicKey;
use strongroom_custody::Custody;
use strongroom_format::ids::DeviceId;
use strongroom_keyring::organisation::{Device, Organisation};
use strongroom_records::exchange::{Answer, Ask, Envelope, Need, Refusal};
use strongroom_records::ids::{ApplicationId, Pseudonym, SessionId, SubjectId};
use strongroom_store::{Body, Family, Key, Letter, wait};

use crate::custodian::Custodian;
use crate::directory::{NeededKey, Stewardship};
use crate::error::{Error, ErrorKind, Result, stored};
use crate::fence::{self, Fence};
use crate::leases::{Operator, Wanted};
use crate::letters::{self, Direction, Outside, Recipient};
use crate::moment::Moment;
use crate::services::Services;

use asks::Left;
use letter::answer;
use opened::Words;
use past::{Lent, Past, Whose};
use session::{News, Session};
pub use turns::{About, Settled, Ticket, Turns};

/// LIMIT: sessions at a time.
const SESSION_COUNT_MAX: usize = 1024;
/// LIMIT: compartments that one answer gives.
const LEASE_COUNT_MAX: usize = 256;
/// LIMIT: compartments lent by one record, or told by one to have files that were opened. An act waits for no more of them, and what
/// it takes away is told before the next.
const TOGETHER_COUNT_MAX: usize = 32;
/// LIMIT: how far a device's clock and this one may be apart.
pub(crate) const CLOCK_APART_MAX: i64 = 600_000_000_000;
/// How long a session may say nothing once its leases are over.
const SILENCE_MAX: Duration = Duration::from_secs(900);

/// Numbers of the next ask and the next answer.
#[derive(Clone, Copy)]
struct Next {
    ask: u64,
    answer: u64,
}

/// Serves consumers.
pub struct Counter {
    services: Services,
    roster: Arc<Organisation>,
    /// Position of the organisation's log up to which everything here heeds it.
    taken_in: Option<u64>,
    stewardship: Stewardship,
    custodians: Vec<Custodian>,
    fence: Fence,
    sessions: BTreeMap<SessionId, Session>,
    /// Where sessions that were refused go on.
    refused: BTreeMap<SessionId, Next>,
    /// Leases that no session knows of.
    past: Past,
    /// Asks that were looked at and stay where they are.
    left: BTreeMap<Key, Left>,
    /// What devices say that they opened and that is not on record yet.
    words: Words,
    /// Places whose application key is needed and has to be obtained: somebody else has changed it.
    wants: BTreeSet<usize>,
    /// Until when others who write are waited for in this turn.
    patience_end: Duration,
    /// Since when others have gone before what nobody waits for.
    stood_back: Option<Duration>,
    /// When those are decided anew about whom nothing was decided.
    again_at: Duration,
    turns: Turns,
}

impl Counter {
    /// Opens a counter for these applications, and says so in the store.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(
        services: Services,
        stewardship: Stewardship,
        custodians: Vec<Custodian>,
        fence: Fence,
        turns: Turns,
    ) -> Result<Self> {
        let roster = services.organisation.now();
        let own = services.keys.device_id();
        let mut past = Past::default();
        for (place, custodian) in custodians.iter().enumerate() {
            past.read(place, custodian, &own, &*services.clock)?;
        }
        let counter = Self {
            services,
            taken_in: Some(roster.position()),
            roster,
            stewardship,
            custodians,
            fence,
            sessions: BTreeMap::new(),
            refused: BTreeMap::new(),
            past,
            left: BTreeMap::new(),
            words: Words::default(),
            wants: BTreeSet::new(),
            patience_end: Duration::ZERO,
            stood_back: None,
            again_at: Duration::ZERO,
            turns,
        };
        counter.drop_old_answers()?;
        let (keys, incarnation) = (&counter.services.keys, counter.draw_incarnation());
        let note = letters::write_counter(keys, incarnation, counter.services.clock.now_ns());
        let key = Key::Counter(keys.device_id());
        wait(counter.services.store.put(key, Body::Bytes(note.into()))).map_err(stored)?;
        Ok(counter)
    }

    /// Serves consumers of one more application, which did not open before.
    ///
    /// # Errors
    /// Those of [`Stewardship::application`], and of the store.
    pub fn add(&mut self, name: &str, custody: Arc<dyn Custody>) -> Result<()> {
        self.stewardship.follow()?;
        let custodian = self.stewardship.application(name, custody)?;
        let own = self.services.keys.device_id();
        let place = self.custodians.len();
        self.past.read(place, &custodian, &own, &*self.services.clock)?;
        self.custodians.push(custodian);
        Ok(())
    }

    /// Whether anybody is served.
    pub fn is_busy(&self) -> bool {
        self.sessions.values().any(|session| !session.is_over)
    }

    /// Application keys that were needed and could not be used before others agree. What needed them was refused for now.
    pub fn wanted_keys(&mut self) -> Vec<NeededKey> {
        let wanted = std::mem::take(&mut self.wants).into_iter();
        wanted.filter_map(|place| self.custodians[place].needed_key()).collect()
    }

    /// Takes in what happened, and answers what was asked meanwhile.
    ///
    /// # Errors
    /// Those of the store; `Corrupt`. The next turn goes on where this one ended.
    pub fn turn(&mut self) -> Result<()> {
        let asked = self.turns.asked();
        self.patience_end = self.now() + fence::LIMIT;
        let failed = self.follow()?;
        // ORDER: what is gone is told, whatever else cannot be known.
        self.flush()?;
        for key in self.letters()? {
            self.receive(key)?;
        }
        self.sweep()?;
        let now = self.moment();
        self.past.lapse(&now);
        let unknown: Vec<usize> = failed.iter().map(|(place, _)| *place).collect();
        self.turns.ended(asked, |about| self.owing(about, &now, &unknown));
        // What is wrong with one application keeps nothing of the others from the record.
        self.note_opened().and(self.note_let_go())?;
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn now(&self) -> Duration {
        self.services.clock.since_boot()
    }

    fn moment(&self) -> Moment {
        Moment::now(&*self.services.clock)
    }

    fn draw_incarnation(&self) -> u64 {
        u64::from_le_bytes(self.services.entropy.array()).max(1)
    }

    /// What an earlier life of this device's counter told nobody takes in any more.
    fn drop_old_answers(&self) -> Result<()> {
        let store = &self.services.store;
        let listed = wait(store.list(Family::Answer, None)).map_err(stored)?;
        for listed in listed {
            let letter = wait(store.get(listed.key, None));
            let from = letter.ok().and_then(|letter| {
                letters::outside(Direction::Answer, &letter).ok().map(|outside| outside.from)
            });
            if from == Some(self.services.keys.device_id()) {
                wait(store.delete(listed.key)).map_err(stored)?;
            }
        }
        Ok(())
    }

    /// Follows everything. What is wrong with one application keeps nothing from the others: places where something is, and
    /// what.
    fn follow(&mut self) -> Result<Vec<(usize, Error)>> {
        self.follow_organisation()?;
        self.stewardship.follow()?;
        self.ask_again();
        let mut failed = Vec::new();
        for place in 0..self.custodians.len() {
            failed.extend(self.look(place).err().map(|error| (place, error)));
        }
        Ok(failed)
    }

    /// Follows one register, and tells its sessions what that ends.
    fn look(&mut self, place: usize) -> Result<()> {
        let id = self.custodians[place].listed().application.to_string();
        let line = self.stewardship.find(&id)?.clone();
        loop {
            // ORDER: whoever it is about is marked before anything can fail.
            let relisted = self.custodians[place].relist(&line);
            self.mark(place, relisted, &BTreeSet::new());
            let custodian = &mut self.custodians[place];
            let news = match custodian.follow() {
                Ok(news) => news,
                Err(error) => {
                    self.wants.insert(place);
                    return Err(error);
                }
            };
            self.mark(place, news.rules, &news.subjects);
            for subject in &news.subjects {
                if !self.past.is_over() {
                    let whose = Whose::Logged(self.custodians[place].subject(subject)?.pseudonym);
                    self.past.owe(|lent| (lent.place, lent.whose) == (place, whose));
                }
            }
            let Err(error) = self.decide_anew(place) else { return Ok(()) };
            // Whoever writes meanwhile takes away what its record replaced: with that record all is there again.
            if !self.custodians[place].is_overtaken(&error)? {
                self.wants.insert(place);
                self.shut_undecided(place)?;
                return Err(error);
            }
        }
    }

    /// Puts news for a session on their way. A lease is never among them: it counts from the ask that it answers.
    fn tell(&mut self, id: &SessionId, news: News, next: Option<Pseudonym>) -> Result<()> {
        if news.is_empty() && next.is_none() {
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        if session.is_over {
            session.end();
            return Ok(());
        }
        let application = self.custodians[session.place].listed().application;
        let answer = answer(application, None, news, Vec::new());
        self.post(id, Answer { next, ..answer })
    }

    /// Seals an answer and puts it behind those that wait to be sent.
    fn post(&mut self, id: &SessionId, answer: Answer) -> Result<()> {
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let body = answer.encoded();
        let letter = self.sealed(*id, session, session.next_answer, &body)?;
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        session.post(letter, &answer.gone);
        Ok(())
    }

    fn sealed(
        &self,
        id: SessionId,
        session: &Session,
        number: u64,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let Services { keys, clock, entropy, .. } = &self.services;
        let (incarnation, time) = (session.incarnation, clock.now_ns());
        let outside = Outside { session: id, number, incarnation, time };
        let to = Recipient { device: session.operator.device, kem: &session.key };
        letters::write(Direction::Answer, keys, to, &outside, body, &**entropy)
    }

    fn flush(&mut self) -> Result<()> {
        for (id, session) in &mut self.sessions {
            while let Some((number, letter)) = session.outbox.front() {
                let key = Key::Answer(Letter { session: id.0, number: *number });
                let body = Body::Bytes(letter.clone().into());
                wait(self.services.store.put(key, body)).map_err(stored)?;
                session.outbox.pop_front();
            }
        }
        Ok(())
    }

    /// Answers an ask that was heard for the first time, by a device that counts.
    fn answer(&mut self, outside: &Envelope, device: Device, ask: &Ask) -> Result<()> {
        let id = outside.session;
        let known = self.sessions.get(&id);
        if known.is_some_and(|own| own.is_over) {
            return Ok(());
        }
        // One that was removed may say that it has let go, and is lent nothing.
        if device.revoked_at().is_some() && known.is_none() {
            return Ok(());
        }
        let is_again = known.is_some_and(|own| {
            own.operator.device != outside.from || outside.number < own.next_ask
        });
        let is_refused = self.refused.get(&id).is_some_and(|next| outside.number < next.ask);
        if self.is_old(outside) || is_again || is_refused {
            return Ok(());
        }
        // It has read answers of another life meanwhile, and none of these: it has heard nothing of what they say.
        let is_new = known.is_none();
        let is_ahead = known.is_some_and(|own| ask.expects > own.next_answer);
        if is_ahead {
            self.forget(id, outside.number);
        }
        if (is_ahead || is_new)
            && let Err(error) = self.begin(id, device.id(), ask)
        {
            return self.refuse(id, outside.number, &error);
        }
        let at = self.now();
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.last_seen = at;
        for number in session.hear(ask.heard) {
            let key = Key::Answer(Letter { session: id.0, number });
            wait(self.services.store.delete(key)).map_err(stored)?;
        }
        // ORDER: nothing fails from here on without an answer, and what failed before is done again.
        session.go_on_after(outside.number);
        if ask.needs.contains(&Need::End) {
            return self.end(&id);
        }
        self.serve(&id, outside.number, &ask.needs)
    }

    /// A conversation that this life of the counter does not know yet.
    fn begin(&mut self, id: SessionId, device: DeviceId, ask: &Ask) -> Result<()> {
        let place = self.place_named(&ask.application);
        let stranger = Operator { device, is_certified: false };
        // Whoever sends none that can be used cannot be answered.
        let key = KemPublicKey::parse(&ask.answer_key).map_err(|_| Error::denied())?;
        // Refusals are answered by a session as well, and forgotten with it.
        let mut session =
            Session::new(key, place.unwrap_or(0), &ask.activity, stranger, ask.expects);
        // ORDER: one that was forgotten has to be told again, and its device reads that by this.
        session.incarnation = self.draw_incarnation();
        if let Some(next) = self.refused.remove(&id) {
            session.next_ask = next.ask;
            session.next_answer = session.next_answer.max(next.answer);
        }
        self.sessions.insert(id, session);
        let place = place.ok_or_else(Error::denied)?;
        if self.sessions.len() > SESSION_COUNT_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "too many consumers at a time"));
        }
        // ORDER: what was recorded before the ask is known before it is decided.
        self.stewardship.follow()?;
        self.look(place)?;
        let rules = self.custodians[place].rules_for(&ask.activity, stranger)?;
        let operator = self.operator_of(stranger.device, &rules.activity().consumer);
        let rules = self.custodians[place].rules_for(&ask.activity, operator)?;
        let session = self.sessions.get_mut(&id).ok_or_else(Error::denied)?;
        session.operator = operator;
        session.rules = Some(rules);
        if !operator.is_certified {
            self.note_stranger(&id)?;
            return Err(Error::denied());
        }
        Ok(())
    }

    /// A device that runs nothing of this activity asked: on record.
    fn note_stranger(&mut self, id: &SessionId) -> Result<()> {
        let session = self.sessions.get(id);
        let rules = session.and_then(|own| own.rules.as_ref());
        let Some(class) = rules.and_then(|rules| rules.activity().classes.first().copied()) else {
            return Ok(());
        };
        let (subject, files) = (SubjectId([0; 16]), Vec::new());
        let wanted = [Wanted { subject, class, action: Action::List, files }];
        self.lend(id, &wanted).map(drop)
    }

    fn refuse(&mut self, id: SessionId, to: u64, error: &Error) -> Result<()> {
        use ErrorKind as K;
        self.wants.extend(self.sessions.get(&id).map(|session| session.place));
        let refusal = match error.kind() {
            K::Denied | K::NotFound => Refusal::Denied,
            K::Corrupt | K::Forked => Refusal::Damaged,
            K::Locked => Refusal::Locked,
            _ => Refusal::Unavailable,
        };
        let nothing = answer(ApplicationId::DIRECTORY, Some(to), News::default(), Vec::new());
        self.post(&id, Answer { refusal: Some(refusal), ..nothing })?;
        self.flush()?;
        let is_admitted = self.sessions.get(&id).is_some_and(Session::is_admitted);
        if refusal != Refusal::Unavailable || !is_admitted {
            self.forget(id, to + 1);
        }
        Ok(())
    }

    /// Forgets all but the numbers: an ask that is on its way looks for answers that were given since, and two letters of one
    /// number would be one.
    fn forget(&mut self, id: SessionId, next_ask: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(rules) = &session.rules {
            let (device, place) = (session.operator.device, session.place);
            let activity = rules.activity().id;
            for (subject, end) in session.leases() {
                let whose = Whose::Known(subject);
                self.past.owe_until(Lent { device, place, activity, whose }, end);
            }
        }
        let ask = session.next_ask.max(next_ask);
        self.refused.insert(id, Next { ask, answer: session.next_answer });
        while self.refused.len() > SESSION_COUNT_MAX {
            self.refused.pop_first();
        }
    }

    /// A conversation is over. What its device was lent is remembered until those leases are over.
    fn end(&mut self, id: &SessionId) -> Result<()> {
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        session.end();
        for number in session.heard..session.next_answer {
            let key = Key::Answer(Letter { session: id.0, number });
            wait(self.services.store.delete(key)).map_err(stored)?;
        }
        Ok(())
    }

    /// A session that has read all pages is told when people have come since, so that it asks for them; sessions nobody hears
    /// of end.
    fn sweep(&mut self) -> Result<()> {
        let hinted = |(id, own): (&SessionId, &mut Session)| own.take_hint().then_some(*id);
        let hinted: Vec<SessionId> = self.sessions.iter_mut().filter_map(hinted).collect();
        for id in hinted {
            self.tell(&id, News::default(), Some(Pseudonym([0; 16])))?;
        }
        let (now, at) = (self.moment(), self.now());
        let lives = |session: &Session| {
            session.has_any(&now) || at.saturating_sub(session.last_seen) < SILENCE_MAX
        };
        let over: Vec<SessionId> =
            self.sessions.iter().filter(|(_, own)| !lives(own)).map(|(id, _)| *id).collect();
        for id in over {
            if self.sessions.get(&id).is_some_and(|session| !session.is_over) {
                // What stays of its letters is swept when a counter opens.
                let _ = self.end(&id);
            }
            self.sessions.remove(&id);
        }
        Ok(())
    }
}
