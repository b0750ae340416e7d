//! A life of several homes: what happens follows from a seed, and what was promised is there in the end.

use std::collections::BTreeSet;

use strongroom_host::sim::Chance;
use strongroom_tests::harness::files::{OPEN, find, find_in, if_there, save_in};
use strongroom_tests::harness::fleet::{Backup, Down, Fleet};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::runner::{Seen, done};
use strongroom_tests::harness::seeds::trace;
use strongroom_tests::harness::step::Step;
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, Ino, RenameMode, SyncLevel, SyncScope, WriteMode};
use strongroom_workspace::error::{ErrorKind, Result};

use super::promises::{Act, Promises, Way};
use super::{MARK_LEN, Mark, bytes_of, content, examine, mark, marks, marks_in, marks_of, show};

const FOLDERS: [&str; 4] = ["", "", "d", "e"];
const NAMES: [&str; 4] = ["t0.txt", "t1", "t2.txt", "t3"];

/// A life of several homes.
pub struct Story {
    fleet: Fleet,
    chance: Chance,
    generators: Vec<Generator>,
    next_mark: u64,
    promises: Promises,
    /// Whether homes keep copies, and begin without the store as well.
    keeps_copies: bool,
    habit: Habit,
    /// Backups of homes that are rolled back to them, if any are.
    backups: Option<Vec<Option<Backup>>>,
}

/// How homes go about their files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// In all ways, many files.
    Any,
    /// As editors do, few files: what one saves takes the place of what was there.
    Editor,
}

impl Story {
    /// One that follows from the seed.
    pub fn new(seed: u64, tuning: &Tuning) -> Self {
        let mut chance = Chance::new(seed);
        let count = 2 + chance.index(4);
        let generators = (0..count as u64).map(|home| Generator::new(seed * 8 + home, Mix::Local));
        Self {
            fleet: Fleet::new(seed, count, tuning),
            generators: generators.collect(),
            chance,
            next_mark: seed << 20,
            promises: Promises::new(count),
            keeps_copies: false,
            habit: Habit::Any,
            backups: None,
        }
    }

    /// Homes save the same few files again and again.
    pub fn of_editors(self) -> Self {
        Self { habit: Habit::Editor, ..self }
    }

    /// Homes keep copies, and begin without the store as well.
    pub fn keeping_copies(mut self) -> Self {
        self.fleet.keep_copies();
        self.keeps_copies = true;
        self
    }

    /// Homes are rolled back to backups as well, and begin without the store then.
    pub fn rolling_back(mut self) -> Self {
        self.backups = Some(self.fleet.homes.iter().map(|_| None).collect());
        self
    }

    /// A home is killed and backed up with what waits in it, or rolled back to its backup when all that was promised is committed.
    fn back_up_or_roll_back(&mut self, home: usize) -> std::result::Result<(), String> {
        let Some(backups) = &mut self.backups else { return Ok(()) };
        let it = &mut self.fleet.homes[home];
        if self.chance.one_in(2) {
            trace(|| format!("home {home} is killed and backed up"));
            it.down(Down::Killed).map_err(|error| error.to_string())?;
            backups[home] = Some(it.back_up());
            return Ok(());
        }
        let Some(backup) = &backups[home] else { return Ok(()) };
        it.cut(false);
        it.lose(0);
        if it.open().is_err() || it.down(Down::Closed).is_err() {
            return Ok(());
        }
        trace(|| format!("home {home} is closed and rolled back"));
        it.roll_back(backup);
        it.cut(true);
        self.promises.synced(home);
        // Time is not rolled back.
        self.fleet.tick(home, 1000).map_err(|error| error.to_string())
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
        if self.backups.is_some() && self.chance.one_in(12) {
            return self.back_up_or_roll_back(home);
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
                self.promises.synced(home);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn down(&mut self, home: usize, how: Down) -> std::result::Result<(), String> {
        trace(|| format!("home {home} {how:?}"));
        let closed = self.fleet.homes[home].down(how);
        match (how, closed) {
            // What the process wrote is in the machine's memory.
            (Down::Killed, _) => {}
            (Down::PowerLost(_), _) => self.promises.lost_power(home),
            (_, Ok(())) => self.promises.synced(home),
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
            Ok(()) => self.promises.synced(home),
            Err(error) if self.may_meet(error.kind()) => {}
            Err(error) => return Err(format!("home {home} syncs: {error}")),
        }
        Ok(())
    }

    /// Something is done to files whose content is followed.
    fn marked(&mut self, home: usize) -> std::result::Result<(), String> {
        let workspace = self.fleet.homes[home].workspace().unwrap().clone();
        let (folders, names) = match self.habit {
            Habit::Any => (&FOLDERS[..], &NAMES[..]),
            Habit::Editor => (&FOLDERS[..1], &NAMES[..2]),
        };
        let folder = folders[self.chance.index(folders.len())];
        let name = names[self.chance.index(names.len())];
        let other = names[self.chance.index(names.len())];
        let number = self.next_mark;
        self.next_mark += 1;
        let act = match (self.chance.below(10), self.habit) {
            (0..5, Habit::Editor) => 5,
            (act, _) => act,
        };
        let len = [MARK_LEN, 300, 900, 3000, 20_000, 70_000][self.chance.index(6)];
        let core = &workspace;
        let result = (|| -> Result<Act> {
            let folder = find(core, folder)?;
            match act {
                0..5 => {
                    let bytes = content(number, len);
                    let replaced = seen_in(core, folder, name)?;
                    save_in(core, folder, name, &bytes)?;
                    Ok(Act { replaced, made: Some(mark(number)), way: Way::InSteps })
                }
                5..7 => {
                    // As editors do: beside it, then over it.
                    let replaced = seen_in(core, folder, name)?;
                    save_in(core, folder, &format!("tmp{home}"), &content(number, len))?;
                    let (from, to) = (format!("tmp{home}"), name.as_bytes());
                    let places = ((folder, from.as_bytes()), (folder, to));
                    done(core.rename(places.0, places.1, RenameMode::Replace))?;
                    Ok(Act { replaced, made: Some(mark(number)), way: Way::AtOnce })
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
                    wrote.map(|_| Act { made: Some(mark(number)), ..Act::default() })
                }
                8 => {
                    let replaced = marks(core, find_in(core, folder, name)?)?;
                    done(core.unlink(folder, name.as_bytes()))?;
                    Ok(Act { replaced, ..Act::default() })
                }
                _ => {
                    let places = ((folder, name.as_bytes()), (folder, other.as_bytes()));
                    done(core.rename(places.0, places.1, RenameMode::NoReplace))?;
                    Ok(Act::default())
                }
            }
        })();
        trace(|| {
            let result = result.as_ref().map(|act| act.made.is_some());
            format!("home {home} act {act} on {folder}/{name} {other}: mark {number:x} {result:?}")
        });
        match result {
            Ok(act) => {
                self.promises.did(home, &act);
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
        if let Some(lost) = self.promises.broken(&found) {
            return Err(format!("mark {}is lost", show(&lost)));
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

/// Marks in a file that is about to be replaced: none if there is none. Who cannot look does not replace it, for it may well
/// be there.
pub fn seen_in(core: &dyn Core, folder: Ino, name: &str) -> Result<BTreeSet<Mark>> {
    let found = if_there(find_in(core, folder, name))?;
    found.map_or_else(|| Ok(BTreeSet::new()), |ino| marks(core, ino))
}

/// Lives to the end.
pub fn live(seed: u64, tuning: &Tuning) -> std::result::Result<(), String> {
    tell(Story::new(seed, tuning))
}

/// Tells one to its end.
pub fn tell(mut story: Story) -> std::result::Result<(), String> {
    let steps = 40 + story.chance.index(120);
    for _ in 0..steps {
        story.happen()?;
    }
    story.end()
}
