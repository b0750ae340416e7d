//! Paths of the files that damage concerns. Names are looked at for these alone.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::ids::Ino;
use strongroom_format::key::{Key, Subject};
use strongroom_format::page::PageRef;
use strongroom_workspace::tree::map::Value;

use crate::census::Found;
use crate::history::History;
use crate::merge::{Merge, Reader};
use crate::report::{FileDamage, Lost, Report};
use crate::walk::{Span, Walk};
use crate::{Error, Result};

/// LIMIT: longer chains of folders are cycles.
const DEPTH_MAX: usize = 4096;

/// Puts every file and folder concerned into the report, by path.
pub(crate) fn tell(history: &History, found: &Found, report: &mut Report) -> Result<()> {
    let torn = found.torn.iter().map(|(ino, ranges)| (*ino, Lost::Bytes(ranges.clone())));
    let faceless = found.faceless.iter().map(|ino| (*ino, Lost::Everything));
    let listless = found.listless.iter().map(|ino| (*ino, Lost::Names));
    let mut damaged: Vec<(Ino, Lost)> = torn.chain(faceless).chain(listless).collect();
    damaged.dedup();
    if damaged.is_empty() {
        return Ok(());
    }
    let names = names_of(history, found, &damaged)?;
    let mut files: Vec<FileDamage> = damaged
        .into_iter()
        .flat_map(|(ino, lost)| {
            let paths = paths(ino, &names);
            let lost = move |path| FileDamage { then: None, path, ino: ino.0, lost: lost.clone() };
            paths.into_iter().map(lost)
        })
        .collect();
    files.sort_by(|a, b| (&a.path, a.ino).cmp(&(&b.path, b.ino)));
    files.dedup();
    files.into_iter().for_each(|file| report.tell_file(file));
    Ok(())
}

/// Names by inode: folder and name.
type Names = BTreeMap<Ino, Vec<(Ino, Vec<u8>)>>;

struct Gather {
    wanted: BTreeSet<Ino>,
    names: Names,
}

impl Reader for Gather {
    fn value(&mut self, subject: Subject, value: &Value) -> Result<()> {
        if let (Subject::Entry { folder, .. }, Value::Entry(entry)) = (subject, value)
            && self.wanted.contains(&entry.ino)
        {
            self.names.entry(entry.ino).or_default().push((folder, entry.name.clone()));
        }
        Ok(())
    }

    fn malformed(&mut self, _key: &[u8]) -> Result<()> {
        Ok(())
    }

    fn gap(&mut self, _at: &PageRef, _span: Span, _error: &Error) -> Result<()> {
        Ok(())
    }
}

fn names_of(history: &History, found: &Found, damaged: &[(Ino, Lost)]) -> Result<Names> {
    let mut wanted: BTreeSet<Ino> = damaged.iter().map(|(ino, _)| *ino).collect();
    let mut open: Vec<Ino> = wanted.iter().copied().collect();
    while let Some(ino) = open.pop() {
        let from = found.names.partition_point(|(named, _)| *named < ino);
        for (_, folder) in found.names[from..].iter().take_while(|(named, _)| *named == ino) {
            if wanted.insert(*folder) {
                open.push(*folder);
            }
        }
    }
    let mut gather = Gather { wanted, names: Names::new() };
    let (from, to) = (Key::all().0, Key::inodes().0);
    let mut walk = Walk::new(&history.pages, (from.as_bytes(), to.as_bytes()));
    let mut merge = Merge::new(&history.map.overlay, &mut gather);
    walk.run(&history.map.tree, &mut merge)?;
    merge.catch_up(Some(to.as_bytes()))?;
    Ok(gather.names)
}

/// All paths of an inode; one empty path if none can be told.
fn paths(ino: Ino, names: &Names) -> Vec<Vec<u8>> {
    if ino == Ino::ROOT {
        return vec![b"/".to_vec()];
    }
    let given = names.get(&ino).map(Vec::as_slice).unwrap_or_default();
    let mut paths: Vec<Vec<u8>> =
        given.iter().filter_map(|(folder, name)| path(*folder, name, names)).collect();
    if paths.is_empty() {
        paths.push(Vec::new());
    }
    paths
}

fn path(folder: Ino, name: &[u8], names: &Names) -> Option<Vec<u8>> {
    let mut parts = vec![name];
    let mut folder = folder;
    while folder != Ino::ROOT {
        let (above, name) = names.get(&folder)?.first()?;
        parts.push(name);
        folder = *above;
        if parts.len() > DEPTH_MAX {
            return None;
        }
    }
    Some(parts.iter().rev().flat_map(|part| [&b"/"[..], part].concat()).collect())
}
