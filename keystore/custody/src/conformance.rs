//! What every kind of custody must do. Called by the tests of each with a way to open the same custody again.

use std::sync::Arc;

use strongroom_crypto::secret::Secret;
use strongroom_format::ids::OrganisationId;
use strongroom_host::sim::SimEntropy;
use strongroom_records::ids::{ApplicationId, KeyId};

use crate::{Custody, Ending, ErrorKind, KeyPlace, Result};

/// Opens the custody under test, as a new process would.
pub type Open<'a> = &'a dyn Fn() -> Box<dyn Custody>;

/// A key of a test.
pub fn place(application: u8, key: u8) -> KeyPlace {
    KeyPlace {
        organisation: OrganisationId([7; 32]),
        application: ApplicationId([application; 16]),
        generation: u64::from(key),
        key: KeyId([key; 16]),
    }
}

/// Chance of a test.
pub fn seeded(seed: u64) -> SimEntropy {
    SimEntropy::new(seed)
}

/// Panics at the first thing that is not as it must be.
///
/// # Panics
/// If the custody does not conform.
pub fn conformance(open: Open<'_>) {
    what_was_wrapped_unwraps_also_after_a_restart(open);
    every_part_of_the_place_is_bound(open);
    every_changed_byte_of_a_wrap_is_refused(open);
    wraps_of_one_key_differ(open);
    a_key_that_is_not_there_is_told(open);
    a_destroyed_key_opens_nothing(open);
    applications_do_not_meet(open);
    many_at_once_are_served(open);
}

/// Custody that is disabled or away says so, and never that a key is gone: receipts stand on that difference.
///
/// # Panics
/// If it does not.
pub fn out_of_reach(custody: &dyn Custody, away: &dyn Fn(bool)) {
    let own = place(7, 9);
    custody.create(&own, &seeded(30)).expect("a key");
    let wrap = custody.wrap(&own, &secret(9), &seeded(31)).expect("a wrap");
    away(true);
    let is_told = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Denied);
    assert!(is_told(kind_of(custody.unwrap(&own, &wrap))));
    assert!(is_told(kind_of(custody.wrap(&own, &secret(9), &seeded(32)))));
    assert!(is_told(kind_of(custody.create(&place(7, 10), &seeded(33)))));
    assert!(is_told(kind_of(custody.destroy(&own.application, &own.key))));
    assert!(is_told(kind_of(custody.list(&own.application))));
    away(false);
    assert!(custody.unwrap(&own, &wrap).expect("the key") == secret(9));
    assert_eq!(custody.list(&own.application).expect("a list"), [own.key]);
}

fn secret(seed: u8) -> Secret<32> {
    Secret::from_bytes(&[seed; 32])
}

fn kind_of<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn what_was_wrapped_unwraps_also_after_a_restart(open: Open<'_>) {
    let custody = open();
    custody.create(&place(1, 1), &seeded(1)).expect("a key");
    let wrap = custody.wrap(&place(1, 1), &secret(9), &seeded(2)).expect("a wrap");
    assert!(custody.unwrap(&place(1, 1), &wrap).expect("the key") == secret(9));
    drop(custody);
    assert!(open().unwrap(&place(1, 1), &wrap).expect("the key") == secret(9));
}

fn every_part_of_the_place_is_bound(open: Open<'_>) {
    let custody = open();
    let right = place(1, 2);
    custody.create(&right, &seeded(3)).expect("a key");
    custody.create(&place(2, 2), &seeded(4)).expect("a key of the same id, another application");
    custody.create(&place(1, 3), &seeded(5)).expect("another key");
    let wrap = custody.wrap(&right, &secret(9), &seeded(6)).expect("a wrap");
    for wrong in [
        KeyPlace { organisation: OrganisationId([8; 32]), ..right },
        KeyPlace { application: ApplicationId([2; 16]), ..right },
        KeyPlace { generation: 99, ..right },
        KeyPlace { key: KeyId([3; 16]), ..right },
    ] {
        assert_eq!(kind_of(custody.unwrap(&wrong, &wrap)), ErrorKind::Corrupt, "{wrong:?}");
    }
}

fn every_changed_byte_of_a_wrap_is_refused(open: Open<'_>) {
    let custody = open();
    custody.create(&place(1, 4), &seeded(7)).expect("a key");
    let wrap = custody.wrap(&place(1, 4), &secret(9), &seeded(8)).expect("a wrap");
    for at in 0..wrap.len() {
        let mut bad = wrap.clone();
        bad[at] ^= 1;
        assert_eq!(kind_of(custody.unwrap(&place(1, 4), &bad)), ErrorKind::Corrupt, "byte {at}");
        assert_eq!(kind_of(custody.unwrap(&place(1, 4), &wrap[..at])), ErrorKind::Corrupt);
    }
}

fn wraps_of_one_key_differ(open: Open<'_>) {
    let custody = open();
    custody.create(&place(1, 5), &seeded(9)).expect("a key");
    let entropy = seeded(10);
    let first = custody.wrap(&place(1, 5), &secret(9), &entropy).expect("a wrap");
    let second = custody.wrap(&place(1, 5), &secret(9), &entropy).expect("a wrap");
    assert!(first != second);
}

/// Kinds that keep a list know what is missing; to a handed secret every id is a key.
fn keeps_a_list(custody: &dyn Custody) -> bool {
    custody.describe().ending != Ending::NotOurs
}

fn a_key_that_is_not_there_is_told(open: Open<'_>) {
    let custody = open();
    let absent = custody.wrap(&place(1, 200), &secret(9), &seeded(11));
    if keeps_a_list(&*custody) {
        assert_eq!(kind_of(absent), ErrorKind::NotFound);
        let wrap = [0; 104];
        assert_eq!(kind_of(custody.unwrap(&place(1, 200), &wrap)), ErrorKind::NotFound);
        assert_eq!(kind_of(custody.create(&place(1, 1), &seeded(12))), ErrorKind::Exists);
    }
}

fn a_destroyed_key_opens_nothing(open: Open<'_>) {
    let custody = open();
    let own = place(3, 6);
    custody.create(&own, &seeded(13)).expect("a key");
    let wrap = custody.wrap(&own, &secret(9), &seeded(14)).expect("a wrap");
    if keeps_a_list(&*custody) {
        assert_eq!(custody.list(&own.application).expect("a list"), [own.key]);
    }
    custody.destroy(&own.application, &own.key).expect("an end");
    custody.destroy(&own.application, &own.key).expect("an end that is repeated");
    if keeps_a_list(&*custody) {
        assert_eq!(kind_of(custody.unwrap(&own, &wrap)), ErrorKind::NotFound);
        assert_eq!(kind_of(open().unwrap(&own, &wrap)), ErrorKind::NotFound);
        assert!(custody.list(&own.application).expect("a list").is_empty());
        // A new key of the same id is another key.
        custody.create(&own, &seeded(15)).expect("a key");
        assert_eq!(kind_of(custody.unwrap(&own, &wrap)), ErrorKind::Corrupt);
    } else {
        // What it declares is what it does: nobody here can end it.
        assert!(custody.unwrap(&own, &wrap).is_ok());
    }
}

fn applications_do_not_meet(open: Open<'_>) {
    let custody = open();
    custody.create(&place(4, 7), &seeded(16)).expect("a key");
    custody.create(&place(5, 7), &seeded(17)).expect("a key");
    custody.destroy(&place(4, 7).application, &place(4, 7).key).expect("an end");
    let wrap = custody.wrap(&place(5, 7), &secret(9), &seeded(18)).expect("a wrap");
    assert!(custody.unwrap(&place(5, 7), &wrap).expect("the key") == secret(9));
}

fn many_at_once_are_served(open: Open<'_>) {
    let custody: Arc<dyn Custody> = Arc::from(open());
    custody.create(&place(6, 8), &seeded(19)).expect("a key");
    let running: Vec<_> = (0..4_u64)
        .map(|seed| {
            let custody = Arc::clone(&custody);
            let work = move || {
                let entropy = seeded(20 + seed);
                for _ in 0..20 {
                    let wrap = custody.wrap(&place(6, 8), &secret(9), &entropy).expect("a wrap");
                    assert!(custody.unwrap(&place(6, 8), &wrap).expect("the key") == secret(9));
                }
            };
            strongroom_host::thread::spawn("custody", work).expect("a thread")
        })
        .collect();
    running.into_iter().for_each(|thread| thread.join().expect("no panic"));
}
