//! The story of many people: what each consumer is shown is compared with what was agreed, worked out apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{activity, place, say, unpacked};
use crate::common::agent::{Client, Running, token};

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
    assert_eq!(shop.done("POST", "rotate", &json!({"register": true}))["register"], 2);
    let keys = shop.get("keys");
    assert_eq!(
        (&keys["register"]["generation"], &keys["subjects"]["count"]),
        (&json!(2), &json!(count))
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
