//! An application key that two devices out of two hold: neither opens it alone, and each is asked.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::agent::{Running, token};
use common::{Place, Said};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Two {
    place: Place,
}

impl Two {
    fn new() -> Self {
        let place = Place::new();
        fs::write(place.path("pass2"), "a passphrase of its own\n").unwrap();
        fs::create_dir(place.path("meeting")).unwrap();
        place.run("init STORE --little-memory --name desk --passphrase-file PASS").expect_done();
        let two = Self { place };
        two.take_in("home2", "laptop");
        two
    }

    /// Makes the device of a home one of the organisation's.
    fn take_in(&self, home: &str, name: &str) {
        let request = "device request STORE --little-memory --passphrase-file HERE/pass2";
        let asked = self.place.said(self.command(home, request).output().unwrap()).expect_done();
        let code = asked.trim_end();
        let add = format!("device add STORE --passphrase-file PASS --code {code} --name {name}");
        self.place.run(&add).expect_done();
    }

    /// `&holder=DEVICE` for each.
    fn holders(&self) -> Vec<String> {
        let listed =
            self.place.run("device list STORE --passphrase-file PASS --json").expect_done();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let holder = |one: &Value| format!("&holder={}", one["device"].as_str().unwrap());
        listed["devices"].as_array().unwrap().iter().map(holder).collect()
    }

    /// Runs on the first machine, and the second agrees to what it asks for.
    fn agreed(&self, line: &str) -> Said {
        let asking = self.started(line);
        self.agree(&self.request());
        self.place.said(asking.wait_with_output().unwrap())
    }

    /// The second machine agrees.
    fn agree(&self, id: &str) {
        let agree =
            format!("app agree HERE/meeting {id} --yes -w STORE --passphrase-file HERE/pass2");
        self.there(&agree).expect_done();
    }

    /// An application whose key both machines hold.
    fn vault(&self) {
        let (folder, holders) = (self.place.path("meeting"), self.holders().concat());
        let place = format!("quorum:{}?k=2{holders}&wait=120", folder.display());
        self.here(&format!("app create vault --custody {place}"));
    }

    /// On the first machine, with nobody to agree.
    fn here(&self, line: &str) -> String {
        self.place.run(&format!("{line} -w STORE --passphrase-file PASS")).expect_done()
    }

    /// Requests that wait.
    fn requests(&self) -> Vec<String> {
        let names = fs::read_dir(self.place.path("meeting")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(".ask").map(str::to_owned)).collect()
    }

    fn command(&self, home: &str, line: &str) -> Command {
        let line = line.replace("HERE", &self.place.path("").display().to_string());
        let mut command = self.place.command(&line);
        command.env("STRONGROOM_HOME", self.place.path(home)).stdin(Stdio::null());
        command
    }

    /// On the second machine.
    fn there(&self, line: &str) -> Said {
        self.place.said(self.command("home2", line).output().unwrap())
    }

    fn started(&self, line: &str) -> Child {
        let line = format!("{line} -w STORE --passphrase-file PASS");
        let mut command = self.command("home", &line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until somebody asks; the request.
    fn request(&self) -> String {
        self.request_beside(&[])
    }

    /// The same of one that was not there before.
    fn request_beside(&self, others: &[String]) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        while Instant::now() < end {
            if let Some(id) = self.requests().into_iter().find(|id| !others.contains(id)) {
                return id;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody asks");
    }
}

#[test]
fn neither_of_two_holders_has_the_key_without_the_other() {
    let two = Two::new();
    let holders = two.holders().concat();
    let folder = two.place.path("meeting").display().to_string();
    let create = format!("app create vault --custody quorum:{folder}?k=2{holders}");
    let made = two.place.run(&format!("{create} -w STORE --passphrase-file PASS"));
    made.expect_done();

    // Whoever asks waits; the other agrees; and there it is.
    let asking = two.started("subject create --app vault");
    let id = two.request();
    let of_two = format!("{folder} {id} -w STORE --passphrase-file HERE/pass2");
    let refused = two.there(&format!("app agree {of_two}"));
    assert_eq!(
        (refused.code, refused.err.lines().next()),
        (1, Some("strongroom: nothing was done"))
    );
    two.there(&format!("app agree {of_two} --yes")).expect_done();
    let said = two.place.said(asking.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.trim_end().len()), (0, 32), "{}", said.err);

    // Nobody agrees: the wait ends, nothing is left to answer.
    let impatient = format!("quorum:{folder}?k=2{holders}&wait=1");
    let line = format!("subject list --app vault --custody {impatient}");
    let said = two.place.run(&format!("{line} -w STORE --passphrase-file PASS"));
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(said.err.contains("too few holders of the quorum have agreed yet"), "{}", said.err);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_some_and(|own| own == "key")), "{left:?}");
}

#[test]
fn a_holder_who_is_removed_closes_nothing_and_another_place_is_written_down() {
    let two = Two::new();
    let remaining = two.holders().concat();
    two.take_in("home3", "lost");
    let all = two.holders();
    let lost = all.iter().find(|own| !remaining.contains(*own)).unwrap();
    // The folder as somebody types it who stands beside it.
    let create = format!("app create vault --custody quorum:meeting?k=2{}", all.concat());
    two.place.run(&format!("{create} -w STORE --passphrase-file PASS")).expect_done();
    let device = lost.strip_prefix("&holder=").unwrap();
    two.place
        .run(&format!("device revoke STORE {device} --yes --passphrase-file PASS"))
        .expect_done();

    let listed = two.agreed("subject list --app vault");
    assert_eq!((listed.code, &*listed.out), (0, ""), "{}", listed.err);
    let again = format!("app custody quorum:meeting?k=2{} --app vault", all.concat());
    let refused = two.place.run(&format!("{again} -w STORE --passphrase-file PASS"));
    assert_eq!(refused.code, 1, "{}", refused.err);
    let moved =
        two.agreed(&format!("app custody quorum:meeting?k=2{remaining} --app vault --json"));
    let line: Value = serde_json::from_str(&moved.out).unwrap();
    let place = format!("quorum:HERE/meeting?k=2{remaining}");
    assert_eq!((moved.code, line["custody"].as_str()), (0, Some(&*place)), "{}", moved.err);
    let rotated = two.agreed("app rotate --app vault");
    assert_eq!(rotated.code, 0, "{}", rotated.err);
}

#[test]
fn the_place_of_a_key_file_is_found_from_any_folder_and_written_anew_once_it_moved() {
    let place = Place::with_workspace();
    let from = |folder: &str, line: &str| {
        let mut command = place.command(&format!("{line} -w STORE --passphrase-file PASS"));
        place.said(command.current_dir(place.path(folder)).stdin(Stdio::null()).output().unwrap())
    };
    from("", "app create shop --custody file:shop.key").expect_done();
    from("drive", "subject list --app shop").expect_done();
    fs::rename(place.path("shop.key"), place.path("moved.key")).unwrap();
    assert_eq!(from("", "subject list --app shop").code, 5);
    // Nothing is written down that does not open.
    assert_eq!(from("", "app custody file:nowhere.key --app shop").code, 5);
    from("drive", "app custody file:../moved.key --app shop").expect_done();
    from("", "subject list --app shop").expect_done();
}

#[test]
fn what_lies_behind_a_link_is_replaced_where_it_lies() {
    let place = Place::with_workspace();
    let say =
        |line: &str| place.run(&format!("{line} -w STORE --passphrase-file PASS")).expect_done();
    fs::create_dir(place.path("medium")).unwrap();
    let behind = |name: &str| place.path(&format!("medium/{name}"));
    for name in ["shop.key", "erased", "tokens.json"] {
        symlink(format!("medium/{name}"), place.path(name)).unwrap();
    }
    // Nothing is on the medium yet.
    say("app create shop --custody file:shop.key");
    say(&format!("app ledger file:{} --app shop", place.path("erased").display()));
    token(&place, "web", "shop", "");
    let read = || ["shop.key", "erased", "tokens.json"].map(|name| fs::read(behind(name)).unwrap());
    let before = read();
    let ada = say("subject create --app shop");
    say(&format!("subject erase {} --app shop --yes", ada.trim_end()));
    token(&place, "job", "shop", "--auditor");
    for (before, after) in before.iter().zip(read()) {
        assert_ne!(*before, after);
    }
    for name in ["shop.key", "erased", "tokens.json"] {
        assert!(place.path(name).is_symlink(), "{name}");
    }
    say("subject list --app shop");
    // A medium that is away is not taken for one where nothing is.
    fs::rename(place.path("medium"), place.path("drawer")).unwrap();
    let refused =
        place.run("app create other --custody file:shop.key -w STORE --passphrase-file PASS");
    assert_eq!((refused.code, place.path("shop.key").is_symlink()), (6, true), "{}", refused.err);
}

#[test]
fn nobody_is_kept_out_while_a_command_waits_for_holders() {
    let two = Two::new();
    two.vault();
    two.here("app create shop");
    let asking = two.started("subject create --app vault");
    let id = two.request();
    two.here("subject create --app shop");
    assert_eq!(two.requests(), std::slice::from_ref(&id));
    two.agree(&id);
    let said = two.place.said(asking.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.trim_end().len()), (0, 32), "{}", said.err);
}

#[test]
fn a_key_that_is_changed_while_holders_are_asked_for_it_is_asked_for_anew() {
    let two = Two::new();
    two.vault();
    let asking = two.started("subject create --app vault");
    let first = two.request();
    let rotating = two.started("app rotate --app vault");
    let second = two.request_beside(std::slice::from_ref(&first));
    two.agree(&second);
    two.place.said(rotating.wait_with_output().unwrap()).expect_done();
    let third = two.request_beside(&[first, second]);
    two.agree(&third);
    let said = two.place.said(asking.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.trim_end().len()), (0, 32), "{}", said.err);
    assert_eq!(two.requests(), [""; 0]);
    let listed = two.agreed("subject list --app vault");
    assert_eq!((listed.code, listed.out.lines().count()), (0, 1), "{}", listed.err);
}

#[test]
fn who_is_interrupted_while_holders_are_asked_leaves_no_request() {
    let two = Two::new();
    two.vault();
    for signal in [Signal::INT, Signal::TERM] {
        let asking = two.started("subject list --app vault");
        two.request();
        kill_process(Pid::from_child(&asking), signal).unwrap();
        let said = two.place.said(asking.wait_with_output().unwrap());
        assert_eq!(said.code, 130, "{}", said.err);
        assert_eq!(two.requests(), [""; 0]);
    }
}

#[test]
fn a_place_that_says_to_wait_for_longer_than_a_day_is_refused() {
    let two = Two::new();
    let (folder, holders) = (two.place.path("meeting"), two.holders().concat());
    for seconds in ["86401", "18446744073709551615", "18446744073709551616", "soon"] {
        let place = format!("quorum:{}?k=2{holders}&wait={seconds}", folder.display());
        let line = format!("app create vault --custody {place} -w STORE --passphrase-file PASS");
        let said = two.place.run(&line);
        let most = "strongroom: `wait` is a number of seconds, 86400 at most";
        assert_eq!((said.code, said.err.lines().next()), (2, Some(most)), "{seconds}");
    }
}

#[test]
fn an_agent_asks_for_a_key_that_was_changed_once_it_needs_it_and_serves_others_meanwhile() {
    let two = Two::new();
    two.vault();
    two.here("app create shop");
    let [web, desk] = ["vault", "shop"].map(|app| token(&two.place, app, app, ""));
    let agent = std::thread::scope(|scope| {
        scope.spawn(|| two.agree(&two.request()));
        Running::start(&two.place, "")
    });
    let [mut vault, mut beside] = [0; 2].map(|_| agent.client(&web, "vault"));
    let mut shop = agent.client(&desk, "shop");
    let made = vault.done("POST", "subjects", &Value::Null);
    let erase = format!("subject erase {} --yes --app vault", made["subject"].as_str().unwrap());
    let erased = two.agreed(&erase);
    assert_eq!(erased.code, 0, "{}", erased.err);
    // Who there is, and in what state, needs no key of anybody.
    assert_eq!(vault.get("subjects")["subjects"][0]["state"], "erased");
    assert_eq!(two.requests(), [""; 0]);
    let asking = std::thread::spawn(move || {
        vault.done("POST", "subjects", &Value::Null);
        vault
    });
    let id = two.request();
    shop.done("POST", "subjects", &Value::Null);
    assert_eq!(beside.get("subjects")["total"], 1);
    assert!(!asking.is_finished());
    two.agree(&id);
    let mut vault = asking.join().unwrap();
    vault.done("POST", "subjects", &Value::Null);
    assert_eq!((&vault.get("subjects")["total"], two.requests()), (&3.into(), vec![]));
    assert_eq!(agent.stop(), 0);
}

/// Holders of one application may be away for a day.
#[test]
fn an_agent_that_starts_serves_others_while_holders_of_one_application_are_asked() {
    let two = Two::new();
    two.vault();
    two.here("app create shop");
    let [web, desk] = ["vault", "shop"].map(|app| token(&two.place, app, app, ""));
    let agent = Running::start(&two.place, "--consumers");
    assert_eq!(agent.said["closed"][0]["application"], "vault");
    agent.client(&desk, "shop").done("POST", "subjects", &Value::Null);
    let id = two.request();
    // Whoever needs it waits with the agent, and nobody is asked twice.
    let mut vault = agent.client(&web, "vault");
    let asking = std::thread::spawn(move || vault.done("POST", "subjects", &Value::Null));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!asking.is_finished());
    assert_eq!(two.requests(), std::slice::from_ref(&id));
    two.agree(&id);
    asking.join().unwrap();
    assert_eq!(two.requests(), [""; 0]);
    assert_eq!(agent.stop(), 0);
}

/// A key of either is enough to begin with.
#[test]
fn an_agent_of_two_applications_with_holders_serves_the_one_whose_holders_agree() {
    let two = Two::new();
    two.vault();
    let (folder, holders) = (two.place.path("meeting"), two.holders().concat());
    let place = format!("quorum:{}?k=2{holders}&wait=120", folder.display());
    two.here(&format!("app create safe --custody {place}"));
    let tokens = ["vault", "safe"].map(|app| (app, token(&two.place, app, app, "")));
    let agent = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Running::start(&two.place, ""));
        let first = two.request();
        let _second = two.request_beside(std::slice::from_ref(&first));
        two.agree(&first);
        starting.join().unwrap()
    });
    let closed = agent.said["closed"].as_array().unwrap();
    assert_eq!(closed.len(), 1);
    let is_open = |app: &&(&str, String)| closed[0]["application"] != app.0;
    let (app, token) = tokens.iter().find(is_open).unwrap();
    agent.client(token, app).done("POST", "subjects", &Value::Null);
    assert_eq!(two.requests().len(), 1);
    assert_eq!(agent.stop(), 0);
    // Told to end, it asks nobody any more.
    assert_eq!(two.requests(), [""; 0]);
}

#[test]
fn an_agent_finds_its_key_where_it_was_moved_to_and_makes_no_key_file_anew() {
    let place = Place::with_workspace();
    let say = |line: &str| place.run(&format!("{line} -w STORE --passphrase-file PASS"));
    say("app create shop --custody file:shop.key").expect_done();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    let ada = shop.done("POST", "subjects", &json!({}))["subject"].as_str().unwrap().to_owned();
    let erase = format!("subjects/{ada}/erase");
    fs::rename(place.path("shop.key"), place.path("moved.key")).unwrap();
    let refused = shop.send("POST", &erase, None, b"");
    assert_eq!((refused.status, place.path("shop.key").exists()), (423, false));
    say("app custody file:moved.key --app shop").expect_done();
    shop.done("POST", &erase, &Value::Null);
    assert!(!place.path("shop.key").exists());
    say("subject list --app shop").expect_done();
    // Somebody else's key is what it goes on with.
    say("app rotate --app shop").expect_done();
    fs::rename(place.path("moved.key"), place.path("again.key")).unwrap();
    say("app custody file:again.key --app shop").expect_done();
    shop.done("POST", "subjects", &json!({}));
}

#[test]
fn an_agent_cuts_no_key_for_a_holder_who_was_removed_and_knows_who_holds_it_instead() {
    let two = Two::new();
    let remaining = two.holders().concat();
    two.take_in("home3", "lost");
    let all = two.holders();
    let lost = all.iter().find(|own| !remaining.contains(*own)).unwrap();
    let lost = lost.strip_prefix("&holder=").unwrap();
    let say = |line: &str| two.place.run(&format!("{line} --passphrase-file PASS"));
    let create = format!("app create vault --custody quorum:meeting?k=2{}", all.concat());
    say(&format!("{create} -w STORE")).expect_done();
    let web = token(&two.place, "web", "vault", "");
    let agent = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Running::start(&two.place, ""));
        two.agree(&two.request());
        starting.join().unwrap()
    });
    let mut vault = agent.client(&web, "vault");
    let ada = vault.done("POST", "subjects", &json!({}))["subject"].as_str().unwrap().to_owned();
    let erase = format!("subjects/{ada}/erase");
    say(&format!("device revoke STORE {lost} --yes")).expect_done();
    assert_eq!(vault.send("POST", &erase, None, b"").status, 400);
    let moved = two.agreed(&format!("app custody quorum:meeting?k=2{remaining} --app vault"));
    assert_eq!(moved.code, 0, "{}", moved.err);
    vault.done("POST", &erase, &Value::Null);
    let lost: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&lost[at..at + 2], 16).unwrap()).collect();
    let keys = fs::read_dir(two.place.path("meeting")).unwrap().map(|entry| entry.unwrap().path());
    let keys: Vec<_> =
        keys.filter(|path| path.extension().is_some_and(|own| own == "key")).collect();
    assert_eq!(keys.len(), 1);
    let key = fs::read(&keys[0]).unwrap();
    assert!(
        !key.windows(16).any(|own| own == lost),
        "no share of the new key is for who was removed"
    );
}
