//! Objects in the store against those that are named: data objects by the map, page objects by the checkpoint, either by earlier
//! states.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_crypto::hash::Blake3;
use strongroom_format::checkpoint::PageObject;
use strongroom_format::ids::ObjectId;
use strongroom_format::key::Key as MapKey;
use strongroom_store::{Family, Key};
use strongroom_workspace::inbound::log::list_sizes;
use strongroom_workspace::later::wait;

use crate::census::Found;
use crate::history::History;
use crate::known::KnownBlocks;
use crate::past::Past;
use crate::report::{Area, Kind, Report};
use crate::{ErrorKind, Progress, Result, Subject, Watch};

/// Bytes of an object read at a time.
const READ_LEN: u64 = 1 << 20;

/// Compares them.
pub(crate) fn examine(
    subject: &Subject,
    history: &History,
    (found, past, known): (&Found, &Past, &KnownBlocks),
    report: &mut Report,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let ledger: BTreeMap<ObjectId, PageObject> =
        history.checkpoint.root.page_objects.iter().map(|entry| (entry.object, *entry)).collect();
    let mut there = BTreeSet::new();
    // Objects of commits that could not be read have names that are not known.
    let all_named = !found.hides(MapKey::objects()) && history.is_whole && past.is_whole;
    let mut stage = Stage { found, ledger: &ledger, past, all_named, report };
    let mut after = None;
    loop {
        let listed = list_sizes(&subject.store, Family::Object, after)?;
        let Some(last) = listed.last() else { break };
        after = Some(last.key);
        for object in &listed {
            if let Key::Object(id) = object.key
                && stage.is_named(id, object.len)
            {
                there.insert(id);
            }
        }
        watch(Progress { stage: "objects", count: there.len() as u64, bytes: 0 });
    }
    stage.tell_missing(&there);
    compare_ledger(found, &ledger, report);
    let pages: BTreeMap<_, _> =
        past.pages.iter().chain(&ledger).map(|(object, entry)| (*object, entry)).collect();
    let pages = pages.into_values().map(|entry| (entry.object, (entry.stored_len, entry.hash.0)));
    let added = past.added.iter().map(|(object, facts)| (*object, *facts));
    for (count, (object, (len, hash))) in (0..).zip(pages.chain(added)) {
        if there.contains(&object) && !known.cover(object, len) {
            whole(subject, (object, len, hash), report)?;
            watch(Progress { stage: "whole objects", count, bytes: 0 });
        }
    }
    Ok(())
}

struct Stage<'a> {
    found: &'a Found,
    ledger: &'a BTreeMap<ObjectId, PageObject>,
    past: &'a Past,
    all_named: bool,
    report: &'a mut Report,
}

impl Stage<'_> {
    /// Whether something names an object that is there; compares its length.
    fn is_named(&mut self, object: ObjectId, len: u64) -> bool {
        let data = self.found.uses.get(&object).map(|usage| usage.stored_len);
        let mut said = data.or(self.ledger.get(&object).map(|entry| entry.stored_len));
        if said.is_none() {
            said = self.past.len_of(object);
            if said.is_some() {
                self.report.counts.past_objects += 1;
                self.report.counts.past_bytes += len;
            }
        }
        match said {
            Some(said) if said == len => {}
            Some(said) => {
                let text = format!("`{}` has {len} bytes, not {said}", Key::Object(object));
                self.report.find(Area::Object, Kind::Changed, text);
            }
            None if self.all_named => {
                self.report.counts.unnamed_objects += 1;
                self.report.counts.unnamed_bytes += len;
            }
            None => {}
        }
        said.is_some()
    }

    fn tell_missing(&mut self, there: &BTreeSet<ObjectId>) {
        self.report.counts.objects = there.len() as u64;
        let named: BTreeSet<&ObjectId> =
            self.found.uses.keys().chain(self.ledger.keys()).chain(self.past.named()).collect();
        for object in named {
            if !there.contains(object) {
                let text = format!("`{}`", Key::Object(*object));
                self.report.find(Area::Object, Kind::Missing, text);
            }
        }
    }
}

fn compare_ledger(found: &Found, ledger: &BTreeMap<ObjectId, PageObject>, report: &mut Report) {
    if found.is_pruned {
        return;
    }
    let said: BTreeMap<ObjectId, u32> =
        ledger.values().map(|entry| (entry.object, entry.live_pages)).collect();
    if said != found.pages {
        let text = "the checkpoint counts other pages in its objects than its tree has";
        report.find(Area::Checkpoint, Kind::Contradiction, text);
    }
}

/// An object byte by byte, also what nothing refers to any more.
fn whole(
    subject: &Subject,
    (object, len, hash): (ObjectId, u64, [u8; 32]),
    report: &mut Report,
) -> Result<()> {
    let key = Key::Object(object);
    let mut hasher = Blake3::new();
    let mut start = 0;
    while start < len {
        let end = len.min(start + READ_LEN);
        match wait(async { Ok(subject.store.get(key, Some(start..end)).await?) }) {
            Ok(bytes) => drop(hasher.update(&bytes)),
            // Already told by its length.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        start = end;
    }
    if hasher.finish() != hash {
        report.find(Area::Object, Kind::Changed, format!("`{key}` is not what was stored"));
    }
    Ok(())
}
