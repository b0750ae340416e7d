//! One application, open: where all its operations start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_authorizer::DecisionPoint;
use strongroom_format::cbor;
use strongroom_records::application::{ApplicationState, DeclaredClass, Description, Listed};
use strongroom_records::ids::{ClassId, Hash};
use strongroom_records::log::Kind;
use strongroom_records::register::CellKind;

use crate::directory::{Stewardship, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::register::{Register, SINGLE, Transaction};
use crate::schema::Schema;
use crate::scope::Order;
use crate::services::Services;
use crate::turnstile::Turnstile;

/// LIMIT: a day.
pub(crate) const LEASE_SECONDS_MAX: u32 = 86_400;

/// An open application.
pub struct Custodian {
    register: Register,
    listed: Listed,
    /// The decision point of the policies last used: reading a set costs more than deciding by it.
    point: Mutex<Option<ReadSet>>,
    /// The activity that was asked about last is the last.
    pub(crate) orders: Vec<Order>,
    /// What keeps others out while it works.
    pub(crate) turnstile: Option<Box<dyn Turnstile>>,
    /// The list of applications, once others were let in: it tells what became of this one.
    pub(crate) list: Option<Box<Stewardship>>,
}

/// The text of a set of policies, none for the built-in one, who is asked beside it, and what decides by both.
type ReadSet = (Option<String>, Option<(String, Duration)>, Arc<dyn DecisionPoint>);

impl Custodian {
    pub(crate) fn new(register: Register, listed: Listed) -> Self {
        let (point, orders) = (Mutex::default(), Vec::new());
        Self { register, listed, point, orders, turnstile: None, list: None }
    }

    /// Its line in the list of applications.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    pub(crate) fn set_listed(&mut self, listed: Listed) {
        self.listed = listed;
    }

    /// What decides by a set of policies, and by whom a description names beside it.
    pub(crate) fn read_set(
        &self,
        text: Option<&str>,
        description: &Description,
    ) -> Result<Arc<dyn DecisionPoint>> {
        let mut held = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = crate::access::shortest_lease(description);
        let beside = description.point.clone().map(|place| (place, longest));
        let is_same = |(own, place, _): &&ReadSet| own.as_deref() == text && *place == beside;
        if let Some((_, _, point)) = held.as_ref().filter(is_same) {
            return Ok(Arc::clone(point));
        }
        let mut point = self.services().point(text)?;
        if let Some((place, longest)) = &beside {
            point = self.services().language.beside(point, place, *longest)?;
        }
        *held = Some((text.map(str::to_owned), beside, Arc::clone(&point)));
        Ok(point)
    }

    /// Whether its data may be used.
    pub(crate) fn is_active(&self) -> bool {
        self.listed.state == ApplicationState::Active
    }

    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    pub(crate) fn register_mut(&mut self) -> &mut Register {
        &mut self.register
    }

    pub(crate) fn services(&self) -> &Services {
        self.register.services()
    }

    /// Its description.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn description(&self) -> Result<Description> {
        let bytes = self.register.cell(CellKind::Description, &SINGLE)?;
        let bytes = bytes.ok_or_else(|| Error::corrupt("the register has no description"))?;
        Ok(cbor::decode_canonical(&bytes)?)
    }

    /// Declares a class of data beyond `identifiable` and `owned`.
    ///
    /// # Errors
    /// `Exists`; `Invalid` for a name that is none.
    pub fn declare_class(&mut self, name: &str, special: bool) -> Result<ClassId> {
        check_name(name)?;
        let mut description = self.description()?;
        if class_of(&description, name).is_some() {
            return Err(Error::new(ErrorKind::Exists, "there is a class of that name"));
        }
        let last = description.classes.last().map(|declared| declared.class.0 + 1);
        let class = ClassId(last.unwrap_or(ClassId::DECLARED.0));
        description.classes.push(DeclaredClass { class, name: name.to_owned(), special });
        self.describe(&description)?;
        Ok(class)
    }

    /// Sets how long a release of a class may be used before it is decided anew.
    ///
    /// # Errors
    /// `Invalid` for less than a second or more than a day.
    pub fn set_lease(&mut self, class: ClassId, seconds: u32) -> Result<()> {
        if !(1..=LEASE_SECONDS_MAX).contains(&seconds) {
            return Err(Error::invalid("a lease lives a second at least, and a day at most"));
        }
        let mut description = self.description()?;
        description.leases.retain(|(own, _)| *own != class);
        description.leases.push((class, seconds));
        description.leases.sort();
        self.describe(&description)
    }

    /// Sets what profiles must look like. It is for those that are written from now on: nobody is found by what a profile says
    /// that is there already.
    ///
    /// # Errors
    /// `Invalid` when it is no schema.
    pub fn set_schema(&mut self, text: &str) -> Result<()> {
        Schema::parse_new(text)?;
        let description = Description { schema: text.to_owned(), ..self.description()? };
        self.describe(&description)
    }

    pub(crate) fn schema(&self) -> Result<Schema> {
        let description = self.description()?;
        match description.schema.as_str() {
            "" => Ok(Schema::default()),
            text => Schema::parse(text),
        }
    }

    /// The class of a name.
    ///
    /// # Errors
    /// `Invalid` when the application declared none of that name.
    pub fn class(&self, name: &str) -> Result<ClassId> {
        let unknown = || Error::invalid("the application declared no such class");
        class_of(&self.description()?, name).ok_or_else(unknown)
    }

    /// The name of a class.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn class_name(&self, class: ClassId) -> Result<String> {
        Ok(name_of(&self.description()?, class))
    }

    /// All classes.
    pub(crate) fn classes(&self) -> Result<Vec<ClassId>> {
        Ok(classes_of(&self.description()?))
    }

    pub(crate) fn is_special(&self, class: ClassId) -> Result<bool> {
        let declared = self.description()?.classes;
        Ok(declared.iter().any(|declared| declared.class == class && declared.special))
    }

    pub(crate) fn describe(&mut self, description: &Description) -> Result<()> {
        self.describe_as(description, Kind::Declared, None)
    }

    /// The same, with an entry that says what was done, and to what.
    pub(crate) fn describe_as(
        &mut self,
        description: &Description,
        kind: Kind,
        object: Option<Hash>,
    ) -> Result<()> {
        let mut transaction = Transaction::new(&self.register);
        transaction.cell(CellKind::Description, &SINGLE, &cbor::encode(description));
        transaction.entry(kind, |entry| entry.object = object);
        self.register.commit(transaction).map(drop)
    }

    /// What became of something that was to stand in a record of that number. What follows from one that is there is carried out
    /// by the next call, or by the next to come: it is done, whatever failed after it.
    pub(crate) fn as_recorded(&self, seq: u64, done: Result<()>) -> Result<()> {
        match self.register.log().next_seq() > seq {
            true => Ok(()),
            false => done,
        }
    }
}

/// All classes of a description, ascending.
pub(crate) fn classes_of(description: &Description) -> Vec<ClassId> {
    let mut classes = vec![ClassId::IDENTIFIABLE, ClassId::OWNED];
    classes.extend(description.classes.iter().map(|declared| declared.class));
    classes
}

/// The name of a class, or its number where nobody declared it.
pub(crate) fn name_of(description: &Description, class: ClassId) -> String {
    match class {
        ClassId::IDENTIFIABLE => "identifiable".to_owned(),
        ClassId::OWNED => "owned".to_owned(),
        class => {
            let declared = description.classes.iter().find(|declared| declared.class == class);
            declared.map_or_else(|| class.0.to_string(), |declared| declared.name.clone())
        }
    }
}

fn class_of(description: &Description, name: &str) -> Option<ClassId> {
    match name {
        "identifiable" => Some(ClassId::IDENTIFIABLE),
        "owned" => Some(ClassId::OWNED),
        name => {
            let declared = description.classes.iter().find(|declared| declared.name == name);
            declared.map(|declared| declared.class)
        }
    }
}
