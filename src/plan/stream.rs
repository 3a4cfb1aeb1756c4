//! Windows of host data that is streamed through a device.

use super::{ELEMENTS_PER_WORKGROUP, Limits};

/// Host memory that a streamed call may take for staging, and as much again on the device.
pub(crate) const STREAM_BYTES: u64 = 512 << 20;
/// Windows of a streamed call that are in flight: one is filled, one is on the device, one is emptied.
pub(crate) const STREAM_RING: u64 = 3;
/// A call of up to this many elements is one window: cutting it would cost more than overlapping gains.
const STREAM_LEAST: u64 = 1 << 20;
/// The size of an element at most.
const ELEMENT: u64 = 4;

/// The elements of a window of a streamed call with that many operands: whole workgroups, and so more than a short call
/// has.
pub(crate) fn stream_window(len: usize, operands: usize, limits: &Limits) -> usize {
    let budget = STREAM_BYTES / STREAM_RING / operands.max(1) as u64;
    let bytes = budget.min(limits.max_buffer_size).min(limits.max_storage_buffer_binding_size);
    let step = u64::from(ELEMENTS_PER_WORKGROUP);
    let even = (len as u64).div_ceil(STREAM_RING).max(STREAM_LEAST).min(len as u64);
    (bytes / ELEMENT / step * step).min(even.next_multiple_of(step)).max(step) as usize
}
