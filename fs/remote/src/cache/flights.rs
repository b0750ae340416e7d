//! What is being fetched right now, so that nobody fetches it twice, and how much to fetch at a time.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use strongroom_format::ids::ObjectId;
use strongroom_store::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// LIMIT: bytes fetched in one go: half an object, so that two requests bring all of it.
pub(crate) const WINDOW_LEN_MAX: u64 = OBJECT_LEN_MAX / 2;
/// First window of somebody who goes on where he stopped.
const WINDOW_LEN_MIN: u64 = 64 << 10;
/// LIMIT: how far a reader may skip and still go on.
const GAP_LEN_MAX: u64 = 64 << 10;
/// LIMIT: objects whose readers are remembered.
const RUN_COUNT_MAX: usize = 256;
/// Misses remembered, of all objects.
const RECENT_COUNT: usize = 32;
/// So many of them in one object: somebody wants all of it, in an order of his own.
const DENSE_COUNT: usize = 4;
/// Part of a dense object that is fetched around a miss.
const DENSE_LEN: u64 = 1 << 20;
/// LIMIT: landed bytes in memory that could not be kept on the disk.
const LINGERING_BYTES_MAX: u64 = 16 << 20;
/// Longest object: what is fetched ahead does not go beyond.
const OBJECT_LEN_MAX: u64 = (8 << 20) + (64 << 10);

/// How a fetch ended; shared by all who wait for it.
type Landed = std::result::Result<Bytes, (ErrorKind, String)>;

/// A fetch under way.
#[derive(Clone)]
pub(crate) struct Flight {
    number: u64,
    /// What was asked for.
    pub(crate) range: Range<u64>,
    landed: watch::Receiver<Option<Landed>>,
}

/// Tells those who wait for a flight.
pub(crate) struct Landing {
    number: u64,
    sender: watch::Sender<Option<Landed>>,
}

/// Fetches under way and the runs of readers.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: HashMap<ObjectId, Vec<Flight>>,
    next_number: u64,
    /// Landed, and in memory only; the longest there at the front.
    lingering: VecDeque<(ObjectId, u64, u64)>,
    lingering_bytes: u64,
    runs: HashMap<ObjectId, Run>,
    /// Longest not used at the front.
    order: VecDeque<ObjectId>,
    /// Window of the last announced run: one that goes on in the next object goes on as wide.
    announced_window: u64,
    /// Objects of the last misses.
    recent: VecDeque<ObjectId>,
}

/// A reader's way through an object.
#[derive(Clone, Copy)]
struct Run {
    end: u64,
    window: u64,
    /// Where the object ends, if a fetch came back short.
    object_end: u64,
}

impl Flight {
    /// Waits, and takes a part of what was fetched; it may end before `range` does.
    pub(crate) async fn take(mut self, range: &Range<u64>) -> Result<Bytes> {
        let gone = || Error::new(ErrorKind::Unavailable, "the fetch was given up");
        let landed = self.landed.wait_for(Option::is_some).await.map_err(|_| gone())?;
        match landed.as_ref() {
            Some(Ok(bytes)) => {
                let at = |offset: u64| {
                    let from_start = offset.saturating_sub(self.range.start);
                    usize::try_from(from_start).unwrap_or(usize::MAX).min(bytes.len())
                };
                Ok(bytes.slice(at(range.start)..at(range.end)))
            }
            Some(Err((kind, message))) => Err(Error::new(*kind, message.clone())),
            None => Err(gone()),
        }
    }
}

impl Landing {
    /// Hands the outcome to all who wait.
    pub(crate) fn tell(&self, result: &Result<Bytes>) {
        let landed = match result {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => Err((error.kind(), error.to_string())),
        };
        self.sender.send_replace(Some(landed));
    }
}

impl Flights {
    /// The flight that brings all of a range.
    pub(crate) fn find(&self, id: ObjectId, range: &Range<u64>) -> Option<Flight> {
        let covers =
            |flight: &&Flight| flight.range.start <= range.start && range.end <= flight.range.end;
        self.under_way.get(&id)?.iter().find(covers).cloned()
    }

    /// Where the first flight behind `offset` begins.
    pub(crate) fn next_start(&self, id: ObjectId, offset: u64) -> Option<u64> {
        let flights = self.under_way.get(&id)?.iter();
        flights.map(|flight| flight.range.start).filter(|start| *start > offset).min()
    }

    /// The flight that brings the byte at `offset`.
    pub(crate) fn brings(&self, id: ObjectId, offset: u64) -> Option<&Flight> {
        self.under_way.get(&id)?.iter().find(|flight| flight.range.contains(&offset))
    }

    /// Begins one.
    pub(crate) fn begin(&mut self, id: ObjectId, range: Range<u64>) -> (Flight, Landing) {
        let (sender, landed) = watch::channel(None);
        let number = self.next_number;
        self.next_number += 1;
        let flight = Flight { number, range, landed };
        self.under_way.entry(id).or_default().push(flight.clone());
        (flight, Landing { number, sender })
    }

    /// Ends one; `got` bytes came. False if it was forgotten meanwhile.
    pub(crate) fn end(&mut self, id: ObjectId, landing: &Landing, got: Option<u64>) -> bool {
        self.note_end(id, landing, got);
        self.take_away(id, landing.number)
    }

    /// As [`Flights::end`], and what came is still found for a while: it is nowhere else.
    pub(crate) fn linger(&mut self, id: ObjectId, landing: &Landing, got: u64) -> bool {
        if !self.note_end(id, landing, Some(got)) {
            return false;
        }
        self.lingering.push_back((id, landing.number, got));
        self.lingering_bytes += got;
        while self.lingering_bytes > LINGERING_BYTES_MAX
            && let Some((id, number, len)) = self.lingering.pop_front()
        {
            self.lingering_bytes -= len;
            self.take_away(id, number);
        }
        true
    }

    /// Remembers where the object ends, if less came than was asked for. False if the flight was forgotten meanwhile.
    fn note_end(&mut self, id: ObjectId, landing: &Landing, got: Option<u64>) -> bool {
        let flights = self.under_way.get(&id).into_iter().flatten();
        let Some(flight) = flights.into_iter().find(|flight| flight.number == landing.number)
        else {
            return false;
        };
        let end = flight.range.start + got.unwrap_or(u64::MAX >> 1);
        if end < flight.range.end
            && let Some(run) = self.runs.get_mut(&id)
        {
            run.object_end = run.object_end.min(end);
        }
        true
    }

    fn take_away(&mut self, id: ObjectId, number: u64) -> bool {
        let Some(flights) = self.under_way.get_mut(&id) else { return false };
        let before = flights.len();
        flights.retain(|flight| flight.number != number);
        let found = flights.len() < before;
        if flights.is_empty() {
            self.under_way.remove(&id);
        }
        found
    }

    /// Nobody else takes what the flights of an object bring; true if there were any.
    pub(crate) fn forget(&mut self, id: ObjectId) -> bool {
        self.under_way.remove(&id).is_some()
    }

    /// Widens a range that must be fetched: who goes on where he stopped gets twice as much each time, and who misses
    /// again and again in one object gets what lies around.
    pub(crate) fn widen(&mut self, id: ObjectId, range: &Range<u64>, why: Why) -> Range<u64> {
        let wanted = range.end - range.start;
        let before = self.runs.get(&id).copied();
        let goes_on = before.filter(|run| {
            // The end of a window may cut through what is read next.
            range.end > run.end && range.start <= run.end.saturating_add(GAP_LEN_MAX)
        });
        let window = match (goes_on, why) {
            (Some(run), _) => (run.window * 2).max(WINDOW_LEN_MIN),
            (None, Why::Announced) if range.start < GAP_LEN_MAX => self.announced_window,
            (None, _) => wanted,
        };
        let window = window.clamp(wanted.min(WINDOW_LEN_MAX), WINDOW_LEN_MAX);
        if why == Why::Announced {
            self.announced_window = window;
        }
        let object_end = before.map_or(OBJECT_LEN_MAX, |run| run.object_end);
        let around = match why {
            Why::Asked if goes_on.is_none() => self.dense_len(id).filter(|len| *len > window),
            Why::Asked | Why::Announced => None,
        };
        let (start, window) = match around {
            Some(len) => (range.start / len * len, len),
            None => (range.start, window),
        };
        let end = (start + window).min(object_end).max(range.end);
        self.remember(id, Run { end, window, object_end });
        start..end
    }

    /// How much to fetch around a miss, if there were many in this object lately.
    fn dense_len(&mut self, id: ObjectId) -> Option<u64> {
        let count = self.recent.iter().filter(|other| **other == id).count();
        self.recent.push_back(id);
        if self.recent.len() > RECENT_COUNT {
            self.recent.pop_front();
        }
        match count / DENSE_COUNT {
            0 => None,
            1 => Some(DENSE_LEN),
            _ => Some(WINDOW_LEN_MAX),
        }
    }

    fn remember(&mut self, id: ObjectId, run: Run) {
        if self.runs.insert(id, run).is_none() {
            self.order.push_back(id);
            if self.order.len() > RUN_COUNT_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.runs.remove(&oldest);
            }
        }
    }
}

/// Why something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody waits.
    Asked,
    /// Somebody will come.
    Announced,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ObjectId = ObjectId([1; 16]);

    #[test]
    fn who_reads_on_gets_more_each_time_up_to_the_window_and_the_object() {
        let mut flights = Flights::default();
        let (mut at, mut here) = (0, 0);
        let mut fetches = Vec::new();
        while at + 4104 < OBJECT_LEN_MAX {
            if at + 4104 > here {
                let range = flights.widen(ID, &(at..at + 4104), Why::Asked);
                fetches.push(range.end - range.start);
                here = range.end;
            }
            at += 4104;
        }
        assert_eq!(fetches[..4], [4104, 64 << 10, 128 << 10, 256 << 10]);
        assert!(fetches.len() <= 9 && fetches.iter().all(|len| *len <= WINDOW_LEN_MAX));
    }

    #[test]
    fn scattered_reads_of_much_fetch_what_they_want_and_no_more() {
        let mut flights = Flights::default();
        for index in 0..1000_u64 {
            let id = ObjectId([(index * 37 % 200) as u8; 16]);
            let at = index * 7919 % 80 * 100_000;
            let range = flights.widen(id, &(at..at + 16_400), Why::Asked);
            assert_eq!(range, at..at + 16_400);
        }
    }

    #[test]
    fn who_reads_all_of_an_object_in_his_own_order_gets_it_in_few_fetches() {
        let mut flights = Flights::default();
        let mut here: Vec<Range<u64>> = Vec::new();
        for index in 0..1000_u64 {
            let at = index * 611 % 1000 * 8000;
            let range = at..at + 8000;
            if !here.iter().any(|part| part.start <= range.start && range.end <= part.end) {
                here.push(flights.widen(ID, &range, Why::Asked));
            }
        }
        assert!(here.len() <= 16, "{} fetches", here.len());
    }

    #[test]
    fn an_announced_reader_goes_on_as_wide_in_the_next_object() {
        let mut flights = Flights::default();
        let mut at = 0;
        while at < 8 << 20 {
            at = flights.widen(ID, &(at..at + (128 << 10)), Why::Announced).end;
        }
        let next = flights.widen(ObjectId([2; 16]), &(0..128 << 10), Why::Announced);
        assert_eq!(next, 0..WINDOW_LEN_MAX);
    }

    #[test]
    fn a_whole_object_comes_in_two_requests() {
        let mut flights = Flights { announced_window: WINDOW_LEN_MAX, ..Flights::default() };
        let (mut at, mut count) = (0, 0);
        while at < OBJECT_LEN_MAX {
            at = flights.widen(ID, &(at..at + (1 << 20)), Why::Announced).end;
            count += 1;
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn a_forgotten_flight_is_found_by_nobody_and_ends_as_such() {
        let mut flights = Flights::default();
        let (_, landing) = flights.begin(ID, 0..100);
        assert!(flights.find(ID, &(0..100)).is_some());
        assert!(flights.forget(ID) && !flights.forget(ID));
        assert!(flights.find(ID, &(0..100)).is_none());
        let (_, next) = flights.begin(ID, 0..100);
        assert!(!flights.end(ID, &landing, Some(100)));
        assert!(flights.end(ID, &next, Some(100)));
    }

    #[test]
    fn a_short_answer_tells_where_the_object_ends() {
        let mut flights = Flights::default();
        flights.widen(ID, &(0..100), Why::Asked);
        let range = flights.widen(ID, &(100..200), Why::Asked);
        assert!(range.end > 200);
        let (_, landing) = flights.begin(ID, range);
        flights.end(ID, &landing, Some(900));
        assert_eq!(flights.widen(ID, &(150..260), Why::Asked).end, 260);
        assert!(flights.widen(ID, &(300..400), Why::Asked).end <= 1000);
    }
}
