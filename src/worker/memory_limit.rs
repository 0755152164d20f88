//! How much memory a run may use.

use serde::{Deserialize, Serialize};

use super::device::Choice;

/// A limit in bytes, and who says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryLimit {
    pub bytes: u64,
    pub source: String,
}

const GIB: f64 = (1u64 << 30) as f64;

/// The limit asked for (GiB), else the device's own memory; `None` where nobody says.
pub fn memory_limit(asked: Option<f64>, choice: &Choice) -> Option<MemoryLimit> {
    if let Some(gib) = asked {
        return Some(MemoryLimit {
            bytes: (gib * GIB) as u64,
            source: "--memory-limit".to_owned(),
        });
    }
    match &choice.adapter {
        Some(adapter) => adapter
            .memory_bytes
            .map(|bytes| MemoryLimit { bytes, source: "the adapter's memory".to_owned() }),
        None => system_memory()
            .map(|bytes| MemoryLimit { bytes, source: "what the system has available".to_owned() }),
    }
}

/// Memory that a new program can have without swapping: Linux's own estimate.
#[cfg(target_os = "linux")]
fn system_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(not(target_os = "linux"))]
fn system_memory() -> Option<u64> {
    None
}
