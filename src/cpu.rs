//! The CPU path: an op's block function over slices, on all cores.

use rayon::prelude::*;

use crate::op::{Op, Outputs};

/// The most elements of one block: its operands stay in a core's cache.
const BLOCK: usize = 16 * 1024;

/// One block of a call: its reads, and the writes that are wanted.
struct Block<'a> {
    reads: Vec<&'a [f32]>,
    writes: Vec<Option<&'a mut [f32]>>,
}

/// Runs `op` over slices of one length on all cores; a call of one block stays on the calling thread.
pub(crate) fn run(op: &dyn Op, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
    let mut blocks = blocks(reads, writes);
    match &mut blocks[..] {
        [only] => op.cpu(&only.reads, &mut only.writes),
        blocks => blocks.par_iter_mut().for_each(|block| op.cpu(&block.reads, &mut block.writes)),
    }
}

fn blocks<'a>(reads: &[&'a [f32]], writes: &'a mut [Option<&mut [f32]>]) -> Vec<Block<'a>> {
    let len = writes.iter().flatten().map(|w| w.len()).next().unwrap_or(0);
    let mut rest: Vec<Option<&mut [f32]>> = writes.iter_mut().map(|w| w.as_deref_mut()).collect();
    (0..len)
        .step_by(BLOCK)
        .map(|start| {
            let end = len.min(start + BLOCK);
            let reads = reads.iter().map(|r| r.get(start..end).unwrap_or(&[])).collect();
            let writes =
                rest.iter_mut().map(|w| w.as_mut().and_then(|w| w.split_off_mut(..end - start))).collect();
            Block { reads, writes }
        })
        .collect()
}

/// The outputs that are wanted of a call.
pub(crate) fn wanted(writes: &[Option<&mut [f32]>]) -> Outputs {
    Outputs::present(writes.iter().map(Option::is_some))
}
