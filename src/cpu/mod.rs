//! The CPU path: an op's block function over slices, on all cores, at the speed of memory.

use std::{cell::Cell, ops::Range, ptr};

use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use crate::{
    DType,
    host::{Slice, SliceMut},
    op::{Op, len},
    reference::Job,
};

pub(crate) mod convert;
pub(crate) mod general;
pub(crate) mod simd;

use simd::{LINE, Level, Stream, past_caches, prefetch};

/// The most reads of an op, and the most writes.
const MOST: usize = 16;

/// As many as most ops have: lists of them cost time in small blocks.
const FEW: usize = 4;

/// Elements that an op's block function gets at a time: its operands, as f32, stay in the cache next to the core. A
/// multiple of 32, the elements of a word of [`SliceMut::Bits`].
const BLOCK: usize = 1024;

/// The same where outputs go past the caches: so few that a core computes some while it waits for the memory of others.
const SMALL_BLOCK: usize = 128;

/// Up to so many elements, a call stays on its thread.
const ALONE: usize = 16 * 1024;

/// Elements that a thread takes at a time where outputs go past the caches: wherever it begins, it waits for memory.
const STRETCH: usize = 256 * 1024;

/// Bytes of a call from which on its outputs go past the caches: what leaves them before anyone reads it had better not be
/// fetched into them.
const CACHE: usize = 64 << 20;

/// Bytes of a page of memory, beyond which a processor does not fetch ahead on its own.
const PAGE: usize = 4096;

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
    if !job.is_plain(outputs) {
        return general::elementwise(job, writes, from);
    }
    let (definition, len) = (job.op.definition(), job.call.len() as usize);
    let mut reads = [None; MOST];
    for r in job.call.reads_for(definition, outputs) {
        reads[r] = job.reads[r].map(|slice| slice.part(from..len));
    }
    let mut targets = [const { None }; MOST];
    for (w, (target, write)) in targets.iter_mut().zip(&mut *writes).enumerate() {
        *target = write.as_mut().filter(|_| outputs.contains(w)).map(|write| write.from(from));
    }
    let reads = &reads[..=definition.upstream()];
    contiguous(job.op, job.dtype, len - from, reads, &mut targets[..definition.write_count()]);
}

/// Runs `op` over slices of `len` elements on all cores.
fn contiguous(
    op: &dyn Op,
    storage: DType,
    len: usize,
    reads: &[Option<Slice>],
    writes: &mut [Option<SliceMut>],
) {
    let call = Call { op, storage };
    if reads.len().max(writes.len()) <= FEW {
        call.run::<FEW>(len, reads, writes);
    } else {
        call.run::<MOST>(len, reads, writes);
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    op: &'a dyn Op,
    storage: DType,
}

/// `N` is at least the number of reads and that of writes.
impl Call<'_> {
    fn run<const N: usize>(self, len: usize, reads: &[Option<Slice>], writes: &mut [Option<SliceMut>]) {
        if len <= ALONE {
            return self.compute::<N>(len, reads, writes);
        }
        let bytes = reads.iter().flatten().map(|r| r.bytes().len()).sum::<usize>()
            + writes.iter().flatten().map(SliceMut::byte_len).sum::<usize>();
        let writes = writes.iter_mut().map(|w| w.as_mut().map(|w| w.cut(len))).collect();
        self.fork::<N>(len, reads, writes, bytes >= CACHE);
    }

    /// Halves the call until a thread can take what is left.
    fn fork<const N: usize>(
        self,
        len: usize,
        reads: &[Option<Slice>],
        mut writes: Vec<Option<SliceMut>>,
        past: bool,
    ) {
        let most = if past { STRETCH } else { ALONE };
        if len <= most {
            return if past {
                self.stream::<N>(len, reads, &mut writes);
            } else {
                self.compute::<N>(len, reads, &mut writes);
            };
        }
        let mid = (len / 2).next_multiple_of(most);
        let first = writes.iter_mut().map(|w| w.as_mut().map(|w| w.cut(mid))).collect();
        let part =
            |range: Range<usize>| reads.iter().map(|r| r.map(|r| r.part(range.clone()))).collect::<Vec<_>>();
        let (reads, rest) = (part(0..mid), part(mid..len));
        rayon::join(
            || self.fork::<N>(mid, &reads, first, past),
            || self.fork::<N>(len - mid, &rest, writes, past),
        );
    }

    /// Block by block; outputs of f32 are computed where they belong.
    fn compute<const N: usize>(self, len: usize, reads: &[Option<Slice>], writes: &mut [Option<SliceMut>]) {
        let staged = reads.iter().flatten().filter(|r| matches!(r, Slice::Half(..))).count()
            + writes.iter().flatten().filter(|w| !matches!(w, SliceMut::F32(_))).count();
        with_scratch(staged * BLOCK.min(len), |scratch| {
            for start in (0..len).step_by(BLOCK) {
                self.block::<N>(start..len.min(start + BLOCK), reads, writes, scratch, None);
            }
        });
    }

    /// Block by block; outputs are computed in the cache, then copied past it while the reads of later blocks come in.
    fn stream<const N: usize>(self, len: usize, reads: &[Option<Slice>], writes: &mut [Option<SliceMut>]) {
        let targets = writes.iter().flatten().filter(|w| !matches!(w, SliceMut::Bits(_))).count();
        let mut ahead = Ahead::<N>::new(reads, targets);
        past_caches(|stream| {
            with_scratch((reads.len() + 2 * writes.len()) * SMALL_BLOCK, |scratch| {
                let mut start = 0;
                while start < len {
                    let end = len.min(start + if start == 0 { first_block(writes) } else { SMALL_BLOCK });
                    ahead.advance(reads, start);
                    self.block::<N>(start..end, reads, writes, scratch, Some((stream, &mut ahead)));
                    start = end;
                }
            });
        });
    }

    /// The op on f32, with 16-bit data widened before and rounded after, in `scratch`.
    fn block<'a, const N: usize>(
        self,
        range: Range<usize>,
        reads: &[Option<Slice>],
        writes: &mut [Option<SliceMut<'a>>],
        mut scratch: &mut [f32],
        mut past: Option<(&mut Stream<'a>, &mut Ahead<N>)>,
    ) {
        let (len, count, level) = (range.len(), writes.len(), Level::detect());
        let mut inputs: [&[f32]; N] = [&[]; N];
        for (input, read) in inputs.iter_mut().zip(reads) {
            *input = match read.map(|read| read.part(range.clone())) {
                // A mask is read elsewhere.
                None | Some(Slice::Bits(_)) => &[],
                Some(Slice::F32(slice)) => slice,
                Some(Slice::Half(_, slice)) => {
                    let wide = next(&mut scratch, len);
                    convert::widen(level, self.storage, slice, wide);
                    wide
                }
            };
        }
        let mut outputs: [Option<&mut [f32]>; N] = [const { None }; N];
        for (output, write) in outputs.iter_mut().zip(&mut *writes) {
            *output = match write {
                None => None,
                Some(SliceMut::F32(slice)) if past.is_none() => Some(next(slice, len)),
                Some(_) => Some(next(&mut scratch, len)),
            };
        }
        self.op.cpu(self.storage, &inputs[..reads.len()], &mut outputs[..count]);
        for (write, values) in writes.iter_mut().zip(&outputs) {
            let (Some(write), Some(values)) = (write, values) else { continue };
            match (write, &mut past) {
                (SliceMut::F32(_), None) => {}
                (SliceMut::F32(to), Some((stream, ahead))) => {
                    ahead.copy(stream, cast_slice(values), cast_slice_mut(next(to, len)));
                }
                (SliceMut::Half(_, to), None) => convert::round(level, self.storage, values, next(to, len)),
                (SliceMut::Half(_, to), Some((stream, ahead))) => {
                    let rounded = &mut cast_slice_mut(&mut *scratch)[..len];
                    convert::round(level, self.storage, values, rounded);
                    ahead.copy(stream, cast_slice(rounded), cast_slice_mut(next(to, len)));
                }
                (SliceMut::Bits(to), _) => convert::pack(level, values, next(to, len.div_ceil(32))),
            }
        }
    }
}

/// Cuts off the first elements.
fn next<'a, T>(slice: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    slice.split_off_mut(..len).expect("operands of one length")
}

/// Elements of the first block of a call whose outputs go past the caches: as many as make the other blocks begin where lines of
/// the first output do, since a line that two blocks write goes to memory twice.
fn first_block(writes: &[Option<SliceMut>]) -> usize {
    let bits = writes.iter().flatten().any(|w| matches!(w, SliceMut::Bits(_)));
    let before = writes.iter().flatten().next().map_or(0, |write| write.before_line(LINE));
    // A word of bits is not divided.
    if bits || before == 0 { SMALL_BLOCK } else { before }
}

/// Fetches what is read next, a line of each of some pages in turn: a core has enough requests under way only if they go
/// to about four pages.
struct Ahead<const N: usize> {
    pages: [*const u8; N],
    count: usize,
    /// Elements that the pages of a read hold.
    window: usize,
    /// Where the fetched elements end.
    end: usize,
    at: usize,
    /// Lines that are written for one that is fetched from each page.
    group: usize,
}

impl<const N: usize> Ahead<N> {
    fn new(reads: &[Option<Slice>], targets: usize) -> Self {
        let size = if reads.iter().flatten().any(|r| matches!(r, Slice::F32(_))) { 4 } else { 2 };
        let pages = (4 / reads.iter().flatten().count().max(1)).max(1);
        let (window, group) = (pages * PAGE / size, (pages * targets).max(1));
        Self { pages: [ptr::null(); N], count: 0, window, end: 0, at: 0, group }
    }

    /// Turns to the next window where the block that begins at `start` does.
    fn advance(&mut self, reads: &[Option<Slice>], start: usize) {
        if start < self.end {
            return;
        }
        (self.end, self.at) = (start + self.window, 0);
        let pages = reads.iter().flatten().flat_map(|read| {
            let bytes = read.bytes();
            let size = if matches!(read, Slice::F32(_)) { 4 } else { 2 };
            let range = [self.end, self.end + self.window].map(|at| bytes.len().min(at * size));
            bytes[range[0]..range[1]].chunks(PAGE)
        });
        self.count = self.pages.iter_mut().zip(pages).map(|(page, bytes)| *page = bytes.as_ptr()).count();
    }

    /// Copies past the caches, and fetches the next line of each page from time to time.
    fn copy<'a>(&mut self, stream: &mut Stream<'a>, from: &[u8], to: &'a mut [u8]) {
        stream.copy(from, to, self.group, || {
            for page in &self.pages[..self.count] {
                prefetch(page.wrapping_add(self.at));
            }
            self.at += LINE;
        });
    }
}

/// A plain copy by all threads, past the caches: what the fastest call is held against.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn copy_past_caches(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(STRETCH).zip(from.par_chunks(STRETCH)).for_each(|(to, from)| {
        let mut ahead = Ahead::<FEW>::new(&[Some(Slice::F32(from))], 1);
        let windows = to.chunks_mut(ahead.window).zip(from.chunks(ahead.window));
        past_caches(|stream| {
            for (i, (to, part)) in windows.enumerate() {
                ahead.advance(&[Some(Slice::F32(from))], i * ahead.window);
                ahead.copy(stream, cast_slice(part), cast_slice_mut(to));
            }
        });
    });
}

/// Calls `f` with floats of any value, which a thread keeps from call to call.
fn with_scratch(len: usize, f: impl FnOnce(&mut [f32])) {
    thread_local!(static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) });
    // Taken, not borrowed: an op may make a call of its own.
    let mut scratch = SCRATCH.take();
    // Vectors that straddle lines are slow.
    let spare = LINE / size_of::<f32>();
    if scratch.len() < len + spare {
        scratch.resize(len + spare, 0.0);
    }
    let start = scratch.as_ptr().align_offset(LINE).min(spare);
    f(&mut scratch[start..start + len]);
    SCRATCH.set(scratch);
}

/// Some elements of all operands; an operand that a call does without has none.
pub(crate) struct Block<'a> {
    /// The number of its first element.
    pub(crate) start: usize,
    pub(crate) reads: Vec<&'a [f32]>,
    pub(crate) writes: Vec<Option<&'a mut [f32]>>,
}

/// Calls `f` for each block of slices of one length on all cores; a single block stays on the calling thread.
pub(crate) fn for_blocks(
    reads: &[&[f32]],
    writes: &mut [Option<&mut [f32]>],
    f: impl Fn(&mut Block) + Send + Sync,
) {
    let mut blocks = blocks(reads, writes);
    match &mut blocks[..] {
        [only] => f(only),
        blocks => blocks.par_iter_mut().for_each(f),
    }
}

fn blocks<'a>(reads: &[&'a [f32]], writes: &'a mut [Option<&mut [f32]>]) -> Vec<Block<'a>> {
    let len = len(writes);
    let mut rest: Vec<Option<&mut [f32]>> = writes.iter_mut().map(|w| w.as_deref_mut()).collect();
    (0..len)
        .step_by(ALONE)
        .map(|start| {
            let end = len.min(start + ALONE);
            let reads = reads.iter().map(|r| r.get(start..end).unwrap_or(&[])).collect();
            let next =
                |w: &mut Option<&'a mut [f32]>| w.as_mut().and_then(|w| w.split_off_mut(..end - start));
            Block { start, reads, writes: rest.iter_mut().map(next).collect() }
        })
        .collect()
}
