//! A file on its way to a store that takes its time: whom it keeps out, whose word it needs, and what is kept of it meanwhile.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::Shop;
use common::world::{START_NS, World, own, registered};
use strongroom_records::activity::Basis;
use strongroom_steward::Depth;

const MIB: usize = 1 << 20;

#[test]
fn a_file_that_goes_to_a_slow_store_keeps_nobody_out_of_its_application() {
    let world = World::new(20);
    let mut custodian = world.create("shop");
    registered(&mut custodian, "newsletter", Basis::Consent, &["owned"]);
    let [ada, bob] = [(); 2].map(|()| custodian.create_subject(&[]).unwrap());
    drop(custodian);
    let shop = Arc::new(Shop::open(world));
    let (other, (say, heard)) = (Arc::clone(&shop), mpsc::channel());
    let asked = move |path: &str, body: &str| {
        let line =
            other.ask("PUT", path, &format!("Content-Length: {}\r\n", body.len()), usize::MAX);
        line.say(body);
        String::from_utf8(line.until_left()).unwrap()
    };
    let (answers, put) = (asked.clone(), asked);
    shop.world.store.while_sent(move || {
        let path = format!("subjects/{ada}/consents/newsletter");
        say.send(answers(&path, r#"{"status": "refused"}"#)).unwrap();
        let path = format!("subjects/{bob}/files/owned/theirs");
        say.send(answers(&path, "18 roses")).unwrap();
    });
    let photo = "a".repeat(MIB);
    let put = put(&format!("subjects/{ada}/files/owned/photo"), &photo);
    let all: Vec<String> = heard.iter().chain([put]).collect();
    assert_eq!(all.len(), 3);
    for answer in all {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let mut custodian = shop.world.open("shop");
    assert_eq!(custodian.read_file(&own(ada, "owned"), "photo").unwrap(), photo.as_bytes());
}

#[test]
fn a_token_that_ends_while_its_file_is_on_its_way_puts_nothing() {
    type End = fn(&Shop);
    let ends: [(&str, End); 2] = [
        ("withdrawn", |shop| shop.end_token()),
        ("expired", |shop| shop.world.clock.advance(Duration::from_secs(7200))),
    ];
    for (seed, (what, end)) in (30..).zip(ends) {
        for len in [10, MIB] {
            let world = World::new(seed);
            let ada = world.create("shop").create_subject(&[]).unwrap();
            let shop = Shop::open_until(world, Some(START_NS + 3_600_000_000_000));
            let shop = Arc::new(shop);
            let meanwhile = Arc::clone(&shop);
            shop.world.store.while_sent(move || end(&meanwhile));
            let headers = format!("Content-Length: {len}\r\n");
            let line =
                shop.ask("PUT", &format!("subjects/{ada}/files/owned/photo"), &headers, usize::MAX);
            line.say(&"a".repeat(len));
            let answer = String::from_utf8(line.until_left()).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{what}, {len}: {answer}");
            let files = shop.world.open("shop").files(&own(ada, "owned")).unwrap();
            assert!(files.is_empty(), "{what}, {len}");
            assert_eq!(shop.world.store.file_count(), 0, "{what}, {len}");
        }
    }
}

#[test]
fn a_profile_is_kept_as_it_was_written() {
    let profile =
        r#"{"name": "Ada", "customer": 12345678901234567890123, "balance": 1.10, "b": 1, "a": 2}"#;
    let world = World::new(60);
    drop(world.create("shop"));
    let shop = Shop::open(world);
    for (path, body) in [
        ("subjects", format!(r#"{{"profile": {profile}}}"#)),
        ("subjects/import", format!(r#"{{"subjects": [{{"profile": {profile} }}]}}"#)),
    ] {
        let line =
            shop.ask("POST", path, &format!("Content-Length: {}\r\n", body.len()), usize::MAX);
        line.say(&body);
        let answer = String::from_utf8(line.until_left()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{path}: {answer}");
        let mut custodian = shop.world.open("shop");
        let subject = custodian.subjects().unwrap().pop().unwrap().subject;
        let read = custodian.read_file(&own(subject, "identifiable"), "profile.json").unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), profile, "{path}");
    }
}

/// It held when it was asked with, and ended while others were at the desk.
#[test]
fn a_token_that_ends_while_its_request_waits_reads_and_changes_nothing() {
    for (seed, (method, path)) in (50..).zip([
        ("GET", "files/owned/note"),
        ("POST", "export"),
        ("GET", "report"),
        ("PUT", "holds/audit"),
    ]) {
        let world = World::new(seed);
        let mut custodian = world.create("shop");
        let ada = custodian.create_subject(&[]).unwrap();
        custodian.put_file(&own(ada, "owned"), "note", b"18 roses").unwrap();
        let records = custodian.record_count();
        drop(custodian);
        let shop = Arc::new(Shop::open(world));
        let meanwhile = Arc::clone(&shop);
        shop.before_the_next(move || meanwhile.end_token());
        let line = shop.ask(method, &format!("subjects/{ada}/{path}"), "", usize::MAX);
        let answer = String::from_utf8(line.until_left()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert_eq!(shop.world.open("shop").record_count(), records, "{path}");
    }
}

/// What it was sealed from is wiped: nobody could seal it again.
#[test]
fn a_file_of_an_agent_is_not_kept_as_it_came_and_asked_for_again_where_new_keys_overtake_it() {
    let world = World::new(40);
    let ada = world.create("shop").create_subject(&[]).unwrap();
    let shop = Shop::open(world);
    let (mut other, photo) = (shop.world.open("shop"), "a".repeat(MIB));
    let put = || {
        let headers = format!("Content-Length: {MIB}\r\n");
        let path = format!("subjects/{ada}/files/owned/photo");
        let line = shop.ask("PUT", &path, &headers, usize::MAX);
        line.say(&photo);
        String::from_utf8(line.until_left()).unwrap()
    };
    assert!(put().starts_with("HTTP/1.1 200 "));
    shop.world.store.while_sent(move || {
        other.follow().unwrap();
        other.catch_up().unwrap();
        other.rotate_subject(&ada, Depth::Deep, None, &mut |_| ()).unwrap();
    });
    let again = put();
    assert!(again.starts_with("HTTP/1.1 503 ") && again.contains("send it again"), "{again}");
    assert_eq!(shop.world.store.file_count(), 1);
    assert!(put().starts_with("HTTP/1.1 200 "));
    assert_eq!(shop.world.store.file_count(), 1);
}
