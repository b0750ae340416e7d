//! From an address to a store.

use strongroom_store::{Error, ErrorKind, Result};

use crate::address::Address;
use crate::remote::{Access, Machine, RemoteStore};
use crate::retry::Patience;
use crate::runtime::Threads;
use crate::s3::S3;
use crate::transport::{Fault, FaultKind, Transport};

/// Opens a store. Looks for credentials; whether the server is there shows at the first request.
///
/// # Errors
/// `Denied` without credentials; `Internal` without threads.
pub fn open(address: &Address, machine: &Machine, access: Access) -> Result<RemoteStore> {
    let threads = Threads::start()?;
    let transport: Box<dyn Transport> = match address {
        Address::S3(address) => Box::new(
            threads.handle().block_on(S3::connect(address)).map_err(|fault| refused(&fault))?,
        ),
    };
    Ok(RemoteStore::on(threads, transport, machine, Patience::DEFAULT, access))
}

fn refused(fault: &Fault) -> Error {
    let kind = match fault.kind {
        FaultKind::Denied => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, fault.text.clone())
}
