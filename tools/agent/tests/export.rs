//! What goes out to somebody who takes it slowly, and what comes in from many: how much of it is here, whom it keeps out,
//! what is on record.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, mpsc};

use common::Shop;
use common::world::{World, answer, own, registered};
use strongroom_crypto::hash::sha256;
use strongroom_records::activity::Basis;
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::ConsentStatus;
use strongroom_store::{Key, Shelf};

const MIB: usize = 1 << 20;
/// Files of the person, and the length of each.
const COUNT: usize = 6;
const LEN: usize = 5 * MIB;

/// A shop with a person who has `COUNT` files.
fn shop(seed: u64) -> (Shop, SubjectId) {
    let world = World::new(seed);
    let mut custodian = world.create("shop");
    let ada = custodian.create_subject(&[]).unwrap();
    for number in 0..COUNT {
        custodian.put_file(&own(ada, "owned"), &format!("photo {number}"), &photo(number)).unwrap();
    }
    drop(custodian);
    (Shop::open(world), ada)
}

fn photo(number: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(number).unwrap(); LEN]
}

/// Members of a tar archive, by name, and whether its end is there.
fn members(mut tar: &[u8]) -> (Vec<(String, Vec<u8>)>, bool) {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    while let Some((head, rest)) = tar.split_at_checked(512) {
        if head == [0; 512] {
            return (found, rest == [0; 512]);
        }
        let len = usize::from_str_radix(&text(&head[124..136]), 8).unwrap();
        let Some(content) = rest.get(..len) else { break };
        found.push((text(&head[..100]), content.to_vec()));
        tar = rest.get(len.next_multiple_of(512)..).unwrap_or_default();
    }
    (found, false)
}

/// The body of an answer in chunks, and whether the last chunk is there.
fn chunks(answer: &[u8]) -> (Vec<u8>, bool) {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (head, mut rest) = answer.split_at(at);
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(head));
    let mut body = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\r') {
        let len = std::str::from_utf8(&rest[..end]).unwrap();
        let len = usize::from_str_radix(len, 16).unwrap();
        if len == 0 {
            return (body, &rest[end..] == b"\r\n\r\n");
        }
        let Some(some) = rest.get(end + 2..end + 2 + len) else { break };
        body.extend_from_slice(some);
        rest = rest.get(end + 4 + len..).unwrap_or_default();
    }
    (body, false)
}

/// Manifests of the exports on record, and how many releases are.
fn on_record(shop: &Shop, subject: &SubjectId) -> (Vec<Hash>, usize) {
    let report = shop.world.open("shop").report(subject).unwrap();
    let of = |kind| report.lines.iter().filter(move |line| line.entry.kind == kind);
    (of(Kind::Export).filter_map(|line| line.entry.object).collect(), of(Kind::Access).count())
}

#[test]
fn an_export_goes_out_while_it_is_made_and_keeps_nobody_out() {
    let (shop, ada) = shop(1);
    let line = shop.ask("POST", &format!("subjects/{ada}/export"), "", MIB);
    line.until_stuck();
    assert_eq!(shop.status("GET", &format!("subjects/{ada}")), "HTTP/1.1 200 OK");
    line.take(usize::MAX);
    let answer = line.until_left();
    let most = shop.held.most();
    assert!(most <= 3 * LEN, "{most} bytes were read and not yet taken");
    let (tar, is_whole) = chunks(&answer);
    let (members, ends) = members(&tar);
    assert!(is_whole && ends);
    for number in 0..COUNT {
        let name = format!("data/files/owned/photo {number}");
        let found = members.iter().filter(|member| member.0 == name).collect::<Vec<_>>();
        assert_eq!(found, [&(name.clone(), photo(number))]);
    }
    let manifest = members.iter().find(|member| member.0 == "manifest-sha256.txt").unwrap();
    assert_eq!(on_record(&shop, &ada).0, [Hash(sha256(&manifest.1))]);
    assert_eq!(members.last().unwrap().0, "tagmanifest-sha256.txt");
}

/// What is answered while the first of many records about somebody is read for whoever asks for all of them.
#[test]
fn whoever_asks_for_a_long_history_keeps_nobody_out_of_the_application_while_it_is_read() {
    for (method, path) in [("GET", "report"), ("GET", "consents/history"), ("POST", "export")] {
        let world = World::new(6);
        let mut custodian = world.create("shop");
        registered(&mut custodian, "newsletter", Basis::Consent, &["owned"]);
        let ada = custodian.create_subject(&[]).unwrap();
        let first = u128::from(custodian.record_count());
        for _ in 0..100 {
            custodian.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
        }
        drop(custodian);
        let shop = Arc::new(Shop::open(world));
        let (other, (say, heard)) = (Arc::clone(&shop), mpsc::channel());
        let is_first = move |key: &Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Log && key.name == first);
        shop.world.store.while_read(is_first, move || {
            let found = other.status("GET", &format!("subjects/{ada}"));
            say.send(found).unwrap();
        });
        let asked = shop.status(method, &format!("subjects/{ada}/{path}"));
        assert_eq!(asked, "HTTP/1.1 200 OK", "{path}");
        assert_eq!(heard.try_recv().as_deref(), Ok("HTTP/1.1 200 OK"), "{path}");
    }
}

#[test]
fn an_export_that_breaks_off_is_on_record_as_what_was_released_for_it() {
    let (shop, ada) = shop(2);
    let before = on_record(&shop, &ada);
    let line = shop.ask("POST", &format!("subjects/{ada}/export"), "", MIB);
    line.until_stuck();
    line.shut();
    line.until_left();
    let after = on_record(&shop, &ada);
    assert_eq!((after.0, after.1 > before.1), (vec![], true));
}

#[test]
fn who_is_erased_while_their_export_is_taken_has_no_further_piece_of_it() {
    let (shop, ada) = shop(3);
    let line = shop.ask("POST", &format!("subjects/{ada}/export"), "", MIB);
    line.until_stuck();
    assert_eq!(shop.status("POST", &format!("subjects/{ada}/erase")), "HTTP/1.1 200 OK");
    line.take(usize::MAX);
    let (tar, is_whole) = chunks(&line.until_left());
    let (members, ends) = members(&tar);
    assert!(!is_whole && !ends && members.len() < COUNT, "{}", members.len());
}

/// Begun while it is disabled, it is made.
#[test]
fn an_export_on_its_way_ends_when_the_application_is_disabled() {
    let (shop, ada) = shop(5);
    let export = || shop.ask("POST", &format!("subjects/{ada}/export"), "", MIB);
    let line = export();
    line.until_stuck();
    shop.world.stewardship().set_state("shop", ApplicationState::Disabled).unwrap();
    line.take(usize::MAX);
    let (tar, is_whole) = chunks(&line.until_left());
    assert!(!is_whole && members(&tar).0.len() < COUNT);
    let line = export();
    line.take(usize::MAX);
    assert!(chunks(&line.until_left()).1);
}

#[test]
fn what_all_connections_of_a_door_hold_is_bounded_together() {
    let (shop, ada) = shop(4);
    let path = format!("subjects/{ada}/files/owned/large");
    let headers = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", 64 * MIB);
    let put = || shop.ask("PUT", &path, &headers, usize::MAX);
    let lines: Vec<_> = (0..4).map(|_| put()).collect();
    lines.iter().for_each(|line| drop(line.until_heard(b"HTTP/1.1 100 Continue\r\n\r\n")));
    let refused = String::from_utf8(put().until_left()).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("too much is on its way at a time: ask again"), "{refused}");
    // What is small goes by, however much the others send.
    assert_eq!(shop.status("POST", &format!("subjects/{ada}/rotate")), "HTTP/1.1 200 OK");
    let export = || shop.ask("POST", &format!("subjects/{ada}/export"), "", MIB);
    let exports: Vec<_> = (0..4).map(|_| export()).collect();
    exports.iter().for_each(|line| line.until_stuck());
    let refused = String::from_utf8(export().until_left()).unwrap();
    assert!(refused.contains("too many exports at a time: ask again"), "{refused}");
    // Whoever leaves gives room to the next.
    lines[0].shut();
    lines[0].until_left();
    put().until_heard(b"HTTP/1.1 100 Continue\r\n\r\n");
}
