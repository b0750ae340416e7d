//! A mount's life: checks, start, serving, end.
//!
//! A mount is named by its device number in the table of mounts while its threads live, so that ending it never
//! takes away a later mount in the same place. Ending waits for the threads; when files are still open the mount is taken out of
//! the tree at once and its threads get [`LINGER`] to finish.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::io::Errno;
use strongroom_host::thread;
use strongroom_workspace::door::Core;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::device::{self, Detach};
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::adapter::{Door, Lifetimes};
use crate::fuse::answer::Driver;
use crate::fuse::busy_poll::BusyPoll;
use crate::fuse::capabilities::READ_AHEAD_LEN;
use crate::fuse::counts::RequestCounts;
use crate::fuse::notify;
use crate::mountinfo::{MountEntry, mounted_at, mounts, resolve};
use crate::options::{Audience, MountOptions};
use crate::site::Site;

/// How long a mount that was taken out of the tree while files were open may go on.
pub const LINGER: Duration = Duration::from_secs(5);
/// LIMIT: how long a process behind a mount may take to give a sign of life. It does so from memory.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// A served mount.
pub struct Mount {
    session: BackgroundSession,
    unmounter: Unmounter,
    counts: Arc<RequestCounts>,
    /// Ours only if the caller had none.
    runtime: Option<Runtime>,
}

/// How a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// Nothing was open.
    Clean,
    /// Files were open: the mount is out of the tree, and open files fail once this process ends.
    WhileBusy,
}

impl Mount {
    /// Mounts `core` at an existing empty folder and serves it from threads of its own. On return the mount
    /// answers. A dead mount of an ended process in the same place is cleaned away first.
    ///
    /// # Errors
    /// `FuseMissing`, `NotFound`, `NotDirectory`, `NotEmpty`, `AlreadyMounted`, `Denied`, `Io`.
    pub fn start(core: Arc<dyn Core>, mountpoint: &Path, options: MountOptions) -> Result<Mount> {
        let place = prepare(mountpoint, &options)?;
        let (handle, runtime) = runtime()?;
        let counts = Arc::new(RequestCounts::default());
        let changes = core.changes();
        let lifetimes =
            Lifetimes { entry: options.entry_lifetime, negative: options.negative_lifetime };
        let ended = Arc::<AtomicBool>::default();
        let site = Site::new(&place);
        let device = device::mount(&place, &options)?;
        let unmounter = Unmounter::new(place, site, ended.clone())?;
        // Without a second descriptor each request waits for a thread to wake; that is all.
        let busy_poll = device.try_clone().ok().and_then(BusyPoll::on);
        let driver = Driver::new(handle, options.report.clone(), options.answer_limit);
        let driver = driver.with_busy_poll(busy_poll);
        let door = Door::new(core, driver, lifetimes, counts.clone(), ended);
        let session = serve(door, device, &options).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = unmounter.detach(Detach::Now);
        })?;
        // ORDER: after the kernel was answered, or it takes its own figure again.
        if let Some(device) = &unmounter.device {
            widen_read_ahead(device);
        }
        if let Some(changes) = changes {
            notify::spawn(changes, session.notifier(), unmounter.ended.clone())
                .map_err(|error| Error::io("cannot start a thread", &error))?;
        }
        Ok(Mount { session, unmounter, counts, runtime })
    }

    /// What unmounts from another thread.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Requests so far.
    pub fn counts(&self) -> &Arc<RequestCounts> {
        &self.counts
    }

    /// Returns when the mount is gone, whoever unmounted it, and its threads have ended.
    ///
    /// # Errors
    /// `Io` if serving failed.
    pub fn wait(self) -> Result<()> {
        let ended = self.session.join();
        self.unmounter.ended.store(true, Ordering::Release);
        self.runtime.into_iter().for_each(Runtime::shutdown_background);
        ended.or_else(gone_is_fine).map_err(|error| Error::io("serving the mount failed", &error))
    }

    /// Unmounts and waits for the threads.
    ///
    /// # Errors
    /// `Denied`, `Io`. A mount that is gone already is fine.
    pub fn unmount(self) -> Result<Unmounted> {
        let how = self.unmounter.unmount()?;
        let deadline = Instant::now() + LINGER;
        while how == Unmounted::WhileBusy && !self.session.guard.is_finished() {
            if Instant::now() > deadline {
                self.runtime.into_iter().for_each(Runtime::shutdown_background);
                return Ok(how);
            }
            std::thread::sleep(POLL_PAUSE);
        }
        self.wait()?;
        Ok(how)
    }
}

/// Unmounts one mount; cheap to clone.
#[derive(Clone)]
pub struct Unmounter {
    mountpoint: PathBuf,
    /// `major:minor`; `None` if neither the mountpoint nor the table of mounts showed it.
    device: Option<String>,
    ended: Arc<AtomicBool>,
}

impl Unmounter {
    /// Of what was mounted since the site was seen.
    fn new(mountpoint: PathBuf, site: Option<Site>, ended: Arc<AtomicBool>) -> Result<Self> {
        let device = match site.and_then(|site| site.mounted()) {
            Some(device) => Some(device),
            None => look_up(&mountpoint)?.filter(MountEntry::is_fuse).map(|entry| entry.device),
        };
        Ok(Self { mountpoint, device, ended })
    }

    /// Where the mount is, resolved.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Whether the mount is gone, or at least out of the tree by our doing.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes the mount out of the tree, wherever it has got to: when nothing is open it is gone on return, else at once but
    /// with open files going on. So does one that somebody took out of the tree before.
    ///
    /// # Errors
    /// `Denied`, `Io`.
    pub fn unmount(&self) -> Result<Unmounted> {
        match self.detach(Detach::WhenIdle) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                self.detach(Detach::Now).map(|_| Unmounted::WhileBusy)
            }
            result => result,
        }
    }

    /// The kernel gives device numbers again once a mount is gone, so the number alone would not do; while our
    /// threads live it is ours.
    fn detach(&self, how: Detach) -> Result<Unmounted> {
        if self.has_ended() {
            return Ok(Unmounted::Clean);
        }
        let places = self.places()?;
        let Some((first, copies)) = places.split_first() else { return Ok(Unmounted::WhileBusy) };
        match device::unmount(first, how) {
            Err(error) if error.kind() == ErrorKind::NotMounted => {}
            result => result?,
        }
        let mut all_are_gone = true;
        for copy in copies {
            match device::unmount(copy, how) {
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                // Somebody else's, who may do more than this process: it is theirs to take away.
                result => all_are_gone &= result.is_ok(),
            }
        }
        if !all_are_gone {
            return Ok(Unmounted::WhileBusy);
        }
        self.ended.store(true, Ordering::Release);
        Ok(Unmounted::Clean)
    }

    /// Where the mount is now, what was mounted first: a folder above it may have been renamed, and somebody may have mounted
    /// it once more elsewhere, which would be dead once this process has ended. Without those that are below another mount
    /// and out of reach; empty if it is out of the tree.
    fn places(&self) -> Result<Vec<PathBuf>> {
        let table = mounts().map_err(|error| cannot_read_table(&error))?;
        let topmost = |place: &Path| table.iter().rev().find(|entry| entry.mountpoint == place);
        let is_ours = |entry: &&MountEntry| self.device.as_ref() == Some(&entry.device);
        let ours = table.iter().filter(is_ours).filter_map(|entry| topmost(&entry.mountpoint));
        Ok(ours.filter(is_ours).map(|entry| entry.mountpoint.clone()).collect())
    }
}

/// Unmounts whatever FUSE mount is at a path: for a command in another process than the one that serves.
/// `force` takes it out of the tree though files are open.
///
/// # Errors
/// `NotMounted`, `Busy`, `Denied`, `NotFound`, `Io`.
pub fn unmount_at(mountpoint: &Path, force: Force) -> Result<Unmounted> {
    let place = locate(mountpoint)?;
    match look_up(&place)? {
        Some(entry) if entry.is_fuse() => {}
        _ => return Err(device::not_mounted()),
    }
    match device::unmount(&place, Detach::WhenIdle) {
        Err(error) if error.kind() == ErrorKind::Busy && force == Force::Yes => {
            device::unmount(&place, Detach::Now).map(|()| Unmounted::WhileBusy)
        }
        result => result.map(|()| Unmounted::Clean),
    }
}

/// Whether [`unmount_at`] may cut off open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Fails with `Busy`.
    No,
    /// Takes the mount out of the tree at once.
    Yes,
}

/// Checks the mountpoint and returns it resolved; takes a dead mount away first. [`Mount::start`] does the same; this is
/// for who wants to know before asking for a passphrase.
///
/// # Errors
/// `NotFound`, `NotDirectory`, `NotEmpty`, `AlreadyMounted`, `Denied`, `Io`.
pub fn prepare(mountpoint: &Path, options: &MountOptions) -> Result<PathBuf> {
    let place = locate(mountpoint)?;
    if let Some(entry) = look_up(&place)?
        && entry.is_fuse()
    {
        clear_dead(&place)?;
    }
    let metadata = std::fs::metadata(&place).map_err(|error| cannot_look(&error))?;
    if !metadata.is_dir() {
        return Err(Error::new(ErrorKind::NotDirectory, "the mountpoint is not a folder"));
    }
    let mut entries = std::fs::read_dir(&place).map_err(|error| cannot_look(&error))?;
    if !options.nonempty && entries.next().is_some() {
        return Err(Error::new(ErrorKind::NotEmpty, "the mountpoint is not empty").hint(
            "choose an empty folder, or hide what is there while mounted with `-o nonempty`",
        ));
    }
    Ok(place)
}

/// A mount whose process has ended stays until somebody takes it away.
fn clear_dead(place: &Path) -> Result<()> {
    match served(place) {
        Served::Dead => device::unmount(place, Detach::Now),
        Served::Mounted | Served::Silent => {
            Err(Error::new(ErrorKind::AlreadyMounted, "something is mounted there already")
                .hint("unmount it first with `strongroom unmount MOUNTPOINT`"))
        }
    }
}

/// How a mount is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The process behind it answers.
    Mounted,
    /// It does not: it was stopped, or is in trouble.
    Silent,
    /// It has ended.
    Dead,
}

/// Asks the process behind the mount at a path for a sign of life. By statfs, which always goes to the process; the kernel
/// may answer stat from what it remembers. Returns after [`ANSWER_LIMIT`] at the latest.
pub fn served(mountpoint: &Path) -> Served {
    let asked = mountpoint.to_path_buf();
    let ask = move || rustix::fs::statfs(&asked).map(drop);
    match thread::within("asking a mount", ANSWER_LIMIT, ask) {
        Some(Err(Errno::NOTCONN | Errno::CONNABORTED)) => Served::Dead,
        Some(_) => Served::Mounted,
        None => Served::Silent,
    }
}

fn locate(mountpoint: &Path) -> Result<PathBuf> {
    resolve(mountpoint).map_err(|error| cannot_look(&error))
}

fn look_up(place: &Path) -> Result<Option<MountEntry>> {
    mounted_at(place).map_err(|error| cannot_read_table(&error))
}

fn cannot_read_table(error: &io::Error) -> Error {
    Error::io("cannot read the table of mounts", error)
}

fn cannot_look(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "the mountpoint does not exist")
            .hint("make the folder first: `mkdir MOUNTPOINT`"),
        io::ErrorKind::NotADirectory => {
            Error::new(ErrorKind::NotDirectory, "the mountpoint is not a folder")
        }
        io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, "this user may not use the mountpoint")
        }
        _ => Error::io("cannot look at the mountpoint", error),
    }
}

/// The caller's runtime, or a small one of our own.
fn runtime() -> Result<(Handle, Option<Runtime>)> {
    if let Ok(handle) = Handle::try_current() {
        return Ok((handle, None));
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mount-later")
        .enable_time()
        .build()
        .map_err(|error| Error::io("cannot start threads", &error))?;
    Ok((runtime.handle().clone(), Some(runtime)))
}

fn serve(
    door: Door,
    device: std::os::fd::OwnedFd,
    options: &MountOptions,
) -> Result<BackgroundSession> {
    let acl = match options.audience {
        Audience::Owner => SessionACL::Owner,
        Audience::RootAndOwner => SessionACL::RootAndOwner,
        Audience::Everyone => SessionACL::All,
    };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = device::can_open();
    Session::from_fd(door, device, acl, config)
        .and_then(Session::spawn)
        .map_err(|error| Error::io("the kernel refused the FUSE session", &error))
}

/// The kernel grants a mount 128 KiB of read-ahead whatever it asks for, so that one request at a time is on its way and the
/// disk behind idles meanwhile. Only root may set more; for anybody else it stays as it is.
fn widen_read_ahead(device: &str) {
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    // A hint: where it cannot be written, streams are slower.
    let _ = std::fs::write(setting, (READ_AHEAD_LEN >> 10).to_string());
}

/// A connection that was aborted from outside ends like an unmount.
fn gone_is_fine(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ECONNABORTED | libc::ENOTCONN) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(mountpoint: &Path) -> ErrorKind {
        prepare(mountpoint, &MountOptions::default()).unwrap_err().kind()
    }

    #[test]
    fn mountpoint_must_be_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(prepare(folder.path(), &MountOptions::default()).is_ok());
        assert_eq!(kind(&folder.path().join("missing")), ErrorKind::NotFound);
        std::fs::write(folder.path().join("file"), b"x").unwrap();
        assert_eq!(kind(&folder.path().join("file")), ErrorKind::NotDirectory);
        assert_eq!(kind(&folder.path().join("file/below")), ErrorKind::NotDirectory);
        assert_eq!(kind(folder.path()), ErrorKind::NotEmpty);
        let options = MountOptions { nonempty: true, ..MountOptions::default() };
        assert!(prepare(folder.path(), &options).is_ok());
    }

    #[test]
    fn refusals_carry_advice() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"x").unwrap();
        let error = prepare(folder.path(), &MountOptions::default()).unwrap_err();
        assert!(error.advice().unwrap().contains("nonempty"));
    }

    #[test]
    fn a_mount_is_known_though_a_folder_above_it_has_another_name_at_once() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let (before, after) = (top.join("before"), top.join("after"));
        std::fs::create_dir_all(before.join("point")).unwrap();
        let (place, options) = (before.join("point"), MountOptions::default());
        let site = Site::new(&place);
        let Ok(device) = device::mount(&place, &options) else {
            eprintln!("\n*** SKIPPED: cannot mount here ***\n");
            return;
        };
        std::fs::rename(&before, &after).unwrap();
        let unmounter = Unmounter::new(place, site, Arc::default()).unwrap();
        let unmounted = unmounter.unmount();
        let left = mounted_at(&after.join("point")).unwrap();
        if left.is_some() {
            device::unmount(&after.join("point"), Detach::Now).unwrap();
        }
        drop(device);
        assert_eq!(left, None);
        assert_eq!(unmounted.unwrap(), Unmounted::Clean);
    }

    #[test]
    fn unmount_of_a_plain_folder_says_nothing_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let error = unmount_at(folder.path(), Force::No).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotMounted);
    }
}
