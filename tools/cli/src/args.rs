//! The command line: every verb, option and line of help. What the verbs do lives in `commands`.

pub mod agent;
pub mod conflict;
pub mod custody;
pub mod device;
pub mod history;
pub mod offline;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0 done · 1 failed · 2 usage · 3 finished, not everything · 4 denied · 5 locked (wrong passphrase)
  6 store unreachable · 7 damaged · 70 bug · 130 interrupted

Files:
  $STRONGROOM_HOME   holds config.toml, keys of applications, state, cache and runtime files together;
                     when not set, they are where XDG says: ~/.config, ~/.local/share, ~/.local/state, ~/.cache";

/// Mount end-to-end encrypted workspaces as ordinary folders
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Answer in JSON on standard output
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an encrypted workspace
    #[command(
        after_help = "Example:\n  strongroom init ~/work.strongroom --passphrase-file ~/work.pass"
    )]
    Init(Init),
    /// Mount a workspace on a folder
    #[command(
        after_help = "Examples:\n  strongroom mount ~/work.strongroom ~/work --background\n  strongroom mount ~/work.strongroom ~/people --app shop --background"
    )]
    Mount(Mount),
    /// Run a command that sees an application's subjects, or what an activity may see of them
    #[command(
        after_help = "Example:\n  strongroom run ~/work.strongroom --app shop --activity newsletter -- ./mailing.py"
    )]
    Run(Run),
    /// Commit everything and take a mount away
    #[command(visible_alias = "umount", after_help = "Example:\n  strongroom unmount ~/work")]
    Unmount(Unmount),
    /// Show mounts and what they have yet to commit
    #[command(after_help = "Example:
  strongroom status ~/work --json

In the list, `silent` is a mount whose process does not answer (one that was stopped), `dead` one whose
process has ended. Either ends the command with 3.")]
    Status(Status),
    /// Send everything written so far to the store
    #[command(after_help = "Example:\n  strongroom sync --wait ~/work")]
    Sync(Sync),
    /// Show or change how far back history is kept
    #[command(after_help = "Example:\n  strongroom keep ~/work --days 30 --last 100

Whichever of both reaches further back counts, for all homes. Where several homes write, a week is
kept in any case. Snapshots stay whatever the rule says.")]
    Keep(history::Keep),
    /// States that are kept under a name
    #[command(subcommand)]
    Snapshot(history::Snapshot),
    /// List the versions of a file or folder that can still be read
    #[command(after_help = "Example:\n  strongroom history ~/work/report.odt")]
    History(history::History),
    /// Copy a file or folder as it was into the present
    #[command(
        after_help = "Example:\n  strongroom restore ~/work/report.odt --at 2d --to ~/work/report-old.odt

A file replaces the one that is there, in one step; a folder needs a free name."
    )]
    Restore(history::Restore),
    /// Remove files or folders and every version of them, for good
    #[command(after_help = "Example:\n  strongroom purge ~/work/sent-by-mistake.csv

Snapshots show the names and no contents. The other states before this one are gone for all files,
and machines that were offline meanwhile must mount again. What somebody copied elsewhere stays there.")]
    Purge(history::Purge),
    /// Show whose bytes lie in the store: present, history, snapshots, garbage
    #[command(after_help = "Example:\n  strongroom space ~/work --json")]
    Space(history::Target),
    /// Keep files on this device, so that they can be read offline
    #[command(after_help = "Example:\n  strongroom pin ~/work/letters

Returns when everything is here. What changes later is brought in as long as the store can be reached.")]
    Pin(offline::Pin),
    /// No longer keep files on this device; copies go when others need the room
    #[command(after_help = "Example:\n  strongroom unpin ~/work/letters")]
    Unpin(offline::Paths),
    /// Drop copies of files that this device keeps; what is pinned or not yet in the store stays
    #[command(after_help = "Example:\n  strongroom free ~/work/films")]
    Free(offline::Paths),
    /// Verify every byte that a workspace needs, changing nothing
    #[command(
        after_help = "Example:\n  strongroom check ~/work.strongroom --passphrase-file ~/work.pass

Reads the present, snapshots, and what the rule keeps of history. What applications keep of people
is verified by `strongroom audit verify`."
    )]
    Check(Check),
    /// Compare all members of a mirror and repair what differs; fills a fresh one
    #[command(
        after_help = "Example:\n  strongroom scrub mirror:/disk1/work,/disk2/work,s3://bucket/work

A copy is right if a signed record names its hash, or if most members have it. Needs no passphrase.

Where members differ in the file of a device and nobody can tell which is newer, the last change of its
passphrase decides: `strongroom check MEMBER` opens the one that took it. Give that one to `--prefer`."
    )]
    Scrub(Scrub),
    /// Change the passphrase of this device
    #[command(after_help = "Example:\n  strongroom passwd ~/work.strongroom")]
    Passwd(Passwd),
    /// Versions of a file that were written at once in several places
    #[command(subcommand)]
    Conflict(conflict::Conflict),
    /// Machines that are in a workspace
    #[command(subcommand)]
    Device(device::Device),
    /// Applications whose subjects' data this workspace keeps
    #[command(subcommand)]
    App(custody::app::App),
    /// Which keys there are, and new ones in their place
    #[command(subcommand)]
    Key(custody::key::Key),
    /// People the data is about
    #[command(subcommand)]
    Subject(custody::Subject),
    /// Processing jobs that may ask for the data
    #[command(subcommand)]
    Consumer(custody::Consumer),
    /// What people answered to processing jobs
    #[command(subcommand)]
    Consent(custody::Consent),
    /// Policies of the authorization firewall
    #[command(subcommand)]
    Policy(custody::policy::Policy),
    /// The verifiable log of everything decided and done with personal data
    #[command(subcommand)]
    Audit(custody::audit::Audit),
    /// Serve applications to programs over a local HTTP API
    #[command(
        after_help = "Example:\n  strongroom agent ~/work.strongroom --socket /run/shop.sock --tokens /etc/strongroom/tokens.json"
    )]
    Agent(agent::AgentOptions),
    /// Who may ask an agent for what
    #[command(subcommand)]
    Token(agent::Token),
    /// Print shell completions
    #[command(
        after_help = "Example:\n  strongroom completions bash > /etc/bash_completion.d/strongroom"
    )]
    Completions(Completions),
    /// Print the manual page, or write all of them into a folder
    #[command(after_help = "Example:\n  strongroom man | man -l -")]
    Man(Man),
}

/// Where the passphrase comes from: the terminal unless one of these says otherwise.
#[derive(Clone, Debug, Args)]
pub struct PassphraseSource {
    /// Read the passphrase from the first line of FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Passphrase")]
    #[arg(conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line of file descriptor N
    #[arg(long, value_name = "N", help_heading = "Passphrase")]
    pub passphrase_fd: Option<u32>,
}

/// Where the new passphrase of `passwd` comes from.
#[derive(Debug, Args)]
pub struct NewPassphraseSource {
    /// Read the new passphrase from the first line of FILE
    #[arg(long, value_name = "FILE", help_heading = "Passphrase")]
    #[arg(conflicts_with = "new_passphrase_fd")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Read the new passphrase from the first line of file descriptor N
    #[arg(long, value_name = "N", help_heading = "Passphrase")]
    pub new_passphrase_fd: Option<u32>,
}

/// What it costs to try a passphrase.
#[derive(Clone, Copy, Debug, Args)]
pub struct Guessing {
    /// Let unlocking take 64 MiB of memory instead of 256 MiB, for small machines; guessing gets as much cheaper
    #[arg(long, help_heading = "Passphrase")]
    pub little_memory: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder or URL to keep the sealed bytes in, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    /// What to call this device; `first device` when left out
    #[arg(long, value_name = "NAME", help_heading = "Device")]
    pub name: Option<String>,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    #[command(flatten)]
    pub guessing: Guessing,
}

/// `mount`.
#[derive(Debug, Args)]
pub struct Mount {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    /// Empty folder to mount on
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Return as soon as the mount answers, and serve it from the background
    #[arg(long, short = 'b', help_heading = "Mount")]
    pub background: bool,
    /// Mount options, separated by commas: ro, allow_other, noexec, fsname=NAME, subtype=NAME, …
    #[arg(short = 'o', value_name = "OPTIONS", help_heading = "Mount")]
    pub options: Vec<String>,
    /// Write in the place of another home, where the store cannot arbitrate between two; the other one must not write any more
    #[arg(long, conflicts_with = "app", help_heading = "Mount")]
    pub take_over: bool,
    /// Mount an old state, read-only: a snapshot's name, a commit's number, or a time such as 2026-11-22T15:04 (UTC), 3d
    #[arg(long, value_name = "STATE", conflicts_with = "app", help_heading = "Mount")]
    pub at: Option<String>,
    #[command(flatten)]
    pub viewing: Viewing,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// Set on the process that serves from the background.
    #[arg(long, hide = true, requires = "passphrase_fd")]
    pub detached: bool,
}

/// On whose behalf somebody looks at the data of an application's subjects.
#[derive(Debug, Args)]
pub struct Viewing {
    /// Show people's data of this application instead of the files: all of it, to read and to write, or what an activity may see
    #[arg(long, value_name = "NAME", help_heading = "Personal data")]
    pub app: Option<String>,
    /// Show what this activity may see, and no more; read-only unless it was registered to write
    #[arg(long, value_name = "NAME", requires = "app", help_heading = "Personal data")]
    pub activity: Option<String>,
    /// Where the application key is, if not where `app create` was told
    #[arg(long, value_name = "PLACE", requires = "app", help_heading = "Personal data")]
    pub custody: Option<String>,
}

impl Viewing {
    /// Who looks, if anybody does.
    pub fn lens(&self) -> Option<Lens<'_>> {
        let (app, activity) = (self.app.as_deref()?, self.activity.as_deref());
        Some(Lens { activity, app, custody: self.custody.as_deref() })
    }
}

/// An application, or one activity of it, looking.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "custody"), expect(dead_code, reason = "views are part of custody"))]
pub struct Lens<'a> {
    /// Name of the activity; none is the application's own work.
    pub activity: Option<&'a str>,
    /// Name or id of the application.
    pub app: &'a str,
    /// Where its key is, if not where it was told.
    pub custody: Option<&'a str>,
}

/// `run`.
#[derive(Debug, Args)]
#[command(mut_arg("app", |argument| argument.required(true)))]
pub struct Run {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub viewing: Viewing,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// Command and its arguments; STRONGROOM_MOUNT tells it where the data is
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

/// `unmount`.
#[derive(Debug, Args)]
pub struct Unmount {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Detach now even if programs still use it; they keep their open files until they close them
    #[arg(long, help_heading = "Unmount")]
    pub lazy: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where it is mounted; all mounts when left out
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: Option<PathBuf>,
}

/// `sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Return only when all of it is committed to the store
    #[arg(long, help_heading = "Sync")]
    pub wait: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

/// `scrub`.
#[derive(Debug, Args)]
pub struct Scrub {
    /// `mirror:PLACE,PLACE,…`, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    /// The member that is right about files of devices and requests where nobody can tell
    #[arg(long, value_name = "MEMBER", value_parser = NonEmptyStringValueParser::new())]
    pub prefer: Option<String>,
}

/// `passwd`.
#[derive(Debug, Args)]
pub struct Passwd {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    #[command(flatten)]
    pub new_passphrase: NewPassphraseSource,
    #[command(flatten)]
    pub guessing: Guessing,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write one page per verb into FOLDER instead
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_passphrase_is_never_an_argument() {
        let command = Arguments::command();
        let nouns: Vec<_> = command.get_subcommands().collect();
        let verbs = nouns.iter().flat_map(|noun| noun.get_subcommands());
        for command in nouns.iter().copied().chain(verbs) {
            for argument in
                command.get_arguments().filter(|a| a.get_id().as_str().contains("passphrase"))
            {
                let id = argument.get_id().as_str();
                assert!(
                    id.ends_with("_file") || id.ends_with("_fd"),
                    "{id} would hold a passphrase"
                );
            }
        }
    }
}
