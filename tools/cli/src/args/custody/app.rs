//! The noun `app`: applications whose subjects' data a workspace keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{In, Of};

/// `app`.
#[derive(Debug, Subcommand)]
pub enum App {
    /// Register an application and make its key
    #[command(
        after_help = "Example:\n  strongroom app create shop -w ~/work.strongroom --custody file:/etc/shop.key"
    )]
    Create(AppCreate),
    /// List the applications of a workspace
    List(In),
    /// Say where the application key is from now on: a file that moved, other holders
    #[command(
        after_help = "Example:\n  strongroom app custody file:/srv/keys/shop.key -w ~/work.strongroom --app shop"
    )]
    Custody(AppCustody),
    /// Change the application key and destroy the old one
    Rotate(AppRotate),
    /// Release nothing any more, until enabled
    Disable(AppState),
    /// Release again
    Enable(AppState),
    /// Set what profiles must look like
    Schema(AppSchema),
    /// Declare a class of data beyond `identifiable` and `owned`
    Class(AppClass),
    /// Keep a ledger of erasures and answers apart from store and home, so that no backup brings anybody back, or a consent
    #[command(
        after_help = "Example:\n  strongroom app ledger file:/mnt/apart/erased -w ~/work.strongroom --app shop"
    )]
    Ledger(AppLedger),
    /// Erase again whom a ledger or receipts of erasures name, and put on record again what they said: after a restore, where no ledger was kept
    Replay(AppReplay),
    /// List requests for a key whose shares several devices hold
    Requests(AppRequests),
    /// Give this device's share of a key to the device that asks for it
    #[command(
        after_help = "Example:\n  strongroom app agree /mnt/quorum 0123456789abcdef0123456789abcdef -w ~/work.strongroom"
    )]
    Agree(AppAgree),
    /// Set how long data of a class may be used before that is decided anew
    #[command(
        after_help = "Example:\n  strongroom app lease -w ~/work.strongroom --app shop owned --seconds 120"
    )]
    Lease(AppLease),
}

/// `app ledger`.
#[derive(Debug, Args)]
pub struct AppLedger {
    /// Where: file: and an absolute path, on other storage than what is backed up
    #[arg(value_name = "PLACE", required_unless_present_any = ["none", "lost"])]
    pub at: Option<String>,
    #[command(flatten)]
    pub of: Of,
    /// Keep none any more
    #[arg(long, conflicts_with = "at", help_heading = "Ledger")]
    pub none: bool,
    /// Give up one that is lost for good, and keep none any more: after a restore, whom only it knew to be erased is back
    #[arg(long, conflicts_with_all = ["at", "none"], help_heading = "Ledger")]
    pub lost: bool,
    /// Don't ask
    #[arg(long, requires = "lost", help_heading = "Ledger")]
    pub yes: bool,
}

/// `app custody`.
#[derive(Debug, Args)]
pub struct AppCustody {
    /// Where, with the key in it: file:PATH, env:NAME, fd:N, credential:NAME, pkcs11:…, quorum:…
    #[arg(value_name = "PLACE")]
    pub at: String,
    #[command(flatten)]
    pub place: In,
    /// Name or id of the application
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub app: String,
}

/// `app replay`.
#[derive(Debug, Args)]
pub struct AppReplay {
    /// Ledger or receipts
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub of: Of,
}

/// `app requests`.
#[derive(Debug, Args)]
pub struct AppRequests {
    /// Folder of the quorum
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub place: In,
}

/// `app agree`.
#[derive(Debug, Args)]
pub struct AppAgree {
    /// Folder of the quorum
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Id of the request
    #[arg(value_name = "REQUEST")]
    pub request: String,
    #[command(flatten)]
    pub place: In,
    /// Don't ask
    #[arg(long, help_heading = "Quorum")]
    pub yes: bool,
}

/// `app create`.
#[derive(Debug, Args)]
pub struct AppCreate {
    /// Name of the application
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub place: In,
    /// Where its key is kept: file:PATH, env:NAME, fd:N, credential:NAME, pkcs11:…, quorum:… [default: a file in the folder of keys, which must not be lost]
    #[arg(long, value_name = "PLACE", help_heading = "Application")]
    pub custody: Option<String>,
    /// How many devices must stand behind an activity or a policy set
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Application")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16))]
    pub approvals: u16,
}

/// `app rotate`.
#[derive(Debug, Args)]
pub struct AppRotate {
    #[command(flatten)]
    pub of: Of,
    /// Change the keys of all subjects first; interrupted, it goes on when asked again
    #[arg(long, help_heading = "Rotate")]
    pub everybody: bool,
    /// Seal everything of everybody anew
    #[arg(long, requires = "everybody", help_heading = "Rotate")]
    pub deep: bool,
    /// Write the signed receipt into FILE
    #[arg(long, value_name = "FILE", help_heading = "Rotate")]
    pub receipt: Option<PathBuf>,
}

/// `app disable`, `app enable`.
#[derive(Debug, Args)]
pub struct AppState {
    /// Name or id of the application
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub place: In,
}

/// `app schema`.
#[derive(Debug, Args)]
pub struct AppSchema {
    #[command(flatten)]
    pub of: Of,
    /// Read the schema from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Schema")]
    pub from: PathBuf,
}

/// `app class`.
#[derive(Debug, Args)]
pub struct AppClass {
    /// Name of the class
    #[arg(value_name = "CLASS")]
    pub name: String,
    #[command(flatten)]
    pub of: Of,
    /// It is of the special categories: only an explicit consent opens it
    #[arg(long, help_heading = "Class")]
    pub special: bool,
}

/// `app lease`.
#[derive(Debug, Args)]
pub struct AppLease {
    /// Name of the class
    #[arg(value_name = "CLASS")]
    pub class: String,
    /// How long: 1 to 86,400
    #[arg(long, value_name = "SECONDS", help_heading = "Lease")]
    pub seconds: u32,
    #[command(flatten)]
    pub of: Of,
}
