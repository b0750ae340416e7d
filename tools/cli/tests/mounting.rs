//! The life of a mount, with the real program and the kernel: start, use, signals, end, and everything that may be in the
//! way.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, Said, can_mount, is_mounted};
use rustix::process::{Pid, Signal, kill_process};

/// Waits until `holds`, for a minute at most.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn foreground(place: &Place) -> Child {
    let child = started(place, "mount STORE DRIVE --passphrase-file PASS");
    until("the mount appears", || is_mounted(&place.drive()));
    child
}

fn started(place: &Place, line: &str) -> Child {
    let mut command = place.command(line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(place: &Place, mut child: Child) -> Said {
    until("the program ends", || child.try_wait().unwrap().is_some());
    place.said(child.wait_with_output().unwrap())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn files_are_there_again_after_unmount_and_mount() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    fs::create_dir(place.drive().join("letters")).unwrap();
    fs::write(place.drive().join("letters/alice"), "dear bob").unwrap();
    place.unmount();
    assert!(!is_mounted(&place.drive()));
    assert_eq!(fs::read_dir(place.drive()).unwrap().count(), 0);
    place.mount();
    assert_eq!(fs::read_to_string(place.drive().join("letters/alice")).unwrap(), "dear bob");
    place.unmount();
    place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn the_background_mount_answers_when_the_command_returns() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let out =
        place.run("mount STORE DRIVE --background --json --passphrase-file PASS").expect_done();
    fs::write(place.drive().join("at-once"), "x").unwrap();
    assert!(
        out.starts_with('{')
            && out.contains(r#""mountpoint":"DRIVE""#)
            && out.contains(r#""pid":"#),
        "{out}"
    );
    let status = place.run("status DRIVE --json").expect_done();
    assert!(status.contains(r#""store":"STORE""#), "{status}");
    for field in ["head_code", "unplaced_ops"] {
        assert!(status.contains(&format!("\"{field}\":")), "{status}");
    }
    let all = place.run("status").expect_done();
    assert_eq!(all, "DRIVE  STORE  mounted\n");
    place.run("sync --wait DRIVE").expect_done();
    place.unmount();
    assert_eq!(place.run("status").expect_done(), "");
}

#[test]
fn the_passphrase_is_in_no_argument_and_no_environment_of_the_background_process() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let out =
        place.run("mount STORE DRIVE --background --json --passphrase-file PASS").expect_done();
    let pid: String =
        out.split(r#""pid":"#).nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    for file in ["cmdline", "environ"] {
        // A process that forbids tracing shows nothing to other users' processes at all.
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(common::PASSPHRASE), "{file}");
    }
    place.unmount();
    // Its name may wait for whoever reaps it; nothing of it runs.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "its process outlived the mount: {stat}");
}

#[test]
fn signals_unmount_cleanly_and_lose_nothing() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    for (name, ends) in [("TERM", Signal::TERM), ("INT", Signal::INT), ("HUP", Signal::HUP)] {
        let child = foreground(&place);
        fs::write(place.drive().join(name), name).unwrap();
        signal(&child, ends);
        place.said(child.wait_with_output().unwrap()).expect_done();
        assert!(!is_mounted(&place.drive()), "{name}");
    }
    place.mount();
    for name in ["TERM", "INT", "HUP"] {
        assert_eq!(fs::read_to_string(place.drive().join(name)).unwrap(), name);
    }
    place.unmount();
}

#[test]
fn a_signal_ends_a_mount_that_is_no_longer_where_it_was() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let child = foreground(&place);
    fs::write(place.drive().join("open"), "still here").unwrap();
    let file = fs::File::open(place.drive().join("open")).unwrap();
    place.run("unmount --lazy DRIVE").expect_done();
    signal(&child, Signal::TERM);
    ended(&place, child).expect_done();
    drop(file);
    fs::create_dir_all(place.path("above/drive")).unwrap();
    let child = started(&place, "mount STORE above/drive --passphrase-file PASS");
    until("the mount appears", || is_mounted(&place.path("above/drive")));
    fs::rename(place.path("above"), place.path("elsewhere")).unwrap();
    fs::write(place.path("elsewhere/drive/late"), "late").unwrap();
    signal(&child, Signal::TERM);
    ended(&place, child).expect_done();
    assert!(!is_mounted(&place.path("elsewhere/drive")));
    place.mount();
    assert_eq!(fs::read_to_string(place.drive().join("open")).unwrap(), "still here");
    assert_eq!(fs::read_to_string(place.drive().join("late")).unwrap(), "late");
    place.unmount();
}

#[test]
fn a_signal_ends_a_mount_in_every_place_where_it_shows() {
    if !is_root() || !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let child = foreground(&place);
    let (drive, copy) = (place.drive(), place.path("copy"));
    fs::write(drive.join("kept"), "kept").unwrap();
    fs::create_dir(&copy).unwrap();
    let bound = Command::new("mount").arg("--bind").args([&drive, &copy]).status().unwrap();
    assert!(bound.success());
    assert_eq!(fs::read_to_string(copy.join("kept")).unwrap(), "kept");
    signal(&child, Signal::TERM);
    let said = ended(&place, child);
    let left = [&drive, &copy].map(|path| is_mounted(path));
    for path in [drive, copy] {
        let _ = Command::new("umount").arg("-l").arg(path).stderr(Stdio::null()).status();
    }
    assert_eq!(left, [false, false]);
    said.expect_done();
    place.mount();
    assert_eq!(fs::read_to_string(place.drive().join("kept")).unwrap(), "kept");
    place.unmount();
}

#[test]
fn a_signal_ends_an_opening_that_waits() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    // What never comes: a device file that somebody would have to write first.
    let file = fs::read_dir(place.store().join("device")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    for ends in [Signal::TERM, Signal::INT] {
        let child = started(&place, "mount STORE DRIVE --passphrase-file PASS");
        // The last of the signals that the program takes over is SIGHUP, number 1; what it waits for afterwards never ends.
        let status = format!("/proc/{}/status", child.id());
        until("it listens to signals", || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1)
        });
        signal(&child, ends);
        let said = ended(&place, child);
        assert_eq!(
            (said.code, said.err.as_str()),
            (130, "strongroom: ended before it was mounted\n")
        );
    }
}

#[test]
fn a_killed_mount_is_cleaned_away_and_what_was_written_is_there() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let mut child = foreground(&place);
    fs::write(place.drive().join("acknowledged"), "kept").unwrap();
    signal(&child, Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let said = place.run("status DRIVE");
    assert_eq!(said.code, 1);
    assert!(
        said.err.starts_with("strongroom: the process behind `DRIVE` is gone\nhint: "),
        "{}",
        said.err
    );
    // Nobody knows what it had committed.
    let said = place.run("unmount DRIVE --json");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.out.contains(r#""committed":null"#), "{}", said.out);
    let mut child = foreground(&place);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    // Mounting takes the dead mount away first.
    place.mount();
    assert_eq!(fs::read_to_string(place.drive().join("acknowledged")).unwrap(), "kept");
    place.unmount();
    place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn a_mount_that_cannot_say_that_it_serves_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    // Where the log should be, something else is.
    let in_the_way = place.path("home/state/log/mount.log");
    fs::create_dir_all(&in_the_way).unwrap();
    let said = place.run("mount STORE DRIVE --background --passphrase-file PASS");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("opening log"), "{}", said.err);
    assert!(!is_mounted(&place.drive()));
    fs::remove_dir(&in_the_way).unwrap();
    place.mount();
    place.unmount();
}

#[test]
fn a_commit_that_is_refused_is_told_when_unmounting_whatever_the_reason() {
    if !can_mount() || !is_root() {
        return;
    }
    // A store on a disk that turns read-only while it is mounted, far larger than what is kept free of it.
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    let mount = |how: &[&str]| {
        let done = Command::new("mount").args(how).arg(place.path("disk")).output().unwrap();
        done.status.success()
    };
    if !mount(&["-t", "tmpfs", "-o", "size=512m", "none"]) {
        return;
    }
    place.run("init disk/store --passphrase-file PASS").expect_done();
    place.run("mount disk/store DRIVE --background --passphrase-file PASS").expect_done();
    place.run("sync --wait DRIVE").expect_done();
    let refuses = mount(&["-o", "remount,ro"]);
    fs::write(place.drive().join("letter"), "dear bob").unwrap();
    let said = place.run("unmount DRIVE --json");
    mount(&["-o", "remount,rw"]);
    let done = Command::new("umount").arg("-l").arg(place.path("disk")).status().unwrap();
    assert!(refuses && done.success());
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains(r#""committed":false"#), "{}", said.out);
}

#[test]
fn an_unfit_mountpoint_is_refused_before_anything_is_opened() {
    let place = Place::with_workspace();
    place.run("mount STORE NONE --passphrase-file PASS").expect_refused(
        1,
        "strongroom: the mountpoint does not exist: `NONE`\nhint: make the folder first: `mkdir NONE`\n",
    );
    let said = place.run("mount STORE PASS --passphrase-file PASS");
    assert_eq!(
        (said.code, said.err.lines().next()),
        (1, Some("strongroom: the mountpoint is not a folder: `PASS`"))
    );
    let said = place.run("mount STORE HERE --passphrase-file PASS");
    assert_eq!(
        (said.code, said.err.lines().next()),
        (1, Some("strongroom: the mountpoint is not empty: `HERE`"))
    );
    assert!(said.err.contains("hint: "));
}

#[test]
fn an_unknown_mount_option_is_a_usage_failure() {
    let place = Place::with_workspace();
    let said = place.run("mount STORE DRIVE -o ro,umask=022 --passphrase-file PASS");
    assert_eq!(
        (said.code, said.err.lines().next()),
        (2, Some("strongroom: unknown mount option `umask`"))
    );
}

#[test]
fn a_home_mounts_a_store_once_and_another_home_beside_it() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    fs::create_dir(place.path("second")).unwrap();
    place.mount();
    fs::write(place.drive().join("before"), "x").unwrap();
    for how in ["", " --background"] {
        let said = place.run(&format!("mount STORE second{how} --passphrase-file PASS"));
        assert_eq!(
            (said.code, said.err.lines().next()),
            (1, Some("strongroom: `STORE` is mounted or in use already"))
        );
        assert!(said.err.contains("hint: "), "{}", said.err);
    }
    // Another home is another writer: each sees what the other does.
    let in_other_home = |words: &str| {
        let mut command = place.command(words);
        place.said(command.env("STRONGROOM_HOME", place.path("other-home")).output().unwrap())
    };
    let said = in_other_home("mount STORE second --background --passphrase-file PASS");
    assert_eq!(said.code, 0, "{said:?}");
    let second = place.path("second");
    let shown = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    // What was just written may not be committed yet when the second one looks.
    until("the second home sees it", || shown(&second.join("before")) == "x");
    fs::write(second.join("beside"), "y").unwrap();
    fs::write(place.drive().join("before"), "changed").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while shown(&place.drive().join("beside")) != "y" || shown(&second.join("before")) != "changed"
    {
        assert!(Instant::now() < deadline, "changes do not get across");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(in_other_home("unmount second").code, 0);
    assert!(!is_mounted(&second));
    place.unmount();
}

#[test]
fn conflict_copies_are_listed_and_resolved_as_asked() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    let (drive, mark) = (place.drive(), "(conflict laptop 2026-11-22)");
    // As a second home would have left them: names are all there is to it.
    for (file, text) in [("mine", "a"), ("theirs", "b"), ("both", "c")] {
        fs::write(drive.join(format!("{file}.txt")), format!("first {text}")).unwrap();
        fs::write(drive.join(format!("{file} {mark}.txt")), format!("later {text}")).unwrap();
    }
    let torn = drive.join("torn (conflict laptop 2026-11-22 incomplete).txt");
    fs::write(&torn, "later").unwrap();
    let json = place.run("conflict list DRIVE --json").expect_done();
    assert!(
        json.contains(r#""incomplete":true"#) && json.contains(r#""DRIVE/torn.txt""#),
        "{json}"
    );
    fs::remove_file(&torn).unwrap();
    let listed = place.run("conflict list DRIVE").expect_done();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains(&format!("DRIVE/mine {mark}.txt")), "{listed}");
    let json = place.run("conflict list DRIVE --json").expect_done();
    assert!(
        json.contains(r#""device":"laptop""#) && json.contains(r#""original":"DRIVE/both.txt""#)
    );
    for keep in ["mine", "theirs", "both"] {
        let mut command = place.command("conflict resolve");
        command.arg(drive.join(format!("{keep} {mark}.txt"))).args(["--keep", keep]);
        place.said(command.output().unwrap()).expect_done();
    }
    let shown = |name: &str| fs::read_to_string(drive.join(name)).unwrap();
    assert_eq!(shown("mine.txt"), "later a");
    assert_eq!(shown("theirs.txt"), "first b");
    assert_eq!(
        (shown("both.txt"), shown("both (laptop 2026-11-22).txt")),
        ("first c".into(), "later c".into())
    );
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 4);
    assert_eq!(place.run("conflict list DRIVE").expect_done(), "");
    let said = place.run("conflict resolve drive/mine.txt --keep mine");
    assert_eq!(said.code, 2, "{said:?}");
    place.unmount();
    assert_eq!(place.run("conflict list DRIVE").code, 1, "a folder is no workspace");
}

#[test]
fn a_mountpoint_in_use_stays_until_asked_to_be_lazy() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    fs::write(place.drive().join("open"), "still here").unwrap();
    let mut file = fs::File::open(place.drive().join("open")).unwrap();
    let said = place.run("unmount DRIVE");
    assert_eq!(
        (said.code, said.err.lines().next()),
        (1, Some("strongroom: files in the mount are open: `DRIVE`"))
    );
    assert!(is_mounted(&place.drive()));
    let out = place.run("unmount --lazy DRIVE --json").expect_done();
    assert!(out.contains(r#""committed":null"#), "{out}");
    assert!(!is_mounted(&place.drive()));
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
}

#[test]
fn unmounting_what_is_no_mount_says_so() {
    let place = Place::new();
    place.run("unmount DRIVE").expect_refused(
        1,
        "strongroom: nothing is mounted at `DRIVE`\nhint: `strongroom status` lists the mounts\n",
    );
    place.run("status DRIVE").expect_refused(
        1,
        "strongroom: `DRIVE` is not the root of a mounted workspace\nhint: `strongroom status` lists the mounts\n",
    );
    place.run("sync --wait DRIVE").expect_refused(
        1,
        "strongroom: `DRIVE` is not the root of a mounted workspace\nhint: `strongroom status` lists the mounts\n",
    );
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    fs::write(place.drive().join("kept"), "as it was").unwrap();
    place.unmount();
    place.run("mount STORE DRIVE --background -o ro --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(place.drive().join("kept")).unwrap(), "as it was");
    let error = fs::write(place.drive().join("new"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    place.unmount();
}

#[test]
fn source_and_subtype_show_in_the_table_of_mounts() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place
        .run("mount STORE DRIVE --background -o fsname=work,subtype=vault --passphrase-file PASS")
        .expect_done();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(&*place.drive().to_string_lossy())).unwrap();
    assert!(line.contains(" - fuse.vault work "), "{line}");
    place.unmount();
}

#[test]
fn a_machine_without_fuse_says_what_to_install() {
    if !can_mount() || !is_root() {
        eprintln!("skipped: needs root to hide /dev/fuse");
        return;
    }
    let place = Place::with_workspace();
    let line = format!(
        "mount -t tmpfs none /dev && exec {} mount {} {} --passphrase-file {}",
        env!("CARGO_BIN_EXE_strongroom"),
        place.store().display(),
        place.drive().display(),
        place.path("pass").display(),
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &line])
        .env("STRONGROOM_HOME", place.path("home"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = place.said(output);
    assert_eq!(
        (said.code, said.err.lines().next()),
        (1, Some("strongroom: this system has no /dev/fuse"))
    );
    assert!(said.err.contains("fuse3"), "{}", said.err);
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n")
}

#[test]
fn a_mount_whose_process_was_stopped_keeps_nobody_waiting() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let mount = foreground(&place);
    fs::write(place.drive().join("file"), "kept").unwrap();
    signal(&mount, Signal::STOP);
    let lines = ["status", "status DRIVE", "sync DRIVE", "unmount DRIVE", "snapshot list DRIVE"];
    let asking = lines.map(|line| started(&place, line));
    let again = started(&place, "mount STORE DRIVE --passphrase-file PASS");
    let [all, others @ ..] = asking.map(|child| ended(&place, child));
    let again = ended(&place, again);
    signal(&mount, Signal::CONT);
    assert_eq!((all.code, all.out.contains("DRIVE  STORE  silent")), (3, true), "{all:?}");
    for said in others {
        assert_eq!(said.code, 6, "{said:?}");
        assert!(said.err.contains("the process behind `DRIVE` did not answer in 5 s"), "{said:?}");
    }
    assert!(again.err.contains("mounted there already"), "{again:?}");
    assert_eq!(fs::read(place.drive().join("file")).unwrap(), b"kept");
    place.run("unmount DRIVE").expect_done();
    assert_eq!(ended(&place, mount).code, 0);
}
