//! A view on a consumer's own device: it shows what a custodian elsewhere lends, lets go when it is told, and has nothing once
//! its leases are over, whatever the network does.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Shop, content, crawl, follow, kind, list, look, now, only, open, open_known, read};
use served::{POLL, Served, until};
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::exchange::OpenedFiles;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::Kind as Told;
use strongroom_records::subject::ConsentStatus::{Given, Refused, Withdrawn};
use strongroom_steward::{Custodian, Depth, ErrorKind as StewardKind, Holder, Roster};
use strongroom_store::Key;
use strongroom_view::View;
use strongroom_workspace::door::{Change, Core, Ino};
use strongroom_workspace::error::ErrorKind;

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
            office.holders(&ada, record).unwrap()
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
fn new_keys_disturb_nobody_who_reads_on_a_device() {
    let mut served = Served::new(12);
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let path = format!("{}/owned/file", only(&view));
    let (ino, handle) = (look(&view, &path).unwrap().ino, open(&view, &path).unwrap());
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    served
        .shop
        .act(|shop| shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).map(drop).unwrap());
    served.shop.act(|shop| shop.rotate_register(&mut |_| ()).map(drop).unwrap());
    served.settle();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned", "what is open");
    let again = open_known(&view, ino).unwrap();
    assert_eq!(read(&view, again).unwrap(), b"ada owned", "what was looked up before");
    assert_eq!(content(&view, &path).unwrap(), b"ada owned", "what is looked up now");
}

#[test]
fn what_the_kernel_has_of_a_file_whose_keys_are_new_is_dropped() {
    let mut served = Served::new(13);
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let news = view.changes().unwrap();
    let path = format!("{}/owned/file", only(&view));
    let (ino, handle) = (look(&view, &path).unwrap().ino, open(&view, &path).unwrap());
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    served
        .shop
        .act(|shop| shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).map(drop).unwrap());
    // No lease is held of it from here on whose end would have it dropped.
    until("the kernel is told", || {
        let is_it =
            |change| matches!(change, Change::Inode { ino: own, content: true } if own == ino);
        news.try_iter().any(is_it)
    });
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

/// Files that a device said it opened, of each person.
fn opened_of(shop: &mut Shop, people: &[SubjectId]) -> Vec<usize> {
    let opened = |shop: &mut Custodian, subject: &SubjectId| -> usize {
        let report = shop.report(subject).unwrap();
        let opened = report.lines.iter().filter(|line| line.entry.kind == Told::Opened);
        opened.filter_map(|line| line.detail.as_ref()).map(|detail| detail.files.len()).sum()
    };
    shop.act(|shop| people.iter().map(|subject| opened(shop, subject)).collect())
}

#[test]
fn whatever_is_opened_at_once_is_on_record_however_much_it_is() {
    let mut served = Served::new(30);
    served.stop();
    // More classes than one ask says of.
    let people: Vec<SubjectId> = (0..130).map(|_| served.shop.reader("somebody")).collect();
    for subject in &people {
        for class in ["identifiable", "owned"] {
            served.shop.put(*subject, class, "more", b"more");
        }
    }
    served.serve();
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let everybody = look(&view, "subjects").unwrap().ino;
    let folders: Vec<String> = list(&view, everybody)
        .unwrap()
        .into_iter()
        .flat_map(|(name, ..)| {
            ["identifiable", "owned"].map(|class| format!("subjects/{name}/{class}"))
        })
        .collect();
    assert_eq!(folders.len(), 260);
    for folder in &folders {
        view.release(open(&view, &format!("{folder}/file")).unwrap());
    }
    until("one of each is on record", || {
        opened_of(&mut served.shop, &people).iter().all(|count| *count == 2)
    });
    // All leases live: nobody is asked before the others are open as well.
    let inos: Vec<Ino> =
        folders.iter().map(|folder| look(&view, &format!("{folder}/more")).unwrap().ino).collect();
    for ino in inos {
        view.release(open_known(&view, ino).unwrap());
    }
    until("all is on record", || {
        opened_of(&mut served.shop, &people).iter().all(|count| *count == 4)
    });
}

#[test]
fn what_is_opened_again_and_again_under_one_lease_is_told_once() {
    let mut served = Served::new(36);
    let ada = served.shop.reader("ada");
    served.shop.put(ada, "owned", "more", b"more");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let folder = format!("{}/owned", only(&view));
    let touch = |name: &str| view.release(open(&view, &format!("{folder}/{name}")).unwrap());
    touch("file");
    until("it is on record", || opened_of(&mut served.shop, &[ada]) == [1]);
    (0..3).for_each(|_| touch("file"));
    // It is told with whatever was opened before it.
    touch("more");
    until("the other is on record", || opened_of(&mut served.shop, &[ada]) != [1]);
    assert_eq!(opened_of(&mut served.shop, &[ada]), [2]);
}

#[test]
fn what_stays_open_is_on_record_as_opened_under_each_lease_that_follows() {
    let mut served = Served::new(31);
    let ada = served.shop.reader("ada");
    served.shop.act(|shop| shop.set_lease(ClassId::OWNED, 2).unwrap());
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    // Whoever reads on what the kernel has in its pages asks nobody.
    let handle = open(&view, &format!("{}/owned/file", only(&view))).unwrap();
    until("it is on record for several leases", || opened_of(&mut served.shop, &[ada])[0] > 2);
    view.release(handle);
}

#[test]
fn what_was_opened_is_told_before_the_view_has_ended() {
    let mut served = Served::new(32);
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let path = format!("{}/owned/file", only(&view));
    let handle = open(&view, &path).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    served.stop();
    view.close().unwrap();
    // The process ends here. Nobody has held on to anything that could still say it.
    assert!(read(&view, handle).is_err());
    let mut counter = served.counter();
    counter.turn().unwrap();
    assert_eq!(opened_of(&mut served.shop, &[ada]), [1]);
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

/// The machine's time, and what was made to pass besides.
struct Ahead(MachineClock, AtomicU64);

impl Clock for Ahead {
    fn now_ns(&self) -> i64 {
        self.0.now_ns() + i64::try_from(self.1.load(Ordering::SeqCst)).unwrap() * 1_000_000
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
fn who_looked_at_nothing_for_long_sees_everybody_again() {
    let mut served = Served::new(33);
    served.stop();
    let clock = Arc::new(Ahead(MachineClock::new(), AtomicU64::new(0)));
    let by = Arc::clone(&clock) as Arc<dyn Clock>;
    served.shop.world.services.clock = Arc::clone(&by);
    served.serve();
    served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.try_view_by(&device, &served.cable(), "newsletter", by).unwrap();
    let path = format!("{}/owned/file", only(&view));
    assert_eq!(content(&view, &path).unwrap(), b"ada owned");
    // As a laptop that sleeps. The custodian has forgotten it when its turn is over.
    clock.1.fetch_add(1_000_000, Ordering::SeqCst);
    served.settle();
    assert_eq!(content(&view, &path).unwrap(), b"ada owned");
}

#[test]
fn a_custodian_that_others_keep_busy_takes_nothing_from_who_reads() {
    let mut served = Served::new(29);
    served.stop();
    let clock = Arc::new(Ahead(MachineClock::new(), AtomicU64::new(0)));
    served.shop.world.services.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    served.serve();
    let ada = served.shop.reader("ada");
    let device = served.device("mailer 1", "mailer");
    let view = served.view(&device);
    let path = |class: &str| format!("{}/{class}/file", only(&view));
    let handle = open(&view, &path("owned")).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    let other = path("identifiable");
    let held = served.shop.fence.wait();
    let asked = {
        let (view, other) = (view.clone(), other.clone());
        std::thread::spawn(move || content(&view, &other))
    };
    // The custodian's patience ends before the device's does.
    while !asked.is_finished() {
        clock.1.fetch_add(1000, Ordering::SeqCst);
        std::thread::sleep(POLL);
    }
    assert_eq!(kind(asked.join().unwrap()), ErrorKind::Unavailable);
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    drop(held);
    until("it is answered again", || content(&view, &other).is_ok());
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    served.shop.say(ada, "newsletter", Withdrawn);
    served.settle();
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
}
