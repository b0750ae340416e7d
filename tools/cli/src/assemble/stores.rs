//! From a place to a store: opened, or made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::MachineClock;
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::thread;
use strongroom_remote::mirror::{Away, Member, MirrorStore};
use strongroom_remote::{Access, Address, CachedStore, Limits, Machine, RemoteStore};
use strongroom_store::{ErrorKind, Family, FolderStore, Mode, Store, wait};

use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;
use crate::ui;

/// LIMIT: how long a member that is a folder may take to open.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// How many devices may write to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Any number: the store arbitrates.
    Many,
    /// One, for this reason.
    One(&'static str),
}

/// Opens a store that has a workspace in it.
pub(super) fn open(place: &Place, mode: Mode) -> Result<Arc<dyn Store>> {
    match place {
        Place::Folder(root) => open_folder(place, root, mode),
        Place::Remote(address) => open_remote(place, address, mode),
        Place::Mirror(members) => open_mirror(members, mode),
    }
}

/// A member that cannot be opened is away; one at least must be there.
fn open_mirror(members: &[Place], mode: Mode) -> Result<Arc<dyn Store>> {
    let opened: Vec<_> = members.iter().map(|place| (place, open_member(place, mode))).collect();
    if opened.iter().all(|(_, store)| store.is_err()) {
        let mut failures = opened.into_iter().filter_map(|(_, store)| store.err());
        return Err(failures.next().expect("a mirror has members"));
    }
    if mode == Mode::ReadWrite && needs_both(members) {
        let away = opened.iter().find_map(|(_, store)| store.as_ref().err());
        let there = opened.iter().find(|(_, store)| store.is_ok());
        if let (Some(away), Some((there, _))) = (away, there) {
            return Err(one_of_two_away(members, there, away));
        }
    }
    let seats = opened.into_iter().map(|(place, store)| {
        let store = store.unwrap_or_else(|failure| {
            ui::tell(&format!("a member of the mirror is away: {}", failure.message));
            Arc::new(Away)
        });
        Member { name: place.shown(), store }
    });
    mirror(seats.collect())
}

/// Opening a folder of a server that is gone never returns; who is over a network says so.
fn open_member(place: &Place, mode: Mode) -> Result<Arc<dyn Store>> {
    let Place::Folder(_) = place else { return open(place, mode) };
    let wanted = place.clone();
    thread::within("open a member", OPEN_LIMIT, move || open(&wanted, mode)).unwrap_or_else(|| {
        let text = format!("`{}` does not answer", place.shown());
        Err(Failure::new(Exit::Unreachable, text))
    })
}

/// Whether nothing can be committed while a member is away: what one of two lacks the other may have.
fn needs_both(members: &[Place]) -> bool {
    members.len() == 2
}

fn one_of_two_away(members: &[Place], there: &Place, away: &Failure) -> Failure {
    let (mirror, there) = (Place::Mirror(members.to_vec()).shown(), there.shown());
    let text = format!("of a mirror of two both must answer, and one is away: {}", away.message);
    Failure::new(Exit::Unreachable, text).hint(format!(
        "use `{there}` alone, and run `strongroom scrub {mirror}` when both are there"
    ))
}

fn mirror(members: Vec<Member>) -> Result<Arc<dyn Store>> {
    let mirror = MirrorStore::new(members, &machine());
    let mirror = mirror.map_err(|error| Failure::store("opening the mirror", &error))?;
    Ok(Arc::new(mirror))
}

/// All members of a mirror, for making them the same. A fresh place is made ready.
pub(super) fn members(place: &Place) -> Result<Vec<Member>> {
    let Place::Mirror(members) = place else {
        return Err(Failure::new(Exit::Failed, format!("`{}` is no mirror", place.shown()))
            .hint("`strongroom check` verifies a single store"));
    };
    let mut seats = Vec::with_capacity(members.len());
    for place in members {
        let store = match place {
            Place::Folder(root) => match open_folder(place, root, Mode::ReadWrite) {
                Ok(store) => store,
                Err(failure) => create_folder(place, root).map_err(|_| failure)?,
            },
            Place::Remote(address) => Arc::new(connect(place, address, Access::ReadWrite)?),
            Place::Mirror(_) => unreachable!("a mirror is no member of a mirror"),
        };
        seats.push(Member { name: place.shown(), store });
    }
    Ok(seats)
}

/// Makes sure that a place is free.
pub(super) fn require_fresh(place: &Place) -> Result<()> {
    match place {
        Place::Folder(root) => match open_folder(place, root, Mode::ReadOnly) {
            Ok(_) => Err(holds_one(place)),
            // Making it says what is wrong with it.
            Err(_) => Ok(()),
        },
        Place::Remote(address) => {
            let store = connect(place, address, Access::ReadOnly)?;
            match has_workspace(place, address, &store)? {
                true => Err(holds_one(place)),
                false => require_empty(place, address, &store),
            }
        }
        Place::Mirror(members) => members.iter().try_for_each(require_fresh),
    }
}

/// Makes an empty store.
pub(super) fn create(place: &Place) -> Result<(Arc<dyn Store>, Writers)> {
    match place {
        Place::Folder(root) => Ok((create_folder(place, root)?, Writers::Many)),
        Place::Remote(address) => {
            let store = connect(place, address, Access::ReadWrite)?;
            let writers = race(place, address, &store)?;
            Ok((Arc::new(store), writers))
        }
        Place::Mirror(members) => {
            let mut seats = Vec::with_capacity(members.len());
            for place in members {
                let (store, _) = create(place)?;
                seats.push(Member { name: place.shown(), store });
            }
            if needs_both(members) {
                ui::tell(
                    "of a mirror of two both must answer: nothing is committed while one is away",
                );
            }
            Ok((mirror(seats)?, MIRROR_WRITERS))
        }
    }
}

/// How many homes may write to a store that is there: where that is not known, by a race.
pub(super) fn writers(place: &Place) -> Result<Writers> {
    match place {
        Place::Folder(_) => Ok(Writers::Many),
        Place::Remote(address) => {
            race(place, address, &connect(place, address, Access::ReadWrite)?)
        }
        Place::Mirror(_) => Ok(MIRROR_WRITERS),
    }
}

/// The members of a mirror are asked one by one.
const MIRROR_WRITERS: Writers = Writers::One("the members of a mirror do not arbitrate together");

fn race(place: &Place, address: &Address, store: &RemoteStore) -> Result<Writers> {
    let writers = strongroom_remote::probe(store, &MachineEntropy)
        .map_err(|error| remote(format!("trying `{}`", place.shown()), address, &error))?;
    Ok(writers.why().map_or(Writers::Many, Writers::One))
}

/// LIMIT: bytes of sealed copies on this device, for each workspace.
const COPY_BYTES_MAX: u64 = 10 << 30;
/// LIMIT: bytes of what is pinned on this device, for each workspace, beside these.
const PINNED_BYTES_MAX: u64 = 50 << 30;
/// Bytes that copies leave free on the disk.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// What is far away is kept near. Where copies cannot be kept, because another mount keeps them or the disk refuses,
/// it goes without.
pub(super) fn keep_copies(
    home: &Home,
    place: &Place,
    store: Arc<dyn Store>,
    workspace: &str,
) -> Arc<dyn Store> {
    if !place.is_remote() {
        return store;
    }
    let folder = home.directories().cache.join(workspace);
    let limits = Limits {
        bytes_max: COPY_BYTES_MAX,
        held_bytes_max: PINNED_BYTES_MAX,
        free_bytes_min: FREE_BYTES_MIN,
    };
    match CachedStore::open(store.clone(), Arc::new(RealDisk), folder, limits) {
        Ok(cached) => Arc::new(cached),
        Err(_) => store,
    }
}

fn holds_one(place: &Place) -> Failure {
    let shown = place.shown();
    Failure::new(Exit::Failed, format!("`{shown}` holds a workspace already"))
        .hint(format!("mount it with `strongroom mount {shown} MOUNTPOINT`"))
}

fn open_folder(place: &Place, root: &Path, mode: Mode) -> Result<Arc<dyn Store>> {
    let shown = place.shown();
    let opened = FolderStore::open(Arc::new(RealDisk), root.to_path_buf(), mode);
    opened.map(|store| Arc::new(store) as Arc<dyn Store>).map_err(|error| match error.kind() {
        ErrorKind::NotFound if !root.exists() => {
            Failure::new(Exit::Failed, format!("there is no store at `{shown}`"))
                .hint(format!("`strongroom init {shown}` makes one"))
        }
        ErrorKind::NotFound => {
            Failure::new(Exit::Failed, format!("`{shown}` is not a strongroom store"))
                .hint(format!("`strongroom init {shown}` makes one in an empty folder"))
        }
        ErrorKind::Invalid => Failure::new(Exit::Failed, format!("`{shown}` is not a folder"))
            .hint("give the folder that `strongroom init` made"),
        ErrorKind::ReadOnly => {
            Failure::new(Exit::Failed, format!("the store `{shown}` is read-only"))
                .hint("mount it with `-o ro`, which needs no writing")
        }
        _ => Failure::store(format!("opening `{shown}`"), &error),
    })
}

fn create_folder(place: &Place, root: &Path) -> Result<Arc<dyn Store>> {
    let shown = place.shown();
    let made = FolderStore::create(Arc::new(RealDisk), root.to_path_buf());
    made.map(|store| Arc::new(store) as Arc<dyn Store>).map_err(|error| match error.kind() {
        ErrorKind::Exists => Failure::new(Exit::Failed, format!("`{shown}` is not empty"))
            .hint("give a new or empty folder"),
        ErrorKind::Invalid => Failure::new(Exit::Failed, format!("`{shown}` is not a folder"))
            .hint("give a new or empty folder"),
        _ => Failure::store(format!("making `{shown}`"), &error),
    })
}

fn open_remote(place: &Place, address: &Address, mode: Mode) -> Result<Arc<dyn Store>> {
    let store = connect(place, address, access(mode))?;
    if !has_workspace(place, address, &store)? {
        let shown = place.shown();
        return Err(Failure::new(Exit::Failed, format!("there is no store at `{shown}`"))
            .hint(format!("`strongroom init {shown}` makes one")));
    }
    Ok(Arc::new(store))
}

/// A store that may be away, without a question; none where it cannot be opened so.
pub(super) fn open_later(place: &Place, mode: Mode) -> Option<Arc<dyn Store>> {
    let Place::Remote(address) = place else { return None };
    let store = strongroom_remote::open_later(address, &machine(), access(mode));
    store.ok().map(|store| Arc::new(store) as Arc<dyn Store>)
}

fn access(mode: Mode) -> Access {
    match mode {
        Mode::ReadWrite => Access::ReadWrite,
        Mode::ReadOnly => Access::ReadOnly,
    }
}

fn connect(place: &Place, address: &Address, access: Access) -> Result<RemoteStore> {
    strongroom_remote::open(address, &machine(), access)
        .map_err(|error| remote(format!("opening `{}`", place.shown()), address, &error))
}

fn machine() -> Machine {
    Machine {
        disk: Arc::new(RealDisk),
        clock: Arc::new(MachineClock::new()),
        entropy: Arc::new(MachineEntropy),
    }
}

fn has_workspace(place: &Place, address: &Address, store: &RemoteStore) -> Result<bool> {
    store
        .has_workspace()
        .map_err(|error| remote(format!("opening `{}`", place.shown()), address, &error))
}

/// What an interrupted `init` left is not built upon: two device files would open two workspaces.
fn require_empty(place: &Place, address: &Address, store: &RemoteStore) -> Result<()> {
    let shown = place.shown();
    for family in Family::ALL {
        let listed = wait(store.list(family, None));
        let listed =
            listed.map_err(|error| remote(format!("opening `{shown}`"), address, &error))?;
        if !listed.is_empty() {
            return Err(Failure::new(Exit::Failed, format!("`{shown}` is not empty"))
                .hint("give a new prefix, or remove what an interrupted `init` left there"));
        }
    }
    Ok(())
}

/// A failure of a store over a network, with advice that fits one.
fn remote(doing: String, address: &Address, error: &strongroom_store::Error) -> Failure {
    let failure = Failure::store(doing, error);
    let (denied, missing) = match address {
        Address::S3(_) => (
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`, to one that may read and write there",
            "make the bucket first, and see that `AWS_REGION` and `AWS_ENDPOINT_URL` are right",
        ),
        Address::Swift(_) => (
            "set `OS_AUTH_URL` and what belongs to it, or `ST_AUTH`, `ST_USER` and `ST_KEY`",
            "make the container first, and see that the project and `OS_REGION_NAME` are right",
        ),
    };
    match error.kind() {
        ErrorKind::Denied => Failure { exit: Exit::Denied, ..failure }.hint(denied),
        ErrorKind::Invalid => failure.hint(missing),
        _ => failure,
    }
}
