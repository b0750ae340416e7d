//! Whether what was answered is in force wherever it may be seen: said with the answer, since not everybody can be waited for.

use serde_json::{Value, json};
use strongroom_steward::{About, Custodian, Result};

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
}

/// What an act may have taken away: what is waited for.
pub fn about(call: &Call<'_>, route: &Route, custodian: &Custodian) -> About {
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
    found.unwrap_or(About::Everything)
}

/// How far it has come after an announcement. Of a consent the register tells which devices have leases, whoever lent them; of
/// anything else consumers' devices are known where they are served from here, or there are none.
pub fn of(
    call: &Call<'_>,
    route: &Route,
    (announced, now): (Announced, i64),
    custodian: &Custodian,
) -> Result<Force> {
    let mut silent = announced.silent;
    if route.is_about_a_consent() {
        let (subject, activity) = (call.subject()?, call.param(1));
        let record = custodian.answered(&subject, activity)?;
        let holders = custodian.holders(&subject, record)?;
        let waited = holders.iter().filter(|own| match announced.serves {
            // Those that lent from here are waited for already.
            true => own.is_waited_for_elsewhere(now),
            false => own.is_waited_for(now),
        });
        silent += waited.count() as u64;
    } else if silent == 0 && !announced.serves && custodian.has_consumers() {
        return Ok(Force { is_everywhere: None, silent });
    }
    Ok(Force { is_everywhere: Some(silent == 0), silent })
}

/// Says so in an answer; that nobody knows where it could not be found out.
pub fn tell(answer: &mut Answer, force: Option<Force>) {
    let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) else { return };
    let Some(fields) = json.as_object_mut() else { return };
    fields.insert("in_force".to_owned(), json!(force.and_then(|force| force.is_everywhere)));
    fields.insert("silent".to_owned(), json!(force.map(|force| force.silent)));
    *answer = Answer::json(answer.status, &json);
}
