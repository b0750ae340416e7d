//! Threads. The only place that starts one.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

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

/// What an act returns, if it does within `limit`; none where it does not, or the machine has no thread left. For calls that
/// the kernel may never come back from. Such an act goes on in its thread, which ends with the process.
pub fn within<T, F>(name: &str, limit: Duration, act: F) -> Option<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (say, said) = mpsc::channel();
    // Whoever asked may have stopped waiting.
    spawn(name, move || drop(say.send(act()))).ok()?;
    said.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_returns_is_not_waited_for() {
        let (_open, never) = mpsc::channel::<()>();
        assert_eq!(within("stuck", Duration::from_millis(1), move || never.recv()), None);
        assert_eq!(within("quick", Duration::from_secs(60), || 7), Some(7));
    }
}
