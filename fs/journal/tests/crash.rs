//! The journal on a disk that loses power, fails and is damaged.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_crypto::secret::JournalKey;
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_host::disk::{Disk, OpenMode, read_all};
use strongroom_host::sim::{Act, Chance, Fault, SimDisk, SimEntropy};
use strongroom_journal::{Error, ErrorKind, Journal, Options, Result, Services};

const FILE_LEN: u64 = 2048;

fn options() -> Options {
    Options {
        folder: PathBuf::from("/journal"),
        file_len_max: FILE_LEN,
        device: DeviceId([1; 16]),
        organisation: OrganisationId([2; 32]),
        incarnation: 1,
        first_number_min: 0,
    }
}

fn key() -> JournalKey {
    JournalKey::from_bytes(&[3; 32])
}

fn services(disk: &SimDisk) -> Services {
    Services {
        disk: Arc::new(disk.clone()),
        entropy: Arc::new(SimEntropy::new(disk.change_count())),
    }
}

type Records = Vec<(u64, Vec<u8>)>;

fn open(disk: &SimDisk) -> Result<(Journal, Records)> {
    open_with(disk, options())
}

fn open_with(disk: &SimDisk, options: Options) -> Result<(Journal, Records)> {
    let mut records = Vec::new();
    let journal = Journal::open(options, &key(), services(disk), &mut |number, payload| {
        records.push((number, payload.to_vec()));
        Ok(())
    })?;
    Ok((journal, records))
}

fn payload(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 37 % 300).unwrap() + 1;
    vec![number.to_le_bytes()[0]; len]
}

fn new_disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/journal")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

fn append(journal: &Journal, count: u64) {
    for _ in 0..count {
        let next = journal.position() + 1;
        assert_eq!(journal.append(&payload(next)).unwrap().number(), next);
    }
}

fn files(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list(Path::new("/journal")).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.len() == 16).collect()
}

fn assert_records(records: &Records, first: u64, last: u64) {
    assert_eq!(records.len() as u64, last + 1 - first);
    for (record, number) in records.iter().zip(first..) {
        assert_eq!((record.0, &record.1), (number, &payload(number)));
    }
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

#[test]
fn records_come_back_in_order_over_many_files_and_opens() {
    let disk = new_disk();
    let mut last = 0;
    for _ in 0..5 {
        let (journal, records) = open(&disk).unwrap();
        assert_records(&records, 1, last);
        assert_eq!(journal.position(), last);
        append(&journal, 20);
        last += 20;
    }
    assert!(files(&disk).len() > 10);
}

#[test]
fn records_survive_the_end_of_the_process_without_a_sync() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 30);
    let (_, records) = open(&disk.kill()).unwrap();
    assert_records(&records, 1, 30);
}

#[test]
fn a_payload_of_any_allowed_length_comes_back() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    let lens = [1, 16_383, 16_384, 16_385, 65_536, 2 << 20];
    for len in lens {
        journal.append(&vec![7; len]).unwrap();
    }
    assert_eq!(kind(journal.append(&[])), ErrorKind::Invalid);
    assert_eq!(kind(journal.append(&vec![7; (2 << 20) + 1])), ErrorKind::Invalid);
    let (_, records) = open(&disk.kill()).unwrap();
    assert_eq!(records.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), lens);
    assert!(records.iter().all(|(_, bytes)| bytes.iter().all(|byte| *byte == 7)));
}

#[test]
fn numbers_go_on_after_everything_was_released_and_start_where_asked() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 10);
    journal.release(10).unwrap();
    journal.close().unwrap();
    for _ in 0..3 {
        let (journal, _) = open(&disk.crash(1)).unwrap();
        assert_eq!(journal.position(), 10);
    }
    let (journal, _) = open_with(&disk, Options { first_number_min: 1000, ..options() }).unwrap();
    assert_eq!(journal.append(b"x").unwrap().number(), 1000);
    journal.sync(1000).unwrap();
    let (journal, _) = open_with(&disk, Options { first_number_min: 5, ..options() }).unwrap();
    assert_eq!(journal.append(b"x").unwrap().number(), 1001);
}

#[test]
fn opens_without_records_leave_no_files_behind() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 1);
    for _ in 0..5 {
        drop(open(&disk).unwrap());
    }
    assert_eq!(files(&disk).len(), 2);
    assert!(disk.list(Path::new("/journal")).unwrap().len() <= 3);
}

#[test]
fn release_removes_the_files_that_are_done_and_no_other() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 60);
    let before = files(&disk).len();
    journal.release(0).unwrap();
    assert_eq!(files(&disk).len(), before);
    journal.release(30).unwrap();
    assert!(files(&disk).len() < before && files(&disk).len() > 1);
    journal.sync(60).unwrap();
    for seed in 0..50 {
        let (_, records) = open(&disk.crash(seed)).unwrap();
        let first = records[0].0;
        assert!((2..=31).contains(&first));
        assert_records(&records, first, 60);
    }
    journal.release(60).unwrap();
    assert_eq!(files(&disk).len(), 1);
    append(&journal, 60);
    journal.sync(120).unwrap();
    for seed in 0..50 {
        assert_eq!(open(&disk.crash(seed)).unwrap().1.last().unwrap().0, 120);
    }
}

/// Appends, syncs, releases and reopens until the power goes; gives (last synced, last appended, released).
fn life(disk: &SimDisk, seed: u64) -> (u64, u64, u64) {
    let mut chance = Chance::new(seed);
    let (mut synced, mut appended, mut released) = (0, 0, 0);
    let work = |synced: &mut u64, appended: &mut u64, released: &mut u64, chance: &mut Chance| {
        loop {
            let (journal, _) = open(disk)?;
            *synced = journal.position().max(*synced);
            for _ in 0..chance.below(40) {
                let next = journal.position() + 1;
                // Counted before: a record that was being written may survive too.
                *appended = next;
                journal.append(&payload(next))?;
                if chance.one_in(5) {
                    journal.sync(next)?;
                    *synced = next;
                }
                if chance.one_in(15) {
                    let up_to = chance.below(*synced + 1);
                    *released = up_to.max(*released);
                    journal.release(up_to)?;
                }
            }
            if chance.one_in(2) {
                journal.close()?;
                *synced = journal.position();
            }
        }
    };
    let end: Result<()> = work(&mut synced, &mut appended, &mut released, &mut chance);
    assert!(matches!(kind(end), ErrorKind::Internal | ErrorKind::Poisoned | ErrorKind::Corrupt));
    (synced, appended, released)
}

fn check_image(image: &SimDisk, life: (u64, u64, u64)) -> std::result::Result<(), String> {
    let (synced, appended, released) = life;
    let (journal, records) = open(image).map_err(|error| format!("{error}"))?;
    let last = journal.position();
    if last < synced || last > appended {
        return Err(format!("{last} is not from {synced} to {appended}"));
    }
    let first = records.first().map_or(last + 1, |record| record.0);
    if first > released + 1 {
        return Err(format!("{first} is first, {released} was released"));
    }
    for ((number, bytes), expected) in records.iter().zip(first..) {
        if *number != expected || *bytes != payload(expected) {
            return Err(format!("record {number} is not {expected}"));
        }
    }
    Ok(())
}

fn crash_many(seeds: std::ops::Range<u64>, sabotage: impl Fn(&SimDisk)) -> u64 {
    let mut failures = 0;
    for seed in seeds {
        let disk = new_disk();
        sabotage(&disk);
        let mut chance = Chance::new(seed);
        disk.power_off_after(1 + chance.below(250));
        let life = life(&disk, seed);
        for image in 0..6 {
            let crashed = disk.crash(seed * 100 + image);
            let result = check_image(&crashed, life)
                // A second crash right after the recovery.
                .and_then(|()| check_image(&crashed.crash(image), life));
            failures += u64::from(result.is_err());
            if let Err(error) = result {
                println!("seed {seed} image {image}: {error}");
            }
        }
    }
    failures
}

#[test]
fn after_any_crash_all_that_was_synced_is_replayed_and_nothing_out_of_order() {
    assert_eq!(crash_many(0..900, |_| {}), 0);
}

/// Where a file system cannot rename without replacing, a file has two names for a moment.
#[test]
fn a_process_that_is_killed_while_a_file_has_two_names_loses_nothing() {
    for stop in 0..120 {
        let disk = new_disk();
        disk.rename_by_link();
        disk.power_off_after(stop);
        let _ = open(&disk).and_then(|(journal, _)| {
            for number in 1..40 {
                journal.append(&payload(number))?;
                journal.release(number / 2)?;
            }
            Ok(())
        });
        let image = disk.kill();
        let (journal, _) = open(&image).unwrap();
        let last = journal.position() + 60;
        append(&journal, 60);
        journal.sync(last).unwrap();
        let (_, records) = open(&image.kill()).unwrap_or_else(|error| panic!("{stop}: {error}"));
        assert_records(&records, records[0].0, last);
    }
}

/// The long form: `cargo test -p strongroom-journal --release -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn after_any_crash_all_that_was_synced_is_replayed_long() {
    assert_eq!(crash_many(1_000..101_000, |_| {}), 0);
}

#[test]
fn a_journal_that_skips_syncs_is_caught() {
    assert!(crash_many(0..60, |disk| disk.skip_syncs(|path| path != Path::new("/journal"))) > 0);
}

#[test]
fn a_journal_that_skips_the_sync_of_its_folder_is_caught() {
    assert!(crash_many(0..60, |disk| disk.skip_syncs(|path| path == Path::new("/journal"))) > 0);
}

/// The only file with frames, its bytes, and where each frame begins; the last is the end.
fn small_journal() -> (SimDisk, PathBuf, Vec<usize>) {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 4);
    journal.sync(4).unwrap();
    append(&journal, 2);
    let path = Path::new("/journal").join(&files(&disk)[0]);
    let bytes = read_all(&disk, &path).unwrap();
    let mut starts = vec![256];
    while bytes[starts[starts.len() - 1]..].starts_with(b"SRR1") {
        let start = starts[starts.len() - 1];
        let len = u32::from_le_bytes(*bytes[start + 4..].first_chunk().unwrap());
        starts.push(start + 32 + usize::try_from(len).unwrap());
    }
    assert_eq!(starts.len(), 7);
    (disk, path, starts)
}

#[test]
fn a_file_cut_short_at_any_byte_is_damage_for_a_loss_of_power_keeps_its_length() {
    let (disk, path, _) = small_journal();
    for cut in 0..2048 {
        let image = disk.kill();
        image.tamper(&path, |bytes| bytes.truncate(cut)).unwrap();
        assert_eq!(kind(open(&image)), ErrorKind::Corrupt, "{cut} bytes");
    }
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 1);
    journal.close().unwrap();
    let path = Path::new("/journal").join(files(&disk).last().unwrap());
    // One that was closed says so: there is nothing behind the end mark that could be missing.
    disk.tamper(&path, |bytes| {
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    })
    .unwrap();
    assert_records(&open(&disk).unwrap().1, 1, 7);
}

#[test]
fn a_file_not_written_from_any_byte_on_gives_back_the_records_before_it() {
    let (disk, path, starts) = small_journal();
    for cut in 0..starts[6] + 100 {
        let image = disk.kill();
        image.tamper(&path, |bytes| bytes[cut..].fill(0)).unwrap();
        if cut < 224 {
            assert_eq!(kind(open(&image)), ErrorKind::Corrupt);
            continue;
        }
        let whole = starts.iter().filter(|start| **start <= cut.max(256)).count() - 1;
        let (journal, records) = open(&image).unwrap();
        assert_records(&records, 1, whole as u64);
        append(&journal, 3);
        let (_, records) = open(&image.kill()).unwrap();
        assert_records(&records, 1, whole as u64 + 3);
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_a_torn_end_but_never_another_record() {
    let (disk, path, starts) = small_journal();
    for bit in 0..starts[6] * 8 {
        let image = disk.kill();
        image.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let hit = starts.iter().filter(|start| **start <= bit / 8).count();
        match open(&image) {
            // Record 5 knows that 1 to 4 were durable, so damage there is told; 5 and 6 may be torn.
            Err(error) => {
                let expected = [ErrorKind::Corrupt, ErrorKind::Unsupported];
                assert!(hit < 5 && expected.contains(&error.kind()), "bit {bit}");
            }
            Ok((_, records)) => {
                assert!(hit >= 5, "bit {bit}");
                assert_records(&records, 1, hit as u64 - 1);
            }
        }
    }
}

#[test]
fn any_damage_to_a_closed_file_is_told() {
    let (disk, path, starts) = small_journal();
    drop(open(&disk).unwrap().0.close());
    let image = disk.kill();
    let (journal, _) = open(&image).unwrap();
    append(&journal, 3);
    journal.close().unwrap();
    let last = Path::new("/journal").join(files(&image).last().unwrap());
    for byte in (256..700).chain([starts[1]]) {
        for path in [&last, &path] {
            let image = image.kill();
            image.tamper(path, |bytes| bytes[byte] ^= 0x10).unwrap();
            let end = read_all(&image, path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
            // The end mark itself is 104 bytes and holds no record.
            if byte < end - 104 {
                assert_eq!(kind(open(&image)), ErrorKind::Corrupt, "byte {byte}");
            }
        }
    }
}

#[test]
fn a_missing_or_exchanged_file_is_told() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 40);
    let names = files(&disk);
    let at = |index: usize| Path::new("/journal").join(&names[index]);
    for gone in 1..names.len() - 1 {
        let image = disk.kill();
        image.remove(&at(gone)).unwrap();
        assert_eq!(kind(open(&image)), ErrorKind::Corrupt);
    }
    let image = disk.kill();
    image.rename(&at(1), &at(2)).unwrap();
    assert_eq!(kind(open(&image)), ErrorKind::Corrupt);
    let image = disk.kill();
    image.tamper(&at(1), |bytes| bytes[300] ^= 1).unwrap();
    assert_eq!(kind(open(&image)), ErrorKind::Corrupt);
}

#[test]
fn another_key_or_device_opens_nothing() {
    let disk = new_disk();
    append(&open(&disk).unwrap().0, 3);
    let other = Options { device: DeviceId([9; 16]), ..options() };
    assert_eq!(kind(open_with(&disk, other)), ErrorKind::Corrupt);
    let other = JournalKey::from_bytes(&[4; 32]);
    let result = Journal::open(options(), &other, services(&disk), &mut |_, _| Ok(()));
    assert_eq!(kind(result), ErrorKind::Corrupt);
}

#[test]
fn records_of_an_earlier_incarnation_are_replayed() {
    let disk = new_disk();
    append(&open(&disk).unwrap().0, 3);
    let (journal, records) = open_with(&disk, Options { incarnation: 2, ..options() }).unwrap();
    assert_records(&records, 1, 3);
    append(&journal, 3);
    assert_records(
        &open_with(&disk.kill(), Options { incarnation: 3, ..options() }).unwrap().1,
        1,
        6,
    );
}

#[test]
fn an_error_of_the_replay_ends_the_open() {
    let disk = new_disk();
    append(&open(&disk).unwrap().0, 3);
    let refuse = || Error::new(ErrorKind::Unsupported, "no");
    let result = Journal::open(options(), &key(), services(&disk), &mut |_, _| Err(refuse()));
    assert_eq!(kind(result), ErrorKind::Unsupported);
}

#[test]
fn a_failed_sync_poisons_and_the_file_is_never_synced_again() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 3);
    journal.sync(3).unwrap();
    append(&journal, 3);
    disk.fail(Fault::new(Act::Sync, |_| true));
    assert_eq!(kind(journal.sync(6)), ErrorKind::Poisoned);
    let syncs = disk.counts().syncs;
    assert_eq!(kind(journal.sync(6)), ErrorKind::Poisoned);
    assert_eq!(kind(journal.sync(1)), ErrorKind::Poisoned);
    assert_eq!(kind(journal.append(b"x")), ErrorKind::Poisoned);
    assert_eq!(kind(journal.close()), ErrorKind::Poisoned);
    assert_eq!(disk.counts().syncs, syncs);
    assert_eq!(journal.durable(), 3);
}

#[test]
fn after_a_failed_sync_and_a_reopen_nothing_is_built_on_lost_pages() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let (journal, _) = open(&disk).unwrap();
        append(&journal, 3);
        journal.sync(3).unwrap();
        append(&journal, 3);
        disk.fail(Fault::new(Act::Sync, |_| true));
        journal.sync(6).unwrap_err();
        let after = disk.kill();
        let (journal, records) = open(&after).unwrap();
        let last = journal.position();
        assert!(last >= 3);
        assert_records(&records, 1, last);
        append(&journal, 3);
        journal.sync(last + 3).unwrap();
        let (_, records) = open(&after.crash(seed)).unwrap();
        assert_records(&records, 1, last + 3);
    }
}

#[test]
fn a_failed_write_of_a_record_poisons_and_leaves_no_half_record() {
    for errno in [5, 28] {
        let disk = new_disk();
        let (journal, _) = open(&disk).unwrap();
        append(&journal, 3);
        disk.fail(Fault::new(Act::Write, |_| true).errno(errno));
        assert_eq!(kind(journal.append(&[1; 300])), ErrorKind::Poisoned);
        assert_eq!(kind(journal.append(&[1; 300])), ErrorKind::Poisoned);
        assert_records(&open(&disk.kill()).unwrap().1, 1, 3);
    }
}

#[test]
fn a_full_disk_refuses_the_next_file_and_nothing_is_lost_or_poisoned() {
    let disk = new_disk();
    disk.set_capacity(Some(3 * 4096));
    let (journal, _) = open(&disk).unwrap();
    let mut appended = 0;
    let error = loop {
        match journal.append(&payload(appended + 1)) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(kind(journal.append(&[1; 1000])), ErrorKind::Full);
    journal.sync(appended).unwrap();
    assert_records(&open(&disk.kill()).map(|o| o.1).unwrap_or_default(), 1, 0);
    disk.set_capacity(None);
    append(&journal, 20);
    journal.sync(appended + 20).unwrap();
    assert_records(&open(&disk.crash(1)).unwrap().1, 1, appended + 20);
}

#[test]
fn a_released_file_is_written_again_and_reserves_nothing_new() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 20);
    journal.release(20).unwrap();
    let spare = disk.open(Path::new("/journal/spare"), OpenMode::Read).unwrap();
    assert_eq!(spare.len().unwrap(), FILE_LEN);
    append(&journal, 20);
    assert!(disk.open(Path::new("/journal/spare"), OpenMode::Read).is_err());
    journal.sync(40).unwrap();
    let (_, records) = open(&disk.crash(1)).unwrap();
    assert_records(&records, records[0].0, 40);
}

#[test]
fn one_record_costs_one_write_and_one_sync_covers_many() {
    let disk = new_disk();
    let (journal, _) = open_with(&disk, Options { file_len_max: 1 << 20, ..options() }).unwrap();
    let before = disk.counts();
    append(&journal, 100);
    journal.sync(50).unwrap();
    journal.sync(100).unwrap();
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (100, 1));
    assert_eq!((after.opens, after.folder_syncs), (before.opens, before.folder_syncs));
}

#[test]
fn a_closed_journal_takes_no_records_and_closing_twice_is_fine() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    append(&journal, 2);
    journal.close().unwrap();
    journal.close().unwrap();
    assert_eq!(kind(journal.append(b"x")), ErrorKind::Invalid);
    assert_records(&open(&disk.crash(1)).unwrap().1, 1, 2);
}

#[test]
fn a_sync_of_a_record_that_is_not_there_is_refused() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    assert_eq!(kind(journal.sync(1)), ErrorKind::Invalid);
}

#[test]
fn no_payload_byte_reaches_the_disk() {
    let disk = new_disk();
    let (journal, _) = open(&disk).unwrap();
    let canary = b"canary-canary-canary";
    journal.append(canary).unwrap();
    for name in files(&disk) {
        let bytes = read_all(&disk, &Path::new("/journal").join(name)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == &canary[..6]));
    }
}
