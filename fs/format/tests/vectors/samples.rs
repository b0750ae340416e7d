//! Samples of every record.

use strongroom_crypto::secret::BlockKey;
use strongroom_format::checkpoint::{
    self, CheckpointRoot, CompartmentState, JournalMark, PageObject, PartRef, WriterSlot,
};
use strongroom_format::commit::{
    self, Body, BodyHead, BodyRef, CommitFile, CommitHeader, ObjectAdded,
};
use strongroom_format::device::{self, DeviceClear, DeviceSecrets, Kdf, Provider, Secret32};
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
use zeroize::Zeroizing;

/// Records by name.
pub type Good = Vec<(&'static str, Vec<u8>)>;

pub fn extent(offset: u64, len: u32) -> Extent {
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
    let (mtime, ctime) = (1_700_000_000_000_000_001, 1_700_000_000_000_000_002);
    let new = Inode::new(kind, 0o644, (1000, 1000), Ino(0), 0);
    Inode { link_count: 1, size: 5, mtime, ctime, atime: -1, content, ..new }
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

pub const SNAPSHOT: SnapshotId = SnapshotId([0x61; 16]);

pub fn snapshot() -> Snapshot {
    let (name, head, device) = ("before".to_owned(), Digest([3; 32]), DeviceId([4; 16]));
    Snapshot { name, seq: 77, head, time: 1_700_000_000_000_000_000, device }
}

pub fn snapshots() -> Good {
    vec![("snapshot", encode(&snapshot()))]
}

pub fn page_ref(level: u8) -> PageRef {
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

pub fn header() -> CommitHeader {
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

pub fn commit_file(header: &CommitHeader) -> Vec<u8> {
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

pub fn body(ops: Vec<Op>) -> Body {
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

pub fn checkpoint_root() -> CheckpointRoot {
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

pub fn state() -> CompartmentState {
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

pub fn certificate(byte: u8) -> Certificate {
    Certificate {
        device: DeviceId([byte; 16]),
        member: MemberId([0x3e; 16]),
        signing_key: [4; 32],
        kem_key: [5; 1216],
    }
}

pub fn recipient(byte: u8) -> Recipient {
    Recipient { device: DeviceId([byte; 16]), wrap: vec![6; 1200], name: vec![7; 136] }
}

pub fn naming(epoch: u64) -> Naming {
    Naming { epoch, name: vec![7; 136], consumer: vec![11; 136] }
}

pub fn rotation(epoch: u64, recipients: Vec<Recipient>) -> Rotation {
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

pub fn organisation_record(seq: u64, act: Act) -> Vec<u8> {
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

pub fn requests() -> Good {
    vec![("one hour", request(1_700_000_000, 1_700_003_600))]
}

pub fn request(time: i64, expires: i64) -> Vec<u8> {
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

pub fn device_secrets() -> Good {
    let secret = |seed| Secret32(Box::new(Zeroizing::new([seed; 32])));
    let secrets = |root_seed| {
        encode(&DeviceSecrets {
            device: DeviceId([3; 16]),
            workspace: WorkspaceId([2; 16]),
            signing_seed: secret(7),
            store_key: secret(8),
            hedge_key: secret(9),
            kem_seed: secret(10),
            root_seed,
        })
    };
    vec![("with the root key", secrets(Some(secret(11)))), ("without it", secrets(None))]
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
