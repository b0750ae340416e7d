//! `policy`: what the authorization firewall goes by.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::Of;
use crate::args::PassphraseSource;

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Validate policies and put them in force, or propose them where two devices are needed
    Set(PolicySet),
    /// Approve the policies that wait, as another device than proposed them
    #[command(
        after_help = "Example:\n  strongroom policy activate 2 3f7b…c1 -w ~/work.strongroom --app shop"
    )]
    Activate(PolicyActivate),
    /// Validate policies, changing nothing
    #[command(after_help = "Example:\n  strongroom policy check shop.cedar")]
    Check(PolicyCheck),
    /// Show the policies in force, or those that wait
    Show(PolicyShow),
    /// List every policy set that ever was in force
    History(Of),
    /// Try policies on cases: requests, and what is expected of each
    #[command(after_help = "Examples:\n  strongroom policy test cases.json --policies shop.cedar
  strongroom policy test cases.json -w ~/work.strongroom --app shop

Classes beyond `identifiable` and `owned` are those that the application declared, or, without one,
those that the file lists as `classes`, in the order in which they were declared.")]
    Test(PolicyTest),
    /// List past decisions that other policies would change; changes nothing
    #[command(
        after_help = "Example:\n  strongroom policy what-if new.cedar -w ~/work.strongroom --app shop --since 2026-11-01"
    )]
    WhatIf(PolicyWhatIf),
    /// Have a decision point of somebody else's asked as well: AuthZEN 1.0, on this machine
    #[command(
        after_help = "Example:\n  strongroom policy point http://127.0.0.1:8181 -w ~/work.strongroom --app shop"
    )]
    Point(PolicyPoint),
    /// Say why a decision fell as it did
    Explain(PolicyExplain),
    /// Show or set how long files and people are kept, or take away what is due
    #[command(
        after_help = "Examples:\n  strongroom policy retention -w ~/work.strongroom --app shop --class owned --days 365
  strongroom policy retention -w ~/work.strongroom --app shop --subjects --days 1095 --notice 30
  strongroom policy retention -w ~/work.strongroom --app shop --run

`strongroom subject list --due` tells who is due, and what they have notice of. Whoever is used again stays, and
so does whoever is held or restricted."
    )]
    Retention(PolicyRetention),
}

/// `policy point`.
#[derive(Debug, Args)]
pub struct PolicyPoint {
    /// Where it is asked: http://127.0.0.1:PORT or unix:/PATH
    #[arg(value_name = "PLACE", required_unless_present = "none")]
    pub at: Option<String>,
    #[command(flatten)]
    pub of: Of,
    /// Ask none any more
    #[arg(long, conflicts_with = "at", help_heading = "Policies")]
    pub none: bool,
}

/// `policy activate`.
#[derive(Debug, Args)]
pub struct PolicyActivate {
    /// Version of the policies that were read
    #[arg(value_name = "VERSION")]
    pub version: u64,
    /// Their digest, as `policy show --proposed` says it
    #[arg(value_name = "DIGEST")]
    pub digest: String,
    #[command(flatten)]
    pub of: Of,
}

/// `policy show`.
#[derive(Debug, Args)]
pub struct PolicyShow {
    #[command(flatten)]
    pub of: Of,
    /// Show the policies that wait for approvals, and what approves them
    #[arg(long, conflicts_with = "version", help_heading = "Policies")]
    pub proposed: bool,
    /// Show those of a version that was in force
    #[arg(long, value_name = "N", help_heading = "Policies")]
    pub version: Option<u64>,
}

/// `policy test`.
#[derive(Debug, Args)]
pub struct PolicyTest {
    /// Cases, as JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Policies, in Cedar [default: those in force in the application; without one, where nobody set others]
    #[arg(long, value_name = "FILE", help_heading = "Policies")]
    pub policies: Option<PathBuf>,
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(long, short = 'w', value_name = "STORE", requires = "app", help_heading = "Where")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub workspace: Option<String>,
    /// Name or id of the application whose classes the cases name
    #[arg(long, value_name = "NAME", requires = "workspace", help_heading = "Where")]
    pub app: Option<String>,
    /// Where the application key is, if not where `app create` was told
    #[arg(long, value_name = "PLACE", requires = "app", help_heading = "Where")]
    pub custody: Option<String>,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

#[cfg(feature = "custody")]
impl PolicyTest {
    /// The application, if it is for one.
    pub fn of(&self) -> Option<Of> {
        let (workspace, app) = self.workspace.clone().zip(self.app.clone())?;
        let place = super::In { workspace, passphrase: self.passphrase.clone() };
        Some(Of { place, app, custody: self.custody.clone() })
    }
}

/// `policy what-if`.
#[derive(Debug, Args)]
pub struct PolicyWhatIf {
    /// Policies, in Cedar
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub of: Of,
    /// Decisions from then on: 2026-11-01 or 2026-11-01T00:00:00Z [default: all]
    #[arg(long, value_name = "TIME", help_heading = "Policies")]
    pub since: Option<String>,
}

/// `policy set`.
#[derive(Debug, Args)]
pub struct PolicySet {
    /// Policies, in Cedar
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub of: Of,
}

/// `policy check`.
#[derive(Debug, Args)]
pub struct PolicyCheck {
    /// Policies, in Cedar
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `policy retention`.
#[derive(Debug, Args)]
pub struct PolicyRetention {
    #[command(flatten)]
    pub of: Of,
    /// Class that is set
    #[arg(long, value_name = "CLASS", group = "what", help_heading = "Retention")]
    pub class: Option<String>,
    /// Set how long whole subjects are kept
    #[arg(long, group = "what", help_heading = "Retention")]
    pub subjects: bool,
    /// Keep files of the class for so many days after they were written, or subjects after their last use
    #[arg(long, value_name = "DAYS", requires = "what", help_heading = "Retention")]
    pub days: Option<u32>,
    /// Give notice on so many of a subject's last days [default: 30]
    #[arg(long, value_name = "DAYS", requires_all = ["subjects", "days"], help_heading = "Retention")]
    pub notice: Option<u32>,
    /// Keep them for ever
    #[arg(long, requires = "what", conflicts_with = "days", help_heading = "Retention")]
    pub forever: bool,
    /// Take away what is due, and end its keys; give notice to subjects that will be due, and erase those whose notice is over
    #[arg(long, conflicts_with = "what", help_heading = "Retention")]
    pub run: bool,
}

/// `policy explain`.
#[derive(Debug, Args)]
pub struct PolicyExplain {
    /// Number of the record, as `audit show` prints it
    #[arg(value_name = "RECORD")]
    pub record: u64,
    #[command(flatten)]
    pub of: Of,
}
