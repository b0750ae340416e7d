//! The application of the handbook, as it stands there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{place, unpacked};
use crate::common::agent::{Running, token};

#[test]
fn the_example_application_keeps_people_and_the_job_writes_to_who_agreed() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let mail = token(&place, "mail", "shop", "--activity newsletter");
    fs::write(place.path("web.token"), web).unwrap();
    fs::write(place.path("mail.token"), mail).unwrap();
    let agent = Running::start(&place, "");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/example-application");
    let run = |script: &str, token: &str, command: &str, input: Value| -> Vec<u8> {
        let mut python = Command::new("python3");
        python.arg("-B").arg(folder.join(script)).arg(place.path("agent.sock"));
        python.arg(place.path(token)).args(command.split_whitespace());
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = python.spawn().expect("python3");
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script} {command}: {err}");
        output.stdout
    };
    let shop = |command: &str, input: Value| {
        String::from_utf8(run("shop.py", "web.token", command, input)).unwrap()
    };
    let letters = || {
        let text = String::from_utf8(run("newsletter.py", "mail.token", "", json!({}))).unwrap();
        text.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    shop("set-up", json!({}));
    let ada = json!({"form": "5e0c", "email": "ada@example.com", "name": "Ada"});
    let first = shop("sign-up", ada.clone());
    assert_eq!(shop("sign-up", ada), first);
    shop("sign-up", json!({"form": "91d7", "email": "bob@example.com", "name": "Bob"}));
    let order = json!({"email": " Ada@Example.com", "order": "17 roses"});
    assert_eq!(shop("order", order.clone()), "order-1.json\n");
    assert_eq!(shop("order", order), "order-2.json\n");
    assert_eq!(letters(), BTreeSet::new());
    shop("newsletter", json!({"email": "ada@example.com", "answer": "given"}));
    shop("newsletter", json!({"email": "bob@example.com", "answer": "refused"}));
    assert_eq!(letters(), BTreeSet::from(["Dear Ada <ada@example.com>".to_owned()]));
    shop("newsletter", json!({"email": "ada@example.com", "answer": "withdrawn"}));
    assert_eq!(letters(), BTreeSet::new());
    let tar = run("shop.py", "web.token", "everything", json!({"email": "ada@example.com"}));
    let bag = unpacked(&place, &tar);
    let order = fs::read_to_string(bag.join("data/files/owned/order-2.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&order).unwrap(), json!({"what": "17 roses"}));
    let said = shop("forget", json!({"email": "ada@example.com"}));
    assert!(said.starts_with("Best effort"), "{said}");
    assert_eq!(agent.stop(), 0);
}
