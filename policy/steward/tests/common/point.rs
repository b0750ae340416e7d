//! A decision point of somebody else's, which allows everything, or says nothing at all of some requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_authorizer::{BESIDE, DecisionPoint, Facts, Request, Verdict};
use strongroom_records::ids::Hash;
use strongroom_steward::{PolicyLanguage, Result};

use super::{CedarLanguage, World};

/// Of which requests it says nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Silence(Arc<Mutex<Option<IsAbout>>>);

type IsAbout = Box<dyn Fn(&Request) -> bool + Send>;

struct Beside(Arc<dyn DecisionPoint>, Silence);

impl Silence {
    pub fn begin(&self, is_about: impl Fn(&Request) -> bool + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(is_about));
    }

    pub fn end(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// A world whose applications can ask it beside their own policies.
    pub fn world(&self, seed: u64) -> World {
        let mut world = World::new(seed);
        world.services.language = Arc::new(self.clone());
        world
    }
}

impl DecisionPoint for Beside {
    fn digest(&self) -> Hash {
        self.0.digest()
    }

    fn evaluate(&self, request: &Request, facts: &Facts) -> Verdict {
        let is_silent = self.1.0.lock().unwrap().as_ref().is_some_and(|about| about(request));
        match is_silent {
            true => Verdict { allow: false, policies: vec![BESIDE.to_owned()], failed: true },
            false => self.0.evaluate(request, facts),
        }
    }
}

impl PolicyLanguage for Silence {
    fn built_in(&self) -> &str {
        CedarLanguage.built_in()
    }

    fn read(&self, text: &str) -> Result<Arc<dyn DecisionPoint>> {
        CedarLanguage.read(text)
    }

    fn beside(
        &self,
        own: Arc<dyn DecisionPoint>,
        _: &str,
        _: Duration,
    ) -> Result<Arc<dyn DecisionPoint>> {
        Ok(Arc::new(Beside(own, self.clone())))
    }
}
