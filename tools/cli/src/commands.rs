//! One file for each verb.

mod check;
mod conflict;
#[cfg(feature = "custody")]
mod custody;
mod device;
mod help;
mod history;
mod init;
mod mount;
mod offline;
mod passwd;
mod purge;
#[cfg(feature = "custody")]
mod run;
mod scrub;
mod status;
mod sync;
mod unmount;

use crate::args::{Arguments, Command};
use crate::exit::{Exit, Result};
use crate::ui::Format;

/// Does what the command line says.
///
/// # Errors
/// Those of the verb.
pub fn run(arguments: Arguments) -> Result<Exit> {
    let format = if arguments.json { Format::Json } else { Format::Text };
    match arguments.command {
        Command::Init(options) => init::run(&options, format),
        Command::Mount(options) => mount::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Run(options) => run::run(&options),
        Command::Unmount(options) => unmount::run(&options, format),
        Command::Status(options) => status::run(&options, format),
        Command::Sync(options) => sync::run(&options, format),
        Command::Keep(options) => history::keep(&options, format),
        Command::Snapshot(options) => history::snapshot(&options, format),
        Command::History(options) => history::history(&options, format),
        Command::Restore(options) => history::restore(&options, format),
        Command::Space(options) => history::space(&options, format),
        Command::Pin(options) => offline::pin(&options, format),
        Command::Unpin(options) => offline::unpin(&options, format),
        Command::Free(options) => offline::free(&options, format),
        Command::Purge(options) => purge::run(&options, format),
        Command::Check(options) => check::run(&options, format),
        Command::Scrub(options) => scrub::run(&options, format),
        Command::Passwd(options) => passwd::run(&options, format),
        Command::Conflict(options) => conflict::run(&options, format),
        Command::Device(options) => device::run(&options, format),
        #[cfg(feature = "custody")]
        Command::App(options) => custody::app::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Key(options) => custody::key::run(options, format),
        #[cfg(feature = "custody")]
        Command::Subject(options) => custody::subject::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Consumer(options) => custody::consumer::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Consent(options) => custody::consent::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Policy(options) => custody::policy::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Audit(options) => custody::audit::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Agent(options) => custody::agent::run(&options, format),
        #[cfg(feature = "custody")]
        Command::Token(options) => custody::agent::token(&options, format),
        #[cfg(not(feature = "custody"))]
        Command::Agent(_)
        | Command::Token(_)
        | Command::Run(_)
        | Command::App(_)
        | Command::Key(_)
        | Command::Subject(_)
        | Command::Consumer(_)
        | Command::Consent(_)
        | Command::Policy(_)
        | Command::Audit(_) => Err(without_custody()),
        Command::Completions(options) => help::completions(&options),
        Command::Man(options) => help::man(&options),
    }
}

/// What a program without custody says where it is asked for.
#[cfg(not(feature = "custody"))]
fn without_custody() -> crate::exit::Failure {
    crate::exit::Failure::new(
        Exit::Usage,
        "this program was built without custody of personal data",
    )
    .hint("build it with `cargo build --release --package strongroom`")
}
