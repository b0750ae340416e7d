//! A workspace on a simulated disk.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_keyring::{DeviceKeys, founding};
use strongroom_store::{FolderStore, Mode as StoreMode, Store};
use strongroom_workspace::error::Result;
use strongroom_workspace::{Foundation, Mode, Options, Services, Tuning, Workspace};

use super::distant::Line;
use super::runner::CALLER;

/// Where the store is on the simulated disk.
pub const STORE: &str = "/store";
/// Where local state is.
pub const STATE: &str = "/state";
/// What clocks show at the beginning.
pub const START_NS: i64 = 1_700_000_000_000_000_000;

/// Wraps the store that a workspace sees.
pub type Wrap = Arc<dyn Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync>;

/// An open workspace and all it stands on.
pub struct World {
    /// The disk.
    pub disk: SimDisk,
    /// The clock.
    pub clock: Arc<SimClock>,
    workspace: Option<Workspace>,
    setting: Setting,
    entropy: Arc<SimEntropy>,
}

/// What stays when a workspace is opened again.
#[derive(Clone)]
pub struct Setting {
    /// Limits.
    pub tuning: Tuning,
    /// Where local state is.
    pub state: &'static str,
    /// Between workspace and store.
    pub wrap: Option<Wrap>,
    /// What leads to the store, where it is far away.
    pub line: Option<Line>,
    /// Syncs of files and folders below these do nothing: a deliberately broken program.
    pub unsynced: Vec<&'static str>,
}

impl Setting {
    /// Nothing but limits.
    pub fn new(tuning: Tuning) -> Self {
        Self { tuning, state: STATE, wrap: None, line: None, unsynced: Vec::new() }
    }
}

struct Founded {
    disk: SimDisk,
    keys: Arc<DeviceKeys>,
}

/// Limits so small that commits, checkpoints, full objects and new journal files come after a few steps.
pub fn small_tuning() -> Tuning {
    Tuning {
        batch_ops_bytes: 4 << 10,
        batch_data_bytes: 512 << 10,
        dirty_bytes: 96 << 10,
        dirty_bytes_at_cut: 16 << 10,
        staged_bytes: 2 << 20,
        object_plain_bytes: 256 << 10,
        extents_per_op: 4,
        checkpoint_log_bytes: 12 << 10,
        checkpoint_log_bytes_at_close: 3 << 10,
        page_cache_bytes: 128 << 10,
        segment_cache_bytes: 256 << 10,
        journal_file_len: 256 << 10,
        reserve_bytes: 0,
        compact_bytes: 512 << 10,
        compact_extents: 64,
        compact_tiny_len: 64 << 10,
        compact_tiny_count: 3,
        ..Tuning::default()
    }
}

/// Founding takes a slow hash of a passphrase: once per process is enough.
fn founded() -> &'static Founded {
    static FOUNDED: OnceLock<Founded> = OnceLock::new();
    FOUNDED.get_or_init(|| {
        let disk = SimDisk::new(0);
        let entropy = Arc::new(SimEntropy::new(0));
        let services = Services {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(START_NS)),
            entropy: entropy.clone(),
        };
        let made = founding::found(b"a passphrase", PassphraseCost::SMALL, START_NS, &*entropy);
        let made = made.expect("a new organisation");
        let store = FolderStore::create(services.disk.clone(), PathBuf::from(STORE));
        let store: Arc<dyn Store> = Arc::new(store.expect("a new store"));
        let keys = Arc::new(made.keys);
        let foundation = Foundation {
            organisation: [&made.genesis, &made.first_epoch],
            device_file: &made.device_file,
            owner: (CALLER.uid, CALLER.gid),
        };
        Workspace::create(&store, &keys, &foundation, &services).expect("a new workspace");
        Founded { disk, keys }
    })
}

/// A disk with a new workspace in it. Copies of it are cheap.
pub fn new_disk() -> SimDisk {
    founded().disk.kill()
}

/// Keys of the device that made [`new_disk`].
pub fn keys() -> Arc<DeviceKeys> {
    founded().keys.clone()
}

impl World {
    /// A new workspace.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn new(seed: u64, tuning: Tuning) -> Self {
        let setting = Setting::new(tuning);
        Self::open(new_disk(), seed, setting, None).expect("a new workspace opens")
    }

    /// Opens what is on a disk.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open(
        disk: SimDisk,
        seed: u64,
        setting: Setting,
        clock: Option<Arc<SimClock>>,
    ) -> Result<Self> {
        let clock = clock.unwrap_or_else(|| Arc::new(SimClock::new(START_NS)));
        let entropy = Arc::new(SimEntropy::new(seed));
        for prefix in setting.unsynced.clone() {
            disk.skip_syncs(move |path| path.starts_with(prefix));
        }
        let workspace = open(&disk, &clock, &entropy, &setting)?;
        Ok(Self { disk, clock, workspace: Some(workspace), setting, entropy })
    }

    /// The workspace.
    ///
    /// # Panics
    /// After a [`World::reopen`] that failed.
    pub fn workspace(&self) -> &Workspace {
        self.workspace.as_ref().expect("an open workspace")
    }

    /// Limits and store wrapper, for opening again.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Closes in good order and opens again.
    ///
    /// # Errors
    /// Those of either.
    pub fn reopen(&mut self) -> Result<()> {
        // ORDER: the lock goes with the old one, before the new one asks for it.
        if let Some(old) = self.workspace.take() {
            old.close()?;
        }
        self.workspace = Some(open(&self.disk, &self.clock, &self.entropy, &self.setting)?);
        Ok(())
    }

    /// Opens after a [`World::reopen`] that failed.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open_again(&mut self) -> Result<()> {
        // ORDER: as above.
        self.workspace = None;
        self.workspace = Some(open(&self.disk, &self.clock, &self.entropy, &self.setting)?);
        Ok(())
    }

    /// Whether there is a workspace.
    pub fn is_open(&self) -> bool {
        self.workspace.is_some()
    }

    /// Lets time pass and does what is due.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn tick(&self, millis: u64) -> Result<()> {
        self.clock.advance(Duration::from_millis(millis));
        self.workspace().tick()
    }
}

fn options(setting: &Setting) -> Options {
    Options {
        state_folder: PathBuf::from(setting.state),
        mode: Mode::ReadWrite,
        owner: (CALLER.uid, CALLER.gid),
        tuning: setting.tuning.clone(),
    }
}

fn services(disk: &SimDisk, clock: &Arc<SimClock>, entropy: &Arc<SimEntropy>) -> Services {
    Services { disk: Arc::new(disk.clone()), clock: clock.clone(), entropy: entropy.clone() }
}

fn open(
    disk: &SimDisk,
    clock: &Arc<SimClock>,
    entropy: &Arc<SimEntropy>,
    setting: &Setting,
) -> Result<Workspace> {
    let store =
        FolderStore::open(Arc::new(disk.clone()), PathBuf::from(STORE), StoreMode::ReadWrite)?;
    let mut store: Arc<dyn Store> = Arc::new(store);
    if let Some(line) = &setting.line {
        store = Arc::new(line.begin(store, disk.clone()));
    }
    if let Some(wrap) = &setting.wrap {
        store = wrap(store);
    }
    Workspace::open(options(setting), store, founded().keys.clone(), services(disk, clock, entropy))
}
