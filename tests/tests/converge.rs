//! Several homes write to one store: whatever they do, whatever is cut off, killed or without power, in the end all of
//! them see the same, and nothing that a sync returned for is gone, unless somebody who had seen it replaced it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_check::{Report, Subject};
use strongroom_format::commit::CommitFile;
use strongroom_host::sim::Chance;
use strongroom_store::Family;
use strongroom_tests::harness::files::{OPEN, find, find_in, load, make, read, save, save_in};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::runner::{CALLER, Seen, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds, trace};
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::tree::{Node, Times, Tree, difference, read_tree};
use strongroom_tests::harness::world::{START_NS, keys, small_tuning};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{
    Change, Core, Ino, Kind, RenameMode, SyncLevel, SyncScope, WriteMode, XattrMode,
};
use strongroom_workspace::error::{ErrorKind, Result};
use strongroom_workspace::limits::Broken;

const MARK_LEN: usize = 24;
const FOLDERS: [&str; 4] = ["", "", "d", "e"];
const NAMES: [&str; 4] = ["t0.txt", "t1", "t2.txt", "t3"];

type Mark = [u8; MARK_LEN];

/// A life of several homes.
struct Story {
    fleet: Fleet,
    chance: Chance,
    generators: Vec<Generator>,
    next_mark: u64,
    /// Marks that a sync has returned for and that nobody who saw them has replaced.
    promised: BTreeSet<Mark>,
    /// Marks written by a home since its last sync.
    waiting: Vec<Vec<Mark>>,
    /// Whether homes keep copies, and begin without the store as well.
    keeps_copies: bool,
}

impl Story {
    fn new(seed: u64, tuning: &Tuning) -> Self {
        let mut chance = Chance::new(seed);
        let count = 2 + chance.index(4);
        let generators = (0..count as u64).map(|home| Generator::new(seed * 8 + home, Mix::Local));
        Self {
            fleet: Fleet::new(seed, count, tuning),
            generators: generators.collect(),
            chance,
            next_mark: seed << 20,
            promised: BTreeSet::new(),
            waiting: vec![Vec::new(); count],
            keeps_copies: false,
        }
    }

    /// Homes keep copies, and begin without the store as well.
    fn keeping_copies(mut self) -> Self {
        self.fleet.keep_copies();
        self.keeps_copies = true;
        self
    }

    /// Something happens.
    fn happen(&mut self) -> std::result::Result<(), String> {
        let home = self.chance.index(self.fleet.homes.len());
        let keeps_copies = self.keeps_copies;
        let failed = |error: strongroom_workspace::error::Error| match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Busy => Ok(()),
            // It was told to mount again.
            ErrorKind::Stale if keeps_copies => Ok(()),
            _ => Err(format!("home {home}: {error}")),
        };
        if self.fleet.homes[home].workspace().is_none() {
            trace(|| format!("home {home} opens"));
            return self.fleet.homes[home].open().or_else(failed);
        }
        match self.chance.below(100) {
            0..40 => {
                let step = self.generators[home].steps(1).remove(0);
                self.step(home, &step)
            }
            40..62 => self.marked(home),
            62..70 => self.sync(home),
            70..88 => {
                let millis = self.chance.below(3000);
                trace(|| format!("home {home} ticks {millis}"));
                let ticked = self.fleet.tick(home, millis);
                if let Err(error) = &ticked
                    && error.kind() == ErrorKind::Stale
                {
                    self.down(home, Down::Killed)?;
                }
                ticked.or_else(failed)
            }
            88..92 if self.keeps_copies && self.chance.one_in(2) => {
                self.fleet.homes[home].cut(true);
                let seed = self.chance.next_u64();
                let how = [Down::Closed, Down::Killed, Down::PowerLost(seed)];
                let how = how[self.chance.index(3)];
                self.down(home, how)
            }
            88..92 => {
                let cut = !self.fleet.homes[home].is_cut();
                trace(|| format!("home {home} is cut off: {cut}"));
                self.fleet.homes[home].cut(cut);
                Ok(())
            }
            92..94 => {
                let rate = [0, 0, 3, 20][self.chance.index(4)];
                trace(|| format!("home {home} loses one in {rate}"));
                self.fleet.homes[home].lose(rate);
                Ok(())
            }
            94..96 => self.down(home, Down::Killed),
            96..98 => {
                let seed = self.chance.next_u64();
                self.down(home, Down::PowerLost(seed))
            }
            _ => self.down(home, Down::Closed),
        }
    }

    fn step(&mut self, home: usize, step: &Step) -> std::result::Result<(), String> {
        if *step == Step::Reopen {
            return self.down(home, Down::Closed);
        }
        let seen = self.fleet.homes[home].take(step);
        trace(|| format!("home {home} {step:?} {seen:?}"));
        match seen {
            Some(Seen::Refused(
                kind @ (ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Poisoned),
            )) => Err(format!("home {home}: {step:?} was refused: {kind:?}")),
            Some(Seen::Done) if matches!(step, Step::Sync | Step::Commit) => {
                self.keep_promises(home);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn keep_promises(&mut self, home: usize) {
        self.promised.extend(self.waiting[home].drain(..));
    }

    fn down(&mut self, home: usize, how: Down) -> std::result::Result<(), String> {
        trace(|| format!("home {home} {how:?}"));
        let closed = self.fleet.homes[home].down(how);
        match (how, closed) {
            // What the process wrote is in the machine's memory.
            (Down::Killed, _) => {}
            (Down::PowerLost(_), _) => self.waiting[home].clear(),
            (_, Ok(())) => self.keep_promises(home),
            (_, Err(error)) if !self.may_meet(error.kind()) => {
                return Err(format!("home {home} closes: {error}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a home may be told this when it wants to commit.
    fn may_meet(&self, kind: ErrorKind) -> bool {
        // One that began without the store may be told to mount again.
        kind == ErrorKind::Unavailable || self.keeps_copies && kind == ErrorKind::Stale
    }

    fn sync(&mut self, home: usize) -> std::result::Result<(), String> {
        let level = if self.chance.one_in(3) { SyncLevel::Remote } else { SyncLevel::Local };
        let workspace = self.fleet.homes[home].workspace().unwrap();
        let synced = done(workspace.sync(SyncScope::All, level));
        trace(|| format!("home {home} syncs {level:?}: {synced:?}"));
        match synced {
            Ok(()) => self.keep_promises(home),
            Err(error) if self.may_meet(error.kind()) => {}
            Err(error) => return Err(format!("home {home} syncs: {error}")),
        }
        Ok(())
    }

    /// Something is done to files whose content is followed.
    fn marked(&mut self, home: usize) -> std::result::Result<(), String> {
        let workspace = self.fleet.homes[home].workspace().unwrap().clone();
        let folder = FOLDERS[self.chance.index(FOLDERS.len())];
        let name = NAMES[self.chance.index(NAMES.len())];
        let other = NAMES[self.chance.index(NAMES.len())];
        let number = self.next_mark;
        self.next_mark += 1;
        let act = self.chance.below(10);
        let len = [MARK_LEN, 300, 900, 3000, 20_000, 70_000][self.chance.index(6)];
        let core = &workspace;
        let result = (|| -> Result<(Vec<Mark>, Option<Mark>)> {
            let folder = find(core, folder)?;
            match act {
                0..5 => {
                    let bytes = content(number, len);
                    let seen = match find_in(core, folder, name) {
                        Ok(ino) => marks(core, ino)?,
                        Err(_) => BTreeSet::new(),
                    };
                    save_in(core, folder, name, &bytes)?;
                    Ok((seen.into_iter().collect(), Some(mark(number))))
                }
                5..7 => {
                    // As editors do: beside it, then over it.
                    let seen = match find_in(core, folder, name) {
                        Ok(ino) => marks(core, ino)?,
                        Err(_) => BTreeSet::new(),
                    };
                    save_in(core, folder, &format!("tmp{home}"), &content(number, len))?;
                    let (from, to) = (format!("tmp{home}"), name.as_bytes());
                    let places = ((folder, from.as_bytes()), (folder, to));
                    done(core.rename(places.0, places.1, RenameMode::Replace))?;
                    Ok((seen.into_iter().collect(), Some(mark(number))))
                }
                7 => {
                    let ino = find_in(core, folder, name)?;
                    let handle = done(core.open(ino, OPEN))?.handle;
                    let wrote = done(core.write(
                        handle,
                        0,
                        &content(number, len),
                        WriteMode::Append,
                        false,
                    ));
                    core.release(handle);
                    wrote.map(|_| (Vec::new(), Some(mark(number))))
                }
                8 => {
                    let seen = marks(core, find_in(core, folder, name)?)?;
                    done(core.unlink(folder, name.as_bytes()))?;
                    Ok((seen.into_iter().collect(), None))
                }
                _ => {
                    let places = ((folder, name.as_bytes()), (folder, other.as_bytes()));
                    done(core.rename(places.0, places.1, RenameMode::NoReplace))?;
                    Ok((Vec::new(), None))
                }
            }
        })();
        trace(|| {
            let result = result.as_ref().map(|(_, made)| made.is_some());
            format!("home {home} act {act} on {folder}/{name} {other}: mark {number:x} {result:?}")
        });
        match result {
            Ok((replaced, made)) => {
                for mark in replaced {
                    self.promised.remove(&mark);
                    self.waiting.iter_mut().for_each(|waiting| waiting.retain(|m| *m != mark));
                }
                self.waiting[home].extend(made);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt) => {
                Err(format!("home {home} act {act}: {error}"))
            }
            Err(_) => Ok(()),
        }
    }

    fn end(mut self) -> std::result::Result<(), String> {
        let trees = self.fleet.settle()?;
        for (home, tree) in trees.iter().enumerate() {
            if let Some(what) = difference(&trees[0], tree, Times::Compared) {
                return Err(format!("homes 0 and {home} differ at {what}"));
            }
        }
        for (path, node) in &trees[0] {
            trace(|| {
                format!(
                    "{:?} {:?} {}",
                    String::from_utf8_lossy(path),
                    node.shown,
                    show(&marks_of(&bytes_of(node)))
                )
            });
        }
        let found = marks_in(&trees[0]);
        if let Some(lost) = self.promised.iter().find(|mark| !found.contains(*mark)) {
            return Err(format!(
                "mark {:x} is lost",
                u64::from_le_bytes(lost[8..16].try_into().unwrap())
            ));
        }
        let report = examine(&self.fleet);
        if !report.is_clean() {
            let findings: Vec<_> =
                report.findings.iter().map(|finding| finding.text.clone()).collect();
            return Err(format!("check finds: {}", findings.join("; ")));
        }
        for home in &mut self.fleet.homes {
            home.down(Down::Closed).map_err(|error| error.to_string())?;
        }
        let again = self.fleet.settle()?;
        match difference(&trees[0], &again[0], Times::Compared) {
            Some(what) => Err(format!("opened anew it differs at {what}")),
            None => Ok(()),
        }
    }
}

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

fn live(seed: u64, tuning: &Tuning) -> std::result::Result<(), String> {
    tell(Story::new(seed, tuning))
}

fn tell(mut story: Story) -> std::result::Result<(), String> {
    let steps = 40 + story.chance.index(120);
    for _ in 0..steps {
        story.happen()?;
    }
    story.end()
}

#[test]
fn homes_that_write_at_once_converge_and_lose_nothing() {
    for seed in seeds(1, amount(200, 100_000)) {
        if let Err(what) = live(seed, &tuning()) {
            let again =
                repeat("converge", "homes_that_write_at_once_converge_and_lose_nothing", seed);
            panic!("seed {seed}: {what}\n{again}");
        }
    }
}

#[test]
fn homes_that_begin_while_the_store_is_away_converge_too() {
    for seed in seeds(400_000, amount(25, 100_000)) {
        let story = Story::new(seed, &tuning()).keeping_copies();
        if let Err(what) = tell(story) {
            let again =
                repeat("converge", "homes_that_begin_while_the_store_is_away_converge_too", seed);
            panic!("seed {seed}: {what}\n{again}");
        }
    }
}

#[test]
fn what_was_synced_and_then_put_on_top_of_others_commits_survives_a_loss_of_power() {
    // A life in which the records that took the place of durable ones outlived the blocks that they name.
    live(2963, &tuning()).unwrap();
}

#[test]
fn a_commit_that_did_not_get_through_takes_nothing_away_that_the_journal_names() {
    // A life in which an object was deleted for a commit that the store never got; the journal still named it.
    live(1602, &tuning()).unwrap();
}

/// How many lives it takes to notice a rule that is left out.
fn lives_until_noticed(broken: Broken) -> u64 {
    let tuning = Tuning { broken: Some(broken), ..tuning() };
    (1..=200).find(|seed| live(*seed, &tuning).is_err()).unwrap_or(u64::MAX)
}

#[test]
fn rules_that_are_left_out_are_noticed() {
    for broken in [
        Broken::SecondEditReplacesFirst,
        Broken::DeletionBeatsEdit,
        Broken::BaseNotJournaled,
        Broken::TakenNameIsTakenOver,
    ] {
        let lives = lives_until_noticed(broken);
        trace(|| format!("{broken:?} is noticed in life {lives}"));
        assert!(lives <= 200, "{broken:?} was not noticed");
    }
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
    let (mut count, mut after) = (0, None);
    loop {
        let page = strongroom_store::now(fleet.store().list(family, after)).unwrap();
        let Some(last) = page.last() else { return count };
        (count, after) = (count + page.len(), Some(last.key));
    }
}

fn keeping_for(seconds: u64) -> Tuning {
    let (retention, renew_interval) = (Duration::from_secs(seconds), Duration::from_secs(5));
    Tuning { retention, renew_interval, ..tuning() }
}

#[test]
fn what_two_homes_bring_back_at_once_becomes_two_files() {
    let mut fleet = Fleet::new(14, 3, &tuning());
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "f", &content(1, 20_000)).unwrap();
    fleet.settle().unwrap();
    for home in [1, 2] {
        fleet.homes[home].cut(true);
        let workspace = fleet.homes[home].workspace().unwrap();
        save(workspace, "f", &content(1 + home as u64, 3000)).unwrap();
        fleet.homes[home].down(Down::Killed).unwrap();
        fleet.homes[home].cut(false);
    }
    let first = fleet.homes[0].workspace().unwrap().clone();
    done(first.unlink(Ino::ROOT, b"f")).unwrap();
    first.commit().unwrap();
    drop(first);
    // Both bring it back before either of them commits.
    fleet.homes[1].open().unwrap();
    fleet.homes[2].open().unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(marks_in(&trees[0]), BTreeSet::from([mark(2), mark(3)]));
    assert!(examine(&fleet).is_clean());
}

#[test]
fn what_nobody_may_need_any_more_goes_also_where_several_write() {
    let mut fleet = Fleet::new(1, 2, &keeping_for(100));
    write_for_long(&mut fleet, &[0, 1], 60, 1100);
    let sizes = [Family::Object, Family::Log, Family::Checkpoint];
    let early = sizes.map(|family| stored(&fleet, family));
    write_for_long(&mut fleet, &[0, 1], 240, 1100);
    let late = sizes.map(|family| stored(&fleet, family));
    for (early, late) in early.into_iter().zip(late) {
        assert!(late < early * 2, "{late} things are kept after five times as long, not {early}");
    }
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(examine(&fleet).is_clean());
}

/// A home that writes nothing reads everything again and again while another one writes checkpoint after checkpoint.
fn reads_on(renew_interval: Duration) -> Result<()> {
    let tuning = Tuning { renew_interval, page_cache_bytes: 1, ..keeping_for(60) };
    let mut fleet = Fleet::new(2, 2, &tuning);
    fleet.homes[1].open()?;
    for _ in 0..30 {
        write_for_long(&mut fleet, &[0], 8, 1100);
        fleet.tick(1, 100)?;
        read_tree(fleet.homes[1].workspace().unwrap())?;
    }
    Ok(())
}

#[test]
fn a_home_that_only_reads_goes_over_to_newer_checkpoints_of_others() {
    reads_on(Duration::from_secs(5)).unwrap();
    let lost = reads_on(Duration::from_secs(100_000)).map_err(|error| error.kind());
    assert_eq!(lost, Err(ErrorKind::Corrupt), "its pages are gone if it does not");
}

#[test]
fn who_only_reads_follows_also_where_the_only_writer_cuts_its_log() {
    let mut fleet = Fleet::new(4, 1, &keeping_for(60));
    fleet.homes[0].open().unwrap();
    let reader = fleet.homes[0].reader().unwrap();
    let changes = reader.changes().unwrap();
    for round in 0..6 {
        // The second time commits are gone before they were asked for.
        write_for_long(&mut fleet, &[0], if round == 1 { 60 } else { 3 }, 1100);
        let writer = fleet.homes[0].workspace().unwrap();
        save(writer, &format!("round {round}"), b"new").unwrap();
        writer.commit().unwrap();
        fleet.tick(0, 70_000).unwrap();
        reader.tick().unwrap();
        let there = read_tree(fleet.homes[0].workspace().unwrap()).unwrap();
        let seen = read_tree(&reader).unwrap();
        assert_eq!(difference(&there, &seen, Times::Compared), None, "round {round}");
        let told = changes.try_iter().any(|change| match change {
            Change::Name { folder, .. } => folder == Ino::ROOT,
            Change::Inode { ino, content } => ino == Ino::ROOT && content,
            Change::Mark(_) => false,
        });
        assert!(told, "round {round}");
    }
}

#[test]
fn who_only_reads_finds_everything_also_between_two_looks_for_what_is_new() {
    // Nothing is in memory, and who writes alone removes at once what its checkpoints and commits replace.
    let tuning = Tuning { page_cache_bytes: 1, segment_cache_bytes: 1, ..tuning() };
    let mut fleet = Fleet::new(10, 1, &tuning);
    write_for_long(&mut fleet, &[0], 8, 1100);
    let reader = fleet.homes[0].reader().unwrap();
    for round in 0..12 {
        write_for_long(&mut fleet, &[0], 6, 1100);
        fleet.tick(0, 3_000).unwrap();
        if round % 3 == 2 {
            reader.tick().unwrap();
        }
        read_tree(&reader).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    fleet.tick(0, 70_000).unwrap();
    reader.tick().unwrap();
    let there = read_tree(fleet.homes[0].workspace().unwrap()).unwrap();
    assert_eq!(difference(&there, &read_tree(&reader).unwrap(), Times::Compared), None);
}

#[test]
fn who_only_reads_finds_what_was_overwritten_since_though_it_knows_where_it_was() {
    let mut fleet = Fleet::new(11, 1, &Tuning { segment_cache_bytes: 1, ..tuning() });
    fleet.homes[0].open().unwrap();
    let writer = fleet.homes[0].workspace().unwrap().clone();
    save(&writer, "f", &content(1, 70_000)).unwrap();
    writer.commit().unwrap();
    let reader = fleet.homes[0].reader().unwrap();
    assert!(load(&reader, "f").unwrap() == content(1, 70_000));
    save(&writer, "f", &content(2, 70_000)).unwrap();
    let before = writer.status().checkpoints;
    write_for_long(&mut fleet, &[0], 60, 1100);
    assert!(writer.status().checkpoints > before + 1);
    assert!(load(&reader, "f").unwrap() == content(2, 70_000));
}

#[test]
fn a_home_that_is_cut_off_goes_on_and_says_what_waits() {
    let mut fleet = Fleet::new(5, 2, &tuning());
    write_for_long(&mut fleet, &[0, 1], 3, 1100);
    fleet.settle().unwrap();
    fleet.homes[0].cut(true);
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..3 {
        save(&workspace, &format!("offline {number}"), &content(number, 5000)).unwrap();
        // A commit that fails holds back nothing, and nothing that waits is forgotten.
        let failed = fleet.tick(0, 20_000).map_err(|error| error.kind());
        assert_eq!(failed, Err(ErrorKind::Unavailable));
        let status = workspace.status();
        assert!(status.pending_ops > number && !status.is_clean(), "{}", status.to_json());
        assert!(status.contact_age >= Duration::from_secs(20 * (number + 1)));
        assert!(status.trouble.is_some());
        let ino = find(&workspace, &format!("offline {number}")).unwrap();
        assert_eq!(marks(&workspace, ino).unwrap(), BTreeSet::from([mark(number)]));
    }
    fleet.homes[0].cut(false);
    let trees = fleet.settle().unwrap();
    assert!(workspace.status().contact_age < Duration::from_secs(20));
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!((0..3).all(|number| marks_in(&trees[1]).contains(&mark(number))));
}

#[test]
fn a_checkpoint_whose_answer_was_lost_keeps_its_pages() {
    for requests in 0.. {
        let mut fleet = Fleet::new(6, 2, &keeping_for(600));
        write_for_long(&mut fleet, &[0, 1], 8, 1100);
        let trees = fleet.settle().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let before = workspace.status().checkpoints;
        for number in 0..60 {
            save(&workspace, &format!("more {number}"), &[7; 200]).unwrap();
        }
        fleet.homes[0].ends_after(Some(requests));
        let committed = workspace.commit();
        fleet.homes[0].ends_after(None);
        // Others' checkpoints are looked for before anything is tried again.
        fleet.tick(0, 6_000).unwrap();
        save(&workspace, "last", b"last").unwrap();
        workspace.commit().unwrap();
        assert!(workspace.status().checkpoints > before || committed.is_err());
        drop(workspace);
        for home in &mut fleet.homes {
            home.down(Down::Killed).unwrap();
        }
        let again = fleet.settle().unwrap_or_else(|error| panic!("after {requests}: {error}"));
        assert_eq!(again[0].len(), trees[0].len() + 61, "after {requests}");
        let report = examine(&fleet);
        assert!(
            report.is_clean(),
            "after {requests}: {:?}",
            report.findings.first().map(|f| &f.text)
        );
        if committed.is_ok() {
            assert!(requests > 5, "nothing was cut off");
            return;
        }
    }
}

#[test]
fn what_could_not_be_committed_is_tried_again_though_nothing_more_is_written() {
    let mut fleet = Fleet::new(7, 1, &tuning());
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..60 {
        save(&workspace, &format!("file {number}"), &[7; 200]).unwrap();
    }
    fleet.homes[0].cut(true);
    let failed = fleet.tick(0, 2_000).map_err(|error| error.kind());
    assert_eq!(failed, Err(ErrorKind::Unavailable));
    fleet.homes[0].cut(false);
    for _ in 0..10 {
        fleet.tick(0, 30_000).unwrap();
    }
    let status = workspace.status();
    assert!(status.is_clean(), "{}", status.to_json());
    // A checkpoint that fails behind its commit is tried again as well.
    for requests in 0.. {
        let before = workspace.status();
        save(&workspace, "long", &content(requests, 70_000)).unwrap();
        for number in 0..60 {
            save(&workspace, &format!("file {number}"), &[8; 200]).unwrap();
        }
        fleet.homes[0].ends_after(Some(requests));
        let committed = workspace.commit();
        fleet.homes[0].ends_after(None);
        for _ in 0..3 {
            fleet.tick(0, 30_000).unwrap();
        }
        let status = workspace.status();
        assert!(status.is_clean() && status.trouble.is_none(), "{}", status.to_json());
        assert!(status.checkpoints > before.checkpoints, "after {requests}");
        if committed.is_ok() {
            return;
        }
    }
}

#[test]
fn what_is_too_much_for_one_commit_is_refused_and_never_published() {
    let no_limits = Tuning {
        batch_ops_bytes: usize::MAX,
        batch_ops_bytes_limit: usize::MAX,
        journal_file_len: 64 << 20,
        ..Tuning::default()
    };
    let mut fleet = Fleet::new(12, 2, &no_limits);
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    save(&workspace, "file", b"").unwrap();
    let ino = find(&workspace, "file").unwrap();
    for number in 0..4_300_u64 {
        let value = number.to_le_bytes().repeat(1000);
        done(workspace.set_xattr(ino, b"user.long", &value, XattrMode::Either)).unwrap();
    }
    assert_eq!(workspace.commit().map_err(|error| error.kind()), Err(ErrorKind::Full));
    save(fleet.homes[1].workspace().unwrap(), "other", b"").unwrap();
    fleet.homes[1].workspace().unwrap().commit().unwrap();
    assert_eq!(stored(&fleet, Family::Log), 3, "the two that began and the other's");
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_commit_lets_go_of_no_more_than_it_has_room_to_say_and_the_next_ones_of_the_rest() {
    // An early poll: what another home commits must not make it forget the rest.
    let few = Tuning {
        released_count: 7,
        checkpoint_log_bytes: 1 << 30,
        object_plain_bytes: 64 << 10,
        compact_bytes: 0,
        ..tuning()
    };
    let mut fleet = Fleet::new(13, 2, &few);
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..40 {
        let name = format!("file {number}");
        save(&workspace, &name, &content(number, 64 << 10)).unwrap();
    }
    workspace.commit().unwrap();
    for number in 0..40 {
        done(workspace.unlink(Ino::ROOT, format!("file {number}").as_bytes())).unwrap();
    }
    // The answer to the third commit, of six, is lost, and another home comes between.
    fleet.homes[0].ends_after(Some(6));
    assert!(workspace.commit().is_err());
    fleet.homes[0].ends_after(None);
    let other = fleet.homes[1].workspace().unwrap().clone();
    save(&other, "between", b"").unwrap();
    other.commit().unwrap();
    workspace.commit().unwrap();
    let (mut released, mut after) = (Vec::new(), None);
    loop {
        let page = strongroom_store::now(fleet.store().list(Family::Log, after)).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        for listed in page {
            let bytes = strongroom_store::now(fleet.store().get(listed.key, None)).unwrap();
            let header = CommitFile::parse(&bytes).unwrap().header;
            assert!(header.released.len() <= 7);
            released.extend(header.released);
        }
    }
    let count = released.len();
    released.sort();
    released.dedup();
    assert_eq!((count, released.len()), (40, 40), "each of them once");
    drop((workspace, other));
    fleet.settle().unwrap();
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_file_without_a_name_goes_on_where_it_is_open_when_another_home_mounts() {
    let mut fleet = Fleet::new(8, 3, &tuning());
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    let made = done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
    let (ino, handle) = (made.0.ino, made.1.handle);
    let write = |at: u64, bytes: &[u8]| {
        done(workspace.write(handle, at, bytes, WriteMode::At, false)).unwrap();
    };
    write(0, &content(1, 70_000));
    done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
    workspace.commit().unwrap();
    write(70_000, &mark(2));
    // One mounts that never did, one mounts again.
    fleet.homes[2].open().unwrap();
    fleet.homes[1].down(Down::Closed).unwrap();
    fleet.homes[1].open().unwrap();
    for home in [1, 2, 0] {
        fleet.homes[home].workspace().unwrap().commit().unwrap();
        fleet.tick(home, 3_000).unwrap();
    }
    write(70_024, &mark(3));
    let bytes = done(workspace.read(handle, 0, 1 << 20)).unwrap();
    assert_eq!(marks_of(&bytes), BTreeSet::from([mark(1), mark(2), mark(3)]));
    drop(workspace);
    // Its own home takes it away, however it ended.
    fleet.homes[0].workspace().unwrap().commit().unwrap();
    assert_eq!(examine(&fleet).counts.orphans, 1);
    fleet.homes[0].down(Down::PowerLost(5)).unwrap();
    fleet.settle().unwrap();
    let report = examine(&fleet);
    assert!(report.is_clean());
    assert_eq!(report.counts.orphans, 0, "{ino:?}");
}

#[test]
fn a_file_without_a_name_goes_on_where_it_is_open_whatever_clocks_show() {
    let grace = Duration::from_secs(30_000);
    for wrong in 0..2 {
        let mut fleet = Fleet::new(8, 2, &Tuning { unnamed_grace: grace, ..tuning() });
        // One that begins without a battery, and is set right later.
        fleet.homes[wrong].set_now_ns(5_000_000_000);
        for home in [1, 0] {
            fleet.homes[home].open().unwrap();
            fleet.homes[home].workspace().unwrap().commit().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let made = done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
        let handle = made.1.handle;
        done(workspace.write(handle, 0, &content(1, 70_000), WriteMode::At, false)).unwrap();
        done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
        workspace.commit().unwrap();
        for _ in 0..2 {
            fleet.homes[1].down(Down::Closed).unwrap();
            fleet.homes[1].open().unwrap();
            fleet.homes[1].workspace().unwrap().commit().unwrap();
            if wrong == 1 {
                fleet.homes[1].set_now_ns(START_NS);
            }
        }
        fleet.tick(0, 3_000).unwrap();
        let bytes = done(workspace.read(handle, 0, 1 << 20)).unwrap();
        assert!(bytes == content(1, 70_000), "home {wrong}");
    }
}

#[test]
fn a_file_without_a_name_goes_when_its_home_opens_again_wherever_in_its_commit_that_was_killed() {
    let mut committed = 0;
    for requests in 0..12 {
        let mut fleet = Fleet::new(8, 2, &tuning());
        for home in [1, 0] {
            fleet.homes[home].open().unwrap();
            fleet.homes[home].workspace().unwrap().commit().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
        done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
        fleet.homes[0].ends_after(Some(requests));
        let before = workspace.status().head_seq;
        // How far it comes is seen in the store.
        let _ = workspace.commit();
        drop(workspace);
        fleet.homes[0].down(Down::Killed).unwrap();
        fleet.homes[0].ends_after(None);
        fleet.homes[1].open().unwrap();
        fleet.tick(1, 2500).unwrap();
        committed += u64::from(fleet.homes[1].workspace().unwrap().status().head_seq > before);
        fleet.settle().unwrap();
        assert_eq!(examine(&fleet).counts.orphans, 0, "{requests} requests");
    }
    assert!((4..12).contains(&committed));
}

#[test]
fn a_file_without_a_name_whose_home_never_came_back_goes_in_the_end() {
    let mut fleet =
        Fleet::new(9, 2, &Tuning { unnamed_grace: Duration::from_secs(30_000), ..tuning() });
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
    done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
    workspace.commit().unwrap();
    drop(workspace);
    fleet.homes[0].down(Down::Killed).unwrap();
    // Clocks differ by hours.
    for (millis, left) in [(0, 1), (60_000_000, 0)] {
        fleet.tick(1, millis).unwrap();
        fleet.homes[1].open().unwrap();
        fleet.homes[1].down(Down::Closed).unwrap();
        assert_eq!(examine(&fleet).counts.orphans, left);
    }
}

#[test]
fn what_a_home_did_that_was_away_for_too_long_is_put_beside_what_others_did() {
    let mut fleet = Fleet::new(3, 2, &keeping_for(60));
    write_for_long(&mut fleet, &[0, 1], 4, 1100);
    let first = fleet.homes[0].workspace().unwrap().clone();
    make(&first, "gone", Kind::Folder).unwrap();
    save(&first, "gone/old", b"old").unwrap();
    for name in ["shared", "replaced", "removed"] {
        save(&first, name, &content(1, 3000)).unwrap();
    }
    fleet.settle().unwrap();

    fleet.homes[1].cut(true);
    let second = fleet.homes[1].workspace().unwrap().clone();
    save(&second, "late", &content(101, 70_000)).unwrap();
    save(&second, "shared", &content(102, 900)).unwrap();
    let ino = find(&second, "removed").unwrap();
    let handle = done(second.open(ino, OPEN)).unwrap().handle;
    done(second.write(handle, 5000, &content(103, 24), WriteMode::At, false)).unwrap();
    second.release(handle);
    save(&second, "gone/new", &content(104, 300)).unwrap();
    save(&second, "tmp", &content(105, 300)).unwrap();
    let places = ((Ino::ROOT, &b"tmp"[..]), (Ino::ROOT, &b"replaced"[..]));
    done(second.rename(places.0, places.1, RenameMode::Replace)).unwrap();
    done(second.unlink(Ino::ROOT, b"0-1")).unwrap();
    make(&second, "taken", Kind::Folder).unwrap();
    save(&second, "taken/in", &content(106, 300)).unwrap();
    done(second.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(second);

    let folder = find(&first, "gone").unwrap();
    done(first.unlink(folder, b"old")).unwrap();
    done(first.remove_folder(Ino::ROOT, b"gone")).unwrap();
    done(first.unlink(Ino::ROOT, b"removed")).unwrap();
    save(&first, "shared", &content(201, 900)).unwrap();
    save(&first, "taken", &content(202, 900)).unwrap();
    save(&first, "late", &content(203, 900)).unwrap();
    drop(first);
    write_for_long(&mut fleet, &[0], 300, 1100);

    // While it is mounted it says that it has to be mounted again.
    fleet.homes[1].cut(false);
    let refused = fleet.tick(1, 3000).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Stale));
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    for number in (101..=106).chain(201..=203) {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    let at = |path: &str| marks_of(&bytes_of(&trees[0][path.as_bytes()]));
    // What others have keeps its name, what only this home has gets its own.
    for (path, number) in [("/shared", 201), ("/taken", 202), ("/late", 203), ("/replaced", 1)] {
        assert_eq!(at(path), BTreeSet::from([mark(number)]), "{path}");
    }
    assert!(trees[0].contains_key(&b"/0-1"[..]), "who knows whether somebody went on with it");
    assert!(examine(&fleet).is_clean());
    // And it goes on as any other.
    write_for_long(&mut fleet, &[1, 0], 3, 1100);
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
}

#[test]
fn a_home_that_was_open_before_opens_while_the_store_is_away() {
    let mut fleet = Fleet::new(6, 2, &tuning());
    fleet.keep_copies();
    write_for_long(&mut fleet, &[0, 1], 9, 1100);
    let before = fleet.settle().unwrap().remove(0);
    for how in [Down::Closed, Down::Killed] {
        fleet.homes[0].down(how).unwrap();
        fleet.homes[0].cut(true);
        fleet.homes[0].open().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let status = workspace.status();
        assert!(status.trouble.is_some(), "it says that the store is away");
        let seen = read_tree(&workspace).unwrap();
        let is_new = |path: &[u8]| path.starts_with(b"/new") || path.is_empty();
        let old = |tree: &Tree| -> Tree {
            let old = tree.iter().filter(|(path, _)| !is_new(path));
            old.map(|(path, node)| (path.clone(), node.clone())).collect()
        };
        assert_eq!(difference(&old(&before), &old(&seen), Times::Compared), None);
        let number = u64::from(how == Down::Killed);
        save(&workspace, &format!("new {number}"), &content(700 + number, 5000)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        let told = fleet.tick(0, 2500).map_err(|error| error.kind());
        assert_eq!(told, Err(ErrorKind::Unavailable));
        let status = workspace.status();
        assert!(status.pending_ops > number, "{}", status.to_json());
    }
    // The other one goes on meanwhile, over some checkpoints.
    write_for_long(&mut fleet, &[1], 60, 1100);
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    for number in [700, 701] {
        assert!(marks_in(&trees[1]).contains(&mark(number)), "{number} is lost");
    }
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_home_that_was_never_open_needs_the_store() {
    let mut fleet = Fleet::new(8, 2, &tuning());
    fleet.keep_copies();
    write_for_long(&mut fleet, &[0], 3, 1100);
    fleet.homes[1].cut(true);
    let refused = fleet.homes[1].open().map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::Unavailable));
}

#[test]
fn what_is_done_apart_after_a_loss_of_power_is_kept() {
    let mut opened = 0;
    for seed in 0..16 {
        let mut fleet = Fleet::new(seed, 1 + usize::from(seed % 2 == 0), &tuning());
        fleet.keep_copies();
        let homes: Vec<usize> = (0..fleet.homes.len()).collect();
        write_for_long(&mut fleet, &homes, 9, 1100);
        fleet.homes[0].down(Down::Closed).unwrap();
        fleet.homes[0].open().unwrap();
        // What was committed last may be neither in the journal nor among the copies when power comes back.
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        (0..4).for_each(|number| save(&workspace, &format!("little {number}"), b"1").unwrap());
        workspace.commit().unwrap();
        drop(workspace);
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        fleet.homes[0].cut(true);
        match fleet.homes[0].open() {
            Ok(()) => opened += 1,
            Err(error) if error.kind() == ErrorKind::Unavailable => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        save(&workspace, "apart", &content(900, 500)).unwrap();
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
        drop(workspace);
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(marks_in(&trees[0]).contains(&mark(900)), "seed {seed}: it is lost");
        assert!(examine(&fleet).is_clean(), "seed {seed}");
    }
    assert!(opened > 0, "it never opened");
}
