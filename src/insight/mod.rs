//! What the numbers of a run say: pure functions on the host, each with its source.

pub mod advice;
pub mod displacement;
pub mod forecast;
pub mod gradients;
mod profile;
mod spread;

pub use profile::{EditProfile, ProfilePoint, edit_profile};
pub use spread::{Histogram, percentile};
