//! Cases: requests with what is expected of each, as a file that people review beside their policies.
//!
//! ```text
//! {"cases": [{"name": "who agreed is read", "activity": {"classes": ["identifiable"]},
//!             "consent": {"status": "given"}, "expect": "allow"}]}
//! ```
//!
//! What a case leaves out is the ordinary: an approved activity `job` with basis `consent`, purpose `service` and the class that
//! the case names, which opens data of class `identifiable` of an active subject that has not answered. A field that is
//! not known is refused, so that no case tests less than it says.
//!
//! Policies name classes by number. What a class of a name is an application says, or the file: `"classes": ["health"]` are those
//! that the application declared, in that order.

use serde_json::{Map, Value};
use strongroom_format::ids::DeviceId;
use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_records::application::DeclaredClass;
use strongroom_records::ids::{ActivityId, ApplicationId, ClassId, Hash, SubjectId};
use strongroom_records::subject::{Consent, ConsentStatus, SubjectState};

use crate::{Action, DecisionPoint, Facts, Request, decide};

/// The cases of the built-in policies. Whatever decides by these policies answers them so.
pub const BUILT_IN: &str = include_str!("cases.json");

/// Cases of a file.
pub struct Cases(Vec<Case>);

/// One case.
pub struct Case {
    /// What people call it.
    pub name: String,
    /// What is asked.
    pub request: Request,
    /// What is known.
    pub facts: Facts,
    expected: Expected,
}

enum Expected {
    Allow,
    Deny,
    /// Denied for this reason, in the words of [`crate::Reason::text`].
    Because(String),
}

/// A case that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub name: String,
    /// What the case expects.
    pub expected: String,
    /// What was decided.
    pub found: String,
}

type Parsed<T> = Result<T, String>;

impl Cases {
    /// Reads a file of cases that says itself what classes are declared.
    ///
    /// # Errors
    /// A sentence that says what is wrong and in which case.
    pub fn parse(text: &str) -> Parsed<Self> {
        Self::read(text, None)
    }

    /// Reads one for an application that declared these classes.
    ///
    /// # Errors
    /// As [`Cases::parse`]; a case that says something else of a class than the application does.
    pub fn parse_for(text: &str, declared: &[DeclaredClass]) -> Parsed<Self> {
        Self::read(text, Some(declared))
    }

    fn read(text: &str, declared: Option<&[DeclaredClass]>) -> Parsed<Self> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| format!("the cases are no JSON: {error}"))?;
        let file = fields(&json, "the file", &["cases", "classes"])?;
        let list = file.get("cases").and_then(Value::as_array);
        let list = list.ok_or("the file has no list of `cases`")?;
        let classes = Classes::of(file, declared)?;
        let case = |(number, json): (usize, &Value)| {
            let name = json.get("name").and_then(Value::as_str);
            let name = name.map_or_else(|| format!("case {}", number + 1), str::to_owned);
            Case::parse(json, &name, &classes).map_err(|what| format!("{name}: {what}"))
        };
        list.iter().enumerate().map(case).collect::<Parsed<_>>().map(Self)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> &[Case] {
        &self.0
    }

    /// Decides each, and returns those that came out otherwise than expected.
    pub fn run(&self, point: &dyn DecisionPoint) -> Vec<Wrong> {
        self.0.iter().filter_map(|case| case.run(point)).collect()
    }
}

impl Case {
    fn parse(json: &Value, name: &str, classes: &Classes) -> Parsed<Self> {
        let known = [
            "name",
            "expect",
            "reason",
            "action",
            "class",
            "special",
            "purpose",
            "now",
            "activity",
            "subject",
            "consent",
            "others",
            "application_active",
            "operator_certified",
        ];
        let case = fields(json, "a case", &known)?;
        let named = classes.named(text(case, "class")?.unwrap_or("identifiable"))?;
        let class = named.number;
        let action = match text(case, "action")? {
            None => Action::Open,
            Some(name) => Action::from_name(name).ok_or("`action` is no action")?,
        };
        let now = number(case, "now")?.unwrap_or(0);
        let activity = match case.get("activity") {
            Some(Value::Null) => None,
            json => Some(activity(json, class, classes)?),
        };
        let consent = case.get("consent").filter(|json| !json.is_null());
        let consent = consent.map(|json| consent_of(json, class, classes)).transpose()?;
        let mut others = Vec::new();
        if let Some(json) = case.get("others") {
            for (id, json) in json.as_object().ok_or("`others` is no JSON object")? {
                let id = ActivityId::parse(id).ok_or("`others` is by ids of activities")?;
                others.push(Consent { activity: id, ..consent_of(json, class, classes)? });
            }
        }
        let request = Request {
            application: ApplicationId([1; 16]),
            activity: activity.as_ref().map_or(JOB, |activity| activity.id),
            action,
            subject: SubjectId([3; 16]),
            class,
            purpose: text(case, "purpose")?.map(str::to_owned),
            operator: DeviceId([4; 16]),
            now,
        };
        let facts = Facts {
            application_active: flag(case, "application_active")?.unwrap_or(true),
            activity,
            subject: subject(case)?,
            consent,
            others,
            is_special: named.is_special(flag(case, "special")?)?,
            operator_certified: flag(case, "operator_certified")?.unwrap_or(true),
        };
        let expected = match (text(case, "expect")?, text(case, "reason")?) {
            (Some("allow"), None) => Expected::Allow,
            (Some("deny"), None) => Expected::Deny,
            (Some("deny"), Some(reason)) => Expected::Because(reason.to_owned()),
            _ => return Err("`expect` is `allow`, or `deny` and perhaps a `reason`".to_owned()),
        };
        Ok(Self { name: name.to_owned(), request, facts, expected })
    }

    fn run(&self, point: &dyn DecisionPoint) -> Option<Wrong> {
        let decision = decide(point, self.request.clone(), &self.facts);
        let reason = decision.reason();
        let is_right = match &self.expected {
            Expected::Allow => reason.is_none(),
            Expected::Deny => reason.is_some(),
            Expected::Because(text) => reason.is_some_and(|reason| reason.text() == text),
        };
        let expected = match &self.expected {
            Expected::Allow => "allow".to_owned(),
            Expected::Deny => "deny".to_owned(),
            Expected::Because(text) => format!("deny: {text}"),
        };
        let found =
            reason.map_or_else(|| "allow".to_owned(), |why| format!("deny: {}", why.text()));
        (!is_right).then(|| Wrong { name: self.name.clone(), expected, found })
    }
}

/// Classes by their names: two that every application has, and those that one declared, as it numbers them.
struct Classes {
    known: Vec<Class>,
    is_applications: bool,
}

struct Class {
    name: String,
    number: ClassId,
    /// Whether it is special, where an application says so.
    special: Option<bool>,
}

impl Classes {
    fn of(file: &Map<String, Value>, declared: Option<&[DeclaredClass]>) -> Parsed<Self> {
        let special = declared.map(|_| false);
        let class = |name: &str, number, special| Class { name: name.to_owned(), number, special };
        let mut known = vec![
            class("identifiable", ClassId::IDENTIFIABLE, special),
            class("owned", ClassId::OWNED, special),
        ];
        let of_application = declared.unwrap_or_default().iter();
        known.extend(of_application.map(|own| class(&own.name, own.class, Some(own.special))));
        let mut classes = Self { known, is_applications: declared.is_some() };
        for (number, name) in
            (ClassId::DECLARED.0..).zip(names(file, "classes")?.unwrap_or_default())
        {
            let number = ClassId(number);
            match classes.find(name) {
                Some(own) if declared.is_some() && own.number == number => {}
                None if declared.is_none() => classes.known.push(class(name, number, None)),
                _ => return Err(format!("`classes` has `{name}`, which is another one here")),
            }
        }
        Ok(classes)
    }

    fn find(&self, name: &str) -> Option<&Class> {
        self.known.iter().find(|own| own.name == name)
    }

    fn named(&self, name: &str) -> Parsed<&Class> {
        self.find(name).ok_or_else(|| match self.is_applications {
            true => format!("the application declared no class `{name}`"),
            false => {
                format!("no class `{name}` is declared: list `classes`, or name an application")
            }
        })
    }

    fn list(&self, json: &Map<String, Value>) -> Parsed<Option<Vec<ClassId>>> {
        let Some(list) = names(json, "classes")? else { return Ok(None) };
        let mut numbers = Vec::new();
        for name in list {
            numbers.push(self.named(name)?.number);
        }
        numbers.sort();
        numbers.dedup();
        Ok(Some(numbers))
    }

    /// What an activity has that does not say: the application's own work has all that the application declared.
    fn ordinary(&self, class: ClassId, is_own: bool) -> Vec<ClassId> {
        match is_own && self.is_applications {
            true => self.known.iter().map(|own| own.number).collect(),
            false => vec![class],
        }
    }
}

impl Class {
    /// Whether it is special for a case, which may say so only where nobody else does.
    fn is_special(&self, said: Option<bool>) -> Parsed<bool> {
        match (self.special, said) {
            (Some(is), Some(said)) if is != said => {
                Err(format!("`special` is not what the application says of `{}`", self.name))
            }
            (is, said) => Ok(is.or(said).unwrap_or(false)),
        }
    }
}

const JOB: ActivityId = ActivityId([2; 16]);

fn activity(json: Option<&Value>, class: ClassId, classes: &Classes) -> Parsed<Activity> {
    let empty = Value::Object(Map::new());
    let known = ["basis", "purpose", "classes", "writes", "state", "expires", "own", "consumer"];
    let json = fields(json.unwrap_or(&empty), "`activity`", &known)?;
    let basis = text(json, "basis")?.unwrap_or("consent");
    let basis = BASES.into_iter().find(|own| own.name() == basis).ok_or("`basis` is no basis")?;
    let state = text(json, "state")?.unwrap_or("approved");
    let state = STATES.into_iter().find(|own| own.name() == state).ok_or("`state` is no state")?;
    let is_own = flag(json, "own")?.unwrap_or(false);
    let writes = flag(json, "writes")?.unwrap_or(false);
    Ok(Activity {
        id: if is_own { ActivityId::OWN } else { JOB },
        name: "job".to_owned(),
        consumer: text(json, "consumer")?.unwrap_or("job").to_owned(),
        purpose: text(json, "purpose")?.unwrap_or("service").to_owned(),
        basis,
        classes: classes.list(json)?.unwrap_or_else(|| classes.ordinary(class, is_own)),
        reach: if writes { Reach::Write } else { Reach::Read },
        recipients: Vec::new(),
        retention_days: None,
        expires: number(json, "expires")?,
        notice: String::new(),
        notice_hash: Hash::NONE,
        state,
        proposed_by: DeviceId([4; 16]),
        proposed_at: 0,
        approved_by: Vec::new(),
        code: None,
    })
}

fn consent_of(json: &Value, class: ClassId, classes: &Classes) -> Parsed<Consent> {
    let known = ["status", "explicit", "classes", "until", "other"];
    let json = fields(json, "`consent`", &known)?;
    let status = text(json, "status")?.ok_or("a consent has a `status`")?;
    let status = ANSWERS.into_iter().find(|own| own.name() == status);
    Ok(Consent {
        activity: if flag(json, "other")?.unwrap_or(false) { ActivityId([9; 16]) } else { JOB },
        status: status.ok_or("`status` is no status")?,
        explicit: flag(json, "explicit")?.unwrap_or(false),
        classes: classes.list(json)?.unwrap_or_else(|| vec![class]),
        until: number(json, "until")?,
        expressed: 0,
        notice_hash: Hash::NONE,
        evidence_hash: Hash::NONE,
        position: 1,
    })
}

fn subject(case: &Map<String, Value>) -> Parsed<Option<SubjectState>> {
    match case.get("subject") {
        None => Ok(Some(SubjectState::Active)),
        Some(Value::Null) => Ok(None),
        Some(json) => match json.as_str() {
            Some("active") => Ok(Some(SubjectState::Active)),
            Some("restricted") => Ok(Some(SubjectState::Restricted)),
            Some("erasing") => Ok(Some(SubjectState::Erasing)),
            Some("erased") => Ok(Some(SubjectState::Erased)),
            _ => Err("`subject` is `active`, `restricted`, `erasing`, `erased` or null".to_owned()),
        },
    }
}

fn fields<'j>(json: &'j Value, what: &str, known: &[&str]) -> Parsed<&'j Map<String, Value>> {
    let fields = json.as_object().ok_or_else(|| format!("{what} is no JSON object"))?;
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("{what} has no field `{name}`")),
        None => Ok(fields),
    }
}

fn text<'j>(json: &'j Map<String, Value>, name: &str) -> Parsed<Option<&'j str>> {
    let is_text = |json: &'j Value| json.as_str().ok_or_else(|| format!("`{name}` is no text"));
    json.get(name).map(is_text).transpose()
}

fn names<'j>(json: &'j Map<String, Value>, name: &str) -> Parsed<Option<Vec<&'j str>>> {
    let Some(list) = json.get(name) else { return Ok(None) };
    let list = list.as_array().ok_or_else(|| format!("`{name}` is no list"))?;
    let each = list.iter().map(|one| one.as_str().ok_or_else(|| "a class is a name".to_owned()));
    each.collect::<Parsed<_>>().map(Some)
}

fn flag(json: &Map<String, Value>, name: &str) -> Parsed<Option<bool>> {
    let is_flag = |json: &Value| json.as_bool().ok_or_else(|| format!("`{name}` is no yes or no"));
    json.get(name).map(is_flag).transpose()
}

fn number(json: &Map<String, Value>, name: &str) -> Parsed<Option<i64>> {
    let is_number = |json: &Value| json.as_i64().ok_or_else(|| format!("`{name}` is no number"));
    json.get(name).map(is_number).transpose()
}

const BASES: [Basis; 6] = [
    Basis::Consent,
    Basis::Contract,
    Basis::LegalObligation,
    Basis::VitalInterests,
    Basis::PublicTask,
    Basis::LegitimateInterest,
];
const STATES: [ActivityState; 4] = [
    ActivityState::Proposed,
    ActivityState::Approved,
    ActivityState::Suspended,
    ActivityState::Ended,
];
const ANSWERS: [ConsentStatus; 11] = [
    ConsentStatus::Requested,
    ConsentStatus::Deferred,
    ConsentStatus::Refused,
    ConsentStatus::Given,
    ConsentStatus::Renewed,
    ConsentStatus::Withdrawn,
    ConsentStatus::Revoked,
    ConsentStatus::Invalidated,
    ConsentStatus::Expired,
    ConsentStatus::Unknown,
    ConsentStatus::Objected,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    /// Allows or denies whatever passes the floor.
    struct Always(bool);

    impl DecisionPoint for Always {
        fn digest(&self) -> Hash {
            Hash::NONE
        }

        fn evaluate(&self, _: &Request, _: &Facts) -> Verdict {
            Verdict { allow: self.0, policies: Vec::new(), failed: false }
        }
    }

    #[test]
    fn the_floor_alone_answers_the_built_in_cases() {
        let cases = Cases::parse(BUILT_IN).unwrap();
        assert!(cases.len() >= 40, "{}", cases.len());
        assert_eq!(cases.run(&Always(true)), []);
        // Cases that could not come out otherwise would show nothing.
        let wrong = cases.run(&Always(false)).len();
        assert!(wrong > 8 && wrong < cases.len(), "{wrong}");
    }

    #[test]
    fn a_case_that_says_something_unknown_is_refused() {
        for bad in [
            "",
            "[]",
            r#"{"cases": 1}"#,
            r#"{"cases": [{"name": "x"}]}"#,
            r#"{"cases": [{"expect": "maybe"}]}"#,
            r#"{"cases": [{"expect": "allow", "reason": "why"}]}"#,
            r#"{"cases": [{"expect": "allow", "colour": "red"}]}"#,
            r#"{"cases": [{"expect": "allow", "activity": {"colour": "red"}}]}"#,
            r#"{"cases": [{"expect": "allow", "consent": {}}]}"#,
            r#"{"cases": [{"expect": "allow", "consent": {"status": "perhaps"}}]}"#,
            r#"{"cases": [{"expect": "allow", "subject": "asleep"}]}"#,
            r#"{"cases": [{"expect": "allow", "now": "noon"}]}"#,
        ] {
            assert!(Cases::parse(bad).is_err(), "{bad}");
        }
        let refused = Cases::parse(r#"{"cases": [{"name": "x", "expect": 3}]}"#).err().unwrap();
        assert!(refused.starts_with("x: "), "{refused}");
    }
}
