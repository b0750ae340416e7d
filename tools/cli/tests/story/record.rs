//! The log, policies held against it, and errors.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use serde_json::Value;
use strongroom_crypto::hash::sha256;
use strongroom_records::log::base64;

use super::Story;

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

/// Begins an answer that is larger than a pipe holds, reads its first byte and no more, and has something else written.
#[track_caller]
fn others_write_while_nobody_reads(story: &Story, line: &str) {
    let mut command = story.command(line);
    let mut reading = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut out = reading.stdout.take().unwrap();
    let begun = out.read_exact(&mut [0]);
    let written = story.say("subject create --app shop");
    drop(out);
    begun.expect(line);
    assert_eq!(reading.wait().unwrap().code(), Some(0), "{line}");
    assert_eq!((written.code, &*written.err), (0, ""), "{line}");
}

#[test]
fn whoever_is_slow_to_read_an_answer_keeps_nobody_from_writing() {
    let story = Story::new();
    story.done("app create shop");
    story.told("subject import - --app shop", &"{}\n".repeat(1000));
    let ada = story.done("subject create --app shop").trim_end().to_owned();
    let of_hers = format!("{ada} --app shop --class owned --name photo");
    story.told(&format!("subject put {of_hers}"), &"x".repeat(1 << 20));
    for line in ["audit show --count 1000 --app shop", "subject list --app shop"] {
        others_write_while_nobody_reads(&story, line);
    }
    others_write_while_nobody_reads(&story, &format!("subject get {of_hers}"));
}

/// RFC 6962, 2.1, as it stands there.
fn root(leaves: &[Vec<u8>]) -> [u8; 32] {
    if let [leaf] = leaves {
        return sha256(&[&[0], &leaf[..]].concat());
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    sha256(&[&[1][..], &root(left), &root(right)].concat())
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
