//! Waiting for the signals that end a program.
//!
//! A handler writes the signal's number to a pipe; whoever holds [`Signals`] reads it. Handlers, unlike a
//! blocked mask, do not pass to programs started from here.

use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

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
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
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

#[expect(unsafe_code, reason = "signal handlers have no safe interface")]
extern "C" fn note(signal: libc::c_int) {
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

#[expect(unsafe_code, reason = "signal handlers have no safe interface")]
fn install(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value; the handler only does what handlers may do.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "raise")]
    fn raised_signals_are_received_in_order() {
        let mut signals = Signals::take().unwrap();
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
            // SAFETY: raises a signal this process handles.
            unsafe { libc::raise(signal) };
        }
        assert_eq!(signals.wait().unwrap(), Signal::Terminate);
        assert_eq!(signals.wait().unwrap(), Signal::HangUp);
        assert_eq!(signals.wait().unwrap(), Signal::Interrupt);
        assert_eq!(Signals::take().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
