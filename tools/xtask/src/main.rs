//! Developer tasks: `cargo xtask TASK`. Standard library only, so that it builds in seconds.
//!
//! `demo` and `test` are all that a fresh machine needs; both install what is missing when they may (root on a machine
//! with apt-get), else they name it. What each task does is in the module of its name.

mod bench;
mod ci;
mod counts;
mod demo;
mod fuzz;
mod machine;
mod suites;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
Developer tasks of Strongroom.

Usage: cargo xtask TASK

  demo                 the main job: an encrypted workspace, mounted and used, in a temporary folder
  test                 everything that must pass: tests, short suites, the independent reader
  lint                 formatting, clippy, tidy, licences
  ci                   lint and test
  tidy                 rules of the house that no compiler knows
  suites [NAME] [--long]   a suite of tests/suites, or a list of them
  bench [--quick]      workloads on ext4, gocryptfs, a passthrough and Strongroom -> docs/benchmarks.md
  bench remote [--delay MS]  a bucket through rclone crypt, JuiceFS, s3fs and Strongroom -> docs/benchmarks-remote.md
  bench scale          a folder of up to 1,000,000 files, sparse files and appends -> docs/scale.md
  fuzz [--seconds N]   mutated and random input for every decoder, by seed
  docs                 manual pages and help snapshot from the command line's definition
";

/// What a task ends with; the error is for people.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"demo", rest)) => demo::run(rest),
        Some((&"test", [])) => ci::test(),
        Some((&"lint", [])) => ci::lint(),
        Some((&"ci", [])) => ci::all(),
        Some((&"tidy", [])) => tidy::run(),
        Some((&"suites", rest)) => suites::run(rest),
        Some((&"bench", rest)) => bench::run(rest),
        Some((&"fuzz", rest)) => fuzz::run(rest),
        Some((&"docs", [])) => ci::docs(),
        None | Some((&("help" | "--help" | "-h"), _)) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some((task, _)) => {
            eprintln!(
                "xtask: `{task}` is no task, or takes no such argument\nhint: cargo xtask help"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
