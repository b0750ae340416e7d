//! Who may see what, after any sequence of answers and changes, equals an independent computation.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{World, answer, by, own, registered};
use strongroom_host::sim::Chance;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::ids::{Pseudonym, SubjectId};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Answer, Custodian, ErrorKind};

const ACTIVITIES: [(&str, Basis, &[&str]); 3] = [
    ("newsletter", Basis::Consent, &["identifiable"]),
    ("research", Basis::Consent, &["health", "owned"]),
    ("fraud", Basis::LegitimateInterest, &["identifiable", "owned"]),
];

/// Whether an answer allows, is explicit, which classes it covers, whether it objects.
type Said = (bool, bool, BTreeSet<String>, bool);

/// What was said and done, in the plainest form.
#[derive(Default)]
struct Model {
    /// By subject and activity.
    answers: BTreeMap<(SubjectId, usize), Said>,
    restricted: BTreeSet<SubjectId>,
    erased: BTreeSet<SubjectId>,
    suspended: BTreeSet<usize>,
}

impl Model {
    fn may(&self, subject: SubjectId, activity: usize, class: &str) -> bool {
        let (_, basis, classes) = ACTIVITIES[activity];
        if self.suspended.contains(&activity)
            || self.restricted.contains(&subject)
            || self.erased.contains(&subject)
            || !classes.contains(&class)
        {
            return false;
        }
        let said = self.answers.get(&(subject, activity));
        match basis {
            Basis::Consent => said.is_some_and(|(allows, explicit, covered, _)| {
                *allows && covered.contains(class) && (class != "health" || *explicit)
            }),
            _ => class != "health" && said.is_none_or(|(_, _, _, objected)| !objected),
        }
    }
}

fn step(shop: &mut Custodian, model: &mut Model, subjects: &[SubjectId], chance: &mut Chance) {
    let subject = subjects[chance.index(subjects.len())];
    let activity = chance.index(ACTIVITIES.len());
    let (name, basis, classes) = ACTIVITIES[activity];
    match chance.below(12) {
        0 => {
            let now = !model.restricted.contains(&subject);
            if shop.restrict(&subject, now).is_ok() {
                match now {
                    true => model.restricted.insert(subject),
                    false => model.restricted.remove(&subject),
                };
            }
        }
        1 => match model.suspended.remove(&activity) {
            true => {
                shop.approve_activity(name).unwrap();
            }
            false => {
                shop.stop_activity(name, ActivityState::Suspended).unwrap();
                model.suspended.insert(activity);
            }
        },
        2 if chance.one_in(4) => {
            shop.erase(&subject).unwrap();
            model.erased.insert(subject);
        }
        _ => {
            let status = match (basis, chance.below(3)) {
                (Basis::Consent, 0 | 1) => ConsentStatus::Given,
                (Basis::Consent, _) => ConsentStatus::Withdrawn,
                (_, 0) => ConsentStatus::Objected,
                _ => ConsentStatus::Unknown,
            };
            let covered: BTreeSet<String> = classes
                .iter()
                .filter(|_| !chance.one_in(3))
                .map(|class| (*class).to_owned())
                .collect();
            let all = classes.iter().map(|class| (*class).to_owned()).collect();
            let covered = if covered.is_empty() { all } else { covered };
            let explicit = chance.one_in(2);
            let said = Answer {
                explicit,
                classes: covered.iter().cloned().collect(),
                ..answer(name, status)
            };
            let done = shop.answer(&subject, &said);
            let too_late = status.allows() && model.suspended.contains(&activity);
            let possible = !(model.erased.contains(&subject) || too_late);
            assert_eq!(done.is_ok(), possible);
            if possible {
                let objected = status == ConsentStatus::Objected;
                let entry = (status.allows(), explicit, covered, objected);
                model.answers.insert((subject, activity), entry);
            }
        }
    }
}

/// What each consumer lists is exactly the agreed set; what it reads of that works, and of the rest is refused.
fn compare(shop: &mut Custodian, model: &Model, subjects: &[SubjectId]) {
    for (number, (name, _, _)) in ACTIVITIES.iter().enumerate() {
        let mut expected = Vec::new();
        for subject in subjects {
            let classes: BTreeSet<String> = ["identifiable", "owned", "health"]
                .into_iter()
                .filter(|class| model.may(*subject, number, class))
                .map(str::to_owned)
                .collect();
            if !classes.is_empty() {
                expected.push(classes);
            }
        }
        let shown = shop.scope(name).unwrap();
        let mut found = Vec::new();
        for (pseudonym, classes) in &shown {
            let names: BTreeSet<String> =
                classes.iter().map(|class| shop.class_name(*class).unwrap()).collect();
            for class in ["identifiable", "owned", "health"] {
                let read = shop.read_file(&by(name, pseudonym, class), "file");
                match names.contains(class) {
                    true => assert_eq!(read.unwrap(), class.as_bytes()),
                    false => assert_eq!(read.err().unwrap().kind(), ErrorKind::Denied),
                }
            }
            found.push(names);
        }
        // The order is the activity's own.
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn each_consumer_sees_exactly_the_agreed_set() {
    for seed in 1..=4 {
        let world = World::new(seed);
        let mut shop = world.create("shop");
        shop.declare_class("health", true).unwrap();
        for (name, basis, classes) in ACTIVITIES {
            registered(&mut shop, name, basis, classes);
        }
        let mut subjects = Vec::new();
        for _ in 0..6 {
            let subject = shop.create_subject(&[]).unwrap();
            for class in ["identifiable", "owned", "health"] {
                shop.put_file(&own(subject, class), "file", class.as_bytes()).unwrap();
            }
            subjects.push(subject);
        }
        let (mut model, mut chance) = (Model::default(), Chance::new(seed));
        for _ in 0..12 {
            for _ in 0..3 {
                step(&mut shop, &mut model, &subjects, &mut chance);
            }
            compare(&mut shop, &model, &subjects);
        }
        assert!(shop.verify().unwrap().findings.is_empty(), "seed {seed}");
    }
}

#[test]
fn two_activities_know_a_subject_by_names_that_cannot_be_joined() {
    let world = World::new(41);
    let mut shop = world.create("shop");
    for name in ["newsletter", "survey"] {
        registered(&mut shop, name, Basis::Consent, &["owned"]);
    }
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "file", b"x").unwrap();
    for name in ["newsletter", "survey"] {
        shop.answer(&ada, &answer(name, ConsentStatus::Given)).unwrap();
    }
    let (first, second) = (shop.scope("newsletter").unwrap(), shop.scope("survey").unwrap());
    assert_ne!(first[0].0, second[0].0);
    assert_ne!(first[0].0.0, ada.0);
    assert_eq!(shop.scope("newsletter").unwrap(), first, "stable within an activity");
    let crossed = shop.read_file(&by("survey", first[0].0, "owned"), "file");
    assert_eq!(crossed.err().unwrap().kind(), ErrorKind::Denied);
}

#[test]
fn the_orders_in_which_two_activities_are_shown_people_have_nothing_in_common() {
    let world = World::new(12);
    let mut shop = world.create("shop");
    let mut people = Vec::new();
    for name in ["newsletter", "survey"] {
        registered(&mut shop, name, Basis::Consent, &["owned"]);
    }
    for _ in 0..12 {
        let id = shop.create_subject(&[]).unwrap();
        for name in ["newsletter", "survey"] {
            shop.answer(&id, &answer(name, ConsentStatus::Given)).unwrap();
        }
        people.push(id);
    }
    let mut shown = |activity: &str| {
        let names: Vec<Pseudonym> =
            people.iter().map(|id| shop.name_for(id, activity).unwrap()).collect();
        let (mut order, mut after, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let page = shop.scope_after(activity, after, 4).unwrap();
            sizes.push(page.shown.len());
            let place = |name| names.iter().position(|own| own == name).unwrap();
            order.extend(page.shown.iter().map(|(name, _)| place(name)));
            after = page.next;
            if after.is_none() {
                return (order, sizes);
            }
        }
    };
    let (first, second) = (shown("newsletter"), shown("survey"));
    assert_eq!((&first.1, &second.1), (&vec![4, 4, 4, 0], &vec![4, 4, 4, 0]));
    assert_ne!(first.0, second.0);
    assert!(!first.0.is_sorted() && !second.0.is_sorted());
    for mut order in [first.0, second.0] {
        order.sort_unstable();
        assert!(order.into_iter().eq(0..12), "everybody once");
    }
}
