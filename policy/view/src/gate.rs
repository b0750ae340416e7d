//! One class of one subject in the view: its gate, and the leases behind it.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_audit::Grant;
use strongroom_records::ids::{ClassId, FileId, Pseudonym, SubjectId};
use strongroom_records::subject::File;
use strongroom_steward::{OpenClass, OpenFile};
use strongroom_workspace::door::{Mark, Passing};
use tokio::sync::watch;

use crate::parties::Parties;

/// A class of a subject, as long as the activity may have it without a break. What is agreed again later is another one.
pub(crate) struct Compartment {
    pub subject: SubjectId,
    pub pseudonym: Pseudonym,
    pub class: ClassId,
    /// Name of the class, and of its folder.
    pub name: String,
    gate: Mutex<Gate>,
    /// Changes when what was lent ends before its time was asked for anew.
    ends: watch::Sender<()>,
}

/// Hears that what was lent has ended, of any of those whom a file is about.
pub(crate) struct Ending(Vec<watch::Receiver<()>>);

impl Ending {
    pub fn of<'c>(all: impl Iterator<Item = &'c Arc<Compartment>>) -> Self {
        Self(all.map(|own| own.ends.subscribe()).collect())
    }

    /// What `work` brings, unless what was lent ends first. Whoever reads for the kernel holds a page there, and nothing is
    /// dropped behind it until it lets go.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut ended: Vec<_> = self.0.iter_mut().map(|ends| Box::pin(ends.changed())).collect();
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let is_ended = ended.iter_mut().any(|ended| ended.as_mut().poll(context).is_ready());
            if is_ended { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// Times are of the clock that counts from boot.
#[derive(Default)]
struct Gate {
    shut: bool,
    listing: Option<Listing>,
    reading: Option<Reading>,
    handle_count: usize,
    /// The kernel is being told that contents are to go.
    draining: Option<Passing>,
}

/// The names may be shown.
struct Listing {
    end: Duration,
    /// None where a custodian elsewhere has it.
    grant: Option<Grant>,
    class: Option<Arc<OpenClass>>,
}

/// The files that are on record may be read.
struct Reading {
    end: Duration,
    half: Duration,
    class: Arc<OpenClass>,
    noted: BTreeSet<FileId>,
    /// Files that were opened under it.
    opened: BTreeSet<FileId>,
}

/// How a compartment stands for somebody who wants to use it.
pub(crate) enum Standing<T> {
    /// It may be used.
    Live(T),
    /// Ask the desk.
    Lapsed,
    /// Never again.
    Shut,
}

impl<T> Standing<T> {
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Standing<U> {
        match self {
            Self::Live(live) => Standing::Live(with(live)),
            Self::Lapsed => Standing::Lapsed,
            Self::Shut => Standing::Shut,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// What ends when a lease does.
#[derive(Default)]
pub(crate) struct Lapse {
    pub listing: bool,
    pub reading: bool,
    /// To come after what the kernel is told of it.
    pub mark: Option<Mark>,
}

/// An open file of the view.
pub(crate) struct Handle {
    pub parties: Parties,
    pub file: File,
    /// The file under the keys of the present leases.
    open: Mutex<Option<Readable>>,
}

/// A file, and what it is read by: the class of each whom it is about.
struct Readable {
    classes: Vec<Arc<OpenClass>>,
    file: Arc<OpenFile>,
}

impl Compartment {
    pub fn new(subject: SubjectId, pseudonym: Pseudonym, class: ClassId, name: String) -> Self {
        let (ends, _) = watch::channel(());
        Self { subject, pseudonym, class, name, gate: Mutex::default(), ends }
    }

    /// Whether the kernel is dropping contents: a read that waited now would keep it from that.
    pub fn is_draining(&self) -> bool {
        self.gate.lock().draining.as_ref().is_some_and(|passing| !passing.is_past())
    }

    /// Whether its name may be shown.
    pub fn shown(&self, now: Duration) -> Standing<()> {
        let gate = self.gate.lock();
        match &gate.listing {
            _ if gate.shut => Standing::Shut,
            Some(listing) if now < listing.end => Standing::Live(()),
            _ => Standing::Lapsed,
        }
    }

    /// The names in it.
    pub fn names(&self, now: Duration) -> Standing<Arc<OpenClass>> {
        let gate = self.gate.lock();
        match &gate.listing {
            _ if gate.shut => Standing::Shut,
            Some(Listing { end, class: Some(class), .. }) if now < *end => {
                Standing::Live(Arc::clone(class))
            }
            _ => Standing::Lapsed,
        }
    }

    /// What reads a file in it, if opening that file is on record.
    pub fn reads(&self, file: &FileId, now: Duration) -> Standing<Arc<OpenClass>> {
        let gate = self.gate.lock();
        match &gate.reading {
            _ if gate.shut => Standing::Shut,
            Some(reading) if now < reading.end && reading.noted.contains(file) => {
                Standing::Live(Arc::clone(&reading.class))
            }
            _ => Standing::Lapsed,
        }
    }

    /// When the leases end that are there: of names, of contents.
    pub fn ends(&self) -> (Option<Duration>, Option<Duration>) {
        let gate = self.gate.lock();
        let listing = gate.listing.as_ref().map(|listing| listing.end);
        (listing, gate.reading.as_ref().map(|reading| reading.end))
    }

    /// Whether a lease of its contents is in use and past its half.
    pub fn wants_renewal(&self, now: Duration) -> bool {
        let gate = self.gate.lock();
        let past = gate.reading.as_ref().is_some_and(|reading| now >= reading.half);
        past && gate.handle_count > 0
    }

    /// The names may be shown until `end`.
    pub fn show(&self, grant: Grant, end: Duration) {
        let mut gate = self.gate.lock();
        if !gate.shut {
            gate.listing = Some(Listing { end, grant: Some(grant), class: None });
        }
    }

    /// The names may be shown until `end`, and these are they.
    pub fn show_lent(&self, class: OpenClass, end: Duration) {
        let mut gate = self.gate.lock();
        if !gate.shut {
            gate.listing = Some(Listing { end, grant: None, class: Some(Arc::new(class)) });
        }
    }

    /// What the grant that shows it opens, for [`Compartment::show_names`]; none where the names are shown, or none are to be.
    pub fn open_names<E>(
        &self,
        open: impl FnOnce(&Grant) -> Result<OpenClass, E>,
    ) -> Result<Option<OpenClass>, E> {
        let gate = self.gate.lock();
        let listing = gate.listing.as_ref().filter(|listing| listing.class.is_none());
        listing.and_then(|listing| listing.grant.as_ref()).map(open).transpose()
    }

    /// The names may be shown, as long as the grant that opened them lasts.
    pub fn show_names(&self, class: OpenClass) {
        if let Some(listing) = &mut self.gate.lock().listing {
            listing.class = Some(Arc::new(class));
        }
    }

    /// The names may have changed.
    pub fn forget_names(&self) {
        if let Some(listing) = &mut self.gate.lock().listing {
            listing.class = None;
        }
    }

    /// These files may be read from `now` until `end`. Files that an unexpired lease has on record stay.
    pub fn admit(&self, class: OpenClass, files: &[FileId], now: Duration, end: Duration) {
        let mut gate = self.gate.lock();
        if gate.shut {
            return;
        }
        let mut noted: BTreeSet<FileId> = files.iter().copied().collect();
        let (mut end, mut half) = (end, now + end.saturating_sub(now) / 2);
        let mut opened = BTreeSet::new();
        // A file more under a running lease: that lease's end counts, so that nothing is used longer than it was decided for.
        if let Some(before) = gate.reading.take().filter(|before| now < before.half) {
            noted.extend(before.noted);
            opened = before.opened;
            (end, half) = (end.min(before.end), half.min(before.half));
        }
        gate.reading = Some(Reading { end, half, class: Arc::new(class), noted, opened });
    }

    /// Notes that a file is opened. False if it was before under the same lease.
    pub fn note_opened(&self, file: &FileId) -> bool {
        let mut gate = self.gate.lock();
        gate.reading.as_mut().is_none_or(|reading| reading.opened.insert(*file))
    }

    /// Ends the lease of its contents: a read that goes on asks anew.
    pub fn lapse_reading(&self) {
        if let Some(reading) = &mut self.gate.lock().reading {
            // Over and not gone, so that what the kernel has of it is dropped as at the end of any lease.
            (reading.end, reading.half) = (Duration::ZERO, Duration::ZERO);
        }
    }

    /// Ends what is over.
    pub fn lapse(&self, now: Duration) -> Lapse {
        let mut gate = self.gate.lock();
        let listing = gate.listing.take_if(|listing| now >= listing.end).is_some();
        let ended = gate.reading.take_if(|reading| now >= reading.end);
        // One that was ended to be asked for anew takes nothing from anybody.
        let mark = ended.as_ref().filter(|reading| !reading.end.is_zero()).map(|_| {
            let (mark, passing) = Mark::new();
            gate.draining = Some(passing);
            mark
        });
        drop(gate);
        if mark.is_some() {
            self.ends.send_replace(());
        }
        Lapse { listing, reading: ended.is_some(), mark }
    }

    pub fn is_shut(&self) -> bool {
        self.gate.lock().shut
    }

    /// Shuts it for good and lets go of the keys. False if it was shut.
    pub fn shut(&self) -> bool {
        let mut gate = self.gate.lock();
        (gate.listing, gate.reading) = (None, None);
        let was_shut = std::mem::replace(&mut gate.shut, true);
        drop(gate);
        self.ends.send_replace(());
        !was_shut
    }
}

impl Handle {
    pub fn new(parties: Parties, file: File) -> Self {
        parties.all().for_each(|own| own.gate.lock().handle_count += 1);
        Self { parties, file, open: Mutex::default() }
    }

    /// The file as it is now. None if it is no longer among the files of its class.
    pub fn found<'a>(&self, class: &'a OpenClass) -> Option<&'a File> {
        let own = &self.file;
        // The same content under another key is another object of the same name, length and time.
        let is_it = |file: &&File| file.id == own.id;
        let is_again = |file: &&File| {
            (&file.name, file.len, file.written) == (&own.name, own.len, own.written)
        };
        let mut files: Vec<&File> = match self.parties.are_several() {
            false => class.files().iter().collect(),
            true => {
                let joint = class.joint().iter().filter(|joint| self.parties.are_with(joint));
                joint.map(|joint| &joint.file).collect()
            }
        };
        let at = files.iter().position(is_it).or_else(|| files.iter().position(is_again))?;
        Some(files.swap_remove(at))
    }

    /// Whether the one in whose folder it is has the file still, whatever the others have.
    pub fn is_in(&self, classes: &[Arc<OpenClass>]) -> bool {
        classes.first().is_some_and(|own| self.found(own).is_some())
    }

    /// What reads the file now. None if it is no longer among the files of its class, or not with all whom it is about.
    pub fn open(&self, classes: &[Arc<OpenClass>]) -> Option<Arc<OpenFile>> {
        let mut open = self.open.lock();
        if let Some(Readable { classes: known, file }) = open.as_ref()
            && known.iter().zip(classes).all(|(known, class)| Arc::ptr_eq(known, class))
        {
            return Some(Arc::clone(file));
        }
        let own = classes.first()?;
        let found = self.found(own)?;
        let file = match self.parties.are_several() {
            false => own.file(found),
            true => OpenClass::joint_file(classes, found)?,
        };
        let file = Arc::new(file);
        *open = Some(Readable { classes: classes.to_vec(), file: Arc::clone(&file) });
        Some(file)
    }

    /// Lets go of the key.
    pub fn close(&self) {
        *self.open.lock() = None;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.parties.all().for_each(|own| own.gate.lock().handle_count -= 1);
    }
}
