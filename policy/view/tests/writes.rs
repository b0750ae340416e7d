//! Writing through a view: the application's own, and that of an activity that may.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use common::world::{own, proposal};
use common::writing::{
    LONG, ME, PATIENCE, close, create, open, remove, rename, save, saving, slow_store, stored,
    write,
};
use common::{Shop, content, crawl, fail_at, follow, kind, list, look, mounted, now, read};
use strongroom_host::clock::MachineClock;
use strongroom_mount::MountOptions;
use strongroom_records::activity::{Basis, Reach};
use strongroom_records::ids::SubjectId;
use strongroom_records::subject::ConsentStatus::{Given, Withdrawn};
use strongroom_steward::{ErrorKind as StewardKind, Proposal};
use strongroom_view::View;
use strongroom_workspace::door::{
    Access, AllocateMode, Core, Kind, NewNode, RenameMode, SetAttributes, SyncLevel, SyncScope,
};
use strongroom_workspace::error::{ErrorKind, Result};

/// An activity that may write what people agreed to.
fn writing(shop: &mut Shop, name: &str, class: &str) {
    let proposal = Proposal { reach: Reach::Write, ..proposal(name, Basis::Consent, &[class]) };
    shop.act(|shop| {
        shop.register_activity(proposal).unwrap();
        shop.approve_activity(name).unwrap();
    });
}

#[test]
fn an_application_finds_its_people_by_their_ids_without_reading_all_of_them() {
    let mut shop = Shop::new(1);
    let ada = shop.reader("ada");
    let bob = shop.reader("bob");
    for _ in 0..20 {
        shop.person();
    }
    let view = shop.own_view();
    let looked = || shop.world.store.looked.load(Ordering::Relaxed);
    let before = looked();
    assert_eq!(content(&view, &format!("subjects/{ada}/owned/file")).unwrap(), b"ada owned");
    let cost = looked() - before;
    assert_eq!(kind(look(&view, "subjects/00112233445566778899aabbccddeeff")), ErrorKind::NotFound);
    assert_eq!(kind(look(&view, "subjects/nobody")), ErrorKind::NotFound);
    let subjects = look(&view, "subjects").unwrap().ino;
    let before = looked();
    assert_eq!(list(&view, subjects).unwrap().len(), 22);
    assert!(looked() - before > cost, "{cost} looks for one of them");
    assert_eq!(
        content(&view, &format!("subjects/{bob}/identifiable/file")).unwrap(),
        b"bob identifiable"
    );
}

#[test]
fn what_is_written_goes_on_record_when_it_is_closed_and_not_before() {
    let mut shop = Shop::new(2);
    let ada = shop.person();
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    let handle = create(&view, &folder, "order").unwrap();
    assert_eq!(write(&view, handle, 0, b"two boo").unwrap(), 7);
    assert_eq!(write(&view, handle, 7, b"ks").unwrap(), 2);
    assert_eq!(stored(&mut shop, ada, "owned", "order"), None);
    // Whoever uses the same mount sees what is written.
    assert_eq!(content(&view, &format!("{folder}/order")).unwrap(), b"two books");
    assert_eq!(look(&view, &format!("{folder}/order")).unwrap().size, 9);
    now(view.sync(
        SyncScope::Inode(look(&view, &format!("{folder}/order")).unwrap().ino),
        SyncLevel::Local,
    ))
    .unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "order").unwrap(), b"two books");
    write(&view, handle, 0, b"ten").unwrap();
    close(&view, handle).unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "order").unwrap(), b"ten books");
    assert_eq!(content(&view, &format!("{folder}/order")).unwrap(), b"ten books");
    // Nothing was changed: nothing is put.
    let records = shop.act(|shop| shop.record_count());
    let handle = open(&view, &format!("{folder}/order"), Access::ReadWrite, false).unwrap();
    let opened = shop.act(|shop| shop.record_count());
    close(&view, handle).unwrap();
    assert_eq!(shop.act(|shop| shop.record_count()), opened);
    assert!(opened - records <= 1, "opening is one record");
}

#[test]
fn a_profile_that_the_schema_refuses_fails_the_close_and_the_one_before_stays() {
    let mut shop = Shop::new(3);
    let ada = shop.person();
    let schema = r#"{"email": {"type": "email", "lookup": true}}"#;
    shop.act(|shop| shop.set_schema(schema).unwrap());
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/identifiable");
    let good = br#"{"email": "ada@example.com"}"#;
    save(&view, &folder, "profile.json", good).unwrap();
    let refused = save(&view, &folder, "profile.json", br#"{"email": 7}"#);
    assert_eq!(kind(refused), ErrorKind::Invalid);
    assert_eq!(content(&view, &format!("{folder}/profile.json")).unwrap(), good);
    // As editors save: written beside it, then moved over it.
    save(&view, &folder, "profile.json~", br#"{"email": 8}"#).unwrap();
    let moved = rename(&view, &folder, "profile.json~", "profile.json", RenameMode::Replace);
    assert_eq!(kind(moved), ErrorKind::Invalid);
    assert_eq!(stored(&mut shop, ada, "identifiable", "profile.json").unwrap(), good);
    let newer = br#"{"email": "ada@example.org"}"#;
    save(&view, &folder, "profile.json~", newer).unwrap();
    rename(&view, &folder, "profile.json~", "profile.json", RenameMode::Replace).unwrap();
    assert_eq!(stored(&mut shop, ada, "identifiable", "profile.json").unwrap(), newer);
    let find =
        |shop: &mut Shop, email: &str| shop.act(|shop| shop.find_subjects("email", email).unwrap());
    assert_eq!(find(&mut shop, "ada@example.org"), vec![ada]);
    assert_eq!(find(&mut shop, "ada@example.com"), vec![]);
}

#[test]
fn folders_are_made_and_removed_by_commands_and_files_have_nothing_but_bytes() {
    let mut shop = Shop::new(4);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let (person, class) = (format!("subjects/{ada}"), format!("subjects/{ada}/owned"));
    let not_permitted = |result: Result<()>| assert_eq!(kind(result), ErrorKind::NotPermitted);
    let folder = |kind| NewNode { kind, mode: 0o700, rdev: 0, target: Vec::new() };
    for place in ["subjects", &person, &class] {
        let ino = look(&view, place).unwrap().ino;
        not_permitted(now(view.create(ME, ino, b"new", folder(Kind::Folder))).map(drop));
        not_permitted(now(view.create(ME, ino, b"new", folder(Kind::Symlink))).map(drop));
    }
    not_permitted(create(&view, &person, "new").map(drop));
    not_permitted(remove(&view, &person, "owned"));
    let ino = look(&view, &person).unwrap().ino;
    not_permitted(now(view.remove_folder(ino, b"owned")));
    let file = look(&view, &format!("{class}/file")).unwrap().ino;
    not_permitted(now(view.link(file, look(&view, &class).unwrap().ino, b"link")).map(drop));
    let mode = |mode| SetAttributes { mode: Some(mode), ..SetAttributes::default() };
    not_permitted(now(view.set_attributes(file, mode(0o644))).map(drop));
    assert_eq!(now(view.set_attributes(file, mode(0o600))).unwrap().mode, 0o600);
    let other = format!("subjects/{ada}/identifiable");
    let (from, to) = (look(&view, &class).unwrap().ino, look(&view, &other).unwrap().ino);
    let moved = now(view.rename((from, b"file"), (to, b"moved"), RenameMode::Replace));
    assert_eq!(kind(moved), ErrorKind::CrossesCompartments);
    assert_eq!(content(&view, &format!("{class}/file")).unwrap(), b"ada owned");
}

#[test]
fn what_a_hold_keeps_is_neither_removed_nor_written_over() {
    let mut shop = Shop::new(5);
    let ada = shop.reader("ada");
    shop.act(|shop| shop.place_hold(&ada, "litigation").unwrap());
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    save(&view, &folder, "new", b"beside it").unwrap();
    let denied = |result: Result<()>| assert_eq!(kind(result), ErrorKind::Denied);
    denied(save(&view, &folder, "file", b"over it"));
    denied(remove(&view, &folder, "file"));
    denied(rename(&view, &folder, "new", "file", RenameMode::Replace));
    assert_eq!(content(&view, &format!("{folder}/file")).unwrap(), b"ada owned");
    let over = shop.act(|shop| shop.put_file(&own(ada, "owned"), "file", b"over it").map(drop));
    assert_eq!(over.unwrap_err().kind(), StewardKind::Held);
    shop.act(|shop| shop.lift_hold(&ada, "litigation").unwrap());
    follow(&view);
    save(&view, &folder, "file", b"over it").unwrap();
    remove(&view, &folder, "new").unwrap();
    assert_eq!(crawl(&view).len(), 2);
    assert_eq!(stored(&mut shop, ada, "owned", "file").unwrap(), b"over it");
}

#[test]
fn an_activity_that_may_write_writes_what_was_agreed_and_nothing_once_it_is_withdrawn() {
    let mut shop = Shop::new(6);
    writing(&mut shop, "notes", "owned");
    let (ada, bob) = (shop.reader("ada"), shop.reader("bob"));
    shop.say(ada, "notes", Given);
    let view = shop.view("notes");
    let person = common::only(&view);
    let folder = format!("{person}/owned");
    save(&view, &folder, "note", b"called back").unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "note").unwrap(), b"called back");
    assert_eq!(kind(look(&view, &format!("{person}/identifiable"))), ErrorKind::NotFound);
    let handle = open(&view, &format!("{folder}/note"), Access::ReadWrite, false).unwrap();
    write(&view, handle, 0, b"CALLED").unwrap();
    shop.say(ada, "notes", Withdrawn);
    shop.say(bob, "notes", Given);
    follow(&view);
    assert_eq!(kind(write(&view, handle, 0, b"x")), ErrorKind::Denied);
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
    assert_eq!(kind(close(&view, handle)), ErrorKind::Denied);
    assert_eq!(stored(&mut shop, ada, "owned", "note").unwrap(), b"called back");
    // One that may only read writes nothing at all.
    let reader = shop.view("newsletter");
    let person = common::only_of(&reader, 2);
    let read_only = |result: Result<()>| assert_eq!(kind(result), ErrorKind::ReadOnly);
    read_only(create(&reader, &format!("{person}/owned"), "new").map(drop));
    read_only(open(&reader, &format!("{person}/owned/file"), Access::Write, true).map(drop));
    read_only(remove(&reader, &format!("{person}/owned"), "file"));
}

#[test]
fn a_file_that_was_removed_or_moved_over_while_it_was_written_stays_away() {
    let mut shop = Shop::new(7);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    let path = format!("{folder}/file");
    let handle = open(&view, &path, Access::ReadWrite, false).unwrap();
    write(&view, handle, 0, b"ADA").unwrap();
    remove(&view, &folder, "file").unwrap();
    assert_eq!(kind(look(&view, &path)), ErrorKind::NotFound);
    assert_eq!(read(&view, handle).unwrap(), b"ADA owned");
    close(&view, handle).unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "file"), None);
    let first = create(&view, &folder, "file").unwrap();
    write(&view, first, 0, b"first").unwrap();
    save(&view, &folder, "second", b"second").unwrap();
    rename(&view, &folder, "second", "file", RenameMode::Replace).unwrap();
    close(&view, first).unwrap();
    assert_eq!(content(&view, &path).unwrap(), b"second");
    assert_eq!(stored(&mut shop, ada, "owned", "file").unwrap(), b"second");
    let taken = create(&view, &folder, "file");
    assert_eq!(kind(taken), ErrorKind::Exists);
    // What is moved while it is written is written under its new name.
    let moved = open(&view, &path, Access::Write, true).unwrap();
    write(&view, moved, 0, b"on its way").unwrap();
    rename(&view, &folder, "file", "moved", RenameMode::NoReplace).unwrap();
    write(&view, moved, 10, b" still").unwrap();
    close(&view, moved).unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "file"), None);
    assert_eq!(stored(&mut shop, ada, "owned", "moved").unwrap(), b"on its way still");
}

#[test]
fn a_file_that_could_not_be_written_whole_replaces_none() {
    let mut shop = Shop::new(10);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    let path = format!("{folder}/file");
    let handle = open(&view, &path, Access::Write, true).unwrap();
    write(&view, handle, 0, b"the first part").unwrap();
    assert_eq!(kind(write(&view, handle, 64 << 20, b"x")), ErrorKind::TooLarge);
    assert_eq!(kind(close(&view, handle)), ErrorKind::TooLarge);
    assert_eq!(stored(&mut shop, ada, "owned", "file").unwrap(), b"ada owned");
    assert_eq!(content(&view, &path).unwrap(), b"ada owned");
    // Emptied, it is begun anew.
    let handle = open(&view, &path, Access::Write, true).unwrap();
    assert_eq!(kind(write(&view, handle, 64 << 20, b"x")), ErrorKind::TooLarge);
    let ino = look(&view, &path).unwrap().ino;
    let empty = SetAttributes { size: Some(0), ..SetAttributes::default() };
    now(view.set_attributes(ino, empty)).unwrap();
    write(&view, handle, 0, b"whole").unwrap();
    close(&view, handle).unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "file").unwrap(), b"whole");
}

#[test]
fn what_was_written_before_a_withdrawal_is_not_put_on_record_by_a_new_yes() {
    let mut shop = Shop::new(11);
    writing(&mut shop, "notes", "owned");
    let ada = shop.reader("ada");
    shop.say(ada, "notes", Given);
    let view = shop.view("notes");
    let folder = format!("{}/owned", common::only(&view));
    let handle = create(&view, &folder, "note").unwrap();
    write(&view, handle, 0, b"of before").unwrap();
    shop.say(ada, "notes", Withdrawn);
    follow(&view);
    shop.say(ada, "notes", Given);
    follow(&view);
    assert_eq!(kind(close(&view, handle)), ErrorKind::Denied);
    assert_eq!(stored(&mut shop, ada, "owned", "note"), None);
    save(&view, &folder, "note", b"of now").unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "note").unwrap(), b"of now");
}

#[test]
fn a_name_that_a_hidden_file_has_is_said_to_be_taken() {
    let mut shop = Shop::new(12);
    let (ada, bob) = (shop.reader("ada"), shop.reader("bob"));
    shop.act(|shop| {
        shop.put_file_about(&own(ada, "owned"), &[bob.to_string()], "both", b"of two").unwrap();
        shop.restrict(&bob, true).unwrap();
    });
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    assert_eq!(kind(save(&view, &folder, "both", b"of one")), ErrorKind::Exists);
    assert_eq!(
        kind(rename(&view, &folder, "file", "both", RenameMode::Replace)),
        ErrorKind::Exists
    );
}

#[test]
fn what_was_written_and_not_closed_goes_on_record_when_the_view_ends() {
    let mut shop = Shop::new(9);
    let ada = shop.person();
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    // As a mapping is written: the descriptor was closed before.
    let handle = create(&view, &folder, "mapped").unwrap();
    write(&view, handle, 0, b"late").unwrap();
    assert!(view.space().free_bytes > 0, "programs look before they write");
    view.release(handle);
    view.close().unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "mapped").unwrap(), b"late");
}

/// Files by name, as they should be.
type Plain = BTreeMap<String, Vec<u8>>;

fn step(view: &View, folder: &str, plain: &mut Plain, chance: &mut impl FnMut(u64) -> u64) {
    let name = format!("f{}", chance(6));
    let path = format!("{folder}/{name}");
    let bytes = vec![chance(250) as u8; chance(70_000) as usize];
    match chance(6) {
        0 | 1 => {
            save(view, folder, &name, &bytes).unwrap();
            plain.insert(name, bytes);
        }
        2 => {
            let done = remove(view, folder, &name);
            assert_eq!(done.is_ok(), plain.remove(&name).is_some());
        }
        3 => {
            let to = format!("f{}", chance(6));
            let done = rename(view, folder, &name, &to, RenameMode::Replace);
            assert_eq!(done.is_ok(), plain.contains_key(&name));
            if let Some(moved) = plain.remove(&name) {
                plain.insert(to, moved);
            }
        }
        4 => {
            let Ok(found) = look(view, &path) else { return assert!(!plain.contains_key(&name)) };
            let size = chance(80_000);
            let cut = SetAttributes { size: Some(size), ..SetAttributes::default() };
            assert_eq!(now(view.set_attributes(found.ino, cut)).unwrap().size, size);
            plain.get_mut(&name).unwrap().resize(size as usize, 0);
        }
        _ => {
            let Some(own) = plain.get_mut(&name) else { return };
            let handle = open(view, &path, Access::ReadWrite, false).unwrap();
            let at = chance(own.len() as u64 + 100);
            write(view, handle, at, &bytes).unwrap();
            let end = at as usize + bytes.len();
            if !bytes.is_empty() {
                own.resize(own.len().max(end), 0);
                own[at as usize..end].copy_from_slice(&bytes);
            }
            let longer = own.len() as u64 + 5;
            now(view.allocate(handle, AllocateMode::Extend, 0, longer)).unwrap();
            own.resize(longer as usize, 0);
            assert_eq!(&read(view, handle).unwrap(), own);
            close(view, handle).unwrap();
        }
    }
}

#[test]
fn whatever_is_done_to_files_of_a_class_equals_a_plain_map_here_and_in_the_register() {
    for seed in 0..4_u64 {
        let mut shop = Shop::new(20 + seed);
        let ada = shop.person();
        let view = shop.own_view();
        let folder = format!("subjects/{ada}/owned");
        let mut state = seed + 1;
        let mut chance = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            (state >> 33) % below
        };
        let mut plain = Plain::new();
        for _ in 0..60 {
            step(&view, &folder, &mut plain, &mut chance);
        }
        let shown = |view: &View| -> Plain {
            let prefix = format!("{folder}/");
            let strip =
                |(path, bytes): (String, _)| (path.strip_prefix(&prefix).unwrap().into(), bytes);
            crawl(view).into_iter().map(strip).collect()
        };
        assert_eq!(shown(&view), plain, "seed {seed}");
        assert_eq!(shown(&shop.own_view()), plain, "seed {seed}");
        for (name, bytes) in &plain {
            assert_eq!(&stored(&mut shop, ada, "owned", name).unwrap(), bytes);
        }
        let verified = shop.act(|shop| shop.report(&ada).unwrap());
        assert!(verified.holds());
    }
}

#[test]
fn programs_write_files_of_people_in_a_mount_as_anywhere() {
    let mut shop = Shop::new(8);
    let ada = shop.person();
    let schema = r#"{"email": {"type": "email", "lookup": true}}"#;
    shop.act(|shop| shop.set_schema(schema).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let view = shop.start(None, Arc::new(MachineClock::new()));
    let Some(mount) = mounted(view, folder.path(), MountOptions::default()) else { return };
    let owned = folder.path().join(format!("subjects/{ada}/owned"));
    let profile = folder.path().join(format!("subjects/{ada}/identifiable/profile.json"));
    fs::write(&profile, r#"{"email": "ada@example.com"}"#).unwrap();
    // Shell and tools of everybody: what they return is what counts.
    let script = r#"
        set -e
        cd "$1"
        echo one > order
        echo two >> order
        cp order copy
        mv copy moved
        sed -i s/one/1/ moved
        head -c 300000 /dev/urandom > "$2/large"
        cp "$2/large" large
        cmp "$2/large" large
        truncate -s 1000 large
        test "$(stat -c %s large)" = 1000
        touch empty
        rm empty
        test "$(ls | sort | tr '\n' ' ')" = "large moved order "
    "#;
    let apart = tempfile::tempdir().unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).arg("sh").arg(&owned).arg(apart.path());
    assert!(shell.status().unwrap().success());
    assert_eq!(stored(&mut shop, ada, "owned", "order").unwrap(), b"one\ntwo\n");
    assert_eq!(stored(&mut shop, ada, "owned", "moved").unwrap(), b"1\ntwo\n");
    let large = fs::read(apart.path().join("large")).unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "large").unwrap(), large[..1000]);
    // What the register refuses is what `close` says, and `fs::write` does not look: a file that syncs does.
    let mut file = fs::File::options().write(true).truncate(true).open(&profile).unwrap();
    file.write_all(b"no profile").unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    drop(file);
    assert_eq!(fs::read(&profile).unwrap(), br#"{"email": "ada@example.com"}"#);
    let mut file = fs::File::options().read(true).write(true).open(owned.join("order")).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"three\n").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\nthree\n");
    drop(file);
    // What was refused is not what is read, though the kernel had it.
    let kept = vec![b'k'; 10_000];
    fs::write(owned.join("kept"), &kept).unwrap();
    shop.act(|shop| shop.place_hold(&ada, "litigation").unwrap());
    let mut file = fs::File::options().write(true).open(owned.join("kept")).unwrap();
    file.write_all(&[b'x'; 10_000]).unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EACCES));
    drop(file);
    let began = std::time::Instant::now();
    while fs::read(owned.join("kept")).unwrap() != kept {
        assert!(began.elapsed().as_secs() < 30, "what was refused is read on");
        std::thread::yield_now();
    }
    assert_eq!(stored(&mut shop, ada, "owned", "order").unwrap(), b"one\ntwo\nthree\n");
    mount.unmount().unwrap();
}

#[test]
fn a_view_whose_file_is_on_its_way_follows_and_serves_and_keeps_nobody_from_writing() {
    let mut shop = Shop::new(30);
    writing(&mut shop, "editor", "owned");
    let [ada, bob] = ["ada", "bob"].map(|name| {
        let subject = shop.reader(name);
        shop.say(subject, "editor", Given);
        subject
    });
    let names = [ada, bob].map(|who| shop.act(|shop| shop.name_for(&who, "editor").unwrap()));
    let view = shop.view("editor");
    let [adas, bobs] = names.map(|name| format!("subjects/{name}/owned"));
    let handle = open(&view, &format!("{adas}/file"), Access::Read, false).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    let (on_its_way, go) = slow_store(&shop);
    let saving = saving(&view, bobs.clone());
    on_its_way.recv_timeout(PATIENCE).unwrap();
    // What somebody reads there first is on record before.
    assert_eq!(content(&view, &format!("{bobs}/file")).unwrap(), b"bob owned");
    shop.say(ada, "editor", Withdrawn);
    follow(&view);
    assert_eq!(kind(read(&view, handle)), ErrorKind::Denied);
    assert!(!saving.is_finished(), "it is on its way still");
    go.send(()).unwrap();
    saving.join().unwrap().unwrap();
    assert_eq!(stored(&mut shop, bob, "owned", "long").unwrap(), vec![b'l'; LONG]);
    assert_eq!(content(&view, &format!("{bobs}/long")).unwrap(), vec![b'l'; LONG]);
}

#[test]
fn what_is_withdrawn_while_a_views_file_is_on_its_way_keeps_it_off_record_also_if_it_is_given_again()
 {
    for again in [false, true] {
        let mut shop = Shop::new(31);
        writing(&mut shop, "editor", "owned");
        let ada = shop.reader("ada");
        shop.say(ada, "editor", Given);
        let name = shop.act(|shop| shop.name_for(&ada, "editor").unwrap());
        let view = shop.view("editor");
        let (on_its_way, go) = slow_store(&shop);
        let saving = saving(&view, format!("subjects/{name}/owned"));
        on_its_way.recv_timeout(PATIENCE).unwrap();
        let before = shop.world.store.file_count();
        shop.say(ada, "editor", Withdrawn);
        follow(&view);
        if again {
            shop.say(ada, "editor", Given);
            follow(&view);
        }
        go.send(()).unwrap();
        assert_eq!(kind(saving.join().unwrap()), ErrorKind::Denied);
        assert_eq!(stored(&mut shop, ada, "owned", "long"), None);
        assert_eq!(shop.world.store.file_count(), before);
    }
}

#[test]
fn whoever_writes_through_a_view_is_told_of_a_failure_only_if_it_is_not_on_record() {
    type Deed = (&'static str, fn(&View, &str) -> Result<()>, fn(&mut Shop, SubjectId) -> bool);
    let deeds: [Deed; 3] = [
        (
            "short",
            |view, folder| save(view, folder, "file", b"over it"),
            |shop, ada| stored(shop, ada, "owned", "file").unwrap() == b"over it",
        ),
        (
            "long",
            |view, folder| save(view, folder, "file", &[b'l'; LONG]),
            |shop, ada| stored(shop, ada, "owned", "file").unwrap() == [b'l'; LONG],
        ),
        (
            "renamed",
            |view, folder| rename(view, folder, "file", "moved", RenameMode::Replace),
            |shop, ada| stored(shop, ada, "owned", "moved").is_some(),
        ),
    ];
    for (what, act, is_done) in deeds {
        for count in 0.. {
            let mut shop = Shop::new(33);
            let ada = shop.reader("ada");
            let view = shop.own_view();
            let folder = format!("subjects/{ada}/owned");
            look(&view, &format!("{folder}/file")).unwrap();
            fail_at(&shop, count);
            let done = act(&view, &folder);
            let is_through = shop.world.store.will_fail();
            shop.world.store.fail_once(|_| false);
            assert_eq!(done.is_ok(), is_done(&mut shop, ada), "{what}, {count}: {done:?}");
            if is_through {
                break;
            }
        }
    }
}

#[test]
fn what_is_asked_of_a_file_on_its_way_is_done_after_it_and_a_view_that_ends_waits_for_it() {
    let mut shop = Shop::new(32);
    let ada = shop.reader("ada");
    let view = shop.own_view();
    let folder = format!("subjects/{ada}/owned");
    let (on_its_way, go) = slow_store(&shop);
    let first = saving(&view, folder.clone());
    on_its_way.recv_timeout(PATIENCE).unwrap();
    let renamed = thread::spawn({
        let (view, folder) = (view.clone(), folder.clone());
        move || rename(&view, &folder, "long", "longer", RenameMode::Replace)
    });
    assert!(!first.is_finished() && !renamed.is_finished());
    go.send(()).unwrap();
    first.join().unwrap().unwrap();
    renamed.join().unwrap().unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "longer").unwrap(), vec![b'l'; LONG]);
    let (on_its_way, go) = slow_store(&shop);
    let last = saving(&view, folder);
    on_its_way.recv_timeout(PATIENCE).unwrap();
    let ends = thread::spawn(move || view.close());
    go.send(()).unwrap();
    ends.join().unwrap().unwrap();
    last.join().unwrap().unwrap();
    assert_eq!(stored(&mut shop, ada, "owned", "long").unwrap(), vec![b'l'; LONG]);
}
