//! The scalar reference: one element after the other, on one core. Everything else is compared with it.

use super::compute::Compute;
use crate::{
    call::{job::Job, slice::SliceMut},
    numeric::tree_sum,
    shape::step_to,
    signature::gate::Store,
};

pub(crate) fn run(op: &dyn Compute, job: &Job, writes: &mut [Option<SliceMut>]) {
    let (signature, call) = (job.signature, &job.call);
    let mut reads = vec![0.0; signature.upstream() + 1];
    let mut values = vec![0.0; signature.write_count()];
    let mut terms: Vec<Vec<Vec<f32>>> = call
        .writes
        .iter()
        .map(|w| {
            w.as_ref().filter(|w| w.sum.is_some()).map_or(Vec::new(), |w| vec![Vec::new(); w.len as usize])
        })
        .collect();
    for i in 0..call.len() {
        let passes = element(op, job, i, &mut reads, &mut values);
        for w in call.outputs.iter() {
            let (Some(write), Some(target)) = (&call.writes[w], &mut writes[w]) else { continue };
            if let Some(sum) = &write.sum {
                // In the order of `z`, the terms of one sum are in the order of the summed axes.
                terms[w][step_to(&call.shape, &sum.strides, i) as usize].push(values[w]);
            } else {
                target.store(i as usize, job.store(w), values[w], passes);
            }
        }
    }
    for w in call.outputs.iter() {
        let (Some(write), Some(target)) = (&call.writes[w], &mut writes[w]) else { continue };
        // The terms are gated; the sum is not.
        let store = Store::new(None, write.accumulate);
        for (i, terms) in terms[w].iter().enumerate() {
            target.store(i, store, tree_sum(terms), true);
        }
    }
}

/// Computes all outputs of element `i` of `z`. Returns whether gated gradients pass.
fn element(op: &dyn Compute, job: &Job, i: u64, reads: &mut [f32], values: &mut [f32]) -> bool {
    let signature = job.signature;
    for (r, value) in reads.iter_mut().enumerate() {
        if let (Some(slice), Some(place)) = (&job.reads[r], &job.call.reads[r]) {
            *value = slice.get(place.at(i) as usize);
        }
    }
    if let Some(mask) = job.mask() {
        let passes = mask.get(i as usize) != 0.0;
        for w in job.call.outputs.iter() {
            let copied = signature.copied(w).map_or(0.0, |r| reads[r]);
            values[w] = signature.store(w, false).stored(0.0, copied, passes);
        }
        return passes;
    }
    op.element(job.dtype, reads, values);
    signature.mask().is_none_or(|w| values[w] != 0.0)
}
