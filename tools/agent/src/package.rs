//! Pieces of an export as one stream: a tar archive in the POSIX interchange format.

use strongroom_steward::{Result, Target};

const BLOCK_LEN: usize = 512;

/// Members of an archive, one after the other.
#[derive(Default)]
pub struct Package {
    bytes: Vec<u8>,
}

impl Package {
    /// A piece of the archive, with whatever was put into it.
    pub fn piece(self) -> Vec<u8> {
        self.bytes
    }

    /// The last piece, and the end of the archive.
    pub fn last_piece(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK_LEN, 0);
        self.bytes
    }

    fn member(&mut self, name: &[u8], kind: u8, content: &[u8]) {
        let mut head = [0; BLOCK_LEN];
        let shown = name.len().min(100);
        head[..shown].copy_from_slice(&name[..shown]);
        head[100..108].copy_from_slice(b"0000600\0");
        head[108..116].copy_from_slice(b"0000000\0");
        head[116..124].copy_from_slice(b"0000000\0");
        head[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        head[136..148].copy_from_slice(b"00000000000\0");
        head[148..156].copy_from_slice(b"        ");
        head[156] = kind;
        head[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_LEN), 0);
    }
}

impl Target for Package {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if path.len() > 100 || !path.is_ascii() {
            // The field for the name is short and of one alphabet: the real one goes before it.
            self.member(b"name", b'x', record("path", path).as_bytes());
        }
        self.member(path.as_bytes(), b'0', bytes);
        Ok(())
    }
}

/// A record of a pax header: its own length in front, which counts itself.
fn record(name: &str, value: &str) -> String {
    let rest = format!(" {name}={value}\n");
    let mut len = rest.len() + 1;
    while len.to_string().len() + rest.len() != len {
        len = len.to_string().len() + rest.len();
    }
    format!("{len}{rest}")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_record_counts_itself() {
        for len in 1..1200 {
            let record = record("path", &"a".repeat(len));
            let told: usize = record.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, record.len());
        }
    }

    #[test]
    fn any_tar_reads_a_package() {
        let mut package = Package::default();
        let long = format!("data/files/{}.txt", "n".repeat(200));
        package.write("bagit.txt", b"hello").unwrap();
        package.write(&long, &[7; 513]).unwrap();
        package.write("data/größe", b"").unwrap();
        let mut tar = Command::new("tar")
            .args(["--list", "--verbose", "--quoting-style=literal", "--file=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&package.last_piece()).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        let listed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(lines[0].contains(" 5 ") && lines[0].ends_with(" bagit.txt"));
        assert!(lines[1].contains(" 513 ") && lines[1].ends_with(&long));
        assert!(lines[2].ends_with(" data/größe"));
    }
}
