//! `tests/suites/NAME.sh`: long-running and foreign suites on a real mount.
//!
//! A suite finds the program in `$STRONGROOM` and `long` or `short` in `$SUITE_FORM`. It ends with 0 (passed), 77 (cannot
//! run here, said why) or anything else. A line `N passed, N failed, N skipped` on its output is counted as it stands;
//! otherwise a suite counts as one test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::counts::Counts;
use crate::machine::Need;
use crate::{Outcome, machine};

/// What the automake world ends a test with that cannot run here.
const SKIPPED: i32 = 77;
/// Short forms that run side by side: much of what they do is waiting. Their ports and folders differ.
const LANES: usize = 2;
/// They begin first, so that no lane is left alone with one of them.
const LONGEST: [&str; 5] = ["story", "s3", "faults", "mirror", "swift"];

/// Runs one suite, all of them (`all`), or lists them.
pub fn run(arguments: &[&str]) -> Outcome {
    let is_long = arguments.contains(&"--long");
    let names: Vec<&str> =
        arguments.iter().copied().filter(|word| !word.starts_with("--")).collect();
    let [name] = names[..] else {
        for suite in all()? {
            println!("{}", suite.name);
        }
        return Ok(());
    };
    let chosen: Vec<Suite> =
        all()?.into_iter().filter(|suite| name == "all" || suite.name == name).collect();
    if chosen.is_empty() {
        return Err(format!("there is no suite `{name}`\nhint: `cargo xtask suites` lists them"));
    }
    let form = if is_long { "long" } else { "short" };
    let counts = run_each(&chosen, form)?;
    println!("{counts}");
    if counts.failed > 0 { Err("a suite failed".to_owned()) } else { Ok(()) }
}

/// The short form of every suite.
pub fn short() -> Result<Counts, String> {
    let suites = all()?;
    if suites.is_empty() {
        return Ok(Counts::default());
    }
    if let Some(trouble) = machine::fuse_trouble() {
        machine::heading("suites");
        println!("skipped {} suites: {trouble}", suites.len());
        let skipped = u64::try_from(suites.len()).unwrap_or_default();
        return Ok(Counts { skipped, ..Counts::default() });
    }
    run_each(&suites, "short")
}

/// Runs a script, hands each line of its output to `seen`, and counts it.
pub fn count_script(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let ended = machine::watch(command.current_dir(machine::root()), |line| {
        counts += own_line(line);
        seen(line);
    })?;
    let is_silent = counts == Counts::default();
    match ended.code() {
        Some(0) if is_silent => counts.passed = 1,
        Some(0) => {}
        Some(SKIPPED) => counts.skipped += u64::from(is_silent),
        _ => counts.failed = counts.failed.max(1),
    }
    Ok(counts)
}

struct Suite {
    name: String,
    script: PathBuf,
}

fn all() -> Result<Vec<Suite>, String> {
    let folder = machine::root().join("tests/suites");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut suites: Vec<Suite> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sh"))
        .filter_map(|script| {
            let name = script.file_stem()?.to_str()?.to_owned();
            // Shared functions, not a suite.
            (!name.starts_with("lib")).then_some(Suite { name, script })
        })
        .collect();
    let rank = |name: &str| LONGEST.iter().position(|long| *long == name).unwrap_or(LONGEST.len());
    suites.sort_by(|a, b| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
    Ok(suites)
}

fn run_each(suites: &[Suite], form: &str) -> Result<Counts, String> {
    install_foreign();
    let program = build(form)?;
    // Long forms fill the machine, and some of them measure it.
    let lanes = if form == "long" { 1 } else { LANES };
    let queue = Mutex::new(suites.iter());
    let counts = Mutex::new(Counts::default());
    let lane = || -> Outcome {
        loop {
            let Some(suite) = lock(&queue).next() else { return Ok(()) };
            let heading = format!("suite {} ({form})", suite.name);
            if lanes == 1 {
                machine::heading(&heading);
            }
            let (mut said, began) = (String::new(), Instant::now());
            let mut command = Command::new("bash");
            command.arg(&suite.script).env("STRONGROOM", &program).env("SUITE_FORM", form);
            command.env("PATH", tools_path());
            let counted = count_script(&mut command, |line| match lanes {
                1 => println!("{line}"),
                _ => said.extend([line, "\n"]),
            });
            // Held while it is printed, so that what a suite says stays together.
            let mut counts = lock(&counts);
            if lanes > 1 {
                machine::heading(&heading);
            }
            let (counted, seconds) = (counted?, began.elapsed().as_secs());
            println!("{said}{}: {counted} ({seconds} s)", suite.name);
            *counts += counted;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..lanes).map(|_| scope.spawn(lane)).collect();
        let first = lane();
        others.into_iter().fold(first, |ended, other| {
            ended.and(other.join().unwrap_or_else(|_| Err("a lane of suites ended".to_owned())))
        })
    })?;
    Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program that suites use. The short form takes what the tests were built with, so that nothing is built twice, and runs
/// with their assertions; the long form takes the program that people get.
fn build(form: &str) -> Result<PathBuf, String> {
    machine::heading("building the program the suites use");
    let (arguments, folder) = match form {
        "long" => (&["build", "--release", "--package", "strongroom"][..], "release"),
        _ => (&["build", "--workspace", "--bins", "--tests"][..], "debug"),
    };
    machine::run(&mut machine::cargo(arguments))?;
    Ok(machine::target().join(folder).join("strongroom"))
}

/// Suites written by others, built into `target/tools`. Where they cannot be built their suites skip and say so.
fn install_foreign() {
    const FOREIGN: [(&str, &str); 2] = [("pjdfstest", "0.2.2"), ("fsx", "0.3.2")];
    let missing: Vec<_> = FOREIGN.iter().filter(|(name, _)| find_tool(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    if machine::is_root() {
        // pjdfstest links it; if it cannot be had, the build below says so.
        let _ =
            machine::require(&[Need { program: "/usr/include/sys/acl.h", package: "libacl1-dev" }]);
    }
    for (name, version) in missing {
        machine::heading(&format!("building {name} {version}"));
        // Not optimised: they are built for minutes and run for seconds.
        let mut install = machine::cargo(&["install", "--quiet", "--locked", "--debug", name]);
        install.args(["--version", version, "--root"]).arg(machine::target().join("tools"));
        if let Err(error) = machine::run(&mut install) {
            eprintln!("its suite will be skipped: {error}");
        }
    }
}

fn find_tool(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&tools_path()).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Where suites look for programs.
fn tools_path() -> OsString {
    let mut folders = vec![machine::target().join("tools/bin")];
    folders.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin")));
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(folders).unwrap_or_default()
}

fn own_line(line: &str) -> Counts {
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [passed, "passed", failed, "failed", skipped, "skipped"] = words[..] else {
        return Counts::default();
    };
    match (passed.parse(), failed.parse(), skipped.parse()) {
        (Ok(passed), Ok(failed), Ok(skipped)) => Counts { passed, failed, skipped },
        _ => Counts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_may_count_for_itself() {
        let counts = Counts { passed: 385, failed: 0, skipped: 13 };
        assert_eq!(own_line("385 passed, 0 failed, 13 skipped"), counts);
        assert_eq!(own_line("pjdfstest: 385 passed"), Counts::default());
    }
}
