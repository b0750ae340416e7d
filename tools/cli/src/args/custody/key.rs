//! The noun `key`: which keys there are, and new ones in their place.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::In;

/// `key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List which keys there are, how old they are and what is under way; never a key
    #[command(after_help = "Example:\n  strongroom key list -w ~/work.strongroom")]
    List(KeyList),
    /// Change keys: the application key; of the register, of somebody, of everybody; the workspace's own
    #[command(
        after_help = "Example:\n  strongroom key rotate -w ~/work.strongroom --app shop --register

Interrupted, it goes on when asked again. The workspace's own key also changes when a device is removed."
    )]
    Rotate(KeyRotate),
}

/// `key list`.
#[derive(Debug, Args)]
pub struct KeyList {
    #[command(flatten)]
    pub place: In,
    /// Name or id of an application [default: all whose key can be used without asking its holders]
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub app: Option<String>,
}

/// `key rotate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").args(["everybody", "subject"]))]
#[command(group = clap::ArgGroup::new("kind").args(["register", "everybody", "subject", "workspace_key"]))]
pub struct KeyRotate {
    #[command(flatten)]
    pub place: In,
    /// Name or id of the application
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "workspace_key",
        help_heading = "Where"
    )]
    pub app: Option<String>,
    /// Where the application key is, if not where `app create` was told: file:PATH, env:NAME, fd:N, credential:NAME, pkcs11:…, quorum:…
    #[arg(long, value_name = "PLACE", requires = "app", help_heading = "Where")]
    pub custody: Option<String>,
    /// Change the key that ordinary files are sealed under from now on; every device that is in gets it
    #[arg(long, conflicts_with_all = ["app", "receipt"], help_heading = "Rotate")]
    pub workspace_key: bool,
    /// Change the register's own key, and seal all it keeps under the new one
    #[arg(long, help_heading = "Rotate")]
    pub register: bool,
    /// Change the keys of all subjects
    #[arg(long, help_heading = "Rotate")]
    pub everybody: bool,
    /// Change the keys of one subject
    #[arg(long, value_name = "SUBJECT", help_heading = "Rotate")]
    pub subject: Option<String>,
    /// Change class keys too and seal every file anew
    #[arg(long, requires = "whose", help_heading = "Rotate")]
    pub deep: bool,
    /// Seal anew what is of this class of the subject only
    #[arg(long, value_name = "CLASS", requires_all = ["deep", "subject"], help_heading = "Rotate")]
    pub class: Option<String>,
    /// Write the signed receipt into FILE
    #[arg(long, value_name = "FILE", conflicts_with = "register", help_heading = "Rotate")]
    pub receipt: Option<PathBuf>,
}
