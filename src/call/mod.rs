//! A call of an op, whatever engine does it: its operands, the checks of their shapes, what it moves. Calls know signatures,
//! and not what an op computes.

pub(crate) mod check;
pub(crate) mod host;
pub(crate) mod job;
pub(crate) mod slice;
pub(crate) mod traffic;
