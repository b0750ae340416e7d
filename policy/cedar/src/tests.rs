use strongroom_authorizer::cases::{self, Cases};
use strongroom_authorizer::{Action, Reason, decide};
use strongroom_format::ids::DeviceId;
use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_records::application::DeclaredClass;
use strongroom_records::ids::{ActivityId, ApplicationId, ClassId, SubjectId};
use strongroom_records::log::Outcome;
use strongroom_records::subject::{Consent, ConsentStatus, SubjectState};

use super::*;

const ACTIVITY: ActivityId = ActivityId([5; 16]);
const HEALTH: ClassId = ClassId(16);
const ALL_STATUS: [ConsentStatus; 11] = [
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
const ALL_BASIS: [Basis; 6] = [
    Basis::Consent,
    Basis::Contract,
    Basis::LegalObligation,
    Basis::VitalInterests,
    Basis::PublicTask,
    Basis::LegitimateInterest,
];

fn activity() -> Activity {
    Activity {
        id: ACTIVITY,
        name: "newsletter".into(),
        consumer: "mailer".into(),
        purpose: "marketing.email".into(),
        basis: Basis::Consent,
        classes: vec![ClassId::IDENTIFIABLE, HEALTH],
        reach: Reach::Read,
        recipients: vec![],
        retention_days: None,
        expires: None,
        notice: String::new(),
        notice_hash: Hash::NONE,
        state: ActivityState::Approved,
        proposed_by: DeviceId([1; 16]),
        proposed_at: 0,
        approved_by: vec![],
        code: None,
    }
}

fn consent() -> Consent {
    Consent {
        activity: ACTIVITY,
        status: ConsentStatus::Given,
        explicit: false,
        classes: vec![ClassId::IDENTIFIABLE],
        until: None,
        expressed: 0,
        notice_hash: Hash::NONE,
        evidence_hash: Hash::NONE,
        position: 3,
    }
}

fn facts() -> Facts {
    Facts {
        application_active: true,
        activity: Some(activity()),
        subject: Some(SubjectState::Active),
        consent: Some(consent()),
        others: Vec::new(),
        is_special: false,
        operator_certified: true,
    }
}

fn asked(action: Action, class: ClassId) -> Request {
    Request {
        application: ApplicationId([2; 16]),
        activity: ACTIVITY,
        action,
        subject: SubjectId([3; 16]),
        class,
        purpose: None,
        operator: DeviceId([1; 16]),
        now: 1_000,
    }
}

fn open() -> Request {
    asked(Action::Open, ClassId::IDENTIFIABLE)
}

fn built_in() -> Cedar {
    Cedar::read(BUILT_IN).unwrap()
}

/// Floor and policies say the same, each alone.
#[track_caller]
fn expect(request: &Request, facts: &Facts, reason: Option<Reason>) {
    let verdict = built_in().evaluate(request, facts);
    let decision = decide(&built_in(), request.clone(), facts);
    assert_eq!(decision.reason(), reason);
    if facts.activity.as_ref().is_some_and(|activity| activity.id == request.activity)
        && facts.subject.is_some()
        && !verdict.failed
    {
        assert_eq!(verdict.allow, reason.is_none(), "policies alone: {:?}", verdict.policies);
    }
}

#[test]
fn the_built_in_set_validates_and_its_policies_have_names() {
    let ids = built_in().ids();
    assert_eq!(ids.len(), 14);
    assert!(ids.iter().all(|id| !id.starts_with("policy")), "{ids:?}");
}

#[test]
fn the_built_in_set_answers_its_cases_and_sets_that_are_narrower_or_wider_do_not() {
    let cases = Cases::parse(cases::BUILT_IN).unwrap();
    assert_eq!(cases.run(&built_in()), []);
    // Alone, without the floor, the policies say the same wherever they are asked.
    for case in cases.all().iter().filter(|case| case.facts.activity.is_some()) {
        let by_floor = strongroom_authorizer::floor::refuse(&case.request, &case.facts);
        let verdict = built_in().evaluate(&case.request, &case.facts);
        assert_eq!(verdict.allow && !verdict.failed, by_floor.is_none(), "{}", case.name);
    }
    let narrow = BUILT_IN.replace("\"renewed\"", "\"invented\"");
    let wrong = cases.run(&Cedar::read(&narrow).unwrap());
    let names: Vec<&str> = wrong.iter().map(|wrong| wrong.name.as_str()).collect();
    assert_eq!(names, ["who renewed is read"]);
}

#[test]
fn consent_allows_what_it_covers() {
    expect(&open(), &facts(), None);
    let decision = decide(&built_in(), open(), &facts());
    assert_eq!((decision.outcome(), decision.consent()), (Outcome::Allow, Some(3)));
    assert_eq!(decision.policies(), ["consent"]);
}

#[test]
fn each_single_thing_that_is_missing_denies() {
    type Change = fn(&mut Request, &mut Facts);
    fn of(facts: &mut Facts) -> &mut Activity {
        facts.activity.as_mut().unwrap()
    }
    fn answer(facts: &mut Facts) -> &mut Consent {
        facts.consent.as_mut().unwrap()
    }
    let table: [(Change, Reason); 19] = [
        (|_, f| f.application_active = false, Reason::ApplicationDisabled),
        (|_, f| f.activity = None, Reason::UnknownActivity),
        (|r, _| r.activity = ActivityId([6; 16]), Reason::UnknownActivity),
        (|_, f| of(f).state = ActivityState::Proposed, Reason::ActivityNotApproved),
        (|_, f| of(f).state = ActivityState::Suspended, Reason::ActivityNotApproved),
        (|_, f| of(f).expires = Some(1_000), Reason::ActivityExpired),
        (|r, _| r.class = ClassId::OWNED, Reason::ClassNotDeclared),
        (|r, _| r.action = Action::Write, Reason::WriteNotDeclared),
        (|r, _| r.purpose = Some("marketing".into()), Reason::PurposeDiffers),
        (|r, _| r.action = Action::Export, Reason::PurposeDiffers),
        (|_, f| f.subject = None, Reason::UnknownSubject),
        (|_, f| f.subject = Some(SubjectState::Erasing), Reason::SubjectErased),
        (|_, f| f.subject = Some(SubjectState::Erased), Reason::SubjectErased),
        (|_, f| f.subject = Some(SubjectState::Restricted), Reason::SubjectRestricted),
        (|_, f| f.consent = None, Reason::NotAnswered),
        (|_, f| answer(f).until = Some(1_000), Reason::ConsentExpired),
        (|r, _| r.class = HEALTH, Reason::ClassNotConsented),
        (|_, f| f.is_special = true, Reason::ConsentNotExplicit),
        (|_, f| f.operator_certified = false, Reason::OperatorUnknown),
    ];
    for (change, reason) in table {
        let (mut request, mut facts) = (open(), facts());
        change(&mut request, &mut facts);
        expect(&request, &facts, Some(reason));
    }
    for status in ALL_STATUS {
        let mut facts = facts();
        answer(&mut facts).status = status;
        let reason = (!status.allows()).then_some(Reason::NotConsented);
        expect(&open(), &facts, reason);
    }
}

/// No generated facts give an allow without consent where consent is the basis, by floor and policies together, and the
/// result is that of a third computation that knows neither.
#[test]
fn all_combinations_equal_an_independent_computation() {
    let cedar = built_in();
    let mut allowed = 0;
    for basis in ALL_BASIS {
        for status in [None].into_iter().chain(ALL_STATUS.map(Some)) {
            for bits in 0..64_u32 {
                let bit = |n: u32| bits >> n & 1 == 1;
                let class = if bit(0) { HEALTH } else { ClassId::IDENTIFIABLE };
                let covers = bit(1);
                let consent = status.map(|status| Consent {
                    status,
                    explicit: bit(2),
                    classes: if covers { vec![ClassId::IDENTIFIABLE, HEALTH] } else { vec![] },
                    until: bit(3).then_some(500),
                    ..consent()
                });
                let facts = Facts {
                    activity: Some(Activity { basis, ..activity() }),
                    consent,
                    is_special: bit(0),
                    subject: Some(if bit(4) {
                        SubjectState::Restricted
                    } else {
                        SubjectState::Active
                    }),
                    application_active: !bit(5),
                    ..facts()
                };
                let decision = decide(&cedar, asked(Action::Open, class), &facts);
                let agreed = status
                    .is_some_and(|s| matches!(s, ConsentStatus::Given | ConsentStatus::Renewed))
                    && covers
                    && !bit(3);
                let expected = !bit(4)
                    && !bit(5)
                    && match basis {
                        Basis::Consent => agreed && (!bit(0) || bit(2)),
                        Basis::LegitimateInterest => {
                            !bit(0) && status != Some(ConsentStatus::Objected)
                        }
                        _ => !bit(0),
                    };
                assert_eq!(decision.reason().is_none(), expected, "{basis:?} {status:?} {bits:b}");
                allowed += u32::from(expected);
            }
        }
    }
    assert!(allowed > 100);
}

/// Who withdrew from the newsletter is not profiled, to say it in a policy.
#[test]
fn a_policy_may_speak_of_an_answer_to_another_activity_and_of_its_classes() {
    let other = ActivityId([6; 16]);
    let text = format!(
        "{BUILT_IN}\n@id(\"together\") forbid (principal, action, resource) when {{
            resource.subject.hasTag(\"{other}\") && resource.subject.getTag(\"{other}\").status == \"withdrawn\" }};
        @id(\"not-owned\") forbid (principal, action, resource) when {{
            resource.subject.hasTag(\"{other}\") && resource.subject.getTag(\"{other}\").classes.contains(DataClass::\"2\") }};"
    );
    let cedar = Cedar::read(&text).unwrap();
    assert!(cedar.reads_others && !built_in().reads_others);
    let of = |status, class| {
        let said = Consent { activity: other, status, classes: vec![class], ..consent() };
        let facts = Facts { others: vec![said], ..facts() };
        let decision = decide(&cedar, open(), &facts);
        (decision.reason(), decision.policies().join(" "))
    };
    let (given, withdrawn) = (ConsentStatus::Given, ConsentStatus::Withdrawn);
    assert_eq!(of(given, HEALTH), (None, "consent".to_owned()));
    let refused = Some(Reason::PolicyRefuses);
    assert_eq!(of(withdrawn, HEALTH), (refused, "together".to_owned()));
    assert_eq!(of(given, ClassId::OWNED), (refused, "not-owned".to_owned()));
    // And it is no ground for anything.
    let said = Consent { activity: other, ..consent() };
    let none = Facts { consent: None, others: vec![said], ..facts() };
    expect(&open(), &none, Some(Reason::NotAnswered));
    // A case can say so.
    let case = format!(
        r#"{{"cases": [{{"name": "who withdrew elsewhere", "consent": {{"status": "given"}}, "expect": "deny",
            "others": {{"{other}": {{"status": "withdrawn"}}}}}}]}}"#
    );
    assert_eq!(Cases::parse(&case).unwrap().run(&cedar), []);
    assert!(Cases::parse(&case.replace(&other.to_string(), "newsletter")).is_err());
}

#[test]
fn a_purpose_below_the_declared_one_is_within_it() {
    let request = Request { purpose: Some("marketing.email.spring".into()), ..open() };
    expect(&request, &facts(), None);
}

#[test]
fn a_loaded_set_narrows_and_never_widens() {
    let everything = Cedar::read("permit (principal, action, resource);").unwrap();
    let no_consent = Facts { consent: None, ..facts() };
    assert!(everything.evaluate(&open(), &no_consent).allow);
    assert_eq!(decide(&everything, open(), &no_consent).reason(), Some(Reason::NotAnswered));
    let nothing = Cedar::read("").unwrap();
    assert_eq!(decide(&nothing, open(), &facts()).reason(), Some(Reason::PolicyRefuses));
    let night = format!(
        "{BUILT_IN}\n@id(\"night\") forbid (principal, action, resource) when {{ context.now > 900 }};"
    );
    let night = Cedar::read(&night).unwrap();
    let decision = decide(&night, open(), &facts());
    assert_eq!(decision.reason(), Some(Reason::PolicyRefuses));
    assert_eq!(decision.policies(), ["night"]);
    assert!(night.digest() != built_in().digest());
}

/// Cedar skips a `forbid` that errs and allows: here it denies.
#[test]
fn a_policy_that_errs_denies_everything() {
    let overflow = "permit (principal, action, resource);\n\
        @id(\"errs\") forbid (principal, action, resource) when { context.now + 9223372036854775807 > 0 };";
    let cedar = Cedar::read(overflow).unwrap();
    let verdict = cedar.evaluate(&open(), &facts());
    assert!(verdict.failed && verdict.allow, "cedar by itself would allow");
    assert_eq!(decide(&cedar, open(), &facts()).reason(), Some(Reason::PolicyFailed));
}

#[test]
fn sets_that_do_not_validate_strictly_are_refused() {
    for bad in [
        "permit (principal, action, resource) when { principal.shoe == 3 };",
        "permit (principal, action, resource) when { resource.subject.getTag(\"x\").status == \"given\" };",
        "permit (principal, action == Action::\"fly\", resource);",
        "permit (principal, action, resource) when { principal.basis == 3 };",
        "permit (principal == ?principal, action, resource);",
        "this is no policy",
    ] {
        assert!(Cedar::read(bad).is_err(), "{bad}");
    }
}

/// Policies name classes by number: a case that names one is about the class that the application calls so, or about none.
#[test]
fn a_case_is_about_the_class_that_the_application_calls_so() {
    let text = format!(
        "{}\n@id(\"no-place\") forbid (principal, action, resource) when {{ resource.class == DataClass::\"17\" }};",
        crate::BUILT_IN
    );
    let cedar = Cedar::read(&text).unwrap();
    let case = |file: &str, fields: &str| {
        format!(
            r#"{{{file}"cases": [{{"name": "x", "consent": {{"status": "given"}}, "expect": "deny",
                "reason": "the policies do not permit it", {fields}}}]}}"#
        )
    };
    let place = r#""class": "place""#;
    // Nobody says which class that is.
    assert!(Cases::parse(&case("", place)).is_err());
    let file = r#""classes": ["health", "place"], "#;
    assert_eq!(Cases::parse(&case(file, place)).unwrap().run(&cedar), []);
    let declared = [(16, "health", true), (17, "place", false)].map(|(class, name, special)| {
        DeclaredClass { class: ClassId(class), name: name.into(), special }
    });
    let of = |text: &str| Cases::parse_for(text, &declared);
    assert_eq!(of(&case("", place)).unwrap().run(&cedar), []);
    assert_eq!(of(&case(file, place)).unwrap().run(&cedar), []);
    let health = case("", r#""class": "health""#);
    let wrong = of(&health).unwrap().run(&cedar);
    assert_eq!(wrong[0].found, "deny: a special class needs an explicit consent");
    // What contradicts the application is refused.
    for bad in [
        case("", r#""class": "shoes""#),
        case("", r#""class": "place", "special": true"#),
        case("", r#""class": "health", "special": false"#),
        case(r#""classes": ["place", "health"], "#, place),
        case(r#""classes": ["health", "health"], "#, place),
        case(r#""classes": "place", "#, place),
    ] {
        assert!(of(&bad).is_err(), "{bad}");
    }
    // The application's own work is with all of its classes.
    let own = r#"{"cases": [{"name": "own", "activity": {"own": true, "basis": "contract"}, "expect": "allow"}]}"#;
    let classes = [1, 2, 16, 17].map(ClassId);
    assert_eq!(of(own).unwrap().all()[0].facts.activity.as_ref().unwrap().classes, classes);
}
