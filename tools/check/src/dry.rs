//! A disk that reads what is there and forgets what is written: what recovers by itself can be watched on it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use strongroom_host::disk::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

/// Reads through, writes nowhere.
pub(crate) struct DryDisk(pub(crate) Arc<dyn Disk>);

struct DryFile(Option<Arc<dyn DiskFile>>);

impl Disk for DryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = match mode {
            OpenMode::Read | OpenMode::Write => Some(self.0.open(path, OpenMode::Read)?),
            OpenMode::Create | OpenMode::CreateNew => None,
        };
        Ok(Arc::new(DryFile(file)))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename_new(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list_page(
        &self,
        path: &Path,
        after: Option<&str>,
        count_max: usize,
    ) -> io::Result<Vec<DiskEntry>> {
        match self.0.list_page(path, after, count_max) {
            // A folder that would have been made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.0.space(path)
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl DiskFile for DryFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.read_at(out, offset))
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| file.len())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
