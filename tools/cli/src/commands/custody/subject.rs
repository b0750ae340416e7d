//! `strongroom subject`: the people the data is about.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::SubjectState;
use strongroom_steward::{
    Asked, Custodian, Error, ErrorKind, IdleLine, SubjectLine, Target, file_json, idle_line_json,
    report_line_json, time_text,
};

use super::app::ending_text;
use super::receipt::{Again, Place};
use super::{answer_after, bring_into_force, input, input_text, output, subject_id};
use crate::args::custody::{
    Compartment, Subject, SubjectCreate, SubjectErase, SubjectExport, SubjectFind, SubjectHold,
    SubjectList, SubjectMerge, SubjectOne, SubjectPut, SubjectSet,
};
use crate::assemble::custody::{self, Office, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Does one of the verbs.
///
/// # Errors
/// Those of the verb.
pub fn run(options: &Subject, format: Format) -> Result<Exit> {
    match options {
        Subject::Create(options) => create(options, format),
        Subject::Find(options) => find(options, format),
        Subject::Set(options) => set(options, format),
        Subject::List(options) => list(options, format),
        Subject::Show(options) => show(options, format),
        Subject::Put(options) => put(options, format),
        Subject::Get(options) => {
            let (office, mut custodian) = custody::application(&options.compartment.of)?;
            let asked = asked(&options.compartment);
            let read = custodian.read_file(&asked, &options.name);
            drop(office);
            ui::write_out(&read.map_err(|error| failure(&error))?)?;
            Ok(Exit::Done)
        }
        Subject::Remove(options) => {
            let (office, mut custodian) = custody::application(&options.compartment.of)?;
            let removed = custodian.remove_file(&asked(&options.compartment), &options.name);
            removed.map_err(|error| failure(&error))?;
            answer_after(office, format, "", &json!({"name": options.name}))?;
            Ok(Exit::Done)
        }
        Subject::Files(options) => files(&options.compartment, format),
        Subject::Report(options) => report(options, format),
        Subject::Export(options) => export(options, format),
        Subject::Erase(options) => erase(options, format),
        Subject::Merge(options) => merge(options, format),
        Subject::Import(options) => super::import::run(options, format),
        Subject::Rotate(options) => super::rotate::subject(options, format),
        Subject::Hold(options) => hold(options, format),
        Subject::Restrict(options) => {
            let subject = subject_id(&options.one.subject)?;
            let (office, mut custodian) = custody::application(&options.one.of)?;
            custodian.restrict(&subject, !options.lift).map_err(|error| failure(&error))?;
            let line = custodian.subject(&subject).map_err(|error| failure(&error))?;
            let mut json = line_json(&line);
            bring_into_force(office, &custodian.listed().application, &mut json)?;
            ui::answer(format, "", &json)?;
            Ok(Exit::Done)
        }
    }
}

fn create(options: &SubjectCreate, format: Format) -> Result<Exit> {
    let lookups = match &options.lookup_from {
        Some(path) => attributes(path)?,
        None => Vec::new(),
    };
    let (office, mut custodian) = custody::application(&options.of)?;
    let subject = custodian.create_subject(&lookups).map_err(|error| failure(&error))?;
    answer_after(
        office,
        format,
        &format!("{subject}\n"),
        &json!({"subject": subject.to_string()}),
    )?;
    Ok(Exit::Done)
}

fn find(options: &SubjectFind, format: Format) -> Result<Exit> {
    let attributes = attributes(&options.lookup_from)?;
    let [(name, value)] = &attributes[..] else {
        return Err(Failure::new(Exit::Usage, "a search is by one attribute"));
    };
    let (office, mut custodian) = custody::application(&options.of)?;
    let found = custodian.find_subjects(name, value).map_err(|error| failure(&error))?;
    let ids: Vec<String> = found.iter().map(ToString::to_string).collect();
    let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
    answer_after(office, format, &text, &json!({"subjects": ids}))?;
    Ok(Exit::Done)
}

fn set(options: &SubjectSet, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.one.subject)?;
    let attributes = fields(&options.lookup_from)?;
    let (office, mut custodian) = custody::application(&options.one.of)?;
    custodian.set_attributes(&subject, &attributes).map_err(|error| failure(&error))?;
    answer_after(office, format, "", &json!({"subject": subject.to_string()}))?;
    Ok(Exit::Done)
}

fn list(options: &SubjectList, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(&options.of)?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    match &options.activity {
        None if options.due => {
            return list_due(office, &mut custodian, format);
        }
        None => {
            for line in custodian.subjects().map_err(|error| failure(&error))? {
                text += &format!("{}  {}\n", line.subject, state_text(line.state));
                lines.push(line_json(&line));
            }
        }
        Some(activity) => {
            for (pseudonym, classes) in
                custodian.scope(activity).map_err(|error| failure(&error))?
            {
                let mut names = Vec::new();
                for class in classes {
                    names.push(custodian.class_name(class).map_err(|error| failure(&error))?);
                }
                text += &format!("{pseudonym}  {}\n", names.join(" "));
                lines.push(json!({"subject": pseudonym.to_string(), "classes": names}));
            }
        }
    }
    answer_after(office, format, &text, &json!({"subjects": lines}))?;
    Ok(Exit::Done)
}

fn list_due(office: Office, custodian: &mut Custodian, format: Format) -> Result<Exit> {
    let page = custodian.idle_subjects().map_err(|error| failure(&error))?;
    let mut text: String = page.lines.iter().map(due_text).collect();
    for subject in &page.damaged {
        text += &format!("damaged, left out: {subject}\n");
    }
    let lines: Vec<Value> = page.lines.iter().map(idle_line_json).collect();
    let damaged: Vec<String> = page.damaged.iter().map(ToString::to_string).collect();
    answer_after(office, format, &text, &json!({"subjects": lines, "damaged": damaged}))?;
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Partial })
}

fn due_text(line: &IdleLine) -> String {
    let used = time_text(line.used);
    let what = match (line.kept, line.ends) {
        (None, _) if line.is_begun => "being erased, ended by the next run".to_owned(),
        (Some(kept), _) => format!("stays: {}", kept.name()),
        (None, Some(ends)) => format!("erased from {} on", time_text(ends)),
        (None, None) => "no notice yet".to_owned(),
    };
    let with = match line.joint_files {
        0 => String::new(),
        1 => "  1 file about others as well".to_owned(),
        count => format!("  {count} files about others as well"),
    };
    format!("{}  used {used}  {what}{with}\n", line.subject)
}

fn show(options: &SubjectOne, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.subject)?;
    let (office, custodian) = custody::application(&options.of)?;
    let line = custodian.subject(&subject).map_err(|error| failure(&error))?;
    let mut text =
        format!("{}  {}  {}\n", line.subject, state_text(line.state), time_text(line.created));
    for hold in &line.holds {
        text += &format!("hold  {}\n", hold.ground);
    }
    show_line(office, &line, &text, format)
}

fn show_line(office: Office, line: &SubjectLine, text: &str, format: Format) -> Result<Exit> {
    answer_after(office, format, text, &line_json(line))?;
    Ok(Exit::Done)
}

fn put(options: &SubjectPut, format: Format) -> Result<Exit> {
    let content = input(&options.from, "the content")?;
    let (office, mut custodian) = custody::application(&options.compartment.of)?;
    let (asked, name) = (asked(&options.compartment), &options.name);
    let put = custodian.put_file_about(&asked, &options.others, name, &content);
    put.map_err(|error| failure(&error))?;
    answer_after(office, format, "", &json!({"name": name, "size": content.len()}))?;
    Ok(Exit::Done)
}

fn files(options: &Compartment, format: Format) -> Result<Exit> {
    let (office, mut custodian) = custody::application(&options.of)?;
    let files = custodian.files(&asked(options)).map_err(|error| failure(&error))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for file in files {
        let (written, with) = (time_text(file.written), file.with.join(" "));
        let with = if with.is_empty() { with } else { format!("  with {with}") };
        text += &format!("{:>12}  {written}  {}{with}\n", file.len, file.name);
        lines.push(file_json(&file));
    }
    answer_after(office, format, &text, &json!({"files": lines}))?;
    Ok(Exit::Done)
}

fn report(options: &SubjectOne, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.subject)?;
    let (office, mut custodian) = custody::application(&options.of)?;
    let report = custodian.report(&subject).map_err(|error| failure(&error))?;
    let names = custodian.file_names(&subject).map_err(|error| failure(&error))?;
    let (mut text, mut lines) = (String::new(), Vec::new());
    for line in &report.lines {
        let json = report_line_json(line, &names);
        let word = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let shown = match json["allowed"].as_bool() {
            Some(true) => "allowed",
            Some(false) => "refused",
            None => "",
        };
        let activity = line.activity.clone().unwrap_or_else(|| "own".to_owned());
        let files = json["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let files = files.collect::<Vec<_>>().join(" ");
        let told = [activity, word("action"), shown.to_owned(), files];
        let told = told.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ");
        text += &format!("{}  {}  {told}\n", word("time"), word("what"));
        lines.push(json);
    }
    let json = json!({
        "entries": lines, "complete": report.holds(), "head": report.head,
    });
    answer_after(office, format, &text, &json)?;
    Ok(if report.holds() { Exit::Done } else { Exit::Damaged })
}

fn export(options: &SubjectExport, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.one.subject)?;
    let (office, mut custodian) = custody::application(&options.one.of)?;
    let mut folder = Folder::create(&options.to)?;
    let exported = custodian.export(&subject, &mut folder);
    let exported = exported.map_err(|error| folder.given_up(failure(&error)))?;
    let deed = &exported.deed;
    let json = json!({
        "folder": options.to.display().to_string(), "files": deed.files, "bytes": deed.bytes,
        "manifest": deed.manifest.to_string(),
    });
    answer_after(office, format, "", &json)?;
    Ok(Exit::Done)
}

fn erase(options: &SubjectErase, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.one.subject)?;
    if !options.yes {
        confirm(&format!("erase subject {} for good", options.one.subject))?;
    }
    let (office, mut custodian) = custody::application(&options.one.of)?;
    let place = Place::make(options.receipt.as_deref())?;
    let erased = custodian.erase(&subject).map_err(|error| failure(&error))?;
    let kept = place.keep(&erased.receipt, &erased_again(&subject));
    let deed = &erased.deed;
    let ending = ending_text(deed.destroyed.ending);
    let mut json = json!({
        "subject": subject.to_string(),
        "objects_removed": deed.objects_removed,
        "objects_left": deed.objects_left,
        "joint_files": deed.joint_files,
        "old_key": ending,
        "irrecoverable_from": deed.irrecoverable_from.map(time_text),
        "statement": deed.statement,
    });
    bring_into_force(office, &custodian.listed().application, &mut json)?;
    ui::answer(format, &format!("{}\n", deed.statement), &json)?;
    kept?;
    Ok(if deed.objects_left == 0 { Exit::Done } else { Exit::Partial })
}

/// An erasure that is done answers with the same receipt.
fn erased_again(subject: &SubjectId) -> Again {
    Again::By(format!("strongroom subject erase {subject}"))
}

fn merge(options: &SubjectMerge, format: Format) -> Result<Exit> {
    let (into, from) = (subject_id(&options.one.subject)?, subject_id(&options.other)?);
    if !options.yes {
        confirm(&format!("move all that is of {from} to {into}, and erase {from}"))?;
    }
    let (office, mut custodian) = custody::application(&options.one.of)?;
    let place = Place::make(options.receipt.as_deref())?;
    let merged = custodian.merge_subjects(&into, &from).map_err(|error| failure(&error))?;
    let kept = place.keep(&merged.erased.receipt, &erased_again(&from));
    let mut json = json!({
        "subject": into.to_string(), "erased": from.to_string(), "files": merged.files,
    });
    bring_into_force(office, &custodian.listed().application, &mut json)?;
    ui::answer(format, &format!("{} files moved\n", merged.files), &json)?;
    kept.map(|()| Exit::Done)
}

pub(super) fn confirm(what: &str) -> Result<()> {
    let refused =
        || Failure::new(Exit::Failed, "nothing was done").hint("say `yes`, or give `--yes`");
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    let mut err = io::stderr().lock();
    let _ = write!(err, "{what}? (yes/no) ");
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::io("asking", &error))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

fn hold(options: &SubjectHold, format: Format) -> Result<Exit> {
    let subject = subject_id(&options.one.subject)?;
    let (office, mut custodian) = custody::application_to_hold(&options.one.of)?;
    let done = match options.lift {
        true => custodian.lift_hold(&subject, &options.ground),
        false => place_hold(&mut custodian, &subject, options),
    };
    done.map_err(|error| failure(&error))?;
    let line = custodian.subject(&subject).map_err(|error| failure(&error))?;
    show_line(office, &line, "", format)
}

fn place_hold(
    custodian: &mut Custodian,
    subject: &SubjectId,
    options: &SubjectHold,
) -> strongroom_steward::Result<()> {
    let class = options.class.as_deref().map(|name| custodian.class(name)).transpose()?;
    custodian.place_hold_on(subject, &options.ground, class)
}

fn asked(options: &Compartment) -> Asked {
    Asked {
        activity: options.activity.clone(),
        subject: options.subject.clone(),
        class: options.class.clone(),
        purpose: options.purpose.clone(),
    }
}

/// A JSON object of texts.
fn attributes(path: &Path) -> Result<Vec<(String, String)>> {
    let text = |(name, value): (String, Option<String>)| Some(name).zip(value).ok_or_else(bad);
    fields(path)?.into_iter().map(text).collect()
}

/// A JSON object of texts and nulls.
fn fields(path: &Path) -> Result<Vec<(String, Option<String>)>> {
    let text = input_text(path, "the attributes")?;
    let json: Value = serde_json::from_str(&text).map_err(|_| bad())?;
    let field = |(name, value): (&String, &Value)| match value {
        Value::Null => Ok((name.clone(), None)),
        Value::String(value) => Ok((name.clone(), Some(value.clone()))),
        _ => Err(bad()),
    };
    json.as_object().ok_or_else(bad)?.iter().map(field).collect()
}

fn bad() -> Failure {
    Failure::new(Exit::Failed, "the attributes are not a JSON object of texts")
        .hint("for example {\"email\": \"ada@example.com\"}")
}

fn line_json(line: &SubjectLine) -> Value {
    json!({
        "subject": line.subject.to_string(),
        "state": state_text(line.state),
        "created": time_text(line.created),
        "holds": line.holds.iter().map(|hold| hold.ground.clone()).collect::<Vec<_>>(),
        "audit_pseudonym": line.pseudonym.to_string(),
    })
}

fn state_text(state: SubjectState) -> &'static str {
    match state {
        SubjectState::Active => "active",
        SubjectState::Restricted => "restricted",
        SubjectState::Erasing => "erasing",
        SubjectState::Erased => "erased",
    }
}

/// A new folder of this machine, for its owner alone.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        made.map_err(|error| Failure::io(format!("making `{}`", path.display()), &error))?;
        Ok(Self(path.to_path_buf()))
    }

    /// Removes it with all that is in it so far, as nobody has any use for that; or says where it is.
    pub(super) fn given_up(&self, failure: Failure) -> Failure {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => failure,
            Err(_) => {
                let hint = format!("remove `{}`: parts of the package are in it", self.0.display());
                failure.hint(hint)
            }
        }
    }
}

impl Target for Folder {
    fn write(&mut self, path: &str, bytes: &[u8]) -> strongroom_steward::Result<()> {
        let refused = |message: &str| Error::new(ErrorKind::Unavailable, message);
        // A name from the register never leads out of the folder.
        let path = Path::new(path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(refused("a file's name leads out of the package"));
        }
        let path = self.0.join(path);
        if let Some(folder) = path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|_| refused("a folder of the package cannot be made"))?;
        }
        output(&path, bytes, "the package").map_err(|failure| refused(&failure.message))
    }
}
