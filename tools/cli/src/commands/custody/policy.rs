//! `strongroom policy`: what the authorization firewall goes by.

use serde_json::{Value, json};
use strongroom_authorizer::cases::Cases;
use strongroom_authorizer::{Action, Reason};
use strongroom_cedar::{BUILT_IN, Cedar};
use strongroom_records::application::{IdleRule, PolicySet as Set};
use strongroom_records::ids::Hash;
use strongroom_records::log::Outcome;
use strongroom_steward::{Carry, Custodian, Redecided, Standing, Swept, time_text};

use super::{answer_after, bring_into_force, input_text, moment};
use crate::args::custody::policy::{
    Policy, PolicyActivate, PolicyExplain, PolicyRetention, PolicySet, PolicyShow, PolicyTest,
    PolicyWhatIf,
};
use crate::assemble::custody::{self, Office, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Days of a notice where nobody says another number.
const NOTICE_DAYS: u32 = 30;

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Policy, format: Format) -> Result<Exit> {
    match options {
        Policy::Set(options) => set(options, format),
        Policy::Activate(options) => activate(options, format),
        Policy::Check(options) => {
            let cedar = read(&input_text(&options.file, "the policies")?)?;
            let ids = cedar.ids();
            ui::answer(format, "", &json!({"policies": ids, "valid": true}))?;
            Ok(Exit::Done)
        }
        Policy::Show(options) => show(options, format),
        Policy::History(of) => {
            let (office, custodian) = custody::application(of)?;
            let history = custodian.policy_history().map_err(|error| failure(&error))?;
            let line = |set: &Set| {
                let behind = set.approvals.len();
                let time = time_text(set.time);
                format!("{:>4}  {time}  {}  {behind} approved\n", set.version, set.digest)
            };
            let text: String = history.iter().map(line).collect();
            let sets: Vec<Value> = history.iter().map(set_json).collect();
            answer_after(office, format, &text, &json!({"sets": sets}))?;
            Ok(Exit::Done)
        }
        Policy::Test(options) => test(options, format),
        Policy::WhatIf(options) => what_if(options, format),
        Policy::Point(options) => {
            let (office, mut custodian) = custody::application(&options.of)?;
            custodian.set_point(options.at.as_deref()).map_err(|error| failure(&error))?;
            let mut json = json!({"point": options.at});
            bring_into_force(office, &custodian.listed().application, &mut json)?;
            ui::answer(format, "", &json)?;
            Ok(Exit::Done)
        }
        Policy::Explain(options) => explain(options, format),
        Policy::Retention(options) => retention(options, format),
    }
}

fn set(options: &PolicySet, format: Format) -> Result<Exit> {
    let text = input_text(&options.file, "the policies")?;
    read(&text)?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let standing = custodian.propose_policies(&text).map_err(|error| failure(&error))?;
    stand(office, &custodian, &standing, format)
}

fn activate(options: &PolicyActivate, format: Format) -> Result<Exit> {
    let bad = || {
        Failure::new(Exit::Usage, "a digest is 64 hexadecimal digits")
            .hint("`strongroom policy show --proposed` says it")
    };
    let digest = Hash::parse(&options.digest).ok_or_else(bad)?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let standing = custodian.activate_policies(options.version, &digest);
    let standing = standing.map_err(|error| failure(&error))?;
    stand(office, &custodian, &standing, format)
}

fn stand(
    office: Office,
    custodian: &Custodian,
    standing: &Standing,
    format: Format,
) -> Result<Exit> {
    let (version, missing) = (standing.version, standing.missing);
    let mut json = json!({
        "digest": standing.digest.to_string(), "version": version, "missing_approvals": missing,
        "in_force": missing == 0,
    });
    let text = match missing {
        0 => {
            bring_into_force(office, &custodian.listed().application, &mut json)?;
            String::new()
        }
        _ => {
            drop(office);
            format!(
                "version {version} waits for the approval of {missing} more devices\ndigest {}\n",
                standing.digest
            )
        }
    };
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn show(options: &PolicyShow, format: Format) -> Result<Exit> {
    let (office, custodian) = custody::application(&options.of)?;
    let none = || Failure::new(Exit::Failed, "there is no such policy set");
    let found = match (options.proposed, options.version) {
        (true, _) => custodian.proposed_policies().map(|set| set.map(Some)),
        (false, None) => custodian.policy_set().map(Some),
        (false, Some(version)) => custodian
            .policy_history()
            .map(|history| history.into_iter().find(|set| set.version == version).map(Some)),
    };
    let set = found.map_err(|error| failure(&error))?.ok_or_else(none)?;
    let text = set.as_ref().map_or(BUILT_IN, |set| set.text.as_str());
    let mut json = set.as_ref().map_or_else(|| json!({"version": null, "digest": null}), set_json);
    json["text"] = text.into();
    if let Some(set) = set.as_ref().filter(|_| options.proposed) {
        // Not on standard output: that is the policies as they were proposed.
        ui::tell(&format!(
            "`strongroom policy activate {} {}` approves these",
            set.version, set.digest
        ));
    }
    answer_after(office, format, text, &json)?;
    Ok(Exit::Done)
}

fn set_json(set: &Set) -> Value {
    let devices = set.approvals.iter().map(|approval| approval.device.to_string());
    json!({
        "version": set.version, "digest": set.digest.to_string(), "time": time_text(set.time),
        "approved_by": devices.collect::<Vec<_>>(),
    })
}

fn test(options: &PolicyTest, format: Format) -> Result<Exit> {
    let bad = |message: String| Failure::new(Exit::Failed, message);
    let cases = input_text(&options.file, "the cases")?;
    let given = options.policies.as_deref().map(|path| input_text(path, "the policies"));
    let given = given.transpose()?;
    let (cases, in_force) = match options.of() {
        None => (Cases::parse(&cases), None),
        Some(of) => {
            let (_office, custodian) = custody::application(&of)?;
            let description = custodian.description().map_err(|error| failure(&error))?;
            let set = custodian.policy_set().map_err(|error| failure(&error))?;
            (Cases::parse_for(&cases, &description.classes), set.map(|set| set.text))
        }
    };
    let cases = cases.map_err(bad)?;
    let cedar = read(given.or(in_force).as_deref().unwrap_or(BUILT_IN))?;
    let (mut text, mut wrong) = (String::new(), Vec::new());
    for failed in cases.run(&cedar) {
        text += &format!("{}: expected {}, is {}\n", failed.name, failed.expected, failed.found);
        wrong.push(json!({
            "name": failed.name, "expected": failed.expected, "found": failed.found,
        }));
    }
    let is_sound = wrong.is_empty();
    text += &format!("{} cases, {} otherwise than expected\n", cases.len(), wrong.len());
    ui::answer(format, &text, &json!({"cases": cases.len(), "wrong": wrong}))?;
    Ok(if is_sound { Exit::Done } else { Exit::Failed })
}

fn what_if(options: &PolicyWhatIf, format: Format) -> Result<Exit> {
    let text = input_text(&options.file, "the policies")?;
    read(&text)?;
    let since = moment(options.since.as_deref())?.unwrap_or(i64::MIN);
    let (office, custodian) = custody::application(&options.of)?;
    let all = custodian.what_if(&text, since).map_err(|error| failure(&error))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    let mut open = Vec::new();
    for one in all.iter().filter(|one| one.differs() || one.is_open) {
        let words = match one.reason {
            _ if one.is_open => "would be up to the decision point, which was not asked",
            None => "would be allowed",
            Some(_) => "would be refused",
        };
        let activity = one.activity.as_deref().unwrap_or("?");
        let (time, record) = (time_text(one.entry.time), one.entry.seq);
        let policies = one.policies.join(" ");
        text += &format!("{record:>6}  {time}  {activity}  {}  {words}", action_of(one));
        text += &if policies.is_empty() { "\n".to_owned() } else { format!("  by {policies}\n") };
        if one.is_open { &mut open } else { &mut lines }.push(redecided_json(one));
    }
    text += &format!("{} of {} decisions would change", lines.len(), all.len());
    text += &match open.len() {
        0 => "\n".to_owned(),
        count => format!("; of {count} nobody can know\n"),
    };
    let json = json!({"decisions": all.len(), "changed": lines, "open": open});
    answer_after(office, format, &text, &json)?;
    Ok(Exit::Done)
}

fn action_of(one: &Redecided) -> &'static str {
    let judgement = one.entry.judgement.as_ref();
    judgement.and_then(|was| Action::from_number(was.action)).map_or("?", Action::name)
}

fn redecided_json(one: &Redecided) -> Value {
    let was = one.entry.judgement.as_ref();
    json!({
        "record": one.entry.seq,
        "time": time_text(one.entry.time),
        "activity": one.activity,
        "action": action_of(one),
        "subject": one.entry.about.as_ref().map(|about| about.subject.to_string()),
        "was_allowed": was.is_some_and(|was| was.outcome == Outcome::Allow),
        "would_be_allowed": (!one.is_open).then_some(one.reason.is_none()),
        "reason": one.reason.map(Reason::text),
        "policies": one.policies,
    })
}

fn explain(options: &PolicyExplain, format: Format) -> Result<Exit> {
    let (office, custodian) = custody::application(&options.of)?;
    let found = custodian.explain(options.record).map_err(|error| failure(&error))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for one in &found {
        let Some(was) = &one.entry.judgement else { continue };
        let outcome = if was.outcome == Outcome::Allow { "allowed" } else { "refused" };
        let (time, action) = (time_text(one.entry.time), action_of(one));
        text += &format!("{time}  {action}  {outcome}\n");
        let reason = Reason::from_number(was.reason).map(Reason::text);
        text += &reason.map(|reason| format!("reason    {reason}\n")).unwrap_or_default();
        if !one.policies.is_empty() {
            text += &format!("policies  {}\n", one.policies.join(" "));
        }
        let is_same = !one.differs() && !one.is_open;
        if !is_same {
            text += "decided again by the same policies, the answer is another one\n";
        }
        lines.push(json!({
            "time": time, "action": action, "outcome": outcome, "reason": reason,
            "activity": one.activity, "policies": one.policies,
            "policy_set": was.policy_set.to_string(), "consent_record": was.consent,
            "lease_end": was.lease_end.map(time_text), "same_again": is_same,
        }));
    }
    if lines.is_empty() {
        return Err(Failure::new(Exit::Failed, "that record holds no decision"));
    }
    answer_after(office, format, &text, &json!({ "decisions": lines }))?;
    Ok(Exit::Done)
}

fn retention(options: &PolicyRetention, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(&options.of)?;
    set_retention(options, &mut custodian)?;
    let carry = if options.run { Carry::Out } else { Carry::Dry };
    let retired = custodian.retire(carry).map_err(|error| failure(&error))?;
    let mut json = custodian.retired_json(&retired, carry).map_err(|error| failure(&error))?;
    let mut text = String::new();
    for line in json["classes"].as_array().into_iter().flatten() {
        let class = line["class"].as_str().unwrap_or_default();
        text += &format!("{class}: {} days\n", line["days"]);
    }
    let word = if options.run { "removed" } else { "due" };
    text += &format!("{word}: {} files of {} subjects", retired.files, retired.subjects);
    text += &format!("; held: {} compartments\n", retired.held);
    if let Some(rule) = custodian.idle_rule().map_err(|error| failure(&error))? {
        text += &idle_text(&rule, &retired.idle, carry);
    }
    let damaged = retired.left_out();
    for subject in damaged.iter().filter(|_| carry == Carry::Out) {
        text += &format!("damaged, left out: {subject}\n");
    }
    let is_partial = retired.idle.is_more || !damaged.is_empty();
    if carry == Carry::Out && !retired.idle.erased.is_empty() {
        bring_into_force(office, &custodian.listed().application, &mut json)?;
    } else {
        drop(office);
    }
    ui::answer(format, &text, &json)?;
    if let Some(error) = &retired.idle.failure {
        return Err(failure(error));
    }
    Ok(if is_partial { Exit::Partial } else { Exit::Done })
}

/// Whole subjects, by what is done with them or would be.
fn idle_text(rule: &IdleRule, swept: &Swept, carry: Carry) -> String {
    let (noticed, running, kept) = (swept.noticed, swept.running, swept.kept);
    let erased = swept.erased.len();
    let mut text = format!(
        "subjects: {} days after the last use, with notice on the last {}\n",
        rule.days, rule.notice_days
    );
    text += &match carry {
        Carry::Out => format!("given notice: {noticed}; erased: {erased}"),
        Carry::Dry => format!("to be given notice: {noticed}; to be erased: {erased}"),
    };
    text += &format!("; notice runs: {running}; due and kept: {kept}\n");
    for subject in swept.erased.iter().filter(|_| carry == Carry::Out) {
        text += &format!("erased: {subject}\n");
    }
    text += if swept.is_more { "there are more, for the next run\n" } else { "" };
    text
}

fn set_retention(options: &PolicyRetention, custodian: &mut Custodian) -> Result<()> {
    if options.class.is_none() && !options.subjects {
        return Ok(());
    }
    if options.days.is_none() && !options.forever {
        return Err(Failure::new(Exit::Usage, "how long is it kept?")
            .hint("give `--days N` or `--forever`"));
    }
    let set = match &options.class {
        Some(class) => custodian.set_retention(class, options.days),
        None => {
            let notice = options.notice.unwrap_or(NOTICE_DAYS);
            custodian.set_idle_rule(options.days.map(|days| (days, notice)))
        }
    };
    set.map_err(|error| failure(&error))
}

fn read(text: &str) -> Result<Cedar> {
    Cedar::read(text).map_err(|refused| Failure::new(Exit::Failed, refused.to_string()))
}
