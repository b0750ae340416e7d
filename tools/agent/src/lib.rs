//! The application's own entrance: a local HTTP API over applications that are open, for programs that are not ours.
//!
//! ```text
//! connection ─▶ door ─▶ head ─▶ token ─▶ route ─▶ body ─▶ replay? ─▶ desk: enter (other writers out, what they did is known) ─▶ act ─▶ answer
//! ```
//!
//! What a command does for one answer, unlock, open, verify, is done once here. Deciding, recording and keys are the steward's,
//! as everywhere; how a store is unlocked and where custody is are the command's. The API is described in
//! `docs/agent-api.json`, which a test holds against [`routes`].
//!
//! 1. Nothing is answered without a token but whether the agent lives. A token is for one application and one role.
//! 2. What identifies a person is in bodies, never in a path or a query: those end up in logs of others.
//! 3. A request that changes something and is repeated under its idempotency key is done once: for the life of the process by
//!    its stored answer, and beyond by the ids of subjects, which follow from the key. What shows anything of anybody is
//!    decided and recorded each time.
//! 4. What takes long works apart, and keeps nobody waiting for longer than a record.
//! 5. Nobody without a token takes more than a head's room, ten seconds, and one of a few places.
//! 6. Bodies, files on their way and answers of all connections of a door have a limit together, and exports go out as they are made: no connection,
//!    however slow, keeps anybody out of an application.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activities;
mod call;
mod door;
mod export;
mod force;
mod get;
mod http;
mod package;
mod put;
mod replay;
mod routes;
mod subjects;
mod tokens;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::wipe::Wiped;
use strongroom_host::clock::Clock;
use strongroom_host::thread;
use strongroom_records::ids::SubjectId;
use strongroom_steward::{About, Custodian, Error, ErrorKind, Result};

pub use door::{Door, Wire};
pub use routes::described;
pub use tokens::{Role, Tokens};

use call::Call;
use door::{Guest, Share, Timed};
use force::Taken;
use http::{Answer, Read1, Request};
use replay::{Replay, Replays};
use routes::{Act, Place, Route, Who, Whole};
use tokens::Token;

/// LIMIT: how long somebody who asks for something long waits for another to have done. Each keeps a connection meanwhile.
const APART_LIMIT: Duration = Duration::from_secs(2);

/// How an application is reached. Implemented by whoever puts the program together.
pub trait Entrance: Send + Sync {
    /// Opens it, as a new process would.
    ///
    /// # Errors
    /// `Locked`, `Unavailable`, `Corrupt` and the rest.
    fn open(&self) -> Result<Custodian>;

    /// Obtains the application key, if others have to agree that it is used, and waits for them while nobody is kept out. Whether
    /// it had to be.
    ///
    /// # Errors
    /// `Unavailable` when too few agree; those of the store.
    fn obtain(&self) -> Result<bool>;

    /// Keeps other writers out until what is returned is dropped, and learns what they did before.
    ///
    /// # Errors
    /// `Unavailable` when another writer takes too long.
    fn enter(&self, custodian: &mut Custodian) -> Result<Box<dyn Send>>;

    /// Tells whoever shows data of the application that what they may show has changed, and waits for a moment until what was
    /// taken away is out of their reach: that, and nothing else.
    fn announce(&self, about: About) -> Announced;
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Views of this machine, and devices that are served from here, that did not say that they took it in, and whose leases
    /// are not over.
    pub silent: u64,
    /// Whether consumers' devices are served from here.
    pub serves: bool,
}

/// LIMIT: how often somebody else may change the application key while it is obtained for one request.
const CHANGE_COUNT_MAX: u32 = 8;

/// The agent.
pub struct Agent {
    desks: BTreeMap<String, Desk>,
    /// Applications that did not open, and why. Each request to one tries again.
    closed: Vec<(String, Error)>,
    tokens: Tokens,
    replays: Mutex<Replays>,
    clock: Arc<dyn Clock>,
}

/// One application: whoever has the custodian's lock works on it. The lock is a fair one: who works over and over does not keep
/// out who waits.
struct Desk {
    entrance: Box<dyn Entrance>,
    custodian: parking_lot::Mutex<Option<Custodian>>,
    /// Whoever does something long.
    apart: parking_lot::Mutex<()>,
    /// Whoever reads a long history: nobody waits with that until everybody has new keys.
    histories: parking_lot::Mutex<()>,
}

/// A request of somebody who may make it, before its body is read.
struct Admitted<'a> {
    desk: &'a Desk,
    route: &'static Route,
    params: Vec<String>,
    token: Token,
    /// Room for the body.
    _room: Share,
}

/// Whether the token of a request holds still, asked once others are kept out: it may have ended while the request waited.
pub(crate) struct Holds<'a> {
    agent: &'a Agent,
    call: &'a Call<'a>,
    /// What is answered where it does not.
    ended: RefCell<Option<Answer>>,
}

impl<'a> Holds<'a> {
    pub(crate) fn new(agent: &'a Agent, call: &'a Call<'a>) -> Self {
        Self { agent, call, ended: RefCell::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.agent.token_as_before(self.call).map_err(|answer| {
            *self.ended.borrow_mut() = Some(answer);
            Error::new(ErrorKind::Denied, "the token has ended")
        })
    }

    /// The answer to a request that was refused, for this or another reason.
    pub(crate) fn refused(&self, error: &Error) -> Answer {
        self.ended.take().unwrap_or_else(|| refused(error))
    }
}

impl Agent {
    /// An agent for applications by name, each opened now. What is wrong with one keeps nobody from the others.
    ///
    /// # Errors
    /// Those of opening, where none opens.
    pub fn new(
        entrances: Vec<(String, Box<dyn Entrance>)>,
        tokens: Tokens,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let (mut desks, mut closed) = (BTreeMap::new(), Vec::new());
        for (name, entrance) in entrances {
            let opened = entrance.open().map_err(|error| closed.push((name.clone(), error)));
            let custodian = parking_lot::Mutex::new(opened.ok());
            let (apart, histories) = Default::default();
            desks.insert(name, Desk { entrance, custodian, apart, histories });
        }
        if closed.len() == desks.len()
            && let Some((_, error)) = closed.pop()
        {
            return Err(error);
        }
        Ok(Arc::new(Self { desks, closed, tokens, replays: Mutex::default(), clock }))
    }

    /// Applications that did not open when the agent was made, and why.
    pub fn closed(&self) -> &[(String, Error)] {
        &self.closed
    }

    /// Serves a connection that came in by a door from a thread of its own, until the other side is done.
    ///
    /// # Errors
    /// When the machine has no thread left; the connection is closed.
    pub fn attend<W: Wire>(self: &Arc<Self>, wire: W, door: &Arc<Door>) -> io::Result<()> {
        let (agent, guest) = (Arc::clone(self), Guest::enter(door));
        let attending = move || {
            let mut wire = Timed::new(wire, &*agent.clock);
            // A connection that breaks has nobody to tell.
            let _ = match guest {
                Some(guest) => agent.converse(&mut wire, guest),
                None => Answer::refused(503, "unavailable", "too many connections")
                    .write(&mut wire, false),
            };
        };
        thread::spawn("agent", attending).map(drop)
    }

    /// Waits until whatever is being done is done, and keeps anything further from beginning.
    pub fn rest(&self) -> Vec<impl Sized + '_> {
        self.desks.values().map(|desk| desk.custodian.lock()).collect()
    }

    fn converse<W: Wire>(&self, wire: &mut Timed<'_, W>, mut guest: Guest) -> io::Result<()> {
        let mut left = Vec::new();
        loop {
            wire.next_step(&guest);
            let request = match http::read(wire, &mut left)? {
                Read1::End => return Ok(()),
                Read1::Refused(answer) => return answer.write(wire, false),
                Read1::Request(request) => request,
            };
            let admitted = self.admit(&request, &mut guest);
            wire.next_step(&guest);
            let keeps = match admitted {
                Ok(admitted) => {
                    let body = http::read_body(wire, &mut left, &request)?;
                    self.serve(wire, &guest, (&request, body), admitted)?
                }
                // What is refused, or asks whether the agent lives, needs no body.
                Err(answer) => {
                    let keeps = http::skip_body(wire, &mut left, &request)? && request.keeps;
                    wire.next_step(&guest);
                    answer.write(wire, keeps).map(|()| keeps)?
                }
            };
            if !keeps {
                return Ok(());
            }
        }
    }

    /// Answers a request whose body is there. Whether the connection stays.
    fn serve<W: Wire>(
        &self,
        wire: &mut Timed<'_, W>,
        guest: &Guest,
        (request, body): (&Request, Wiped),
        admitted: Admitted<'_>,
    ) -> io::Result<bool> {
        let Admitted { desk, route, params, token, _room } = admitted;
        let token = &token;
        let answer = match route.act {
            Act::Put(named) => {
                let call = Call { request, body: &[], params, token };
                self.put(&call, desk, named, body)
            }
            Act::Get(named) => {
                let call = Call { request, body: &body, params, token };
                self.get(&call, guest, desk, named)
            }
            Act::Export => {
                let call = Call { request, body: &body, params, token };
                return self.export(wire, guest, &call, desk);
            }
            Act::Whole(act) => {
                let call = Call { request, body: &body, params, token };
                self.answer(&call, desk, (route, act))
            }
        };
        let room = guest.hold(answer.body.len());
        let answer = if room.is_some() { answer } else { too_much() };
        wire.next_step(guest);
        answer.write(wire, request.keeps).map(|()| request.keeps)
    }

    /// Whether somebody may ask this, and send that much with it; or the answer.
    fn admit(
        &self,
        request: &Request,
        guest: &mut Guest,
    ) -> std::result::Result<Admitted<'_>, Answer> {
        let no_text = || Answer::refused(400, "invalid", "the path is no text");
        let parts = http::parts(&request.path).ok_or_else(no_text)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if parts == ["v1", "health"] && request.method == "GET" {
            return Err(Answer::json(200, &json!({"lives": true})));
        }
        let token = self.token(request)?;
        guest.know();
        let ["v1", "apps", app, rest @ ..] = &parts[..] else {
            return Err(Answer::refused(404, "not_found", "there is no such thing here"));
        };
        // An application that is not the token's is answered like one that does not exist.
        let desk = self.desks.get(*app).filter(|_| token.app == *app).ok_or_else(not_allowed)?;
        let (route, params) = routes::find(&request.method, rest)?;
        let is_theirs = match (&route.who, &token.role) {
            (Who::Application, Role::Application) | (Who::Auditor, Role::Auditor) => true,
            (Who::Activity, Role::Activity(name)) => params.first().is_some_and(|own| own == name),
            _ => false,
        };
        if !is_theirs {
            return Err(not_allowed());
        }
        if request.body_len > route.body_len_max {
            let message = format!("the body is larger than {} bytes", route.body_len_max);
            return Err(Answer::refused(413, "invalid", &message));
        }
        let _room = guest.hold(request.body_len).ok_or_else(too_much)?;
        Ok(Admitted { desk, route, params, token, _room })
    }

    /// The answer of what is answered as a whole.
    fn answer(&self, call: &Call<'_>, desk: &Desk, (route, act): (&Route, Whole)) -> Answer {
        if let Err(answer) = self.check_token_again(call) {
            return answer;
        }
        let slot = match self.replayed(call, route) {
            Ok(slot) => slot,
            Err(answer) => return answer,
        };
        let mut taken = Taken { about: About::Everything, record: 0 };
        let mut done_at = (0, Duration::ZERO);
        let holds = Holds::new(self, call);
        let act = &mut |custodian: &mut Custodian| {
            holds.check()?;
            let answer = act(call, custodian)?;
            taken = Taken::by(call, route, custodian);
            done_at = (self.clock.now_ns(), self.clock.since_boot());
            Ok(answer)
        };
        let done = match (route.place, call.subject()) {
            (Place::Apart, _) => desk.act_apart(act),
            (Place::History, Ok(subject)) => desk.act_on_history(&subject, act),
            // Whoever it is about is asked for there.
            (Place::History, Err(_)) | (Place::Desk, _) => desk.act(act),
        };
        let mut answer = done.unwrap_or_else(|error| holds.refused(&error));
        if answer.status < 300 && route.changes_what_may_be_seen() {
            let announced = desk.entrance.announce(taken.about);
            let now = self.time_since(done_at);
            force::tell(&mut answer, desk.watch(&|own| taken.force(announced, now, own)));
        }
        if let Some(slot) = slot {
            self.replays().keep(slot, &answer);
        }
        answer
    }

    /// The time by now, where it was some time at a time since boot: the wall clock may be set forward meanwhile, and leases are
    /// over no sooner.
    fn time_since(&self, (wall, booted): (i64, Duration)) -> i64 {
        let passed = self.clock.since_boot().saturating_sub(booted);
        let passed = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        self.clock.now_ns().min(wall.saturating_add(passed))
    }

    /// The token may have ended while the body came.
    fn check_token_again(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        if call.body.is_empty() { Ok(()) } else { self.token(call.request).map(drop) }
    }

    /// What a request came with is a token for the same still.
    fn token_as_before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        let token = self.token(call.request)?;
        let is_same = token.app == call.token.app && token.role == call.token.role;
        if is_same { Ok(()) } else { Err(not_allowed()) }
    }

    fn token(&self, request: &Request) -> std::result::Result<Token, Answer> {
        let none = || Answer::refused(401, "denied", "give a token that holds");
        let shown = request.token.as_deref().ok_or_else(none)?;
        match self.tokens.find(shown, self.clock.now_ns()) {
            Ok(found) => found.ok_or_else(none),
            Err(_) => Err(Answer::refused(503, "unavailable", "the tokens cannot be read")),
        }
    }

    /// Where the answer of a request with a key goes; or the answer it had before.
    fn replayed(
        &self,
        call: &Call<'_>,
        route: &Route,
    ) -> std::result::Result<Option<Replay>, Answer> {
        let request = call.request;
        let Some(key) = request.key.as_deref().filter(|_| route.is_once) else {
            return Ok(None);
        };
        if key.is_empty() || key.len() > 255 {
            return Err(Answer::refused(400, "invalid", "an idempotency key has 1 to 255 bytes"));
        }
        let replay = Replay {
            place: sha256(&[&call.token.hash.0[..], key.as_bytes()].concat()),
            request: request.hash(call.body),
        };
        match self.replays().begin(&replay) {
            Ok(()) => Ok(Some(replay)),
            Err(answer) => Err(answer),
        }
    }

    fn replays(&self) -> MutexGuard<'_, Replays> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Does something with the application.
    fn act<T>(&self, act: &mut dyn FnMut(&mut Custodian) -> Result<T>) -> Result<T> {
        self.with_key(&mut || self.act_with(&mut self.custodian.lock(), act))
    }

    /// Does something; again where the application key had to be obtained first, since somebody else has changed it. Nobody is
    /// kept out while it is.
    fn with_key<T>(&self, act: &mut dyn FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..CHANGE_COUNT_MAX {
            match act() {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    if !self.entrance.obtain()? {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the application key is changed all the time"))
    }

    /// Does something long, one such thing at a time, with the application opened for itself: others work meanwhile, and are let
    /// in by what is done. When the agent ends it is interrupted, and goes on when it is asked for again.
    fn act_apart<T>(&self, act: &mut dyn FnMut(&mut Custodian) -> Result<T>) -> Result<T> {
        let Some(_others_wait) = self.apart.try_lock_for(APART_LIMIT) else {
            return Err(something_long());
        };
        self.act_alone(act)
    }

    /// Does something that reads all that is on record about a subject, apart where that is much: one such thing at a time, but
    /// beside whatever else is long.
    fn act_on_history<T>(
        &self,
        subject: &SubjectId,
        act: &mut dyn FnMut(&mut Custodian) -> Result<T>,
    ) -> Result<T> {
        if let Some(done) = self.act_unless_long(subject, act)? {
            return Ok(done);
        }
        let Some(_others_wait) = self.histories.try_lock_for(APART_LIMIT) else {
            return Err(something_long());
        };
        self.act_alone(act)
    }

    /// Does something with the history of a subject at the desk; nothing where that is long.
    fn act_unless_long<T>(
        &self,
        subject: &SubjectId,
        act: &mut dyn FnMut(&mut Custodian) -> Result<T>,
    ) -> Result<Option<T>> {
        self.act(&mut |custodian| match custodian.has_long_history(subject)? {
            true => Ok(None),
            false => act(custodian).map(Some),
        })
    }

    /// Does something with the application opened for itself.
    fn act_alone<T>(&self, act: &mut dyn FnMut(&mut Custodian) -> Result<T>) -> Result<T> {
        self.with_key(&mut || self.act_with(&mut None, act))
    }

    /// Does something; once more where somebody else wrote meanwhile.
    fn act_with<T>(
        &self,
        held: &mut Option<Custodian>,
        act: &mut dyn FnMut(&mut Custodian) -> Result<T>,
    ) -> Result<T> {
        for last in [false, true] {
            match self.entered(held, act) {
                // Nothing was done: what needs no key goes on while it is obtained.
                Err(error) if held.as_ref().is_some_and(|own| own.needed_key().is_some()) => {
                    return Err(error);
                }
                Err(error) if !is_refusal(error.kind()) => {
                    // Whatever it knows may be half true now: it is opened anew.
                    *held = None;
                    if last || error.kind() != ErrorKind::Conflict {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
        Err(Error::new(ErrorKind::Conflict, "somebody else wrote meanwhile"))
    }

    /// Looks at the application as it is on record now; nobody else is kept out.
    fn watch<T>(&self, look: &dyn Fn(&Custodian) -> Result<T>) -> Option<T> {
        let mut held = self.custodian.lock();
        // What failed for somebody else meanwhile is no reason not to know.
        let custodian = self.opened(&mut held).ok()?;
        custodian.follow().ok()?;
        custodian.keeping_up(look).ok()
    }

    /// The application, opened if it is not.
    fn opened<'h>(&self, held: &'h mut Option<Custodian>) -> Result<&'h mut Custodian> {
        match held {
            Some(custodian) => Ok(custodian),
            None => Ok(held.insert(self.entrance.open()?)),
        }
    }

    fn entered<T>(
        &self,
        held: &mut Option<Custodian>,
        act: &mut dyn FnMut(&mut Custodian) -> Result<T>,
    ) -> Result<T> {
        let custodian = self.opened(held)?;
        let _others_wait = self.entrance.enter(custodian)?;
        act(custodian)
    }
}

/// Whether an error says something of the request, and nothing of the application.
fn is_refusal(kind: ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(kind, K::NotFound | K::Exists | K::Invalid | K::Denied | K::Held)
}

fn something_long() -> Error {
    let message = "something long is under way for this application: ask again";
    Error::new(ErrorKind::Unavailable, message)
}

fn too_much() -> Answer {
    let message = "too much is on its way at a time: ask again";
    Answer::refused(503, "unavailable", message)
}

fn not_allowed() -> Answer {
    Answer::refused(403, "denied", "not allowed")
}

fn refused(error: &Error) -> Answer {
    let (status, kind) = match error.kind() {
        ErrorKind::NotFound => (404, "not_found"),
        ErrorKind::Exists => (409, "exists"),
        ErrorKind::Invalid => (400, "invalid"),
        ErrorKind::Denied => (403, "denied"),
        ErrorKind::Held => (409, "held"),
        ErrorKind::Locked => (423, "locked"),
        ErrorKind::Conflict => (409, "conflict"),
        ErrorKind::Forked | ErrorKind::Corrupt => (500, "damaged"),
        ErrorKind::Unavailable => (503, "unavailable"),
        ErrorKind::Full => (507, "full"),
        ErrorKind::ReadOnly => (403, "read_only"),
        ErrorKind::Unsupported => (501, "unsupported"),
        ErrorKind::Internal => (500, "internal"),
    };
    Answer::refused(status, kind, &error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An application that opens when it is told to, and then does not.
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);

    impl Entrance for Slow {
        fn obtain(&self) -> Result<bool> {
            Ok(false)
        }

        fn open(&self) -> Result<Custodian> {
            self.1.send(()).expect("the test waits");
            let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            told.expect("the test tells");
            Err(Error::new(ErrorKind::Locked, "there is none"))
        }

        fn enter(&self, _: &mut Custodian) -> Result<Box<dyn Send>> {
            Ok(Box::new(()))
        }

        fn announce(&self, _: About) -> Announced {
            Announced::default()
        }
    }

    #[test]
    fn whoever_asks_for_something_long_while_another_has_is_told_to_ask_again() {
        let ((tell, told), (begin, began)) = (mpsc::channel(), mpsc::channel());
        let entrance = Box::new(Slow(Mutex::new(told), begin));
        let (custodian, apart, histories) = Default::default();
        let desk = Desk { entrance, custodian, apart, histories };
        let long = |desk: &Desk| desk.act_apart(&mut |_| Ok(())).map_err(|error| error.kind());
        std::thread::scope(|scope| {
            let first = scope.spawn(|| long(&desk));
            began.recv().expect("it begins");
            assert_eq!(long(&desk), Err(ErrorKind::Unavailable));
            tell.send(()).expect("it waits");
            assert_eq!(first.join().expect("it ends"), Err(ErrorKind::Locked));
        });
        tell.send(()).expect("it waits");
        assert_eq!(long(&desk), Err(ErrorKind::Locked));
    }
}
