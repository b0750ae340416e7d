//! Mounts the plain in-memory model: the door without an engine behind it.
//!
//! `model_mount MOUNTPOINT [OPTIONS]` serves in the foreground until unmounted, then prints how many kernel
//! requests it answered.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use strongroom_mount::{Mount, MountOptions};
use strongroom_tests::model::Model;
use strongroom_workspace::door::{Caller, TimeNs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mountpoint = arguments.next().ok_or("usage: model_mount MOUNTPOINT [OPTIONS]")?;
    let mut options = MountOptions::parse(&arguments.next().unwrap_or_default())?;
    options.report = Some(Arc::new(|line| eprintln!("{line}")));
    let owner =
        Caller { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    let core = Arc::new(Model::new(owner, Arc::new(now)));
    let mount = Mount::start(core, Path::new(&mountpoint), options)?;
    let counts = mount.counts().clone();
    mount.wait()?;
    eprintln!("{counts}");
    Ok(())
}

fn now() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeNs::try_from(since.as_nanos()).unwrap_or(TimeNs::MAX)
}
