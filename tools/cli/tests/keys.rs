//! Which keys there are, and new ones in their place.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, Said};
use serde_json::Value;

fn here(place: &Place, line: &str) -> Said {
    place.run(&format!("{line} --passphrase-file PASS"))
}

fn shop() -> Place {
    let place = Place::new();
    here(&place, "init STORE --little-memory --name desk").expect_done();
    here(&place, "app create shop -w STORE --custody file:shop.key").expect_done();
    place
}

fn keys(place: &Place) -> Value {
    let listed = here(place, "key list -w STORE --json").expect_done();
    serde_json::from_str(&listed).unwrap()
}

#[test]
fn keys_of_every_level_are_listed_and_changed_by_one_command() {
    let place = shop();
    let subject = here(&place, "subject create -w STORE --app shop").expect_done();
    let subject = subject.trim_end();
    for (level, application, register) in [
        ("", 2, 1),
        ("--register", 3, 2),
        (&*format!("--subject {subject} --deep --class owned"), 4, 2),
        // Everybody's keys, and then the application key.
        ("--everybody --deep", 6, 2),
    ] {
        here(&place, &format!("key rotate -w STORE --app shop {level}")).expect_done();
        let listed = keys(&place);
        let shop = &listed["applications"][0];
        assert_eq!(shop["application"]["generation"], application, "{level}");
        assert_eq!(shop["register"]["generation"], register, "{level}");
        assert_eq!(shop["subjects"]["count"], 1, "{level}");
        for under_way in [&shop["register"]["due"], &shop["register"]["under_way"]] {
            assert_eq!(*under_way, false, "{level}");
        }
        assert!(shop["subjects"]["under_way"].is_null(), "{level}");
        assert_eq!(listed["workspace"]["devices"], 1, "{level}");
    }
    let changed = here(&place, "key rotate -w STORE --workspace-key --json").expect_done();
    assert_eq!(serde_json::from_str::<Value>(&changed).unwrap()["workspace"], 2);
    let text = here(&place, "key list -w STORE --app shop").expect_done();
    let lines: Vec<&str> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "workspace  generation 2",
            "shop",
            "  application  generation 6",
            "  register     generation 2",
            "  subjects     1"
        ]
    );
    assert_eq!(here(&place, "key rotate -w STORE --app shop --deep").code, 2);
    assert_eq!(here(&place, "key rotate -w STORE --app shop --register --everybody").code, 2);
    assert_eq!(here(&place, "key rotate -w STORE").code, 2, "it says no key");
    assert_eq!(here(&place, "key rotate -w STORE --app shop --workspace-key").code, 2);
    assert_eq!(here(&place, "key rotate -w STORE --workspace-key --deep").code, 2);
    here(&place, "audit verify -w STORE --app shop").expect_done();
}

#[test]
fn removing_a_machine_changes_the_register_key_or_says_where_that_is_left_to_do() {
    let place = shop();
    let take_in = |name: &str| {
        let line = "device request STORE --little-memory --passphrase-file PASS";
        let mut request = place.command(line);
        let asked = request.env("STRONGROOM_HOME", place.path(name)).output().unwrap();
        let code = place.said(asked).expect_done();
        let add = format!("device add STORE --code {} --name {name}", code.trim_end());
        here(&place, &add).expect_done();
    };
    take_in("laptop");
    take_in("phone");
    let revoke = "device revoke STORE laptop --yes --json";
    let removed: Value = serde_json::from_str(&here(&place, revoke).expect_done()).unwrap();
    assert_eq!(removed["register_keys_due"], Value::Array(Vec::new()));
    let register = keys(&place)["applications"][0]["register"].clone();
    assert_eq!((&register["generation"], &register["due"]), (&2.into(), &false.into()));

    // The application key is elsewhere while the second one is removed.
    let (file, away) = (place.path("shop.key"), place.path("away"));
    fs::rename(&file, &away).unwrap();
    let revoke = "device revoke STORE phone --yes --json";
    let removed: Value = serde_json::from_str(&here(&place, revoke).expect_done()).unwrap();
    assert_eq!(removed["register_keys_due"][0], "shop");
    assert!(keys(&place)["applications"][0]["closed"].is_string());
    fs::rename(&away, &file).unwrap();
    assert_eq!(keys(&place)["applications"][0]["register"]["due"], true);
    here(&place, "key rotate -w STORE --app shop --register").expect_done();
    let register = keys(&place)["applications"][0]["register"].clone();
    assert_eq!((&register["generation"], &register["due"]), (&3.into(), &false.into()));
}
