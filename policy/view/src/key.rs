//! The application key, where others have to agree that it is used: obtained by a thread of its own, since leases end and
//! withdrawals are in force meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_host::thread;
use strongroom_steward::Custodian;

/// Whether it is being obtained.
#[derive(Default)]
pub(crate) struct Key(Arc<AtomicBool>);

impl Key {
    /// Has it obtained, if what failed just now may have failed for want of it. Whoever wanted that asks again.
    pub fn obtain(&self, custodian: &Custodian) {
        let Some(key) = custodian.needed_key() else { return };
        if self.0.swap(true, Ordering::SeqCst) {
            return;
        }
        let asking = Arc::clone(&self.0);
        let started = thread::spawn("view-key", move || {
            // Where too few agree, whoever wants it next has them asked again.
            let _ = key.obtain();
            asking.store(false, Ordering::SeqCst);
        });
        if started.is_err() {
            self.0.store(false, Ordering::SeqCst);
        }
    }
}
