//! Applications behind an agent: opened once, shared with commands and mounts that write in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_agent::{Agent, Announced, Entrance, Tokens};
use strongroom_custody::Custody;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::ApplicationId;
use strongroom_steward::{About, Custodian, Error, ErrorKind, Stewardship, Turns};

use super::counter::{Attended, SETTLE_LIMIT};
use super::turnstile::Held;
use super::{failure, open};
use crate::args::agent::AgentOptions;
use crate::args::custody::In;
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// Opens applications for an agent, and the counter where it serves consumers, if it does.
///
/// # Errors
/// As for a command on each of them; no application at all.
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
    let mut places = Vec::new();
    for name in names {
        let given = options.custody.iter().filter_map(|text| text.split_once('='));
        let given = given.into_iter().find(|(own, _)| *own == name);
        let custody = match given {
            Some((_, locator)) => office.custody(locator)?,
            None => office.listed_custody(&name)?,
        };
        office.obtain(&name, &custody)?;
        places.push((name, custody));
    }
    let counter = match options.consumers {
        true => Some(Attended::open(&place, office.services.clone(), &places)?),
        false => None,
    };
    let turns = counter.as_ref().map(Attended::turns);
    let stewardship = Arc::new(Mutex::new(office.into_stewardship()));
    let entrance = |(name, custody): (String, Arc<dyn Custody>)| {
        let (place, stewardship) = (place.clone(), Arc::clone(&stewardship));
        let turns = turns.clone();
        let shared = Shared { name: name.clone(), custody, stewardship, place, turns };
        (name, Box::new(shared) as Box<dyn Entrance>)
    };
    let entrances = places.into_iter().map(entrance).collect();
    let tokens = Tokens::new(options.tokens.clone().unwrap_or_default());
    let agent = Agent::new(entrances, tokens, Arc::new(MachineClock::new()));
    Ok((agent.map_err(|error| failure(&error))?, counter))
}

/// One application, and the list it stands in.
struct Shared {
    name: String,
    custody: Arc<dyn Custody>,
    stewardship: Arc<Mutex<Stewardship>>,
    place: Place,
    turns: Option<Turns>,
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, Stewardship> {
        self.stewardship.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id, if it is listed still.
    fn application(&self) -> Option<ApplicationId> {
        self.list().find(&self.name).ok().map(|line| line.application)
    }

    fn fence(&self) -> strongroom_steward::Result<Held> {
        let busy =
            |_| Error::new(ErrorKind::Unavailable, "another command works on the applications");
        Held::take(&self.place).map_err(busy)
    }
}

impl Entrance for Shared {
    fn open(&self) -> strongroom_steward::Result<Custodian> {
        let _others_wait = self.fence()?;
        self.list().application(&self.name, Arc::clone(&self.custody))
    }

    fn obtain(&self) -> strongroom_steward::Result<bool> {
        let needed = {
            let mut list = self.list();
            list.follow()?;
            list.needed_key(&self.name, &self.custody)?
        };
        // ORDER: neither the list nor the right to write is held while holders are waited for.
        let Some(key) = needed else { return Ok(false) };
        key.obtain().map(|()| true)
    }

    fn enter(&self, custodian: &mut Custodian) -> strongroom_steward::Result<Box<dyn Send>> {
        let fence = self.fence()?;
        let mut list = self.list();
        list.follow()?;
        custodian.relist(list.find(&self.name)?);
        custodian.follow()?;
        custodian.catch_up()?;
        custodian.set_turnstile(fence.turnstile());
        Ok(Box::new(fence))
    }

    fn announce(&self, about: About) -> Announced {
        let clock = MachineClock::new();
        // The counter hears of it meanwhile: views and devices have the same seconds.
        let devices = self.turns.as_ref().map(|turns| turns.ask(about));
        let views = self.application().zip(Home::find().ok());
        let views = views.map(|(own, home)| control::tell_views(&home, &own).silent);
        let left = SETTLE_LIMIT.saturating_sub(clock.elapsed());
        let devices = devices.map(|asked| asked.wait(&clock, left).silent);
        let silent = views.unwrap_or_default() + devices.unwrap_or_default();
        Announced { silent, serves: devices.is_some() }
    }
}
