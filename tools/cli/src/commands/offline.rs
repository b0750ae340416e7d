//! `pin`, `unpin`, `free`: what this device keeps of the files of a mount.

use std::path::PathBuf;

use serde_json::json;
use strongroom_workspace::ask::{Reply, Request};

use super::history::{done, inside, other_answer};
use crate::args::offline::{Paths, Pin};
use crate::control;
use crate::exit::{Exit, Result};
use crate::ui::{self, Format};

/// `strongroom pin`.
///
/// # Errors
/// Not in a mount; it does not fit; the store cannot be reached.
pub fn pin(options: &Pin, format: Format) -> Result<Exit> {
    match options.list {
        true => list(&options.paths, format),
        false => each(&options.paths, Request::Pin, format),
    }
}

/// `strongroom unpin`.
///
/// # Errors
/// Not in a mount, or not pinned.
pub fn unpin(options: &Paths, format: Format) -> Result<Exit> {
    each(&options.paths, Request::Unpin, format)
}

/// `strongroom free`.
///
/// # Errors
/// Not in a mount.
pub fn free(options: &Paths, format: Format) -> Result<Exit> {
    each(&options.paths, Request::Free, format)
}

fn each(paths: &[PathBuf], request: fn(Vec<u8>) -> Request, format: Format) -> Result<Exit> {
    for path in paths {
        let (mount, path) = inside(path)?;
        done(control::ask(&mount, &request(path))?)?;
    }
    let shown: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    ui::answer(format, "", &json!({ "paths": shown }))?;
    Ok(Exit::Done)
}

fn list(paths: &[PathBuf], format: Format) -> Result<Exit> {
    let (mut text, mut all) = (String::new(), Vec::new());
    for path in paths {
        let (mount, _) = inside(path)?;
        let Reply::Paths(found) = control::ask(&mount, &Request::Pins)? else {
            return Err(other_answer());
        };
        for path in found {
            let shown = mount.join(String::from_utf8_lossy(&path).as_ref());
            text += &format!("{}\n", shown.display());
            all.push(shown.to_string_lossy().into_owned());
        }
    }
    ui::answer(format, &text, &json!({ "pinned": all }))?;
    Ok(Exit::Done)
}
