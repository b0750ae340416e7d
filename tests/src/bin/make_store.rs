//! Writes a store by random operations, and beside it what a reader must find, as plain files.
//!
//! On the way a second device is taken in and removed again, so that there are epochs.
//!
//! `make_store FOLDER SEED COUNT` makes `FOLDER/store`, `FOLDER/passphrase` and `FOLDER/expected`. The limits are
//! small, so that there are many commits, checkpoints, objects and mapped files.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::ids::DeviceId;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_keyring::enrolment::{self, Applicant};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, founding};
use strongroom_store::{FolderStore, Key, Mode as StoreMode, Store, now};
use strongroom_tests::harness::files::OPEN;
use strongroom_workspace::door::{
    AllocateMode, Answer, Caller, Core, HandleId, Ino, Kind, NewNode, RenameMode, SetAttributes,
    WriteMode, XattrMode,
};
use strongroom_workspace::{Foundation, Mode, Options, Services, Tuning, Workspace};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PASSPHRASE: &[u8] = b"correct horse battery staple";
const CALLER: Caller = Caller { uid: 0, gid: 0 };

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: make_store FOLDER SEED COUNT");
    let (folder, seed, count) = (PathBuf::from(next()?), next()?.parse()?, next()?.parse()?);
    fs::create_dir_all(folder.join("expected"))?;
    fs::write(folder.join("passphrase"), [PASSPHRASE, b"\n"].concat())?;
    let mut twin = Twin::begin(&folder, seed)?;
    let mut phone = None;
    for step in 0..count {
        if step == count / 3 {
            phone = Some(take_in(&folder, &twin.keys)?);
        }
        if let Some(phone) = phone.take_if(|_| step == count / 3 * 2) {
            record(&folder, &twin.keys, |writer| writer.revoke(&phone))?;
        }
        twin.step().map_err(|error| format!("seed {seed} step {step}: {error}"))?;
    }
    Ok(twin.workspace.close()?)
}

/// Puts the next record of the organisation log.
fn record(
    folder: &Path,
    keys: &DeviceKeys,
    make: impl FnOnce(&Writer<'_>) -> strongroom_keyring::error::Result<Vec<u8>>,
) -> Outcome {
    let store = FolderStore::open(Arc::new(RealDisk), folder.join("store"), StoreMode::ReadWrite)?;
    let read = |seq| now(store.get(Key::Organisation(seq), None));
    let mut organisation = Organisation::verify(&read(0)?, &keys.organisation())?;
    organisation.follow(|seq| Ok::<_, Box<dyn Error>>(read(seq).ok()))?;
    keys.learn(&organisation)?;
    let time_ns = MachineClock::default().now_ns();
    let record =
        make(&Writer { keys, organisation: &organisation, time_ns, entropy: &MachineEntropy })?;
    now(store.put_if_absent(Key::Organisation(organisation.position() + 1), record.into()))?;
    Ok(())
}

fn take_in(folder: &Path, keys: &DeviceKeys) -> Outcome<DeviceId> {
    let (place, cost) = ((keys.organisation(), keys.workspace()), PassphraseCost::SMALL);
    let time = MachineClock::default().now_ns();
    let asked = enrolment::request(place, b"another passphrase", cost, time, &MachineEntropy)?;
    let applicant = Applicant::verify(&asked.request)?;
    record(folder, keys, |writer| writer.admit(&applicant, "phone"))?;
    Ok(asked.device)
}

fn open(folder: &Path) -> Outcome<(Workspace, Arc<DeviceKeys>)> {
    let clock = Arc::new(MachineClock::default());
    let entropy = Arc::new(MachineEntropy);
    let disk = Arc::new(RealDisk);
    let founded = founding::found(PASSPHRASE, PassphraseCost::SMALL, clock.now_ns(), &*entropy)?;
    let store: Arc<dyn Store> = Arc::new(FolderStore::create(disk.clone(), folder.join("store"))?);
    let keys = Arc::new(founded.keys);
    let services = Services { disk, clock, entropy };
    let foundation = Foundation {
        organisation: [&founded.genesis, &founded.first_epoch],
        device_file: &founded.device_file,
        owner: (CALLER.uid, CALLER.gid),
    };
    Workspace::create(&store, &keys, &foundation, &services)?;
    let tuning = Tuning {
        batch_ops_bytes: 2 << 10,
        object_plain_bytes: 2 << 20,
        checkpoint_log_bytes: 12 << 10,
        checkpoint_log_bytes_at_close: 1 << 40,
        ..Tuning::default()
    };
    let options = Options {
        state_folder: folder.join("state"),
        mode: Mode::ReadWrite,
        owner: foundation.owner,
        tuning,
    };
    Ok((Workspace::open(options, store, keys.clone(), services)?, keys))
}

fn done<T>(answer: Answer<T>) -> Outcome<T> {
    Ok(answer.wait()?)
}

/// A file or folder by inode and place in the expected tree.
#[derive(Clone)]
struct Node {
    ino: Ino,
    parent: Ino,
    path: PathBuf,
}

impl Node {
    fn name(&self) -> &[u8] {
        self.path.file_name().map_or(&[], |name| name.as_encoded_bytes())
    }
}

/// The workspace and the plain folder that must stay the same.
struct Twin {
    workspace: Workspace,
    keys: Arc<DeviceKeys>,
    folders: Vec<Node>,
    files: Vec<Node>,
    count: u64,
    dice: u64,
}

impl Twin {
    fn begin(folder: &Path, seed: u64) -> Outcome<Self> {
        let (workspace, keys) = open(folder)?;
        let root = Node { ino: Ino::ROOT, parent: Ino::ROOT, path: folder.join("expected") };
        Ok(Self { workspace, keys, folders: vec![root], files: Vec::new(), count: 0, dice: seed })
    }

    /// splitmix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let bound = [10, 1100, 20_000, 200_000, 1_500_000][self.below(5) as usize];
        let len = 1 + self.below(bound);
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn pick(&mut self, nodes: fn(&Self) -> &Vec<Node>) -> Node {
        let index = self.below(nodes(self).len() as u64) as usize;
        nodes(self)[index].clone()
    }

    fn fresh(&mut self, parent: &Node, ino: Ino) -> Node {
        self.count += 1;
        let stem = ["file", "Ordner", "名", "UPPER", "straße"][self.below(5) as usize];
        let name = format!("{stem} {}", self.count);
        Node { ino, parent: parent.ino, path: parent.path.join(name) }
    }

    fn step(&mut self) -> Outcome {
        if self.files.len() < 5 {
            return self.create();
        }
        match self.below(26) {
            0..=3 => self.create(),
            4 => self.create_folder(),
            5 => self.create_symlink(),
            6..=11 => self.write(),
            12 => self.truncate(),
            13 => self.punch(),
            14 | 15 => self.copy(),
            16 | 17 => self.rename(),
            18 => self.rename_folder(),
            19 | 20 => self.unlink(),
            21 => self.link(),
            22 => self.attributes(),
            23 => self.exchange(),
            _ => Ok(self.workspace.tick()?),
        }
    }

    fn with_handle<T>(&self, ino: Ino, act: impl FnOnce(HandleId) -> Outcome<T>) -> Outcome<T> {
        let opened = done(self.workspace.open(ino, OPEN))?;
        let result = act(opened.handle);
        self.workspace.release(opened.handle);
        result
    }

    fn create(&mut self) -> Outcome {
        let parent = self.pick(|twin| &twin.folders);
        let mut node = self.fresh(&parent, Ino(0));
        let made = self.workspace.create_open(CALLER, parent.ino, node.name(), 0o640, OPEN);
        let (attributes, opened) = done(made)?;
        self.workspace.release(opened.handle);
        node.ino = attributes.ino;
        fs::write(&node.path, b"")?;
        self.files.push(node.clone());
        self.write_to(&node, 0)
    }

    fn create_folder(&mut self) -> Outcome {
        let parent = self.pick(|twin| &twin.folders);
        let mut node = self.fresh(&parent, Ino(0));
        let new = NewNode { kind: Kind::Folder, mode: 0o755, rdev: 0, target: Vec::new() };
        node.ino = done(self.workspace.create(CALLER, parent.ino, node.name(), new))?.ino;
        fs::create_dir(&node.path)?;
        self.folders.push(node);
        Ok(())
    }

    fn create_symlink(&mut self) -> Outcome {
        let parent = self.pick(|twin| &twin.folders);
        let node = self.fresh(&parent, Ino(0));
        let target = b"../somewhere \xff".to_vec();
        let new = NewNode { kind: Kind::Symlink, mode: 0o777, rdev: 0, target: target.clone() };
        done(self.workspace.create(CALLER, parent.ino, node.name(), new))?;
        let target = std::os::unix::ffi::OsStringExt::from_vec(target);
        Ok(symlink::<std::ffi::OsString, _>(target, &node.path)?)
    }

    fn write(&mut self) -> Outcome {
        let node = self.pick(|twin| &twin.files);
        let len = fs::metadata(&node.path)?.len();
        let reach = [len, len + 1, len + 100_000, 40 << 20][self.below(4) as usize];
        let offset = self.below(reach + 1);
        self.write_to(&node, offset)
    }

    fn write_to(&mut self, node: &Node, offset: u64) -> Outcome {
        let data = self.bytes();
        self.with_handle(node.ino, |handle| {
            for (index, piece) in data.chunks(1 << 20).enumerate() {
                let at = offset + (index << 20) as u64;
                done(self.workspace.write(handle, at, piece, WriteMode::At, false))?;
            }
            Ok(())
        })?;
        let file = fs::File::options().write(true).open(&node.path)?;
        Ok(file.write_all_at(&data, offset)?)
    }

    fn truncate(&mut self) -> Outcome {
        let node = self.pick(|twin| &twin.files);
        let len = fs::metadata(&node.path)?.len();
        let size = self.below(len * 5 / 4 + 2);
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        done(self.workspace.set_attributes(node.ino, changes))?;
        Ok(fs::File::options().write(true).open(&node.path)?.set_len(size)?)
    }

    fn punch(&mut self) -> Outcome {
        let node = self.pick(|twin| &twin.files);
        let len = fs::metadata(&node.path)?.len();
        let offset = self.below(len + 1);
        let hole = (1 + self.below(100_000)).min(len - offset);
        if hole == 0 {
            return Ok(());
        }
        self.with_handle(node.ino, |handle| {
            done(self.workspace.allocate(handle, AllocateMode::PunchHole, offset, hole))
        })?;
        let file = fs::File::options().write(true).open(&node.path)?;
        Ok(file.write_all_at(&vec![0; hole as usize], offset)?)
    }

    fn copy(&mut self) -> Outcome {
        let (from, to) = (self.pick(|twin| &twin.files), self.pick(|twin| &twin.files));
        let len = fs::metadata(&from.path)?.len().min(3 << 20);
        if from.ino == to.ino || len == 0 {
            return Ok(());
        }
        let from_offset = self.below(len);
        let wanted = 1 + self.below(len - from_offset);
        let to_offset = self.below(fs::metadata(&to.path)?.len() + 1);
        let copied = self.with_handle(from.ino, |source| {
            self.with_handle(to.ino, |target| {
                done(self.workspace.copy_range((source, from_offset), (target, to_offset), wanted))
            })
        })?;
        let mut data = vec![0; copied as usize];
        fs::File::open(&from.path)?.read_exact_at(&mut data, from_offset)?;
        let file = fs::File::options().write(true).open(&to.path)?;
        Ok(file.write_all_at(&data, to_offset)?)
    }

    fn rename(&mut self) -> Outcome {
        let index = self.below(self.files.len() as u64) as usize;
        let from = self.files[index].clone();
        let parent = self.pick(|twin| &twin.folders);
        let over = self.pick(|twin| &twin.files);
        let to = match self.below(3) {
            0 if over.ino != from.ino => over,
            _ => self.fresh(&parent, from.ino),
        };
        let places = ((from.parent, from.name()), (to.parent, to.name()));
        done(self.workspace.rename(places.0, places.1, RenameMode::Replace))?;
        fs::rename(&from.path, &to.path)?;
        self.files.remove(index);
        self.files.retain(|file| file.path != to.path);
        self.files.push(Node { ino: from.ino, ..to });
        Ok(())
    }

    fn rename_folder(&mut self) -> Outcome {
        let from = self.pick(|twin| &twin.folders);
        let parent = self.pick(|twin| &twin.folders);
        if from.ino == Ino::ROOT || parent.path.starts_with(&from.path) {
            return Ok(());
        }
        let to = self.fresh(&parent, from.ino);
        let places = ((from.parent, from.name()), (to.parent, to.name()));
        done(self.workspace.rename(places.0, places.1, RenameMode::NoReplace))?;
        fs::rename(&from.path, &to.path)?;
        for node in self.folders.iter_mut().chain(&mut self.files) {
            if node.path == from.path {
                *node = to.clone();
            } else if let Ok(below) = node.path.strip_prefix(&from.path) {
                node.path = to.path.join(below);
            }
        }
        Ok(())
    }

    fn exchange(&mut self) -> Outcome {
        let (a, b) = (self.pick(|twin| &twin.files), self.pick(|twin| &twin.files));
        if a.ino == b.ino {
            return Ok(());
        }
        let places = ((a.parent, a.name()), (b.parent, b.name()));
        done(self.workspace.rename(places.0, places.1, RenameMode::Exchange))?;
        let aside = a.path.with_file_name("aside");
        fs::rename(&a.path, &aside)?;
        fs::rename(&b.path, &a.path)?;
        fs::rename(&aside, &b.path)?;
        for node in &mut self.files {
            if node.path == a.path {
                node.ino = b.ino;
            } else if node.path == b.path {
                node.ino = a.ino;
            }
        }
        Ok(())
    }

    fn unlink(&mut self) -> Outcome {
        let index = self.below(self.files.len() as u64) as usize;
        let node = self.files.remove(index);
        done(self.workspace.unlink(node.parent, node.name()))?;
        Ok(fs::remove_file(&node.path)?)
    }

    fn link(&mut self) -> Outcome {
        let node = self.pick(|twin| &twin.files);
        let parent = self.pick(|twin| &twin.folders);
        let other = self.fresh(&parent, node.ino);
        done(self.workspace.link(node.ino, parent.ino, other.name()))?;
        fs::hard_link(&node.path, &other.path)?;
        self.files.push(other);
        Ok(())
    }

    fn attributes(&mut self) -> Outcome {
        let node = self.pick(|twin| &twin.files);
        let mode = 0o600 | self.below(0o100) as u16;
        let changes = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
        done(self.workspace.set_attributes(node.ino, changes))?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode.into());
        fs::set_permissions(&node.path, permissions)?;
        let value: Vec<u8> = (0..self.below(300)).map(|n| n as u8).collect();
        let set = self.workspace.set_xattr(node.ino, b"user.note", &value, XattrMode::Either);
        done(set)?;
        let flags = rustix::fs::XattrFlags::empty();
        // A folder without extended attributes still tests the rest.
        let _ = rustix::fs::setxattr(&node.path, "user.note", &value, flags);
        Ok(())
    }
}
