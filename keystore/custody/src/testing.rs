//! A token of SoftHSM2 for one test, in a folder of its own.
//!
//! The module reads where its tokens are from a variable when it is loaded, and a variable of a running process cannot be
//! changed safely: so the test is started once more, in a process that has it. A process for each step is a restart for
//! the module, too.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::pkcs11::{Locator, Token};

/// Where Debian and others put the module.
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
/// The user PIN of tokens made here.
pub const PIN: &str = "123456";
const FOLDER: &str = "STRONGROOM_TOKEN_FOLDER";
const STEP: &str = "STRONGROOM_TOKEN_STEP";

/// A token, as the process of a step sees it.
pub struct Place {
    /// Folder for what the steps tell each other.
    pub folder: PathBuf,
    /// The token.
    pub locator: Locator,
}

impl Place {
    /// Opens it.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn open(&self) -> Token {
        Token::open(self.locator.clone(), Zeroizing::new(PIN.to_owned())).expect("a token")
    }
}

/// The module of SoftHSM2, if it is installed.
pub fn module() -> Option<&'static Path> {
    MODULES.iter().map(Path::new).find(|path| path.is_file())
}

/// A new token in a new folder, for a program that is given `SOFTHSM2_CONF` and the locator. None, having said so, where
/// SoftHSM2 is not installed.
///
/// # Panics
/// If the token cannot be made.
pub fn token_in(folder: &Path) -> Option<(PathBuf, String)> {
    let Some(module) = module() else {
        eprintln!("skipped: SoftHSM2 is not installed (`apt-get install softhsm2`)");
        return None;
    };
    let tokens = folder.join("tokens");
    fs::create_dir_all(&tokens).expect("a folder");
    let settings = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    fs::write(&settings, text).expect("settings");
    fs::write(folder.join("pin"), PIN).expect("a PIN");
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "strongroom", "--so-pin", "12345678"])
        .args(["--pin", PIN])
        .env("SOFTHSM2_CONF", &settings)
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("softhsm2-util").success(), "no token was made");
    let pin = folder.join("pin");
    let locator =
        format!("token=strongroom?module-path={}&pin-source={}", module.display(), pin.display());
    Some((settings, locator))
}

/// Does `steps`, one after the other, each in a process of its own, with one token. `test` is the full name of the test
/// that calls this and nothing else.
///
/// # Panics
/// If a step does.
pub fn with_a_token(test: &str, steps: &[&dyn Fn(&Place)]) {
    if let (Some(folder), Some(step)) = (env::var_os(FOLDER), env::var_os(STEP)) {
        let folder = PathBuf::from(folder);
        let text = fs::read_to_string(folder.join("locator")).expect("a locator");
        let locator = Locator::parse(&text).expect("a locator");
        let step: usize = step.to_str().and_then(|step| step.parse().ok()).expect("a number");
        return steps[step](&Place { folder, locator });
    }
    let name = format!("strongroom-token-{}-{}", std::process::id(), test.replace("::", "-"));
    let folder = env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    if let Some((settings, locator)) = token_in(&folder) {
        fs::write(folder.join("locator"), locator).expect("a locator");
        for step in 0..steps.len() {
            let ended = Command::new(env::current_exe().expect("this test"))
                .args([test, "--exact", "--nocapture", "--include-ignored"])
                .env("SOFTHSM2_CONF", &settings)
                .env(FOLDER, &folder)
                .env(STEP, step.to_string())
                .status();
            assert!(ended.expect("a process").success(), "step {step} failed");
        }
    }
    fs::remove_dir_all(&folder).expect("the folder goes");
}
