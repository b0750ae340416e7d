//! Files are open under leases, each with its record.

use std::sync::Arc;
use std::time::Duration;

use strongroom_host::sim::Chance;
use strongroom_records::ids::SubjectId;
use strongroom_workspace::door::{Core, ListDetail};
use strongroom_workspace::error::ErrorKind;

use crate::common::world::START_NS;
use crate::common::{Shop, content, follow, kind, list, look, now, only, open, read};

use super::{opened, paths, until};

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
    shop.world.clock.set_now_ns(START_NS);
    assert!(read(&view, handle).is_ok());
}

#[test]
fn a_page_of_people_ends_before_the_first_who_has_yet_to_be_shown() {
    let mut shop = Shop::new(18);
    for _ in 0..6 {
        shop.reader("somebody");
    }
    let view = shop.view("newsletter");
    let folder = look(&view, "subjects").unwrap().ino;
    let names: Vec<String> = list(&view, folder).unwrap().into_iter().map(|own| own.0).collect();
    assert_eq!(names.len(), 6);
    // Leases are over. One is looked at, and shown again.
    shop.world.clock.advance(Duration::from_secs(500));
    look(&view, &format!("subjects/{}", names[0])).unwrap();
    let count = shop.act(|shop| shop.record_count());
    let page = now(view.read_folder(folder, 2, 6, ListDetail::Names)).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(shop.act(|shop| shop.record_count()), count, "nobody was asked");
    // The others are shown together, and all are listed.
    let again: Vec<String> = list(&view, folder).unwrap().into_iter().map(|own| own.0).collect();
    assert_eq!(again, names);
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
