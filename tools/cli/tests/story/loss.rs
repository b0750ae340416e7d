//! What backups and lost keys leave.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Story;

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
    let place = ledger.display();
    let first = "strongroom: the ledger cannot be read or written: ask again once it is there";
    let hint = format!("hint: it is looked for at `file:{place}`");
    assert_eq!((said.code, said.err.lines().collect::<Vec<_>>()), (6, vec![first, &hint]));

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

/// No other command gets out of it, and this one asks.
#[test]
fn an_application_whose_ledger_is_lost_opens_once_somebody_says_so() {
    let story = Story::new();
    let apart = tempfile::tempdir().unwrap();
    let ledger = apart.path().join("erased");
    story.done("app create shop");
    story.done("subject create --app shop");
    story.done(&format!("app ledger file:{} --app shop", ledger.display()));
    let there = story.say("app ledger --lost --yes --app shop");
    let first = "strongroom: the ledger is there: it is not given up";
    assert_eq!((there.code, there.err.lines().next()), (1, Some(first)));
    fs::remove_file(&ledger).unwrap();
    let elsewhere = format!("app ledger file:{} --app shop", apart.path().join("new").display());
    let others = ["subject list --app shop", "app ledger --none --app shop", &elsewhere];
    for line in others {
        let said = story.say(line);
        assert_eq!(said.code, 6, "{line}");
        assert!(said.err.contains(&format!("`file:{}`", ledger.display())), "{}", said.err);
    }
    let unasked = story.say("app ledger --lost --app shop");
    assert_eq!((unasked.code, story.say(others[0]).code), (1, 6), "{}", unasked.err);
    story.done("app ledger --lost --yes --app shop");
    assert!(story.done("audit show --app shop").contains("ledger given up"));
    assert_eq!(story.done("subject list --app shop").lines().count(), 1);
    story.done(&elsewhere);
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
