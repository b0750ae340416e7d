//! `strongroom purge`: files and every version of them go for good.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_workspace::ask::{Reply, Request};

use super::history::{inside, other_answer};
use crate::args::history::Purge;
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// LIMIT: how long the command waits for the end.
const WAIT_MAX: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

/// Purges, and waits until nothing of it is stored any more.
///
/// # Errors
/// Not in one mount; a file is open or has other names; the store cannot be reached.
pub fn run(options: &Purge, format: Format) -> Result<Exit> {
    let mut mount = None;
    let mut paths = Vec::new();
    for path in &options.paths {
        let (here, path) = inside(path)?;
        if mount.as_ref().is_some_and(|mount| *mount != here) {
            return Err(Failure::new(Exit::Usage, "the paths are in several mounts")
                .hint("purge in one mount at a time"));
        }
        mount = Some(here);
        paths.push(path.into());
    }
    let mount = mount.ok_or_else(|| Failure::new(Exit::Usage, "nothing is named"))?;
    if !options.yes {
        confirm(options)?;
    }
    let Reply::Purged(purged) = control::ask(&mount, &Request::Purge(paths))? else {
        return Err(other_answer());
    };
    let ended = !purged.goes_on || wait(&mount)?;
    let json = json!({
        "purged": purged.inodes,
        "moved_elsewhere": purged.moved,
        "open_elsewhere": purged.open,
        "open_on": purged.open_on,
        "done": ended,
    });
    let mut text = String::new();
    if purged.moved > 0 {
        let moved = purged.moved;
        text = format!("{moved} that were there once have another name now and were left alone\n");
    }
    if purged.open > 0 {
        let (open, places) = (
            purged.open,
            match purged.open_on.is_empty() {
                true => "another device".to_owned(),
                false => purged.open_on.join(", "),
            },
        );
        text += &format!(
            "{open} that were removed are still open on {places} and were left alone: purge again when they are closed\n"
        );
    }
    if !ended {
        text += "it goes on in the background; `strongroom status` says why if it cannot\n";
    }
    ui::answer(format, &text, &json)?;
    Ok(if ended && purged.moved + purged.open == 0 { Exit::Done } else { Exit::Partial })
}

/// True when it has ended.
fn wait(mount: &Path) -> Result<bool> {
    let clock = MachineClock::new();
    while clock.elapsed() < WAIT_MAX {
        match control::ask(mount, &Request::IsPurging)? {
            Reply::Is(false) => return Ok(true),
            Reply::Is(true) => clock.sleep(PAUSE),
            _ => return Err(other_answer()),
        }
    }
    Ok(false)
}

fn confirm(options: &Purge) -> Result<()> {
    let refused =
        || Failure::new(Exit::Failed, "nothing was changed").hint("say `yes`, or give `--yes`");
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    let mut err = io::stderr().lock();
    for path in &options.paths {
        let _ = writeln!(err, "{}", path.display());
    }
    let _ =
        write!(err, "remove these with every version, and all history but snapshots? (yes/no) ");
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::io("asking", &error))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}
