//! The scalar reference: one element after the other, on one core. Everything else is compared with it.

use crate::{
    host::SliceMut,
    job::Job,
    numeric::{sum, tree_sum},
    shape::step_to,
};

pub(crate) fn run(job: &Job, writes: &mut [Option<SliceMut>]) {
    let (definition, call) = (job.op.definition(), &job.call);
    let mut reads = vec![0.0; definition.upstream() + 1];
    let mut values = vec![0.0; definition.write_count()];
    let mut terms: Vec<Vec<Vec<f32>>> = call
        .writes
        .iter()
        .map(|w| {
            w.as_ref().filter(|w| w.is_reduced()).map_or(Vec::new(), |w| vec![Vec::new(); w.len as usize])
        })
        .collect();
    for i in 0..call.len() {
        let passes = element(job, i, &mut reads, &mut values);
        for w in call.outputs.iter() {
            let (Some(write), Some(target)) = (&call.writes[w], &mut writes[w]) else { continue };
            if write.is_reduced() {
                // In the order of `z`, the terms of one sum are in that of the axes that are summed over.
                terms[w][step_to(&call.shape, &write.strides, i) as usize].push(values[w]);
            } else if passes || !(write.accumulate && definition.outputs[w].gated) {
                store(target, i as usize, values[w], write.accumulate);
            }
        }
    }
    for w in call.outputs.iter() {
        let (Some(write), Some(target)) = (&call.writes[w], &mut writes[w]) else { continue };
        for (i, terms) in terms[w].iter().enumerate() {
            store(target, i, tree_sum(terms), write.accumulate);
        }
    }
}

fn store(target: &mut SliceMut, i: usize, value: f32, accumulate: bool) {
    let value = if accumulate { sum(target.shared().get(i), value) } else { value };
    target.set(i, value);
}

/// All outputs of element `i` of `z`, and whether the gradients that have a gate pass it.
fn element(job: &Job, i: u64, reads: &mut [f32], values: &mut [f32]) -> bool {
    let definition = job.op.definition();
    for (r, value) in reads.iter_mut().enumerate() {
        if let (Some(slice), Some(layout)) = (&job.reads[r], &job.call.reads[r]) {
            let at = layout.offset() as i64 + step_to(layout.shape(), layout.strides(), i);
            *value = slice.get(at as usize);
        }
    }
    if let Some(mask) = job.mask() {
        let passes = mask.get(i as usize) != 0.0;
        for w in job.call.outputs.iter() {
            let copied = definition.copied(w).map_or(0.0, |r| reads[r]);
            values[w] = if passes { copied } else { 0.0 };
        }
        return passes;
    }
    job.op.reference(job.dtype, reads, values);
    definition.mask().is_none_or(|w| values[w] != 0.0)
}
