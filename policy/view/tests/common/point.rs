//! A decision point of somebody else's, which allows everything, or says nothing at all of jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_authorizer::{BESIDE, DecisionPoint, Facts, Request, Verdict};
use strongroom_records::ids::{ActivityId, Hash};
use strongroom_steward::{PolicyLanguage, Result};

use super::Shop;
use super::world::{CedarLanguage, World};

/// Whether it is away. Cheap to clone.
#[derive(Clone, Default)]
pub struct Away(Arc<AtomicBool>);

struct Beside(Arc<dyn DecisionPoint>, Away);

impl Away {
    pub fn set(&self, is_away: bool) {
        self.0.store(is_away, Ordering::SeqCst);
    }

    /// A shop that asks it beside its own policies.
    pub fn shop(&self, seed: u64) -> Shop {
        let mut shop = Shop::over(self.world(seed));
        shop.act(|shop| shop.set_point(Some("http://127.0.0.1:1")).unwrap());
        shop
    }

    /// A world whose applications can.
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
        let is_away = self.1.0.load(Ordering::SeqCst) && request.activity != ActivityId::OWN;
        match is_away {
            true => Verdict { allow: false, policies: vec![BESIDE.to_owned()], failed: true },
            false => self.0.evaluate(request, facts),
        }
    }
}

impl PolicyLanguage for Away {
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
