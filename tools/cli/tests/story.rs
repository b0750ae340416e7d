//! The story of personal data, told by the command alone: two applications, some people, three consumers; yes and no,
//! withdrawal, a new application key, an export compared with what was put in, an erasure; nothing personal on any disk.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Place, Said, can_mount};
use serde_json::Value;
use strongroom_crypto::hash::sha256;
use strongroom_records::log::base64;

const SCHEMA: &str =
    r#"{"email": {"type": "email", "required": true, "lookup": true}, "name": {"type": "text"}}"#;
const PEOPLE: [&str; 4] = ["ada", "bob", "charlie", "dora"];

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

#[test]
fn the_story_of_two_applications_and_three_consumers() {
    let story = Story::new();
    let folder = story.place.path("");
    story.done(&format!("app create shop --custody file:{}/shop.key", folder.display()));
    story.done("app create clinic --custody env:CLINIC_KEY");
    story.done(&format!("app schema --app shop --from {}/schema.json", folder.display()));
    story.done("app class health --app clinic --special");
    let applications = story.json("app list");
    let names: Vec<&str> = applications["applications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shop", "clinic"]);
    let subjects: Vec<String> = PEOPLE.iter().map(|name| story.person("shop", name)).collect();
    let patient = story.told(
        "subject create --app clinic --lookup-from -",
        r#"{"email": "ada-canary@example.com"}"#,
    );
    consumers(&story);
    answers(&story, &subjects);
    special_class(&story, &patient);
    withdrawal(&story, &subjects);
    rotation(&story, &subjects);
    export(&story, &subjects);
    erasure(&story, &subjects);
    let verified = story.json("audit verify --app shop");
    assert_eq!(verified["findings"].as_array().unwrap().len(), 0);
    assert!(verified["entries"].as_u64().unwrap() > 40);
    assert_eq!((verified["subjects"].as_u64(), verified["files"].as_u64()), (Some(4), Some(6)));
    damage(&story);
    nothing_personal_on_disk(&story, 100);
}

/// The application's own drive: `subjects/<id>/<class>` to read and to write, beside commands that see the same.
#[test]
fn an_application_reads_and_writes_its_people_in_a_drive_of_its_own() {
    if !can_mount() {
        return;
    }
    let story = Story::new();
    let folder = story.place.path("");
    story.done("app create shop");
    story.done(&format!("app schema --app shop --from {}/schema.json", folder.display()));
    let ada = story.person("shop", "ada");
    let mount = "mount STORE DRIVE --background --passphrase-file PASS --app shop";
    story.place.run(&format!("{mount} -o allow_other")).expect_refused(
        2,
        "strongroom: people's data is for the user who mounts it\n\
         hint: leave out `allow_other` and `allow_root`\n",
    );
    assert_eq!(story.place.run(&format!("{mount} --take-over")).code, 2);
    story.place.run(mount).expect_done();
    let drive = story.place.drive();
    let class = |class: &str| drive.join("subjects").join(&ada).join(class);
    let profile = fs::read_to_string(class("identifiable").join("profile.json")).unwrap();
    assert_eq!(profile, Story::profile("ada"));
    fs::write(class("owned").join("order-17.json"), "{}").unwrap();
    fs::rename(class("owned").join("ada-canary.txt"), class("owned").join("old.txt")).unwrap();
    fs::write(class("identifiable").join("profile.json"), Story::profile("lady-ada")).unwrap();
    let get = format!("subject get {ada} --app shop --class");
    assert_eq!(story.done(&format!("{get} owned --name order-17.json")), "{}");
    assert_eq!(story.done(&format!("{get} owned --name old.txt")), "ada-canary: roses");
    let find = |email: &str| {
        let input = format!(r#"{{"email": "{email}-canary@example.com"}}"#);
        story.told("subject find --app shop --lookup-from -", &input)
    };
    assert!(find("lady-ada").contains(&ada));
    // Who comes later is there at once, and so is what a command writes.
    let bob = story.person("shop", "bob");
    let order = drive.join("subjects").join(&bob).join("owned/bob-canary.txt");
    assert_eq!(fs::read_to_string(order).unwrap(), "bob-canary: roses");
    let mut people: Vec<String> = fs::read_dir(drive.join("subjects"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    people.sort();
    let mut both = vec![ada.clone(), bob.clone()];
    both.sort();
    assert_eq!(people, both);
    let status = story.place.run("status DRIVE --json").expect_done();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (status["mode"].as_str(), status["writable"].as_bool()),
        (Some("application"), Some(true))
    );
    story.place.run("sync --wait DRIVE").expect_done();
    // What is about both is with both; no program writes over it.
    let put = "--app shop --class owned --name contract.txt";
    story.told(&format!("subject put {ada} {put} --with {bob}"), "17 roses");
    let contract = drive.join("subjects").join(&bob).join("owned/contract.txt");
    for path in [&contract, &class("owned").join("contract.txt")] {
        assert_eq!(fs::read_to_string(path).unwrap(), "17 roses");
        assert!(fs::write(path, "18 roses").is_err());
        assert!(fs::rename(class("owned").join("old.txt"), path).is_err());
        assert!(fs::remove_file(path).is_err());
    }
    // Whoever is erased is gone from it, and what was about them and others.
    story.done(&format!("subject erase {bob} --app shop --yes"));
    assert!(!drive.join("subjects").join(&bob).exists());
    assert!(!class("owned").join("contract.txt").exists());
    assert!(class("owned").join("old.txt").exists());
    story.place.unmount();
    fs::write(story.place.path("list.sh"), "ls $STRONGROOM_MOUNT/subjects\n").unwrap();
    let listed = "run STORE --app shop --passphrase-file PASS -- sh list.sh";
    let listed = story.place.run(listed);
    assert_eq!(listed.expect_done().trim(), ada);
    assert_eq!(story.json("audit verify --app shop")["findings"], Value::Array(vec![]));
    let report = story.done(&format!("subject report {ada} --app shop"));
    assert!(report.contains("access  own  write  allowed"), "{report}");
    assert!(report.contains("owned/order-17.json"), "{report}");
    nothing_personal_on_disk(&story, 30);
}

/// A file of a person is missing in the store: `audit verify` says so, by names that say nothing of anybody.
fn damage(story: &Story) {
    let listed = story.json("app list");
    let shop = listed["applications"][0]["application"].as_str().unwrap();
    let objects = story.place.store().join("policy").join(shop).join("object");
    let folders = fs::read_dir(objects).unwrap().flatten();
    let mut files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    let object = files.next().unwrap().path();
    let (bytes, id) = (fs::read(&object).unwrap(), object.file_name().unwrap().to_str().unwrap());
    fs::remove_file(&object).unwrap();
    let told = story.say("audit verify --app shop");
    assert_eq!(told.code, 7);
    let found = told.out.lines().last().unwrap().to_owned();
    assert!(found.contains(": a subject's file is missing  ") && found.ends_with(id), "{found}");
    let json = story.say("audit verify --app shop --json");
    let verified: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, verified["findings"].as_array().unwrap().len()), (7, 1));
    assert_eq!(verified["findings"][0]["file"], id);
    let whose = verified["findings"][0]["subject"].as_str().unwrap().to_owned();
    let all = story.json("subject list --app shop");
    assert!(all["subjects"].as_array().unwrap().iter().any(|one| one["audit_pseudonym"] == whose));
    fs::write(&object, bytes).unwrap();
    assert_eq!(story.json("audit verify --app shop")["findings"], Value::Array(vec![]));
    story.say("audit verify --app shop --custody file:/nowhere/key").expect_refused(
        5,
        "strongroom: the application key is not in custody: nothing of the application was looked at\n\
         hint: give the place of the key with `--custody`\n",
    );
}

/// Three jobs of the shop: two by consent, one by contract. Nothing is open before approval.
fn consumers(story: &Story) {
    let notice = story.place.path("notice.md");
    for (name, basis, class) in [
        ("newsletter", "consent", "identifiable"),
        ("research", "consent", "owned"),
        ("shipping", "contract", "identifiable"),
    ] {
        story.done(&format!(
            "consumer register {name} --app shop --purpose {name}.work --basis {basis} --class {class} --notice {}",
            notice.display()
        ));
        assert_eq!(story.seen("shop", name), Vec::<String>::new());
        story.done(&format!("consumer approve {name} --app shop"));
    }
    assert_eq!(story.json("consumer list --app shop")["activities"].as_array().unwrap().len(), 3);
}

/// ada and bob agree to the newsletter, charlie refuses, dora says nothing; only charlie agrees to research.
fn answers(story: &Story, subjects: &[String]) {
    let shown = story.done(&format!("consent show --app shop --subject {}", subjects[0]));
    assert_eq!(shown, "newsletter: requested\nresearch: requested\n");
    let evidence = story.place.path("answer.json");
    for (verb, who, activity) in [
        ("grant", 0, "newsletter"),
        ("grant", 1, "newsletter"),
        ("deny", 2, "newsletter"),
        ("grant", 2, "research"),
    ] {
        story.done(&format!(
            "consent {verb} --app shop --subject {} --activity {activity} --evidence {}",
            subjects[who],
            evidence.display()
        ));
    }
    assert_eq!(story.seen("shop", "newsletter").len(), 2);
    assert_eq!(story.seen("shop", "research").len(), 1);
    assert_eq!(story.seen("shop", "shipping").len(), 4);
    let ada = story.name_of("newsletter", "ada");
    let get = format!("subject get {ada} --app shop --class identifiable --name profile.json");
    // Another consumer's name for her, another class, the subject's id: refused in the same words.
    for line in [
        format!("{get} --activity research"),
        format!("subject get {ada} --app shop --class owned --name x --activity newsletter"),
        format!(
            "subject get {} --app shop --class identifiable --name x --activity newsletter",
            subjects[0]
        ),
        format!(
            "subject get {} --app shop --class identifiable --name x --activity newsletter",
            "ab".repeat(16)
        ),
    ] {
        story.say(&line).expect_refused(
            4,
            "strongroom: not allowed\nhint: the audit log says why, to whoever may read it\n",
        );
    }
}

/// A special class opens by an explicit consent alone.
fn special_class(story: &Story, patient: &str) {
    story.told(
        &format!("subject put {patient} --app clinic --class health --name finding.txt"),
        "canary: well",
    );
    let notice = story.place.path("notice.md");
    story.done(&format!(
        "consumer register study --app clinic --purpose study --basis consent --class health --notice {}",
        notice.display()
    ));
    story.done("consumer approve study --app clinic");
    story.done(&format!("consent grant --app clinic --subject {patient} --activity study"));
    assert_eq!(story.seen("clinic", "study").len(), 0);
    story.done(&format!(
        "consent grant --app clinic --subject {patient} --activity study --explicit"
    ));
    assert_eq!(story.seen("clinic", "study").len(), 1);
}

fn withdrawal(story: &Story, subjects: &[String]) {
    let [ada, bob] = ["ada", "bob"].map(|who| story.name_of("newsletter", who));
    story.done(&format!(
        "consent withdraw --app shop --subject {} --activity newsletter",
        subjects[1]
    ));
    assert_eq!(story.seen("shop", "newsletter"), [ada]);
    let get = format!(
        "subject get {} --app shop --class identifiable --name profile.json --activity newsletter",
        bob
    );
    assert_eq!(story.say(&get).code, 4);
    let explained = story.json("audit show --app shop --count 1");
    let entry = &explained["entries"][0];
    assert_eq!(entry["reason"], "the subject did not agree, or no longer does");
    let record = entry["record"].as_u64().unwrap();
    let text = story.done(&format!("policy explain {record} --app shop"));
    assert!(text.contains("open  refused"), "{text}");
}

fn rotation(story: &Story, subjects: &[String]) {
    let old = fs::read(story.place.path("shop.key")).unwrap();
    let rotated = story.json("app rotate --app shop");
    assert_eq!(
        (rotated["generation"].as_u64(), rotated["old_key_refused"].as_bool()),
        (Some(2), Some(true))
    );
    let get = format!("subject get {} --app shop --class owned --name ada-canary.txt", subjects[0]);
    assert_eq!(story.done(&get), "ada-canary: roses");
    let one = story.json(&format!("subject rotate {} --deep --app shop", subjects[0]));
    assert_eq!((one["generation"].as_u64(), one["files"].as_u64()), (Some(2), Some(2)));
    let all = story.json("app rotate --everybody --deep --app shop");
    assert_eq!((all["subjects"].as_u64(), all["files"].as_u64()), (Some(4), Some(8)));
    assert_eq!(story.done(&get), "ada-canary: roses");
    let new = fs::read(story.place.path("shop.key")).unwrap();
    fs::write(story.place.path("shop.key"), old).unwrap();
    story.say(&get).expect_refused(
        5,
        "strongroom: the application key is not in custody\nhint: give the place of the key with `--custody`\n",
    );
    fs::write(story.place.path("shop.key"), new).unwrap();
    let rotated = story.json("app rotate --app clinic");
    assert_eq!(
        rotated["old_key_refused"].as_bool(),
        Some(false),
        "a handed secret is not ours to end"
    );
}

/// The package is what was put in, and `sha256sum` finds it whole.
fn export(story: &Story, subjects: &[String]) {
    let bag = story.place.path("bag");
    story.done(&format!("subject export {} --app shop --to {}", subjects[0], bag.display()));
    let read = |path: &str| fs::read_to_string(bag.join(path)).unwrap();
    assert_eq!(read("data/files/identifiable/profile.json"), Story::profile("ada"));
    assert_eq!(read("data/files/owned/ada-canary.txt"), "ada-canary: roses");
    let consents: Value = serde_json::from_str(&read("data/consents.json")).unwrap();
    assert_eq!(
        (&consents[0]["activity"], &consents[0]["status"]),
        (&"newsletter".into(), &"given".into())
    );
    let report: Value = serde_json::from_str(&read("data/access-report.json")).unwrap();
    let reads = report.as_array().unwrap().iter().filter(|line| line["activity"] == "newsletter");
    assert!(reads.count() >= 3);
    assert!(read("data/index.html").contains("newsletter"));
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let check = Command::new("sha256sum")
            .args(["--check", "--quiet", manifest])
            .current_dir(&bag)
            .status();
        assert!(check.unwrap().success(), "{manifest}");
    }
    let organisation = story.json("app list")["organisation"].as_str().unwrap().to_owned();
    let receipt = bag.join("receipt.cbor");
    let mut command = story.place.command("audit receipt");
    command.arg(&receipt).args(["--organisation", &organisation, "-w"]).arg(story.place.store());
    let said = story.place.said(command.output().unwrap()).expect_done();
    assert!(said.starts_with("export, ") && said.contains("holds"), "{said}");
    // Which entry is the last one is said under the signature, and it is the last one shown.
    let proofs: Value = serde_json::from_str(&read("data/proofs/entries.json")).unwrap();
    let shown = proofs["entries"].as_array().unwrap();
    let last = shown.last().unwrap()["sha256"].as_str().unwrap();
    assert!(said.ends_with(&format!("entries 1 to {}, the last {last}\n", shown.len())), "{said}");
    fs::remove_dir_all(&bag).unwrap();
}

fn erasure(story: &Story, subjects: &[String]) {
    let ada = &subjects[0];
    story.done(&format!("subject hold {ada} --app shop --ground litigation"));
    story.say(&format!("subject erase {ada} --app shop --yes")).expect_refused(
        4,
        "strongroom: a hold is in force\nhint: `strongroom subject show` lists the holds; lift them first\n",
    );
    story.done(&format!("subject hold {ada} --app shop --ground litigation --lift"));
    story
        .say(&format!("subject erase {ada} --app shop"))
        .expect_refused(1, "strongroom: nothing was done\nhint: say `yes`, or give `--yes`\n");
    let receipt = story.place.path("receipt");
    let erased = story
        .json(&format!("subject erase {ada} --app shop --yes --receipt {}", receipt.display()));
    assert_eq!(erased["objects_left"].as_u64(), Some(0));
    assert_eq!(erased["irrecoverable_from"], Value::Null, "a key file is best effort and says so");
    let bag = story.place.path("late");
    story.say(&format!("subject export {ada} --app shop --to {}", bag.display())).expect_refused(
        4,
        "strongroom: not allowed\nhint: the audit log says why, to whoever may read it\n",
    );
    assert!(!bag.exists(), "a package that is none");
    let get = format!("subject get {ada} --app shop --class owned --name ada-canary.txt");
    assert_eq!(story.say(&get).code, 4);
    let found = story
        .told("subject find --app shop --lookup-from -", r#"{"email": "ada-canary@example.com"}"#);
    assert_eq!(found, "");
    let found = story
        .told("subject find --app shop --lookup-from -", r#"{"email": "bob-canary@example.com"}"#);
    assert_eq!(found, subjects[1]);
    assert!(story.done(&format!("subject report {ada} --app shop")).contains("erasure closed"));
    assert_eq!(story.seen("shop", "shipping").len(), 3);
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

#[test]
fn many_people_are_imported_once_however_often_it_is_asked() {
    let story = Story::new();
    story.done("app create shop");
    let people: String = (0..3)
        .map(|n| format!("{{\"lookups\": {{\"number\": \"{n}\"}}, \"profile\": {{\"n\": {n}}}}}\n"))
        .collect();
    let ids = story.told("subject import - --app shop --request first", &people);
    assert_eq!(ids.lines().count(), 3);
    assert_eq!(story.told("subject import - --app shop --request first", &people), ids);
    let found = story.told("subject find --app shop --lookup-from -", r#"{"number": "1"}"#);
    assert_eq!(Some(found.as_str()), ids.lines().nth(1));
    story.done("policy retention --app shop --class owned --days 0");
    let one = ids.lines().next().unwrap();
    story.told(&format!("subject put {one} --app shop --class owned --name a.txt"), "a");
    let due = story.json("policy retention --app shop");
    assert_eq!((due["files"].as_u64(), due["removed"].as_bool()), (Some(1), Some(false)));
    let gone = story.json("policy retention --app shop --run");
    assert_eq!((gone["files"].as_u64(), gone["removed"].as_bool()), (Some(1), Some(true)));
    assert_eq!(story.done(&format!("subject files {one} --app shop --class owned")), "");
    story
        .done(&format!("subject remove {one} --app shop --class identifiable --name profile.json"));
    fs::write(story.place.path("bad"), format!("{people}[]\n")).unwrap();
    let bad = story.place.path("bad");
    story.say(&format!("subject import {} --app shop", bad.display())).expect_refused(
        1,
        "strongroom: line 4 is no subject; nothing was created\n\
         hint: for example {\"lookups\": {\"email\": \"ada@example.com\"}, \"profile\": {}}\n",
    );
    // What the schema says of a line counts before anybody is created.
    story.told("app schema --app shop --from -", r#"{"n": {"type": "number"}}"#);
    fs::write(&bad, format!("{people}{{\"profile\": {{\"n\": \"three\"}}}}\n")).unwrap();
    story.say(&format!("subject import {} --app shop", bad.display())).expect_refused(
        1,
        "strongroom: line 4: the profile's `n` is not what the schema says; nothing was created\n",
    );
    assert_eq!(story.json("subject list --app shop")["subjects"].as_array().unwrap().len(), 3);
}

#[test]
fn a_file_about_two_is_put_once_and_ends_with_either() {
    let story = Story::new();
    story.done("app create shop");
    let [ada, bob] = ["ada", "bob"].map(|name| story.person("shop", name));
    let owned = "--app shop --class owned";
    let put = format!("subject put {ada} {owned} --with {bob} --name contract.txt");
    story.told(&put, "17 roses");
    let files = story.json(&format!("subject files {bob} {owned}"));
    let line =
        files["files"].as_array().unwrap().iter().find(|line| line["name"] == "contract.txt");
    assert_eq!(line.unwrap()["with"], serde_json::json!([ada]));
    let get = format!("subject get {bob} {owned} --name contract.txt");
    assert_eq!(story.done(&get), "17 roses");
    story.done("policy retention --app shop --subjects --days 1 --notice 1");
    let listed = story.done("subject list --app shop --due");
    let ends = |line: &str| line.ends_with("no notice yet  1 file about others as well");
    assert_eq!(listed.lines().filter(|line| ends(line)).count(), 2, "{listed}");
    let erased = story.json(&format!("subject erase {ada} --app shop --yes"));
    assert_eq!(erased["joint_files"], 1);
    assert_eq!(story.say(&get).code, 1);
    assert_eq!(story.say("audit verify --app shop").code, 0);
}

#[test]
fn an_exported_log_has_what_its_signed_head_is_of() {
    let story = Story::new();
    story.done("app create shop");
    let ada = story.told("subject create --app shop --lookup-from -", r#"{"name": "ada"}"#);
    for _ in 0..4 {
        story.done(&format!("subject report {ada} --app shop"));
        story.told("subject find --app shop --lookup-from -", r#"{"name": "ada"}"#);
    }
    let log = story.place.path("log");
    story.done(&format!("audit export --app shop --to {}", log.display()));
    let lines = fs::read_to_string(log.join("entries.jsonl")).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let leaf = |line: &str| -> Vec<u8> {
        let json: Value = serde_json::from_str(line).unwrap();
        json["leaf"].as_str().unwrap().as_bytes().chunks(2).map(byte).collect()
    };
    let leaves: Vec<Vec<u8>> = lines.lines().map(leaf).collect();
    let head = fs::read_to_string(log.join("head.txt")).unwrap();
    let said: Vec<&str> = head.lines().collect();
    assert_eq!(said[1], leaves.len().to_string());
    assert_eq!(said[2], base64(&root(&leaves)));
}

/// RFC 6962, 2.1, as it stands there.
fn root(leaves: &[Vec<u8>]) -> [u8; 32] {
    if let [leaf] = leaves {
        return sha256(&[&[0], &leaf[..]].concat());
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    sha256(&[&[1][..], &root(left), &root(right)].concat())
}

/// Store, home and key file, all copied and all put back: what a thorough backup does.
#[test]
fn a_backup_of_store_home_and_key_brings_nobody_back_where_a_ledger_lies_apart() {
    let story = Story::new();
    let apart = tempfile::tempdir().unwrap();
    let ledger = apart.path().join("erased");
    story.done("app create shop");
    let ada = story.done("subject create --app shop").trim_end().to_owned();
    let of_hers = format!("{ada} --app shop --class owned --name order");
    story.told(&format!("subject put {of_hers}"), "17 roses");
    let notice = story.place.path("notice");
    fs::write(&notice, "we write to you").unwrap();
    story.done(&format!(
        "consumer register newsletter --app shop --purpose news --basis consent --class owned --notice {}",
        notice.display()
    ));
    story.done("consumer approve newsletter --app shop");
    let bob = story.done("subject create --app shop").trim_end().to_owned();
    let of_his = format!("--app shop --subject {bob}");
    story.done(&format!("consent grant {of_his} --activity newsletter"));
    let answered = || story.done(&format!("consent show {of_his}"));
    let copy = |from: &Path, to: &Path| {
        let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(done.success());
    };
    let back_up = |day: &str| {
        for name in ["store", "home"] {
            copy(&story.place.path(name), &story.place.path(&format!("{name}.{day}")));
        }
    };
    let restore = |day: &str| {
        for name in ["store", "home"] {
            fs::remove_dir_all(story.place.path(name)).unwrap();
            copy(&story.place.path(&format!("{name}.{day}")), &story.place.path(name));
        }
    };
    let read = || story.say(&format!("subject get {of_hers}"));
    back_up("before");
    story.done(&format!("app ledger file:{} --app shop", ledger.display()));
    back_up("yesterday");
    let receipt = story.place.path("receipt");
    story.done(&format!("subject erase {ada} --app shop --yes --receipt {}", receipt.display()));
    story.done(&format!("consent withdraw {of_his} --activity newsletter"));

    restore("yesterday");
    assert_eq!(answered(), "newsletter: withdrawn\n");
    assert_eq!(read().code, 4);
    assert_eq!(story.json(&format!("subject show {ada} --app shop"))["state"], "erased");
    // Without its ledger nothing is opened.
    fs::rename(&ledger, apart.path().join("away")).unwrap();
    let said = story.say("subject list --app shop");
    let first = "strongroom: the ledger cannot be read or written";
    assert_eq!((said.code, said.err.lines().next()), (6, Some(first)));

    // The control: a backup from before the ledger opens, until somebody shows the receipt.
    restore("before");
    assert_eq!(read().expect_done(), "17 roses");
    let again = story.json(&format!("app replay {} --app shop", receipt.display()));
    assert_eq!(again["erased"][0].as_str(), Some(ada.as_str()));
    assert_eq!(read().code, 4);
    // Of what was said a receipt of an erasure knows nothing; the ledger does, wherever it lies.
    assert_eq!(answered(), "newsletter: given\n");
    let away = apart.path().join("away");
    let again = story.json(&format!("app replay {} --app shop", away.display()));
    assert_eq!(again["answered"][0].as_str(), Some(bob.as_str()));
    assert_eq!(answered(), "newsletter: withdrawn\n");
}

#[test]
fn personal_data_outlives_the_loss_of_local_state_and_not_that_of_the_key() {
    let story = Story::new();
    let made = story.json("app create shop");
    let key = made["custody"].as_str().unwrap().strip_prefix("file:HERE/").unwrap().to_owned();
    let ada = story.done("subject create --app shop").trim_end().to_owned();
    let of_hers = format!("{ada} --app shop --class owned --name order");
    story.told(&format!("subject put {of_hers}"), "17 roses");
    fs::remove_dir_all(story.place.path("home/state")).unwrap();
    assert_eq!(story.done(&format!("subject get {of_hers}")), "17 roses");

    fs::remove_file(story.place.path(&key)).unwrap();
    assert_eq!(story.say(&format!("subject get {of_hers}")).code, 5);
}

/// Cases of an application are about its classes, by the numbers that its policies use.
fn classes_are_the_applications(story: &Story) {
    story.done("app class health --app shop --special");
    story.done("app class place --app shop");
    let policies = format!(
        "{}\n@id(\"no-place\") forbid (principal, action, resource) when {{ resource.class == DataClass::\"17\" }};",
        strongroom_cedar::BUILT_IN
    );
    fs::write(story.place.path("place.cedar"), policies).unwrap();
    let case = |class: &str| {
        format!(
            r#"{{"cases": [{{"class": "{class}", "consent": {{"status": "given"}}, "expect": "deny"}}]}}"#
        )
    };
    fs::write(story.place.path("place.json"), case("place")).unwrap();
    let file = |name: &str| story.place.path(name).display().to_string();
    let test = format!("policy test {} --policies {}", file("place.json"), file("place.cedar"));
    assert_eq!(story.done(&format!("{test} --app shop")), "1 cases, 0 otherwise than expected\n");
    // The policies in force say nothing of it.
    let in_force = story.say(&format!("policy test {} --app shop", file("place.json")));
    let said = "case 1: expected deny, is allow\n1 cases, 1 otherwise than expected\n";
    assert_eq!((in_force.code, in_force.out.as_str()), (1, said));
    story.place.run(&test).expect_refused(
        1,
        "strongroom: case 1: no class `place` is declared: list `classes`, or name an application\n",
    );
}

#[test]
fn policies_are_tried_set_explained_and_held_against_the_past() {
    let story = Story::new();
    story.done("app create shop");
    let ada = story.done("subject create --app shop").trim_end().to_owned();
    let of_hers = format!("{ada} --app shop --class owned --name order");
    story.told(&format!("subject put {of_hers}"), "17 roses");
    let asked = format!("subject get {of_hers}");
    story.done(&asked);
    // Somebody else is to decide as well, and is not there: that is no yes.
    story.done("policy point http://127.0.0.1:1 --app shop");
    assert_eq!(story.say(&asked).code, 4);
    let elsewhere = story.say("policy point http://10.0.0.1:80 --app shop");
    let first = "strongroom: a decision point is asked on this machine: http://127.0.0.1:PORT or unix:/PATH";
    assert_eq!((elsewhere.code, elsewhere.err.lines().next()), (1, Some(first)));
    story.done("policy point --none --app shop");
    let built_in = strongroom_cedar::BUILT_IN;
    let closed = format!(
        "{built_in}\n@id(\"own-closed\") forbid (principal, action == Action::\"open\", resource) when {{ principal.own }};"
    );
    fs::write(story.place.path("closed.cedar"), &closed).unwrap();
    let cases = r#"{"cases": [
        {"name": "ours", "activity": {"own": true, "basis": "contract"}, "expect": "allow"},
        {"name": "theirs", "consent": {"status": "given"}, "expect": "allow"}]}"#;
    fs::write(story.place.path("cases.json"), cases).unwrap();
    let file = |name: &str| story.place.path(name).display().to_string();
    let test = format!("policy test {}", file("cases.json"));
    assert_eq!(story.place.run(&test).expect_done(), "2 cases, 0 otherwise than expected\n");
    let failed = story.place.run(&format!("{test} --policies {}", file("closed.cedar")));
    let said = "ours: expected allow, is deny: the policies do not permit it\n\
                2 cases, 1 otherwise than expected\n";
    assert_eq!((failed.code, failed.out.as_str()), (1, said));

    classes_are_the_applications(&story);
    let told = story.json(&format!("policy what-if {} --app shop", file("closed.cedar")));
    let changed = told["changed"].as_array().unwrap();
    assert_eq!((changed.len(), &changed[0]["policies"][0]), (1, &Value::from("own-closed")));
    assert_eq!(
        (&changed[0]["was_allowed"], &changed[0]["would_be_allowed"]),
        (&true.into(), &false.into())
    );
    let set = story.json(&format!("policy set {} --app shop", file("closed.cedar")));
    assert_eq!((&set["version"], &set["in_force"]), (&1.into(), &true.into()));
    assert_eq!(story.say(&asked).code, 4);
    let newest = story.json("audit show --count 1 --app shop")["entries"][0]["record"].clone();
    let explained = story.json(&format!("policy explain {newest} --app shop"));
    let decision = &explained["decisions"][0];
    assert_eq!(
        (&decision["policies"][0], &decision["same_again"]),
        (&"own-closed".into(), &true.into())
    );
    let history = story.json("policy history --app shop");
    assert_eq!(history["sets"][0]["digest"], set["digest"]);
    assert_eq!(story.done("policy show --version 1 --app shop"), closed);
    let digest = set["digest"].as_str().unwrap();
    let none = story.say(&format!("policy activate 2 {digest} --app shop"));
    let first = "strongroom: no policy set of that version and digest waits";
    assert_eq!((none.code, none.err.lines().next()), (1, Some(first)));
    assert_eq!(story.say("policy activate 2 ab --app shop").code, 2);
}

#[test]
fn two_that_are_one_person_become_one_when_somebody_says_yes() {
    let story = Story::new();
    story.done("app create shop");
    let create = || story.done("subject create --app shop").trim_end().to_owned();
    let (ada, twin) = (create(), create());
    let line = format!("subject merge {ada} {twin} --app shop");
    let refused = story.say(&line);
    assert_eq!(
        (refused.code, refused.err.lines().next()),
        (1, Some("strongroom: nothing was done"))
    );
    assert_eq!(story.done(&format!("{line} --yes")), "0 files moved\n");
    assert_eq!(story.json(&format!("subject show {twin} --app shop"))["state"], "erased");
}

#[test]
fn a_store_with_applications_is_still_a_sound_workspace() {
    let story = Story::new();
    story.done("app create shop");
    story.person("shop", "ada");
    story.place.run("check STORE --passphrase-file PASS").expect_sound();
    assert!(!Path::new(&story.place.store()).join("policy").join("canary").exists());
}

/// Each command is a process, so each finds the key in the token anew.
#[test]
fn an_application_key_in_a_security_module_ends_at_once_and_the_receipt_says_so() {
    let story = Story::new();
    let Some((settings, token)) = strongroom_custody::testing::token_in(&story.place.path(""))
    else {
        return;
    };
    let json = |line: &str| -> Value {
        let mut command = story.command(&format!("{line} --json"));
        let output = command.env("SOFTHSM2_CONF", &settings).output().unwrap();
        serde_json::from_str(&story.place.said(output).expect_done()).unwrap()
    };
    json(&format!("app create vault --custody pkcs11:{token}"));
    let made = json("subject create --app vault");
    let subject = made["subject"].as_str().unwrap();
    assert_eq!(json("app rotate --app vault")["old_key_refused"].as_bool(), Some(true));
    let erased = json(&format!("subject erase {subject} --app vault --yes"));
    assert_eq!(erased["old_key"], "destroyed");
    assert!(erased["irrecoverable_from"].is_string());
    // Without its settings the module has no such token; another PIN opens nothing.
    let away = story.say("subject list --app vault");
    assert_eq!((away.code, away.err.lines().next().unwrap_or_default()), (6, NO_TOKEN));
    fs::write(story.place.path("pin"), "000000").unwrap();
    let mut refused = story.command("subject list --app vault");
    let refused = story.place.said(refused.env("SOFTHSM2_CONF", &settings).output().unwrap());
    let said = "strongroom: the token refuses the PIN; it is not tried again";
    assert_eq!((refused.code, refused.err.lines().next()), (4, Some(said)));
}

const NO_TOKEN: &str = "strongroom: there is no such token in the module";

#[test]
fn errors_are_plain_words_and_documented_numbers() {
    let story = Story::new();
    story.done("app create shop");
    for (line, code, first) in [
        ("app create shop", 1, "strongroom: there is an application of that name"),
        ("app rotate --app nobody", 1, "strongroom: there is no such application"),
        ("app create x --custody safe:1", 2, "strongroom: no such kind of custody"),
        (
            "app create x --custody env:NOT_SET",
            5,
            "strongroom: the variable `NOT_SET` of custody is not set",
        ),
        (
            "subject show xyz --app shop",
            2,
            "strongroom: a subject is named by 32 hexadecimal digits",
        ),
        (
            "subject show 00000000000000000000000000000000 --app shop",
            1,
            "strongroom: there is no such subject",
        ),
        ("consumer approve nobody --app shop", 1, "strongroom: there is no such activity"),
        ("policy explain 0 --app shop", 1, "strongroom: that record holds no decision"),
    ] {
        let said = story.say(line);
        assert_eq!((said.code, said.err.lines().next()), (code, Some(first)), "{line}");
    }
    let wrong = story.place.run("app list --workspace STORE --passphrase-file WRONG");
    assert_eq!(wrong.code, 5);
}

/// The rule whose notice is as long as all their days begins with everybody's notice.
#[test]
fn who_is_due_is_listed_and_given_notice_by_a_run_of_retention() {
    let story = Story::new();
    story.done("app create shop");
    let ada = story.done("subject create --app shop").trim_end().to_owned();
    let bob = story.done("subject create --app shop").trim_end().to_owned();
    story.done(&format!("subject hold {bob} --app shop --ground litigation"));
    assert_eq!(story.done("subject list --app shop --due"), "");
    let set = "policy retention --app shop --subjects --days 1";
    story.say(set).expect_refused(
        1,
        "strongroom: notice is given for a day at least, and no longer than people are kept\n",
    );
    let due = story.json(&format!("{set} --notice 1"));
    let counts = |json: &serde_json::Value| {
        (json["noticed"].as_u64(), json["notice_running"].as_u64(), json["kept"].as_u64())
    };
    assert_eq!(counts(&due), (Some(1), Some(0), Some(1)));
    assert_eq!((&due["idle"]["days"], &due["idle"]["notice_days"]), (&1.into(), &1.into()));
    let listed = story.done("subject list --app shop --due");
    let [one, two] = listed.lines().collect::<Vec<_>>()[..] else { panic!("{listed}") };
    assert!(one.starts_with(&ada) && one.ends_with("no notice yet"), "{one}");
    assert!(two.starts_with(&bob) && two.ends_with("stays: held"), "{two}");
    assert_eq!(counts(&story.json("policy retention --app shop --run")).0, Some(1));
    let told = story.done("policy retention --app shop --run");
    assert!(
        told.contains("given notice: 0; erased: 0; notice runs: 1; due and kept: 1\n"),
        "{told}"
    );
    let listed = story.json("subject list --app shop --due");
    let lines = listed["subjects"].as_array().unwrap();
    assert!(lines[0]["erased_from"].as_str() > lines[0]["noticed"].as_str());
    assert_eq!((&lines[1]["kept"], lines[1]["erased_from"].as_str()), (&"held".into(), None));
    assert!(story.done(&format!("subject report {ada} --app shop")).contains("notice of erasure"));
    story.done("policy retention --app shop --subjects --forever");
    assert_eq!(story.done("subject list --app shop --due"), "");
    let both = format!("{set} --class owned");
    assert_eq!(story.say(&both).code, 2);
}
