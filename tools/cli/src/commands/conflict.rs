//! `strongroom conflict`: what was written in two places at once, listed and resolved through the mount.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_workspace::inbound::conflict::ConflictName;

use crate::args::conflict::{Conflict, ConflictList, ConflictResolve, Keep};
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::mountpoint;
use crate::ui::{self, Format};

/// LIMIT: names that are tried for a copy that is kept.
const TRIES_MAX: u32 = 1000;

/// Does what the verb says.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Conflict, format: Format) -> Result<Exit> {
    match options {
        Conflict::List(options) => list(options, format),
        Conflict::Resolve(options) => resolve(options, format),
    }
}

/// A conflict copy.
struct Found {
    path: PathBuf,
    name: ConflictName,
    size: u64,
}

fn list(options: &ConflictList, format: Format) -> Result<Exit> {
    let mountpoint = mountpoint::resolve(&options.mountpoint)?;
    // Any folder can be read; only a workspace has conflict copies.
    control::status(&mountpoint)?;
    let mut found = Vec::new();
    find(&mountpoint, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let text: String = found.iter().map(line).collect();
    let conflicts: Vec<Value> = found.iter().map(described).collect();
    ui::answer(format, &text, &json!({ "conflicts": conflicts }))?;
    Ok(Exit::Done)
}

fn find(root: &Path, found: &mut Vec<Found>) -> Result<()> {
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed =
            |error: io::Error| Failure::io(format!("reading `{}`", folder.display()), &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if let Some(name) = ConflictName::parse(entry.file_name().as_bytes()) {
                let size = match kind.is_file() {
                    true => entry.metadata().map_err(failed)?.len(),
                    false => 0,
                };
                found.push(Found { path: entry.path(), name, size });
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

fn line(found: &Found) -> String {
    let Found { path, name, size } = found;
    let size = ui::bytes_text(*size);
    format!("{}  {}  {size:>10}  {}\n", name.date, name.device, path.display())
}

fn described(found: &Found) -> Value {
    let original = beside(&found.path, &found.name.original);
    json!({
        "path": found.path.to_string_lossy(),
        "original": original.to_string_lossy(),
        "original_exists": original.symlink_metadata().is_ok(),
        "device": found.name.device,
        "date": found.name.date,
        "incomplete": found.name.is_incomplete,
        "size": found.size,
    })
}

fn resolve(options: &ConflictResolve, format: Format) -> Result<Exit> {
    let copy = &options.path;
    let shown = copy.display();
    let name = copy.file_name().map(OsStrExt::as_bytes).and_then(ConflictName::parse);
    let name = name.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{shown}` is not the name of a conflict copy"))
            .hint("`strongroom conflict list MOUNTPOINT` lists them")
    })?;
    let kind = copy
        .symlink_metadata()
        .map_err(|error| Failure::io(format!("looking at `{shown}`"), &error))?;
    let original = beside(copy, &name.original);
    let kept = match options.keep {
        Keep::Mine => replace(copy, &original)?,
        Keep::Theirs => {
            if original.symlink_metadata().is_err() {
                let gone = format!("`{}` is not there any more", original.display());
                return Err(
                    Failure::new(Exit::Failed, gone).hint("`--keep mine` gives the copy its name")
                );
            }
            let removed = if kind.is_dir() { fs::remove_dir(copy) } else { fs::remove_file(copy) };
            removed.map_err(|error| Failure::io(format!("removing `{shown}`"), &error))?;
            original
        }
        Keep::Both => rename_plainly(copy, &name)?,
    };
    ui::answer(format, "", &json!({ "path": kept.to_string_lossy() }))?;
    Ok(Exit::Done)
}

fn replace(copy: &Path, original: &Path) -> Result<PathBuf> {
    fs::rename(copy, original).map_err(|error| {
        Failure::io(format!("renaming `{}` to `{}`", copy.display(), original.display()), &error)
            .hint("a folder does not take the place of a file, nor of a folder that is not empty")
    })?;
    Ok(original.to_path_buf())
}

/// Gives the copy a name that is free and is none of a conflict copy.
fn rename_plainly(copy: &Path, name: &ConflictName) -> Result<PathBuf> {
    for tries in 0..TRIES_MAX {
        let target = beside(copy, &name.plain(tries));
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let at = rustix::fs::CWD;
        match rustix::fs::renameat_with(at, copy, at, &target, flags) {
            Ok(()) => return Ok(target),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => {
                let doing = format!("renaming `{}`", copy.display());
                return Err(Failure::io(doing, &error.into()));
            }
        }
    }
    Err(Failure::new(Exit::Failed, format!("no free name beside `{}`", copy.display())))
}

fn beside(path: &Path, name: &[u8]) -> PathBuf {
    path.with_file_name(OsString::from_vec(name.to_vec()))
}
