//! The journal used by several threads, and on the machine's own disk.

#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use strongroom_crypto::secret::JournalKey;
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_host::disk::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::SimDisk;
use strongroom_host::thread::spawn;
use strongroom_journal::{Journal, Options, Services};

/// A disk whose syncs wait for a permit, once there is a gate.
struct GatedDisk {
    inner: SimDisk,
    gate: Arc<Gate>,
}

struct GatedFile {
    inner: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Permits left; none while there is no gate yet.
    permits: Mutex<Option<u64>>,
    changed: Condvar,
    arrived: AtomicU64,
}

impl Gate {
    fn pass(&self) {
        let mut permits = self.permits.lock().unwrap();
        if permits.is_none() {
            return;
        }
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
        while *permits == Some(0) {
            permits = self.changed.wait(permits).unwrap();
        }
        *permits = permits.map(|left| left - 1);
    }

    fn permit(&self, count: u64) {
        let mut permits = self.permits.lock().unwrap();
        *permits = Some(permits.unwrap_or(0) + count);
        self.changed.notify_all();
    }

    fn wait_for_arrival(&self, count: u64) {
        let mut permits = self.permits.lock().unwrap();
        while self.arrived.load(Ordering::SeqCst) < count {
            permits = self.changed.wait(permits).unwrap();
        }
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(GatedFile { inner, gate: Arc::clone(&self.gate) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename_new(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.create_folder(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_folder(path)
    }
    fn list_page(
        &self,
        path: &Path,
        after: Option<&str>,
        count_max: usize,
    ) -> io::Result<Vec<DiskEntry>> {
        self.inner.list_page(path, after, count_max)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_folder(path)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(out, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(data, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_data()
    }
}

fn open(disk: Arc<dyn Disk>, folder: &Path, file_len_max: u64) -> (Journal, Vec<(u64, Vec<u8>)>) {
    let options = Options {
        folder: folder.to_path_buf(),
        file_len_max,
        device: DeviceId([1; 16]),
        organisation: OrganisationId([2; 32]),
        incarnation: 1,
        first_number_min: 0,
    };
    let services = Services { disk, entropy: Arc::new(MachineEntropy) };
    let mut records = Vec::new();
    let key = JournalKey::from_bytes(&[3; 32]);
    let journal = Journal::open(options, &key, services, &mut |number, payload| {
        records.push((number, payload.to_vec()));
        Ok(())
    });
    (journal.unwrap(), records)
}

#[test]
fn everybody_who_waits_during_a_sync_shares_the_next_one() {
    let gate = Arc::new(Gate::default());
    let inner = SimDisk::new(1);
    let disk = Arc::new(GatedDisk { inner: inner.clone(), gate: Arc::clone(&gate) });
    let journal = Arc::new(open(disk, Path::new("/journal"), 1 << 20).0);
    gate.permit(0);
    let before = inner.counts().syncs;
    let wait = |name: &str| {
        let journal = Arc::clone(&journal);
        let work = move || {
            let number = journal.append(b"record").unwrap().number();
            journal.sync(number).unwrap();
            assert!(journal.durable() >= number);
        };
        spawn(name, work).unwrap()
    };
    let mut threads = vec![wait("first")];
    gate.wait_for_arrival(1);
    threads.extend((0..7).map(|_| wait("other")));
    while journal.position() < 8 {
        std::thread::yield_now();
    }
    gate.permit(2);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(inner.counts().syncs - before, 2);
}

#[test]
fn every_waiter_hears_of_a_failed_sync() {
    use strongroom_host::sim::{Act, Fault};
    let gate = Arc::new(Gate::default());
    let inner = SimDisk::new(1);
    let disk = Arc::new(GatedDisk { inner: inner.clone(), gate: Arc::clone(&gate) });
    let journal = Arc::new(open(disk, Path::new("/journal"), 1 << 20).0);
    gate.permit(0);
    inner.fail(Fault::new(Act::Sync, |_| true));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let journal = Arc::clone(&journal);
            spawn("waiter", move || {
                let number = journal.append(b"record").unwrap().number();
                journal.sync(number).unwrap_err().kind()
            })
            .unwrap()
        })
        .collect();
    gate.wait_for_arrival(1);
    while journal.position() < 8 {
        std::thread::yield_now();
    }
    gate.permit(100);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), strongroom_journal::ErrorKind::Poisoned);
    }
}

#[test]
fn threads_that_append_sync_and_release_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    {
        let journal = Arc::new(open(Arc::new(RealDisk), &path, 64 << 10).0);
        let threads: Vec<_> = (0..8_u8)
            .map(|thread| {
                let journal = Arc::clone(&journal);
                spawn("writer", move || {
                    for count in 0..60_u8 {
                        let number = journal.append(&[&[thread, count][..], &[9; 500]].concat());
                        let number = number.unwrap().number();
                        if count % 10 == 0 {
                            journal.sync(number).unwrap();
                        }
                        if thread == 0 && count % 20 == 19 {
                            journal.release(number / 4).unwrap();
                        }
                    }
                })
                .unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // No close: as if the process had ended here.
    }
    let (journal, records) = open(Arc::new(RealDisk), &path, 64 << 10);
    assert_eq!(journal.position(), 480);
    let first = records[0].0;
    assert!(first <= 121);
    assert!(records.iter().map(|record| record.0).eq(first..=480));
    for thread in 0..8_u8 {
        let counts: Vec<u8> =
            records.iter().filter(|r| r.1[0] == thread).map(|record| record.1[1]).collect();
        assert!(counts.is_sorted() && counts.last() == Some(&59));
    }
}

/// What a durable record costs: `cargo test -p strongroom-journal --release --test threads -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn the_cost_of_a_durable_record() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(Arc::new(RealDisk), &folder.path().join("journal"), 4 << 20).0;
    for len in [300, 65_536] {
        let start = Instant::now();
        for _ in 0..500 {
            journal.append(&vec![1; len]).unwrap();
        }
        println!("append of {len} bytes: {:?}", start.elapsed() / 500);
        journal.sync(journal.position()).unwrap();
    }
    for round in 0..4 {
        for len in [300, 4096, 65_536] {
            let mut times = Vec::new();
            for _ in 0..60 {
                let start = Instant::now();
                let number = journal.append(&vec![1; len]).unwrap().number();
                journal.sync(number).unwrap();
                times.push(start.elapsed());
            }
            times.sort();
            println!("round {round}: append and sync of {len} bytes: median {:?}", times[30]);
        }
        journal.release(journal.position()).unwrap();
    }
}
