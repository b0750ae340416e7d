//! Where passphrases come from: terminal, file or descriptor. Never arguments, never the environment.
//!
//! The bytes are wiped when dropped. What they unlock lives in `keystore/keyring`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_host::locked;
use zeroize::Zeroizing;

use crate::args::{Guessing, NewPassphraseSource, PassphraseSource};
use crate::exit::{Exit, Failure, Result};

/// LIMIT: longer first lines are refused, so that a wrong file is noticed.
const LEN_MAX: usize = 4096;

/// A passphrase as typed, without its line end.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// Reads the passphrase that opens something.
///
/// # Errors
/// It is empty, too long, cannot be read, or there is neither a terminal nor an option.
pub fn read(source: &PassphraseSource) -> Result<Passphrase> {
    match (&source.passphrase_file, source.passphrase_fd) {
        (Some(path), _) => from_file(path),
        (None, Some(fd)) => from_descriptor(fd),
        (None, None) => {
            let mut terminal = Terminal::open("--passphrase-file FILE")?;
            checked(terminal.ask("passphrase: ")?, "the passphrase")
        }
    }
}

/// Reads the passphrase of something new; on a terminal, twice.
///
/// # Errors
/// As [`read`]; and if the two differ.
pub fn read_first(source: &PassphraseSource) -> Result<Passphrase> {
    match (&source.passphrase_file, source.passphrase_fd) {
        (None, None) => ask_twice("--passphrase-file FILE", "passphrase"),
        _ => read(source),
    }
}

/// Reads the new passphrase of `passwd`.
///
/// # Errors
/// As [`read_first`].
pub fn read_new(source: &NewPassphraseSource) -> Result<Passphrase> {
    match (&source.new_passphrase_file, source.new_passphrase_fd) {
        (Some(path), _) => from_file(path),
        (None, Some(fd)) => from_descriptor(fd),
        (None, None) => ask_twice("--new-passphrase-file FILE", "new passphrase"),
    }
}

/// What each try of a new passphrase costs.
pub fn cost(guessing: Guessing) -> PassphraseCost {
    if guessing.little_memory { PassphraseCost::SMALL } else { PassphraseCost::DEFAULT }
}

fn ask_twice(option: &str, what: &str) -> Result<Passphrase> {
    let mut terminal = Terminal::open(option)?;
    let first = checked(terminal.ask(&format!("{what}: "))?, "the passphrase")?;
    let second = terminal.ask(&format!("{what} again: "))?;
    if *first != *second {
        return Err(Failure::new(Exit::Failed, "the two passphrases differ").hint("try again"));
    }
    Ok(first)
}

fn from_file(path: &Path) -> Result<Passphrase> {
    if path.as_os_str() == "-" {
        return from_reader(StandardInput, "standard input");
    }
    let what = format!("passphrase file `{}`", path.display());
    let file = File::open(path).map_err(|error| Failure::io(format!("opening {what}"), &error))?;
    from_reader(file, &what)
}

fn from_descriptor(fd: u32) -> Result<Passphrase> {
    let what = format!("descriptor {fd}");
    if fd == 0 {
        return from_reader(StandardInput, &what);
    }
    // Opening by number keeps descriptors that are not ours in the hands of who made them.
    let failed = |error| Failure::io(format!("opening {what}"), &error);
    let file = File::open(format!("/dev/fd/{fd}")).map_err(failed)?;
    if fd > 2 {
        locked::keep_from_programs(fd).map_err(failed)?;
    }
    from_reader(file, &what)
}

/// Where the passphrase was read from, if from nowhere that asks.
#[cfg_attr(not(feature = "custody"), expect(dead_code, reason = "no other command is run"))]
pub fn place(source: &PassphraseSource) -> Option<PathBuf> {
    let of = |fd: u32| PathBuf::from(format!("/dev/fd/{fd}"));
    match &source.passphrase_file {
        Some(path) if path.as_os_str() == "-" => Some(of(0)),
        Some(path) => Some(path.clone()),
        None => source.passphrase_fd.map(of),
    }
}

/// Standard input without the buffer that the standard library would keep, unwiped.
struct StandardInput;

impl Read for StandardInput {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), out)?)
    }
}

fn from_reader(mut reader: impl Read, what: &str) -> Result<Passphrase> {
    harden()?;
    // All room is taken at once, so that growing leaves no unwiped copy behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LEN_MAX + 2));
    let mut byte = [0];
    while line.len() < LEN_MAX + 2 {
        match reader.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(format!("reading {what}"), &error)),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    checked(line, what)
}

/// From here on this process holds secrets: no core image, no tracing.
fn harden() -> Result<()> {
    locked::harden().map_err(|error| Failure::io("forbidding core images", &error))
}

fn checked(line: Passphrase, what: &str) -> Result<Passphrase> {
    if line.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("{what} is empty"))
            .hint("the passphrase is the first line"));
    }
    if line.len() > LEN_MAX {
        return Err(Failure::new(Exit::Failed, format!("{what} is longer than {LEN_MAX} bytes"))
            .hint("the passphrase is the first line"));
    }
    Ok(line)
}

/// The controlling terminal, whatever standard input is.
struct Terminal {
    file: File,
}

impl Terminal {
    fn open(option: &str) -> Result<Self> {
        let opened = File::options().read(true).write(true).open("/dev/tty");
        match opened {
            Ok(file) if file.is_terminal() => Ok(Self { file }),
            _ => Err(Failure::new(Exit::Usage, "no terminal to ask for the passphrase")
                .hint(format!("give `{option}`"))),
        }
    }

    /// Asks with echo off. Keys that would interrupt end the line instead, so that the terminal is put back first.
    fn ask(&mut self, prompt: &str) -> Result<Passphrase> {
        harden()?;
        let failed = |error: io::Error| Failure::io("asking for the passphrase", &error);
        let before = tcgetattr(&self.file).map_err(|error| failed(error.into()))?;
        let (silent, keys) = silenced(&before);
        self.file.write_all(prompt.as_bytes()).map_err(failed)?;
        tcsetattr(&self.file, OptionalActions::Flush, &silent)
            .map_err(|error| failed(error.into()))?;
        let line = read_line(&self.file, keys);
        tcsetattr(&self.file, OptionalActions::Now, &before)
            .map_err(|error| failed(error.into()))?;
        let interrupted = || Failure::new(Exit::Interrupted, "interrupted, nothing was done");
        line.map_err(failed)?.ok_or_else(interrupted)
    }
}

/// Without echo and without signals; the two keys that interrupt end a line.
fn silenced(before: &Termios) -> (Termios, [u8; 2]) {
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN);
    let codes = &mut silent.special_codes;
    let keys = [codes[SpecialCodeIndex::VINTR], codes[SpecialCodeIndex::VQUIT]];
    codes[SpecialCodeIndex::VEOL] = keys[0];
    codes[SpecialCodeIndex::VEOL2] = keys[1];
    (silent, keys)
}

/// None if one of `keys` came; a key of 0 is switched off.
fn read_line(mut file: &File, keys: [u8; 2]) -> io::Result<Option<Passphrase>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LEN_MAX + 2));
    let mut byte = [0];
    while line.len() < LEN_MAX + 2 {
        match file.read(&mut byte)? {
            0 => break,
            _ if byte[0] == b'\n' => break,
            _ if byte[0] != 0 && keys.contains(&byte[0]) => return Ok(None),
            _ => line.push(byte[0]),
        }
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Passphrase> {
        from_reader(bytes, "it")
    }

    #[test]
    fn the_first_line_without_its_end_is_the_passphrase() {
        assert_eq!(*read_bytes(b"open sesame\nsecond\n").unwrap(), b"open sesame");
        assert_eq!(*read_bytes(b"open sesame\r\n").unwrap(), b"open sesame");
        assert_eq!(*read_bytes(b" kept ").unwrap(), b" kept ");
        assert_eq!(*read_bytes(b"\xff\xfe").unwrap(), b"\xff\xfe");
    }

    #[test]
    fn an_empty_first_line_is_refused() {
        for bytes in [&b""[..], b"\n", b"\r\n", b"\nlater"] {
            assert_eq!(read_bytes(bytes).unwrap_err().message, "it is empty");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused() {
        assert!(read_bytes(&[b'a'; 4096]).is_ok());
        assert_eq!(read_bytes(&[b'a'; 4097]).unwrap_err().message, "it is longer than 4096 bytes");
    }
}
