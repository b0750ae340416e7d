//! Time for requests: what it is, and waiting for it. Simulated in unit tests.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use strongroom_host::clock::Clock;

/// A wait.
pub(crate) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time that futures can wait for.
pub(crate) trait Timer: Send + Sync {
    /// Since some fixed point; never goes back.
    fn now(&self) -> Duration;
    /// Over once so much time has passed.
    fn sleep(&self, time: Duration) -> Sleep;
}

/// The time of this machine.
pub(crate) struct MachineTimer(pub(crate) Arc<dyn Clock>);

impl Timer for MachineTimer {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(time))
    }
}

/// What `work` brings, unless `limit` passes before.
pub(crate) async fn within<T>(
    timer: &dyn Timer,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut work, mut over) = (pin!(work), timer.sleep(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => over.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Time that passes when nothing else can happen.
#[cfg(test)]
pub(crate) mod simulated {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    pub(crate) struct SimulatedTimer(Arc<Mutex<Waits>>);

    #[derive(Default)]
    struct Waits {
        now: Duration,
        asleep: Vec<(Duration, Waker)>,
    }

    impl Timer for SimulatedTimer {
        fn now(&self) -> Duration {
            self.0.lock().now
        }

        fn sleep(&self, time: Duration) -> Sleep {
            let (waits, end) = (self.0.clone(), self.now() + time);
            Box::pin(poll_fn(move |context| {
                let mut waits = waits.lock();
                if waits.now >= end {
                    return Poll::Ready(());
                }
                waits.asleep.push((end, context.waker().clone()));
                Poll::Pending
            }))
        }
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl SimulatedTimer {
        /// Drives `work` to its end; each time it waits, until the next instant that something waits for.
        pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let waker = Waker::from(woken.clone());
            let mut work = pin!(work);
            loop {
                if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return done;
                }
                if !woken.0.swap(false, Ordering::Relaxed) {
                    self.pass();
                    woken.0.store(false, Ordering::Relaxed);
                }
            }
        }

        fn pass(&self) {
            let mut waits = self.0.lock();
            let next = waits.asleep.iter().map(|(end, _)| *end).min();
            waits.now = next.expect("something waits for a time").max(waits.now);
            let now = waits.now;
            waits.asleep.retain(|(end, _)| *end > now);
        }
    }

    /// All of them, side by side.
    pub(crate) async fn join<T>(works: Vec<impl Future<Output = T>>) -> Vec<T> {
        let mut works: Vec<_> = works.into_iter().map(Box::pin).collect();
        let mut done: Vec<Option<T>> = works.iter().map(|_| None).collect();
        poll_fn(|context| {
            for (work, done) in works.iter_mut().zip(&mut done) {
                if done.is_none()
                    && let Poll::Ready(value) = work.as_mut().poll(context)
                {
                    *done = Some(value);
                }
            }
            if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        done.into_iter().flatten().collect()
    }
}
