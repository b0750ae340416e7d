//! Whether what was answered is in force wherever it may be seen: said with the answer, since not everybody can be waited for.

use serde_json::{Value, json};
use strongroom_steward::{About, Custodian, Result, time_text};

use crate::Announced;
use crate::call::Call;
use crate::http::Answer;
use crate::routes::Route;

/// How far an act has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Force {
    /// Whether it is in force everywhere; none where nobody here can know.
    is_everywhere: Option<bool>,
    /// Views and devices that may still show what was taken away.
    silent: u64,
    /// When the last lease is over that another custodian lent, and that its device was not heard to have let go of.
    until: Option<i64>,
}

/// What an act may have taken away, and in which record: what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub about: About,
    pub record: u64,
}

impl Taken {
    /// What the act just done on an application took away.
    pub fn by(call: &Call<'_>, route: &Route, custodian: &Custodian) -> Self {
        let application = custodian.listed().application;
        let found = if route.is_about_a_subject() {
            call.subject().ok().map(|subject| About::Subject(application, subject))
        } else if route.is_about_an_activity() {
            let all = custodian.activities().unwrap_or_default();
            let found = all.into_iter().find(|activity| activity.name == call.param(0));
            found.map(|activity| About::Activity(application, activity.id))
        } else {
            None
        };
        let record = custodian.record_count().saturating_sub(1);
        Self { about: found.unwrap_or(About::Everything), record }
    }

    /// How far it has come after an announcement. The register tells which consumers' devices have leases of it, whoever lent
    /// them: another custodian may be away, and what it lent lives on.
    pub fn force(&self, announced: Announced, now: i64, custodian: &Custodian) -> Result<Force> {
        let holders = match &self.about {
            About::Subject(_, subject) => Some(custodian.holders(subject, self.record)?),
            About::Activity(_, activity) => custodian.holders_for(activity, self.record)?,
            About::Everything => None,
        };
        let Some(holders) = holders else {
            let is_everywhere = (announced.silent > 0).then_some(false);
            return Ok(Force { is_everywhere, silent: announced.silent, until: None });
        };
        let waited = holders.iter().filter(|own| match announced.serves {
            // Those that lent from here are waited for already.
            true => own.is_waited_for_elsewhere(now),
            false => own.is_waited_for(now),
        });
        let ends = waited.map(|own| match announced.serves {
            true => own.until_elsewhere.unwrap_or(own.until),
            false => own.until,
        });
        let ends: Vec<i64> = ends.collect();
        let silent = announced.silent + ends.len() as u64;
        Ok(Force { is_everywhere: Some(silent == 0), silent, until: ends.into_iter().max() })
    }
}

/// Says so in an answer; that nobody knows where it could not be found out.
pub fn tell(answer: &mut Answer, force: Option<Force>) {
    let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) else { return };
    let Some(fields) = json.as_object_mut() else { return };
    fields.insert("in_force".to_owned(), json!(force.and_then(|force| force.is_everywhere)));
    fields.insert("silent".to_owned(), json!(force.map(|force| force.silent)));
    let until = force.and_then(|force| force.until).map(time_text);
    fields.insert("until".to_owned(), json!(until));
    *answer = Answer::json(answer.status, &json);
}
