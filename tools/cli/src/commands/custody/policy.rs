//! `strongroom policy`: what the authorization firewall goes by.

use serde_json::json;
use strongroom_audit::log::policy_number;
use strongroom_authorizer::{Action, Reason};
use strongroom_cedar::{BUILT_IN, Cedar};
use strongroom_records::log::Outcome;
use strongroom_steward::{Carry, time_text};

use super::{bring_into_force, input_text};
use crate::args::custody::{Policy, PolicyExplain, PolicyLoad, PolicyRetention};
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Policy, format: Format) -> Result<Exit> {
    match options {
        Policy::Load(options) => load(options, format),
        Policy::Check(options) => {
            let cedar = read(&input_text(&options.file, "the policies")?)?;
            let ids = cedar.ids();
            ui::answer(format, "", &json!({"policies": ids, "valid": true}))?;
            Ok(Exit::Done)
        }
        Policy::Show(of) => {
            let (_office, custodian) = custody::application(of)?;
            let set = custodian.policy_set().map_err(|error| failure(&error))?;
            let text = set.as_ref().map_or(BUILT_IN, |set| set.text.as_str());
            let json = json!({
                "version": set.as_ref().map(|set| set.version),
                "digest": set.as_ref().map(|set| set.digest.to_string()),
                "text": text,
            });
            ui::answer(format, text, &json)?;
            Ok(Exit::Done)
        }
        Policy::Explain(options) => explain(options, format),
        Policy::Retention(options) => retention(options, format),
    }
}

fn retention(options: &PolicyRetention, format: Format) -> Result<Exit> {
    let (_office, mut custodian) = custody::application(&options.of)?;
    if let Some(class) = &options.class {
        if options.days.is_none() && !options.forever {
            return Err(Failure::new(Exit::Usage, "how long is it kept?")
                .hint("give `--days N` or `--forever`"));
        }
        custodian.set_retention(class, options.days).map_err(|error| failure(&error))?;
    }
    let carry = if options.run { Carry::Out } else { Carry::Dry };
    let retired = custodian.retire(carry).map_err(|error| failure(&error))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for (class, days) in custodian.retention().map_err(|error| failure(&error))? {
        let class = custodian.class_name(class).map_err(|error| failure(&error))?;
        text += &format!("{class}: {days} days\n");
        lines.push(json!({"class": class, "days": days}));
    }
    let word = if options.run { "removed" } else { "due" };
    text += &format!("{word}: {} files of {} subjects", retired.files, retired.subjects);
    text += &format!("; held: {} compartments\n", retired.held);
    let json = json!({
        "classes": lines, "files": retired.files, "subjects": retired.subjects,
        "held": retired.held, "removed": options.run,
    });
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn load(options: &PolicyLoad, format: Format) -> Result<Exit> {
    let text = input_text(&options.file, "the policies")?;
    read(&text)?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let digest = custodian.load_policies(&text, &[]).map_err(|error| failure(&error))?;
    let mut json = json!({"digest": digest.to_string()});
    bring_into_force(office, &mut json)?;
    ui::answer(format, "", &json)?;
    Ok(Exit::Done)
}

fn explain(options: &PolicyExplain, format: Format) -> Result<Exit> {
    let (_office, custodian) = custody::application(&options.of)?;
    let entries = custodian.entries(options.record, 1).map_err(|error| failure(&error))?;
    let set = custodian.policy_set().map_err(|error| failure(&error))?;
    let cedar = read(set.as_ref().map_or(BUILT_IN, |set| set.text.as_str()))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for entry in &entries {
        let Some(judgement) = &entry.judgement else { continue };
        let outcome = if judgement.outcome == Outcome::Allow { "allowed" } else { "refused" };
        let action = Action::ALL.iter().find(|action| action.number() == judgement.action);
        let action = action.map_or("?", |action| action.name());
        let named: Vec<String> = cedar
            .ids()
            .into_iter()
            .filter(|id| judgement.policies.contains(&policy_number(id)))
            .collect();
        let reason = Reason::from_number(judgement.reason).map(Reason::text);
        text += &format!("{}  {action}  {outcome}\n", time_text(entry.time));
        text += &reason.map(|reason| format!("reason    {reason}\n")).unwrap_or_default();
        if !named.is_empty() {
            text += &format!("policies  {}\n", named.join(" "));
        }
        lines.push(json!({
            "time": time_text(entry.time), "action": action, "outcome": outcome, "reason": reason,
            "policies": named, "policy_set": judgement.policy_set.to_string(),
            "consent_record": judgement.consent, "lease_end": judgement.lease_end.map(time_text),
        }));
    }
    if lines.is_empty() {
        return Err(Failure::new(Exit::Failed, "that record holds no decision"));
    }
    ui::answer(format, &text, &json!({ "decisions": lines }))?;
    Ok(Exit::Done)
}

fn read(text: &str) -> Result<Cedar> {
    Cedar::read(text).map_err(|refused| Failure::new(Exit::Failed, refused.to_string()))
}
