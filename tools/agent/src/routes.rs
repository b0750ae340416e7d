//! What can be asked: one line each, held against `docs/agent-api.json` by a test.

use strongroom_steward::{Asked, Custodian, Result};

use crate::call::Call;
use crate::door::SMALL_LEN_MAX;
use crate::http::Answer;
use crate::{activities, subjects};

/// Whose token it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The application's own.
    Application,
    /// That of the activity which the path names first.
    Activity,
    /// An auditor's.
    Auditor,
}

/// Does what is asked and says what came of it.
pub type Whole = fn(&Call<'_>, &mut Custodian) -> Result<Answer>;

/// Whose file is meant, and its name.
pub type Named = fn(&Call<'_>) -> Result<(Asked, String)>;

/// How it is answered.
#[derive(Clone, Copy)]
pub enum Act {
    /// As a whole.
    Whole(Whole),
    /// With everything about a subject, in pieces.
    Export,
    /// By writing a file, which nobody waits for while it goes to the store.
    Put(Named),
    /// By reading one, which nobody waits for while it comes from the store.
    Get(Named),
}

/// Where something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the desk, where everybody else waits.
    Desk,
    /// There, or apart where the subject that the path names first has a long history.
    History,
    /// Apart, as it may take as long as there are people.
    Apart,
}

/// One thing that can be asked.
pub struct Route {
    method: &'static str,
    path: &'static str,
    /// Whose token it takes.
    pub who: Who,
    /// How it is answered.
    pub act: Act,
    /// Whether it is done once under an idempotency key. Only what changes something, and whose answer has nothing of
    /// anybody's data: that answer is kept, and given again without a decision or a record.
    pub is_once: bool,
    /// Where it is done.
    pub place: Place,
    /// LIMIT: bytes of a body.
    pub body_len_max: usize,
}

impl Route {
    const fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    const fn long(self) -> Self {
        Self { place: Place::Apart, ..self }
    }

    const fn of_history(self) -> Self {
        Self { place: Place::History, ..self }
    }

    const fn up_to(self, body_len_max: usize) -> Self {
        Self { body_len_max, ..self }
    }

    /// Whether somebody may see less, or more, after it.
    pub fn changes_what_may_be_seen(&self) -> bool {
        const ABOUT: [&str; 4] = ["/consents/{", "/restriction", "/erase", "activities/"];
        self.method != "GET" && ABOUT.iter().any(|part| self.path.contains(part))
    }

    /// Whether it is about one person, whom the path names first.
    pub fn is_about_a_subject(&self) -> bool {
        self.path.starts_with("subjects/{subject}/")
    }

    /// Whether it is about one activity, which the path names first.
    pub fn is_about_an_activity(&self) -> bool {
        self.path.starts_with("activities/{activity}/")
    }
}

const fn route(method: &'static str, path: &'static str, who: Who, whole: Whole) -> Route {
    let act = Act::Whole(whole);
    Route { method, path, who, act, is_once: false, place: Place::Desk, body_len_max: BODY_LEN_MAX }
}

const fn put_route(path: &'static str, who: Who, named: Named) -> Route {
    let (method, act, body_len_max) = ("PUT", Act::Put(named), FILE_LEN_MAX);
    Route { method, path, who, act, is_once: false, place: Place::Desk, body_len_max }
}

const fn read_route(path: &'static str, who: Who, named: Named) -> Route {
    let (method, act, body_len_max) = ("GET", Act::Get(named), BODY_LEN_MAX);
    Route { method, path, who, act, is_once: false, place: Place::Desk, body_len_max }
}

const fn export_route(path: &'static str) -> Route {
    let (method, who, act) = ("POST", Own, Act::Export);
    Route { method, path, who, act, is_once: false, place: Place::Desk, body_len_max: BODY_LEN_MAX }
}

/// LIMIT: bytes of a body; of one with texts of people's; of many people; of a file, for which 64 MiB are taken.
const BODY_LEN_MAX: usize = SMALL_LEN_MAX;
const TEXT_LEN_MAX: usize = 1 << 20;
const MANY_LEN_MAX: usize = 32 << 20;
const FILE_LEN_MAX: usize = 64 << 20;

use Who::{Activity as Job, Application as Own, Auditor as Audit};

/// Paths below `/v1/apps/{app}`.
const ROUTES: &[Route] = &[
    route("GET", "subjects", Own, subjects::list),
    route("POST", "subjects", Own, subjects::create).once().up_to(TEXT_LEN_MAX),
    route("POST", "subjects/import", Own, subjects::import).once().up_to(MANY_LEN_MAX),
    route("POST", "subjects/find", Own, subjects::find),
    route("GET", "subjects/due", Own, subjects::due).long(),
    route("GET", "subjects/{subject}", Own, subjects::show),
    route("PUT", "subjects/{subject}/lookups", Own, subjects::set).up_to(TEXT_LEN_MAX),
    route("GET", "subjects/{subject}/files/{class}", Own, subjects::files),
    read_route("subjects/{subject}/files/{class}/{name}", Own, subjects::named),
    put_route("subjects/{subject}/files/{class}/{name}", Own, subjects::named),
    route("DELETE", "subjects/{subject}/files/{class}/{name}", Own, subjects::remove),
    route("GET", "subjects/{subject}/consents", Own, subjects::consents),
    route("GET", "subjects/{subject}/consents/history", Own, subjects::history).of_history(),
    route("PUT", "subjects/{subject}/consents/{activity}", Own, subjects::answer)
        .up_to(TEXT_LEN_MAX),
    route("POST", "subjects/{subject}/names/{activity}", Own, subjects::name),
    route("GET", "subjects/{subject}/report", Own, subjects::report).of_history(),
    export_route("subjects/{subject}/export"),
    route("POST", "subjects/{subject}/erase", Own, subjects::erase).once(),
    route("POST", "subjects/{subject}/rotate", Own, subjects::rotate).once().long(),
    route("PUT", "subjects/{subject}/restriction", Own, subjects::restrict),
    route("PUT", "subjects/{subject}/holds/{ground}", Own, subjects::hold),
    route("DELETE", "subjects/{subject}/holds/{ground}", Own, subjects::lift),
    route("GET", "activities", Own, activities::list),
    route("POST", "activities", Own, activities::register).once().up_to(TEXT_LEN_MAX),
    route("POST", "activities/{activity}/approve", Own, activities::approve).once(),
    route("POST", "activities/{activity}/suspend", Own, activities::suspend).once(),
    route("POST", "activities/{activity}/end", Own, activities::end).once(),
    route("PUT", "schema", Own, activities::schema).up_to(TEXT_LEN_MAX),
    route("POST", "classes", Own, activities::class).once(),
    route("GET", "retention", Own, activities::retention).long(),
    route("PUT", "retention", Own, activities::set_idle_rule).long(),
    route("PUT", "retention/{class}", Own, activities::set_retention).long(),
    route("POST", "retention/run", Own, activities::retire).once().long(),
    route("GET", "keys", Own, activities::keys),
    route("POST", "rotate", Own, activities::rotate).once().long(),
    route("GET", "jobs/{activity}/subjects", Job, activities::scope),
    route("GET", "jobs/{activity}/subjects/{name}/files/{class}", Job, activities::files),
    read_route("jobs/{activity}/subjects/{name}/files/{class}/{file}", Job, activities::named),
    put_route("jobs/{activity}/subjects/{name}/files/{class}/{file}", Job, activities::named),
    route("GET", "audit", Audit, activities::audit),
    route("GET", "audit/head", Audit, activities::head),
    route("POST", "audit/verify", Audit, activities::verify).long(),
];

/// Method and path of everything that can be asked, as the description writes it.
pub fn described() -> Vec<(String, String)> {
    let of_apps = ROUTES.iter().map(|route| (route.method.to_lowercase(), described_path(route)));
    of_apps.chain([("get".to_owned(), "/v1/health".to_owned())]).collect()
}

fn described_path(route: &Route) -> String {
    format!("/v1/apps/{{app}}/{}", route.path)
}

/// The route of a path below an application, and what stands in its places. What is written out goes before a place.
pub fn find(
    method: &str,
    parts: &[&str],
) -> std::result::Result<(&'static Route, Vec<String>), Answer> {
    let fitting: Vec<(&Route, Vec<String>)> =
        ROUTES.iter().filter_map(|route| Some((route, fit(route.path, parts)?))).collect();
    let is_known = !fitting.is_empty();
    let theirs = fitting.into_iter().filter(|(route, _)| route.method == method);
    theirs.min_by_key(|(_, params)| params.len()).ok_or_else(|| match is_known {
        true => Answer::refused(405, "invalid", "that cannot be done here"),
        false => Answer::refused(404, "not_found", "there is no such thing here"),
    })
}

fn fit(path: &str, parts: &[&str]) -> Option<Vec<String>> {
    let pattern: Vec<&str> = path.split('/').collect();
    if pattern.len() != parts.len() {
        return None;
    }
    let mut params = Vec::new();
    for (wanted, part) in pattern.iter().zip(parts) {
        if wanted.starts_with('{') {
            params.push((*part).to_owned());
        } else if wanted != part {
            return None;
        }
    }
    Some(params)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_what_can_be_asked_and_nothing_else() {
        let text = include_str!("../../../docs/agent-api.json");
        let description: Value = serde_json::from_str(text).unwrap();
        let (mut told, mut with_key) = (BTreeSet::new(), BTreeSet::new());
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
                if operation.to_string().contains("parameters/IdempotencyKey") {
                    with_key.insert((method.clone(), path.clone()));
                }
                told.insert((method.clone(), path.clone()));
            }
            let places = path.matches('{').count();
            let named = item["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(places, named, "{path}");
        }
        assert_eq!(told, described().into_iter().collect());
        let once = ROUTES.iter().filter(|route| route.is_once);
        let once = once.map(|route| (route.method.to_lowercase(), described_path(route)));
        assert_eq!(with_key, once.collect());
    }

    #[test]
    fn what_takes_something_away_names_whose_it_is_or_for_which_activity() {
        let about = |route: &&Route| (route.is_about_a_subject(), route.is_about_an_activity());
        let changing = ROUTES.iter().filter(|route| route.changes_what_may_be_seen());
        let of: Vec<(bool, bool)> = changing.map(|route| about(&route)).collect();
        assert_eq!(of, [[(true, false); 3], [(false, true); 3]].concat());
    }

    #[test]
    fn what_is_written_out_goes_before_a_place() {
        let found = |method, parts: &[&str]| {
            find(method, parts)
                .map(|(route, params)| (route.path, params.len()))
                .map_err(|a| a.status)
        };
        assert_eq!(found("POST", &["subjects", "find"]), Ok(("subjects/find", 0)));
        assert_eq!(found("GET", &["subjects", "ab"]), Ok(("subjects/{subject}", 1)));
        assert_eq!(found("DELETE", &["subjects", "find"]), Err(405));
        assert_eq!(found("GET", &["subject"]), Err(404));
        assert_eq!(found("GET", &[]), Err(404));
    }
}
