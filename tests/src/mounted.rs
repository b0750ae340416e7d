//! A core mounted in a temporary folder for the length of one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_mount::{ErrorKind, Mount, MountOptions, RequestCounts, RequestKind};
use strongroom_workspace::door::Core;

/// Set this in the environment where mounting must work: a mount that cannot be made then fails the test.
pub const REQUIRED: &str = "STRONGROOM_TEST_MOUNT_REQUIRED";
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Unmounts and removes the folder at the end, also when the test fails.
pub struct Mounted {
    mount: Option<Mount>,
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Mounts, or says loudly on stderr that the test was skipped and returns `None`.
    ///
    /// # Panics
    /// When mounting fails for another reason than a system without FUSE, or [`REQUIRED`] is set.
    pub fn start(core: Arc<dyn Core>, options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = MountOptions::parse(options).expect("options of the test");
        match Mount::start(core, folder.path(), options) {
            Ok(mount) => Some(Self { mount: Some(mount), folder }),
            Err(error) if may_skip(error.kind()) => {
                eprintln!("\n*** SKIPPED: this system cannot mount: {error} ***\n");
                None
            }
            Err(error) => panic!("cannot mount: {error}"),
        }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The mountpoint.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The mount.
    pub fn mount(&self) -> &Mount {
        self.mount.as_ref().expect("mounted until dropped")
    }

    /// Requests that `act` caused, as text. Closed files are waited for, before and after: their RELEASE comes
    /// after close(2). No file may be open across the call.
    pub fn requests(&self, act: impl FnOnce()) -> String {
        let counts = self.mount().counts();
        settle(counts);
        counts.reset();
        act();
        settle(counts);
        counts.to_string()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take()
            && let Err(error) = mount.unmount()
        {
            eprintln!("cannot unmount: {error}");
        }
    }
}

fn may_skip(kind: ErrorKind) -> bool {
    let unable = matches!(kind, ErrorKind::FuseMissing | ErrorKind::Denied);
    unable && std::env::var_os(REQUIRED).is_none()
}

/// Waits until every opened handle of the counted stretch is released.
fn settle(counts: &RequestCounts) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let opened = || counts.of(RequestKind::Open) + counts.of(RequestKind::Create);
    while counts.of(RequestKind::Release) < opened() && Instant::now() < deadline {
        std::thread::yield_now();
    }
}
