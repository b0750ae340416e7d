//! Waiting for a future on a thread that may block.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use strongroom_store::Later;

use crate::error::{Error, Result};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future to its end. Those of a folder store are ready at the first poll.
pub fn wait<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
        return result;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Drives some futures side by side, each to its end. Fails with the first error there was.
///
/// # Errors
/// Theirs.
pub fn wait_all(asked: Vec<Later<'_, ()>>) -> Result<()> {
    let mut asked: Vec<_> = asked.into_iter().map(Some).collect();
    let mut failed = None;
    wait(poll_fn(|context| {
        for slot in &mut asked {
            let Some(one) = slot else { continue };
            if let Poll::Ready(result) = one.as_mut().poll(context) {
                *slot = None;
                failed = failed.take().or(result.err());
            }
        }
        match asked.iter().all(Option::is_none) {
            true => Poll::Ready(failed.take().map_or(Ok(()), |error| Err(Error::from(error)))),
            false => Poll::Pending,
        }
    }))
}
