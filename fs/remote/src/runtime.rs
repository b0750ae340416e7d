//! The threads that drive network requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use strongroom_store::{Error, ErrorKind, Later, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Threads that drive requests; opening and hashing happen elsewhere.
const THREAD_COUNT: usize = 2;

/// A runtime that may be dropped anywhere, inside another one too.
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// `Internal` when the machine gives no thread.
    pub(crate) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREAD_COUNT)
            .thread_name("remote")
            .enable_all()
            .build()
            .map_err(|_| Error::new(ErrorKind::Internal, "no threads for the network"))?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("taken at drop only").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last owner may be a task of another runtime, where waiting is not allowed.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Begins work at once; the answer can be awaited by any executor. Work nobody waits for any more is given up.
pub(crate) fn begin<'a, T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Later<'a, T> {
    Box::pin(Begun(handle.spawn(work)))
}

struct Begun<T>(JoinHandle<Result<T>>);

impl<T> Future for Begun<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| {
            let ended = || Error::new(ErrorKind::Unavailable, "the request was given up");
            joined.unwrap_or_else(|_| Err(ended()))
        })
    }
}

impl<T> Drop for Begun<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
