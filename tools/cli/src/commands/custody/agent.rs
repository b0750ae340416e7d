//! `strongroom agent`: applications for programs, over a local socket. `strongroom token`: who may ask.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::{Value, json};
use strongroom_agent::{Agent, Role, Tokens, Wire};
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::signals::Signals;
use strongroom_host::thread;
use strongroom_steward::time_text;

use super::moment;
use crate::args::agent::{AgentOptions, Token, TokenCreate, TokenList, TokenRemove};
use crate::assemble::custody::agent::agent;
use crate::assemble::custody::quorum::end_asking;
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// How long nobody is let in after the machine refused to.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop.
///
/// # Errors
/// As for a command; the socket is taken.
pub fn run(options: &AgentOptions, format: Format) -> Result<Exit> {
    let mut signals =
        Signals::take().map_err(|error| Failure::io("listening for signals", &error))?;
    // Taken before anything is unlocked: two agents would find out late.
    let socket = options.socket.as_deref().map(bind).transpose()?;
    let listener = options.listen.map(|address| {
        if !address.ip().is_loopback() {
            return Err(Failure::new(Exit::Usage, "the agent answers on this machine only")
                .hint("give a loopback address: 127.0.0.1:8700 or [::1]:8700"));
        }
        TcpListener::bind(address).map_err(|error| Failure::io("listening", &error))
    });
    let listener = listener.transpose()?;
    let (agent, counter) = agent(options)?;
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    if let Some(socket) = socket {
        attend(&agent, move || socket.accept().map(|(stream, _)| stream))?;
    }
    if let Some(listener) = listener {
        attend(&agent, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true).map(|()| stream)
        })?;
    }
    let is_counter = counter.is_some();
    if let Some(counter) = counter {
        counter.serve()?;
    }
    let shown = options.socket.as_ref().map(|path| path.display().to_string());
    let address = address.map(|address| address.to_string());
    let mut text: String =
        shown.iter().chain(&address).map(|place| format!("answers on {place}\n")).collect();
    if is_counter {
        text += "serves consumers through the store\n";
    }
    let mut closed = Vec::new();
    for (name, error) in agent.closed() {
        let place = error.place().map(|place| format!(" (`{place}`)"));
        let why = format!("{error}{}", place.unwrap_or_default());
        text += &format!("`{name}` is not served, until it opens: {why}\n");
        closed.push(json!({"application": name, "why": why}));
    }
    let json = json!({
        "socket": shown, "address": address, "consumers": is_counter, "closed": closed,
    });
    ui::answer(format, &text, &json)?;
    let waited = signals.wait();
    end_asking();
    if let Some(path) = &options.socket {
        let _ = fs::remove_file(path);
    }
    // What is being done is finished; nothing more begins, and the process ends.
    let _resting = agent.rest();
    waited.map(|_| Exit::Done).map_err(|error| Failure::io("listening for signals", &error))
}

/// Lets connections in by a door of their own, from a thread of its own.
fn attend<W: Wire>(
    agent: &Arc<Agent>,
    accept: impl Fn() -> io::Result<W> + Send + 'static,
) -> Result<()> {
    let (agent, door) = (Arc::clone(agent), Arc::default());
    let serving = move || {
        let clock = MachineClock::new();
        loop {
            let attended = accept().and_then(|wire| agent.attend(wire, &door));
            if attended.is_err() {
                clock.sleep(PAUSE);
            }
        }
    };
    let serving = thread::spawn("listening", serving);
    serving.map(drop).map_err(|error| Failure::io("starting a thread", &error))
}

/// A socket for its owner alone. One that nobody answers on any more is taken over.
fn bind(path: &Path) -> Result<UnixListener> {
    let failed = |error: io::Error| Failure::io(format!("making `{}`", path.display()), &error);
    if UnixStream::connect(path).is_ok() {
        return Err(Failure::new(Exit::Failed, format!("`{}` is taken", path.display()))
            .hint("another agent answers there"));
    }
    match fs::symlink_metadata(path) {
        Ok(about) if std::os::unix::fs::FileTypeExt::is_socket(&about.file_type()) => {
            fs::remove_file(path).map_err(failed)?;
        }
        _ => {}
    }
    // ORDER: before the first thread, and back at once: the mask is the whole process's.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    bound.map_err(failed)
}

/// Does one of the verbs of `token`.
///
/// # Errors
/// Those of the file of tokens.
pub fn token(options: &Token, format: Format) -> Result<Exit> {
    match options {
        Token::Create(options) => create(options, format),
        Token::List(options) => list(options, format),
        Token::Remove(options) => remove(options, format),
    }
}

fn create(options: &TokenCreate, format: Format) -> Result<Exit> {
    let role = match (&options.activity, options.auditor) {
        (Some(name), _) => Role::Activity(name.clone()),
        (None, true) => Role::Auditor,
        (None, false) => Role::Application,
    };
    let until = moment(options.until.as_deref())?;
    let tokens = Tokens::new(options.tokens.clone());
    let made = tokens.add(&options.name, &options.app, role, until, &MachineEntropy);
    let token = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Failed, format!("there is a token `{}`", options.name))
                .hint("`strongroom token remove` ends it")
        }
        io::ErrorKind::FileTooLarge => {
            Failure::new(Exit::Failed, "the file has no room for another token")
                .hint("`strongroom token remove` makes some; or begin another file")
        }
        _ => of_file(&error),
    })?;
    ui::answer(format, &format!("{token}\n"), &json!({"name": options.name, "token": token}))?;
    Ok(Exit::Done)
}

fn list(options: &TokenList, format: Format) -> Result<Exit> {
    let (mut text, mut lines) = (String::new(), Vec::<Value>::new());
    for token in Tokens::new(options.tokens.clone()).read().map_err(|error| of_file(&error))? {
        let until = token.until.map(time_text);
        let role = token.role.text();
        text += format!("{}  {}  {role}  ", token.name, token.app).as_str();
        text += until.as_deref().unwrap_or("no end");
        text += "\n";
        lines.push(json!({"name": token.name, "app": token.app, "role": role, "until": until}));
    }
    ui::answer(format, &text, &json!({ "tokens": lines }))?;
    Ok(Exit::Done)
}

fn remove(options: &TokenRemove, format: Format) -> Result<Exit> {
    let tokens = Tokens::new(options.tokens.clone());
    if !tokens.remove(&options.name).map_err(|error| of_file(&error))? {
        return Err(Failure::new(Exit::Failed, format!("there is no token `{}`", options.name)));
    }
    ui::answer(format, "", &json!({"name": options.name}))?;
    Ok(Exit::Done)
}

fn of_file(error: &io::Error) -> Failure {
    Failure::io("reading the tokens", error)
}
