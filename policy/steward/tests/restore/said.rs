//! What people said since: whoever said no is not taken for one who said yes.

use std::time::Duration;

use strongroom_records::ids::SubjectId;
use strongroom_records::subject::{ConsentStatus, SubjectState};
use strongroom_steward::{Answer, Custodian, ErrorKind, Replayed};

use crate::common::{START_NS, answer, kind, own};

use super::{ELSEWHERE, LEDGER, Shop, withdrawn};

#[test]
fn who_withdrew_since_stays_withdrawn_in_a_whole_backup_where_a_ledger_is_kept_apart() {
    let shop = Shop::new(61);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    shop.say(0, ConsentStatus::Withdrawn).unwrap();
    shop.say(1, ConsentStatus::Refused).unwrap();
    let history = shop.open().unwrap().consent_history(&shop.people[0]).unwrap().len();
    shop.restore(&yesterday);
    shop.expect_said(0, ConsentStatus::Withdrawn);
    shop.expect_said(1, ConsentStatus::Refused);
    shop.expect_said(2, ConsentStatus::Given);
    // It is on record again, once.
    assert_eq!(shop.open().unwrap().consent_history(&shop.people[0]).unwrap().len(), history);
    let records = shop.open().unwrap().record_count();
    assert_eq!(shop.open().unwrap().record_count(), records);
    // The same from the same backup, with what was said after the first time.
    shop.say(2, ConsentStatus::Withdrawn).unwrap();
    shop.restore(&yesterday);
    shop.expect_said(0, ConsentStatus::Withdrawn);
    shop.expect_said(1, ConsentStatus::Refused);
    shop.expect_said(2, ConsentStatus::Withdrawn);
}

/// The control: without a ledger the same backup knows nothing of it.
#[test]
fn without_a_ledger_a_backup_brings_back_what_was_withdrawn() {
    let shop = Shop::new(62);
    let yesterday = shop.backup();
    shop.say(0, ConsentStatus::Withdrawn).unwrap();
    shop.restore(&yesterday);
    shop.expect_said(0, ConsentStatus::Given);
}

/// A yes that took the place of a no is believed where the ledger has it; a no, where its writer died before it told.
#[test]
fn who_agreed_again_since_has_agreed_in_a_backup_if_the_ledger_says_so_and_else_has_not() {
    for is_told in [true, false] {
        let shop = Shop::new(63);
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        let yesterday = shop.backup();
        shop.say(0, ConsentStatus::Withdrawn).unwrap();
        let before = shop.ledger();
        let until = Some(START_NS + 1_000_000_000_000_000);
        let yes = Answer { until, ..answer("newsletter", ConsentStatus::Renewed) };
        shop.open().unwrap().answer(&shop.people[0], &yes).unwrap();
        // A first yes of somebody who came with it is not in the backup at all.
        let mut custodian = shop.open().unwrap();
        let dora = custodian.create_subject(&[]).unwrap();
        custodian.answer(&dora, &answer("newsletter", ConsentStatus::Given)).unwrap();
        drop(custodian);
        if !is_told {
            shop.set_ledger_bytes(before);
        }
        shop.restore(&yesterday);
        match is_told {
            true => {
                shop.expect_said(0, ConsentStatus::Renewed);
                let mut history = shop.open().unwrap().consent_history(&shop.people[0]).unwrap();
                assert_eq!(history.pop().unwrap().consent.until, until);
            }
            false => shop.expect_said(0, ConsentStatus::Withdrawn),
        }
        assert_eq!(kind(shop.open().unwrap().subject(&dora)), ErrorKind::NotFound);
    }
}

/// A backup that has the yes is not told the no from before it.
#[test]
fn a_no_from_before_a_yes_that_the_backup_has_is_not_brought_to_mind() {
    let shop = Shop::new(64);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    shop.say(0, ConsentStatus::Withdrawn).unwrap();
    let before = shop.ledger();
    shop.say(0, ConsentStatus::Given).unwrap();
    // Its writer died before the ledger had the yes.
    shop.set_ledger_bytes(before);
    let yesterday = shop.backup();
    shop.say(1, ConsentStatus::Withdrawn).unwrap();
    shop.restore(&yesterday);
    shop.expect_said(0, ConsentStatus::Given);
    shop.expect_said(1, ConsentStatus::Withdrawn);
}

#[test]
fn a_withdrawal_whose_writer_died_after_the_ledger_had_it_is_in_force_once_opened() {
    let shop = Shop::new(65);
    shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
    let mut custodian = shop.open().unwrap();
    shop.world.store.die_after(Some(0));
    let withdrawn = answer("newsletter", ConsentStatus::Withdrawn);
    assert_eq!(kind(custodian.answer(&shop.people[0], &withdrawn)), ErrorKind::Unavailable);
    shop.world.store.die_after(None);
    drop(custodian);
    shop.expect_said(0, ConsentStatus::Withdrawn);
}

/// What another process that is open records at that number, about whomever, is not what was said.
#[test]
fn another_entry_where_a_writer_died_is_not_taken_for_what_was_said() {
    for reader in [0, 1] {
        let shop = Shop::new(73);
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        let mut agent = shop.open().unwrap();
        shop.dies_saying(|writer, ada| writer.answer(&ada, &withdrawn()).map(drop));
        agent.read_file(&own(shop.people[reader], "owned"), "order").unwrap();
        drop(agent);
        shop.expect_said(0, ConsentStatus::Withdrawn);

        let mut agent = shop.open().unwrap();
        shop.dies_saying(|writer, ada| writer.restrict(&ada, true));
        agent.read_file(&own(shop.people[reader], "owned"), "order").unwrap();
        drop(agent);
        assert_eq!(shop.state(0), SubjectState::Restricted);
        let records = shop.open().unwrap().record_count();
        assert_eq!(shop.open().unwrap().record_count(), records);
    }
}

/// Whoever adds a line to the ledger has on record what the line above says: nothing hides behind the newest.
#[test]
fn a_no_whose_writer_died_is_in_force_also_when_others_told_the_ledger_since() {
    for since in 0..3 {
        let shop = Shop::new(74);
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        let mut agent = shop.open().unwrap();
        shop.dies_saying(|writer, ada| writer.answer(&ada, &withdrawn()).map(drop));
        match since {
            0 => drop(agent.answer(&shop.people[1], &withdrawn()).unwrap()),
            1 => agent.restrict(&shop.people[0], true).unwrap(),
            _ => drop(agent.erase(&shop.people[1]).unwrap()),
        }
        drop(agent);
        let custodian = shop.open().unwrap();
        let said = custodian.consents(&shop.people[0]).unwrap();
        assert_eq!(said[0].1, ConsentStatus::Withdrawn, "{since}");
        assert!(custodian.verify().unwrap().findings.is_empty());
    }
}

/// A first yes has no line of its own, and is later all the same.
#[test]
fn a_first_yes_after_a_no_whose_writer_died_stands() {
    let mut shop = Shop::new(75);
    let mut agent = shop.open().unwrap();
    agent.set_ledger(Some(LEDGER)).unwrap();
    shop.people[0] = agent.create_subject(&[]).unwrap();
    let refused = answer("newsletter", ConsentStatus::Refused);
    shop.dies_saying(|writer, dora| writer.answer(&dora, &refused).map(drop));
    agent.read_file(&own(shop.people[1], "owned"), "order").unwrap();
    agent.answer(&shop.people[0], &answer("newsletter", ConsentStatus::Given)).unwrap();
    drop(agent);
    shop.expect_said(0, ConsentStatus::Given);
}

/// Whoever was restricted and held since has a line in a ledger that begins which stands for the restriction.
#[test]
fn a_ledger_that_begins_long_after_a_restriction_stands_in_the_register_it_began_in() {
    let shop = Shop::new(76);
    let mut custodian = shop.open().unwrap();
    custodian.restrict(&shop.people[0], true).unwrap();
    custodian.place_hold(&shop.people[0], "litigation").unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    drop(custodian);
    let told = shop.ledger();
    drop(shop.open().unwrap());
    assert_eq!(shop.ledger(), told);
}

#[test]
fn a_no_is_on_record_also_while_the_ledger_is_away_and_says_that_it_was_not_told() {
    let shop = Shop::new(66);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    let away = shop.world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
    let withdrawn = answer("newsletter", ConsentStatus::Withdrawn);
    let refused = custodian.answer(&shop.people[0], &withdrawn).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().starts_with("it is on record, but"), "{refused}");
    assert_eq!(custodian.consents(&shop.people[0]).unwrap()[0].1, ConsentStatus::Withdrawn);
    // Said again, the ledger has it.
    shop.set_ledger_bytes(away);
    custodian.answer(&shop.people[0], &withdrawn).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_said(0, ConsentStatus::Withdrawn);
}

#[test]
fn what_a_merge_carries_over_is_told_to_the_ledger_or_not_on_record() {
    let until = Some(START_NS + 1_000_000_000);
    let yes_for_a_while = Answer { until, ..answer("newsletter", ConsentStatus::Given) };
    let no = (withdrawn(), ConsentStatus::Withdrawn);
    for (said, status) in [no, (yes_for_a_while, ConsentStatus::Expired)] {
        let shop = Shop::new(73);
        let mut custodian = shop.open().unwrap();
        custodian.set_ledger(Some(LEDGER)).unwrap();
        let [ada, bob, _] = shop.people[..] else { panic!("three people") };
        custodian.answer(&bob, &said).unwrap();
        let yesterday = shop.backup();
        let away = shop.world.pins.ledgers.lock().unwrap().remove(LEDGER).unwrap();
        let before = custodian.record_count();
        assert_eq!(kind(custodian.merge_subjects(&ada, &bob)), ErrorKind::Unavailable);
        assert_eq!(custodian.record_count(), before);
        assert_eq!(custodian.consents(&ada).unwrap()[0].1, ConsentStatus::Given);
        shop.set_ledger_bytes(away);
        custodian.merge_subjects(&ada, &bob).unwrap();
        drop(custodian);
        shop.world.clock.advance(Duration::from_secs(2));
        shop.restore(&yesterday);
        shop.expect_said(0, status);
    }
}

/// Everything that a shop knows of somebody, in order.
fn contents(shop: &mut Custodian, subject: &SubjectId) -> Vec<String> {
    let files = shop.files(&own(*subject, "owned")).unwrap();
    let mut read = |name: &str| {
        String::from_utf8(shop.read_file(&own(*subject, "owned"), name).unwrap()).unwrap()
    };
    let mut contents: Vec<_> = files.iter().map(|file| read(&file.name)).collect();
    contents.sort();
    contents
}

#[test]
fn who_became_a_part_of_another_since_does_so_again_in_a_backup_with_all_files_and_holds() {
    for by_hand in [false, true] {
        let shop = Shop::new(79);
        let mut custodian = shop.open().unwrap();
        let [ada, bob, charlie] = shop.people[..] else { panic!("three people") };
        if !by_hand {
            custodian.set_ledger(Some(LEDGER)).unwrap();
        }
        custodian.place_hold(&bob, "litigation").unwrap();
        let yesterday = shop.backup();
        // Charlie is a part of Ada by way of Bob.
        let receipts = [(&bob, &charlie), (&ada, &bob)]
            .map(|(into, from)| custodian.merge_subjects(into, from).unwrap().erased.receipt);
        drop(custodian);
        shop.restore(&yesterday);
        let mut custodian = shop.open().unwrap();
        if by_hand {
            let replayed = custodian.replay(&receipts.concat()).unwrap();
            assert_eq!((replayed.erased.len(), replayed.merged.len()), (0, 2));
        }
        let all = ["ada", "bob", "charlie"].map(|name| format!("{name} ordered roses"));
        assert_eq!(contents(&mut custodian, &ada), all, "by hand: {by_hand}");
        for gone in [&bob, &charlie] {
            assert_eq!(custodian.subject(gone).unwrap().state, SubjectState::Erased);
        }
        assert_eq!(kind(custodian.erase(&ada)), ErrorKind::Held);
        assert!(custodian.verify().unwrap().findings.is_empty());
        // Nothing is left to do.
        let records = custodian.record_count();
        custodian.replay(&receipts.concat()).unwrap();
        assert_eq!(custodian.record_count(), records);
        drop(custodian);
        assert_eq!(shop.open().unwrap().record_count(), records);
    }
}

#[test]
fn who_became_a_part_of_somebody_who_was_erased_since_is_erased_in_a_backup() {
    let shop = Shop::new(80);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    custodian.merge_subjects(&shop.people[0], &shop.people[1]).unwrap();
    custodian.erase(&shop.people[0]).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    shop.expect_gone(&[0, 1]);
}

/// The copy is older than the one who has what is theirs: that is in no way to be had any more but here.
#[test]
fn who_became_a_part_of_somebody_whom_a_backup_does_not_have_is_kept_and_restricted() {
    let shop = Shop::new(81);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    let dora = custodian.create_subject(&[]).unwrap();
    custodian.merge_subjects(&dora, &shop.people[1]).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    assert_eq!(shop.state(1), SubjectState::Restricted);
    assert_eq!(shop.open().unwrap().scope("newsletter").unwrap().len(), 2);
    shop.open().unwrap().restrict(&shop.people[1], false).unwrap();
    assert_eq!(shop.read(1).unwrap(), b"bob ordered roses");
    // Whoever asks for it erases them, for good.
    shop.open().unwrap().erase(&shop.people[1]).unwrap();
    shop.restore(&yesterday);
    shop.expect_gone(&[1]);
}

#[test]
fn who_was_restricted_since_is_restricted_in_a_backup_and_who_was_freed_is_free() {
    let shop = Shop::new(67);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    custodian.restrict(&shop.people[1], true).unwrap();
    let yesterday = shop.backup();
    custodian.restrict(&shop.people[0], true).unwrap();
    custodian.restrict(&shop.people[1], false).unwrap();
    drop(custodian);
    shop.restore(&yesterday);
    assert_eq!(shop.state(0), SubjectState::Restricted);
    assert_eq!(shop.state(1), SubjectState::Active);
}

#[test]
fn what_was_said_before_there_was_a_ledger_is_in_it_and_goes_along_where_it_moves() {
    let shop = Shop::new(68);
    let before_any = shop.backup();
    shop.say(0, ConsentStatus::Withdrawn).unwrap();
    shop.open().unwrap().restrict(&shop.people[2], true).unwrap();
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let yesterday = shop.backup();
    custodian.answer(&shop.people[1], &answer("newsletter", ConsentStatus::Refused)).unwrap();
    custodian.set_ledger(Some(ELSEWHERE)).unwrap();
    drop(custodian);
    assert_eq!(shop.open().unwrap().record_count(), shop.open().unwrap().record_count());
    shop.restore(&yesterday);
    shop.expect_said(1, ConsentStatus::Refused);
    let lines = shop.world.pins.ledgers.lock().unwrap()[ELSEWHERE].clone();
    shop.restore(&before_any);
    let mut replayed = shop.open().unwrap().replay(&lines).unwrap();
    replayed.answered.sort();
    let mut everybody = shop.people.clone();
    everybody.sort();
    assert_eq!(replayed, Replayed { answered: everybody, ..Replayed::default() });
    assert_eq!(shop.state(2), SubjectState::Restricted);
    shop.expect_said(0, ConsentStatus::Withdrawn);
    shop.expect_said(1, ConsentStatus::Refused);
}

#[test]
fn the_ledger_says_that_somebody_said_something_and_not_what_or_of_what() {
    let shop = Shop::new(70);
    let mut custodian = shop.open().unwrap();
    custodian.set_ledger(Some(LEDGER)).unwrap();
    let empty = shop.ledger().len();
    custodian.answer(&shop.people[0], &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    let line = shop.ledger().split_off(empty);
    assert!(!line.is_empty());
    let activity = custodian.activities().unwrap()[0].id.0;
    let told = [&activity[..], &shop.people[0].0, b"newsletter", b"ticked the box"];
    assert!(told.iter().all(|own| !line.windows(own.len()).any(|bytes| bytes == *own)));
}

/// The machine dies at every single change of the store while what was said is put on record again.
#[test]
fn a_withdrawal_is_in_force_before_anything_opens_wherever_a_replay_was_interrupted() {
    let stride = if std::env::var_os("STRONGROOM_LONG").is_some() { 1 } else { 3 };
    for calls in (0..200).step_by(stride) {
        let shop = Shop::new(71);
        shop.open().unwrap().set_ledger(Some(LEDGER)).unwrap();
        let yesterday = shop.backup();
        shop.say(0, ConsentStatus::Withdrawn).unwrap();
        shop.open().unwrap().erase(&shop.people[2]).unwrap();
        shop.say(1, ConsentStatus::Withdrawn).unwrap();
        shop.restore(&yesterday);
        shop.world.store.die_after(Some(calls));
        let is_through = shop.open().is_ok();
        shop.world.store.die_after(None);
        shop.expect_said(0, ConsentStatus::Withdrawn);
        shop.expect_said(1, ConsentStatus::Withdrawn);
        assert_eq!(shop.state(2), SubjectState::Erased);
        if is_through {
            assert!(calls > 10, "{calls}");
            return;
        }
    }
    panic!("it never gets through");
}
