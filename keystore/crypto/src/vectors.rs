//! Vectors: Wycheproof's, and our own from a second implementation (`tests/vectors/make_crypto.py`).
//! Both AEAD back ends pass all of them.

use std::path::Path;

use serde_json::Value as Json;
use sha2::{Digest, Sha512};

use crate::aead::{Aead, PureRust};
use crate::block::{self, Opened, seal_block_by};
use crate::error::OpenError;
use crate::hash::sha256;
use crate::hedge::hedged_salt;
use crate::kdf::{self, PassphraseCost};
use crate::lthash::LtHash;
use crate::seal::{self, Derived};
use crate::secret::{BlockKey, EpochKey, HedgeKey, Secret, SecretBytes};
use crate::sign::{SigningKey, VerifyingKey};
use crate::usage::{Act, Context, Field, Usage, Value};

fn fixture(path: &str) -> Json {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    serde_json::from_str(&std::fs::read_to_string(root.join(path)).unwrap()).unwrap()
}

fn each<'a>(json: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    let list = if name.is_empty() { json } else { &json[name] };
    assert!(!list.as_array().unwrap().is_empty());
    list.as_array().unwrap().iter()
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap()
}

fn number(json: &Json, name: &str) -> u64 {
    json[name].as_u64().unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

fn bytes(json: &Json, name: &str) -> Vec<u8> {
    unhex(text(json, name))
}

fn array<const N: usize>(json: &Json, name: &str) -> [u8; N] {
    bytes(json, name).try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 131 + (i >> 8) * 17).to_le_bytes()[0]).collect()
}

fn usage(json: &Json) -> Usage {
    Usage::from_number(u16::try_from(number(json, "usage")).unwrap()).unwrap()
}

/// The context the generator makes: numbers of every width, byte strings of one repeated byte.
pub(crate) fn sample_context(usage: Usage) -> Context {
    const INTEGERS: [u64; 10] =
        [0, 23, 24, 255, 256, 65_535, 65_536, 4_294_967_295, 1 << 32, u64::MAX];
    let organisation: [u8; 32] = pattern_id();
    let number = usize::from(usage.number());
    let strings: Vec<Vec<u8>> = (0..usage.fields().len())
        .map(|index| match usage.fields()[index] {
            Field::Bytes(len) => vec![(number ^ index).to_le_bytes()[0]; len],
            Field::Uint => Vec::new(),
        })
        .collect();
    let fields: Vec<Value<'_>> = usage
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| match field {
            Field::Bytes(_) => Value::Bytes(&strings[index]),
            Field::Uint => Value::Uint(INTEGERS[(number + index) % INTEGERS.len()]),
        })
        .collect();
    Context::new(usage, &organisation, &fields)
}

fn pattern_id() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

/// Compares with a vector that holds either the bytes or their length and SHA-256.
fn assert_sealed(sealed: &[u8], expected: &Json) {
    match expected.get("hex") {
        Some(_) => assert_eq!(hex(sealed), text(expected, "hex")),
        None => {
            assert_eq!(u64::try_from(sealed.len()).unwrap(), number(expected, "len"));
            assert_eq!(hex(&sha256(sealed)), text(expected, "sha256"));
        }
    }
}

#[test]
fn registry_and_contexts_agree_with_the_second_implementation() {
    let vectors = fixture("crypto/vectors.json");
    let known: Vec<&Json> = each(&vectors, "context").collect();
    assert_eq!(known.len(), Usage::ALL.len());
    for vector in known {
        let usage = usage(vector);
        assert_eq!(text(vector, "name"), usage.name());
        let act = match usage.act() {
            Act::Seal => "seal",
            Act::Wrap => "wrap",
            Act::Derive => "derive",
            Act::Sign => "sign",
        };
        assert_eq!(text(vector, "act"), act);
        if usage.act() != Act::Sign {
            assert_eq!(text(vector, "context"), hex(sample_context(usage).as_bytes()), "{act}");
        }
    }
}

fn aes_gcm_vectors<A: Aead>() {
    for vector in each(&fixture("wycheproof/aes_256_gcm.json"), "") {
        let aead = A::new(&array(vector, "key"));
        let (nonce, tag) = (array(vector, "iv"), array(vector, "tag"));
        let (plain, sealed) = (bytes(vector, "msg"), bytes(vector, "ct"));
        let mut opened = vec![0; sealed.len()];
        let result = aead.open(&nonce, &sealed, &tag, &mut opened);
        match text(vector, "result") {
            "valid" => {
                assert_eq!(result, Ok(()), "{vector}");
                assert_eq!(opened, plain, "{vector}");
                let mut in_out = plain;
                assert_eq!(aead.seal(&nonce, &mut in_out), tag, "{vector}");
                assert_eq!(in_out, sealed, "{vector}");
            }
            _ => assert_eq!(result, Err(OpenError), "{vector}"),
        }
    }
}

fn chunked_vectors<A: Aead>() {
    for vector in each(&fixture("wycheproof/chunked_encryption_aes_256_gcm.json"), "") {
        // Keys of another length cannot be expressed: the type refuses them.
        let Ok(key) = <[u8; 32]>::try_from(bytes(vector, "key")) else {
            assert_eq!(text(vector, "result"), "invalid");
            continue;
        };
        let sealed: Vec<u8> = vector["ct"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|run| {
                let count = usize::try_from(run[1].as_u64().unwrap()).unwrap();
                unhex(run[0].as_str().unwrap()).repeat(count)
            })
            .collect();
        let result = seal::open_by::<A>(&key, &bytes(vector, "ctx"), &sealed);
        match text(vector, "result") {
            "valid" => {
                let plain = result.unwrap();
                assert_eq!(u64::try_from(plain.len()).unwrap(), number(vector, "msgLength"));
                assert_eq!(hex(&Sha512::digest(plain.expose())), text(vector, "msgSha512"));
                let salt = sealed.first_chunk().unwrap();
                let derived = Derived::<A>::from_input(&key, &bytes(vector, "ctx"), salt);
                let mut again = Vec::new();
                seal::seal_derived(&derived, salt, plain.expose(), &mut again);
                assert!(again == sealed, "{}", vector["comment"]);
            }
            _ => assert!(result.is_err(), "{}", vector["comment"]),
        }
    }
}

fn seal_vectors<A: Aead>() {
    for vector in each(&fixture("crypto/vectors.json"), "seal") {
        let plain = pattern(usize::try_from(number(vector, "len")).unwrap());
        let (key, salt): ([u8; 32], [u8; 24]) = (array(vector, "key"), array(vector, "salt"));
        let context = sample_context(usage(vector));
        let derived = Derived::<A>::new(&EpochKey::from_bytes(&key), &context, &salt);
        let mut sealed = Vec::new();
        seal::seal_derived(&derived, &salt, &plain, &mut sealed);
        assert_sealed(&sealed, &vector["sealed"]);
        let opened = seal::open_by::<A>(&key, context.as_bytes(), &sealed).unwrap();
        assert!(opened == SecretBytes::new(plain));
    }
}

fn block_vectors<A: Aead>() {
    for vector in each(&fixture("crypto/vectors.json"), "block") {
        let len = number(vector, "len");
        let plain = pattern(usize::try_from(len).unwrap());
        let (key, context) =
            (BlockKey::from_bytes(&array(vector, "key")), sample_context(Usage::Block));
        let mut sealed = Vec::new();
        let hash = seal_block_by::<A>(&key, &context, array(vector, "salt"), &plain, &mut sealed);
        assert_eq!(hex(&hash), text(vector, "header_hash"));
        assert_sealed(&sealed, &vector["sealed"]);
        let header = &sealed[..usize::try_from(block::header_len(len)).unwrap()];
        let opened =
            Opened::<A>::verify(header, len, &hash, &key, &context).unwrap_or_else(|_| panic!());
        let mut whole = Vec::new();
        for index in 0..block::segment_count(len) {
            let range = block::segment_range(len, index);
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            let mut out = vec![0; usize::try_from(block::segment_len(len, index)).unwrap()];
            opened.open_segment(index, &sealed[range], &mut out).unwrap();
            whole.extend_from_slice(&out);
        }
        assert!(whole == plain, "{len}");
    }
}

macro_rules! both_back_ends {
    ($($test:ident = $vectors:ident;)*) => {
        mod pure_rust {
            $(#[test] fn $test() { super::$vectors::<super::PureRust>(); })*
        }
        #[cfg(feature = "aws-lc")]
        mod aws_lc {
            $(#[test] fn $test() { super::$vectors::<crate::aead::AwsLc>(); })*
        }
    };
}

both_back_ends! {
    aes_gcm_agrees_with_wycheproof = aes_gcm_vectors;
    chunked_encryption_agrees_with_wycheproof = chunked_vectors;
    seals_agree_with_the_second_implementation = seal_vectors;
    blocks_agree_with_the_second_implementation = block_vectors;
}

#[test]
fn ed25519_agrees_with_wycheproof() {
    for vector in each(&fixture("wycheproof/ed25519.json"), "") {
        let signature = <[u8; 64]>::try_from(bytes(vector, "sig")).ok();
        let holds = VerifyingKey::parse(&array(vector, "pk")).is_ok_and(|key| {
            signature.is_some_and(|sig| key.verify_message(&bytes(vector, "msg"), &sig).is_ok())
        });
        assert_eq!(holds, text(vector, "result") == "valid", "{vector}");
    }
}

#[test]
fn signatures_agree_with_the_second_implementation() {
    for vector in each(&fixture("crypto/vectors.json"), "sign") {
        let key = SigningKey::from_seed(Secret::from_bytes(&array(vector, "seed")));
        let (usage, header) = (usage(vector), bytes(vector, "header"));
        assert_eq!(hex(key.verifying_key().as_bytes()), text(vector, "public"));
        assert_eq!(hex(&key.sign(usage, &header)), text(vector, "signature"));
    }
}

#[test]
fn derivations_agree_with_the_second_implementation() {
    for vector in each(&fixture("crypto/vectors.json"), "derive") {
        let key = Secret::from_bytes(&array(vector, "key"));
        let secret = kdf::derive(&key, &sample_context(usage(vector)));
        assert_eq!(hex(secret.expose()), text(vector, "secret"));
    }
}

#[test]
fn hedged_salts_agree_with_the_second_implementation() {
    for vector in each(&fixture("crypto/vectors.json"), "hedge") {
        let key = HedgeKey::from_bytes(&array(vector, "key"));
        let (random, hash) = (array(vector, "random"), array(vector, "hash"));
        let salt = hedged_salt(&key, random, hash, number(vector, "counter"));
        assert_eq!(hex(&salt), text(vector, "salt"));
    }
}

#[test]
fn argon2id_agrees_with_the_second_implementation() {
    for vector in each(&fixture("crypto/vectors.json"), "argon2id") {
        let cost = PassphraseCost {
            memory_kib: u32::try_from(number(vector, "memory_kib")).unwrap(),
            passes: u32::try_from(number(vector, "passes")).unwrap(),
            lanes: 1,
        };
        let key = kdf::argon2id(&bytes(vector, "passphrase"), &array(vector, "salt"), cost);
        assert_eq!(hex(key.unwrap_or_else(|_| panic!()).expose()), text(vector, "key"));
    }
}

#[test]
fn map_digests_agree_with_the_second_implementation() {
    for vector in each(&fixture("crypto/vectors.json"), "lthash") {
        let mut state = LtHash::new();
        for entry in each(vector, "entries") {
            let [key, value] = [0, 1].map(|i| unhex(entry[i].as_str().unwrap()));
            state.add(&key, &value);
        }
        assert_eq!(hex(&state.digest()), text(vector, "digest"));
    }
}
