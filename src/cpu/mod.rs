//! The CPU path: runs an op's blocks over slices, on all cores, at the speed of memory.

use std::{ops::Range, slice};

use rayon::prelude::*;

use crate::{
    call::{
        check::Operands,
        job::Job,
        slice::{Slice, SliceMut},
    },
    dtype::DType,
    signature::{Signature, gate::Store, outputs::Outputs},
};

pub(crate) mod block;
pub(crate) mod compute;
pub(crate) mod cut;
pub(crate) mod division;
pub(crate) mod reference;
pub(crate) mod simd;
pub(crate) mod storage;
mod strided;
#[cfg(test)]
mod tests;

use block::{Block, Gate, Stores};
use compute::Compute;

/// A call of up to this many elements stays on its thread.
const ALONE: usize = 16 * 1024;

/// The number of elements that a thread takes at a time if outputs bypass the caches. A thread waits for memory at
/// each start.
const STRETCH: usize = 256 * 1024;

/// The outputs of a call of at least this many bytes bypass the caches.
const CACHE: usize = 64 << 20;

/// Runs a call.
pub(crate) fn run(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>]) {
    sums(op, job, writes);
    elementwise(op, job, writes, 0);
}

/// Computes the gradients that are sums.
pub(crate) fn sums(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>]) {
    strided::sums(op, job, writes);
}

/// Computes the outputs with the shape of `z`, from element `from` on, which must be at the start of a mask word.
pub(crate) fn elementwise(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>], from: usize) {
    let outputs = job.whole();
    if outputs.is_empty() {
        return;
    }
    let Some(reads) = job.plain(outputs, from) else {
        return strided::elementwise(op, job, writes, from);
    };
    let mut targets = targets(job, writes, from);
    let bytes = reads.iter().flatten().map(|r| r.bytes().len()).sum::<usize>()
        + targets.iter().flatten().map(SliceMut::byte_len).sum::<usize>();
    let past_caches = cfg!(target_arch = "x86_64") && bytes >= CACHE;
    let call = Call { past_caches, ..Call::new(op, job) };
    call.fork(job.call.len() as usize - from, &reads, &mut targets);
}

/// The outputs with the shape of `z`, from element `from` on.
fn targets<'a>(job: &Job, writes: &'a mut [Option<SliceMut>], from: usize) -> Operands<SliceMut<'a>> {
    let outputs = job.whole();
    let writes = writes.iter_mut().enumerate();
    writes.map(|(w, write)| Some(write.as_mut().filter(|_| outputs.contains(w))?.from(from))).collect()
}

/// A call on contiguous slices.
#[derive(Clone, Copy)]
struct Call<'o> {
    op: &'o dyn Compute,
    storage: DType,
    /// Whether gradients are gated by a mask that is read.
    from_mask: bool,
    /// The outputs that are added to existing values.
    added: Outputs,
    past_caches: bool,
}

impl<'o> Call<'o> {
    fn new(op: &'o dyn Compute, job: &Job) -> Self {
        let (from_mask, added) = (job.call.from_mask, job.added());
        Self { op, storage: job.dtype, from_mask, added, past_caches: false }
    }

    /// Halves the call until each part fits one thread.
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
        let Self { op, storage, added, past_caches, .. } = self;
        let signature = op.signature();
        if !self.from_mask {
            let stores = stores(signature, added);
            let block = Block { stored: storage, stores, past_caches, ..Block::new(len, reads, writes) };
            return op.block(storage, block);
        }
        for (w, write) in writes.iter_mut().enumerate().filter(|(_, write)| write.is_some()) {
            let Some(gradient) = signature.copied(w) else { continue };
            // The gate's first output is the gradient, the second the mask.
            let stores = Stores::from_slice(&[Store::new(Some(1), added.contains(w))]);
            let writes = slice::from_mut(write);
            let block = Block { stored: storage, stores, past_caches, ..Block::new(len, reads, writes) };
            block.lanes([signature.upstream() + 1, gradient], [0, 1], &mut Gate);
        }
    }
}

/// How each output is stored if some are added to existing values; empty if all are set.
fn stores(signature: &Signature, added: Outputs) -> Stores {
    if added.is_empty() {
        return Stores::new();
    }
    (0..signature.write_count()).map(|w| signature.store(w, added.contains(w))).collect()
}

/// A plain copy by all threads that bypasses the caches. The fastest call is compared with it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn copy_past_caches(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(STRETCH).zip(from.par_chunks(STRETCH)).for_each(|(to, from)| {
        let (len, reads, mut writes) = (to.len(), [Some(Slice::F32(from))], [Some(SliceMut::F32(to))]);
        let block = Block { past_caches: true, ..Block::new(len, &reads, &mut writes) };
        block.lanes([0], [0], &mut block::Copy);
    });
}

/// A range of elements of all operands. It is empty for an operand that the call does not use.
pub(crate) struct Part<'a> {
    /// The index of its first element.
    pub(crate) start: usize,
    pub(crate) reads: Vec<&'a [f32]>,
    pub(crate) writes: Vec<Option<&'a mut [f32]>>,
}

/// Calls `f` for each block of slices of one length, on all cores. A single block stays on the calling thread.
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
    // All writes have one length.
    let len = writes.iter().flatten().map(|w| w.len()).next().unwrap_or(0);
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
