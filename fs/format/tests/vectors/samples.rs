//! Samples of every record, ways to spoil them, and a seeded generator.

use strongroom_crypto::secret::BlockKey;
use strongroom_format::checkpoint::{
    self, CheckpointRoot, CompartmentState, JournalMark, PageObject, PartRef, WriterSlot,
};
use strongroom_format::commit::{
    self, Body, BodyHead, BodyRef, CommitFile, CommitHeader, ObjectAdded,
};
use strongroom_format::device::{self, DeviceClear, Kdf, Provider};
use strongroom_format::encode;
use strongroom_format::genesis::{self, Genesis};
use strongroom_format::ids::{
    CompartmentId, DeviceId, Digest, Ino, MemberId, ObjectId, OrganisationId, SnapshotId,
    WorkspaceId,
};
use strongroom_format::inode::{Content, Entry, Extent, Inode, Kind, ObjectUse, Snapshot, Xattr};
use strongroom_format::key::{Cookie, Key};
use strongroom_format::op::{Fate, Op};
use strongroom_format::organisation::{
    self, Act, Certificate, Naming, Recipient, Record, Rotation, Share,
};
use strongroom_format::page::{PageRef, Run};
use strongroom_format::request::{self, Request};
use strongroom_format::workspace::WorkspaceFile;

type Good = Vec<(&'static str, Vec<u8>)>;

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.roll() as u8).collect()
    }

    /// Numbers of every length CBOR knows.
    fn number(&mut self) -> u64 {
        let bits = [4, 5, 8, 16, 32, 63][self.below(6) as usize];
        self.roll() & ((1 << bits) - 1)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }
}

fn extent(offset: u64, len: u32) -> Extent {
    Extent {
        offset,
        len,
        object: ObjectId([0x0b; 16]),
        place: 131_072,
        block_len: 1 << 20,
        block_offset: 4096,
        key: BlockKey::from_bytes(&[0x5e; 32]),
        header_hash: Digest([0x4a; 32]),
    }
}

fn inode(kind: Kind, content: Content) -> Inode {
    Inode {
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        link_count: 1,
        size: 5,
        allocated: 0,
        mtime: 1_700_000_000_000_000_001,
        ctime: 1_700_000_000_000_000_002,
        atime: -1,
        btime: 0,
        rdev: 0,
        parent: Ino(0),
        content,
        xattrs: Vec::new(),
    }
}

pub fn inodes() -> Good {
    let mut folder = inode(Kind::Folder, Content::Empty);
    (folder.parent, folder.link_count, folder.size) = (Ino::ROOT, 3, 0);
    let mut device = inode(Kind::Char, Content::Empty);
    (device.rdev, device.size) = (0x0501, 0);
    let mut tagged = inode(Kind::File, Content::Inline(b"hello".to_vec()));
    tagged.xattrs = vec![
        Xattr { name: b"user.a".to_vec(), value: Vec::new() },
        Xattr { name: b"user.b".to_vec(), value: vec![0, 1] },
    ];
    let mut mapped = inode(Kind::File, Content::Mapped);
    (mapped.size, mapped.allocated) = ((1 << 62) - 1, 1 << 40);
    vec![
        ("empty file", encode(&inode(Kind::File, Content::Empty))),
        ("inline file with xattrs", encode(&tagged)),
        ("symlink", encode(&inode(Kind::Symlink, Content::Target(b"/etc/x".to_vec())))),
        (
            "file of two extents",
            encode(&inode(
                Kind::File,
                Content::Extents(vec![extent(0, 4096), extent(1 << 40, 65_536)]),
            )),
        ),
        ("file of many extents", encode(&mapped)),
        ("purged file", encode(&inode(Kind::File, Content::Purged))),
        ("folder", encode(&folder)),
        ("fifo", encode(&inode(Kind::Fifo, Content::Empty))),
        ("socket", encode(&inode(Kind::Socket, Content::Empty))),
        ("character device", encode(&device)),
        ("block device", encode(&inode(Kind::Block, Content::Empty))),
    ]
}

pub fn entries() -> Good {
    let entry = |name: &[u8], ino, kind| encode(&Entry { name: name.to_vec(), ino, kind });
    vec![
        ("file", entry(b"readme.txt", Ino::compose(0, 2), Kind::File)),
        ("folder", entry("Müll".as_bytes(), Ino::compose(3, 1 << 39), Kind::Folder)),
        ("not text", entry(b"\xff\xfe", Ino(7), Kind::Symlink)),
        ("longest", entry(&[b'n'; 255], Ino(7), Kind::File)),
    ]
}

pub fn uses() -> Good {
    let usage = ObjectUse { live_bytes: 1 << 20, references: 1, stored_len: 1_050_184 };
    vec![("one block", encode(&usage))]
}

pub fn ops() -> Good {
    let ino = Ino::compose(0, 2);
    let create = |kind, target: &[u8], rdev| Op::Create {
        folder: Ino::ROOT,
        name: b"a".to_vec(),
        ino,
        kind,
        mode: 0o4755,
        uid: 0,
        gid: 70_000,
        rdev,
        target: target.to_vec(),
        time: -5,
    };
    let attributes = |mode, size| Op::SetAttributes {
        ino,
        mode,
        uid: None,
        gid: None,
        size,
        atime: None,
        mtime: None,
        time: 9,
    };
    let xattr = |value| Op::SetXattr { ino, name: b"user.k".to_vec(), value, time: 9 };
    vec![
        ("create file", encode(&create(Kind::File, b"", 0))),
        ("create symlink", encode(&create(Kind::Symlink, b"../b", 0))),
        ("create device", encode(&create(Kind::Block, b"", 0x0800))),
        ("link", encode(&Op::Link { ino, folder: Ino::ROOT, name: b"b".to_vec(), time: 1 })),
        (
            "unlink and keep",
            encode(&Op::Unlink {
                folder: Ino::ROOT,
                name: b"b".to_vec(),
                ino,
                fate: Fate::Keep,
                time: 2,
            }),
        ),
        (
            "rename over another",
            encode(&Op::Rename {
                from: Ino::ROOT,
                from_name: b"a".to_vec(),
                to: Ino(3),
                to_name: b"c".to_vec(),
                ino,
                replaced: Ino(9),
                fate: Fate::Remove,
                time: 3,
            }),
        ),
        (
            "exchange",
            encode(&Op::Exchange {
                from: Ino::ROOT,
                from_name: b"a".to_vec(),
                to: Ino(3),
                to_name: b"c".to_vec(),
                time: 3,
            }),
        ),
        ("set mode", encode(&attributes(Some(0o600), None))),
        ("truncate", encode(&attributes(None, Some(0)))),
        ("set xattr", encode(&xattr(Some(b"v".to_vec())))),
        ("set empty xattr", encode(&xattr(Some(Vec::new())))),
        ("remove xattr", encode(&xattr(None))),
        (
            "set inline",
            encode(&Op::SetInline {
                ino,
                size: 10,
                data: b"hello".to_vec(),
                mode: 0o644,
                mtime: 4,
                ctime: 5,
            }),
        ),
        (
            "set extents",
            encode(&Op::SetExtents {
                ino,
                size: 1 << 33,
                extents: vec![extent(4096, 4096), extent(1 << 32, 1)],
                mode: 0o644,
                mtime: 4,
                ctime: 5,
            }),
        ),
        ("punch", encode(&Op::Punch { ino, offset: 4096, len: u64::MAX >> 1, time: 6 })),
        (
            "clone",
            encode(&Op::Clone {
                from: ino,
                from_offset: 0,
                to: Ino(9),
                to_offset: 65_536,
                len: 65_536,
                size: 131_072,
                time: 7,
            }),
        ),
        ("purge", encode(&Op::Purge { ino })),
        (
            "relocate",
            encode(&Op::Relocate {
                from: ObjectId([1; 16]),
                to: ObjectId([2; 16]),
                inos: vec![ino, Ino(9)],
                places: vec![(0, 66_000), (66_000, 0)],
            }),
        ),
        (
            "write",
            encode(&Op::Write { ino, offset: 3, data: b"xyz".to_vec(), mode: 0o644, time: 8 }),
        ),
        ("based", encode(&Op::Based { seq: 77, from: 301, last: true })),
        ("rewrite", encode(&Op::Rewrite { ino, extents: vec![extent(0, 65_536)] })),
        ("make snapshot", encode(&Op::SetSnapshot { id: SNAPSHOT, snapshot: Some(snapshot()) })),
        ("drop snapshot", encode(&Op::SetSnapshot { id: SNAPSHOT, snapshot: None })),
        ("expunge", encode(&Op::Expunge { inos: vec![Ino(9), ino] })),
    ]
}

const SNAPSHOT: SnapshotId = SnapshotId([0x61; 16]);

fn snapshot() -> Snapshot {
    let (name, head, device) = ("before".to_owned(), Digest([3; 32]), DeviceId([4; 16]));
    Snapshot { name, seq: 77, head, time: 1_700_000_000_000_000_000, device }
}

pub fn snapshots() -> Good {
    vec![("snapshot", encode(&snapshot()))]
}

fn page_ref(level: u8) -> PageRef {
    PageRef {
        object: ObjectId([9; 16]),
        place: 16_384,
        sealed_len: 16_384,
        level,
        epoch: 3,
        hash: Digest([8; 32]),
    }
}

pub fn pages() -> Good {
    let mut leaf = Run::default();
    leaf.push(Key::inode(Ino(1)).as_bytes(), &[1, 2, 3]).unwrap();
    leaf.push(Key::inode(Ino(2)).as_bytes(), &[]).unwrap();
    leaf.push(Key::orphan(Ino(2)).as_bytes(), &[]).unwrap();
    let mut inner = Run::default();
    inner.push_child(Key::entry(Ino(1), Cookie(128)).as_bytes(), page_ref(0)).unwrap();
    inner.push_child(Key::inode(Ino(7)).as_bytes(), page_ref(0)).unwrap();
    let mut higher = Run::default();
    higher.push_child(&[5], page_ref(1)).unwrap();
    vec![
        ("leaf", leaf.cut(3, 0).to_vec()),
        ("inner", inner.cut(2, 1).to_vec()),
        ("inner of level 2", higher.cut(1, 2).to_vec()),
    ]
}

fn header() -> CommitHeader {
    CommitHeader {
        suite: 1,
        organisation: OrganisationId([1; 32]),
        workspace: WorkspaceId([2; 16]),
        seq: 7,
        parent: Digest([3; 32]),
        author: DeviceId([4; 16]),
        incarnation: 1,
        counter: 7,
        organisation_seq: 0,
        organisation_head: Digest([1; 32]),
        bodies: vec![
            BodyRef {
                compartment: CompartmentId::ORDINARY,
                epoch: 1,
                len: 5,
                sha256: Digest([5; 32]),
            },
            BodyRef {
                compartment: CompartmentId([1; 16]),
                epoch: 2,
                len: 0,
                sha256: Digest([6; 32]),
            },
        ],
        added: vec![ObjectAdded {
            object: ObjectId([7; 16]),
            len: 1_050_184,
            hash: Digest([8; 32]),
        }],
        released: vec![ObjectId([9; 16])],
        time: 1_700_000_000_000_000_000,
    }
}

fn commit_file(header: &CommitHeader) -> Vec<u8> {
    commit::build(&encode(header), &[0x51; 64], &[&b"12345"[..]])
}

pub fn commits() -> Good {
    let bare =
        CommitHeader { bodies: Vec::new(), added: Vec::new(), released: Vec::new(), ..header() };
    vec![
        ("two bodies", commit_file(&header())),
        ("bodies dropped", CommitFile::parse(&commit_file(&header())).unwrap().to_bare()),
        ("no body", commit::build(&encode(&bare), &[0x51; 64], &[[0; 0]; 0])),
    ]
}

fn body(ops: Vec<Op>) -> Body {
    let head = BodyHead {
        compartment: CompartmentId::ORDINARY,
        author: DeviceId([4; 16]),
        incarnation: 1,
        counter: 7,
        base_seq: 6,
        journal_upto: 300,
        op_count: 0,
    };
    Body { head, ops }
}

pub fn bodies() -> Good {
    let two = vec![
        Op::Purge { ino: Ino(4) },
        Op::Link { ino: Ino(5), folder: Ino::ROOT, name: b"n".to_vec(), time: 0 },
    ];
    vec![
        ("no operation", body(Vec::new()).encode().unwrap()),
        ("two operations", body(two).encode().unwrap()),
    ]
}

fn checkpoint_root() -> CheckpointRoot {
    CheckpointRoot {
        suite: 1,
        organisation: OrganisationId([1; 32]),
        workspace: WorkspaceId([2; 16]),
        seq: 7,
        head: Digest([3; 32]),
        author: DeviceId([4; 16]),
        organisation_seq: 0,
        organisation_head: Digest([1; 32]),
        parts: vec![PartRef {
            compartment: CompartmentId::ORDINARY,
            epoch: 1,
            seq: 7,
            len: 4,
            sha256: Digest([5; 32]),
        }],
        page_objects: vec![PageObject {
            object: ObjectId([6; 16]),
            stored_len: 32_768,
            live_pages: 2,
            hash: Digest([7; 32]),
        }],
        time: 0,
    }
}

pub fn checkpoints() -> Good {
    vec![("one part", checkpoint::build(&encode(&checkpoint_root()), &[0x51; 64], &[&b"part"[..]]))]
}

fn state() -> CompartmentState {
    CompartmentState {
        compartment: CompartmentId::ORDINARY,
        seq: 7,
        root: Some(page_ref(1)),
        height: 2,
        count: 500,
        name_key: [0xaa; 16],
        digest: vec![0xbb; 32],
        slots: vec![WriterSlot { slot: 0, device: DeviceId([4; 16]), next: 77, incarnation: 1 }],
        journals: vec![JournalMark {
            device: DeviceId([4; 16]),
            incarnation: 1,
            counter: 7,
            journal_upto: 300,
            seq: 7,
        }],
    }
}

pub fn parts() -> Good {
    let empty =
        CompartmentState { root: None, height: 0, count: 0, journals: Vec::new(), ..state() };
    vec![("tree", state().encode()), ("no tree", empty.encode())]
}

pub fn workspaces() -> Good {
    let file = WorkspaceFile::new(OrganisationId([1; 32]), WorkspaceId([2; 16]));
    vec![("version 1", file.encode())]
}

pub fn geneses() -> Good {
    let record = Genesis {
        suite: 1,
        suite_floor: 1,
        nonce: [1; 16],
        root_key: [2; 32],
        devices: vec![certificate(3)],
        quorum: 1,
        escrow: Vec::new(),
        time: 0,
    };
    vec![("one device", genesis::build(&encode(&record), &[0x51; 64]))]
}

fn certificate(byte: u8) -> Certificate {
    Certificate {
        device: DeviceId([byte; 16]),
        member: MemberId([0x3e; 16]),
        signing_key: [4; 32],
        kem_key: [5; 1216],
    }
}

fn recipient(byte: u8) -> Recipient {
    Recipient { device: DeviceId([byte; 16]), wrap: vec![6; 1200], name: vec![7; 136] }
}

fn naming(epoch: u64) -> Naming {
    Naming { epoch, name: vec![7; 136], consumer: vec![11; 136] }
}

fn rotation(epoch: u64, recipients: Vec<Recipient>) -> Rotation {
    Rotation {
        workspace: WorkspaceId([2; 16]),
        compartment: CompartmentId::ORDINARY,
        epoch,
        key_commitment: Digest([8; 32]),
        history_commitment: Digest([9; 32]),
        recipients,
        back_link: (epoch > 1).then(|| vec![10; 136]),
    }
}

fn organisation_record(seq: u64, act: Act) -> Vec<u8> {
    let record = Record {
        suite: 1,
        organisation: OrganisationId([1; 32]),
        seq,
        parent: Digest([0x0f; 32]),
        author: DeviceId([3; 16]),
        act,
        time: 1_700_000_000_000_000_000,
    };
    organisation::build(&encode(&record), &[0x52; 64])
}

pub fn organisations() -> Good {
    let share = Share {
        workspace: WorkspaceId([2; 16]),
        compartment: CompartmentId::ORDINARY,
        epoch: 1,
        recipient: recipient(11),
    };
    let both = vec![recipient(3), recipient(11)];
    let founding = Act::Rotate { rotation: rotation(1, vec![recipient(3)]) };
    let add = Act::AddDevice { certificate: certificate(11), share };
    let rotate = Act::Rotate { rotation: rotation(2, both) };
    let revoke =
        Act::RevokeDevice { device: DeviceId([11; 16]), rotation: rotation(3, vec![recipient(3)]) };
    let consumer = Act::AddConsumer { certificate: certificate(12), naming: naming(2) };
    vec![
        ("consumer's device added", organisation_record(4, consumer)),
        ("first epoch", organisation_record(1, founding)),
        ("device added", organisation_record(2, add)),
        ("new epoch", organisation_record(3, rotate)),
        ("device revoked", organisation_record(u64::MAX, revoke)),
    ]
}

/// Records that no reader takes, though they are canonical.
fn bad_organisations() -> Good {
    let consumer = |naming: Naming| {
        organisation_record(4, Act::AddConsumer { certificate: certificate(12), naming })
    };
    let rotate = |change: fn(&mut Rotation)| {
        let mut rotation = rotation(2, vec![recipient(3), recipient(11)]);
        change(&mut rotation);
        organisation_record(3, Act::Rotate { rotation })
    };
    vec![
        (
            "position of genesis",
            organisation_record(0, Act::Rotate { rotation: rotation(1, vec![recipient(3)]) }),
        ),
        ("no recipient", rotate(|rotation| rotation.recipients.clear())),
        ("recipients out of order", rotate(|rotation| rotation.recipients.reverse())),
        ("recipient twice", rotate(|rotation| rotation.recipients[1] = recipient(3))),
        ("no link to the epoch before", rotate(|rotation| rotation.back_link = None)),
        ("first epoch with a link", rotate(|rotation| rotation.epoch = 1)),
        ("epoch zero", rotate(|rotation| (rotation.epoch, rotation.back_link) = (0, None))),
        ("short wrap", rotate(|rotation| rotation.recipients[0].wrap.truncate(1199))),
        ("long name", rotate(|rotation| rotation.recipients[0].name.push(0))),
        ("naming of no epoch", consumer(naming(0))),
        ("short consumer", consumer(Naming { consumer: vec![11; 135], ..naming(1) })),
        ("short link", rotate(|rotation| rotation.back_link = Some(vec![10; 135]))),
    ]
}

pub fn requests() -> Good {
    vec![("one hour", request(1_700_000_000, 1_700_003_600))]
}

fn request(time: i64, expires: i64) -> Vec<u8> {
    let record = Request {
        suite: 1,
        organisation: OrganisationId([1; 32]),
        workspace: WorkspaceId([2; 16]),
        device: DeviceId([11; 16]),
        signing_key: [4; 32],
        kem_key: [5; 1216],
        time,
        expires,
    };
    request::build(&encode(&record), &[0x53; 64])
}

pub fn devices() -> Good {
    let clear = DeviceClear {
        suite: 1,
        organisation: OrganisationId([1; 32]),
        device: DeviceId([3; 16]),
        provider: Provider::Passphrase,
        key_id: [5; 16],
        kdf: Kdf { id: 1, memory_kib: 262_144, passes: 3, lanes: 1, salt: [6; 16] },
    };
    vec![("passphrase", device::build(&clear, b"sealed"))]
}

pub fn keys() -> Good {
    let key = |key: Key| key.as_bytes().to_vec();
    vec![
        ("entry", key(Key::entry(Ino::ROOT, Cookie::compose(0x00ab_cdef, 3)))),
        ("inode", key(Key::inode(Ino::compose(1, 2)))),
        ("extent", key(Key::extent(Ino(2), 65_536))),
        ("object", key(Key::object(ObjectId([7; 16])))),
        ("orphan", key(Key::orphan(Ino(9)))),
        ("snapshot", key(Key::snapshot(SNAPSHOT))),
    ]
}

pub fn names() -> Good {
    vec![
        ("plain", b"a".to_vec()),
        ("three dots", b"...".to_vec()),
        ("not text", b"\xff\xfe".to_vec()),
        ("longest", vec![b'n'; 255]),
    ]
}

pub fn folds() -> Vec<Vec<u8>> {
    let text = [
        "a",
        "A",
        "README.md",
        "Straße",
        "STRASSE",
        "é",
        "e\u{301}",
        "É",
        "ΣΊΣΥΦΟΣ",
        "σίσυφος",
        "ﬁle",
        "\u{212b}",
        "\u{345}a",
        "ı",
        "İ",
        "日本語",
        "ǅ",
        "𐐀",
        "\u{1e9e}",
    ];
    let mut all: Vec<Vec<u8>> = text.iter().map(|name| name.as_bytes().to_vec()).collect();
    all.push(b"A\xff".to_vec());
    all
}

/// Files that are wrong in a way no byte flip makes.
pub fn bad_by_hand(file: &str) -> Good {
    let run = |entries: &[(&[u8], &[u8])]| {
        let mut run = Run::default();
        entries.iter().for_each(|(key, value)| run.push(key, value).unwrap());
        run.cut(entries.len(), 0).to_vec()
    };
    match file {
        "page" => {
            let mut wrong_child = Run::default();
            wrong_child.push_child(&[5], page_ref(1)).unwrap();
            let mut slack = run(&[(&[1], &[2])]);
            slack.push(0);
            vec![
                ("keys fall", run(&[(&[2], &[]), (&[1], &[])])),
                ("key twice", run(&[(&[1], &[]), (&[1], &[])])),
                ("child of its own level", wrong_child.cut(1, 1).to_vec()),
                ("byte behind the entries", slack),
                ("no entry", vec![1, 0, 0, 0]),
                ("too long", vec![1; 16_313]),
            ]
        }
        "organisation" => bad_organisations(),
        "request" => vec![("void before it was made", request(2, 1))],
        "commit" => {
            let mut twice = header();
            twice.bodies[1].compartment = CompartmentId::ORDINARY;
            let zero = CommitHeader { seq: 0, ..header() };
            let mut long = header();
            long.bodies[0].len = u64::MAX;
            vec![
                ("a compartment twice", commit_file(&twice)),
                ("sequence 0", commit_file(&zero)),
                ("absurd body", commit_file(&long)),
            ]
        }
        "checkpoint" => {
            let mut none_live = checkpoint_root();
            none_live.page_objects[0].live_pages = 0;
            let mut ahead = checkpoint_root();
            ahead.parts[0].seq = 8;
            let file = |root: &CheckpointRoot| {
                checkpoint::build(&encode(root), &[0x51; 64], &[&b"part"[..]])
            };
            vec![("object without a page", file(&none_live)), ("part ahead of root", file(&ahead))]
        }
        "part" => {
            let no_root = CompartmentState { root: None, ..state() };
            let other_height = CompartmentState { height: 3, ..state() };
            let mut slot = state();
            slot.slots[0].slot = 1 << 23;
            vec![
                ("height without a tree", no_root.encode()),
                ("height of another tree", other_height.encode()),
                ("slot out of range", slot.encode()),
            ]
        }
        "body" => {
            let mut writes = encode(&BodyHead { op_count: 1, ..body(Vec::new()).head });
            let write = Op::Write { ino: Ino(1), offset: 0, data: vec![1], mode: 0, time: 0 };
            writes.extend(encode(&write));
            let short = encode(&BodyHead { op_count: 1, ..body(Vec::new()).head });
            vec![("journal write", writes), ("fewer operations than said", short)]
        }
        "name" => vec![
            ("empty", Vec::new()),
            ("dot", b".".to_vec()),
            ("two dots", b"..".to_vec()),
            ("slash", b"a/b".to_vec()),
            ("nul", b"a\0".to_vec()),
            ("256 bytes", vec![b'n'; 256]),
        ],
        _ => Vec::new(),
    }
}

/// Spoilt forms of good bytes, the same every time.
pub fn spoil(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let changed = |at: usize, mask: u8| {
        let mut bad = bytes.to_vec();
        if let Some(byte) = bad.get_mut(at) {
            *byte ^= mask;
        }
        bad
    };
    vec![
        ("cut by one", bytes[..bytes.len() - 1].to_vec()),
        ("cut in half", bytes[..bytes.len() / 2].to_vec()),
        ("one byte more", [bytes, &[0]].concat()),
        ("first byte changed", changed(0, 0x20)),
        ("second byte changed", changed(1, 0x80)),
        ("empty", Vec::new()),
    ]
}

/// One random change.
pub fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.below(bytes.len() as u64) as usize;
    match dice.below(5) {
        _ if bytes.is_empty() => bytes.push(dice.roll() as u8),
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.roll() as u8,
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, dice.roll() as u8),
        _ => bytes.truncate(at),
    }
}

/// Any operation.
pub fn random_op(dice: &mut Dice) -> Op {
    let ino = Ino(dice.number());
    let time = dice.number() as i64 - dice.number() as i64;
    let mode = dice.below(0o10000) as u16;
    let other = Ino(dice.number());
    match dice.below(12) {
        0 => Op::Create {
            folder: other,
            name: dice.bytes(255),
            ino,
            kind: [Kind::File, Kind::Folder, Kind::Symlink, Kind::Char][dice.below(4) as usize],
            mode,
            uid: dice.roll() as u32,
            gid: dice.number() as u32,
            rdev: dice.number() as u32,
            target: dice.bytes(40),
            time,
        },
        1 => Op::Rename {
            from: other,
            from_name: dice.bytes(255),
            to: Ino(dice.number()),
            to_name: dice.bytes(20),
            ino,
            replaced: Ino(0),
            fate: [Fate::Keep, Fate::Remove][dice.below(2) as usize],
            time,
        },
        2 => Op::SetAttributes {
            ino,
            mode: dice.maybe(|_| mode),
            uid: dice.maybe(|dice| dice.number() as u32),
            gid: dice.maybe(|dice| dice.number() as u32),
            size: dice.maybe(Dice::number),
            atime: dice.maybe(|_| time),
            mtime: dice.maybe(|dice| dice.number() as i64),
            time,
        },
        3 => {
            let value = dice.maybe(|dice| dice.bytes(300));
            Op::SetXattr { ino, name: dice.bytes(20), value, time }
        }
        4 => {
            let size = dice.number();
            Op::SetInline { ino, size, data: dice.bytes(1024), mode, mtime: time, ctime: 0 }
        }
        5 => {
            let count = dice.below(5);
            let extents = (0..count).map(|_| extent(dice.number(), dice.number() as u32)).collect();
            Op::SetExtents { ino, size: dice.number(), extents, mode, mtime: 0, ctime: time }
        }
        6 => Op::Relocate {
            from: ObjectId([dice.roll() as u8; 16]),
            to: ObjectId([dice.roll() as u8; 16]),
            inos: (0..dice.below(30)).map(|_| Ino(dice.number())).collect(),
            places: (0..dice.below(30))
                .map(|_| (dice.number() as u32, dice.number() as u32))
                .collect(),
        },
        7 => Op::Punch { ino, offset: dice.number(), len: dice.number(), time },
        8 => Op::Based { seq: dice.number(), from: dice.number(), last: dice.below(2) == 0 },
        9 => {
            let count = dice.below(5);
            let extents = (0..count).map(|_| extent(dice.number(), dice.number() as u32)).collect();
            Op::Rewrite { ino, extents }
        }
        10 => {
            let snapshot = dice.maybe(|_| snapshot());
            Op::SetSnapshot { id: SNAPSHOT, snapshot }
        }
        _ => Op::Write { ino, offset: dice.number(), data: dice.bytes(4096), mode, time },
    }
}
