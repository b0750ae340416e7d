//! The one retry policy of all network stores.
//!
//! 1. Only faults that may pass are tried again ([`FaultKind::is_passing`]).
//! 2. What counts is silence, not time: a try is given up when nothing has moved for a while, an operation when nothing has
//!    moved for a longer while, all its tries and pauses together. A line that is slow and carries is waited for.
//! 3. However well it moves, an operation ends after [`OPERATION_LIMIT`].
//! 4. Pauses double and are drawn at random below their bound, so that many devices do not come back together.
//! 5. A store that was given up once is asked more briefly until it answers again, so that nobody waits long for what
//!    is known to be away.
//! 6. A read of which nothing comes for much longer than usual is asked for a second time. One of the two that has brought
//!    nothing is dropped when the other brings something; else the first whole answer counts.
//! 7. Each operation takes a turn ([`Turns`]), and loses it when a try stood still: fewer share a line too slow for all.
//! 8. A budget is shared by all operations of a store: a server that is down is not hammered by all of them at once.
//!    Tries cost, successes give back; with an empty budget an operation fails at its first fault.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_host::entropy::Entropy;

use crate::counts::{Act, Counts};
use crate::meter::Meter;
use crate::timer::{Timer, within};
use crate::transport::{Fault, FaultKind};
use crate::turns::{Turn, Turns};

/// How long to try, while nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the caller hears that the store cannot be reached.
    pub whole: Duration,
    /// Until one try is given up.
    pub once: Duration,
    /// Until a read is asked for a second time.
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
}

/// LIMIT: the longest operation, whatever moves: 8 MiB at 2.4 KB a second.
pub const OPERATION_LIMIT: Duration = Duration::from_secs(3600);
/// What a connection took may lie in a buffer: it is given so much time to go on as this speed needs.
const BUFFERED_BYTES_PER_SECOND: u64 = 256 * 1024;
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
    pub(crate) timer: Arc<dyn Timer>,
    entropy: Arc<dyn Entropy>,
}

/// How one try ended.
enum Ended<T> {
    Answered(Result<T, Fault>),
    StoodStill,
}

/// A request under way.
struct Request<F> {
    work: Pin<Box<F>>,
    meter: Meter,
}

/// Where an operation stands.
struct Course {
    act: Act,
    patience: Patience,
    /// When it ends at the latest.
    end: Duration,
    /// How long nothing has moved so far, pauses among it.
    silence: Duration,
    /// What a connection took at most in one of the tries before.
    taken: u64,
}

impl Course {
    /// Silence that is left, while a connection has taken so many bytes.
    fn left(&self, taken: u64) -> Duration {
        // What was taken may lie in a buffer: for two tries, as much time as it may need.
        let allowed = self.patience.whole + 2 * self.buffered(self.taken.max(taken));
        allowed.saturating_sub(self.silence)
    }

    /// When a try is given up, if nothing more moves.
    fn end_of_try(&self, watch: &Watch) -> Duration {
        let taken = watch.bytes();
        let limit = self.patience.once + self.buffered(taken);
        self.end.min(watch.moved_at() + limit.min(self.left(taken)))
    }

    /// How long it may take to go on with what a connection took.
    fn buffered(&self, taken: u64) -> Duration {
        match self.act {
            Act::Put => Duration::from_millis(taken * 1000 / BUFFERED_BYTES_PER_SECOND),
            Act::Get | Act::Head | Act::List | Act::Delete => Duration::ZERO,
        }
    }
}

/// When the requests of one try last moved.
#[derive(Clone)]
struct Watch {
    began: Duration,
    meters: Vec<Meter>,
}

impl Watch {
    fn moved_at(&self) -> Duration {
        self.meters.iter().filter_map(Meter::moved_at).max().unwrap_or(self.began)
    }

    fn bytes(&self) -> u64 {
        self.meters.iter().map(Meter::bytes).sum()
    }
}

impl Retry {
    pub(crate) fn new(
        patience: Patience,
        timer: Arc<dyn Timer>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let budget = Mutex::new(BUDGET_MAX);
        let is_away = AtomicBool::new(false);
        Self { patience, budget, is_away, counts: Counts::default(), timer, entropy }
    }

    /// How long to try now.
    pub(crate) fn patience(&self) -> Patience {
        let mut patience = self.patience;
        if self.is_away.load(Ordering::Relaxed) {
            patience.whole = patience.whole.min(AWAY_LIMIT);
            patience.once = patience.once.min(AWAY_LIMIT);
        }
        patience
    }

    /// Tries until it goes well, cannot go well, or time or budget end.
    pub(crate) async fn persist<T, F>(
        &self,
        act: Act,
        turns: &Turns,
        mut attempt: impl FnMut(Meter) -> F,
    ) -> Tried<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let (patience, end) = (self.patience(), self.timer.now() + OPERATION_LIMIT);
        let mut course = Course { act, patience, end, silence: Duration::ZERO, taken: 0 };
        let mut bound = patience.pause_min;
        let mut is_doubtful = false;
        let mut turn = None;
        loop {
            if turn.is_none() {
                turn = self.turn(turns, end).await;
            }
            if turn.is_none() {
                return Tried { result: Err(silence()), is_doubtful };
            }
            // It may have become known meanwhile that the store is away.
            course.patience = self.patience();
            let mut watch = Watch { began: self.timer.now(), meters: Vec::new() };
            let fault = match self.try_once(&course, &mut watch, &mut attempt).await {
                Ended::Answered(Ok(value)) => {
                    self.is_away.store(false, Ordering::Relaxed);
                    self.give();
                    turns.went_well();
                    return Tried { result: Ok(value), is_doubtful };
                }
                Ended::Answered(Err(fault)) => fault,
                Ended::StoodStill => {
                    turn = turn.and_then(|turn| turns.lose(turn));
                    silence()
                }
            };
            let drawn = bound.mul_f64(self.draw());
            let pause = fault.wait.map_or(drawn, |asked| asked.max(drawn)).min(patience.pause_max);
            let now = self.timer.now();
            course.silence += now.saturating_sub(watch.moved_at()) + pause;
            course.taken = course.taken.max(watch.bytes());
            let is_over = course.left(0).is_zero() || now + pause >= end;
            if !fault.kind.is_passing() || is_over || !self.take() {
                if fault.kind.is_passing() {
                    self.is_away.store(true, Ordering::Relaxed);
                    self.counts.failure();
                }
                return Tried { result: Err(fault), is_doubtful };
            }
            is_doubtful |= fault.kind == FaultKind::Broken;
            self.counts.retry();
            self.timer.sleep(pause).await;
            bound = (bound * 2).min(patience.pause_max);
        }
    }

    /// Waits for a turn, unless the store is away, or gets known to be: who has the turns finds out.
    async fn turn<'a>(&self, turns: &'a Turns, end: Duration) -> Option<Turn<'a>> {
        let often = AWAY_LIMIT.min(self.patience.once);
        loop {
            let turn = within(&*self.timer, often, turns.take()).await;
            let is_away = self.is_away.load(Ordering::Relaxed);
            if turn.is_some() || is_away || self.timer.now() >= end {
                return turn;
            }
        }
    }

    /// One try, given up when nothing has moved for too long. A read that does not begin or go on is asked for a second
    /// time beside the first.
    async fn try_once<T, F>(
        &self,
        course: &Course,
        watch: &mut Watch,
        attempt: &mut impl FnMut(Meter) -> F,
    ) -> Ended<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut first = self.request(course.act, watch, attempt);
        let alone = watch.clone();
        let until = || match course.act {
            Act::Get => course.end_of_try(&alone).min(alone.moved_at() + course.patience.hedge),
            Act::Put | Act::Head | Act::List | Act::Delete => course.end_of_try(&alone),
        };
        if let Some(answer) = self.drive(first.work.as_mut(), until).await {
            return Ended::Answered(answer);
        }
        if course.end_of_try(&alone) <= self.timer.now() {
            return Ended::StoodStill;
        }
        self.counts.hedge();
        let second = self.request(course.act, watch, attempt);
        let mut both = Box::pin(earlier(first, second));
        match self.drive(both.as_mut(), || course.end_of_try(watch)).await {
            Some(answer) => Ended::Answered(answer),
            None => Ended::StoodStill,
        }
    }

    fn request<F>(
        &self,
        act: Act,
        watch: &mut Watch,
        attempt: &mut impl FnMut(Meter) -> F,
    ) -> Request<F> {
        self.counts.request(act);
        let meter = Meter::new(self.timer.clone());
        watch.meters.push(meter.clone());
        Request { work: Box::pin(attempt(meter.clone())), meter }
    }

    /// Goes on with `work` until the instant that `until` names, and that moves on while something moves.
    async fn drive<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
        until: impl Fn() -> Duration,
    ) -> Option<T> {
        loop {
            let left = until().saturating_sub(self.timer.now());
            let done = within(&*self.timer, left, work.as_mut()).await;
            if done.is_some() || until() <= self.timer.now() {
                return done;
            }
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

fn silence() -> Fault {
    Fault::new(FaultKind::Broken, "no answer in time")
}

/// The earlier answer of two requests for the same. One that has brought nothing is dropped when the other moves.
async fn earlier<T, F>(first: Request<F>, second: Request<F>) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let before = [first.meter.bytes(), 0];
    let mut both = [Some(first), Some(second)];
    poll_fn(|context| {
        for index in 0..2 {
            let Some(request) = &mut both[index] else { continue };
            if let Poll::Ready(answer) = request.work.as_mut().poll(context) {
                let may_go_well = matches!(&answer, Err(fault) if fault.kind.is_passing());
                if !may_go_well || both[1 - index].is_none() {
                    return Poll::Ready(answer);
                }
                both[index] = None;
            }
        }
        let [Some(first), Some(second)] = &both else { return Poll::Pending };
        let bytes = [first.meter.bytes(), second.meter.bytes()];
        for index in 0..2 {
            let other = 1 - index;
            if bytes[index] == 0 && bytes[other] > before[other] {
                both[index] = None;
                break;
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
