//! The cards of Train: what is trained, on what, how.

pub mod data;
pub mod lora;
pub mod method;
pub mod model;
