//! Command lines and stores that are refused: one clear line, a hint, the documented exit code.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Place;
use strongroom_format::device::DeviceFile;

#[test]
fn nonsense_is_a_usage_failure_with_one_line_and_a_hint() {
    let place = Place::new();
    for (line, first) in [
        ("frobnicate", "strongroom: unrecognized subcommand `frobnicate`"),
        ("init", "strongroom: the following required arguments were not provided: <STORE>"),
        (
            "mount STORE",
            "strongroom: the following required arguments were not provided: <MOUNTPOINT>",
        ),
        ("status --loud", "strongroom: unexpected argument `--loud` found"),
    ] {
        let said = place.run(line);
        assert_eq!(said.code, 2, "{line}: {said:?}");
        assert_eq!(said.err.lines().next(), Some(first), "{line}");
        assert_eq!(said.err.lines().count(), 2, "{line}: {}", said.err);
        assert_eq!(said.out, "");
    }
}

#[test]
fn no_arguments_show_help_and_are_a_usage_failure() {
    let said = Place::new().run("");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("Usage: strongroom"));
}

#[test]
fn init_asks_for_a_passphrase_source_without_a_terminal() {
    let place = Place::new();
    // A session of its own has no terminal, whatever the test was started from.
    let setsid = std::process::Command::new("setsid")
        .arg(env!("CARGO_BIN_EXE_strongroom"))
        .args(["init", "store"])
        .env("STRONGROOM_HOME", place.path("home"))
        .current_dir(place.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    place.said(setsid).expect_refused(
        2,
        "strongroom: no terminal to ask for the passphrase\nhint: give `--passphrase-file FILE`\n",
    );
    assert!(!place.store().exists());
}

#[test]
fn an_empty_passphrase_file_is_refused_and_nothing_is_made() {
    let place = Place::new();
    place.run("init STORE --passphrase-file EMPTY").expect_refused(
        1,
        "strongroom: passphrase file `EMPTY` is empty\nhint: the passphrase is the first line\n",
    );
    assert!(!place.store().exists());
}

#[test]
fn a_missing_passphrase_file_is_named() {
    let place = Place::new();
    place.run("init STORE --passphrase-file NONE").expect_refused(
        1,
        "strongroom: opening passphrase file `NONE`: no such file or directory\n",
    );
}

#[test]
fn a_store_that_needs_a_later_version_says_so() {
    let place = Place::new();
    place.run("init strongroom://host/team/work --passphrase-file PASS").expect_refused(
        1,
        "strongroom: `strongroom://` stores are not in this version yet\n\
         hint: give a folder, `s3://BUCKET/PREFIX` or `swift://CONTAINER/PREFIX`\n",
    );
    place.run("mount ftp://x DRIVE --passphrase-file PASS").expect_refused(
        2,
        "strongroom: unknown kind of store `ftp://`\n\
         hint: give a folder, `s3://BUCKET/PREFIX`, `swift://CONTAINER/PREFIX`, or a name from config.toml\n",
    );
}

#[test]
fn a_bucket_without_credentials_or_server_is_told_apart() {
    let place = Place::new();
    let said = |variables: &[(&str, &str)]| {
        let mut command = place.command("check s3://bucket/prefix --passphrase-file PASS");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", place.path("nobody"));
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] {
            command.env_remove(name);
        }
        let said = place.said(command.envs(variables.iter().copied()).output().unwrap());
        (said.code, said.err.lines().next().unwrap_or_default().to_owned())
    };
    let opening = "strongroom: opening `s3://bucket/prefix`:";
    assert_eq!(said(&[]), (4, format!("{opening} no credentials for S3 were found")));
    // Nobody listens on port 1.
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let away = [keys[0], keys[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
    assert_eq!(said(&away), (6, format!("{opening} the server does not answer")));
}

/// A bucket that gives what lies in a folder and refuses all else; where it listens.
fn bucket_that_refuses(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && peer.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let asked = head.split([' ', '?']).nth(1).unwrap_or_default();
            let path = folder.join(asked.trim_start_matches("/bucket").trim_start_matches('/'));
            let (status, body) = match std::fs::read(path) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("403 Forbidden", Vec::new()),
            };
            let len = body.len();
            let told =
                format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n");
            let _ = peer.write_all(&[told.as_bytes(), &body].concat());
        }
    });
    endpoint
}

#[test]
fn what_a_bucket_refuses_after_it_was_opened_is_denied_too() {
    let place = Place::with_workspace();
    let endpoint = bucket_that_refuses(place.store());
    let line = "passwd s3://bucket --passphrase-file PASS --new-passphrase-file WRONG";
    let mut command = place.command(line);
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let said = place.said(command.output().unwrap());
    assert!(said.code == 4 && said.err.contains("credentials for a bucket"), "{said:?}");
}

#[test]
fn ctrl_c_at_the_prompt_leaves_the_terminal_as_it_was() {
    let place = Place::with_workspace();
    let program = env!("CARGO_BIN_EXE_strongroom");
    let line = format!("trap : INT; tty; {program} check store; echo ended with $?; stty -a");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(place.path(""));
    command.env("STRONGROOM_HOME", place.path("home")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: `script` is not installed");
        return;
    };
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut byte) = (String::new(), [0]);
    while !shown.contains("passphrase") && screen.read_exact(&mut byte).is_ok() {
        shown.push(char::from(byte[0]));
    }
    let terminal = shown.lines().next().unwrap().to_owned();
    let echoes = |modes: &str| modes.split_whitespace().any(|word| word == "echo");
    loop {
        let modes = Command::new("stty").args(["-F", &terminal, "-a"]).output().unwrap();
        if !echoes(&String::from_utf8_lossy(&modes.stdout)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    keys.write_all(b"\x03").unwrap();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("ended with 130") && echoes(&rest), "{shown}{rest}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn init_refuses_a_folder_that_holds_a_workspace_already() {
    let place = Place::with_workspace();
    place.run("init STORE --passphrase-file PASS").expect_refused(
        1,
        "strongroom: `STORE` holds a workspace already\nhint: mount it with `strongroom mount STORE MOUNTPOINT`\n",
    );
    place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn init_refuses_a_folder_with_other_things_in_it() {
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    fs::write(place.store().join("letter.txt"), "dear alice").unwrap();
    place
        .run("init STORE --passphrase-file PASS")
        .expect_refused(1, "strongroom: `STORE` is not empty\nhint: give a new or empty folder\n");
    assert_eq!(fs::read_dir(place.store()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_no_store_is_not_opened() {
    let place = Place::new();
    for verb in ["mount STORE DRIVE", "check STORE", "passwd STORE"] {
        place.run(&format!("{verb} --passphrase-file PASS")).expect_refused(
            1,
            "strongroom: there is no store at `STORE`\nhint: `strongroom init STORE` makes one\n",
        );
    }
    fs::create_dir(place.store()).unwrap();
    place.run("mount STORE DRIVE --passphrase-file PASS").expect_refused(
        1,
        "strongroom: `STORE` is not a strongroom store\nhint: `strongroom init STORE` makes one in an empty folder\n",
    );
}

#[test]
fn a_name_from_the_configuration_is_a_store() {
    let place = Place::with_workspace();
    fs::create_dir_all(place.path("home")).unwrap();
    let config = format!("[stores]\nwork = \"{}\"\n", place.store().display());
    fs::write(place.path("home/config.toml"), config).unwrap();
    place.run("check work --passphrase-file PASS").expect_sound();
}

#[test]
fn a_configuration_that_makes_no_sense_is_named_with_its_line() {
    let place = Place::new();
    fs::create_dir_all(place.path("home")).unwrap();
    fs::write(place.path("home/config.toml"), "[stores]\nwork = /srv\n").unwrap();
    place.run("check work --passphrase-file PASS").expect_refused(
        1,
        "strongroom: reading `HERE/home/config.toml`: line 2 makes no sense\n\
         hint: lines look like `[stores]` and `name = \"/folder/or/url\"`\n",
    );
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let place = Place::with_workspace();
    for verb in [
        "mount STORE DRIVE",
        "mount STORE DRIVE --background",
        "check STORE",
        "passwd STORE --new-passphrase-file PASS",
    ] {
        place.run(&format!("{verb} --passphrase-file WRONG")).expect_refused(
            5,
            "strongroom: wrong passphrase for `STORE`\nhint: check the passphrase and try again\n",
        );
    }
}

#[test]
fn passphrases_come_from_standard_input_and_descriptors_too() {
    let place = Place::with_workspace();
    for line in ["check STORE --passphrase-file -", "check STORE --passphrase-fd 0"] {
        let mut child = place
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", common::PASSPHRASE).unwrap();
        place.said(child.wait_with_output().unwrap()).expect_sound();
    }
}

#[test]
fn passwd_lets_the_new_passphrase_in_and_the_old_one_out() {
    let place = Place::with_workspace();
    place.run("passwd STORE --passphrase-file PASS --new-passphrase-file WRONG").expect_done();
    assert_eq!(place.run("check STORE --passphrase-file PASS").code, 5);
    place.run("check STORE --passphrase-file WRONG").expect_sound();
}

#[test]
fn trying_a_passphrase_takes_the_memory_that_was_asked_for() {
    let place = Place::with_workspace();
    place.run("init usual --passphrase-file PASS").expect_done();
    let found = ["store", "usual"].map(|store| memory_kib(&place.path(store)));
    assert_eq!(found, [65_536, 262_144]);
    place.run("passwd STORE --passphrase-file PASS --new-passphrase-file WRONG").expect_done();
    assert_eq!(memory_kib(&place.store()), 262_144);
}

/// What the only device file of a store asks for.
fn memory_kib(store: &Path) -> u32 {
    let mut files = fs::read_dir(store.join("device")).unwrap();
    let bytes = fs::read(files.next().unwrap().unwrap().path()).unwrap();
    assert!(files.next().is_none());
    DeviceFile::parse(&bytes).unwrap().clear.kdf.memory_kib
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let place = Place::with_workspace();
    let path = place.store().join("workspace");
    let mut bytes = fs::read(&path).unwrap();
    raise_version(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    for verb in ["mount STORE DRIVE", "check STORE"] {
        let said = place.run(&format!("{verb} --passphrase-file PASS"));
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("newer") && said.err.contains("\nhint: "), "{}", said.err);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// Raises the format version in the clear descriptor.
fn raise_version(bytes: &mut [u8]) {
    // An array, the text `strongroom`, then the version.
    assert_eq!((&bytes[1..12], bytes[12]), (&b"\x6astrongroom"[..], 1));
    bytes[12] = 2;
}
