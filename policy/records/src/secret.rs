//! Encoding of what has keys in it: in memory that is as large as it gets from the start, and is wiped. While an encoding grows,
//! copies of what it has so far stay behind.

use std::convert::Infallible;

use minicbor::Encode;
use strongroom_format::cbor;
use zeroize::Zeroizing;

/// Encodes a value in one piece of memory.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut count = Count(0);
    minicbor::encode(value, &mut count).expect("counting cannot fail");
    let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
    cbor::encode_into(value, &mut bytes);
    bytes
}

/// Keeps nothing of what is written but how much it was.
struct Count(usize);

impl minicbor::encode::Write for Count {
    type Error = Infallible;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Infallible> {
        self.0 += written.len();
        Ok(())
    }
}
