//! What the CPU path needs from an op.

use super::block::Block;
use crate::{dtype::DType, signature::Signature};

/// Computes an op on the CPU.
pub(crate) trait Compute: Sync {
    fn signature(&self) -> &Signature;

    /// Computes all outputs of one element. This is the reference for everything else.
    ///
    /// `reads` are the inputs and the upstream gradient. `writes` are all outputs, with a mask as 1 or 0. All are f32
    /// for every storage type: the caller widens and rounds.
    fn element(&self, storage: DType, reads: &[f32], writes: &mut [f32]);

    /// Computes the wanted outputs of some elements, with the same bits.
    ///
    /// A block may lack operands that its [`outputs`](Block::outputs) do not need.
    fn block(&self, storage: DType, block: Block);
}
