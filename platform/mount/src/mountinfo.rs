//! What is mounted where, from `/proc/self/mountinfo`. Never touches a mountpoint, so a dead or hanging mount
//! cannot block it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// `major:minor` of the file system: tells one mount from a later one in the same place.
    pub device: String,
    /// Where.
    pub mountpoint: PathBuf,
    /// Type, such as `ext4` or `fuse.strongroom`.
    pub fs_type: String,
    /// First column of `df`.
    pub source: String,
}

impl MountEntry {
    /// Whether it is a FUSE mount of any kind.
    pub fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.")
    }
}

/// Returns the topmost mount at exactly this path, if there is one. The path must be absolute and resolved.
pub fn mounted_at(path: &Path) -> std::io::Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rev().find(|entry| entry.mountpoint == path))
}

/// Returns the whole table, oldest first.
pub fn mounts() -> std::io::Result<Vec<MountEntry>> {
    Ok(parse_table(&std::fs::read("/proc/self/mountinfo")?))
}

fn parse_table(table: &[u8]) -> Vec<MountEntry> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let mountpoint = fields.nth(1)?;
    let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
    let fs_type = tail.next()?;
    let source = tail.next().unwrap_or_default();
    Some(MountEntry {
        device: text(device),
        mountpoint: PathBuf::from(OsString::from_vec(unescape(mountpoint))),
        fs_type: text(fs_type),
        source: text(&unescape(source)),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten().and_then(octal_byte);
        out.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    out
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Makes a path absolute and resolved without touching its last component, which may be a dead mount.
pub fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if name.as_bytes() != b".." => {
            let here = parent.canonicalize()?.join(name);
            match mounted_at(&here)? {
                Some(_) => Ok(here),
                None => absolute.canonicalize(),
            }
        }
        _ => absolute.canonicalize(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
          90 22 0:51 / /mnt/my\\040files rw,nosuid - fuse.strongroom team\\134x rw,user_id=0\n\
          91 22 0:52 / /mnt/plain rw master:7 propagate_from:2 - tmpfs tmpfs rw\n\nbroken line\n";

    #[test]
    fn lines_with_optional_fields_and_escapes_are_read() {
        let entries = parse_table(TABLE);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].mountpoint, Path::new("/mnt/my files"));
        assert_eq!(entries[1].device, "0:51");
        assert_eq!(entries[1].source, "team\\x");
        assert!(entries[1].is_fuse() && !entries[2].is_fuse());
        assert_eq!(entries[2].fs_type, "tmpfs");
    }

    #[test]
    fn root_is_mounted() {
        assert!(mounted_at(Path::new("/")).unwrap().is_some());
        assert!(mounted_at(Path::new("/no/such/place")).unwrap().is_none());
    }

    #[test]
    fn resolve_follows_links_of_parents() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("b")).unwrap();
        std::fs::create_dir(real.join("a/point")).unwrap();
        assert_eq!(resolve(&real.join("b/point")).unwrap(), real.join("a/point"));
        assert_eq!(resolve(&real.join("b")).unwrap(), real.join("a"));
    }
}
