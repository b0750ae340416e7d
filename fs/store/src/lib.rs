//! Sealed objects and log records by key.
