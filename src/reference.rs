//! The scalar reference: one element after the other, on one core. Everything else is compared with it.

use std::{borrow::Cow, ops::Range};

use crate::{
    DType, Layout, Op, Outputs,
    cpu::general::copy_strided,
    host::{Slice, SliceMut},
    numeric::{sum, tree_sum},
    op::{Call, Write},
    shape::{is_contiguous, step_to},
};

/// A call on host memory whose shapes fit.
pub(crate) struct Job<'o, 'a> {
    pub(crate) op: &'o dyn Op,
    /// The storage type.
    pub(crate) dtype: DType,
    pub(crate) call: Call,
    pub(crate) reads: Vec<Option<Slice<'a>>>,
}

impl Job<'_, '_> {
    /// The read that stands for the mask, where it is read.
    pub(crate) fn mask(&self) -> Option<Slice<'_>> {
        let mask = self.op.definition().upstream() + 1;
        if self.call.from_mask { self.reads.get(mask).copied().flatten() } else { None }
    }

    /// The wanted outputs that are sums, and those that are not.
    pub(crate) fn reduced(&self) -> Outputs {
        let writes = &self.call.writes;
        Outputs::present(writes.iter().map(|w| w.as_ref().is_some_and(Write::is_reduced)))
    }

    pub(crate) fn whole(&self) -> Outputs {
        let writes = &self.call.writes;
        Outputs::present(writes.iter().map(|w| w.as_ref().is_some_and(|w| !w.is_reduced())))
    }

    /// Whether outputs are what contiguous operands give.
    pub(crate) fn is_plain(&self, outputs: Outputs) -> bool {
        let reads = self.call.reads_for(self.op.definition(), outputs);
        reads.into_iter().all(|r| self.is_mask_read(r) || self.is_contiguous(r))
    }

    /// Whether a read has the elements of `z` one after the other, from its first on.
    fn is_contiguous(&self, i: usize) -> bool {
        let layout = self.call.reads[i].as_ref();
        layout.is_some_and(|l| l.offset() == 0 && is_contiguous(l.shape(), l.strides()))
    }

    pub(crate) fn is_mask_read(&self, i: usize) -> bool {
        i > self.op.definition().upstream()
    }

    pub(crate) fn is_mask_write(&self, w: usize) -> bool {
        self.op.definition().mask() == Some(w)
    }

    /// The bytes of the elements of `z` in `range`, as read `i` has them.
    pub(crate) fn read_bytes(&self, i: usize, range: &Range<usize>) -> Cow<'_, [u8]> {
        let (Some(slice), Some(layout)) = (&self.reads[i], &self.call.reads[i]) else {
            return Cow::default();
        };
        let part = |element: usize, range: Range<usize>| {
            Cow::Borrowed(&slice.bytes()[range.start * element..range.end * element])
        };
        match slice {
            Slice::Bits(_) => part(4, range.start / 32..range.end.div_ceil(32)),
            _ if self.is_contiguous(i) => part(self.dtype.size() as usize, range.clone()),
            Slice::F32(data) => gathered(data, layout, range),
            Slice::Half(_, data) => gathered(data, layout, range),
        }
    }

    /// All outputs of element `i` of `z`, and whether the gradients that have a gate pass it.
    fn element(&self, i: u64, reads: &mut [f32], values: &mut [f32]) -> bool {
        let definition = self.op.definition();
        for (r, value) in reads.iter_mut().enumerate() {
            if let (Some(slice), Some(layout)) = (&self.reads[r], &self.call.reads[r]) {
                let at = layout.offset() as i64 + step_to(layout.shape(), layout.strides(), i);
                *value = slice.get(at as usize);
            }
        }
        if let Some(mask) = self.mask() {
            let passes = mask.get(i as usize) != 0.0;
            for w in self.call.outputs.iter() {
                let copied = definition.copied(w).map_or(0.0, |r| reads[r]);
                values[w] = if passes { copied } else { 0.0 };
            }
            return passes;
        }
        self.op.reference(self.dtype, reads, values);
        definition.mask().is_none_or(|w| values[w] != 0.0)
    }
}

fn gathered<T: bytemuck::Pod>(data: &[T], layout: &Layout, range: &Range<usize>) -> Cow<'static, [u8]> {
    let mut out = vec![T::zeroed(); range.len()];
    let offset = layout.offset() as i64;
    copy_strided(data, offset, layout.shape(), layout.strides(), range.start as u64, &mut out, |v| v);
    Cow::Owned(bytemuck::cast_slice(&out).to_vec())
}

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
        let passes = job.element(i, &mut reads, &mut values);
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
