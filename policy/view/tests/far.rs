//! A view on a consumer's own device: it shows what a custodian elsewhere lends, lets go when it is told, and has nothing once
//! its leases are over, whatever the network does.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::world::{Tee, is_registers};
use common::{Shop, content, crawl, follow, kind, list, look, now, only, open, read};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::cbor;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_keyring::enrolment::{Applicant, request};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, device_file};
use strongroom_records::application::ApplicationState;
use strongroom_records::exchange::{Answer, Ask, Need, OpenedFiles, Refusal};
use strongroom_records::ids::{ClassId, FileId, Pseudonym, SessionId};
use strongroom_records::log::Kind as Told;
use strongroom_records::subject::ConsentStatus::{Given, Refused, Withdrawn};
use strongroom_steward::letters::{self, Direction, Outside};
use strongroom_steward::{
    Counter, Custodian, ErrorKind as StewardKind, Holder, Roster, Services, Settled, Turns,
};
use strongroom_store::{
    Body, Error, ErrorKind as StoreKind, Family, Key, Later, Letter, Listed, Put, Store, Uploaded,
};
use strongroom_view::View;
use strongroom_view::far::{FarConsumer, Pen, StoreLine};
use strongroom_workspace::door::{Core, Ino};
use strongroom_workspace::error::ErrorKind;

const PASSPHRASE: &[u8] = b"the machine's own";
const POLL: Duration = Duration::from_millis(5);
/// Far more than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The same store over a network that can be cut.
struct Cable {
    store: Arc<Tee>,
    is_cut: AtomicBool,
    /// Answers from this number on do not come through.
    held_from: AtomicU64,
    /// What others put in just before asks are listed.
    arrives: Mutex<Vec<(Key, Bytes)>>,
}

impl Cable {
    fn check(&self) -> strongroom_store::Result<()> {
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(Error::new(StoreKind::Unavailable, "the network is away")),
            false => Ok(()),
        }
    }
}

impl Store for Cable {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        if let Key::Answer(letter) = key
            && letter.number >= self.held_from.load(Ordering::SeqCst)
        {
            let missing = Error::new(StoreKind::NotFound, "not yet");
            return Box::pin(async { Err(missing) });
        }
        match self.check() {
            Ok(()) => self.store.get(key, range),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        match self.check() {
            Ok(()) => self.store.put(key, body),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.store.put_if_absent(key, bytes)
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        if family == Family::Ask {
            let arrived = std::mem::take(&mut *self.arrives.lock().unwrap());
            arrived.into_iter().for_each(|(key, bytes)| self.store.put_now(key, bytes));
        }
        self.store.list(family, after)
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.store.delete(key)
    }
}

/// A shop whose custodian serves consumers, from a thread as an agent has one.
struct Served {
    shop: Shop,
    organisation: Organisation,
    turns: Turns,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Served {
    fn new(seed: u64) -> Self {
        let mut shop = Shop::new(seed);
        shop.world.services.clock = Arc::new(MachineClock::new());
        let organisation = Organisation::clone(&shop.world.services.organisation.now());
        let mut served = Self { shop, organisation, turns: Turns::default(), running: None };
        served.serve();
        served
    }

    fn services(&self) -> Services {
        self.shop.world.services.clone()
    }

    fn counter(&self) -> Counter {
        let fence = self.shop.fence.shared();
        let custodians = vec![self.shop.world.open("shop")];
        let list = self.shop.world.stewardship();
        let turns = self.turns.clone();
        Counter::open(self.services(), list, custodians, fence, turns).unwrap()
    }

    fn serve(&mut self) {
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

    fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.store(true, Ordering::SeqCst);
            thread.join().unwrap();
        }
    }

    /// Takes in a machine that works for a consumer.
    fn device(&mut self, name: &str, consumer: &str) -> Arc<DeviceKeys> {
        let (device, record) = self.applicant(name, consumer);
        self.record(record);
        device
    }

    /// A machine, and the record that takes it in.
    fn applicant(&self, name: &str, consumer: &str) -> (Arc<DeviceKeys>, Vec<u8>) {
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

    fn revoke(&mut self, device: &DeviceKeys) {
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

    fn record(&mut self, record: Vec<u8>) {
        self.organisation.extend(&record).unwrap();
        let key = Key::Organisation(self.organisation.position());
        self.shop.world.store.put_now(key, record.into());
    }

    fn cable(&self) -> Arc<Cable> {
        let store = Arc::clone(&self.shop.world.store);
        let (is_cut, held_from) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        Arc::new(Cable { store, is_cut, held_from, arrives: Mutex::default() })
    }

    fn try_view(
        &self,
        device: &Arc<DeviceKeys>,
        cable: &Arc<Cable>,
        activity: &str,
    ) -> Result<View, strongroom_steward::Error> {
        self.try_view_by(device, cable, activity, Arc::new(MachineClock::new()))
    }

    fn try_view_by(
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

    fn view(&self, device: &Arc<DeviceKeys>) -> View {
        self.try_view(device, &self.cable(), "newsletter").unwrap()
    }

    /// Waits until everything recorded is in force everywhere.
    fn settle(&self) {
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
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_consumers_device_sees_exactly_what_was_agreed_and_all_of_it_is_on_record() {
    let mut served = Served::new(1);
    let ada = served.shop.reader("ada");
    let bob = served.shop.reader("bob");
    served.shop.say(bob, "newsletter", Refused);
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let root = only(&view);
    let seen = crawl(&view);
    let expected = [("identifiable", "ada identifiable"), ("owned", "ada owned")];
    let expected =
        expected.map(|(class, text)| (format!("{root}/{class}/file"), text.as_bytes().to_vec()));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    assert!(look(&view, &format!("subjects/{ada}")).is_err());
    // What the device says that it opened follows.
    let mut opened = 0;
    until("what was opened is on record", || {
        let report = served.shop.act(|shop| shop.report(&ada).unwrap());
        let told = report.lines.iter().filter(|line| line.entry.kind == Told::Opened);
        let told = told.inspect(|line| assert_eq!(line.entry.operator, device.device_id()));
        opened = told.filter_map(|line| line.detail.as_ref()).map(|d| d.files.len()).sum();
        opened >= 2
    });
    assert_eq!(opened, 2);
    let report = served.shop.act(|shop| shop.report(&ada).unwrap());
    let by_device = |line: &&strongroom_steward::ReportLine| {
        line.entry.kind == Told::Access && line.entry.operator == device.device_id()
    };
    // Both classes were shown and read.
    assert_eq!(report.lines.iter().filter(by_device).count(), 4);
    assert_eq!(served.shop.act(|shop| shop.verify().unwrap()).findings, []);
    drop(view);
    served.stop();
    // The store carried letters, and what it carried says nothing.
    let ever = served.shop.world.store.ever.lock().unwrap();
    let letters = ever.iter().filter(|(key, _)| matches!(key, Key::Ask(_) | Key::Answer(_)));
    let letters: Vec<_> = letters.collect();
    assert!(letters.len() > 3);
    for (key, letter) in letters {
        for word in ["newsletter", "shop", "identifiable", "file", "ada"] {
            let found = letter.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "`{word}` in {key}");
        }
    }
}

#[test]
fn a_withdrawal_reaches_open_files_of_another_device_before_it_is_acknowledged() {
    let mut served = Served::new(2);
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    for _ in 0..15 {
        let path = format!("{}/owned/file", only(&view));
        let handle = open(&view, &path).unwrap();
        assert_eq!(read(&view, handle).unwrap(), b"ada owned");
        served.shop.say(ada, "newsletter", Withdrawn);
        let began = Instant::now();
        served.settle();
        assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(kind(look(&view, &path)), ErrorKind::NotFound);
        served.shop.say(ada, "newsletter", Given);
        until("who agrees again is shown again", || {
            follow(&view);
            look(&view, &path).is_ok()
        });
        // What was shut stays shut.
        assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
        view.release(handle);
    }
}

#[test]
fn what_devices_let_go_of_is_on_record_once_they_have_it_nowhere() {
    let mut served = Served::new(7);
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    served.shop.world.services.organisation = Arc::new(Roster::new(served.organisation.clone()));
    let mut office = served.shop.world.open("shop");
    let fence = served.shop.fence.clone();
    // Who holds what the newest record took the ground from.
    let withdraw = |shop: &mut Shop| {
        shop.say(ada, "newsletter", Withdrawn);
        let record = shop.act(|shop| shop.record_count()) - 1;
        move |office: &mut Custodian| {
            office.follow().unwrap();
            office.holders(&ada, "newsletter", record).unwrap()
        }
    };
    let let_go = |all: &[Holder]| all.iter().map(|own| own.let_go.is_some()).collect::<Vec<_>>();
    let first = served.view(&device);
    let path = format!("{}/owned/file", only(&first));
    assert_eq!(content(&first, &path).unwrap(), b"ada owned");
    let holders = withdraw(&mut served.shop);
    until("the device let go", || let_go(&holders(&mut office)) == [true]);
    let [holder] = holders(&mut office)[..] else { panic!("one device") };
    assert_eq!(holder.device, device.device_id());
    assert!(!holder.is_waited_for(0));
    // Another view of the same machine does not hear of it: its word counts for what it has as well.
    served.shop.say(ada, "newsletter", Given);
    let cable = served.cable();
    let second = served.try_view(&device, &cable, "newsletter").unwrap();
    let is_shown = |view: &View| {
        follow(view);
        look(view, &path).is_ok()
    };
    until("both show her again", || is_shown(&first) && is_shown(&second));
    cable.is_cut.store(true, Ordering::SeqCst);
    let holders = withdraw(&mut served.shop);
    until("the first let go", || look(&first, &path).is_err());
    let turns = served.turns.settle(&MachineClock::new(), Duration::from_millis(200));
    assert_eq!((turns.silent, let_go(&holders(&mut office))), (1, vec![false]));
    let [holder] = holders(&mut office)[..] else { panic!("one device") };
    assert!(holder.is_waited_for(holder.until - 1) && !holder.is_waited_for(holder.until));
    cable.is_cut.store(false, Ordering::SeqCst);
    until("the second let go too", || let_go(&holders(&mut office)) == [true]);
    // One that said good-bye has nothing.
    served.shop.say(ada, "newsletter", Given);
    until("both show her again", || is_shown(&first) && is_shown(&second));
    drop((first, second));
    let gone = || {
        let _held = fence.wait();
        served.shop.world.store.live().keys().all(|key| !matches!(key, Key::Answer(_)))
    };
    until("the good-byes are heard", gone);
    let holders = withdraw(&mut served.shop);
    until("nobody is waited for", || let_go(&holders(&mut office)) == [true]);
}

#[test]
fn with_the_network_cut_nothing_is_read_once_the_lease_is_over() {
    let mut served = Served::new(3);
    let ada = served.shop.reader("ada");
    for class in [ClassId::OWNED, ClassId::IDENTIFIABLE] {
        served.shop.act(|shop| shop.set_lease(class, 3).unwrap());
    }
    let device = served.device("mailer 1", "mailer");
    let cable = served.cable();
    let view = served.try_view(&device, &cable, "newsletter").unwrap();
    let path = format!("{}/owned/file", only(&view));
    let handle = open(&view, &path).unwrap();
    // One in use is renewed again and again.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert_eq!(read(&view, handle).unwrap(), b"ada owned");
        std::thread::sleep(Duration::from_millis(20));
    }
    cable.is_cut.store(true, Ordering::SeqCst);
    served.shop.say(ada, "newsletter", Withdrawn);
    // It does not answer, and its leases are over: that is the same.
    served.settle();
    assert!(read(&view, handle).is_err());
    assert!(look(&view, &path).is_err());
    cable.is_cut.store(false, Ordering::SeqCst);
    until("it hears of it", || read(&view, handle).is_err_and(|e| e.kind() == ErrorKind::Denied));
}

#[test]
fn a_device_sees_the_jobs_of_its_consumer_only_and_nothing_once_it_is_removed() {
    let mut served = Served::new(4);
    served.shop.reader("ada");
    let other = served.device("press 1", "press");
    let refused = |view: Result<View, strongroom_steward::Error>| view.err().unwrap().kind();
    let cable = served.cable();
    assert_eq!(refused(served.try_view(&other, &cable, "newsletter")), StewardKind::Denied);
    let device = served.device("mailer 1", "mailer");
    assert_eq!(refused(served.try_view(&device, &cable, "nothing")), StewardKind::Denied);
    let view = served.view(&device);
    let path = format!("{}/owned/file", only(&view));
    let handle = open(&view, &path).unwrap();
    served.revoke(&device);
    served.settle();
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
    // A consumer's device has no key of the workspace, and signs nothing of its own.
    assert!(device.learn(&served.organisation).is_err());
    assert_eq!(served.organisation.device(&other.device_id()), None);
}

#[test]
fn what_was_opened_of_several_classes_of_somebody_is_one_chain_of_entries() {
    let mut shop = Shop::new(6);
    let ada = shop.reader("ada");
    let opened = |class| OpenedFiles { subject: ada, class, files: vec![FileId([1; 16])] };
    let opened = [ClassId::IDENTIFIABLE, ClassId::OWNED].map(opened);
    shop.act(|shop| {
        let rules = shop.rules("newsletter").unwrap();
        shop.note_opened(&rules, &opened).unwrap();
        assert_eq!(shop.verify().unwrap().findings, []);
    });
}

#[test]
fn a_custodian_that_begins_anew_is_asked_anew() {
    let mut served = Served::new(5);
    served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let path = format!("{}/owned/file", only(&view));
    assert_eq!(content(&view, &path).unwrap(), b"ada owned");
    served.stop();
    let bob = served.shop.reader("bob");
    served.serve();
    until("whoever agreed meanwhile is shown", || {
        now(view.xattr(Ino::ROOT, common::FOLLOW)).is_ok() && crawl_count(&view) == 4
    });
    assert_eq!(content(&view, &path).unwrap(), b"ada owned");
    // Files that are replaced are found again.
    served.shop.put(bob, "owned", "second", b"bob again");
    until("a new file is shown", || crawl_count(&view) == 5);
}

fn crawl_count(view: &View) -> usize {
    let subjects = look(view, "subjects").unwrap().ino;
    let people = list(view, subjects).unwrap();
    let mut count = 0;
    for (_, person, _) in people {
        for (_, class, _) in list(view, person).unwrap_or_default() {
            count += list(view, class).map_or(0, |files| files.len());
        }
    }
    count
}

#[test]
fn what_was_told_unasked_and_held_back_gives_nothing_however_late_it_comes() {
    let mut served = Served::new(7);
    for class in [ClassId::OWNED, ClassId::IDENTIFIABLE] {
        served.shop.act(|shop| shop.set_lease(class, 1).unwrap());
    }
    let ada = served.shop.reader("ada");
    served.shop.say(ada, "newsletter", Refused);
    let device = served.device("mailer 1", "mailer");
    let cable = served.cable();
    let view = served.try_view(&device, &cable, "newsletter").unwrap();
    let subjects = look(&view, "subjects").unwrap().ino;
    assert_eq!(list(&view, subjects).unwrap(), []);
    let tee = Arc::clone(&served.shop.world.store);
    let letters = |is_it: fn(&Key) -> bool| {
        tee.ever.lock().unwrap().iter().filter(|(key, _)| is_it(key)).count()
    };
    let answers = || letters(|key| matches!(key, Key::Answer(_)));
    let asks = || letters(|key| matches!(key, Key::Ask(_)));
    let heard = answers();
    cable.held_from.store(heard as u64, Ordering::SeqCst);
    served.shop.say(ada, "newsletter", Given);
    until("it is told that somebody came", || answers() > heard);
    served.shop.say(ada, "newsletter", Withdrawn);
    served.settle();
    served.stop();
    // All is over and in force. Now the letter from before comes, and none after it.
    let asked = asks();
    cable.held_from.store(heard as u64 + 1, Ordering::SeqCst);
    let shown = || list(&view, subjects).unwrap();
    until("it is taken in", || asks() > asked || !shown().is_empty());
    assert_eq!(shown(), []);
}

/// A counter whose turns are taken by hand, and a device that writes its letters itself: nothing happens by itself.
struct ByHand {
    served: Served,
    counter: Counter,
    device: Arc<DeviceKeys>,
    session: SessionId,
    asked: u64,
    heard: u64,
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
    fn new(seed: u64) -> Self {
        let mut served = Served::new(seed);
        served.stop();
        served.shop.world.services.clock = Arc::clone(&served.shop.world.clock) as Arc<_>;
        let device = served.device("mailer 1", "mailer");
        let counter = served.counter();
        Self { served, counter, device, session: SessionId([0xff; 16]), asked: 0, heard: 0 }
    }

    /// A new life of the counter.
    fn reopen(&mut self) {
        self.counter = self.served.counter();
    }

    fn post(&mut self, needs: Vec<Need>) {
        let (key, letter) = self.next_ask(needs);
        self.served.shop.world.store.put_now(key, letter);
    }

    fn next_ask(&mut self, needs: Vec<Need>) -> (Key, Bytes) {
        let letter = self.letter(needs);
        let place = Letter { session: self.session.0, number: self.asked };
        self.asked += 1;
        (Key::Ask(place), letter.into())
    }

    /// Asks that lie in the store.
    fn waiting(&self) -> usize {
        let store = &self.served.shop.world.store;
        strongroom_store::now(store.list(Family::Ask, None)).unwrap().len()
    }

    fn ask(&mut self, needs: Vec<Need>) -> Answer {
        let number = self.asked;
        self.post(needs);
        loop {
            let answer = self.answer();
            if answer.to == Some(number) {
                return answer;
            }
        }
    }

    fn letter(&self, needs: Vec<Need>) -> Vec<u8> {
        let time = self.served.services().clock.now_ns();
        let outside = Outside { session: self.session, number: self.asked, incarnation: 0, time };
        let ask = Ask {
            application: "shop".into(),
            activity: "newsletter".into(),
            heard: self.heard,
            needs,
            opened: vec![],
            expects: self.heard,
        };
        let custodian = self.served.services().keys.device_id();
        let custodian = self.served.organisation.find(&custodian).unwrap();
        let (keys, body) = (&self.device, cbor::encode(&ask));
        letters::write(Direction::Ask, keys, custodian, &outside, &body, &MachineEntropy).unwrap()
    }

    /// The next answer, within a few turns.
    fn answer(&mut self) -> Answer {
        let place = Letter { session: self.session.0, number: self.heard };
        for _ in 0..4 {
            self.counter.turn().unwrap();
            if let Some(letter) = self.served.shop.world.store.get_now(Key::Answer(place)) {
                self.heard += 1;
                let custodian = self.served.services().keys.device_id();
                let custodian = self.served.organisation.find(&custodian).unwrap();
                let read = letters::read(Direction::Answer, &self.device, custodian, &letter);
                return cbor::decode_canonical(read.unwrap().1.expose()).unwrap();
            }
        }
        panic!("no answer comes");
    }

    /// Devices of which it is not known that all is in force there, after ten seconds.
    fn silent(&mut self) -> u64 {
        let (turns, clock) = (self.served.turns.clone(), self.served.services().clock);
        let turning = Turning(Mutex::new(&mut self.counter), clock);
        let Settled { silent } = turns.settle(&turning, Duration::from_secs(10));
        silent
    }
}

fn everybody() -> Vec<Need> {
    vec![Need::Page(Pseudonym([0; 16]))]
}

#[test]
fn whoever_may_list_alone_is_told_names_and_given_no_key() {
    let mut hand = ByHand::new(8);
    hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    assert_eq!(page.leases.len(), 2);
    for lease in &page.leases {
        assert_eq!((lease.action, lease.keys.len(), lease.files.len()), (1, 0, 1));
    }
    let (subject, class) = (page.leases[0].subject, page.leases[0].class);
    let read = hand.ask(vec![Need::Open(subject, class)]);
    let given: Vec<_> = read.leases.iter().map(|own| (own.action, own.keys.len())).collect();
    assert_eq!(given, [(2, 1)]);
    // A set that lets nobody open anything leaves names.
    let closed = r#"@id("closed") forbid (principal, action == Action::"open", resource);"#;
    let closed = format!("{}\n{closed}", strongroom_cedar::BUILT_IN);
    hand.served.shop.act(|shop| shop.propose_policies(&closed).map(drop).unwrap());
    let read = hand.ask(vec![Need::Open(subject, class), Need::Show(subject)]);
    let given: Vec<_> = read.leases.iter().map(|own| (own.action, own.keys.len())).collect();
    assert_eq!(given, [(1, 0), (1, 0)]);
}

#[test]
fn whoever_comes_later_is_told_by_a_hint_and_lent_when_asked_for() {
    let mut hand = ByHand::new(9);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.reader("bob");
    let hint = hand.answer();
    assert_eq!((hint.to, hint.leases.len(), hint.next), (None, 0, Some(Pseudonym([0; 16]))));
    hand.served.shop.reader("charlie");
    // Once is enough.
    let page = hand.ask(everybody());
    assert_eq!((page.leases.len(), page.next), (4, None));
    hand.served.shop.reader("eve");
    assert_eq!(hand.answer().next, Some(Pseudonym([0; 16])));
}

#[test]
fn what_an_earlier_life_lent_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(10);
    let [ada, bob] = ["ada", "bob"].map(|name| hand.served.shop.reader(name));
    hand.served.shop.say(bob, "newsletter", Refused);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.reopen();
    assert_eq!(hand.silent(), 0);
    // Nobody was lent anything of this one.
    hand.served.shop.say(bob, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 0);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
    // And not when it is long over.
    hand.reopen();
    hand.served.shop.say(ada, "newsletter", Given);
    assert_eq!(hand.silent(), 0);
}

#[test]
fn what_was_withdrawn_while_nobody_served_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(13);
    let ada = hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    hand.reopen();
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
}

#[test]
fn what_a_session_had_that_was_refused_is_waited_for_until_it_is_over() {
    let mut hand = ByHand::new(11);
    let ada = hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    let (subject, class) = (page.leases[0].subject, page.leases[0].class);
    let held = hand.served.shop.fence.take();
    let refused = hand.ask(vec![Need::Open(subject, class)]);
    assert_eq!(refused.refusal, Some(Refusal::Unavailable));
    drop(held);
    hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(hand.silent(), 1);
    hand.served.shop.world.clock.advance(Duration::from_secs(300));
    assert_eq!(hand.silent(), 0);
}

#[test]
fn asks_to_a_custodian_that_is_gone_keep_nobody_waiting_and_go_in_the_end() {
    let mut hand = ByHand::new(12);
    hand.served.shop.reader("ada");
    let gone = hand.served.device("mailer 2", "mailer");
    let gone = hand.served.organisation.find(&gone.device_id()).unwrap();
    let time = hand.served.services().clock.now_ns();
    let outside = Outside { session: SessionId([0; 16]), number: 0, incarnation: 0, time };
    let letter =
        letters::write(Direction::Ask, &hand.device, gone, &outside, b"", &MachineEntropy).unwrap();
    let store = Arc::clone(&hand.served.shop.world.store);
    for number in 0..300 {
        let place = Letter { session: [0; 16], number };
        store.put_now(Key::Ask(place), letter.clone().into());
    }
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let waiting = || strongroom_store::now(store.list(Family::Ask, None)).unwrap().len();
    assert_eq!(waiting(), 300, "another custodian may yet answer");
    hand.served.shop.world.clock.advance(Duration::from_secs(7200));
    for _ in 0..3 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(waiting(), 0);
}

#[test]
fn an_ask_of_a_device_nobody_has_heard_of_waits_until_somebody_has() {
    let mut hand = ByHand::new(14);
    hand.served.shop.reader("ada");
    let (device, record) = hand.served.applicant("mailer 2", "mailer");
    hand.device = device;
    hand.post(everybody());
    for _ in 0..3 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(hand.waiting(), 1);
    hand.served.record(record);
    assert_eq!(hand.answer().leases.len(), 2);
    assert_eq!(hand.waiting(), 0);
}

#[test]
fn asks_of_devices_nobody_has_heard_of_wait_for_a_while_and_never_many() {
    let mut hand = ByHand::new(15);
    hand.served.shop.reader("ada");
    let known = Arc::clone(&hand.device);
    hand.device = hand.served.applicant("mailer 2", "mailer").0;
    (0..400).for_each(|_| hand.post(everybody()));
    // Who is known is answered all the same.
    (hand.device, hand.session, hand.asked) = (known, SessionId([0xfe; 16]), 0);
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    hand.counter.turn().unwrap();
    assert_eq!(hand.waiting(), 256);
    hand.served.shop.world.clock.advance(Duration::from_secs(601));
    for _ in 0..2 {
        hand.counter.turn().unwrap();
    }
    assert_eq!(hand.waiting(), 0);
}

#[test]
fn a_device_that_is_taken_in_while_a_turn_looks_away_is_answered_in_that_turn() {
    let mut hand = ByHand::new(16);
    hand.served.shop.reader("ada");
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    let (device, record) = hand.served.applicant("mailer 2", "mailer");
    hand.device = device;
    let ask = hand.next_ask(everybody());
    let taken_in = Key::Organisation(hand.served.organisation.position() + 1);
    // After the turn has followed the organisation, and before it looks for asks.
    *cable.arrives.lock().unwrap() = vec![(taken_in, record.into()), ask];
    hand.counter.turn().unwrap();
    assert_eq!(hand.waiting(), 0);
    let first = Letter { session: hand.session.0, number: 0 };
    assert!(hand.served.shop.world.store.get_now(Key::Answer(first)).is_some());
}

#[test]
fn what_a_turn_learned_before_the_store_failed_is_heeded_in_the_next() {
    let mut hand = ByHand::new(17);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let device = Arc::clone(&hand.device);
    hand.served.revoke(&device);
    assert_eq!(hand.served.organisation.position(), 3);
    // What comes after the record that removes the device.
    hand.served.shop.world.store.fail_once(|key| *key == Key::Organisation(4));
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().gone.len(), 1);
}

#[test]
fn an_application_that_stops_is_shut_though_the_store_failed_meanwhile() {
    let mut hand = ByHand::new(18);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let mut list = hand.served.shop.world.stewardship();
    list.set_state("shop", ApplicationState::Disabled).unwrap();
    // The list was followed by then.
    hand.served.shop.world.store.fail_once(is_registers);
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().gone.len(), 1);
}

#[test]
fn an_ask_that_the_store_failed_under_is_answered_by_the_next_turn() {
    let mut hand = ByHand::new(19);
    assert_eq!(hand.ask(everybody()).leases.len(), 0);
    hand.post(vec![Need::Look]);
    // What was heard is taken away.
    hand.served.shop.world.store.fail_once(|key| matches!(key, Key::Answer(_)));
    assert!(hand.counter.turn().is_err());
    assert_eq!(hand.answer().to, Some(1));
}

#[test]
fn a_custodian_that_was_just_taken_in_is_found_by_who_has_not_heard_of_it() {
    let served = Served::new(20);
    let (keys, store) = (Arc::clone(&served.services().keys), &served.shop.world.store);
    let mut heard = served.organisation.clone();
    let place = (keys.organisation(), keys.workspace());
    let cost = PassphraseCost::WEAK_FOR_TESTS;
    let asked = request(place, PASSPHRASE, cost, 1_000, &MachineEntropy).unwrap();
    let applicant = Applicant::verify(&asked.request).unwrap();
    let (organisation, entropy) = (&served.organisation, &MachineEntropy);
    let writer = Writer { keys: &keys, organisation, time_ns: 1_000, entropy };
    let record = writer.admit(&applicant, "office").unwrap();
    let taken_in = Key::Organisation(organisation.position() + 1);
    store.put_now(taken_in, record.into());
    let office = device_file::unlock(&asked.device_file, PASSPHRASE).unwrap();
    let note = letters::write_counter(&office, 1, i64::MAX);
    store.put_now(Key::Counter(office.device_id()), note.into());
    let found = letters::newest_counter(&**store, &mut heard).unwrap().unwrap();
    assert_eq!(found.id(), office.device_id());
}

/// The machine's time, and what was made to pass besides.
struct Ahead(MachineClock, AtomicU64);

impl Clock for Ahead {
    fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed() + Duration::from_millis(self.1.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }
}

#[test]
fn a_custodian_that_did_not_answer_is_waited_for_less_the_next_time() {
    let mut served = Served::new(21);
    served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let clock = Arc::new(Ahead(MachineClock::new(), AtomicU64::new(0)));
    let by = Arc::clone(&clock) as Arc<dyn Clock>;
    let view = served.try_view_by(&device, &served.cable(), "newsletter", by).unwrap();
    let path = format!("{}/owned", only(&view));
    served.stop();
    let pass = |time: u64| clock.1.fetch_add(time, Ordering::SeqCst);
    // Leases are over.
    pass(400_000);
    let waited = || {
        let (view, path, began) = (view.clone(), path.clone(), clock.elapsed());
        let asked = std::thread::spawn(move || kind(look(&view, &path)));
        while !asked.is_finished() {
            pass(100);
            std::thread::sleep(POLL);
        }
        assert_eq!(asked.join().unwrap(), ErrorKind::Unavailable);
        clock.elapsed() - began
    };
    assert!(waited() >= Duration::from_secs(20));
    // A machine that is busy may notice late.
    assert!((0..5).any(|_| waited() < Duration::from_secs(12)));
}

#[test]
fn an_ask_on_its_way_when_another_was_refused_is_answered_under_a_number_of_its_own() {
    let mut hand = ByHand::new(22);
    hand.served.shop.reader("ada");
    let page = hand.ask(everybody());
    let read = Need::Open(page.leases[0].subject, page.leases[0].class);
    let held = hand.served.shop.fence.take();
    hand.post(vec![read.clone()]);
    hand.post(vec![read]);
    hand.counter.turn().unwrap();
    drop(held);
    let answers = [hand.answer(), hand.answer()];
    let refused = Some(Refusal::Unavailable);
    let told = answers.map(|answer| (answer.to, answer.refusal));
    assert_eq!(told, [(Some(1), refused), (Some(2), refused)]);
}

#[test]
fn a_device_that_has_read_further_than_a_new_life_knows_is_answered_where_it_looks() {
    let mut hand = ByHand::new(23);
    hand.served.shop.reader("ada");
    assert_eq!(hand.ask(everybody()).leases.len(), 2);
    let late = hand.next_ask(everybody());
    for name in ["bob", "charlie"] {
        hand.served.shop.reader(name);
        assert_eq!(hand.answer().to, None);
        assert!(hand.ask(everybody()).to.is_some());
    }
    // The life that follows finds an ask from before all that.
    hand.reopen();
    hand.served.shop.world.store.put_now(late.0, late.1);
    hand.counter.turn().unwrap();
    assert_eq!(hand.ask(everybody()).leases.len(), 6);
}
