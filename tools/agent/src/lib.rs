//! The application's own entrance: a local HTTP API over applications that are open, for programs that are not ours.
//!
//! ```text
//! connection ─▶ http ─▶ token ─▶ route ─▶ replay? ─▶ desk: enter (other writers out, what they did is known) ─▶ act ─▶ answer
//! ```
//!
//! What a command does for one answer, unlock, open, verify, is done once here. Deciding, recording and keys are the steward's,
//! as everywhere; how a store is unlocked and where custody is are the command's. The API is described in
//! `docs/agent-api.json`, which a test holds against [`routes`].
//!
//! 1. Nothing is answered without a token but whether the agent lives. A token is for one application and one role.
//! 2. What identifies a person is in bodies, never in a path or a query: those end up in logs of others.
//! 3. A request that is repeated under its idempotency key is done once: for the life of the process by its stored answer,
//!    and beyond by the ids of subjects, which follow from the key.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activities;
mod call;
mod http;
mod package;
mod replay;
mod routes;
mod subjects;
mod tokens;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use strongroom_crypto::hash::sha256;
use strongroom_host::clock::Clock;
use strongroom_host::thread;
use strongroom_steward::{Custodian, Error, ErrorKind, Result};

pub use routes::described;
pub use tokens::{Role, Tokens};

use call::Call;
use http::{Answer, Read1, Request};
use replay::{Replay, Replays};
use routes::Who;
use tokens::Token;

/// LIMIT: connections at a time.
const CONNECTION_COUNT_MAX: usize = 128;

/// How an application is reached. Implemented by whoever puts the program together.
pub trait Entrance: Send + Sync {
    /// Opens it, as a new process would.
    ///
    /// # Errors
    /// `Locked`, `Unavailable`, `Corrupt` and the rest.
    fn open(&self) -> Result<Custodian>;

    /// Keeps other writers out until what is returned is dropped, and learns what they did before.
    ///
    /// # Errors
    /// `Unavailable` when another writer takes too long.
    fn enter(&self, custodian: &mut Custodian) -> Result<Box<dyn Send>>;

    /// Tells whoever shows data of the application on this machine that what they may show has changed.
    fn announce(&self);
}

/// The agent.
pub struct Agent {
    desks: BTreeMap<String, Desk>,
    tokens: Tokens,
    replays: Mutex<Replays>,
    clock: Arc<dyn Clock>,
    connections: AtomicUsize,
}

/// One application: whoever has its lock works on it.
struct Desk {
    entrance: Box<dyn Entrance>,
    custodian: Mutex<Option<Custodian>>,
}

impl Agent {
    /// An agent for applications by name, each opened now.
    ///
    /// # Errors
    /// Those of opening.
    pub fn new(
        entrances: Vec<(String, Box<dyn Entrance>)>,
        tokens: Tokens,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let mut desks = BTreeMap::new();
        for (name, entrance) in entrances {
            let custodian = Mutex::new(Some(entrance.open()?));
            desks.insert(name, Desk { entrance, custodian });
        }
        let (replays, connections) = (Mutex::default(), AtomicUsize::new(0));
        Ok(Arc::new(Self { desks, tokens, replays, clock, connections }))
    }

    /// Serves a connection from a thread of its own until the other side is done.
    ///
    /// # Errors
    /// When the machine has no thread left; the connection is closed.
    pub fn attend<S: Read + Write + Send + 'static>(
        self: &Arc<Self>,
        mut stream: S,
    ) -> io::Result<()> {
        let count = self.connections.fetch_add(1, Ordering::SeqCst);
        let agent = Arc::clone(self);
        let attended = thread::spawn("agent", move || {
            let _counted = Counted(Arc::clone(&agent));
            if count >= CONNECTION_COUNT_MAX {
                let answer = Answer::refused(503, "unavailable", "too many connections");
                let _ = answer.write(&mut stream, false);
                return;
            }
            // A connection that breaks has nobody to tell.
            let _ = agent.converse(&mut stream);
        });
        attended.map(drop).inspect_err(|_| {
            self.connections.fetch_sub(1, Ordering::SeqCst);
        })
    }

    /// Waits until whatever is being done is done, and keeps anything further from beginning.
    pub fn rest(&self) -> Vec<impl Sized + '_> {
        self.desks.values().map(Desk::lock).collect()
    }

    fn converse(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let mut left = Vec::new();
        loop {
            match http::read(stream, &mut left)? {
                Read1::End => return Ok(()),
                Read1::Refused(answer) => return answer.write(stream, false),
                Read1::Request(request) => {
                    let keeps = request.keeps;
                    self.answer(&request).write(stream, keeps)?;
                    if !keeps {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Answers one request.
    fn answer(&self, request: &Request) -> Answer {
        let Some(parts) = http::parts(&request.path) else {
            return Answer::refused(400, "invalid", "the path is no text");
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if parts == ["v1", "health"] && request.method == "GET" {
            return Answer::json(200, &json!({"lives": true}));
        }
        let token = match self.token(request) {
            Ok(token) => token,
            Err(answer) => return answer,
        };
        let ["v1", "apps", app, rest @ ..] = &parts[..] else {
            return Answer::refused(404, "not_found", "there is no such thing here");
        };
        // An application that is not the token's is answered like one that does not exist.
        let desk = self.desks.get(*app).filter(|_| token.app == *app);
        let Some(desk) = desk else { return not_allowed() };
        let (route, params) = match routes::find(&request.method, rest) {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let is_theirs = match (&route.who, &token.role) {
            (Who::Application, Role::Application) | (Who::Auditor, Role::Auditor) => true,
            (Who::Activity, Role::Activity(name)) => params.first().is_some_and(|own| own == name),
            _ => false,
        };
        if !is_theirs {
            return not_allowed();
        }
        let slot = match self.replayed(request, &token) {
            Ok(slot) => slot,
            Err(answer) => return answer,
        };
        let call = Call { request, params, token: &token };
        let answer = desk.act(&|custodian| (route.act)(&call, custodian));
        if answer.status < 300 && route.changes_what_may_be_seen() {
            desk.entrance.announce();
        }
        if let Some(slot) = slot {
            self.replays().keep(slot, &answer);
        }
        answer
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
        request: &Request,
        token: &Token,
    ) -> std::result::Result<Option<Replay>, Answer> {
        let Some(key) = request.key.as_deref().filter(|_| request.method == "POST") else {
            return Ok(None);
        };
        if key.is_empty() || key.len() > 255 {
            return Err(Answer::refused(400, "invalid", "an idempotency key has 1 to 255 bytes"));
        }
        let text = [request.path.as_bytes(), &[0], request.query.as_bytes(), &[0], &request.body];
        let replay = Replay {
            place: sha256(&[&token.hash.0[..], key.as_bytes()].concat()),
            request: sha256(&text.concat()),
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
    fn lock(&self) -> MutexGuard<'_, Option<Custodian>> {
        self.custodian.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the application; once more where somebody else wrote meanwhile.
    fn act(&self, act: &dyn Fn(&mut Custodian) -> Result<Answer>) -> Answer {
        let mut held = self.lock();
        for last in [false, true] {
            let done = self.entered(&mut held, act);
            match done {
                Ok(answer) => return answer,
                // Whatever it knows may be half true now: it is opened anew.
                Err(error) if is_refusal(error.kind()) => return refused(&error),
                Err(error) => {
                    *held = None;
                    if last || error.kind() != ErrorKind::Conflict {
                        return refused(&error);
                    }
                }
            }
        }
        refused(&Error::new(ErrorKind::Conflict, "somebody else wrote meanwhile"))
    }

    fn entered(
        &self,
        held: &mut Option<Custodian>,
        act: &dyn Fn(&mut Custodian) -> Result<Answer>,
    ) -> Result<Answer> {
        let custodian = match held {
            Some(custodian) => custodian,
            None => held.insert(self.entrance.open()?),
        };
        let _others_wait = self.entrance.enter(custodian)?;
        act(custodian)
    }
}

/// Whether an error says something of the request, and nothing of the application.
fn is_refusal(kind: ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(kind, K::NotFound | K::Exists | K::Invalid | K::Denied | K::Held)
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

/// Counts a connection off when it ends, however it ends.
struct Counted(Arc<Agent>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
