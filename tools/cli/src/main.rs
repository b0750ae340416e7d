//! The `strongroom` command: parses the command line, does one verb, ends with a documented number.
//!
//! What each verb does is in `commands`, how rooms are put together in `assemble`, what is printed in `ui`, which
//! number means what in `exit`. Nothing another room would want lives here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod assemble;
mod background;
mod commands;
mod control;
mod exit;
mod home;
mod mountpoint;
mod note;
mod passphrase;
mod place;
mod state;
mod ui;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Arguments;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error).into(),
    };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| commands::run(arguments)));
    let exit = match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            ui::report(&failure);
            failure.exit
        }
        Err(_) => {
            ui::report(
                &Failure::new(Exit::Bug, "stopped by a bug").hint("please report the lines above"),
            );
            Exit::Bug
        }
    };
    exit.into()
}

/// Help and version are answers; everything else clap says is a usage failure.
fn refuse(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    let written = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ui::write_out(text.as_bytes()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{text}");
            return Exit::Usage;
        }
        _ => Err(ui::usage_failure(error)),
    };
    match written {
        Ok(()) => Exit::Done,
        Err(failure) => {
            ui::report(&failure);
            failure.exit
        }
    }
}
