//! Lives of devices with a store that is honest at first, then lies, and then is honest again.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::sim::{Chance, SimClock, SimDisk, SimEntropy};
use strongroom_workspace::door::{
    Access, Core, Folding, Ino, Kind, ListDetail, NewNode, OpenOptions, RenameMode, SyncLevel,
    SyncScope, WriteMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use strongroom_workspace::{Mode, Options, Services, Tuning, Workspace};

use super::oracle::{Oracle, content};
use super::people::{REMOVAL, Spot, forge, people};
use super::vault::{Face, Lie, Mood, Vault};
use crate::harness::runner::{CALLER, done};
use crate::harness::seeds::trace;
use crate::harness::world::{START_NS, STATE, small_tuning};

/// What a story says when something is wrong.
pub type Told<T> = std::result::Result<T, String>;

/// What the store does while it is not honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It answers with something else than it has, and loses answers.
    Reading,
    /// It says that both or none of two writers won, or that it took what it did not.
    Racing,
    /// It throws away or damages what it said it took.
    Losing,
    /// It shows some devices a moment of the past, and lets them go on from there.
    GoingBack,
    /// It shows different devices different histories, and now and then a commit of one in the other.
    Forking,
    /// It shows commits that a device with keys, but without a right to them, made for it.
    Forging,
    /// The same, of a device that was removed.
    Reviving,
    /// It hides the end of the organisation log.
    Forgetting,
    /// It hides what a device committed itself, and shows it later.
    HidingOwn,
}

impl Plan {
    /// All of them.
    pub const ALL: [Plan; 9] = [
        Plan::Reading,
        Plan::Racing,
        Plan::Losing,
        Plan::GoingBack,
        Plan::Forking,
        Plan::Forging,
        Plan::Reviving,
        Plan::Forgetting,
        Plan::HidingOwn,
    ];

    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        Self::ALL[Chance::new(seed ^ 0x91a5).index(Self::ALL.len())]
    }

    /// Whether something may be gone for good that the store had confirmed.
    fn destroys(self) -> bool {
        self == Plan::Losing
    }
}

/// Limits of the devices: everything that happens rarely happens often.
pub fn tuning() -> Tuning {
    Tuning {
        poll_interval: Duration::from_secs(1),
        renew_interval: Duration::from_secs(4),
        checkpoint_log_bytes: 4 << 10,
        checkpoint_log_bytes_at_close: 1 << 10,
        journal_file_len: 16 << 10,
        compact_bytes: 0,
        ..small_tuning()
    }
}

const FOLDER: &str = "d";
const PATHS: [&str; 4] = ["a", "b.txt", "d/a", "d/c.txt"];
const LENS: [usize; 6] = [8, 300, 900, 3000, 20_000, 70_000];

struct Device {
    number: usize,
    disk: SimDisk,
    clock: Arc<SimClock>,
    entropy: Arc<SimEntropy>,
    face: Arc<Face>,
    tuning: Tuning,
    workspace: Option<Workspace>,
    /// The newest commit that it said it was at.
    head: (u64, String),
}

impl Device {
    fn open(&mut self) -> Result<()> {
        let services = Services {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        let options = Options {
            state_folder: PathBuf::from(STATE),
            mode: Mode::ReadWrite,
            owner: (CALLER.uid, CALLER.gid),
            tuning: self.tuning.clone(),
        };
        let keys = people().devices[self.number].clone();
        self.workspace = Some(Workspace::open(options, self.face.clone(), keys, services)?);
        Ok(())
    }

    fn core(&self) -> &Workspace {
        self.workspace.as_ref().expect("an open workspace")
    }

    fn kill(&mut self) {
        self.workspace = None;
    }
}

/// A life.
pub struct Story {
    plan: Plan,
    vault: Arc<Vault>,
    devices: Vec<Device>,
    oracle: Oracle,
    chance: Chance,
    /// Whether the store tells the truth to all.
    is_honest: bool,
    temporary: u64,
}

/// Lives a life of one seed.
///
/// # Errors
/// What a device did that it must not do.
pub fn live(seed: u64, plan: Plan, tuning: &Tuning) -> Told<()> {
    let life = || {
        let mut story = Story::new(seed, plan, tuning)?;
        story.honest()?;
        story.dishonest()?;
        story.judge()
    };
    catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", text.unwrap_or_else(|| "?".to_owned())))
    })
}

impl Story {
    fn new(seed: u64, plan: Plan, tuning: &Tuning) -> Told<Self> {
        let mut chance = Chance::new(seed);
        let least = match plan {
            Plan::Racing | Plan::Forking => 2,
            _ => 1,
        };
        let count = least + chance.index(4 - least);
        let vault = Arc::new(Vault::new(seed));
        let devices = (0..count).map(|number| {
            let own = seed * 8 + number as u64;
            let disk = SimDisk::new(own);
            Device {
                number,
                face: Arc::new(Face::new(vault.clone(), &disk, own)),
                disk,
                clock: Arc::new(SimClock::new(START_NS)),
                entropy: Arc::new(SimEntropy::new(own)),
                tuning: tuning.clone(),
                workspace: None,
                head: (0, String::new()),
            }
        });
        Ok(Self {
            plan,
            devices: devices.collect(),
            vault,
            oracle: Oracle::new(count),
            chance,
            is_honest: true,
            temporary: 0,
        })
    }

    fn honest(&mut self) -> Told<()> {
        for device in 0..self.devices.len() {
            self.open(device)?;
            if device == 0 {
                let node = NewNode { kind: Kind::Folder, mode: 0o755, rdev: 0, target: Vec::new() };
                let core = self.devices[0].core();
                let made = done(core.create(CALLER, Ino::ROOT, FOLDER.as_bytes(), node));
                made.map_err(|error| format!("no folder: {error}"))?;
            }
            self.sync(device, SyncLevel::Remote)?;
        }
        for device in 0..self.devices.len() {
            self.tick(device, 1500)?;
        }
        for _ in 0..4 + self.chance.index(8) {
            self.act()?;
        }
        Ok(())
    }

    /// Something happens.
    fn act(&mut self) -> Told<()> {
        let device = self.chance.index(self.devices.len());
        if self.devices[device].workspace.is_none() {
            return self.open(device);
        }
        match self.chance.below(100) {
            0..22 => self.save(device),
            22..36 => self.overwrite(device),
            36..54 => self.look(device),
            54..62 => self.sync(device, SyncLevel::Local),
            62..70 => self.sync(device, SyncLevel::Remote),
            70..90 => {
                let millis = 300 + self.chance.below(2500);
                self.tick(device, millis)
            }
            90..94 => self.remove(device),
            94..98 => self.kill(device),
            _ => {
                self.begin(device)?;
                let closed = self.devices[device].core().close();
                if closed.is_ok() {
                    self.oracle.synced(device);
                }
                let closed = self.tolerate(device, "closes", closed).map(drop);
                self.devices[device].kill();
                closed
            }
        }
    }

    fn begin(&self, device: usize) -> Told<()> {
        self.devices[device].face.begin().map_err(|what| format!("device {device} {what}"))
    }

    /// Takes an answer: errors are told, whatever the store did, and are none while it was honest.
    fn tolerate<T>(&mut self, device: usize, what: &str, answer: Result<T>) -> Told<Option<T>> {
        let text = answer.as_ref().err().map(ToString::to_string);
        trace(|| format!("device {device} {what}: {text:?}"));
        self.note_head(device)?;
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.is_honest || is_fault(&error) => {
                Err(format!("device {device} {what}: {error} {:?}", error.kind()))
            }
            Err(_) => Ok(None),
        }
    }

    fn note_head(&mut self, device: usize) -> Told<()> {
        let Some(workspace) = &self.devices[device].workspace else { return Ok(()) };
        let status = workspace.status();
        let head = (status.head_seq, status.head_code.to_string());
        if !self.vault.was_made(&head) {
            return Err(format!("device {device} took commit {} that nobody made", head.0));
        }
        if head.0 < self.devices[device].head.0 {
            let before = self.devices[device].head.0;
            return Err(format!("device {device} went from commit {before} back to {}", head.0));
        }
        self.devices[device].head = head;
        Ok(())
    }

    fn open(&mut self, device: usize) -> Told<()> {
        self.begin(device)?;
        let opened = self.devices[device].open();
        self.tolerate(device, "opens", opened).map(drop)
    }

    fn kill(&mut self, device: usize) -> Told<()> {
        if self.devices[device].workspace.is_none() {
            return Ok(());
        }
        // A write that no sync has returned for may go where the store hides what it consists of.
        self.sync(device, SyncLevel::Local)?;
        trace(|| format!("device {device} is killed"));
        self.devices[device].kill();
        Ok(())
    }

    fn tick(&mut self, device: usize, millis: u64) -> Told<()> {
        for device in &self.devices {
            device.clock.advance(Duration::from_millis(millis));
        }
        self.begin(device)?;
        let ticked = self.devices[device].core().tick();
        self.tolerate(device, "ticks", ticked).map(drop)
    }

    fn sync(&mut self, device: usize, level: SyncLevel) -> Told<()> {
        self.begin(device)?;
        let synced = done(self.devices[device].core().sync(SyncScope::All, level));
        if synced.is_ok() {
            self.oracle.synced(device);
        }
        self.tolerate(device, "syncs", synced).map(drop)
    }

    fn save(&mut self, device: usize) -> Told<()> {
        let path = PATHS[self.chance.index(PATHS.len())];
        let len = LENS[self.chance.index(LENS.len())];
        self.save_as(device, path, len)
    }

    /// As editors do: beside it, then over it.
    fn save_as(&mut self, device: usize, path: &str, len: usize) -> Told<()> {
        self.begin(device)?;
        // Who replaces it has it, whether he looked or not.
        let found = read(self.devices[device].core(), path);
        if self.shown(device, path, found)?.is_none() {
            return Ok(());
        }
        let number = self.oracle.begin(device, path, Some(len));
        trace(|| format!("device {device} saves {number:x} as {path}, {len} bytes"));
        self.temporary += 1;
        let temporary = format!("tmp-{}", self.temporary);
        let core = self.devices[device].core();
        let saved = (|| {
            let (folder, name) = place_of(core, path)?;
            let node = NewNode { kind: Kind::File, mode: 0o644, rdev: 0, target: Vec::new() };
            let ino = done(core.create(CALLER, folder, temporary.as_bytes(), node))?.ino;
            write(core, ino, &content(number, len))?;
            let places = ((folder, temporary.as_bytes()), (folder, name));
            done(core.rename(places.0, places.1, RenameMode::Replace))
        })();
        if saved.is_ok() {
            self.oracle.done(device, number);
        }
        self.tolerate(device, "saves", saved).map(drop)
    }

    /// In place, all bytes in one write.
    fn overwrite(&mut self, device: usize) -> Told<()> {
        let path = PATHS[self.chance.index(PATHS.len())];
        self.begin(device)?;
        let found = read(self.devices[device].core(), path);
        let Some(Some(there)) = self.shown(device, path, found)? else { return Ok(()) };
        let number = self.oracle.begin(device, path, Some(there.len()));
        trace(|| format!("device {device} writes {number:x} over {path}"));
        let core = self.devices[device].core();
        let wrote = (|| {
            let (folder, name) = place_of(core, path)?;
            let ino = done(core.lookup(folder, name, Folding::Exact))?.ino;
            write(core, ino, &content(number, there.len()))
        })();
        if wrote.is_ok() {
            self.oracle.done(device, number);
        }
        self.tolerate(device, "overwrites", wrote).map(drop)
    }

    fn remove(&mut self, device: usize) -> Told<()> {
        let path = PATHS[self.chance.index(PATHS.len())];
        self.begin(device)?;
        let found = read(self.devices[device].core(), path);
        let Some(Some(_)) = self.shown(device, path, found)? else { return Ok(()) };
        let number = self.oracle.begin(device, path, None);
        let core = self.devices[device].core();
        let removed = (|| {
            let (folder, name) = place_of(core, path)?;
            done(core.unlink(folder, name))
        })();
        if removed.is_ok() {
            self.oracle.done(device, number);
        }
        self.tolerate(device, "removes", removed).map(drop)
    }

    fn look(&mut self, device: usize) -> Told<()> {
        let path = PATHS[self.chance.index(PATHS.len())];
        self.begin(device)?;
        let found = read(self.devices[device].core(), path);
        self.shown(device, path, found).map(drop)
    }

    /// Judges what a device shows at a path. None where it was an error, none within where nothing is there.
    fn shown(
        &mut self,
        device: usize,
        path: &str,
        found: Result<Option<Vec<u8>>>,
    ) -> Told<Option<Option<Vec<u8>>>> {
        let found = self.tolerate(device, path, found)?;
        match &found {
            Some(Some(bytes)) => self.oracle.shown(device, path, bytes),
            Some(None) => self.oracle.shown_nothing(device, path),
            None => Ok(()),
        }
        .map_err(|what| format!("device {device} shows {what}"))?;
        Ok(found)
    }

    fn dishonest(&mut self) -> Told<()> {
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
                people().devices[index].device_id()
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

    /// The store is honest again: what was promised is there, and all see the same, but for those who say that the
    /// store is not what it was.
    fn judge(&mut self) -> Told<()> {
        for device in &self.devices {
            device.face.be(Mood::default());
        }
        if self.chance.one_in(2) {
            for device in 0..self.devices.len() {
                self.kill(device)?;
            }
        }
        let mut errors = self.settle()?;
        let diverged = self.diverged();
        if !diverged.is_empty() {
            // Who is ahead of the store and has nothing to say hears of it when it is mounted again.
            diverged.iter().try_for_each(|device| self.kill(*device))?;
            errors = self.settle()?;
        }
        let refused: BTreeSet<usize> = errors.keys().copied().collect();
        if let Some(device) = diverged.difference(&refused).next() {
            return Err(format!("device {device} went on silently from a history that is no more"));
        }
        if !self.plan.destroys() && !self.vault.is_torn() {
            errors.retain(|device, _| !diverged.contains(device));
            if let Some((device, error)) = errors.first_key_value() {
                return Err(format!("device {device}, with an honest store: {error}"));
            }
        }
        let there: Vec<usize> =
            (0..self.devices.len()).filter(|device| !refused.contains(device)).collect();
        let mut trees = Vec::new();
        for device in &there {
            trees.push(self.examine(*device)?);
        }
        for (device, tree) in there.iter().zip(&trees) {
            if *tree != trees[0] && !self.plan.destroys() {
                return Err(format!("devices {} and {device} show different files", there[0]));
            }
            for number in self.oracle.owed(*device) {
                self.demand(*device, number, tree)?;
            }
        }
        Ok(())
    }

    /// Devices whose newest commit is not one of the true history.
    fn diverged(&self) -> BTreeSet<usize> {
        let is_there = |device: &&Device| !self.vault.is_true(&device.head);
        self.devices.iter().filter(is_there).map(|device| device.number).collect()
    }

    /// Lets everything come to rest. Devices that cannot, with what they say.
    fn settle(&mut self) -> Told<BTreeMap<usize, String>> {
        let mut errors = BTreeMap::new();
        for round in 0..10 {
            for number in 0..self.devices.len() {
                for device in &self.devices {
                    device.clock.advance(Duration::from_millis(1500));
                }
                self.begin(number)?;
                match self.rest(number) {
                    Ok(()) => drop(errors.remove(&number)),
                    Err(error) => {
                        trace(|| format!("device {number} does not settle: {error}"));
                        if is_fault(&error) {
                            return Err(format!("device {number} settles: {error}"));
                        }
                        errors.insert(number, error.to_string());
                        // It says so; somebody mounts it again.
                        self.devices[number].kill();
                    }
                }
                self.note_head(number)?;
            }
            if round > 1 && self.is_at_rest(&errors) {
                return Ok(errors);
            }
            if round == 4 {
                (0..self.devices.len()).try_for_each(|device| self.kill(device))?;
            }
        }
        let heads: Vec<_> = self.devices.iter().map(|device| device.head.clone()).collect();
        Err(format!("they do not come to rest: {heads:?} {errors:?}"))
    }

    fn rest(&mut self, number: usize) -> Result<()> {
        let device = &mut self.devices[number];
        if device.workspace.is_none() {
            device.open()?;
        }
        device.core().tick()?;
        device.core().commit()
    }

    fn is_at_rest(&self, errors: &BTreeMap<usize, String>) -> bool {
        let well = self.devices.iter().filter(|device| !errors.contains_key(&device.number));
        let statuses = well.filter_map(|device| device.workspace.as_ref()).map(Workspace::status);
        let heads: BTreeSet<_> =
            statuses.map(|status| (status.head_seq, status.is_clean())).collect();
        heads.len() <= 1 && heads.iter().all(|(_, clean)| *clean)
    }

    /// Every file that a device has, judged. None for one that cannot be read.
    fn examine(&mut self, device: usize) -> Told<BTreeMap<String, Option<Vec<u8>>>> {
        self.begin(device)?;
        let names = names(self.devices[device].core()).map_err(|error| error.to_string());
        let mut tree = BTreeMap::new();
        for path in match names {
            Ok(names) => names,
            Err(_) if self.plan.destroys() => return Ok(tree),
            Err(error) => return Err(format!("device {device} cannot list: {error}")),
        } {
            let found = read(self.devices[device].core(), &path);
            let bytes = match found {
                Ok(bytes) => bytes,
                Err(_) if self.plan.destroys() => None,
                Err(error) => return Err(format!("device {device} cannot read {path}: {error}")),
            };
            if let Some(bytes) = &bytes {
                self.judge_bytes(device, &path, bytes)?;
            }
            tree.insert(path, bytes);
        }
        Ok(tree)
    }

    fn judge_bytes(&mut self, device: usize, path: &str, bytes: &[u8]) -> Told<()> {
        let judged = match PATHS.contains(&path) {
            true => self.oracle.shown(device, path, bytes),
            // A save that was interrupted may have left it without content.
            false if bytes.is_empty() => Ok(()),
            false => self.oracle.recognise(path, bytes).map(drop),
        };
        judged.map_err(|what| format!("device {device}, at the end: {what}"))
    }

    /// What was promised is in place or in a conflict copy, or cannot be read and says so.
    fn demand(
        &self,
        device: usize,
        number: u64,
        tree: &BTreeMap<String, Option<Vec<u8>>>,
    ) -> Told<()> {
        let is_it = |bytes: &Vec<u8>| bytes.first_chunk() == Some(&number.to_le_bytes());
        let is_there = tree.values().flatten().any(is_it);
        let is_told =
            self.plan.destroys() && (tree.is_empty() || tree.values().any(Option::is_none));
        if is_there || is_told {
            return Ok(());
        }
        let path = self.oracle.path_of(number);
        Err(format!("device {device}: {number:x} at {path} was synced and is lost"))
    }
}

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

/// Kinds that no store may cause.
fn is_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Internal | ErrorKind::Poisoned)
}

/// Folder and name of a path.
fn place_of<'p>(core: &dyn Core, path: &'p str) -> Result<(Ino, &'p [u8])> {
    match path.split_once('/') {
        Some((folder, name)) => {
            let found = done(core.lookup(Ino::ROOT, folder.as_bytes(), Folding::Exact))?;
            Ok((found.ino, name.as_bytes()))
        }
        None => Ok((Ino::ROOT, path.as_bytes())),
    }
}

fn options(access: Access) -> OpenOptions {
    OpenOptions { access, truncate: false, synchronous: false, drop_set_id: false }
}

fn write(core: &dyn Core, ino: Ino, bytes: &[u8]) -> Result<()> {
    let handle = done(core.open(ino, options(Access::ReadWrite)))?.handle;
    let wrote = done(core.write(handle, 0, bytes, WriteMode::At, false));
    core.release(handle);
    wrote.map(drop)
}

/// All bytes of a file; none if it is not there.
fn read(core: &dyn Core, path: &str) -> Result<Option<Vec<u8>>> {
    let found = place_of(core, path)
        .and_then(|(folder, name)| done(core.lookup(folder, name, Folding::Exact)));
    let ino = match found {
        Ok(found) => found.ino,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let handle = done(core.open(ino, options(Access::Read)))?.handle;
    let bytes = done(core.read(handle, 0, 1 << 20));
    core.release(handle);
    bytes.map(|bytes| Some(bytes.to_vec()))
}

/// Paths of all files.
fn names(core: &dyn Core) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let folder = done(core.lookup(Ino::ROOT, FOLDER.as_bytes(), Folding::Exact))?.ino;
    for (folder, prefix) in [(Ino::ROOT, ""), (folder, "d/")] {
        let mut cookie = 0;
        loop {
            let entries = done(core.read_folder(folder, cookie, 100, ListDetail::Names))?;
            let Some(last) = entries.last() else { break };
            cookie = last.cookie;
            let files = entries.iter().filter(|entry| entry.kind == Kind::File);
            all.extend(
                files.map(|entry| format!("{prefix}{}", String::from_utf8_lossy(&entry.name))),
            );
        }
    }
    Ok(all)
}
