//! A consumer's machine of its own: taken in, served by an agent, let go.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::agent::{Client, Running, token};
use common::{Place, Said, can_mount, is_mounted};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A workspace with an application, and the machine of its consumer `mailer`: another home, passphrase and mountpoint.
struct Two {
    place: Place,
}

impl Two {
    fn new() -> Self {
        let place = Place::with_workspace();
        fs::write(place.path("pass2"), "a passphrase of its own\n").unwrap();
        fs::create_dir(place.path("drive2")).unwrap();
        let two = Self { place };
        two.here("app create shop -w STORE");
        let asked = two.there("device request STORE --little-memory").expect_done();
        let code = asked.trim_end();
        two.here(&format!("device add STORE --code {code} --name mailer-1 --consumer mailer"));
        two
    }

    #[track_caller]
    fn here(&self, line: &str) -> String {
        self.place.run(&format!("{line} --passphrase-file PASS")).expect_done()
    }

    /// Runs on the consumer's machine.
    fn there(&self, line: &str) -> Said {
        let mut command = self.place.command(&format!("{line} --passphrase-file pass2"));
        command.env("STRONGROOM_HOME", self.place.path("home2")).stdin(Stdio::null());
        self.place.said(command.output().unwrap())
    }

    fn person(&self, shop: &mut Client) -> String {
        let made = shop.done("POST", "subjects", &Value::Null);
        let subject = made["subject"].as_str().unwrap().to_owned();
        let path = format!("subjects/{subject}/files/owned/order");
        assert_eq!(shop.send("PUT", &path, None, b"17 roses").status, 200);
        subject
    }

    fn order(&self) -> Option<PathBuf> {
        let subjects = fs::read_dir(self.place.path("drive2/subjects")).ok()?;
        let person = subjects.flatten().next()?;
        Some(person.path().join("owned/order"))
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        if is_mounted(&self.place.path("drive2")) {
            let mut command = self.place.command("unmount --lazy drive2");
            let _ = command.env("STRONGROOM_HOME", self.place.path("home2")).output();
        }
    }
}

/// A mount whose process stands still, as after ctrl-Z, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    /// Stops the one mount of a home.
    fn mount_of(place: &Place, home: &str) -> Self {
        let notes = fs::read_dir(place.path(home).join("run")).unwrap().flatten();
        let mut pids = notes.filter_map(|note| note.path().file_stem()?.to_str()?.parse().ok());
        let process = Pid::from_raw(pids.next().unwrap()).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

fn say(shop: &mut Client, subject: &str, status: &str) {
    let path = format!("subjects/{subject}/consents/newsletter");
    shop.done("PUT", &path, &json!({ "status": status }));
}

fn newsletter(shop: &mut Client) {
    let activity = json!({
        "name": "newsletter", "consumer": "mailer", "purpose": "marketing", "basis": "consent",
        "classes": ["owned"], "notice": "we write to you",
    });
    shop.done("POST", "activities", &activity);
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
}

#[test]
fn a_consumers_machine_mounts_what_its_jobs_may_see_and_nothing_else() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    let web = token(&two.place, "web", "shop", "");
    let mount = "mount STORE drive2 --background --app shop --activity newsletter";
    let said = two.there(mount);
    let none = "strongroom: no custodian serves consumers in `STORE`";
    assert_eq!((said.code, said.err.lines().next()), (6, Some(none)));
    let said = two.there("mount STORE drive2 --background");
    let refused = "strongroom: this device is a consumer's in `STORE`";
    assert_eq!((said.code, said.err.lines().next()), (4, Some(refused)));
    two.here("app lease owned --seconds 4 -w STORE --app shop");

    let agent = Running::start(&two.place, "--consumers");
    let mut shop = agent.client(&web, "shop");
    newsletter(&mut shop);
    let subject = two.person(&mut shop);
    say(&mut shop, &subject, "given");
    two.there(mount).expect_done();
    let path = two.order().unwrap();
    let mut file = File::open(&path).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "17 roses");
    // The answer to a withdrawal comes when it is in force on that machine, under what is open there too.
    say(&mut shop, &subject, "withdrawn");
    let mut buffer = [0; 8];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap_err().raw_os_error(), Some(13));
    assert!(!path.exists() && two.order().is_none());
    say(&mut shop, &subject, "given");

    let began = Instant::now();
    while two.order().is_none_or(|path| File::open(path).is_err()) {
        assert!(began.elapsed() < Duration::from_secs(60), "who agreed again is shown again");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Without a custodian there is nothing once leases are over.
    let path = two.order().unwrap();
    file = File::open(&path).unwrap();
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
    agent.kill();
    let began = Instant::now();
    while file.read_at(&mut buffer, 0).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60), "a lease of seconds ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!path.exists());
    drop(file);
    let mut unmount = two.place.command("unmount drive2");
    unmount.env("STRONGROOM_HOME", two.place.path("home2"));
    two.place.said(unmount.output().unwrap()).expect_done();
}

#[test]
fn a_command_that_withdraws_waits_for_consumers_machines_and_says_what_became_of_their_leases() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    let web = token(&two.place, "web", "shop", "");
    two.here("app lease owned --seconds 5 -w STORE --app shop");
    let agent = Running::start(&two.place, "--consumers");
    let mut shop = agent.client(&web, "shop");
    newsletter(&mut shop);
    let subject = two.person(&mut shop);
    say(&mut shop, &subject, "given");
    two.there("mount STORE drive2 --background --app shop --activity newsletter").expect_done();
    let read = |two: &Two| {
        let file = two.order().and_then(|path| File::open(path).ok());
        file.filter(|file| file.read_at(&mut [0; 8], 0).is_ok_and(|len| len == 8))
    };
    let reading = |two: &Two| {
        let began = Instant::now();
        loop {
            if let Some(file) = read(two) {
                return file;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "who agreed is shown");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let said = format!("-w STORE --app shop --subject {subject} --activity newsletter --json");
    let withdraw = |how: &str| -> Value {
        serde_json::from_str(&two.here(&format!("consent withdraw {said} {how}"))).unwrap()
    };
    let file = reading(&two);
    let answer = withdraw("");
    assert_eq!(file.read_at(&mut [0; 8], 0).unwrap_err().raw_os_error(), Some(13));
    let device = &answer["devices"][0];
    assert_eq!((&answer["in_force"], &device["name"]), (&json!(true), &json!("mailer-1")));
    assert!(device["let_go"].is_string() && device["lease_over"] == false, "{answer}");
    drop(file);
    // With nobody to hear it from, the lease is waited for.
    two.here(&format!("consent grant {said}"));
    let file = reading(&two);
    agent.kill();
    let now = withdraw("--no-wait");
    let answer = withdraw("");
    assert!(file.read_at(&mut [0; 8], 0).is_err());
    assert_eq!(answer["in_force"], true);
    // Commands on a busy machine may outlast the lease; then it was over when the answer was given, and nobody is waited for.
    for device in
        now["devices"].as_array().into_iter().chain(answer["devices"].as_array()).flatten()
    {
        assert_eq!(device["let_go"], Value::Null);
    }
    for device in answer["devices"].as_array().unwrap() {
        assert_eq!(device["lease_over"], true);
    }
}

#[test]
fn an_answer_that_covers_less_is_in_force_on_consumers_machines_when_the_command_returns() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    let web = token(&two.place, "web", "shop", "");
    two.here("app lease owned --seconds 3 -w STORE --app shop");
    two.here("app lease identifiable --seconds 60 -w STORE --app shop");
    let agent = Running::start(&two.place, "--consumers");
    let mut shop = agent.client(&web, "shop");
    let activity = json!({
        "name": "newsletter", "consumer": "mailer", "purpose": "marketing", "basis": "consent",
        "classes": ["identifiable", "owned"], "notice": "we write to you",
    });
    shop.done("POST", "activities", &activity);
    shop.done("POST", "activities/newsletter/approve", &Value::Null);
    let subject = two.person(&mut shop);
    let path = format!("subjects/{subject}/files/identifiable/address");
    assert_eq!(shop.send("PUT", &path, None, b"the lane").status, 200);
    say(&mut shop, &subject, "given");
    two.there("mount STORE drive2 --background --app shop --activity newsletter").expect_done();
    let order = File::open(two.order().unwrap()).unwrap();
    let address = two.order().unwrap().ancestors().nth(2).unwrap().join("identifiable/address");
    let address = File::open(address).unwrap();
    assert_eq!(order.read_at(&mut [0; 8], 0).unwrap(), 8);
    let less = format!(
        "consent grant --class identifiable -w STORE --app shop --subject {subject} --activity newsletter --json"
    );
    let answer: Value = serde_json::from_str(&two.here(&less)).unwrap();
    assert_eq!(order.read_at(&mut [0; 8], 0).unwrap_err().raw_os_error(), Some(13));
    assert_eq!(
        (&answer["in_force"], answer["devices"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    assert_eq!(address.read_at(&mut [0; 8], 0).unwrap(), 8);
    // What takes nothing back is waited for by nobody.
    let answer: Value = serde_json::from_str(&two.here(&less)).unwrap();
    assert_eq!(answer["devices"], json!([]));
    // A machine that does not answer has its lease, and the API says so.
    let withdraw = |shop: &mut Client| {
        let path = format!("subjects/{subject}/consents/newsletter");
        shop.done("PUT", &path, &json!({"status": "withdrawn"}))
    };
    let stopped = Stopped::mount_of(&two.place, "home2");
    let answer = withdraw(&mut shop);
    drop(stopped);
    assert_eq!((&answer["in_force"], &answer["silent"]), (&json!(false), &json!(1)));
    let began = Instant::now();
    while withdraw(&mut shop)["in_force"] != true {
        assert!(began.elapsed() < Duration::from_secs(60), "it answers again");
    }
    assert_eq!(address.read_at(&mut [0; 8], 0).unwrap_err().raw_os_error(), Some(13));
}

#[test]
fn a_view_of_this_machine_that_stands_still_keeps_nobody_waiting_and_counts_as_one_that_still_shows()
 {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let command = |line: &str| {
        let mut command = place.command(&format!("{line} -w STORE --passphrase-file PASS"));
        command.stdin(Stdio::null());
        command
    };
    let here = |line: &str| place.said(command(line).output().unwrap()).expect_done();
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    here("app create shop");
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "");
    let mut shop = agent.client(&web, "shop");
    newsletter(&mut shop);
    let [ada, bob] = ["ada", "bob"].map(|_| {
        let made = shop.done("POST", "subjects", &Value::Null);
        made["subject"].as_str().unwrap().to_owned()
    });
    for subject in [&ada, &bob] {
        say(&mut shop, subject, "given");
    }
    place
        .run("mount STORE DRIVE --background --app shop --activity newsletter --passphrase-file PASS")
        .expect_done();
    let of_ada = format!("{ada} --app shop --json");
    let said = |answer: &Value| ["views_told", "views_silent"].map(|name| answer[name].clone());
    let answer = json(&here(&format!("subject restrict {of_ada}")));
    assert_eq!((said(&answer), &answer["state"]), ([json!(1), json!(0)], &json!("restricted")));

    let stopped = Stopped::mount_of(&place, "home");
    let mut withdrawing =
        command(&format!("consent withdraw --activity newsletter --subject {of_ada}"));
    let mut withdrawing = withdrawing.stdout(Stdio::piped()).spawn().unwrap();
    let asking = std::thread::spawn(move || {
        let path = format!("subjects/{bob}/consents/newsletter");
        shop.done("PUT", &path, &json!({"status": "withdrawn"}))
    });
    let began = Instant::now();
    while withdrawing.try_wait().unwrap().is_none() || !asking.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(90), "nobody waits for what stands still");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = withdrawing.wait_with_output().unwrap();
    let (answer, by_api) =
        (json(&String::from_utf8(output.stdout).unwrap()), asking.join().unwrap());
    assert_eq!((said(&answer), &answer["in_force"]), ([json!(0), json!(1)], &json!(false)));
    assert_eq!((&by_api["silent"], &by_api["in_force"]), (&json!(1), &json!(false)));
    drop(stopped);
    let answer = json(&here(&format!("subject erase --yes {of_ada}")));
    assert_eq!(said(&answer), [json!(1), json!(0)]);
    place.unmount();
}

/// Another member's machine that has the application key serves the consumer's, and is gone before anybody hears of anything.
#[test]
fn what_another_custodian_lent_that_is_away_is_not_said_to_be_in_force() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    let web = token(&two.place, "web", "shop", "");
    two.here("app lease owned --seconds 60 -w STORE --app shop");
    fs::write(two.place.path("pass3"), "another passphrase of its own\n").unwrap();
    let third = |line: &str| {
        let mut command = two.place.command(&format!("{line} --passphrase-file pass3"));
        command.env("STRONGROOM_HOME", two.place.path("home3")).stdin(Stdio::null());
        command
    };
    let asked = third("device request STORE --little-memory").output().unwrap();
    let code = two.place.said(asked).expect_done();
    two.here(&format!("device add STORE --code {} --name second", code.trim_end()));
    let agent = Running::start(&two.place, "--consumers");
    let mut shop = agent.client(&web, "shop");
    newsletter(&mut shop);
    let subject = two.person(&mut shop);
    say(&mut shop, &subject, "given");
    // Consumers ask who began last.
    let mut other = third("agent STORE --consumers").stdout(Stdio::piped()).spawn().unwrap();
    other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    two.there("mount STORE drive2 --background --app shop --activity newsletter").expect_done();
    let order = File::open(two.order().unwrap()).unwrap();
    assert_eq!(order.read_at(&mut [0; 8], 0).unwrap(), 8);
    other.kill().unwrap();
    other.wait().unwrap();

    let said = |answer: &Value| {
        [&answer["in_force"], &answer["silent"], &json!(answer["until"].is_string())]
            .map(Value::clone)
    };
    let waits = [json!(false), json!(1), json!(true)];
    let restriction = format!("subjects/{subject}/restriction");
    for restricted in [true, false] {
        let answer = shop.done("PUT", &restriction, &json!({"restricted": restricted}));
        // What is lifted takes nothing away.
        let expected = if restricted { &waits } else { &[json!(true), json!(0), json!(false)] };
        assert_eq!(&said(&answer), expected);
    }
    let answer = shop.done("POST", "activities/newsletter/suspend", &Value::Null);
    assert_eq!(said(&answer), waits);
    let answer = shop.done("POST", &format!("subjects/{subject}/erase"), &Value::Null);
    assert_eq!(said(&answer), waits);
}

#[test]
fn an_act_waits_for_no_view_of_another_application() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let here = |line: &str| {
        place.run(&format!("{line} -w STORE --passphrase-file PASS --json")).expect_done()
    };
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    here("app create shop");
    here("app create clinic");
    let [web, ward] = ["shop", "clinic"].map(|app| token(&place, app, app, ""));
    let agent = Running::start(&place, "");
    let [mut shop, mut clinic] = [agent.client(&web, "shop"), agent.client(&ward, "clinic")];
    let [ada, bob] = [&mut shop, &mut clinic].map(|app| {
        newsletter(app);
        let made = app.done("POST", "subjects", &Value::Null);
        let subject = made["subject"].as_str().unwrap().to_owned();
        say(app, &subject, "given");
        subject
    });
    place
        .run("mount STORE DRIVE --background --app clinic --activity newsletter --passphrase-file PASS")
        .expect_done();
    let stopped = Stopped::mount_of(&place, "home");
    let of_ada = format!("--subject {ada} --activity newsletter --app shop");
    let answer = json(&here(&format!("consent withdraw {of_ada}")));
    let told = ["views_told", "views_silent", "in_force"].map(|name| answer[name].clone());
    assert_eq!(told, [json!(0), json!(0), json!(true)]);
    let path = format!("subjects/{ada}/consents/newsletter");
    let answer = shop.done("PUT", &path, &json!({"status": "withdrawn"}));
    assert_eq!((&answer["silent"], &answer["in_force"]), (&json!(0), &json!(true)));
    // The control: that of its own application is waited for.
    let path = format!("subjects/{bob}/consents/newsletter");
    let answer = clinic.done("PUT", &path, &json!({"status": "withdrawn"}));
    assert_eq!((&answer["silent"], &answer["in_force"]), (&json!(1), &json!(false)));
    drop(stopped);
    place.unmount();
}

/// Neither in its environment nor in a descriptor: whoever runs a job says to us where secrets are, not to the job.
#[test]
fn a_command_that_runs_with_a_view_is_handed_no_secret() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    fs::write(place.path("notice"), "we write to you").unwrap();
    let key = "5e".repeat(32);
    let here = |line: &str| {
        let mut command = place.command(line);
        command.args(["-w", "store", "--passphrase-file", "pass"]).env("SHOP_KEY", &key);
        place.said(command.output().unwrap()).expect_done();
    };
    here("app create shop --custody env:SHOP_KEY");
    here(
        "consumer register newsletter --app shop --purpose marketing --basis consent --class owned --notice notice",
    );
    here("consumer approve newsletter --app shop");
    let look = "env >environment; ls -l /proc/self/fd >descriptors";
    for (passphrase, handed) in [
        ("--passphrase-fd 9", "9<pass"),
        ("--passphrase-file -", "<pass"),
        ("--passphrase-file /dev/stdin", "<pass"),
        ("--passphrase-file /dev/fd/9", "9<pass"),
        ("--passphrase-file pass", "9<pass"),
    ] {
        let run =
            format!("run store --app shop --activity newsletter {passphrase} -- sh -c '{look}'");
        // The program itself has them: a shell gives it the descriptor.
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec {} {run} {handed}", env!("CARGO_BIN_EXE_strongroom"))]);
        shell.current_dir(place.path("")).env("STRONGROOM_HOME", place.path("home"));
        shell.env_remove("XDG_RUNTIME_DIR").env("SHOP_KEY", &key).stdin(Stdio::null());
        place.said(shell.output().unwrap()).expect_done();
        let environment = fs::read_to_string(place.path("environment")).unwrap();
        assert!(environment.contains("STRONGROOM_MOUNT=") && !environment.contains(&key));
        let descriptors = fs::read_to_string(place.path("descriptors")).unwrap();
        assert!(!descriptors.contains("pass"), "{descriptors}");
    }
}
