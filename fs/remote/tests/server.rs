//! Conformance of real servers: those that `STRONGROOM_TEST_STORES` names, addresses separated by blanks, each with an
//! empty place below. `tests/suites/s3.sh` starts some. Without the variable nothing is tested, and it says so.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::machine;
use strongroom_remote::address::{S3Address, SwiftAddress};
use strongroom_remote::{Access, Address, RemoteStore, Writers, open, probe};
use strongroom_store::conformance::{conformance, conformance_with_one_writer};
use strongroom_store::{Store, wait};

/// Each address of the variable, below a prefix that nobody used before.
fn stores(name: &str) -> Vec<RemoteStore> {
    let Ok(text) = std::env::var("STRONGROOM_TEST_STORES") else {
        eprintln!("skipped: STRONGROOM_TEST_STORES names no server");
        return Vec::new();
    };
    let address = |text: &str| {
        let (scheme, rest) = text.split_once("://").unwrap();
        let tag = u64::from_le_bytes(machine().entropy.array());
        let below = |prefix: &str| format!("{prefix}/{name}-{tag:x}").trim_matches('/').to_owned();
        match Address::parse(scheme, rest).unwrap().unwrap() {
            Address::S3(address) => {
                Address::S3(S3Address { prefix: below(&address.prefix), ..address })
            }
            Address::Swift(address) => {
                Address::Swift(SwiftAddress { prefix: below(&address.prefix), ..address })
            }
        }
    };
    let open = |text| open(&address(text), &machine(), Access::ReadWrite).unwrap();
    text.split_whitespace().map(open).collect()
}

#[test]
fn a_real_server_conforms_and_says_how_many_may_write() {
    for store in stores("conformance") {
        let writers = probe(&store, &*machine().entropy).unwrap();
        eprintln!("writers: {writers:?}");
        if std::env::var_os("STRONGROOM_TEST_ARBITERS").is_some() {
            assert_eq!(writers, Writers::Many);
        }
        let store: Arc<dyn Store> = Arc::new(store);
        match writers {
            Writers::Many => conformance(&store, wait),
            _ => conformance_with_one_writer(&store, wait),
        }
    }
}
