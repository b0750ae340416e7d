//! A member whose calls do not return, as a folder of a server that is gone.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::ids::DeviceId;
use strongroom_host::thread::within;
use strongroom_remote::mirror::MirrorStore;
use strongroom_store::{Body, Key, Store, wait};

use super::common::machine;
use super::{Three, commits_and_lists, counter, object};

/// How long a member is waited for here. Others answer before, also where the machine is busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long a mirror may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

const DEVICE: Key = Key::Device(DeviceId([5; 16]));

/// Where calls of a member wait while it is shut.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    waiting_count: usize,
}

impl Gate {
    pub(super) fn pass(&self) {
        let mut state = self.state();
        state.waiting_count += 1;
        let mut state = self.changed.wait_while(state, |state| state.is_shut).unwrap();
        state.waiting_count -= 1;
    }

    fn is_shut(&self, is_shut: bool) {
        self.state().is_shut = is_shut;
        self.changed.notify_all();
    }

    fn waiting_count(&self) -> usize {
        self.state().waiting_count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Three members, the mirror of which waits for none of them for long.
fn three() -> Three {
    let mut three = Three::new();
    // One that is far says itself when it is silent.
    three.moods[2].is_far = false;
    let mirror = MirrorStore::with_answer_limit(three.moody(), &machine(), ANSWER_LIMIT);
    three.mirror = Arc::new(mirror.unwrap());
    three
}

/// Does something with a mirror that must not hang.
fn in_time<T: Send + 'static>(three: &Arc<Three>, act: fn(&Three) -> T) -> T {
    let three = three.clone();
    within("asks", PATIENCE, move || act(&three)).expect("the mirror does not hang")
}

#[test]
fn a_member_that_never_answers_stops_nothing() {
    for hanging in 0..3 {
        let three = Arc::new(three());
        three.put(object(1), b"there");
        three.moods[hanging].gate.is_shut(true);
        in_time(&three, |three| {
            assert!(three.mirror.space().is_some());
            three.mirror.will_read(object(1), 0..5);
            commits_and_lists(three);
            assert!(three.mirror.space().is_some());
        });
        assert_eq!(counter(&*three.mirror, "mirror_away"), 1, "{hanging} is left alone");
        assert!(!three.mirror.reaches_all());
        three.moods[hanging].gate.is_shut(false);
        in_time(&three, Three::healed);
        assert_eq!(three.holds(hanging, object(2)).unwrap(), &b"more"[..], "{hanging}");
    }
}

#[test]
fn few_threads_wait_for_a_member_that_never_answers_and_it_is_asked_for_nothing_more() {
    let three = Arc::new(three());
    three.put(object(1), b"there");
    // No answer was counted yet: all begin with the first.
    three.moods[0].gate.is_shut(true);
    in_time(&three, |three| {
        let asked: Vec<_> = (0..300).map(|_| three.mirror.get(object(1), None)).collect();
        asked.into_iter().for_each(|asked| assert_eq!(wait(asked).unwrap(), &b"there"[..]));
    });
    let waiting_count = three.moods[0].gate.waiting_count();
    assert!((1..=64).contains(&waiting_count), "{waiting_count} threads wait");
    in_time(&three, |three| {
        three.put(object(2), b"more");
        (0..100).for_each(|_| assert_eq!(three.get(object(1)), &b"there"[..]));
        three.mirror.heal();
    });
    assert_eq!(three.moods[0].gate.waiting_count(), waiting_count);
    three.moods[0].gate.is_shut(false);
}

#[test]
fn what_a_member_does_late_does_not_take_the_place_of_what_came_after_it() {
    let three = Arc::new(three());
    three.put(DEVICE, b"first");
    three.moods[1].gate.is_shut(true);
    in_time(&three, |three| {
        three.put(DEVICE, b"second");
        three.put(DEVICE, b"third");
        three.mirror.heal();
    });
    assert_eq!(three.moods[1].gate.waiting_count(), 1, "it may still do the first of them");
    three.moods[1].gate.is_shut(false);
    in_time(&three, Three::healed);
    for member in 0..3 {
        assert_eq!(three.holds(member, DEVICE).unwrap(), &b"third"[..], "{member}");
    }
    let put = wait(three.mirror.put(DEVICE, Body::Bytes(Bytes::from_static(b"fourth"))));
    put.unwrap();
    assert_eq!(three.get(DEVICE), &b"fourth"[..]);
}
