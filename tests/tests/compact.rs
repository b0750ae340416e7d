//! Compaction changes where bytes lie and nothing else: it bounds garbage and fragments, steps aside for whoever
//! changes a file at the same time, and survives any end.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_host::disk::Disk;
use strongroom_host::sim::Chance;
use strongroom_store::over::{Call, Over};
use strongroom_store::{Body, Key, Later, Store, Uploaded};
use strongroom_tests::harness::files::{OPEN, options};
use strongroom_tests::harness::generate::{Generator, Mix};
use strongroom_tests::harness::life::Life;
use strongroom_tests::harness::mortal::{End, Mortal};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds};
use strongroom_tests::harness::step::{Step, fill_bytes};
use strongroom_tests::harness::world::{STORE, Setting, World, new_disk, small_tuning};
use strongroom_workspace::door::{
    Access, AllocateMode, Core, Folding, HandleId, Ino, SeekTarget, SetAttributes, SetTime,
    WriteMode,
};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{Tuning, Workspace};

/// Compaction at every checkpoint, and checkpoints often.
fn eager_tuning() -> Tuning {
    Tuning {
        checkpoint_log_bytes: 6 << 10,
        compact_bytes: 512 << 10,
        compact_extents: 200,
        compact_tiny_len: 32 << 10,
        compact_tiny_count: 2,
        ..small_tuning()
    }
}

/// A file and what must be in it.
struct File {
    ino: Ino,
    handle: HandleId,
    name: String,
    content: Vec<u8>,
}

impl File {
    fn create(workspace: &Workspace, name: &str) -> Self {
        let made = workspace.create_open(CALLER, Ino::ROOT, name.as_bytes(), 0o644, OPEN);
        let (attributes, opened) = done(made).unwrap();
        let (ino, handle) = (attributes.ino, opened.handle);
        File { ino, handle, name: name.to_owned(), content: Vec::new() }
    }

    fn write(&mut self, workspace: &Workspace, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[offset..end].copy_from_slice(data);
        let mut at = offset;
        for piece in data.chunks(1 << 20) {
            let wrote = workspace.write(self.handle, at as u64, piece, WriteMode::At, false);
            assert_eq!(done(wrote).unwrap() as usize, piece.len());
            at += piece.len();
        }
    }

    fn resize(&mut self, workspace: &Workspace, size: usize) {
        self.content.resize(size, 0);
        let changes = SetAttributes { size: Some(size as u64), ..SetAttributes::default() };
        done(workspace.set_attributes(self.ino, changes)).unwrap();
    }

    fn punch(&mut self, workspace: &Workspace, offset: usize, len: usize) {
        let size = self.content.len();
        self.content[offset.min(size)..(offset + len).min(size)].fill(0);
        let (offset, len) = (offset as u64, len as u64);
        done(workspace.allocate(self.handle, AllocateMode::PunchHole, offset, len)).unwrap();
    }

    fn check(&self, workspace: &Workspace) {
        let attributes = done(workspace.attributes(self.ino)).unwrap();
        assert_eq!(attributes.size, self.content.len() as u64, "size of {}", self.name);
        for (index, piece) in self.content.chunks(1 << 20).enumerate() {
            let at = (index as u64) << 20;
            let read = done(workspace.read(self.handle, at, piece.len() as u32)).unwrap();
            assert!(read == piece, "content of {} from {at} on", self.name);
        }
    }
}

/// Bytes of all objects in the store, manifest pages too.
fn stored_bytes(world: &World) -> u64 {
    let folder = Path::new(STORE).join("object");
    let folders = world.disk.list(&folder).unwrap();
    let files =
        folders.iter().flat_map(|entry| world.disk.list(&folder.join(&entry.name)).unwrap());
    files.map(|file| file.len).sum()
}

/// Lets time pass until nothing is left to do.
fn settle(world: &World) {
    let mut rounds = None;
    while rounds != Some(world.workspace().compacted().rounds) {
        rounds = Some(world.workspace().compacted().rounds);
        for _ in 0..4 {
            world.tick(1100).unwrap();
        }
    }
}

/// Makes changes until a checkpoint comes, and lets compaction end.
fn checkpoint(world: &World) {
    let workspace = world.workspace();
    let before = workspace.status().checkpoints;
    let made = done(workspace.lookup(Ino::ROOT, b"changing", Folding::Exact));
    let ino = match made {
        Ok(found) => found.ino,
        Err(_) => File::create(workspace, "changing").ino,
    };
    let mut time = 0;
    while workspace.status().checkpoints == before {
        for _ in 0..100 {
            time += 1;
            let mtime = Some(SetTime::At(time));
            let changes = SetAttributes { mtime, ..SetAttributes::default() };
            done(workspace.set_attributes(ino, changes)).unwrap();
        }
        workspace.commit().unwrap();
    }
    settle(world);
}

#[test]
fn any_sequence_equals_the_model_while_everything_is_compacted() {
    let mut blocks = 0;
    for seed in seeds(500, amount(20, 1000)) {
        let mut life = Life::new(seed, eager_tuning());
        let mut generator = Generator::new(seed, Mix::All);
        for at in 0..8 {
            for step in generator.steps(60) {
                let what = life.both(&step).err();
                let why = what.map(|what| format!("seed {seed} {step:?} {what}"));
                assert_eq!(why, None, "{}", repeat("compact", "any_sequence", seed));
                // Rounds come between any two steps.
                life.both(&Step::Tick { millis: 1100 }).unwrap();
            }
            let trees = life.compare_trees();
            assert_eq!(trees, Ok(()), "seed {seed} part {at}");
        }
        blocks += life.world.workspace().compacted().blocks;
        life.both(&Step::Reopen).unwrap();
        assert_eq!(life.compare_trees(), Ok(()), "seed {seed} opened again");
    }
    assert!(blocks > 100, "only {blocks} blocks were made");
}

fn end_often(seed: u64, end: End) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut generator = Generator::new(seed, Mix::Atomic);
    let mut mortal = Mortal::new(seed, Setting::new(eager_tuning()));
    for round in 0..8 {
        let mut steps = Vec::new();
        for step in generator.steps(10 + chance.index(40)) {
            steps.push(step);
            if chance.one_in(2) {
                steps.push(Step::Tick { millis: 1100 });
            }
        }
        if !chance.one_in(4) {
            mortal.life.world.disk.power_off_after(chance.below(600));
        }
        mortal
            .live(&steps)
            .and_then(|()| mortal.die(end, chance.index(2)))
            .map_err(|what| format!("round {round}: {what}"))?;
    }
    mortal.life.compare_trees()
}

#[test]
fn killed_in_a_round_loses_nothing() {
    for seed in seeds(1, amount(20, 1000)) {
        let result = end_often(seed, End::Kill);
        assert_eq!(result, Ok(()), "{}", repeat("compact", "killed_in_a_round", seed));
    }
}

#[test]
fn power_loss_in_a_round_loses_nothing_that_was_synced() {
    for seed in seeds(10_000, amount(20, 1000)) {
        let result = end_often(seed, End::PowerLoss);
        assert_eq!(result, Ok(()), "{}", repeat("compact", "power_loss_in_a_round", seed));
    }
}

#[test]
fn garbage_of_random_overwrites_is_bounded() {
    let world = World::new(7, Tuning { checkpoint_log_bytes: 24 << 10, ..eager_tuning() });
    let (workspace, mut chance) = (world.workspace(), Chance::new(7));
    let mut file = File::create(workspace, "database");
    file.write(workspace, 0, &fill_bytes(1, 4 << 20));
    let mut most = 0.0_f64;
    for round in 0..amount(6000, 60_000) {
        let (offset, len) = (chance.below(1020) * 4096, 4096 * (1 + chance.below(4)));
        file.write(workspace, offset as usize, &fill_bytes(chance.next_u64(), len as usize));
        if round % 8 == 7 {
            world.tick(400).unwrap();
        }
        if round > 1000 && round % 100 == 0 {
            most = most.max(stored_bytes(&world) as f64 / file.content.len() as f64);
        }
    }
    assert!(most < 3.0, "{most} times as much is stored as is live: {:?}", workspace.compacted());
    settle(&world);
    let rest = stored_bytes(&world) as f64 / file.content.len() as f64;
    println!("under way at most {most:.2}, at the end {rest:.2}, {:?}", workspace.compacted());
    assert!(rest < 2.2, "{rest} times as much is stored as is live");
    file.check(workspace);
}

#[test]
fn a_file_written_in_ten_thousand_random_pieces_has_few_extents() {
    let tuning =
        Tuning { checkpoint_log_bytes: 256 << 10, compact_tiny_count: 16, ..Tuning::default() };
    let world = World::new(8, tuning);
    let (workspace, mut chance) = (world.workspace(), Chance::new(8));
    let mut file = File::create(workspace, "pieces");
    let pages = 1000;
    for round in 0..10_000 {
        let offset = chance.below(pages) * 4096;
        file.write(workspace, offset as usize, &fill_bytes(round, 4096));
        if round % 500 == 499 {
            world.tick(1100).unwrap();
        }
    }
    checkpoint(&world);
    let count = workspace.extent_count(file.ino).unwrap();
    println!("{count} extents, {:?}", workspace.compacted());
    // Of 4 MiB hardly any page is a hole, and four extents per MiB are allowed, or sixteen.
    assert!(count <= 24, "{count} extents, {:?}", workspace.compacted());
    file.check(workspace);
}

#[test]
fn many_tiny_commits_are_joined() {
    let world = World::new(9, Tuning { checkpoint_log_bytes: 4 << 10, ..eager_tuning() });
    let workspace = world.workspace();
    let mut files: Vec<File> = Vec::new();
    for index in 0..60 {
        let mut file = File::create(workspace, &format!("file {index}"));
        file.write(workspace, 0, &fill_bytes(index, 3000));
        files.push(file);
        workspace.commit().unwrap();
        world.tick(300).unwrap();
    }
    settle(&world);
    let folder = Path::new(STORE).join("object");
    let folders = world.disk.list(&folder).unwrap();
    let count: usize =
        folders.iter().map(|entry| world.disk.list(&folder.join(&entry.name)).unwrap().len()).sum();
    assert!(count < 20, "{count} objects, {:?}", workspace.compacted());
    files.iter().for_each(|file| file.check(workspace));
}

#[test]
fn damage_is_not_copied_and_stops_nothing_else() {
    let world = World::new(10, eager_tuning());
    let workspace = world.workspace();
    // Two objects of which less than half stays live.
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    for name in ["damaged", "sound"] {
        let mut file = File::create(workspace, name);
        file.write(workspace, 0, &fill_bytes(1, 200_000));
        let before = objects(&world);
        workspace.commit().unwrap();
        paths.extend(objects(&world).into_iter().filter(|path| !before.contains(path)));
        files.push(file);
    }
    for file in &mut files {
        for at in (0..200_000).step_by(16_384) {
            file.write(workspace, at, &fill_bytes(2, 12_000));
        }
    }
    let path = &paths[0];
    let flip = |bytes: &mut Vec<u8>| bytes.iter_mut().skip(100).for_each(|byte| *byte ^= 1);
    world.disk.tamper(path, flip).unwrap();
    checkpoint(&world);
    checkpoint(&world);
    let did = workspace.compacted();
    assert!(did.damaged > 0 && did.blocks > 0, "{did:?}");
    files[1].check(workspace);
    let left = objects(&world);
    assert!(left.contains(path), "the damaged object stays");
    assert!(!left.contains(&paths[1]), "the sound one is replaced");
    let read = done(workspace.read(files[0].handle, 12_288, 1000));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
}

fn objects(world: &World) -> Vec<std::path::PathBuf> {
    let folder = Path::new(STORE).join("object");
    let mut all = Vec::new();
    for entry in world.disk.list(&folder).unwrap() {
        let below = folder.join(&entry.name);
        all.extend(world.disk.list(&below).unwrap().iter().map(|file| below.join(&file.name)));
    }
    all
}

/// Calls back when an object is read.
struct Interrupted {
    store: Arc<dyn Store>,
    act: Arc<Mutex<Option<Act>>>,
}

type Act = Box<dyn FnMut() + Send>;

impl Over for Interrupted {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        // Taken out while it runs: what it does reads too.
        let act = matches!(call, Call::Get(_)).then(|| self.act.lock().take());
        if let Some(mut act) = act.flatten() {
            act();
            self.act.lock().get_or_insert(act);
        }
        Ok(())
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        self.store.put_many(bodies)
    }
}

#[test]
fn files_change_and_go_in_the_middle_of_a_round() {
    let (mut changed, mut blocks) = (0, 0);
    for seed in seeds(1, amount(20, 1000)) {
        let act: Arc<Mutex<Option<Act>>> = Arc::default();
        let hook = act.clone();
        let wrap = Arc::new(move |store| {
            Arc::new(Interrupted { store, act: hook.clone() }) as Arc<dyn Store>
        });
        let setting = Setting { wrap: Some(wrap), ..Setting::new(eager_tuning()) };
        let world = World::open(new_disk(), seed, setting, None).unwrap();
        let workspace = world.workspace();
        let mut chance = Chance::new(seed);
        let files: Vec<_> = (0..4).map(|i| File::create(workspace, &format!("{i}"))).collect();
        let files = Arc::new(Mutex::new(files));
        for _ in 0..20 {
            for _ in 0..40 {
                let mut files = files.lock();
                let index = chance.index(files.len());
                let (offset, len) = (chance.index(300_000), 1 + chance.index(9000));
                files[index].write(workspace, offset, &fill_bytes(chance.next_u64(), len));
            }
            // ORDER: committed by now, so that the tick brings a round alone, which fetches without a lock.
            workspace.commit().unwrap();
            let (inner, inner_files) = (workspace.clone(), files.clone());
            let mut dice = Chance::new(chance.next_u64());
            *act.lock() =
                Some(Box::new(move || disturb(&inner, &mut inner_files.lock(), &mut dice)));
            workspace.tick().unwrap();
            act.lock().take();
            files.lock().iter().for_each(|file| file.check(workspace));
        }
        settle(&world);
        files.lock().iter().for_each(|file| file.check(workspace));
        changed += workspace.compacted().changed;
        blocks += workspace.compacted().blocks;
    }
    assert!(changed > 20 && blocks > 100, "{changed} gave way, {blocks} were made");
}

fn disturb(workspace: &Workspace, files: &mut Vec<File>, chance: &mut Chance) {
    let index = chance.index(files.len());
    let (offset, len) = (chance.index(300_000), 1 + chance.index(20_000));
    match chance.below(12) {
        0..4 => files[index].write(workspace, offset, &fill_bytes(chance.next_u64(), len)),
        4 => files[index].write(workspace, offset, &fill_bytes(chance.next_u64(), 65_536 + len)),
        5 => files[index].resize(workspace, offset),
        6 => files[index].punch(workspace, offset, len),
        7 => {
            let gone = files.swap_remove(index);
            done(workspace.unlink(Ino::ROOT, gone.name.as_bytes())).unwrap();
            workspace.release(gone.handle);
            files.push(File::create(workspace, &gone.name));
        }
        8 => {
            let (from, to) = (chance.index(files.len()), chance.index(files.len()));
            let len = files[from].content.len();
            if from != to && len > 0 {
                let copied = done(workspace.copy_range(
                    (files[from].handle, 0),
                    (files[to].handle, 0),
                    len as u64,
                ));
                assert_eq!(copied.unwrap(), len as u64);
                let bytes = files[from].content.clone();
                let target = &mut files[to].content;
                target.resize(target.len().max(len), 0);
                target[..len].copy_from_slice(&bytes);
            }
        }
        9 => workspace.commit().unwrap(),
        _ => {}
    }
}

/// Bytes of manifest pages: all objects of a workspace without file content.
#[test]
fn manifest_pages_of_many_checkpoints_are_bounded() {
    let tuning = Tuning { batch_ops_bytes: 64 << 10, ..eager_tuning() };
    let world = World::new(11, Tuning { checkpoint_log_bytes: 3 << 10, ..tuning });
    let workspace = world.workspace();
    let mut inos = Vec::new();
    for index in 0..amount(4_000, 100_000) {
        let made =
            workspace.create_open(CALLER, Ino::ROOT, format!("{index}").as_bytes(), 0o644, OPEN);
        let (attributes, opened) = done(made).unwrap();
        workspace.release(opened.handle);
        inos.push(attributes.ino);
        if index % 500 == 499 {
            workspace.commit().unwrap();
        }
    }
    workspace.commit().unwrap();
    let mut chance = Chance::new(11);
    let (mut most, mut least) = (0, u64::MAX);
    for round in 0..amount(120, 2000) {
        let before = workspace.status().checkpoints;
        while workspace.status().checkpoints == before {
            // Changes here and there, few per page, and some that come in a heap.
            for _ in 0..1 + chance.below(60) {
                let ino = inos[chance.index(inos.len())];
                let mtime = Some(SetTime::At(round as i64));
                let changes = SetAttributes { mtime, ..SetAttributes::default() };
                done(workspace.set_attributes(ino, changes)).unwrap();
            }
            workspace.commit().unwrap();
        }
        let stored = stored_bytes(&world);
        most = most.max(stored);
        least = least.min(stored);
    }
    println!("pages take {least} to {most} bytes, {} objects", objects(&world).len());
    assert!(most < 3 * least, "pages take {least} to {most} bytes");
}

/// A file with this many extents: one, and copies of it side by side. Its content is not tracked.
fn make_extents(workspace: &Workspace, name: &str, count: u64) -> File {
    let mut file = File::create(workspace, name);
    file.write(workspace, 0, &[7; 4096]);
    workspace.commit().unwrap();
    let mut have = 1;
    while have < count {
        let more = have.min(count - have);
        let (from, to) = ((file.handle, 0), (file.handle, have * 4096));
        // Short where it would be too many extents for one operation.
        have += done(workspace.copy_range(from, to, more * 4096)).unwrap() / 4096;
        workspace.commit().unwrap();
    }
    file
}

#[test]
fn a_file_with_many_extents_goes_in_pieces() {
    for end in ["tick", "kill", "reopen"] {
        let tuning = Tuning { extents_per_removal: 16, ..eager_tuning() };
        let mut world = World::new(12, Tuning { compact_bytes: 0, ..tuning });
        let workspace = world.workspace().clone();
        let file = make_extents(&workspace, "large", 1000);
        let (pages, before) = (stored_bytes(&world), workspace.status().pending_ops);
        assert_eq!((workspace.extent_count(file.ino).unwrap(), before), (1000, 0));
        workspace.release(file.handle);
        done(workspace.unlink(Ino::ROOT, b"large")).unwrap();
        // It has no name, and cannot be opened by those who know it still, but it is there.
        assert_eq!(workspace.status().pending_ops, 1);
        assert_eq!(workspace.extent_count(file.ino).unwrap(), 1000);
        let opened = done(workspace.open(file.ino, OPEN));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Stale);
        let found = done(workspace.lookup(Ino::ROOT, b"large", Folding::Exact));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(done(workspace.attributes(file.ino)).unwrap().link_count, 0);
        drop(workspace);
        match end {
            "kill" => {
                let (disk, setting) = (world.disk.kill(), world.setting().clone());
                world = World::open(disk, 13, setting, None).unwrap();
            }
            "reopen" => world.reopen().unwrap(),
            _ => {}
        }
        let workspace = world.workspace().clone();
        world.tick(10).unwrap();
        let gone = workspace.extent_count(file.ino).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Stale, "{end}");
        world.tick(1100).unwrap();
        workspace.commit().unwrap();
        checkpoint(&world);
        assert!(stored_bytes(&world) < pages / 4, "{end}: pages and object are gone");
    }
}

/// `cargo test --release -p strongroom-tests --test compact -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn how_long_others_wait_for_a_file_with_many_extents_to_go() {
    let count = amount(100_000, 1_000_000);
    for slice in [usize::MAX, 2048] {
        let tuning = Tuning { extents_per_removal: slice, ..Tuning::default() };
        let world = World::new(13, Tuning { compact_bytes: 0, ..tuning });
        let workspace = world.workspace();
        let begin = std::time::Instant::now();
        let file = make_extents(workspace, "many", count);
        println!("{count} extents are made in {:?}", begin.elapsed());
        workspace.release(file.handle);
        let begin = std::time::Instant::now();
        done(workspace.unlink(Ino::ROOT, b"many")).unwrap();
        println!("{slice} extents at once: unlink {:?}", begin.elapsed());
        let begin = std::time::Instant::now();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let mut longest = std::time::Duration::ZERO;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let begin = std::time::Instant::now();
                    done(workspace.attributes(Ino::ROOT)).unwrap();
                    longest = longest.max(begin.elapsed());
                    std::thread::yield_now();
                }
                longest
            });
            world.tick(10).unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            waits.join().unwrap()
        });
        println!("  the rest {:?}, others waited at most {longest:?}", begin.elapsed());
    }
}

#[test]
fn an_operation_may_need_more_pages_than_the_cache_holds() {
    let one_go = Tuning { extents_per_removal: 1 << 20, ..eager_tuning() };
    let tuning = Tuning { page_cache_bytes: 64 << 10, compact_bytes: 0, ..one_go };
    let world = World::new(14, Tuning { batch_ops_bytes_limit: 24 << 20, ..tuning });
    let workspace = world.workspace();
    let file = make_extents(workspace, "large", 3000);
    checkpoint(&world);
    let copy = File::create(workspace, "copy");
    let (from, to) = ((file.handle, 0), (copy.handle, 0));
    assert_eq!(done(workspace.copy_range(from, to, 3000 * 4096)).unwrap(), 3000 * 4096);
    checkpoint(&world);
    let hole = done(workspace.seek(copy.handle, SeekTarget::Hole, 0)).unwrap();
    assert_eq!(hole, 3000 * 4096);
    let changes = SetAttributes { size: Some(100), ..SetAttributes::default() };
    done(workspace.set_attributes(file.ino, changes)).unwrap();
    done(workspace.allocate(copy.handle, AllocateMode::PunchHole, 0, 3000 * 4096)).unwrap();
    assert_eq!(workspace.extent_count(file.ino).unwrap(), 1);
    assert_eq!(workspace.extent_count(copy.ino).unwrap(), 0);
}

/// How many operations an act took, and how many extents the file has then.
fn operations_of(world: &World, file: &File, act: impl FnOnce(&Workspace)) -> (u64, usize) {
    let workspace = world.workspace();
    workspace.commit().unwrap();
    act(workspace);
    (workspace.status().pending_ops, workspace.extent_count(file.ino).unwrap())
}

#[test]
fn what_is_done_to_many_extents_is_done_in_pieces() {
    let tuning = Tuning { extents_per_removal: 16, batch_ops_bytes: 1 << 20, ..eager_tuning() };
    let world = World::new(15, Tuning { compact_bytes: 0, ..tuning });
    let file = make_extents(world.workspace(), "large", 200);
    let truncate = |size| {
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        move |workspace: &Workspace| {
            let _ = done(workspace.set_attributes(file.ino, changes)).unwrap();
        }
    };
    assert_eq!(operations_of(&world, &file, truncate(180 * 4096)), (2, 180));
    assert_eq!(operations_of(&world, &file, truncate(40 * 4096 + 1)), (9, 41));
    let punched = operations_of(&world, &file, |workspace| {
        let hole = workspace.allocate(file.handle, AllocateMode::PunchHole, 4096, 39 * 4096);
        done(hole).unwrap();
    });
    assert_eq!(punched, (3, 2));
    let other = make_extents(world.workspace(), "other", 100);
    let emptied = operations_of(&world, &other, |workspace| {
        done(workspace.open(other.ino, options(Access::ReadWrite, true))).unwrap();
    });
    assert_eq!(emptied, (7, 0));
    let third = make_extents(world.workspace(), "third", 100);
    let (from, to) = ((third.handle, 0), (file.handle, 1 << 20));
    assert_eq!(done(world.workspace().copy_range(from, to, 400_000)).unwrap(), 16 * 4096);
}
