//! An export that is made piece by piece, while others write.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{World, Written, answer, kind, own, registered};
use serde_json::Value;
use strongroom_crypto::hash::sha256;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::receipt::Deed;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Answer, Custodian, ErrorKind, Export, Exported, verify_receipt};

const LEN: usize = 5 << 20;

/// A person with photos of these names.
fn person(shop: &mut Custodian, names: &[&str]) -> SubjectId {
    let ada = shop.create_subject(&[]).unwrap();
    for name in names {
        shop.put_file(&own(ada, "owned"), name, &vec![name.as_bytes()[0]; LEN]).unwrap();
    }
    ada
}

/// An export of somebody that has two files so far.
fn with_two_files(shop: &mut Custodian, subject: &SubjectId) -> (Export, Written) {
    let (mut export, mut written) = (shop.begin_export(subject).unwrap(), Written::default());
    while written.0.len() < 2 {
        assert!(shop.go_on(&mut export, &mut written).unwrap().is_none());
    }
    (export, written)
}

fn brought_to_an_end(shop: &mut Custodian, export: &mut Export, written: &mut Written) -> Exported {
    loop {
        if let Some(exported) = shop.go_on(export, written).unwrap() {
            return exported;
        }
    }
}

fn entries(shop: &mut Custodian, subject: &SubjectId, kind: Kind) -> usize {
    let report = shop.report(subject).unwrap();
    report.lines.iter().filter(|line| line.entry.kind == kind).count()
}

#[test]
fn an_export_in_pieces_has_each_file_once_and_decides_anew() {
    let world = World::new(1);
    let mut shop = world.create("shop");
    let ada = person(&mut shop, &["a", "b", "c", "e"]);
    let (mut export, mut written) = with_two_files(&mut shop, &ada);
    let owned = own(ada, "owned");
    shop.put_file(&owned, "a", b"too late").unwrap();
    shop.put_file(&owned, "d", b"in time").unwrap();
    shop.remove_file(&owned, "e").unwrap();
    let before = entries(&mut shop, &ada, Kind::Access);
    world.clock.advance(Duration::from_secs(24 * 3600));
    // Opened anew, as where an agent met somebody else's record.
    let mut shop = world.open("shop");
    let exported = brought_to_an_end(&mut shop, &mut export, &mut written);
    assert_eq!(entries(&mut shop, &ada, Kind::Access), before + 1);
    let files: Vec<&str> =
        written.0.iter().filter_map(|(path, _)| path.strip_prefix("data/files/")).collect();
    assert_eq!(files, ["owned/a", "owned/b", "owned/c", "owned/d"]);
    assert_eq!((written.0[0].1.len(), written.0[3].1.as_slice()), (LEN, &b"in time"[..]));
    let find = |name: &str| &written.0.iter().find(|(path, _)| path == name).unwrap().1;
    let manifest = find("manifest-sha256.txt");
    assert_eq!(exported.deed.manifest, Hash(sha256(manifest)));
    assert_eq!((exported.deed.files, exported.deed.bytes), (4, 3 * LEN as u64 + 7));
    let lines: Vec<String> = written
        .0
        .iter()
        .filter(|(path, _)| path.starts_with("data/"))
        .map(|(path, bytes)| format!("{}  {path}", Hash(sha256(bytes))))
        .collect();
    assert_eq!(String::from_utf8_lossy(manifest).lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_file_is_in_an_export_once_whatever_it_is_called_before_or_after() {
    let world = World::new(5);
    let mut shop = world.create("shop");
    let ada = person(&mut shop, &["a", "b", "c", "e"]);
    let (mut export, mut written) = with_two_files(&mut shop, &ada);
    let owned = own(ada, "owned");
    // One that is still to come, to before those that are done; one that is done, to after them; and another under its name.
    shop.rename_file(&owned, "c", "0").unwrap();
    shop.rename_file(&owned, "a", "z").unwrap();
    shop.put_file(&owned, "a", b"another").unwrap();
    let exported = brought_to_an_end(&mut shop, &mut export, &mut written);
    let files = written.0.iter().filter_map(|(path, bytes)| {
        Some((path.strip_prefix("data/files/owned/")?, bytes.first().copied().unwrap()))
    });
    let files: Vec<(&str, u8)> = files.collect();
    // The fourth is the other one's first letter.
    assert_eq!(files, [("a", b'a'), ("b", b'b'), ("0", b'c'), ("a (2)", b'a'), ("e", b'e')]);
    assert_eq!((exported.deed.files, exported.deed.bytes), (5, 4 * LEN as u64 + 7));
}

#[test]
fn a_file_that_takes_the_name_of_one_that_is_in_an_export_is_in_it_as_well() {
    let world = World::new(6);
    let mut shop = world.create("shop");
    let ada = person(&mut shop, &["a", "b", "c", "e"]);
    let (mut export, mut written) = with_two_files(&mut shop, &ada);
    let owned = own(ada, "owned");
    // In its place, and after it was removed.
    shop.rename_file(&owned, "c", "a").unwrap();
    shop.remove_file(&owned, "b").unwrap();
    shop.rename_file(&owned, "e", "b").unwrap();
    let exported = brought_to_an_end(&mut shop, &mut export, &mut written);
    let files = written.0.iter().filter_map(|(path, bytes)| {
        Some((path.strip_prefix("data/files/owned/")?, bytes.first().copied().unwrap()))
    });
    let files: Vec<(&str, u8)> = files.collect();
    assert_eq!(files, [("a", b'a'), ("b", b'b'), ("a (2)", b'c'), ("b (2)", b'e')]);
    assert_eq!(exported.deed.files, 4);
}

#[test]
fn who_is_erased_after_any_piece_has_no_further_one() {
    let world = World::new(2);
    let mut shop = world.create("shop");
    for last in ["data/files/owned/a", "bag-info.txt"] {
        let ada = person(&mut shop, &["a"]);
        let (mut export, mut written) = (shop.begin_export(&ada).unwrap(), Written::default());
        while written.0.last().is_none_or(|(path, _)| path != last) {
            assert!(shop.go_on(&mut export, &mut written).unwrap().is_none());
        }
        shop.erase(&ada).unwrap();
        assert_eq!(kind(shop.go_on(&mut export, &mut written)), ErrorKind::Denied);
        assert_eq!(written.0.last().unwrap().0, last);
        assert_eq!(entries(&mut shop, &ada, Kind::Export), 0);
    }
}

/// A custodian that leaves out the newest entries has signed so: the next package, or the log, has what it left out.
#[test]
fn the_receipt_of_an_export_says_which_entry_is_the_last() {
    let world = World::new(3);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "order.txt", b"17 roses").unwrap();
    let mut written = Written::default();
    let exported = shop.export(&ada, &mut written).unwrap();
    let find = |name: &str| &written.0.iter().find(|(path, _)| path == name).unwrap().1;
    let organisation = world.services.organisation.now();
    let receipt = verify_receipt(find("receipt.cbor"), &organisation).unwrap();
    assert_eq!(receipt.deed, Deed::Export(exported.deed.clone()));

    let proofs: Value = serde_json::from_slice(find("data/proofs/entries.json")).unwrap();
    let shown = proofs["entries"].as_array().unwrap();
    let last = shown.last().unwrap();
    assert!(shown.len() > 2);
    assert_eq!(last["number"], Value::from(exported.deed.entries));
    assert_eq!(last["sha256"], Value::from(exported.deed.last_entry.to_string()));
    assert_eq!(exported.deed.entries, shown.len() as u64);
    // The tree has the same with the entry of the export itself.
    let report = shop.report(&ada).unwrap();
    let (before, own) = (&report.lines[shown.len() - 1], &report.lines[shown.len()]);
    assert_eq!(exported.deed.last_entry, Hash(sha256(&before.leaf)));
    let about = own.entry.about.as_ref().unwrap();
    assert_eq!((own.entry.kind, own.entry.object), (Kind::Export, Some(exported.deed.manifest)));
    assert_eq!(
        (about.number, about.previous),
        (exported.deed.entries + 1, exported.deed.last_entry)
    );
    assert!(own.index >= proofs["tree_size"].as_u64().unwrap());
}

/// Whoever has to show that somebody agreed finds what that rests on again, byte for byte.
#[test]
fn the_evidence_of_an_answer_is_in_the_history_and_in_an_export() {
    let world = World::new(4);
    let mut shop = world.create("shop");
    let ada = shop.create_subject(&[]).unwrap();
    registered(&mut shop, "newsletter", Basis::Consent, &["owned"]);
    let say = |shop: &mut Custodian, status, evidence: &[u8]| {
        let said = Answer { evidence: evidence.to_vec(), ..answer("newsletter", status) };
        shop.answer(&ada, &said).unwrap();
    };
    say(&mut shop, ConsentStatus::Given, b"{ \"box\": \"ticked\" }\xff");
    say(&mut shop, ConsentStatus::Withdrawn, b"");
    let mut written = Written::default();
    shop.export(&ada, &mut written).unwrap();
    let evidence = written.0.iter().filter(|(path, _)| path.starts_with("data/evidence/"));
    let [(path, bytes)] = &evidence.collect::<Vec<_>>()[..] else { panic!("one") };
    assert_eq!(bytes, b"{ \"box\": \"ticked\" }\xff");
    let read = |name: &str| {
        let found = written.0.iter().find(|(path, _)| path == name).unwrap();
        String::from_utf8(found.1.clone()).unwrap()
    };
    let report: Value = serde_json::from_str(&read("data/access-report.json")).unwrap();
    let line = report.as_array().unwrap().iter().find(|line| line["consent"] == "given").unwrap();
    assert_eq!(*path, format!("data/evidence/{}", line["number"]));
    let hash = Hash(sha256(b"{ \"box\": \"ticked\" }\xff")).to_string();
    assert!(read("manifest-sha256.txt").contains(&format!("{hash}  {path}\n")));
    let history = shop.consent_history(&ada).unwrap();
    let evidence: Vec<_> = history.iter().map(|said| said.evidence.as_deref()).collect();
    assert_eq!(evidence, [Some(&b"{ \"box\": \"ticked\" }\xff"[..]), None]);
    let json = shop.consent_history_json(&ada).unwrap();
    assert_eq!(json[0]["evidence"], "eyAiYm94IjogInRpY2tlZCIgff8=");
    assert_eq!((&json[0]["evidence_sha256"], &json[1]["evidence"]), (&hash.into(), &Value::Null));
}
