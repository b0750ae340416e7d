//! `agent` and `token`: applications for programs, and who may ask.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, Subcommand};

use super::PassphraseSource;

/// `agent`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true).multiple(true).args(["socket", "listen", "consumers"])))]
pub struct AgentOptions {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(value_name = "STORE", value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// Answer on a Unix socket at PATH
    #[arg(long, value_name = "PATH", help_heading = "Agent")]
    pub socket: Option<PathBuf>,
    /// Answer over HTTP on a loopback address, for example 127.0.0.1:8700
    #[arg(long, value_name = "ADDRESS", help_heading = "Agent")]
    pub listen: Option<SocketAddr>,
    /// Serve consumers on devices of their own, through the store
    #[arg(long, help_heading = "Agent")]
    pub consumers: bool,
    /// Let in who has a token of FILE, as `strongroom token create` writes it
    #[arg(long, value_name = "FILE", help_heading = "Agent")]
    #[arg(required_unless_present = "consumers")]
    pub tokens: Option<PathBuf>,
    /// Serve this application; give it more than once for several [default: all]
    #[arg(long = "app", value_name = "NAME", help_heading = "Agent")]
    pub apps: Vec<String>,
    /// Where the key of an application is, if not where `app create` was told
    #[arg(long, value_name = "NAME=PLACE", help_heading = "Agent")]
    pub custody: Vec<String>,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print it; it is shown this once
    #[command(
        after_help = "Example:\n  strongroom token create web --app shop --tokens /etc/strongroom/tokens.json"
    )]
    Create(TokenCreate),
    /// List tokens, not what they are
    List(TokenList),
    /// End a token at once
    Remove(TokenRemove),
}

/// `token create`.
#[derive(Debug, Args)]
pub struct TokenCreate {
    /// Name of the token
    #[arg(value_name = "NAME")]
    pub name: String,
    /// File of tokens: it holds hashes only
    #[arg(long, value_name = "FILE", help_heading = "Token")]
    pub tokens: PathBuf,
    /// For which application
    #[arg(long, value_name = "NAME", help_heading = "Token")]
    pub app: String,
    /// For this processing job alone, instead of the application
    #[arg(long, value_name = "NAME", conflicts_with = "auditor", help_heading = "Token")]
    pub activity: Option<String>,
    /// For reading the audit log alone
    #[arg(long, help_heading = "Token")]
    pub auditor: bool,
    /// End of the token: 2027-01-31 or 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", help_heading = "Token")]
    pub until: Option<String>,
}

/// `token list`.
#[derive(Debug, Args)]
pub struct TokenList {
    /// File of tokens
    #[arg(long, value_name = "FILE", help_heading = "Token")]
    pub tokens: PathBuf,
}

/// `token remove`.
#[derive(Debug, Args)]
pub struct TokenRemove {
    /// Name of the token
    #[arg(value_name = "NAME")]
    pub name: String,
    /// File of tokens
    #[arg(long, value_name = "FILE", help_heading = "Token")]
    pub tokens: PathBuf,
}
