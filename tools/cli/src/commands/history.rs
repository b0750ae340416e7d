//! `keep`, `snapshot`, `history`, `restore`, `space`: the past of a workspace, asked of a mount or of a store.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_workspace::Workspace;
use strongroom_workspace::ask::{Reply, Request};
use strongroom_workspace::door::Kind;
use strongroom_workspace::history::versions::Version;

use crate::args::history::{History, Keep, Restore, Snapshot, Target};
use crate::assemble::{self, Open, Takeover};
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::passphrase;
use crate::place::Place;
use crate::state;
use crate::ui::{self, Format};

/// Whether a request changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Yes,
    No,
}

/// `strongroom keep`.
///
/// # Errors
/// Neither a mount nor a store, or it refuses.
pub fn keep(options: &Keep, format: Format) -> Result<Exit> {
    let (days, last) = (options.days, options.last);
    if days.is_some() || last.is_some() || options.nothing {
        done(ask(&options.target, Change::Yes, Request::SetKeep { days, last })?)?;
    }
    let Reply::Keep { days, last } = ask(&options.target, Change::No, Request::Keep)? else {
        return Err(other_answer());
    };
    let text = match (days, last) {
        (None, None) => "the present and snapshots only\n".to_owned(),
        (Some(days), None) => format!("{days} days\n"),
        (None, Some(last)) => format!("{last} commits\n"),
        (Some(days), Some(last)) => format!("{days} days, and at least {last} commits\n"),
    };
    ui::answer(format, &text, &json!({"days": days, "last": last}))?;
    Ok(Exit::Done)
}

/// `strongroom snapshot`.
///
/// # Errors
/// As [`keep`].
pub fn snapshot(command: &Snapshot, format: Format) -> Result<Exit> {
    match command {
        Snapshot::Create(options) => {
            let request = Request::MakeSnapshot(options.name.clone());
            done(ask(&options.target, Change::Yes, request)?)?;
            ui::answer(format, "", &json!({"name": options.name}))?;
        }
        Snapshot::Delete(options) => {
            let request = Request::DropSnapshot(options.name.clone());
            done(ask(&options.target, Change::Yes, request)?)?;
            ui::answer(format, "", &json!({"name": options.name}))?;
        }
        Snapshot::List(target) => {
            let Reply::Snapshots(all) = ask(target, Change::No, Request::Snapshots)? else {
                return Err(other_answer());
            };
            let (mut text, mut list) = (String::new(), Vec::new());
            for seen in all {
                let made = ui::time_text(seen.time.div_euclid(1_000_000_000));
                text += &format!("{made}  commit {}  {}\n", seen.seq, seen.name);
                list.push(json!({
                    "name": seen.name,
                    "commit": seen.seq,
                    "made": made,
                    "device": seen.device.to_string(),
                }));
            }
            ui::answer(format, &text, &json!({ "snapshots": list }))?;
        }
    }
    Ok(Exit::Done)
}

/// `strongroom history`.
///
/// # Errors
/// Not in a mount, or there never was anything.
pub fn history(options: &History, format: Format) -> Result<Exit> {
    let (mount, path) = inside(&options.path)?;
    let Reply::Versions(versions) = control::ask(&mount, &Request::Versions(path))? else {
        return Err(other_answer());
    };
    let width = versions.iter().map(|version| device(version).len()).max().unwrap_or_default();
    let text: String = versions.iter().rev().map(|version| line(version, width)).collect();
    let list: Vec<Value> = versions.iter().rev().map(described).collect();
    ui::answer(format, &text, &json!({ "versions": list }))?;
    Ok(Exit::Done)
}

/// What the device is called, else how its id begins.
fn device(version: &Version) -> String {
    let id = || version.device.to_string()[..8].to_owned();
    version.device_name.clone().unwrap_or_else(id)
}

fn line(version: &Version, width: usize) -> String {
    let what = match version.kind {
        None => "nothing".to_owned(),
        Some(_) if version.is_purged => "purged".to_owned(),
        Some(Kind::File) => ui::bytes_text(version.size),
        Some(kind) => name_of(kind).to_owned(),
    };
    let (made, device) = (made(version), device(version));
    format!("{made}  commit {:<8}  {device:<width$}  {what}\n", version.seq)
}

fn made(version: &Version) -> String {
    ui::time_text(version.time.div_euclid(1_000_000_000))
}

fn described(version: &Version) -> Value {
    json!({
        "commit": version.seq,
        "made": made(version),
        "device": version.device.to_string(),
        "device_name": version.device_name,
        "kind": version.kind.map(name_of),
        "size": version.size,
        "modified": ui::time_text(version.mtime.div_euclid(1_000_000_000)),
        "purged": version.is_purged,
    })
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::Char => "character device",
        Kind::Block => "block device",
    }
}

/// `strongroom restore`.
///
/// # Errors
/// Not in a mount, not there at that time, or the target is taken.
pub fn restore(options: &Restore, format: Format) -> Result<Exit> {
    let at = state::parse(&options.at)?.into();
    let (mount, path) = inside(&options.path)?;
    let to = match &options.to {
        Some(to) => {
            let (other, to) = inside(to)?;
            if other != mount {
                return Err(Failure::new(Exit::Usage, "`--to` is in another mount")
                    .hint("restore into the same mount, then copy"));
            }
            to
        }
        None => path.clone(),
    };
    done(control::ask(&mount, &Request::Restore { path, at, to })?)?;
    let target = options.to.as_ref().unwrap_or(&options.path);
    ui::answer(format, "", &json!({"restored": target.to_string_lossy()}))?;
    Ok(Exit::Done)
}

/// `strongroom space`.
///
/// # Errors
/// As [`keep`].
pub fn space(target: &Target, format: Format) -> Result<Exit> {
    let Reply::Space(usage) = ask(target, Change::No, Request::Space)? else {
        return Err(other_answer());
    };
    let mut text = String::new();
    for (name, bytes) in [
        ("present", usage.live_bytes),
        ("history", usage.history_bytes),
        ("snapshots", usage.snapshot_bytes),
        ("garbage", usage.garbage_bytes),
        ("log", usage.log_bytes),
        ("copies on this device", usage.cache_bytes),
    ] {
        text += &format!("{name:<22}  {}\n", ui::bytes_text(bytes));
    }
    for snapshot in &usage.snapshots {
        let bytes = ui::bytes_text(snapshot.bytes);
        text += &format!("only in {:<14}  {bytes}\n", snapshot.name);
    }
    let snapshots: Vec<Value> = usage
        .snapshots
        .iter()
        .map(|one| json!({"name": one.name, "commit": one.seq, "only_here_bytes": one.bytes}))
        .collect();
    let json = json!({
        "live_bytes": usage.live_bytes,
        "history_bytes": usage.history_bytes,
        "snapshot_bytes": usage.snapshot_bytes,
        "snapshots": snapshots,
        "garbage_bytes": usage.garbage_bytes,
        "log_bytes": usage.log_bytes,
        "cache_bytes": usage.cache_bytes,
        "oldest_commit": usage.oldest_seq,
    });
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

/// Asks the mount that the target is, or opens the store that it is.
fn ask(target: &Target, change: Change, request: Request) -> Result<Reply> {
    let path = Path::new(&target.target);
    if let Ok(mount) = mountpoint::resolve(path)
        && mountpoint::mounted_at(&mount)?.is_some()
    {
        match control::status(&mount) {
            Ok(_) => return control::ask(&mount, &request),
            // It would not answer who looks into it for a store either.
            Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
            Err(_) => {}
        }
    }
    let home = Home::find()?;
    let place = Place::parse(&target.target, &home)?;
    assemble::require_workspace(&place)?;
    let passphrase = passphrase::read(&target.passphrase)?;
    let open = match change {
        Change::Yes => Open::Write(Takeover::No),
        Change::No => Open::Read,
    };
    let workspace: Workspace = assemble::open(&home, &place, &open, passphrase)?;
    let shown = place.shown();
    let failed = |error| Failure::workspace(format!("asking `{shown}`"), &error);
    let reply = workspace.ask(request).map_err(failed)?;
    workspace.close().map_err(failed)?;
    Ok(reply)
}

/// The mount that a path lies in, and the path from there. What it names may be gone; the folder above a name that is there
/// counts as it is.
pub(super) fn inside(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let looking = |error| Failure::io(format!("looking at `{}`", path.display()), &error);
    let absolute = std::path::absolute(path).map_err(looking)?;
    let mounts = mountpoint::mounts()?;
    let real = real_path(&absolute).map_err(looking)?;
    let found = mounts
        .iter()
        .rev()
        .filter(|entry| real.starts_with(&entry.mountpoint))
        .max_by_key(|entry| entry.mountpoint.as_os_str().len());
    let mount = found.map(|entry| entry.mountpoint.clone()).unwrap_or_default();
    control::status(&mount).map_err(|failure| match failure.exit {
        Exit::Unreachable => failure,
        _ => Failure::new(
            Exit::Failed,
            format!("`{}` is not in a mounted workspace", path.display()),
        )
        .hint("`strongroom status` lists the mounts"),
    })?;
    let rest = real.strip_prefix(&mount).unwrap_or(&real);
    Ok((mount, rest.as_os_str().as_bytes().to_vec()))
}

/// Symbolic links followed in the folders above that are there.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_path_buf());
    };
    match folder.canonicalize() {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(real_path(folder)?.join(name))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn done(reply: Reply) -> Result<()> {
    match reply {
        Reply::Done => Ok(()),
        _ => Err(other_answer()),
    }
}

pub(super) fn other_answer() -> Failure {
    Failure::new(Exit::Bug, "the mount answered something else than was asked")
        .hint("it may be of another version: unmount and mount again")
}
