//! Compiles an expression to what runs: WGSL for a device, a program for the CPU path, f64 for the gradient check,
//! and intervals that bound the results of native arithmetic.

pub(crate) mod bounds;
mod idioms;
mod planner;
mod program;
pub(crate) mod wgsl;
pub(crate) mod wide;

pub(crate) use planner::Programs;
