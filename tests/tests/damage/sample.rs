//! The sample workspace, on a real disk: built once, copied for every row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use strongroom_check::{InUse, Local, Report, Subject};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_host::clock::MachineClock;
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_keyring::{DeviceKeys, device_file, founding};
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    ErrorKind as StoreErrorKind, Family, FolderStore, Key, Mode as StoreMode, Store, now,
};
use strongroom_tests::harness::files::{OPEN, find, make, options, place_of};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_workspace::door::{
    Access, Core, Kind, ListDetail, SyncLevel, SyncScope, WriteMode, XattrMode,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use strongroom_workspace::{Foundation, Mode, Options, Services, Tuning, Workspace};

use super::table::Thing;

const PASSPHRASE: &[u8] = b"alice's passphrase";
/// Names in the folder that makes the tree several pages.
const MANY: usize = 600;

/// Everything a row needs.
pub struct Sample {
    folder: tempfile::TempDir,
    keys: Arc<DeviceKeys>,
    device_file: Vec<u8>,
    /// Content by path, as committed.
    pub committed: BTreeMap<String, Vec<u8>>,
    /// Content by path of what waits in the journal.
    pub pending: BTreeMap<String, Vec<u8>>,
    /// Object of each file that has one for itself.
    objects: BTreeMap<String, String>,
    staged: String,
    journal: String,
    /// Bytes of the journal file that are written.
    journal_len: usize,
    older: PathBuf,
    other: Option<Box<Sample>>,
}

/// The sample.
pub fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let other = build(2);
        Sample { other: Some(Box::new(other)), ..build(1) }
    })
}

fn services() -> Services {
    Services {
        disk: Arc::new(RealDisk),
        clock: Arc::new(MachineClock::new()),
        entropy: Arc::new(MachineEntropy),
    }
}

/// A checkpoint where the sample asks for one, and never else.
fn tuning(checkpoint_log_bytes: usize) -> Tuning {
    let bytes = u64::try_from(checkpoint_log_bytes).unwrap();
    Tuning {
        checkpoint_log_bytes: bytes,
        checkpoint_log_bytes_at_close: bytes,
        journal_file_len: 256 << 10,
        ..Tuning::default()
    }
}

fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u32::from(seed) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

struct Builder {
    root: PathBuf,
    seed: u8,
    committed: BTreeMap<String, Vec<u8>>,
    pending: BTreeMap<String, Vec<u8>>,
    objects: BTreeMap<String, String>,
}

fn build(seed: u8) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("now");
    let older = folder.path().join("older");
    let disk = Arc::new(RealDisk);
    let cost = PassphraseCost::SMALL;
    let founded = founding::found(PASSPHRASE, cost, 1, &MachineEntropy).unwrap();
    let keys = Arc::new(founded.keys);
    let store: Arc<dyn Store> =
        Arc::new(FolderStore::create(disk.clone(), root.join("store")).unwrap());
    let foundation = Foundation {
        organisation: [&founded.genesis, &founded.first_epoch],
        device_file: &founded.device_file,
        owner: (CALLER.uid, CALLER.gid),
    };
    Workspace::create(&store, &keys, &foundation, &services()).unwrap();
    let mut builder = Builder {
        root: root.clone(),
        seed,
        committed: BTreeMap::new(),
        pending: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    let unlocked = Unlocked { device_file: &founded.device_file, keys: &keys };
    // Everything up to here is in the checkpoint …
    let workspace = open(&root, Mode::ReadWrite, tuning(1), &unlocked).unwrap();
    builder.fill(&workspace);
    workspace.close().unwrap();
    drop(workspace);
    // … one more of them follows, and then none.
    copy_folder(&root, &older);
    let workspace = open(&root, Mode::ReadWrite, tuning(1), &unlocked).unwrap();
    builder.write(&workspace, "/docs/after", 700);
    workspace.close().unwrap();
    drop(workspace);
    // A journal file that was another's before has other bytes behind its end.
    let _ = std::fs::remove_file(root.join("state/journal/spare"));
    let workspace = open(&root, Mode::ReadWrite, tuning(1 << 30), &unlocked).unwrap();
    for number in 1..=4 {
        builder.write_alone(&workspace, &format!("/late/{number}"), 100_000 + number);
    }
    builder.leave_pending(&workspace);
    // Dropped, not closed: as if the process had been killed.
    drop(workspace);
    let state = root.join("state");
    let only = |name: &str| {
        let mut names: Vec<String> = std::fs::read_dir(state.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "spare")
            .collect();
        assert_eq!(names.len(), 1, "{name}: {names:?}");
        names.remove(0)
    };
    let (staged, journal) = (only("staged"), only("journal"));
    let bytes = std::fs::read(state.join("journal").join(&journal)).unwrap();
    let journal_len = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    Sample {
        folder,
        keys,
        device_file: founded.device_file,
        committed: builder.committed,
        pending: builder.pending,
        objects: builder.objects,
        staged,
        journal,
        journal_len,
        older,
        other: None,
    }
}

impl Builder {
    fn fill(&mut self, workspace: &Workspace) {
        for folder in ["/docs", "/late", "/many", "/pending"] {
            make(workspace, folder, Kind::Folder).unwrap();
        }
        for number in 0..MANY {
            self.write(workspace, &format!("/many/a file with a rather long name {number:04}"), 40);
        }
        self.write(workspace, "/docs/inline", 900);
        self.write_alone(workspace, "/docs/large", 300_000);
        self.write_alone(workspace, "/docs/small", 5_000);
        self.write_pieces(workspace);
        link(workspace, "/docs/large", "/docs/link");
        let content = self.committed["/docs/large"].clone();
        self.committed.insert("/docs/link".to_owned(), content);
        let ino = find(workspace, "/docs/inline").unwrap();
        done(workspace.set_xattr(ino, b"user.colour", b"green", XattrMode::Either)).unwrap();
        workspace.commit().unwrap();
    }

    fn write(&mut self, workspace: &Workspace, path: &str, len: usize) {
        let seed = path.bytes().fold(self.seed, u8::wrapping_add);
        let content = content(seed, len);
        write(workspace, path, &[(0, &content)]);
        self.committed.insert(path.to_owned(), content);
    }

    /// A file with an object of its own.
    fn write_alone(&mut self, workspace: &Workspace, path: &str, len: usize) {
        workspace.commit().unwrap();
        let before = objects(&self.root);
        let seed = path.bytes().fold(self.seed, u8::wrapping_add);
        let content = content(seed, len);
        write(workspace, path, &[(0, &content)]);
        self.committed.insert(path.to_owned(), content);
        self.claim(workspace, path, &before);
    }

    /// A file of more extents than its inode holds, with holes between them.
    fn write_pieces(&mut self, workspace: &Workspace) {
        workspace.commit().unwrap();
        let before = objects(&self.root);
        let piece = content(self.seed, 70_000);
        let offsets: Vec<u64> = (0..8).map(|index| index * 100_000).collect();
        let pieces: Vec<(u64, &[u8])> = offsets.iter().map(|at| (*at, piece.as_slice())).collect();
        write(workspace, "/docs/pieces", &pieces);
        let mut whole = vec![0; 7 * 100_000 + piece.len()];
        for at in offsets {
            let at = usize::try_from(at).unwrap();
            whole[at..at + piece.len()].copy_from_slice(&piece);
        }
        self.committed.insert("/docs/pieces".to_owned(), whole);
        self.claim(workspace, "/docs/pieces", &before);
    }

    fn claim(&mut self, workspace: &Workspace, path: &str, before: &BTreeSet<String>) {
        workspace.commit().unwrap();
        let after = objects(&self.root);
        // A checkpoint may have put pages and dropped others: the data object is the one of its file's length.
        let len = self.committed[path].len();
        let made: Vec<&String> = after
            .difference(before)
            .filter(|object| {
                let stored = std::fs::metadata(object_path(&self.root, object)).unwrap().len();
                let plain = if path.ends_with("pieces") { 8 * 70_000 } else { len };
                (plain as u64..plain as u64 + 6_000).contains(&stored)
            })
            .collect();
        assert_eq!(made.len(), 1, "{path}");
        self.objects.insert(path.to_owned(), made[0].clone());
    }

    fn leave_pending(&mut self, workspace: &Workspace) {
        for (path, len) in [("/pending/small", 2_000), ("/pending/large", 200_000)] {
            let content = content(self.seed + 7, len);
            write(workspace, path, &[(0, &content)]);
            self.pending.insert(path.to_owned(), content);
        }
        // Once more, so that the records before are known to be durable.
        for _ in 0..2 {
            done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
            let content = content(self.seed + 9, 300);
            let path = format!("/pending/note {}", self.pending.len());
            write(workspace, &path, &[(0, &content)]);
            self.pending.insert(path, content);
        }
        done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    }
}

fn objects(root: &Path) -> BTreeSet<String> {
    let store = FolderStore::open(Arc::new(RealDisk), root.join("store"), StoreMode::ReadOnly);
    let listed = now(store.unwrap().list(Family::Object, None)).unwrap();
    listed
        .iter()
        .filter_map(|listed| match listed.key {
            Key::Object(object) => Some(object.to_string()),
            _ => None,
        })
        .collect()
}

fn object_path(root: &Path, object: &str) -> PathBuf {
    root.join("store/object").join(&object[..2]).join(object)
}

fn link(workspace: &Workspace, from: &str, to: &str) {
    let (ino, (folder, name)) = (find(workspace, from).unwrap(), place_of(workspace, to).unwrap());
    done(workspace.link(ino, folder, name.as_bytes())).unwrap();
}

fn write(workspace: &Workspace, path: &str, pieces: &[(u64, &[u8])]) {
    let (folder, name) = place_of(workspace, path).unwrap();
    let made = done(workspace.create_open(CALLER, folder, name.as_bytes(), 0o644, OPEN)).unwrap();
    for (offset, data) in pieces {
        let mode = WriteMode::At;
        done(workspace.write(made.1.handle, *offset, data, mode, false)).unwrap();
    }
    workspace.release(made.1.handle);
}

fn read(workspace: &Workspace, path: &str) -> Result<Vec<u8>> {
    let ino = find(workspace, path)?;
    let size = done(workspace.attributes(ino))?.size;
    let handle = done(workspace.open(ino, options(Access::Read, false)))?.handle;
    let read = (0..size)
        .step_by(128 << 10)
        .map(|offset| done(workspace.read(handle, offset, 128 << 10)))
        .collect::<Result<Vec<_>>>();
    workspace.release(handle);
    Ok(read?.concat())
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            copy_file(&entry.path(), &target);
        }
    }
}

/// Journal files are long and mostly empty: what is zero at the end stays a hole.
fn copy_file(from: &Path, to: &Path) {
    let bytes = std::fs::read(from).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    std::fs::write(to, &bytes[..used]).unwrap();
    std::fs::File::options().write(true).open(to).unwrap().set_len(bytes.len() as u64).unwrap();
}

/// What a passphrase unlocked already: stretching it takes long on purpose.
struct Unlocked<'a> {
    device_file: &'a [u8],
    keys: &'a Arc<DeviceKeys>,
}

/// As the command does it: store, workspace file, device file, workspace.
fn open(root: &Path, mode: Mode, tuning: Tuning, unlocked: &Unlocked<'_>) -> Result<Workspace> {
    let store = FolderStore::open(Arc::new(RealDisk), root.join("store"), StoreMode::ReadWrite)?;
    let store: Arc<dyn Store> = Arc::new(store);
    WorkspaceFile::parse(&now(store.get(Key::Workspace, None))?)?;
    let mut keys = None;
    for listed in now(store.list(Family::Device, None))? {
        let file = now(store.get(listed.key, None))?;
        keys = Some(match file == unlocked.device_file {
            true => unlocked.keys.clone(),
            false => Arc::new(device_file::unlock(&file, PASSPHRASE)?),
        });
    }
    let none = || Error::new(ErrorKind::Corrupt, "no device file");
    let keys = keys.ok_or_else(none)?;
    let options =
        Options { state_folder: root.join("state"), mode, owner: (CALLER.uid, CALLER.gid), tuning };
    Workspace::open(options, store, keys, services())
}

/// A copy of the sample.
pub struct Copy {
    folder: tempfile::TempDir,
}

/// What reading everything came to.
#[derive(Debug, Default)]
pub struct Seen {
    /// Paths with the right content.
    pub readable: BTreeSet<String>,
    /// Paths that were refused as damaged.
    pub unreadable: BTreeSet<String>,
    /// Anything else: wrong bytes, other errors, names that nobody made.
    pub wrong: Vec<String>,
}

impl Sample {
    /// A fresh copy.
    pub fn copy(&self) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&self.folder.path().join("now"), folder.path());
        Copy { folder }
    }

    /// Length of a thing.
    pub fn len_of(&self, thing: Thing) -> u64 {
        std::fs::metadata(self.path(&self.folder.path().join("now"), thing)).unwrap().len()
    }

    /// Bytes of a thing that mean something.
    pub fn used_len(&self, thing: Thing, bytes: &[u8]) -> usize {
        match thing {
            Thing::Journal => self.journal_len,
            _ => bytes.len(),
        }
    }

    /// The same thing of another workspace.
    pub fn of_other(&self, thing: Thing) -> Vec<u8> {
        let other = self.other.as_ref().unwrap();
        std::fs::read(other.path(&other.folder.path().join("now"), thing)).unwrap()
    }

    /// The same thing some commits ago; of commits, the one before.
    pub fn older(&self, thing: Thing) -> Vec<u8> {
        let now = self.folder.path().join("now");
        let path = match thing {
            Thing::LastCommit => nth_file(&now.join("store/log"), usize::MAX, 1),
            _ => self.path(&self.older, thing),
        };
        std::fs::read(path).unwrap()
    }

    fn path(&self, root: &Path, thing: Thing) -> PathBuf {
        let store = root.join("store");
        match thing {
            Thing::Workspace => store.join("workspace"),
            Thing::Organisation => store.join("organisation/0000000000000000"),
            Thing::Epoch => store.join("organisation/0000000000000001"),
            Thing::Device => nth_file(&store.join("device"), 0, 0),
            Thing::Checkpoint => nth_file(&store.join("checkpoint"), usize::MAX, 0),
            Thing::FirstCommit => nth_file(&store.join("log"), 0, 0),
            Thing::MiddleCommit => nth_file(&store.join("log"), 2, 0),
            Thing::LastCommit => nth_file(&store.join("log"), usize::MAX, 0),
            Thing::Pages => self.page_object(root, usize::MAX),
            Thing::Root => self.page_object(root, 0),
            Thing::Data(path) => object_path(root, &self.objects[path]),
            Thing::Journal => root.join("state/journal").join(&self.journal),
            Thing::Staged => root.join("state/staged").join(&self.staged),
            Thing::Head => root.join("state/head"),
        }
    }

    /// An object of pages: the smallest by 0, the largest by `usize::MAX`.
    fn page_object(&self, root: &Path, index: usize) -> PathBuf {
        let data: BTreeSet<&String> = self.objects.values().collect();
        let all = objects(root);
        let pages = all.iter().filter(|object| !data.contains(object));
        let mut paths: Vec<PathBuf> = pages.map(|object| object_path(root, object)).collect();
        paths.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
        paths[index.min(paths.len() - 1)].clone()
    }
}

/// A file of a folder by number, `usize::MAX` for the last, `before` that many earlier.
fn nth_file(folder: &Path, index: usize, before: usize) -> PathBuf {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    let index = if index == usize::MAX { paths.len() - 1 - before } else { index };
    paths[index].clone()
}

impl Copy {
    /// Where a thing is.
    pub fn path(&self, thing: Thing) -> PathBuf {
        sample().path(self.folder.path(), thing)
    }

    /// Opens it.
    pub fn open(&self, mode: Mode) -> Result<Workspace> {
        let sample = sample();
        let unlocked = Unlocked { device_file: &sample.device_file, keys: &sample.keys };
        open(self.folder.path(), mode, tuning(1 << 30), &unlocked)
    }

    /// Examines it.
    pub fn check(&self) -> Report {
        let root = self.folder.path();
        let disk = Arc::new(RealDisk);
        let store: Arc<dyn Store> =
            match FolderStore::open(disk.clone(), root.join("store"), StoreMode::ReadOnly) {
                Ok(store) => Arc::new(store),
                // The command refuses here; the room itself has more to say.
                Err(_) => Arc::new(WithoutWorkspace::over(&root.join("store"))),
            };
        let local = Local {
            folder: root.join("state"),
            disk,
            entropy: Arc::new(MachineEntropy),
            in_use: InUse::No,
        };
        let (keys, now) = (sample().keys.clone(), services().clock.now_ns());
        let subject = Subject { store, keys, local: Some(local), now };
        strongroom_check::examine(&subject, &mut |_| ()).unwrap()
    }

    /// Reads everything that was ever written, and looks for names that were not.
    pub fn read(&self, workspace: &Workspace, mode: Mode) -> Seen {
        let mut seen = Seen::default();
        let sample = sample();
        for (path, content) in sample.committed.iter().chain(&sample.pending) {
            let is_pending = sample.pending.contains_key(path);
            match read(workspace, path) {
                Ok(bytes) if bytes == *content => drop(seen.readable.insert(path.clone())),
                // Created, and its content came after what is left of the journal.
                Ok(bytes) if is_pending && bytes.is_empty() => {
                    seen.unreadable.insert(path.clone());
                }
                Ok(_) => seen.wrong.push(format!("{mode:?}: wrong bytes in {path}")),
                Err(error) => match error.kind() {
                    ErrorKind::Corrupt => drop(seen.unreadable.insert(path.clone())),
                    ErrorKind::NotFound if is_pending => {
                        seen.unreadable.insert(path.clone());
                    }
                    kind => seen.wrong.push(format!("{mode:?}: {path}: {kind:?}: {error}")),
                },
            }
        }
        for folder in ["/docs", "/late", "/many", "/pending", "/"] {
            seen.wrong.extend(strangers(workspace, folder).unwrap_or_default());
        }
        seen
    }

    /// The store as it was before the last commits.
    pub fn replace_store_by_older(&self) {
        let store = self.folder.path().join("store");
        std::fs::remove_dir_all(&store).unwrap();
        copy_folder(&sample().older.join("store"), &store);
    }

    /// Every file with its bytes.
    pub fn everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut open = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    all.insert(path, bytes);
                }
            }
        }
        all
    }
}

fn strangers(workspace: &Workspace, folder: &str) -> Result<Vec<String>> {
    let ino = find(workspace, folder)?;
    let (mut cookie, mut strange) = (0, Vec::new());
    let sample = sample();
    loop {
        let listed = done(workspace.read_folder(ino, cookie, 1000, ListDetail::Names))?;
        let Some(last) = listed.last() else { return Ok(strange) };
        cookie = last.cookie;
        for entry in listed.iter().filter(|entry| entry.kind == Kind::File) {
            let name = String::from_utf8_lossy(&entry.name);
            let path = format!("{}/{name}", folder.trim_end_matches('/'));
            if !sample.committed.contains_key(&path) && !sample.pending.contains_key(&path) {
                strange.push(format!("{path} was never made"));
            }
        }
    }
}

/// A folder store that lost its workspace file, which `FolderStore::open` asks for.
struct WithoutWorkspace {
    _folder: tempfile::TempDir,
    store: FolderStore,
}

impl WithoutWorkspace {
    fn over(root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(root, folder.path());
        std::fs::write(folder.path().join("workspace"), b"").unwrap();
        let disk = Arc::new(RealDisk);
        let path = folder.path().to_path_buf();
        let store = FolderStore::open(disk, path, StoreMode::ReadOnly).unwrap();
        Self { _folder: folder, store }
    }
}

impl Over for WithoutWorkspace {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        match call == Call::Get(Key::Workspace) {
            true => Err(strongroom_store::Error::new(StoreErrorKind::NotFound, "`workspace`")),
            false => Ok(()),
        }
    }
}
