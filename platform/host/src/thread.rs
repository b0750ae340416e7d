//! Threads. The only place that starts one.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

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

/// What a future brings on this thread, which may wait, if it does within `limit`. One that does not is given up.
pub fn wait_within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let end = Instant::now() + limit;
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
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

    #[test]
    fn a_future_that_brings_nothing_is_given_up() {
        let never = std::future::pending::<()>();
        assert_eq!(wait_within(Duration::from_millis(1), never), None);
        let mut is_second = false;
        let second = std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut is_second, true) { Poll::Ready(7) } else { Poll::Pending }
        });
        assert_eq!(wait_within(Duration::from_secs(60), second), Some(7));
    }
}
