//! The agent as programs see it: tokens and roles, repeated requests, commands beside it, the example application, and the
//! story of many people, each consumer's agreed set compared with one that was worked out apart.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "agent/beside.rs"]
mod beside;
#[path = "agent/closed.rs"]
mod closed;
mod common;
#[path = "agent/example.rs"]
mod example;
#[path = "agent/jobs.rs"]
mod jobs;
#[path = "agent/requests.rs"]
mod requests;
#[path = "agent/story.rs"]
mod story;
#[path = "agent/tokens.rs"]
mod tokens;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::Place;
use common::agent::{Client, Reply};
use serde_json::{Value, json};

/// A workspace with an application `shop`, its key in a file.
fn place() -> Place {
    let place = Place::with_workspace();
    say(&place, "app create shop");
    place
}

fn say(place: &Place, line: &str) -> String {
    let line = format!("{line} --workspace STORE --passphrase-file PASS");
    place.run(&line).expect_done()
}

fn kind(reply: &Reply) -> (u16, String) {
    let json: Value = serde_json::from_slice(&reply.body).unwrap();
    (reply.status, json["error"]["kind"].as_str().unwrap_or_default().to_owned())
}

fn activity(name: &str, basis: &str, classes: &[&str]) -> Value {
    json!({
        "name": name, "consumer": "others", "purpose": "purpose.of.theirs", "basis": basis,
        "classes": classes, "notice": "canary: we tell you",
    })
}

/// A person with an order, found by an address.
fn person(shop: &mut Client, email: &str) -> String {
    let made = shop.done("POST", "subjects", &json!({"lookups": {"email": email}}));
    let id = made["subject"].as_str().unwrap().to_owned();
    assert_eq!(
        shop.send("PUT", &format!("subjects/{id}/files/owned/order"), None, b"roses").status,
        200
    );
    id
}

/// Unpacks an export and checks it with tools that are not ours.
fn unpacked(place: &Place, tar: &[u8]) -> PathBuf {
    let bag = place.path("bag");
    let _ = fs::remove_dir_all(&bag);
    fs::create_dir(&bag).unwrap();
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--file=-"]).current_dir(&bag).stdin(Stdio::piped());
    let mut child = unpack.spawn().unwrap();
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let mut check = Command::new("sha256sum");
        check.args(["--check", "--quiet", manifest]).current_dir(&bag);
        assert!(check.status().unwrap().success(), "{manifest}");
    }
    bag
}
