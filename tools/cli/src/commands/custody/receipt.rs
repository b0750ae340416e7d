//! Where a receipt is wanted: the file is made before the deed, so that whoever cannot have it there finds out in time.
//!
//! A deed is not undone by a disk that fills up meanwhile. What was signed is then told where it can be had again, or as it is.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_records::log::base64;

use crate::exit::{Failure, Result};

/// A place for a receipt, empty until there is one. Dropped without, it is taken away.
#[must_use = "the receipt is to be kept"]
pub(super) struct Place(Option<(PathBuf, fs::File)>);

/// Whether a receipt can be had again.
pub(super) enum Again {
    /// It is on record: this command writes the same.
    By(String),
    /// It is made once.
    Never,
}

impl Place {
    /// Makes the file, for its owner alone. One that is empty was left by a command that was interrupted.
    ///
    /// # Errors
    /// It cannot be made, or something is there.
    pub(super) fn make(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let mut options = fs::File::options();
        options.write(true).mode(0o600);
        let file = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.open(path).and_then(left_over)
            }
            made => made,
        };
        let file = file.map_err(|error| Failure::io("writing the receipt", &error))?;
        Ok(Self(Some((path.to_path_buf(), file))))
    }

    /// Writes the receipt of what was done.
    ///
    /// # Errors
    /// It could not be written; says where it is to be had, or has it.
    pub(super) fn keep(mut self, receipt: &[u8], again: &Again) -> Result<()> {
        let Some((path, mut file)) = self.0.take() else { return Ok(()) };
        file.write_all(receipt).and_then(|()| file.sync_all()).map_err(|error| {
            // Half a receipt is none.
            let _ = fs::remove_file(&path);
            let failure = Failure::io("it is done; writing the receipt", &error);
            failure.hint(match again {
                Again::By(command) => {
                    format!("`{command} --receipt FILE` writes it again, and does nothing else")
                }
                Again::Never => {
                    format!("this is the receipt, for `base64 -d > FILE`: {}", base64(receipt))
                }
            })
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((path, _)) = self.0.take() {
            // It is empty, and nobody waits for it.
            let _ = fs::remove_file(path);
        }
    }
}

/// A file that is there, if it is an empty one of ours.
fn left_over(file: fs::File) -> io::Result<fs::File> {
    let known = file.metadata()?;
    if !known.is_file() || known.len() > 0 {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that takes no byte.
    fn full(folder: &Path) -> Place {
        let path = folder.join("receipt");
        fs::write(&path, "").unwrap();
        Place(Some((path.clone(), fs::File::open(path).unwrap())))
    }

    #[test]
    fn a_receipt_that_cannot_be_written_is_told_with_the_deed() {
        let folder = tempfile::tempdir().unwrap();
        let refused = full(folder.path()).keep(b"SRr1", &Again::Never).unwrap_err();
        assert!(refused.message.starts_with("it is done; writing the receipt: "));
        let hint = "this is the receipt, for `base64 -d > FILE`: U1JyMQ==";
        assert_eq!(refused.hint.as_deref(), Some(hint));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let again = Again::By("strongroom subject erase ab".to_owned());
        let refused = full(folder.path()).keep(b"SRr1", &again).unwrap_err();
        let hint =
            "`strongroom subject erase ab --receipt FILE` writes it again, and does nothing else";
        assert_eq!(refused.hint.as_deref(), Some(hint));
    }
}
