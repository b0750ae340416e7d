//! Where configuration, keys, state, cache and runtime files live on this machine.
//!
//! `STRONGROOM_HOME` moves all of them together; otherwise the XDG variables and their defaults hold.
//! Relative values are ignored, as XDG demands. Folders are made for the owner alone.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

const NAME: &str = "strongroom";

/// The program's own folders; none needs to exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Keys that are nowhere else: what to back up.
    pub keys: PathBuf,
    /// Journals, staged objects, locks: must survive a restart.
    pub state: PathBuf,
    /// Sealed copies that may be deleted at any time.
    pub cache: PathBuf,
    /// Sockets and process ids: gone after a restart.
    pub run: PathBuf,
}

/// What stops the folders from being found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHome;

impl std::fmt::Display for NoHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no home folder is known\nhint: set `HOME` or `STRONGROOM_HOME`")
    }
}

impl std::error::Error for NoHome {}

impl Directories {
    /// Reads them from a source of variables: that of the process, or of a test.
    ///
    /// # Errors
    /// [`NoHome`] if neither `STRONGROOM_HOME` nor `HOME` is set to an absolute path.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
        if let Some(home) = absolute("STRONGROOM_HOME") {
            return Ok(Self::below(&home));
        }
        let home = absolute("HOME");
        let folder = |name: &str, default: &str| match (absolute(name), &home) {
            (Some(folder), _) => Ok(folder.join(NAME)),
            (None, Some(home)) => Ok(home.join(default).join(NAME)),
            (None, None) => Err(NoHome),
        };
        let state = folder("XDG_STATE_HOME", ".local/state")?;
        let run = absolute("XDG_RUNTIME_DIR").map_or(state.join("run"), |run| run.join(NAME));
        Ok(Directories {
            config_file: folder("XDG_CONFIG_HOME", ".config")?.join("config.toml"),
            keys: folder("XDG_DATA_HOME", ".local/share")?.join("keys"),
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            state,
            run,
        })
    }

    /// All of them below one folder.
    pub fn below(home: &Path) -> Self {
        Directories {
            config_file: home.join("config.toml"),
            keys: home.join("keys"),
            state: home.join("state"),
            cache: home.join("cache"),
            run: home.join("run"),
        }
    }

    /// Makes the state, cache and runtime folders and that of the configuration, for the owner alone.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        if let Some(folder) = self.config_file.parent() {
            disk.create_folder(folder)?;
        }
        disk.create_folder(&self.state)?;
        disk.create_folder(&self.cache)?;
        disk.create_folder(&self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Directories, NoHome> {
        Directories::from_variables(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn strongroom_home_moves_everything_together() {
        let found = with(&[("STRONGROOM_HOME", "/s"), ("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]);
        assert_eq!(
            found,
            Ok(Directories {
                config_file: "/s/config.toml".into(),
                keys: "/s/keys".into(),
                state: "/s/state".into(),
                cache: "/s/cache".into(),
                run: "/s/run".into(),
            })
        );
    }

    #[test]
    fn defaults_are_those_of_xdg() {
        let found = with(&[("HOME", "/h")]);
        assert_eq!(
            found,
            Ok(Directories {
                config_file: "/h/.config/strongroom/config.toml".into(),
                keys: "/h/.local/share/strongroom/keys".into(),
                state: "/h/.local/state/strongroom".into(),
                cache: "/h/.cache/strongroom".into(),
                run: "/h/.local/state/strongroom/run".into(),
            })
        );
    }

    #[test]
    fn xdg_variables_override_defaults_and_relative_ones_are_ignored() {
        let found = with(&[("HOME", "/h"), ("XDG_STATE_HOME", "/x"), ("XDG_RUNTIME_DIR", "r")]);
        assert_eq!(found.unwrap().run, PathBuf::from("/x/strongroom/run"));
        let found = with(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1")]);
        assert_eq!(found.unwrap().run, PathBuf::from("/run/user/1/strongroom"));
    }

    #[test]
    fn no_home_is_an_error() {
        assert_eq!(with(&[]), Err(NoHome));
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_made_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let directories = Directories::below(&folder.path().join("home"));
        directories.create(&crate::real_disk::RealDisk).unwrap();
        let mode = std::fs::metadata(&directories.state).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
