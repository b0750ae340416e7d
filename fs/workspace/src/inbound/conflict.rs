//! Names of conflict copies: `NAME (conflict DEVICE YYYY-MM-DD).EXT`. One that lost a part of what it held for good says so:
//! `NAME (conflict DEVICE YYYY-MM-DD incomplete).EXT`.

use crate::door::NAME_LEN_MAX;

const DAY_NS: i64 = 86_400_000_000_000;
/// What all names of conflict copies have.
const MARK: &[u8] = b" (conflict ";
/// What the name of a copy has that lost a part of what it held.
const INCOMPLETE: &str = " incomplete";

/// Name for a copy of `name`, as the device's clock said. The stem is cut to keep the length within 255 bytes.
pub fn conflict_name(name: &[u8], device: &str, time_ns: i64, tries: u32) -> Vec<u8> {
    let date = date_text(time_ns);
    marked(name, &format!(" (conflict {device} {date}{})", number(tries)))
}

/// Name for a file called `name` that lost a part of what it held. A conflict copy goes on saying whose it is, and of when.
pub fn incomplete_name(name: &[u8], device: &str, time_ns: i64, tries: u32) -> Vec<u8> {
    let copy = ConflictName::parse(name).unwrap_or_else(|| ConflictName {
        original: name.to_vec(),
        device: device.to_owned(),
        date: date_text(time_ns),
        is_incomplete: true,
    });
    let (device, date, number) = (copy.device, copy.date, number(tries));
    marked(&copy.original, &format!(" (conflict {device} {date}{INCOMPLETE}{number})"))
}

/// From the second try on.
fn number(tries: u32) -> String {
    if tries == 0 { String::new() } else { format!(" {}", tries + 1) }
}

fn marked(name: &[u8], mark: &str) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    // An extension that leaves no room is none.
    let (stem, extension) = match mark.len() + extension.len() < NAME_LEN_MAX - 16 {
        true => (stem, extension),
        false => (name, &[][..]),
    };
    let room = NAME_LEN_MAX - mark.len() - extension.len();
    [cut(stem, room), mark.as_bytes(), extension].concat()
}

/// The name of a conflict copy, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictName {
    /// The name that was taken, as far as it was not cut.
    pub original: Vec<u8>,
    /// Whose version it is.
    pub device: String,
    /// When it was written there: `YYYY-MM-DD`.
    pub date: String,
    /// Whether a part of what it held is gone for good.
    pub is_incomplete: bool,
}

impl ConflictName {
    /// Takes a name apart; none if it is not one of a conflict copy.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let at = name.windows(MARK.len()).rposition(|part| part == MARK).filter(|at| *at > 0)?;
        let rest = &name[at + MARK.len()..];
        let (inside, extension) = rest.split_at(rest.iter().position(|byte| *byte == b')')?);
        let extension = &extension[1..];
        let inside = std::str::from_utf8(inside).ok()?;
        let inside = match inside.rsplit_once(' ')? {
            (before, tries) if tries.parse::<u32>().is_ok() => before,
            _ => inside,
        };
        let whole = inside.strip_suffix(INCOMPLETE);
        let (device, date) = whole.unwrap_or(inside).rsplit_once(' ')?;
        let is_date = date.len() == 10 && date.split('-').all(|part| part.parse::<u32>().is_ok());
        let ends = extension.is_empty() || extension.starts_with(b".");
        if !is_date || !ends || device.is_empty() {
            return None;
        }
        let original = [&name[..at], extension].concat();
        let (device, date, is_incomplete) = (device.to_owned(), date.to_owned(), whole.is_some());
        Some(Self { original, device, date, is_incomplete })
    }

    /// A name for who keeps both: `NAME (DEVICE DATE).EXT`, which no longer counts as a conflict copy.
    pub fn plain(&self, tries: u32) -> Vec<u8> {
        let Self { original, device, date, is_incomplete } = self;
        let word = if *is_incomplete { INCOMPLETE } else { "" };
        marked(original, &format!(" ({device} {date}{word}{})", number(tries)))
    }
}

/// The longest beginning within `len_max` that does not end inside a character.
fn cut(stem: &[u8], len_max: usize) -> &[u8] {
    let mut end = stem.len().min(len_max);
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

fn date_text(time_ns: i64) -> String {
    let (year, month, day) = date(time_ns.div_euclid(DAY_NS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the day that comes and goes is the last of its year.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_700_000_000_000_000_000;

    fn named(name: &str, tries: u32) -> String {
        String::from_utf8(conflict_name(name.as_bytes(), "laptop", NOON, tries)).unwrap()
    }

    #[test]
    fn conflict_names_keep_the_extension_and_say_who_and_when() {
        assert_eq!(named("notes.txt", 0), "notes (conflict laptop 2023-11-14).txt");
        assert_eq!(named("notes.txt", 1), "notes (conflict laptop 2023-11-14 2).txt");
        assert_eq!(named("Makefile", 0), "Makefile (conflict laptop 2023-11-14)");
        assert_eq!(named(".profile", 0), ".profile (conflict laptop 2023-11-14)");
    }

    #[test]
    fn conflict_names_are_taken_apart_again() {
        for (name, tries) in [("notes.txt", 0), ("notes.tar.gz", 3), ("Makefile", 1), (".rc", 0)] {
            let parsed = ConflictName::parse(named(name, tries).as_bytes()).unwrap();
            assert_eq!(
                (parsed.original.as_slice(), parsed.device.as_str()),
                (name.as_bytes(), "laptop")
            );
            assert_eq!(parsed.date, "2023-11-14");
        }
        let twice = b"a (conflict x 2023-11-14) (conflict my desk 2023-11-15 2).txt";
        let parsed = ConflictName::parse(twice).unwrap();
        assert_eq!(parsed.original, b"a (conflict x 2023-11-14).txt");
        assert_eq!(parsed.device, "my desk");
        assert_eq!(parsed.plain(0), b"a (conflict x 2023-11-14) (my desk 2023-11-15).txt");
        assert_eq!(parsed.plain(1), b"a (conflict x 2023-11-14) (my desk 2023-11-15 2).txt");
        for name in [
            "notes (conflict).txt",
            "notes (conflict a).txt",
            "(conflict a 2023-11-14)",
            "n (conflict a 2023-11-14)x",
        ] {
            assert_eq!(ConflictName::parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn names_of_what_is_incomplete_say_so_and_whose_it_is() {
        let incomplete = |name: &str, tries| {
            String::from_utf8(incomplete_name(name.as_bytes(), "laptop", NOON, tries)).unwrap()
        };
        for (name, tries, expected) in [
            ("notes.txt", 0, "notes (conflict laptop 2023-11-14 incomplete).txt"),
            ("notes.txt", 1, "notes (conflict laptop 2023-11-14 incomplete 2).txt"),
            (
                "a (conflict my desk 2022-01-02 3).txt",
                0,
                "a (conflict my desk 2022-01-02 incomplete).txt",
            ),
        ] {
            assert_eq!(incomplete(name, tries), expected);
            let parsed = ConflictName::parse(expected.as_bytes()).unwrap();
            assert!(parsed.is_incomplete);
            assert_eq!(parsed.date.len(), 10);
        }
        assert!(!ConflictName::parse(named("notes.txt", 1).as_bytes()).unwrap().is_incomplete);
        let parsed = ConflictName::parse(incomplete("n.txt", 1).as_bytes()).unwrap();
        assert_eq!(parsed.plain(0), b"n (laptop 2023-11-14 incomplete).txt");
    }

    #[test]
    fn conflict_names_fit_and_cut_no_character() {
        for name in ["n".repeat(255), format!("{}.txt", "\u{e4}".repeat(125)), ".".repeat(255)] {
            let made = conflict_name(name.as_bytes(), "laptop", NOON, 99);
            assert!(made.len() <= 255 && String::from_utf8(made).is_ok(), "{name}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(-1), (1969, 12, 31));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_779), (2026, 11, 22));
    }
}
