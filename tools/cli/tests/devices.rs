//! Two machines and one store: one asks to be taken in, is taken in, works, and is taken out.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use common::{Place, Said, can_mount, is_mounted};
use serde_json::Value;
use strongroom_crypto::kem::KemKey;
use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::SigningKey;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::DeviceId;
use strongroom_format::request::{self, Request};
use strongroom_format::workspace::{SUITE, WorkspaceFile};
use strongroom_host::disk::Disk;
use strongroom_host::real_disk::RealDisk;
use strongroom_store::{Family, FolderStore, Key, Listed, Mode, Store, now};

/// The second machine's passphrase.
const OTHER: &str = "a passphrase of its own";

/// A store, and a second machine: another home, another passphrase, another mountpoint.
struct Two {
    place: Place,
}

impl Two {
    fn new() -> Self {
        let place = Place::new();
        fs::write(place.path("pass2"), format!("{OTHER}\n")).unwrap();
        fs::create_dir(place.path("drive2")).unwrap();
        place.run("init STORE --little-memory --name desk --passphrase-file PASS").expect_done();
        Self { place }
    }

    /// Two machines whose owner knows one passphrase only.
    fn with_one_passphrase() -> Self {
        let two = Self::new();
        fs::copy(two.place.path("pass"), two.place.path("pass2")).unwrap();
        two
    }

    /// Puts a request there that nobody answered in time, and a device file beside it if there is none.
    fn abandon_request(&self, device: DeviceId) {
        let file = fs::read(self.place.store().join("workspace")).unwrap();
        let workspace = WorkspaceFile::parse(&file).unwrap();
        let signing = SigningKey::from_seed(Secret::from_bytes(&[1; 32]));
        let record = cbor::encode(&Request {
            suite: SUITE,
            organisation: workspace.organisation,
            workspace: workspace.workspace,
            device,
            signing_key: *signing.verifying_key().as_bytes(),
            kem_key: *KemKey::from_seed(Secret::from_bytes(&[2; 32])).public().as_bytes(),
            time: 1_000_000,
            expires: 2_000_000,
        });
        let signature = signing.sign(Usage::SignDeviceRequest, &record);
        let asked = self.place.store().join(Key::Request(device).to_string());
        fs::create_dir_all(asked.parent().unwrap()).unwrap();
        fs::write(asked, request::build(&record, &signature)).unwrap();
        let sealed = self.place.store().join(Key::Device(device).to_string());
        if !sealed.exists() {
            fs::write(sealed, "no device file").unwrap();
        }
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.place.store().join(folder)).unwrap().count()
    }

    fn output(&self, line: &str) -> Output {
        let line = line.replace("DRIVE", "drive2").replace("PASS", "pass2");
        let mut command = self.place.command(&line);
        command.env("STRONGROOM_HOME", self.place.path("home2"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs on the second machine; DRIVE and PASS are its own.
    fn there(&self, line: &str) -> Said {
        self.place.said(self.output(line))
    }

    fn request(&self) -> String {
        let out =
            self.there("device request STORE --little-memory --passphrase-file PASS").expect_done();
        let code = out.trim_end().to_owned();
        assert_eq!(code.len(), 14, "{code}");
        code
    }

    fn add(&self, code: &str, name: &str) -> Said {
        let line = format!("device add STORE --passphrase-file PASS --code {code} --name {name}");
        self.place.run(&line)
    }

    fn list(&self) -> Value {
        let out = self.place.run("device list STORE --passphrase-file PASS --json").expect_done();
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        if is_mounted(&self.place.path("drive2")) {
            let _ = self.output("unmount --lazy DRIVE");
        }
    }
}

#[test]
fn a_machine_asks_is_taken_in_by_its_code_only_and_is_listed() {
    let two = Two::new();
    let code = two.request();
    let waiting = two.list();
    assert_eq!(waiting["devices"].as_array().unwrap().len(), 1);
    assert_eq!(waiting["requests"].as_array().unwrap().len(), 1);
    two.add("0000-0000-0000", "laptop").expect_refused(
        4,
        "strongroom: no device that asks has this code; nothing was changed\nhint: compare it with what the new machine shows; if it is the same, do not trust this store\n",
    );
    two.add("not-a-code", "laptop").expect_refused(
        2,
        "strongroom: `not-a-code` is no code\nhint: it has twelve letters and digits, as `strongroom device request` shows them\n",
    );
    two.add(&code, "desk").expect_refused(1, "strongroom: `STORE`: another device has that name\n");
    two.add(&code.to_uppercase().replace('-', ""), "laptop").expect_done();
    let now = two.list();
    assert_eq!(now["requests"].as_array().unwrap().len(), 0);
    let names: Vec<_> = now["devices"].as_array().unwrap().iter().map(|d| &d["name"]).collect();
    assert_eq!(names, ["desk", "laptop"]);
    assert_eq!(
        (&now["devices"][0]["this"], &now["devices"][1]["this"]),
        (&true.into(), &false.into())
    );
    two.there("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn a_request_in_the_place_of_another_has_another_code() {
    let two = Two::new();
    let code = two.request();
    let folder = two.place.store().join("request");
    let theirs = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    // Mallory keeps the store: she puts a request of her own there and hides the true one.
    fs::remove_file(&theirs).unwrap();
    let other = two.request();
    assert_ne!(code, other);
    assert_eq!(two.add(&code, "laptop").code, 4);
    assert_eq!(two.list()["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn a_machine_that_was_removed_is_refused_and_the_other_goes_on() {
    let two = Two::new();
    let code = two.request();
    two.add(&code, "laptop").expect_done();
    two.place.run("device revoke STORE desk --yes --passphrase-file PASS").expect_refused(
        1,
        "strongroom: a device does not remove itself\nhint: remove it from another one\n",
    );
    let kept = fs::read_dir(two.place.store().join("device")).unwrap().count();
    assert_eq!(kept, 2);
    two.place.run("device revoke STORE laptop --yes --passphrase-file PASS").expect_done();
    let listed = two.list();
    assert_eq!(listed["devices"][1]["state"], "removed");
    assert_eq!(listed["devices"][1]["name"], "laptop");
    let refusal = "strongroom: this device was removed from `STORE`\nhint: `strongroom device request STORE` asks to be taken in anew; what it has not sent cannot be read any more\n";
    two.there("device list STORE --passphrase-file PASS").expect_refused(4, refusal);
    two.place.run("check STORE --passphrase-file PASS").expect_sound();
}

/// Under which generation of the workspace's key each commit is sealed.
fn generations(two: &Two) -> Vec<u64> {
    let store: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = FolderStore::open(store, two.place.store(), Mode::ReadOnly).unwrap();
    let listed = now(store.list(Family::Log, None)).unwrap();
    let epoch = |listed: &Listed| {
        let bytes = now(store.get(listed.key, None)).unwrap();
        CommitFile::parse(&bytes).unwrap().header.bodies[0].epoch
    };
    listed.iter().map(epoch).collect()
}

#[test]
fn a_new_workspace_key_seals_what_any_machine_writes_from_then_on_also_where_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    two.add(&two.request(), "laptop").expect_done();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    let drive2 = two.place.path("drive2");
    fs::write(drive2.join("before"), "of the laptop").unwrap();
    two.there("sync --wait DRIVE").expect_done();
    let before = generations(&two);
    assert!(!before.is_empty() && before.iter().all(|generation| *generation == 1), "{before:?}");

    let change = "key rotate -w STORE --workspace-key --passphrase-file PASS";
    assert_eq!(two.place.run(change).expect_done(), "workspace key: generation 2\n");
    fs::write(drive2.join("after"), "of the laptop, which was mounted").unwrap();
    two.there("sync --wait DRIVE").expect_done();
    two.place.run("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    let drive = two.place.drive();
    assert_eq!(fs::read_to_string(drive.join("before")).unwrap(), "of the laptop");
    assert_eq!(
        fs::read_to_string(drive.join("after")).unwrap(),
        "of the laptop, which was mounted"
    );
    fs::write(drive.join("third"), "of the desk").unwrap();
    two.place.run("unmount DRIVE").expect_done();
    two.there("unmount DRIVE").expect_done();

    let after = generations(&two);
    assert!(after.len() >= before.len() + 2, "{after:?}");
    let expected = |(index, _)| if index < before.len() { 1 } else { 2 };
    assert_eq!(after, after.iter().enumerate().map(expected).collect::<Vec<_>>());
    // Who comes later has both.
    fs::remove_dir_all(two.place.path("home2")).unwrap();
    two.add(&two.request(), "tablet").expect_done();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(drive2.join("before")).unwrap(), "of the laptop");
    two.there("unmount DRIVE").expect_done();
    two.place.run("check STORE --passphrase-file PASS").expect_sound();
}

/// Records in the logs of custody, and whether each is a closing one: it has nothing behind its signature.
fn records(two: &Two) -> Vec<Vec<bool>> {
    let folder = |path: &Path| {
        let mut within: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        within.sort();
        within
    };
    let is_closing = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let header_len = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        bytes.len() == 8 + usize::try_from(header_len).unwrap() + 64
    };
    let logs = folder(&two.place.store().join("policy"));
    logs.iter().map(|log| folder(&log.join("log")).iter().map(is_closing).collect()).collect()
}

#[test]
fn removing_a_machine_closes_the_logs_of_custody_or_says_which_it_could_not() {
    let two = Two::new();
    let here = |line: &str| two.place.run(&format!("{line} --passphrase-file PASS"));
    // The machine that stays never has the key of the application.
    let key = "0123456789abcdef".repeat(4);
    let create = "app create shop -w STORE --custody env:SHOP_KEY --passphrase-file PASS";
    let created = two.place.command(create).env("SHOP_KEY", key).output().unwrap();
    two.place.said(created).expect_done();
    for name in ["laptop", "phone"] {
        two.add(&two.request(), name).expect_done();
    }
    assert_eq!(records(&two), [vec![false, false], vec![false]]);
    let left = here("device revoke STORE laptop --yes").expect_done();
    let due = "`strongroom key rotate -w STORE --app shop --register` changes it";
    assert!(left.trim_end().ends_with(due), "{left}");
    assert_eq!(records(&two), [vec![false, false, true], vec![false, true]]);
    two.there("app list -w STORE --passphrase-file PASS");
    here("app list -w STORE").expect_done();

    let shop = fs::read_dir(two.place.store().join("policy")).unwrap();
    let mut shop: Vec<PathBuf> = shop.map(|entry| entry.unwrap().path()).collect();
    shop.sort();
    let newest = shop[1].join("log").join(format!("{:032x}", 1));
    let record = fs::read(&newest).unwrap();
    fs::write(&newest, &record[..record.len() - 1]).unwrap();
    here("device revoke STORE phone --yes").expect_refused(
        3,
        "strongroom: the device is out, and can still write here: `shop`: record is cut short\nhint: take its access to the store away; `strongroom app list -w STORE` tries again to keep it out\n",
    );
    assert_eq!(two.list()["devices"][2]["state"], "removed");
    fs::write(&newest, &record).unwrap();
    here("app list -w STORE").expect_done();
    assert_eq!(records(&two), [vec![false, false, true, true], vec![false, true, true]]);
}

#[test]
fn two_machines_work_in_turns_and_the_removed_one_is_stopped_while_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let two = Two::new();
    let code = two.request();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_refused(
        4,
        "strongroom: this device is not in `STORE` yet\nhint: `strongroom device add STORE` on a device that is in takes it in\n",
    );
    two.place.mount();
    fs::write(two.place.drive().join("first"), "of the desk").unwrap();
    // The first one is mounted meanwhile.
    two.add(&code, "laptop").expect_done();
    two.place.unmount();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    let drive2 = two.place.path("drive2");
    assert_eq!(fs::read_to_string(drive2.join("first")).unwrap(), "of the desk");
    fs::write(drive2.join("second"), "of the laptop").unwrap();
    two.there("sync --wait DRIVE").expect_done();
    two.place.run("device revoke STORE laptop --yes --passphrase-file PASS").expect_done();
    // Its next commit finds out, and from then on nothing is taken.
    fs::write(drive2.join("third"), "too late").unwrap();
    let said = two.there("sync --wait DRIVE");
    assert_ne!(said.code, 0);
    let refused = fs::write(drive2.join("fourth"), "much too late").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let status: Value =
        serde_json::from_str(&two.there("status DRIVE --json").expect_done()).unwrap();
    assert_eq!(status["trouble"], "this device was removed from the workspace");
    two.there("unmount DRIVE");
    assert_eq!(two.there("mount STORE DRIVE --background --passphrase-file PASS").code, 4);
    // It asks anew and is another device, in the same home.
    let code = two.request();
    two.add(&code, "notebook").expect_done();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(drive2.join("first")).unwrap(), "of the desk");
    fs::write(drive2.join("sixth"), "of the laptop again").unwrap();
    two.there("unmount DRIVE").expect_done();
    two.there("check STORE --passphrase-file PASS").expect_sound();
    two.there("mount STORE DRIVE --background --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(drive2.join("sixth")).unwrap(), "of the laptop again");
    two.there("unmount DRIVE").expect_done();
    // The desk has everything that was committed, and goes on.
    two.place.mount();
    assert_eq!(fs::read_to_string(two.place.drive().join("second")).unwrap(), "of the laptop");
    assert!(!two.place.drive().join("third").exists());
    fs::write(two.place.drive().join("fifth"), "goes on").unwrap();
    two.place.unmount();
    two.place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn machines_of_one_passphrase_stay_who_they_are() {
    let two = Two::with_one_passphrase();
    // Typed on the desk, meant for the laptop; what was asked elsewhere and not answered yet opens too.
    two.place.run("device request STORE --little-memory --passphrase-file PASS").expect_done();
    for _ in 0..3 {
        two.request();
    }
    let code = two.request();
    two.add(&code, "laptop").expect_done();
    let this = |devices: &Value| {
        devices["devices"].as_array().unwrap().iter().position(|one| one["this"] == true)
    };
    assert_eq!(this(&two.list()), Some(0));
    let there = two.there("device list STORE --passphrase-file PASS --json").expect_done();
    assert_eq!(this(&serde_json::from_str(&there).unwrap()), Some(1));
    // Each changes its own file.
    fs::write(two.place.path("new"), "another one\n").unwrap();
    let line = format!(
        "passwd STORE --little-memory --passphrase-file PASS --new-passphrase-file {}",
        two.place.path("new").display()
    );
    two.place.run(&line).expect_done();
    two.there("device list STORE --passphrase-file PASS").expect_done();
    let line =
        format!("device list STORE --json --passphrase-file {}", two.place.path("new").display());
    let listed = two.place.run(&line).expect_done();
    assert_eq!(this(&serde_json::from_str(&listed).unwrap()), Some(0));
}

#[test]
fn the_file_of_another_device_stops_nobody_however_it_is_damaged() {
    let two = Two::new();
    for number in 0..4 {
        let key = Key::Device(DeviceId([number; 16]));
        fs::write(two.place.store().join(key.to_string()), "no device file").unwrap();
    }
    fs::remove_dir_all(two.place.path("home")).unwrap();
    assert_eq!(two.list()["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn requests_that_nobody_answered_hide_none_and_go() {
    let two = Two::new();
    let code = two.request();
    for number in 0..40_u8 {
        two.abandon_request(DeviceId(u128::from(number).to_be_bytes()));
    }
    let desk = two.list()["devices"][0]["device"].as_str().unwrap().to_owned();
    let Some(Key::Device(desk)) = Key::parse(&format!("device/{desk}")) else { unreachable!() };
    two.abandon_request(desk);
    two.add(&code, "laptop").expect_done();
    assert_eq!((two.count("request"), two.count("device")), (0, 2));
    two.there("device list STORE --passphrase-file PASS").expect_done();
}
