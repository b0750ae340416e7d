//! The one retry policy of all network stores.
//!
//! 1. Only faults that may pass are tried again ([`FaultKind::is_passing`]).
//! 2. Every operation ends by its deadline, every try by its own.
//! 3. Pauses double and are drawn at random below their bound, so that many devices do not come back together.
//! 4. A store that was given up once is asked more briefly until it answers again, so that nobody waits long for what
//!    is known to be away.
//! 5. A read that takes much longer than reads do is asked for a second time; the first answer counts.
//! 6. A budget is shared by all operations of a store: a server that is down is not hammered by all of them at once.
//!    Tries cost, successes give back; with an empty budget an operation fails at its first fault.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_host::clock::Clock;
use strongroom_host::entropy::Entropy;
use tokio::time::{sleep, timeout};

use crate::counts::{Act, Counts};
use crate::transport::{Fault, FaultKind};

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the caller hears that the store cannot be reached.
    pub whole: Duration,
    /// Until one try is given up.
    pub once: Duration,
    /// Until a read that was not answered is asked for a second time.
    pub hedge: Duration,
    /// Bound of the first pause; later ones are up to twice as long each.
    pub pause_min: Duration,
    /// Bound of all pauses.
    pub pause_max: Duration,
}

impl Patience {
    /// The default: a caller in the kernel cannot be killed meanwhile.
    pub const DEFAULT: Patience = Patience {
        whole: Duration::from_secs(45),
        once: Duration::from_secs(15),
        hedge: Duration::from_millis(1500),
        pause_min: Duration::from_millis(100),
        pause_max: Duration::from_secs(5),
    };

    /// More time for more bytes: at least [`BYTES_PER_SECOND_MIN`].
    pub fn for_bytes(self, bytes: u64) -> Self {
        let more = Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        let usual = Duration::from_millis(bytes / BYTES_PER_MILLISECOND_USUAL);
        Self {
            whole: self.whole + 2 * more,
            once: self.once + more,
            hedge: self.hedge + usual,
            ..self
        }
    }
}

/// A connection slower than this is as good as none.
const BYTES_PER_SECOND_MIN: u64 = 256 * 1024;
/// An answer slower than this is worth asking for again: 4 MiB a second.
const BYTES_PER_MILLISECOND_USUAL: u64 = 4096;
/// Tries that a store gives away before successes must earn more.
const BUDGET_MAX: u32 = 500;
/// LIMIT: how long a store that was given up before is asked.
const AWAY_LIMIT: Duration = Duration::from_secs(5);
const RETRY_COST: u32 = 2;
const SUCCESS_GAIN: u32 = 1;

/// What was tried, and how it ended.
pub(crate) struct Tried<T> {
    pub(crate) result: Result<T, Fault>,
    /// Whether a try before the last one may have been done without our hearing of it.
    pub(crate) is_doubtful: bool,
}

/// The policy at work for one store.
pub(crate) struct Retry {
    patience: Patience,
    budget: Mutex<u32>,
    /// Set when an operation was given up, until one goes well.
    is_away: AtomicBool,
    pub(crate) counts: Counts,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Retry {
    pub(crate) fn new(
        patience: Patience,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let budget = Mutex::new(BUDGET_MAX);
        let is_away = AtomicBool::new(false);
        Self { patience, budget, is_away, counts: Counts::default(), clock, entropy }
    }

    /// How long an operation that moves so many bytes may take.
    pub(crate) fn patience_for(&self, bytes: u64) -> Patience {
        let mut patience = self.patience;
        if self.is_away.load(Ordering::Relaxed) {
            patience.whole = patience.whole.min(AWAY_LIMIT);
            patience.once = patience.once.min(AWAY_LIMIT);
        }
        patience.for_bytes(bytes)
    }

    /// Tries until it goes well, cannot go well, or time or budget end. `bytes` go one way or the other.
    pub(crate) async fn persist<T, F>(
        &self,
        act: Act,
        bytes: u64,
        mut attempt: impl FnMut() -> F,
    ) -> Tried<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let patience = self.patience_for(bytes);
        let deadline = self.clock.elapsed() + patience.whole;
        let mut bound = patience.pause_min;
        let mut is_doubtful = false;
        loop {
            self.counts.request(act);
            let left = deadline.saturating_sub(self.clock.elapsed());
            let tried = self.try_once(act, &patience, &mut attempt);
            let fault = match timeout(left.min(patience.once), tried).await {
                Ok(Ok(value)) => {
                    self.is_away.store(false, Ordering::Relaxed);
                    self.give();
                    return Tried { result: Ok(value), is_doubtful };
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::new(FaultKind::Broken, "no answer in time"),
            };
            let drawn = bound.mul_f64(self.draw());
            let pause = fault.wait.map_or(drawn, |asked| asked.max(drawn)).min(patience.pause_max);
            let is_over = self.clock.elapsed() + pause >= deadline;
            if !fault.kind.is_passing() || is_over || !self.take() {
                if fault.kind.is_passing() {
                    self.is_away.store(true, Ordering::Relaxed);
                    self.counts.failure();
                }
                return Tried { result: Err(fault), is_doubtful };
            }
            is_doubtful |= fault.kind == FaultKind::Broken;
            self.counts.retry();
            sleep(pause).await;
            bound = (bound * 2).min(patience.pause_max);
        }
    }

    /// One try; a read that takes much longer than it should is asked for a second time beside the first.
    async fn try_once<T, F>(
        &self,
        act: Act,
        patience: &Patience,
        attempt: &mut impl FnMut() -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        if act != Act::Get {
            return attempt().await;
        }
        let mut first = pin!(attempt());
        if let Ok(answer) = timeout(patience.hedge, &mut first).await {
            return answer;
        }
        self.counts.request(act);
        self.counts.hedge();
        let mut second = pin!(attempt());
        match earlier(first.as_mut(), second.as_mut()).await {
            (_, Ok(value)) => Ok(value),
            (Turn::First, Err(_)) => second.await,
            (Turn::Second, Err(_)) => first.await,
        }
    }

    /// A number from 0 to 1.
    fn draw(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.entropy.array())) / f64::from(u32::MAX)
    }

    fn take(&self) -> bool {
        let mut left = self.budget.lock();
        let can = *left >= RETRY_COST;
        if can {
            *left -= RETRY_COST;
        }
        can
    }

    fn give(&self) {
        let mut left = self.budget.lock();
        *left = (*left + SUCCESS_GAIN).min(BUDGET_MAX);
    }
}

/// Which of two was earlier.
enum Turn {
    First,
    Second,
}

/// The earlier of two answers; the other may still be awaited.
async fn earlier<T, F: Future<Output = T>>(first: Pin<&mut F>, second: Pin<&mut F>) -> (Turn, T) {
    let (mut first, mut second) = (first, second);
    poll_fn(|context| {
        if let Poll::Ready(answer) = first.as_mut().poll(context) {
            return Poll::Ready((Turn::First, answer));
        }
        second.as_mut().poll(context).map(|answer| (Turn::Second, answer))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use strongroom_host::clock::MachineClock;
    use strongroom_host::entropy::MachineEntropy;

    use super::*;

    fn retry(whole: u64, once: u64) -> Retry {
        let patience = Patience {
            whole: Duration::from_millis(whole),
            once: Duration::from_millis(once),
            hedge: Duration::from_millis(10),
            pause_min: Duration::from_millis(1),
            pause_max: Duration::from_millis(4),
        };
        Retry::new(patience, Arc::new(MachineClock::new()), Arc::new(MachineEntropy))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn a_fault_that_passes_is_tried_again_and_counted() {
        let retry = retry(10_000, 1000);
        let tries = Cell::new(0);
        let tried =
            run(
                retry.persist(Act::Put, 0, || {
                    tries.set(tries.get() + 1);
                    let done = tries.get() == 4;
                    async move {
                        if done { Ok(7) } else { Err(Fault::of_status(503, Some("SlowDown"))) }
                    }
                }),
            );
        assert_eq!((tried.result, tried.is_doubtful, tries.get()), (Ok(7), false, 4));
        let counts = retry.counts.named();
        assert!(counts.contains(&("store_puts", 4)) && counts.contains(&("store_retries", 3)));
    }

    #[test]
    fn a_fault_that_stays_is_not_tried_again() {
        let tried: Tried<()> =
            run(retry(10_000, 1000)
                .persist(Act::Get, 0, || async { Err(Fault::of_status(403, None)) }));
        assert_eq!(tried.result.unwrap_err().kind, FaultKind::Denied);
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_by_the_deadline() {
        let clock = MachineClock::new();
        let tried: Tried<()> = run(retry(100, 20).persist(Act::Get, 0, std::future::pending));
        assert_eq!(tried.result.unwrap_err().kind, FaultKind::Broken);
        assert!(tried.is_doubtful && clock.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_read_that_hangs_is_asked_for_again_beside_it_and_a_write_is_not() {
        for (act, expected) in [(Act::Get, Ok(2)), (Act::Put, Err(FaultKind::Broken))] {
            let tries = Cell::new(0);
            let tried = run(retry(200, 150).persist(act, 0, || {
                tries.set(tries.get() + 1);
                let number = tries.get();
                async move {
                    if number == 2 && act == Act::Get {
                        Ok(2)
                    } else {
                        std::future::pending().await
                    }
                }
            }));
            assert_eq!(tried.result.map_err(|fault| fault.kind), expected);
        }
    }

    #[test]
    fn a_store_known_to_be_away_is_asked_briefly_until_it_answers() {
        let retry = retry(60_000, 60_000);
        retry.is_away.store(true, Ordering::Relaxed);
        assert_eq!(retry.patience_for(0).whole, AWAY_LIMIT);
        run(retry.persist(Act::Get, 0, || async { Ok(()) })).result.unwrap();
        assert_eq!(retry.patience_for(0).whole, Duration::from_secs(60));
    }

    #[test]
    fn an_empty_budget_ends_retries_and_successes_fill_it() {
        let retry = retry(10_000, 1000);
        *retry.budget.lock() = RETRY_COST;
        let fails = || async { Err::<(), _>(Fault::of_status(500, None)) };
        run(retry.persist(Act::Get, 0, fails));
        let named = |name| retry.counts.named().into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!((named("store_gets"), named("store_failures")), (2, 1));
        for _ in 0..RETRY_COST {
            run(retry.persist(Act::Get, 0, || async { Ok(()) })).result.unwrap();
        }
        assert_eq!(*retry.budget.lock(), RETRY_COST);
    }
}
