//! `strongroom audit`: the verifiable log of everything that was decided and done.

use serde_json::{Value, json};
use strongroom_authorizer::Reason;
use strongroom_format::cbor;
use strongroom_format::ids::OrganisationId;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_records::ids::Hash;
use strongroom_records::log::{Entry, Outcome};
use strongroom_records::receipt::Deed;
use strongroom_steward::{
    Finding, Looked, Target, kind_text, time_text, verified_json, verify_receipt,
};

use super::subject::Folder;
use super::{answer_after, input};
use crate::args::custody::Of;
use crate::args::custody::audit::{Audit, AuditExport, AuditReceipt, AuditShow};
use crate::assemble::custody::{self, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format, Progress};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Audit, format: Format) -> Result<Exit> {
    match options {
        Audit::Show(options) => show(options, format),
        Audit::Verify(of) => verify(of, format),
        Audit::Export(options) => export(options, format),
        Audit::Receipt(options) => receipt(options, format),
    }
}

fn show(options: &AuditShow, format: Format) -> Result<Exit> {
    let custodian = custody::application_as_it_was(&options.of)?;
    let newest = custodian.record_count().saturating_sub(options.count);
    let from = options.from.unwrap_or(newest);
    let entries = custodian.entries(from, options.count).map_err(|error| failure(&error))?;
    let text: String = entries.iter().map(entry_text).collect();
    let lines: Vec<Value> = entries.iter().map(entry_json).collect();
    ui::answer(format, &text, &json!({ "entries": lines }))?;
    Ok(Exit::Done)
}

fn verify(of: &Of, format: Format) -> Result<Exit> {
    let opened = custody::application(of);
    let (office, mut custodian) = opened.map_err(|refused| match refused.exit {
        // Nobody may take a key that is not there for a register that is sound.
        Exit::Locked => Failure {
            message: format!("{}: nothing of the application was looked at", refused.message),
            ..refused
        },
        _ => refused,
    })?;
    let verified = shown(|told| custodian.verify_beside_others(told));
    let verified = verified.map_err(|error| failure(&error))?;
    let looked = &verified.looked;
    let mut text = format!(
        "{} records, {} entries, {} cells, {} nodes, {} files of {} subjects, {}: ",
        verified.records,
        verified.entries,
        verified.cells,
        verified.nodes,
        looked.files,
        looked.subjects,
        ui::bytes_text(looked.bytes),
    );
    text += if verified.findings.is_empty() { "sound\n" } else { "damaged\n" };
    if verified.mended_tiles > 0 {
        text += &format!("{} hashes of the audit tree were made anew\n", verified.mended_tiles);
    }
    text.extend(verified.findings.iter().map(finding_text));
    answer_after(office, format, &text, &verified_json(&verified))?;
    Ok(if verified.findings.is_empty() { Exit::Done } else { Exit::Damaged })
}

/// Looks at everything, with a line that says how far it is.
fn shown<T>(act: impl FnOnce(&mut dyn FnMut(Looked)) -> T) -> T {
    let clock = MachineClock::new();
    let began = clock.elapsed();
    let mut line = Progress::start();
    let done = act(&mut |looked| {
        let bytes = ui::bytes_text(looked.bytes);
        let text = format!("{} subjects, {} files, {bytes}", looked.subjects, looked.files);
        line.show(clock.elapsed() - began, &text);
    });
    line.finish();
    done
}

fn finding_text(finding: &Finding) -> String {
    let mut text = format!("record {}: {}", finding.seq, finding.what);
    text += &finding.subject.map(|subject| format!("  {subject}")).unwrap_or_default();
    text += &finding.class.map(|class| format!("  class {}", class.0)).unwrap_or_default();
    text += &finding.file.map(|file| format!("  file {file}")).unwrap_or_default();
    text + "\n"
}

fn export(options: &AuditExport, format: Format) -> Result<Exit> {
    let custodian = custody::application_as_it_was(&options.of)?;
    let mut folder = Folder::create(&options.to)?;
    let entries = custodian.entries(0, u64::MAX).map_err(|error| failure(&error))?;
    let line = |entry: &Entry| {
        let mut json = entry_json(entry);
        // What the tree hashes: whoever has all of them has the root that the head is of.
        let leaf = cbor::encode(entry);
        json["leaf"] = leaf.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        format!("{json}\n")
    };
    let lines: String = entries.iter().map(line).collect();
    let head = custodian.signed_head().map_err(|error| failure(&error))?;
    let key = format!("{}\n", custodian.head_verifier());
    for (name, text) in [("entries.jsonl", &lines), ("head.txt", &head), ("head-key.txt", &key)] {
        folder.write(name, text.as_bytes()).map_err(|error| failure(&error))?;
    }
    ui::answer(format, "", &json!({"entries": entries.len(), "head": head}))?;
    Ok(Exit::Done)
}

fn receipt(options: &AuditReceipt, format: Format) -> Result<Exit> {
    let bad = || Failure::new(Exit::Usage, "an organisation is named by 64 hexadecimal digits");
    let pinned = OrganisationId(Hash::parse(&options.organisation).ok_or_else(bad)?.0);
    let bytes = input(&options.file, "the receipt")?;
    let organisation = custody::trusted(&options.workspace, &pinned)?;
    let receipt = verify_receipt(&bytes, &organisation).map_err(|error| failure(&error))?;
    let (what, statement) = match &receipt.deed {
        Deed::Consent(_) => ("consent", None),
        Deed::Erasure(deed) => ("erasure", Some(deed.statement.clone())),
        Deed::Export(_) => ("export", None),
        Deed::Rotation(_) => ("rotation", None),
        Deed::SubjectRotation(_) => ("rotation of a subject", None),
        Deed::ErasureReceived(_) => ("erasure asked for", None),
        Deed::LedgerMoved(_) => ("ledger moved", None),
        Deed::Said(_) => ("said by a subject", None),
        Deed::LedgerReplayed(_) => ("ledger replayed", None),
    };
    let time = time_text(receipt.time);
    let mut text = format!(
        "{what}, {time}, record {}: holds\n{}",
        receipt.position,
        statement.as_ref().map(|text| format!("{text}\n")).unwrap_or_default()
    );
    let mut json = json!({
        "what": what, "time": time, "application": receipt.application.to_string(),
        "record": receipt.position, "statement": statement, "holds": true,
    });
    if let Deed::Export(deed) = &receipt.deed {
        let (manifest, last) = (deed.manifest.to_string(), deed.last_entry.to_string());
        text += &format!("manifest {manifest}\nentries 1 to {}, the last {last}\n", deed.entries);
        json["manifest"] = manifest.into();
        json["entries"] = deed.entries.into();
        json["last_entry"] = last.into();
    }
    ui::answer(format, &text, &json)?;
    Ok(Exit::Done)
}

fn entry_text(entry: &Entry) -> String {
    let mut text =
        format!("{:>6}  {}  {}", entry.seq, time_text(entry.time), kind_text(entry.kind));
    if let Some(judgement) = &entry.judgement {
        let outcome = if judgement.outcome == Outcome::Allow { "allowed" } else { "refused" };
        text += &format!("  {outcome}");
        let reason = Reason::from_number(judgement.reason).map(Reason::text);
        text += &reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    }
    if let Some(about) = &entry.about {
        text += &format!("  {}#{}", about.subject, about.number);
    }
    text + "\n"
}

fn entry_json(entry: &Entry) -> Value {
    let judgement = entry.judgement.as_ref();
    json!({
        "record": entry.seq,
        "time": time_text(entry.time),
        "what": kind_text(entry.kind),
        "operator": entry.operator.to_string(),
        "activity": entry.activity.map(|activity| activity.to_string()),
        "class": entry.class.map(|class| class.0),
        "allowed": judgement.map(|judgement| judgement.outcome == Outcome::Allow),
        "reason": judgement.and_then(|j| Reason::from_number(j.reason)).map(Reason::text),
        "policy_set": judgement.map(|judgement| judgement.policy_set.to_string()),
        "subject": entry.about.as_ref().map(|about| about.subject.to_string()),
        "number": entry.about.as_ref().map(|about| about.number),
    })
}
