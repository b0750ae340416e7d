//! `audit`: the log of everything that was decided and done.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Of;

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show entries of the audit log
    Show(AuditShow),
    /// Verify every record, entry, head and cell, and every byte of people's files
    #[command(after_help = "Example:\n  strongroom audit verify -w ~/work.strongroom --app shop

What is damaged is told by audit pseudonym, number of the class and id of the file; it ends with 7
then. Others can write meanwhile. Without the application key nothing can be looked at.")]
    Verify(Of),
    /// Write entries, signed head and its key into a new folder
    Export(AuditExport),
    /// Verify a receipt
    Receipt(AuditReceipt),
}

/// `audit show`.
#[derive(Debug, Args)]
pub struct AuditShow {
    #[command(flatten)]
    pub of: Of,
    /// First record [default: so that the newest are shown]
    #[arg(long, value_name = "N", help_heading = "Audit")]
    pub from: Option<u64>,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Audit")]
    pub count: u64,
}

/// `audit export`.
#[derive(Debug, Args)]
pub struct AuditExport {
    #[command(flatten)]
    pub of: Of,
    /// New folder
    #[arg(long, value_name = "FOLDER", help_heading = "Audit")]
    pub to: PathBuf,
}

/// `audit receipt`.
#[derive(Debug, Args)]
pub struct AuditReceipt {
    /// Receipt
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(long, short = 'w', value_name = "STORE", help_heading = "Where")]
    pub workspace: String,
    /// Id of the organisation that is trusted, as `strongroom app list --json` prints it
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub organisation: String,
}
