//! What is taken away is gone from a view.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom_records::activity::ActivityState;
use strongroom_records::application::ApplicationState;
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};
use strongroom_steward::Answer;
use strongroom_store::{Key, PolicyKey, Shelf};
use strongroom_view::View;
use strongroom_workspace::door::{Change, Core, Ino};
use strongroom_workspace::error::ErrorKind;

use crate::common::world::{answer, is_registers};
use crate::common::{
    FOLLOW, Shop, content, crawl, follow, kind, list, look, now, only, open, read,
};

use super::paths;

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
        let _ = now(view.xattr(Ino::ROOT, FOLLOW));
    }
    follow(&view);
    assert_eq!(kind(look(&view, &path)), ErrorKind::NotFound);
}
