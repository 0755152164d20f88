//! Preference data on the host: files to pairs, pairs to token ids.

pub mod pair;
