//! The table: thing × what happens to it → what must come of it.

use strongroom_check::{Area, Kind};
use strongroom_workspace::error::ErrorKind;

use super::sample::{Copy, sample};

/// What is damaged.
#[derive(Clone, Copy, Debug)]
pub enum Thing {
    /// The clear file that names the workspace.
    Workspace,
    /// The genesis record.
    Organisation,
    /// The record with the first epoch.
    Epoch,
    /// The sealed device file.
    Device,
    /// The newest checkpoint.
    Checkpoint,
    /// The first commit behind the checkpoint.
    FirstCommit,
    /// One in the middle.
    MiddleCommit,
    /// The newest.
    LastCommit,
    /// The object with most of the checkpoint's leaves. Some of its pages were written anew since.
    Pages,
    /// The object with the top page, written last.
    Root,
    /// The object that holds this file alone.
    Data(&'static str),
    /// The journal file with the pending records.
    Journal,
    /// The staged object of `/pending/large`.
    Staged,
    /// The remembered head.
    Head,
}

/// Where a bit flips.
#[derive(Clone, Copy, Debug)]
pub enum Flip {
    /// In the first byte.
    First,
    /// In the middle byte.
    Middle,
    /// In the last byte.
    Last,
    /// In this byte.
    At(u64),
}

/// What is left of a file.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Nothing.
    Empty,
    /// The first half.
    Half,
    /// All but the last byte.
    Short,
    /// That many bytes.
    To(u64),
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// It is gone.
    Delete,
    /// It is cut.
    Truncate(Cut),
    /// The second half of what is used of it is zeros, its length the same.
    Blank,
    /// One bit is another.
    Flip(Flip),
    /// It changes places with this one.
    SwapWith(Thing),
    /// The same thing of another workspace is in its place.
    FromOther,
    /// It is as it was some commits ago.
    Older,
}

/// What cannot be read then.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// These files, and every other file can.
    Files(&'static [&'static str]),
    /// Some files, but not all.
    Some,
}

/// What opening and reading must come to.
#[derive(Clone, Copy, Debug)]
pub enum Opens {
    /// All is there.
    All,
    /// Opens, and this is lost.
    Without(Lost),
    /// Opens with the first of what waited on this device. Nothing can tell this from a loss of power.
    AsAfterPowerLoss,
    /// It does not open.
    Refused(ErrorKind),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    thing: Thing,
    action: Action,
    /// What a read-only open comes to.
    pub reading: Opens,
    /// What a normal open comes to.
    pub writing: Opens,
    /// What check must tell, among others.
    pub found: &'static [(Area, Kind)],
}

impl Row {
    /// Does it.
    pub fn apply(&self, copy: &Copy) {
        self.action.apply(copy, self.thing);
    }
}

impl Action {
    /// Does it to something.
    pub fn apply(self, copy: &Copy, thing: Thing) {
        let path = copy.path(thing);
        let bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        let cut = |len: usize| std::fs::write(&path, &bytes[..len]).unwrap();
        match self {
            Action::Delete => std::fs::remove_file(&path).unwrap(),
            Action::Blank => {
                let mut bytes = bytes.clone();
                let half = sample().used_len(thing, &bytes) / 2;
                bytes[half..].fill(0);
                std::fs::write(&path, bytes).unwrap();
            }
            Action::Truncate(Cut::Empty) => cut(0),
            Action::Truncate(Cut::Half) => cut(sample().used_len(thing, &bytes) / 2),
            Action::Truncate(Cut::Short) => cut(sample().used_len(thing, &bytes) - 1),
            Action::Truncate(Cut::To(len)) => cut(usize::try_from(len).unwrap()),
            Action::Flip(flip) => {
                let mut bytes = bytes.clone();
                let used = sample().used_len(thing, &bytes);
                let at = match flip {
                    Flip::First => 0,
                    Flip::Middle => used / 2,
                    Flip::Last => used - 1,
                    Flip::At(at) => usize::try_from(at).unwrap().min(len - 1),
                };
                bytes[at] ^= 0x10;
                std::fs::write(&path, bytes).unwrap();
            }
            Action::SwapWith(other) => {
                let other = copy.path(other);
                let theirs = std::fs::read(&other).unwrap();
                std::fs::write(&path, theirs).unwrap();
                std::fs::write(&other, bytes).unwrap();
            }
            Action::FromOther => std::fs::write(&path, sample().of_other(thing)).unwrap(),
            Action::Older => std::fs::write(&path, sample().older(thing)).unwrap(),
        }
    }
}

const CORRUPT: Opens = Opens::Refused(ErrorKind::Corrupt);
const LOCKED: Opens = Opens::Refused(ErrorKind::Locked);

/// The same, whether it is opened for reading or writing.
const fn row(thing: Thing, action: Action, opens: Opens, found: &'static [(Area, Kind)]) -> Row {
    Row { thing, action, reading: opens, writing: opens, found }
}

/// Damage to what waits on this device: a read-only open does not look at it.
const fn local(action: Action, thing: Thing, opens: Opens, found: &'static [(Area, Kind)]) -> Row {
    Row { thing, action, reading: Opens::All, writing: opens, found }
}

const fn files(files: &'static [&'static str]) -> Opens {
    Opens::Without(Lost::Files(files))
}

const PART: Opens = Opens::Without(Lost::Some);
const LARGE: Opens = files(&["/docs/large", "/docs/link"]);
const SMALL: Opens = files(&["/docs/small"]);
const HOLES: Opens = files(&["/docs/pieces"]);

/// All rows. `check` itself needs the keys: where the device file does not open it has nothing to tell.
pub const ROWS: &[Row] = &[
    // The workspace file.
    row(Thing::Workspace, Action::Delete, Opens::Refused(ErrorKind::NotFound), WORKSPACE_MISSING),
    row(Thing::Workspace, Action::Truncate(Cut::Empty), CORRUPT, WORKSPACE),
    row(Thing::Workspace, Action::Truncate(Cut::Half), CORRUPT, WORKSPACE),
    row(Thing::Workspace, Action::Truncate(Cut::Short), CORRUPT, WORKSPACE),
    row(Thing::Workspace, Action::Flip(Flip::First), CORRUPT, WORKSPACE),
    row(Thing::Workspace, Action::Flip(Flip::Middle), CORRUPT, WORKSPACE_FOREIGN),
    row(Thing::Workspace, Action::Flip(Flip::Last), CORRUPT, WORKSPACE_FOREIGN),
    row(Thing::Workspace, Action::FromOther, CORRUPT, WORKSPACE_FOREIGN),
    // The organisation's genesis.
    row(Thing::Organisation, Action::Delete, CORRUPT, &[(Area::Organisation, Kind::Missing)]),
    row(Thing::Organisation, Action::Truncate(Cut::Empty), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::Truncate(Cut::Half), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::Truncate(Cut::Short), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::Flip(Flip::First), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::Flip(Flip::Middle), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::Flip(Flip::Last), CORRUPT, ORGANISATION),
    row(Thing::Organisation, Action::FromOther, CORRUPT, ORGANISATION),
    // The record behind it. That it is gone is told by what is pinned to it.
    row(Thing::Epoch, Action::Delete, CORRUPT, &[(Area::Checkpoint, Kind::Missing)]),
    row(Thing::Epoch, Action::Truncate(Cut::Empty), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::Truncate(Cut::Half), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::Truncate(Cut::Short), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::Flip(Flip::First), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::Flip(Flip::Middle), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::Flip(Flip::Last), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::SwapWith(Thing::Organisation), CORRUPT, ORGANISATION),
    row(Thing::Epoch, Action::FromOther, CORRUPT, ORGANISATION),
    // The device file. A change of what is sealed, or of what the seal is bound to, looks like a wrong passphrase.
    row(Thing::Device, Action::Delete, CORRUPT, &[(Area::Device, Kind::Missing)]),
    row(Thing::Device, Action::Truncate(Cut::Empty), CORRUPT, &[(Area::Device, Kind::Changed)]),
    row(Thing::Device, Action::Truncate(Cut::Half), LOCKED_OR_CUT, &[]),
    row(Thing::Device, Action::Truncate(Cut::Short), LOCKED, &[]),
    row(Thing::Device, Action::Flip(Flip::First), CORRUPT, &[(Area::Device, Kind::Changed)]),
    row(Thing::Device, Action::Flip(Flip::Middle), LOCKED, &[]),
    row(Thing::Device, Action::Flip(Flip::Last), LOCKED, &[]),
    // Another device's file opens with its own passphrase, and this organisation is not its own.
    row(Thing::Device, Action::FromOther, CORRUPT, &[(Area::Device, Kind::Foreign)]),
    // The checkpoint: an older one never stands in for it.
    row(Thing::Checkpoint, Action::Delete, CORRUPT, &[(Area::Checkpoint, Kind::Missing)]),
    row(Thing::Checkpoint, Action::Truncate(Cut::Empty), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Truncate(Cut::Half), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Truncate(Cut::Short), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Flip(Flip::First), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Flip(Flip::Middle), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Flip(Flip::Last), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::SwapWith(Thing::FirstCommit), CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::FromOther, CORRUPT, CHECKPOINT),
    row(Thing::Checkpoint, Action::Older, CORRUPT, CHECKPOINT),
    // Commits.
    row(Thing::FirstCommit, Action::Delete, CORRUPT, &[(Area::Log, Kind::Missing)]),
    row(Thing::FirstCommit, Action::Truncate(Cut::Empty), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::Truncate(Cut::Half), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::Flip(Flip::First), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::Flip(Flip::Middle), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::Flip(Flip::Last), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::SwapWith(Thing::MiddleCommit), CORRUPT, LOG),
    row(Thing::FirstCommit, Action::FromOther, CORRUPT, LOG),
    row(Thing::MiddleCommit, Action::Delete, CORRUPT, &[(Area::Log, Kind::Missing)]),
    row(Thing::MiddleCommit, Action::Truncate(Cut::Short), CORRUPT, LOG),
    row(Thing::MiddleCommit, Action::Flip(Flip::Middle), CORRUPT, LOG),
    row(Thing::MiddleCommit, Action::SwapWith(Thing::LastCommit), CORRUPT, LOG),
    row(Thing::LastCommit, Action::Delete, CORRUPT, &[(Area::Head, Kind::Old)]),
    row(Thing::LastCommit, Action::Truncate(Cut::Short), CORRUPT, LOG),
    row(Thing::LastCommit, Action::Flip(Flip::Middle), CORRUPT, LOG),
    row(Thing::LastCommit, Action::Flip(Flip::Last), CORRUPT, LOG),
    row(Thing::LastCommit, Action::Older, CORRUPT, LOG),
    // Pages. Which files a leaf hides differs, and the rest is there. A page that was written anew since is nobody's.
    row(Thing::Pages, Action::Delete, PART, &[(Area::Object, Kind::Missing)]),
    row(Thing::Pages, Action::Truncate(Cut::Empty), PART, PAGES),
    row(Thing::Pages, Action::Truncate(Cut::Half), PART, PAGES),
    row(Thing::Pages, Action::Truncate(Cut::Short), Opens::All, OBJECT),
    row(Thing::Pages, Action::Flip(Flip::First), Opens::All, OBJECT),
    row(Thing::Pages, Action::Flip(Flip::Middle), PART, PAGES),
    row(Thing::Pages, Action::Flip(Flip::Last), Opens::All, OBJECT),
    row(Thing::Pages, Action::SwapWith(Thing::Data("/docs/large")), PART, PAGES),
    row(Thing::Pages, Action::FromOther, PART, PAGES),
    // Without the top page the commits behind the checkpoint have nothing to apply to.
    row(Thing::Root, Action::Delete, CORRUPT, &[(Area::Object, Kind::Missing)]),
    row(Thing::Root, Action::Truncate(Cut::Empty), CORRUPT, PAGES),
    row(Thing::Root, Action::Truncate(Cut::Short), CORRUPT, PAGES),
    row(Thing::Root, Action::Flip(Flip::Last), CORRUPT, PAGES),
    row(Thing::Root, Action::SwapWith(Thing::Pages), CORRUPT, PAGES),
    row(Thing::Root, Action::FromOther, CORRUPT, PAGES),
    // Data objects: the file is lost, nothing else.
    row(Thing::Data("/docs/large"), Action::Delete, LARGE, &[(Area::Object, Kind::Missing)]),
    row(Thing::Data("/docs/large"), Action::Truncate(Cut::Empty), LARGE, OBJECT),
    row(Thing::Data("/docs/large"), Action::Truncate(Cut::Half), LARGE, OBJECT),
    row(Thing::Data("/docs/large"), Action::Truncate(Cut::Short), LARGE, OBJECT),
    row(Thing::Data("/docs/large"), Action::Flip(Flip::First), LARGE, &[]),
    row(Thing::Data("/docs/large"), Action::Flip(Flip::Middle), LARGE, &[]),
    row(Thing::Data("/docs/large"), Action::Flip(Flip::Last), LARGE, &[]),
    row(Thing::Data("/docs/large"), Action::FromOther, LARGE, &[]),
    row(Thing::Data("/docs/small"), Action::Delete, SMALL, &[(Area::Object, Kind::Missing)]),
    row(Thing::Data("/docs/small"), Action::Flip(Flip::Last), SMALL, &[]),
    row(
        Thing::Data("/docs/small"),
        Action::SwapWith(Thing::Data("/docs/large")),
        files(&["/docs/large", "/docs/link", "/docs/small"]),
        OBJECT,
    ),
    row(Thing::Data("/docs/pieces"), Action::Delete, HOLES, &[(Area::Object, Kind::Missing)]),
    row(Thing::Data("/docs/pieces"), Action::Flip(Flip::Middle), HOLES, &[]),
    row(
        Thing::Data("/late/1"),
        Action::Flip(Flip::Middle),
        files(&["/late/1"]),
        &[(Area::Object, Kind::Changed)],
    ),
    // The journal. Its records were acknowledged as durable: losing them quietly is not an option.
    local(Action::Flip(Flip::First), Thing::Journal, CORRUPT, JOURNAL),
    local(Action::Flip(Flip::Middle), Thing::Journal, CORRUPT, JOURNAL),
    local(Action::Truncate(Cut::Half), Thing::Journal, CORRUPT, JOURNAL),
    // … but for the end of the newest file: what was never written there looks as it does after a loss of power.
    local(Action::Blank, Thing::Journal, Opens::AsAfterPowerLoss, &[]),
    local(Action::Truncate(Cut::Empty), Thing::Journal, CORRUPT, JOURNAL),
    local(Action::FromOther, Thing::Journal, CORRUPT, JOURNAL),
    // The staged object.
    local(Action::Delete, Thing::Staged, CORRUPT, STAGED),
    local(Action::Truncate(Cut::Empty), Thing::Staged, CORRUPT, STAGED),
    local(Action::Truncate(Cut::Short), Thing::Staged, CORRUPT, STAGED),
    local(Action::Flip(Flip::First), Thing::Staged, CORRUPT, STAGED),
    local(Action::Flip(Flip::Middle), Thing::Staged, CORRUPT, STAGED),
    local(Action::Flip(Flip::Last), Thing::Staged, CORRUPT, STAGED),
    local(Action::FromOther, Thing::Staged, CORRUPT, STAGED),
    // The remembered head only ever adds a refusal: without it, or with one that does not verify, the device knows
    // less, and check says so where it can.
    row(Thing::Head, Action::Delete, Opens::All, &[]),
    row(Thing::Head, Action::Truncate(Cut::Empty), Opens::All, &[]),
    row(Thing::Head, Action::Truncate(Cut::Half), Opens::All, HEAD),
    row(Thing::Head, Action::Flip(Flip::First), Opens::All, HEAD),
    row(Thing::Head, Action::Flip(Flip::Last), Opens::All, HEAD),
    row(Thing::Head, Action::Older, Opens::All, &[]),
    row(Thing::Head, Action::FromOther, CORRUPT, &[(Area::Head, Kind::Contradiction)]),
];

/// Half a device file is a clear part without a seal.
const LOCKED_OR_CUT: Opens = LOCKED;

const WORKSPACE_MISSING: &[(Area, Kind)] = &[(Area::Workspace, Kind::Missing)];
const WORKSPACE: &[(Area, Kind)] = &[(Area::Workspace, Kind::Changed)];
const WORKSPACE_FOREIGN: &[(Area, Kind)] = &[(Area::Workspace, Kind::Foreign)];
const ORGANISATION: &[(Area, Kind)] = &[(Area::Organisation, Kind::Changed)];
const CHECKPOINT: &[(Area, Kind)] = &[(Area::Checkpoint, Kind::Changed)];
const LOG: &[(Area, Kind)] = &[(Area::Log, Kind::Changed)];
const PAGES: &[(Area, Kind)] = &[(Area::Manifest, Kind::Changed), (Area::Object, Kind::Changed)];
const OBJECT: &[(Area, Kind)] = &[(Area::Object, Kind::Changed)];
const JOURNAL: &[(Area, Kind)] = &[(Area::Journal, Kind::Changed)];
const STAGED: &[(Area, Kind)] = &[(Area::Staged, Kind::Missing)];
const HEAD: &[(Area, Kind)] = &[(Area::Head, Kind::Changed)];
