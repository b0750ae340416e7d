//! Yesterday's store, yesterday's home and yesterday's key file, all of them whole: nobody who was erased since is back, and
//! nobody who said no since is taken for one who said yes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "restore/said.rs"]
mod said;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{World, answer, kind, own, registered};
use strongroom_crypto::hash::sha256;
use strongroom_custody::Custody;
use strongroom_custody::file::KeyFile;
use strongroom_host::disk::{Disk, read_all, replace_file};
use strongroom_host::sim::SimDisk;
use strongroom_records::activity::Basis;
use strongroom_records::ids::{ApplicationId, Hash, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{Answer, Carry, Custodian, ErrorKind, Replayed, Result, verify_receipt};
use strongroom_store::{Key, Store};

const LEDGER: &str = "file:/apart/erased";
const ELSEWHERE: &str = "file:/elsewhere/erased";

fn withdrawn() -> Answer {
    answer("newsletter", ConsentStatus::Withdrawn)
}

/// A shop whose key is in a file, as an ordinary backup finds it.
struct Shop {
    world: World,
    disk: SimDisk,
    people: Vec<SubjectId>,
}

/// Everything a backup has.
struct Backup {
    store: BTreeMap<Key, Bytes>,
    heads: BTreeMap<ApplicationId, strongroom_audit::Pin>,
    key_file: Vec<u8>,
}

impl Shop {
    fn new(seed: u64) -> Self {
        let (world, disk) = (World::new(seed), SimDisk::new(seed));
        disk.create_folder("/custody".as_ref()).unwrap();
        let mut shop = Self { world, disk, people: Vec::new() };
        let mut stewardship = shop.world.stewardship();
        let made = stewardship.create("shop", "file:/custody/keys", shop.custody(), 1);
        let mut custodian = made.unwrap();
        registered(&mut custodian, "newsletter", Basis::Consent, &["owned"]);
        for name in ["ada", "bob", "charlie"] {
            let subject = custodian.create_subject(&[("name".into(), name.into())]).unwrap();
            let content = format!("{name} ordered roses");
            custodian.put_file(&own(subject, "owned"), "order", content.as_bytes()).unwrap();
            let yes = answer("newsletter", ConsentStatus::Given);
            custodian.answer(&subject, &yes).unwrap();
            shop.people.push(subject);
        }
        shop
    }

    fn custody(&self) -> Arc<dyn Custody> {
        Arc::new(KeyFile::new(Arc::new(self.disk.clone()), "/custody/keys".into()))
    }

    fn open(&self) -> Result<Custodian> {
        self.world.stewardship().application("shop", self.custody())
    }

    fn backup(&self) -> Backup {
        Backup {
            store: self.world.store.live(),
            heads: self.world.pins.heads.lock().unwrap().clone(),
            key_file: read_all(&self.disk, "/custody/keys".as_ref()).unwrap(),
        }
    }

    fn restore(&self, backup: &Backup) {
        for key in self.world.store.live().keys() {
            strongroom_store::now(self.world.store.delete(*key)).unwrap();
        }
        for (key, bytes) in &backup.store {
            self.world.store.put_now(*key, bytes.clone());
        }
        self.world.pins.heads.lock().unwrap().clone_from(&backup.heads);
        replace_file(&self.disk, "/custody/keys".as_ref(), &backup.key_file).unwrap();
    }

    fn read(&self, person: usize) -> Result<Vec<u8>> {
        self.open()?.read_file(&own(self.people[person], "owned"), "order")
    }

    fn say(&self, person: usize, status: ConsentStatus) -> Result<Vec<u8>> {
        self.open()?.answer(&self.people[person], &answer("newsletter", status))
    }

    /// What somebody's answer is, and that the job sees them if and only if it is a yes.
    #[track_caller]
    fn expect_said(&self, person: usize, status: ConsentStatus) {
        let mut shop = self.open().unwrap();
        let (subject, found) = (self.people[person], shop.consents(&self.people[person]).unwrap());
        assert_eq!(found.iter().map(|(_, own)| *own).collect::<Vec<_>>(), [status], "{person}");
        let name = shop.name_for(&subject, "newsletter").unwrap();
        let is_seen = shop.scope("newsletter").unwrap().iter().any(|(own, _)| *own == name);
        assert_eq!(is_seen, status.allows(), "{person}");
        assert!(shop.verify().unwrap().findings.is_empty());
    }

    fn ledger(&self) -> Vec<u8> {
        self.world.pins.ledgers.lock().unwrap()[LEDGER].clone()
    }

    fn set_ledger_bytes(&self, bytes: Vec<u8>) {
        self.world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), bytes);
    }

    /// A process says something for the first of the people, and dies after the ledger has it.
    #[track_caller]
    fn dies_saying(&self, say: impl FnOnce(&mut Custodian, SubjectId) -> Result<()>) {
        let mut writer = self.open().unwrap();
        let told = self.ledger().len();
        self.world.store.die_after(Some(0));
        assert_eq!(kind(say(&mut writer, self.people[0])), ErrorKind::Unavailable);
        self.world.store.die_after(None);
        assert!(self.ledger().len() > told);
    }

    fn state(&self, person: usize) -> SubjectState {
        self.open().unwrap().subject(&self.people[person]).unwrap().state
    }

    /// Nobody but those left is here, and what was yesterday's key ends again.
    #[track_caller]
    fn expect_gone(&self, gone: &[usize]) {
        for person in 0..self.people.len() {
            let read = self.read(person);
            if gone.contains(&person) {
                assert_eq!(kind(read), ErrorKind::Denied, "{person}");
                assert_eq!(self.state(person), SubjectState::Erased, "{person}");
            } else {
                assert!(read.unwrap().ends_with(b"ordered roses"), "{person}");
            }
        }
        let mut shop = self.open().unwrap();
        assert_eq!(shop.scope("newsletter").unwrap().len(), self.people.len() - gone.len());
        assert!(shop.find_subjects("name", "ada").unwrap().is_empty() == gone.contains(&0));
        assert!(shop.verify().unwrap().findings.is_empty());
        let application = shop.listed().application;
        assert_eq!(self.custody().list(&application).unwrap().len(), 1, "application keys");
    }
}

#[test]
fn a_whole_backup_brings_nobody_back_where_a_ledger_is_kept_apart() {
    let shop = Shop::new(51);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    let mut custodian = shop.open().unwrap();
    custodian.erase(&shop.people[0]).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_gone(&[0]);
    // Opened once more, there is nothing left to do.
    let records = shop.open().unwrap().record_count();
    assert_eq!(shop.open().unwrap().record_count(), records);
    // The same again, from a backup that is older than two erasures.
    shop.open().unwrap().erase(&shop.people[1]).unwrap();
    shop.restore(&yesterday);
    shop.expect_gone(&[0, 1]);
}

/// Set again, by a script say, the ledger still ends with who was erased last, though somebody older was.
#[test]
fn a_ledger_that_is_set_again_brings_nobody_back() {
    let shop = Shop::new(58);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    custodian.erase(&shop.people[1]).unwrap();
    let yesterday = shop.backup();
    custodian.erase(&shop.people[0]).unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_gone(&[0, 1]);
}

/// The backup asks at the old place, and is sent on; also when the writer died before its record named the new one.
#[test]
fn a_ledger_that_moved_is_found_by_backups_that_name_the_old_place() {
    for moved_whole in [true, false] {
        let shop = Shop::new(59);
        let mut custodian = shop.open().unwrap();
        custodian.set_ledger(Some(LEDGER)).unwrap();
        let yesterday = shop.backup();
        shop.world.store.die_after((!moved_whole).then_some(0));
        assert_eq!(custodian.set_ledger(Some(ELSEWHERE)).is_ok(), moved_whole);
        shop.world.store.die_after(None);
        drop(custodian);
        shop.open().unwrap().erase(&shop.people[0]).unwrap();
        assert_eq!(shop.open().unwrap().ledger().unwrap().unwrap(), ELSEWHERE);
        shop.restore(&yesterday);
        shop.expect_gone(&[0]);
        assert_eq!(shop.open().unwrap().ledger().unwrap().unwrap(), ELSEWHERE);
        // Back again, and with nothing there that sends on for ever.
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        shop.open().unwrap().erase(&shop.people[2]).unwrap();
        shop.restore(&yesterday);
        shop.expect_gone(&[0, 2]);
        // A place that is away says nothing.
        shop.open().unwrap().set_ledger(Some(ELSEWHERE)).unwrap();
        shop.restore(&yesterday);
        shop.world.pins.ledgers.lock().unwrap().remove(ELSEWHERE);
        assert_eq!(kind(shop.open()), ErrorKind::Unavailable);
    }
}

#[test]
fn a_ledger_that_went_to_and_fro_before_anybody_was_erased_opens() {
    let shop = Shop::new(60);
    for place in [LEDGER, ELSEWHERE, LEDGER] {
        shop.open().unwrap().set_ledger(Some(place)).unwrap();
        assert_eq!(shop.open().unwrap().ledger().unwrap().unwrap(), place);
    }
    let yesterday = shop.backup();
    shop.open().unwrap().erase(&shop.people[0]).unwrap();
    shop.restore(&yesterday);
    shop.expect_gone(&[0]);
}

/// The control: without a ledger the same backup opens, and a receipt that somebody kept ends it.
#[test]
fn without_a_ledger_the_receipt_of_an_erasure_ends_what_a_backup_brought_back() {
    let shop = Shop::new(52);
    let yesterday = shop.backup();
    let receipt = shop.open().unwrap().erase(&shop.people[0]).unwrap().receipt;
    shop.restore(&yesterday);
    assert_eq!(shop.read(0).unwrap(), b"ada ordered roses");
    let mut custodian = shop.open().unwrap();
    assert_eq!(custodian.replay(&receipt).unwrap().erased, [shop.people[0]]);
    assert_eq!(custodian.replay(&receipt).unwrap(), Replayed::default());
    drop(custodian);
    shop.expect_gone(&[0]);
}

#[test]
fn a_hold_that_was_lifted_before_the_erasure_does_not_bring_back_whom_it_kept() {
    let shop = Shop::new(53);
    let ada = shop.people[0];
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    custodian.place_hold(&ada, "litigation").unwrap();
    let yesterday = shop.backup();
    assert_eq!(kind(custodian.erase(&ada)), ErrorKind::Held);
    custodian.lift_hold(&ada, "litigation").unwrap();
    custodian.erase(&ada).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_gone(&[0]);
}

#[test]
fn who_was_erased_before_there_was_a_ledger_is_in_it_as_well() {
    let shop = Shop::new(54);
    let yesterday = shop.backup();
    let mut custodian = shop.open().unwrap();
    custodian.erase(&shop.people[2]).unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    drop(custodian);
    let lines = shop.world.pins.ledgers.lock().unwrap()[LEDGER].clone();
    shop.restore(&yesterday);
    // The backup knows of no ledger: it has to be told.
    assert_eq!(shop.open().unwrap().replay(&lines).unwrap().erased, [shop.people[2]]);
    shop.expect_gone(&[2]);
}

#[test]
fn nothing_is_opened_and_nobody_erased_without_the_ledger_that_is_kept() {
    let shop = Shop::new(55);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let away = shop.world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
    assert_eq!(kind(custodian.erase(&shop.people[0])), ErrorKind::Unavailable);
    assert_eq!(custodian.subject(&shop.people[0]).unwrap().state, SubjectState::Erasing);
    drop(custodian);
    assert_eq!(kind(shop.open()), ErrorKind::Unavailable);
    shop.world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), away);
    let erased = shop.open().unwrap().erase(&shop.people[0]).unwrap();
    assert!(verify_receipt(&erased.receipt, &shop.world.services.organisation.now()).is_ok());
    shop.expect_gone(&[0]);
}

#[test]
fn a_ledger_that_is_lost_for_good_is_given_up_by_who_says_so_and_that_is_on_record() {
    let shop = Shop::new(77);
    let give_up = || shop.world.stewardship().application_without_ledger("shop", shop.custody());
    // None is kept, or it is there: nothing is given up.
    assert_eq!(kind(give_up()), ErrorKind::Invalid);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    shop.say(0, ConsentStatus::Withdrawn).unwrap();
    assert_eq!(kind(give_up()), ErrorKind::Invalid);
    let yesterday = shop.backup();
    shop.world.pins.ledgers.lock().unwrap().remove(LEDGER);
    assert_eq!(kind(shop.open()), ErrorKind::Unavailable);
    let custodian = give_up().unwrap();
    assert_eq!(custodian.ledger().unwrap(), None);
    let entries = custodian.entries(0, u64::MAX).unwrap();
    let lost = entries.iter().filter(|entry| entry.kind == Kind::LedgerLost);
    assert_eq!(
        lost.map(|entry| entry.object).collect::<Vec<_>>(),
        [Some(Hash(sha256(LEDGER.as_bytes())))]
    );
    assert!(custodian.verify().unwrap().findings.is_empty());
    drop(custodian);
    shop.expect_said(0, ConsentStatus::Withdrawn);
    // A new one begins with what is on record; an older copy asks for the lost one again.
    shop.open().unwrap().set_ledger(Some(ELSEWHERE)).unwrap();
    shop.expect_said(0, ConsentStatus::Withdrawn);
    shop.restore(&yesterday);
    assert_eq!(kind(shop.open()), ErrorKind::Unavailable);
}

#[test]
fn a_ledger_that_anybody_else_wrote_erases_nobody() {
    let shop = Shop::new(56);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    let head = shop.world.pins.ledgers.lock().unwrap()[LEDGER].len();
    shop.open().unwrap().erase(&shop.people[0]).unwrap();
    shop.restore(&yesterday);
    let whole = shop.world.pins.ledgers.lock().unwrap()[LEDGER].clone();
    // The line before hers says where the ledger is.
    let mut bad: Vec<Vec<u8>> = (head + 8..whole.len())
        .step_by(7)
        .map(|at| {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            bad
        })
        .collect();
    let mut sent_on = whole.clone();
    let place = whole.windows(LEDGER.len()).position(|own| own == LEDGER.as_bytes()).unwrap();
    sent_on[place + 6] ^= 1;
    bad.extend([whole[..whole.len() - 1].to_vec(), [&whole[..], b"x"].concat(), sent_on]);
    for bad in bad {
        shop.world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), bad);
        // A line may come to be about another application, which is not ours to judge.
        if let Ok(custodian) = shop.open() {
            let state = custodian.subject(&shop.people[0]).unwrap().state;
            assert_eq!(state, SubjectState::Active);
        }
    }
    shop.world.pins.ledgers.lock().unwrap().insert(LEDGER.to_owned(), whole);
    shop.expect_gone(&[0]);
}

/// The machine dies at every single change of the store while the ledger is carried out again.
#[test]
fn a_replay_that_was_interrupted_anywhere_goes_on_before_anything_opens() {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { 8 };
    for calls in (0..200).step_by(stride) {
        let shop = Shop::new(57);
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        let yesterday = shop.backup();
        let mut custodian = shop.open().unwrap();
        custodian.erase(&shop.people[0]).unwrap();
        custodian.erase(&shop.people[2]).unwrap();
        drop(custodian);
        shop.restore(&yesterday);
        shop.world.store.die_after(Some(calls));
        let is_through = shop.open().is_ok();
        shop.world.store.die_after(None);
        shop.expect_gone(&[0, 2]);
        if is_through {
            assert!(calls > 20, "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}

/// An erasure stands in the register long before the ledger has it, where the ledger was away meanwhile.
#[test]
fn an_erasure_that_the_ledger_heard_of_late_hides_nothing_that_was_said_before_it() {
    let shop = Shop::new(69);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let away = shop.world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
    assert_eq!(kind(custodian.erase(&shop.people[0])), ErrorKind::Unavailable);
    shop.set_ledger_bytes(away);
    let yesterday = shop.backup();
    custodian.answer(&shop.people[1], &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    custodian.erase(&shop.people[0]).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_said(1, ConsentStatus::Withdrawn);
    assert_eq!(shop.state(0), SubjectState::Erased);
}

/// A process that keeps the application open dies over an erasure, after the ledger has it and before any key is gone.
#[track_caller]
fn dies_erasing(shop: &Shop, custodian: &mut Custodian, person: usize) {
    let told = shop.ledger().len();
    let away = shop.world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
    assert_eq!(kind(custodian.erase(&shop.people[person])), ErrorKind::Unavailable);
    shop.set_ledger_bytes(away);
    shop.world.store.die_after(Some(0));
    assert_eq!(kind(custodian.erase(&shop.people[person])), ErrorKind::Unavailable);
    shop.world.store.die_after(None);
    assert!(shop.ledger().len() > told);
}

/// The ledger has it and the keys are still there, as a backup finds it. Others may have been erased meanwhile, or have spoken.
#[test]
fn whose_erasure_a_backup_caught_halfway_is_erased_before_it_opens() {
    for between in 0..3 {
        let shop = Shop::new(72);
        let mut custodian = shop.open().unwrap();
        custodian.set_ledger(Some(LEDGER)).unwrap();
        dies_erasing(&shop, &mut custodian, 0);
        let withdrawn = answer("newsletter", ConsentStatus::Withdrawn);
        match between {
            0 => (),
            1 => drop(custodian.erase(&shop.people[1]).unwrap()),
            _ => drop(custodian.answer(&shop.people[1], &withdrawn).unwrap()),
        }
        let yesterday = shop.backup();
        custodian.erase(&shop.people[0]).unwrap();
        drop(custodian);
        shop.restore(&yesterday);
        assert_eq!(shop.state(0), SubjectState::Erased, "{between}");
        assert_eq!(shop.open().unwrap().unfinished_erasures().unwrap(), [], "{between}");
        // Opened once more, there is nothing left to do.
        let records = shop.open().unwrap().record_count();
        assert_eq!(shop.open().unwrap().record_count(), records);
    }
}

#[test]
fn a_hold_on_an_interrupted_erasure_that_the_ledger_has_keeps_whatever_opens_until_it_is_lifted() {
    for between in 0..3 {
        let shop = Shop::new(76);
        let mut custodian = shop.open().unwrap();
        custodian.set_ledger(Some(LEDGER)).unwrap();
        let [ada, bob] = [shop.people[0], shop.people[1]];
        custodian
            .put_file_about(&own(ada, "owned"), &[bob.to_string()], "contract", b"signed")
            .unwrap();
        dies_erasing(&shop, &mut custodian, 0);
        // On whom a file is about as well it is a hold, too.
        let held = if between == 1 { bob } else { ada };
        custodian.place_hold(&held, "litigation").unwrap();
        drop(custodian);
        if between == 2 {
            // The newest line is not in this register, as in an older copy.
            let withdrawn = answer("newsletter", ConsentStatus::Withdrawn);
            let mut writer = shop.open().unwrap();
            shop.world.store.die_after(Some(0));
            assert_eq!(kind(writer.answer(&bob, &withdrawn)), ErrorKind::Unavailable);
            shop.world.store.die_after(None);
        }
        assert_eq!(shop.state(0), SubjectState::Erasing, "{between}");
        let mut custodian = shop.open().unwrap();
        let kinds: Vec<Kind> =
            custodian.report(&ada).unwrap().lines.iter().map(|line| line.entry.kind).collect();
        assert!(!kinds.contains(&Kind::ErasureKeys), "{between}: {kinds:?}");
        assert!(!kinds.contains(&Kind::ErasureRefused), "{between}: {kinds:?}");
        custodian.lift_hold(&held, "litigation").unwrap();
        custodian.erase(&ada).unwrap();
        drop(custodian);
        assert_eq!(shop.state(0), SubjectState::Erased, "{between}");
    }
}

#[test]
fn whoever_opens_to_place_a_hold_is_no_later_than_the_erasure_that_was_interrupted() {
    let shop = Shop::new(77);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    dies_erasing(&shop, &mut custodian, 0);
    drop(custodian);
    let ada = shop.people[0];
    let mut custodian =
        shop.world.stewardship().application_to_hold("shop", shop.custody()).unwrap();
    custodian.place_hold(&ada, "litigation").unwrap();
    drop(custodian);
    assert_eq!(shop.state(0), SubjectState::Erasing);
    shop.open().unwrap().lift_hold(&ada, "litigation").unwrap();
    assert_eq!(shop.state(0), SubjectState::Erased);
}

/// What ended a notice after the backup was made is not in it: whoever has one there is given another, whenever it is opened and
/// however often that was interrupted.
#[test]
fn a_backup_erases_nobody_by_a_notice_that_may_have_ended_since() {
    const DAY: Duration = Duration::from_secs(86_400);
    let shop = Shop::new(66);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    custodian.set_idle_rule(Some((100, 30))).unwrap();
    shop.world.clock.advance(80 * DAY);
    assert_eq!(custodian.retire(Carry::Out).unwrap().idle.noticed, 3);
    drop(custodian);
    let yesterday = shop.backup();
    shop.world.clock.advance(DAY);
    let mut custodian = shop.open().unwrap();
    custodian.read_file(&own(shop.people[1], "owned"), "order").unwrap();
    custodian.erase(&shop.people[0]).unwrap();
    custodian.set_idle_rule(None).unwrap();
    drop(custodian);
    let ledger = shop.ledger();
    shop.world.clock.advance(29 * DAY);
    for calls in 0.. {
        shop.restore(&yesterday);
        shop.set_ledger_bytes(ledger.clone());
        shop.world.store.die_after(Some(calls));
        let is_through = shop.open().is_ok();
        shop.world.store.die_after(None);
        let mut custodian = shop.open().unwrap();
        let swept = custodian.retire(Carry::Out).unwrap().idle;
        assert_eq!((swept.noticed, swept.erased), (2, vec![]), "after {calls} calls");
        if is_through {
            assert!(calls > 2);
            break;
        }
    }
    shop.world.clock.advance(30 * DAY);
    assert_eq!(shop.open().unwrap().retire(Carry::Out).unwrap().idle.erased, shop.people[1..]);
    // Without a ledger a receipt tells that it is an older copy.
    let receipt = shop.open().unwrap().erase(&shop.people[0]).unwrap().receipt;
    shop.set_ledger_bytes(Vec::new());
    shop.restore(&yesterday);
    let mut custodian = shop.open().unwrap();
    assert_eq!(custodian.replay(&receipt).unwrap().erased, [shop.people[0]]);
    let swept = custodian.retire(Carry::Out).unwrap().idle;
    assert_eq!((swept.noticed, swept.erased), (2, vec![]));
}
