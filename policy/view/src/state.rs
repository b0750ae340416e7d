//! What the view is made of at this moment: people, folders, files that the kernel knows, open handles.
//!
//! Everything here follows from what the desk learned. Inode numbers are given in the order in which things are first shown
//! and never again, so that they tell neither order nor number of anything else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use strongroom_records::ids::{ClassId, FileId, Pseudonym, SubjectId};
use strongroom_records::subject::File;
use strongroom_steward::Prospect;
use strongroom_workspace::door::{Access, Change, Ino};

use crate::draft::Draft;
use crate::gate::{Compartment, Handle};
use crate::parties::Parties;

/// The folder of people.
pub(crate) const SUBJECTS: Ino = Ino(2);
pub(crate) const SUBJECTS_NAME: &[u8] = b"subjects";

/// Somebody the activity may see.
pub(crate) struct Person {
    pub subject: SubjectId,
    /// In the order of classes.
    pub compartments: Vec<Arc<Compartment>>,
}

/// A thing with an inode number.
#[derive(Clone)]
pub(crate) enum Thing {
    Root,
    Subjects,
    Person(Pseudonym),
    Class(Arc<Compartment>),
    File(Parties, File),
    /// A file that is being written.
    Draft(Arc<Draft>),
}

/// An open file that may be written: whoever opens one that is being written shares what is written.
#[derive(Clone)]
pub(crate) struct Writer {
    pub draft: Arc<Draft>,
    pub access: Access,
}

/// How a thing is found again.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Person(Pseudonym),
    Class(Pseudonym, ClassId),
    File(Pseudonym, ClassId, FileId),
}

struct Node {
    thing: Thing,
    /// How often the kernel was told of it and has not forgotten.
    count: u64,
}

/// All of it.
pub(crate) struct State {
    people: BTreeMap<Pseudonym, Person>,
    names: HashMap<SubjectId, Pseudonym>,
    nodes: HashMap<u64, Node>,
    places: HashMap<Place, u64>,
    handles: HashMap<u64, Arc<Handle>>,
    writers: HashMap<u64, Writer>,
    drafts: HashMap<(Pseudonym, ClassId), Vec<Arc<Draft>>>,
    /// Folders with files that are about somebody as well: whether these are shown depends on that one, too.
    beside: HashMap<SubjectId, Vec<Arc<Compartment>>>,
    next_ino: u64,
    next_handle: u64,
    /// Whether everybody who may be seen is here.
    pub is_read: bool,
}

impl Thing {
    fn place(&self) -> Option<Place> {
        match self {
            Thing::Root | Thing::Subjects | Thing::Draft(_) => None,
            Thing::Person(pseudonym) => Some(Place::Person(*pseudonym)),
            Thing::Class(own) => Some(Place::Class(own.pseudonym, own.class)),
            Thing::File(parties, file) => {
                let own = parties.own();
                Some(Place::File(own.pseudonym, own.class, file.id))
            }
        }
    }

    /// The class it is, or is in.
    pub fn compartment(&self) -> Option<&Arc<Compartment>> {
        match self {
            Thing::Root | Thing::Subjects | Thing::Person(_) => None,
            Thing::Class(own) => Some(own),
            Thing::File(parties, _) => Some(parties.own()),
            Thing::Draft(draft) => Some(&draft.compartment),
        }
    }

    /// Whom it is about.
    pub fn parties(&self) -> Option<Parties> {
        match self {
            Thing::File(parties, _) => Some(parties.clone()),
            other => other.compartment().map(Parties::one),
        }
    }

    fn is_in(&self, compartment: &Arc<Compartment>) -> bool {
        match self {
            Thing::File(parties, _) => parties.has(compartment),
            other => other.compartment().is_some_and(|own| Arc::ptr_eq(own, compartment)),
        }
    }
}

impl State {
    pub fn new() -> Self {
        Self {
            people: BTreeMap::new(),
            names: HashMap::new(),
            nodes: HashMap::new(),
            places: HashMap::new(),
            handles: HashMap::new(),
            writers: HashMap::new(),
            drafts: HashMap::new(),
            beside: HashMap::new(),
            next_ino: SUBJECTS.0 + 1,
            next_handle: 1,
            is_read: false,
        }
    }

    /// What an inode number stands for.
    pub fn thing(&self, ino: Ino) -> Option<Thing> {
        match ino {
            Ino::ROOT => Some(Thing::Root),
            SUBJECTS => Some(Thing::Subjects),
            ino => self.nodes.get(&ino.0).map(|node| node.thing.clone()),
        }
    }

    pub fn person(&self, pseudonym: &Pseudonym) -> Option<&Person> {
        self.people.get(pseudonym)
    }

    /// People in the order of their pseudonyms, from one on.
    pub fn people_from(&self, first: Pseudonym) -> impl Iterator<Item = (&Pseudonym, &Person)> {
        self.people.range(first..)
    }

    pub fn person_of(&self, subject: &SubjectId) -> Option<&Person> {
        self.people.get(self.names.get(subject)?)
    }

    pub fn people_count(&self) -> usize {
        self.people.len()
    }

    pub fn subjects(&self) -> Vec<SubjectId> {
        self.names.keys().copied().collect()
    }

    /// The inode number of a thing, given now if it has none; `count` more of the kernel's knowing it.
    pub fn ino(&mut self, thing: &Thing, count: u64) -> Ino {
        let place = match thing {
            Thing::Root => return Ino::ROOT,
            Thing::Subjects => return SUBJECTS,
            Thing::Draft(draft) => {
                let fresh = || Node { thing: thing.clone(), count: 0 };
                self.nodes.entry(draft.ino.0).or_insert_with(fresh).count += count;
                return draft.ino;
            }
            thing => thing.place(),
        };
        let next = self.next_ino;
        let ino = match place {
            Some(place) => *self.places.entry(place).or_insert(next),
            None => next,
        };
        if ino == next {
            self.next_ino += 1;
        }
        let fresh = || Node { thing: thing.clone(), count: 0 };
        self.nodes.entry(ino).or_insert_with(fresh).count += count;
        Ino(ino)
    }

    /// The kernel knows it once more.
    pub fn remember(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino.0) {
            node.count += 1;
        }
    }

    pub fn forget(&mut self, ino: Ino, count: u64) {
        let Some(node) = self.nodes.get_mut(&ino.0) else { return };
        node.count = node.count.saturating_sub(count);
        if node.count == 0 {
            self.drop_node(ino.0);
        }
    }

    fn drop_node(&mut self, ino: u64) {
        let Some(node) = self.nodes.remove(&ino) else { return };
        if let Some(place) = node.thing.place()
            && self.places.get(&place) == Some(&ino)
        {
            self.places.remove(&place);
        }
    }

    pub fn open(&mut self, handle: Handle) -> u64 {
        let number = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(number, Arc::new(handle));
        number
    }

    pub fn handle(&self, number: u64) -> Option<Arc<Handle>> {
        self.handles.get(&number).cloned()
    }

    pub fn release(&mut self, number: u64) {
        self.handles.remove(&number);
    }

    /// Handles of a compartment that are open.
    pub fn open_handles<'a>(
        &'a self,
        compartment: &'a Arc<Compartment>,
    ) -> impl Iterator<Item = &'a Arc<Handle>> {
        self.handles.values().filter(|handle| handle.parties.has(compartment))
    }

    /// Files of a compartment that are open and may be read on: what one of those they are about has withdrawn never is.
    pub fn open_files(&self, compartment: &Arc<Compartment>) -> Vec<FileId> {
        let open = self.open_handles(compartment).filter(|handle| !handle.parties.are_shut());
        let mut files: Vec<FileId> = open.map(|handle| handle.file.id).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Files of a compartment that are open, or that the kernel knows.
    pub fn known_files(&self, compartment: &Arc<Compartment>) -> Vec<FileId> {
        let mut files = self.open_files(compartment);
        files.extend(self.nodes.values().filter_map(|node| match &node.thing {
            Thing::File(parties, file) if Arc::ptr_eq(parties.own(), compartment) => Some(file.id),
            _ => None,
        }));
        files
    }

    /// Takes what an activity may see of a subject as it is now. Returns compartments that are new or gone, and what the
    /// kernel has to drop: contents first, of open files before others.
    pub fn settle(
        &mut self,
        subject: &SubjectId,
        prospect: Option<Prospect>,
        class_name: impl Fn(ClassId) -> String,
    ) -> Settled {
        let mut settled = Settled::default();
        let classes = prospect.as_ref().map_or(&[][..], |prospect| &prospect.classes);
        let before = self.names.get(subject).copied();
        let changed = prospect.as_ref().map(|prospect| prospect.pseudonym);
        if let Some(pseudonym) = before {
            let kept =
                |own: &Arc<Compartment>| changed == Some(pseudonym) && classes.contains(&own.class);
            let person = self.people.get_mut(&pseudonym);
            let all = person.map(|person| std::mem::take(&mut person.compartments));
            let (stay, gone) = all.unwrap_or_default().into_iter().partition(kept);
            settled.gone = gone;
            for compartment in &settled.gone {
                compartment.shut();
                settled.changes.extend(self.drop_compartment(compartment));
            }
            if let Some(person) = self.people.get_mut(&pseudonym) {
                person.compartments = stay;
            }
        }
        match (before, prospect) {
            (Some(before), None) => {
                self.people.remove(&before);
                self.names.remove(subject);
                settled.changes.extend(self.drop_person(&before));
            }
            (_, Some(prospect)) => self.add(prospect, class_name, &mut settled),
            (None, None) => {}
        }
        settled
    }

    fn add(
        &mut self,
        prospect: Prospect,
        class_name: impl Fn(ClassId) -> String,
        settled: &mut Settled,
    ) {
        let Prospect { subject, pseudonym, classes } = prospect;
        self.names.insert(subject, pseudonym);
        let empty = || Person { subject, compartments: Vec::new() };
        let is_new = !self.people.contains_key(&pseudonym);
        let person = self.people.entry(pseudonym).or_insert_with(empty);
        let folder = self.places.get(&Place::Person(pseudonym)).copied();
        let mut fresh = Vec::new();
        for class in classes {
            if person.compartments.iter().any(|own| own.class == class) {
                continue;
            }
            let name = class_name(class);
            if let Some(folder) = folder {
                let name = name.clone().into_bytes();
                settled.changes.push(Change::Name { folder: Ino(folder), name });
            }
            let compartment = Arc::new(Compartment::new(subject, pseudonym, class, name));
            fresh.push(Arc::clone(&compartment));
            person.compartments.push(compartment);
        }
        person.compartments.sort_by_key(|own| own.class);
        if is_new {
            settled.changes.push(name_of(pseudonym));
        }
        for compartment in fresh {
            // What comes to folders of others has no name that is known there.
            settled.changes.extend(listed_anew(self.folders_beside(&compartment)));
        }
    }

    /// What the kernel has to drop of a compartment that is shut. Its numbers are not given again.
    fn drop_compartment(&mut self, compartment: &Arc<Compartment>) -> Vec<Change> {
        self.drafts.remove(&(compartment.pseudonym, compartment.class));
        for folders in self.beside.values_mut() {
            folders.retain(|own| !Arc::ptr_eq(own, compartment));
        }
        let mut open = BTreeSet::new();
        for handle in self.open_handles(compartment) {
            open.insert(handle.file.id);
            handle.close();
        }
        let own = |node: &Node| node.thing.is_in(compartment);
        let mut inos: Vec<u64> =
            self.nodes.iter().filter(|(_, node)| own(node)).map(|(ino, _)| *ino).collect();
        let is_open = |ino: &u64| match self.nodes.get(ino).map(|node| &node.thing) {
            Some(Thing::File(_, file)) => open.contains(&file.id),
            _ => false,
        };
        inos.sort_by_key(|ino| (!is_open(ino), *ino));
        let mut changes: Vec<Change> =
            inos.iter().map(|ino| Change::Inode { ino: Ino(*ino), content: true }).collect();
        let pseudonym = compartment.pseudonym;
        if let Some(folder) = self.places.get(&Place::Person(pseudonym)) {
            let name = compartment.name.clone().into_bytes();
            changes.push(Change::Name { folder: Ino(*folder), name });
        }
        changes.extend(listed_anew(self.folders_beside(compartment)));
        changes.extend(self.names_of(|parties| parties.has(compartment)));
        for ino in inos {
            if let Some(place) = self.nodes.get(&ino).and_then(|node| node.thing.place()) {
                self.places.remove(&place);
            }
        }
        changes
    }

    fn drop_person(&mut self, pseudonym: &Pseudonym) -> Vec<Change> {
        self.places.remove(&Place::Person(*pseudonym));
        vec![name_of(*pseudonym)]
    }

    /// What the kernel has to drop when a lease of contents has ended.
    pub fn unread(&self, compartment: &Arc<Compartment>) -> Vec<Change> {
        self.open_handles(compartment).for_each(|handle| handle.close());
        let is_file = |node: &Node| {
            matches!(&node.thing, Thing::File(..) | Thing::Draft(_))
                && node.thing.is_in(compartment)
        };
        let files = self.nodes.iter().filter(|(_, node)| is_file(node));
        files.map(|(ino, _)| Change::Inode { ino: Ino(*ino), content: true }).collect()
    }

    /// What it has to drop when leases of names have ended: each name and each folder once, however many a file is about.
    pub fn unlisted(&self, all: &[Arc<Compartment>]) -> Vec<Change> {
        let ended: HashSet<*const Compartment> = all.iter().map(Arc::as_ptr).collect();
        let folders: BTreeSet<u64> = all
            .iter()
            .flat_map(|own| self.class_folder(own).into_iter().chain(self.folders_beside(own)))
            .collect();
        let mut changes = listed_anew(folders);
        let has_one =
            |parties: &Parties| parties.all().any(|own| ended.contains(&Arc::as_ptr(own)));
        changes.extend(self.names_of(has_one));
        let people: BTreeSet<Pseudonym> = all.iter().map(|own| own.pseudonym).collect();
        changes.extend(people.into_iter().map(name_of));
        changes
    }

    /// What it has to drop when files of a compartment may have changed: names and the list of them.
    pub fn renamed(&self, compartment: &Arc<Compartment>) -> Vec<Change> {
        let mut changes = listed_anew(self.class_folder(compartment));
        changes.extend(self.names_of(|parties| Arc::ptr_eq(parties.own(), compartment)));
        changes
    }

    /// Names of files that the kernel knows, where they are.
    fn names_of(&self, is_about: impl Fn(&Parties) -> bool) -> Vec<Change> {
        let name = |node: &Node| match &node.thing {
            Thing::File(parties, file) if is_about(parties) => {
                let folder = Ino(self.class_folder(parties.own())?);
                Some(Change::Name { folder, name: file.name.clone().into_bytes() })
            }
            _ => None,
        };
        self.nodes.values().filter_map(name).collect()
    }

    fn class_folder(&self, own: &Compartment) -> Option<u64> {
        self.places.get(&Place::Class(own.pseudonym, own.class)).copied()
    }

    /// Folders of others with files that are about this one as well.
    fn folders_beside(&self, own: &Compartment) -> impl Iterator<Item = u64> {
        let folders = self.beside.get(&own.subject).map_or(&[][..], |all| &all[..]);
        let same = folders.iter().filter(|folder| folder.class == own.class);
        same.filter_map(|folder| self.class_folder(folder))
    }

    /// A folder has files that are about others as well.
    pub fn note_beside(&mut self, own: &Arc<Compartment>, others: &BTreeSet<SubjectId>) {
        for other in others {
            let folders = self.beside.entry(*other).or_default();
            if !folders.iter().any(|known| Arc::ptr_eq(known, own)) {
                folders.push(Arc::clone(own));
            }
        }
    }
}

/// Files that are being written.
impl State {
    /// A number that nothing has had.
    pub fn fresh_ino(&mut self) -> Ino {
        self.next_ino += 1;
        Ino(self.next_ino - 1)
    }

    /// A file is being written from here on, whoever opens it.
    pub fn begin(&mut self, draft: &Arc<Draft>) {
        let thing = Thing::Draft(Arc::clone(draft));
        let fresh = || Node { thing: thing.clone(), count: 0 };
        let node = self.nodes.entry(draft.ino.0).or_insert_with(fresh);
        let before = std::mem::replace(&mut node.thing, thing.clone());
        if let Some(place) = before.place() {
            self.places.remove(&place);
        }
        let own = &draft.compartment;
        self.drafts.entry((own.pseudonym, own.class)).or_default().push(Arc::clone(draft));
    }

    pub fn open_writer(&mut self, draft: Arc<Draft>, access: Access) -> u64 {
        let number = self.next_handle;
        self.next_handle += 1;
        self.writers.insert(number, Writer { draft, access });
        number
    }

    pub fn writer(&self, number: u64) -> Option<Writer> {
        self.writers.get(&number).cloned()
    }

    /// How many handles there are of a file that is being written.
    pub fn writer_count(&self, draft: &Arc<Draft>) -> usize {
        self.writers.values().filter(|writer| Arc::ptr_eq(&writer.draft, draft)).count()
    }

    /// Ends a handle. What was written, if that was the last.
    pub fn release_writer(&mut self, number: u64) -> Option<Arc<Draft>> {
        let draft = self.writers.remove(&number)?.draft;
        (self.writer_count(&draft) == 0).then_some(draft)
    }

    /// What is being written under a name.
    pub fn draft(&self, own: &Arc<Compartment>, name: &str) -> Option<Arc<Draft>> {
        let drafts = self.drafts.get(&(own.pseudonym, own.class))?;
        drafts.iter().find(|draft| draft.name() == name).cloned()
    }

    pub fn drafts_of(&self, own: &Compartment) -> Vec<Arc<Draft>> {
        self.drafts.get(&(own.pseudonym, own.class)).cloned().unwrap_or_default()
    }

    pub fn drafts(&self) -> Vec<Arc<Draft>> {
        self.drafts.values().flatten().cloned().collect()
    }

    /// The file was removed or replaced. Who has it open goes on with it.
    pub fn drop_draft(&mut self, draft: &Arc<Draft>) {
        draft.remove();
        self.unlist(draft);
    }

    fn unlist(&mut self, draft: &Arc<Draft>) {
        let own = &draft.compartment;
        let key = (own.pseudonym, own.class);
        if let Some(drafts) = self.drafts.get_mut(&key) {
            drafts.retain(|other| !Arc::ptr_eq(other, draft));
            if drafts.is_empty() {
                self.drafts.remove(&key);
            }
        }
    }

    /// Nobody writes it any more: its number stands for what is on record. Returns what the kernel has to drop: the
    /// name, if nothing is, or what it has of bytes that are not.
    pub fn end_draft(&mut self, draft: &Arc<Draft>) -> Option<Change> {
        if self.writer_count(draft) > 0 {
            return None;
        }
        self.unlist(draft);
        let is_it =
            |node: &Node| matches!(&node.thing, Thing::Draft(own) if Arc::ptr_eq(own, draft));
        if !self.nodes.get(&draft.ino.0).is_some_and(is_it) {
            return None;
        }
        let own = &draft.compartment;
        match draft.file().filter(|_| !draft.is_gone()) {
            Some(file) => {
                let thing = Thing::File(Parties::one(own), file);
                if let Some(place) = thing.place() {
                    self.places.insert(place, draft.ino.0);
                }
                if let Some(node) = self.nodes.get_mut(&draft.ino.0) {
                    node.thing = thing;
                }
                draft.is_changed().then_some(Change::Inode { ino: draft.ino, content: true })
            }
            None => {
                self.nodes.remove(&draft.ino.0);
                let class = self.places.get(&Place::Class(own.pseudonym, own.class))?;
                Some(Change::Name { folder: Ino(*class), name: draft.name().into_bytes() })
            }
        }
    }

    /// A file has another name on record; what had that name is replaced.
    pub fn rename(&mut self, own: &Arc<Compartment>, from: &str, to: &str) {
        if let Some(replaced) = self.draft(own, to) {
            self.drop_draft(&replaced);
        }
        if let Some(draft) = self.draft(own, from) {
            return draft.rename(to);
        }
        for node in self.nodes.values_mut() {
            if let Thing::File(parties, file) = &mut node.thing
                && Arc::ptr_eq(parties.own(), own)
                && !parties.are_several()
                && file.name == from
            {
                to.clone_into(&mut file.name);
            }
        }
    }
}

/// Somebody's name in the folder of people.
fn name_of(pseudonym: Pseudonym) -> Change {
    Change::Name { folder: SUBJECTS, name: pseudonym.to_string().into_bytes() }
}

/// Folders have other files.
fn listed_anew(folders: impl IntoIterator<Item = u64>) -> Vec<Change> {
    let folders = folders.into_iter();
    folders.map(|ino| Change::Inode { ino: Ino(ino), content: true }).collect()
}

/// What [`State::settle`] changed.
#[derive(Default)]
pub(crate) struct Settled {
    pub gone: Vec<Arc<Compartment>>,
    pub changes: Vec<Change>,
}
