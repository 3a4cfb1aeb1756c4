//! From an expression to what runs: WGSL for a device, a program for the CPU path, f64 for the check of gradients, and the
//! intervals that native arithmetic may put a result in.

pub(crate) mod bounds;
mod idioms;
mod planner;
mod program;
pub(crate) mod wgsl;
pub(crate) mod wide;

pub(crate) use planner::Programs;
