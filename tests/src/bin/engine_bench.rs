//! Times the engine alone, without a kernel: where the cost of an operation is ours and where it is FUSE's.
//!
//! `cargo run --release -p strongroom-tests --bin engine_bench -- FOLDER [COUNT]`; prints microseconds per operation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::disk::Disk;
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_host::real_disk::RealDisk;
use strongroom_keyring::founding::found;
use strongroom_store::{FolderStore, Store};
use strongroom_tests::harness::files::OPEN;
use strongroom_workspace::door::{
    Answer, Caller, Core, Folding, HandleId, Ino, ListDetail, RenameMode, WriteMode,
};
use strongroom_workspace::{Foundation, Mode, Options, Services, Workspace};

const CALLER: Caller = Caller { uid: 0, gid: 0 };

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder to work in"));
    let count: u64 = args.next().map_or(20_000, |text| text.parse().expect("a number"));
    let workspace = open(&folder);
    workspace.run_background().expect("a thread");
    files(&workspace, count);
    stream(&workspace);
    workspace.close().expect("everything is committed");
}

fn files(workspace: &Workspace, count: u64) {
    let name = |index: u64| format!("file-{index:08}").into_bytes();
    let mut handles: Vec<(Ino, HandleId)> = Vec::new();
    time("create", count, |index| {
        let (attributes, opened) =
            now(workspace.create_open(CALLER, Ino::ROOT, &name(index), 0o644, OPEN));
        handles.push((attributes.ino, opened.handle));
    });
    let data = vec![7_u8; 4096];
    time("write 4 KiB", count, |index| {
        let handle = handles[index as usize].1;
        now(workspace.write(handle, 0, &data, WriteMode::At, false));
    });
    time("release", count, |index| workspace.release(handles[index as usize].1));
    time("lookup", count, |index| {
        now(workspace.lookup(Ino::ROOT, &name(index), Folding::Exact));
    });
    time("attributes", count, |index| {
        now(workspace.attributes(handles[index as usize].0));
    });
    time("rename", count, |index| {
        let to = format!("renamed-{index:08}").into_bytes();
        now(workspace.rename((Ino::ROOT, &name(index)), (Ino::ROOT, &to), RenameMode::Replace));
    });
    let mut cookie = 0;
    time("list, per 128 entries", count.div_ceil(128), |_| {
        let entries = now(workspace.read_folder(Ino::ROOT, cookie, 128, ListDetail::Attributes));
        cookie = entries.last().map_or(cookie, |entry| entry.cookie);
    });
    time("unlink", count, |index| {
        now(workspace.unlink(Ino::ROOT, &format!("renamed-{index:08}").into_bytes()));
    });
}

fn stream(workspace: &Workspace) {
    let (_, opened) = now(workspace.create_open(CALLER, Ino::ROOT, b"stream", 0o644, OPEN));
    let data: Vec<u8> =
        (0..1 << 20).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    time("write 1 MiB", 512, |index| {
        now(workspace.write(opened.handle, index << 20, &data, WriteMode::At, false));
    });
    time("read 128 KiB in order", 4096, |index| {
        now(workspace.read(opened.handle, index << 17, 1 << 17));
    });
    time("read 4 KiB at random", 4096, |index| {
        let at = (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (512 << 20)) & !4095;
        now(workspace.read(opened.handle, at, 4096));
    });
}

fn time(what: &str, count: u64, mut act: impl FnMut(u64)) {
    let begin = Instant::now();
    (0..count).for_each(&mut act);
    let each = begin.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{what:24} {each:9.2} µs");
}

fn now<T>(answer: Answer<T>) -> T {
    answer.wait().unwrap_or_else(|error| panic!("{error}"))
}

fn open(folder: &std::path::Path) -> Workspace {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(MachineEntropy);
    let services = Services { disk: disk.clone(), clock, entropy };
    let store = FolderStore::create(disk, folder.join("store")).expect("a new store");
    let store: Arc<dyn Store> = Arc::new(store);
    let founded = found(b"bench", PassphraseCost::SMALL, 0, &*services.entropy).expect("keys");
    let keys = Arc::new(founded.keys);
    let foundation = Foundation {
        organisation: [&founded.genesis, &founded.first_epoch],
        device_file: &founded.device_file,
        owner: (0, 0),
    };
    Workspace::create(&store, &keys, &foundation, &services).expect("a workspace");
    let options = Options {
        state_folder: folder.join("state"),
        mode: Mode::ReadWrite,
        owner: (0, 0),
        tuning: Default::default(),
    };
    Workspace::open(options, store, keys, services).expect("it opens")
}
