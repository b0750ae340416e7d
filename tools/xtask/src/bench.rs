//! `bench`: measures a mount beside its peers and writes `docs/benchmarks.md`. The workloads are in `tests/bench`.

use std::process::Command;

use crate::machine::{self, Need};
use crate::{Outcome, machine::FUSE};

const NEEDS: &[Need] = &[
    Need { program: "gocryptfs", package: "gocryptfs" },
    Need { program: "python3", package: "python3" },
    Need { program: "git", package: "git" },
];

/// Builds what is compared and runs the script; arguments go to it.
pub fn run(arguments: &[&str]) -> Outcome {
    machine::require(FUSE)?;
    machine::require(NEEDS)?;
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
    command.arg(root.join("tests/bench/bench.py")).args(arguments).current_dir(&root);
    command.env("STRONGROOM", release.join("strongroom"));
    command.env("PASSTHROUGH", release.join("passthrough"));
    machine::run(&mut command)
}
