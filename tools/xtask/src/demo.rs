//! `demo`: the main job from beginning to end, on a fresh machine, with real files, checked at every step.

mod steps;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, machine};

/// Where the demo lives and what it uses.
pub struct Demo {
    /// Holds everything below.
    pub folder: PathBuf,
    /// The program.
    pub program: PathBuf,
}

impl Demo {
    /// The store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The mountpoint.
    pub fn mountpoint(&self) -> PathBuf {
        self.folder.join("drive")
    }

    /// The passphrase file.
    pub fn passphrase(&self) -> PathBuf {
        self.folder.join("passphrase")
    }

    /// A strongroom command with this demo's own home.
    pub fn strongroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("STRONGROOM_HOME", self.folder.join("home"));
        command
    }
}

/// Builds, then does the tour.
pub fn run(arguments: &[&str]) -> Outcome {
    if !arguments.is_empty() {
        return Err("`demo` takes no arguments".to_owned());
    }
    if let Some(trouble) = machine::fuse_trouble() {
        return Err(format!("this machine cannot mount: {trouble}"));
    }
    machine::require(machine::FUSE)?;
    machine::heading("building strongroom (minutes the first time, then seconds)");
    let began = Instant::now();
    // Without the clients of clouds and policies, which the tour does not use: half of the packages, a third of the time.
    let build = ["build", "--release", "--package", "strongroom", "--no-default-features"];
    machine::run(&mut machine::cargo(&build))?;
    eprintln!("built in {:.1} s", began.elapsed().as_secs_f64());
    let uid = machine::output(Command::new("id").arg("-u"))?;
    let demo = Demo {
        folder: std::env::temp_dir().join(format!("strongroom-demo-{}", uid.trim())),
        program: machine::target().join("release/strongroom"),
    };
    steps::all(&demo)
}
