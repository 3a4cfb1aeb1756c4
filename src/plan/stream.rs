//! Windows for host data that is streamed through a device.

use super::{ELEMENTS_PER_WORKGROUP, Limits};

/// The most host memory that a streamed call uses for staging. It uses as much again on the device.
pub(crate) const STREAM_BYTES: u64 = 512 << 20;
/// The number of windows of a streamed call in flight: one is filled, one is on the device, one is emptied.
pub(crate) const STREAM_RING: u64 = 3;
/// A call of up to this many elements is one window. Cutting it would cost more than overlapping would gain.
const STREAM_LEAST: u64 = 1 << 20;
/// The largest size of an element.
const ELEMENT: u64 = 4;

/// The number of elements in a window of a streamed call with this many operands. It is a multiple of a workgroup's
/// elements, so it may exceed the length of a short call.
pub(crate) fn stream_window(len: usize, operands: usize, limits: &Limits) -> usize {
    let budget = STREAM_BYTES / STREAM_RING / operands.max(1) as u64;
    let bytes = budget.min(limits.max_buffer_size).min(limits.max_storage_buffer_binding_size);
    let step = u64::from(ELEMENTS_PER_WORKGROUP);
    let even = (len as u64).div_ceil(STREAM_RING).max(STREAM_LEAST).min(len as u64);
    (bytes / ELEMENT / step * step).min(even.next_multiple_of(step)).max(step) as usize
}
