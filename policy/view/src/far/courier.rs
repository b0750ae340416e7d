//! Letters on their way: a thread that writes asks, sends them, and looks for answers, so that nobody else waits for a network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use strongroom_crypto::kem::KemKey;
use strongroom_crypto::secret::Secret;
use strongroom_format::cbor;
use strongroom_host::clock::Clock;
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Device;
use strongroom_records::exchange::{ANSWER_LEN_MAX, Answer, Ask};
use strongroom_records::ids::SessionId;
use strongroom_steward::letters::{self, Direction, Outside, Recipient};
use strongroom_steward::{Error, ErrorKind, Result};
use strongroom_store::{Body, ErrorKind as StoreKind, Key, Letter, Store, wait};

use crate::view::END_LIMIT;

/// How often an answer is looked for that is awaited.
const POLL_AWAITED: Duration = Duration::from_millis(50);
/// How long an ask is awaited so eagerly.
const EAGER: Duration = Duration::from_secs(5);

/// What carries letters. It may lose, delay, repeat or change them.
pub trait Line: Send {
    /// Carries an ask to the custodian. Fine to repeat.
    ///
    /// # Errors
    /// `Unavailable` and the rest: it may have arrived all the same.
    fn send(&self, place: Letter, letter: &[u8]) -> Result<()>;

    /// Brings an answer, if it is there.
    ///
    /// # Errors
    /// `Unavailable` and the rest.
    fn fetch(&self, place: Letter) -> Result<Option<Vec<u8>>>;
}

/// The store that everything else lies in.
pub struct StoreLine(pub Arc<dyn Store>);

impl Line for StoreLine {
    fn send(&self, place: Letter, letter: &[u8]) -> Result<()> {
        let body = Body::Bytes(letter.to_vec().into());
        wait(self.0.put(Key::Ask(place), body)).map(drop).map_err(|_| out_of_reach())
    }

    fn fetch(&self, place: Letter) -> Result<Option<Vec<u8>>> {
        match wait(self.0.get(Key::Answer(place), None)) {
            Ok(letter) => Ok(Some(letter.to_vec())),
            Err(error) if error.kind() == StoreKind::NotFound => Ok(None),
            Err(_) => Err(out_of_reach()),
        }
    }
}

fn out_of_reach() -> Error {
    Error::new(ErrorKind::Unavailable, "the store cannot be reached")
}

/// What letters are written and read with.
pub struct Pen {
    /// This device.
    pub keys: Arc<DeviceKeys>,
    /// The custodian's.
    pub custodian: Device,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// The desk's end.
pub(crate) struct Post {
    outgoing: Sender<Out>,
    incoming: Receiver<Arrived>,
}

struct Out {
    number: u64,
    incarnation: u64,
    ask: Ask,
}

/// What came.
pub(crate) enum Arrived {
    /// Nothing more.
    Nothing,
    /// The next answer.
    Letter {
        /// Life of the counter that wrote it.
        incarnation: u64,
        /// It.
        answer: Box<Answer>,
    },
    /// Nothing can come.
    Trouble(Error),
}

/// The other end, before it runs.
pub(crate) struct Courier {
    line: Box<dyn Line>,
    pen: Pen,
    poll: Duration,
    session: SessionId,
    /// What answers are wrapped to: gone when the session is, so that letters which somebody kept stay shut.
    key: KemKey,
    outgoing: Receiver<Out>,
    incoming: Sender<Arrived>,
    unsent: VecDeque<Out>,
    /// Number of the answer that comes next.
    next: u64,
    eager_until: Duration,
}

pub(crate) fn pair(line: Box<dyn Line>, pen: Pen, poll: Duration) -> (Post, Courier) {
    let (outgoing, to_send) = mpsc::channel();
    let (arrived, incoming) = mpsc::channel();
    let session = SessionId(pen.entropy.array());
    let key = KemKey::from_seed(Secret::fill_with(|out| pen.entropy.fill(out)));
    let courier = Courier {
        line,
        pen,
        poll,
        session,
        key,
        outgoing: to_send,
        incoming: arrived,
        unsent: VecDeque::new(),
        next: 0,
        eager_until: Duration::ZERO,
    };
    (Post { outgoing, incoming }, courier)
}

impl Post {
    /// Hands over an ask.
    pub fn send(&self, number: u64, incarnation: u64, ask: Ask) {
        // A courier that is gone says so by what arrives.
        let _ = self.outgoing.send(Out { number, incarnation, ask });
    }

    /// What has arrived next.
    pub fn arrived(&self) -> Arrived {
        match self.incoming.try_recv() {
            Ok(arrived) => arrived,
            Err(mpsc::TryRecvError::Empty) => Arrived::Nothing,
            Err(mpsc::TryRecvError::Disconnected) => {
                Arrived::Trouble(Error::new(ErrorKind::Internal, "the courier has ended"))
            }
        }
    }
}

impl Courier {
    /// Until the desk is gone.
    pub fn run(mut self) {
        loop {
            let is_eager = self.pen.clock.since_boot() < self.eager_until;
            let patience = if is_eager { POLL_AWAITED.min(self.poll) } else { self.poll };
            let gone = match self.outgoing.recv_timeout(patience) {
                Ok(out) => {
                    self.unsent.push_back(out);
                    self.unsent.extend(self.outgoing.try_iter());
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if gone {
                return self.end();
            }
            let carried = self.send_all().and_then(|()| self.fetch_all());
            if let Err(error) = carried {
                // A desk that is gone needs nothing.
                let _ = self.incoming.send(Arrived::Trouble(error));
            }
        }
    }

    /// A desk that is gone says nothing again: what is not on its way is tried for a while.
    fn end(&mut self) {
        let end = self.pen.clock.since_boot() + END_LIMIT;
        while self.send_all().is_err() && self.pen.clock.since_boot() < end {
            self.pen.clock.sleep(self.poll);
        }
    }

    fn send_all(&mut self) -> Result<()> {
        while let Some(out) = self.unsent.front_mut() {
            out.ask.expects = self.next;
            out.ask.answer_key = *self.key.public().as_bytes();
            let outside = Outside {
                session: self.session,
                number: out.number,
                incarnation: out.incarnation,
                time: self.pen.clock.now_ns(),
            };
            let Pen { keys, custodian, entropy, .. } = &self.pen;
            let body = cbor::encode(&out.ask);
            let to = Recipient::custodian(custodian);
            let letter = letters::write(Direction::Ask, keys, to, &outside, &body, &**entropy)?;
            let place = Letter { session: self.session.0, number: out.number };
            self.line.send(place, &letter)?;
            if !out.ask.needs.is_empty() {
                self.eager_until = self.pen.clock.since_boot() + EAGER;
            }
            self.unsent.pop_front();
        }
        Ok(())
    }

    fn fetch_all(&mut self) -> Result<()> {
        loop {
            let place = Letter { session: self.session.0, number: self.next };
            let Some(letter) = self.line.fetch(place)? else { return Ok(()) };
            let bad = || Error::new(ErrorKind::Corrupt, "an answer does not verify");
            if letter.len() > ANSWER_LEN_MAX {
                return Err(bad());
            }
            let Pen { keys, custodian, .. } = &self.pen;
            let (envelope, body) =
                letters::read(Direction::Answer, keys, &self.key, custodian, &letter)?;
            if (envelope.session, envelope.number) != (self.session, self.next) {
                return Err(bad());
            }
            let answer = Box::new(cbor::decode_canonical::<Answer>(body.expose())?);
            let incarnation = envelope.incarnation;
            self.next += 1;
            self.eager_until = Duration::ZERO;
            if self.incoming.send(Arrived::Letter { incarnation, answer }).is_err() {
                return Ok(());
            }
        }
    }
}
