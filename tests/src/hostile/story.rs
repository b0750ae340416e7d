//! Lives of devices with a store that is honest at first, then lies, and then is honest again.

mod turns;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::sim::{Chance, SimClock, SimDisk, SimEntropy};
use strongroom_workspace::door::{Core, Kind, NewNode, RenameMode, SyncLevel, SyncScope};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use strongroom_workspace::{Mode, Options, Services, Tuning, Workspace};

use super::oracle::{Oracle, content};
use super::people::people;
use super::vault::{Face, Vault};
use crate::harness::files::{self, OPEN, find, if_there, make, place_of, write};
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
        let keys = people().unlock(self.number);
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

/// Lives a life of one seed. Returns how many devices showed files in the end and were held to what was promised there; the others
/// say that the store is not what it was.
///
/// # Errors
/// What a device did that it must not do.
pub fn live(seed: u64, plan: Plan, tuning: &Tuning) -> Told<usize> {
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
                let made = make(self.devices[0].core(), FOLDER, Kind::Folder);
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
            write(core, ino, OPEN, &content(number, len))?;
            let places = ((folder, temporary.as_bytes()), (folder, name.as_bytes()));
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
        let wrote = (|| write(core, find(core, path)?, OPEN, &content(number, there.len())))();
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
            done(core.unlink(folder, name.as_bytes()))
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
}

/// Kinds that no store may cause.
fn is_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Internal | ErrorKind::Poisoned)
}

/// All bytes of a file; none if it is not there.
fn read(core: &dyn Core, path: &str) -> Result<Option<Vec<u8>>> {
    if_there(find(core, path))?.map(|ino| files::read(core, ino)).transpose()
}
