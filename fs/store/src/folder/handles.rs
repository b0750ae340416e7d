//! Open files of objects, the least recently used one going first. An object never changes, so neither does its handle.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::DiskFile;

/// LIMIT: files held open at a time.
const HANDLE_COUNT_MAX: usize = 256;
/// A read further than this from the end of the one before is scattered: what the machine would read beside it is not
/// wanted (a fifth of such a read's time). Packed small files, read in the order they were written, lie nearer.
const NEAR_BYTES: u64 = 256 << 10;

#[derive(Default)]
pub(super) struct Handles {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_object: HashMap<ObjectId, Handle>,
    use_count: u64,
}

struct Handle {
    file: Arc<dyn DiskFile>,
    last_use: u64,
    /// Where the last read ended.
    read_to: u64,
    is_scattered: bool,
}

impl Handles {
    pub(super) fn find(&self, id: ObjectId) -> Option<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.use_count += 1;
        let now = state.use_count;
        let handle = state.by_object.get_mut(&id)?;
        handle.last_use = now;
        Some(Arc::clone(&handle.file))
    }

    pub(super) fn keep(&self, id: ObjectId, file: Arc<dyn DiskFile>) {
        let mut state = self.state.lock();
        state.use_count += 1;
        let last_use = state.use_count;
        state.by_object.insert(id, Handle { file, last_use, read_to: 0, is_scattered: false });
        if state.by_object.len() > HANDLE_COUNT_MAX {
            let oldest = state.by_object.iter().min_by_key(|(_, handle)| handle.last_use);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                state.by_object.remove(&id);
            }
        }
    }

    /// Tells the machine when reads of an object begin, or cease, to be scattered.
    pub(super) fn will_read(&self, id: ObjectId, range: &Range<u64>) {
        let mut state = self.state.lock();
        let Some(handle) = state.by_object.get_mut(&id) else { return };
        let is_scattered = range.start.abs_diff(handle.read_to) > NEAR_BYTES;
        handle.read_to = range.end;
        if is_scattered != handle.is_scattered {
            handle.is_scattered = is_scattered;
            handle.file.expect_scattered(is_scattered);
        }
    }

    pub(super) fn forget(&self, id: ObjectId) {
        self.state.lock().by_object.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What the machine was told.
    #[derive(Default)]
    struct Told(Mutex<Vec<bool>>);

    impl DiskFile for Told {
        fn read_at(&self, _out: &mut [u8], _offset: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
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
        fn expect_scattered(&self, scattered: bool) {
            self.0.lock().push(scattered);
        }
    }

    #[test]
    fn machine_hears_once_that_reads_are_scattered_and_once_that_they_follow_each_other() {
        let (handles, told, id) =
            (Handles::default(), Arc::new(Told::default()), ObjectId([1; 16]));
        handles.keep(id, told.clone());
        for start in [0, 16_400, 40_000] {
            handles.will_read(id, &(start..start + 16_400));
        }
        assert_eq!(*told.0.lock(), []);
        for start in [5 << 20, 1 << 20, 3 << 20, (3 << 20) + 16_400] {
            handles.will_read(id, &(start..start + 16_400));
        }
        assert_eq!(*told.0.lock(), [true, false]);
    }
}
