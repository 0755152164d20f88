//! The process that trains, and the window's handle on it.

pub mod client;
pub mod protocol;
pub mod split;
