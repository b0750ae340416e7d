//! The machine: running programs, finding and installing what is missing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::Outcome;

/// The folder of the repository.
pub fn root() -> PathBuf {
    // tools/xtask is two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Shows a heading on standard error.
pub fn heading(text: &str) {
    eprintln!("\n== {text}");
}

/// Runs a command with its output shown.
pub fn run(command: &mut Command) -> Outcome {
    let shown = shown(command);
    let ended = command.status().map_err(|error| format!("`{shown}` does not start: {error}"))?;
    if ended.success() { Ok(()) } else { Err(format!("`{shown}` failed: {ended}")) }
}

/// Runs a command and hands each line of its output to `seen`.
pub fn watch(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<ExitStatus, String> {
    let shown = shown(command);
    let failed = |error: std::io::Error| format!("`{shown}` does not run: {error}");
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let both = writer.try_clone().map_err(failed)?;
    let mut child =
        command.stdin(Stdio::null()).stdout(writer).stderr(both).spawn().map_err(failed)?;
    // The command keeps the write ends; the reader would never see the end of the output.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
        seen(&line);
    }
    child.wait().map_err(failed)
}

/// Runs a command quietly and returns what it printed.
pub fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let out = command.output().map_err(|error| format!("`{shown}` does not start: {error}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(format!("`{shown}` failed: {}\n{said}", out.status));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Where a program is, looking through PATH and the folders of system programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|p| p.is_file())
}

/// A program and the Debian package that has it.
pub struct Need {
    /// Program, a file when it starts with `/`, or a module as `python3 -m MODULE`.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
}

impl Need {
    fn is_met(&self) -> bool {
        if let Some(module) = self.program.strip_prefix("python3 -m ") {
            let import = format!("import {module}");
            let mut command = Command::new("python3");
            command.arg("-c").arg(import).stderr(Stdio::null());
            return command.status().is_ok_and(|ended| ended.success());
        }
        if self.program.starts_with('/') {
            return Path::new(self.program).exists();
        }
        find(self.program).is_some()
    }
}

/// Makes sure that every program is there: installs the missing ones as root with apt-get, else names them.
pub fn require(needs: &[Need]) -> Outcome {
    let missing = |needs: &[Need]| -> Vec<&'static str> {
        needs.iter().filter(|need| !need.is_met()).map(|need| need.package).collect()
    };
    let mut packages = missing(needs);
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("missing: {0}\nhint: apt-get install {0}", packages.join(" "));
    if !is_root() || find("apt-get").is_none() {
        return Err(by_hand);
    }
    heading(&format!("installing {}", packages.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.stdout(Stdio::null());
        run(&mut command)
    };
    let mut install = vec!["install", "-y", "-q", "--no-install-recommends"];
    install.extend(&packages);
    // A machine that knows its packages needs no update; one that does not fails the first time.
    apt(&install).or_else(|_| apt(&["update", "-q"]).and_then(|()| apt(&install)))?;
    if missing(needs).is_empty() { Ok(()) } else { Err(by_hand) }
}

/// What mounting takes.
pub const FUSE: &[Need] = &[Need { program: "fusermount3", package: "fuse3" }];

/// Whether this machine can mount at all, and if not, why.
pub fn fuse_trouble() -> Option<&'static str> {
    if !Path::new("/dev/fuse").exists() {
        return Some(
            "/dev/fuse is missing (`modprobe fuse`; in a container `--device /dev/fuse --cap-add SYS_ADMIN`)",
        );
    }
    None
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        uid.and_then(|ids| ids.split_ascii_whitespace().nth(1)) == Some("0")
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
