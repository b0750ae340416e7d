//! The story of personal data, told by the command alone: two applications, some people, three consumers; yes and no,
//! withdrawal, a new application key, an export compared with what was put in, an erasure; nothing personal on any disk.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "story/applications.rs"]
mod applications;
mod common;
#[path = "story/drive.rs"]
mod drive;
#[path = "story/loss.rs"]
mod loss;
#[path = "story/people.rs"]
mod people;
#[path = "story/record.rs"]
mod record;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{Place, Said};
use serde_json::Value;

const SCHEMA: &str =
    r#"{"email": {"type": "email", "required": true, "lookup": true}, "name": {"type": "text"}}"#;

/// Where and with what everything happens: `shop` has its key in a file, `clinic` in a variable.
struct Story {
    place: Place,
}

impl Story {
    fn new() -> Self {
        let place = Place::with_workspace();
        fs::write(place.path("schema.json"), SCHEMA).unwrap();
        fs::write(place.path("notice.md"), "We write to you once a month.\n").unwrap();
        fs::write(place.path("answer.json"), r#"{"who": "canary herself", "how": "web form"}"#)
            .unwrap();
        Self { place }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.place.command(line);
        command.args(["--workspace"]).arg(self.place.store());
        command.args(["--passphrase-file"]).arg(self.place.path("pass"));
        command.env("CLINIC_KEY", "5a".repeat(32));
        command
    }

    fn say(&self, line: &str) -> Said {
        self.place.said(self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    fn done(&self, line: &str) -> String {
        self.say(line).expect_done()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} --json"))).unwrap()
    }

    /// Runs with something on standard input.
    #[track_caller]
    fn told(&self, line: &str, input: &str) -> String {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.place.said(child.wait_with_output().unwrap()).expect_done().trim_end().to_owned()
    }

    fn profile(name: &str) -> String {
        format!(r#"{{"email": "{name}-canary@example.com", "name": "{name}-canary"}}"#)
    }

    /// A person of an application, with profile and order.
    fn person(&self, app: &str, name: &str) -> String {
        let email = format!(r#"{{"email": "{name}-canary@example.com"}}"#);
        let subject = self.told(&format!("subject create --app {app} --lookup-from -"), &email);
        let put = format!("subject put {subject} --app {app} --class");
        self.told(&format!("{put} identifiable --name profile.json"), &Self::profile(name));
        self.told(
            &format!("{put} owned --name {name}-canary.txt"),
            &format!("{name}-canary: roses"),
        );
        subject
    }

    /// Pseudonyms that an activity sees.
    fn seen(&self, app: &str, activity: &str) -> Vec<String> {
        let listed = self.json(&format!("subject list --app {app} --activity {activity}"));
        let lines = listed["subjects"].as_array().unwrap().clone();
        lines.iter().map(|line| line["subject"].as_str().unwrap().to_owned()).collect()
    }

    /// Under which pseudonym an activity of the shop sees somebody: pseudonyms come in an order of the activity's own.
    fn name_of(&self, activity: &str, who: &str) -> String {
        let holds = |name: &String| {
            let line =
                format!("subject get {name} --app shop --class identifiable --name profile.json");
            self.done(&format!("{line} --activity {activity}")) == Self::profile(who)
        };
        self.seen("shop", activity).into_iter().find(holds).unwrap()
    }
}

/// Every file below the store and the home, searched for what people and jobs are called.
fn nothing_personal_on_disk(story: &Story, count_min: usize) {
    let mut count = 0;
    let mut folders = vec![story.place.store(), story.place.path("home")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            count += 1;
            let bytes = fs::read(entry.path()).unwrap();
            for word in ["canary", "example.com", "roses", "newsletter", "litigation"] {
                let is_there = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!is_there, "`{word}` in {}", entry.path().display());
            }
        }
    }
    assert!(count > count_min, "{count} files");
}
