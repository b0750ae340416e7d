//! What holds whatever the policies say. In the order of the list, so that the reason on record is always the same one.

use strongroom_records::activity::{Activity, ActivityState, Basis, Reach};
use strongroom_records::ids::ActivityId;
use strongroom_records::subject::{ConsentStatus, SubjectState};

use crate::{Action, Facts, Reason, Request};

/// Why a request is refused before any policy is asked; none if it is not.
pub fn refuse(request: &Request, facts: &Facts) -> Option<Reason> {
    if !facts.application_active && request.action != Action::Export {
        return Some(Reason::ApplicationDisabled);
    }
    if !facts.operator_certified {
        return Some(Reason::OperatorUnknown);
    }
    let Some(activity) = &facts.activity else { return Some(Reason::UnknownActivity) };
    if activity.id != request.activity {
        return Some(Reason::UnknownActivity);
    }
    refuse_activity(request, activity).or_else(|| refuse_subject(request, facts, activity))
}

fn refuse_activity(request: &Request, activity: &Activity) -> Option<Reason> {
    if activity.state != ActivityState::Approved {
        return Some(Reason::ActivityNotApproved);
    }
    if activity.expires.is_some_and(|end| request.now >= end) {
        return Some(Reason::ActivityExpired);
    }
    if activity.classes.binary_search(&request.class).is_err() {
        return Some(Reason::ClassNotDeclared);
    }
    if request.action == Action::Write && activity.reach != Reach::Write {
        return Some(Reason::WriteNotDeclared);
    }
    if request.action == Action::Export && activity.id != ActivityId::OWN {
        return Some(Reason::PurposeDiffers);
    }
    let purpose = request.purpose.as_deref()?;
    if is_within(purpose, &activity.purpose) { None } else { Some(Reason::PurposeDiffers) }
}

/// Whether a dotted purpose is another one or below it.
fn is_within(purpose: &str, whole: &str) -> bool {
    purpose.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn refuse_subject(request: &Request, facts: &Facts, activity: &Activity) -> Option<Reason> {
    match facts.subject {
        None => return Some(Reason::UnknownSubject),
        Some(SubjectState::Erasing | SubjectState::Erased) => return Some(Reason::SubjectErased),
        Some(SubjectState::Restricted) if request.action != Action::Export => {
            return Some(Reason::SubjectRestricted);
        }
        Some(SubjectState::Restricted | SubjectState::Active) => {}
    }
    let status = facts.consent.as_ref().map(|consent| consent.status);
    match activity.basis {
        Basis::Consent => refuse_consent(request, facts),
        Basis::LegitimateInterest if status == Some(ConsentStatus::Objected) => {
            Some(Reason::Objected)
        }
        _ if facts.is_special && activity.id != ActivityId::OWN => Some(Reason::NoSpecialGround),
        Basis::Contract
        | Basis::LegalObligation
        | Basis::VitalInterests
        | Basis::PublicTask
        | Basis::LegitimateInterest => None,
    }
}

fn refuse_consent(request: &Request, facts: &Facts) -> Option<Reason> {
    let Some(consent) = &facts.consent else { return Some(Reason::NotAnswered) };
    if consent.activity != request.activity || !consent.status.allows() {
        return Some(Reason::NotConsented);
    }
    if consent.until.is_some_and(|end| request.now >= end) {
        return Some(Reason::ConsentExpired);
    }
    if consent.classes.binary_search(&request.class).is_err() {
        return Some(Reason::ClassNotConsented);
    }
    (facts.is_special && !consent.explicit).then_some(Reason::ConsentNotExplicit)
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn a_purpose_is_within_itself_and_what_is_above_it() {
        assert!(is_within("marketing.email", "marketing"));
        assert!(is_within("marketing", "marketing"));
        assert!(!is_within("marketing", "marketing.email"));
        assert!(!is_within("marketingx", "marketing"));
    }
}
