//! After an answer that takes something back: until it is in force on every consumer's device.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::ids::SubjectId;
use strongroom_steward::{Custodian, Holder, time_text};

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

/// Returns what became of the leases that an answer took the ground from. With [`Patience::Wait`], once none is left.
///
/// # Errors
/// Those of following the register; the answer is on record all the same.
pub fn settle(custodian: &mut Custodian, taken: &Taken<'_>, wait: Patience) -> Result<Vec<Holder>> {
    let clock = MachineClock::new();
    let began = clock.elapsed();
    let mut line = Progress::start();
    let holders = loop {
        let looked = custodian.keeping_up(|now| now.holders(taken.subject, taken.record));
        let holders = looked.map_err(|error| failure(&error))?;
        let now = clock.now_ns();
        let waited: Vec<&Holder> = holders.iter().filter(|own| own.is_waited_for(now)).collect();
        let Some(next) = waited.iter().map(|holder| holder.until).min() else { break holders };
        if wait == Patience::Return {
            break holders;
        }
        let text = format!("on record; {} devices have yet to let go", waited.len());
        loop {
            line.show(clock.elapsed() - began, &text);
            clock.sleep(POLL);
            let news = custodian.follow().map_err(|error| failure(&error))?;
            if news.records > 0 || clock.now_ns() >= next {
                break;
            }
        }
    };
    line.finish();
    Ok(holders)
}

/// What became of each lease, for people and for programs.
pub fn described(holders: &[Holder], names: &Names) -> (String, Value) {
    let now = MachineClock::new().now_ns();
    let (mut text, mut lines) = (String::new(), Vec::new());
    for holder in holders {
        let (name, until) = (names.of(&holder.device), time_text(holder.until));
        let said = holder.let_go.map(time_text);
        let is_over = said.is_none() && now >= holder.until;
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
    let in_force = !holders.iter().any(|holder| holder.is_waited_for(now));
    (text, json!({"in_force": in_force, "devices": lines}))
}
