//! Talking to a running mount: extended attributes of its root, served by the filesystem itself. They need no socket, no
//! port and no other permission than being allowed to use the mount.

use std::path::Path;
#[cfg(feature = "custody")]
use std::path::PathBuf;
#[cfg(feature = "custody")]
use std::sync::mpsc;
#[cfg(feature = "custody")]
use std::time::Duration;

#[cfg(feature = "custody")]
use parking_lot::Mutex;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use serde_json::Value;
#[cfg(feature = "custody")]
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_host::thread;
use strongroom_mount::ANSWER_LIMIT;
#[cfg(feature = "custody")]
use strongroom_records::ids::ApplicationId;
use strongroom_workspace::ask::{REPLY_LEN_MAX, Reply, Request};

use crate::exit::{Exit, Failure, Result};
#[cfg(feature = "custody")]
use crate::{home::Home, note};

const STATUS: &str = "user.strongroom.status";
const SYNC: &str = "user.strongroom.sync";

#[cfg(feature = "custody")]
const FOLLOW: &str = "user.strongroom.follow";

#[cfg(feature = "custody")]
/// How long views are waited for, all of them together.
const VIEWS_LIMIT: Duration = Duration::from_secs(5);

/// LIMIT: Linux allows no longer attribute.
const STATUS_LEN_MAX: usize = 64 << 10;

/// How long a sync takes the caller's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Start it.
    Start,
    /// Until all is committed to the store.
    Wait,
}

/// What a mount says about itself.
///
/// # Errors
/// Not a workspace, its daemon is gone, or it does not answer.
pub fn status(mountpoint: &Path) -> Result<Value> {
    let asked = mountpoint.to_path_buf();
    let answer = thread::within("asking a mount", ANSWER_LIMIT, move || {
        let mut buffer = vec![0; STATUS_LEN_MAX];
        getxattr(&asked, STATUS, &mut buffer[..]).map(|len| buffer[..len].to_vec())
    });
    let status = answer
        .ok_or_else(|| silent(mountpoint))?
        .map_err(|errno| control_failure(mountpoint, "asking", errno))?;
    serde_json::from_slice(&status).map_err(|_| {
        Failure::new(Exit::Bug, format!("the mount at `{}` answered no JSON", mountpoint.display()))
    })
}

#[cfg(feature = "custody")]
/// How many views of people's data were told of what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It is in force there: gates, pages, names.
    pub told: u64,
    /// They did not answer; they look by themselves, or their leases end.
    pub silent: u64,
}

#[cfg(feature = "custody")]
/// Has every view of this home that may show anything of an application look at the register now; returns when what was
/// recorded is in force in them, open files and mappings included, or after [`VIEWS_LIMIT`].
pub fn tell_views(home: &Home, application: &ApplicationId) -> Told {
    let (clock, mut told) = (MachineClock::new(), Told::default());
    let (say, said) = mpsc::channel();
    let application = application.to_string();
    let notes = note::all(home).unwrap_or_default();
    for note in notes.iter().filter(|note| note.may_show(&application)) {
        told.silent += 1;
        ask_view(note.reached(), say.clone(), clock.since_boot());
    }
    drop(say);
    let end = clock.since_boot() + VIEWS_LIMIT;
    while let Ok(is_told) = said.recv_timeout(end.saturating_sub(clock.since_boot())) {
        told.told += u64::from(is_told);
        told.silent -= u64::from(is_told);
    }
    told
}

/// Views that were asked and have not answered, and since when.
#[cfg(feature = "custody")]
static ASKED: Mutex<Vec<(PathBuf, Duration)>> = Mutex::new(Vec::new());

#[cfg(feature = "custody")]
/// Asks a view from a thread of its own: for one whose process stands still the kernel waits without end.
fn ask_view(view: PathBuf, say: mpsc::Sender<bool>, now: Duration) {
    let asked = (view, now);
    {
        let mut all = ASKED.lock();
        // LIMIT: one that let somebody wait for all that time is asked again once it has answered, or threads would pile up.
        if all.iter().any(|(own, since)| *own == asked.0 && now >= *since + VIEWS_LIMIT) {
            return;
        }
        all.push(asked.clone());
    }
    let asking = asked.clone();
    let work = move || {
        let is_told = getxattr(&asking.0, FOLLOW, &mut vec![0; STATUS_LEN_MAX][..]).is_ok();
        forget_asked(&asking);
        // Whoever asked may have stopped waiting.
        let _ = say.send(is_told);
    };
    if thread::spawn("asking a view", work).is_err() {
        forget_asked(&asked);
    }
}

#[cfg(feature = "custody")]
fn forget_asked(asked: &(PathBuf, Duration)) {
    let mut all = ASKED.lock();
    if let Some(at) = all.iter().position(|own| own == asked) {
        all.swap_remove(at);
    }
}

/// Sends what was written so far to the store.
///
/// # Errors
/// Not a workspace, its daemon is gone, or the store refuses.
pub fn sync(mountpoint: &Path, patience: Patience) -> Result<()> {
    // Any folder takes an attribute; only a workspace answers.
    if !writes(&status(mountpoint)?) {
        return Err(control_failure(mountpoint, "syncing", Errno::ROFS));
    }
    let asked = match patience {
        Patience::Start => setxattr(mountpoint, SYNC, b"start", XattrFlags::empty()),
        // Reading it waits. Setting it must not: the kernel would keep everybody out of the root folder meanwhile.
        Patience::Wait => getxattr(mountpoint, SYNC, &mut [0; 16][..]).map(drop),
    };
    asked.map_err(|errno| {
        let mut failure = control_failure(mountpoint, "syncing", errno);
        if let Some(trouble) = trouble(mountpoint) {
            failure.message = format!("{}: {trouble}", failure.message);
        }
        failure
    })
}

/// Whether a mount with this status has anything to commit: one for reading, whatever it shows, has not.
pub fn writes(status: &Value) -> bool {
    let is_writable = status.get("writable").and_then(Value::as_bool);
    is_writable.unwrap_or(status.get("mode").and_then(Value::as_str) == Some("rw"))
}

/// Asks a mount something, and waits for the answer.
///
/// # Errors
/// Not a workspace, its daemon is gone, or what it says.
pub fn ask(mountpoint: &Path, request: &Request) -> Result<Reply> {
    let entropy: &dyn Entropy = &MachineEntropy;
    let token: [u8; 8] = entropy.array();
    let name = format!("user.strongroom.ask.{:016x}", u64::from_le_bytes(token));
    setxattr(mountpoint, &name, &request.encode(), XattrFlags::empty())
        .map_err(|errno| control_failure(mountpoint, "asking", errno))?;
    let mut buffer = vec![0; REPLY_LEN_MAX];
    let len = getxattr(mountpoint, &name, &mut buffer[..])
        .map_err(|errno| control_failure(mountpoint, "asking", errno))?;
    let shown = mountpoint.display();
    Reply::parse(&buffer[..len])
        .map_err(|error| Failure::workspace(format!("asking `{shown}`"), &error))
}

/// What is said of a mount that does not answer in time.
pub fn silent(mountpoint: &Path) -> Failure {
    let (shown, limit) = (mountpoint.display(), ANSWER_LIMIT.as_secs());
    Failure::new(Exit::Unreachable, format!("the process behind `{shown}` did not answer in {limit} s"))
        .hint("a process that was stopped goes on after `kill -CONT`; `strongroom unmount --lazy` takes the mount away")
}

/// Why the last commit did not go through, in the mount's own words.
fn trouble(mountpoint: &Path) -> Option<String> {
    Some(status(mountpoint).ok()?.get("trouble")?.as_str()?.to_owned())
}

fn control_failure(mountpoint: &Path, doing: &str, errno: Errno) -> Failure {
    let shown = mountpoint.display();
    match errno {
        Errno::NODATA | Errno::NOTSUP => {
            Failure::new(Exit::Failed, format!("`{shown}` is not the root of a mounted workspace"))
                .hint("`strongroom status` lists the mounts")
        }
        Errno::NOTCONN => {
            Failure::new(Exit::Failed, format!("the process behind `{shown}` is gone")).hint(
                format!(
                    "`strongroom unmount {shown}` and mount again; nothing that was written is lost"
                ),
            )
        }
        Errno::HOSTUNREACH | Errno::TIMEDOUT => Failure::new(
            Exit::Unreachable,
            format!("{doing} `{shown}`: the store cannot be reached"),
        )
        .hint("what was written is safe on this device; it is sent when the store is back"),
        Errno::NOSPC | Errno::DQUOT => {
            Failure::new(Exit::Failed, format!("{doing} `{shown}`: no space left"))
                .hint("free space at the store; what was written is kept on this device")
        }
        Errno::ROFS => Failure::new(Exit::Failed, format!("{doing} `{shown}`: mounted read-only")),
        Errno::IO => Failure::new(Exit::Damaged, format!("{doing} `{shown}`: input/output error"))
            .hint(
                "the log of the mount says why; `strongroom check STORE` verifies what is stored",
            ),
        _ => Failure::io(format!("{doing} `{shown}`"), &errno.into()),
    }
}
