//! A life that ends and goes on: the process is killed or power is lost, and what is found is a moment of the past.

use strongroom_host::sim::{Chance, SimDisk};
use strongroom_workspace::error::{Error, ErrorKind};

use super::life::{Life, Twin};
use super::runner::Seen;
use super::seeds::trace;
use super::step::Step;
use super::tree::{Times, Tree, difference, read_tree};
use super::world::{Setting, World};

/// How an end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process alone: what was written is still in the machine's memory.
    Kill,
    /// Power: what was not synced is lost, torn or kept, as chance has it.
    PowerLoss,
}

/// A life with its history.
pub struct Mortal {
    /// The life.
    pub life: Life,
    history: Vec<Step>,
    /// Steps that must survive a loss of power.
    durable_count: usize,
    /// A step that was under way when power went: it may have happened.
    in_flight: Option<Step>,
    /// Whether a sync failed: what was not durable before may be lost even if only the process ends.
    sync_failed: bool,
    setting: Setting,
    chance: Chance,
}

impl Mortal {
    /// A new one; all that chance decides follows from the seed.
    ///
    /// # Panics
    /// If a new workspace cannot be opened.
    pub fn new(seed: u64, setting: Setting) -> Self {
        let disk = super::world::new_disk();
        let world = World::open(disk, seed, setting.clone(), None).expect("a new workspace opens");
        Self {
            life: Life::over(world),
            history: Vec::new(),
            durable_count: 0,
            in_flight: None,
            sync_failed: false,
            setting,
            chance: Chance::new(seed ^ 0x00d1_ed00),
        }
    }

    /// Everything that happened so far.
    pub fn history(&self) -> &[Step] {
        &self.history
    }

    /// Takes steps until power goes.
    ///
    /// # Errors
    /// A step showed something else than the model while there was power.
    pub fn live(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let seen = self.life.take(step);
            let off = self.life.world.disk.is_off();
            let same = self.life.compare(step, &seen);
            if off && same.is_err() {
                self.in_flight = Some(step.clone());
                return Ok(());
            }
            same.map_err(|what| format!("{step:?} {what}"))?;
            self.history.push(step.clone());
            if seen == Seen::Done && matches!(step, Step::Sync | Step::Commit | Step::Reopen) {
                self.durable_count = self.history.len();
            }
            if off {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A sync failed and said so: only what was durable before is promised.
    pub fn sync_failed(&mut self) {
        self.sync_failed = true;
    }

    /// Takes steps on a disk that fails now and then. What is refused for that has no effect. Ends early when the
    /// workspace is poisoned or cannot be opened; returns how many steps were refused.
    ///
    /// # Errors
    /// A step showed something else than the model, or was refused without a reason.
    pub fn live_on_failing_disk(&mut self, steps: &[Step]) -> Result<usize, String> {
        let mut refused = 0;
        for step in steps {
            let seen = self.life.take(step);
            if let Seen::Refused(kind) = seen
                && is_failure(kind)
            {
                refused += 1;
                trace(|| format!("  refused: {kind:?}"));
                if kind == ErrorKind::Poisoned {
                    // Durability unknown: the record may be whole all the same.
                    self.in_flight = Some(step.clone());
                    self.sync_failed = true;
                    return Ok(refused);
                }
                if !self.life.world.is_open() {
                    return Ok(refused);
                }
                continue;
            }
            let same = self.life.compare(step, &seen);
            same.map_err(|what| format!("{step:?} {what}"))?;
            self.history.push(step.clone());
            if seen == Seen::Done && matches!(step, Step::Sync | Step::Commit | Step::Reopen) {
                self.durable_count = self.history.len();
            }
        }
        Ok(refused)
    }

    /// The disk works again, the process begins anew: all that was not refused is there.
    ///
    /// # Errors
    /// It cannot be opened, or differs from the model.
    pub fn heal_and_open(&mut self) -> Result<(), String> {
        self.life.world.disk.heal();
        self.life.open_again().map_err(|error| format!("cannot be opened: {error}"))?;
        let tree = self.read().map_err(|error| format!("unreadable: {error}"))?;
        let found = self.find(&tree, End::Kill)?;
        self.remember(found);
        self.life.twin = self.past();
        Ok(())
    }

    /// Ends, with this many more ends in the middle of coming back, and comes back.
    ///
    /// # Errors
    /// It cannot be opened, or what is found is no moment that may be found.
    pub fn die(&mut self, end: End, ends_in_recovery: usize) -> Result<(), String> {
        self.life.world.disk.heal();
        let off = !self.life.world.is_open() || self.life.world.disk.is_off();
        let whole = self.in_flight.is_none() && !off && !self.sync_failed;
        let before = match whole && end == End::Kill {
            true => Some(self.read().map_err(|error| format!("unreadable: {error}"))?),
            false => None,
        };
        let mut disk = self.image(&self.life.world.disk.clone(), end);
        for _ in 0..ends_in_recovery {
            disk.power_off_after(self.chance.below(60));
            drop(self.open(&disk));
            disk = self.image(&disk, end);
        }
        let world = self.open(&disk).map_err(|error| format!("cannot be opened: {error}"))?;
        let tree = read_tree(world.workspace()).map_err(|error| format!("unreadable: {error}"))?;
        if let Some(what) = before.and_then(|before| difference(&before, &tree, Times::Compared)) {
            return Err(format!("before and after the kill differ at {what}"));
        }
        let found = self.find(&tree, end)?;
        self.go_on(world, found, end)
    }

    fn image(&mut self, disk: &SimDisk, end: End) -> SimDisk {
        match end {
            End::Kill => disk.kill(),
            End::PowerLoss => disk.crash(self.chance.next_u64()),
        }
    }

    fn open(&mut self, disk: &SimDisk) -> Result<World, Error> {
        let (seed, clock) = (self.chance.next_u64(), self.life.world.clock.clone());
        World::open(disk.clone(), seed, self.setting.clone(), Some(clock))
    }

    fn read(&self) -> Result<Tree, Error> {
        read_tree(self.life.world.workspace())
    }

    /// The last moment of the past that looks like this and may be found.
    fn find(&self, tree: &Tree, end: End) -> Result<usize, String> {
        let mut all = self.history.clone();
        all.extend(self.in_flight.clone());
        let first = match end {
            End::Kill if !self.sync_failed => self.history.len(),
            End::Kill | End::PowerLoss => self.durable_count,
        };
        let mut twin = Twin::new(&self.life.world.clock);
        let (mut found, mut why) = (None, String::new());
        for count in 0..=all.len() {
            if count > 0 {
                twin.take(&all[count - 1]);
            }
            if count >= first {
                match difference(tree, &twin.tree(), Times::Ignored) {
                    None => found = Some(count),
                    Some(what) if count == first || count == all.len() => {
                        why.push_str(&format!("\n  after {count} steps: {what}"));
                    }
                    Some(_) => {}
                }
            }
        }
        found.ok_or_else(|| {
            let earlier = self.find_earlier(tree, first);
            format!(
                "{end:?} left no moment from {first} to {} of the past (earlier: {earlier:?}):{why}",
                all.len()
            )
        })
    }

    fn find_earlier(&self, tree: &Tree, before: usize) -> Option<usize> {
        let mut twin = Twin::new(&self.life.world.clock);
        let mut found = None;
        for (count, step) in self.history[..before].iter().enumerate() {
            if difference(tree, &twin.tree(), Times::Ignored).is_none() {
                found = Some(count);
            }
            twin.take(step);
        }
        found
    }

    /// The moment that was found is what happened; handles are gone.
    fn remember(&mut self, found: usize) {
        self.history.extend(self.in_flight.take());
        self.history.truncate(found);
        self.history.push(Step::Reopen);
        self.sync_failed = false;
    }

    /// A model to which everything happened that is remembered.
    fn past(&self) -> Twin {
        let mut twin = Twin::new(&self.life.world.clock);
        for step in &self.history {
            twin.take(step);
        }
        twin
    }

    /// Goes on from the moment that was found.
    fn go_on(&mut self, world: World, found: usize, end: End) -> Result<(), String> {
        self.remember(found);
        self.life = Life::resume(world, self.past());
        if end == End::PowerLoss {
            // What was found was on the disk: it must be found again.
            self.durable_count = self.history.len();
        }
        Ok(())
    }
}

/// Kinds that say that the machine failed, and not that the step makes no sense.
fn is_failure(kind: ErrorKind) -> bool {
    match kind {
        // Also where the model refuses: attributes that are too large.
        ErrorKind::Full
        | ErrorKind::Poisoned
        | ErrorKind::Internal
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Denied => true,
        _ => false,
    }
}
