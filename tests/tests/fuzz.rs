//! Every decoder against changed vectors and random bytes: none panics, none accepts what it would write otherwise.
//!
//! Short by default. `cargo xtask fuzz` gives each decoder ten minutes and a fresh seed; `FUZZ_SEED` and `FUZZ_SECONDS` repeat
//! a run. Inputs that were accepted join the ones to be changed, so that a run goes deeper than its vectors.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use strongroom_format::checkpoint::{CheckpointFile, CompartmentState};
use strongroom_format::commit::{Body, CommitFile};
use strongroom_format::device::{DeviceFile, DeviceSecrets};
use strongroom_format::genesis::GenesisFile;
use strongroom_format::inode::{Entry, Inode, ObjectUse};
use strongroom_format::journal::{HEADER_LEN, JournalHeader};
use strongroom_format::op::Op;
use strongroom_format::organisation::RecordFile;
use strongroom_format::page::Page;
use strongroom_format::request::RequestFile;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_format::{decode_canonical, encode, key, name, ops};
use strongroom_records::{
    activity, application, exchange, keystore, log, receipt, register, subject,
};
use zeroize::Zeroizing;

const SHORT_COUNT: u64 = 20_000;
/// LIMIT: what a run keeps to change again.
const CORPUS_COUNT_MAX: usize = 2_000;
const LEN_MAX: usize = 1 << 16;

/// What a decoder did with an input: whether it took it. A broken rule is a panic.
type Decoder = fn(&[u8]) -> bool;

/// SplitMix64: enough chance for inputs, the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut out = self.0;
        out = (out ^ (out >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        out = (out ^ (out >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out ^ (out >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 14] =
            [0, 1, 0x17, 0x18, 0x1b, 0x40, 0x58, 0x5b, 0x7f, 0x80, 0x9f, 0xbf, 0xf6, 0xff];
        if self.below(3) == 0 {
            TELLING[self.below(TELLING.len())]
        } else {
            self.roll().to_le_bytes()[0]
        }
    }
}

/// Texts of the vectors of one kind: everything that is hexadecimal, good and bad. Records of personal data have theirs
/// together, by name.
fn vectors(kind: &str) -> Vec<Vec<u8>> {
    let read = |file: String| {
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file))
    };
    let text = match kind.strip_prefix("policy/") {
        None => read(format!("fixtures/format/{kind}.json")).unwrap_or_default(),
        Some(name) => {
            let all = read("fixtures/policy/vectors.json".to_owned()).unwrap();
            serde_json::from_str::<serde_json::Value>(&all).unwrap()[name].to_string()
        }
    };
    let is_hex = |word: &&str| {
        word.len() > 1
            && word.len().is_multiple_of(2)
            && word.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let parse = |word: &str| {
        let pairs = (0..word.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()).collect()
    };
    text.split('"').filter(is_hex).map(parse).collect()
}

fn mutate(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        match dice.below(7) {
            0 if !input.is_empty() => {
                let at = dice.below(input.len());
                input[at] ^= 1 << dice.below(8);
            }
            1 if !input.is_empty() => {
                let at = dice.below(input.len());
                input[at] = dice.byte();
            }
            2 => input.insert(at, dice.byte()),
            3 => input.truncate(at),
            4 if at < input.len() => {
                let end = (at + 1 + dice.below(8)).min(input.len());
                input.drain(at..end);
            }
            5 if !other.is_empty() => {
                let from = dice.below(other.len());
                let to = (from + 1 + dice.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let len = 1 + dice.below(9);
                let end = (at + len).min(input.len());
                let bytes: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
                input.splice(at..end, bytes);
            }
        }
    }
    input.truncate(LEN_MAX);
}

fn fuzz(kind: &str, decoder: Decoder) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let until = number("FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut dice = Dice(seed);
    let mut corpus = vectors(kind);
    corpus.push(Vec::new());
    let (mut count, mut accepted) = (0_u64, 0_u64);
    while until.map_or(count < SHORT_COUNT, |until| count % 256 != 0 || Instant::now() < until) {
        let mut input = corpus[dice.below(corpus.len())].clone();
        let other = corpus[dice.below(corpus.len())].clone();
        mutate(&mut dice, &mut input, &other);
        match catch_unwind(AssertUnwindSafe(|| decoder(&input))) {
            Ok(true) => {
                accepted += 1;
                if corpus.len() < CORPUS_COUNT_MAX {
                    corpus.push(input);
                }
            }
            Ok(false) => {}
            Err(_) => {
                let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                panic!(
                    "{kind}: input {hex}\nrepeat: FUZZ_SEED={seed} cargo test -p strongroom-tests --test fuzz fuzz_{kind}"
                );
            }
        }
        count += 1;
    }
    assert!(
        accepted > 0,
        "{kind}: no input was accepted, so nothing beyond the first bytes was tried"
    );
    println!("{kind}: seed {seed}, {count} inputs, {accepted} accepted, {} kept", corpus.len());
}

/// One test and one decoder for each record; whatever has an encoder here must come back as the same bytes.
macro_rules! decoders {
    ($($test:ident, $kind:literal, $decoder:expr;)*) => {
        $(#[test]
        fn $test() {
            fuzz($kind, $decoder);
        })*
    };
}

macro_rules! canonical {
    ($record:ty) => {
        |bytes| match decode_canonical::<$record>(bytes) {
            Ok(value) => {
                assert_eq!(encode(&value), bytes, "two spellings");
                true
            }
            Err(_) => false,
        }
    };
}

decoders! {
    fuzz_op, "op", canonical!(Op);
    fuzz_inode, "inode", canonical!(Inode);
    fuzz_entry, "entry", canonical!(Entry);
    fuzz_object_use, "object_use", canonical!(ObjectUse);
    fuzz_device_secrets, "device_secrets", canonical!(DeviceSecrets);
    fuzz_ops, "op", |bytes| match ops::decode_one(bytes) {
        Ok((op, rest)) => {
            assert_eq!(encode(&op), bytes[..bytes.len() - rest.len()], "two spellings");
            true
        }
        Err(_) => false,
    };
    fuzz_page, "page", |bytes| Page::parse(Zeroizing::new(bytes.to_vec())).is_ok();
    fuzz_commit, "commit", |bytes| CommitFile::parse(bytes).is_ok();
    fuzz_body, "body", |bytes| Body::parse(bytes).is_ok();
    fuzz_checkpoint, "checkpoint", |bytes| CheckpointFile::parse(bytes).is_ok();
    fuzz_part, "part", |bytes| CompartmentState::parse(bytes).is_ok();
    fuzz_workspace, "workspace", |bytes| match WorkspaceFile::parse(bytes) {
        Ok(file) => {
            assert_eq!(file.encode(), bytes, "two spellings");
            true
        }
        Err(_) => false,
    };
    fuzz_genesis, "genesis", |bytes| GenesisFile::parse(bytes).is_ok();
    fuzz_organisation, "organisation", |bytes| RecordFile::parse(bytes).is_ok();
    fuzz_request, "request", |bytes| RequestFile::parse(bytes).is_ok();
    fuzz_device, "device", |bytes| DeviceFile::parse(bytes).is_ok();
    fuzz_key, "key", |bytes| key::parse(bytes).is_ok();
    fuzz_name, "name", |bytes| name::check(bytes).is_ok();
    fuzz_journal_header, "journal", |bytes| {
        let mut header = *b"SRJ1";
        header.iter_mut().zip(bytes).for_each(|(to, from)| *to ^= from & 0x11);
        let mut input = [0; HEADER_LEN];
        let tail = bytes.iter().chain(std::iter::repeat(&0));
        input.iter_mut().zip(header.iter().chain(&[0; 4]).chain(tail)).for_each(|(to, from)| *to = *from);
        match JournalHeader::parse(&input) {
            Ok(header) => {
                assert_eq!(header.encode(), input, "two spellings");
                true
            }
            Err(_) => false,
        }
    };
}

// What applications keep of people.
decoders! {
    fuzz_policy_record, "policy/record", |bytes| log::Record::parse(bytes).is_ok();
    fuzz_policy_activities, "policy/activities", canonical!(activity::Activities);
    fuzz_policy_agreed, "policy/who agreed", canonical!(register::Agreed);
    fuzz_policy_answer, "policy/answer", canonical!(exchange::Answer);
    fuzz_policy_application, "policy/application", canonical!(application::Listed);
    fuzz_policy_approvable, "policy/approvable", canonical!(application::Approvable);
    fuzz_policy_ask, "policy/ask", canonical!(exchange::Ask);
    fuzz_policy_block, "policy/block", canonical!(register::Block);
    fuzz_policy_bucket, "policy/bucket", canonical!(subject::Bucket);
    fuzz_policy_cell, "policy/cell", canonical!(register::Cell);
    fuzz_policy_counter, "policy/counter", canonical!(exchange::CounterNote);
    fuzz_policy_description, "policy/description", canonical!(application::Description);
    fuzz_policy_detail, "policy/detail", canonical!(subject::Detail);
    fuzz_policy_envelope, "policy/envelope", canonical!(exchange::Envelope);
    fuzz_policy_folder, "policy/folder", canonical!(subject::Folder);
    fuzz_policy_log_body, "policy/body", canonical!(log::Body);
    fuzz_policy_log_entry, "policy/entry", canonical!(log::Entry);
    fuzz_policy_log_header, "policy/header", canonical!(log::Header);
    fuzz_policy_node, "policy/keystore node", canonical!(keystore::Node);
    fuzz_policy_payload, "policy/payload", canonical!(register::Payload);
    fuzz_policy_policy_set, "policy/policy set", canonical!(application::PolicySet);
    fuzz_policy_receipt, "policy/receipt, erasure", canonical!(receipt::Receipt);
    fuzz_policy_root, "policy/keystore root", canonical!(keystore::Root);
    fuzz_policy_secrets, "policy/secrets", canonical!(register::Secrets);
    fuzz_policy_subject, "policy/subject", canonical!(subject::SubjectCell);
    fuzz_policy_subject_record, "policy/subject record", canonical!(subject::SubjectRecord);
}
