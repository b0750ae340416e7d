//! A shop whose custodian serves consumers' devices, over a network that can be cut.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::Shop;
use crate::common::world::{Tee, World};
use bytes::Bytes;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_keyring::enrolment::{Applicant, request};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, device_file};
use strongroom_steward::{Counter, Services, Turns};
use strongroom_store::over::{Call, Over};
use strongroom_store::{Error, ErrorKind as StoreKind, Family, Key, Store};
use strongroom_view::View;
use strongroom_view::far::{FarConsumer, Pen, StoreLine};

pub const PASSPHRASE: &[u8] = b"the machine's own";
pub const POLL: Duration = Duration::from_millis(5);
/// Far more than anything takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The same store over a network that can be cut.
pub struct Cable {
    pub store: Arc<Tee>,
    pub is_cut: AtomicBool,
    /// Answers from this number on do not come through.
    pub held_from: AtomicU64,
    /// What lies there and cannot be read.
    pub damaged: Mutex<Option<Key>>,
    /// What others put in just before asks are listed.
    pub arrives: Mutex<Vec<(Key, Bytes)>>,
    /// Hears of each call before it is done.
    pub listener: Mutex<Option<Listener>>,
}

/// Who hears of calls, until it has nothing more to hear.
pub type Listener = Box<dyn FnMut(Call) -> ControlFlow<()> + Send>;

impl Cable {
    pub fn check(&self) -> strongroom_store::Result<()> {
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(Error::new(StoreKind::Unavailable, "the network is away")),
            false => Ok(()),
        }
    }
}

impl Over for Cable {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        self.listener.lock().unwrap().take_if(|listener| listener(call).is_break());
        match call {
            Call::Get(Key::Answer(letter))
                if letter.number >= self.held_from.load(Ordering::SeqCst) =>
            {
                Err(Error::new(StoreKind::NotFound, "not yet"))
            }
            Call::Get(key) if *self.damaged.lock().unwrap() == Some(key) => {
                Err(Error::new(StoreKind::Corrupt, "what lies there is damaged"))
            }
            Call::Get(_) | Call::Put(_) => self.check(),
            Call::List(Family::Ask) => {
                let arrived = std::mem::take(&mut *self.arrives.lock().unwrap());
                arrived.into_iter().for_each(|(key, bytes)| self.store.put_now(key, bytes));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A shop whose custodian serves consumers, from a thread as an agent has one.
pub struct Served {
    pub shop: Shop,
    pub organisation: Organisation,
    pub turns: Turns,
    pub running: Option<Running>,
}

pub struct Running {
    pub stop: Arc<AtomicBool>,
    pub thread: JoinHandle<()>,
}

impl Served {
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed))
    }

    pub fn over(world: World) -> Self {
        let mut shop = Shop::over(world);
        shop.world.services.clock = Arc::new(MachineClock::new());
        let organisation = Organisation::clone(&shop.world.services.organisation.now());
        let mut served = Self { shop, organisation, turns: Turns::default(), running: None };
        served.serve();
        served
    }

    pub fn services(&self) -> Services {
        self.shop.world.services.clone()
    }

    pub fn counter(&self) -> Counter {
        let fence = self.shop.fence.shared();
        let custodians = vec![self.shop.world.open("shop")];
        let list = self.shop.world.stewardship();
        let turns = self.turns.clone();
        Counter::open(self.services(), list, custodians, fence, turns).unwrap()
    }

    pub fn serve(&mut self) {
        let mut counter = self.counter();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                counter.turn().unwrap();
                std::thread::sleep(POLL);
            }
        });
        self.running = Some(Running { stop, thread });
    }

    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.store(true, Ordering::SeqCst);
            thread.join().unwrap();
        }
    }

    /// Takes in a machine that works for a consumer.
    pub fn device(&mut self, name: &str, consumer: &str) -> Arc<DeviceKeys> {
        let (device, record) = self.applicant(name, consumer);
        self.record(record);
        device
    }

    /// A machine, and the record that takes it in.
    pub fn applicant(&self, name: &str, consumer: &str) -> (Arc<DeviceKeys>, Vec<u8>) {
        let keys = Arc::clone(&self.services().keys);
        let place = (keys.organisation(), keys.workspace());
        let cost = PassphraseCost::WEAK_FOR_TESTS;
        let asked = request(place, PASSPHRASE, cost, 1_000, &MachineEntropy).unwrap();
        let applicant = Applicant::verify(&asked.request).unwrap();
        let writer = Writer {
            keys: &keys,
            organisation: &self.organisation,
            time_ns: 1_000,
            entropy: &MachineEntropy,
        };
        let record = writer.admit_consumer(&applicant, name, consumer).unwrap();
        (Arc::new(device_file::unlock(&asked.device_file, PASSPHRASE).unwrap()), record)
    }

    pub fn revoke(&mut self, device: &DeviceKeys) {
        let keys = Arc::clone(&self.services().keys);
        let writer = Writer {
            keys: &keys,
            organisation: &self.organisation,
            time_ns: 1_000,
            entropy: &MachineEntropy,
        };
        let record = writer.revoke(&device.device_id()).unwrap();
        self.record(record);
    }

    pub fn record(&mut self, record: Vec<u8>) {
        self.organisation.extend(&record).unwrap();
        let key = Key::Organisation(self.organisation.position());
        self.shop.world.store.put_now(key, record.into());
    }

    pub fn cable(&self) -> Arc<Cable> {
        let store = Arc::clone(&self.shop.world.store);
        let (is_cut, held_from) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        Arc::new(Cable {
            store,
            is_cut,
            held_from,
            damaged: Mutex::default(),
            arrives: Mutex::default(),
            listener: Mutex::default(),
        })
    }

    pub fn try_view(
        &self,
        device: &Arc<DeviceKeys>,
        cable: &Arc<Cable>,
        activity: &str,
    ) -> Result<View, strongroom_steward::Error> {
        self.try_view_by(device, cable, activity, Arc::new(MachineClock::new()))
    }

    pub fn try_view_by(
        &self,
        device: &Arc<DeviceKeys>,
        cable: &Arc<Cable>,
        activity: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<View, strongroom_steward::Error> {
        let entropy: Arc<dyn Entropy> = Arc::new(MachineEntropy);
        let custodian = self.organisation.find(&self.services().keys.device_id()).unwrap();
        let store = Arc::clone(cable) as Arc<dyn Store>;
        let consumer = FarConsumer {
            application: "shop".into(),
            activity: activity.into(),
            organisation: device.organisation(),
            store: Arc::clone(&store),
            line: Box::new(StoreLine(store)),
            pen: Pen {
                keys: Arc::clone(device),
                custodian: custodian.clone(),
                clock: Arc::clone(&clock),
                entropy,
            },
            poll: POLL,
        };
        View::start_far(consumer, clock, (7, 7))
    }

    pub fn view(&self, device: &Arc<DeviceKeys>) -> View {
        self.try_view(device, &self.cable(), "newsletter").unwrap()
    }

    /// Waits until everything recorded is in force everywhere.
    pub fn settle(&self) {
        let settled = self.turns.settle(&MachineClock::new(), LIMIT);
        assert_eq!(settled.silent, 0);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Waits for something that comes by itself.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(POLL);
    }
}
