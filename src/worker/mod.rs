//! The process that trains, and the window's handle on it.

pub mod client;
pub mod device;
pub mod protocol;
pub mod self_test;
pub mod split;
