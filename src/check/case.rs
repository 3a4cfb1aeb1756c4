//! A case to measure: an op, a pass, a storage type, a layout, options.

use super::{copy::MAX_COPIED, data::Data};
use crate::{
    call::{check::mask_words, traffic::Traffic},
    dtype::DType,
    error::Error,
    op::Op,
    signature::{
        Signature,
        outputs::{Outputs, Pass},
    },
};

/// Elements in a row, and in a channel.
const ROW: u64 = 1024;
/// The number of channels.
const CHANNELS: u64 = 64;

/// The shapes of the first input and of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shapes {
    /// All inputs have one shape.
    #[default]
    Contiguous,
    /// The other inputs have one element.
    Scalar,
    /// `[rows, 1024]` and `[1024]`.
    Row,
    /// `[rows, 1024]` and `[rows, 1]`.
    Column,
    /// `[batch, 64, 1024]` and `[1, 64, 1]`.
    Channel,
}

impl Shapes {
    /// All shapes.
    pub const ALL: &'static [Self] =
        &[Self::Contiguous, Self::Scalar, Self::Row, Self::Column, Self::Channel];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contiguous => "contiguous",
            Self::Scalar => "scalar",
            Self::Row => "row",
            Self::Column => "column",
            Self::Channel => "channel",
        }
    }

    /// The shape of the first input, with at most `elements` elements, and the shape of the others.
    fn of(self, elements: u64) -> [Vec<u64>; 2] {
        let row = ROW.min(elements.max(1));
        let rows = (elements / row).max(1);
        let channels = CHANNELS.min(rows);
        match self {
            Self::Contiguous => [vec![elements], vec![elements]],
            Self::Scalar => [vec![elements], vec![]],
            Self::Row => [vec![rows, row], vec![row]],
            Self::Column => [vec![rows, row], vec![rows, 1]],
            Self::Channel => [vec![rows / channels, channels, row], vec![1, channels, 1]],
        }
    }
}

/// What a pass does in addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Extra {
    /// Nothing.
    #[default]
    None,
    /// Forward saves the mask, or backward reads it.
    Mask,
    /// Forward also writes the op's further numbers (`q` of `mod`).
    Values,
    /// Gradients are added to existing values.
    Accumulate,
}

impl Extra {
    /// All extras.
    pub const ALL: &'static [Self] = &[Self::None, Self::Mask, Self::Values, Self::Accumulate];

    /// Its name, empty for [`Extra::None`].
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Mask => "mask",
            Self::Values => "values",
            Self::Accumulate => "accumulate",
        }
    }

    /// Whether a pass of this op can do it.
    pub fn fits(self, signature: &Signature, pass: Pass) -> bool {
        match self {
            Self::None => true,
            Self::Mask => match pass {
                Pass::Forward => signature.mask().is_some(),
                Pass::Backward => signature.gated_by_mask(signature.default_outputs(pass)),
                Pass::Fused => false,
            },
            Self::Values => pass == Pass::Forward && !further(signature).is_empty(),
            Self::Accumulate => pass == Pass::Backward,
        }
    }
}

/// The numbers that an op gives in addition to `z`.
fn further(signature: &Signature) -> Outputs {
    let all = signature.all_outputs(Pass::Forward).iter();
    all.filter(|w| *w != 0 && signature.mask() != Some(*w)).fold(Outputs::NONE, |all, w| all | Outputs::of(w))
}

/// A case to measure: an op × pass × storage type × layout × options.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case<'o> {
    /// The op.
    pub op: &'o Op,
    /// The pass, with its default outputs.
    pub pass: Pass,
    /// What the pass does in addition.
    pub extra: Extra,
    /// The storage type.
    pub dtype: DType,
    /// The shapes of the inputs.
    pub shapes: Shapes,
    /// The data in the operands.
    pub data: Data,
    /// The most elements of `z`.
    pub elements: u64,
}

impl<'o> Case<'o> {
    /// The usual case: ordinary f32 numbers, contiguous, nothing in addition.
    pub fn new(op: &'o Op, pass: Pass, elements: u64) -> Self {
        let (extra, shapes) = (Extra::default(), Shapes::default());
        Self { op, pass, extra, dtype: DType::default(), shapes, data: Data::Ordinary, elements }
    }

    /// The shape of each input.
    pub(super) fn input_shapes(&self) -> Vec<Vec<u64>> {
        let [first, others] = self.shapes.of(self.elements);
        let inputs = self.op.signature().inputs().len();
        (0..inputs).map(|i| if i == 0 { first.clone() } else { others.clone() }).collect()
    }

    /// The shape of `z`.
    pub(super) fn shape(&self) -> Vec<u64> {
        let [first, _] = self.shapes.of(self.elements);
        first
    }

    /// The number of elements of `z`.
    pub(super) fn len(&self) -> u64 {
        self.shape().iter().product()
    }

    /// Whether the pass reads the mask.
    pub(super) fn reads_mask(&self) -> bool {
        self.extra == Extra::Mask && self.pass == Pass::Backward
    }

    /// Whether output `w` is added to existing values.
    pub(super) fn adds(&self, w: usize) -> bool {
        self.extra == Extra::Accumulate && self.op.signature().gradient_of(w).is_some()
    }

    pub(super) fn outputs(&self) -> Outputs {
        let signature = self.op.signature();
        let usual = signature.default_outputs(self.pass);
        match (self.extra, signature.mask()) {
            (Extra::Mask, Some(w)) if !self.reads_mask() => usual | Outputs::of(w),
            (Extra::Values, _) => usual | further(signature),
            _ => usual,
        }
    }

    /// The bytes that a call reads and writes.
    ///
    /// # Errors
    /// [`Error::TooMany`] if there are more elements than a call can have.
    pub fn traffic(&self) -> Result<Traffic, Error> {
        let shapes = self.input_shapes();
        let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
        let mut traffic = self.op.signature().traffic(self.outputs(), self.dtype, &shapes)?;
        if self.reads_mask() {
            traffic.read = self.len() * self.dtype.size() + 4 * mask_words(self.len());
        }
        if self.extra == Extra::Accumulate {
            traffic.read += traffic.written;
        }
        Ok(traffic)
    }

    /// The bytes that the copy for comparison reads and writes. On a GPU the copy has as many operands as the call,
    /// else one each way.
    ///
    /// # Errors
    /// As [`traffic`](Self::traffic).
    pub fn copy_bytes(&self, on_gpu: bool) -> Result<u64, Error> {
        let [reads, writes] = if on_gpu { self.copied()? } else { [1, 1] };
        Ok((reads + writes) as u64 * self.words() * 4)
    }

    /// The numbers of operands that a copy of the same mix reads and writes, rounded to whole operands.
    pub(super) fn copied(&self) -> Result<[usize; 2], Error> {
        let (traffic, bytes) = (self.traffic()?, self.len() * self.dtype.size());
        let whole = |moved: u64| ((moved as f64 / bytes as f64).round() as usize).clamp(1, MAX_COPIED);
        let writes = whole(traffic.written);
        Ok([whole(traffic.read).max(writes - 1), writes])
    }

    /// The number of words in an operand of the copy.
    pub(super) fn words(&self) -> u64 {
        (self.len() * self.dtype.size()).div_ceil(4).next_multiple_of(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_no_more_elements_than_it_says() {
        for &shapes in Shapes::ALL {
            for elements in [1, 10, 1023, 1024, 5000, 65_536, 1 << 20] {
                let [first, others] = shapes.of(elements);
                let len: u64 = first.iter().product();
                assert!(len <= elements && 2 * len > elements, "{shapes:?} of {elements}: {first:?}");
                assert_eq!(crate::shape::broadcast(&first, &others), Some(first), "{shapes:?}");
            }
        }
        assert_eq!(Shapes::Channel.of(1 << 20), [vec![16, 64, 1024], vec![1, 64, 1]]);
    }
}
