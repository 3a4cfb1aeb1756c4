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
/// The size of an f32 in bytes.
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

    /// Elements in one item of the kernel's arrays: 4, 1.
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
    /// The most invocations in a workgroup in its first dimension.
    pub max_compute_workgroup_size_x: u32,
}

impl From<&wgpu::Limits> for Limits {
    fn from(limits: &wgpu::Limits) -> Self {
        Self {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment.into(),
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: limits.max_compute_workgroup_size_x,
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
            ("max_compute_workgroup_size_x", self.max_compute_workgroup_size_x, WORKGROUP_SIZE),
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
            let reaches = |last: &OperandRange| {
                last.buffer == operands[i].buffer && start < last.offset + window * ELEMENT
            };
            write && slot.operands.last().is_some_and(|&last| reaches(&operands[last]))
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
/// Windows of a streamed call that are in flight: one is filled, one is on the device, one is emptied.
pub(crate) const STREAM_RING: u64 = 3;
/// A call of up to this many elements is one window: cutting it would cost more than overlapping gains.
const STREAM_LEAST: u64 = 1 << 20;

/// The elements of a window of a streamed call with that many operands: whole workgroups, and so more than a short call
/// has.
pub fn stream_window(len: usize, operands: usize, max_buffer_size: u64, limits: &Limits) -> usize {
    let budget = STREAM_BYTES / STREAM_RING / operands.max(1) as u64;
    let bytes = budget.min(max_buffer_size).min(limits.max_storage_buffer_binding_size);
    let step = u64::from(ELEMENTS_PER_WORKGROUP);
    let even = (len as u64).div_ceil(STREAM_RING).max(STREAM_LEAST).min(len as u64);
    (bytes / ELEMENT / step * step).min(even.next_multiple_of(step)).max(step) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIGN: u64 = 32;
    const STEP: u64 = ELEMENTS_PER_WORKGROUP as u64;

    const LIMITS: Limits = Limits {
        max_storage_buffer_binding_size: 128 << 20,
        min_storage_buffer_offset_alignment: ALIGN,
        max_compute_workgroups_per_dimension: 65535,
        max_storage_buffers_per_shader_stage: 8,
        max_compute_invocations_per_workgroup: 256,
        max_compute_workgroup_size_x: 256,
    };

    /// Operands as (buffer, first element, written).
    fn operands(places: &[(usize, u64, bool)]) -> Vec<OperandRange> {
        let operand = |(i, &(buffer, element, write))| OperandRange {
            name: format!("operand {i}"),
            buffer,
            offset: element * ELEMENT,
            write,
        };
        places.iter().enumerate().map(operand).collect()
    }

    /// Plans, and checks everything that a plan promises.
    fn planned(places: &[(usize, u64, bool)], len: u64, limits: &Limits) -> Result<Plan, Error> {
        let operands = operands(places);
        let plan = plan("op", &operands, len, limits)?;
        let case = || format!("{places:?}, {len} elements, {limits:?}: {plan:?}");

        let mut sharing: Vec<usize> = plan.slots.iter().flat_map(|s| s.operands.clone()).collect();
        sharing.sort_unstable();
        assert!(sharing.into_iter().eq(0..operands.len()), "each operand has one slot: {}", case());
        let written = |buffer| operands.iter().any(|o| o.write && o.buffer == buffer);
        let buffer = |slot: &Slot| operands[slot.operands[0]].buffer;
        for slot in &plan.slots {
            assert!(slot.operands.iter().all(|&i| operands[i].buffer == buffer(slot)), "{}", case());
            assert_eq!(slot.write, written(buffer(slot)), "never read and read_write: {}", case());
            assert!(
                slot.write || slot.operands.len() == 1,
                "inputs of a buffer that is read share nothing: {}",
                case()
            );
        }

        let mut start = 0;
        for w in &plan.windows {
            let len = u64::from(w.len);
            assert!((1..=MAX_DISPATCH).contains(&len), "{}", case());
            assert_eq!(w.bindings.len(), plan.slots.len(), "{}", case());
            for (slot, &(offset, size)) in plan.slots.iter().zip(&w.bindings) {
                assert!(offset.is_multiple_of(limits.min_storage_buffer_offset_alignment), "{}", case());
                assert!(size <= limits.max_storage_buffer_binding_size, "{}", case());
                let mut end = 0;
                for &i in &slot.operands {
                    let base = u64::from(w.bases[i]);
                    assert_eq!(offset + base * ELEMENT, operands[i].offset + start * ELEMENT, "{}", case());
                    end = end.max(operands[i].offset + (start + len) * ELEMENT);
                }
                assert_eq!(offset + size, end, "a binding ends where its last operand does: {}", case());
            }
            for (a, one) in plan.slots.iter().zip(&w.bindings) {
                for (b, other) in plan.slots.iter().zip(&w.bindings) {
                    let apart = one.0 + one.1 <= other.0 || other.0 + other.1 <= one.0;
                    assert!(a == b || !a.write || buffer(a) != buffer(b) || apart, "{}", case());
                }
            }
            let aligned = len.is_multiple_of(4) && w.bases.iter().all(|base| base.is_multiple_of(4));
            assert!(plan.access == Access::Word || aligned, "{}", case());

            let groups = len.div_ceil(STEP);
            let [x, y] = w.grid.map(u64::from);
            let most = u64::from(limits.max_compute_workgroups_per_dimension);
            assert!(x <= most && y <= most && x * y >= groups && x * (y - 1) < groups, "{}", case());
            assert_eq!(y, groups.div_ceil(most), "the fewest rows: {}", case());
            assert_eq!(w.bases, plan.windows[0].bases, "every window has the same bases: {}", case());
            assert_eq!(w.len == plan.windows[0].len, len == u64::from(plan.windows[0].len));
            start += len;
        }
        assert_eq!(start, len, "the windows are the whole call: {}", case());
        Ok(plan)
    }

    fn limit(error: Error) -> (&'static str, u64) {
        match error {
            Error::Limit { limit, need, got, .. } => {
                assert!(got < need, "{limit}: {got} is enough for {need}");
                (limit, need)
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn no_elements_are_no_windows() -> Result<(), Error> {
        let plan = planned(&[(0, 5, false), (0, 5, true)], 0, &LIMITS)?;
        assert!(plan.windows.is_empty());
        Ok(())
    }

    #[test]
    fn vec4_needs_a_multiple_of_four_everywhere() -> Result<(), Error> {
        for len in 1..=20 {
            for offset in 0..=20 {
                let plan = planned(&[(0, offset, false), (1, 0, true)], len, &LIMITS)?;
                let aligned = len % 4 == 0 && offset % 4 == 0;
                assert_eq!(plan.access == Access::Vec4, aligned, "{len} elements at {offset}");
            }
        }
        Ok(())
    }

    /// Every binding size from less than a workgroup to more than three, at every remainder of an offset.
    #[test]
    fn windows_fit_every_binding_limit() -> Result<(), Error> {
        for max_storage_buffer_binding_size in (STEP * 4 - 8..=3 * STEP * 4 + 40).step_by(4) {
            let limits = Limits { max_storage_buffer_binding_size, ..LIMITS };
            for offset in 0..=8 {
                for len in [1, STEP - 1, STEP, STEP + 1, 2 * STEP, 3 * STEP, 3 * STEP + 1, 7 * STEP + 5] {
                    let fits = |len| (offset % 8 + len) * ELEMENT <= max_storage_buffer_binding_size;
                    match planned(&[(0, offset, false), (1, 0, true)], len, &limits) {
                        Ok(plan) => {
                            assert!(fits(len.min(STEP)));
                            let most = (1..=8).rev().map(|n| n * STEP).find(|n| fits(*n)).unwrap_or(len);
                            let window = if fits(len) { len } else { most };
                            assert_eq!(plan.windows.len() as u64, len.div_ceil(window), "the fewest windows");
                        }
                        Err(error) => {
                            let (name, need) = limit(error);
                            assert_eq!(name, "max_storage_buffer_binding_size");
                            assert!(!fits(len.min(STEP)), "{len} at {offset} would fit {limits:?}");
                            let enough = Limits { max_storage_buffer_binding_size: need, ..limits };
                            planned(&[(0, offset, false), (1, 0, true)], len, &enough)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// An offset's alignment larger than a workgroup's elements sets the step of windows.
    #[test]
    fn windows_keep_any_alignment() -> Result<(), Error> {
        for shift in 2..=16 {
            let limits = Limits {
                min_storage_buffer_offset_alignment: 1 << shift,
                max_storage_buffer_binding_size: 300_000,
                ..LIMITS
            };
            for offset in [0, 1, 4, 1023, 1024, 1025, 16_383, 16_384, 16_385] {
                planned(&[(0, offset, false), (1, 3, true)], 1_000_000, &limits)?;
            }
        }
        Ok(())
    }

    /// Two operands of one buffer at every distance, in windows and in one piece, with and without a write.
    #[test]
    fn neighbours_in_one_buffer_share_a_binding_where_theirs_would_overlap() -> Result<(), Error> {
        for bytes in [
            LIMITS.max_storage_buffer_binding_size,
            4 * STEP,
            4 * STEP + 28,
            8 * STEP,
            8 * STEP + 28,
            12 * STEP,
        ] {
            let limits = Limits { max_storage_buffer_binding_size: bytes, ..LIMITS };
            for len in [1, 4, 8, 100, STEP, STEP + 1, 2 * STEP + 24, 5 * STEP] {
                for offset in [0, 1, 7] {
                    for distance in (0..=20).chain(len - len.min(9)..len + 20).chain(STEP - 9..STEP + 9) {
                        for (first, second) in [(false, false), (true, false), (false, true), (true, true)] {
                            let places = [(0, offset, first), (0, offset + distance, second)];
                            let in_place = distance == 0 && !(first && second);
                            let allowed = in_place || distance >= len || !(first || second);
                            match planned(&places, len, &limits) {
                                Ok(_) => assert!(allowed, "{places:?}, {len}"),
                                Err(Error::Overlap { .. }) => assert!(!allowed, "{places:?}, {len}"),
                                Err(error) => {
                                    let (_, need) = limit(error);
                                    let enough = Limits { max_storage_buffer_binding_size: need, ..limits };
                                    planned(&places, len, &enough)?;
                                }
                            }
                        }
                        // Two inputs beside an output: any overlap of the two is allowed, the window may have to shrink.
                        let away = 10 * STEP + distance;
                        let places = [(0, offset, false), (0, offset + distance, false), (0, away + 3, true)];
                        if let Err(error) = planned(&places, len, &limits) {
                            let (_, need) = limit(error);
                            let enough = Limits { max_storage_buffer_binding_size: need, ..limits };
                            planned(&places, len, &enough)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Inputs that overlap at a distance need one binding for both, or smaller windows that part them.
    #[test]
    fn smaller_windows_part_inputs_that_overlap() -> Result<(), Error> {
        let limits = Limits { max_storage_buffer_binding_size: (2 * STEP - 1) * 4, ..LIMITS };
        let plan = planned(&[(0, 0, false), (0, 1504, false), (0, 8000, true)], 2 * STEP, &limits)?;
        assert_eq!((plan.slots.len(), plan.windows.len()), (3, 2));
        Ok(())
    }

    #[test]
    fn outputs_overlap_nothing_but_exactly_an_input() {
        let overlap = |places: &[_]| match plan("op", &operands(places), 100, &LIMITS) {
            Err(Error::Overlap { op, argument, other }) => Some([op, argument, other].join(" ")),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        };
        let message = |a: usize, b: usize| Some(format!("op operand {a} operand {b}"));
        for distance in 1..100 {
            assert_eq!(overlap(&[(0, 0, false), (0, distance, true)]), message(1, 0));
            assert_eq!(overlap(&[(0, distance, false), (0, 0, true)]), message(1, 0));
            assert_eq!(overlap(&[(0, distance, true), (0, 0, true)]), message(0, 1));
            assert_eq!(overlap(&[(0, distance, true), (1, 0, true)]), None);
            assert_eq!(overlap(&[(0, distance, false), (0, 0, false), (1, 0, true)]), None);
            // In place over one input is no leave to cut another.
            assert_eq!(overlap(&[(0, 0, false), (0, distance, false), (0, 0, true)]), message(2, 1));
        }
        assert_eq!(overlap(&[(0, 0, true), (0, 0, true)]), message(0, 1));
        assert_eq!(overlap(&[(0, 0, false), (0, 0, false), (0, 0, true)]), None);
        assert_eq!(overlap(&[(0, 0, false), (0, 0, true), (0, 0, true)]), message(1, 2));
        for distance in [100, 101] {
            assert_eq!(overlap(&[(0, 0, false), (0, distance, true)]), None);
            assert_eq!(overlap(&[(0, distance, true), (0, 0, true)]), None);
        }
    }

    #[test]
    fn grids_are_two_dimensional_past_one_dimension() -> Result<(), Error> {
        let places = [(0, 0, false), (1, 0, true)];
        for most in 1..=9_u64 {
            let limits = Limits { max_compute_workgroups_per_dimension: most as u32, ..LIMITS };
            for groups in 1..=90 {
                for len in [groups * STEP - STEP + 1, groups * STEP - 1, groups * STEP] {
                    match planned(&places, len, &limits) {
                        Ok(_) => assert!(groups <= most * most),
                        Err(error) => {
                            let (name, need) = limit(error);
                            assert_eq!(name, "max_compute_workgroups_per_dimension");
                            assert!(
                                groups > most * most && need * need >= groups && (need - 1).pow(2) < groups
                            );
                        }
                    }
                }
            }
        }
        let limits = Limits { max_storage_buffer_binding_size: u64::MAX, ..LIMITS };
        let grid = |len| Ok::<_, Error>(planned(&places, len, &limits)?.windows[0].grid);
        assert_eq!(grid(65535 * STEP)?, [65535, 1]);
        assert_eq!(grid(65535 * STEP + 1)?, [32768, 2]);
        Ok(())
    }

    #[test]
    fn a_dispatch_has_at_most_2_pow_28_elements() -> Result<(), Error> {
        let limits = Limits { max_storage_buffer_binding_size: u64::MAX, ..LIMITS };
        for (len, windows) in [
            (MAX_DISPATCH - 1, 1),
            (MAX_DISPATCH, 1),
            (MAX_DISPATCH + 1, 2),
            (5 * MAX_DISPATCH, 5),
            (1 << 40, 4096),
        ] {
            assert_eq!(planned(&[(0, 1, false), (1, 0, true)], len, &limits)?.windows.len(), windows);
        }
        Ok(())
    }

    #[test]
    fn kernels_need_bindings_and_invocations() {
        let places = [(0, 0, false), (1, 0, false), (2, 0, true)];
        for bindings in 0..=3 {
            let limits = Limits { max_storage_buffers_per_shader_stage: bindings, ..LIMITS };
            match planned(&places, 5, &limits) {
                Ok(_) => assert_eq!(bindings, 3),
                Err(error) => assert_eq!(limit(error), ("max_storage_buffers_per_shader_stage", 3)),
            }
        }
        for invocations in [0, 64, 128, 255, 256] {
            let limits = Limits { max_compute_invocations_per_workgroup: invocations, ..LIMITS };
            match planned(&places, 5, &limits) {
                Ok(_) => assert_eq!(invocations, 256),
                Err(error) => assert_eq!(limit(error), ("max_compute_invocations_per_workgroup", 256)),
            }
            let limits = Limits { max_compute_workgroup_size_x: invocations, ..LIMITS };
            match planned(&places, 5, &limits) {
                Ok(_) => assert_eq!(invocations, 256),
                Err(error) => assert_eq!(limit(error), ("max_compute_workgroup_size_x", 256)),
            }
        }
    }

    #[test]
    fn a_streamed_window_is_whole_workgroups_within_memory_and_limits() {
        for operands in 1..=7 {
            for len in [0, 1, 1000, 1 << 20, 1 << 30, usize::MAX] {
                for bytes in [4096, 4097, 8191, 8192, 100_000, 128 << 20, u64::MAX] {
                    for (max_buffer, max_binding) in [(bytes, 1 << 30), (1 << 30, bytes)] {
                        let limits = Limits { max_storage_buffer_binding_size: max_binding, ..LIMITS };
                        let window = stream_window(len, operands, max_buffer, &limits);
                        let size = window as u64 * ELEMENT;
                        assert!(window >= 1 && window.is_multiple_of(STEP as usize), "so that it ends");
                        assert!(
                            window as u64 <= (len as u64 / STEP + 1).saturating_mul(STEP),
                            "no more than it takes"
                        );
                        let windows = len.div_ceil(window) as u64;
                        assert!(len < 3 << 20 || windows >= STREAM_RING, "windows that overlap");
                        assert!(size <= max_buffer && size <= max_binding);
                        assert!(size * operands as u64 * STREAM_RING <= STREAM_BYTES);
                    }
                }
            }
        }
    }
}
