//! Several homes write to one store: whatever they do, whatever is cut off, killed or without power, in the end all of
//! them see the same, and nothing that a sync returned for is gone, unless somebody who had seen it replaced it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "converge/away.rs"]
mod away;
#[path = "converge/back.rs"]
mod back;
#[path = "converge/commits.rs"]
mod commits;
#[path = "converge/forgotten.rs"]
mod forgotten;
#[path = "converge/late.rs"]
mod late;
#[path = "converge/lives.rs"]
mod lives;
#[path = "converge/nameless.rs"]
mod nameless;
#[path = "converge/promises.rs"]
mod promises;
#[path = "converge/readers.rs"]
mod readers;
#[path = "converge/still.rs"]
mod still;
#[path = "converge/story.rs"]
mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_check::{Report, Subject};
use strongroom_store::{Family, Key};
use strongroom_tests::harness::files::{read, save};
use strongroom_tests::harness::fleet::Fleet;
use strongroom_tests::harness::tree::{Node, Tree};
use strongroom_tests::harness::world::{keys, small_tuning};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, Ino};
use strongroom_workspace::error::Result;

const MARK_LEN: usize = 24;

type Mark = [u8; MARK_LEN];

fn examine(fleet: &Fleet) -> Report {
    let subject =
        Subject { store: fleet.store().clone(), keys: keys(), local: None, now: fleet.now_ns() };
    strongroom_check::examine(&subject, &mut |_| ()).unwrap()
}

fn mark(number: u64) -> Mark {
    let mut mark = [0xa5; MARK_LEN];
    mark[8..16].copy_from_slice(&number.to_le_bytes());
    // Not ending in a zero, which could not be told from a hole.
    let check = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 56;
    mark[16..].copy_from_slice(&check.to_le_bytes());
    mark
}

fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = mark(number).to_vec();
    bytes.resize(len, 0x11);
    bytes
}

/// Marks in some bytes.
fn marks_of(bytes: &[u8]) -> BTreeSet<Mark> {
    let mut found = BTreeSet::new();
    for window in bytes.windows(MARK_LEN) {
        if window[..8] == [0xa5; 8] {
            let number = u64::from_le_bytes(window[8..16].try_into().unwrap());
            if window == mark(number) {
                found.insert(mark(number));
            }
        }
    }
    found
}

fn marks(core: &dyn Core, ino: Ino) -> Result<BTreeSet<Mark>> {
    Ok(marks_of(&read(core, ino)?))
}

fn bytes_of(node: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (page, content) in &node.content {
        // Holes are cut short: no mark reaches over one.
        bytes.resize(bytes.len().next_multiple_of(4096).min(*page as usize * 4096), 0);
        bytes.extend_from_slice(content);
    }
    bytes
}

fn marks_in(tree: &Tree) -> BTreeSet<Mark> {
    tree.values().flat_map(|node| marks_of(&bytes_of(node))).collect()
}

fn show(marks: &BTreeSet<Mark>) -> String {
    let numbers = marks.iter().map(|mark| u64::from_le_bytes(mark[8..16].try_into().unwrap()));
    numbers.map(|number| format!("{number:x} ")).collect()
}

fn tuning() -> Tuning {
    Tuning { poll_interval: Duration::from_secs(2), ..small_tuning() }
}

/// Homes that write for many checkpoints, ticking `millis` at a time.
fn write_for_long(fleet: &mut Fleet, homes: &[usize], rounds: u64, millis: u64) {
    for round in 0..rounds {
        for home in homes {
            fleet.homes[*home].open().unwrap();
            let workspace = fleet.homes[*home].workspace().unwrap().clone();
            let name = format!("{home}-{}", round % 4);
            save(&workspace, &name, &content(round, 40_000)).unwrap();
            fleet.tick(*home, millis).unwrap();
        }
    }
}

fn stored(fleet: &Fleet, family: Family) -> usize {
    stored_keys(fleet, family).len()
}

fn stored_keys(fleet: &Fleet, family: Family) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    loop {
        let page = strongroom_store::now(fleet.store().list(family, keys.last().copied())).unwrap();
        if page.is_empty() {
            return keys;
        }
        keys.extend(page.iter().map(|listed| listed.key));
    }
}

fn keeping_for(seconds: u64) -> Tuning {
    let (retention, renew_interval) = (Duration::from_secs(seconds), Duration::from_secs(5));
    Tuning { retention, renew_interval, ..tuning() }
}
