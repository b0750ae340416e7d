//! What moves in a request: bytes of its body on their way out, and of the answer's on their way in.
//!
//! A byte counts as out when the connection takes it. Some may lie in buffers of this machine then, or of one on the way:
//! [`crate::retry`] allows for that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::timer::Timer;

/// Pieces in which a connection is given a body: it may take all that it is given at once.
const PIECE_LEN: usize = 64 << 10;

/// Tells how much of one request has moved, and when it last did. Clones tell the same.
#[derive(Clone)]
pub struct Meter(Option<Arc<Reading>>);

struct Reading {
    timer: Arc<dyn Timer>,
    bytes: AtomicU64,
    /// Nanoseconds on the timer; 0 before the first byte.
    moved_at: AtomicU64,
}

impl Meter {
    /// Nothing has moved yet.
    pub(crate) fn new(timer: Arc<dyn Timer>) -> Self {
        let (bytes, moved_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Some(Arc::new(Reading { timer, bytes, moved_at })))
    }

    /// Of a request that is too short for anybody to look.
    pub(crate) fn unread() -> Self {
        Self(None)
    }

    /// Bytes moved just now.
    pub fn moved(&self, bytes: usize) {
        let Some(reading) = self.0.as_ref().filter(|_| bytes > 0) else { return };
        let now = u64::try_from(reading.timer.now().as_nanos()).unwrap_or(u64::MAX);
        reading.moved_at.store(now.max(1), Ordering::Relaxed);
        reading.bytes.fetch_add(bytes as u64, Ordering::Release);
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |reading| reading.bytes.load(Ordering::Acquire))
    }

    /// When something last moved.
    pub(crate) fn moved_at(&self) -> Option<Duration> {
        let at = self.0.as_ref()?.moved_at.load(Ordering::Relaxed);
        (at > 0).then(|| Duration::from_nanos(at))
    }
}

/// A body that is counted as it moves.
pub(crate) struct Metered<B> {
    body: B,
    /// Of the last frame, what did not go yet.
    rest: Bytes,
    meter: Meter,
}

impl<B> Metered<B> {
    pub(crate) fn new(body: B, meter: Meter) -> Self {
        Self { body, rest: Bytes::new(), meter }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Metered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let piece_len = self.rest.len().min(PIECE_LEN);
        let piece = self.rest.split_to(piece_len);
        self.meter.moved(piece_len);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::timer::simulated::SimulatedTimer;

    #[test]
    fn a_body_goes_in_pieces_and_says_all_along_how_long_it_is() {
        let timer = SimulatedTimer::default();
        let meter = Meter::new(Arc::new(timer.clone()));
        let all: Bytes = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut body = Metered::new(Full::new(all.clone()), meter.clone());
        assert_eq!((meter.bytes(), meter.moved_at()), (0, None));
        let mut got = Vec::new();
        while got.len() < all.len() {
            assert_eq!(body.size_hint().exact(), Some((all.len() - got.len()) as u64));
            assert!(!body.is_end_stream());
            let frame = timer.run(async { body.frame().await.unwrap().unwrap() });
            got.extend_from_slice(&frame.into_data().unwrap());
            assert!(got.len() as u64 == meter.bytes() && meter.bytes() <= all.len() as u64);
        }
        assert!(body.is_end_stream() && got == all && meter.moved_at().is_some());
    }
}
