//! `lint`, `test`, `ci`, `docs`: what must hold on every commit.

use std::process::Command;

use crate::counts::Counts;
use crate::machine::{self, Need};
use crate::{Outcome, suites, tidy};

/// Formatting, clippy, tidy, licences and sources.
pub fn lint() -> Outcome {
    machine::heading("rustfmt");
    machine::run(&mut machine::cargo(&["fmt", "--all", "--check"]))?;
    machine::heading("clippy");
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    machine::run(&mut machine::cargo(&clippy))?;
    // The tour's program: nothing else builds it.
    let small = [
        "clippy",
        "--package",
        "strongroom",
        "--no-default-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    machine::run(&mut machine::cargo(&small))?;
    machine::heading("tidy");
    tidy::run()?;
    machine::heading("cargo deny");
    if machine::find("cargo-deny").is_none() {
        eprintln!("skipped: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    // Advisories need a database from the network; they are looked at by hand before a release.
    machine::run(&mut machine::cargo(&[
        "deny",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Everything that must pass. The last line printed is `N passed, N failed, N skipped`.
pub fn test() -> Outcome {
    machine::require(machine::FUSE)?;
    machine::require(NEEDS)?;
    let mut counts = Counts::default();
    counts += cargo_tests()?;
    counts += suites::short()?;
    counts += reader()?;
    println!("{counts}");
    if counts.failed > 0 { Err("some tests failed".to_owned()) } else { Ok(()) }
}

/// What tests and suites run beside the mount.
const NEEDS: &[Need] = &[
    Need { program: "curl", package: "curl" },
    Need { program: "getfattr", package: "attr" },
    Need { program: "git", package: "git" },
    Need { program: "openssl", package: "openssl" },
    Need { program: "python3", package: "python3" },
    Need { program: "python3 -m ensurepip", package: "python3-venv" },
    Need { program: "rsync", package: "rsync" },
    // What stands in for a hardware security module.
    Need { program: "softhsm2-util", package: "softhsm2" },
    Need { program: "sqlite3", package: "sqlite3" },
];

/// Lint and test.
pub fn all() -> Outcome {
    lint()?;
    test()
}

/// Writes what is made from the command line's definition: manual pages and the snapshot of all help.
pub fn docs() -> Outcome {
    let folder = machine::root().join("docs/man");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut man =
        machine::cargo(&["run", "--quiet", "--package", "strongroom", "--", "man", "--folder"]);
    machine::run(man.arg(&folder))?;
    let mut help =
        machine::cargo(&["test", "--quiet", "--package", "strongroom", "--test", "help"]);
    machine::run(help.env("UPDATE_SNAPSHOTS", "1"))
}

fn cargo_tests() -> Result<Counts, String> {
    machine::heading("tests");
    let has_nextest = machine::find("cargo-nextest").is_some();
    // One more than there are processors: a third of the time tests wait, for a disk or for each other.
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get() + 1);
    let threads = threads.to_string();
    // Once more for what fails: a busy machine may be late once, and a fault is not. The summary names what was FLAKY.
    let runs: &[&[&str]] = if has_nextest {
        &[
            &[
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
                "--hide-progress-bar",
                "--retries",
                "1",
                "--test-threads",
                &threads,
            ],
            &["test", "--workspace", "--doc", "--no-fail-fast"],
        ]
    } else {
        &[&["test", "--workspace", "--no-fail-fast"]]
    };
    let mut counts = Counts::default();
    for arguments in runs {
        let before = counts.failed;
        let ended = machine::watch(&mut machine::cargo(arguments), |line| {
            println!("{line}");
            counts += Counts::from_line(line);
        })?;
        if !ended.success() && counts.failed == before {
            return Err(format!("`cargo {}` failed before its tests ran", arguments.join(" ")));
        }
    }
    if machine::find("softhsm2-util").is_none() {
        eprintln!(
            "skipped {TOKEN_TESTS} tests: SoftHSM2 is not installed (`apt-get install softhsm2`)"
        );
        counts.passed = counts.passed.saturating_sub(TOKEN_TESTS);
        counts.skipped += TOKEN_TESTS;
    }
    Ok(counts)
}

/// Tests that need a security module; without one they say so and pass.
const TOKEN_TESTS: u64 = 6;

/// The independent reader, if it is there: it proves that docs/format.md says enough.
fn reader() -> Result<Counts, String> {
    let script = machine::root().join("tests/reader/run.sh");
    if !script.exists() {
        return Ok(Counts::default());
    }
    machine::heading("independent reader");
    suites::count_script(&mut Command::new(script), |line| println!("{line}"))
}
