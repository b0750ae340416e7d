//! Damage: every kind of stored thing × what can happen to it. Each row says what must come of it: the right refusal
//! at the right moment, the rest readable, never a wrong byte, and `check` tells it.
//!
//! The sample workspace has a checkpoint with several pages, commits behind it, and on this device a journal with
//! changes that no commit contains, small ones in the journal itself and a large one in a staged object. It is built
//! once; a row works on a copy.

#![allow(clippy::unwrap_used)]

#[path = "damage/sample.rs"]
mod sample;
#[path = "damage/table.rs"]
mod table;

use std::collections::BTreeSet;

use sample::{Copy, Seen, sample};
use strongroom_workspace::Mode;
use strongroom_workspace::error::ErrorKind;
use table::{Action, Cut, Flip, Lost, Opens, ROWS, Row, Thing};

/// What the rows of the table say, row by row.
#[test]
fn every_kind_of_damage_is_refused_where_it_matters_and_told_by_check() {
    let mut failures = Vec::new();
    for row in ROWS {
        let copy = sample().copy();
        row.apply(&copy);
        failures.extend(judge(row, &copy).into_iter().map(|text| format!("{row:?}: {text}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is not as the row says.
fn judge(row: &Row, copy: &Copy) -> Vec<String> {
    let mut wrong = Vec::new();
    let report = copy.check();
    for (mode, expected) in [(Mode::ReadOnly, row.reading), (Mode::ReadWrite, row.writing)] {
        match (copy.open(mode), expected) {
            (Err(error), Opens::Refused(kind)) if error.kind() == kind => {}
            (Err(error), _) => wrong.push(format!("{mode:?}: refused: {error} {:?}", error.kind())),
            (Ok(_), Opens::Refused(kind)) => wrong.push(format!("{mode:?}: opened, not {kind:?}")),
            (Ok(workspace), Opens::All | Opens::Without(_) | Opens::AsAfterPowerLoss) => {
                let seen = copy.read(&workspace, mode);
                wrong.extend(judge_content(&seen, mode, expected));
            }
        }
    }
    let told: Vec<_> = report.findings.iter().map(|found| (found.area, found.kind)).collect();
    for finding in row.found {
        if !told.contains(finding) {
            wrong.push(format!("check does not tell {finding:?} but {:?}", report.findings));
        }
    }
    let harmless = matches!(row.reading, Opens::All)
        && matches!(row.writing, Opens::All | Opens::AsAfterPowerLoss);
    // What the device file seals is judged when it is unlocked, and check begins after that.
    let unlocks = !matches!(row.reading, Opens::Refused(ErrorKind::Locked));
    if unlocks && report.is_clean() != (harmless && row.found.is_empty()) {
        wrong.push(format!("check says otherwise: {}", report.to_text()));
    }
    wrong.extend(judge_files(row, &report));
    wrong
}

fn judge_content(seen: &Seen, mode: Mode, expected: Opens) -> Vec<String> {
    let mut wrong = seen.wrong.clone();
    // A read-only open does not look at the journal.
    let hidden = |path: &str| mode == Mode::ReadOnly && sample().pending.contains_key(path);
    let unreadable: BTreeSet<&str> =
        seen.unreadable.iter().map(String::as_str).filter(|path| !hidden(path)).collect();
    let lost: BTreeSet<&str> = match expected {
        Opens::Without(Lost::Files(files)) => files.iter().copied().collect(),
        Opens::Without(Lost::Some) => {
            if unreadable.is_empty() || seen.readable.is_empty() {
                wrong.push(format!("{mode:?}: all or nothing is readable"));
            }
            return wrong;
        }
        Opens::AsAfterPowerLoss => {
            if !unreadable.iter().all(|path| sample().pending.contains_key(*path)) {
                wrong.push(format!("{mode:?}: cannot read {unreadable:?}"));
            }
            return wrong;
        }
        Opens::All | Opens::Refused(_) => BTreeSet::new(),
    };
    if unreadable != lost {
        wrong.push(format!("{mode:?}: cannot read {unreadable:?}, expected {lost:?}"));
    }
    wrong
}

/// The files that check tells are those that cannot be read.
fn judge_files(row: &Row, report: &strongroom_check::Report) -> Vec<String> {
    let Opens::Without(Lost::Files(files)) = row.reading else { return Vec::new() };
    let told: BTreeSet<String> =
        report.files.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
    let committed: BTreeSet<String> = files.iter().map(|path| (*path).to_owned()).collect();
    if told == committed {
        return Vec::new();
    }
    vec![format!("check tells {told:?}, expected {committed:?}")]
}

#[test]
fn an_untouched_sample_is_sound_and_complete() {
    let copy = sample().copy();
    let before = copy.everything();
    let report = copy.check();
    assert!(report.is_clean(), "{}", report.to_text());
    assert!(report.counts.pages > 3, "the tree has several pages");
    assert!(report.counts.commits > 2, "there are commits behind the checkpoint");
    assert!(report.counts.pending_records > 0, "the journal holds changes");
    assert_eq!(before, copy.everything(), "check changed something");
    let workspace = copy.open(Mode::ReadWrite).unwrap();
    let seen = copy.read(&workspace, Mode::ReadWrite);
    assert_eq!((seen.wrong, seen.unreadable), (Vec::new(), BTreeSet::new()));
}

/// The device remembers the newest commit it has seen.
#[test]
fn an_older_copy_of_the_whole_store_is_refused() {
    let copy = sample().copy();
    copy.replace_store_by_older();
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        let error = copy.open(mode).err().expect("an old store is refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("not what this device last saw"), "{error}");
    }
    let told = copy.check();
    assert!(told.findings.iter().any(|found| found.kind == strongroom_check::Kind::Old));
}

/// Wherever a bit flips in an object of pages or of data: what is read is right or refused, and check names exactly
/// the files that are refused.
#[test]
fn a_flipped_bit_anywhere_in_an_object_costs_what_check_says_and_no_more() {
    for (thing, step) in [(Thing::Pages, 5_003), (Thing::Data("/docs/large"), 40_009)] {
        let len = sample().len_of(thing);
        for place in (0..len).step_by(step) {
            let copy = sample().copy();
            Action::Flip(Flip::At(place)).apply(&copy, thing);
            let told: BTreeSet<Vec<u8>> =
                copy.check().files.into_iter().map(|file| file.path).collect();
            let Ok(workspace) = copy.open(Mode::ReadOnly) else {
                // The commits behind the checkpoint need this page.
                assert!(matches!(thing, Thing::Pages), "{thing:?} at {place}");
                assert!(!copy.check().is_clean());
                continue;
            };
            let seen = copy.read(&workspace, Mode::ReadOnly);
            assert_eq!(seen.wrong, Vec::<String>::new(), "{thing:?} at {place}");
            for path in seen.unreadable.iter().filter(|path| !sample().pending.contains_key(*path))
            {
                let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
                let is_told = told.contains(path.as_bytes()) || told.contains(folder.as_bytes());
                assert!(is_told, "{thing:?} at {place}: {path} is not told: {told:?}");
            }
        }
    }
}

/// Cutting an object anywhere is like losing what lay behind.
#[test]
fn a_cut_anywhere_in_a_data_object_costs_that_file_alone() {
    let len = sample().len_of(Thing::Data("/docs/large"));
    for place in (0..len).step_by(30_011) {
        let copy = sample().copy();
        Action::Truncate(Cut::To(place)).apply(&copy, Thing::Data("/docs/large"));
        let workspace = copy.open(Mode::ReadOnly).unwrap();
        let seen = copy.read(&workspace, Mode::ReadOnly);
        let expected: BTreeSet<&str> = ["/docs/large", "/docs/link"].into();
        let unreadable: BTreeSet<&str> = seen
            .unreadable
            .iter()
            .map(String::as_str)
            .filter(|path| !sample().pending.contains_key(*path))
            .collect();
        assert_eq!((seen.wrong, unreadable), (Vec::new(), expected), "cut at {place}");
        let files = copy.check().files;
        let strongroom_check::Lost::Bytes(ranges) = &files[0].lost else { panic!("{files:?}") };
        let end = sample().committed["/docs/large"].len() as u64;
        assert_eq!(ranges.last().map(|range| range.1), Some(end), "cut at {place}");
    }
}
