//! A view ends: what was written goes on record, or is said not to be.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::writing::{LONG, PATIENCE, close, create, open, saving, slow_store, stored, write};
use common::{Shop, kind};
use strongroom_records::ids::SubjectId;
use strongroom_view::View;
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
