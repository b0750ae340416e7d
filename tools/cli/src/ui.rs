//! Everything the command says: the answer on standard output, the talk on standard error.
//!
//! A reader that went away (`strongroom status | head -1`) is no failure. Quiet on success; progress only on
//! a terminal and only after a second.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use strongroom_host::clock::{Clock, MachineClock};

use crate::exit::{Exit, Failure, Result};

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document; keys are only ever added.
    Json,
}

/// Whether standard output is gone. Nothing more is written then.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes the answer: `text` for people, `json` for programs. An empty text writes nothing.
///
/// # Errors
/// Standard output refuses, for another reason than that nobody reads it.
pub fn answer(format: Format, text: &str, json: &Value) -> Result<()> {
    match format {
        Format::Text => write_out(harmless(text).as_bytes()),
        Format::Json => write_out(format!("{json}\n").as_bytes()),
    }
}

/// Writes raw bytes to standard output.
///
/// # Errors
/// As [`answer`].
pub fn write_out(bytes: &[u8]) -> Result<()> {
    if CLOSED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(Failure::io("writing the answer", &error)),
    }
}

/// Says something to the person in front of a terminal; silent in scripts.
pub fn tell(text: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        // Nobody is left to tell about a closed terminal.
        let _ = writeln!(err, "{}", harmless(text));
    }
}

/// Text that does nothing to a terminal: names of files and devices come from others. Control characters but line ends
/// become `\u{…}`.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escaped =
        |c: char| if is_harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// A line for the log of a mount, with its time.
pub fn log(text: &str) {
    let seconds = MachineClock::new().now_ns().div_euclid(1_000_000_000);
    crate::background::bound_log();
    // A log that cannot be written cannot be told so either.
    let line = format!("{} strongroom: {text}", time_text(seconds));
    let _ = writeln!(io::stderr().lock(), "{}", harmless(&line));
}

/// Seconds since 1970 as `2026-11-22T03:26:54Z`.
pub fn time_text(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years start in March here, so that the leap day is the last of one; eras have 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The two lines of a failure.
pub fn failure_text(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("strongroom: {}\nhint: {hint}\n", failure.message),
        None => format!("strongroom: {}\n", failure.message),
    }
}

/// Reports why the command failed.
pub fn report(failure: &Failure) {
    let _ = io::stderr().lock().write_all(harmless(&failure_text(failure)).as_bytes());
}

/// A command line that clap refused, in the words of this program.
pub fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).replace('\'', "`");
    let missing: Vec<&str> =
        text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    let message =
        if missing.is_empty() { message } else { format!("{message} {}", missing.join(" ")) };
    Failure::new(Exit::Usage, message)
        .hint("`strongroom --help` and `strongroom COMMAND --help` say more")
}

/// A line on the terminal that is rewritten while long work goes on.
pub struct Progress {
    shown: bool,
    terminal: bool,
    last: Duration,
}

impl Progress {
    /// Starts; nothing is shown before a second has passed.
    pub fn start() -> Self {
        Self { shown: false, terminal: io::stderr().is_terminal(), last: Duration::from_secs(1) }
    }

    /// Shows `text` if `elapsed` is at least a second and the last line is old enough.
    pub fn show(&mut self, elapsed: Duration, text: &str) {
        if !self.terminal || elapsed < self.last {
            return;
        }
        self.last = elapsed + Duration::from_millis(200);
        self.shown = true;
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
    }

    /// Wipes the line.
    pub fn finish(self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// A byte count for people: `0 B`, `12.3 MiB`.
pub fn bytes_text(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_do_nothing_to_a_terminal() {
        assert_eq!(harmless("plain é\nnext\n"), "plain é\nnext\n");
        assert_eq!(harmless("a\x1b[31mb\rc\u{9b}2J\n"), "a\\u{1b}[31mb\\u{d}c\\u{9b}2J\n");
    }

    #[test]
    fn byte_counts_read_well() {
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(bytes_text(1023), "1023 B");
        assert_eq!(bytes_text(1024), "1.0 KiB");
        assert_eq!(bytes_text(1536), "1.5 KiB");
        assert_eq!(bytes_text(12_897_485), "12.3 MiB");
        assert_eq!(bytes_text(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn times_in_the_log_are_those_of_the_calendar() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(time_text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time_text(1_795_317_614), "2026-11-22T03:20:14Z");
        assert_eq!(time_text(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn a_failure_is_one_line_and_one_line_of_advice() {
        let failure = Failure::new(Exit::Locked, "wrong passphrase for `x`").hint("try again");
        assert_eq!(
            failure_text(&failure),
            "strongroom: wrong passphrase for `x`\nhint: try again\n"
        );
    }
}
