//! Files about several people in a view: under each of them, exactly while all of them may be seen.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::world::{own, proposal};
use common::{Shop, content, crawl, fail_at, follow, kind, list, look, now, open, read};
use strongroom_authorizer::Action;
use strongroom_host::sim::Chance;
use strongroom_records::activity::{Basis, Reach};
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::{Kind as Told, Outcome};
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};
use strongroom_steward::{Depth, Proposal};
use strongroom_view::View;
use strongroom_workspace::door::{
    Access, Caller, Change, Core, Folding, HandleId, Ino, OpenOptions, RenameMode, SetAttributes,
};
use strongroom_workspace::error::{ErrorKind, Result};

const TEXT: &[u8] = b"ada sells bob 17 roses";
const ME: Caller = Caller { uid: 7, gid: 7 };
const TO_WRITE: OpenOptions =
    OpenOptions { access: Access::Write, truncate: false, synchronous: false, drop_set_id: false };

/// What takes somebody away.
type Take = fn(&mut Shop, SubjectId);

/// A file of the owned data of several people.
fn put_joint(shop: &mut Shop, people: &[SubjectId], name: &str, bytes: &[u8]) {
    let others: Vec<String> = people[1..].iter().map(ToString::to_string).collect();
    shop.act(|shop| {
        shop.put_file_about(&own(people[0], "owned"), &others, name, bytes).unwrap();
    });
}

/// Ada and bob, who agreed and have a contract.
fn two(seed: u64) -> (Shop, [SubjectId; 2]) {
    let mut shop = Shop::new(seed);
    let people = [shop.reader("ada"), shop.reader("bob")];
    put_joint(&mut shop, &people, "contract", TEXT);
    (shop, people)
}

/// New keys of somebody, and everything sealed anew.
fn renew(shop: &mut Shop, subject: &SubjectId) {
    shop.act(|shop| {
        shop.rotate_subject(subject, Depth::Deep, None, &mut |_| {}).map(drop).unwrap();
    });
}

/// What an activity calls somebody.
fn folder(shop: &mut Shop, subject: &SubjectId) -> String {
    let name = shop.act(|shop| shop.name_for(subject, "newsletter").unwrap());
    format!("subjects/{name}/owned")
}

/// Names in a folder.
fn names(view: &View, folder: &str) -> Vec<String> {
    let files = list(view, look(view, folder).unwrap().ino).unwrap();
    let mut names: Vec<String> = files.into_iter().map(|(name, _, _)| name).collect();
    names.sort();
    names
}

/// Files of owned data that a subject's own report says were used so by an activity.
fn used(shop: &mut Shop, subject: &SubjectId, action: Action) -> Vec<Vec<FileId>> {
    let report = shop.act(|shop| shop.report(subject).unwrap());
    let mut all = Vec::new();
    for line in report.lines.into_iter().filter(|line| line.entry.kind == Told::Access) {
        let judgement = line.entry.judgement.unwrap();
        let is_allowed = judgement.outcome == Outcome::Allow;
        let is_owned = line.entry.class == Some(ClassId::OWNED);
        if judgement.action == action.number() && is_allowed && is_owned && line.activity.is_some()
        {
            all.push(line.detail.map(|detail| detail.files).unwrap_or_default());
        }
    }
    all
}

/// What happened to people, in the plainest form.
#[derive(Default)]
struct Model {
    agreed: BTreeSet<usize>,
    restricted: BTreeSet<usize>,
    erased: BTreeSet<usize>,
    files: BTreeMap<String, (BTreeSet<usize>, Vec<u8>)>,
}

impl Model {
    /// How often each content is to be seen: once under each whom it is about, or not at all.
    fn shown(&self, may: impl Fn(usize) -> bool) -> Vec<(String, Vec<u8>)> {
        let mut shown = Vec::new();
        for (name, (people, bytes)) in &self.files {
            if people.iter().all(|person| may(*person)) {
                shown.extend(people.iter().map(|_| (name.clone(), bytes.clone())));
            }
        }
        shown
    }

    fn has(&self, person: usize) -> bool {
        !self.erased.contains(&person) && !self.restricted.contains(&person)
    }
}

/// Names and contents of all files about several people that are in a view.
fn seen(view: &View) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (path, bytes) in crawl(view) {
        let name = path.rsplit('/').next().unwrap();
        if name != "file" {
            all.push((name.to_owned(), bytes));
        }
    }
    all.sort();
    all
}

fn step(shop: &mut Shop, model: &mut Model, people: &[SubjectId], chance: &mut Chance) {
    let person = chance.index(people.len());
    let subject = people[person];
    match chance.below(12) {
        0 if model.erased.is_empty() && chance.one_in(2) => {
            shop.act(|shop| shop.erase(&subject).map(drop).unwrap());
            model.erased.insert(person);
            model.files.retain(|_, (people, _)| !people.contains(&person));
        }
        1 if !model.erased.contains(&person) => {
            let restrict = model.restricted.insert(person) || !model.restricted.remove(&person);
            shop.act(|shop| shop.restrict(&subject, restrict).unwrap());
        }
        2 if model.has(person) => {
            renew(shop, &subject);
        }
        3..6 if !model.erased.contains(&person) => {
            let count = 2 + chance.index(2);
            let mut about: BTreeSet<usize> = BTreeSet::from([person]);
            while about.len() < count {
                about.insert(chance.index(people.len()));
            }
            if about.iter().all(|person| model.has(*person)) {
                let name = format!("of {about:?}");
                let bytes = format!("{name} {}", chance.next_u64()).into_bytes();
                let who: Vec<SubjectId> = about.iter().map(|person| people[*person]).collect();
                put_joint(shop, &who, &name, &bytes);
                model.files.insert(name, (about, bytes));
            }
        }
        _ if !model.erased.contains(&person) => {
            let status = if chance.below(4) > 0 { Given } else { Withdrawn };
            shop.say(subject, "newsletter", status);
            match status {
                Given => model.agreed.insert(person),
                _ => model.agreed.remove(&person),
            };
        }
        _ => {}
    }
}

#[test]
fn a_file_about_several_people_is_in_a_view_exactly_while_all_of_them_may_be_seen() {
    for seed in 1..=3 {
        let mut shop = Shop::new(seed);
        let people: Vec<SubjectId> = (0..4).map(|_| shop.person()).collect();
        let mut model = Model::default();
        for (person, subject) in people.iter().enumerate() {
            shop.say(*subject, "newsletter", Given);
            model.agreed.insert(person);
        }
        let (job, all) = (shop.view("newsletter"), shop.own_view());
        let mut chance = Chance::new(seed);
        let mut count = 0;
        for round in 0..25 {
            for _ in 0..2 {
                step(&mut shop, &mut model, &people, &mut chance);
            }
            follow(&job);
            follow(&all);
            let agreed = model.shown(|person| model.has(person) && model.agreed.contains(&person));
            count += agreed.len();
            assert_eq!(seen(&job), agreed, "seed {seed}, round {round}");
            let expected = model.shown(|person| model.has(person));
            assert_eq!(seen(&all), expected, "seed {seed}, round {round}");
        }
        assert!(count > 5, "seed {seed}: {count}");
        assert!(shop.act(|shop| shop.verify().unwrap().findings.is_empty()));
    }
}

#[test]
fn what_is_shown_and_opened_of_several_people_is_on_record_with_each_of_them() {
    let (mut shop, [ada, bob]) = two(5);
    let path = format!("{}/contract", folder(&mut shop, &ada));
    let view = shop.view("newsletter");
    assert!(look(&view, &path).is_ok());
    for person in [ada, bob] {
        assert_eq!(used(&mut shop, &person, Action::List).len(), 1);
        assert_eq!(used(&mut shop, &person, Action::Open), Vec::<Vec<FileId>>::new());
    }
    assert_eq!(content(&view, &path).unwrap(), TEXT);
    let with_ada = used(&mut shop, &ada, Action::Open);
    assert_eq!(with_ada[0].len(), 1);
    assert_eq!(with_ada, used(&mut shop, &bob, Action::Open));
    // Under the same leases nothing more is asked, through whomever it is read.
    let other = format!("{}/contract", folder(&mut shop, &bob));
    assert_eq!(content(&view, &other).unwrap(), TEXT);
    assert_eq!(used(&mut shop, &bob, Action::Open).len(), 1);
    // Without a record nothing is read.
    shop.world.clock.advance(Duration::from_secs(400));
    shop.world.store.die_after(Some(0));
    assert!(content(&view, &path).is_err());
    shop.world.store.die_after(None);
}

#[test]
fn what_one_of_several_withdraws_is_gone_from_handles_that_are_open_and_stays_gone() {
    let takers: [(&str, Take); 3] = [
        ("withdrawn", |shop, bob| shop.say(bob, "newsletter", Withdrawn)),
        ("restricted", |shop, bob| shop.act(|shop| shop.restrict(&bob, true).unwrap())),
        ("erased", |shop, bob| shop.act(|shop| shop.erase(&bob).map(drop).unwrap())),
    ];
    for (name, take) in takers {
        let (mut shop, [ada, bob]) = two(6);
        let folder = folder(&mut shop, &ada);
        let (joint, alone) = (format!("{folder}/contract"), format!("{folder}/file"));
        let view = shop.view("newsletter");
        let handles = [&joint, &alone].map(|path| open(&view, path).unwrap());
        assert_eq!(read(&view, handles[0]).unwrap(), TEXT);
        let ino = look(&view, &joint).unwrap().ino;
        take(&mut shop, bob);
        follow(&view);
        assert_eq!(kind(read(&view, handles[0])), ErrorKind::Denied, "{name}");
        assert_eq!(kind(look(&view, &joint)), ErrorKind::NotFound, "{name}");
        assert_eq!(kind(now(view.attributes(ino))), ErrorKind::NotFound, "{name}");
        assert_eq!(names(&view, &folder), ["file"], "{name}");
        assert_eq!(read(&view, handles[1]).unwrap(), b"ada owned", "{name}");
        if name == "withdrawn" {
            shop.say(bob, "newsletter", Given);
            follow(&view);
            assert_eq!(content(&view, &joint).unwrap(), TEXT);
            assert_eq!(kind(read(&view, handles[0])), ErrorKind::Denied, "it is never revived");
            assert_ne!(look(&view, &joint).unwrap().ino, ino);
        }
    }
}

#[test]
fn the_kernel_drops_what_is_about_somebody_who_withdraws_wherever_it_is() {
    let (mut shop, [ada, bob]) = two(7);
    let folder = folder(&mut shop, &ada);
    let view = shop.view("newsletter");
    let changes = view.changes().unwrap();
    let [class, joint, alone] =
        ["", "/contract", "/file"].map(|name| look(&view, &format!("{folder}{name}")).unwrap().ino);
    content(&view, &format!("{folder}/contract")).unwrap();
    let name = Change::Name { folder: class, name: b"contract".to_vec() };
    let content_of = |ino: Ino| Change::Inode { ino, content: true };
    let mut told = |status, until: &Change| {
        let mut told = Vec::new();
        changes.try_iter().for_each(drop);
        shop.say(bob, "newsletter", status);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !told.contains(until) {
            assert!(std::time::Instant::now() < deadline, "{told:?}");
            told.extend(changes.try_iter());
            std::thread::yield_now();
        }
        told
    };
    let gone = told(Withdrawn, &name);
    let at = |change: &Change| gone.iter().position(|told| told == change);
    assert!(at(&content_of(joint)).unwrap() < at(&name).unwrap());
    assert!(gone.contains(&content_of(class)), "the list of them");
    assert!(!gone.contains(&content_of(alone)));
    // Nor does it know for long that there is none.
    assert_eq!(kind(look(&view, &format!("{folder}/contract"))), ErrorKind::NotFound);
    told(Given, &content_of(class));
    assert!(look(&view, &format!("{folder}/contract")).is_ok());
}

/// What the kernel has been told until everything recorded is in force, without the marks.
fn told(view: &View, changes: &Receiver<Change>) -> Vec<Change> {
    let is_followed = AtomicBool::new(false);
    let mut told = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            follow(view);
            is_followed.store(true, Ordering::SeqCst);
        });
        while !is_followed.load(Ordering::SeqCst) {
            // A mark passes as it is dropped here.
            told.extend(changes.try_iter().filter(|change| !matches!(change, Change::Mark(_))));
            std::thread::yield_now();
        }
    });
    told
}

#[test]
fn the_kernel_is_told_once_of_each_name_of_files_about_several_people() {
    let mut shop = Shop::new(16);
    let people: Vec<SubjectId> = (0..5).map(|of| shop.reader(&of.to_string())).collect();
    for (first, one) in people.iter().enumerate() {
        for (second, other) in people.iter().enumerate().skip(first + 1) {
            put_joint(&mut shop, &[*one, *other], &format!("{first}{second}"), TEXT);
        }
    }
    let folders: Vec<String> = people.iter().map(|of| folder(&mut shop, of)).collect();
    let view = shop.view("newsletter");
    let changes = view.changes().unwrap();
    let look_at_all = || {
        for folder in &folders {
            let names = names(&view, folder);
            assert_eq!(names.len(), 5);
            for name in names {
                look(&view, &format!("{folder}/{name}")).unwrap();
            }
        }
    };
    look_at_all();
    told(&view, &changes);
    shop.world.clock.advance(Duration::from_secs(301));
    let lapsed = told(&view, &changes);
    let once: BTreeSet<String> = lapsed.iter().map(|change| format!("{change:?}")).collect();
    assert_eq!(lapsed.len(), once.len(), "{lapsed:?}");
    let names_of = |told: &[Change]| {
        told.iter().filter(|change| matches!(change, Change::Name { .. })).count()
    };
    // Each person, and five files of each.
    assert_eq!(names_of(&lapsed), 5 + 25, "{lapsed:?}");
    look_at_all();
    told(&view, &changes);
    shop.say(people[4], "newsletter", Withdrawn);
    let withdrawn = told(&view, &changes);
    // The person and both classes; five files there, one with each of the others, and nothing of these.
    assert_eq!(names_of(&withdrawn), 3 + 5 + 4, "{withdrawn:?}");
    assert_eq!(withdrawn.len(), 3 + 5 + 4 + (1 + 5 + 4) + 4, "{withdrawn:?}");
    shop.say(people[4], "newsletter", Given);
    // As is what may have come to folders of others, as a whole.
    assert!(names_of(&told(&view, &changes)) <= 3);
}

#[test]
fn a_file_about_several_people_is_read_no_longer_than_the_shortest_of_their_leases() {
    let (mut shop, [ada, bob]) = two(8);
    let paths = [ada, bob].map(|person| folder(&mut shop, &person));
    let view = shop.view("newsletter");
    let changes = view.changes().unwrap();
    // Bob's lease is the older one.
    content(&view, &format!("{}/file", paths[1])).unwrap();
    shop.world.clock.advance(Duration::from_secs(100));
    let handle = open(&view, &format!("{}/contract", paths[0])).unwrap();
    assert_eq!(read(&view, handle).unwrap(), TEXT);
    let ino = look(&view, &format!("{}/contract", paths[0])).unwrap().ino;
    changes.try_iter().for_each(drop);
    shop.world.store.die_after(Some(0));
    shop.world.clock.advance(Duration::from_secs(205));
    assert!(read(&view, handle).is_err(), "bob's is over");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut told = Vec::new();
    while !told.contains(&Change::Inode { ino, content: true }) {
        assert!(std::time::Instant::now() < deadline, "{told:?}");
        told.extend(changes.try_iter());
        std::thread::yield_now();
    }
    drop(told);
    shop.world.store.die_after(None);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while read(&view, handle).is_err() {
        changes.try_iter().for_each(drop);
        assert!(std::time::Instant::now() < deadline, "nothing was withdrawn");
        std::thread::yield_now();
    }
}

#[test]
fn leases_of_all_whom_an_open_file_is_about_are_renewed_while_it_is_open() {
    let (mut shop, [ada, bob]) = two(9);
    let path = format!("{}/contract", folder(&mut shop, &ada));
    let view = shop.view("newsletter");
    let handle = open(&view, &path).unwrap();
    assert_eq!(read(&view, handle).unwrap(), TEXT);
    let count = |shop: &mut Shop| [ada, bob].map(|of| used(shop, &of, Action::Open).len());
    assert_eq!(count(&mut shop), [1, 1]);
    shop.world.clock.advance(Duration::from_secs(151));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while count(&mut shop).iter().any(|count| *count < 2) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(read(&view, handle).unwrap(), TEXT);
    // New keys of one are new shares for all, and disturb nobody who reads.
    renew(&mut shop, &bob);
    follow(&view);
    assert_eq!(read(&view, handle).unwrap(), TEXT);
}

#[test]
fn what_one_of_several_withdrew_renews_nobody_elses_lease_though_it_is_still_open() {
    let (mut shop, [ada, bob]) = two(15);
    let path = format!("{}/contract", folder(&mut shop, &ada));
    let view = shop.view("newsletter");
    let handle = open(&view, &path).unwrap();
    assert_eq!(read(&view, handle).unwrap(), TEXT);
    shop.say(bob, "newsletter", Withdrawn);
    follow(&view);
    for _ in 0..3 {
        shop.world.clock.advance(Duration::from_secs(151));
        // What the first of these is answered before is done when the second is answered.
        follow(&view);
        follow(&view);
        assert_eq!(used(&mut shop, &ada, Action::Open).len(), 1);
    }
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
}

#[test]
fn whoever_may_see_one_of_them_alone_learns_nothing_of_a_file_about_several() {
    let outline = |has_joint: bool| {
        let mut shop = Shop::new(11);
        let (ada, bob) = (shop.reader("ada"), shop.reader("bob"));
        shop.say(bob, "newsletter", Withdrawn);
        if has_joint {
            put_joint(&mut shop, &[ada, bob], "contract", TEXT);
        } else {
            shop.put(bob, "owned", "other", TEXT);
        }
        let folder = folder(&mut shop, &ada);
        let view = shop.view("newsletter");
        let at = look(&view, &folder).unwrap();
        let absent = look(&view, &format!("{folder}/contract")).unwrap_err();
        let mut outline = vec![format!("{at:?} {absent}")];
        for (name, ino, kind) in list(&view, at.ino).unwrap() {
            let file = now(view.attributes(ino)).unwrap();
            outline.push(format!("{name} {ino:?} {kind:?} {} {}", file.size, file.link_count));
        }
        let status = now(view.xattr(Ino::ROOT, b"user.strongroom.status")).unwrap();
        outline.push(String::from_utf8(status).unwrap());
        // Nothing of it is in what was recorded of bob either.
        assert_eq!(used(&mut shop, &bob, Action::List).len(), 0);
        outline.push(format!("{:?}", view.space()));
        outline
    };
    assert_eq!(outline(true), outline(false));
}

fn open_to_write(view: &View, path: &str, truncate: bool) -> Result<HandleId> {
    let options = OpenOptions { truncate, ..TO_WRITE };
    now(view.open(look(view, path)?.ino, options)).map(|opened| opened.handle)
}

/// Whatever a program does to replace, change or remove it. All is refused.
fn refusals(view: &View, folder: &str) -> Vec<ErrorKind> {
    let class = look(view, folder).unwrap().ino;
    let path = format!("{folder}/contract");
    let ino = look(view, &path).unwrap().ino;
    let rename = |from: &str, to: &str, mode| {
        now(view.rename((class, from.as_bytes()), (class, to.as_bytes()), mode))
    };
    vec![
        kind(open_to_write(view, &path, false)),
        kind(open_to_write(view, &path, true)),
        kind(now(
            view.set_attributes(ino, SetAttributes { size: Some(3), ..SetAttributes::default() })
        )),
        kind(now(view.unlink(class, b"contract"))),
        kind(rename("contract", "contract~", RenameMode::Replace)),
        kind(rename("file", "contract", RenameMode::Replace)),
    ]
}

#[test]
fn nothing_is_written_over_a_file_about_several_people_and_the_old_one_stays_whole() {
    let (mut shop, [ada, bob]) = two(12);
    let proposal =
        Proposal { reach: Reach::Write, ..proposal("editor", Basis::Consent, &["owned"]) };
    shop.act(|shop| {
        shop.register_activity(proposal).unwrap();
        shop.approve_activity("editor").unwrap();
    });
    for person in [ada, bob] {
        shop.say(person, "editor", Given);
    }
    let name = shop.act(|shop| shop.name_for(&ada, "editor").unwrap());
    for (view, folder) in [
        (shop.own_view(), format!("subjects/{ada}/owned")),
        (shop.view("editor"), format!("subjects/{name}/owned")),
    ] {
        assert_eq!(refusals(&view, &folder), [ErrorKind::NotPermitted; 6]);
        let path = format!("{folder}/contract");
        assert_eq!(look(&view, &path).unwrap().mode & 0o222, 0, "programs see it before");
        let class = look(&view, &folder).unwrap().ino;
        let made = now(view.create_open(ME, class, b"contract", 0o644, TO_WRITE));
        assert_eq!(kind(made), ErrorKind::Exists);
        // An editor's way: beside it, and then over it. What it wrote is not lost either.
        let made = now(view.create_open(ME, class, b"new", 0o644, TO_WRITE)).unwrap();
        let handle = made.1.handle;
        let mode = strongroom_workspace::door::WriteMode::At;
        now(view.write(handle, 0, b"of one", mode, true)).unwrap();
        now(view.flush(handle)).unwrap();
        view.release(handle);
        let over = now(view.rename((class, b"new"), (class, b"contract"), RenameMode::Replace));
        assert_eq!(kind(over), ErrorKind::NotPermitted);
        assert_eq!(content(&view, &format!("{folder}/new")).unwrap(), b"of one");
        assert_eq!(content(&view, &path).unwrap(), TEXT);
        now(view.unlink(class, b"new")).unwrap();
    }
    for person in [ada, bob] {
        let stored = shop.act(|shop| shop.read_file(&own(person, "owned"), "contract").unwrap());
        assert_eq!(stored, TEXT);
    }
}

#[test]
fn what_is_removed_while_a_file_about_several_takes_its_name_is_not_that_file() {
    let mut shop = Shop::new(14);
    let (ada, bob) = (shop.reader("ada"), shop.reader("bob"));
    let view = shop.own_view();
    let class = look(&view, &format!("subjects/{ada}/owned")).unwrap().ino;
    let handle = now(view.create_open(ME, class, b"contract", 0o644, TO_WRITE)).unwrap().1.handle;
    put_joint(&mut shop, &[ada, bob], "contract", TEXT);
    follow(&view);
    now(view.unlink(class, b"contract")).unwrap();
    view.release(handle);
    assert_eq!(content(&view, &format!("subjects/{ada}/owned/contract")).unwrap(), TEXT);
    let stored = shop.act(|shop| shop.read_file(&own(bob, "owned"), "contract").unwrap());
    assert_eq!(stored, TEXT);
}

#[test]
fn a_file_about_others_by_now_is_no_longer_the_one_that_was_opened() {
    let (mut shop, [ada, bob]) = two(13);
    let folder = folder(&mut shop, &ada);
    let view = shop.view("newsletter");
    let handle = open(&view, &format!("{folder}/contract")).unwrap();
    shop.act(|shop| shop.remove_file(&own(bob, "owned"), "contract").unwrap());
    put_joint(&mut shop, &[ada, bob], "contract", b"18 roses");
    follow(&view);
    shop.world.clock.advance(Duration::from_secs(301));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while kind(read(&view, handle)) != ErrorKind::Stale {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    // It is known to be gone: nothing is asked for, and nobody's lease ends for it.
    let count = |shop: &mut Shop| [ada, bob].map(|of| used(shop, &of, Action::Open).len());
    let before = count(&mut shop);
    for _ in 0..3 {
        assert_eq!(kind(read(&view, handle)), ErrorKind::Stale);
    }
    assert_eq!(count(&mut shop), before);
    assert_eq!(content(&view, &format!("{folder}/contract")).unwrap(), b"18 roses");
    let class = look(&view, &folder).unwrap().ino;
    assert!(now(view.lookup(class, b"contract", Folding::Exact)).is_ok());
}

/// Nobody of theirs was met before: the store fails once, after each of its answers.
#[test]
fn a_folder_is_listed_with_files_about_others_or_not_at_all_whenever_the_store_fails() {
    let (mut shop, [ada, _]) = two(30);
    let folder = format!("subjects/{ada}/owned");
    let listed = |view: &View| {
        let names = list(view, look(view, &folder)?.ino)?;
        Ok::<_, strongroom_workspace::error::Error>(names.into_iter().map(|(name, _, _)| name))
    };
    for count in 0.. {
        let view = shop.own_view();
        fail_at(&shop, count);
        let first = listed(&view).map(Vec::from_iter);
        let is_through = shop.world.store.will_fail();
        shop.world.store.fail_once(|_| false);
        for mut names in first.into_iter().chain([listed(&view).unwrap().collect()]) {
            names.sort();
            assert_eq!(names, ["contract", "file"], "{count}");
        }
        drop(view);
        shop.act(|_| ());
        if is_through {
            break;
        }
    }
}

#[test]
fn whom_files_of_a_folder_are_about_as_well_are_shown_some_at_a_time_while_others_write() {
    let mut shop = Shop::new(31);
    let ada = shop.person();
    for number in 0..130 {
        let other = shop.person();
        put_joint(&mut shop, &[ada, other], &format!("contract {number:03}"), TEXT);
    }
    let view = shop.own_view();
    let folder = look(&view, &format!("subjects/{ada}/owned")).unwrap().ino;
    let before = shop.act(|shop| shop.record_count());
    assert_eq!(list(&view, folder).unwrap().len(), 130);
    // Three times some of them; the names are by the record that shows the folder.
    assert_eq!(shop.act(|shop| shop.record_count()) - before, 3);
    let before = shop.act(|shop| shop.record_count());
    assert_eq!(list(&view, folder).unwrap().len(), 130);
    assert_eq!(shop.act(|shop| shop.record_count()), before);
}
