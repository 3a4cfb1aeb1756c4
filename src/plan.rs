//! Planning: from (ranges, limits) to bindings, windows and grids, with no device in sight.
//!
//! A call on `len` elements becomes *windows*, each one dispatch: as many elements as the largest binding and
//! [`MAX_DISPATCH`] allow. Each operand's range in a window is bound from the last allowed offset at or before it, and the
//! kernel adds the rest, the operand's *base*. Operands that may share a binding do ([`Slot`]); all others have their own.

use crate::Error;

/// The most elements in one dispatch.
pub const MAX_DISPATCH: u64 = 1 << 28;
/// Invocations in a workgroup.
pub const WORKGROUP_SIZE: u32 = 256;
/// Elements that one workgroup computes: four for each invocation.
pub const ELEMENTS_PER_WORKGROUP: u32 = 4 * WORKGROUP_SIZE;
/// The size of an f32.
pub const ELEMENT: u64 = 4;

/// How the kernel accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// One `vec4<u32>` an invocation: lengths and bases are multiples of 4 elements.
    Vec4,
    /// Four words an invocation, a workgroup apart: any length, any base.
    Word,
}

impl Access {
    /// Its name: `vec4`, `word`.
    pub fn name(self) -> &'static str {
        match self {
            Access::Vec4 => "vec4",
            Access::Word => "word",
        }
    }

    /// The array elements that one item of the kernel's index counts.
    pub fn width(self) -> u64 {
        match self {
            Access::Vec4 => 4,
            Access::Word => 1,
        }
    }
}

/// What planning needs to know of one operand.
#[derive(Clone, Debug)]
pub struct OperandRange {
    /// Its name in errors.
    pub name: String,
    /// Which buffer it lies in: equal numbers are the same buffer.
    pub buffer: usize,
    /// The first byte.
    pub offset: u64,
    /// Whether the kernel writes it.
    pub write: bool,
}

/// The limits of a device that matter here, named as in `wgpu::Limits`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest storage binding in bytes.
    pub max_storage_buffer_binding_size: u64,
    /// The alignment of a storage binding's offset in bytes.
    pub min_storage_buffer_offset_alignment: u64,
    /// The most workgroups in one dimension.
    pub max_compute_workgroups_per_dimension: u32,
    /// The most storage bindings in a kernel.
    pub max_storage_buffers_per_shader_stage: u32,
    /// The most invocations in a workgroup.
    pub max_compute_invocations_per_workgroup: u32,
}

impl From<&wgpu::Limits> for Limits {
    fn from(limits: &wgpu::Limits) -> Self {
        Self {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment.into(),
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
        }
    }
}

impl Limits {
    /// Whether a kernel with `slots` storage bindings can be compiled.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_kernel(&self, op: &str, slots: usize) -> Result<(), Error> {
        let needs = [
            (
                "max_compute_invocations_per_workgroup",
                self.max_compute_invocations_per_workgroup,
                WORKGROUP_SIZE,
            ),
            ("max_storage_buffers_per_shader_stage", self.max_storage_buffers_per_shader_stage, slots as u32),
        ];
        for (limit, got, need) in needs {
            if got < need {
                return Err(Error::Limit { op: op.into(), limit, got: got.into(), need: need.into() });
            }
        }
        Ok(())
    }
}

/// Which operands share a binding, and which bindings are written.
///
/// wgpu rejects a buffer that one dispatch binds both `read` and `read_write`, and browsers reject two `read_write`
/// bindings that overlap. So a buffer that is written is bound `read_write` throughout, and operands whose bound ranges
/// would overlap there share a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The operands' numbers.
    pub operands: Vec<usize>,
    /// Whether the binding is `read_write`.
    pub write: bool,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The elements it computes.
    pub len: u32,
    /// Byte offset and size of each slot's binding.
    pub bindings: Vec<(u64, u64)>,
    /// For each operand, the elements between its slot's start and its own.
    pub bases: Vec<u32>,
    /// Workgroups in x and y.
    pub grid: [u32; 2],
}

/// Everything that binding and recording need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How the kernel accesses memory.
    pub access: Access,
    /// The bindings.
    pub slots: Vec<Slot>,
    /// The dispatches, in order; none for no elements.
    pub windows: Vec<Window>,
}

/// Plans a call of `op` on `len` elements.
///
/// # Errors
/// [`Error::Overlap`] where an output overlaps an operand other than exactly an input; [`Error::Limit`] where the device
/// cannot run the kernel.
pub fn plan(op: &str, operands: &[OperandRange], len: u64, limits: &Limits) -> Result<Plan, Error> {
    check_overlap(op, operands, len)?;
    let too_small = |limit, got: u64, need: u64| Error::Limit { op: op.into(), limit, got, need };
    let binding_limit = limits.max_storage_buffer_binding_size;
    let per_dimension = u64::from(limits.max_compute_workgroups_per_dimension);
    let groups = MAX_DISPATCH.min(len).div_ceil(ELEMENTS_PER_WORKGROUP.into());
    if per_dimension == 0 || groups.div_ceil(per_dimension.max(1)) > per_dimension {
        // A square of workgroups is the most that a device allows.
        let need = groups.saturating_sub(1).isqrt() + 1;
        return Err(too_small("max_compute_workgroups_per_dimension", per_dimension, need));
    }

    let (slots, window_len) = slots_and_window(operands, len, limits)
        .map_err(|need| too_small("max_storage_buffer_binding_size", binding_limit, need))?;
    limits.check_kernel(op, slots.len())?;
    let starts = (0..len).step_by(window_len as usize);
    let windows: Vec<_> =
        starts.map(|start| window(operands, &slots, start, window_len.min(len - start), limits)).collect();
    let aligned =
        windows.iter().all(|w| w.len.is_multiple_of(4) && w.bases.iter().all(|b| b.is_multiple_of(4)));
    let access = if aligned { Access::Vec4 } else { Access::Word };
    Ok(Plan { access, slots, windows })
}

/// An output may occupy exactly the range of an input, and overlaps nothing else.
fn check_overlap(op: &str, operands: &[OperandRange], len: u64) -> Result<(), Error> {
    let bytes = len * ELEMENT;
    for (i, a) in operands.iter().enumerate().filter(|(_, a)| a.write) {
        for (j, b) in operands.iter().enumerate().filter(|(j, _)| *j != i) {
            let overlap = a.buffer == b.buffer && a.offset < b.offset + bytes && b.offset < a.offset + bytes;
            let in_place = !b.write && a.offset == b.offset;
            if overlap && !in_place && (i < j || !b.write) {
                let (argument, other) = (a.name.clone(), b.name.clone());
                return Err(Error::Overlap { op: op.into(), argument, other });
            }
        }
    }
    Ok(())
}

/// The slots, and the largest window for which every slot fits a binding; else the size that a binding needs.
fn slots_and_window(operands: &[OperandRange], len: u64, limits: &Limits) -> Result<(Vec<Slot>, u64), u64> {
    let align = limits.min_storage_buffer_offset_alignment;
    // Windows are whole workgroups and whole alignments, so every window has the same bases.
    let step = u64::from(ELEMENTS_PER_WORKGROUP).max(align / ELEMENT);
    let limit = limits.max_storage_buffer_binding_size;
    let mut window = (limit / ELEMENT).min(MAX_DISPATCH).max(step).min(len).max(1);
    loop {
        let slots = slots(operands, window, align);
        let need = slots.iter().map(|s| binding(operands, s, 0, window, align).1).max().unwrap_or(0);
        if need <= limit && (window >= len || window.is_multiple_of(step)) {
            return Ok((slots, window));
        }
        if window <= step {
            return Err(need);
        }
        // The offsets' remainders take a little of the binding. Inputs of one buffer that overlap each other at a
        // distance share a slot, which half a window may part.
        let excess = need.saturating_sub(limit).div_ceil(ELEMENT);
        window = (window.saturating_sub(excess).max(window / 2) / step * step).max(step);
    }
}

fn slots(operands: &[OperandRange], window: u64, align: u64) -> Vec<Slot> {
    let written = |buffer| operands.iter().any(|o| o.write && o.buffer == buffer);
    let mut order: Vec<usize> = (0..operands.len()).collect();
    order.sort_by_key(|&i| (operands[i].buffer, operands[i].offset));
    let mut slots: Vec<Slot> = Vec::new();
    for i in order {
        let write = written(operands[i].buffer);
        let start = operands[i].offset / align * align;
        let shared = slots.last_mut().filter(|slot| {
            let last = &operands[*slot.operands.last().expect("a slot has operands")];
            write && last.buffer == operands[i].buffer && start < last.offset + window * ELEMENT
        });
        match shared {
            Some(slot) => slot.operands.push(i),
            None => slots.push(Slot { operands: vec![i], write }),
        }
    }
    for slot in &mut slots {
        slot.operands.sort_unstable();
    }
    slots.sort_by_key(|slot| slot.operands[0]);
    slots
}

/// Byte offset and size of a slot's binding in a window.
fn binding(operands: &[OperandRange], slot: &Slot, start: u64, len: u64, align: u64) -> (u64, u64) {
    let offsets = || slot.operands.iter().map(|&i| operands[i].offset + start * ELEMENT);
    let first = offsets().min().unwrap_or(0) / align * align;
    let end = offsets().max().unwrap_or(0) + len * ELEMENT;
    (first, end - first)
}

fn window(operands: &[OperandRange], slots: &[Slot], start: u64, len: u64, limits: &Limits) -> Window {
    let align = limits.min_storage_buffer_offset_alignment;
    let bindings: Vec<_> = slots.iter().map(|s| binding(operands, s, start, len, align)).collect();
    let mut bases = vec![0; operands.len()];
    for (slot, (first, _)) in slots.iter().zip(&bindings) {
        for &i in &slot.operands {
            bases[i] = ((operands[i].offset + start * ELEMENT - first) / ELEMENT) as u32;
        }
    }
    let groups = len.div_ceil(ELEMENTS_PER_WORKGROUP.into()) as u32;
    Window {
        len: len as u32,
        bindings,
        bases,
        grid: grid(groups, limits.max_compute_workgroups_per_dimension),
    }
}

/// The 2-D grid with the fewest workgroups that covers `groups`.
fn grid(groups: u32, per_dimension: u32) -> [u32; 2] {
    let rows = groups.div_ceil(per_dimension);
    [groups.div_ceil(rows), rows]
}

/// Host memory that a streamed call may take for staging, and as much again on the device.
const STREAM_BYTES: u64 = 512 << 20;
/// Windows of a streamed call that are in flight: one uploads, one computes, one is read back.
pub(crate) const STREAM_RING: u64 = 3;

/// The elements of a window of a streamed call with that many operands.
pub fn stream_window(len: usize, operands: usize, max_buffer_size: u64, limits: &Limits) -> usize {
    let budget = STREAM_BYTES / STREAM_RING / operands.max(1) as u64;
    let bytes = budget.min(max_buffer_size).min(limits.max_storage_buffer_binding_size);
    let step = u64::from(ELEMENTS_PER_WORKGROUP);
    let window = (bytes / ELEMENT / step * step).max(step) as usize;
    window.min(len.max(1))
}
