//! Open files of objects, the least recently used one going first. An object never changes, so neither does its handle.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::DiskFile;

/// LIMIT: files held open at a time.
const HANDLE_COUNT_MAX: usize = 256;

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
        state.by_object.insert(id, Handle { file, last_use });
        if state.by_object.len() > HANDLE_COUNT_MAX {
            let oldest = state.by_object.iter().min_by_key(|(_, handle)| handle.last_use);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                state.by_object.remove(&id);
            }
        }
    }

    pub(super) fn forget(&self, id: ObjectId) {
        self.state.lock().by_object.remove(&id);
    }
}
