//! A view ends: what was written goes on record, or is said not to be.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::world::own;
use common::writing::{LONG, PATIENCE, close, create, open, saving, slow_store, stored, write};
use common::{Shop, kind, list, look};
use strongroom_records::ids::SubjectId;
use strongroom_steward::Fence;
use strongroom_view::{Consumer, View};
use strongroom_workspace::door::{Access, Core};
use strongroom_workspace::error::ErrorKind;

const SHORT: Duration = Duration::from_millis(20);

fn folder_of(subject: &SubjectId) -> String {
    format!("subjects/{subject}/owned")
}

/// As a mapping is written: the descriptor was closed before, and nobody hears what becomes of it.
fn map(view: &View, folder: &str, name: &str) {
    let handle = create(view, folder, name).unwrap();
    write(view, handle, 0, b"late").unwrap();
    view.release(handle);
}

#[test]
fn a_view_that_ends_before_its_files_are_in_the_store_says_where_and_puts_them_no_more() {
    let mut shop = Shop::new(1);
    let (ada, bob) = (shop.reader("ada"), shop.reader("bob"));
    let view = shop.own_view();
    let before = shop.world.store.file_count();
    let (on_its_way, go) = slow_store(&shop);
    let saving = saving(&view, folder_of(&ada));
    on_its_way.recv_timeout(PATIENCE).unwrap();
    map(&view, &folder_of(&ada), "after it");
    map(&view, &folder_of(&bob), "after both");
    let refused = view.close_within(SHORT).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let (adas, bobs) = (folder_of(&ada), folder_of(&bob));
    assert!(refused.to_string().contains(&format!("`{adas}` (2)")), "{refused}");
    assert!(refused.to_string().contains(&format!("`{bobs}` (1)")), "{refused}");
    go.send(()).unwrap();
    assert_eq!(kind(saving.join().unwrap()), ErrorKind::Unavailable);
    for (who, name) in [(ada, "long"), (ada, "after it"), (bob, "after both")] {
        assert_eq!(stored(&mut shop, who, "owned", name), None, "{name}");
    }
    assert_eq!(shop.world.store.file_count(), before);
}

#[test]
fn a_view_that_ends_says_where_something_was_refused_that_nobody_waited_for() {
    let mut shop = Shop::new(2);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let handle = open(&view, &format!("{}/file", folder_of(&ada)), Access::Write, true).unwrap();
    write(&view, handle, 0, b"over it").unwrap();
    shop.act(|shop| shop.place_hold(&ada, "litigation").unwrap());
    view.release(handle);
    let refused = view.close().unwrap_err();
    assert!(refused.to_string().contains(&format!("`{}` (1)", folder_of(&ada))), "{refused}");
    assert_eq!(stored(&mut shop, ada, "owned", "file").unwrap(), b"ada owned");
}

#[test]
fn a_view_that_ends_says_where_something_is_still_being_written() {
    let mut shop = Shop::new(3);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let told = create(&view, &folder_of(&ada), "told").unwrap();
    write(&view, told, 0, &vec![b't'; LONG]).unwrap();
    close(&view, told).unwrap();
    let handle = create(&view, &folder_of(&ada), "half").unwrap();
    write(&view, handle, 0, b"ha").unwrap();
    let refused = view.close().unwrap_err();
    assert!(refused.to_string().contains(&format!("`{}` (1)", folder_of(&ada))), "{refused}");
    assert_eq!(stored(&mut shop, ada, "owned", "half"), None);
}

/// A view that looks at the register only when something is asked of it; and who hears that it waits for others to write.
fn seldom_looking(shop: &Shop) -> (View, mpsc::Receiver<()>) {
    let (say, heard) = mpsc::channel();
    let line = shop.fence.shared();
    let fence = Fence::new(move || {
        let raised = line.try_raise();
        if raised.is_none() {
            // Whoever listened may have heard enough.
            let _ = say.send(());
        }
        raised
    });
    let consumer = Consumer {
        stewardship: shop.world.stewardship(),
        custodian: shop.world.open("shop"),
        activity: None,
        fence,
        poll: Duration::from_secs(3600),
    };
    let clock = Arc::clone(&shop.world.clock) as Arc<_>;
    (View::start(consumer, clock, (7, 7)).unwrap(), heard)
}

#[test]
fn whoever_waits_for_people_beside_a_folder_is_told_that_the_view_ends_while_a_file_is_on_its_way()
{
    let mut shop = Shop::new(4);
    let ada = shop.reader("ada");
    // More than one record shows.
    for number in 0..70 {
        let other = shop.person().to_string();
        let name = format!("contract {number}");
        let put = |office: &mut strongroom_steward::Custodian| {
            office.put_file_about(&own(ada, "owned"), &[other], &name, b"text").map(drop)
        };
        shop.act(put).unwrap();
    }
    let (view, waits) = seldom_looking(&shop);
    look(&view, &format!("{}/file", folder_of(&ada))).unwrap();
    let (on_its_way, go) = slow_store(&shop);
    let saving = saving(&view, folder_of(&ada));
    on_its_way.recv_timeout(PATIENCE).unwrap();
    let folder = look(&view, &folder_of(&ada)).unwrap().ino;
    let held = shop.fence.wait();
    let (lists, (say, told)) = (view.clone(), mpsc::channel());
    std::thread::spawn(move || say.send(list(&lists, folder).map(drop)));
    waits.recv_timeout(PATIENCE).unwrap();
    view.close_within(SHORT).unwrap_err();
    drop(held);
    assert_eq!(kind(told.recv_timeout(PATIENCE / 2).unwrap()), ErrorKind::Unavailable);
    // And nothing keeps it busy until the file is there.
    let looks = Arc::new(AtomicUsize::new(0));
    let looked = Arc::clone(&looks);
    shop.world.store.fail_once(move |_| {
        looked.fetch_add(1, Ordering::SeqCst);
        false
    });
    assert!(on_its_way.recv_timeout(5 * SHORT).is_err());
    assert_eq!(looks.load(Ordering::SeqCst), 0);
    go.send(()).unwrap();
    assert_eq!(kind(saving.join().unwrap()), ErrorKind::Unavailable);
}
