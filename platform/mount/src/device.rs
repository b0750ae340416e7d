//! Opening the FUSE device, mounting and unmounting: `mount(2)` where the process may, else `fusermount3`.
//!
//! fuser could mount by itself, but loses the caller's choice of subtype as root, fails where a normal user may
//! not open `/dev/fuse`, and may unmount a later mount of somebody else.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use crate::error::{Error, ErrorKind, Result};
use crate::options::{Audience, MountOptions};

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
const MISSING_HINT: &str =
    "install FUSE (Debian: `apt install fuse3`), load it with `modprobe fuse`";

/// How hard to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detach {
    /// Fails while files are open.
    WhenIdle,
    /// Takes the mount out of the tree at once; open files go on until closed.
    Now,
}

/// Whether each thread may open the device again for itself (`FUSE_DEV_IOC_CLONE` needs it).
pub(crate) fn can_open() -> bool {
    open_device().is_ok()
}

fn open_device() -> io::Result<OwnedFd> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)?;
    Ok(file.into())
}

/// Mounts at an existing, checked folder and returns the descriptor to serve.
pub(crate) fn mount(mountpoint: &Path, options: &MountOptions) -> Result<OwnedFd> {
    if !Path::new(DEVICE).exists() {
        return Err(
            Error::new(ErrorKind::FuseMissing, "this system has no /dev/fuse").hint(MISSING_HINT)
        );
    }
    if rustix::process::geteuid().is_root()
        && let Some(device) = mount_directly(mountpoint, options)?
    {
        return Ok(device);
    }
    mount_by_helper(mountpoint, options)
}

/// `None` when the kernel says that this process may not mount (a container's root).
fn mount_directly(mountpoint: &Path, options: &MountOptions) -> Result<Option<OwnedFd>> {
    let device = match open_device() {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => {
            return Err(Error::new(
                ErrorKind::FuseMissing,
                format!("cannot open /dev/fuse: {error}"),
            )
            .hint(MISSING_HINT));
        }
    };
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.audience != Audience::Owner {
        data.push_str(",allow_other");
    }
    let target = c_string(mountpoint.as_os_str().as_bytes())?;
    let data = c_string(data.as_bytes())?;
    let source = c_string(options.source.as_bytes())?;
    let fs_type = c_string(format!("fuse.{}", options.subtype).as_bytes())?;
    match rustix::mount::mount(&*source, &*target, &*fs_type, flags(options), &*data) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM) => Ok(None),
        Err(Errno::NODEV) => Err(Error::new(
            ErrorKind::FuseMissing,
            "the kernel does not know the file system type `fuse`",
        )
        .hint(MISSING_HINT)),
        Err(errno) => Err(Error::io("cannot mount", &errno.into())),
    }
}

fn flags(options: &MountOptions) -> MountFlags {
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, options.read_only);
    flags.set(MountFlags::NOSUID, !options.suid);
    flags.set(MountFlags::NODEV, !options.dev);
    flags.set(MountFlags::NOEXEC, options.noexec);
    flags.set(MountFlags::NOATIME, options.noatime);
    flags.set(MountFlags::SYNCHRONOUS, options.sync);
    flags
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::new(ErrorKind::BadOption, "a name holds a zero byte"))
}

/// `fusermount3` mounts and hands the descriptor back over a socket, which is its standard input here.
fn mount_by_helper(mountpoint: &Path, options: &MountOptions) -> Result<OwnedFd> {
    if options.audience != Audience::Owner && !allowed_in_fuse_conf() {
        return Err(Error::new(ErrorKind::Denied, "this user may not share a mount with other users").hint(
            "put the line `user_allow_other` into /etc/fuse.conf, or leave out allow_other and allow_root",
        ));
    }
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::io("cannot make a socket pair", &errno.into()))?;
    let child = Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(options))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .env("LC_ALL", "C")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(helper_missing)?;
    let device = receive_descriptor(&ours);
    drop(ours);
    let output = child
        .wait_with_output()
        .map_err(|error| Error::io("cannot wait for fusermount3", &error))?;
    device.ok_or_else(|| helper_failed(&output))
}

fn helper_options(options: &MountOptions) -> String {
    let mut words = vec![
        "default_permissions".to_string(),
        format!("fsname={}", options.source),
        format!("subtype={}", options.subtype),
    ];
    let mut word = |condition: bool, word: &str| {
        if condition {
            words.push(word.into());
        }
    };
    word(options.read_only, "ro");
    word(options.suid, "suid");
    word(options.dev, "dev");
    word(options.noexec, "noexec");
    word(options.noatime, "noatime");
    word(options.sync, "sync");
    word(options.audience != Audience::Owner, "allow_other");
    words.join(",")
}

fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    let received = loop {
        let mut slices = [io::IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    if received.bytes == 0 {
        return None;
    }
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

fn helper_missing(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::FuseMissing, "`fusermount3` is not installed").hint(MISSING_HINT)
        }
        _ => Error::io("cannot start fusermount3", &error),
    }
}

fn helper_failed(output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("user_allow_other") {
        return Error::new(ErrorKind::Denied, "this user may not share a mount with other users")
            .hint("put the line `user_allow_other` into /etc/fuse.conf");
    }
    if said.contains("/dev/fuse") && said.contains("Permission denied") {
        return Error::new(ErrorKind::Denied, "this user may not open /dev/fuse")
            .hint("give it its usual mode as root: `chmod 0666 /dev/fuse`");
    }
    if said.contains("no write access") || said.contains("Permission denied") {
        return Error::new(ErrorKind::Denied, "this user may not mount there")
            .hint("the mountpoint must be a folder that you own and may write");
    }
    if said.contains("/dev/fuse") || said.contains("fuse device") {
        return Error::new(ErrorKind::FuseMissing, "fusermount3 cannot use /dev/fuse")
            .hint(MISSING_HINT);
    }
    Error::new(ErrorKind::Io, format!("fusermount3 failed with {}", output.status))
        .hint("see `mount` and the system log")
}

fn allowed_in_fuse_conf() -> bool {
    std::fs::read_to_string("/etc/fuse.conf")
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"))
}

/// Unmounts what is at the path now.
pub(crate) fn unmount(mountpoint: &Path, detach: Detach) -> Result<()> {
    let flags = match detach {
        Detach::WhenIdle => UnmountFlags::NOFOLLOW,
        Detach::Now => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(busy()),
        Err(Errno::PERM) => unmount_by_helper(mountpoint, detach),
        Err(Errno::INVAL | Errno::NOENT) => Err(not_mounted()),
        Err(errno) => Err(Error::io("cannot unmount", &errno.into())),
    }
}

fn unmount_by_helper(mountpoint: &Path, detach: Detach) -> Result<()> {
    let mut command = Command::new(HELPER);
    command.arg("-u").env("LC_ALL", "C").stdin(Stdio::null());
    if detach == Detach::Now {
        command.arg("-z");
    }
    let output = command.arg("--").arg(mountpoint).output().map_err(helper_missing)?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("busy") => Err(busy()),
        false if said.contains("not found") || said.contains("Invalid argument") => {
            Err(not_mounted())
        }
        false if said.contains("not permitted") || said.contains("denied") => {
            Err(Error::new(ErrorKind::Denied, "only root and the user who mounted may unmount"))
        }
        false => {
            Err(Error::new(ErrorKind::Io, format!("fusermount3 failed with {}", output.status)))
        }
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::Busy, "files in the mount are open")
        .hint("`fuser -vm MOUNTPOINT` shows by whom")
}

pub(crate) fn not_mounted() -> Error {
    Error::new(ErrorKind::NotMounted, "nothing is mounted there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helper_gets_the_options() {
        let options = MountOptions::parse("ro,noexec,fsname=team").unwrap();
        assert_eq!(
            helper_options(&options),
            "default_permissions,fsname=team,subtype=strongroom,ro,noexec"
        );
    }

    #[test]
    fn set_id_and_devices_are_off_by_default() {
        let flags = flags(&MountOptions::default());
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::NODEV);
    }

    #[test]
    fn unmount_of_nothing_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = unmount(folder.path(), Detach::WhenIdle).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotMounted | ErrorKind::Denied));
    }
}
