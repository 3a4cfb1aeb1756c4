//! Whether the checks can fail.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{Inputs, verify};
use crate::{
    cpu::compute::Compute,
    dtype::DType,
    error::Error,
    op::Op,
    ops,
    run::Runner,
    signature::outputs::{Outputs, Pass},
};

/// `mod`, with something wrong in what its CPU path computes of an element.
fn wrong(change: fn(&[f32], &mut [f32])) -> Op {
    ops::modulo().clone().with_cpu_path(move |storage, block| {
        block.for_each(|reads, writes| {
            ops::modulo().reference(storage, reads, writes);
            change(reads, writes);
        });
    })
}

/// `spiky`, which leaves outputs as they are but in some calls.
fn idle(writes: fn(usize, Outputs) -> bool) -> Op {
    let calls = AtomicUsize::new(0);
    ops::spiky().clone().with_cpu_path(move |storage, block| {
        if writes(calls.fetch_add(1, Ordering::Relaxed), block.outputs()) {
            ops::spiky().block(storage, block);
        }
    })
}

/// What a call does not write is wrong, though an earlier one wrote the same.
#[test]
fn verify_sees_what_is_not_written() -> Result<(), Error> {
    let mismatches = |dtype, writes: fn(usize, Outputs) -> bool| {
        let op = idle(writes);
        let inputs = Inputs::Sample { count: 1000, seed: 6 };
        let go_on = &mut |_| ControlFlow::Continue(());
        Ok::<_, Error>(verify(&Runner::cpu(), &op, dtype, &inputs, &Pass::ALL, go_on)?.mismatches)
    };
    for dtype in DType::ALL {
        assert_eq!(mismatches(dtype, |_, _| true)?, 0);
        // What the passes write apart is not written by the one that does both.
        assert_eq!(mismatches(dtype, |_, outputs| !(outputs.contains(0) && outputs.contains(1)))?, 1000);
        // Half of the chunks write the mask.
        assert!(mismatches(dtype, |_, outputs| !outputs.contains(2))? > 400, "no mask");
        assert!(mismatches(dtype, |call, _| call < 4)? > 800, "the first chunk alone");
    }
    Ok(())
}

/// `verify`, on which the exhaustive checks stand, sees what it must too.
#[test]
fn verify_can_fail() -> Result<(), Error> {
    let mismatches = |op: Op, pass| {
        let inputs = Inputs::Sample { count: 1000, seed: 6 };
        let report =
            verify(&Runner::cpu(), &op, DType::F32, &inputs, &[pass], &mut |_| ControlFlow::Continue(()))?;
        assert_eq!(report.checked, 1000);
        assert_eq!(report.first.is_empty(), report.mismatches == 0, "mismatches are shown");
        Ok::<_, Error>(report.mismatches)
    };
    for pass in Pass::ALL {
        assert_eq!(mismatches(wrong(|_, _| {}), pass)?, 0);
        let one_bit = wrong(|reads, writes| {
            if is_picked(reads) {
                for write in writes {
                    *write = f32::from_bits(write.to_bits() ^ 1);
                }
            }
        });
        let got = mismatches(one_bit, pass)?;
        assert!((100..500).contains(&got), "a quarter of 1000, not {got}, in {}", pass.name());
        let nothing = wrong(|_, writes| writes.fill(0.0));
        assert!(mismatches(nothing, pass)? > 500);
        let unwritten = wrong(|_, writes| writes.fill(f32::from_bits(0xffed_cba9)));
        assert_eq!(mismatches(unwritten, pass)?, 1000);
    }
    let swapped = wrong(|_, writes| writes.swap(1, 2));
    // Half of the chunks write dx.
    assert!(mismatches(swapped, Pass::Backward)? > 250);
    let sample = Inputs::Sample { count: 10, seed: 6 };
    let none =
        verify(&Runner::cpu(), ops::modulo(), DType::F32, &sample, &[], &mut |_| ControlFlow::Continue(()));
    assert!(matches!(none, Err(Error::NothingWanted { .. })), "no passes are no success: {none:?}");
    Ok(())
}

/// A quarter of all elements.
fn is_picked(reads: &[f32]) -> bool {
    reads.iter().fold(0, |all, read| all ^ read.to_bits()).count_ones() % 4 == 0
}
