//! STATE on the command line: a snapshot's name, a commit's number, or a time.

use strongroom_host::clock::{Clock, MachineClock};
use strongroom_workspace::At;
use strongroom_workspace::history::snapshot::is_snapshot_name;

use crate::exit::{Exit, Failure, Result};

const SECOND_NS: i64 = 1_000_000_000;

/// Reads what was typed.
///
/// # Errors
/// It is none of these.
pub fn parse(typed: &str) -> Result<At> {
    let now = MachineClock::new().now_ns();
    let found = typed.parse().ok().map(At::Commit);
    let found = found.or_else(|| ago(typed).map(|ago| At::Time(now.saturating_sub(ago))));
    let found = found.or_else(|| time(typed).map(At::Time));
    let found = found.or_else(|| is_snapshot_name(typed).then(|| At::Snapshot(typed.to_owned())));
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{typed}` is no state")).hint(
            "give a snapshot's name, a commit's number, or a time such as 2026-11-22T15:04 (UTC), 2026-11-22, 30m, 2h, 3d",
        )
    })
}

/// `30m` and the like, in nanoseconds.
fn ago(typed: &str) -> Option<i64> {
    let (count, unit) = typed.split_at_checked(typed.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    count.parse::<i64>().ok().filter(|count| *count >= 0)?.checked_mul(seconds * SECOND_NS)
}

/// `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM`, `YYYY-MM-DDTHH:MM:SS`, perhaps with `Z`: UTC. The end of what is named.
fn time(typed: &str) -> Option<i64> {
    let typed = typed.strip_suffix('Z').unwrap_or(typed);
    let (date, clock) = match typed.split_once(['T', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (typed, None),
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let seconds = match clock.map(|clock| numbers(clock, ':')) {
        None => 86_400,
        Some(Some(parts)) => match parts[..] {
            [hour @ 0..24, minute @ 0..60] => hour * 3600 + minute * 60 + 60,
            [hour @ 0..24, minute @ 0..60, second @ 0..61] => {
                hour * 3600 + minute * 60 + second + 1
            }
            _ => return None,
        },
        Some(None) => return None,
    };
    if !(1970..=2260).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((days(year, month, day) * 86_400 + seconds) * SECOND_NS - 1)
}

fn numbers(text: &str, between: char) -> Option<Vec<i64>> {
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit()).then(|| part.parse().ok());
    text.split(between).map(|part| digits(part).flatten()).collect()
}

/// Days from 1970-01-01 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted in years that begin with March, so that the day that comes and goes is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_number_a_time_or_a_name() {
        assert_eq!(parse("77").unwrap(), At::Commit(77));
        assert_eq!(parse("before-1").unwrap(), At::Snapshot("before-1".to_owned()));
        let at = |typed| match parse(typed).unwrap() {
            At::Time(time) => (time + 1) / SECOND_NS,
            other => panic!("{other:?}"),
        };
        assert_eq!(at("1970-01-01"), 86_400);
        assert_eq!(at("2000-03-01T00:00:00Z"), 951_868_801);
        assert_eq!(at("2026-11-22T15:04"), 1_795_359_900);
        assert!(at("2h") < at("1h"));
        for wrong in ["", "2026-13-01", "2026-01", "-5", "a/b", "2026-01-01T25:00"] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
