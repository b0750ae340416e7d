//! A custodian's counter whose turns are taken by hand, and a device that writes its letters itself.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::world::World;
use crate::served::{Cable, Served};
use bytes::Bytes;
use strongroom_crypto::kem::KemKey;
use strongroom_crypto::secret::Secret;
use strongroom_format::cbor;
use strongroom_host::clock::Clock;
use strongroom_host::entropy::MachineEntropy;
use strongroom_keyring::DeviceKeys;
use strongroom_records::exchange::{Answer, Ask, Need, OpenedFiles};
use strongroom_records::ids::{Pseudonym, SessionId, SubjectId};
use strongroom_records::subject::ConsentStatus::Withdrawn;
use strongroom_steward::letters::{self, Direction, Outside, Recipient};
use strongroom_steward::{About, Counter, Holder, Settled, Ticket};
use strongroom_store::over::Call;
use strongroom_store::{Family, Key, Letter, PolicyKey, Shelf, Store};

/// A counter whose turns are taken by hand, and a device that writes its letters itself: nothing happens by itself.
pub struct ByHand {
    pub served: Served,
    pub counter: Counter,
    pub device: Arc<DeviceKeys>,
    pub session: SessionId,
    /// What answers are wrapped to.
    pub key: KemKey,
    pub asked: u64,
    pub heard: u64,
    /// Life of the counter that the last answer is of.
    pub incarnation: u64,
    /// What the next ask says was opened.
    pub opened: Vec<OpenedFiles>,
}

/// Time in which a counter takes its turns.
struct Turning<'c>(Mutex<&'c mut Counter>, Arc<dyn Clock>);

impl Clock for Turning<'_> {
    fn now_ns(&self) -> i64 {
        self.1.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.1.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.0.lock().unwrap().turn().unwrap();
        self.1.sleep(time);
    }
}

impl ByHand {
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed))
    }

    pub fn over(world: World) -> Self {
        let mut served = Served::over(world);
        served.stop();
        served.shop.world.services.clock = Arc::clone(&served.shop.world.clock) as Arc<_>;
        let device = served.device("mailer 1", "mailer");
        let counter = served.counter();
        let (session, asked, heard, opened) = (SessionId([0xff; 16]), 0, 0, Vec::new());
        let incarnation = 0;
        let key = KemKey::from_seed(Secret::from_bytes(&[1; 32]));
        Self { served, counter, device, session, key, asked, heard, incarnation, opened }
    }

    /// A new life of the counter.
    pub fn reopen(&mut self) {
        self.counter = self.served.counter();
    }

    /// Goes on as another view of the same device.
    pub fn begin_view(&mut self) {
        self.session.0[0] -= 1;
        (self.asked, self.heard) = (0, 0);
    }

    /// Somebody withdraws, and the view says that it has let go. Returns what the register then says of its device.
    pub fn let_go(&mut self, subject: SubjectId) -> Holder {
        self.served.shop.say(subject, "newsletter", Withdrawn);
        let record = self.served.shop.act(|shop| shop.record_count()) - 1;
        assert_eq!(self.answer().gone.len(), 1);
        self.ask(vec![Need::Look]);
        let office = self.served.shop.world.open("shop");
        let [holder] = office.holders(&subject, record).unwrap()[..] else { panic!("one device") };
        holder
    }

    pub fn post(&mut self, needs: Vec<Need>) {
        let (key, letter) = self.next_ask(needs);
        self.served.shop.world.store.put_now(key, letter);
    }

    pub fn next_ask(&mut self, needs: Vec<Need>) -> (Key, Bytes) {
        let letter = self.letter(needs);
        let place = Letter { session: self.session.0, number: self.asked };
        self.asked += 1;
        (Key::Ask(place), letter.into())
    }

    /// Asks that lie in the store.
    pub fn waiting(&self) -> usize {
        let store = &self.served.shop.world.store;
        strongroom_store::now(store.list(Family::Ask, None)).unwrap().len()
    }

    pub fn ask(&mut self, needs: Vec<Need>) -> Answer {
        let number = self.asked;
        self.post(needs);
        loop {
            let answer = self.answer();
            if answer.to == Some(number) {
                return answer;
            }
        }
    }

    pub fn letter(&mut self, needs: Vec<Need>) -> Vec<u8> {
        let time = self.served.services().clock.now_ns();
        let outside = Outside { session: self.session, number: self.asked, incarnation: 0, time };
        let ask = Ask {
            application: "shop".into(),
            activity: "newsletter".into(),
            heard: self.heard,
            needs,
            opened: std::mem::take(&mut self.opened),
            expects: self.heard,
            answer_key: *self.key.public().as_bytes(),
        };
        let custodian = self.served.services().keys.device_id();
        let custodian = self.served.organisation.find(&custodian).unwrap();
        let (keys, body) = (&self.device, cbor::encode(&ask));
        let to = Recipient::custodian(custodian);
        letters::write(Direction::Ask, keys, to, &outside, &body, &MachineEntropy).unwrap()
    }

    /// The next answer, within a few turns.
    pub fn answer(&mut self) -> Answer {
        let place = Letter { session: self.session.0, number: self.heard };
        for _ in 0..4 {
            self.counter.turn().unwrap();
            if let Some(letter) = self.served.shop.world.store.get_now(Key::Answer(place)) {
                self.heard += 1;
                let custodian = self.served.services().keys.device_id();
                let custodian = self.served.organisation.find(&custodian).unwrap();
                let (device, key) = (&self.device, &self.key);
                let read = letters::read(Direction::Answer, device, key, custodian, &letter);
                let (envelope, body) = read.unwrap();
                self.incarnation = envelope.incarnation;
                return cbor::decode_canonical(body.expose()).unwrap();
            }
        }
        panic!("no answer comes");
    }

    /// An act that begins to wait for devices as the next record is put, over a cable that the counter uses.
    pub fn act_at_a_record(&self, cable: &Cable) -> Arc<Mutex<Option<Ticket>>> {
        let (act, turns) = (Arc::default(), self.served.turns.clone());
        let begun: Arc<Mutex<Option<Ticket>>> = Arc::clone(&act);
        let begin = move |call| {
            if !is_record(call) {
                return ControlFlow::Continue(());
            }
            *begun.lock().unwrap() = Some(turns.ask(About::Everything));
            ControlFlow::Break(())
        };
        *cable.listener.lock().unwrap() = Some(Box::new(begin));
        act
    }

    /// Devices of which it is not known that all is in force there, after ten seconds.
    pub fn silent(&mut self) -> u64 {
        self.silent_about(About::Everything)
    }

    /// The same of what an act is about.
    pub fn silent_about(&mut self, about: About) -> u64 {
        let (turns, clock) = (self.served.turns.clone(), self.served.services().clock);
        let turning = Turning(Mutex::new(&mut self.counter), clock);
        let Settled { silent } = turns.ask(about).wait(&turning, Duration::from_secs(10));
        silent
    }
}

/// A record is put.
pub fn is_record(call: Call) -> bool {
    matches!(call, Call::PutIfAbsent(Key::Policy(PolicyKey { shelf: Shelf::Log, .. })))
}

pub fn everybody() -> Vec<Need> {
    vec![Need::Page(Pseudonym([0; 16]))]
}
