//! What a lease for one person gives of files about several: a share of each key, which opens nothing without the others'.

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_audit::Grant;
use strongroom_crypto::seal::Opener;
use strongroom_crypto::secret::KeyShare;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::subject::{File, JointFile};

use super::context;
use crate::error::Result;
use crate::files::damaged;
use crate::leases::{OpenClass, OpenFile};

/// A file that is about others as well.
pub struct LentJoint {
    /// The file, as it is called with this one of them.
    pub file: File,
    /// The others, ascending.
    pub others: Vec<SubjectId>,
    /// None where names may be shown and nothing more.
    share: Option<KeyShare>,
}

impl LentJoint {
    pub(crate) fn new(joint: JointFile, grant: &Grant) -> Self {
        let JointFile { file, others, share } = joint;
        Self { file, others, share: Some(share).filter(|_| grant.gives_key()) }
    }
}

impl OpenClass {
    /// Files that are about others as well, by name.
    pub fn joint(&self) -> &[LentJoint] {
        &self.released.joint
    }

    /// Opens a file about several people by the same class of each of them. Nothing is read yet. None where one of them has no
    /// share of its key.
    pub fn joint_file(all: &[Arc<OpenClass>], file: &File) -> Option<OpenFile> {
        let (own, others) = all.split_first()?;
        all.iter()
            .all(|class| class.share(&file.id).is_some())
            .then(|| OpenFile { others: others.to_vec(), ..own.file(file) })
    }

    fn share(&self, id: &FileId) -> Option<&KeyShare> {
        let joint = self.joint().iter().find(|joint| joint.file.id == *id)?;
        joint.share.as_ref()
    }
}

/// What opens a file by the shares of all whom it is about.
pub(crate) fn opener(all: &[&OpenClass], id: &FileId, prefix: &[u8]) -> Result<Opener> {
    let shares = all.iter().map(|class| class.share(id).ok_or_else(damaged));
    let key = KeyShare::join(shares.collect::<Result<Vec<_>>>()?);
    let people: BTreeSet<SubjectId> = all.iter().map(|class| class.home.subject).collect();
    let own = all.first().ok_or_else(damaged)?;
    let home = (own.home.organisation, own.home.application);
    let context = context(home, own.released.class, &people, id);
    Opener::new(&key, &context, prefix).map_err(|_| damaged())
}
