//! Where the files of a folder go in a package: each once, whatever it is called by now.

use strongroom_records::subject::File;

use super::Export;
use crate::files::OpenFolder;

impl Export {
    /// Files of a folder that are about nobody else and still to come, and where they go.
    pub(super) fn left_of<'f>(
        &self,
        class: &str,
        folder: &'f OpenFolder,
    ) -> Vec<(&'f File, String)> {
        let files = folder.folder.files.iter();
        files.filter_map(|file| Some((file, self.place_of((class, file), folder)?))).collect()
    }

    /// Whatever is there now is still to come whatever it is called then.
    pub(super) fn meet(&mut self, folder: &OpenFolder) {
        self.met.extend(all(folder).map(|file| file.id));
    }

    /// Where a file goes; none where it has gone, or where it is the newer content of one that has.
    pub(super) fn place_of(
        &self,
        (class, file): (&str, &File),
        folder: &OpenFolder,
    ) -> Option<String> {
        if self.names.contains_key(&file.id) || self.left_out.contains(&file.id) {
            return None;
        }
        let path = format!("{class}/{}", file.name);
        match self.taken.get(&path) {
            None => Some(path),
            // This is another: that one is called otherwise now, or this one was there beside it.
            Some(before)
                if self.met.contains(&file.id) || all(folder).any(|own| own.id == *before) =>
            {
                let mut others = (2_u64..).map(|number| format!("{path} ({number})"));
                others.find(|path| !self.taken.contains_key(path))
            }
            Some(_) => None,
        }
    }
}

fn all(folder: &OpenFolder) -> impl Iterator<Item = &File> {
    let joint = folder.folder.joint.iter().map(|joint| &joint.file);
    folder.folder.files.iter().chain(joint)
}
