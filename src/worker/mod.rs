//! The process that trains, and the window's handle on it.

pub mod client;
pub mod device;
pub mod forecast;
mod memory_limit;
pub mod observer;
pub mod pairs;
pub mod plan;
pub mod prepare;
pub mod protocol;
pub mod self_test;
pub mod session;
pub mod split;
pub mod writer;
