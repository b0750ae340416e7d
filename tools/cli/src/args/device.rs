//! The noun `device`: machines that are in a workspace.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{Guessing, PassphraseSource};

/// `device`.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// Make keys for this machine and ask to be taken in; prints the code to compare
    #[command(
        after_help = "Example, on the new machine:\n  strongroom device request s3://bucket/team

The passphrase is this machine's own. A request is good for an hour."
    )]
    Request(DeviceRequest),
    /// Take in a machine that asked, if its code is the one shown there
    #[command(
        after_help = "Example, on a machine that is in:\n  strongroom device add s3://bucket/team --name laptop

Type the code that the new machine shows: read it there, or have it told by somebody you know.
The store could show another request, and that would have another code."
    )]
    Add(DeviceAdd),
    /// List the machines that are in, that were, and that ask to be
    #[command(after_help = "Example:\n  strongroom device list ~/work.strongroom")]
    List(DeviceList),
    /// Take a machine out: it can write no more, and read nothing that is written from now on
    #[command(after_help = "Example:\n  strongroom device revoke ~/work.strongroom laptop

What the machine has read it may have kept; what it could read before stays readable for it
where it can reach the store.")]
    Revoke(DeviceRevoke),
}

/// `device request`.
#[derive(Debug, Args)]
pub struct DeviceRequest {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    #[command(flatten)]
    pub guessing: Guessing,
}

/// `device add`.
#[derive(Debug, Args)]
pub struct DeviceAdd {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    /// The code that the new machine shows; asked for on a terminal when left out
    #[arg(long, value_name = "CODE", help_heading = "Device")]
    pub code: Option<String>,
    /// What to call it; `device N` when left out
    #[arg(long, value_name = "NAME", help_heading = "Device")]
    pub name: Option<String>,
    /// It works for this consumer of personal data: it sees what the consumer's jobs may see, and nothing else
    #[arg(long, value_name = "CONSUMER", help_heading = "Device")]
    pub consumer: Option<String>,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

/// `device list`.
#[derive(Debug, Args)]
pub struct DeviceList {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

/// `device revoke`.
#[derive(Debug, Args)]
pub struct DeviceRevoke {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    /// Its name, its id, or the beginning of its id
    #[arg(value_name = "DEVICE", value_parser = NonEmptyStringValueParser::new())]
    pub device: String,
    /// Don't ask
    #[arg(long, help_heading = "Device")]
    pub yes: bool,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}
