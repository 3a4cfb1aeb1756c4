//! The CPU path: an op's block function over slices, on all cores.

use rayon::prelude::*;

use crate::op::{Op, len};

/// The most elements of one block: its operands stay in a core's cache.
const BLOCK: usize = 16 * 1024;

/// Some elements of all operands; an operand that a call does without has none.
pub(crate) struct Block<'a> {
    /// The number of its first element.
    pub(crate) start: usize,
    pub(crate) reads: Vec<&'a [f32]>,
    pub(crate) writes: Vec<Option<&'a mut [f32]>>,
}

/// Runs `op` over slices of one length on all cores.
pub(crate) fn run(op: &dyn Op, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
    for_blocks(reads, writes, |block| op.cpu(&block.reads, &mut block.writes));
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
        .step_by(BLOCK)
        .map(|start| {
            let end = len.min(start + BLOCK);
            let reads = reads.iter().map(|r| r.get(start..end).unwrap_or(&[])).collect();
            let next =
                |w: &mut Option<&'a mut [f32]>| w.as_mut().and_then(|w| w.split_off_mut(..end - start));
            Block { start, reads, writes: rest.iter_mut().map(next).collect() }
        })
        .collect()
}
