//! What no reader may take: records that are wrong by hand, and good ones spoilt.

use strongroom_format::checkpoint::{self, CheckpointRoot, CompartmentState};
use strongroom_format::commit::{BodyHead, CommitHeader};
use strongroom_format::encode;
use strongroom_format::ids::{CompartmentId, Ino};
use strongroom_format::op::Op;
use strongroom_format::organisation::{Act, Naming, Rotation};
use strongroom_format::page::Run;

use super::samples::{
    Good, body, certificate, checkpoint_root, commit_file, header, naming, organisation_record,
    page_ref, recipient, request, rotation, state,
};

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
