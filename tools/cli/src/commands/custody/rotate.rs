//! `strongroom subject rotate` and `strongroom app rotate`: new keys, and where it is asked for everything sealed anew.

use serde_json::json;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_steward::{Depth, EverybodyRotated, Resealed, time_text};
use strongroom_store::Mode;

use super::app::ending_text;
use super::receipt::{Again, Place};
use super::{answer_after, subject_id};
use crate::args::custody::app::AppRotate;
use crate::args::custody::{In, Of, SubjectRotate};
use crate::assemble::custody::{self, failure};
use crate::commands::device;
use crate::exit::{Exit, Result};
use crate::ui::{self, Format, Progress};

/// Changes the keys of one subject.
///
/// # Errors
/// No such subject; those of custody and store. Asked again it goes on.
pub(super) fn subject(options: &SubjectRotate, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.one.subject)?;
    let (office, mut custodian) = custody::application(&options.one.of)?;
    let class = options.class.as_deref().map(|name| custodian.class(name)).transpose();
    let class = class.map_err(|error| failure(&error))?;
    let depth = depth(options.deep);
    let place = Place::make(options.receipt.as_deref())?;
    let done = shown(|told| custodian.rotate_subject(&subject, depth, class, told));
    let rotated = done.map_err(|error| failure(&error))?;
    let kept = place.keep(&rotated.receipt, &Again::Never);
    let deed = &rotated.deed;
    let ending = ending_text(deed.destroyed.ending);
    let json = json!({
        "subject": subject.to_string(),
        "generation": deed.generation,
        "files": deed.files,
        "bytes": deed.bytes,
        "old_key": ending,
        "old_key_refused": deed.destroyed.refused_afterwards,
    });
    let text = format!(
        "generation {}; {} files sealed anew; old key: {ending}\n",
        deed.generation, deed.files
    );
    answer_after(office, format, &text, &json)?;
    kept.map(|()| Exit::Done)
}

/// Changes the application key; with `--everybody`, the keys of all subjects.
///
/// # Errors
/// As [`subject`].
pub(super) fn application(options: &AppRotate, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(&options.of)?;
    let place = Place::make(options.receipt.as_deref())?;
    let (mut everybody, mut since) = (EverybodyRotated::default(), None);
    if options.everybody {
        since = custodian.rotating_since().map_err(|error| failure(&error))?.map(time_text);
        let depth = depth(options.deep);
        let rotated = shown(|told| custodian.rotate_everybody(depth, told));
        everybody = rotated.map_err(|error| failure(&error))?;
    }
    let rotated = custodian.rotate().map_err(|error| failure(&error))?;
    let kept = place.keep(&rotated.receipt, &Again::Never);
    let ending = ending_text(rotated.destroyed.ending);
    let mut json = json!({
        "application": custodian.listed().name,
        "generation": rotated.generation,
        "old_key": ending,
        "old_key_refused": rotated.destroyed.refused_afterwards,
    });
    let mut text = format!("generation {}; old key: {ending}\n", rotated.generation);
    if options.everybody {
        let done = everybody.done;
        (json["subjects"], json["files"]) = (done.subjects.into(), done.files.into());
        let damaged: Vec<_> = everybody.damaged.iter().map(ToString::to_string).collect();
        for subject in &damaged {
            text += &format!("damaged, left out: {subject}\n");
        }
        json["damaged"] = damaged.into();
        json["went_on_since"] = since.clone().into();
        text += &format!("{} subjects; {} files sealed anew\n", done.subjects, done.files);
        if let Some(since) = since {
            text += &format!(
                "it went on with one that was interrupted: what was done since {since} was not done again\n"
            );
        }
    }
    answer_after(office, format, &text, &json)?;
    let is_whole = everybody.damaged.is_empty();
    kept.map(|()| if is_whole { Exit::Done } else { Exit::Partial })
}

/// Changes the register's own key.
///
/// # Errors
/// As [`subject`].
pub(super) fn register(of: &Of, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(of)?;
    let clock = MachineClock::new();
    let began = clock.elapsed();
    let mut line = Progress::start();
    let rotated = custodian.rotate_register(&mut |cells| {
        line.show(clock.elapsed() - began, &format!("{cells} cells sealed anew"));
    });
    line.finish();
    let rotated = rotated.map_err(|error| failure(&error))?;
    // The first one is the first generation for people.
    let generation = rotated.generation + 1;
    let json = json!({
        "application": custodian.listed().name,
        "register": generation,
        "cells": rotated.cells,
        "went_on": rotated.destroyed.is_none(),
        "old_key": rotated.destroyed.as_ref().map(|destroyed| ending_text(destroyed.ending)),
    });
    let text =
        format!("register key: generation {generation}; {} cells sealed anew\n", rotated.cells);
    answer_after(office, format, &text, &json)?;
    Ok(Exit::Done)
}

/// Changes the workspace's own key.
///
/// # Errors
/// Wrong passphrase, no such store, a store that cannot be written.
pub(super) fn workspace(place: &In, format: Format) -> Result<Exit> {
    let mut registry = device::open(&place.workspace, Mode::ReadWrite, &place.passphrase)?;
    let generation = registry.rotate()?;
    let text = format!("workspace key: generation {generation}\n");
    ui::answer(format, &text, &json!({"workspace": generation}))?;
    Ok(Exit::Done)
}

fn depth(deep: bool) -> Depth {
    if deep { Depth::Deep } else { Depth::Shallow }
}

/// Does something long, with a line that says how far it is.
fn shown<T>(act: impl FnOnce(&mut dyn FnMut(Resealed)) -> T) -> T {
    let clock = MachineClock::new();
    let began = clock.elapsed();
    let mut line = Progress::start();
    let done = act(&mut |done| {
        let bytes = ui::bytes_text(done.bytes);
        let text = format!("{} subjects, {} files, {bytes} sealed anew", done.subjects, done.files);
        line.show(clock.elapsed() - began, &text);
    });
    line.finish();
    done
}
