//! A shop in memory behind an agent, and connections that take as much of an answer as they are let.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../../policy/steward/tests/common/mod.rs"]
pub mod world;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use strongroom_agent::{Agent, Announced, Door, Entrance, Role, Tokens, Wire};
use strongroom_custody::Custody;
use strongroom_host::sim::SimEntropy;
use strongroom_steward::{About, Custodian, Result, Services, Stewardship};
use strongroom_store::over::Over;
use strongroom_store::{Key, Later, PolicyKey, Shelf, Store};

use world::World;

/// How long anything is waited for before the test says that it does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of files that were read and are not with the other side yet: now, and at the most.
#[derive(Default)]
pub struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Held {
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn take(&self, len: usize) {
        let now = self.now.fetch_add(len, Ordering::SeqCst) + len;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn give(&self, len: usize) {
        let less = |now: usize| Some(now.saturating_sub(len));
        let _ = self.now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

/// A store that counts the bytes of files read from it.
struct Watched {
    store: Arc<dyn Store>,
    held: Arc<Held>,
}

impl Over for Watched {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let got = self.store.get(key, range);
        Box::pin(async move {
            let bytes = got.await?;
            if matches!(key, Key::Policy(PolicyKey { shelf: Shelf::Object, .. })) {
                self.held.take(bytes.len());
            }
            Ok(bytes)
        })
    }
}

thread_local! {
    /// Whether this thread, which has one connection, keeps others out.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// How the agent reaches the shop.
struct Way {
    services: Services,
    custody: Arc<dyn Custody>,
    next: Next,
}

/// What happens when the next request is let in.
type Next = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        IS_INSIDE.set(false);
    }
}

impl Entrance for Way {
    fn open(&self) -> Result<Custodian> {
        Stewardship::open(self.services.clone())?.application("shop", Arc::clone(&self.custody))
    }

    fn obtain(&self) -> Result<bool> {
        Ok(false)
    }

    fn enter(&self, custodian: &mut Custodian) -> Result<Box<dyn Send>> {
        let next = self.next.lock().unwrap().take();
        next.into_iter().for_each(|next| next());
        IS_INSIDE.set(true);
        let inside = Box::new(Inside);
        let list = Stewardship::open(self.services.clone())?;
        custodian.relist(list.find("shop")?);
        custodian.follow()?;
        custodian.catch_up()?;
        Ok(inside)
    }

    fn announce(&self, _: About) -> Announced {
        Announced::default()
    }
}

#[derive(Default)]
struct Ends {
    said: VecDeque<u8>,
    /// Whether the client has broken off, and whether the agent is done with it.
    is_shut: bool,
    is_left: bool,
    heard: Vec<u8>,
    /// How much more the client takes.
    room: usize,
    /// Whether the agent waits for it to take more.
    is_stuck: bool,
}

/// A connection in memory: the agent has one end, the test the other.
#[derive(Clone)]
pub struct Line {
    ends: Arc<(Mutex<Ends>, Condvar)>,
    held: Arc<Held>,
}

impl Line {
    fn until(&self, is_so: impl Fn(&Ends) -> bool) -> MutexGuard<'_, Ends> {
        let ends = self.ends.0.lock().unwrap();
        let waits = |ends: &mut Ends| !is_so(ends);
        let (ends, late) = self.ends.1.wait_timeout_while(ends, PATIENCE, waits).unwrap();
        assert!(!late.timed_out(), "the other side does nothing any more");
        ends
    }

    fn change(&self, change: impl FnOnce(&mut Ends)) {
        change(&mut self.ends.0.lock().unwrap());
        self.ends.1.notify_all();
    }

    pub fn say(&self, text: &str) {
        self.change(|ends| ends.said.extend(text.as_bytes()));
    }

    /// Takes so much more, and no further.
    pub fn take(&self, len: usize) {
        self.change(|ends| ends.room = len);
    }

    /// Breaks off.
    pub fn shut(&self) {
        self.change(|ends| ends.is_shut = true);
    }

    /// Waits until the agent has more to give than is taken.
    pub fn until_stuck(&self) {
        drop(self.until(|ends| ends.is_stuck));
    }

    /// Waits until all that was heard ends like this.
    pub fn until_heard(&self, end: &[u8]) -> Vec<u8> {
        self.until(|ends| ends.heard.ends_with(end)).heard.clone()
    }

    /// Waits until the agent has hung up.
    pub fn until_left(&self) -> Vec<u8> {
        self.until(|ends| ends.is_left).heard.clone()
    }
}

/// The agent's end: what is dropped hangs up.
struct AgentsEnd(Line);

impl Drop for AgentsEnd {
    fn drop(&mut self) {
        self.0.change(|ends| ends.is_left = true);
    }
}

impl Read for AgentsEnd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.until(|ends| ends.is_shut || !ends.said.is_empty()).said.read(out)
    }
}

impl Write for AgentsEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!IS_INSIDE.get(), "others are kept out while an answer goes out");
        self.0.change(|ends| ends.is_stuck = ends.room == 0);
        let mut ends = self.0.until(|ends| ends.is_shut || ends.room > 0);
        if ends.is_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(ends.room);
        (ends.room, ends.is_stuck) = (ends.room - len, false);
        ends.heard.extend_from_slice(&bytes[..len]);
        drop(ends);
        self.0.ends.1.notify_all();
        self.0.held.give(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for AgentsEnd {
    fn read_within(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn write_within(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// The shop, its agent, and the token of the application.
pub struct Shop {
    pub world: World,
    pub held: Arc<Held>,
    agent: Arc<Agent>,
    door: Arc<Door>,
    token: String,
    tokens: tempfile::TempDir,
    next: Next,
}

impl Shop {
    /// Does something when the next request has waited for its turn.
    pub fn before_the_next(&self, act: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some(Box::new(act));
    }

    /// Opens an agent for the shop of a world.
    pub fn open(world: World) -> Self {
        Self::open_until(world, None)
    }

    /// The same, with a token that ends.
    pub fn open_until(world: World, until: Option<i64>) -> Self {
        let held = Arc::<Held>::default();
        let store = Arc::clone(&world.services.store);
        let store = Arc::new(Watched { store, held: Arc::clone(&held) });
        let services = Services { store, ..world.services.clone() };
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(folder.path().join("tokens.json"));
        let entropy = SimEntropy::new(1);
        let token = tokens.add("web", "shop", Role::Application, until, &entropy).unwrap();
        let next = Next::default();
        let way = Way { services, custody: world.custody(), next: Arc::clone(&next) };
        let entrances = vec![("shop".to_owned(), Box::new(way) as Box<dyn Entrance>)];
        let agent = Agent::new(entrances, tokens, Arc::clone(&world.clock) as Arc<_>).unwrap();
        Self { world, held, agent, door: Arc::default(), token, tokens: folder, next }
    }

    /// The token ends.
    pub fn end_token(&self) {
        assert!(Tokens::new(self.tokens.path().join("tokens.json")).remove("web").unwrap());
    }

    /// A connection on which something is asked, of which `room` bytes of the answer are taken for now.
    pub fn ask(&self, method: &str, path: &str, headers: &str, room: usize) -> Line {
        let ends = Arc::new((Mutex::new(Ends { room, ..Ends::default() }), Condvar::new()));
        let line = Line { ends, held: Arc::clone(&self.held) };
        self.agent.attend(AgentsEnd(line.clone()), &self.door).unwrap();
        let token = &self.token;
        line.say(&format!(
            "{method} /v1/apps/shop/{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}\r\n"
        ));
        line
    }

    /// The status of something that is asked and answered at once.
    pub fn status(&self, method: &str, path: &str) -> String {
        let answer = self.ask(method, path, "", usize::MAX).until_left();
        let line = answer.split(|byte| *byte == b'\r').next().unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    }
}
