//! The copies that a call is compared with: plain copies of host memory, and a kernel of the same mix of reads and
//! writes.

use rayon::prelude::*;

use crate::{
    cpu::copy_past_caches,
    error::Error,
    op::Op,
    signature::{Signature, SignatureBuilder},
};

/// Plain copies of host memory. The fastest one counts.
pub(super) struct PlainCopy {
    from: Vec<f32>,
    to: Vec<f32>,
}

impl PlainCopy {
    /// By one thread, by all threads, and by all threads past the caches.
    pub(super) const KINDS: usize = 3;

    pub(super) fn new(len: usize) -> Self {
        Self { from: (0..len).map(|i| i as f32).collect(), to: vec![0.0; len] }
    }

    pub(super) fn copy(&mut self, kind: usize) {
        match kind {
            0 => self.to.copy_from_slice(&self.from),
            1 => {
                let part = self.from.len().div_ceil(rayon::current_num_threads());
                let parts = self.to.par_chunks_mut(part).zip(self.from.par_chunks(part));
                parts.for_each(|(to, from)| to.copy_from_slice(from));
            }
            _ => copy_past_caches(&self.from, &mut self.to),
        }
    }
}

/// The most operands that a copy reads, and the most that it writes.
pub(super) const MAX_COPIED: usize = 4;

/// An op of 1 to 4 inputs that computes next to nothing: every output is the exclusive or of all inputs. It can write
/// one output more than it has inputs.
pub(super) fn copy(inputs: usize) -> Result<Op, Error> {
    let names = ["x", "y", "w", "v"];
    match inputs {
        0 | 1 => of(&names[..1], Signature::builder("copy", ["x"])),
        2 => of(&names[..2], Signature::builder("copy", ["x", "y"])),
        3 => of(&names[..3], Signature::builder("copy", ["x", "y", "w"])),
        _ => of(&names, Signature::builder("copy", names)),
    }
}

fn of(names: &[&str], signature: SignatureBuilder) -> Result<Op, Error> {
    let (mixed, formula, inputs) = (names.join(" ^ "), "all inputs, mixed", names.len());
    let signature = signature.z(mixed.clone(), formula);
    let signature =
        names.iter().fold(signature, |all, name| all.gradient(name, mixed.clone(), formula)).build()?;
    Op::raw(signature, move |_, reads, writes| {
        writes.fill(f32::from_bits(reads[..inputs].iter().fold(0, |all, x| all ^ x.to_bits())));
    })
}
