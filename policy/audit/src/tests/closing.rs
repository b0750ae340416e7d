//! Where writers stand: positions never fall, who was removed is believed as far as somebody is known to have seen it, and a
//! record that closes a log changes nothing.

use strongroom_records::Signed;
use strongroom_records::ids::KeyId;
use strongroom_records::keystore::{NodePlace, Root};
use strongroom_records::log::MAGIC;

use super::*;

const ALICE: DeviceId = DeviceId([8; 16]);
const BOB: DeviceId = DeviceId([9; 16]);
/// Where bob was removed.
const REMOVAL: u64 = 5;

/// Who writes, and where they say that they stand.
struct Writer<'d> {
    desk: &'d Desk,
    device: DeviceId,
    position: u64,
}

/// Whether a reader has heard of the removal.
struct Reader<'d> {
    desk: &'d Desk,
    knows: bool,
}

fn stand(position: u64) -> Stand {
    Stand { position, head: Hash([u8::try_from(position).unwrap(); 32]) }
}

impl Signer for Writer<'_> {
    fn device(&self) -> DeviceId {
        self.device
    }
    fn stand(&self) -> Stand {
        stand(self.position)
    }
    fn sign_record(&self, header: &[u8]) -> [u8; 64] {
        self.desk.sign_record(header)
    }
    fn sign_head(&self, note: &str) -> Vec<u8> {
        self.desk.sign_head(note)
    }
}

impl Trust for Reader<'_> {
    fn author(&self, device: &DeviceId, at: &Stand) -> Result<Option<Author>> {
        let counts = [ALICE, BOB].contains(device)
            && !(*device == BOB && at.position >= REMOVAL)
            && *at == stand(at.position);
        let key = self.desk.device.verifying_key().clone();
        Ok(counts.then_some(Author { key, epoch: 1 }))
    }
    fn last_removal(&self) -> Option<u64> {
        self.knows.then_some(REMOVAL)
    }
    fn removed_at(&self, device: &DeviceId) -> Option<u64> {
        (self.knows && *device == BOB).then_some(REMOVAL)
    }
}

/// One record of each, on top of what is there.
fn write(store: &Arc<dyn Store>, desk: &Desk, records: &[(DeviceId, u64)]) -> Log {
    let unknowing = Reader { desk, knows: false };
    let mut log = Log::find(shelves(store), &unknowing, None).unwrap();
    for (device, position) in records {
        let writer = Writer { desk, device: *device, position: *position };
        log.append(desk, &writer, batch(1_000, vec![draft(None, b"")])).unwrap();
    }
    log
}

/// Puts a record behind the newest that is like it, but for a change; signed, and with a body that opens.
fn forge(store: &Arc<dyn Store>, desk: &Desk, seq: u64, change: impl FnOnce(&mut Header)) {
    let newest = get(store, Shelf::Log, u128::from(seq));
    let newest = Record::parse(&newest).unwrap();
    let mut sealed = desk.seal(seq + 1, &cbor_of_nothing()).unwrap();
    let mut header = newest.header.clone();
    (header.seq, header.parent) = (seq + 1, newest.signed.hash());
    header.body_hash = Hash(sha256(&sealed));
    change(&mut header);
    if header.is_closing() {
        sealed.clear();
    }
    let bytes = strongroom_format::cbor::encode(&header);
    let record = Signed::build(MAGIC, &bytes, &desk.sign_record(&bytes), &sealed);
    put(store, Shelf::Log, u128::from(seq + 1), record);
}

fn cbor_of_nothing() -> Vec<u8> {
    strongroom_format::cbor::encode(&strongroom_records::log::Body::default())
}

/// What the record behind the pinned one is taken for: by who opens the log, with the pin and without one, by who follows it
/// (who stands at the pin), and by who verifies all of it.
fn judged(store: &Arc<dyn Store>, desk: &Desk, pin: &Pin, knows: bool) -> [bool; 4] {
    let reader = Reader { desk, knows };
    let with = Log::find(shelves(store), &reader, Some(pin)).is_ok();
    let without = Log::find(shelves(store), &reader, None).is_ok();
    let key = key(Shelf::Log, u128::from(pin.seq) + 1);
    let next = strongroom_store::now(store.get(key, None)).unwrap();
    strongroom_store::now(store.delete(key)).unwrap();
    let mut following = Log::find(shelves(store), &reader, Some(pin)).unwrap();
    strongroom_store::now(store.put(key, Body::Bytes(next))).unwrap();
    let follows = following.advance(&reader, desk).is_ok();
    let trusting = Reader { desk, knows: false };
    let log = Log::find(shelves(store), &trusting, None);
    let report = log.map(|log| verify(&log, &reader, desk, None, &mut ()).unwrap());
    [with, without, follows, report.is_ok_and(|report| report.findings.is_empty())]
}

#[test]
fn positions_never_fall_along_a_log() {
    let (store, desk) = (store(), Desk::new());
    let pin = write(&store, &desk, &[(ALICE, 3), (ALICE, 4)]).pin().unwrap();
    forge(&store, &desk, 1, |header| header.stand = stand(4));
    assert_eq!(judged(&store, &desk, &pin, true), [true; 4], "the forger writes well");
    forge(&store, &desk, 1, |header| header.stand = stand(3));
    assert_eq!(judged(&store, &desk, &pin, true), [false; 4]);
    // Who has no pin and knows of no removal believes the newest record about what is before.
    assert_eq!(judged(&store, &desk, &pin, false), [false, true, false, false]);
    let reader = Reader { desk: &desk, knows: false };
    let mut log = Log::find(shelves(&store), &reader, None).unwrap();
    let writer = Writer { desk: &desk, device: ALICE, position: 2 };
    let error = log.append(&desk, &writer, batch(1_000, vec![])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn a_writer_counts_where_it_says_that_it_stood() {
    let (store, desk) = (store(), Desk::new());
    let pin = write(&store, &desk, &[(ALICE, 3)]).pin().unwrap();
    type Change = fn(&mut Header);
    let bad: [Change; 4] = [
        |header| (header.device, header.stand) = (BOB, stand(REMOVAL)),
        |header| header.stand.head = Hash([0; 32]),
        |header| header.device = DeviceId([1; 16]),
        |header| header.epoch = 1,
    ];
    for change in bad {
        forge(&store, &desk, 0, change);
        assert_eq!(judged(&store, &desk, &pin, false), [false; 4]);
    }
    forge(&store, &desk, 0, |header| (header.device, header.stand) = (BOB, stand(REMOVAL - 1)));
    assert_eq!(judged(&store, &desk, &pin, false), [true; 4]);
}

#[test]
fn what_a_removed_device_wrote_counts_once_it_was_seen_or_somebody_who_knew_built_upon_it() {
    let (store, desk) = (store(), Desk::new());
    let pin = write(&store, &desk, &[(ALICE, 3)]).pin().unwrap();
    let log = write(&store, &desk, &[(BOB, 3), (ALICE, 4)]);
    assert_eq!(judged(&store, &desk, &pin, false), [true; 4]);
    // Alice may not have known of the removal, so she is no witness.
    assert_eq!(judged(&store, &desk, &pin, true), [false, false, false, true]);
    let knowing = Reader { desk: &desk, knows: true };
    let seen = Log::find(shelves(&store), &knowing, log.pin().as_ref());
    // Who has seen it closes the log, and everybody takes it from then on; bob adds nothing.
    let writer = Writer { desk: &desk, device: ALICE, position: REMOVAL };
    seen.unwrap().close(&writer, 1, 2_000).unwrap();
    assert_eq!(judged(&store, &desk, &pin, true), [true; 4]);
    let closed = Log::find(shelves(&store), &knowing, None).unwrap();
    assert_eq!((closed.next_seq(), closed.newest_change().unwrap()), (4, Some(2)));
    let pin = closed.pin().unwrap();
    forge(&store, &desk, 3, |header| (header.device, header.stand) = (BOB, stand(4)));
    assert_eq!(judged(&store, &desk, &pin, true), [false; 4]);
}

#[test]
fn a_removed_device_is_not_believed_by_itself_after_what_was_seen() {
    let (store, desk) = (store(), Desk::new());
    let pin = write(&store, &desk, &[(ALICE, 3)]).pin().unwrap();
    write(&store, &desk, &[(BOB, 3), (BOB, 4)]);
    assert_eq!(judged(&store, &desk, &pin, true), [false, false, false, true]);
}

#[test]
fn a_closing_record_changes_nothing_and_rises() {
    let (store, desk) = (store(), Desk::new());
    let pin = write(&store, &desk, &[(ALICE, 3)]).pin().unwrap();
    let closing = |header: &mut Header| {
        (header.body_hash, header.stand) = (Hash(sha256(&[])), stand(6));
    };
    forge(&store, &desk, 0, closing);
    assert_eq!(judged(&store, &desk, &pin, true), [true; 4]);
    let root = Root {
        version: 1,
        generation: 1,
        provider: 1,
        key: KeyId([1; 16]),
        wrap: vec![1; 104],
        node: NodePlace { name: [1; 16], hash: Hash([1; 32]) },
        next_slot: 0,
    };
    let bad: [&dyn Fn(&mut Header); 5] = [
        &|header| header.stand = stand(3),
        &|header| header.keystore = Some(root.clone()),
        &|header| header.tree_size += 1,
        &|header| header.tree_root = Hash([1; 32]),
        &|header| header.head_signature = vec![0; 64],
    ];
    for (number, change) in bad.into_iter().enumerate() {
        forge(&store, &desk, 0, |header| {
            closing(header);
            change(header);
        });
        assert_eq!(judged(&store, &desk, &pin, true), [false; 4], "change {number}");
    }
    delete(&store, Shelf::Log, 1);
    // Nothing begins with one.
    let first = get(&store, Shelf::Log, 0);
    let mut header = Record::parse(&first).unwrap().header;
    closing(&mut header);
    let bytes = strongroom_format::cbor::encode(&header);
    let record = Signed::build(MAGIC, &bytes, &desk.sign_record(&bytes), &[]);
    put(&store, Shelf::Log, 0, record);
    let reader = Reader { desk: &desk, knows: true };
    assert!(Log::find(shelves(&store), &reader, None).is_err());
}
