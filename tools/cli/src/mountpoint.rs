//! The folder to mount on: what must hold before, what the mount table says, and how a mount is taken away.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::UnmountFlags;

use crate::exit::{Exit, Failure, Result};

/// The file system type of our mounts unless `-o subtype=` says otherwise.
pub const TYPE: &str = "fuse.strongroom";

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// File system type, such as `fuse.strongroom`.
    pub fs_type: String,
    /// What is mounted, as its daemon named it.
    pub source: String,
}

/// How a mount is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// Only if nothing uses it.
    Clean,
    /// At once; programs keep what they have open.
    Lazy,
}

/// Reads the mount table, oldest first.
///
/// # Errors
/// `/proc` is not there.
pub fn table() -> Result<Vec<TableEntry>> {
    let bytes = fs::read("/proc/self/mountinfo")
        .map_err(|error| Failure::io("reading the mount table", &error))?;
    Ok(bytes.split(|&b| b == b'\n').filter_map(parse_entry).collect())
}

/// The topmost mount on exactly this path.
///
/// # Errors
/// As [`table`].
pub fn mounted_at(path: &Path) -> Result<Option<TableEntry>> {
    Ok(table()?.into_iter().rev().find(|entry| entry.mountpoint == path))
}

/// The path as the mount table spells it. A dead mount cannot be looked at, so only what is above is resolved.
///
/// # Errors
/// The folder above does not exist.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let absolute = std::path::absolute(path)
        .map_err(|error| Failure::io(format!("finding `{shown}`"), &error))?;
    if let Ok(resolved) = fs::canonicalize(&absolute) {
        return Ok(resolved);
    }
    let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    let above = fs::canonicalize(above)
        .map_err(|error| Failure::io(format!("finding mountpoint `{shown}`"), &error))?;
    Ok(above.join(name))
}

/// Makes sure that something can be mounted here, and returns the path as the mount table will spell it. A
/// mount whose daemon died is taken away first.
///
/// # Errors
/// Missing, not a folder, not empty (unless `over_entries`), or a live mount already.
pub fn prepare(path: &Path, over_entries: bool) -> Result<PathBuf> {
    let resolved = resolve(path)?;
    let shown = path.display();
    if let Some(entry) = mounted_at(&resolved)? {
        if is_dead(&resolved) && entry.fs_type.starts_with("fuse") {
            detach(&resolved, Detach::Lazy)?;
        } else if entry.fs_type == TYPE {
            return Err(Failure::new(
                Exit::Failed,
                format!("`{shown}` has a workspace mounted already"),
            )
            .hint(format!("`strongroom unmount {shown}`, or choose another folder")));
        }
    }
    let found = fs::metadata(&resolved).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(Exit::Failed, format!("mountpoint `{shown}` does not exist"))
                .hint(format!("`mkdir {shown}`"))
        }
        _ => Failure::io(format!("looking at mountpoint `{shown}`"), &error),
    })?;
    if !found.is_dir() {
        return Err(Failure::new(Exit::Failed, format!("mountpoint `{shown}` is not a folder"))
            .hint("give an empty folder"));
    }
    let mut entries = fs::read_dir(&resolved)
        .map_err(|error| Failure::io(format!("looking into mountpoint `{shown}`"), &error))?;
    if !over_entries && entries.next().is_some() {
        return Err(Failure::new(Exit::Failed, format!("mountpoint `{shown}` is not empty"))
            .hint("give an empty folder, or `-o nonempty` to hide what is in it while mounted"));
    }
    Ok(resolved)
}

/// Makes sure that this machine can mount at all.
///
/// # Errors
/// No `/dev/fuse`, or no `fusermount3` for a user who is not root.
pub fn require_fuse() -> Result<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(Failure::new(Exit::Failed, "this machine has no FUSE: `/dev/fuse` is missing").hint(
            "`modprobe fuse` as root; a container needs `--device /dev/fuse --cap-add SYS_ADMIN`",
        ));
    }
    if !is_root() && find_program("fusermount3").is_none() {
        return Err(Failure::new(Exit::Failed, "`fusermount3` is missing, which lets users mount")
            .hint("`apt-get install fuse3` as root"));
    }
    Ok(())
}

/// Takes a mount away.
///
/// # Errors
/// It is in use (for a clean detach), or not ours to take.
pub fn detach(path: &Path, how: Detach) -> Result<()> {
    let failed = |error: io::Error| unmount_failure(path, &error);
    if is_root() {
        let flags = match how {
            Detach::Clean => UnmountFlags::NOFOLLOW,
            Detach::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        };
        return rustix::mount::unmount(path, flags).map_err(|error| failed(error.into()));
    }
    let mut command = Command::new("fusermount3");
    command.arg("-u").arg("-q");
    if how == Detach::Lazy {
        command.arg("-z");
    }
    let ended = command.arg("--").arg(path).stdin(Stdio::null()).status().map_err(failed)?;
    if ended.success() { Ok(()) } else { Err(failed(io::Error::from(io::ErrorKind::ResourceBusy))) }
}

fn unmount_failure(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    if error.kind() == io::ErrorKind::ResourceBusy {
        return Failure::new(Exit::Failed, format!("`{shown}` is in use")).hint(format!(
            "close what `fuser -vm {shown}` names, or `strongroom unmount --lazy {shown}`"
        ));
    }
    Failure::io(format!("unmounting `{shown}`"), error)
}

/// Whether the daemon behind a mount is gone.
pub fn is_dead(path: &Path) -> bool {
    const NOT_CONNECTED: i32 = 107;
    fs::metadata(path).is_err_and(|error| error.raw_os_error() == Some(NOT_CONNECTED))
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// `36 35 98:0 /root /mountpoint rw,noatime shared:1 - type source superoptions`
fn parse_entry(line: &[u8]) -> Option<TableEntry> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(TableEntry {
        mountpoint: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        fs_type: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
    })
}

/// Undoes `\040` and its like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| first == b'\\');
        let value = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

/// Bytes of a path, for messages to another process.
pub fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes() {
        let line = br"36 35 0:98 / /mnt/my\040work rw,nosuid shared:1 - fuse.strongroom /s\134x rw,user_id=0";
        let entry = parse_entry(line).unwrap();
        assert_eq!(entry.mountpoint, Path::new("/mnt/my work"));
        assert_eq!(entry.fs_type, "fuse.strongroom");
        assert_eq!(entry.source, r"/s\x");
        assert_eq!(parse_entry(b""), None);
    }

    #[test]
    fn a_mountpoint_must_be_an_empty_folder() {
        let folder =
            std::env::temp_dir().join(format!("strongroom-mountpoint-{}", std::process::id()));
        fs::create_dir_all(folder.join("in")).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        let refused = |path: PathBuf| prepare(&path, false).unwrap_err().message;
        assert!(refused(folder.join("none")).ends_with("does not exist"));
        assert!(refused(folder.join("file")).ends_with("is not a folder"));
        assert!(refused(folder.clone()).ends_with("is not empty"));
        assert!(prepare(&folder, true).is_ok());
        assert!(prepare(&folder.join("in"), false).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}
