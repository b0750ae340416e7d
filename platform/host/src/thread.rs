//! Threads. The only place that starts one.

use std::io;
use std::thread::JoinHandle;

/// Starts a named thread. Linux shows the first 15 bytes of the name.
///
/// # Errors
/// When the machine has no thread left.
pub fn spawn<T, F>(name: &str, work: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
