//! Moments as text for people and exports.

const DAY_S: i64 = 86_400;

/// Nanoseconds since 1970 as `2026-11-22T03:26:54Z`.
pub fn time_text(ns: i64) -> String {
    let seconds = ns.div_euclid(1_000_000_000);
    let (mut days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let mut year = 1970 + days.div_euclid(146_097) * 400;
    days = days.rem_euclid(146_097);
    while days >= year_len(year) {
        days -= year_len(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_len(year, month) {
        days -= month_len(year, month);
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

/// `2026-11-22` or `2026-11-22T03:26:54Z` as nanoseconds since 1970; none for any other text or a day that never was.
pub fn parse_time(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, separator: char, lens: [usize; 3]| {
        let mut parts = text.split(separator);
        let mut next = |len: usize| {
            let part = parts.next()?;
            let is_digits = part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
            is_digits.then(|| part.parse::<i64>().ok()).flatten()
        };
        let found = Some([next(lens[0])?, next(lens[1])?, next(lens[2])?]);
        parts.next().is_none().then_some(found).flatten()
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_day = (1970..2262).contains(&year)
        && (1..=12).contains(&month)
        && (1..=month_len(year, month)).contains(&day);
    if !is_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: i64 = (1970..year).map(year_len).sum();
    let months: i64 = (1..month).map(|month| month_len(year, month)).sum();
    let seconds = (years + months + day - 1) * DAY_S + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)
}

fn year_len(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_len(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar_and_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_317_614, "2026-11-22T03:20:14Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(time_text(seconds * 1_000_000_000), text);
            if seconds >= 0 {
                assert_eq!(parse_time(text), Some(seconds * 1_000_000_000));
            }
        }
        assert_eq!(parse_time("2000-03-01"), Some(951_868_800 * 1_000_000_000));
        for bad in ["", "2001-02-29", "2000-1-01", "2000-01-01T25:00:00Z", "2000-01-01T00:00:00"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
