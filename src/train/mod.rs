//! The training loop: no files, no threads, no printing.

pub mod event;
