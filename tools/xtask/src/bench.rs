//! `bench`: measures a mount beside its peers and writes `docs/benchmarks.md`; `bench remote` one of a bucket, and writes
//! `docs/benchmarks-remote.md`. The workloads are in `tests/bench`.

use std::process::Command;

use crate::machine::{self, Need};
use crate::{Outcome, machine::FUSE};

const NEEDS: &[Need] = &[
    Need { program: "gocryptfs", package: "gocryptfs" },
    Need { program: "python3", package: "python3" },
    Need { program: "git", package: "git" },
];

const NEEDS_SCALE: &[Need] = &[Need { program: "python3", package: "python3" }];

/// The peers are found by the script: some are not Debian's.
const NEEDS_REMOTE: &[Need] = &[
    Need { program: "curl", package: "curl" },
    Need { program: "git", package: "git" },
    Need { program: "openssl", package: "openssl" },
    Need { program: "python3", package: "python3" },
    Need { program: "python3 -m ensurepip", package: "python3-venv" },
    Need { program: "s3fs", package: "s3fs" },
];

/// Builds what is compared and runs the script; arguments go to it.
pub fn run(arguments: &[&str]) -> Outcome {
    let (script, needs, arguments) = match arguments {
        ["remote", rest @ ..] => ("remote.py", NEEDS_REMOTE, rest),
        ["scale", rest @ ..] => ("scale.py", NEEDS_SCALE, rest),
        all => ("bench.py", NEEDS, all),
    };
    machine::require(FUSE)?;
    machine::require(needs)?;
    machine::heading("building");
    let packages = [
        "build",
        "--release",
        "--package",
        "strongroom",
        "--package",
        "strongroom-tests",
        "--bins",
    ];
    machine::run(&mut machine::cargo(&packages))?;
    let release = machine::target().join("release");
    let root = machine::root();
    let mut command = Command::new("python3");
    command.arg(root.join("tests/bench").join(script)).args(arguments).current_dir(&root);
    command.env("STRONGROOM", release.join("strongroom"));
    command.env("PASSTHROUGH", release.join("passthrough"));
    command.env("PLAIN_SDK", release.join("plain_sdk"));
    machine::run(&mut command)
}
