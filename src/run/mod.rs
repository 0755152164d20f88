//! Run folders: configuration, event log, checkpoints, exported adapter.

pub mod card;
pub mod checkpoint;
pub mod durable;
pub mod events;
pub mod export;
pub mod folder;
pub mod probe_records;
pub mod review;

/// The version of burn this program is built with, for `run.json` (a test compares it with Cargo.lock).
pub const BURN_VERSION: &str = "0.22.1";
