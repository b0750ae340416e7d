//! Requests that are repeated, refused, or show a person.

use serde_json::{Value, json};

use super::{activity, person, place, say};
use crate::common::agent::{Client, Running, token};

#[test]
fn a_repeated_request_is_done_once_also_when_the_agent_died_between() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let body = br#"{"lookups": {"email": "ada@example.com"}}"#;
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let first = shop.send("POST", "subjects", Some("sign-up"), body);
    assert_eq!(first.status, 201);
    assert_eq!(shop.send("POST", "subjects", Some("sign-up"), body), first);
    let other = shop.send("POST", "subjects", Some("sign-up"), br#"{"lookups": {}}"#);
    assert_eq!(other.status, 422);
    agent.kill();
    // A socket nobody answers on is taken over.
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    assert_eq!(shop.send("POST", "subjects", Some("sign-up"), body), first);
    assert_eq!(shop.get("subjects")["total"], 1);
    let again = shop.send("POST", "subjects", None, body);
    assert_ne!(again, first);
    assert_eq!(shop.get("subjects")["total"], 2);
    // A second agent at the same place is told so.
    let taken =
        place.command("agent STORE --passphrase-file PASS --tokens none --socket agent.sock");
    let taken = place.said({ taken }.output().unwrap());
    assert_eq!(
        (taken.code, taken.err.lines().next()),
        (1, Some("strongroom: `agent.sock` is taken"))
    );
}

/// A queue of sign-ups that goes on with its keys once what refused them is over.
#[test]
fn a_request_that_was_refused_is_done_once_it_may_be() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let sign_up = |shop: &mut Client| shop.send("POST", "subjects", Some("sign-up"), b"{}").status;
    say(&place, "app disable shop");
    assert_eq!(sign_up(&mut shop), 403);
    say(&place, "app enable shop");
    assert_eq!((sign_up(&mut shop), sign_up(&mut shop)), (201, 201));
    assert_eq!(shop.get("subjects")["total"], 1);
}

#[test]
fn what_shows_a_person_is_decided_and_recorded_each_time_under_whatever_key() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let audit = token(&place, "audit", "shop", "--auditor");
    let agent = Running::start(&place, "");
    let (mut shop, mut auditor) = (agent.client(&web, "shop"), agent.client(&audit, "shop"));
    let id = person(&mut shop, "canary@example.com");
    let export = format!("subjects/{id}/export");
    assert_eq!(shop.send("POST", &export, Some("export"), b"").status, 200);
    let search = br#"{"email": "canary@example.com"}"#;
    let found = shop.send("POST", "subjects/find", Some("find"), search);
    assert!(String::from_utf8(found.body.clone()).unwrap().contains(&id));
    let before = auditor.get("audit")["records"].as_u64().unwrap();
    assert_eq!(shop.send("POST", "subjects/find", Some("find"), search), found);
    assert_eq!(auditor.get("audit")["records"], before + 1);
    shop.done("POST", "activities", &activity("newsletter", "consent", &["owned"]));
    let files = format!("subjects/{id}/files/owned");
    let (order, name) = (format!("{files}/order"), format!("subjects/{id}/names/newsletter"));
    let asks = [
        ("POST", "subjects/find", &search[..], 200),
        ("POST", &export, b"", 200),
        ("GET", &files, b"", 403),
        ("GET", &order, b"", 403),
        ("POST", &name, b"", 200),
    ];
    // What is refused while the application is disabled is on record too.
    for verb in ["enable", "disable"] {
        say(&place, &format!("app {verb} shop"));
        for (method, path, body, disabled) in asks {
            let before = auditor.get("audit")["records"].as_u64().unwrap();
            let status = if verb == "disable" { disabled } else { 200 };
            assert_eq!(shop.send(method, path, None, body).status, status, "{verb} {path}");
            assert!(auditor.get("audit")["records"].as_u64().unwrap() > before, "{verb} {path}");
        }
    }
    say(&place, "app enable shop");
    shop.done("POST", &format!("subjects/{id}/erase"), &Value::Null);
    assert_eq!(shop.send("POST", &export, Some("export"), b"").status, 403);
    let found = shop.send("POST", "subjects/find", Some("find"), search);
    assert_eq!(found.body, b"{\"subjects\":[]}\n");
}

#[test]
fn a_key_makes_one_person_and_never_stands_for_another_also_when_the_agent_died_between() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let (ada, bob) = (br#"{"lookups": {"n": "1"}}"#, br#"{"lookups": {"n": "2"}}"#);
    let both = br#"{"subjects": [{"lookups": {"n": "3"}}, {"lookups": {"n": "4"}}]}"#;
    let one = br#"{"subjects": [{"lookups": {"n": "3"}}]}"#;
    let mut agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let made = shop.send("POST", "subjects", Some("k/0"), ada);
    let many = shop.send("POST", "subjects/import", Some("k"), both);
    assert_eq!((made.status, many.status, &shop.get("subjects")["total"]), (201, 201, &json!(3)));
    for _ in 0..2 {
        assert_eq!(shop.send("POST", "subjects", Some("k/0"), ada), made);
        assert_eq!(shop.send("POST", "subjects/import", Some("k"), both), many);
        assert_eq!(shop.send("POST", "subjects", Some("k/0"), bob).status, 422);
        assert_eq!(shop.send("POST", "subjects/import", Some("k"), one).status, 422);
        agent.kill();
        agent = Running::start(&place, "");
        shop = agent.client(&web, "shop");
    }
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let erase = format!("subjects/{}/erase", made["subject"].as_str().unwrap());
    shop.done("POST", &erase, &Value::Null);
    // Nothing is left to compare the request with, and nobody to make twice.
    assert_eq!(shop.send("POST", "subjects", Some("k/0"), ada).status, 404);
    assert_eq!(shop.get("subjects")["total"], 3);
}

#[test]
fn who_is_due_is_told_to_the_application_and_given_notice_when_it_runs_retention() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let people: Vec<String> =
        ["ada", "bob"].map(|name| person(&mut shop, &format!("{name}@example.com"))).into();
    assert_eq!(shop.get("retention")["idle"], Value::Null);
    let set = shop.done("PUT", "retention", &json!({"days": 1, "notice_days": 1}));
    assert_eq!((&set["noticed"], &set["idle"]["notice_days"]), (&json!(2), &json!(1)));
    for half in [&br#"{"days": 1}"#[..], br#"{"notice_days": 20}"#] {
        assert_eq!(shop.send("PUT", "retention", None, half).status, 400);
    }
    assert_eq!(shop.get("retention")["idle"], json!({"days": 1, "notice_days": 1}));
    assert_eq!(shop.get("subjects/due")["subjects"][0]["noticed"], Value::Null);
    let run = shop.done("POST", "retention/run", &json!({}));
    assert_eq!((&run["noticed"], &run["erased"]), (&json!(2), &json!([])));
    let page = shop.get("subjects/due?count=1");
    assert_eq!((&page["next"], &page["subjects"][0]["subject"]), (&json!(1), &json!(people[0])));
    let page = shop.get("subjects/due?from=1&count=5");
    assert_eq!((&page["next"], page["subjects"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
    let line = &page["subjects"][0];
    assert_eq!((&line["subject"], &line["kept"]), (&json!(people[1]), &Value::Null));
    assert_eq!(line["joint_files"], 0);
    assert!(line["erased_from"].as_str() > line["used"].as_str());
    shop.done("PUT", &format!("subjects/{}/holds/litigation", people[1]), &json!({}));
    let line = &shop.get("subjects/due")["subjects"][1];
    assert_eq!((&line["noticed"], &line["kept"]), (&Value::Null, &json!("held")));
    shop.done("PUT", "retention", &json!({}));
    assert_eq!(shop.get("subjects/due")["subjects"], json!([]));
}

#[test]
fn attributes_are_set_by_the_application_and_by_commands_alike() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let id = shop.done("POST", "subjects", &json!({"lookups": {"email": "ada@example.com"}}));
    let id = id["subject"].as_str().unwrap().to_owned();
    let found = |shop: &mut Client, name: &str, value: &str| {
        let found = shop.done("POST", "subjects/find", &json!({ name: value }));
        found["subjects"] == json!([id])
    };
    let lookups = format!("subjects/{id}/lookups");
    let new = json!({"lookups": {"email": "ada@new.example", "phone": "555"}});
    assert_eq!(shop.done("PUT", &lookups, &new)["subject"], json!(id));
    assert!(!found(&mut shop, "email", "ada@example.com"));
    assert!(found(&mut shop, "email", "ada@new.example") && found(&mut shop, "phone", "555"));
    for bad in [&b"{}"[..], br#"{"lookups": {}}"#, br#"{"lookups": {"phone": 5}}"#] {
        assert_eq!(shop.send("PUT", &lookups, None, bad).status, 400);
    }
    let file = place.path("attributes");
    std::fs::write(&file, r#"{"phone": null, "member": "17"}"#).unwrap();
    say(&place, &format!("subject set {id} --app shop --lookup-from {}", file.display()));
    assert!(!found(&mut shop, "phone", "555"));
    assert!(found(&mut shop, "member", "17") && found(&mut shop, "email", "ada@new.example"));
}
