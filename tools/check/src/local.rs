//! This device: the head it remembers, and the journal that waits for its next mount.

use std::io;
use std::sync::Arc;

use strongroom_crypto::block::{OpenedHeader, block_len, header_len, segment_count, segment_range};
use strongroom_crypto::usage::Context;
use strongroom_format::inode::Extent;
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_host::disk::{OpenMode, read_all};
use strongroom_journal::ahead::is_ahead;
use strongroom_journal::{Journal, Options, Services};
use strongroom_store::Key;
use strongroom_workspace::inbound::home::OwnFolders;
use strongroom_workspace::inbound::memory::{HEAD_FILE, is_whole, parse_head};
use strongroom_workspace::later::wait;
use strongroom_workspace::limits::JOURNAL_FILE_LEN;

use crate::dry::DryDisk;
use crate::history::{self, History};
use crate::report::{Area, Kind, Report};
use crate::{InUse, Local, Result, Subject};

/// What this device has here.
struct Own<'l> {
    local: &'l Local,
    folders: OwnFolders,
}

/// Examines local state, if there is any.
pub(crate) fn examine(
    subject: &Subject,
    history: Option<&History>,
    report: &mut Report,
) -> Result<()> {
    let Some(local) = &subject.local else { return Ok(()) };
    if local.in_use == InUse::Yes {
        report.journal_in_use = true;
        return Ok(());
    }
    if let Some(history) = history {
        remembered_head(local, history, report);
    }
    let found = OwnFolders::find(&*local.disk, &local.folder, &subject.keys);
    let found = found.and_then(|folders| {
        let incarnation = strongroom_journal::incarnation(&*local.disk, &folders.journal)?;
        Ok((folders, incarnation.unwrap_or(0)))
    });
    match found {
        Ok((folders, incarnation)) => {
            let covered = history.and_then(|history| history.journals_upto.get(&incarnation));
            let own = Own { local, folders };
            journal(subject, &own, (incarnation, covered.copied().unwrap_or(0)), report);
        }
        Err(error) => report.find(Area::Journal, Kind::Changed, error.to_string()),
    }
    Ok(())
}

fn remembered_head(local: &Local, history: &History, report: &mut Report) {
    let path = local.folder.join(HEAD_FILE);
    let bytes = match read_all(&*local.disk, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return report.find(Area::Head, Kind::Changed, format!("cannot be read: {error}"));
        }
    };
    // Made, but the power went before its bytes were on the disk.
    if bytes.is_empty() {
        return;
    }
    let Some(remembered) = parse_head(&bytes) else {
        return report.find(Area::Head, Kind::Changed, "the remembered head does not verify");
    };
    if !is_whole(&bytes) {
        let text = "what is remembered of other homes does not verify";
        report.find(Area::Head, Kind::Changed, text);
    }
    let (seen, ends) = (remembered.seq, history.head.seq);
    if seen > ends && history.is_whole {
        let text = format!("the store ends at commit {ends}, this device saw {seen}");
        report.find(Area::Head, Kind::Old, text);
    } else if history.heads.get(&seen).is_some_and(|head| head.hash != remembered.hash) {
        let text = format!("commit {seen} is not the one this device saw");
        report.find(Area::Head, Kind::Contradiction, text);
    }
}

fn journal(
    subject: &Subject,
    own: &Own<'_>,
    (incarnation, covered): (u64, u64),
    report: &mut Report,
) {
    let disk = Arc::new(DryDisk(own.local.disk.clone()));
    let options = Options {
        folder: own.folders.journal.clone(),
        file_len_max: JOURNAL_FILE_LEN,
        device: subject.keys.device_id(),
        organisation: subject.keys.organisation(),
        incarnation,
        first_number_min: covered + 1,
    };
    let services = Services { disk, entropy: own.local.entropy.clone() };
    let mut expected = covered + 1;
    let mut pending = 0;
    let mut findings = Vec::new();
    let mut sink = |number: u64, payload: &[u8]| {
        if number > covered {
            if number != expected && pending == 0 && !is_ahead(number) {
                findings.push((Area::Journal, Kind::Missing, format!("record {expected}")));
            }
            expected = number + 1;
            pending += 1;
            findings.extend(record(subject, own, number, payload));
        }
        Ok(())
    };
    let opened = Journal::open(options, subject.keys.journal_key(), services, &mut sink);
    report.counts.pending_records = pending;
    findings.into_iter().for_each(|(area, kind, text)| report.find(area, kind, text));
    if let Err(error) = opened {
        report.find(Area::Journal, Kind::Changed, error.to_string());
    }
}

/// What is wrong with a record: it is no operation, or names blocks that are not there.
fn record(
    subject: &Subject,
    own: &Own<'_>,
    number: u64,
    payload: &[u8],
) -> Option<(Area, Kind, String)> {
    let mut rest = payload;
    while !rest.is_empty() {
        let Ok((op, after)) = ops::decode_one(rest) else {
            return Some((
                Area::Journal,
                Kind::Changed,
                format!("record {number} is no operation"),
            ));
        };
        rest = after;
        let (Op::SetExtents { extents, .. } | Op::Rewrite { extents, .. }) = &op else { continue };
        if let Some(lost) = extents.iter().find(|extent| !is_readable(subject, own, extent)) {
            let text = format!("a block in object {} that record {number} names", lost.object);
            return Some((Area::Staged, Kind::Missing, text));
        }
    }
    None
}

/// Whether a block is whole, on this device or in the store.
fn is_readable(subject: &Subject, own: &Own<'_>, extent: &Extent) -> bool {
    let len = u64::from(extent.block_len);
    let Some(bytes) = sealed(subject, own, extent, block_len(len)) else { return false };
    let context = Context::block(&history::place(subject));
    let front = &bytes[..header_len(len) as usize];
    let hash = &extent.header_hash.0;
    let Ok(header) = OpenedHeader::verify(front, len, hash, &extent.key, &context) else {
        return false;
    };
    let mut scratch = vec![0; strongroom_crypto::block::SEGMENT_LEN as usize];
    (0..segment_count(len)).all(|index| {
        let range = segment_range(len, index);
        let sealed = &bytes[range.start as usize..range.end as usize];
        header.open_segment(index, sealed, &mut scratch).is_ok()
    })
}

fn sealed(subject: &Subject, own: &Own<'_>, extent: &Extent, len: u64) -> Option<Vec<u8>> {
    let start = u64::from(extent.place);
    let path = own.folders.staged.join(extent.object.to_string());
    if let Ok(file) = own.local.disk.open(&path, OpenMode::Read) {
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        let read = file.read_at(&mut bytes, start).ok()?;
        return (read == bytes.len()).then_some(bytes);
    }
    let key = Key::Object(extent.object);
    let got = wait(async { Ok(subject.store.get(key, Some(start..start + len)).await?) });
    got.ok().map(|bytes| bytes.to_vec())
}
