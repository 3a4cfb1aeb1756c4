//! Gradients of broadcast inputs: sums by a tree that depends on the shape alone.
//!
//! The terms of a sum are the leaves of a perfect binary tree that adds neighbours first. A kernel adds a *block* of
//! terms, an aligned power of two, into one partial result. The blocks' results are the leaves of the rest of the
//! tree, and so on until one result is left. The distribution of blocks over invocations, workgroups and windows does
//! not change a bit.

use super::{
    Access, Dispatch, Form, Held, Kernel, MAX_DISPATCH, Map, Memory, Operand, Plan, Reach, Request, Slot,
    Source, WORD, WORKGROUP_SIZE, base, bind_of,
    elementwise::{vector_map, vectors_fit},
};
use crate::{
    dtype::DType,
    error::Error,
    shape::{Collapsed, collapse, count, extent},
    signature::outputs::Outputs,
};

/// Terms that an invocation adds in one step.
const STEP: u64 = 4;
/// The most steps of an invocation, unless a binding holds too little.
const MAX_STEPS: u64 = 16;
/// From this many terms on, it pays to let a workgroup add neighbouring terms.
const LEAST_RUN: u64 = 512;
/// The most windows of a sum.
const MAX_WINDOWS: usize = 4096;

/// Plans the dispatches that leave one partial sum for each element of a gradient. Dispatches that read the call's
/// operands also write the outputs `carried`.
pub(super) fn partials(
    request: &Request,
    write: usize,
    carried: Outputs,
    plan: &mut Plan,
) -> Result<Memory, Error> {
    let Some(output) = &request.call.writes[write] else {
        let argument = request.signature.write_name(write).to_owned();
        return Err(Error::Missing { op: request.op(), argument });
    };
    if request.call.len() == 0 {
        // The sums are empty: use the scratch buffer's zeros.
        return Ok(plan.scratch(output.len));
    }
    let outputs = Outputs::of(write) | carried;
    let source = Source::Op { outputs, from_mask: request.call.from_mask };
    let reads = request.call.reads_for(request.signature, outputs).iter().filter_map(|i| request.read(i));
    let operands = reads.chain(carried.iter().filter_map(|w| request.write(w))).collect();
    let over = output.sum.as_ref().map_or(&[][..], |sum| &sum.over);
    let mut level = Level::new(request, source, write, operands, over);
    loop {
        let before = (plan.kernels.len(), plan.dispatches.len(), plan.scratch.len());
        let partials = match level.dispatch(plan) {
            // The terms of a block may be far apart. A block of fewer terms spans less.
            Err(Error::NeedsCopy { .. }) if level.runs || level.steps() > 1 => {
                level.most_steps = if level.runs { MAX_STEPS } else { level.steps() / 2 };
                level.runs = false;
                plan.kernels.truncate(before.0);
                plan.dispatches.truncate(before.1);
                plan.scratch.truncate(before.2);
                continue;
            }
            result => result?,
        };
        if level.blocks() == 1 {
            return Ok(partials);
        }
        level = level.next(partials);
    }
}

/// One level of the tree: sums of terms, over two index spaces.
struct Level<'a> {
    request: &'a Request<'a>,
    source: Source,
    /// The gradient.
    write: usize,
    operands: Vec<Term>,
    /// The axes of the sums.
    kept: Vec<u64>,
    /// The axes of the terms.
    summed: Vec<u64>,
    /// Whether a workgroup adds a block, which requires adjacent neighbouring terms. Otherwise each invocation does.
    runs: bool,
    /// The most steps of an invocation.
    most_steps: u64,
}

/// An operand, and its strides over the axes of the sums and of the terms.
struct Term {
    operand: Operand,
    kept: Vec<i64>,
    summed: Vec<i64>,
}

/// A window: a range of sums, and a range of the blocks of each.
#[derive(Clone, Copy)]
struct Window {
    sums: (u64, u64),
    blocks: (u64, u64),
}

impl<'a> Level<'a> {
    fn new(
        request: &'a Request<'a>,
        source: Source,
        write: usize,
        operands: Vec<Operand>,
        reduced: &[bool],
    ) -> Self {
        let strides: Vec<_> = operands.iter().map(|o| o.strides.clone()).collect();
        let Collapsed { shape, strides, class } = collapse(&request.call.shape, &strides, reduced);
        let pick = |summed: bool| (0..shape.len()).filter(|axis| class[*axis] == summed).collect::<Vec<_>>();
        let (kept_axes, summed_axes) = (pick(false), pick(true));
        let at = |strides: &[i64], axes: &[usize]| axes.iter().map(|a| strides[*a]).collect();
        let operands = operands.into_iter().zip(&strides).map(|(operand, strides)| Term {
            operand,
            kept: at(strides, &kept_axes),
            summed: at(strides, &summed_axes),
        });
        let [kept, summed] =
            [&kept_axes, &summed_axes].map(|axes| axes.iter().map(|a| shape[*a]).collect::<Vec<_>>());
        let neighbours = class.last() == Some(&true);
        let runs = neighbours && count(&summed).unwrap_or(0) >= LEAST_RUN;
        let (operands, most_steps) = (operands.collect(), MAX_STEPS);
        Self { request, source, write, operands, kept, summed, runs, most_steps }
    }

    /// The level above. Its terms are this level's partial sums.
    fn next(&self, partials: Memory) -> Self {
        let (sums, blocks) = (self.sums(), self.blocks());
        let [kept, summed] = self.partial_strides();
        let operand = self.partial(partials, false);
        let term = Term { operand, kept: vec![kept], summed: vec![summed] };
        let runs = self.runs && blocks >= LEAST_RUN;
        Self {
            source: Source::Partials,
            operands: vec![term],
            kept: vec![sums],
            summed: vec![blocks],
            runs,
            most_steps: MAX_STEPS,
            ..*self
        }
    }

    fn sums(&self) -> u64 {
        count(&self.kept).unwrap_or(0)
    }

    fn terms(&self) -> u64 {
        count(&self.summed).unwrap_or(0)
    }

    /// The number of steps of an invocation.
    fn steps(&self) -> u64 {
        if self.runs { 1 } else { self.terms().div_ceil(STEP).next_power_of_two().min(self.most_steps) }
    }

    /// The number of terms in a block.
    fn block(&self) -> u64 {
        let lanes = if self.runs { WORKGROUP_SIZE.into() } else { 1 };
        lanes * STEP * self.steps()
    }

    fn blocks(&self) -> u64 {
        self.terms().div_ceil(self.block())
    }

    /// The strides of partial sums: the step to the next sum, and to the next block.
    fn partial_strides(&self) -> [i64; 2] {
        if self.runs { [self.blocks() as i64, 1] } else { [1, self.sums() as i64] }
    }

    fn partial(&self, memory: Memory, write: bool) -> Operand {
        Operand {
            // The partial sums of one level are the terms of the next.
            name: if write { "sums" } else { "partial" }.into(),
            index: self.write,
            write,
            element: Held::Number(DType::F32),
            accumulate: false,
            memory,
            offset: 0,
            strides: Vec::new(),
        }
    }

    fn dispatch(&self, plan: &mut Plan) -> Result<Memory, Error> {
        let (sums, blocks) = (self.sums(), self.blocks());
        let limits = self.request.limits;
        let small = |n: u64| n < 1 << 31;
        if !small(self.terms()) || !sums.checked_mul(blocks).is_some_and(small) {
            return Err(Error::TooMany { op: self.request.op(), shape: self.request.call.shape.to_vec() });
        }
        if sums * blocks * WORD > limits.max_buffer_size {
            let (limit, got, need) = ("max_buffer_size", limits.max_buffer_size, sums * blocks * WORD);
            return Err(Error::Limit { op: self.request.op(), limit, got, need });
        }
        let partials = plan.scratch(sums * blocks);
        let whole = Window { sums: (0, sums), blocks: (0, blocks) };
        let mut waiting = vec![whole];
        let mut count = 0;
        while let Some(window) = waiting.pop() {
            if self.fits(window, partials) {
                count += 1;
                self.record(window, partials, plan)?;
            } else {
                waiting.extend(self.halves(window, partials).into_iter().flatten());
            }
            if count + waiting.len() > MAX_WINDOWS || window.is_one() && !self.fits(window, partials) {
                return Err(self.too_far());
            }
        }
        Ok(partials)
    }

    /// The error if no window fits. It names the read that spans the most, which also determines how far partial sums
    /// reach.
    fn too_far(&self) -> Error {
        let (request, call) = (self.request, &self.request.call);
        let reads = call.reads_for(request.signature, Outputs::of(self.write));
        let reach =
            |o: &Operand| extent(&call.shape, &o.strides, 0).map_or(i64::MAX, |(low, high)| high - low);
        match reads.iter().filter_map(|i| request.read(i)).max_by_key(reach) {
            Some(read) => request.needs_copy(&read.name),
            None => Error::Limit {
                op: request.op(),
                limit: "max_storage_buffer_binding_size",
                got: request.limits.max_storage_buffer_binding_size,
                need: self.block() * WORD,
            },
        }
    }

    /// The operands with the partial sums, and the reach of a window in each.
    fn all(&self, window: Window, partials: Memory) -> (Vec<Operand>, Vec<Reach>) {
        let [kept, summed] = self.partial_strides();
        let reads = self.operands.iter().map(|t| (t.operand.clone(), self.reach(t, window)));
        let low = window.sums.0 as i64 * kept + window.blocks.0 as i64 * summed;
        let high = (window.sums.1 - 1) as i64 * kept + (window.blocks.1 - 1) as i64 * summed;
        reads.chain([(self.partial(partials, true), (low, high))]).unzip()
    }

    fn fits(&self, window: Window, partials: Memory) -> bool {
        let items = (window.sums.1 - window.sums.0) * (window.blocks.1 - window.blocks.0);
        let (operands, reaches) = self.all(window, partials);
        let (_, binds) = self.request.slots(&operands, &reaches);
        items * self.block() <= MAX_DISPATCH
            && binds.iter().all(|b| b.size <= self.request.limits.max_storage_buffer_binding_size)
    }

    /// Cuts a window in two, between sums or between blocks, whichever gives halves with smaller bindings.
    fn halves(&self, window: Window, partials: Memory) -> [Option<Window>; 2] {
        let cut = |(low, high): (u64, u64)| (high - low > 1).then(|| low + (high - low).div_ceil(2));
        let by_sums = cut(window.sums).map(|at| {
            [Window { sums: (window.sums.0, at), ..window }, Window { sums: (at, window.sums.1), ..window }]
        });
        let by_blocks = cut(window.blocks).map(|at| {
            [
                Window { blocks: (window.blocks.0, at), ..window },
                Window { blocks: (at, window.blocks.1), ..window },
            ]
        });
        let size = |halves: &[Window; 2]| {
            let (operands, reaches) = self.all(halves[0], partials);
            self.request.slots(&operands, &reaches).1.iter().map(|b| b.size).max()
        };
        // The caller takes the last window first, so the first half comes last.
        let best = by_blocks.into_iter().chain(by_sums).min_by_key(size);
        best.map_or([None, None], |[first, second]| [Some(second), Some(first)])
    }

    fn reach(&self, term: &Term, window: Window) -> Reach {
        let terms = (window.blocks.0 * self.block(), self.terms().min(window.blocks.1 * self.block()));
        let (low, high) = flat_reach(&self.kept, &term.kept, window.sums);
        let (low_term, high_term) = flat_reach(&self.summed, &term.summed, terms);
        (term.operand.offset + low + low_term, term.operand.offset + high + high_term)
    }

    fn record(&self, window: Window, partials: Memory, plan: &mut Plan) -> Result<(), Error> {
        let (operands, reaches) = self.all(window, partials);
        let (slots, bindings) = self.request.slots(&operands, &reaches);
        self.request.limits.check_kernel(&self.request.op(), slots.len())?;
        let (sums, blocks) = (window.sums.1 - window.sums.0, window.blocks.1 - window.blocks.0);
        let groups = if self.runs { sums * blocks } else { (sums * blocks).div_ceil(WORKGROUP_SIZE.into()) };
        let grid = self.request.limits.grid(&self.request.op(), groups)?;
        let bases: Vec<i64> = (0..operands.len())
            .map(|i| base(&operands[i], operands[i].offset, bind_of(&slots, &bindings, i)))
            .collect();
        let (form, maps) = self.maps(&slots, &bases);
        let mut params = vec![
            (sums * blocks) as u32,
            grid[0],
            sums as u32,
            window.sums.0 as u32,
            window.blocks.0 as u32,
            self.terms() as u32,
            self.steps() as u32,
        ];
        params.extend(self.kept.iter().skip(1).chain(self.summed.iter().skip(1)).map(|d| *d as u32));
        for (i, term) in self.operands.iter().enumerate() {
            let strides: Vec<i64> = term.kept.iter().chain(&term.summed).copied().collect();
            let (unit, strides) = match maps[i] {
                Map::Row => (4, &strides[..strides.len() - 1]),
                Map::Splat => (1, &strides[..strides.len() - 1]),
                _ => (1, &strides[..]),
            };
            params.push((bases[i] / unit) as u32);
            params.extend(strides.iter().map(|s| (s / unit) as u32));
        }
        params.push(bases[operands.len() - 1] as u32);
        params.extend(self.partial_strides().map(|s| s as u32));
        let kernel = plan.kernel(Kernel {
            source: self.source,
            dtype: self.request.dtype,
            form,
            axes: self.kept.len(),
            summed: self.summed.len(),
            operands: operands.iter().zip(maps).map(|(o, map)| o.with_map(map)).collect(),
            slots,
        });
        plan.dispatches.push(Dispatch { kernel, bindings, params, grid });
        Ok(())
    }

    /// How operands are indexed: by vectors if neighbouring terms are adjacent and vectors are possible.
    fn maps(&self, slots: &[Slot], bases: &[i64]) -> (Form, Vec<Map>) {
        let words = vec![Map::Gather; bases.len()];
        if !self.runs {
            return (Form::Columns, words);
        }
        let map = |(term, base): (&Term, &i64)| {
            let strides: Vec<i64> = term.kept.iter().chain(&term.summed).copied().collect();
            vector_map(&strides, *base)
        };
        let maps: Vec<Map> = self.operands.iter().zip(bases).map(map).chain([Map::Gather]).collect();
        let carried = |i: usize| self.operands.get(i).is_some_and(|t| t.operand.write);
        let whole = self.summed.last().is_some_and(|d| d.is_multiple_of(4));
        if whole && vectors_fit(slots, &maps, |_| false, carried) {
            (Form::Runs(Access::Vec4), maps)
        } else {
            (Form::Runs(Access::Word), words)
        }
    }
}

impl Window {
    fn is_one(self) -> bool {
        self.sums.1 - self.sums.0 == 1 && self.blocks.1 - self.blocks.0 == 1
    }
}

/// The least and the greatest offset over a range of consecutive indices of a row-major index space. The result is a
/// little wider if the range begins or ends within an axis.
fn flat_reach(shape: &[u64], strides: &[i64], (first, end): (u64, u64)) -> Reach {
    let (mut low, mut high) = (0, 0);
    let mut inner: u64 = shape.iter().product();
    // Whether all indices have the same coordinates so far.
    let mut one = true;
    for (d, s) in shape.iter().zip(strides) {
        inner /= (*d).max(1);
        let (from, to) = if one { (first / inner % d, (end - 1) / inner % d) } else { (0, d - 1) };
        one &= from == to;
        let (a, b) = (from as i64 * s, to as i64 * s);
        low += a.min(b);
        high += a.max(b);
    }
    (low, high)
}
