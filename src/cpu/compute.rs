//! What the CPU asks of an op.

use super::block::Block;
use crate::{dtype::DType, signature::Signature};

/// What computes an op on the CPU.
pub(crate) trait Compute: Sync {
    fn signature(&self) -> &Signature;

    /// All outputs of one element: the oracle that everything else is compared with.
    ///
    /// `reads` are the inputs and the upstream gradient, `writes` are all outputs, a mask's as 1 or 0. They are f32
    /// whatever the storage type: the caller widens and rounds.
    fn element(&self, storage: DType, reads: &[f32], writes: &mut [f32]);

    /// The wanted outputs of some elements, with the same bits.
    ///
    /// A block may lack operands that its [`outputs`](Block::outputs) do not need.
    fn block(&self, storage: DType, block: Block);
}
