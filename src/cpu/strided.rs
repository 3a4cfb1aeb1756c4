//! Calls on the CPU path that need more than contiguous slices: strides, broadcasts and their sums, and strided
//! outputs that are added or masked.

use rayon::prelude::*;

use super::{
    ALONE, Call,
    block::Block,
    compute::Compute,
    simd::{Kernel, Level, Vectors},
    targets,
};
use crate::{
    call::{
        check::{Operands, Place, Sum},
        job::{Job, copy_strided},
        slice::{Slice, SliceMut},
    },
    numeric::{sum, tree_sum},
    shape::{Collapsed, collapse, count, step_to},
    signature::{gate::Store, outputs::Outputs},
};

/// The number of elements in a block: whole words of a mask. A block's operands stay in a core's cache.
const BLOCK: usize = 4096;
/// The number of neighbouring sums to add side by side.
const COLUMNS: usize = 256;
/// Sums of up to this many neighbouring terms are computed many at a time.
const SHORT: u64 = 64;
/// From this many terms on, sums side by side are spread over threads.
const SPREAD: u64 = 1 << 18;

/// Computes the gradients that are sums.
pub(super) fn sums(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>]) {
    for (w, target) in writes.iter_mut().enumerate() {
        let Some(write) = &job.call.writes[w] else { continue };
        let (Some(sum), Some(target)) = (&write.sum, target) else { continue };
        if job.call.len() == 0 {
            empty(target, write.accumulate);
        } else {
            Sums::new(op, job, (w, write.accumulate), sum).run(target);
        }
    }
}

/// Computes the outputs with the shape of `z`, from element `from` on, which must be at the start of a mask word.
/// Strided reads are copied, a block at a time.
pub(super) fn elementwise(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>], from: usize) {
    let (outputs, len) = (job.whole(), job.call.len() as usize);
    let mut rest = targets(job, writes, from);
    let blocks: Vec<_> = (from..len)
        .step_by(BLOCK)
        .map(|start| {
            let end = len.min(start + BLOCK);
            let part = rest.iter_mut().map(|target| Some(target.as_mut()?.cut(end - start)));
            (start..end, part.collect::<Operands<SliceMut>>())
        })
        .collect();
    let call = Call::new(op, job);
    each(blocks, job, |(range, mut targets)| {
        let reads = job.pieces(outputs, range.clone());
        let reads: Operands<Slice> = reads.iter().map(|piece| Some(piece.as_ref()?.slice())).collect();
        call.compute(range.len(), &reads, &mut targets);
    });
}

/// Calls `f` for each block. If the call is large, on all cores.
fn each<T: Send>(blocks: Vec<T>, job: &Job, f: impl Fn(T) + Send + Sync) {
    if job.call.len() <= ALONE as u64 {
        blocks.into_iter().for_each(f);
    } else {
        blocks.into_par_iter().for_each(f);
    }
}

/// Copies `out.len()` elements, from row-major index `start` on, as f32.
fn gather(slice: &Slice, offset: i64, shape: &[u64], strides: &[i64], start: u64, out: &mut [f32]) {
    match slice {
        Slice::F32(data) => copy_strided(data, offset, shape, strides, start, out, |v| v),
        Slice::Half(dtype, data) => {
            copy_strided(data, offset, shape, strides, start, out, |v| dtype.widen(v.into()));
        }
        Slice::Bits(_) => {}
    }
}

// Gradients of broadcast inputs.

/// Stores sums of no terms.
fn empty(target: &mut SliceMut, accumulate: bool) {
    let store = Store::new(None, accumulate);
    (0..target.len()).for_each(|i| target.store(i, store, 0.0, true));
}

/// The sums of one gradient. The tree is cut into blocks that are subtrees, regardless of which thread computes them.
struct Sums<'a> {
    op: &'a dyn Compute,
    job: &'a Job<'a, 'a>,
    write: usize,
    store: Store,
    /// The axes of the sums and of the terms.
    kept: Vec<u64>,
    summed: Vec<u64>,
    /// For each read, its strides over the axes of the sums and of the terms.
    strides: Vec<(Vec<i64>, Vec<i64>)>,
    /// The number of sums to add side by side. It is one if a sum's terms are neighbours.
    columns: usize,
}

impl<'a> Sums<'a> {
    fn new(op: &'a dyn Compute, job: &'a Job, (write, accumulate): (usize, bool), sum: &Sum) -> Self {
        let shape = &job.call.shape;
        let of_read = |read: &Option<Place>| {
            read.as_ref().map_or_else(|| vec![0; shape.len()], |place| place.layout(shape).strides().to_vec())
        };
        let strides: Vec<_> = job.call.reads.iter().map(of_read).collect();
        let Collapsed { shape, strides, class } = collapse(shape, &strides, &sum.over);
        let pick = |summed: bool| (0..shape.len()).filter(|a| class[*a] == summed).collect::<Vec<_>>();
        let (kept, summed) = (pick(false), pick(true));
        let at = |strides: &[i64], axes: &[usize]| axes.iter().map(|a| strides[*a]).collect::<Vec<_>>();
        let columns = if class.last() == Some(&true) { 1 } else { COLUMNS };
        Self {
            op,
            job,
            write,
            // The terms are gated; the sum is not.
            store: Store::new(None, accumulate),
            strides: strides.iter().map(|s| (at(s, &kept), at(s, &summed))).collect(),
            kept: kept.iter().map(|a| shape[*a]).collect(),
            summed: summed.iter().map(|a| shape[*a]).collect(),
            columns,
        }
    }

    fn run(&self, target: &mut SliceMut) {
        let terms = count(&self.summed).unwrap_or(0);
        let few = self.columns == 1 && terms <= SHORT;
        let together = if few { BLOCK / terms as usize } else { self.columns };
        let len = target.len();
        let mut rest = target.part(0, len);
        let blocks: Vec<_> = (0..len)
            .step_by(together)
            .map(|start| (start as u64, rest.cut(together.min(len - start))))
            .collect();
        each(blocks, self.job, |(first, mut target)| {
            let sums = if few {
                self.short(first, target.len(), terms as usize)
            } else {
                self.tree(first, target.len(), 0, terms, terms.next_power_of_two())
            };
            for (i, value) in sums.into_iter().enumerate() {
                target.store(i, self.store, value, true);
            }
        });
    }

    /// Computes some sums whose terms are neighbours.
    fn short(&self, first: u64, sums: usize, terms: usize) -> Vec<f32> {
        let job = self.job;
        let read = |r: usize, out: &mut Vec<f32>| {
            let (Some(slice), Some(place)) = (&job.reads[r], &job.call.reads[r]) else { return };
            let (kept, summed) = &self.strides[r];
            out.resize(sums * terms, 0.0);
            for (sum, out) in (first..).zip(out.chunks_mut(terms)) {
                let offset = place.offset() as i64 + step_to(&self.kept, kept, sum);
                gather(slice, offset, &self.summed, summed, 0, out);
            }
        };
        self.terms(sums * terms, read).chunks(terms).map(tree_sum).collect()
    }

    /// Computes `len` terms, in f32.
    fn terms(&self, len: usize, read: impl Fn(usize, &mut Vec<f32>)) -> Vec<f32> {
        let (job, signature) = (self.job, self.job.signature);
        let mut reads = vec![Vec::new(); signature.upstream() + 1];
        for r in job.call.reads_for(signature, Outputs::of(self.write)).iter() {
            read(r, &mut reads[r]);
        }
        let reads: Operands<Slice> =
            reads.iter().map(|read| Some(Slice::F32(read)).filter(|_| read.len() == len)).collect();
        let mut terms = vec![0.0; len];
        let mut targets: Operands<SliceMut> = (0..signature.write_count()).map(|_| None).collect();
        targets[self.write] = Some(SliceMut::F32(&mut terms));
        self.op.block(job.dtype, Block::new(len, &reads, &mut targets));
        drop(targets);
        terms
    }

    /// Adds the subtree of `leaves` leaves over the terms `from..to` of some neighbouring sums.
    fn tree(&self, first: u64, columns: usize, from: u64, to: u64, leaves: u64) -> Vec<f32> {
        // In 64 bits: with a 32-bit usize, a sum may have more terms than fit.
        if leaves * columns as u64 <= BLOCK as u64 || leaves == 1 {
            return self.block(first, columns, from, to);
        }
        let half = leaves / 2;
        if from + half >= to {
            return self.tree(first, columns, from, to, half);
        }
        let left = || self.tree(first, columns, from, from + half, half);
        let right = || self.tree(first, columns, from + half, to, half);
        let spread = leaves * columns as u64 >= SPREAD;
        let (mut left, right) = if spread { rayon::join(left, right) } else { (left(), right()) };
        left.iter_mut().zip(right).for_each(|(left, right)| *left = sum(*left, right));
        left
    }

    fn block(&self, first: u64, columns: usize, from: u64, to: u64) -> Vec<f32> {
        let mut rows = (to - from) as usize;
        let job = self.job;
        let read = |r: usize, out: &mut Vec<f32>| {
            let (Some(slice), Some(place)) = (&job.reads[r], &job.call.reads[r]) else { return };
            let (kept, summed) = &self.strides[r];
            out.resize(rows * columns, 0.0);
            let offset = place.offset() as i64;
            if columns == 1 {
                let offset = offset + step_to(&self.kept, kept, first);
                gather(slice, offset, &self.summed, summed, from, out);
                return;
            }
            for (term, out) in (from..).zip(out.chunks_mut(columns)) {
                gather(slice, offset + step_to(&self.summed, summed, term), &self.kept, kept, first, out);
            }
        };
        let mut terms = self.terms(rows * columns, read);
        let mut halved = vec![0.0; rows.div_ceil(2) * columns];
        while rows > 1 {
            Level::detect().run(Halve { from: &terms[..rows * columns], to: &mut halved, columns });
            std::mem::swap(&mut terms, &mut halved);
            rows = rows.div_ceil(2);
        }
        terms.truncate(columns);
        terms
    }
}

/// Adds each row to its neighbour. A row without a neighbour is copied.
struct Halve<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    columns: usize,
}

impl Kernel for Halve<'_> {
    #[inline(always)]
    fn run<V: Vectors>(self, _: V) {
        let Self { from, to, columns } = self;
        let (pairs, last) = from.split_at(from.len() / (2 * columns) * 2 * columns);
        if columns == 1 {
            for (to, pair) in to.iter_mut().zip(pairs.as_chunks().0) {
                let [a, b] = *pair;
                *to = sum(a, b);
            }
        } else {
            for (to, pair) in to.chunks_mut(columns).zip(pairs.chunks_exact(2 * columns)) {
                let (a, b) = pair.split_at(columns);
                for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                    *to = sum(*a, *b);
                }
            }
        }
        to[pairs.len() / 2..][..last.len()].copy_from_slice(last);
    }
}
