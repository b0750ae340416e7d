//! Secrets: known plaintext, names, attributes, targets, the passphrase and every key are looked for, byte by byte, in
//! all that a workspace leaves on a disk or says.
//!
//! What is public by design is not looked for: ids, salts, lengths, times of signing (docs/leakage.md).

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::clock::MachineClock;
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_host::real_disk::RealDisk;
use strongroom_keyring::{DeviceKeys, founding};
use strongroom_store::{FolderStore, Mode as StoreMode, Store};
use strongroom_tests::harness::files::OPEN;
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_workspace::door::{
    Answer, Core, Folding, Ino, Kind, NewNode, RenameMode, SyncLevel, SyncScope, WriteMode,
    XattrMode,
};
use strongroom_workspace::{Foundation, Mode, Options, Services, Tuning, Workspace};

const PASSPHRASE: &[u8] = b"canary passphrase: Zq8 rhubarb Kx4 lantern";
const NAME: &[u8] = b"canary-name-Vd7-quince.txt";
const FOLDER: &[u8] = b"canary-folder-Hm2-damson";
const RENAMED: &[u8] = b"canary-renamed-Wp9-medlar";
const REMOVED: &[u8] = b"canary-removed-Jt5-sorrel";
const TARGET: &[u8] = b"../canary-target-Bn3-tansy/Yc6";
const XATTR_NAME: &[u8] = b"user.canary-attribute-Gf1-borage";
const XATTR_VALUE: &[u8] = b"canary-value-Ls8-chervil-Pd4";
const CONTENT: &[u8] = b"canary content: Rj6 the badger signs the ledger at noon Qe2. ";
const NAMED: [&[u8]; 8] =
    [PASSPHRASE, NAME, FOLDER, RENAMED, REMOVED, TARGET, XATTR_NAME, XATTR_VALUE];

/// LIMIT: pieces of secrets this long are looked for, so that part of one is found, too.
const PIECE_LEN: usize = 12;

/// Looks for many byte sequences at once.
#[derive(Default)]
struct Scanner {
    pieces: HashMap<[u8; PIECE_LEN], &'static str>,
}

impl Scanner {
    fn add(&mut self, secret: &[u8], what: &'static str) {
        for piece in secret.windows(PIECE_LEN) {
            self.pieces.insert(piece.try_into().unwrap(), what);
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        let mut windows = bytes.windows(PIECE_LEN);
        windows.find_map(|window| self.pieces.get(window).copied())
    }

    /// Everything below a folder, names of files included.
    fn search(&self, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let mut tell = |what| found.push(format!("{what} in {}", path.display()));
            if let Some(what) = self.find(entry.file_name().as_encoded_bytes()) {
                tell(what);
            }
            if path.is_dir() {
                self.search(&path, found);
            } else if let Some(what) = self.find(&std::fs::read(&path).unwrap()) {
                tell(what);
            }
        }
    }
}

/// Chance that remembers what keys it gave: all requests of 32 and 64 bytes.
#[derive(Default)]
struct Remembering(Mutex<Vec<Vec<u8>>>);

impl Entropy for Remembering {
    fn fill(&self, out: &mut [u8]) {
        MachineEntropy.fill(out);
        if matches!(out.len(), 32 | 64) {
            self.0.lock().unwrap().push(out.to_vec());
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    keys: Arc<DeviceKeys>,
    chance: Arc<Remembering>,
    /// Texts that anybody may see.
    said: Vec<String>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chance = Arc::new(Remembering::default());
        let founded = founding::found(PASSPHRASE, PassphraseCost::SMALL, 1, &*chance).unwrap();
        let root = folder.path().join("store");
        let store: Arc<dyn Store> =
            Arc::new(FolderStore::create(Arc::new(RealDisk), root).unwrap());
        let foundation = Foundation {
            organisation: [&founded.genesis, &founded.first_epoch],
            device_file: &founded.device_file,
            owner: (1000, 1000),
        };
        let keys = Arc::new(founded.keys);
        let world = World { folder, keys, chance, said: Vec::new() };
        Workspace::create(&store, &world.keys, &foundation, &world.services()).unwrap();
        world
    }

    fn services(&self) -> Services {
        Services {
            disk: Arc::new(RealDisk),
            clock: Arc::new(MachineClock::new()),
            entropy: self.chance.clone(),
        }
    }

    fn open(&self, mode: Mode) -> Workspace {
        let root = self.folder.path().join("store");
        let store = FolderStore::open(Arc::new(RealDisk), root, StoreMode::ReadWrite).unwrap();
        let options = Options {
            state_folder: self.folder.path().join("state"),
            mode,
            owner: (1000, 1000),
            tuning: Tuning {
                checkpoint_log_bytes: 4 << 10,
                checkpoint_log_bytes_at_close: 1,
                journal_file_len: 1 << 20,
                ..Tuning::default()
            },
        };
        Workspace::open(options, Arc::new(store), self.keys.clone(), self.services()).unwrap()
    }

    /// All that is looked for.
    fn scanner(&self) -> Scanner {
        let mut scanner = Scanner::default();
        NAMED.iter().for_each(|canary| scanner.add(canary, "a canary"));
        scanner.add(CONTENT, "content");
        for secret in self.chance.0.lock().unwrap().iter() {
            scanner.add(secret, "a key or the randomness behind a salt");
        }
        scanner.add(self.keys.epoch_key(1).unwrap().expose(), "the workspace key");
        scanner.add(self.keys.journal_key().expose(), "the journal key");
        scanner.add(self.keys.hedge_key().expose(), "the hedge key");
        scanner
    }

    fn found(&self) -> Vec<String> {
        let scanner = self.scanner();
        let mut found = Vec::new();
        scanner.search(self.folder.path(), &mut found);
        for text in &self.said {
            found.extend(scanner.find(text.as_bytes()).map(|what| format!("{what} in {text:?}")));
        }
        found
    }

    /// Keeps what an answer says when it is a refusal.
    fn hear<T>(&mut self, answer: Answer<T>) -> Option<T> {
        match done(answer) {
            Ok(value) => Some(value),
            Err(error) => {
                self.said.push(format!("{error} {error:?}"));
                None
            }
        }
    }
}

fn node(kind: Kind, target: &[u8]) -> NewNode {
    NewNode { kind, mode: 0o755, rdev: 0, target: target.to_vec() }
}

fn write(workspace: &Workspace, folder: Ino, name: &[u8], len: usize) -> Ino {
    let made = done(workspace.create_open(CALLER, folder, name, 0o644, OPEN)).unwrap();
    let content: Vec<u8> = CONTENT.iter().copied().cycle().take(len).collect();
    done(workspace.write(made.1.handle, 0, &content, WriteMode::At, false)).unwrap();
    workspace.release(made.1.handle);
    made.0.ino
}

/// Content of every size class, every kind of name, and changes of all of them.
fn live(world: &mut World, workspace: &Workspace) {
    let folder = done(workspace.create(CALLER, Ino::ROOT, FOLDER, node(Kind::Folder, b"")));
    let folder = folder.unwrap().ino;
    for (number, len) in [500, 5_000, 70_000, 1_500_000].into_iter().enumerate() {
        let name = [NAME, number.to_string().as_bytes()].concat();
        let ino = write(workspace, folder, &name, len);
        done(workspace.set_xattr(ino, XATTR_NAME, XATTR_VALUE, XattrMode::Either)).unwrap();
    }
    done(workspace.create(CALLER, folder, b"link", node(Kind::Symlink, TARGET))).unwrap();
    done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    workspace.commit().unwrap();
    write(workspace, folder, REMOVED, 3_000);
    done(workspace.unlink(folder, REMOVED)).unwrap();
    let first = [NAME, b"0"].concat();
    let to = (Ino::ROOT, RENAMED);
    done(workspace.rename((folder, &first), to, RenameMode::Replace)).unwrap();
    workspace.commit().unwrap();
    refusals(world, workspace, folder);
    world.said.push(workspace.status().to_json());
    world.said.push(format!("{:?}", workspace.status()));
}

/// Everything that goes wrong with names in it.
fn refusals(world: &mut World, workspace: &Workspace, folder: Ino) {
    let long = NAME.repeat(20);
    world.hear(workspace.lookup(folder, REMOVED, Folding::Exact));
    world.hear(workspace.lookup(folder, &long, Folding::Folded));
    world.hear(workspace.create(CALLER, Ino::ROOT, RENAMED, node(Kind::File, b"")));
    world.hear(workspace.create(CALLER, folder, &long, node(Kind::File, b"")));
    world.hear(workspace.create(CALLER, folder, b"bad/name-canary-Vd7", node(Kind::File, b"")));
    world.hear(workspace.unlink(Ino::ROOT, FOLDER));
    world.hear(workspace.remove_folder(Ino::ROOT, FOLDER));
    world.hear(workspace.remove_folder(Ino::ROOT, RENAMED));
    world.hear(workspace.link(folder, Ino::ROOT, NAME));
    world.hear(workspace.xattr(folder, XATTR_NAME));
    world.hear(workspace.set_xattr(folder, &XATTR_NAME.repeat(20), b"", XattrMode::Either));
    world.hear(workspace.rename((folder, REMOVED), (folder, NAME), RenameMode::Replace));
    world.hear(workspace.read_link(folder));
}

#[test]
fn no_secret_is_on_the_disk_or_in_what_is_said_at_any_time() {
    let mut world = World::new();
    assert_eq!(world.found(), Vec::<String>::new(), "a new workspace");
    let workspace = world.open(Mode::ReadWrite);
    live(&mut world, &workspace);
    assert!(world.said.len() > 10, "things were refused");
    assert_eq!(world.found(), Vec::<String>::new(), "after commits, while it is open");
    // Uncommitted: small ones in the journal, a large one staged.
    write(&workspace, Ino::ROOT, b"canary-name-Vd7-quince.pending", 4_000);
    write(&workspace, Ino::ROOT, b"canary-name-Vd7-quince.staged", 200_000);
    done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    assert_eq!(world.found(), Vec::<String>::new(), "with changes that wait");
    drop(workspace);
    assert_eq!(world.found(), Vec::<String>::new(), "after a kill");
    let workspace = world.open(Mode::ReadWrite);
    workspace.close().unwrap();
    assert_eq!(world.found(), Vec::<String>::new(), "after recovery and close");
    let workspace = world.open(Mode::ReadOnly);
    world.said.push(workspace.status().to_json());
    assert_eq!(world.found(), Vec::<String>::new(), "after a read-only mount");
}

#[test]
fn damage_is_told_to_the_log_without_a_name() {
    let mut world = World::new();
    let workspace = world.open(Mode::ReadWrite);
    live(&mut world, &workspace);
    workspace.close().unwrap();
    drop(workspace);
    let mut open = vec![world.folder.path().join("store/object")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let len = std::fs::metadata(&path).unwrap().len();
                std::fs::File::options().write(true).open(&path).unwrap().set_len(len / 3).unwrap();
            }
        }
    }
    let workspace = world.open(Mode::ReadOnly);
    let before = world.said.len();
    world.hear(workspace.lookup(Ino::ROOT, FOLDER, Folding::Exact));
    world.hear(workspace.lookup(Ino::ROOT, RENAMED, Folding::Folded));
    assert!(world.said.len() > before, "something is damaged");
    assert_eq!(world.found(), Vec::<String>::new());
}

/// The scanner finds what is there: a canary planted whole, in part, in a name, and a key.
#[test]
fn a_planted_secret_is_found() {
    let world = World::new();
    let store = world.folder.path().join("store");
    let key = world.chance.0.lock().unwrap()[0].clone();
    let part = [&[0; 70_001][..], &CONTENT[20..34], &[0; 99]].concat();
    for (place, bytes) in [("log/planted", XATTR_VALUE), ("object/planted", &part), ("k", &key)] {
        let path = store.join(place);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(world.found().len(), 1, "{place}");
        std::fs::remove_file(path).unwrap();
    }
    let path = store.join(std::str::from_utf8(NAME).unwrap());
    std::fs::write(&path, b"").unwrap();
    assert_eq!(world.found().len(), 1, "in a name");
    std::fs::remove_file(path).unwrap();
    assert_eq!(world.found(), Vec::<String>::new());
}
