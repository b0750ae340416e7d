//! A view is what was agreed, and tells of nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_authorizer::Action;
use strongroom_host::clock::Clock;
use strongroom_host::sim::Chance;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::Outcome;
use strongroom_records::subject::ConsentStatus::{Given, Objected, Withdrawn};
use strongroom_steward::{Answer, NewSubject, Wanted};
use strongroom_view::View;
use strongroom_workspace::door::Core;
use strongroom_workspace::error::ErrorKind;

use crate::common::world::{World, answer, by, own, proposal, registered};
use crate::common::{Shop, content, crawl, follow, kind, list, look, only};

use super::{opened, paths, until};

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
