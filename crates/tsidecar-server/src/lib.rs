//! placeholder

pub mod clock;
pub mod config;
pub mod demo;
pub mod entropy;
