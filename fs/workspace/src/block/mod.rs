//! Contents of files: bytes not sealed yet, sealed blocks being gathered into objects, and reading them back.

pub mod dirty;
pub mod fetch;
pub mod sent;
pub mod staging;
pub mod stream;
