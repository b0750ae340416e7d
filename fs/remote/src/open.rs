//! From an address to a store.

use std::time::Duration;

use strongroom_store::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::address::Address;
use crate::remote::{Access, Machine, RemoteStore};
use crate::retry::Patience;
use crate::runtime::Threads;
#[cfg(feature = "s3")]
use crate::s3::S3;
use crate::swift::Swift;
use crate::transport::{Fault, FaultKind, Transport};

/// LIMIT: finding credentials, and signing in where that is a request.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Opens a store: finds credentials, and signs in where that is a request of its own.
///
/// # Errors
/// `Denied` without credentials; `Invalid` for a container that is not there; `Unavailable`; `Internal` without threads.
pub fn open(address: &Address, machine: &Machine, access: Access) -> Result<RemoteStore> {
    open_by(address, machine, access, When::Now)
}

/// Opens a store that may be away: credentials are found, and nothing is asked yet.
///
/// # Errors
/// `Denied` without credentials; `Unavailable` where these come over the network; `Internal` without threads.
pub fn open_later(address: &Address, machine: &Machine, access: Access) -> Result<RemoteStore> {
    open_by(address, machine, access, When::Later)
}

/// When a server hears of us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Later,
}

fn open_by(
    address: &Address,
    machine: &Machine,
    access: Access,
    when: When,
) -> Result<RemoteStore> {
    let threads = Threads::start()?;
    let connected = threads.handle().block_on(async {
        let connecting = async {
            let transport: Box<dyn Transport> = match address {
                #[cfg(feature = "s3")]
                Address::S3(address) => Box::new(S3::connect(address).await?),
                #[cfg(not(feature = "s3"))]
                Address::S3(_) => {
                    let text = "this program was built without S3 (feature `s3`)";
                    return Err(Fault::new(FaultKind::Invalid, text));
                }
                Address::Swift(address) => {
                    let swift = Swift::new(address)?;
                    if when == When::Now {
                        swift.require_container().await?;
                    }
                    Box::new(swift)
                }
            };
            Ok(transport)
        };
        let late = |_| Fault::new(FaultKind::Broken, "the server does not answer");
        timeout(CONNECT_LIMIT, connecting).await.unwrap_or_else(|error| Err(late(error)))
    });
    let transport = connected.map_err(|fault| refused(&fault))?;
    Ok(RemoteStore::on(threads, transport, machine, Patience::DEFAULT, access))
}

fn refused(fault: &Fault) -> Error {
    let kind = match fault.kind {
        FaultKind::Denied => ErrorKind::Denied,
        FaultKind::Invalid => ErrorKind::Invalid,
        FaultKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, fault.text.clone())
}
