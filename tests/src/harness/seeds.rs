//! How much a suite does, and from which seed.

/// Long form: `STRONGROOM_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("STRONGROOM_LONG").is_some_and(|value| value != "0")
}

/// `short` or `long`, as the environment asks.
pub fn amount(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

/// Seeds to run: the one in `STRONGROOM_SEED`, or `count` of them from `first` on.
pub fn seeds(first: u64, count: u64) -> Vec<u64> {
    match std::env::var("STRONGROOM_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (first..first + count).collect(),
    }
}

/// How to repeat a failure.
pub fn repeat(suite: &str, test: &str, seed: u64) -> String {
    format!("repeat: STRONGROOM_SEED={seed} cargo test -p strongroom-tests --test {suite} {test}")
}
