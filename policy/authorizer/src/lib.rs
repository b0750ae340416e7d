//! The authorization firewall's judgement: request and facts in, [`Decision`] out. Default deny; forbid wins; errors deny.
//!
//! No I/O, clock, keys or caches: the caller brings the facts. First comes a floor of our own ([`floor`]), which no policy
//! can widen; then the decision point ([`DecisionPoint`]: Cedar in `policy/cedar`), which can only narrow. A decision
//! releases nothing: `policy/audit` records it and only so makes a grant.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cases;
pub mod floor;

use strongroom_format::ids::DeviceId;
use strongroom_records::activity::Activity;
use strongroom_records::ids::{ActivityId, ApplicationId, ClassId, Hash, SubjectId};
use strongroom_records::log::Outcome;
use strongroom_records::subject::{Consent, SubjectState};

/// What is to be done with a subject's data. Numbers stand in audit entries and are never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Action {
    /// See which files there are.
    List = 1,
    /// Read a file.
    Open = 2,
    /// Write or remove a file.
    Write = 3,
    /// Hand everything out to the subject.
    Export = 4,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::List, Self::Open, Self::Write, Self::Export];

    /// Its number in entries.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The action of a number, none if it was never given.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.number() == number)
    }

    /// The action of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Its name in policies and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Open => "open",
            Self::Write => "write",
            Self::Export => "export",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)*) => {
        /// Why something is refused. Numbers stand in audit entries and are never given again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What an auditor reads. Not for whoever was refused.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The application is disabled.
    ApplicationDisabled = 1, "the application is disabled";
    /// No such activity.
    UnknownActivity = 2, "no such activity";
    /// The activity is proposed, suspended or ended.
    ActivityNotApproved = 3, "the activity is not approved";
    /// The activity is over.
    ActivityExpired = 4, "the activity is over";
    /// The activity never declared the class.
    ClassNotDeclared = 5, "the class is not among the activity's";
    /// The activity reads only.
    WriteNotDeclared = 6, "the activity does not write";
    /// The purpose is not the activity's.
    PurposeDiffers = 7, "the purpose is not the activity's";
    /// No such subject.
    UnknownSubject = 8, "no such subject";
    /// The subject is erased, or about to be.
    SubjectErased = 9, "the subject is erased";
    /// The subject's data is restricted.
    SubjectRestricted = 10, "the subject's data is restricted";
    /// The subject never answered.
    NotAnswered = 11, "the subject has not answered";
    /// The subject's answer is not yes, or no longer.
    NotConsented = 12, "the subject did not agree, or no longer does";
    /// The consent does not cover the class.
    ClassNotConsented = 13, "the consent does not cover the class";
    /// The consent is over.
    ConsentExpired = 14, "the consent is over";
    /// A special class needs an explicit consent.
    ConsentNotExplicit = 15, "a special class needs an explicit consent";
    /// A special class needs a ground beyond the activity's basis.
    NoSpecialGround = 16, "a special class needs the subject's explicit consent";
    /// The subject objects.
    Objected = 17, "the subject objects";
    /// The device is not certified.
    OperatorUnknown = 18, "the device is not certified";
    /// A policy forbids it, or none permits it.
    PolicyRefuses = 19, "the policies do not permit it";
    /// Evaluating the policies failed.
    PolicyFailed = 20, "evaluating the policies failed";
}

impl Reason {
    /// Its number in entries.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The reason of a number, none if it was never given.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.number() == number)
    }
}

/// Who wants what with whose data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In which application.
    pub application: ApplicationId,
    /// On whose behalf.
    pub activity: ActivityId,
    /// What.
    pub action: Action,
    /// Whose data.
    pub subject: SubjectId,
    /// Of which class.
    pub class: ClassId,
    /// Purpose the consumer names; none is the activity's own.
    pub purpose: Option<String>,
    /// Device that asks, and that the keys will go to.
    pub operator: DeviceId,
    /// The custodian's clock.
    pub now: i64,
}

/// What is known at one position of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether the application is in use.
    pub application_active: bool,
    /// The activity, if there is one.
    pub activity: Option<Activity>,
    /// The subject's state, if there is one.
    pub subject: Option<SubjectState>,
    /// The subject's answer to the activity.
    pub consent: Option<Consent>,
    /// The subject's answers to other activities: no ground for anything, but policies may forbid because of them.
    pub others: Vec<Consent>,
    /// Whether the class is of the special categories.
    pub is_special: bool,
    /// Whether the organisation certifies the device.
    pub operator_certified: bool,
}

/// A subject's answer to an activity, and those to others.
pub fn answers(all: &[Consent], activity: &ActivityId) -> (Option<Consent>, Vec<Consent>) {
    let (own, others): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|consent| consent.activity == *activity);
    (own.into_iter().next(), others)
}

/// What a decision point says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it allows. Anything unclear is false.
    pub allow: bool,
    /// Policies that decided, by id.
    pub policies: Vec<String>,
    /// Whether evaluating failed, wholly or in part.
    pub failed: bool,
}

/// How a decision point of somebody else's is called among the policies that decided.
pub const BESIDE: &str = "decision-point";

/// Judges requests by policies. Can narrow what the floor allows, never widen.
pub trait DecisionPoint: Send + Sync {
    /// Digest of schema and policies in force.
    fn digest(&self) -> Hash;

    /// Evaluates. Has no memory and no clock.
    fn evaluate(&self, request: &Request, facts: &Facts) -> Verdict;
}

/// What was decided. Made by [`decide`] alone, and not recorded yet.
#[derive(Debug)]
pub struct Decision {
    request: Request,
    outcome: Outcome,
    reason: Option<Reason>,
    policies: Vec<String>,
    policy_set: Hash,
    consent: Option<u64>,
    lease_limit: Option<i64>,
}

/// Decides: the floor first, then the decision point.
pub fn decide(point: &dyn DecisionPoint, request: Request, facts: &Facts) -> Decision {
    let mut policies = Vec::new();
    let reason = floor::refuse(&request, facts).or_else(|| {
        let verdict = point.evaluate(&request, facts);
        policies = verdict.policies;
        match (verdict.failed, verdict.allow) {
            (true, _) => Some(Reason::PolicyFailed),
            (false, false) => Some(Reason::PolicyRefuses),
            (false, true) => None,
        }
    });
    let ends = [
        facts.consent.as_ref().and_then(|consent| consent.until),
        facts.activity.as_ref().and_then(|activity| activity.expires),
    ];
    Decision {
        request,
        outcome: if reason.is_none() { Outcome::Allow } else { Outcome::Deny },
        reason,
        policies,
        policy_set: point.digest(),
        consent: facts.consent.as_ref().map(|consent| consent.position),
        lease_limit: ends.into_iter().flatten().min(),
    }
}

impl Decision {
    /// What was asked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Allowed or not.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether nothing stands against it but that somebody else's decision point did not answer: asked again, it may.
    pub fn is_undecided(&self) -> bool {
        self.reason == Some(Reason::PolicyFailed) && self.policies == [BESIDE]
    }

    /// Why not; none when allowed.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Deciding policies, by id.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Digest of the policy set.
    pub fn policy_set(&self) -> Hash {
        self.policy_set
    }

    /// Record of the consent it stands on.
    pub fn consent(&self) -> Option<u64> {
        self.consent
    }

    /// Moment that no lease may outlast: the earliest end of consent and activity.
    pub fn lease_limit(&self) -> Option<i64> {
        self.lease_limit
    }
}
