//! What everything rests on: workspace file, organisation, device files.

use strongroom_format::workspace::WorkspaceFile;
use strongroom_keyring::device_file;
use strongroom_keyring::error::ErrorKind as KeyringKind;
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Family, Key};
use strongroom_workspace::inbound::log::keys_of;

use crate::report::{Area, Kind, Report};
use crate::{ErrorKind, Result, Subject};

/// Verifies them. `None` without an organisation that verifies: no signature could be checked then.
pub(crate) fn examine(subject: &Subject, report: &mut Report) -> Result<Option<Organisation>> {
    workspace_file(subject, report)?;
    device_files(subject, report)?;
    organisation(subject, report)
}

/// Reads a key whole; `None` if it is missing or cannot be read, which is reported.
pub(crate) fn read(
    subject: &Subject,
    key: Key,
    area: Area,
    report: &mut Report,
) -> Result<Option<bytes::Bytes>> {
    let read = strongroom_workspace::later::wait(async { Ok(subject.store.get(key, None).await?) });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => {
                report.find(area, Kind::Missing, format!("`{key}`"));
                Ok(None)
            }
            ErrorKind::Corrupt => {
                report.find(area, Kind::Changed, format!("`{key}` cannot be read"));
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

fn workspace_file(subject: &Subject, report: &mut Report) -> Result<()> {
    let area = Area::Workspace;
    let Some(bytes) = read(subject, Key::Workspace, area, report)? else { return Ok(()) };
    match WorkspaceFile::parse(&bytes) {
        Ok(file) => {
            let here = (subject.keys.organisation(), subject.keys.workspace());
            if (file.organisation, file.workspace) != here {
                report.find(area, Kind::Foreign, "`workspace` names another workspace");
            }
        }
        Err(error) => report.find(area, Kind::Changed, format!("`workspace`: {}", error.message())),
    }
    Ok(())
}

fn device_files(subject: &Subject, report: &mut Report) -> Result<()> {
    let area = Area::Device;
    let mut ours = false;
    for key in keys_of(&subject.store, Family::Device)? {
        let Key::Device(device) = key else { continue };
        let bytes = match read(subject, key, area, report) {
            // Members may differ in it. Where the store is away, what is read next says so.
            Err(error) if error.kind() == ErrorKind::Unavailable && subject.store.is_mirrored() => {
                report.find(area, Kind::Contradiction, error.to_string());
                None
            }
            read => read?,
        };
        let Some(bytes) = bytes else { continue };
        ours |= device == subject.keys.device_id();
        match device_file::owner(&bytes) {
            Ok(owner) if owner.device != device => {
                report.find(area, Kind::Foreign, format!("`{key}` is of another device"));
            }
            Ok(owner) if owner.organisation != subject.keys.organisation() => {
                report.find(area, Kind::Foreign, format!("`{key}` is of another organisation"));
            }
            Ok(_) => {}
            Err(error) => {
                report.find(area, Kind::Changed, format!("`{key}`: {}", error.message()));
            }
        }
    }
    if !ours {
        let key = Key::Device(subject.keys.device_id());
        report.find(area, Kind::Missing, format!("`{key}`"));
    }
    Ok(())
}

fn organisation(subject: &Subject, report: &mut Report) -> Result<Option<Organisation>> {
    let (area, key) = (Area::Organisation, Key::Organisation(0));
    let Some(bytes) = read(subject, key, area, report)? else { return Ok(None) };
    let mut organisation = match Organisation::verify(&bytes, &subject.keys.organisation()) {
        Ok(organisation) => organisation,
        Err(error) => {
            report.find(area, Kind::Changed, format!("`{key}`: {}", error.message()));
            return Ok(None);
        }
    };
    if !later_records(subject, &mut organisation, report)? {
        return Ok(None);
    }
    match subject.keys.learn(&organisation) {
        Ok(()) => Ok(Some(organisation)),
        Err(error) if error.kind() == KeyringKind::Denied => Err(error.into()),
        Err(error) => {
            report.find(area, Kind::Changed, error.message());
            Ok(None)
        }
    }
}

/// Takes the records behind genesis. False if one does not verify.
fn later_records(
    subject: &Subject,
    organisation: &mut Organisation,
    report: &mut Report,
) -> Result<bool> {
    let area = Area::Organisation;
    let records = keys_of(&subject.store, Family::Organisation)?;
    for key in records.into_iter().filter(|key| *key != Key::Organisation(0)) {
        let next = Key::Organisation(organisation.position() + 1);
        if key != next {
            report.find(area, Kind::Missing, format!("`{next}`"));
            return Ok(false);
        }
        let Some(bytes) = read(subject, key, area, report)? else { return Ok(false) };
        if let Err(error) = organisation.extend(&bytes) {
            report.find(area, Kind::Changed, format!("`{key}`: {}", error.message()));
            return Ok(false);
        }
    }
    Ok(true)
}
