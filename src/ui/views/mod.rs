//! The four places, and what they share.

pub mod arms;
pub mod bottom;
pub mod cards;
pub mod charts;
mod compare;
pub mod data;
pub mod foresight;
pub mod inspect;
pub mod outcome;
pub mod overlays;
pub mod rail;
mod readings;
pub mod runs;
pub mod tour;
pub mod train;
