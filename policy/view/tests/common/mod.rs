//! A shop with people in memory, a view of it, and what a kernel would do with one.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../steward/tests/common/mod.rs"]
pub mod world;
pub mod writing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_host::clock::Clock;
use strongroom_mount::{ErrorKind as MountErrorKind, Mount, MountOptions};
use strongroom_records::activity::Basis;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::Custodian;
use strongroom_view::{Consumer, View};
use strongroom_workspace::door::{
    Access, Answer, Attributes, Core, Folding, HandleId, Ino, Kind, ListDetail, OpenOptions,
};
use strongroom_workspace::error::{ErrorKind, Result};

use world::{World, answer, own, registered};

pub const POLL: Duration = Duration::from_millis(5);
pub const FOLLOW: &[u8] = b"user.strongroom.follow";

/// One writer at a time, as the lock of a folder has it.
#[derive(Clone, Default)]
pub struct Fence(Arc<AtomicBool>);

pub struct Held(Fence);

impl Fence {
    pub fn take(&self) -> Option<Held> {
        let free = self.0.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst);
        free.is_ok().then(|| Held(self.clone()))
    }

    /// What a view or a counter raises.
    pub fn shared(&self) -> strongroom_steward::Fence {
        let fence = self.clone();
        strongroom_steward::Fence::new(move || {
            let held = fence.take().map(|held| Box::new(held) as _);
            if held.is_none() {
                // Simulated time runs on while somebody waits; whoever writes needs real time.
                std::thread::sleep(Duration::from_millis(1));
            }
            held
        })
    }

    pub fn wait(&self) -> Held {
        loop {
            match self.take() {
                Some(held) => return held,
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::SeqCst);
    }
}

/// The application's side, in a process of its own as far as anybody can tell.
pub struct Shop {
    pub world: World,
    pub fence: Fence,
    custodian: Custodian,
}

impl Shop {
    /// A shop with an activity `newsletter` that asks for consent to two classes.
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed))
    }

    pub fn over(world: World) -> Self {
        let mut custodian = world.create("shop");
        registered(&mut custodian, "newsletter", Basis::Consent, &["identifiable", "owned"]);
        Self { world, fence: Fence::default(), custodian }
    }

    /// Does something with the register, with everything known that others recorded.
    pub fn act<T>(&mut self, act: impl FnOnce(&mut Custodian) -> T) -> T {
        let _held = self.fence.wait();
        self.custodian.follow().unwrap();
        self.custodian.catch_up().unwrap();
        act(&mut self.custodian)
    }

    pub fn person(&mut self) -> SubjectId {
        self.act(|shop| shop.create_subject(&[]).unwrap())
    }

    pub fn put(&mut self, subject: SubjectId, class: &str, name: &str, bytes: &[u8]) {
        self.act(|shop| shop.put_file(&own(subject, class), name, bytes).unwrap());
    }

    pub fn say(&mut self, subject: SubjectId, activity: &str, status: ConsentStatus) {
        self.act(|shop| shop.answer(&subject, &answer(activity, status)).unwrap());
    }

    /// Somebody who agreed, with a file of each class.
    pub fn reader(&mut self, name: &str) -> SubjectId {
        let subject = self.person();
        for class in ["identifiable", "owned"] {
            self.put(subject, class, "file", format!("{name} {class}").as_bytes());
        }
        self.say(subject, "newsletter", ConsentStatus::Given);
        subject
    }

    pub fn view(&self, activity: &str) -> View {
        self.view_by(activity, Arc::clone(&self.world.clock) as Arc<dyn Clock>)
    }

    pub fn view_by(&self, activity: &str, clock: Arc<dyn Clock>) -> View {
        self.start(Some(activity), clock)
    }

    /// What the application has of its own people.
    pub fn own_view(&self) -> View {
        self.start(None, Arc::clone(&self.world.clock) as Arc<dyn Clock>)
    }

    pub fn start(&self, activity: Option<&str>, clock: Arc<dyn Clock>) -> View {
        let consumer = Consumer {
            stewardship: self.world.stewardship(),
            custodian: self.world.open("shop"),
            activity: activity.map(str::to_owned),
            fence: self.fence.shared(),
            poll: POLL,
        };
        View::start(consumer, clock, (7, 7)).unwrap()
    }
}

pub fn now<T>(answer: Answer<T>) -> Result<T> {
    answer.wait()
}

/// The store fails once, after so many answers.
pub fn fail_at(shop: &Shop, count: usize) {
    let mut left = count;
    shop.world.store.fail_once(move |_| {
        let is_it = left == 0;
        left = left.saturating_sub(1);
        is_it
    });
}

/// Returns once everything recorded so far is in force in the view.
pub fn follow(view: &View) {
    now(view.xattr(Ino::ROOT, FOLLOW)).unwrap();
}

pub fn look(view: &View, path: &str) -> Result<Attributes> {
    let mut at = now(view.attributes(Ino::ROOT))?;
    for name in path.split('/') {
        at = now(view.lookup(at.ino, name.as_bytes(), Folding::Exact))?;
    }
    Ok(at)
}

pub fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

pub fn open(view: &View, path: &str) -> Result<HandleId> {
    open_known(view, look(view, path)?.ino)
}

/// Opens what was looked up before.
pub fn open_known(view: &View, ino: Ino) -> Result<HandleId> {
    let options = OpenOptions {
        access: Access::Read,
        truncate: false,
        synchronous: false,
        drop_set_id: false,
    };
    now(view.open(ino, options)).map(|opened| opened.handle)
}

pub fn read(view: &View, handle: HandleId) -> Result<Vec<u8>> {
    now(view.read(handle, 0, 1 << 20)).map(|bytes| bytes.to_vec())
}

pub fn content(view: &View, path: &str) -> Result<Vec<u8>> {
    let handle = open(view, path)?;
    let bytes = read(view, handle);
    view.release(handle);
    bytes
}

/// Names in a folder, in pages of a few, without `.` and `..`.
pub fn list(view: &View, folder: Ino) -> Result<Vec<(String, Ino, Kind)>> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let page = now(view.read_folder(folder, cookie, 3, ListDetail::Names))?;
        let Some(last) = page.last() else { return Ok(names) };
        cookie = last.cookie;
        for entry in page.into_iter().filter(|entry| entry.cookie > 2) {
            names.push((String::from_utf8(entry.name).unwrap(), entry.ino, entry.kind));
        }
    }
}

/// Every file by its path, with its bytes.
pub fn crawl(view: &View) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![String::from("subjects")];
    while let Some(folder) = folders.pop() {
        let ino = look(view, &folder).unwrap().ino;
        for (name, _, kind) in list(view, ino).unwrap() {
            let path = format!("{folder}/{name}");
            match kind {
                Kind::Folder => folders.push(path),
                _ => {
                    let bytes = content(view, &path).unwrap();
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

/// The one person there is to see.
pub fn only(view: &View) -> String {
    only_of(view, 1)
}

/// The first of so many.
pub fn only_of(view: &View, count: usize) -> String {
    let subjects = look(view, "subjects").unwrap().ino;
    let names = list(view, subjects).unwrap();
    assert_eq!(names.len(), count);
    format!("subjects/{}", names[0].0)
}

/// Mounted; none where the machine cannot.
pub fn mounted(view: View, folder: &Path, options: MountOptions) -> Option<Mount> {
    let options = MountOptions { negative_lifetime: Duration::ZERO, ..options };
    match Mount::start(Arc::new(view), folder, options) {
        Ok(mount) => Some(mount),
        Err(error)
            if matches!(error.kind(), MountErrorKind::FuseMissing | MountErrorKind::Denied) =>
        {
            assert!(std::env::var_os("STRONGROOM_TEST_MOUNT_REQUIRED").is_none(), "{error}");
            eprintln!("\n*** SKIPPED: this system cannot mount: {error} ***\n");
            None
        }
        Err(error) => panic!("cannot mount: {error}"),
    }
}
