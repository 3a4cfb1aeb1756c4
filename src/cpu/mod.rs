//! The CPU path: an op's blocks over slices, on all cores, at the speed of memory.

use std::{ops::Range, slice};

use rayon::prelude::*;

use crate::{
    DType, Outputs,
    host::{Slice, SliceMut},
    job::Job,
    op::{Op, Operands, len},
};

pub(crate) mod block;
pub(crate) mod general;
pub(crate) mod simd;
pub(crate) mod storage;
#[cfg(test)]
mod tests;

use block::{Adds, Block, Gate};

/// Up to so many elements, a call stays on its thread.
const ALONE: usize = 16 * 1024;

/// Elements that a thread takes at a time where outputs go past the caches: wherever it begins, it waits for memory.
const STRETCH: usize = 256 * 1024;

/// Bytes of a call from which on its outputs go past the caches.
const CACHE: usize = 64 << 20;

/// Runs a call.
pub(crate) fn run(job: &Job, writes: &mut [Option<SliceMut>]) {
    sums(job, writes);
    elementwise(job, writes, 0);
}

/// The gradients that are sums.
pub(crate) fn sums(job: &Job, writes: &mut [Option<SliceMut>]) {
    general::sums(job, writes);
}

/// The outputs as large as `z`, from an element on that begins a word of a mask.
pub(crate) fn elementwise(job: &Job, writes: &mut [Option<SliceMut>], from: usize) {
    let outputs = job.whole();
    if outputs.is_empty() {
        return;
    }
    let Some(reads) = job.plain(outputs, from) else {
        return general::elementwise(job, writes, from);
    };
    let len = job.call.len() as usize;
    let mut targets: Operands<SliceMut> = writes
        .iter_mut()
        .enumerate()
        .map(|(w, write)| write.as_mut().filter(|_| outputs.contains(w)).map(|write| write.from(from)))
        .collect();
    let call = Call::new(job.op, job.dtype, &reads, &targets);
    let call = Call { from_mask: job.call.from_mask, adds: job.adds(outputs), ..call };
    call.fork(len - from, &reads, &mut targets);
}

/// Overwrites slices of one length.
pub(crate) fn contiguous(
    op: &dyn Op,
    storage: DType,
    len: usize,
    reads: &[Option<Slice>],
    writes: &mut [Option<SliceMut>],
) {
    Call::new(op, storage, reads, writes).fork(len, reads, writes);
}

impl Job<'_, '_> {
    /// Which of these outputs are added to what is there.
    fn adds(&self, outputs: Outputs) -> Adds {
        let definition = self.op.definition();
        let adds = |w: usize| self.call.writes[w].as_ref().is_some_and(|w| w.accumulate);
        let all = || 0..definition.write_count();
        Adds {
            outputs: Outputs::present(all().map(|w| outputs.contains(w) && adds(w))),
            gated: Outputs::present(all().map(|w| definition.outputs[w].gated)),
            mask: definition.mask(),
        }
    }
}

/// A call on contiguous slices.
#[derive(Clone, Copy)]
struct Call<'o> {
    op: &'o dyn Op,
    storage: DType,
    /// Whether gradients are what the mask, which is read, lets through.
    from_mask: bool,
    adds: Adds,
    past_caches: bool,
}

impl<'o> Call<'o> {
    fn new(op: &'o dyn Op, storage: DType, reads: &[Option<Slice>], writes: &[Option<SliceMut>]) -> Self {
        let bytes = reads.iter().flatten().map(|r| r.bytes().len()).sum::<usize>()
            + writes.iter().flatten().map(SliceMut::byte_len).sum::<usize>();
        let past_caches = cfg!(target_arch = "x86_64") && bytes >= CACHE;
        Self { op, storage, from_mask: false, adds: Adds::NONE, past_caches }
    }

    /// Halves the call until a thread can take what is left.
    fn fork(self, len: usize, reads: &[Option<Slice>], writes: &mut [Option<SliceMut>]) {
        let most = if self.past_caches { STRETCH } else { ALONE };
        if len <= most {
            return self.compute(len, reads, writes);
        }
        let mid = (len / 2).next_multiple_of(most);
        let part = |range: Range<usize>| -> Operands<Slice> {
            reads.iter().map(|read| read.map(|read| read.elements_of(len, range.clone()))).collect()
        };
        let (reads, rest) = (part(0..mid), part(mid..len));
        let mut first: Operands<SliceMut> =
            writes.iter_mut().map(|write| write.as_mut().map(|write| write.cut(mid))).collect();
        rayon::join(|| self.fork(mid, &reads, &mut first), || self.fork(len - mid, &rest, writes));
    }

    fn compute(self, len: usize, reads: &[Option<Slice>], writes: &mut [Option<SliceMut>]) {
        let Self { op, storage, adds, past_caches, .. } = self;
        if !self.from_mask {
            return op.cpu(
                storage,
                Block { stored: storage, adds, past_caches, ..Block::new(len, reads, writes) },
            );
        }
        let definition = op.definition();
        for (w, write) in writes.iter_mut().enumerate().filter(|(_, write)| write.is_some()) {
            let Some(gradient) = definition.copied(w) else { continue };
            let adds = if adds.outputs.contains(w) { GATE } else { Adds::NONE };
            let writes = slice::from_mut(write);
            let block = Block { stored: storage, adds, past_caches, ..Block::new(len, reads, writes) };
            block.lanes([definition.upstream() + 1, gradient], [0, 1], &mut Gate);
        }
    }
}

/// The outputs of [`Gate`] where the first is added to what is there.
const GATE: Adds = Adds { outputs: Outputs::of(0), gated: Outputs::of(0), mask: Some(1) };

/// A plain copy by all threads, past the caches: what the fastest call is held against.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn copy_past_caches(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(STRETCH).zip(from.par_chunks(STRETCH)).for_each(|(to, from)| {
        let (len, reads, mut writes) = (to.len(), [Some(Slice::F32(from))], [Some(SliceMut::F32(to))]);
        let block = Block { past_caches: true, ..Block::new(len, &reads, &mut writes) };
        block.lanes([0], [0], &mut block::Copy);
    });
}

/// Some elements of all operands; an operand that a call does without has none.
pub(crate) struct Part<'a> {
    /// The number of its first element.
    pub(crate) start: usize,
    pub(crate) reads: Vec<&'a [f32]>,
    pub(crate) writes: Vec<Option<&'a mut [f32]>>,
}

/// Calls `f` for each block of slices of one length on all cores; a single block stays on the calling thread.
pub(crate) fn for_blocks(
    reads: &[&[f32]],
    writes: &mut [Option<&mut [f32]>],
    f: impl Fn(&mut Part) + Send + Sync,
) {
    let mut blocks = blocks(reads, writes);
    match &mut blocks[..] {
        [only] => f(only),
        blocks => blocks.par_iter_mut().for_each(f),
    }
}

fn blocks<'a>(reads: &[&'a [f32]], writes: &'a mut [Option<&mut [f32]>]) -> Vec<Part<'a>> {
    let len = len(writes);
    let mut rest: Vec<Option<&mut [f32]>> = writes.iter_mut().map(|w| w.as_deref_mut()).collect();
    (0..len)
        .step_by(ALONE)
        .map(|start| {
            let end = len.min(start + ALONE);
            let reads = reads.iter().map(|r| r.get(start..end).unwrap_or(&[])).collect();
            let next =
                |w: &mut Option<&'a mut [f32]>| w.as_mut().and_then(|w| w.split_off_mut(..end - start));
            Part { start, reads, writes: rest.iter_mut().map(next).collect() }
        })
        .collect()
}
