//! What a consumer's device opened: on record whatever comes between the opening and the word of it, and once for each lease.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/by_hand.rs"]
mod by_hand;
mod common;
#[path = "common/served.rs"]
mod served;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use by_hand::{ByHand, everybody};
use bytes::Bytes;
use strongroom_records::exchange::{Lease, Need, OpenedFiles, Refusal};
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::Kind as Told;
use strongroom_records::subject::ConsentStatus::{Given, Refused, Withdrawn};
use strongroom_steward::{Counter, Fence, Fenced};
use strongroom_store::{Key, Store};

/// Somebody whose files a device was lent to read.
struct Reader {
    hand: ByHand,
    ada: SubjectId,
    leases: Vec<Lease>,
}

impl Reader {
    fn new(seed: u64) -> Self {
        let mut hand = ByHand::new(seed);
        let ada = hand.served.shop.reader("ada");
        assert_eq!(hand.ask(everybody()).leases.len(), 2);
        let mut reader = Self { hand, ada, leases: Vec::new() };
        reader.leases = reader.lend();
        reader
    }

    fn lend(&mut self) -> Vec<Lease> {
        let ada = self.ada;
        let opens = [ClassId::IDENTIFIABLE, ClassId::OWNED].map(|class| Need::Open(ada, class));
        let leases = self.hand.ask(opens.into()).leases;
        assert_eq!(leases.len(), 2);
        leases
    }

    /// The next letter says that the file of a class was opened.
    fn open(&mut self, place: usize) {
        let lease = &self.leases[place];
        let files = vec![lease.files[0].id];
        self.hand.opened.push(OpenedFiles { subject: self.ada, class: lease.class, files });
    }

    fn say(&mut self, needs: Vec<Need>) -> (Key, Bytes) {
        let (key, letter) = self.hand.next_ask(needs);
        self.put(&(key, letter.clone()));
        (key, letter)
    }

    fn put(&self, (key, letter): &(Key, Bytes)) {
        self.hand.served.shop.world.store.put_now(*key, letter.clone());
    }

    /// A new life of the counter, which writes behind a fence.
    fn reopen_behind(&mut self, fence: Fence) {
        let (served, custodian) = (&self.hand.served, self.hand.served.shop.world.open("shop"));
        let (list, turns) = (served.shop.world.stewardship(), served.turns.clone());
        let opened = Counter::open(served.services(), list, vec![custodian], fence, turns);
        self.hand.counter = opened.unwrap();
    }

    fn turn(&mut self) {
        self.hand.counter.turn().unwrap();
    }

    /// How often each class is on record as opened.
    fn told(&mut self) -> [usize; 2] {
        let ada = self.ada;
        let report = self.hand.served.shop.act(|shop| shop.report(&ada).unwrap());
        let opened = report.lines.iter().filter(|line| line.entry.kind == Told::Opened);
        let mut counts = [0; 2];
        for line in opened {
            let place = self.leases.iter().position(|own| Some(own.class) == line.entry.class);
            let place = place.unwrap();
            let files = &line.detail.as_ref().unwrap().files;
            assert_eq!(files, &[self.leases[place].files[0].id]);
            assert_eq!(line.entry.operator, self.hand.device.device_id());
            counts[place] += 1;
        }
        counts
    }
}

#[test]
fn what_a_device_opened_is_on_record_also_when_others_write_as_it_says_so_or_it_parts() {
    let mut reader = Reader::new(28);
    let held = reader.hand.served.shop.fence.take();
    reader.open(0);
    reader.say(vec![]);
    reader.turn();
    drop(held);
    assert_eq!(reader.told(), [0, 0]);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
    reader.open(1);
    reader.say(vec![Need::End]);
    reader.turn();
    assert_eq!(reader.told(), [1, 1]);
    assert_eq!(reader.hand.waiting(), 0);
}

#[test]
fn what_a_device_opened_is_on_record_though_it_was_taken_away_before_the_device_said_so() {
    let mut reader = Reader::new(40);
    let ada = reader.ada;
    reader.open(0);
    reader.hand.served.shop.say(ada, "newsletter", Withdrawn);
    assert_eq!(reader.hand.answer().gone.len(), 1);
    reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
    // Taken, given and taken again before the device has heard of any of it.
    reader.hand.served.shop.say(ada, "newsletter", Given);
    reader.open(1);
    reader.turn();
    reader.hand.served.shop.say(ada, "newsletter", Refused);
    reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [1, 1]);
}

#[test]
fn what_a_device_opened_is_on_record_though_the_custodian_began_anew_before_it_said_so() {
    let mut reader = Reader::new(41);
    reader.open(0);
    reader.hand.reopen();
    reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
}

#[test]
fn what_a_device_opened_is_on_record_though_the_custodian_ended_before_it_could_write_it_down() {
    let mut reader = Reader::new(42);
    let held = reader.hand.served.shop.fence.take();
    reader.open(0);
    reader.say(vec![]);
    reader.turn();
    reader.hand.reopen();
    drop(held);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
    assert_eq!(reader.hand.waiting(), 0);
}

#[test]
fn what_a_device_opened_is_on_record_though_its_session_was_refused_or_began_anew() {
    let mut reader = Reader::new(43);
    let held = reader.hand.served.shop.fence.take();
    reader.open(0);
    reader.say(vec![]);
    reader.turn();
    // It has heard answers that this life never gave: its session begins anew.
    reader.hand.heard += 1;
    reader.open(1);
    reader.say(vec![Need::Look]);
    reader.turn();
    drop(held);
    reader.turn();
    assert_eq!(reader.told(), [1, 1]);
    // Nobody may ask for this any more.
    let device = reader.hand.device.clone();
    reader.hand.served.revoke(&device);
    reader.open(0);
    reader.say(vec![Need::Look]);
    reader.hand.reopen();
    reader.turn();
    assert_eq!(reader.told(), [1, 1], "on record once for each lease");
    reader.turn();
    assert_eq!(reader.hand.waiting(), 0);
}

#[test]
fn what_a_removed_device_opened_before_is_on_record_though_the_custodian_began_anew() {
    let mut reader = Reader::new(44);
    let device = reader.hand.device.clone();
    reader.hand.served.revoke(&device);
    reader.hand.reopen();
    reader.open(1);
    reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [0, 1]);
}

#[test]
fn what_a_device_opened_is_on_record_though_nobody_served_for_long() {
    let mut reader = Reader::new(45);
    reader.open(0);
    reader.say(vec![]);
    reader.hand.served.shop.world.clock.advance(Duration::from_secs(7200));
    reader.hand.reopen();
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
}

#[test]
fn what_a_device_opened_is_on_record_though_a_later_letter_was_seen_first() {
    let mut reader = Reader::new(46);
    reader.open(0);
    let late = reader.hand.next_ask(vec![]);
    assert!(reader.hand.ask(vec![Need::Look]).refusal.is_none());
    reader.put(&late);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
}

#[test]
fn what_a_device_says_again_is_on_record_once_for_each_lease() {
    let mut reader = Reader::new(47);
    reader.open(0);
    let letter = reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
    // The store brings it again, to this life of the custodian and to the next.
    for _ in 0..2 {
        reader.put(&letter);
        reader.turn();
        reader.hand.reopen();
    }
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
    assert_eq!(reader.hand.waiting(), 0);
    reader.hand.begin_view();
    assert_eq!(reader.hand.ask(everybody()).leases.len(), 2);
    reader.leases = reader.lend();
    reader.open(0);
    reader.say(vec![]);
    reader.turn();
    assert_eq!(reader.told(), [2, 0]);
}

#[test]
fn nothing_is_on_record_as_opened_of_what_was_never_lent() {
    let mut reader = Reader::new(48);
    let shop = &mut reader.hand.served.shop;
    let [bob, charlie] = ["bob", "charlie"].map(|name| shop.reader(name));
    shop.say(charlie, "newsletter", Refused);
    // The one is shown and not read, the other is not even shown.
    let device = reader.hand.device.device_id();
    let hint = reader.hand.answer();
    assert!(hint.next.is_some());
    assert_eq!(reader.hand.ask(everybody()).leases.len(), 2);
    reader.hand.reopen();
    for subject in [bob, charlie, SubjectId([7; 16])] {
        let files = vec![FileId([1; 16])];
        reader.hand.opened.push(OpenedFiles { subject, class: ClassId::OWNED, files });
    }
    reader.say(vec![]);
    reader.turn();
    for subject in [bob, charlie] {
        let report = reader.hand.served.shop.act(|shop| shop.report(&subject).unwrap());
        let opened = |line: &strongroom_steward::ReportLine| {
            line.entry.kind == Told::Opened && line.entry.operator == device
        };
        assert!(!report.lines.iter().any(opened));
    }
    assert_eq!(reader.hand.waiting(), 0);
}

#[test]
fn who_says_what_was_opened_and_asks_is_answered_though_others_write_before_it_is_on_record() {
    let mut reader = Reader::new(49);
    reader.open(0);
    let held = reader.hand.served.shop.fence.take();
    let answer = reader.hand.ask(vec![Need::Look]);
    assert!(answer.refusal.is_none());
    assert_eq!(reader.hand.waiting(), 1, "the letter stays until it is on record");
    let ada = reader.ada;
    reader.open(1);
    let refused = reader.hand.ask(vec![Need::Open(ada, ClassId::OWNED)]);
    assert_eq!(refused.refusal, Some(Refusal::Unavailable));
    drop(held);
    reader.turn();
    assert_eq!(reader.told(), [1, 1]);
    assert_eq!(reader.hand.waiting(), 0);
    // Each was answered once.
    let place =
        strongroom_store::Letter { session: reader.hand.session.0, number: reader.hand.heard };
    assert!(reader.hand.served.shop.world.store.get_now(Key::Answer(place)).is_none());
}

#[test]
fn others_may_write_between_two_words_of_what_was_opened() {
    let mut reader = Reader::new(60);
    let raised = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&raised);
    reader.reopen_behind(Fence::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(()))
    }));
    for place in [0, 1] {
        reader.open(place);
        reader.say(vec![]);
    }
    reader.turn();
    assert_eq!(raised.load(Ordering::SeqCst), 2);
    assert_eq!(reader.told(), [1, 1]);
    assert_eq!(reader.hand.waiting(), 0);
}

#[test]
fn an_act_waits_for_one_record_of_what_was_opened_and_not_for_all_that_there_is() {
    let mut hand = ByHand::new(63);
    let people: Vec<_> = (0..40).map(|_| hand.served.shop.reader("somebody")).collect();
    let cable = hand.served.cable();
    hand.served.shop.world.services.store = Arc::clone(&cable) as Arc<dyn Store>;
    hand.reopen();
    assert_eq!(hand.ask(everybody()).leases.len(), 80);
    let classes = [ClassId::IDENTIFIABLE, ClassId::OWNED];
    let opens = people.iter().flat_map(|subject| classes.map(|class| Need::Open(*subject, class)));
    let leases = hand.ask(opens.collect()).leases;
    assert_eq!(leases.len(), 80);
    let opened = |lease: &Lease| {
        let files = vec![lease.files[0].id];
        OpenedFiles { subject: lease.subject, class: lease.class, files }
    };
    hand.opened = leases.iter().map(opened).collect();
    hand.post(vec![]);
    let records = |hand: &mut ByHand| hand.served.shop.act(|shop| shop.record_count());
    let before = records(&mut hand);
    let act = hand.act_at_a_record(&cable);
    hand.counter.turn().unwrap();
    assert!(act.lock().unwrap().is_some());
    assert_eq!((records(&mut hand) - before, hand.waiting()), (1, 1));
    // That turn began before the act: the next one answers it, and goes on.
    hand.counter.turn().unwrap();
    assert_eq!(records(&mut hand) - before, 3);
    for subject in people {
        let report = hand.served.shop.act(|shop| shop.report(&subject).unwrap());
        let told = report.lines.iter().filter(|line| line.entry.kind == Told::Opened);
        assert_eq!(told.count(), 2);
    }
    assert_eq!(hand.waiting(), 0);
}

/// A fence before which somebody else always waits: it is raised in turn alone.
fn crowded() -> Fence {
    Fence::with_line(|| None, || Box::new(|| Some(Box::new(()) as Fenced)))
}

#[test]
fn what_a_device_opened_is_on_record_within_seconds_though_others_always_wait_to_write() {
    let mut reader = Reader::new(61);
    reader.reopen_behind(crowded());
    reader.open(0);
    reader.say(vec![]);
    reader.turn();
    reader.hand.served.shop.world.clock.advance(Duration::from_millis(1500));
    reader.turn();
    assert_eq!(reader.told(), [0, 0], "who waits for an act goes first");
    reader.hand.served.shop.world.clock.advance(Duration::from_millis(1000));
    reader.turn();
    assert_eq!(reader.told(), [1, 0]);
}

#[test]
fn what_a_device_let_go_of_is_on_record_within_seconds_though_others_always_wait_to_write() {
    let mut hand = ByHand::new(62);
    let ada = hand.served.shop.reader("ada");
    let mut reader = Reader { hand, ada, leases: Vec::new() };
    reader.reopen_behind(crowded());
    assert_eq!(reader.hand.ask(everybody()).leases.len(), 2);
    let record = reader.hand.served.shop.act(|shop| shop.record_count());
    assert_eq!(reader.hand.let_go(ada).let_go, None, "who waits for an act goes first");
    reader.hand.served.shop.world.clock.advance(Duration::from_millis(2500));
    reader.turn();
    let [holder] = reader.hand.served.shop.world.open("shop").holders(&ada, record).unwrap()[..]
    else {
        panic!("one device")
    };
    assert!(holder.let_go.is_some());
}
