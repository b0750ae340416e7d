//! Making a workspace: organisation, device file, an empty tree with a root folder, and last the file that says a
//! workspace is here.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_crypto::lthash::LtHash;
use strongroom_format::cbor::encode;
use strongroom_format::checkpoint::{CompartmentState, PageObject};
use strongroom_format::ids::{CompartmentId, Digest, Ino};
use strongroom_format::inode::{Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Body, Key as StoreKey, Put, Store};

use super::roster::{Pin, Roster};
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::limits::PAGE_CACHE_BYTES;
use crate::outbound::checkpoint::{HeadFacts, seal_checkpoint};
use crate::state::Head;
use crate::tree::btree::{PageSource, Tree};
use crate::tree::need::{Look, Need};
use crate::tree::pages::{PageWriter, Pages};
use crate::workspace::{Services, Workspace, ordinary_place};

/// Permission bits of the root folder of a new workspace.
const ROOT_MODE: u16 = 0o755;

/// What a new workspace is made of beside the keys.
pub struct Foundation<'a> {
    /// The organisation log: the genesis record's file, and that of the first epoch.
    pub organisation: [&'a [u8]; 2],
    /// The sealed device file.
    pub device_file: &'a [u8],
    /// User and group that own the root folder.
    pub owner: (u32, u32),
}

impl Workspace {
    /// Makes a workspace in an empty store.
    ///
    /// # Errors
    /// `Exists` if the store holds one; those of the store.
    pub fn create(
        store: &Arc<dyn Store>,
        keys: &Arc<DeviceKeys>,
        foundation: &Foundation<'_>,
        services: &Services,
    ) -> Result<()> {
        if wait(async { Ok(store.get(StoreKey::Workspace, None).await) })?.is_ok() {
            return Err(taken());
        }
        let roster = found(keys, foundation)?;
        for (seq, record) in (0..).zip(foundation.organisation) {
            put(store, StoreKey::Organisation(seq), record.to_vec())?;
        }
        put(store, StoreKey::Device(keys.device_id()), foundation.device_file.to_vec())?;
        put_first_checkpoint(store, keys, (foundation.owner, roster.pin()?), services)?;
        let file = WorkspaceFile::new(keys.organisation(), keys.workspace()).encode();
        // ORDER: last. Until it is there, this is no workspace and making one can be tried again.
        let put =
            wait(async { Ok(store.put_if_absent(StoreKey::Workspace, Bytes::from(file)).await?) })?;
        match put {
            Put::Created(_) => Ok(()),
            Put::Exists => Err(taken()),
        }
    }
}

/// Both records as a reader will verify them.
fn found(keys: &DeviceKeys, foundation: &Foundation<'_>) -> Result<Roster> {
    let [genesis, first_epoch] = foundation.organisation;
    let mut organisation = Organisation::verify(genesis, &keys.organisation())?;
    organisation.extend(first_epoch)?;
    keys.learn(&organisation)?;
    Ok(Roster::new(organisation))
}

fn taken() -> Error {
    Error::new(ErrorKind::Exists, "the store holds a workspace already")
}

fn put(store: &Arc<dyn Store>, key: StoreKey, bytes: Vec<u8>) -> Result<()> {
    wait(async { Ok(store.put(key, Body::Bytes(bytes.into())).await.map(drop)?) })
}

fn put_first_checkpoint(
    store: &Arc<dyn Store>,
    keys: &Arc<DeviceKeys>,
    (owner, pin): ((u32, u32), Pin),
    services: &Services,
) -> Result<()> {
    let pages = Pages::new(store.clone(), keys.clone(), ordinary_place(keys), PAGE_CACHE_BYTES);
    let now = services.clock.now_ns();
    let root = encode(&Inode::new(Kind::Folder, ROOT_MODE, owner, Ino::ROOT, now));
    let key = Key::inode(Ino::ROOT);
    let mut writer = PageWriter::new(&pages, &*services.entropy);
    let changes = [(key.as_bytes(), Some(root.as_slice()))];
    let rewrite = Tree::default()
        .rewrite(&NoPages, changes.into_iter(), &Default::default(), &mut writer)
        .map_err(|need| match need {
            Need::Failed(error) => error,
            Need::Page(_) => Error::new(ErrorKind::Internal, "an empty tree has no pages"),
        })?;
    writer.finish()?;
    let mut digest = LtHash::new();
    digest.add(key.as_bytes(), &root);
    let part = CompartmentState {
        compartment: CompartmentId::ORDINARY,
        seq: 0,
        root: rewrite.tree.root,
        height: rewrite.tree.height,
        count: rewrite.tree.count,
        name_key: services.entropy.array(),
        digest: digest.to_bytes(),
        // The first home that opens it takes the first slot.
        slots: Vec::new(),
        journals: Vec::new(),
    };
    let ledger = writer
        .made
        .iter()
        .map(|(object, made)| PageObject {
            object: *object,
            stored_len: made.stored_len,
            live_pages: made.live_pages,
            hash: made.hash,
        })
        .collect();
    let facts = HeadFacts { head: Head { seq: 0, hash: Digest([0; 32]) }, pin, time: now };
    let bytes = seal_checkpoint(keys, &*services.entropy, &facts, &part, ledger)?;
    put(store, StoreKey::Checkpoint(0), bytes.to_vec())
}

struct NoPages;

impl PageSource for NoPages {
    fn page(
        &self,
        at: &strongroom_format::page::PageRef,
    ) -> Look<Arc<strongroom_format::page::Page>> {
        Err(Need::Page(*at))
    }
}
