//! Moving names.

use std::sync::Arc;

use strongroom_format::inode::{Entry, Kind};
use strongroom_format::op::{Fate, Op};

use super::attributes::check_name;
use crate::door::{Answer, Ino, RenameMode};
use crate::error::ErrorKind;
use crate::state::{State, fail};
use crate::tree::need::Look;
use crate::workspace::Inner;

/// LIMIT: depth of folders that a walk to the root follows.
const DEPTH_MAX: usize = 100_000;

impl Inner {
    pub(super) fn rename(
        self: &Arc<Self>,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Answer<()> {
        if let Err(error) = check_name(from.1).and_then(|()| check_name(to.1)) {
            return Answer::Ready(Err(error));
        }
        let (from_name, to_name) = (from.1.to_vec(), to.1.to_vec());
        let ((from, to), (time, now)) = ((from.0, to.0), self.times());
        self.change(move |inner, state, journal| {
            state.live_folder(from)?;
            state.live_folder(to)?;
            let source = state.entry(from, &from_name)?;
            let source = source.ok_or_else(|| fail(ErrorKind::NotFound, "no such name"))?;
            let target = state.entry(to, &to_name)?;
            state.check_no_cycle(&source, to)?;
            let names = (from_name.clone(), to_name.clone());
            match (mode, &target) {
                (RenameMode::NoReplace, Some(_)) => {
                    Err(fail(ErrorKind::Exists, "the name is taken"))
                }
                (RenameMode::Exchange, None) => Err(fail(ErrorKind::NotFound, "no such name")),
                // Two names of one inode, or one name twice: POSIX leaves both.
                (RenameMode::Replace | RenameMode::Exchange, Some(target))
                    if target.ino == source.ino =>
                {
                    Ok(())
                }
                (RenameMode::Exchange, Some(target)) => {
                    state.check_no_cycle(target, from)?;
                    let op = Op::Exchange { from, from_name: names.0, to, to_name: names.1, time };
                    state.execute(journal, now, &op)
                }
                (RenameMode::Replace | RenameMode::NoReplace, target) => {
                    let (replaced, fate) =
                        state.replaced(&source, target.as_deref(), inner.removal_max())?;
                    let before = match replaced {
                        Ino(0) => None,
                        ino => Some(state.inode(ino)?),
                    };
                    let op = Op::Rename {
                        from,
                        from_name: names.0,
                        to,
                        to_name: names.1,
                        ino: source.ino,
                        replaced,
                        fate,
                        time,
                    };
                    state.execute(journal, now, &op)?;
                    if let Some(before) = before {
                        state.keep_ghost(replaced, &before, time);
                        state.doom_if_closed(replaced);
                    }
                    Ok(())
                }
            }
        })
    }
}

impl State {
    /// What a rename replaces, after checking that it may.
    fn replaced(
        &self,
        source: &Entry,
        target: Option<&Entry>,
        count_max: usize,
    ) -> Look<(Ino, Fate)> {
        let Some(target) = target else { return Ok((Ino(0), Fate::Remove)) };
        match (source.kind == Kind::Folder, target.kind == Kind::Folder) {
            (true, false) => return Err(fail(ErrorKind::NotDirectory, "a file is in the way")),
            (false, true) => return Err(fail(ErrorKind::IsDirectory, "a folder is in the way")),
            (true, true) => self.check_empty(target.ino)?,
            (false, false) => {}
        }
        Ok((target.ino, self.fate_of(target.ino, count_max)?))
    }

    /// Fails if a folder would move below itself.
    fn check_no_cycle(&self, moved: &Entry, into: Ino) -> Look<()> {
        if moved.kind != Kind::Folder {
            return Ok(());
        }
        let mut at = into;
        for _ in 0..DEPTH_MAX {
            if at == moved.ino {
                return Err(fail(ErrorKind::Invalid, "a folder cannot move below itself"));
            }
            if at == Ino::ROOT {
                return Ok(());
            }
            at = self.inode(at)?.parent;
        }
        Err(fail(ErrorKind::Corrupt, "a folder is its own ancestor"))
    }
}
