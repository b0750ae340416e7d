//! Every record of docs/personal-data-format.md against `tests/fixtures/policy/vectors.json`.
//!
//! Good vectors must decode and encode back to the same bytes, bad ones must be refused. After a deliberate change of
//! format: `STRONGROOM_WRITE_VECTORS=1 cargo test -p strongroom-records --test vectors`.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use minicbor::{Decode, Encode};
use serde_json::{Map, Value, json};
use strongroom_crypto::secret::KeyShare;
use strongroom_format::device::Secret32;
use strongroom_format::ids::{DeviceId, OrganisationId, WorkspaceId};
use strongroom_format::{decode_canonical, encode};
use strongroom_records::Signed;
use strongroom_records::activity::{Activities, Activity, ActivityState, Basis, Reach};
use strongroom_records::application::{
    ApplicationState, Approvable, Approval, DeclaredClass, Description, IdleRule, Listed,
    PolicySet, Rotation,
};
use strongroom_records::exchange::{
    Answer, Ask, CounterNote, Envelope, GoneClasses, Lease, LentKey, Need, OpenedFiles, Refusal,
};
use strongroom_records::ids::{
    ActivityId, ApplicationId, ClassId, FileId, Hash, KeyId, Pseudonym, SessionId, SubjectId,
};
use strongroom_records::keystore::{Child, Node, NodePlace, Root, WRAP_LEN};
use strongroom_records::log::{
    About, Body, Entry, Header, Judgement, KeyInForce, Kind, Logged, MAGIC, Outcome, Record, Stand,
    head_note,
};
use strongroom_records::receipt::{
    ConsentDeed, Deed, Destroyed, Ending, ErasureDeed, ExportDeed, MovedDeed, Receipt,
    ReceivedDeed, ReplayedDeed, Said, SaidDeed, SubjectRotationDeed,
};
use strongroom_records::register::{
    Agreed, Block, Cell, CellChange, Coming, ComingFile, Gone, GoneFrom, Idle, Payload, Secrets,
};
use strongroom_records::subject::{
    Bucket, ClassCell, Consent, ConsentStatus, Detail, Erasure, File, Folder, Given, Hold,
    JointFile, Named, OlderKey, Row, SubjectCell, SubjectRecord, SubjectState,
};

use zeroize::Zeroizing;

struct Vector {
    name: &'static str,
    accepts: fn(&[u8]) -> bool,
    bytes: Vec<u8>,
}

fn cbor<T: for<'b> Decode<'b, ()> + Encode<()>>(name: &'static str, value: &T) -> Vector {
    let accepts = |bytes: &[u8]| decode_canonical::<T>(bytes).is_ok_and(|v| encode(&v) == bytes);
    Vector { name, accepts, bytes: encode(value) }
}

const APPLICATION: ApplicationId = ApplicationId([1; 16]);
const SUBJECT: SubjectId = SubjectId([2; 16]);
const ACTIVITY: ActivityId = ActivityId([3; 16]);
const DEVICE: DeviceId = DeviceId([4; 16]);
const STAND: Stand = Stand { position: 3, head: Hash([60; 32]) };
const NAMED: Named = Named { subject: Pseudonym([61; 16]), slot: 131_074 };
const TIME: i64 = 1_795_317_614_000_000_000;

fn hash(seed: u8) -> Hash {
    Hash([seed; 32])
}

fn root() -> Root {
    Root {
        version: 7,
        generation: 2,
        provider: 1,
        key: KeyId([5; 16]),
        wrap: vec![6; WRAP_LEN],
        node: NodePlace { name: [7; 16], hash: hash(8) },
        next_slot: 131_074,
    }
}

fn node() -> Node {
    let wrap = vec![9; WRAP_LEN];
    let below = NodePlace { name: [10; 16], hash: hash(11) };
    let child = |place| Child { place, generation: 7, wrap: wrap.clone(), node: Some(below) };
    Node { application: APPLICATION, level: 1, index: 1, children: vec![child(0), child(63)] }
}

fn leaf_node() -> Node {
    let child = Child { place: 0, generation: 1, wrap: vec![9; WRAP_LEN], node: None };
    Node { application: APPLICATION, level: 0, index: 2048, children: vec![child] }
}

fn about() -> About {
    About { subject: Pseudonym([12; 16]), number: 3, previous: hash(13), previous_seq: Some(8) }
}

fn entry() -> Entry {
    Entry {
        kind: Kind::Access,
        time: TIME,
        seq: 9,
        operator: DEVICE,
        activity: Some(ACTIVITY),
        class: Some(ClassId::IDENTIFIABLE),
        judgement: Some(Judgement {
            outcome: Outcome::Allow,
            action: 2,
            reason: 0,
            policies: vec![0x0123_4567_89ab_cdef],
            policy_set: hash(14),
            consent: Some(5),
            lease_end: Some(TIME + 120_000_000_000),
        }),
        about: Some(about()),
        detail: Some(hash(15)),
        object: None,
    }
}

fn bare_entry() -> Entry {
    Entry {
        kind: Kind::ApplicationCreated,
        activity: None,
        class: None,
        judgement: None,
        about: None,
        detail: None,
        ..entry()
    }
}

fn header() -> Header {
    let sealed = [16; 72];
    Header {
        suite: 1,
        application: APPLICATION,
        seq: 9,
        parent: hash(17),
        device: DEVICE,
        time: TIME,
        tree_size: 12,
        tree_root: hash(18),
        head_signature: vec![19; 64],
        body_hash: Hash(strongroom_crypto::hash::sha256(&sealed)),
        epoch: 0,
        stand: STAND,
        keystore: Some(root()),
        key: None,
    }
}

fn consent() -> Consent {
    Consent {
        activity: ACTIVITY,
        status: ConsentStatus::Given,
        explicit: true,
        classes: vec![ClassId::IDENTIFIABLE, ClassId(16)],
        until: None,
        expressed: TIME,
        notice_hash: hash(20),
        evidence_hash: hash(21),
        position: 5,
    }
}

fn activity() -> Activity {
    Activity {
        id: ACTIVITY,
        name: "newsletter".into(),
        consumer: "mailer".into(),
        purpose: "marketing.email".into(),
        basis: Basis::Consent,
        classes: vec![ClassId::IDENTIFIABLE],
        reach: Reach::Read,
        recipients: vec!["printer".into()],
        retention_days: Some(30),
        expires: None,
        notice: "We write to you.".into(),
        notice_hash: hash(20),
        state: ActivityState::Approved,
        proposed_by: DEVICE,
        proposed_at: TIME,
        approved_by: vec![DEVICE],
        code: None,
    }
}

fn subject() -> SubjectCell {
    SubjectCell {
        subject: SUBJECT,
        slot: 131_072,
        state: SubjectState::Active,
        commitment: hash(22),
        created: TIME,
        pseudonym: Pseudonym([12; 16]),
        entry_number: 3,
        entry_hash: hash(13),
        entry_seq: 8,
        holds: vec![Hold { class: None, ground: "litigation".into(), position: 8, until: None }],
        record_version: 8,
        record: vec![23; 80],
        classes: vec![ClassCell {
            class: ClassId::OWNED,
            generation: 2,
            wrap: vec![24; WRAP_LEN],
            version: 2,
            folder: vec![25; 90],
            objects: vec![FileId([26; 16])],
            older: vec![OlderKey { generation: 1, wrap: vec![40; WRAP_LEN] }],
        }],
        erasure: None,
        generation: 2,
        names: vec![41; WRAP_LEN],
        rotated: 7,
        request: Some(hash(42)),
        used: None,
        noticed: None,
    }
}

fn erased() -> SubjectCell {
    SubjectCell {
        state: SubjectState::Erased,
        holds: vec![],
        classes: vec![],
        erasure: Some(Erasure {
            received: 10,
            root_before: Some(root()),
            punctured: Some(11),
            wrap_count: 200,
            objects: vec![FileId([26; 16])],
            receipt: vec![],
            joint_files: 0,
            into: None,
        }),
        names: vec![],
        request: None,
        ..subject()
    }
}

fn erased_with_joint() -> SubjectCell {
    let mut cell = erased();
    cell.erasure.as_mut().unwrap().joint_files = 2;
    cell
}

fn erased_as_a_part(joint_files: u64) -> SubjectCell {
    let mut cell = erased();
    let erasure = cell.erasure.as_mut().unwrap();
    (erasure.joint_files, erasure.into) = (joint_files, Some(NAMED));
    cell
}

fn destroyed() -> Destroyed {
    Destroyed {
        provider: 5,
        key: KeyId([5; 16]),
        generation: 2,
        ending: Ending::Immediate,
        refused_afterwards: true,
    }
}

fn receipt(deed: Deed) -> Receipt {
    Receipt {
        organisation: OrganisationId([27; 32]),
        application: APPLICATION,
        device: DEVICE,
        time: TIME,
        position: 12,
        deed,
    }
}

fn erasure_deed(into: Option<Named>) -> Deed {
    Deed::Erasure(Box::new(ErasureDeed {
        subject: Pseudonym([12; 16]),
        received: 10,
        commitment: hash(22),
        slot: 131_072,
        root_before: hash(8),
        root_after: hash(28),
        path: vec![encode(&leaf_node()).into()],
        wrap_count: 200,
        destroyed: destroyed(),
        objects_removed: 1,
        objects_left: 0,
        irrecoverable_from: Some(TIME),
        statement: "Irrecoverable.".into(),
        joint_files: 0,
        into,
    }))
}

fn subject_rotation_deed() -> Deed {
    Deed::SubjectRotation(Box::new(SubjectRotationDeed {
        subject: Pseudonym([12; 16]),
        generation: 2,
        before: hash(22),
        after: hash(42),
        files: 3,
        bytes: 4000,
        destroyed: destroyed(),
    }))
}

fn consent_deed() -> Deed {
    Deed::Consent(ConsentDeed {
        subject: SUBJECT,
        consent: consent(),
        activity: ("newsletter".into(), "mailer".into(), "marketing.email".into()),
    })
}

fn log_vectors() -> Vec<Vector> {
    let signed = Signed::build(MAGIC, &encode(&header()), &[29; 64], &[16; 72]);
    let empty = Hash(strongroom_crypto::hash::sha256(&[]));
    let closing = Header { body_hash: empty, ..header() };
    let closing = Signed::build(MAGIC, &encode(&closing), &[29; 64], &[]);
    let closes = |bytes: &[u8]| Record::parse(bytes).is_ok_and(|record| record.header.is_closing());
    let key = Some(KeyInForce { generation: 2, first: 7, is_whole: true });
    let entries = vec![
        Logged { leaf: encode(&entry()), detail: vec![30; 80] },
        Logged { leaf: encode(&bare_entry()), detail: vec![] },
    ];
    let payload = Payload {
        cells: vec![CellChange {
            name: [31; 16],
            cell: encode(&Cell { version: 9, sealed: vec![32; 72] }),
        }],
        gone: vec![Gone { shelf: GoneFrom::Object, name: [33; 16] }],
        unfinished: None,
    };
    vec![
        Vector { name: "record", accepts: |bytes| Record::parse(bytes).is_ok(), bytes: signed },
        Vector { name: "closing record", accepts: closes, bytes: closing },
        cbor("header", &header()),
        cbor("header under a later register key", &Header { key, ..header() }),
        cbor("entry", &entry()),
        cbor("entry, bare", &bare_entry()),
        cbor("body", &Body { entries, payload: encode(&payload) }),
        cbor("payload", &payload),
        cbor("cell", &Cell { version: 9, sealed: vec![32; 72] }),
        cbor("block", &Block { subjects: vec![SUBJECT] }),
        cbor("secrets", &Secrets { head_seed: [34; 32] }),
    ]
}

fn application_vectors() -> Vec<Vector> {
    let listed = Listed {
        application: APPLICATION,
        name: "shop".into(),
        custody: "file:/etc/shop.key".into(),
        state: ApplicationState::Active,
        created: TIME,
        head_key: [35; 32],
    };
    let description = Description {
        classes: vec![DeclaredClass { class: ClassId(16), name: "health".into(), special: true }],
        schema: "{}".into(),
        approvals: 2,
        leases: vec![(ClassId::OWNED, 60)],
        rotation: Some(Rotation { began: 9, deep: true }),
        retention: vec![(ClassId::OWNED, 365)],
        ledger: Some("file:/apart/erased".into()),
        point: Some("http://127.0.0.1:8181".into()),
        idle: None,
    };
    let idle = Some(IdleRule { days: 1095, notice_days: 30, since: TIME });
    let set = PolicySet {
        version: 3,
        text: "permit (principal, action, resource);".into(),
        digest: hash(14),
        approvals: vec![Approval { device: DEVICE, signature: [36; 64], stand: STAND }],
        time: TIME,
        previous: 1,
    };
    vec![
        cbor("application", &listed),
        cbor("description", &description),
        cbor("description, for how long people are kept", &Description { idle, ..description }),
        cbor("policy set", &set),
        cbor(
            "approvable",
            &Approvable { application: APPLICATION, version: 3, digest: hash(14), stand: STAND },
        ),
        cbor("activities", &Activities { activities: vec![activity()] }),
        cbor("keystore node", &node()),
        cbor("keystore leaf node", &leaf_node()),
        cbor("keystore root", &root()),
    ]
}

fn subject_vectors() -> Vec<Vector> {
    let folder = Folder {
        files: vec![File {
            name: "order-17.json".into(),
            id: FileId([26; 16]),
            len: 40,
            hash: hash(37),
            written: TIME,
            generation: 1,
        }],
        lookups: vec![hash(38)],
        former: vec![9, 300],
        given: None,
        joint: vec![],
    };
    let joint = JointFile {
        file: File { name: "contract.pdf".into(), ..folder.files[0].clone() },
        others: vec![SubjectId([48; 16])],
        share: KeyShare::from_bytes(&[49; 32]),
    };
    let given = Given { name: "member".into(), hash: hash(38) };
    let folder_given = Folder { given: Some(vec![given]), ..folder.clone() };
    let detail = Detail {
        files: vec![],
        consent: Some(consent()),
        evidence: b"{}".to_vec(),
        merged: Some(SUBJECT),
    };
    vec![
        cbor("subject", &subject()),
        cbor(
            "subject, used and noticed",
            &SubjectCell { used: Some(TIME), noticed: Some(TIME + 1), ..subject() },
        ),
        cbor("subject, erased", &erased()),
        cbor("subject, erased with a file about several", &erased_with_joint()),
        cbor("subject, who became a part of another", &erased_as_a_part(0)),
        cbor(
            "subject, who became a part of another, with a file about several",
            &erased_as_a_part(2),
        ),
        cbor(
            "subject record",
            &SubjectRecord { consents: vec![consent()], agreed: vec![(ACTIVITY, 3)] },
        ),
        cbor("who agreed", &Agreed { count: 200 }),
        cbor(
            "since when nobody was used",
            &Idle { oldest: vec![Idle::UNKNOWN, TIME, Idle::NOBODY] },
        ),
        cbor(
            "files being sent",
            &Coming {
                files: vec![ComingFile { id: FileId([39; 16]), since: 40, subject: SUBJECT }],
            },
        ),
        cbor("folder", &folder),
        cbor("folder, given attributes", &folder_given),
        cbor("folder with a file about several", &Folder { joint: vec![joint], ..folder.clone() }),
        cbor("bucket", &Bucket { rows: vec![Row { hash: hash(38), subject: SUBJECT }] }),
        cbor("detail", &detail),
        cbor("receipt, consent", &receipt(consent_deed())),
        cbor("receipt, erasure", &receipt(erasure_deed(None))),
        cbor(
            "receipt, erasure of who became a part of another",
            &receipt(erasure_deed(Some(NAMED))),
        ),
        cbor(
            "receipt, export",
            &receipt(Deed::Export(ExportDeed {
                subject: SUBJECT,
                manifest: hash(39),
                files: 2,
                bytes: 100,
                entries: 7,
                last_entry: hash(41),
            })),
        ),
        cbor("receipt, rotation", &receipt(Deed::Rotation(destroyed()))),
        cbor("receipt, rotation of a subject", &receipt(subject_rotation_deed())),
        cbor(
            "receipt, erasure asked for",
            &receipt(Deed::ErasureReceived(ReceivedDeed {
                subject: Pseudonym([12; 16]),
                slot: 131_072,
                record: hash(40),
                into: None,
            })),
        ),
        cbor(
            "receipt, erasure of who became a part of another, asked for",
            &receipt(Deed::ErasureReceived(ReceivedDeed {
                subject: Pseudonym([12; 16]),
                slot: 131_072,
                record: hash(40),
                into: Some(NAMED),
            })),
        ),
        cbor(
            "receipt, ledger moved",
            &receipt(Deed::LedgerMoved(MovedDeed { to: "file:/apart/erased".to_owned() })),
        ),
        cbor(
            "receipt, subject said something",
            &receipt(Deed::Said(SaidDeed {
                subject: Pseudonym([12; 16]),
                slot: 131_072,
                before: hash(40),
                said: vec![8; 40],
            })),
        ),
        cbor(
            "receipt, ledger replayed",
            &receipt(Deed::LedgerReplayed(ReplayedDeed { record: hash(40) })),
        ),
        cbor("said, a consent", &Said::Consent(consent())),
        cbor("said, restricted", &Said::Restricted),
        cbor("said, no longer restricted", &Said::Unrestricted),
    ]
}

fn exchange_vectors() -> Vec<Vector> {
    let envelope = Envelope {
        suite: 1,
        organisation: OrganisationId([42; 32]),
        session: SessionId([43; 16]),
        number: 300,
        from: DEVICE,
        to: DeviceId([44; 16]),
        incarnation: u64::MAX,
        time: TIME,
        body_hash: hash(45),
    };
    let counter = CounterNote {
        suite: 1,
        organisation: OrganisationId([42; 32]),
        workspace: WorkspaceId([46; 16]),
        device: DEVICE,
        incarnation: 1,
        time: TIME,
    };
    let class = ClassId::OWNED;
    let files = vec![FileId([47; 16])];
    let ask = Ask {
        application: "shop".into(),
        activity: "newsletter".into(),
        heard: 3,
        needs: vec![
            Need::Page(Pseudonym([48; 16])),
            Need::Show(SUBJECT),
            Need::Open(SUBJECT, class),
            Need::Look,
            Need::End,
        ],
        opened: vec![OpenedFiles { subject: SUBJECT, class, files }],
        expects: 4,
        answer_key: [52; 1216],
    };
    let file = File {
        name: "order.pdf".into(),
        id: FileId([47; 16]),
        len: 100,
        hash: hash(49),
        written: TIME,
        generation: 2,
    };
    let key = LentKey { generation: 2, key: Secret32(Box::new(Zeroizing::new([50; 32]))) };
    let lease = Lease {
        subject: SUBJECT,
        pseudonym: Pseudonym([48; 16]),
        class,
        class_name: "owned".into(),
        action: 2,
        life: 300_000_000_000,
        record: 9,
        keys: vec![key],
        files: vec![file],
    };
    let answer = Answer {
        application: APPLICATION,
        to: Some(300),
        refusal: None,
        gone: vec![GoneClasses { subject: SUBJECT, classes: vec![class] }],
        changed: vec![SUBJECT],
        leases: vec![lease],
        next: Some(Pseudonym([51; 16])),
    };
    let refusal = Answer {
        refusal: Some(Refusal::Denied),
        gone: Vec::new(),
        changed: Vec::new(),
        leases: Vec::new(),
        next: None,
        ..answer_of(&answer)
    };
    vec![
        cbor("envelope", &envelope),
        cbor("counter", &counter),
        cbor("ask", &ask),
        cbor("answer", &answer),
        cbor("answer, refusal", &refusal),
    ]
}

fn answer_of(other: &Answer) -> Answer {
    decode_canonical(&encode(other)).unwrap()
}

fn vectors() -> Vec<Vector> {
    let mut all = log_vectors();
    all.extend(exchange_vectors());
    all.extend(application_vectors());
    all.extend(subject_vectors());
    all
}

/// Ways to spoil any record.
fn spoilt(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut first = bytes.to_vec();
    first[0] ^= 0x20;
    vec![
        ("empty", vec![]),
        ("cut by one", bytes[..bytes.len() - 1].to_vec()),
        ("cut in half", bytes[..bytes.len() / 2].to_vec()),
        ("one byte more", [bytes, &[0]].concat()),
        ("first byte changed", first),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: char| u8::try_from(c.to_digit(16).unwrap()).unwrap();
    let digits: Vec<u8> = text.chars().map(digit).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/policy/vectors.json")
}

fn written() -> Value {
    let mut all = Map::new();
    for vector in vectors() {
        let bad: Map<String, Value> = spoilt(&vector.bytes)
            .into_iter()
            .map(|(how, bytes)| (how.to_owned(), Value::from(hex(&bytes))))
            .collect();
        all.insert(vector.name.to_owned(), json!({"good": hex(&vector.bytes), "bad": bad}));
    }
    let note = head_note(&APPLICATION, 12, &hash(18));
    all.insert("head note".to_owned(), json!({"text": note}));
    Value::from(all)
}

#[test]
fn every_vector_is_what_the_code_writes_and_refuses() {
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path().parent().unwrap()).unwrap();
        std::fs::write(path(), format!("{:#}\n", written())).unwrap();
    }
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    assert_eq!(stored, written());
    for vector in vectors() {
        assert!((vector.accepts)(&vector.bytes), "{}", vector.name);
        for (how, bytes) in stored[vector.name]["bad"].as_object().unwrap() {
            let bytes = unhex(bytes.as_str().unwrap());
            assert!(!(vector.accepts)(&bytes), "{}: {how}", vector.name);
        }
    }
}

/// No decoder here panics, whatever it is given: every record with every byte changed, and noise.
#[test]
fn damaged_records_are_refused_without_panic_and_never_read_in_two_ways() {
    for vector in vectors() {
        for at in 0..vector.bytes.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut bad = vector.bytes.clone();
                bad[at] ^= flip;
                // Another value is fine, as long as it is the one way to write it: `accepts` re-encodes.
                let _ = (vector.accepts)(&bad);
            }
        }
    }
}

/// Memory that had grown would have left copies of class keys behind.
#[test]
fn an_answer_is_encoded_in_one_piece_of_memory() {
    let mut answers = 0;
    for vector in exchange_vectors() {
        let Ok(answer) = decode_canonical::<Answer>(&vector.bytes) else { continue };
        let bytes = answer.encoded();
        assert_eq!(*bytes, vector.bytes);
        assert_eq!(bytes.capacity(), bytes.len());
        answers += 1;
    }
    assert!(answers >= 2, "{answers}");
}
