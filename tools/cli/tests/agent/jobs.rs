//! What a job is told of the people in its scope.

use serde_json::{Value, json};

use super::{activity, kind, person, place};
use crate::common::agent::{Client, Running, token};

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

#[test]
fn a_file_about_several_people_is_a_jobs_when_all_of_them_agreed() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let mail = token(&place, "mail", "shop", "--activity newsletter");
    let agent = Running::start(&place, "");
    let (mut shop, mut job) = (agent.client(&web, "shop"), agent.client(&mail, "shop"));
    shop.done("POST", "activities", &activity("newsletter", "consent", &["owned"]));
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let [ada, bob] = ["ada", "bob"].map(|name| person(&mut shop, &format!("{name}@example.com")));
    let put = format!("subjects/{ada}/files/owned/contract?with={bob}");
    assert_eq!(shop.send("PUT", &put, None, b"17 roses").status, 200);
    let files = shop.get(&format!("subjects/{bob}/files/owned"));
    assert_eq!(files["files"][0]["with"], json!([ada]));
    assert_eq!(shop.bytes(&format!("subjects/{bob}/files/owned/contract")).unwrap(), b"17 roses");
    let mut name = |shop: &mut Client, id: &str| {
        let said = json!({ "status": "given" });
        shop.done("PUT", &format!("subjects/{id}/consents/newsletter"), &said);
        let page = job.get("jobs/newsletter/subjects");
        let shown = page["subjects"].as_array().unwrap().iter();
        let path = |one: &Value| {
            let name = one["subject"].as_str().unwrap();
            format!("jobs/newsletter/subjects/{name}/files/owned/contract")
        };
        shown.map(path).map(|path| job.bytes(&path).is_some()).collect::<Vec<bool>>()
    };
    assert_eq!(name(&mut shop, &ada), [false]);
    assert_eq!(name(&mut shop, &bob), [true, true]);
    let erased = shop.done("POST", &format!("subjects/{ada}/erase"), &Value::Null);
    assert_eq!(erased["joint_files"], 1);
    assert_eq!(shop.bytes(&format!("subjects/{bob}/files/owned/contract")), None);
}
