//! Who may ask for what: a file of tokens, of which it holds hashes only.
//!
//! ```text
//! {"tokens": [{"name": "web", "sha256": "…", "app": "shop", "role": "application", "until": "2027-01-31"}, …]}
//! ```
//!
//! The file is read anew for every request, so that removing a line ends a token at once. Who changes it takes turns (a lock
//! file beside it), and what a change returned for is durable.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_crypto::hash::sha256;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::disk::{Disk, replace_file};
use strongroom_host::entropy::Entropy;
use strongroom_host::real_disk::{RealDisk, behind_links};
use strongroom_records::ids::Hash;
use strongroom_steward::parse_time;

/// LIMIT: bytes of a file of tokens.
const FILE_LEN_MAX: usize = 1 << 20;
/// LIMIT: how long one waits for another that changes the file.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application itself: everything about its subjects.
    Application,
    /// One processing job: whom it may see, and what of them.
    Activity(String),
    /// Reads the audit log, and nothing of anybody.
    Auditor,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "application" => Some(Self::Application),
            None if text == "auditor" => Some(Self::Auditor),
            Some(("activity", name)) if !name.is_empty() => Some(Self::Activity(name.to_owned())),
            _ => None,
        }
    }

    /// As the file and people write it.
    pub fn text(&self) -> String {
        match self {
            Self::Application => "application".to_owned(),
            Self::Auditor => "auditor".to_owned(),
            Self::Activity(name) => format!("activity:{name}"),
        }
    }
}

/// A token, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What people call it.
    pub name: String,
    /// SHA-256 of it.
    pub hash: Hash,
    /// For which application.
    pub app: String,
    /// For what.
    pub role: Role,
    /// End.
    pub until: Option<i64>,
}

/// The file.
pub struct Tokens {
    path: PathBuf,
}

impl Tokens {
    /// Tokens in a file.
    pub fn new(path: PathBuf) -> Self {
        Self { path: behind_links(&path) }
    }

    /// The token somebody shows, while it holds.
    ///
    /// # Errors
    /// When the file cannot be read: then nobody is let in.
    pub fn find(&self, shown: &str, now: i64) -> io::Result<Option<Token>> {
        // Hashes are compared, so the time it takes tells nothing of a token.
        let hash = Hash(sha256(shown.as_bytes()));
        let found = self.read()?.into_iter().find(|token| token.hash == hash);
        Ok(found.filter(|token| token.until.is_none_or(|until| now < until)))
    }

    /// Adds a token and returns it: it is shown this once.
    ///
    /// # Errors
    /// Those of the file; `AlreadyExists` for a name that is taken; `FileTooLarge` where there is no room for it, also without
    /// those that have ended; `WouldBlock` where others change it all the time.
    pub fn add(
        &self,
        name: &str,
        app: &str,
        role: Role,
        until: Option<i64>,
        entropy: &dyn Entropy,
    ) -> io::Result<String> {
        let _others_wait = self.lock()?;
        let mut tokens = self.read()?;
        if tokens.iter().any(|token| token.name == name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let secret = Hash(entropy.array());
        let token = format!("sr_{secret}");
        let hash = Hash(sha256(token.as_bytes()));
        tokens.push(Token { name: name.to_owned(), hash, app: app.to_owned(), role, until });
        if text_of(&tokens).len() > FILE_LEN_MAX {
            let now = MachineClock::new().now_ns();
            tokens.retain(|token| token.until.is_none_or(|until| now < until));
        }
        self.write(&tokens)?;
        Ok(token)
    }

    /// Removes a token: it ends at once. False if there is none.
    ///
    /// # Errors
    /// As [`Tokens::add`].
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let _others_wait = self.lock()?;
        let mut tokens = self.read()?;
        let count = tokens.len();
        tokens.retain(|token| token.name != name);
        if tokens.len() == count {
            return Ok(false);
        }
        self.write(&tokens).map(|()| true)
    }

    /// All tokens. A file that is not there has none.
    ///
    /// # Errors
    /// Those of the file; `InvalidData` when it is none.
    pub fn read(&self) -> io::Result<Vec<Token>> {
        let bytes = match fs::metadata(&self.path) {
            Ok(about) if about.len() > FILE_LEN_MAX as u64 => return Err(bad()),
            Ok(_) => fs::read(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let json: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let lines = json["tokens"].as_array().ok_or_else(bad)?;
        lines.iter().map(|line| parse(line).ok_or_else(bad)).collect()
    }

    /// Waits for its turn to change the file.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut beside = std::path::absolute(&self.path)?.into_os_string();
        beside.push(".lock");
        let (beside, clock) = (PathBuf::from(beside), MachineClock::new());
        for _ in 1..LOCK_TRIES {
            match RealDisk.lock(&beside) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => clock.sleep(LOCK_PAUSE),
                locked => return locked,
            }
        }
        RealDisk.lock(&beside)
    }

    /// Puts these in the place of all: a reader sees the old file or the new one, and after a crash too.
    fn write(&self, tokens: &[Token]) -> io::Result<()> {
        let text = text_of(tokens);
        // Nobody would be let in any more, and no command could change that.
        if text.len() > FILE_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        replace_file(&RealDisk, &std::path::absolute(&self.path)?, text.as_bytes())
    }
}

/// The file with these.
fn text_of(tokens: &[Token]) -> String {
    let line = |token: &Token| {
        json!({
            "name": token.name, "sha256": token.hash.to_string(), "app": token.app,
            "role": token.role.text(), "until": token.until.map(strongroom_steward::time_text),
        })
    };
    let lines: Vec<Value> = tokens.iter().map(line).collect();
    format!("{:#}\n", json!({"tokens": lines}))
}

fn parse(line: &Value) -> Option<Token> {
    let text = |name: &str| line[name].as_str();
    Some(Token {
        name: text("name")?.to_owned(),
        hash: Hash::parse(text("sha256")?)?,
        app: text("app")?.to_owned(),
        role: Role::parse(text("role")?)?,
        until: match &line["until"] {
            Value::Null => None,
            until => Some(parse_time(until.as_str()?)?),
        },
    })
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of tokens is none")
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimEntropy;

    use super::*;

    #[test]
    fn tokens_that_many_add_and_remove_at_once_are_all_as_their_owners_left_them() {
        let folder = std::env::temp_dir().join(format!("strongroom-turns-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let tokens = Tokens::new(folder.join("tokens.json"));
        let change = |owner: u64| {
            let entropy = SimEntropy::new(owner);
            for number in 0..8 {
                let name = format!("{owner}-{number}");
                tokens.add(&name, "shop", Role::Auditor, None, &entropy).unwrap();
                if number % 2 == 0 {
                    assert!(tokens.remove(&name).unwrap());
                }
            }
        };
        std::thread::scope(|scope| {
            for owner in 0..4 {
                scope.spawn(move || change(owner));
            }
        });
        let mut names: Vec<String> =
            tokens.read().unwrap().into_iter().map(|token| token.name).collect();
        names.sort();
        let left = |owner| [1, 3, 5, 7].map(|number| format!("{owner}-{number}"));
        assert_eq!(names, [0, 1, 2, 3].map(left).concat());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn tokens_that_ended_make_room_for_others_and_no_file_is_written_that_is_not_read() {
        let folder = std::env::temp_dir().join(format!("strongroom-room-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let tokens = Tokens::new(folder.join("tokens.json"));
        let entropy = SimEntropy::new(1);
        let add = |name: &str, until| {
            let added = tokens.add(name, "shop", Role::Auditor, until, &entropy);
            added.map(drop).map_err(|error| error.kind())
        };
        let most = "a".repeat(1_048_576 - 700);
        // As long as there is room, what has ended is listed.
        add("short", Some(1)).unwrap();
        add("lasts", None).unwrap();
        assert_eq!(tokens.read().unwrap().len(), 2);
        add(&most, Some(1)).unwrap();
        let names = || -> Vec<String> {
            tokens.read().unwrap().into_iter().map(|token| token.name).collect()
        };
        add("next", None).unwrap();
        assert_eq!(names(), ["lasts", "next"]);
        assert_eq!(add(&"b".repeat(1_048_576), None), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(names(), ["lasts", "next"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_token_is_in_the_file_by_its_hash_and_ends_with_its_line_or_its_time() {
        let folder = std::env::temp_dir().join(format!("strongroom-tokens-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let tokens = Tokens::new(folder.join("tokens.json"));
        assert_eq!(tokens.find("sr_00", 0).unwrap(), None);
        let entropy = SimEntropy::new(1);
        let web = tokens.add("web", "shop", Role::Application, None, &entropy).unwrap();
        let role = Role::Activity("newsletter".into());
        let end = Some(10_000_000_000);
        let job = tokens.add("job", "shop", role.clone(), end, &entropy).unwrap();
        assert!(!fs::read_to_string(folder.join("tokens.json")).unwrap().contains(&web));
        assert_eq!(tokens.find(&web, 0).unwrap().unwrap().role, Role::Application);
        assert_eq!(tokens.find(&job, 9_999_999_999).unwrap().unwrap().role, role);
        assert_eq!(tokens.find(&job, 10_000_000_000).unwrap(), None);
        assert_eq!(tokens.find("sr_00", 0).unwrap(), None);
        let again = tokens.add("web", "shop", Role::Auditor, None, &entropy);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(tokens.remove("web").unwrap() && !tokens.remove("web").unwrap());
        assert_eq!(tokens.find(&web, 0).unwrap(), None);
        fs::write(folder.join("tokens.json"), "a diary").unwrap();
        assert!(tokens.find(&web, 0).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
