//! Retention: files of a class are kept for so many days, and then go by themselves, with their key.
//!
//! ```text
//! removed   one record for each subject: the files' names leave the folder, the removal is an entry, the objects go
//! resealed  what is left of the class gets a new class key, as in a deep rotation
//! switched  new subject keys for some dozen subjects together, new keys for buckets that told of a removed profile; the
//!           old application key ends
//! ```
//!
//! After the last step nothing that lives opens a removed file, in whatever copy. A hold on the class or on the subject
//! keeps everything. Whole subjects are in `idle`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strongroom_records::application::Description;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::{Detail, JointFile, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result, whole};
use crate::files::{OpenFolder, PROFILE};
use crate::idle::{Errand, Run, Swept};
use crate::lookup::Buckets;
use crate::register::Transaction;
use crate::rotate::{EVER, Resealed, note_damaged};
use crate::subjects::Subject;

pub(crate) const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// Subjects whose keys one record switches.
const SWITCH_COUNT: usize = 32;

/// Whether anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It is counted only.
    Dry,
    /// It is carried out.
    Out,
}

/// What retention took away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Files.
    pub files: u64,
    /// Subjects that had some.
    pub subjects: u64,
    /// Subjects that would have, and are held.
    pub held: u64,
    /// Whose files are left out since something stored of them is damaged.
    pub damaged: Vec<SubjectId>,
    /// Whole subjects.
    pub idle: Swept,
}

impl Retired {
    /// Everybody who was left out since what is stored of them is damaged.
    pub fn left_out(&self) -> Vec<SubjectId> {
        let all = self.damaged.iter().chain(&self.idle.damaged);
        all.copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Custodian {
    /// Keeps files of a class for so many days after they were written; none is for ever.
    ///
    /// # Errors
    /// `Invalid` for an unknown class.
    pub fn set_retention(&mut self, class: &str, days: Option<u32>) -> Result<()> {
        let class = self.class(class)?;
        let mut retention = self.description()?.retention;
        retention.retain(|(own, _)| *own != class);
        retention.extend(days.map(|days| (class, days)));
        retention.sort();
        self.describe(&Description { retention, ..self.description()? })
    }

    /// How many days files of a class are kept, for the classes that say.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn retention(&self) -> Result<Vec<(ClassId, u32)>> {
        Ok(self.description()?.retention)
    }

    fn days_kept(&self, class: ClassId) -> Result<Option<u32>> {
        Ok(self.retention()?.into_iter().find(|(own, _)| *own == class).map(|(_, days)| days))
    }

    /// Takes away what was kept long enough, and ends its keys. Interrupted, the next call goes on. Whose files are damaged is
    /// named, and the keys of what was removed of them stay until that is mended or removed.
    ///
    /// # Errors
    /// Those of custody and store.
    pub fn retire(&mut self, carry: Carry) -> Result<Retired> {
        let mut retired = Retired::default();
        // ORDER: what this writes is newer than whatever tells how late it is.
        let clock = self.idle_rule()?.map_or(Ok(()), |rule| self.check_clock(&rule));
        let turn = self.register().log().next_seq();
        let all = if self.retention()?.is_empty() { Vec::new() } else { self.subject_ids()? };
        for some in all.chunks(SWITCH_COUNT) {
            let mut changed = Vec::new();
            for subject in some {
                let before = retired.files;
                let mut is_changed = false;
                for (class, _) in self.retention()? {
                    // Others are let in while a class is sealed anew: what they say of the next one counts.
                    let Some(days) = self.days_kept(class)? else { continue };
                    let done = self.retire_class(subject, class, days, carry, &mut retired);
                    match whole(done.map_err(|error| self.or_conflict(error)))? {
                        Some(done) => is_changed |= done,
                        None => note_damaged(&mut retired.damaged, subject),
                    }
                }
                retired.subjects += u64::from(retired.files > before);
                changed.extend(is_changed.then_some(*subject));
                self.let_others_in()?;
            }
            // Somebody who was erased meanwhile has no keys.
            changed.retain(|subject| self.living(subject).is_ok());
            if carry == Carry::Out {
                self.switch_whole(&changed, None, &mut retired.damaged)?;
            }
        }
        if carry == Carry::Out {
            // One that died between a switch and the end of the old key left that key.
            self.sweep()?;
        }
        retired.idle = self.retire_idle(&Run { carry, clock, turn, errand: Errand::Due })?;
        Ok(retired)
    }

    /// What retention took away, or would, and what it went by, as commands and the agent's API tell it.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn retired_json(&self, retired: &Retired, carry: Carry) -> Result<Value> {
        let mut classes = Vec::new();
        for (class, days) in self.retention()? {
            classes.push(json!({"class": self.class_name(class)?, "days": days}));
        }
        let idle = self.idle_rule()?;
        let idle = idle.map(|own| json!({"days": own.days, "notice_days": own.notice_days}));
        let swept = &retired.idle;
        let ids = |own: &[SubjectId]| own.iter().map(ToString::to_string).collect::<Vec<_>>();
        Ok(json!({
            "classes": classes, "files": retired.files, "subjects": retired.subjects,
            "held": retired.held, "removed": carry == Carry::Out, "idle": idle,
            "noticed": swept.noticed, "notice_running": swept.running,
            "erased": ids(&swept.erased),
            "kept": swept.kept, "more": swept.is_more,
            "damaged": ids(&retired.left_out()),
            "failure": swept.failure.as_ref().map(ToString::to_string),
        }))
    }

    /// Whether the subject's keys have to be switched.
    fn retire_class(
        &mut self,
        subject: &SubjectId,
        class: ClassId,
        days: u32,
        carry: Carry,
        retired: &mut Retired,
    ) -> Result<bool> {
        let register = self.register();
        let Some(own) = register.subject(subject)? else { return Ok(false) };
        let lives = matches!(own.cell.state, SubjectState::Active | SubjectState::Restricted);
        let Some(cell) = own.cell.classes.iter().find(|own| own.class == class) else {
            return Ok(false);
        };
        if !lives {
            return Ok(false);
        }
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let folder = OpenFolder::reopened(register, &key, subject, cell)?;
        let now = register.services().clock.now_ns();
        let oldest = now.saturating_sub(i64::from(days).saturating_mul(DAY_NS));
        let due = folder.written_before(oldest);
        let (mut joint, kept) = self.joint_due(&folder, oldest, now)?;
        // A removal that was interrupted before its key ended is taken up: its older keys are still there.
        let is_unfinished = !cell.older.is_empty();
        let is_due = !due.is_empty() || !joint.is_empty();
        retired.held += u64::from(!is_due && kept > 0);
        if !is_due && !is_unfinished {
            return Ok(false);
        }
        if own.is_held(class, now) {
            retired.held += 1;
            return Ok(false);
        }
        if carry == Carry::Dry {
            // What is about several people goes with the first of them.
            joint.retain(|joint| joint.others.first().is_none_or(|other| subject < other));
        }
        retired.files += (due.len() + joint.len()) as u64;
        if carry == Carry::Dry {
            return Ok(false);
        }
        self.retire_joint(subject, class, &joint)?;
        if !due.is_empty() {
            self.retire_files(subject, class, due)?;
        }
        self.end_class(subject, class)
    }

    /// Files about several people that were kept long enough, and how many of those a hold on one of the others keeps.
    fn joint_due(
        &self,
        folder: &OpenFolder,
        oldest: i64,
        now: i64,
    ) -> Result<(Vec<JointFile>, usize)> {
        let (mut due, mut kept) = (Vec::new(), 0);
        for joint in folder.folder.joint.iter().filter(|joint| joint.file.written < oldest) {
            match self.is_one_held(&joint.others, folder.class(), now)? {
                true => kept += 1,
                false => due.push(joint.clone()),
            }
        }
        Ok((due, kept))
    }

    /// The record that takes a subject's own files away.
    fn retire_files(
        &mut self,
        subject: &SubjectId,
        class: ClassId,
        due: Vec<FileId>,
    ) -> Result<()> {
        let mut own = self.living(subject)?;
        let register = self.register();
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let mut folder = OpenFolder::of_class(register, &key, &own.cell, class)?;
        let mut transaction = Transaction::new(register);
        let detail = Detail { files: due.clone(), ..Detail::default() };
        let mut buckets = Buckets::default();
        let profile = folder.find(PROFILE).filter(|_| class == ClassId::IDENTIFIABLE);
        if profile.is_some_and(|profile| due.contains(&profile.id)) {
            // What the subject was given to be found by is as old, and goes with it.
            register.label(&mut buckets, &mut folder, *subject, Vec::new(), &[])?;
        }
        for file in due {
            folder.remove(file);
            transaction.drop_object(file);
        }
        folder.renew(register, &key, subject);
        folder.close(register, &mut own.cell);
        register.tell(&mut transaction, &mut own, Kind::Removed, Some(&detail), None, |entry| {
            entry.class = Some(class);
        });
        register.put_subject(&mut transaction, &mut own);
        register.put_leaves(&mut transaction, buckets)?;
        self.register_mut().commit(transaction).map(drop)
    }

    /// What is left of a class goes under its new key.
    fn end_class(&mut self, subject: &SubjectId, class: ClassId) -> Result<bool> {
        let mut done = Resealed::default();
        self.reseal_if_it_lives(subject, Some(class), EVER, &mut done, &mut |_| ())?;
        Ok(true)
    }
}

impl Subject {
    /// Whether a hold keeps a class of the subject.
    pub(crate) fn is_held(&self, class: ClassId, now: i64) -> bool {
        let of_class = |own: Option<ClassId>| own.is_none_or(|own| own == class);
        self.cell.holds.iter().any(|hold| hold.is_in_force(now) && of_class(hold.class))
    }

    /// Nothing that a hold keeps is removed or written over.
    pub(crate) fn check_replaceable(&self, class: ClassId, now: i64) -> Result<()> {
        match self.is_held(class, now) {
            true => Err(Error::new(ErrorKind::Held, "a hold is in force")),
            false => Ok(()),
        }
    }

    /// Whether a hold keeps anything of the subject.
    pub(crate) fn is_held_at_all(&self, now: i64) -> bool {
        self.cell.holds.iter().any(|hold| hold.is_in_force(now))
    }
}
