//! Every record of the format against `tests/fixtures/format/*.json`, which other implementations read too.
//!
//! Good vectors must decode and encode back to the same bytes, bad ones must be refused. After a deliberate change of
//! format: `STRONGROOM_WRITE_VECTORS=1 cargo test -p strongroom-format --test vectors`, and a new format version.

#![allow(clippy::unwrap_used)]

mod vectors {
    pub mod bad;
    pub mod random;
    pub mod samples;
}

use std::path::PathBuf;

use minicbor::{Decode, Encode};
use serde_json::{Map, Value, json};
use strongroom_format::checkpoint::{CheckpointFile, CompartmentState};
use strongroom_format::commit::{Body, CommitFile};
use strongroom_format::device::{DeviceFile, DeviceSecrets};
use strongroom_format::genesis::GenesisFile;
use strongroom_format::inode::{Entry, Inode, ObjectUse, Snapshot};
use strongroom_format::op::Op;
use strongroom_format::organisation::RecordFile;
use strongroom_format::page::Page;
use strongroom_format::request::RequestFile;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_format::{cbor, decode_canonical, encode, key, name};
use vectors::{bad, random, samples};
use zeroize::Zeroizing;

/// One file of vectors: what the bytes are, how they are checked, the good ones by name.
struct Suite {
    file: &'static str,
    accepts: fn(&[u8]) -> bool,
    good: Vec<(&'static str, Vec<u8>)>,
}

fn cbor_accepts<T: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) -> bool {
    decode_canonical::<T>(bytes).is_ok_and(|value| encode(&value) == bytes)
}

fn suites() -> Vec<Suite> {
    vec![
        Suite { file: "op", accepts: cbor_accepts::<Op>, good: samples::ops() },
        Suite { file: "inode", accepts: cbor_accepts::<Inode>, good: samples::inodes() },
        Suite { file: "entry", accepts: cbor_accepts::<Entry>, good: samples::entries() },
        Suite { file: "snapshot", accepts: cbor_accepts::<Snapshot>, good: samples::snapshots() },
        Suite { file: "object_use", accepts: cbor_accepts::<ObjectUse>, good: samples::uses() },
        Suite {
            file: "page",
            accepts: |bytes| Page::parse(Zeroizing::new(bytes.to_vec())).is_ok(),
            good: samples::pages(),
        },
        Suite {
            file: "commit",
            accepts: |bytes| CommitFile::parse(bytes).is_ok(),
            good: samples::commits(),
        },
        Suite {
            file: "body",
            accepts: |bytes| Body::parse(bytes).is_ok(),
            good: samples::bodies(),
        },
        Suite {
            file: "checkpoint",
            accepts: |bytes| CheckpointFile::parse(bytes).is_ok(),
            good: samples::checkpoints(),
        },
        Suite {
            file: "part",
            accepts: |bytes| CompartmentState::parse(bytes).is_ok(),
            good: samples::parts(),
        },
        Suite {
            file: "workspace",
            accepts: |bytes| WorkspaceFile::parse(bytes).is_ok(),
            good: samples::workspaces(),
        },
        Suite {
            file: "genesis",
            accepts: |bytes| GenesisFile::parse(bytes).is_ok(),
            good: samples::geneses(),
        },
        Suite {
            file: "organisation",
            accepts: |bytes| RecordFile::parse(bytes).is_ok(),
            good: samples::organisations(),
        },
        Suite {
            file: "request",
            accepts: |bytes| RequestFile::parse(bytes).is_ok(),
            good: samples::requests(),
        },
        Suite {
            file: "device",
            accepts: |bytes| DeviceFile::parse(bytes).is_ok(),
            good: samples::devices(),
        },
        Suite {
            file: "device_secrets",
            accepts: cbor_accepts::<DeviceSecrets>,
            good: samples::device_secrets(),
        },
        Suite { file: "key", accepts: |bytes| key::parse(bytes).is_ok(), good: samples::keys() },
        Suite { file: "name", accepts: |bytes| name::check(bytes).is_ok(), good: samples::names() },
    ]
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/format")
        .join(format!("{file}.json"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn read(file: &str) -> Value {
    let text = std::fs::read_to_string(path(file)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|_| json!({}))
}

#[test]
fn every_vector_is_what_the_code_writes_and_refuses() {
    for suite in suites() {
        if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
            write(&suite);
        }
        let stored = read(suite.file);
        let good = stored["good"].as_object().cloned().unwrap_or_default();
        assert_eq!(good.len(), suite.good.len(), "{}: number of good vectors", suite.file);
        for (name, bytes) in &suite.good {
            assert_eq!(good[*name], hex(bytes), "{}: {name}", suite.file);
            assert!((suite.accepts)(bytes), "{}: {name} refused", suite.file);
        }
        for (name, bytes) in stored["bad"].as_object().into_iter().flatten() {
            let bytes = unhex(bytes.as_str().unwrap());
            assert!(!(suite.accepts)(&bytes), "{}: {name} accepted", suite.file);
        }
    }
}

#[test]
fn no_mutation_of_a_vector_panics_or_is_accepted_in_two_spellings() {
    let mut dice = random::Dice(7);
    for suite in suites() {
        for (name, bytes) in &suite.good {
            for round in 0..400 {
                let mut bad = bytes.clone();
                for _ in 0..1 + dice.below(4) {
                    random::mutate(&mut dice, &mut bad);
                }
                // Whatever is accepted is canonical: checked inside for plain records.
                let accepted = (suite.accepts)(&bad);
                let _ = (accepted, name, round);
            }
            for end in 0..bytes.len() {
                let cut_can_pass = matches!(suite.file, "name" | "device");
                let accepted = (suite.accepts)(&bytes[..end]);
                assert!(!accepted || cut_can_pass, "{}: {name} cut at {end}", suite.file);
            }
        }
    }
}

#[test]
fn folded_names_and_hashes_are_as_stored() {
    let key: [u8; 16] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
    let rows: Vec<Value> = samples::folds()
        .iter()
        .map(|name| {
            json!({
                "name": hex(name),
                "folded": hex(&name::fold(name)),
                "hash": format!("{:014x}", name::fold_hash(&key, name)),
            })
        })
        .collect();
    let value = json!({ "key": hex(&key), "names": rows });
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        std::fs::write(path("fold"), serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
    }
    assert_eq!(read("fold"), value);
}

#[test]
fn random_operations_survive_encoding() {
    let mut dice = random::Dice(11);
    for round in 0..20_000 {
        let op = random::random_op(&mut dice);
        let bytes = encode(&op);
        let (back, rest) = cbor::decode_prefix::<Op>(&bytes).unwrap();
        assert!(back == op && rest.is_empty(), "round {round}");
    }
}

fn write(suite: &Suite) {
    let mut good = Map::new();
    let mut bad = Map::new();
    for (name, bytes) in &suite.good {
        assert!(good.insert((*name).to_owned(), hex(bytes).into()).is_none(), "{name} twice");
        for (how, bytes) in bad::spoil(bytes) {
            if !(suite.accepts)(&bytes) {
                bad.insert(format!("{name}: {how}"), hex(&bytes).into());
            }
        }
    }
    for (name, bytes) in bad::bad_by_hand(suite.file) {
        assert!(!(suite.accepts)(&bytes), "{}: {name} accepted", suite.file);
        bad.insert(name.to_owned(), hex(&bytes).into());
    }
    let value = json!({ "good": good, "bad": bad });
    std::fs::create_dir_all(path("x").parent().unwrap()).unwrap();
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    std::fs::write(path(suite.file), text).unwrap();
}
