//! Copies on this device: `pin`, `unpin`, `free`.

use std::path::PathBuf;

use clap::Args;

/// `pin`.
#[derive(Debug, Args)]
pub struct Pin {
    /// Files or folders in a mount
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// List what is pinned in the mount of PATH, and change nothing
    #[arg(long, help_heading = "Pin")]
    pub list: bool,
}

/// `unpin` and `free`.
#[derive(Debug, Args)]
pub struct Paths {
    /// Files or folders in a mount
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}
