//! What a drive of people's data ends with where something that was written is not on record.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{Place, Said, can_mount};

fn here(place: &Place, line: &str) -> Said {
    place.run(&format!("{line} --passphrase-file PASS"))
}

/// A process that a test left behind, by its number in a file.
struct Left(std::path::PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let Ok(pid) = fs::read_to_string(&self.0) else { return };
        let _ = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
    }
}

/// Writes half a file and keeps it open when its parent is gone.
const HALF: &str = r#"
cd "$STRONGROOM_MOUNT/subjects/"*/owned
tail -f "$1/source" < /dev/null > half 2> /dev/null &
echo $! > "$1/pid"
until test -s half; do :; done
"#;

#[test]
fn a_drive_that_ends_before_a_file_is_on_record_says_so_and_ends_with_3() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    here(&place, "init STORE --little-memory --name desk").expect_done();
    here(&place, "app create shop -w STORE --custody file:shop.key").expect_done();
    let ada = here(&place, "subject create -w STORE --app shop").expect_done();
    fs::write(place.path("half.sh"), HALF).unwrap();
    fs::write(place.path("source"), "half").unwrap();
    let _left = Left(place.path("pid"));
    let ended = place.run("run STORE --app shop --passphrase-file PASS -- sh half.sh HERE");
    let message = format!(
        "strongroom: unmounted, but not everything is in the store: \
         what was written is not on record in `subjects/{}/owned` (1)\n\
         hint: files of people are kept on no device: write them again\n",
        ada.trim_end()
    );
    ended.expect_refused(3, &message);
    let get =
        format!("subject get {} -w STORE --app shop --class owned --name half", ada.trim_end());
    assert_eq!(here(&place, &get).expect_done(), "", "as it was opened");
}
