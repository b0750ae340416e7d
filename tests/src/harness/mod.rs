//! Simulated workspaces, steps anybody can take, and what is compared: shared by the suites `model`, `crash`, `flow`.
//!
//! A [`step::Step`] names paths and slots of open handles, never inode numbers, so the same step runs on a workspace,
//! on the plain model and on a folder of the local file system. Everything follows from one seed.

pub mod distant;
pub mod files;
pub mod fleet;
pub mod generate;
pub mod life;
pub mod mortal;
pub mod near;
pub mod real;

pub mod runner;
pub mod seeds;
pub mod shrink;
pub mod step;
pub mod tree;
pub mod watch;
pub mod world;
