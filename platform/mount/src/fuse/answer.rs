//! Reply at once when the core is ready, spawn when it is not.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use fuser::Errno;
use strongroom_workspace::door::Answer;
use strongroom_workspace::error::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

use super::busy_poll::BusyPoll;
use super::errno::errno;
use crate::options::ErrorSink;

/// What a reply is made of.
pub(crate) type Outcome<T> = std::result::Result<T, Errno>;

/// Whether an answer may take as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Up to [`MountOptions::answer_limit`](crate::MountOptions::answer_limit).
    Limited(Duration),
    /// For work that depends on the local disk only and must not be given up half-way: fsync.
    Unlimited,
}

/// Drives answers.
#[derive(Clone)]
pub(crate) struct Driver {
    runtime: Handle,
    report: Option<ErrorSink>,
    answer_limit: Duration,
    busy_poll: Option<Arc<BusyPoll>>,
}

impl Driver {
    /// Waits for the store up to `answer_limit`; see [`MountOptions::answer_limit`](crate::MountOptions::answer_limit).
    pub(crate) fn new(runtime: Handle, report: Option<ErrorSink>, answer_limit: Duration) -> Self {
        Self { runtime, report, answer_limit, busy_poll: None }
    }

    /// With a wait for the next request after each answer.
    pub(crate) fn with_busy_poll(self, busy_poll: Option<BusyPoll>) -> Self {
        Self { busy_poll: busy_poll.map(Arc::new), ..self }
    }

    /// For what is not unlimited.
    pub(crate) fn patience(&self) -> Patience {
        Patience::Limited(self.answer_limit)
    }

    /// Hands the outcome to `reply`, on this thread if it is there or one poll brings it.
    pub(crate) fn settle<T: Send + 'static>(
        &self,
        answer: Answer<T>,
        patience: Patience,
        reply: impl FnOnce(Outcome<T>) + Send + 'static,
    ) {
        match answer {
            Answer::Ready(result) => {
                reply(self.outcome(result));
                self.answered();
            }
            later @ (Answer::Later(_) | Answer::Blocking(_)) => {
                let driver = self.clone();
                self.drive(async move { reply(driver.outcome(wait(later, patience).await)) });
            }
        }
    }

    /// Polls once here; what is not done then goes on in the runtime.
    pub(crate) fn drive(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut future = Box::pin(future);
        let _inside = self.runtime.enter();
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            drop(self.runtime.spawn(future));
        } else {
            self.answered();
        }
    }

    /// This thread has answered and will read the next request.
    fn answered(&self) {
        if let Some(busy_poll) = &self.busy_poll {
            busy_poll.wait();
        }
    }

    /// Translates, and leaves one log line for every EIO.
    pub(crate) fn outcome<T>(&self, result: Result<T>) -> Outcome<T> {
        result.map_err(|error| {
            let errno = errno(error.kind());
            if errno == Errno::EIO
                && let Some(report) = &self.report
            {
                report(&format!("i/o error, {:?}: {error}", error.kind()));
            }
            errno
        })
    }
}

/// Waits for an answer, inside the runtime.
pub(crate) async fn wait<T: Send + 'static>(answer: Answer<T>, patience: Patience) -> Result<T> {
    match (answer, patience) {
        (Answer::Ready(result), _) => result,
        // Neither the kernel's threads nor those that drive futures: all of them have others to answer.
        (Answer::Blocking(work), _) => tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the work was given up"))),
        (Answer::Later(future), Patience::Unlimited) => future.await,
        (Answer::Later(future), Patience::Limited(limit)) => {
            match tokio::time::timeout(limit, future).await {
                Ok(result) => result,
                Err(_) => {
                    Err(Error::new(ErrorKind::Unavailable, "the store did not answer in time"))
                }
            }
        }
    }
}

/// Goes on with `next` if `answer` fails with `kind`.
pub(crate) fn otherwise<T: Send + 'static>(
    answer: Answer<T>,
    kind: ErrorKind,
    next: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    match answer {
        Answer::Ready(Err(error)) if error.kind() == kind => next(),
        Answer::Ready(result) => Answer::Ready(result),
        // ORDER: stays what it is: a deadline would not end it, and what it does would be carried out all the same.
        Answer::Blocking(work) => Answer::Blocking(Box::new(move || match work() {
            Err(error) if error.kind() == kind => next().wait(),
            result => result,
        })),
        later @ Answer::Later(_) => Answer::Later(Box::pin(async move {
            match wait(later, Patience::Unlimited).await {
                Err(error) if error.kind() == kind => wait(next(), Patience::Unlimited).await,
                result => result,
            }
        })),
    }
}

/// An answer that is a refusal.
pub(crate) fn refuse<T>(kind: ErrorKind, why: &str) -> Answer<T> {
    Answer::Ready(Err(Error::new(kind, why)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    const LIMITED: Patience = Patience::Limited(LIMIT);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    }

    #[test]
    fn ready_answer_is_replied_on_this_thread() {
        let runtime = runtime();
        let here = std::thread::current().id();
        let (sender, receiver) = mpsc::channel();
        Driver::new(runtime.handle().clone(), None, LIMIT).settle(
            Answer::Ready(Ok(7)),
            LIMITED,
            move |outcome| sender.send((outcome.unwrap(), std::thread::current().id())).unwrap(),
        );
        assert_eq!(receiver.recv().unwrap(), (7, here));
    }

    #[test]
    fn future_that_is_done_is_replied_on_this_thread() {
        let runtime = runtime();
        let here = std::thread::current().id();
        let (sender, receiver) = mpsc::channel();
        Driver::new(runtime.handle().clone(), None, LIMIT).settle(
            Answer::Later(Box::pin(async { Ok(7) })),
            LIMITED,
            move |outcome| sender.send((outcome.unwrap(), std::thread::current().id())).unwrap(),
        );
        assert_eq!(receiver.recv().unwrap(), (7, here));
    }

    #[test]
    fn future_that_waits_is_replied_later_and_elsewhere() {
        let runtime = runtime();
        let here = std::thread::current().id();
        let (go, gate) = tokio::sync::oneshot::channel::<u32>();
        let (sender, receiver) = mpsc::channel();
        Driver::new(runtime.handle().clone(), None, LIMIT).settle(
            Answer::Later(Box::pin(async { Ok(gate.await.unwrap()) })),
            LIMITED,
            move |outcome| sender.send((outcome.unwrap(), std::thread::current().id())).unwrap(),
        );
        assert!(receiver.try_recv().is_err());
        go.send(7).unwrap();
        let (value, thread) = receiver.recv().unwrap();
        assert_eq!(value, 7);
        assert_ne!(thread, here);
    }

    #[test]
    fn work_that_blocks_holds_up_neither_this_thread_nor_other_answers() {
        let runtime = runtime();
        let driver = Driver::new(runtime.handle().clone(), None, LIMIT);
        let (go, gate) = mpsc::channel::<u32>();
        let (sender, receiver) = mpsc::channel();
        let blocked = sender.clone();
        driver.settle(
            Answer::Blocking(Box::new(move || Ok(gate.recv().unwrap()))),
            LIMITED,
            move |outcome| blocked.send(outcome.unwrap()).unwrap(),
        );
        // The only thread of the runtime drives this one meanwhile.
        let later = Answer::Later(Box::pin(async {
            tokio::task::yield_now().await;
            Ok(1)
        }));
        driver.settle(later, LIMITED, move |outcome| {
            sender.send(outcome.unwrap()).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), 1);
        go.send(2).unwrap();
        assert_eq!(receiver.recv().unwrap(), 2);
    }

    #[test]
    fn what_ends_never_is_unavailable_after_the_limit_and_not_before() {
        let runtime = runtime();
        let began = std::time::Instant::now();
        let endless = Answer::<()>::Later(Box::pin(std::future::pending()));
        let (sender, receiver) = mpsc::channel();
        let driver = Driver::new(runtime.handle().clone(), None, LIMIT);
        driver.settle(endless, driver.patience(), move |outcome| sender.send(outcome).unwrap());
        assert_eq!(receiver.recv().unwrap().unwrap_err(), Errno::EHOSTUNREACH);
        assert!(began.elapsed() >= LIMIT);
    }

    #[test]
    fn every_io_error_is_reported_once() {
        let runtime = runtime();
        let (sender, receiver) = mpsc::channel();
        let sink: ErrorSink = Arc::new(move |line: &str| sender.send(line.to_string()).unwrap());
        let driver = Driver::new(runtime.handle().clone(), Some(sink), LIMIT);
        let error = Error::new(ErrorKind::Corrupt, "block 7 fails verification");
        assert_eq!(driver.outcome::<()>(Err(error)).unwrap_err(), Errno::EIO);
        assert_eq!(receiver.try_recv().unwrap(), "i/o error, Corrupt: block 7 fails verification");
        let missing = Error::new(ErrorKind::NotFound, "no such name");
        assert_eq!(driver.outcome::<()>(Err(missing)).unwrap_err(), Errno::ENOENT);
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn otherwise_goes_on_after_the_named_failure_only() {
        let exists = || refuse::<u32>(ErrorKind::Exists, "taken");
        let runtime = runtime();
        let value = |answer| runtime.block_on(wait(answer, LIMITED));
        assert_eq!(
            value(otherwise(exists(), ErrorKind::Exists, || Answer::Ready(Ok(1)))).unwrap(),
            1
        );
        let kind = value(otherwise(exists(), ErrorKind::NotFound, || Answer::Ready(Ok(1))))
            .unwrap_err()
            .kind();
        assert_eq!(kind, ErrorKind::Exists);
        let later = Answer::Later(Box::pin(async { Err(Error::new(ErrorKind::Exists, "taken")) }));
        assert_eq!(value(otherwise(later, ErrorKind::Exists, || Answer::Ready(Ok(2)))).unwrap(), 2);
    }

    #[test]
    fn work_that_blocks_has_no_deadline_also_where_something_may_follow() {
        let blocking =
            || Answer::Blocking(Box::new(|| Err(Error::new(ErrorKind::Exists, "taken"))));
        let answer = otherwise(blocking(), ErrorKind::Exists, || Answer::Ready(Ok(2)));
        assert!(matches!(answer, Answer::Blocking(_)));
        let runtime = runtime();
        assert_eq!(runtime.block_on(wait(answer, LIMITED)).unwrap(), 2);
        let slow = Answer::Later(Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(3)
        }));
        let answer = otherwise(blocking(), ErrorKind::Exists, move || slow);
        assert_eq!(runtime.block_on(wait(answer, LIMITED)).unwrap(), 3);
    }
}
