//! The noun `conflict`: versions of one file that were written without knowing of each other.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `conflict`.
#[derive(Debug, Subcommand)]
pub enum Conflict {
    /// List the conflict copies in a mount
    #[command(after_help = "Example:\n  strongroom conflict list ~/work --json")]
    List(ConflictList),
    /// Say which version of a file stays
    #[command(
        after_help = "Example:\n  strongroom conflict resolve \"work/notes (conflict laptop 2026-11-22).txt\" --keep mine

Whoever committed first has the name; the conflict copy is what was written elsewhere without knowing of it."
    )]
    Resolve(ConflictResolve),
}

/// `conflict list`.
#[derive(Debug, Args)]
pub struct ConflictList {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// `conflict resolve`.
#[derive(Debug, Args)]
pub struct ConflictResolve {
    /// The conflict copy
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// What stays under the name
    #[arg(long, value_enum, value_name = "WHICH", help_heading = "Conflict")]
    pub keep: Keep,
}

/// Which version stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// The conflict copy: it takes the place of the file
    Mine,
    /// The file that has the name: the conflict copy is removed
    Theirs,
    /// Both: the conflict copy gets a name of its own
    Both,
}
