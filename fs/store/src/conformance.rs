//! What every store must do. Called by the tests of each implementor with an empty store.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::ids::{DeviceId, ObjectId};
use strongroom_host::thread::spawn;

use crate::{Body, ErrorKind, Family, Key, LIST_COUNT_MAX, Later, Put, Result, Store};

/// Makes a future ready; stores that are not ready at once bring their own runtime's.
pub type Wait = fn(Later<'_, ()>) -> Result<()>;

/// Panics at the first thing that is not as it must be.
///
/// # Panics
/// If the store does not conform.
pub fn conformance(store: &Arc<dyn Store>, wait: Wait) {
    conformance_with_one_writer(store, wait);
    one_put_if_absent_wins(&Tested { store: Arc::clone(store), wait });
}

/// The same for a store that cannot arbitrate between several writers: nobody races.
///
/// # Panics
/// If the store does not conform.
pub fn conformance_with_one_writer(store: &Arc<dyn Store>, wait: Wait) {
    let store = Tested { store: Arc::clone(store), wait };
    put_if_absent_keeps_what_is_there(&store);
    missing_things_are_not_found(&store);
    what_was_put_comes_back(&store);
    ranges_are_exact(&store);
    reading_ahead_ends_where_the_thing_ends(&store);
    objects_never_change(&store);
    other_things_are_replaced(&store);
    deleting_is_repeatable(&store);
    listings_are_sorted_and_paged(&store);
    many_are_put_at_once(&store);
}

#[derive(Clone)]
struct Tested {
    store: Arc<dyn Store>,
    wait: Wait,
}

impl Tested {
    fn run<T: Send>(&self, later: Later<'_, T>) -> Result<T> {
        let mut answer = None;
        (self.wait)(Box::pin(async {
            answer = Some(later.await);
            Ok(())
        }))?;
        answer.expect("the future was run to its end")
    }

    fn put(&self, key: Key, bytes: &[u8]) -> Result<crate::Uploaded> {
        self.run(self.store.put(key, Body::Bytes(Bytes::copy_from_slice(bytes))))
    }

    fn get(&self, key: Key) -> Result<Bytes> {
        self.run(self.store.get(key, None))
    }

    fn kind<T>(result: Result<T>) -> ErrorKind {
        result.err().expect("an error").kind()
    }
}

fn object(seed: u8) -> Key {
    Key::Object(ObjectId([seed; 16]))
}

fn missing_things_are_not_found(tested: &Tested) {
    for key in [Key::Workspace, Key::Log(7), object(1), Key::Checkpoint(1)] {
        assert_eq!(Tested::kind(tested.get(key)), ErrorKind::NotFound);
        let later = tested.store.get(key, Some(0..1));
        assert_eq!(Tested::kind(tested.run(later)), ErrorKind::NotFound);
    }
}

fn what_was_put_comes_back(tested: &Tested) {
    let keys = [
        Key::Workspace,
        Key::Organisation(0),
        Key::Device(DeviceId([5; 16])),
        Key::Log(u64::MAX),
        object(2),
        Key::Checkpoint(3),
    ];
    for (key, len) in keys.into_iter().zip([0, 1, 100, 4096, 3_000_000, 17]) {
        let bytes = vec![len.to_string().as_bytes()[0]; len];
        let uploaded = tested.put(key, &bytes).expect("a put");
        assert_eq!((uploaded.key(), uploaded.len()), (key, len as u64));
        assert!(tested.get(key).expect("what was put") == bytes);
    }
}

fn ranges_are_exact(tested: &Tested) {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    tested.put(object(3), &bytes).expect("a put");
    for (start, end) in [(0, 70_000), (0, 0), (255, 256), (65_536, 70_000), (70_000, 70_000)] {
        let got = tested.run(tested.store.get(object(3), Some(start..end))).expect("a range");
        let expected = usize::try_from(start).expect("small")..usize::try_from(end).expect("small");
        assert!(got == bytes[expected], "{start} to {end}");
    }
    for (start, end) in [(0, 70_001), (69_999, 80_000), (70_001, 70_002), (0, 1 << 40)] {
        let later = tested.store.get(object(3), Some(start..end));
        assert_eq!(Tested::kind(tested.run(later)), ErrorKind::Corrupt, "{start} to {end}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let later = tested.store.get(object(3), Some(5..4));
    assert_eq!(Tested::kind(tested.run(later)), ErrorKind::Invalid);
}

fn reading_ahead_ends_where_the_thing_ends(tested: &Tested) {
    let bytes = tested.get(object(3)).expect("what was put");
    for (start, end, there) in [
        (0, 70_000, 0..70_000),
        (1000, 2000, 1000..2000),
        (60_000, 70_001, 60_000..70_000),
        (5, 8 << 20, 5..70_000),
        (70_000, 70_001, 0..0),
        (1 << 20, 2 << 20, 0..0),
    ] {
        let got = tested.run(tested.store.read_ahead(object(3), start..end)).expect("a range");
        assert!(got == bytes[there], "{start} to {end}: {} bytes", got.len());
    }
    let later = tested.store.read_ahead(object(9), 0..10);
    assert_eq!(Tested::kind(tested.run(later)), ErrorKind::NotFound);
}

fn objects_never_change(tested: &Tested) {
    tested.put(object(4), b"first").expect("a put");
    tested.put(object(4), b"other").expect("a second put of the same length");
    assert_eq!(tested.get(object(4)).expect("the object"), &b"first"[..]);
    assert_eq!(Tested::kind(tested.put(object(4), b"longer one")), ErrorKind::Corrupt);
    assert_eq!(tested.get(object(4)).expect("the object"), &b"first"[..]);
}

fn other_things_are_replaced(tested: &Tested) {
    let key = Key::Device(DeviceId([6; 16]));
    tested.put(key, b"an old passphrase").expect("a put");
    tested.put(key, b"a new one").expect("a replacement");
    assert_eq!(tested.get(key).expect("the file"), &b"a new one"[..]);
}

fn put_if_absent_keeps_what_is_there(tested: &Tested) {
    let put =
        |bytes| tested.run(tested.store.put_if_absent(Key::Log(1), Bytes::from_static(bytes)));
    assert!(matches!(put(b"first").expect("an answer"), Put::Created(_)));
    assert_eq!(put(b"other").expect("an answer"), Put::Exists);
    assert_eq!(tested.get(Key::Log(1)).expect("the first"), &b"first"[..]);
}

fn one_put_if_absent_wins(tested: &Tested) {
    for seq in 100..120 {
        let race = |name: u8| {
            let tested = tested.clone();
            let work = move || {
                let bytes = Bytes::from(vec![name; 1000]);
                tested.run(tested.store.put_if_absent(Key::Log(seq), bytes)).expect("an answer")
            };
            spawn("race", work).expect("a thread")
        };
        let threads: Vec<_> = (0..4).map(race).collect();
        let puts: Vec<Put> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
        let winners: Vec<usize> =
            (0..4).filter(|index| matches!(puts[*index], Put::Created(_))).collect();
        assert_eq!(winners.len(), 1, "{puts:?}");
        let stored = tested.get(Key::Log(seq)).expect("the winner's bytes");
        assert!(stored.len() == 1000 && stored.iter().all(|b| usize::from(*b) == winners[0]));
    }
    let later = tested.store.put_if_absent(Key::Log(100), Bytes::from_static(b"late"));
    assert_eq!(tested.run(later).expect("an answer"), Put::Exists);
}

fn deleting_is_repeatable(tested: &Tested) {
    tested.put(object(7), b"x").expect("a put");
    tested.get(object(7)).expect("the object");
    for _ in 0..2 {
        tested.run(tested.store.delete(object(7))).expect("a delete");
        assert_eq!(Tested::kind(tested.get(object(7))), ErrorKind::NotFound);
    }
    tested.put(object(7), b"yz").expect("a put after a delete");
    assert_eq!(tested.get(object(7)).expect("the object"), &b"yz"[..]);
}

fn listings_are_sorted_and_paged(tested: &Tested) {
    let count = LIST_COUNT_MAX as u64 + 5;
    for seq in 1000..1000 + count {
        tested.put(Key::Checkpoint(seq), &[1; 3]).expect("a put");
    }
    let page = |after| {
        tested.run(tested.store.list(Family::Checkpoint, after)).expect("a page").into_iter()
    };
    let first: Vec<_> = page(Some(Key::Checkpoint(999))).collect();
    assert_eq!(first.len(), LIST_COUNT_MAX);
    assert!(first.iter().map(|l| l.key).eq((1000..2000).map(Key::Checkpoint)));
    assert!(first.iter().all(|listed| listed.len == 3));
    assert!(page(Some(Key::Checkpoint(1999))).map(|l| l.key).eq((2000..2005).map(Key::Checkpoint)));
    assert_eq!(page(Some(Key::Checkpoint(2004))).count(), 0);
    // After a key that is not there.
    assert_eq!(
        page(Some(Key::Checkpoint(2002))).next().map(|l| l.key),
        Some(Key::Checkpoint(2003))
    );
    let objects = tested.run(tested.store.list(Family::Object, None)).expect("objects");
    let keys: Vec<Key> = objects.iter().map(|listed| listed.key).collect();
    assert_eq!(keys, [object(2), object(3), object(4), object(7)]);
    let rest = tested.run(tested.store.list(Family::Object, Some(object(3)))).expect("objects");
    assert_eq!(rest.iter().map(|l| l.len).collect::<Vec<_>>(), [5, 2]);
    let wrong = tested.run(tested.store.list(Family::Object, Some(Key::Log(1))));
    assert_eq!(Tested::kind(wrong), ErrorKind::Invalid);
}

fn many_are_put_at_once(tested: &Tested) {
    let bodies: Vec<(Key, Body)> =
        (20..28).map(|seed| (object(seed), Body::Bytes(Bytes::from(vec![seed; 100])))).collect();
    let uploaded = tested.run(tested.store.put_many(bodies)).expect("a put of many");
    assert!(uploaded.iter().map(|u| u.key()).eq((20..28).map(object)));
    for seed in 20..28 {
        assert_eq!(tested.get(object(seed)).expect("an object"), vec![seed; 100]);
    }
}
