//! Where connections come in: how many there are, how long they are waited for, how many have shown no token that holds, and
//! how much is kept for them together.
//!
//! Each door counts for itself: who crowds the one on a loopback address, as anybody on the machine may, keeps nobody
//! from the socket.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom_host::clock::Clock;

/// LIMIT: connections of one door at a time, and those among them that have shown no token that holds.
const GUEST_COUNT_MAX: usize = 128;
const STRANGER_COUNT_MAX: usize = 32;
/// LIMIT: bytes of bodies and answers that are here for the connections of one door, together. Those up to the second length are
/// not counted: what is small goes by, however much others send. A file on its way is here once, sealed: its body is wiped. While
/// it is sealed, one at a time of an application, it is here twice.
const HELD_LEN_MAX: usize = 256 << 20;
pub const SMALL_LEN_MAX: usize = 64 << 10;
/// LIMIT: exports under way by one door; each holds a piece.
const EXPORT_COUNT_MAX: usize = 4;
/// LIMIT: how long who shows no token may stay, whatever is said meanwhile.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// LIMIT: how long a head, a body or the taking of an answer, or of a piece of one, may last; and how long a connection may be idle.
const GUEST_TIME: Duration = Duration::from_secs(120);

/// A connection of the machine, whose waits can be bounded.
pub trait Wire: Read + Write + Send + 'static {
    /// Bounds the next read.
    ///
    /// # Errors
    /// Those of the connection.
    fn read_within(&self, time: Duration) -> io::Result<()>;

    /// Bounds the next write.
    ///
    /// # Errors
    /// Those of the connection.
    fn write_within(&self, time: Duration) -> io::Result<()>;
}

impl Wire for UnixStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

impl Wire for TcpStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

/// One place where connections come in.
#[derive(Debug, Default)]
pub struct Door {
    guests: AtomicUsize,
    strangers: AtomicUsize,
    held: AtomicUsize,
    exports: AtomicUsize,
}

/// Part of what a door has to give; given back when it is dropped.
pub struct Share {
    door: Arc<Door>,
    of: fn(&Door) -> &AtomicUsize,
    count: usize,
}

impl Share {
    fn take(
        door: &Arc<Door>,
        of: fn(&Door) -> &AtomicUsize,
        (count, max): (usize, usize),
    ) -> Option<Self> {
        let more = |before: usize| before.checked_add(count).filter(|after| *after <= max);
        of(door).fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Self { door: Arc::clone(door), of, count })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.of)(&self.door).fetch_sub(self.count, Ordering::SeqCst);
    }
}

/// A connection that was let in; counted off when it ends, however it ends.
pub struct Guest {
    door: Arc<Door>,
    is_known: bool,
}

impl Guest {
    /// Lets a stranger in, unless there are too many.
    pub fn enter(door: &Arc<Door>) -> Option<Self> {
        let guests = door.guests.fetch_add(1, Ordering::SeqCst);
        let strangers = door.strangers.fetch_add(1, Ordering::SeqCst);
        let guest = Self { door: Arc::clone(door), is_known: false };
        (guests < GUEST_COUNT_MAX && strangers < STRANGER_COUNT_MAX).then_some(guest)
    }

    /// Room for a body or an answer, unless others have it.
    pub fn hold(&self, len: usize) -> Option<Share> {
        let counted = if len > SMALL_LEN_MAX { len } else { 0 };
        Share::take(&self.door, |door| &door.held, (counted, HELD_LEN_MAX))
    }

    /// A turn to export, unless others have all of them.
    pub fn export(&self) -> Option<Share> {
        Share::take(&self.door, |door| &door.exports, (1, EXPORT_COUNT_MAX))
    }

    /// A token that holds was shown.
    pub fn know(&mut self) {
        if !std::mem::replace(&mut self.is_known, true) {
            self.door.strangers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.guests.fetch_sub(1, Ordering::SeqCst);
        if !self.is_known {
            self.door.strangers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A connection with a moment at which it is over, however many bytes trickle until then.
pub struct Timed<'c, W> {
    wire: W,
    clock: &'c dyn Clock,
    end: Duration,
}

impl<'c, W: Wire> Timed<'c, W> {
    /// A stranger's.
    pub fn new(wire: W, clock: &'c dyn Clock) -> Self {
        let end = clock.elapsed() + STRANGER_TIME;
        Self { wire, clock, end }
    }

    /// Begins another step, for whoever is known; a stranger's time goes on.
    pub fn next_step(&mut self, guest: &Guest) {
        if guest.is_known {
            self.end = self.clock.elapsed() + GUEST_TIME;
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_sub(self.clock.elapsed());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<W: Wire> Read for Timed<'_, W> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.wire.read_within(self.left()?)?;
        self.wire.read(out)
    }
}

impl<W: Wire> Write for Timed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.write_within(self.left()?)?;
        self.wire.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimClock;

    use super::*;

    /// Says one byte a second, for ever.
    struct Trickle(Arc<SimClock>);

    impl Read for Trickle {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.advance(Duration::from_secs(1));
            out[0] = b'a';
            Ok(1)
        }
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.advance(Duration::from_secs(1));
            Ok(bytes.len().min(1))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Wire for Trickle {
        fn read_within(&self, _: Duration) -> io::Result<()> {
            Ok(())
        }

        fn write_within(&self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_request_that_trickles_is_over_after_its_time() {
        let clock = Arc::new(SimClock::new(0));
        let mut guest = Guest::enter(&Arc::new(Door::default())).unwrap();
        let mut timed = Timed::new(Trickle(Arc::clone(&clock)), &*clock);
        let mut read = Vec::new();
        assert_eq!(timed.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::TimedOut);
        timed.next_step(&guest);
        assert_eq!((read.len(), timed.read(&mut [0; 8]).is_err()), (10, true));
        guest.know();
        timed.next_step(&guest);
        assert!(timed.read_to_end(&mut read).is_err());
        assert_eq!(read.len(), 130);
        timed.next_step(&guest);
        assert_eq!(timed.write_all(&[0; 200]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(clock.elapsed(), Duration::from_secs(250));
    }

    #[test]
    fn strangers_take_some_of_the_places_and_each_door_has_its_own() {
        let (door, other) = (Arc::new(Door::default()), Arc::new(Door::default()));
        let enter = |door| Guest::enter(door);
        let strangers: Vec<Guest> = (0..STRANGER_COUNT_MAX).filter_map(|_| enter(&door)).collect();
        assert_eq!(strangers.len(), STRANGER_COUNT_MAX);
        assert!(enter(&door).is_none() && enter(&other).is_some());
        let mut known = strangers;
        known.iter_mut().for_each(Guest::know);
        while let Some(mut guest) = enter(&door) {
            guest.know();
            known.push(guest);
        }
        assert_eq!(known.len(), GUEST_COUNT_MAX);
        drop(known);
        assert_eq!(door.guests.load(Ordering::SeqCst) + door.strangers.load(Ordering::SeqCst), 0);
        assert!(enter(&door).is_some());
    }
}
