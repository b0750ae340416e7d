//! Files about several people: with all of them or with nobody, whatever happens to one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::point::Silence;
use common::{World, Written, answer, by, kind, own, registered};
use serde_json::Value;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::log::{Kind, Outcome};
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{
    Carry, Custodian, Depth, ErrorKind, Result, report_line_json, verify_receipt,
};
use strongroom_store::{Key, Shelf};

const TEXT: &[u8] = b"ada sells bob 17 roses";
const DAY: Duration = Duration::from_secs(86_400);

fn put(
    shop: &mut Custodian,
    subject: SubjectId,
    others: &[SubjectId],
    name: &str,
    text: &[u8],
) -> Result<()> {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    shop.put_file_about(&own(subject, "owned"), &others, name, text).map(drop)
}

/// A shop with a contract of ada and bob, and an order of each alone.
fn shop(world: &World) -> (Custodian, [SubjectId; 3]) {
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable", "owned"]);
    let people = [0; 3].map(|_| shop.create_subject(&[]).unwrap());
    for subject in people {
        shop.put_file(&own(subject, "owned"), "order.txt", subject.to_string().as_bytes()).unwrap();
    }
    let [ada, bob, _] = people;
    put(&mut shop, ada, &[bob], "contract.txt", TEXT).unwrap();
    (shop, people)
}

fn read(shop: &mut Custodian, subject: SubjectId, name: &str) -> Result<Vec<u8>> {
    shop.read_file(&own(subject, "owned"), name)
}

fn names(shop: &mut Custodian, subject: SubjectId) -> Vec<String> {
    shop.files(&own(subject, "owned")).unwrap().into_iter().map(|line| line.name).collect()
}

fn is_whole(shop: &mut Custodian) -> bool {
    shop.verify().unwrap().findings.is_empty()
}

/// Every object of the application that is in the store.
fn objects(world: &World) -> Vec<FileId> {
    let of = |key: &Key| match key {
        Key::Policy(key) if key.shelf == Shelf::Object => Some(FileId(key.name.to_be_bytes())),
        _ => None,
    };
    world.store.live().keys().filter_map(of).collect()
}

#[test]
fn a_file_about_several_people_is_with_each_of_them_under_one_key() {
    let world = World::new(1);
    let (mut shop, [ada, bob, charlie]) = shop(&world);
    assert_eq!(objects(&world).len(), 4);
    for (subject, other) in [(ada, bob), (bob, ada)] {
        assert_eq!(read(&mut shop, subject, "contract.txt").unwrap(), TEXT);
        let lines = shop.files(&own(subject, "owned")).unwrap();
        let lines: Vec<_> = lines.iter().map(|line| (&*line.name, line.with.clone())).collect();
        assert_eq!(lines, [("contract.txt", vec![other.to_string()]), ("order.txt", vec![])]);
    }
    assert_eq!(kind(read(&mut shop, charlie, "contract.txt")), ErrorKind::NotFound);
    // Written again by either it is the same file; a name that is taken otherwise is refused.
    put(&mut shop, bob, &[ada], "contract.txt", b"18 roses").unwrap();
    assert_eq!(read(&mut shop, ada, "contract.txt").unwrap(), b"18 roses");
    assert_eq!(objects(&world).len(), 4);
    let others: [(&[SubjectId], &str, ErrorKind); 5] = [
        (&[charlie], "contract.txt", ErrorKind::Exists),
        (&[bob], "order.txt", ErrorKind::Exists),
        (&[bob, bob], "two.txt", ErrorKind::Invalid),
        (&[ada], "two.txt", ErrorKind::Invalid),
        (&[SubjectId([9; 16])], "two.txt", ErrorKind::Denied),
    ];
    for (others, name, refused) in others {
        assert_eq!(kind(put(&mut shop, ada, others, name, TEXT)), refused, "{name} {others:?}");
    }
    let alone = shop.put_file(&own(bob, "owned"), "contract.txt", TEXT);
    assert_eq!(kind(alone), ErrorKind::Exists);
    let renamed = shop.rename_file(&own(bob, "owned"), "order.txt", "contract.txt");
    assert_eq!(kind(renamed), ErrorKind::Exists);
    put(&mut shop, ada, &[bob, charlie], "all.txt", TEXT).unwrap();
    assert_eq!(read(&mut shop, charlie, "all.txt").unwrap(), TEXT);
    drop(shop);
    let mut shop = world.open("shop");
    assert!(is_whole(&mut shop));
    // Whoever removes it removes it for all.
    shop.remove_file(&own(bob, "owned"), "contract.txt").unwrap();
    assert_eq!(names(&mut shop, ada), ["all.txt", "order.txt"]);
    assert_eq!(kind(read(&mut shop, ada, "contract.txt")), ErrorKind::NotFound);
    assert_eq!(objects(&world).len(), 4);
    assert!(is_whole(&mut shop));
}

#[test]
fn a_job_has_a_file_about_several_people_only_if_all_of_them_agreed() {
    let world = World::new(2);
    let (mut shop, [ada, bob, _]) = shop(&world);
    let name = shop.name_for(&ada, "newsletter").unwrap();
    let ask = by("newsletter", name, "owned");
    let given = answer("newsletter", ConsentStatus::Given);
    shop.answer(&ada, &given).unwrap();
    let expect = |shop: &mut Custodian, is_there: bool| {
        let lines = shop.files(&ask).unwrap();
        assert_eq!(lines.iter().any(|line| line.name == "contract.txt"), is_there);
        match shop.read_file(&ask, "contract.txt") {
            Ok(bytes) => assert!(is_there && bytes == TEXT),
            // As of a file that never was.
            Err(error) => {
                let nothing = shop.read_file(&ask, "nothing.txt").unwrap_err();
                assert!(!is_there);
                assert_eq!(
                    (error.kind(), error.to_string()),
                    (nothing.kind(), nothing.to_string())
                );
            }
        }
        assert!(shop.read_file(&ask, "order.txt").is_ok());
    };
    expect(&mut shop, false);
    let only = strongroom_steward::Answer { classes: vec!["identifiable".into()], ..given.clone() };
    shop.answer(&bob, &only).unwrap();
    expect(&mut shop, false);
    shop.answer(&bob, &given).unwrap();
    expect(&mut shop, true);
    // By the names that the job has for them.
    let bobs = shop.name_for(&bob, "newsletter").unwrap().to_string();
    let line = shop.files(&ask).unwrap().into_iter().find(|line| line.name == "contract.txt");
    assert_eq!(line.unwrap().with, [bobs]);
    shop.answer(&bob, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    expect(&mut shop, false);
    shop.answer(&bob, &given).unwrap();
    expect(&mut shop, true);
    shop.restrict(&bob, true).unwrap();
    expect(&mut shop, false);
    // Views show what is of one person alone.
    shop.restrict(&bob, false).unwrap();
    let rules = shop.rules("newsletter").unwrap();
    let wanted = strongroom_steward::Wanted {
        subject: ada,
        class: shop.class("owned").unwrap(),
        action: strongroom_authorizer::Action::Open,
        files: vec![],
    };
    let grant = shop.lend(&rules, &[wanted]).unwrap().remove(0).unwrap();
    let open = shop.release(&grant).unwrap();
    assert_eq!(open.files().iter().map(|file| &*file.name).collect::<Vec<_>>(), ["order.txt"]);
}

#[test]
fn who_read_a_file_about_several_people_stands_in_the_report_of_each() {
    let world = World::new(3);
    let (mut shop, [ada, bob, charlie]) = shop(&world);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let name = shop.name_for(&ada, "newsletter").unwrap();
    let before = shop.report(&charlie).unwrap().last_number;
    let _ = shop.read_file(&by("newsletter", name, "owned"), "contract.txt");
    // Why it was refused stands with whom it was refused for.
    let refused = |shop: &mut Custodian, subject| {
        let report = shop.report(subject).unwrap();
        let last = report.lines.last().unwrap().entry.judgement.clone().unwrap();
        last.outcome == Outcome::Deny
    };
    assert!(refused(&mut shop, &bob) && !refused(&mut shop, &ada));
    shop.answer(&bob, &answer("newsletter", ConsentStatus::Given)).unwrap();
    shop.read_file(&by("newsletter", name, "owned"), "contract.txt").unwrap();
    for subject in [ada, bob] {
        let report = shop.report(&subject).unwrap();
        assert!(report.holds());
        let names = shop.file_names(&subject).unwrap();
        let last: Vec<Value> =
            report.lines.iter().rev().take(2).map(|line| report_line_json(line, &names)).collect();
        let said = |line: &Value| (line["files"].clone(), line["activity"].clone());
        let expected = (Value::from(vec!["owned/contract.txt"]), Value::from("newsletter"));
        assert_eq!(said(&last[0]), expected);
        assert_eq!(report.lines.last().unwrap().entry.kind, Kind::Opened);
    }
    assert_eq!(shop.report(&charlie).unwrap().last_number, before);
}

#[test]
fn an_export_has_what_is_about_others_as_well_with_their_ids_alone() {
    let world = World::new(4);
    let (mut shop, [ada, bob, _]) = shop(&world);
    shop.restrict(&bob, true).unwrap();
    let before = shop.report(&bob).unwrap().last_number;
    let mut written = Written::default();
    let exported = shop.export(&ada, &mut written).unwrap();
    assert_eq!(exported.deed.files, 2);
    let files = written.0.iter().filter(|(path, _)| path.starts_with("data/files/"));
    let files: Vec<_> = files.map(|(path, bytes)| (&**path, bytes.as_slice())).collect();
    let order = ada.to_string();
    let expected =
        [("data/files/owned/order.txt", order.as_bytes()), ("data/files/owned/contract.txt", TEXT)];
    assert_eq!(files, expected);
    let about = &written.0.iter().find(|(path, _)| path == "data/subject.json").unwrap().1;
    let about: Value = serde_json::from_slice(about).unwrap();
    assert_eq!(about["files"][1]["with"], Value::from(vec![bob.to_string()]));
    assert!(about["files"][0]["with"].is_null());
    // It is on record with bob, too.
    let report = shop.report(&bob).unwrap();
    assert_eq!(report.last_number, before + 1);
    assert_eq!(report.lines.last().unwrap().detail.as_ref().unwrap().files.len(), 1);
}

#[test]
fn an_export_leaves_nothing_out_because_a_decision_point_is_silent() {
    let silence = Silence::default();
    let world = silence.world(40);
    let (mut shop, [ada, bob, _]) = shop(&world);
    shop.set_point(Some("http://127.0.0.1:1")).unwrap();
    silence.begin(move |request| request.subject == bob);
    let mut export = shop.begin_export(&ada).unwrap();
    let mut written = Written::default();
    let refused = loop {
        match shop.go_on(&mut export, &mut written) {
            Ok(exported) => assert!(exported.is_none(), "it is done"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(kind(read(&mut shop, ada, "contract.txt")), ErrorKind::Unavailable);
    // It goes on with the same piece once the point answers.
    silence.end();
    while shop.go_on(&mut export, &mut written).unwrap().is_none() {}
    let files = written.0.iter().filter_map(|(path, _)| path.strip_prefix("data/files/"));
    assert_eq!(files.collect::<Vec<_>>(), ["owned/order.txt", "owned/contract.txt"]);
}

/// What is left after ada's erasure, however it went.
fn expect_parted(world: &World, shop: &mut Custodian, [ada, bob, charlie]: [SubjectId; 3]) {
    assert_eq!(shop.subject(&ada).unwrap().state, SubjectState::Erased);
    assert_eq!(names(shop, bob), ["bobs.txt", "order.txt"]);
    assert_eq!(names(shop, charlie), ["bobs.txt", "order.txt"]);
    assert_eq!(kind(read(shop, bob, "contract.txt")), ErrorKind::NotFound);
    assert_eq!(read(shop, charlie, "bobs.txt").unwrap(), TEXT);
    assert_eq!(objects(world).len(), 3);
    assert!(is_whole(shop));
}

/// The machine dies at every single change; the same call goes on.
#[test]
fn erasing_one_closes_it_for_all_and_the_receipt_says_so_wherever_it_was_interrupted() {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { 7 };
    for calls in (0..300).step_by(stride) {
        let world = World::new(5);
        let (mut shop, people) = shop(&world);
        let [ada, bob, charlie] = people;
        put(&mut shop, ada, &[bob, charlie], "all.txt", TEXT).unwrap();
        put(&mut shop, bob, &[charlie], "bobs.txt", TEXT).unwrap();
        world.store.die_after(Some(calls));
        let is_through = shop.erase(&ada).is_ok();
        world.store.die_after(None);
        drop(shop);
        let mut shop = world.open("shop");
        assert!(is_whole(&mut shop), "after {calls} changes");
        let erased = shop.erase(&ada).unwrap();
        let receipt = verify_receipt(&erased.receipt, &world.services.organisation.now()).unwrap();
        assert_eq!(erased.deed.joint_files, 2);
        assert!(erased.deed.statement.contains("2 files that were about others as well"));
        assert_eq!(erased.deed.objects_left, 0);
        assert_eq!(receipt.deed, strongroom_records::receipt::Deed::Erasure(Box::new(erased.deed)));
        expect_parted(&world, &mut shop, people);
        // Bob and charlie read of it in their own reports.
        for subject in [bob, charlie] {
            let report = shop.report(&subject).unwrap();
            let gone = report.lines.iter().filter(|line| line.entry.kind == Kind::Removed);
            assert_eq!(gone.count(), 1);
        }
        if is_through {
            assert!(calls > 20, "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}

#[test]
fn a_hold_on_one_keeps_what_is_about_the_others_as_well() {
    let world = World::new(6);
    let (mut shop, [ada, bob, _]) = shop(&world);
    shop.set_retention("owned", Some(10)).unwrap();
    let owned = shop.class("owned").unwrap();
    shop.place_hold_on(&bob, "litigation", Some(owned)).unwrap();
    assert_eq!(kind(shop.erase(&ada)), ErrorKind::Held);
    assert_eq!(kind(shop.remove_file(&own(ada, "owned"), "contract.txt")), ErrorKind::Held);
    assert_eq!(kind(put(&mut shop, ada, &[bob], "contract.txt", b"18 roses")), ErrorKind::Held);
    world.clock.advance(11 * DAY);
    shop.retire(Carry::Out).unwrap();
    assert_eq!(names(&mut shop, ada), ["contract.txt"]);
    assert_eq!(read(&mut shop, bob, "contract.txt").unwrap(), TEXT);
    shop.lift_hold(&bob, "litigation").unwrap();
    let counted = shop.retire(Carry::Dry).unwrap();
    assert_eq!(counted.files, 2);
    assert_eq!(shop.retire(Carry::Out).unwrap().files, counted.files);
    assert!(names(&mut shop, ada).is_empty() && names(&mut shop, bob).is_empty());
    assert!(objects(&world).is_empty() && is_whole(&mut shop));
}

#[test]
fn new_keys_of_one_are_new_shares_for_all() {
    let world = World::new(7);
    let (mut shop, [ada, bob, _]) = shop(&world);
    let before = objects(&world);
    let rotated = shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap();
    assert_eq!(rotated.deed.files, 2);
    let after = objects(&world);
    assert_eq!(before.iter().filter(|object| after.contains(object)).count(), 2);
    assert_eq!(after.len(), before.len());
    shop.rotate_everybody(Depth::Deep, &mut |_| ()).unwrap();
    shop.rotate_subject(&bob, Depth::Shallow, None, &mut |_| ()).unwrap();
    for subject in [ada, bob] {
        assert_eq!(read(&mut shop, subject, "contract.txt").unwrap(), TEXT);
    }
    assert!(is_whole(&mut shop));
}

#[test]
fn a_file_about_several_people_is_still_about_them_when_one_is_merged() {
    let world = World::new(8);
    let (mut shop, [ada, bob, twin]) = shop(&world);
    put(&mut shop, twin, &[bob], "contract.txt", b"a second one").unwrap_err();
    put(&mut shop, twin, &[bob], "lease.txt", b"a house").unwrap();
    put(&mut shop, twin, &[ada], "twins.txt", b"one and the same").unwrap();
    put(&mut shop, twin, &[ada, bob], "all.txt", b"three, or two").unwrap();
    put(&mut shop, bob, &[twin], "loan.txt", b"money").unwrap();
    shop.merge_subjects(&ada, &twin).unwrap();
    let expected = [
        "all.txt",
        "contract.txt",
        "lease.txt",
        "loan.txt",
        "order (2).txt",
        "order.txt",
        "twins.txt",
    ];
    assert_eq!(names(&mut shop, ada), expected);
    for (name, text) in
        [("lease.txt", &b"a house"[..]), ("all.txt", b"three, or two"), ("loan.txt", b"money")]
    {
        assert_eq!(read(&mut shop, ada, name).unwrap(), text);
        assert_eq!(read(&mut shop, bob, name).unwrap(), text);
    }
    let line = shop.files(&own(bob, "owned")).unwrap();
    assert!(line.iter().all(|line| line.name == "order.txt" || line.with == [ada.to_string()]));
    // What was about the two alone is the one's own.
    assert_eq!(read(&mut shop, ada, "twins.txt").unwrap(), b"one and the same");
    let line = shop.files(&own(ada, "owned")).unwrap();
    assert!(line.iter().find(|line| line.name == "twins.txt").unwrap().with.is_empty());
    assert!(is_whole(&mut shop));
    assert_eq!(shop.erase(&bob).unwrap().deed.joint_files, 4);
    assert_eq!(names(&mut shop, ada), ["order (2).txt", "order.txt", "twins.txt"]);
}

/// The machine dies at every single change of something long; the same call goes on, and the file is whole at every moment.
#[test]
fn new_keys_retention_and_merges_leave_it_whole_wherever_they_are_interrupted() {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { 9 };
    type Long = fn(&mut Custodian, [SubjectId; 3]) -> Result<()>;
    let all: [(Long, bool); 3] = [
        (
            |shop, [ada, ..]| shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).map(drop),
            true,
        ),
        (|shop, [ada, _, twin]| shop.merge_subjects(&twin, &ada).map(drop), true),
        (|shop, _| shop.retire(Carry::Out).map(drop), false),
    ];
    for (number, (long, stays)) in all.into_iter().enumerate() {
        let mut is_through = false;
        for calls in (0..300).step_by(stride) {
            let world = World::new(10);
            let (mut shop, people) = shop(&world);
            let [_, bob, _] = people;
            shop.set_retention("owned", Some(10)).unwrap();
            world.clock.advance(11 * DAY);
            world.store.die_after(Some(calls));
            is_through = long(&mut shop, people).is_ok();
            world.store.die_after(None);
            drop(shop);
            let mut shop = world.open("shop");
            assert!(is_whole(&mut shop), "{number} after {calls} changes");
            if stays {
                assert_eq!(read(&mut shop, bob, "contract.txt").unwrap(), TEXT);
            }
            long(&mut shop, people).unwrap();
            let read = read(&mut shop, bob, "contract.txt").ok();
            assert_eq!(read, stays.then(|| TEXT.to_vec()));
            assert!(is_whole(&mut shop), "{number} in the end");
            if is_through {
                break;
            }
        }
        assert!(is_through, "{number} never gets through");
    }
}

#[test]
fn damage_to_a_file_about_several_people_is_told() {
    let world = World::new(9);
    let (mut shop, [ada, bob, _]) = shop(&world);
    let alone = objects(&world);
    put(&mut shop, ada, &[bob], "second.txt", TEXT).unwrap();
    let object = *objects(&world).iter().find(|object| !alone.contains(object)).unwrap();
    let key = *world.store.live().keys().find(
        |key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Object && key.name.to_be_bytes() == object.0),
    ).unwrap();
    let mut bytes = world.store.get_now(key).unwrap().to_vec();
    bytes[70] ^= 1;
    world.store.put_now(key, bytes.into());
    let findings = shop.verify().unwrap().findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].file, Some(object));
    assert_eq!(kind(read(&mut shop, ada, "second.txt")), ErrorKind::Corrupt);
}
