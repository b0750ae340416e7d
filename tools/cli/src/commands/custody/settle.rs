//! After an answer that takes something back: until it is in force on every consumer's device.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_format::ids::DeviceId;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::ids::SubjectId;
use strongroom_steward::{Custodian, Holder, Moment, time_text};

use crate::assemble::custody::{Names, failure};
use crate::exit::Result;
use crate::ui::Progress;

/// How often the register is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Whether a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until devices have let go or their leases are over.
    Wait,
    /// Not at all.
    Return,
}

/// An answer on record.
pub struct Taken<'a> {
    /// Whose.
    pub subject: &'a SubjectId,
    /// In which record.
    pub record: u64,
}

/// What became of somebody's leases on a device.
pub struct Settled {
    holder: Holder,
    /// Whether it may still use something.
    is_waited_for: bool,
}

/// When leases end of devices that said nothing, from when it was first looked at them on: by the wall clock, which the log
/// names them by, and by the time since boot, since that one may be set meanwhile.
#[derive(Default)]
struct Ends(BTreeMap<DeviceId, (i64, Moment)>);

impl Ends {
    fn settled(&mut self, holder: Holder, now: Moment) -> Settled {
        let new = (holder.until, now.end_at(holder.until));
        let noted = self.0.entry(holder.device).or_insert(new);
        if noted.0 != holder.until {
            *noted = new;
        }
        let is_waited_for = holder.let_go.is_none() && now.is_before(&noted.1);
        Settled { holder, is_waited_for }
    }

    /// Whether any of those that are waited for has come.
    fn has_come(&self, waited: &[&Settled], now: Moment) -> bool {
        let end = |own: &&Settled| self.0.get(&own.holder.device);
        waited.iter().filter_map(end).any(|(_, end)| !now.is_before(end))
    }
}

/// Returns what became of the leases that an answer took the ground from. With [`Patience::Wait`], once none is left.
///
/// # Errors
/// Those of following the register; the answer is on record all the same.
pub fn settle(
    custodian: &mut Custodian,
    taken: &Taken<'_>,
    wait: Patience,
) -> Result<Vec<Settled>> {
    let clock = MachineClock::new();
    let (began, mut ends) = (clock.elapsed(), Ends::default());
    let mut line = Progress::start();
    let holders = loop {
        let looked = custodian.keeping_up(|now| now.holders(taken.subject, taken.record));
        let now = Moment::now(&clock);
        let looked = looked.map_err(|error| failure(&error))?.into_iter();
        let holders: Vec<Settled> = looked.map(|own| ends.settled(own, now)).collect();
        let waited: Vec<&Settled> = holders.iter().filter(|own| own.is_waited_for).collect();
        if waited.is_empty() || wait == Patience::Return {
            break holders;
        }
        let text = format!("on record; {} devices have yet to let go", waited.len());
        loop {
            line.show(clock.elapsed() - began, &text);
            clock.sleep(POLL);
            let news = custodian.follow().map_err(|error| failure(&error))?;
            if news.records > 0 || ends.has_come(&waited, Moment::now(&clock)) {
                break;
            }
        }
    };
    line.finish();
    Ok(holders)
}

/// What became of each lease, for people and for programs.
pub fn described(holders: &[Settled], names: &Names) -> (String, Value) {
    let (mut text, mut lines) = (String::new(), Vec::new());
    for Settled { holder, is_waited_for } in holders {
        let (name, until) = (names.of(&holder.device), time_text(holder.until));
        let said = holder.let_go.map(time_text);
        let is_over = said.is_none() && !is_waited_for;
        text += &match &said {
            Some(time) => format!("{name}: let go at {time}\n"),
            None if is_over => format!("{name}: said nothing; its lease was over at {until}\n"),
            None => format!("{name}: its lease is over at {until} at the latest\n"),
        };
        lines.push(json!({
            "device": holder.device.to_string(), "name": name, "let_go": said,
            "lease_end": until, "lease_over": is_over,
        }));
    }
    let in_force = !holders.iter().any(|own| own.is_waited_for);
    (text, json!({"in_force": in_force, "devices": lines}))
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimClock;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Set forward, the wall clock says too early that a lease is over; the device counts from boot.
    #[test]
    fn no_lease_is_over_before_its_time_has_passed_wherever_the_wall_clock_is_set() {
        let (clock, mut ends) = (SimClock::new(100 * SECOND), Ends::default());
        let until = 102 * SECOND;
        let device = DeviceId([1; 16]);
        let holder = Holder { device, until, until_elsewhere: None, let_go: None };
        let mut is_waited_for = |holder: Holder, clock: &SimClock| {
            let settled = ends.settled(holder, Moment::now(clock));
            let come = ends.has_come(&[&settled], Moment::now(clock));
            assert_eq!(come, holder.let_go.is_none() && !settled.is_waited_for);
            settled.is_waited_for
        };
        assert!(is_waited_for(holder, &clock));
        clock.set_now_ns(4_000 * SECOND);
        assert!(is_waited_for(holder, &clock));
        let let_go = Some(101 * SECOND);
        assert!(!is_waited_for(Holder { let_go, ..holder }, &clock));
        clock.advance(Duration::from_secs(2));
        assert!(!is_waited_for(holder, &clock));
    }
}
