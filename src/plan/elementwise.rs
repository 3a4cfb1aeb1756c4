//! Outputs with the shape of `z`. Their windows are boxes in the index space of `z`.

use super::{
    Access, Bind, Dispatch, ELEMENTS_PER_WORKGROUP, Form, Held, Kernel, MAX_DISPATCH, Map, Memory, Operand,
    Plan, Reach, Request, Slot, Source, WORD, base, bind_of, in_place,
};
use crate::{
    dtype::DType,
    error::Error,
    shape::{Collapsed, collapse, count, extent, is_contiguous},
    signature::outputs::Outputs,
};

/// Windows with fewer elements are not worth a dispatch, unless a binding holds no more.
const LEAST_WINDOW: u64 = 1 << 16;

/// Up to this many windows may be of any size.
const FEW_WINDOWS: u64 = 16;

/// Groups of outputs that one kernel can write, in an order in which no group overwrites what a later one reads.
///
/// A lane owns whole words. So 16-bit outputs whose words begin at even elements and those whose words begin at odd
/// elements are in separate groups, and so are a mask and the odd ones. Outputs are also separated if a kernel has
/// too few bindings for their operands.
pub(super) fn groups(request: &Request, outputs: Vec<usize>) -> Result<Vec<Outputs>, Error> {
    let odd = |w: &usize| request.write(*w).is_some_and(|o| starts_within_a_word(&o));
    let (odd, even): (Vec<usize>, Vec<usize>) = outputs.into_iter().partition(odd);
    let mut groups = Vec::new();
    for writes in [even, odd] {
        let mut group = Outputs::NONE;
        for w in writes {
            let more = group | Outputs::of(w);
            if !group.is_empty() && !bindings_suffice(request, more, None) {
                groups.push(group);
                group = Outputs::of(w);
            } else {
                group = more;
            }
        }
        groups.extend((!group.is_empty()).then_some(group));
    }
    in_order(request, groups)
}

/// Whether a kernel has enough bindings for these outputs, for the reads that they need, and, if it also adds a sum,
/// for the partial results. This must hold for any cut into windows: only an output in place of an input shares a
/// binding in all of them.
pub(super) fn bindings_suffice(request: &Request, outputs: Outputs, sum: Option<usize>) -> bool {
    let needed = sum.map_or(outputs, |w| outputs | Outputs::of(w));
    let reads = request.call.reads_for(request.signature, needed);
    let reads: Vec<Operand> = reads.iter().filter_map(|i| request.read(i)).collect();
    let apart = |o: &Operand| !reads.iter().any(|r| r.memory == o.memory && in_place(request, o, r));
    let writes = outputs.iter().filter_map(|w| request.write(w)).filter(apart).count();
    let bindings = reads.len() + writes + usize::from(sum.is_some());
    bindings <= request.limits.max_storage_buffers_per_shader_stage as usize
}

fn in_order(request: &Request, mut groups: Vec<Outputs>) -> Result<Vec<Outputs>, Error> {
    let mut order = Vec::new();
    while !groups.is_empty() {
        let overwritten = |group: &Outputs| {
            let mut others = groups.iter().filter(|other| *other != group);
            others.find_map(|other| overwrites(request, *group, *other))
        };
        let Some(harmless) = groups.iter().position(|group| overwritten(group).is_none()) else {
            let mut names = groups.iter().filter_map(overwritten);
            let (argument, other) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            return Err(Error::InPlace { op: request.op(), argument, other });
        };
        order.push(groups.remove(harmless));
    }
    Ok(order)
}

fn starts_within_a_word(operand: &Operand) -> bool {
    matches!(operand.element, Held::Number(_)) && operand.offset % operand.element.per_word() as i64 != 0
}

/// The output of `first` that is in place of an input of `second`.
fn overwrites(request: &Request, first: Outputs, second: Outputs) -> Option<String> {
    let reads: Vec<Operand> =
        request.call.reads_for(request.signature, second).iter().filter_map(|i| request.read(i)).collect();
    let writes = first.iter().filter_map(|w| request.write(w));
    let over = |w: &Operand| reads.iter().any(|r| r.memory == w.memory && in_place(request, w, r));
    writes.filter(over).map(|w| w.name).next()
}

/// Plans the dispatches for outputs that one kernel can write.
pub(super) fn outputs(request: &Request, outputs: Outputs, plan: &mut Plan) -> Result<(), Error> {
    let source = Source::Op { outputs, from_mask: request.call.from_mask };
    Region { request, source, operands: request.operands(outputs), apart: None }
        .dispatch(&request.call.shape, plan)
}

/// Plans the dispatches that store finished sums as the gradient.
pub(super) fn store(request: &Request, write: usize, partials: Memory, plan: &mut Plan) -> Result<(), Error> {
    let Some(output) = request.write(write) else { return Ok(()) };
    let len = request.call.writes[write].as_ref().map_or(0, |w| w.len);
    let partial = Operand {
        name: "partial".into(),
        index: 0,
        write: false,
        element: Held::Number(DType::F32),
        accumulate: false,
        memory: partials,
        offset: 0,
        strides: vec![1],
    };
    let operands = vec![partial, Operand { strides: vec![1], ..output }];
    Region { request, source: Source::Partials, operands, apart: None }.dispatch(&[len], plan)
}

/// A box of an index space, and the operands' layouts over its axes.
struct Region<'a> {
    request: &'a Request<'a>,
    source: Source,
    operands: Vec<Operand>,
    /// The read whose copy would help if windows cannot be cut.
    apart: Option<usize>,
}

impl Region<'_> {
    fn dispatch(mut self, shape: &[u64], plan: &mut Plan) -> Result<(), Error> {
        if count(shape) == Some(0) {
            return Ok(());
        }
        let shape = self.collapse(shape);
        self.apart = self.farthest_apart(&shape);
        let tile = self.tile(&shape)?;
        let mut corner = vec![0; shape.len()];
        loop {
            let extents: Vec<u64> =
                shape.iter().zip(&tile).zip(&corner).map(|((d, t), c)| (*t).min(d - c)).collect();
            self.window(&corner, &extents, plan)?;
            // Advance to the next corner, the last axis first.
            let Some(axis) = (0..shape.len()).rev().find(|axis| corner[*axis] + tile[*axis] < shape[*axis])
            else {
                return Ok(());
            };
            corner[axis] += tile[axis];
            corner[axis + 1..].fill(0);
        }
    }

    /// Merges axes that all operands cross as one axis.
    fn collapse(&mut self, shape: &[u64]) -> Vec<u64> {
        let strides: Vec<_> = self.operands.iter().map(|o| o.strides.clone()).collect();
        let Collapsed { shape, strides, .. } = collapse(shape, &strides, &vec![false; shape.len()]);
        self.operands.iter_mut().zip(strides).for_each(|(o, s)| o.strides = s);
        shape
    }

    /// Of the reads with gaps between their elements, the one that spans the most.
    fn farthest_apart(&self, shape: &[u64]) -> Option<usize> {
        let has_gaps = |o: &Operand| {
            let steps = shape.iter().zip(&o.strides).filter(|(_, s)| **s != 0);
            let (shape, strides): (Vec<u64>, Vec<i64>) = steps.unzip();
            !o.write && !is_contiguous(&shape, &strides)
        };
        let reach = |i: &usize| {
            extent(shape, &self.operands[*i].strides, 0).map_or(i64::MAX, |(low, high)| high - low)
        };
        (0..self.operands.len()).filter(|i| has_gaps(&self.operands[*i])).max_by_key(reach)
    }

    fn reaches(&self, extents: &[u64]) -> Vec<Reach> {
        let reach = |o: &Operand| extent(extents, &o.strides, o.offset).unwrap_or((o.offset, o.offset));
        self.operands.iter().map(reach).collect()
    }

    /// The largest window with every binding within the limit.
    fn tile(&self, shape: &[u64]) -> Result<Vec<u64>, Error> {
        let limit = self.request.limits.max_storage_buffer_binding_size;
        let mut tile = shape.to_vec();
        loop {
            let len = count(&tile).unwrap_or(u64::MAX);
            if len > MAX_DISPATCH {
                let axis = tile.iter().position(|d| *d > 1).unwrap_or(0);
                let part = u128::from(tile[axis]) * u128::from(MAX_DISPATCH) / u128::from(len);
                tile[axis] = aligned((part as u64).max(1), &tile[axis + 1..]);
                continue;
            }
            let (slots, binds) = self.request.slots(&self.operands, &self.reaches(&tile));
            let Some((slot, bind)) = slots.iter().zip(&binds).find(|(_, bind)| bind.size > limit) else {
                break;
            };
            let Some((axis, step)) = self.longest_axis(slot, &tile) else {
                return Err(self.too_small(bind.size));
            };
            // Operands of one buffer that overlap at a distance share a slot. In half the window they may have
            // separate ones.
            let excess = (bind.size - limit).div_ceil(step);
            tile[axis] = aligned(tile[axis].saturating_sub(excess).max(tile[axis] / 2), &tile[axis + 1..]);
        }
        let least = LEAST_WINDOW.min(limit / WORD / 64).max(ELEMENTS_PER_WORKGROUP.into());
        // A few windows are acceptable at any size.
        let len = count(shape).unwrap_or(0);
        if tile != shape && count(&tile).unwrap_or(0) < least.min(len / FEW_WINDOWS) {
            return Err(self.too_small(least * WORD));
        }
        Ok(tile)
    }

    /// The axis along which a slot's operands span the most, and the bytes of one step along it.
    fn longest_axis(&self, slot: &Slot, tile: &[u64]) -> Option<(usize, u64)> {
        let steps = slot.operands.iter().flat_map(|&i| {
            let o = &self.operands[i];
            let bytes = |s: &i64| (s.unsigned_abs() * WORD).div_ceil(o.element.per_word());
            o.strides.iter().map(bytes).enumerate().map(|(axis, step)| ((tile[axis] - 1) * step, axis, step))
        });
        steps.filter(|(reach, ..)| *reach > 0).max().map(|(_, axis, step)| (axis, step))
    }

    /// The error if windows would be too small: the layout is at fault, or the device's binding limit is too low.
    fn too_small(&self, need: u64) -> Error {
        let got = self.request.limits.max_storage_buffer_binding_size;
        match self.apart {
            Some(read) => self.request.needs_copy(&self.operands[read].name),
            None => {
                Error::Limit { op: self.request.op(), limit: "max_storage_buffer_binding_size", got, need }
            }
        }
    }

    /// The error if outputs cannot be written in the windows as cut. The outputs are contiguous, so a read is at
    /// fault: because of it the windows cut across the outputs, or it is broadcast, which a copy of it would not be.
    fn needs_copy(&self) -> Error {
        let broadcast = |i: &usize| !self.operands[*i].write && self.operands[*i].strides.contains(&0);
        let read = self.apart.or_else(|| (0..self.operands.len()).find(broadcast)).unwrap_or(0);
        self.request.needs_copy(&self.operands[read].name)
    }

    fn window(&self, corner: &[u64], extents: &[u64], plan: &mut Plan) -> Result<(), Error> {
        let at = |o: &Operand| {
            let steps = corner.iter().zip(&o.strides).map(|(c, s)| *c as i64 * s);
            Operand { offset: o.offset + steps.sum::<i64>(), ..o.clone() }
        };
        let mut part = Region { operands: self.operands.iter().map(at).collect(), ..*self };
        let shape = part.collapse(extents);
        let (slots, binds) = self.request.slots(&part.operands, &part.reaches(&shape));
        let limit = self.request.limits.max_storage_buffer_binding_size;
        if let Some((slot, bind)) = slots.iter().zip(&binds).find(|(_, bind)| bind.size > limit) {
            // At other corners than the first, alignment may take more, or may make neighbours in a buffer share a
            // binding.
            let Some((axis, _)) = self.longest_axis(slot, extents) else {
                return Err(self.too_small(bind.size));
            };
            let (mut first, mut second, mut middle) = (extents.to_vec(), extents.to_vec(), corner.to_vec());
            first[axis] = aligned(extents[axis] / 2, &extents[axis + 1..]);
            second[axis] -= first[axis];
            middle[axis] += first[axis];
            self.window(corner, &first, plan)?;
            return self.window(&middle, &second, plan);
        }
        self.request.limits.check_kernel(&self.request.op(), slots.len())?;
        let bases: Vec<i64> = (0..part.operands.len())
            .map(|i| base(&part.operands[i], part.operands[i].offset, bind_of(&slots, &binds, i)))
            .collect();
        let (access, maps) = match part.vectors(&shape, &slots, &bases) {
            Some(maps) => (Access::Vec4, maps),
            None => (Access::Word, part.words(&shape, &bases).ok_or_else(|| self.needs_copy())?),
        };
        part.record(&shape, access, &maps, slots, binds, &bases, plan)
    }

    fn is_linear(&self, operand: usize, shape: &[u64]) -> bool {
        is_contiguous(shape, &self.operands[operand].strides)
    }

    /// How to index each operand by vectors of four, if that is possible.
    fn vectors(&self, shape: &[u64], slots: &[Slot], bases: &[i64]) -> Option<Vec<Map>> {
        let last = *shape.last()?;
        if !last.is_multiple_of(4) || !self.bits_fit(shape, bases) {
            return None;
        }
        let is_linear = |region: &Self, i| region.is_linear(i, shape) && bases[i] % 4 == 0;
        let maps: Vec<Map> = (0..self.operands.len())
            .map(|i| {
                if is_linear(self, i) { Map::Linear } else { vector_map(&self.operands[i].strides, bases[i]) }
            })
            .collect();
        let is_bit = |i: usize| self.operands[i].element == Held::Bit;
        let written = |i: usize| self.operands[i].write && !is_bit(i);
        vectors_fit(slots, &maps, is_bit, written).then_some(maps)
    }

    /// How to index each operand by words, if that is possible.
    fn words(&self, shape: &[u64], bases: &[i64]) -> Option<Vec<Map>> {
        let maps: Vec<Map> = (0..self.operands.len())
            .map(|i| if self.is_linear(i, shape) { Map::Linear } else { Map::Gather })
            .collect();
        let in_words =
            |(o, map): (&Operand, &Map)| !o.write || o.element.per_word() == 1 || *map == Map::Linear;
        let fits = self.operands.iter().zip(&maps).all(in_words) && self.bits_fit(shape, bases);
        fits.then_some(maps)
    }

    /// Whether every mask begins at the start of a word, at the first element of a workgroup.
    fn bits_fit(&self, shape: &[u64], bases: &[i64]) -> bool {
        let is_bit = |i: &usize| self.operands[*i].element == Held::Bit;
        let writes_bits = (0..bases.len()).any(|i| is_bit(&i) && self.operands[i].write);
        (0..bases.len()).filter(is_bit).all(|i| bases[i] % 32 == 0 && self.is_linear(i, shape))
            && !(writes_bits && self.parity(bases) != 0)
    }

    /// The number of elements between the start of the outputs' first words and the first element.
    fn parity(&self, bases: &[i64]) -> u32 {
        let narrow = |i: &usize| {
            let o = &self.operands[*i];
            o.write && o.element != Held::Bit && o.element.per_word() == 2
        };
        (0..bases.len()).find(narrow).map_or(0, |i| (bases[i] & 1) as u32)
    }

    #[expect(clippy::too_many_arguments, reason = "what a dispatch is, once")]
    fn record(
        &self,
        shape: &[u64],
        access: Access,
        maps: &[Map],
        slots: Vec<Slot>,
        bindings: Vec<Bind>,
        bases: &[i64],
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let len = count(shape).unwrap_or(0);
        let axes = if maps.iter().all(|m| *m == Map::Linear) { 1 } else { shape.len() };
        let parity = if access == Access::Word { self.parity(bases) } else { 0 };
        let grid = self
            .request
            .limits
            .grid(&self.request.op(), (len + u64::from(parity)).div_ceil(ELEMENTS_PER_WORKGROUP.into()))?;
        let mut params = vec![len as u32, grid[0], parity];
        params.extend(shape[shape.len() - axes..].iter().skip(1).map(|d| *d as u32));
        for (i, (operand, map)) in self.operands.iter().zip(maps).enumerate() {
            let unit = match (operand.element, access, map) {
                (Held::Bit, ..) => 32,
                (_, Access::Vec4, Map::Linear | Map::Row) => 4,
                _ => 1,
            };
            params.push((bases[i] / unit) as u32);
            let strides = match map {
                Map::Linear => &[][..],
                Map::Row | Map::Splat => &operand.strides[..shape.len() - 1],
                Map::Gather => &operand.strides,
            };
            params.extend(strides.iter().map(|s| (s / unit) as u32));
        }
        let kernel = plan.kernel(Kernel {
            source: self.source,
            dtype: self.request.dtype,
            form: Form::Elementwise(access),
            axes,
            summed: 0,
            operands: self.operands.iter().zip(maps).map(|(o, map)| o.with_map(*map)).collect(),
            slots,
        });
        plan.dispatches.push(Dispatch { kernel, bindings, params, grid });
        Ok(())
    }
}

/// How to index an operand by vectors along its last axis. The size of that axis is a multiple of 4.
pub(super) fn vector_map(strides: &[i64], base: i64) -> Map {
    match strides.split_last() {
        Some((1, outer)) if base % 4 == 0 && outer.iter().all(|s| s % 4 == 0) => Map::Row,
        Some((0, _)) => Map::Splat,
        _ => Map::Gather,
    }
}

/// Whether all outputs are vectors, and no binding mixes vectors and words.
pub(super) fn vectors_fit(
    slots: &[Slot],
    maps: &[Map],
    is_bit: impl Fn(usize) -> bool,
    is_written: impl Fn(usize) -> bool,
) -> bool {
    let is_vector = |i: usize| !is_bit(i) && matches!(maps[i], Map::Linear | Map::Row);
    let one_kind = |slot: &Slot| slot.operands.iter().all(|&i| is_vector(i) == is_vector(slot.operands[0]));
    (0..maps.len()).all(|i| !is_written(i) || is_vector(i)) && slots.iter().all(one_kind)
}

/// Rounds down `len`, the cut of an axis. Each step along the axis is a box of the extents `inner`. Windows then
/// begin as the whole does: at whole workgroups, else at whole words of a mask, else at whole words of 16-bit
/// elements.
fn aligned(len: u64, inner: &[u64]) -> u64 {
    let inner = count(inner).unwrap_or(u64::MAX);
    // The least number of steps that makes a multiple of `unit`, a power of two.
    let steps = |unit: u64| unit >> inner.trailing_zeros().min(unit.trailing_zeros());
    let step = [ELEMENTS_PER_WORKGROUP.into(), 32, 2].map(steps).into_iter().find(|step| len >= *step);
    step.map_or(len.max(1), |step| len / step * step)
}
