//! A workspace and the plain model side by side.

use std::sync::Arc;

use strongroom_host::sim::SimClock;
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, SeekTarget};
use strongroom_workspace::error::ErrorKind;

use super::runner::{CALLER, Runner, Seen, Slots, Taker, done};
use super::seeds::trace;
use super::step::Step;
use super::tree::{Times, Tree, difference, read_tree};
use super::world::World;
use crate::model::Model;

/// The model with its handles.
pub struct Twin {
    /// The model.
    pub model: Model,
    slots: Slots,
}

impl Twin {
    /// An empty one.
    pub fn new(clock: &Arc<SimClock>) -> Self {
        let clock = clock.clone();
        let now = move || strongroom_host::clock::Clock::now_ns(&*clock);
        Self { model: Model::new(CALLER, Arc::new(now)), slots: Slots::default() }
    }

    /// Takes a step.
    pub fn take(&mut self, step: &Step) -> Seen {
        let mut runner = Runner::new(&self.model, &mut self.slots);
        if *step == Step::Reopen {
            runner.release_all();
        }
        runner.take(step)
    }

    /// Its tree.
    pub fn tree(&self) -> Tree {
        read_tree(&self.model).expect("the model can be read")
    }
}

/// Both.
pub struct Life {
    /// The workspace.
    pub world: World,
    /// The model.
    pub twin: Twin,
    slots: Slots,
}

impl Life {
    /// Two empty ones.
    pub fn new(seed: u64, tuning: Tuning) -> Self {
        Self::over(World::new(seed, tuning))
    }

    /// A workspace that is empty, and a model.
    pub fn over(world: World) -> Self {
        let twin = Twin::new(&world.clock);
        Self { world, twin, slots: Slots::default() }
    }

    /// Goes on with a workspace opened again and a model in the same state.
    pub fn resume(world: World, twin: Twin) -> Self {
        Self { world, twin, slots: Slots::default() }
    }

    /// The workspace takes a step.
    pub fn take(&mut self, step: &Step) -> Seen {
        let refused = |error: strongroom_workspace::error::Error| {
            trace(|| format!("  refused: {error}"));
            Seen::Refused(error.kind())
        };
        trace(|| format!("{step:?}"));
        match step {
            Step::Reopen => {
                Runner::new(self.world.workspace(), &mut self.slots).release_all();
                self.world.reopen().map_or_else(refused, |()| Seen::Done)
            }
            Step::Tick { millis } => self.world.tick(*millis).map_or_else(refused, |()| Seen::Done),
            _ => Runner::new(self.world.workspace(), &mut self.slots).take(step),
        }
    }

    /// Opens the workspace again in place; all handles are gone.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open_again(&mut self) -> Result<(), strongroom_workspace::error::Error> {
        self.slots = Slots::default();
        self.world.open_again()?;
        self.twin.take(&Step::Reopen);
        Ok(())
    }

    /// Both take a step.
    ///
    /// # Errors
    /// How they differ.
    pub fn both(&mut self, step: &Step) -> Result<(), String> {
        let seen = self.take(step);
        self.compare(step, &seen)
    }

    /// The model takes a step that the workspace took already.
    ///
    /// # Errors
    /// How they differ.
    pub fn compare(&mut self, step: &Step, seen: &Seen) -> Result<(), String> {
        let expected = self.twin.take(step);
        let agree = match step {
            Step::Seek { slot, target, offset } => {
                self.seek_is_right(*slot, *target, *offset, seen, &expected)
            }
            _ => *seen == expected,
        };
        if agree {
            return Ok(());
        }
        Err(format!("{} but the model {}", brief(seen), brief(&expected)))
    }

    /// Any answer will do that skips nothing but zeros, and calls nothing a hole that is none.
    fn seek_is_right(
        &self,
        slot: usize,
        target: SeekTarget,
        offset: u64,
        seen: &Seen,
        expected: &Seen,
    ) -> bool {
        let zeros = |from: u64, to: u64| {
            let Some(handle) = self.twin.slots.handle(slot) else { return true };
            let len = u32::try_from((to - from).min(4 << 20)).expect("below 4 MiB");
            match done(self.twin.model.read(handle, from, len)) {
                Ok(bytes) => bytes.iter().all(|byte| *byte == 0),
                Err(_) => true,
            }
        };
        match (seen, expected, target) {
            (Seen::Count(found), _, SeekTarget::Data) => {
                !matches!(expected, Seen::NoHandle) && *found >= offset && zeros(offset, *found)
            }
            (Seen::Count(found), Seen::Count(_), SeekTarget::Hole) => {
                *found >= offset && zeros(*found, *found + 1)
            }
            (Seen::Refused(ErrorKind::NoData), Seen::Count(_), SeekTarget::Data) => {
                zeros(offset, offset + (4 << 20))
            }
            _ => seen == expected,
        }
    }

    /// Compares the whole trees.
    ///
    /// # Errors
    /// How they differ.
    pub fn compare_trees(&self) -> Result<(), String> {
        let tree = read_tree(self.world.workspace())
            .map_err(|error| format!("the tree cannot be read: {error}"))?;
        match difference(&tree, &self.twin.tree(), Times::Ignored) {
            None => Ok(()),
            Some(what) => Err(format!("workspace and model differ at {what}")),
        }
    }
}

fn brief(seen: &Seen) -> String {
    match seen {
        Seen::Bytes(bytes) => {
            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
            format!("showed {} bytes with sum {sum}", bytes.len())
        }
        other => format!("showed {other:?}"),
    }
}
