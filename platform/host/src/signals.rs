//! Waiting for the signals that end a program.
//!
//! A handler writes the signal's number to a pipe; whoever holds [`Signals`] reads it. Handlers, unlike a
//! blocked mask, do not pass to programs started from here.

use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// A signal that asks the program to end or to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: somebody pressed ctrl-c.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal went away.
    HangUp,
}

/// Receiver of signals. One per process.
#[derive(Debug)]
pub struct Signals {
    pipe: std::io::PipeReader,
}

static PIPE: AtomicI32 = AtomicI32::new(-1);
static HAS_COME: AtomicBool = AtomicBool::new(false);
const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

impl Signals {
    /// Takes over SIGINT, SIGTERM and SIGHUP of this process, for good.
    ///
    /// # Errors
    /// `AlreadyExists` the second time; those of making a pipe.
    pub fn take() -> io::Result<Self> {
        let (pipe, writer) = std::io::pipe()?;
        // The write end must never block the handler; it stays open as long as the process.
        rustix::io::ioctl_fionbio(&writer, true)?;
        let writer = writer.into_raw_fd();
        if PIPE.compare_exchange(-1, writer, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        for signal in ENDING {
            install(signal)?;
        }
        Ok(Signals { pipe })
    }

    /// Blocks until one arrives.
    ///
    /// # Errors
    /// Those of reading a pipe.
    pub fn wait(&mut self) -> io::Result<Signal> {
        loop {
            let mut number = [0];
            self.pipe.read_exact(&mut number)?;
            match i32::from(number[0]) {
                libc::SIGINT => return Ok(Signal::Interrupt),
                libc::SIGTERM => return Ok(Signal::Terminate),
                libc::SIGHUP => return Ok(Signal::HangUp),
                _ => {}
            }
        }
    }
}

/// Notes the signals that end the program, and nothing more, until it is dropped: whoever waits looks at [`has_come`], and leaves
/// things tidy before the program ends. Where [`Signals`] has taken them it changes nothing.
pub struct Heeded(Vec<(libc::c_int, libc::sigaction)>);

impl Heeded {
    /// Begins to note them. One that the program was started to ignore is ignored.
    ///
    /// # Errors
    /// The machine refuses.
    pub fn begin() -> io::Result<Self> {
        let mut own = Self(Vec::new());
        if PIPE.load(Ordering::SeqCst) >= 0 {
            return Ok(own);
        }
        for signal in ENDING {
            let before = install(signal)?;
            own.0.push((signal, before));
            if before.sa_sigaction == libc::SIG_IGN {
                restore(signal, &before);
            }
        }
        Ok(own)
    }
}

impl Drop for Heeded {
    fn drop(&mut self) {
        // Who has taken them over since keeps them.
        if PIPE.load(Ordering::SeqCst) < 0 {
            self.0.iter().for_each(|(signal, before)| restore(*signal, before));
        }
    }
}

/// Whether one has come to this process while [`Signals`] or a [`Heeded`] was there.
pub fn has_come() -> bool {
    HAS_COME.load(Ordering::SeqCst)
}

#[expect(unsafe_code, reason = "signal handlers have no safe interface")]
extern "C" fn note(signal: libc::c_int) {
    HAS_COME.store(true, Ordering::SeqCst);
    let number = [signal.to_le_bytes()[0]];
    // SAFETY: write(2) may be called in a handler; the buffer lives on this stack. errno is put back, the
    // interrupted code may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(PIPE.load(Ordering::SeqCst), number.as_ptr().cast(), 1);
        *errno = before;
    }
}

/// Returns what was done with it before.
#[expect(unsafe_code, reason = "signal handlers have no safe interface")]
fn install(signal: libc::c_int) -> io::Result<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid value; the handler only does what handlers may do.
    let (done, before) = unsafe {
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = std::mem::zeroed();
        action.sa_sigaction = note as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&mut action.sa_mask);
        (libc::sigaction(signal, &action, &raw mut before), before)
    };
    if done == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "signal handlers have no safe interface")]
fn restore(signal: libc::c_int, before: &libc::sigaction) {
    // SAFETY: what is set was there before. It cannot fail for a signal that was set.
    unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "raise")]
    fn raised_signals_are_received_in_order_and_noted_by_who_only_heeds_them() {
        let heeded = Heeded::begin().unwrap();
        assert!(!has_come());
        // SAFETY: raises a signal this process handles.
        unsafe { libc::raise(libc::SIGTERM) };
        assert!(has_come());
        drop(heeded);
        let mut signals = Signals::take().unwrap();
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
            // SAFETY: raises a signal this process handles.
            unsafe { libc::raise(signal) };
        }
        assert_eq!(signals.wait().unwrap(), Signal::Terminate);
        assert_eq!(signals.wait().unwrap(), Signal::HangUp);
        assert_eq!(signals.wait().unwrap(), Signal::Interrupt);
        drop(Heeded::begin().unwrap());
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGHUP) };
        assert_eq!(signals.wait().unwrap(), Signal::HangUp);
        assert_eq!(Signals::take().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
