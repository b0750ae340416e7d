//! What a folder has of files about several people.

use strongroom_records::ids::FileId;
use strongroom_records::subject::{JOINT_COUNT_MAX, JointFile};

use crate::error::{Error, ErrorKind, Result};
use crate::files::{OpenFolder, full};

impl OpenFolder {
    /// A file that is about others as well.
    pub fn find_joint(&self, name: &str) -> Option<&JointFile> {
        self.folder.joint.iter().find(|joint| joint.file.name == name)
    }

    /// Nothing that is about others as well is written over by what is about one alone.
    pub fn check_not_joint(&self, name: &str) -> Result<()> {
        match self.find_joint(name) {
            None => Ok(()),
            Some(_) => {
                let message = "a file about several people has that name";
                Err(Error::new(ErrorKind::Exists, message))
            }
        }
    }

    /// Whether a name is that of a file, whomever it is about.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some() || self.find_joint(name).is_some()
    }

    /// Puts a share of a file about several people into the folder, in the place of a former share of the same.
    pub fn add_joint(&mut self, joint: JointFile, former: Option<FileId>) -> Result<()> {
        former.into_iter().for_each(|former| self.remove_joint(former));
        if self.is_full() {
            return Err(full());
        }
        let all = &mut self.folder.joint;
        if all.len() >= JOINT_COUNT_MAX {
            return Err(full_of_joint());
        }
        let at = all.partition_point(|other| other.file.name < joint.file.name);
        all.insert(at, joint);
        Ok(())
    }

    /// Takes a file about several people out of the folder: this one's share of its key is gone.
    pub fn remove_joint(&mut self, id: FileId) {
        self.folder.joint.retain(|joint| joint.file.id != id);
    }
}

pub(crate) fn full_of_joint() -> Error {
    Error::invalid("a class of a subject has 1,000 files about several people at most")
}
