//! What the store does while it is not honest.

use strongroom_workspace::door::SyncLevel;

use super::{PATHS, Plan, Story, Told};
use crate::harness::seeds::trace;
use crate::hostile::people::{REMOVAL, Spot, forge, people};
use crate::hostile::vault::{Lie, Mood};

const READING: [Lie; 15] = [
    Lie::Missing,
    Lie::Old,
    Lie::Other,
    Lie::WholeOther,
    Lie::Foreign,
    Lie::Cut,
    Lie::Grown,
    Lie::Flipped,
    Lie::Away,
    Lie::Omitted,
    Lie::Invented,
    Lie::Repeated,
    Lie::Unordered,
    Lie::AnswerLost,
    Lie::NotRemoved,
];
const RACING: [Lie; 4] = [Lie::Won, Lie::Lost, Lie::NotKept, Lie::AnswerLost];
const LOSING: [Lie; 5] =
    [Lie::DataNotKept, Lie::NotKept, Lie::KeptFlipped, Lie::Won, Lie::NotRemoved];

impl Story {
    pub(super) fn dishonest(&mut self) -> Told<()> {
        self.is_honest = false;
        let rounds = 3 + self.chance.index(4);
        for _ in 0..rounds {
            self.turn()?;
            for _ in 0..2 + self.chance.index(6) {
                self.act()?;
            }
        }
        Ok(())
    }

    /// The store does something, or becomes somebody else for some of the devices.
    fn turn(&mut self) -> Told<()> {
        match self.plan {
            Plan::Reading => self.mislead(&READING),
            Plan::Racing => self.mislead(&RACING),
            Plan::Losing => self.mislead(&LOSING),
            Plan::GoingBack => self.go_back(),
            Plan::Forking => self.fork(),
            Plan::Forging => self.forge(false),
            Plan::Reviving => self.revive()?,
            Plan::Forgetting => self.forget()?,
            Plan::HidingOwn => self.hide_own()?,
        }
        Ok(())
    }

    fn mislead(&mut self, lies: &[Lie]) {
        let (some, one_in) = (1 + self.chance.index(4), 1 + self.chance.below(12));
        let lies = (0..some).map(|_| lies[self.chance.index(lies.len())]).collect();
        let mood = Mood { lies, one_in, ..Mood::default() };
        trace(|| format!("the store: {mood:?}"));
        for device in &self.devices {
            device.face.be(mood.clone());
        }
    }

    fn go_back(&mut self) {
        let device = self.chance.index(self.devices.len());
        let mood = match self.chance.below(4) {
            0 => Mood::default(),
            1 => {
                let end = self.vault.newest().map_or(0, |newest| newest.seq);
                Mood { log_end: Some(self.chance.below(end + 1)), ..Mood::default() }
            }
            _ => Mood { branch: self.vault.fork(true), ..Mood::default() },
        };
        trace(|| format!("the store to device {device}: {mood:?}"));
        self.devices[device].face.be(mood);
    }

    fn fork(&mut self) {
        let device = self.chance.index(self.devices.len());
        let mood = self.devices[device].face.mood();
        let mood = match self.chance.below(3) {
            // A commit of the others, where it has none.
            0 if mood.branch != 0 => Mood { crossed: Some(0), ..mood },
            0 => {
                let others = self.devices.iter().map(|device| device.face.mood().branch);
                Mood { crossed: others.max(), ..mood }
            }
            _ if mood.branch == 0 => Mood { branch: self.vault.fork(false), ..Mood::default() },
            _ => Mood::default(),
        };
        trace(|| format!("the store to device {device}: {mood:?}"));
        self.devices[device].face.be(mood);
    }

    /// A forged commit is the next one for everybody.
    fn forge(&mut self, removed: bool) {
        let Some(newest) = self.vault.newest() else { return };
        let pin = if removed { REMOVAL - 1 } else { self.vault.organisation_end() };
        let claimed = match removed {
            true => people().lost.device_id(),
            false => {
                let index = self.chance.index(self.devices.len());
                people().devices[index]
            }
        };
        let forged =
            forge(&self.vault.truth(), Spot { pin, ..newest }, claimed, self.chance.next_u64());
        let forged = Some((strongroom_store::Key::Log(newest.seq + 1), forged));
        trace(|| format!("the store shows a forged commit {}", newest.seq + 1));
        for device in &self.devices {
            device.face.be(Mood { forged: forged.clone(), ..Mood::default() });
        }
    }

    /// The lost device is removed, everybody knows, and then it commits.
    fn revive(&mut self) -> Told<()> {
        if self.vault.organisation_end() < REMOVAL {
            self.with_honesty(|story| {
                story.vault.extend_organisation(REMOVAL, people().removal.clone());
                story.save(0)?;
                story.sync(0, SyncLevel::Remote)?;
                (0..story.devices.len()).try_for_each(|device| {
                    if story.devices[device].workspace.is_none() {
                        story.open(device)?;
                    }
                    story.tick(device, 1500)
                })
            })?;
        }
        // Before anybody has pinned the removal, nobody can tell.
        if self.vault.newest().is_some_and(|newest| newest.pin >= REMOVAL) {
            self.forge(true);
        }
        Ok(())
    }

    /// The lost device is removed, one device hears of it, and is told otherwise later.
    fn forget(&mut self) -> Told<()> {
        let device = self.chance.index(self.devices.len());
        if self.vault.organisation_end() < REMOVAL {
            self.with_honesty(|story| {
                story.vault.extend_organisation(REMOVAL, people().removal.clone());
                if story.chance.one_in(2) {
                    return story.sync(device, SyncLevel::Remote);
                }
                // Nothing waits, or its commit would pin the removal.
                story.sync(device, SyncLevel::Remote)?;
                story.tick(device, 1500)
            })?;
        }
        self.kill(device)?;
        let organisation_end = Some(REMOVAL - 1).filter(|_| !self.chance.one_in(3));
        self.devices[device].face.be(Mood { organisation_end, ..Mood::default() });
        self.open(device)
    }

    /// A commit whose answer is lost is not there after a restart, and then it is.
    fn hide_own(&mut self) -> Told<()> {
        let device = self.chance.index(self.devices.len());
        self.devices[device].face.be(Mood::default());
        if self.devices[device].workspace.is_none() {
            self.open(device)?;
        }
        if self.devices[device].workspace.is_none() {
            return Ok(());
        }
        self.sync(device, SyncLevel::Remote)?;
        let before = self.vault.newest().map_or(0, |newest| newest.seq);
        let lost = Mood { lies: vec![Lie::AnswerLost], one_in: 1, ..Mood::default() };
        self.save_as(device, PATHS[0], 300)?;
        self.devices[device].face.be(lost);
        self.sync(device, SyncLevel::Remote)?;
        self.kill(device)?;
        self.devices[device].face.be(Mood { log_end: Some(before), ..Mood::default() });
        self.open(device)?;
        if self.devices[device].workspace.is_none() {
            return Ok(());
        }
        let fat = [300, 20_000][self.chance.index(2)];
        for path in [PATHS[1], PATHS[2], PATHS[1]] {
            self.save_as(device, path, fat)?;
        }
        self.sync(device, SyncLevel::Local)?;
        self.devices[device].face.be(Mood::default());
        self.sync(device, SyncLevel::Remote)
    }

    /// Does something while the store tells everybody the truth; devices that do not answer then are restarted.
    fn with_honesty(&mut self, act: impl FnOnce(&mut Self) -> Told<()>) -> Told<()> {
        for number in 0..self.devices.len() {
            self.devices[number].face.be(Mood::default());
            if self.devices[number].workspace.is_none() {
                self.open(number)?;
            }
        }
        if self.devices.iter().all(|device| device.workspace.is_some()) {
            act(self)?;
        }
        Ok(())
    }
}
