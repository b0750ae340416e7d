//! Where the files of a folder go in a package: each once, whatever it is called by now.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_records::ids::FileId;
use strongroom_records::subject::{File, Folder};

use super::Export;
use crate::files::OpenFolder;

/// Where files of a folder go in a package.
pub(super) struct Places<'e> {
    export: &'e Export,
    taken: BTreeMap<&'e str, FileId>,
    /// Files that are in the folder now.
    there: BTreeSet<FileId>,
}

impl<'e> Places<'e> {
    pub(super) fn new(export: &'e Export, folder: &OpenFolder) -> Self {
        let taken = export.names.iter().map(|(id, path)| (path.as_str(), *id)).collect();
        let Folder { files, joint, .. } = &folder.folder;
        let all = files.iter().chain(joint.iter().map(|joint| &joint.file));
        Self { export, taken, there: all.map(|file| file.id).collect() }
    }

    /// Where a file goes; none where it has gone, or where what it took the place of has.
    pub(super) fn of(&self, class: &str, file: &File) -> Option<String> {
        if self.export.names.contains_key(&file.id) || self.export.left_out.contains(&file.id) {
            return None;
        }
        let path = format!("{class}/{}", file.name);
        match self.taken.get(&*path) {
            None => Some(path),
            // That one is called otherwise now, and this is another.
            Some(before) if self.there.contains(before) => {
                let mut others = (2_u64..).map(|number| format!("{path} ({number})"));
                others.find(|path| !self.taken.contains_key(&**path))
            }
            Some(_) => None,
        }
    }
}
