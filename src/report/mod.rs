//! A run as a person reads it: its events folded into series, the charts they are drawn in, and what can be taken
//! away of them (SVG, CSV, one HTML page). Host only; the window and the command line both stand on it.

pub mod charts;
pub mod format;
pub mod palette;
mod read;
pub mod reduce;
pub mod ruler;
pub mod run_view;
pub mod series;

pub use read::{Skip, read};
