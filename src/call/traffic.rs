//! The bytes that calls move.

use super::check::{Call, Given, check, mask_words};
use crate::{
    dtype::DType,
    error::Error,
    shape::Layout,
    signature::{
        OutputKind, Signature,
        outputs::{Outputs, Pass},
    },
};

/// The bytes that a call moves if every operand is moved once.
///
/// ```
/// use elemgrad::{DType, Outputs, ops::spiky};
///
/// let spiky = spiky().signature();
/// let forward = spiky.traffic(Outputs::Z, DType::F32, &[&[1024]])?;
/// assert_eq!((forward.read, forward.written, forward.kept), (4096, 4096, 4096));
/// // With its mask saved, forward keeps a bit an element for backward, and no x.
/// let saving = spiky.traffic(Outputs::Z | Outputs::of(2), DType::F32, &[&[1024]])?;
/// assert_eq!((saving.written, saving.kept), (4096 + 128, 128));
/// # Ok::<(), elemgrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes read. A broadcast operand counts once. An output that is added to is read too.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes of the inputs that a forward pass keeps for the backward pass, or of the mask that replaces them.
    pub kept: u64,
}

impl Traffic {
    /// Bytes read and written.
    pub fn total(&self) -> u64 {
        self.read.saturating_add(self.written)
    }

    pub(crate) fn of(signature: &Signature, call: &Call, dtype: DType) -> Self {
        let mask = mask_words(call.len()) * 4;
        let read_bytes = |i: usize| match &call.reads[i] {
            Some(_) if signature.is_mask_read(i) => mask,
            Some(place) => own_len(&place.layout(&call.shape)).saturating_mul(dtype.size()),
            None => 0,
        };
        let write_bytes = |w: usize| match (&call.writes[w], signature.outputs()[w].kind) {
            (Some(_), OutputKind::Mask) => mask,
            (Some(write), _) => write.len.saturating_mul(dtype.size()),
            (None, _) => 0,
        };
        let added = |w: &usize| call.writes[*w].as_ref().is_some_and(|w| w.accumulate);
        let reads = call.reads_for(signature, call.outputs);
        let kept = match (signature.pass_of(call.outputs), signature.mask()) {
            (Pass::Forward, Some(w)) if call.outputs.contains(w) => mask,
            (Pass::Forward, _) => {
                let backward = signature.reads(signature.default_outputs(Pass::Backward), false);
                saturated(backward.iter().filter(|i| *i < signature.upstream()).map(read_bytes))
            }
            _ => 0,
        };
        Self {
            read: saturated(
                reads.iter().map(read_bytes).chain(call.outputs.iter().filter(added).map(write_bytes)),
            ),
            written: saturated(call.outputs.iter().map(write_bytes)),
            kept,
        }
    }
}

impl Signature {
    /// The bytes that a call on contiguous inputs of these shapes moves.
    ///
    /// # Errors
    /// Those of a call with these inputs: [`Error::Arity`], [`Error::Shape`], [`Error::NothingWanted`].
    pub fn traffic(&self, outputs: Outputs, dtype: DType, shapes: &[&[u64]]) -> Result<Traffic, Error> {
        let layouts: Vec<Layout> = shapes.iter().map(|shape| Layout::contiguous(shape)).collect();
        let given = |layout| Some(Given { layout: Some(layout), ..Given::default() });
        let mut reads: Vec<Option<Given>> = layouts.iter().map(given).collect();
        if reads.len() == self.upstream() {
            reads.push(Some(Given::default()));
        }
        let writes: Vec<_> =
            (0..self.write_count()).map(|w| outputs.contains(w).then(Given::default)).collect();
        Ok(Traffic::of(self, &check(self, &reads, &writes)?, dtype))
    }
}

/// Saturating: an overflowing size is reported as the largest one.
fn saturated(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The number of elements that an operand itself has: broadcast axes count once.
fn own_len(layout: &Layout) -> u64 {
    if layout.is_empty() {
        return 0;
    }
    layout.shape().iter().zip(layout.strides()).filter(|(_, s)| **s != 0).map(|(d, _)| d).product()
}
