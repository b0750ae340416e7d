//! People: many at once, two of one file, two that are one, those who are due.

use std::fs;

use super::Story;

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
