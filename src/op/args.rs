//! The arguments of a call.

use super::Op;
use crate::dtype::DType;

/// The arguments of one call: an op and its operands. `None` means that an output is not wanted.
///
/// The built-in ops have structs of named fields ([`spiky::Fused`](crate::ops::spiky::Fused) and its siblings), which
/// convert to this type. `I` and `O` are [`View`](crate::View) and [`Output`](crate::Output) on the host, and
/// [`Operand`](crate::gpu::Operand) on a GPU.
#[non_exhaustive]
pub struct Args<'o, I, O> {
    /// The op.
    pub op: &'o Op,
    /// The storage type of every operand except masks. `None` means that of the slices on the host, and f32 on a GPU.
    pub dtype: Option<DType>,
    /// The inputs in order, then the upstream gradient, then the saved mask. You may omit operands at the end.
    pub reads: Vec<Option<I>>,
    /// `z`, then the gradient of each input, then further outputs. You may omit operands at the end.
    pub writes: Vec<Option<O>>,
}

impl<'o, I, O> Args<'o, I, O> {
    /// Makes arguments from operands by number.
    pub fn new(op: &'o Op, reads: Vec<Option<I>>, writes: Vec<Option<O>>) -> Self {
        Self { op, dtype: None, reads, writes }
    }

    /// Arguments with `None` for every operand.
    pub(crate) fn none(op: &'o Op) -> Self {
        let signature = op.signature();
        let reads = (0..signature.read_count()).map(|_| None).collect();
        Self::new(op, reads, (0..signature.write_count()).map(|_| None).collect())
    }
}

/// What can be the arguments of one call: the argument structs of the built-in ops, and [`Args`] for any op.
pub trait IntoArgs<'o, I, O>: Sized {
    /// The same operands, by number.
    fn into_args(self) -> Args<'o, I, O>;

    /// The same call with an explicit storage type, for buffers, which do not tell theirs.
    fn dtype(self, dtype: DType) -> Args<'o, I, O> {
        Args { dtype: Some(dtype), ..self.into_args() }
    }
}

impl<'o, I, O, A: Into<I>, B: Into<O>> IntoArgs<'o, I, O> for Args<'o, A, B> {
    fn into_args(self) -> Args<'o, I, O> {
        Args {
            op: self.op,
            dtype: self.dtype,
            reads: self.reads.into_iter().map(|r| r.map(Into::into)).collect(),
            writes: self.writes.into_iter().map(|w| w.map(Into::into)).collect(),
        }
    }
}
