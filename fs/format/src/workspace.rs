//! The file `workspace` of a store: which workspace lies here, in clear.
//!
//! It is not signed and proves nothing: what it names is verified against the organisation and the chain.

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{OrganisationId, WorkspaceId};

/// Format version that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Suite of algorithms that this code reads and writes.
pub const SUITE: u16 = 1;
/// Longest file.
pub const LEN_MAX: usize = 1024;

const MARK: &str = "strongroom";

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WorkspaceFile {
    /// `strongroom`, so that the file says what it is.
    #[n(0)]
    mark: String,
    /// Format version.
    #[n(1)]
    pub version: u32,
    /// Suite of algorithms.
    #[n(2)]
    pub suite: u16,
    /// Organisation.
    #[n(3)]
    pub organisation: OrganisationId,
    /// Workspace.
    #[n(4)]
    pub workspace: WorkspaceId,
}

impl WorkspaceFile {
    /// A record of this version.
    pub fn new(organisation: OrganisationId, workspace: WorkspaceId) -> Self {
        let (version, suite) = (FORMAT_VERSION, SUITE);
        Self { mark: MARK.to_owned(), version, suite, organisation, workspace }
    }

    /// Encodes the file.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Parses the file.
    ///
    /// # Errors
    /// `Unsupported` when a newer version or another suite wrote it, `Corrupt` when it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LEN_MAX {
            return Err(Error::corrupt("workspace file too long"));
        }
        let (version, suite) = lead(bytes).ok_or(Error::corrupt("not a workspace file"))?;
        if version != FORMAT_VERSION || suite != SUITE {
            return Err(Error::new(ErrorKind::Unsupported, "store of a newer format"));
        }
        cbor::decode_canonical(bytes)
    }
}

/// Version and suite, which stand where they are in every version to come.
fn lead(bytes: &[u8]) -> Option<(u32, u16)> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.array().ok()?.filter(|len| *len >= 3)?;
    (decoder.str().ok()? == MARK).then_some(())?;
    Some((decoder.u32().ok()?, decoder.u16().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> WorkspaceFile {
        WorkspaceFile::new(OrganisationId([1; 32]), WorkspaceId([2; 16]))
    }

    #[test]
    fn a_workspace_file_survives_encoding() {
        assert_eq!(WorkspaceFile::parse(&sample().encode()).unwrap(), sample());
    }

    #[test]
    fn a_newer_version_is_said_to_be_newer() {
        let newer = WorkspaceFile { version: 2, ..sample() }.encode();
        assert_eq!(WorkspaceFile::parse(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
        let other = WorkspaceFile { suite: 2, ..sample() }.encode();
        assert_eq!(WorkspaceFile::parse(&other).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_the_frame_is_refused() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(WorkspaceFile::parse(&bytes[..end]).is_err());
        }
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[3] ^= 1 << bit;
            assert!(WorkspaceFile::parse(&bad).is_err());
        }
        assert!(WorkspaceFile::parse(b"").is_err());
        assert!(WorkspaceFile::parse(&[0; 2000]).is_err());
    }
}
