//! Commands beside an agent that works.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_host::disk::Disk;
use strongroom_host::real_disk::RealDisk;

use super::{activity, kind, person, place, say};
use crate::common::Place;
use crate::common::agent::{Running, token};

/// Commands, other connections and the agent write in turns; each knows what the others did.
#[test]
fn commands_work_beside_an_agent_and_many_connections_at_once() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "--listen 127.0.0.1:0");
    assert!(agent.said["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let creating = |number: usize| {
        let mut shop = agent.client(&web, "shop");
        for person in 0..5 {
            let lookups = json!({"lookups": {"number": format!("{number}-{person}")}});
            shop.done("POST", "subjects", &lookups);
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|n| scope.spawn(move || creating(n))).collect();
        let id = say(&place, "subject create --app shop");
        running.into_iter().for_each(|thread| thread.join().unwrap());
        let mut shop = agent.client(&web, "shop");
        assert_eq!(shop.get(&format!("subjects/{}", id.trim()))["state"], "active");
        assert_eq!(shop.get("subjects")["total"], 21);
        let found = shop.done("POST", "subjects/find", &json!({"number": "3-4"}));
        assert_eq!(found["subjects"].as_array().unwrap().len(), 1);
    });
    say(&place, "app disable shop");
    let mut shop = agent.client(&web, "shop");
    assert_eq!(kind(&shop.send("POST", "subjects", None, b"{}")).1, "denied");
    say(&place, "app enable shop");
    say(&place, "app rotate --app shop");
    shop.done("POST", "subjects", &Value::Null);
    let wide = place.command("agent STORE --passphrase-file PASS --tokens t --listen 0.0.0.0:0");
    let wide = place.said({ wide }.output().unwrap());
    assert_eq!((wide.code, wide.err.lines().count()), (2, 2), "{}", wide.err);
}

/// An agent that has been open since before the ledger went away makes none in its place: that would have forgotten everybody.
#[test]
fn an_agent_makes_no_ledger_in_the_place_of_one_that_is_away() {
    let place = place();
    let apart = tempfile::tempdir().unwrap();
    let (ledger, away) = (apart.path().join("erased"), apart.path().join("away"));
    say(&place, &format!("app ledger file:{} --app shop", ledger.display()));
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    shop.done("POST", "activities", &activity("newsletter", "consent", &["owned"]));
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let id = person(&mut shop, "canary@example.com");
    let other = person(&mut shop, "bob@example.com");
    let path = format!("subjects/{id}/consents/newsletter");
    shop.done("PUT", &path, &json!({"status": "given"}));
    fs::rename(&ledger, &away).unwrap();
    let withdrawn = json!({"status": "withdrawn"});
    let told = shop.send("PUT", &path, None, withdrawn.to_string().as_bytes());
    assert_eq!(kind(&told), (503, "unavailable".to_owned()));
    assert!(!ledger.exists());
    // What cannot be done without it says so, and not where on this machine it is kept.
    let erased = shop.send("POST", &format!("subjects/{other}/erase"), None, b"{}");
    assert_eq!(kind(&erased), (503, "unavailable".to_owned()));
    let message = String::from_utf8(erased.body).unwrap();
    assert!(message.contains("the ledger cannot be read or written"), "{message}");
    let folder = apart.path().display().to_string();
    assert!(!message.contains(&folder) && !message.contains("file:"), "{message}");
    // Once it is back, the no is on record all the same; said again, the ledger has it.
    fs::rename(&away, &ledger).unwrap();
    let consents = shop.get(&format!("subjects/{id}/consents"));
    assert!(consents.to_string().contains("withdrawn"), "{consents}");
    let before = fs::read(&ledger).unwrap();
    shop.done("PUT", &path, &withdrawn);
    let after = fs::read(&ledger).unwrap();
    assert!(after.len() > before.len() && after.starts_with(&before));
}

/// Records of all registers in a store.
fn record_count(place: &Place) -> usize {
    let registers = fs::read_dir(place.store().join("policy")).unwrap();
    let logs = registers.filter_map(|one| fs::read_dir(one.unwrap().path().join("log")).ok());
    logs.map(Iterator::count).sum()
}

/// As many as keep a machine busy for some turns.
const PEOPLE_COUNT: usize = 72;

/// New keys for everybody, by a command or by the agent: whoever withdraws waits for a record, and not for all.
#[test]
fn who_withdraws_does_not_wait_until_everybody_has_new_keys() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    shop.done("POST", "activities", &activity("newsletter", "consent", &["identifiable"]));
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let new = vec![json!({"profile": {"name": "canary"}}); PEOPLE_COUNT];
    let made = shop.done("POST", "subjects/import", &json!({ "subjects": new }));
    let path = format!("subjects/{}/consents/newsletter", made["subjects"][7].as_str().unwrap());
    let by_agent = || {
        let all = json!({"everybody": true, "deep": true});
        agent.client(&web, "shop").done("POST", "rotate", &all);
    };
    let by_command = || drop(say(&place, "app rotate --everybody --deep --app shop"));
    let mut is_between = |work: &(dyn Fn() + Sync)| {
        shop.done("PUT", &path, &json!({ "status": "given" }));
        let before = record_count(&place);
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while record_count(&place) < before + 8 && !working.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Whoever works long has its turn for a quarter of a second at a time.
            shop.done("PUT", &path, &json!({ "status": "withdrawn" }));
            let is_between = !working.is_finished();
            working.join().unwrap();
            is_between
        })
    };
    for work in [&by_agent as &(dyn Fn() + Sync), &by_command] {
        // On a busy machine the work may be done before anybody gets a word in.
        assert!((0..3).any(|_| is_between(work)));
    }
    assert_eq!(shop.get("subjects")["total"], PEOPLE_COUNT);
    let verified = say(&place, "audit verify --app shop");
    assert!(verified.contains("sound"), "{verified}");
}

/// Numbers of those who stand in line to write.
fn in_line(place: &Place) -> Vec<PathBuf> {
    let state = fs::read_dir(place.path("home/state")).unwrap().map(|one| one.unwrap().path());
    let mut lines = state.filter(|path| path.extension().is_some_and(|own| own == "line"));
    let numbers = lines.next().map(|line| fs::read_dir(line).unwrap());
    numbers.into_iter().flatten().map(|one| one.unwrap().path()).collect()
}

/// Starts a command and waits until so many are in line.
fn lined_up(place: &Place, count: usize) -> Child {
    let create = "subject create --app shop --workspace STORE --passphrase-file PASS";
    let mut command = place.command(create);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while in_line(place).len() < count {
        assert!(began.elapsed() < Duration::from_secs(15), "nobody lines up");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_command_that_was_killed_in_line_keeps_nobody_from_their_turn() {
    let place = place();
    let others_wait = RealDisk.lock(&place.store().join(".lock-policy")).unwrap();
    let mut killed = lined_up(&place, 1);
    let waits = lined_up(&place, 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    drop(others_wait);
    let done = place.said(waits.wait_with_output().unwrap()).expect_done();
    assert_eq!(say(&place, "subject list --app shop").lines().count(), 1, "{done}");
    assert!(in_line(&place).is_empty());
}
