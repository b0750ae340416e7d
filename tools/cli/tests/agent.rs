//! The agent as programs see it: tokens and roles, repeated requests, commands beside it, the example application, and the
//! story of many people, each consumer's agreed set compared with one that was worked out apart.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Place;
use common::agent::{Client, Running, token};
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

fn kind(reply: &common::agent::Reply) -> (u16, String) {
    let json: Value = serde_json::from_slice(&reply.body).unwrap();
    (reply.status, json["error"]["kind"].as_str().unwrap_or_default().to_owned())
}

fn activity(name: &str, basis: &str, classes: &[&str]) -> Value {
    json!({
        "name": name, "consumer": "others", "purpose": "purpose.of.theirs", "basis": basis,
        "classes": classes, "notice": "canary: we tell you",
    })
}

#[test]
fn a_token_opens_one_application_in_one_role_and_nothing_else() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let mail = token(&place, "mail", "shop", "--activity newsletter");
    let audit = token(&place, "audit", "shop", "--auditor");
    let other = token(&place, "other", "clinic", "");
    let old = token(&place, "old", "shop", "--until 2001-01-01");
    let agent = Running::start(&place, "");
    let asked = |token: &str, app: &str, method: &str, path: &str| {
        kind(&agent.client(token, app).send(method, path, None, b""))
    };
    let denied = (403, "denied".to_owned());
    assert_eq!(asked(&web, "shop", "GET", "subjects").0, 200);
    assert_eq!(asked("sr_00", "shop", "GET", "subjects").0, 401);
    assert_eq!(asked(&old, "shop", "GET", "subjects").0, 401);
    for (token, app, method, path) in [
        (&other, "shop", "GET", "subjects"),
        (&web, "clinic", "GET", "subjects"),
        (&web, "nothing", "GET", "subjects"),
        (&web, "shop", "GET", "audit"),
        (&web, "shop", "GET", "jobs/newsletter/subjects"),
        (&mail, "shop", "GET", "subjects"),
        (&mail, "shop", "POST", "rotate"),
        (&mail, "shop", "GET", "jobs/research/subjects"),
        (&audit, "shop", "GET", "subjects"),
    ] {
        assert_eq!(asked(token, app, method, path), denied, "{method} {path}");
    }
    assert_eq!(asked(&audit, "shop", "GET", "audit").0, 200);
    assert_eq!(asked(&web, "shop", "DELETE", "subjects").0, 405);
    assert_eq!(asked(&web, "shop", "GET", "subjekte").0, 404);
    let nobody = format!("subjects/{}", "00".repeat(16));
    assert_eq!(asked(&web, "shop", "GET", &nobody), (404, "not_found".to_owned()));
    assert_eq!(asked(&web, "shop", "GET", "subjects/nobody"), (400, "invalid".to_owned()));
    // A token ends with its line, while the agent runs.
    let mut remove = place.command("token remove web --tokens");
    place.said(remove.arg(place.path("tokens.json")).output().unwrap()).expect_done();
    assert_eq!(asked(&web, "shop", "GET", "subjects").0, 401);
    use std::os::unix::fs::PermissionsExt;
    let socket = fs::metadata(place.path("agent.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(agent.stop(), 0);
    assert!(!place.path("agent.sock").exists());
}

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

/// What every page of a job's scope says, byte for byte.
fn pages(job: &mut Client, name: &str) -> Vec<String> {
    let (mut pages, mut query) = (Vec::new(), String::new());
    while pages.len() < 100 {
        let reply = job.send("GET", &format!("jobs/{name}/subjects?count=2{query}"), None, b"");
        assert_eq!(reply.status, 200);
        let page: Value = serde_json::from_slice(&reply.body).unwrap();
        pages.push(String::from_utf8(reply.body).unwrap());
        match &page["next"] {
            Value::Null => return pages,
            next => query = format!("&from={}", next.as_str().unwrap()),
        }
    }
    panic!("pages without an end")
}

#[test]
fn pages_of_a_job_tell_nothing_of_who_is_hidden() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let mail = token(&place, "mail", "shop", "--activity newsletter");
    let agent = Running::start(&place, "");
    let (mut shop, mut job) = (agent.client(&web, "shop"), agent.client(&mail, "shop"));
    shop.done("POST", "activities", &activity("newsletter", "consent", &["owned"]));
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let say = |shop: &mut Client, id: &str, status: &str| {
        let path = format!("subjects/{id}/consents/newsletter");
        shop.done("PUT", &path, &json!({ "status": status }));
    };
    let hidden = person(&mut shop, "first@example.com");
    for number in 0..5 {
        let id = person(&mut shop, &format!("{number}@example.com"));
        say(&mut shop, &id, "given");
    }
    let alone = pages(&mut job, "newsletter");
    assert_eq!(alone.len(), 3);
    say(&mut shop, &hidden, "refused");
    for number in 0..4 {
        person(&mut shop, &format!("later-{number}@example.com"));
    }
    assert_eq!(pages(&mut job, "newsletter"), alone);
    shop.done("POST", &format!("subjects/{hidden}/erase"), &Value::Null);
    assert_eq!(pages(&mut job, "newsletter"), alone);
    let by_number = job.send("GET", "jobs/newsletter/subjects?from=1", None, b"");
    assert_eq!(kind(&by_number), (400, "invalid".to_owned()));
}

/// Sends bytes to an address of the machine and reads the line of the status.
fn status_of(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Whoever is refused at once may be closed before all of it is sent.
    let _ = stream.write_all(bytes.as_bytes());
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

#[test]
fn who_has_no_token_is_told_so_before_a_body_is_taken() {
    let place = place();
    let audit = token(&place, "audit", "shop", "--auditor");
    let agent = Running::start(&place, "--listen 127.0.0.1:0");
    let address = agent.said["address"].as_str().unwrap();
    let long = |token: &str, method: &str, path: &str| {
        let head =
            format!("{method} /v1/apps/shop/{path} HTTP/1.1\r\nContent-Length: 94371840\r\n");
        status_of(address, &format!("{head}Authorization: Bearer {token}\r\n\r\n"))
    };
    assert_eq!(long("sr_00", "POST", "subjects"), "HTTP/1.1 401 Unauthorized\r\n");
    assert_eq!(long(&audit, "POST", "subjects"), "HTTP/1.1 403 Forbidden\r\n");
    assert_eq!(long(&audit, "POST", "audit/verify"), "HTTP/1.1 413 Content Too Large\r\n");
    assert_eq!(long(&audit, "POST", "nothing"), "HTTP/1.1 404 Not Found\r\n");
}

#[test]
fn strangers_who_say_nothing_keep_nobody_out_who_has_a_token() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "--listen 127.0.0.1:0");
    let address = agent.said["address"].as_str().unwrap();
    let asked =
        format!("GET /v1/apps/shop/subjects HTTP/1.1\r\nAuthorization: Bearer {web}\r\n\r\n");
    let mut known = BufReader::new(TcpStream::connect(address).unwrap());
    let mut ask = || {
        known.get_mut().write_all(asked.as_bytes()).unwrap();
        let (mut line, mut len) = (String::new(), 0);
        known.read_line(&mut line).unwrap();
        let status = line.clone();
        while line != "\r\n" {
            line.clear();
            known.read_line(&mut line).unwrap();
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                len = text.trim_end().parse().unwrap();
            }
        }
        known.read_exact(&mut vec![0; len]).unwrap();
        status
    };
    assert_eq!(ask(), "HTTP/1.1 200 OK\r\n");
    let idle: Vec<TcpStream> = (0..160).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Let in one after the other: once this one has an answer, whichever, all before it were looked at.
    assert!(status_of(address, &asked).starts_with("HTTP/1.1 "));
    assert_eq!(agent.client(&web, "shop").get("subjects")["total"], 0);
    assert_eq!(ask(), "HTTP/1.1 200 OK\r\n");
    drop(idle);
}

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

/// Records of all registers in a store.
fn record_count(place: &Place) -> usize {
    let registers = fs::read_dir(place.store().join("policy")).unwrap();
    let logs = registers.filter_map(|one| fs::read_dir(one.unwrap().path().join("log")).ok());
    logs.map(Iterator::count).sum()
}

/// New keys for everybody, by a command or by the agent: whoever withdraws waits for a record, and not for all.
#[test]
fn who_withdraws_does_not_wait_until_everybody_has_new_keys() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    shop.done("POST", "activities", &activity("newsletter", "consent", &["identifiable"]));
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let new = vec![json!({"profile": {"name": "canary"}}); 36];
    let made = shop.done("POST", "subjects/import", &json!({ "subjects": new }));
    let path = format!("subjects/{}/consents/newsletter", made["subjects"][7].as_str().unwrap());
    let by_agent = || {
        let all = json!({"everybody": true, "deep": true});
        agent.client(&web, "shop").done("POST", "rotate", &all);
    };
    let by_command = || drop(say(&place, "app rotate --everybody --deep --app shop"));
    let mut is_between = |work: &(dyn Fn() + Sync)| {
        let before = record_count(&place);
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while record_count(&place) < before + 8 && !working.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
            for status in ["given", "withdrawn"] {
                shop.done("PUT", &path, &json!({ "status": status }));
            }
            let is_between = !working.is_finished();
            working.join().unwrap();
            is_between
        })
    };
    for work in [&by_agent as &(dyn Fn() + Sync), &by_command] {
        // On a busy machine the work may be done before anybody gets a word in.
        assert!((0..3).any(|_| is_between(work)));
    }
    assert_eq!(shop.get("subjects")["total"], 36);
    let verified = say(&place, "audit verify --app shop");
    assert!(verified.contains("sound"), "{verified}");
}

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

/// Unpacks an export and checks it with tools that are not ours.
fn unpacked(place: &Place, tar: &[u8]) -> std::path::PathBuf {
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

/// What a person said, as the test decided it; nothing here asks the program.
#[derive(Clone, Debug, Default)]
struct Person {
    email: String,
    id: String,
    newsletter: bool,
    /// Classes agreed to for `research`.
    research: BTreeSet<&'static str>,
    objects: bool,
    erased: bool,
    /// How often `newsletter` was shown this person, or read something.
    used: usize,
}

const CONSUMERS: [&str; 3] = ["newsletter", "research", "profiling"];

impl Person {
    /// What a consumer may have of this person.
    fn agreed(&self, consumer: &str) -> BTreeSet<&'static str> {
        match consumer {
            _ if self.erased => BTreeSet::new(),
            "newsletter" if self.newsletter => BTreeSet::from(["identifiable"]),
            "research" => self.research.clone(),
            "profiling" if !self.objects => BTreeSet::from(["identifiable"]),
            _ => BTreeSet::new(),
        }
    }

    fn file(&self, class: &str) -> (&'static str, Vec<u8>) {
        match class {
            "identifiable" => {
                ("profile.json", json!({"email": self.email}).to_string().into_bytes())
            }
            _ => ("order.txt", format!("canary order of {}", self.email).into_bytes()),
        }
    }
}

struct Story {
    people: Vec<Person>,
    jobs: BTreeMap<&'static str, Client>,
    /// What each consumer calls each person, once it was shown them.
    names: BTreeMap<(&'static str, String), String>,
}

impl Story {
    /// Compares what each consumer is shown and can read with what was agreed.
    fn compare(&mut self) {
        for consumer in CONSUMERS {
            let job = self.jobs.get_mut(consumer).unwrap();
            let mut expected: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
            for person in &self.people {
                let agreed = person.agreed(consumer);
                if !agreed.is_empty() {
                    expected.insert(person.email.clone(), agreed);
                }
            }
            let mut start = Some(String::new());
            while let Some(from) = start {
                let page = job.get(&format!("jobs/{consumer}/subjects?count=256{from}"));
                for shown in page["subjects"].as_array().unwrap() {
                    let name = shown["subject"].as_str().unwrap();
                    let person = told(job, consumer, name, shown, &mut self.people);
                    let classes = expected.remove(&person.email).expect("somebody who agreed");
                    let told = shown["classes"].as_array().unwrap();
                    let told: BTreeSet<&str> = told.iter().map(|c| c.as_str().unwrap()).collect();
                    assert_eq!(told, classes, "{consumer} {}", person.email);
                    let at = (consumer, person.email.clone());
                    let known = self.names.entry(at).or_insert_with(|| name.to_owned());
                    assert_eq!(known, name, "a name stays");
                }
                start = page["next"].as_str().map(|next| format!("&from={next}"));
            }
            assert!(expected.is_empty(), "{consumer} was not shown {:?}", expected.keys());
        }
        let names: BTreeSet<&String> = self.names.values().collect();
        assert_eq!(names.len(), self.names.len(), "no name twice");
    }
}

/// Reads everything of somebody a consumer was shown, tries what it was not, and tells who it is.
fn told<'p>(
    job: &mut Client,
    consumer: &str,
    name: &str,
    shown: &Value,
    people: &'p mut [Person],
) -> &'p Person {
    let mut found: Option<String> = None;
    let is_shown = |class: &str| shown["classes"].as_array().unwrap().contains(&class.into());
    let mut read = Vec::new();
    for (class, file) in [("identifiable", "profile.json"), ("owned", "order.txt")] {
        let path = format!("jobs/{consumer}/subjects/{name}/files/{class}/{file}");
        let bytes = job.bytes(&path);
        assert_eq!(bytes.is_some(), is_shown(class), "{consumer} {class}");
        if let Some(bytes) = bytes {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let email = text.split(['"', ' ']).find(|word| word.contains('@')).unwrap().to_owned();
            found = Some(email);
            read.push((class, bytes));
        }
    }
    let email = found.expect("something was shown");
    let person = people.iter_mut().find(|person| person.email == email).unwrap();
    for (class, bytes) in read {
        assert_eq!(bytes, person.file(class).1);
    }
    if consumer == "newsletter" {
        // Shown once, one class read; the other was refused.
        person.used += 2;
    }
    person
}

fn answers(shop: &mut Client, people: &mut [Person]) {
    let say = |shop: &mut Client, id: &str, activity: &str, status: &str, classes: &[&str]| {
        let body = json!({
            "status": status, "classes": classes, "evidence": {"who": "canary", "how": "form"},
        });
        shop.done("PUT", &format!("subjects/{id}/consents/{activity}"), &body);
    };
    for (number, person) in people.iter_mut().enumerate() {
        match number % 4 {
            0 => say(shop, &person.id, "newsletter", "given", &[]),
            1 => say(shop, &person.id, "newsletter", "refused", &[]),
            2 => {
                say(shop, &person.id, "newsletter", "given", &[]);
                say(shop, &person.id, "newsletter", "withdrawn", &[]);
            }
            _ => {}
        }
        person.newsletter = number % 4 == 0;
        person.research = match number % 5 {
            0 => BTreeSet::from(["identifiable", "owned"]),
            1 => BTreeSet::from(["owned"]),
            2 => BTreeSet::from(["identifiable"]),
            _ => BTreeSet::new(),
        };
        if !person.research.is_empty() {
            let classes: Vec<&str> = person.research.iter().copied().collect();
            say(shop, &person.id, "research", "given", &classes);
        }
        person.objects = number % 3 == 0;
        if person.objects {
            say(shop, &person.id, "profiling", "objected", &[]);
        }
    }
}

/// Signed up together, each with an order.
fn signed_up(shop: &mut Client, count: usize) -> Vec<Person> {
    let email = |n: usize| format!("canary-{n}@example.com");
    let mut people: Vec<Person> =
        (0..count).map(|n| Person { email: email(n), ..Person::default() }).collect();
    for some in people.chunks_mut(500) {
        let new: Vec<Value> =
            some.iter().map(|person| json!({"profile": {"email": person.email}})).collect();
        let made = shop.done("POST", "subjects/import", &json!({ "subjects": new }));
        for (person, id) in some.iter_mut().zip(made["subjects"].as_array().unwrap()) {
            person.id = id.as_str().unwrap().to_owned();
        }
    }
    for person in &people {
        let (name, bytes) = person.file("owned");
        let path = format!("subjects/{}/files/owned/{name}", person.id);
        assert_eq!(shop.send("PUT", &path, None, &bytes).status, 200);
    }
    people
}

#[test]
fn the_story_of_many_people_through_the_agent() {
    let count = if std::env::var_os("STRONGROOM_LONG").is_some() { 1000 } else { 24 };
    let place = place();
    say(&place, "app create clinic");
    let web = token(&place, "web", "shop", "");
    let desk = token(&place, "desk", "clinic", "");
    let audit = token(&place, "audit", "shop", "--auditor");
    let jobs: BTreeMap<&str, String> = CONSUMERS
        .iter()
        .map(|name| (*name, token(&place, name, "shop", &format!("--activity {name}"))))
        .collect();
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let schema = json!({"email": {"type": "email", "required": true, "lookup": true}});
    shop.done("PUT", "schema", &schema);
    for (name, basis, classes) in [
        ("newsletter", "consent", &["identifiable"][..]),
        ("research", "consent", &["identifiable", "owned"]),
        ("profiling", "legitimate-interest", &["identifiable"]),
    ] {
        shop.done("POST", "activities", &activity(name, basis, classes));
        shop.done("POST", &format!("activities/{name}/approve"), &Value::Null);
    }
    let mut people = signed_up(&mut shop, count);
    answers(&mut shop, &mut people);
    // The other application knows the same address, and nothing of the shop.
    let mut clinic = agent.client(&desk, "clinic");
    let patient = json!({"lookups": {"email": people[0].email}});
    let patient = clinic.done("POST", "subjects", &patient)["subject"].as_str().unwrap().to_owned();
    assert_eq!(clinic.send("GET", &format!("subjects/{}", people[0].id), None, b"").status, 404);
    let jobs = jobs.iter().map(|(name, token)| (*name, agent.client(token, "shop"))).collect();
    let mut story = Story { people, jobs, names: BTreeMap::new() };
    story.compare();

    // New keys at every level change nothing of that.
    let rotated = shop.done("POST", "rotate", &json!({"everybody": true, "deep": true}));
    assert_eq!(
        (rotated["subjects"].as_u64(), rotated["files"].as_u64()),
        (Some(count as u64), Some(2 * count as u64))
    );
    let one = format!("subjects/{}/rotate", story.people[5].id);
    shop.done("POST", &one, &json!({"deep": true, "class": "owned"}));
    story.compare();

    // The report of one has exactly what was done, counted here.
    let report = shop.get(&format!("subjects/{}/report", story.people[4].id));
    assert_eq!(report["complete"], true);
    let used = |entry: &&Value| entry["activity"] == "newsletter" && entry["allowed"] == true;
    let entries = report["entries"].as_array().unwrap();
    assert_eq!(entries.iter().filter(used).count(), story.people[4].used);

    let exported = &story.people[4];
    let tar = shop.send("POST", &format!("subjects/{}/export", exported.id), None, b"");
    let bag = unpacked(&place, &tar.body);
    for class in ["identifiable", "owned"] {
        let (name, bytes) = exported.file(class);
        assert_eq!(fs::read(bag.join("data/files").join(class).join(name)).unwrap(), bytes);
        assert_eq!(fs::read_dir(bag.join("data/files").join(class)).unwrap().count(), 1);
    }
    fs::remove_dir_all(&bag).unwrap();

    for number in (0..count).step_by(8) {
        let person = &mut story.people[number];
        let erased = shop.done("POST", &format!("subjects/{}/erase", person.id), &Value::Null);
        assert_eq!(
            (erased["objects_removed"].as_u64(), erased["objects_left"].as_u64()),
            (Some(2), Some(0))
        );
        person.erased = true;
        let found = shop.done("POST", "subjects/find", &json!({"email": person.email}));
        assert_eq!(found["subjects"], json!([]));
    }
    story.compare();
    assert_eq!(clinic.get(&format!("subjects/{patient}"))["state"], "active");
    let verified = agent.client(&audit, "shop").done("POST", "audit/verify", &Value::Null);
    assert_eq!(verified["findings"], json!([]));
    assert_eq!(agent.stop(), 0);
    nothing_personal_below(&place.store());
    nothing_personal_below(&place.path("home"));
}

fn nothing_personal_below(folder: &Path) {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap();
            for word in ["canary", "example.com", "newsletter"] {
                let is_there = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!is_there, "`{word}` in {}", entry.path().display());
            }
        }
    }
}
