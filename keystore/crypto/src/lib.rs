//! Primitives and secret types. No I/O, no async, no users; no Debug, Clone or Copy on keys.
