use super::Op;

/// The arguments of one call: an op and its operands, `None` where an output is not wanted.
///
/// Calls of the built-in ops are written with structs of named fields ([`spiky::Fused`](crate::spiky::Fused) and its
/// siblings), which turn into this. `I` and `O` are host slices for [`Runner`](crate::Runner) and ranges of buffers for
/// [`Kernels`](crate::gpu::Kernels).
pub struct Args<'o, I, O> {
    /// The op.
    pub op: &'o dyn Op,
    /// The inputs in order, then the upstream gradient, which a forward pass does without: one more than the op has inputs.
    pub reads: Vec<Option<I>>,
    /// `z`, then the gradient of each input: as many as `reads`.
    pub writes: Vec<Option<O>>,
}

/// Anything that is the arguments of one call: the argument structs of the built-in ops, and [`Args`] for any op.
pub trait IntoArgs<'o, I, O> {
    /// The same operands, by number.
    fn into_args(self) -> Args<'o, I, O>;
}

impl<'o, I, O> IntoArgs<'o, I, O> for Args<'o, I, O> {
    fn into_args(self) -> Self {
        self
    }
}
