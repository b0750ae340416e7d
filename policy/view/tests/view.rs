//! The view at the door's trait: it shows exactly what was agreed, leaves a record of all it shows, and lets go at once.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::world::{World, answer, by, is_registers, own, proposal, registered};
use common::{Shop, content, crawl, follow, kind, list, look, now, only, open, read};
use strongroom_authorizer::Action;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::sim::Chance;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::{Kind as Told, Outcome};
use strongroom_records::subject::ConsentStatus::{Given, Objected, Withdrawn};
use strongroom_steward::{Answer, Depth, NewSubject, Wanted};
use strongroom_store::{Key, PolicyKey, Shelf};
use strongroom_view::View;
use strongroom_workspace::door::{Change, Core, Ino};
use strongroom_workspace::error::ErrorKind;

const CLASSES: [&str; 3] = ["identifiable", "owned", "health"];
const ACTIVITIES: [(&str, Basis, &[&str]); 3] = [
    ("newsletter", Basis::Consent, &["identifiable", "owned"]),
    ("study", Basis::Consent, &["health", "owned"]),
    ("fraud", Basis::LegitimateInterest, &["identifiable"]),
];

/// What people said and what was done, in the plainest form.
#[derive(Default)]
struct Model {
    /// By person and activity: classes agreed to, and whether explicitly; or an objection.
    said: BTreeMap<(usize, usize), (BTreeSet<&'static str>, bool, bool)>,
    restricted: BTreeSet<usize>,
    erased: BTreeSet<usize>,
    suspended: BTreeSet<usize>,
    files: BTreeMap<(usize, &'static str), BTreeMap<String, Vec<u8>>>,
}

impl Model {
    fn may(&self, person: usize, activity: usize, class: &str) -> bool {
        let (_, basis, classes) = ACTIVITIES[activity];
        let blocked = self.restricted.contains(&person)
            || self.erased.contains(&person)
            || self.suspended.contains(&activity);
        let said = self.said.get(&(person, activity));
        let agreed = match basis {
            Basis::Consent => said.is_some_and(|(agreed, explicit, _)| {
                agreed.contains(class) && (class != "health" || *explicit)
            }),
            _ => said.is_none_or(|(_, _, objected)| !objected),
        };
        !blocked && agreed && classes.contains(&class)
    }

    /// Contents of all files an activity may see, with the names of their folders: but for pseudonyms, its whole view.
    fn view(&self, activity: usize) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for ((person, class), files) in &self.files {
            if self.may(*person, activity, class) {
                let named =
                    |(name, bytes): (&String, &Vec<u8>)| (format!("{class}/{name}"), bytes.clone());
                all.extend(files.iter().map(named));
            }
        }
        all.sort();
        all
    }
}

fn step(shop: &mut Shop, model: &mut Model, people: &[SubjectId], chance: &mut Chance) {
    let person = chance.index(people.len());
    let (subject, activity) = (people[person], chance.index(ACTIVITIES.len()));
    let (name, basis, classes) = ACTIVITIES[activity];
    let gone = model.erased.contains(&person);
    match chance.below(10) {
        0 if !gone => {
            let restrict = model.restricted.insert(person) || !model.restricted.remove(&person);
            shop.act(|shop| shop.restrict(&subject, restrict).unwrap());
        }
        1 => match model.suspended.insert(activity) {
            true => shop.act(|shop| shop.stop_activity(name, ActivityState::Suspended).unwrap()),
            false => {
                model.suspended.remove(&activity);
                shop.act(|shop| shop.approve_activity(name).unwrap());
            }
        },
        2 if chance.one_in(3) => {
            shop.act(|shop| shop.erase(&subject).map(drop).unwrap());
            model.erased.insert(person);
        }
        3 | 4 if !gone && !model.restricted.contains(&person) => {
            let class = CLASSES[chance.index(3)];
            let name = format!("file {}", chance.below(3));
            let bytes = format!("{person} {class} {}", chance.next_u64()).into_bytes();
            shop.put(subject, class, &name, &bytes);
            model.files.entry((person, class)).or_default().insert(name, bytes);
        }
        _ if !gone && !model.suspended.contains(&activity) => {
            let yes = chance.below(3) > 0;
            let status = match (basis, yes) {
                (Basis::Consent, true) => Given,
                (Basis::Consent, false) => Withdrawn,
                _ => Objected,
            };
            let picked: Vec<&'static str> =
                classes.iter().copied().filter(|_| chance.below(3) > 0).collect();
            let picked = if picked.is_empty() { classes.to_vec() } else { picked };
            let explicit = chance.one_in(2);
            let names = picked.iter().map(|class| (*class).to_owned()).collect();
            let said = Answer { explicit, classes: names, ..answer(name, status) };
            shop.act(|shop| shop.answer(&subject, &said).map(drop).unwrap());
            let agreed =
                if status == Given { picked.into_iter().collect() } else { BTreeSet::new() };
            model.said.insert((person, activity), (agreed, explicit, status == Objected));
        }
        _ => {}
    }
}

/// A whole view without its pseudonyms, and how many of them there are.
fn seen(view: &View) -> Vec<(String, Vec<u8>)> {
    let strip = |(path, bytes): (String, Vec<u8>)| {
        let inside = path.splitn(3, '/').nth(2).unwrap().to_owned();
        (inside, bytes)
    };
    let mut all: Vec<_> = crawl(view).into_iter().map(strip).collect();
    all.sort();
    all
}

#[test]
fn a_view_is_exactly_what_was_agreed_whatever_happens() {
    for seed in 1..=3 {
        let world = World::new(seed);
        let mut shop = Shop::over(world);
        shop.act(|shop| {
            shop.declare_class("health", true).unwrap();
            for (name, basis, classes) in &ACTIVITIES[1..] {
                registered(shop, name, *basis, classes);
            }
        });
        let people: Vec<SubjectId> = (0..5).map(|_| shop.person()).collect();
        let mut model = Model::default();
        for (person, subject) in people.iter().enumerate() {
            for class in CLASSES {
                let bytes = format!("{person} {class}").into_bytes();
                shop.put(*subject, class, "file", &bytes);
                model.files.entry((person, class)).or_default().insert("file".into(), bytes);
            }
        }
        let views = ACTIVITIES.map(|(name, _, _)| shop.view(name));
        let mut chance = Chance::new(seed);
        for round in 0..12 {
            for _ in 0..3 {
                step(&mut shop, &mut model, &people, &mut chance);
            }
            for (activity, view) in views.iter().enumerate() {
                follow(view);
                assert_eq!(
                    seen(view),
                    model.view(activity),
                    "seed {seed}, round {round}, {activity}"
                );
            }
        }
        assert!(shop.act(|shop| shop.verify().unwrap().findings.is_empty()));
    }
}

#[test]
fn what_is_on_record_is_what_was_opened_and_by_whom() {
    let mut shop = Shop::new(5);
    let people: Vec<SubjectId> = (0..4).map(|n| shop.reader(&n.to_string())).collect();
    for person in &people {
        shop.put(*person, "owned", "another", b"another");
    }
    shop.say(people[3], "newsletter", Withdrawn);
    let ids = file_ids(&mut shop, &people);
    let before: Vec<u64> =
        people.iter().map(|person| opened(&mut shop, person).len() as u64).collect();
    assert_eq!(before, [0; 4]);
    let view = shop.view("newsletter");
    let (mut chance, mut trace) = (Chance::new(5), BTreeSet::new());
    let paths: Vec<String> = paths(&view);
    assert_eq!(paths.len(), 9);
    for _ in 0..12 {
        let path = &paths[chance.index(paths.len())];
        let bytes = content(&view, path).unwrap();
        trace.insert((path.clone(), bytes));
    }
    // The trace knows people by what their files say, the log by what they are called there: file ids join them.
    let mut expected = BTreeSet::new();
    for (path, bytes) in trace {
        let name = path.rsplit('/').next().unwrap();
        let who =
            content(&view, &path.replace("/another", "/file").replace("/owned/", "/identifiable/"));
        let who = String::from_utf8(who.unwrap()).unwrap();
        let person = who.split(' ').next().unwrap().parse::<usize>().unwrap();
        let class = path.split('/').nth(2).unwrap();
        assert!(bytes == b"another" || bytes == format!("{person} {class}").into_bytes());
        expected.insert(ids[&(person, class.to_owned(), name.to_owned())]);
        expected.insert(ids[&(person, "identifiable".to_owned(), "file".to_owned())]);
    }
    let mut found = BTreeSet::new();
    for person in &people {
        for (activity, files) in opened(&mut shop, person) {
            assert_eq!(activity, "newsletter");
            found.extend(files);
        }
        assert!(shop.act(|shop| shop.report(person).unwrap().holds()));
    }
    assert_eq!(found, expected);
}

/// Paths of all files, without opening any.
fn paths(view: &View) -> Vec<String> {
    let mut paths = Vec::new();
    let subjects = look(view, "subjects").unwrap().ino;
    for (person, folder, _) in list(view, subjects).unwrap() {
        for (class, folder, _) in list(view, folder).unwrap() {
            for (file, _, _) in list(view, folder).unwrap() {
                paths.push(format!("subjects/{person}/{class}/{file}"));
            }
        }
    }
    paths
}

type Named = BTreeMap<(usize, String, String), FileId>;

/// Ids of all files, from the application's own side.
fn file_ids(shop: &mut Shop, people: &[SubjectId]) -> Named {
    let mut ids = BTreeMap::new();
    shop.act(|shop| {
        registered(shop, "inventory", Basis::Contract, &["identifiable", "owned"]);
        let rules = shop.rules("inventory").unwrap();
        for (number, subject) in people.iter().enumerate() {
            for (class, name) in
                [(ClassId::IDENTIFIABLE, "identifiable"), (ClassId::OWNED, "owned")]
            {
                let wanted =
                    Wanted { subject: *subject, class, action: Action::List, files: vec![] };
                let grant = shop.lend(&rules, &[wanted]).unwrap().remove(0).unwrap();
                for file in shop.release(&grant).unwrap().files() {
                    ids.insert((number, name.to_owned(), file.name.clone()), file.id);
                }
            }
        }
    });
    ids
}

/// What was opened of a subject, by which activity: from the subject's own report.
fn opened(shop: &mut Shop, subject: &SubjectId) -> Vec<(String, Vec<FileId>)> {
    let report = shop.act(|shop| shop.report(subject).unwrap());
    let mut all = Vec::new();
    for line in report.lines.into_iter().filter(|line| line.entry.kind == Told::Access) {
        let judgement = line.entry.judgement.unwrap();
        let is_own = line.activity.is_none();
        if judgement.action == Action::Open.number()
            && judgement.outcome == Outcome::Allow
            && !is_own
        {
            all.push((line.activity.unwrap(), line.detail.unwrap().files));
        }
    }
    all
}

#[test]
fn what_is_withdrawn_is_gone_from_handles_that_are_open_and_stays_gone() {
    let mut shop = Shop::new(6);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    let before = look(&view, &person).unwrap().ino;

    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
    assert_eq!(kind(look(&view, &person)), ErrorKind::NotFound);
    assert_eq!(kind(now(view.attributes(before))), ErrorKind::NotFound);
    assert_eq!(crawl(&view), BTreeMap::new());

    shop.say(ada, "newsletter", Given);
    follow(&view);
    assert_eq!(content(&view, &format!("{person}/owned/file")).unwrap(), b"ada owned");
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied, "an old handle is never revived");
    assert_ne!(look(&view, &person).unwrap().ino, before);
}

#[test]
fn a_withdrawal_from_one_class_leaves_the_other() {
    let mut shop = Shop::new(7);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let owned = open(&view, &format!("{person}/owned/file")).unwrap();
    let profile = open(&view, &format!("{person}/identifiable/file")).unwrap();
    let said = Answer { classes: vec!["identifiable".into()], ..answer("newsletter", Given) };
    shop.act(|shop| shop.answer(&ada, &said).map(drop).unwrap());
    follow(&view);
    assert_eq!(kind(read(&view, owned)), ErrorKind::Denied);
    assert_eq!(read(&view, profile).unwrap(), b"ada identifiable");
    assert_eq!(paths(&view), [format!("{person}/identifiable/file")]);
}

#[test]
fn whatever_takes_away_the_ground_takes_away_the_data() {
    type Act = fn(&mut Shop, SubjectId);
    let acts: [(&str, Act); 6] = [
        ("suspended", |shop, _| {
            shop.act(|shop| shop.stop_activity("newsletter", ActivityState::Suspended).unwrap())
        }),
        ("ended", |shop, _| {
            shop.act(|shop| shop.stop_activity("newsletter", ActivityState::Ended).unwrap())
        }),
        ("restricted", |shop, ada| shop.act(|shop| shop.restrict(&ada, true).unwrap())),
        ("erased", |shop, ada| shop.act(|shop| shop.erase(&ada).map(drop).unwrap())),
        ("policy", |shop, _| {
            shop.act(|shop| {
                shop.propose_policies("forbid (principal, action, resource);").map(drop).unwrap()
            })
        }),
        ("disabled", |shop, _| {
            shop.world.stewardship().set_state("shop", ApplicationState::Disabled).unwrap()
        }),
    ];
    for (number, (name, act)) in acts.into_iter().enumerate() {
        let mut shop = Shop::new(20 + number as u64);
        let ada = shop.reader("ada");
        let view = shop.view("newsletter");
        let path = format!("{}/owned/file", only(&view));
        let handle = open(&view, &path).unwrap();
        assert_eq!(read(&view, handle).unwrap(), b"ada owned", "{name}");
        act(&mut shop, ada);
        follow(&view);
        assert_eq!(kind(read(&view, handle)), ErrorKind::Denied, "{name}");
        assert_eq!(kind(open(&view, &path)), ErrorKind::NotFound, "{name}");
    }
}

#[test]
fn the_kernel_is_told_contents_before_names_and_a_class_that_stays_keeps_its_pages() {
    let mut shop = Shop::new(8);
    let ada = shop.reader("ada");
    shop.reader("bob");
    let view = shop.view("newsletter");
    let changes = view.changes().unwrap();
    let mut inos = BTreeMap::new();
    for path in paths(&view) {
        let handle = open(&view, &path).unwrap();
        let whose = String::from_utf8(read(&view, handle).unwrap()).unwrap();
        inos.insert(whose, look(&view, &path).unwrap().ino);
    }
    changes.try_iter().for_each(drop);
    shop.say(ada, "newsletter", Withdrawn);
    follow_without_kernel(&view);
    let told: Vec<Change> = changes.try_iter().collect();
    let is_content = |change: &Change| matches!(change, Change::Inode { content: true, .. });
    let names = told.iter().position(|change| matches!(change, Change::Name { .. })).unwrap();
    let files: Vec<Ino> = told[..names]
        .iter()
        .filter(|c| is_content(c))
        .map(|change| match change {
            Change::Inode { ino, .. } => *ino,
            _ => unreachable!(),
        })
        .collect();
    for (whose, ino) in inos {
        let is_told = told.contains(&Change::Inode { ino, content: true });
        assert_eq!(is_told, whose.starts_with("ada"), "{whose}");
        assert!(!is_told || files.contains(&ino) || told[names..].iter().any(is_content));
    }
}

/// Waits until the withdrawal is in force, with nobody to take changes to a kernel.
fn follow_without_kernel(view: &View) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let subjects = look(view, "subjects").unwrap().ino;
    while list(view, subjects).unwrap().len() > 1 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_lease_ends_and_is_renewed_by_a_decision_or_not_at_all() {
    let mut shop = Shop::new(9);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let handle = open(&view, &format!("{}/identifiable/file", only(&view))).unwrap();
    let count = |shop: &mut Shop| opened(shop, &ada).len();
    assert_eq!((read(&view, handle).is_ok(), count(&mut shop)), (true, 1));
    // Under the lease nothing is asked again.
    assert_eq!((read(&view, handle).is_ok(), count(&mut shop)), (true, 1));
    // Past its half, a lease in use is decided anew.
    shop.world.clock.advance(Duration::from_secs(61));
    until(|| count(&mut shop) >= 2);
    // The machine slept: the lease is over, and a read is a new decision, once the kernel has been told.
    shop.world.clock.advance(Duration::from_secs(500));
    until(|| read(&view, handle).is_ok());
    assert!(count(&mut shop) >= 3);
    // A wall clock that is set back gains nothing.
    shop.world.clock.set_now_ns(common::world::START_NS);
    assert!(read(&view, handle).is_ok());
}

#[test]
fn without_a_record_nothing_is_read_and_leases_run_out() {
    let mut shop = Shop::new(10);
    shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let path = format!("{person}/identifiable/file");
    let handle = open(&view, &path).unwrap();
    assert!(read(&view, handle).is_ok());
    shop.world.store.die_after(Some(0));
    // What a live lease covers goes on; what needs a record does not.
    assert!(read(&view, handle).is_ok());
    assert_eq!(kind(open(&view, &format!("{person}/owned/file"))), ErrorKind::Unavailable);
    shop.world.clock.advance(Duration::from_secs(121));
    assert_eq!(kind(read(&view, handle)), ErrorKind::Unavailable);
    shop.world.store.die_after(None);
    // Nothing was withdrawn: a new decision lets it go on.
    until(|| read(&view, handle).is_ok());
}

#[test]
fn two_views_that_differ_in_somebody_hidden_look_alike() {
    let outline = |hidden: bool| {
        let mut shop = Shop::new(11);
        let ada = shop.reader("ada");
        if hidden {
            let bob = shop.reader("bob");
            shop.say(bob, "newsletter", Withdrawn);
        }
        let view = shop.view("newsletter");
        let mut outline = Vec::new();
        for path in std::iter::once("subjects".to_owned()).chain(paths(&view)) {
            let at = look(&view, &path).unwrap();
            let shown = path.splitn(3, '/').nth(2).unwrap_or("").to_owned();
            outline.push((shown, at.ino, at.size, at.link_count));
        }
        let hex = "ab".repeat(16);
        for absent in [ada.to_string(), hex, "x".into(), "..x".into()] {
            assert_eq!(kind(look(&view, &format!("subjects/{absent}"))), ErrorKind::NotFound);
        }
        (outline, view.space())
    };
    assert_eq!(outline(true), outline(false));
}

#[test]
fn another_activitys_name_for_somebody_is_nobody() {
    let mut shop = Shop::new(12);
    shop.act(|shop| registered(shop, "survey", Basis::Consent, &["owned"]));
    let ada = shop.reader("ada");
    shop.say(ada, "survey", Given);
    let (first, second) = (shop.view("newsletter"), shop.view("survey"));
    let (one, other) = (only(&first), only(&second));
    assert_ne!(one, other);
    assert_eq!(kind(look(&second, &one)), ErrorKind::NotFound);
    assert_eq!(content(&second, &format!("{other}/owned/file")).unwrap(), b"ada owned");
    assert_eq!(kind(look(&second, &format!("{other}/identifiable"))), ErrorKind::NotFound);
}

#[test]
fn a_file_that_is_replaced_is_another_file_and_the_old_one_stale() {
    let mut shop = Shop::new(13);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let path = format!("{}/owned/file", only(&view));
    let handle = open(&view, &path).unwrap();
    let before = look(&view, &path).unwrap();
    shop.put(ada, "owned", "file", b"a longer content");
    shop.put(ada, "owned", "second", b"2");
    follow(&view);
    assert_eq!(content(&view, &path).unwrap(), b"a longer content");
    let after = look(&view, &path).unwrap();
    assert!(after.ino != before.ino && after.size == 16);
    assert_eq!(kind(read(&view, handle)), ErrorKind::Stale);
    assert_eq!(paths(&view).len(), 3);
    // Once open, a file goes on while others change.
    let handle = open(&view, &path).unwrap();
    shop.put(ada, "owned", "second", b"22");
    follow(&view);
    assert_eq!(read(&view, handle).unwrap(), b"a longer content");
}

#[test]
fn a_new_application_key_disturbs_nobody_who_reads() {
    let mut shop = Shop::new(14);
    shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    shop.act(|shop| shop.rotate().map(drop).unwrap());
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
}

/// What is withdrawn behind it is gone all the same.
#[test]
fn a_new_register_key_disturbs_nobody_who_reads_and_what_is_withdrawn_after_it_is_gone() {
    let mut shop = Shop::new(19);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    shop.act(|shop| shop.rotate_register(&mut |_| ()).map(drop).unwrap());
    follow(&view);
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    assert!(read(&view, handle).is_err());
}

#[test]
fn rotation_with_everything_sealed_anew_disturbs_nobody_who_reads() {
    let mut shop = Shop::new(18);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    let mut count = 0;
    shop.act(|shop| {
        shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| count += 1).map(drop).unwrap()
    });
    assert!(count > 0);
    assert_eq!(read(&view, handle).unwrap(), b"ada owned", "under its new key");
    follow(&view);
    assert_eq!(only(&view), person, "names outlive keys");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
}

#[test]
fn many_who_open_while_others_write_each_get_their_own_and_leave_their_record() {
    let mut shop = Shop::new(15);
    let people: Vec<SubjectId> = (0..8).map(|n| shop.reader(&n.to_string())).collect();
    let view = shop.view("newsletter");
    let paths = Arc::new(paths(&view));
    let threads: Vec<_> = (0..4_u64)
        .map(|seed| {
            let (view, paths) = (view.clone(), Arc::clone(&paths));
            std::thread::spawn(move || {
                let mut chance = Chance::new(seed);
                for _ in 0..20 {
                    let path = &paths[chance.index(paths.len())];
                    let bytes = String::from_utf8(content(&view, path).unwrap()).unwrap();
                    assert!(bytes.ends_with(path.split('/').nth(2).unwrap()), "{bytes}");
                }
            })
        })
        .collect();
    for number in 0..20 {
        shop.put(people[0], "owned", &format!("other {number}"), b"x");
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let seen: usize = people.iter().map(|person| opened(&mut shop, person).len()).sum();
    assert!((1..=16).contains(&seen), "at most once for each file while its lease lasts: {seen}");
    assert!(shop.act(|shop| shop.verify().unwrap().findings.is_empty()));
}

#[test]
fn names_that_are_not_there_leave_one_record_a_minute() {
    let mut shop = Shop::new(17);
    shop.reader("ada");
    let view = shop.view("newsletter");
    let crawl = |view: &View| {
        for number in 0..50_u8 {
            let name = format!("subjects/{}", SubjectId([number; 16]));
            assert_eq!(kind(look(view, &name)), ErrorKind::NotFound);
        }
    };
    let refused = |shop: &mut Shop| {
        let entries = shop.act(|shop| shop.entries(0, u64::MAX).unwrap());
        let is_refusal = |entry: &strongroom_records::log::Entry| {
            entry.judgement.as_ref().is_some_and(|j| j.outcome == Outcome::Deny)
        };
        entries.iter().filter(|entry| is_refusal(entry)).count()
    };
    let began = shop.world.clock.now_ns();
    for _ in 0..3 {
        let before = refused(&mut shop);
        until(|| {
            shop.world.clock.advance(Duration::from_secs(61));
            crawl(&view);
            refused(&mut shop) > before
        });
        crawl(&view);
        follow(&view);
        // Whoever waits for his turn lets simulated time pass: more than a minute may have gone by.
        let minutes = (shop.world.clock.now_ns() - began) / 60_000_000_000;
        let count = refused(&mut shop);
        assert!(count <= 1 + usize::try_from(minutes).unwrap(), "{count} in {minutes} minutes");
    }
}

#[test]
fn a_view_starts_without_reading_anybody_and_shows_everybody_who_agreed() {
    let started = |seed, count| {
        let mut shop = Shop::new(seed);
        for basis in [Basis::Contract, Basis::LegitimateInterest] {
            shop.act(|shop| registered(shop, &format!("{basis:?}"), basis, &["owned"]));
        }
        let agreed: Vec<SubjectId> = (0..3).map(|_| shop.reader("ada")).collect();
        shop.act(|shop| shop.create_subjects(&vec![NewSubject::default(); count]).unwrap());
        shop.say(agreed[0], "newsletter", Withdrawn);
        let looked = || shop.world.store.looked.load(Ordering::Relaxed);
        let start = |activity| {
            let before = looked();
            let view = shop.view(activity);
            (view, looked() - before)
        };
        let started = ["newsletter", "Contract", "LegitimateInterest"].map(start);
        for ((view, _), people) in started.iter().zip([2, count + 3, count + 3]) {
            let subjects = look(view, "subjects").unwrap().ino;
            assert_eq!(list(view, subjects).unwrap().len(), people);
        }
        started.map(|(_, cost)| cost)
    };
    let (few, many) = (started(17, 2), started(18, 200));
    assert_eq!(few, many);
}

#[test]
fn an_unknown_or_unapproved_activity_sees_nobody() {
    let mut shop = Shop::new(16);
    shop.reader("ada");
    shop.act(|shop| {
        shop.register_activity(proposal("early", Basis::Contract, &["owned"])).map(drop).unwrap()
    });
    assert_eq!(crawl(&shop.view("early")), BTreeMap::new());
    let refused = shop.act(|shop| shop.rules("nobody").err().unwrap().kind());
    assert_eq!(refused, strongroom_steward::ErrorKind::Denied);
    let refused = shop.act(|shop| shop.read_file(&by("early", "ab".repeat(16), "owned"), "file"));
    assert!(refused.is_err());
    let own =
        shop.act(|shop| shop.files(&own(shop.subjects().unwrap()[0].subject, "owned")).unwrap());
    assert_eq!(own.len(), 1);
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it never came to hold");
        // Who looks keeps the fence meanwhile: let the desk have it too.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_application_that_stops_is_shut_in_a_view_though_the_store_failed_meanwhile() {
    let mut shop = Shop::new(31);
    shop.reader("ada");
    let view = shop.view("newsletter");
    let path = format!("{}/owned/file", only(&view));
    assert!(look(&view, &path).is_ok());
    // The register, once the second record of the list of applications was read.
    let (shelf, mut is_read) = (Shelf::Log, false);
    let third = Key::Policy(PolicyKey { application: [0; 16], shelf, name: 2 });
    shop.world.store.fail_once(move |key| {
        is_read |= *key == third;
        is_read && is_registers(key)
    });
    shop.world.stewardship().set_state("shop", ApplicationState::Disabled).unwrap();
    while shop.world.store.will_fail() {
        // The view looks by itself, too.
        let _ = now(view.xattr(Ino::ROOT, common::FOLLOW));
    }
    follow(&view);
    assert_eq!(kind(look(&view, &path)), ErrorKind::NotFound);
}

/// Real time, and whether anybody has let some of it pass.
struct Watched {
    clock: MachineClock,
    has_slept: AtomicBool,
}

impl Clock for Watched {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.has_slept.store(true, Ordering::SeqCst);
        self.clock.sleep(time);
    }
}

#[test]
fn who_asks_whether_it_is_in_force_waits_for_nobody_who_reads() {
    let mut shop = Shop::new(33);
    let [ada, bob] = ["ada", "bob"].map(|name| shop.reader(name));
    let names = [ada, bob].map(|own| shop.act(|shop| shop.name_for(&own, "newsletter").unwrap()));
    let clock = Watched { clock: MachineClock::new(), has_slept: AtomicBool::new(false) };
    let clock = Arc::new(clock);
    let view = shop.view_by("newsletter", Arc::clone(&clock) as Arc<dyn Clock>);
    let [of_ada, of_bob] = names.map(|name| format!("subjects/{name}/owned/file"));
    assert_eq!(content(&view, &of_ada).unwrap(), b"ada owned");
    shop.say(ada, "newsletter", Withdrawn);
    // Somebody else writes, and whoever wants to read Bob's waits for that.
    let held = shop.fence.wait();
    clock.has_slept.store(false, Ordering::SeqCst);
    let reader = view.clone();
    let reading = std::thread::spawn(move || content(&reader, &of_bob));
    until(|| clock.has_slept.load(Ordering::SeqCst));
    follow(&view);
    assert!(!reading.is_finished(), "it is said at once");
    assert_eq!(kind(look(&view, &of_ada)), ErrorKind::NotFound);
    drop(held);
    assert_eq!(reading.join().unwrap().unwrap(), b"bob owned");
}

/// A store that does not answer holds up the desk: whoever asks whether all is in force hears that it is not known.
#[test]
fn a_view_that_cannot_follow_says_so_in_time_and_follows_again_later() {
    let mut shop = Shop::new(34);
    let ada = shop.reader("ada");
    let clock = Arc::new(MachineClock::new());
    let view = shop.view_by("newsletter", Arc::clone(&clock) as Arc<dyn Clock>);
    follow(&view);
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    shop.world.store.fail_once(move |_| {
        // Ends when the test lets go of it.
        let _ = answers.recv();
        false
    });
    let (asked, began) = (view.clone(), clock.elapsed());
    let limit = Duration::from_secs(60);
    let ask = move || now(asked.xattr(Ino::ROOT, common::FOLLOW));
    let told = strongroom_host::thread::within("asking", limit, ask).expect("an answer in time");
    assert_eq!(kind(told), ErrorKind::Unavailable);
    assert!(clock.elapsed() - began >= Duration::from_secs(5), "commands wait for five seconds");
    drop(answer);
    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    let folder = look(&view, "subjects").unwrap().ino;
    assert_eq!(list(&view, folder).unwrap(), []);
}
