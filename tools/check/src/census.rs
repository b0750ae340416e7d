//! What the keys of the map say of one another. They come in order (names, inodes, extents, objects, orphans), so one
//! pass and two sorted lists of numbers are enough.

pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use strongroom_crypto::lthash::LtHash;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Content, Entry, Extent, Inode, Kind as NodeKind, ObjectUse};
use strongroom_format::key::{Cookie, Key, Subject as KeySubject};
use strongroom_format::page::PageRef;
use strongroom_workspace::tree::map::Value;

use crate::blocks::{Blocks, push_range};
use crate::history::History;
use crate::known::Known;
use crate::merge::{Merge, Reader};
use crate::report::{Area, Kind, Report};
use crate::walk::{Span, Visit, Walk};
use crate::{Error, Progress, Result, Subject, Watch};

/// How often progress is told, in entries.
const WATCH_EVERY: u64 = 256;

/// What later steps need.
#[derive(Default)]
pub(crate) struct Found {
    /// Names by inode: inode, folder it is in. Sorted.
    pub(crate) names: Vec<(Ino, Ino)>,
    /// Folders: inode, parent. Sorted.
    pub(crate) folders: Vec<(Ino, Ino)>,
    /// Unreadable ranges of files.
    pub(crate) torn: BTreeMap<Ino, Vec<(u64, u64)>>,
    /// Named, but their attributes are in a page that cannot be read.
    pub(crate) faceless: Vec<Ino>,
    /// Folders of which names are lost.
    pub(crate) listless: Vec<Ino>,
    /// Uses of objects as the map counts them.
    pub(crate) uses: BTreeMap<ObjectId, ObjectUse>,
    /// Keys that cannot be read.
    pub(crate) gaps: Vec<Span>,
    /// Pages of the checkpoint's tree by object.
    pub(crate) pages: BTreeMap<ObjectId, u32>,
    /// Whether a page above the leaves is unreadable: the pages below it are not known then.
    pub(crate) is_pruned: bool,
}

impl Found {
    /// Whether some of the keys `from..to` cannot be read.
    pub(crate) fn hides(&self, bounds: (Key, Key)) -> bool {
        self.gaps.iter().any(|gap| gap.meets(bounds.0.as_bytes(), bounds.1.as_bytes()))
    }
}

/// A file whose extents are keys of their own.
struct Mapped {
    ino: Ino,
    size: u64,
    allocated: u64,
    summed: u64,
    end: u64,
}

#[derive(Default)]
struct Sum {
    bytes: u64,
    references: u64,
}

struct Census<'a, 'w> {
    report: &'a mut Report,
    watch: &'a mut Watch<'w>,
    history: &'a History,
    blocks: Blocks<'a>,
    /// Entries that are not sound, so far.
    flaws: u64,
    found: Found,
    digest: LtHash,
    paged_count: u64,
    value_count: u64,
    /// Names in the order they come, until the inodes begin: inode, folder, kind.
    entries: Vec<(Ino, Ino, NodeKind)>,
    entries_sorted: bool,
    /// First entry not yet compared with an inode.
    next_entry: usize,
    /// Sub-folders of each folder that has any, by folder.
    sub_folders: Vec<(Ino, u32)>,
    next_sub: usize,
    /// Names seen under the last hash: folder, hash, names.
    last_hash: (Ino, u64, Vec<Vec<u8>>),
    mapped: Vec<Mapped>,
    next_mapped: usize,
    /// What the extents refer to.
    sums: HashMap<ObjectId, Sum>,
    nameless: Vec<Ino>,
    orphans: Vec<Ino>,
    /// Contradictions between keys, kept back until it is known that nothing unreadable explains them.
    doubts: Vec<String>,
    doubt_count: u64,
}

/// LIMIT: contradictions kept to be told one by one.
const DOUBT_COUNT_MAX: usize = 10_000;

/// Examines tree and changes. Blocks in `excused` objects may be gone.
pub(crate) fn examine(
    subject: &Subject,
    history: &History,
    (excused, known): (&BTreeSet<ObjectId>, &mut Known),
    report: &mut Report,
    watch: &mut Watch<'_>,
) -> Result<Found> {
    let mut census = Census {
        report,
        watch,
        history,
        blocks: Blocks::new(subject, excused, &mut known.blocks),
        flaws: 0,
        found: Found::default(),
        digest: LtHash::new(),
        paged_count: 0,
        value_count: 0,
        entries: Vec::new(),
        entries_sorted: false,
        next_entry: 0,
        sub_folders: Vec::new(),
        next_sub: 0,
        last_hash: (Ino(0), 0, Vec::new()),
        mapped: Vec::new(),
        next_mapped: 0,
        sums: HashMap::new(),
        nameless: Vec::new(),
        orphans: Vec::new(),
        doubts: Vec::new(),
        doubt_count: 0,
    };
    let (from, to) = Key::all();
    let mut walk = Walk::new(&history.pages, (from.as_bytes(), to.as_bytes()));
    walk.known = Some((&mut known.pages, Visit::All));
    let mut merge = Merge::new(&history.map.overlay, &mut census);
    walk.run(&history.map.tree, &mut merge)?;
    merge.catch_up(None)?;
    census.found.pages = walk.seen;
    census.report.counts.pages = walk.page_count;
    census.finish()
}

impl Reader for Census<'_, '_> {
    fn paged(&mut self, key: &[u8], value: &[u8]) {
        self.digest.add(key, value);
        self.paged_count += 1;
    }

    fn value(&mut self, subject: KeySubject, value: &Value) -> Result<()> {
        self.value_count += 1;
        if self.value_count.is_multiple_of(WATCH_EVERY) {
            self.tell_progress();
        }
        match (subject, value) {
            (KeySubject::Entry { folder, cookie }, Value::Entry(entry)) => {
                self.entry(folder, cookie, entry);
            }
            (KeySubject::Inode(ino), Value::Inode(inode)) => self.inode(ino, inode)?,
            (KeySubject::Extent { ino, offset }, Value::Extent(extent)) => {
                self.end_inodes();
                self.mapped_extent(ino, offset, extent)?;
            }
            (KeySubject::Object(object), Value::Object(usage)) => {
                self.end_inodes();
                self.report.counts.objects += 1;
                self.found.uses.insert(object, *usage);
            }
            (KeySubject::Orphan(ino), Value::Orphan) => self.orphans.push(ino),
            (KeySubject::Snapshot(_), Value::Snapshot(_)) => self.report.counts.snapshots += 1,
            _ => self.wrong("a key of the manifest holds a value of another kind".to_owned()),
        }
        Ok(())
    }

    fn malformed(&mut self, key: &[u8]) -> Result<()> {
        self.wrong(format!("the entry of key {} is malformed", hex(key)));
        Ok(())
    }

    fn gap(&mut self, at: &PageRef, span: Span, error: &Error) -> Result<()> {
        self.report.counts.unreadable_pages += 1;
        self.found.is_pruned |= at.level > 0;
        self.report.find(Area::Manifest, Kind::Changed, error.to_string());
        self.found.gaps.push(span);
        self.blocks.note_broken_page(&at.hash);
        self.flaws += 1;
        Ok(())
    }

    fn flaws(&self) -> u64 {
        self.flaws
    }
}

impl Census<'_, '_> {
    fn tell_progress(&mut self) {
        let bytes = self.blocks.bytes;
        (self.watch)(Progress { stage: "entries", count: self.value_count, bytes });
    }

    /// Something wrong whatever else is readable.
    fn wrong(&mut self, text: String) {
        self.flaws += 1;
        self.report.find(Area::Manifest, Kind::Contradiction, text);
    }

    /// Something wrong, if everything could be read.
    fn doubt(&mut self, text: impl FnOnce() -> String) {
        self.doubt_count += 1;
        if self.doubts.len() < DOUBT_COUNT_MAX {
            self.doubts.push(text());
        }
    }

    fn entry(&mut self, folder: Ino, cookie: Cookie, entry: &Entry) {
        self.report.counts.names += 1;
        let at = |what| format!("a name in folder {} (inode {}) {what}", folder.0, entry.ino.0);
        if strongroom_format::name::check(&entry.name).is_err() {
            self.wrong(at("is none that a folder may hold"));
        } else if self.history.names.of(&entry.name) != cookie.hash() {
            self.wrong(at("is filed under another name's hash"));
        }
        if (self.last_hash.0, self.last_hash.1) == (folder, cookie.hash()) {
            if self.last_hash.2.contains(&entry.name) {
                self.wrong(at("is there twice"));
            }
        } else {
            self.last_hash = (folder, cookie.hash(), Vec::new());
        }
        self.last_hash.2.push(entry.name.clone());
        if entry.kind == NodeKind::Folder {
            match self.sub_folders.last_mut() {
                Some((last, count)) if *last == folder => *count += 1,
                _ => self.sub_folders.push((folder, 1)),
            }
        }
        self.entries.push((entry.ino, folder, entry.kind));
    }

    fn sort_entries(&mut self) {
        if !self.entries_sorted {
            self.entries_sorted = true;
            self.entries.sort_unstable_by_key(|(ino, folder, _)| (*ino, *folder));
        }
    }

    fn inode(&mut self, ino: Ino, inode: &Inode) -> Result<()> {
        self.sort_entries();
        self.report.counts.inodes += 1;
        self.skip_names_before(ino);
        let mut names = 0;
        while let Some((named, folder, kind)) = self.entries.get(self.next_entry).copied()
            && named == ino
        {
            self.next_entry += 1;
            names += 1;
            if kind != inode.kind {
                self.wrong(format!("inode {} is of another kind than its name says", ino.0));
            }
            if inode.kind == NodeKind::Folder && inode.parent != folder {
                self.wrong(format!("folder {} is not in the folder it says", ino.0));
            }
        }
        self.count_links(ino, inode, names);
        for text in rules::of_inode(inode) {
            self.wrong(format!("inode {} {text}", ino.0));
        }
        if let Content::Extents(extents) = &inode.content {
            for extent in extents {
                self.extent(ino, extent)?;
            }
        }
        if matches!(inode.content, Content::Mapped) {
            let (size, allocated) = (inode.size, inode.allocated);
            self.mapped.push(Mapped { ino, size, allocated, summed: 0, end: 0 });
        }
        if inode.kind == NodeKind::Folder {
            self.found.folders.push((ino, inode.parent));
        }
        Ok(())
    }

    /// Names of inodes that did not come.
    fn skip_names_before(&mut self, ino: Ino) {
        while let Some((named, folder, _)) = self.entries.get(self.next_entry).copied()
            && named < ino
        {
            self.next_entry += 1;
            self.name_without_inode(named, folder);
        }
    }

    fn name_without_inode(&mut self, named: Ino, folder: Ino) {
        let key = Key::inode(named);
        if self.found.gaps.iter().any(|gap| gap.has(key.as_bytes())) {
            self.found.faceless.push(named);
        } else {
            self.doubt(|| format!("a name in folder {} has no inode {}", folder.0, named.0));
        }
    }

    fn count_links(&mut self, ino: Ino, inode: &Inode, names: u32) {
        while self.sub_folders.get(self.next_sub).is_some_and(|(folder, _)| *folder < ino) {
            self.next_sub += 1;
        }
        let subs = match self.sub_folders.get(self.next_sub) {
            Some((folder, count)) if *folder == ino => *count,
            _ => 0,
        };
        let links = inode.link_count;
        let is_orphan = links == 0;
        if is_orphan {
            self.nameless.push(ino);
        }
        let (names_expected, links_expected) = match inode.kind {
            NodeKind::Folder if ino == Ino::ROOT => (0, 2 + subs),
            NodeKind::Folder if is_orphan => (0, 0),
            NodeKind::Folder => (1, 2 + subs),
            _ => (links, links),
        };
        if names != names_expected {
            self.doubt(|| format!("inode {} has {names} names, not {names_expected}", ino.0));
        }
        if links != links_expected {
            self.doubt(|| format!("inode {} has {links} links, not {links_expected}", ino.0));
        }
    }

    fn extent(&mut self, ino: Ino, extent: &Extent) -> Result<()> {
        self.report.counts.extents += 1;
        let sum = self.sums.entry(extent.object).or_default();
        sum.bytes += u64::from(extent.len);
        sum.references += 1;
        if let Some(text) = rules::of_extent(extent) {
            self.wrong(format!("an extent of inode {} {text}", ino.0));
            let end = extent.offset.saturating_add(u64::from(extent.len));
            self.tear(ino, (extent.offset, end));
            return Ok(());
        }
        let torn = self.blocks.verify(extent)?;
        if !torn.is_empty() {
            self.flaws += 1;
            self.blocks.note_broken(extent);
        }
        torn.into_iter().for_each(|range| self.tear(ino, range));
        if self.report.counts.extents.is_multiple_of(WATCH_EVERY / 8) {
            self.tell_progress();
        }
        Ok(())
    }

    fn tear(&mut self, ino: Ino, range: (u64, u64)) {
        push_range(self.found.torn.entry(ino).or_default(), range);
    }

    fn mapped_extent(&mut self, ino: Ino, offset: u64, extent: &Extent) -> Result<()> {
        while self.mapped.get(self.next_mapped).is_some_and(|file| file.ino < ino) {
            self.next_mapped += 1;
        }
        let mut trouble = None;
        match self.mapped.get_mut(self.next_mapped) {
            Some(file) if file.ino == ino => {
                let end = extent.offset.saturating_add(u64::from(extent.len));
                if extent.offset != offset || extent.offset < file.end || end > file.size {
                    trouble = Some("lies outside its file or over another");
                }
                file.end = end;
                file.summed += u64::from(extent.len);
            }
            _ => self.doubt(|| format!("an extent has no inode {}", ino.0)),
        }
        if let Some(text) = trouble {
            self.wrong(format!("an extent of inode {} {text}", ino.0));
        }
        self.extent(ino, extent)
    }

    /// What can be said once all inodes were seen.
    fn end_inodes(&mut self) {
        self.sort_entries();
        while let Some((named, folder, _)) = self.entries.get(self.next_entry).copied() {
            self.next_entry += 1;
            self.name_without_inode(named, folder);
        }
    }

    fn finish(mut self) -> Result<Found> {
        self.end_inodes();
        self.tell_progress();
        self.report.counts.bytes = self.blocks.bytes;
        self.compare_with_checkpoint();
        self.compare_extents();
        self.compare_objects();
        self.compare_orphans();
        self.found.names = self.entries.iter().map(|(ino, folder, _)| (*ino, *folder)).collect();
        self.entries = Vec::new();
        self.reach_folders();
        self.name_listless();
        let decided = self.found.gaps.is_empty() && self.history.is_whole;
        if decided {
            for text in std::mem::take(&mut self.doubts) {
                self.wrong(text);
            }
            self.report.counts.untold += self.doubt_count.saturating_sub(DOUBT_COUNT_MAX as u64);
        } else {
            self.report.counts.undecided = self.doubt_count;
        }
        Ok(self.found)
    }

    fn compare_with_checkpoint(&mut self) {
        let state = &self.history.checkpoint.state;
        if !self.found.gaps.is_empty() {
            return;
        }
        if self.digest.to_bytes() != state.digest {
            let text = "the digest of the checkpoint is not that of its pages";
            self.report.find(Area::Manifest, Kind::Contradiction, text);
        }
        let (there, said) = (self.paged_count, state.count);
        if there != said {
            self.wrong(format!("the checkpoint has {there} entries, not {said}"));
        }
    }

    /// Sums of mapped files, and what of them lies in pages that cannot be read.
    fn compare_extents(&mut self) {
        let hidden = self.found.hides((Key::extents_of(Ino(1)).0, Key::objects().0));
        for file in std::mem::take(&mut self.mapped) {
            if hidden {
                self.tear_hidden(&file);
            }
            if file.summed != file.allocated {
                let (ino, summed, allocated) = (file.ino.0, file.summed, file.allocated);
                self.doubt(|| format!("inode {ino} has {summed} bytes in blocks, not {allocated}"));
            }
        }
    }

    fn tear_hidden(&mut self, file: &Mapped) {
        let (from, to) = Key::extents_of(file.ino);
        let mut ranges = Vec::new();
        for gap in &self.found.gaps {
            if !gap.meets(from.as_bytes(), to.as_bytes()) {
                continue;
            }
            let offset = |key: &[u8]| match strongroom_format::key::parse(key) {
                Ok(KeySubject::Extent { ino, offset }) if ino == file.ino => Some(offset),
                _ => None,
            };
            let begin = offset(&gap.from).unwrap_or(0).min(file.size);
            let end = gap.to.as_deref().and_then(offset).unwrap_or(file.size).min(file.size);
            if begin < end {
                ranges.push((begin, end));
            }
        }
        let torn = self.found.torn.entry(file.ino).or_default();
        torn.extend(ranges);
        torn.sort_unstable();
        let mut joined = Vec::new();
        torn.drain(..).for_each(|range| push_range(&mut joined, range));
        match joined.is_empty() {
            true => drop(self.found.torn.remove(&file.ino)),
            false => *torn = joined,
        }
    }

    fn compare_objects(&mut self) {
        let mut sums = std::mem::take(&mut self.sums);
        let mut texts = Vec::new();
        for (object, usage) in &self.found.uses {
            let sum = sums.remove(object).unwrap_or_default();
            if (sum.bytes, sum.references) != (usage.live_bytes, usage.references) {
                texts.push(format!(
                    "object {object} has {} bytes in {} extents, the map counts {} in {}",
                    sum.bytes, sum.references, usage.live_bytes, usage.references
                ));
            }
        }
        let mut uncounted: Vec<ObjectId> = sums.into_keys().collect();
        uncounted.sort_unstable();
        texts.extend(uncounted.iter().map(|object| format!("object {object} is not counted")));
        for text in texts {
            self.doubt(|| text);
        }
    }

    fn compare_orphans(&mut self) {
        self.report.counts.orphans = self.orphans.len() as u64;
        if self.orphans != self.nameless {
            let (orphans, nameless) = (self.orphans.len(), self.nameless.len());
            self.doubt(|| format!("{orphans} orphans are listed, {nameless} inodes have no name"));
        }
    }

    /// Every folder must lead up to the root.
    fn reach_folders(&mut self) {
        let folders = &self.found.folders;
        let at = |ino: Ino| folders.binary_search_by_key(&ino, |(folder, _)| *folder).ok();
        let mut reaches = vec![None; folders.len()];
        let mut lost = Vec::new();
        for start in 0..folders.len() {
            let mut path = Vec::new();
            let mut here = Some(start);
            let verdict = loop {
                let Some(index) = here else { break false };
                if let Some(known) = reaches[index] {
                    break known;
                }
                // While it is being walked a folder does not reach: coming back to it is a cycle.
                reaches[index] = Some(folders[index].0 == Ino::ROOT);
                path.push(index);
                here = at(folders[index].1);
            };
            path.iter().for_each(|index| reaches[*index] = Some(verdict));
            if !verdict && !self.nameless.contains(&folders[start].0) {
                lost.push(folders[start].0);
            }
        }
        for ino in lost {
            self.doubt(|| format!("folder {} does not lead up to the root", ino.0));
        }
    }

    /// Folders whose names lie, or may lie, in pages that cannot be read.
    fn name_listless(&mut self) {
        if !self.found.gaps.is_empty() {
            let hidden = |ino: &Ino| self.found.hides(Key::entries_of(*ino));
            let folders = self.found.folders.iter().map(|(ino, _)| *ino);
            self.found.listless = folders.filter(hidden).collect();
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
