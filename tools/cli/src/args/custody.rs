//! The nouns of personal data: applications, subjects, consumers, consents, policies, audit.
//!
//! What identifies a person is never an argument: it comes from a file or standard input.

pub mod app;
pub mod audit;
pub mod key;
pub mod policy;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

use super::PassphraseSource;

/// Which workspace.
#[derive(Debug, Args)]
pub struct In {
    /// Folder or URL that holds the workspace, or a name from the configuration
    #[arg(long, short = 'w', value_name = "STORE", help_heading = "Where")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub workspace: String,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
}

/// Which application, and where its key is.
#[derive(Debug, Args)]
pub struct Of {
    #[command(flatten)]
    pub place: In,
    /// Name or id of the application
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub app: String,
    /// Where the application key is, if not where `app create` was told: file:PATH, env:NAME, fd:N, credential:NAME, pkcs11:…, quorum:…
    #[arg(long, value_name = "PLACE", help_heading = "Where")]
    pub custody: Option<String>,
}

/// `subject`.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// Create a subject and print its id
    #[command(
        after_help = "Example:\n  echo '{\"email\":\"ada@example.com\"}' | strongroom subject create -w ~/work.strongroom --app shop --lookup-from -"
    )]
    Create(SubjectCreate),
    /// Create many subjects at once and print their ids
    #[command(
        after_help = "Example:\n  strongroom subject import people.jsonl -w ~/work.strongroom --app shop --request 2026-11"
    )]
    Import(SubjectImport),
    /// Find subjects by an attribute
    Find(SubjectFind),
    /// Set attributes to find a subject by, or take them away; others stay
    #[command(
        after_help = "Example:\n  echo '{\"email\":\"ada@new.example\",\"phone\":null}' | strongroom subject set ID -w ~/work.strongroom --app shop --lookup-from -"
    )]
    Set(SubjectSet),
    /// List subjects; for an activity, whom it may see, by pseudonym
    List(SubjectList),
    /// Show one subject, without any content
    Show(SubjectOne),
    /// Write a file of a subject
    Put(SubjectPut),
    /// Read a file of a subject
    Get(SubjectGet),
    /// Remove a file of a subject
    Remove(SubjectGet),
    /// List a subject's files of a class
    Files(SubjectFiles),
    /// Report who used a subject's data, when and why
    Report(SubjectOne),
    /// Write everything about a subject into a new folder, in the clear
    Export(SubjectExport),
    /// Erase a subject for good: keys first, then objects
    Erase(SubjectErase),
    /// Make two subjects that are one person one: what is of the second becomes the first's, and the second is erased
    Merge(SubjectMerge),
    /// Change a subject's keys; deep, seal everything anew
    Rotate(SubjectRotate),
    /// Place a hold on a subject, or lift it: nothing is erased while it is in force
    Hold(SubjectHold),
    /// Store a subject's data and release it to nobody, or lift that
    Restrict(SubjectRestrict),
}

/// `subject create`.
#[derive(Debug, Args)]
pub struct SubjectCreate {
    #[command(flatten)]
    pub of: Of,
    /// Read attributes to find the subject by, a JSON object of texts, from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Subject")]
    pub lookup_from: Option<PathBuf>,
}

/// `subject import`.
#[derive(Debug, Args)]
pub struct SubjectImport {
    /// Subjects, one JSON object a line: {"lookups": {…}, "profile": {…}} (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    #[command(flatten)]
    pub of: Of,
    /// Name of this import: asked again under the same name it makes nobody twice
    #[arg(long, value_name = "NAME", help_heading = "Subject")]
    pub request: Option<String>,
}

/// `subject rotate`.
#[derive(Debug, Args)]
pub struct SubjectRotate {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Change class keys too and seal every file anew
    #[arg(long, help_heading = "Rotate")]
    pub deep: bool,
    /// Seal anew what is of this class only
    #[arg(long, value_name = "CLASS", requires = "deep", help_heading = "Rotate")]
    pub class: Option<String>,
    /// Write the signed receipt into FILE
    #[arg(long, value_name = "FILE", help_heading = "Rotate")]
    pub receipt: Option<PathBuf>,
}

/// `subject find`.
#[derive(Debug, Args)]
pub struct SubjectFind {
    #[command(flatten)]
    pub of: Of,
    /// Read the attribute, a JSON object with one text, from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Subject")]
    pub lookup_from: PathBuf,
}

/// `subject set`.
#[derive(Debug, Args)]
pub struct SubjectSet {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Read the attributes, a JSON object of texts, and of null for what is taken away (by an empty name what has none), from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Subject")]
    pub lookup_from: PathBuf,
}

/// `subject list`.
#[derive(Debug, Args)]
pub struct SubjectList {
    #[command(flatten)]
    pub of: Of,
    /// Act for this activity
    #[arg(long, value_name = "NAME", help_heading = "Subject")]
    pub activity: Option<String>,
    /// Those alone whom nobody had a use for as long as they are kept, less the notice: since when, and when they are erased
    #[arg(long, conflicts_with = "activity", help_heading = "Subject")]
    pub due: bool,
}

/// One subject.
#[derive(Debug, Args)]
pub struct SubjectOne {
    /// Id of the subject
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    #[command(flatten)]
    pub of: Of,
}

/// A class of a subject's data, for somebody.
#[derive(Debug, Args)]
pub struct Compartment {
    /// Id of the subject; for an activity, its pseudonym
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    #[command(flatten)]
    pub of: Of,
    /// Class of the data: identifiable, owned, or a declared one
    #[arg(long, value_name = "CLASS", help_heading = "Subject")]
    pub class: String,
    /// Act for this activity
    #[arg(long, value_name = "NAME", help_heading = "Subject")]
    pub activity: Option<String>,
    /// Narrower purpose than the activity's
    #[arg(long, value_name = "PURPOSE", requires = "activity", help_heading = "Subject")]
    pub purpose: Option<String>,
}

/// `subject put`.
#[derive(Debug, Args)]
pub struct SubjectPut {
    #[command(flatten)]
    pub compartment: Compartment,
    /// Name of the file; `profile.json` is held against the schema
    #[arg(long, value_name = "NAME", help_heading = "Subject")]
    pub name: String,
    /// The file is about this subject as well (repeat for more): nobody has it who may not have it of each of them
    #[arg(long = "with", value_name = "SUBJECT", help_heading = "Subject")]
    pub others: Vec<String>,
    /// Read the content from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Subject")]
    pub from: PathBuf,
}

/// `subject get`.
#[derive(Debug, Args)]
pub struct SubjectGet {
    #[command(flatten)]
    pub compartment: Compartment,
    /// Name of the file
    #[arg(long, value_name = "NAME", help_heading = "Subject")]
    pub name: String,
}

/// `subject files`.
#[derive(Debug, Args)]
pub struct SubjectFiles {
    #[command(flatten)]
    pub compartment: Compartment,
}

/// `subject export`.
#[derive(Debug, Args)]
pub struct SubjectExport {
    #[command(flatten)]
    pub one: SubjectOne,
    /// New folder for the package; its content is not encrypted
    #[arg(long, value_name = "FOLDER", help_heading = "Subject")]
    pub to: PathBuf,
}

/// `subject erase`.
#[derive(Debug, Args)]
pub struct SubjectErase {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Don't ask
    #[arg(long, help_heading = "Subject")]
    pub yes: bool,
    /// Write the signed receipt into FILE
    #[arg(long, value_name = "FILE", help_heading = "Subject")]
    pub receipt: Option<PathBuf>,
}

/// `subject merge`.
#[derive(Debug, Args)]
pub struct SubjectMerge {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Id of the subject that becomes a part of the first
    #[arg(value_name = "OTHER")]
    pub other: String,
    /// Don't ask
    #[arg(long, help_heading = "Subject")]
    pub yes: bool,
    /// Write the signed receipt of the second's erasure into FILE
    #[arg(long, value_name = "FILE", help_heading = "Subject")]
    pub receipt: Option<PathBuf>,
}

/// `subject hold`.
#[derive(Debug, Args)]
pub struct SubjectHold {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Why, in one word
    #[arg(long, value_name = "WORD", help_heading = "Subject")]
    pub ground: String,
    /// Hold this class of the data only
    #[arg(long, value_name = "CLASS", conflicts_with = "lift", help_heading = "Subject")]
    pub class: Option<String>,
    /// Lift the holds of that ground
    #[arg(long, help_heading = "Subject")]
    pub lift: bool,
}

/// `subject restrict`.
#[derive(Debug, Args)]
pub struct SubjectRestrict {
    #[command(flatten)]
    pub one: SubjectOne,
    /// Lift the restriction
    #[arg(long, help_heading = "Subject")]
    pub lift: bool,
}

/// `consumer`.
#[derive(Debug, Subcommand)]
pub enum Consumer {
    /// Register a processing job; it waits for approval
    #[command(
        after_help = "Example:\n  strongroom consumer register newsletter -w ~/work.strongroom --app shop --purpose marketing.email --basis consent --class identifiable --notice notice.md"
    )]
    Register(Box<ConsumerRegister>),
    /// Approve a job: from now on an open question for every subject
    Approve(ConsumerOne),
    /// Stop a job for now
    Suspend(ConsumerOne),
    /// Stop a job for good
    End(ConsumerOne),
    /// Show one job
    Show(ConsumerOne),
    /// List all jobs: the record of processing
    List(Of),
}

/// `consumer register`.
#[derive(Debug, Args)]
pub struct ConsumerRegister {
    /// Name of the activity
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub of: Of,
    /// Who does it [default: NAME]
    #[arg(long, value_name = "WHO", help_heading = "Job")]
    pub consumer: Option<String>,
    /// What for, dotted: marketing.email
    #[arg(long, value_name = "PURPOSE", help_heading = "Job")]
    pub purpose: String,
    /// Legal basis
    #[arg(long, value_enum, help_heading = "Job")]
    pub basis: BasisName,
    /// Class of data it needs; give it more than once for several
    #[arg(long = "class", value_name = "CLASS", required = true, help_heading = "Job")]
    pub classes: Vec<String>,
    /// It writes as well
    #[arg(long, help_heading = "Job")]
    pub write: bool,
    /// To whom it passes the data on
    #[arg(long = "recipient", value_name = "WHO", help_heading = "Job")]
    pub recipients: Vec<String>,
    /// Days it keeps the data
    #[arg(long, value_name = "DAYS", help_heading = "Job")]
    pub retention_days: Option<u32>,
    /// End of the job: 2027-01-31 or 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", help_heading = "Job")]
    pub expires: Option<String>,
    /// Read what subjects are told from FILE
    #[arg(long, value_name = "FILE", help_heading = "Job")]
    pub notice: PathBuf,
}

/// Legal bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BasisName {
    /// The subject agreed
    Consent,
    /// A contract with the subject
    Contract,
    /// A legal obligation
    LegalObligation,
    /// Vital interests
    VitalInterests,
    /// A task in the public interest
    PublicTask,
    /// A legitimate interest, unless the subject objects
    LegitimateInterest,
}

/// One job.
#[derive(Debug, Args)]
pub struct ConsumerOne {
    /// Name of the activity
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub of: Of,
}

/// `consent`.
#[derive(Debug, Subcommand)]
pub enum Consent {
    /// Show a subject's answers and open questions
    Show(ConsentShow),
    /// Record that a subject agrees
    #[command(
        after_help = "Example:\n  strongroom consent grant -w ~/work.strongroom --app shop --subject ID --activity newsletter --evidence answer.json"
    )]
    Grant(ConsentTaken),
    /// Record that a subject refuses; in force when the command returns
    Deny(ConsentTaken),
    /// Record that a subject no longer agrees; in force when the command returns
    Withdraw(ConsentTaken),
    /// Record that a subject objects to a legitimate interest; in force when the command returns
    Object(ConsentTaken),
    /// Show every answer a subject ever gave
    History(ConsentShow),
}

/// `consent show`, `consent history`.
#[derive(Debug, Args)]
pub struct ConsentShow {
    #[command(flatten)]
    pub of: Of,
    /// Id of the subject
    #[arg(long, value_name = "SUBJECT", help_heading = "Consent")]
    pub subject: String,
}

/// An answer, which may take something back.
#[derive(Debug, Args)]
pub struct ConsentTaken {
    #[command(flatten)]
    pub answer: ConsentAnswer,
    /// Don't wait until consumers' devices have let go or their leases are over
    #[arg(long, help_heading = "Consent")]
    pub no_wait: bool,
}

/// An answer.
#[derive(Debug, Args)]
pub struct ConsentAnswer {
    #[command(flatten)]
    pub of: Of,
    /// Id of the subject
    #[arg(long, value_name = "SUBJECT", help_heading = "Consent")]
    pub subject: String,
    /// Name of the activity
    #[arg(long, value_name = "NAME", help_heading = "Consent")]
    pub activity: String,
    /// Class it covers; give it more than once for several [default: all that the activity declared]
    #[arg(long = "class", value_name = "CLASS", help_heading = "Consent")]
    pub classes: Vec<String>,
    /// It was expressed explicitly, as special classes demand
    #[arg(long, help_heading = "Consent")]
    pub explicit: bool,
    /// End of the consent: 2027-01-31 or 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", help_heading = "Consent")]
    pub until: Option<String>,
    /// Read the evidence (who, how, when) from FILE (`-` for standard input)
    #[arg(long, value_name = "FILE", help_heading = "Consent")]
    pub evidence: Option<PathBuf>,
    /// Write the signed receipt into FILE
    #[arg(long, value_name = "FILE", help_heading = "Consent")]
    pub receipt: Option<PathBuf>,
}
