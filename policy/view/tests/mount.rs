//! The view behind a real mount: what the kernel keeps goes when the ground for it goes, under open descriptors and mappings.
//!
//! Readers are processes of their own, this very program run again: one whose mapping is taken away dies of SIGBUS.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Shop;
use common::world::own;
use strongroom_host::clock::MachineClock;
use strongroom_mount::{Mount, MountOptions};
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};

const FILE_LEN: usize = 200_000;
const LIMIT_NS: u64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Mounted at a temporary folder; none where the machine cannot.
struct Mounted {
    mount: Option<Mount>,
    folder: tempfile::TempDir,
}

impl Mounted {
    fn start(shop: &Shop) -> Option<Self> {
        let view = shop.view_by("newsletter", Arc::new(MachineClock::new()));
        let folder = tempfile::tempdir().unwrap();
        let options = MountOptions { read_only: true, ..MountOptions::default() };
        let mount = common::mounted(view, folder.path(), options)?;
        Some(Self { mount: Some(mount), folder })
    }

    fn subjects(&self) -> PathBuf {
        self.folder.path().join("subjects")
    }

    /// Names in the folder of people.
    fn people(&self) -> Vec<String> {
        let entries = fs::read_dir(self.subjects()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What the commands do once something is recorded.
    fn follow(&self) {
        let mut buffer = [0; 4096];
        rustix::fs::getxattr(self.folder.path(), "user.strongroom.follow", &mut buffer[..])
            .unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take() {
            let _ = mount.unmount();
        }
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// A process that reads as fast as it can and notes when it last could.
struct Reader {
    child: Child,
    notes: PathBuf,
}

impl Reader {
    fn start(way: &str, path: &Path, notes: PathBuf) -> Self {
        fs::write(&notes, 0_u64.to_le_bytes()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "reader", "--nocapture", "--test-threads=1"]);
        command.env("READER_WAY", way).env("READER_PATH", path).env("READER_NOTES", &notes);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, notes }
    }

    fn last(&self) -> u64 {
        let bytes = fs::read(&self.notes).unwrap();
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// Returns once it has read something.
    fn wait_for_reads(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.last() == 0 {
            assert!(Instant::now() < deadline && self.child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
    }

    /// Waits for its end: exit code and signal.
    fn end(&mut self) -> (Option<i32>, Option<i32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return (ended.code(), ended.signal());
            }
            assert!(Instant::now() < deadline, "it reads on");
            std::thread::yield_now();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: what a [`Reader`] does.
#[test]
#[expect(unsafe_code, reason = "a mapping is memory that others take away")]
fn reader() {
    let Some(path) = std::env::var_os("READER_PATH") else { return };
    let notes = fs::File::options().write(true).open(std::env::var_os("READER_NOTES").unwrap());
    let (notes, file) = (notes.unwrap(), fs::File::open(path).unwrap());
    // When a read began that went well: one that began before and was slow is none of later.
    let note = |began: u64| notes.write_all_at(&began.to_le_bytes(), 0).unwrap();
    if std::env::var("READER_WAY").unwrap() == "pread" {
        let mut buffer = [0; 4096];
        loop {
            let began = now_ns();
            match file.read_at(&mut buffer, 100_000) {
                Ok(count) => assert_eq!(count, buffer.len()),
                Err(error) => std::process::exit(error.raw_os_error().unwrap()),
            }
            note(began);
        }
    }
    // SAFETY: a new mapping of a file that stays open; it is only read, byte by byte, and its loss ends this process.
    let bytes = unsafe {
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        libc::mmap(std::ptr::null_mut(), FILE_LEN, read, shared, file.as_raw_fd(), 0)
    };
    assert_ne!(bytes, libc::MAP_FAILED);
    loop {
        let began = now_ns();
        // SAFETY: inside the mapping.
        let byte = unsafe { bytes.cast::<u8>().add(150_000).read_volatile() };
        assert_eq!(byte, b'a');
        note(began);
    }
}

fn person(shop: &mut Shop) -> SubjectId {
    let subject = shop.person();
    shop.put(subject, "owned", "file", &vec![b'a'; FILE_LEN]);
    subject
}

/// Trials of the long form; the short one has a quarter.
fn trial_count() -> usize {
    let is_long = std::env::var_os("STRONGROOM_LONG").is_some_and(|value| value != "0");
    if is_long { 100 } else { 25 }
}

/// Withdraws what two have open, one of them mapped; how long after it each read for the last time.
fn withdrawn(
    shop: &mut Shop,
    mounted: &Mounted,
    who: SubjectId,
    (path, notes): (&Path, &Path),
    trial: usize,
) -> [u64; 2] {
    let mut readers =
        ["pread", "mmap"].map(|way| Reader::start(way, path, notes.join(format!("{way}{trial}"))));
    readers.iter_mut().for_each(Reader::wait_for_reads);
    shop.say(who, "newsletter", Withdrawn);
    let acknowledged = now_ns();
    // As the command does in half of the trials; in the others the view finds out by itself.
    let in_force = trial.is_multiple_of(2).then(|| {
        mounted.follow();
        now_ns()
    });
    assert_eq!(readers[0].end(), (Some(libc::EACCES), None));
    assert_eq!(readers[1].end(), (None, Some(libc::SIGBUS)));
    readers.map(|reader| {
        let last = reader.last();
        assert!(in_force.is_none_or(|in_force| last <= in_force), "a read after it was in force");
        last.saturating_sub(acknowledged)
    })
}

#[test]
fn a_withdrawal_reaches_open_descriptors_and_mappings_within_a_second_and_for_good() {
    let mut shop = Shop::new(1);
    let ada = person(&mut shop);
    let Some(mounted) = Mounted::start(&shop) else { return };
    let notes = tempfile::tempdir().unwrap();
    let mut delays = Vec::new();
    for trial in 0..trial_count() {
        shop.say(ada, "newsletter", Given);
        mounted.follow();
        let people = mounted.people();
        assert_eq!(people.len(), 1);
        let path = mounted.subjects().join(&people[0]).join("owned/file");
        delays.extend(withdrawn(&mut shop, &mounted, ada, (&path, notes.path()), trial));
        // Contents go before names: now these are gone too.
        mounted.follow();
        assert!(fs::metadata(&path).is_err());
        assert_eq!(mounted.people(), Vec::<String>::new());
    }
    delays.sort_unstable();
    let at = |part: usize| delays[(delays.len() - 1) * part / 100] / 1_000;
    eprintln!(
        "withdrawal to last read, {} readers: p50 {} µs, p99 {} µs, max {} µs",
        delays.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(delays.iter().all(|delay| *delay < LIMIT_NS), "{delays:?}");
}

#[test]
fn a_withdrawal_of_one_reaches_whoever_reads_a_file_about_several_within_a_second() {
    let mut shop = Shop::new(3);
    let (ada, bob) = (person(&mut shop), person(&mut shop));
    shop.act(|shop| {
        let (own, others) = (own(ada, "owned"), [bob.to_string()]);
        shop.put_file_about(&own, &others, "both", &vec![b'a'; FILE_LEN]).unwrap();
    });
    shop.say(ada, "newsletter", Given);
    let name = shop.act(|shop| shop.name_for(&ada, "newsletter").unwrap());
    let Some(mounted) = Mounted::start(&shop) else { return };
    let notes = tempfile::tempdir().unwrap();
    let folder = mounted.subjects().join(name.to_string()).join("owned");
    let names = || {
        let entries = fs::read_dir(&folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for trial in 0..4 {
        assert_eq!(names(), ["file"]);
        assert!(fs::metadata(folder.join("both")).is_err());
        shop.say(bob, "newsletter", Given);
        mounted.follow();
        assert_eq!(names(), ["both", "file"]);
        let path = folder.join("both");
        let delays = withdrawn(&mut shop, &mounted, bob, (&path, notes.path()), trial);
        assert!(delays.iter().all(|delay| *delay < LIMIT_NS), "{delays:?}");
        mounted.follow();
        assert_eq!(fs::read(folder.join("file")).unwrap().len(), FILE_LEN, "hers alone stays");
    }
}

#[test]
fn what_the_kernel_lists_and_reads_is_what_was_agreed_and_it_may_write_nothing() {
    let mut shop = Shop::new(2);
    let people: Vec<SubjectId> = (0..3).map(|_| person(&mut shop)).collect();
    let Some(mounted) = Mounted::start(&shop) else { return };
    assert_eq!(mounted.people(), Vec::<String>::new());
    shop.say(people[0], "newsletter", Given);
    shop.say(people[2], "newsletter", Given);
    mounted.follow();
    let seen = mounted.people();
    assert_eq!(seen.len(), 2);
    for pseudonym in &seen {
        let folder = mounted.subjects().join(pseudonym);
        let file = folder.join("owned/file");
        assert_eq!(fs::read(&file).unwrap(), vec![b'a'; FILE_LEN]);
        let subject = rustix::fs::getxattr(&file, "user.strongroom.subject", &mut [0; 64][..]);
        assert_eq!(subject.unwrap(), 32);
        for made in [folder.join("owned/new"), mounted.subjects().join("new")] {
            let refused = fs::write(made, b"x").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        }
        assert!(fs::remove_file(file).is_err());
    }
    let absent = mounted.subjects().join(people[1].to_string());
    assert_eq!(fs::read_dir(absent).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
