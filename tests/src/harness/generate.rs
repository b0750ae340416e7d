//! Random steps: few names and few slots, so that they meet each other often.

use strongroom_host::sim::Chance;
use strongroom_workspace::door::{
    Access, AllocateMode, Kind, RenameMode, SeekTarget, WriteMode, XattrMode,
};

use super::step::{Path, SLOT_COUNT, Step};

/// What kind of life is led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Everything.
    All,
    /// Without calls that are several operations: a crash may come between these.
    Atomic,
    /// What a folder of the local file system can do in the same way.
    Local,
}

const FOLDERS: [&str; 6] = ["", "", "d", "e", "d/d", "d/e"];
const NAMES: [&str; 7] = ["a", "A", "b", "c", "\u{e4}", "\u{c4}", "f"];
const MODES: [u16; 6] = [0o644, 0o600, 0o755, 0o4755, 0o2755, 0o2745];
const XATTRS: [&str; 3] = ["user.one", "user.two", "user.three"];
const ACCESSES: [Access; 5] =
    [Access::ReadWrite, Access::ReadWrite, Access::ReadWrite, Access::Read, Access::Write];
const ALLOCATES: [AllocateMode; 5] = [
    AllocateMode::Extend,
    AllocateMode::KeepSize,
    AllocateMode::PunchHole,
    AllocateMode::ZeroRange,
    AllocateMode::ZeroRangeKeepSize,
];
const KINDS: [Kind; 8] = [
    Kind::File,
    Kind::Folder,
    Kind::Folder,
    Kind::Folder,
    Kind::Folder,
    Kind::Symlink,
    Kind::Symlink,
    Kind::Fifo,
];

/// Makes steps from chance.
pub struct Generator {
    chance: Chance,
    mix: Mix,
}

impl Generator {
    /// The same seed and mix give the same steps.
    pub fn new(seed: u64, mix: Mix) -> Self {
        Self { chance: Chance::new(seed), mix }
    }

    /// That many steps.
    pub fn steps(&mut self, count: usize) -> Vec<Step> {
        (0..count).map(|_| self.step()).collect()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.chance.index(from.len())]
    }

    fn path(&mut self) -> Path {
        if self.chance.one_in(300) {
            let len = 254 + self.chance.index(3);
            return "n".repeat(len);
        }
        if self.chance.one_in(40) {
            return self.folder();
        }
        let (folder, name) = (self.pick(&FOLDERS), self.pick(&NAMES));
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    }

    fn folder(&mut self) -> Path {
        let all = ["d", "e", "d/d", "d/e", "e/d", "e/e"];
        self.pick(&all).to_owned()
    }

    /// A folder's path mostly, where folders are likely.
    fn any_path(&mut self) -> Path {
        match self.chance.below(4) {
            0 => self.folder(),
            1 if self.chance.one_in(4) => String::new(),
            _ => self.path(),
        }
    }

    fn slot(&mut self) -> usize {
        self.chance.index(SLOT_COUNT)
    }

    fn offset(&mut self) -> u64 {
        match self.chance.below(12) {
            0..3 => 0,
            3..6 => self.chance.below(1200),
            6..8 => self.chance.below(10_000),
            8 => self.chance.below(64) * 4096,
            9 | 10 => self.chance.below(300_000),
            _ if self.chance.one_in(6) => (1 << 40) + self.chance.below(100_000),
            _ => self.chance.below(2_000_000),
        }
    }

    fn len(&mut self) -> usize {
        match self.chance.below(16) {
            0..5 => 1 + self.chance.index(100),
            5..9 => 1 + self.chance.index(2000),
            9..12 => 1 + self.chance.index(9000),
            12 | 13 => 4096 * (1 + self.chance.index(4)),
            14 => 65_536 + self.chance.index(3) * 4096 + self.chance.index(2),
            _ if self.chance.one_in(4) => 65_535 + self.chance.index(300_000),
            _ => 1 + self.chance.index(70_000),
        }
    }

    fn step(&mut self) -> Step {
        match self.chance.below(100) {
            0..6 => {
                let kind = self.pick(&KINDS);
                let path = if kind == Kind::Folder { self.folder() } else { self.path() };
                // The kernel gives links one mode, and folders no suid and sgid at birth.
                let mode = match (self.mix, kind) {
                    (Mix::Local, Kind::Symlink) => 0o777,
                    (Mix::Local, Kind::Folder) => 0o755,
                    _ => self.pick(&MODES),
                };
                Step::Make { path, kind, mode }
            }
            6..13 => Step::CreateOpen {
                path: self.path(),
                mode: self.pick(&MODES),
                slot: self.slot(),
                access: self.pick(&ACCESSES),
            },
            13..16 => Step::Link { from: self.path(), to: self.path() },
            16..22 => Step::Unlink { path: self.path() },
            22..24 => Step::RemoveFolder { path: self.any_path() },
            24..31 => {
                let modes = [
                    RenameMode::Replace,
                    RenameMode::Replace,
                    RenameMode::Replace,
                    RenameMode::NoReplace,
                    RenameMode::Exchange,
                ];
                Step::Rename { from: self.named(), to: self.named(), mode: self.pick(&modes) }
            }
            31..38 => Step::Open {
                path: self.path(),
                slot: self.slot(),
                access: self.pick(&ACCESSES),
                truncate: self.chance.one_in(5),
            },
            38..40 => Step::Release { slot: self.slot() },
            40..62 => self.write(),
            62..70 => {
                let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
                Step::Read { slot: self.slot(), offset: self.offset(), len }
            }
            70..74 => self.allocate(),
            74..76 => {
                let target = self.pick(&[SeekTarget::Data, SeekTarget::Hole]);
                Step::Seek { slot: self.slot(), target, offset: self.offset() }
            }
            76..79 => {
                let (from, to) = ((self.slot(), self.offset()), (self.slot(), self.offset()));
                Step::Copy { from, to, len: self.len() as u64 }
            }
            79..81 => Step::Resize { slot: self.slot(), size: self.offset() },
            81 => Step::ResizePath { path: self.path(), size: self.offset() },
            82..87 => self.attribute(),
            87..91 => self.look(),
            _ => self.upkeep(),
        }
    }

    /// A path that is not the root.
    fn named(&mut self) -> Path {
        if self.chance.one_in(4) { self.folder() } else { self.path() }
    }

    fn write(&mut self) -> Step {
        let modes = [WriteMode::At, WriteMode::At, WriteMode::Append, WriteMode::WithinSize];
        let mode = match self.mix {
            Mix::Local => self.pick(&modes[..3]),
            Mix::All | Mix::Atomic => self.pick(&modes),
        };
        Step::Write {
            slot: self.slot(),
            offset: self.offset(),
            len: self.len(),
            fill: self.chance.next_u64(),
            mode,
            drop_set_id: self.mix != Mix::Local && self.chance.one_in(2),
        }
    }

    fn allocate(&mut self) -> Step {
        let mut mode = self.pick(&ALLOCATES);
        if self.mix == Mix::Atomic && mode == AllocateMode::ZeroRange {
            mode = AllocateMode::ZeroRangeKeepSize;
        }
        Step::Allocate {
            slot: self.slot(),
            mode,
            offset: self.offset(),
            len: self.len() as u64 * (1 + self.chance.below(4)),
        }
    }

    fn attribute(&mut self) -> Step {
        let path = self.any_path();
        match self.chance.below(9) {
            0 => Step::SetMode { path, mode: self.pick(&MODES) },
            1 => Step::SetModeOpen { slot: self.slot(), mode: self.pick(&MODES) },
            2 => {
                let (uid, gid) = (self.pick(&[0, 1000, 4242]), self.pick(&[0, 1000, 4242]));
                Step::SetOwner { path, uid, gid }
            }
            3 => Step::SetTimes { path, time: self.chance.below(2_000_000_000_000_000_000) as i64 },
            4..7 => {
                let modes = [XattrMode::Either, XattrMode::CreateOnly, XattrMode::ReplaceOnly];
                let len = match self.mix {
                    Mix::Local => self.chance.index(600),
                    Mix::All | Mix::Atomic => self.chance.index(5000),
                };
                let (fill, mode) = (self.chance.next_u64(), self.pick(&modes));
                Step::SetXattr { path, name: self.pick(&XATTRS), len, fill, mode }
            }
            7 => Step::Xattr { path, name: self.pick(&XATTRS) },
            _ => Step::RemoveXattr { path, name: self.pick(&XATTRS) },
        }
    }

    fn look(&mut self) -> Step {
        let path = self.any_path();
        match self.chance.below(8) {
            0..2 => Step::Stat { path },
            2 => Step::StatOpen { slot: self.slot() },
            3 if self.mix != Mix::Local => Step::FindFolded { path },
            3 | 4 => Step::ReadLink { path },
            5 => Step::XattrNames { path },
            _ => Step::List { path, page: 1 + self.chance.below(5) as u32 },
        }
    }

    fn upkeep(&mut self) -> Step {
        match self.chance.below(12) {
            0..3 => Step::Sync,
            3 => Step::Commit,
            4 if self.chance.one_in(2) => Step::Reopen,
            _ => Step::Tick { millis: self.chance.below(900) },
        }
    }
}
