//! `strongroom device`: machines that ask to be in a workspace, are taken in, listed, taken out.

use std::io::{self, IsTerminal, Write};

use serde_json::json;
use strongroom_keyring::enrolment::{Applicant, Code};
use strongroom_store::Mode;

use crate::args::PassphraseSource;
use crate::args::device::{Device, DeviceAdd, DeviceList, DeviceRequest, DeviceRevoke};
use crate::assemble::devices::{self, Registry, Shown};
use crate::assemble::require_workspace;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase;
use crate::place::Place;
use crate::ui::{self, Format};

/// Does what the verb says.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Device, format: Format) -> Result<Exit> {
    match options {
        Device::Request(options) => request(options, format),
        Device::Add(options) => add(options, format),
        Device::List(options) => list(options, format),
        Device::Revoke(options) => revoke(options, format),
    }
}

fn request(options: &DeviceRequest, format: Format) -> Result<Exit> {
    let home = Home::find()?;
    let place = Place::parse(&options.store, &home)?;
    require_workspace(&place)?;
    let passphrase = passphrase::read_first(&options.passphrase)?;
    let cost = passphrase::cost(options.guessing);
    let asked = devices::request(&home, &place, &passphrase, cost)?;
    let (code, shown) = (asked.code.to_string(), place.shown());
    ui::tell(&format!(
        "on a device that is in, within an hour: `strongroom device add {shown}`, and type this code there"
    ));
    let json = json!({"store": shown, "device": asked.device.to_string(), "code": code});
    ui::answer(format, &format!("{code}\n"), &json)?;
    Ok(Exit::Done)
}

fn add(options: &DeviceAdd, format: Format) -> Result<Exit> {
    let typed = options.code.as_deref().map(parse_code).transpose()?;
    let mut registry = open(&options.store, Mode::ReadWrite, &options.passphrase)?;
    let applicants = registry.applicants()?;
    if applicants.is_empty() {
        return Err(Failure::new(Exit::Failed, "no device asks to be taken in")
            .hint("`strongroom device request STORE` on the new machine asks; a request is good for an hour"));
    }
    let code = match typed {
        Some(code) => code,
        None => ask_code(applicants.len())?,
    };
    let found = applicants.iter().find(|applicant| applicant.code() == code).ok_or_else(no_such)?;
    let name = registry.add(found, options.name.as_deref(), options.consumer.as_deref())?;
    let device = found.request().device.to_string();
    let json = json!({"device": device, "name": name, "consumer": options.consumer});
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}

fn no_such() -> Failure {
    Failure::new(Exit::Denied, "no device that asks has this code; nothing was changed").hint(
        "compare it with what the new machine shows; if it is the same, do not trust this store",
    )
}

fn parse_code(typed: &str) -> Result<Code> {
    Code::parse(typed).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{typed}` is no code"))
            .hint("it has twelve letters and digits, as `strongroom device request` shows them")
    })
}

/// The code is typed, not confirmed: who only says yes has not looked.
fn ask_code(count: usize) -> Result<Code> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "no terminal to ask for the code")
            .hint("give `--code CODE`, as the new machine shows it"));
    }
    let mut err = io::stderr().lock();
    let devices =
        if count == 1 { "one device asks".to_owned() } else { format!("{count} devices ask") };
    let _ = write!(err, "{devices} to be taken in\ncode that the new machine shows: ");
    let _ = err.flush();
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).map_err(|error| Failure::io("asking", &error))?;
    parse_code(typed.trim())
}

fn list(options: &DeviceList, format: Format) -> Result<Exit> {
    let registry = open(&options.store, Mode::ReadOnly, &options.passphrase)?;
    let (devices, applicants) = (registry.devices(), registry.applicants()?);
    let mut text: String = devices.iter().map(line).collect();
    text.extend(applicants.iter().map(|asks| format!("{}  asks\n", asks.request().device)));
    let json = json!({
        "devices": devices.iter().map(described).collect::<Vec<_>>(),
        "requests": applicants.iter().map(asking).collect::<Vec<_>>(),
    });
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn line(device: &Shown) -> String {
    let state = match (device.revoked_at, device.is_this, &device.consumer) {
        (Some(_), _, _) => "removed",
        (None, true, _) => "in, this one",
        (None, false, Some(_)) => "consumer's",
        (None, false, None) => "in",
    };
    let (name, added) = (device.name.as_deref().unwrap_or("?"), ui::time_text(device.added));
    format!("{}  {added}  {state:<12}  {name}\n", device.device)
}

fn described(device: &Shown) -> serde_json::Value {
    json!({
        "device": device.device.to_string(),
        "name": device.name,
        "state": if device.revoked_at.is_some() { "removed" } else { "in" },
        "this": device.is_this,
        "consumer": device.consumer,
        "added": ui::time_text(device.added),
        "added_at": device.added_at,
        "removed_at": device.revoked_at,
    })
}

fn asking(applicant: &Applicant) -> serde_json::Value {
    let request = applicant.request();
    let until = ui::time_text(request.expires.div_euclid(1_000_000_000));
    json!({"device": request.device.to_string(), "until": until})
}

fn revoke(options: &DeviceRevoke, format: Format) -> Result<Exit> {
    let mut registry = open(&options.store, Mode::ReadWrite, &options.passphrase)?;
    let device = registry.find(&options.device)?;
    if device.is_this {
        return Err(Failure::new(Exit::Failed, "a device does not remove itself")
            .hint("remove it from another one"));
    }
    if !options.yes {
        confirm(&device)?;
    }
    let due = registry.revoke(&Home::find()?, &device.device)?;
    let left = |(name, why): &(String, Failure)| {
        format!(
            "the register of `{name}` keeps its key, which the device may have: {}\n`strongroom key rotate -w {} --app {name} --register` changes it\n",
            why.message, options.store
        )
    };
    let text: String = due.iter().map(left).collect();
    let due: Vec<&String> = due.iter().map(|(name, _)| name).collect();
    let json = json!({
        "device": device.device.to_string(),
        "name": device.name,
        "state": "removed",
        "register_keys_due": due,
    });
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn confirm(device: &Shown) -> Result<()> {
    let refused =
        || Failure::new(Exit::Failed, "nothing was changed").hint("say `yes`, or give `--yes`");
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    let mut err = io::stderr().lock();
    let name = device.name.as_deref().unwrap_or("?");
    let _ = write!(
        err,
        "remove device {} ({name}) for good, with what it has not sent? (yes/no) ",
        device.device
    );
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::io("asking", &error))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

/// Unlocks this home's device of a store, and reads the organisation log.
///
/// # Errors
/// Wrong passphrase, no such store; the device is not in.
pub fn open(store: &str, mode: Mode, source: &PassphraseSource) -> Result<Registry> {
    let home = Home::find()?;
    let place = Place::parse(store, &home)?;
    require_workspace(&place)?;
    let passphrase = passphrase::read(source)?;
    devices::open(&home, &place, mode, &passphrase)
}
