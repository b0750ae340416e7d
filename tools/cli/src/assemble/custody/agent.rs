//! Applications behind an agent: opened once, shared with commands and mounts that write in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_agent::{Agent, Announced, Entrance, Tokens};
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::ApplicationId;
use strongroom_steward::{About, Custodian, Error, ErrorKind, Stewardship, Turns};

use super::asking::Asking;
use super::counter::{Attended, SETTLE_LIMIT, Served};
use super::seat::{Seat, refused_as_error};
use super::turnstile::Held;
use super::{failure, open};
use crate::args::agent::AgentOptions;
use crate::args::custody::In;
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// Opens applications for an agent, and the counter where it serves consumers, if it does. What is wrong with one keeps nobody
/// from the others.
///
/// # Errors
/// As for a command, where none opens; no application at all.
pub fn agent(options: &AgentOptions) -> Result<(Arc<Agent>, Option<Attended>)> {
    let place = Place::parse(&options.store, &Home::find()?)?;
    let of = In { workspace: options.store.clone(), passphrase: options.passphrase.clone() };
    let mut office = open(&of)?;
    let mut names = options.apps.clone();
    if names.is_empty() {
        let done = office.stewardship.applications().iter();
        let done = done.filter(|line| line.state != ApplicationState::Making);
        names.extend(done.map(|line| line.name.clone()));
    }
    if names.is_empty() {
        return Err(Failure::new(Exit::Failed, "the workspace has no application yet")
            .hint("`strongroom app create` makes one"));
    }
    let (mut seats, mut waited_for, mut first_refused) = (Vec::new(), Vec::new(), None);
    for name in names {
        // A name that nobody ever gave is a mistake of the command line, not a place that is away.
        office.stewardship.find(&name).map_err(|error| failure(&error))?;
        let given = options.custody.iter().filter_map(|text| text.split_once('='));
        let given = given.into_iter().find(|(own, _)| *own == name);
        let seat = Arc::new(Seat::new(&name, given.map(|(_, place)| place), &office.services));
        match office.needed_key(&seat) {
            Err(ended) if matches!(ended.exit, Exit::Usage | Exit::Interrupted) => {
                return Err(ended);
            }
            // It is tried again when it is needed, and keeps nobody from the others.
            Err(refused) => first_refused = first_refused.or(Some(refused)),
            Ok(Some(key)) => waited_for.push((Arc::clone(&seat), key)),
            Ok(None) => {}
        }
        seats.push(seat);
    }
    let (served, is_every_one) = (Served::default(), waited_for.len() == seats.len());
    let mut asking = Asking::new(&served);
    for (seat, key) in waited_for {
        asking.ask(&seat, key)?;
    }
    if is_every_one {
        asking.until_one(&mut office)?;
    }
    let turns = Turns::default();
    let counter = match options.consumers {
        true => {
            let services = office.services.clone();
            Some(Attended::open(&place, services, &seats, turns.clone(), &served)?)
        }
        false => None,
    };
    let stewardship = Arc::new(Mutex::new(office.into_stewardship()));
    let entrance = |seat: Arc<Seat>| {
        let (place, stewardship, name) = (place.clone(), Arc::clone(&stewardship), seat.name());
        let (served, turns) = (served.clone(), turns.clone());
        (name, Box::new(Shared { seat, stewardship, place, served, turns }) as Box<dyn Entrance>)
    };
    let entrances = seats.into_iter().map(entrance).collect();
    let tokens = Tokens::new(options.tokens.clone().unwrap_or_default());
    let agent = Agent::new(entrances, tokens, Arc::new(MachineClock::new()));
    let agent = agent.map_err(|error| first_refused.unwrap_or_else(|| failure(&error)))?;
    Ok((agent, counter))
}

/// One application, and the list it stands in.
struct Shared {
    seat: Arc<Seat>,
    stewardship: Arc<Mutex<Stewardship>>,
    place: Place,
    /// Whom the counter serves, and what waits for it.
    served: Served,
    turns: Turns,
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, Stewardship> {
        self.stewardship.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id, if it is listed still.
    fn application(&self) -> Option<ApplicationId> {
        self.list().find(&self.seat.name()).ok().map(|line| line.application)
    }

    fn fence(&self) -> strongroom_steward::Result<Held> {
        let busy =
            |_| Error::new(ErrorKind::Unavailable, "another command works on the applications");
        Held::take(&self.place).map_err(busy)
    }
}

impl Entrance for Shared {
    fn open(&self) -> strongroom_steward::Result<Custodian> {
        let custody = self.seat.custody().map_err(|refused| refused_as_error(&refused))?;
        let _others_wait = self.fence()?;
        let opened = self.list().application(&self.seat.name(), custody)?;
        self.served.offer(&self.seat);
        Ok(opened)
    }

    fn obtain(&self) -> strongroom_steward::Result<bool> {
        let custody = self.seat.custody().map_err(|refused| refused_as_error(&refused))?;
        let needed = {
            let mut list = self.list();
            list.follow()?;
            list.needed_key(&self.seat.name(), &custody)?
        };
        // ORDER: neither the list nor the right to write is held while holders are waited for.
        let Some(key) = needed else { return Ok(false) };
        key.obtain().map(|()| true)
    }

    fn enter(&self, custodian: &mut Custodian) -> strongroom_steward::Result<Box<dyn Send>> {
        let fence = self.fence()?;
        let mut list = self.list();
        list.follow()?;
        custodian.relist(list.find(&self.seat.name())?);
        custodian.follow()?;
        custodian.catch_up()?;
        custodian.set_turnstile(fence.turnstile());
        Ok(Box::new(fence))
    }

    fn announce(&self, about: About) -> Announced {
        let clock = MachineClock::new();
        // The counter hears of it meanwhile: views and devices have the same seconds.
        let is_served = self.served.has(&self.seat.name());
        let devices = is_served.then(|| self.turns.ask(about));
        let views = self.application().zip(Home::find().ok());
        let views = views.map(|(own, home)| control::tell_views(&home, &own).silent);
        let left = SETTLE_LIMIT.saturating_sub(clock.elapsed());
        let devices = devices.map(|asked| asked.wait(&clock, left).silent);
        let silent = views.unwrap_or_default() + devices.unwrap_or_default();
        Announced { silent, serves: devices.is_some() }
    }
}
