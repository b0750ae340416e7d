//! `fuzz`: the decoders' seeded fuzz loops in their long form.
//!
//! The stable toolchain has no coverage-guided fuzzer (cargo-fuzz needs a nightly one), so the tests named `fuzz_…` in `tests/tests/fuzz.rs`
//! mutate vectors and make random input from a seed. Here they run for a given time each, optimised, with a new seed that
//! is printed; `FUZZ_SEED` repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Outcome, machine};

/// Ten minutes for each decoder.
const SECONDS: &str = "600";

/// Runs them, two at a time on two cores.
pub fn run(arguments: &[&str]) -> Outcome {
    let seconds = match arguments {
        [] => SECONDS,
        ["--seconds", seconds] => seconds,
        _ => return Err("usage: cargo xtask fuzz [--seconds N]".to_owned()),
    };
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = std::env::var("FUZZ_SEED").unwrap_or_else(|_| fresh.to_string());
    machine::heading(&format!("FUZZ_SEED={seed} cargo xtask fuzz --seconds {seconds}"));
    let tests = [
        "test",
        "--package",
        "strongroom-tests",
        "--release",
        "--test",
        "fuzz",
        "--",
        "--nocapture",
    ];
    let mut command = machine::cargo(&tests);
    machine::run(command.env("FUZZ_SEED", seed).env("FUZZ_SECONDS", seconds))
}
