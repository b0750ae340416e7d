//! The ordered map of one compartment: what files and folders are, as of now.
//!
//! Three layers, newest first: the *overlay* (operations since the last cut for a checkpoint), the *frozen* layer
//! (being written out by the checkpoint), the *tree* (sealed pages in the store). Reads merge them; an operation is
//! planned in a [`txn::Txn`] and installed into the overlay whole.

pub mod btree;
pub mod map;
pub mod need;
pub mod pages;
pub(crate) mod places;
pub mod rules;
pub mod txn;
