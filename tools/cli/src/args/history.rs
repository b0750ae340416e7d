//! History: `keep`, `snapshot`, `history`, `restore`, `space`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::PassphraseSource;

/// What a command works on: a mount, which is asked, or a store, which is opened.
#[derive(Debug, Args)]
pub struct Target {
    /// Mountpoint; or the store, by folder, URL or name from the configuration, if it is not mounted here
    #[arg(value_name = "MOUNT|STORE", value_parser = NonEmptyStringValueParser::new())]
    pub target: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

/// `keep`.
#[derive(Debug, Args)]
pub struct Keep {
    #[command(flatten)]
    pub target: Target,
    /// Keep every state of the last N days
    #[arg(long, value_name = "N", help_heading = "Rule")]
    pub days: Option<u32>,
    /// Keep the last N commits, however old
    #[arg(long, value_name = "N", help_heading = "Rule")]
    pub last: Option<u64>,
    /// Keep the present and snapshots only
    #[arg(long, conflicts_with_all = ["days", "last"], help_heading = "Rule")]
    pub nothing: bool,
}

/// `snapshot`.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Commit everything and keep that state under a name
    #[command(after_help = "Example:\n  strongroom snapshot create ~/work before-the-move")]
    Create(SnapshotName),
    /// List snapshots
    #[command(after_help = "Example:\n  strongroom snapshot list ~/work")]
    List(Target),
    /// Let a snapshot go, and what nothing else needs
    #[command(after_help = "Example:\n  strongroom snapshot delete ~/work before-the-move")]
    Delete(SnapshotName),
}

/// `snapshot create` and `snapshot delete`.
#[derive(Debug, Args)]
pub struct SnapshotName {
    #[command(flatten)]
    pub target: Target,
    /// 1 to 64 letters, digits, `.`, `_` and `-`, a letter first
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// File or folder in a mount; it need not be there any more
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// `purge`.
#[derive(Debug, Args)]
pub struct Purge {
    /// Files or folders in one mount; they need not be there any more
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Do not ask
    #[arg(long, help_heading = "Purge")]
    pub yes: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// File or folder in a mount; it need not be there any more
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// As when: a snapshot's name, a commit's number, or a time such as 2026-11-22T15:04 (UTC), 2026-11-22, 30m, 2h, 3d
    #[arg(long, value_name = "STATE", help_heading = "History")]
    pub at: String,
    /// Put it there, in the same mount, instead of where it was
    #[arg(long, value_name = "PATH", help_heading = "History")]
    pub to: Option<PathBuf>,
}
