//! From consent to erasure: two applications and three consumers.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Story, nothing_personal_on_disk};

const PEOPLE: [&str; 4] = ["ada", "bob", "charlie", "dora"];

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
