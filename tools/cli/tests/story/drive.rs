//! The drive of an application.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::can_mount;

use super::{Story, nothing_personal_on_disk};

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
        // A view takes in by itself what was put: nobody waits for that.
        let end = Instant::now() + Duration::from_secs(60);
        while !path.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
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
