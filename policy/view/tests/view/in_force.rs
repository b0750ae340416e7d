//! Whether what was recorded is in force in a view.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::ids::ActivityId;
use strongroom_records::subject::ConsentStatus::Withdrawn;
use strongroom_workspace::door::{Core, Ino};
use strongroom_workspace::error::ErrorKind;

use crate::common::world::point::Silence;
use crate::common::{FOLLOW, Shop, content, follow, kind, list, look, now};

use super::until;

/// Real time, and whether anybody has let some of it pass.
struct Watched {
    clock: MachineClock,
    has_slept: AtomicBool,
}

impl Clock for Watched {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.has_slept.store(true, Ordering::SeqCst);
        self.clock.sleep(time);
    }
}

#[test]
fn who_asks_whether_it_is_in_force_waits_for_nobody_who_reads() {
    let mut shop = Shop::new(33);
    let [ada, bob] = ["ada", "bob"].map(|name| shop.reader(name));
    let names = [ada, bob].map(|own| shop.act(|shop| shop.name_for(&own, "newsletter").unwrap()));
    let clock = Watched { clock: MachineClock::new(), has_slept: AtomicBool::new(false) };
    let clock = Arc::new(clock);
    let view = shop.view_by("newsletter", Arc::clone(&clock) as Arc<dyn Clock>);
    let [of_ada, of_bob] = names.map(|name| format!("subjects/{name}/owned/file"));
    assert_eq!(content(&view, &of_ada).unwrap(), b"ada owned");
    shop.say(ada, "newsletter", Withdrawn);
    // Somebody else writes, and whoever wants to read Bob's waits for that.
    let held = shop.fence.wait();
    clock.has_slept.store(false, Ordering::SeqCst);
    let reader = view.clone();
    let reading = std::thread::spawn(move || content(&reader, &of_bob));
    until(|| clock.has_slept.load(Ordering::SeqCst));
    follow(&view);
    assert!(!reading.is_finished(), "it is said at once");
    assert_eq!(kind(look(&view, &of_ada)), ErrorKind::NotFound);
    drop(held);
    assert_eq!(reading.join().unwrap().unwrap(), b"bob owned");
}

/// A store that does not answer holds up the desk: whoever asks whether all is in force hears that it is not known.
#[test]
fn a_view_that_cannot_follow_says_so_in_time_and_follows_again_later() {
    let mut shop = Shop::new(34);
    let ada = shop.reader("ada");
    let clock = Arc::new(MachineClock::new());
    let view = shop.view_by("newsletter", Arc::clone(&clock) as Arc<dyn Clock>);
    follow(&view);
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    shop.world.store.fail_once(move |_| {
        // Ends when the test lets go of it.
        let _ = answers.recv();
        false
    });
    let (asked, began) = (view.clone(), clock.elapsed());
    let limit = Duration::from_secs(60);
    let ask = move || now(asked.xattr(Ino::ROOT, FOLLOW));
    let told = strongroom_host::thread::within("asking", limit, ask).expect("an answer in time");
    assert_eq!(kind(told), ErrorKind::Unavailable);
    assert!(clock.elapsed() - began >= Duration::from_secs(5), "commands wait for five seconds");
    drop(answer);
    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    let folder = look(&view, "subjects").unwrap().ino;
    assert_eq!(list(&view, folder).unwrap(), []);
}

/// It is asked about whoever something is recorded of. What it does not say keeps nobody away for good, and nobody else at all.
#[test]
fn whom_a_point_of_somebody_elses_says_nothing_about_is_shut_and_seen_again_once_it_does() {
    let silence = Silence::default();
    let mut shop = Shop::over(silence.world(35));
    shop.act(|shop| shop.set_point(Some("http://127.0.0.1:1")).unwrap());
    let [ada, bob] = ["ada", "bob"].map(|name| shop.reader(name));
    let path = |shop: &mut Shop, subject| {
        let name = shop.act(|shop| shop.name_for(&subject, "newsletter").unwrap());
        format!("subjects/{name}/owned/file")
    };
    let [of_ada, of_bob] = [ada, bob].map(|own| path(&mut shop, own));
    let view = shop.view("newsletter");
    assert_eq!(content(&view, &of_ada).unwrap(), b"ada owned");
    assert_eq!(content(&view, &of_bob).unwrap(), b"bob owned");
    silence.begin(|request| request.activity != ActivityId::OWN);
    shop.put(ada, "owned", "second", b"ada again");
    follow(&view);
    assert_eq!(kind(look(&view, &of_ada)), ErrorKind::NotFound);
    assert_eq!(content(&view, &of_bob).unwrap(), b"bob owned");
    silence.end();
    // Nothing is recorded from here on.
    shop.world.clock.advance(Duration::from_secs(2));
    until(|| look(&view, &of_ada).is_ok());
    assert_eq!(content(&view, &of_ada).unwrap(), b"ada owned");
}
