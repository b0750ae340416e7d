//! Applications that do not open, beside others that do.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use super::{kind, place, say};
use crate::common::agent::{Running, token};

/// A key file that is away, and a variable that is not set: the one is found later, the other not even looked at.
#[test]
fn a_place_of_custody_that_is_away_keeps_nobody_from_other_applications() {
    let place = place();
    let (keys, away) = (place.path("vault.keys"), place.path("away"));
    say(&place, &format!("app create vault --custody file:{}", keys.display()));
    let booth = "app create booth --custody env:BOOTH_KEY -w STORE --passphrase-file PASS";
    let mut booth = place.command(booth);
    place.said(booth.env("BOOTH_KEY", "5e".repeat(32)).output().unwrap()).expect_done();
    let tokens = ["shop", "vault", "booth"].map(|app| token(&place, app, app, ""));
    fs::rename(&keys, &away).unwrap();

    let agent = Running::start(&place, "--consumers");
    let closed = agent.said["closed"].as_array().unwrap();
    let named = |at: usize| (closed[at]["application"].as_str(), closed[at]["why"].is_string());
    assert_eq!((named(0), named(1)), ((Some("vault"), true), (Some("booth"), true)));
    let [web, of_vault, of_booth] = &tokens;
    let mut shop = agent.client(web, "shop");
    let (mut vault, mut booth) = (agent.client(of_vault, "vault"), agent.client(of_booth, "booth"));
    shop.done("POST", "subjects", &Value::Null);
    let reply = booth.send("POST", "subjects", None, b"{}");
    assert_eq!(kind(&reply), (423, "locked".to_owned()));
    let said: Value = serde_json::from_slice(&reply.body).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("BOOTH_KEY"), "{said}");
    assert_eq!(kind(&vault.send("POST", "subjects", None, b"{}")), (423, "locked".to_owned()));
    fs::rename(&away, &keys).unwrap();
    vault.done("POST", "subjects", &Value::Null);
    assert_eq!(agent.stop(), 0);

    // One that has nobody to serve does not start.
    fs::rename(&keys, &away).unwrap();
    let mut alone = place.command(
        "agent STORE --passphrase-file PASS --tokens tokens.json --app vault --socket alone.sock",
    );
    let said = place.said(alone.stdin(Stdio::null()).output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (5, ""), "{}", said.err);
}
