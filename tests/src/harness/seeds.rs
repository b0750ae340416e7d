//! How much a suite does, and from which seed.

/// Long form: `STRONGROOM_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("STRONGROOM_LONG").is_some_and(|value| value != "0")
}

/// `short` or `long`, as the environment asks.
pub fn amount(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

/// Seeds to run: the one in `STRONGROOM_SEED`, or `count` of them from `first` on. `STRONGROOM_SHIFT` is added, to
/// run others than every day.
pub fn seeds(first: u64, count: u64) -> Vec<u64> {
    let first = first + number("STRONGROOM_SHIFT").unwrap_or(0);
    number("STRONGROOM_SEED").map_or_else(|| (first..first + count).collect(), |seed| vec![seed])
}

/// The same after those whose lives once went wrong; one that is named runs alone.
pub fn seeds_after(found: &[u64], first: u64, count: u64) -> Vec<u64> {
    let some = seeds(first, count);
    match number("STRONGROOM_SEED") {
        Some(_) => some,
        None => found.iter().copied().chain(some).collect(),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How to repeat a failure.
pub fn repeat(suite: &str, test: &str, seed: u64) -> String {
    format!("repeat: STRONGROOM_SEED={seed} cargo test -p strongroom-tests --test {suite} {test}")
}

/// Tells on stderr what goes on, with `STRONGROOM_TRACE=1`.
pub fn trace(what: impl FnOnce() -> String) {
    if std::env::var_os("STRONGROOM_TRACE").is_some() {
        eprintln!("{}", what());
    }
}
