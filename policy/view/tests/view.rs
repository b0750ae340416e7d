//! The view at the door's trait: it shows exactly what was agreed, leaves a record of all it shows, and lets go at once.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "view/agreed.rs"]
mod agreed;
mod common;
#[path = "view/in_force.rs"]
mod in_force;
#[path = "view/keys.rs"]
mod keys;
#[path = "view/leases.rs"]
mod leases;
#[path = "view/withdrawn.rs"]
mod withdrawn;

use std::time::Duration;

use common::{Shop, list, look};
use strongroom_authorizer::Action;
use strongroom_records::ids::{FileId, SubjectId};
use strongroom_records::log::{Kind as Told, Outcome};
use strongroom_view::View;

/// Paths of all files, without opening any.
fn paths(view: &View) -> Vec<String> {
    let mut paths = Vec::new();
    let subjects = look(view, "subjects").unwrap().ino;
    for (person, folder, _) in list(view, subjects).unwrap() {
        for (class, folder, _) in list(view, folder).unwrap() {
            for (file, _, _) in list(view, folder).unwrap() {
                paths.push(format!("subjects/{person}/{class}/{file}"));
            }
        }
    }
    paths
}

/// What was opened of a subject, by which activity: from the subject's own report.
fn opened(shop: &mut Shop, subject: &SubjectId) -> Vec<(String, Vec<FileId>)> {
    let report = shop.act(|shop| shop.report(subject).unwrap());
    let mut all = Vec::new();
    for line in report.lines.into_iter().filter(|line| line.entry.kind == Told::Access) {
        let judgement = line.entry.judgement.unwrap();
        let is_own = line.activity.is_none();
        if judgement.action == Action::Open.number()
            && judgement.outcome == Outcome::Allow
            && !is_own
        {
            all.push((line.activity.unwrap(), line.detail.unwrap().files));
        }
    }
    all
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it never came to hold");
        // Who looks keeps the fence meanwhile: let the desk have it too.
        std::thread::sleep(Duration::from_millis(5));
    }
}
