//! A call of an op, for any engine: its operands, the checks of their shapes, the bytes that it moves. Calls know
//! signatures, but not what an op computes.

pub(crate) mod check;
pub(crate) mod host;
pub(crate) mod job;
pub(crate) mod slice;
pub(crate) mod traffic;
