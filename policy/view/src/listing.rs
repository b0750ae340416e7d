//! Names in the view: who and what has one, and what a page of a folder shows.

use std::sync::Arc;
use std::time::Duration;

use strongroom_records::ids::{ClassId, Pseudonym};
use strongroom_records::subject::File;
use strongroom_steward::{LentJoint, OpenClass};
use strongroom_workspace::door::{Attributes, FolderEntry, Ino};

use crate::core::Step;
use crate::desk::Ask;
use crate::draft::Draft;
use crate::gate::{Compartment, Standing};
use crate::parties::Parties;
use crate::state::{Person, State, Thing};

/// Cookies of `.`, `..`; entries come after.
pub(crate) const FIRST_COOKIE: u64 = 2;
/// Bits of a cookie that come from an id.
const COOKIE_BITS: u32 = 62;

pub(crate) fn find_class(
    state: &State,
    pseudonym: &Pseudonym,
    name: &[u8],
    now: Duration,
) -> std::result::Result<Thing, Step<Attributes>> {
    let person = state.person(pseudonym).ok_or_else(Step::missing)?;
    let own = person.compartments.iter().find(|own| own.name.as_bytes() == name);
    let own = own.ok_or_else(Step::missing)?;
    match own.shown(now) {
        Standing::Live(()) => Ok(Thing::Class(Arc::clone(own))),
        Standing::Lapsed => Err(Step::Ask(Ask::Show(vec![person.subject]))),
        Standing::Shut => Err(Step::missing()),
    }
}

pub(crate) type Found = Vec<(Vec<u8>, Thing, u64)>;

/// A page of people, up to the first who has yet to be shown. Where that is the first of all, those who have to be are asked for
/// together; how many a custodian then shows is up to how long that takes it.
pub(crate) fn list_people(
    state: &State,
    cookie: u64,
    count_max: usize,
    now: Duration,
) -> std::result::Result<Found, Ask> {
    if !state.is_read {
        return Err(Ask::Everybody);
    }
    let first = Pseudonym(first_id(cookie));
    let all = state.people_from(first).filter(|(id, _)| id_cookie(&id.0) > cookie);
    let page: Vec<_> = all.take(count_max).collect();
    let is_lapsed = |person: &Person| {
        person.compartments.iter().any(|own| matches!(own.shown(now), Standing::Lapsed))
    };
    let live = page.iter().take_while(|(_, person)| !is_lapsed(person));
    let entry = |(id, _): &(&Pseudonym, &Person)| {
        (id.to_string().into_bytes(), Thing::Person(**id), id_cookie(&id.0))
    };
    let found: Found = live.map(entry).collect();
    if !found.is_empty() || page.is_empty() {
        return Ok(found);
    }
    let lapsed = page.iter().filter(|(_, person)| is_lapsed(person));
    Err(Ask::Show(lapsed.map(|(_, person)| person.subject).collect()))
}

pub(crate) fn list_classes(
    state: &State,
    pseudonym: &Pseudonym,
    cookie: u64,
    now: Duration,
) -> std::result::Result<Found, Step<Vec<FolderEntry>>> {
    let person = state.person(pseudonym).ok_or_else(Step::missing)?;
    let mut found = Vec::new();
    for own in &person.compartments {
        match own.shown(now) {
            Standing::Lapsed => return Err(Step::Ask(Ask::Show(vec![person.subject]))),
            Standing::Shut => continue,
            Standing::Live(()) => {}
        }
        let at = class_cookie(own.class);
        if at > cookie {
            found.push((own.name.clone().into_bytes(), Thing::Class(Arc::clone(own)), at));
        }
    }
    Ok(found)
}

/// Of files that are about others as well those that are shown: all whom one is about are in the view, and it is on record with
/// each of them. Of others it tells nothing.
pub(crate) fn joint_files<'j>(
    state: &State,
    own: &Arc<Compartment>,
    all: impl Iterator<Item = &'j LentJoint>,
    now: Duration,
) -> std::result::Result<Vec<(Parties, File)>, Ask> {
    let (mut shown, mut lapsed) = (Vec::new(), Vec::new());
    for joint in all {
        let Some(parties) = Parties::find(state, own, &joint.others) else { continue };
        match parties.shown(now) {
            Standing::Live(()) => shown.push((parties, joint.file.clone())),
            Standing::Lapsed => lapsed.push(parties.ask(now)),
            Standing::Shut => {}
        }
    }
    if lapsed.is_empty() { Ok(shown) } else { Err(Ask::together(lapsed)) }
}

/// One of them by its name.
pub(crate) fn find_joint(
    state: &State,
    own: &Arc<Compartment>,
    class: &OpenClass,
    name: &[u8],
    now: Duration,
) -> std::result::Result<Option<(Parties, File)>, Ask> {
    let named = class.joint().iter().filter(|joint| joint.file.name.as_bytes() == name);
    Ok(joint_files(state, own, named, now)?.pop())
}

/// Files in the order of their ids, so that one that comes or goes moves no other's cookie.
pub(crate) fn list_files(
    own: &Arc<Compartment>,
    files: &[File],
    joint: Vec<(Parties, File)>,
    drafts: &[Arc<Draft>],
    cookie: u64,
    count_max: usize,
) -> Found {
    let names: Vec<String> = drafts.iter().map(|draft| draft.name()).collect();
    let files = files.iter().map(|file| (Parties::one(own), file.clone())).chain(joint);
    let files = files.filter(|(_, file)| !names.contains(&file.name));
    let file = |(parties, file): (Parties, File)| {
        let (name, at) = (file.name.clone().into_bytes(), id_cookie(&file.id.0));
        (name, Thing::File(parties, file), at)
    };
    let draft = |draft: &Arc<Draft>| {
        let at = draft.source().map_or_else(|| draft_cookie(draft.ino), |id| id_cookie(&id.0));
        (draft.name().into_bytes(), Thing::Draft(Arc::clone(draft)), at)
    };
    let mut page: Found = files.map(file).chain(drafts.iter().map(draft)).collect();
    page.retain(|(_, _, at)| *at > cookie);
    page.sort_by_key(|(_, _, at)| *at);
    page.truncate(count_max);
    page
}

/// The first bits of an id, after the cookies of `.` and `..`.
fn id_cookie(id: &[u8; 16]) -> u64 {
    let first: &[u8; 8] = id.first_chunk().expect("16 bytes have 8");
    (u64::from_be_bytes(*first) >> (u64::BITS - COOKIE_BITS)) + FIRST_COOKIE + 1
}

/// The smallest id that has a cookie at or after this one.
fn first_id(cookie: u64) -> [u8; 16] {
    let bits = cookie.saturating_sub(FIRST_COOKIE + 1) << (u64::BITS - COOKIE_BITS);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&bits.to_be_bytes());
    id
}

/// Of a file that has no id yet: anywhere among those that have.
fn draft_cookie(ino: Ino) -> u64 {
    let spread = ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id_cookie(&(u128::from(spread) << 64).to_be_bytes())
}

pub(crate) fn pseudonym_of(name: &[u8]) -> Option<Pseudonym> {
    std::str::from_utf8(name).ok().and_then(Pseudonym::parse)
}

fn class_cookie(class: ClassId) -> u64 {
    u64::from(class.0) + FIRST_COOKIE + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_leads_to_the_first_id_that_has_it_or_a_later_one() {
        let mut id = [0xa7; 16];
        for first in [0, 1, 3, 4, 0x40, 0xff] {
            id[7] = first;
            let cookie = id_cookie(&id);
            assert!(cookie > FIRST_COOKIE && cookie < 1 << 63);
            assert!(first_id(cookie) <= id);
            assert_eq!(id_cookie(&first_id(cookie)), cookie);
        }
        assert_eq!(first_id(0), [0; 16]);
    }
}
