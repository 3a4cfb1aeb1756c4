//! Tests that the checks can fail.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{Inputs, SelfTestCase, self_test, verify};
use crate::{
    cpu::compute::Compute,
    dtype::DType,
    error::Error,
    op::Op,
    ops,
    run::Runner,
    signature::{
        Signature,
        outputs::{Outputs, Pass},
    },
};

/// `mod`, with an error in what its CPU path computes for an element.
fn wrong(change: fn(&[f32], &mut [f32])) -> Op {
    ops::modulo().clone().with_cpu_path(move |storage, block| {
        block.for_each(|reads, writes| {
            ops::modulo().reference(storage, reads, writes);
            change(reads, writes);
        });
    })
}

/// `spiky`, which writes its outputs only in some calls.
fn idle(writes: fn(usize, Outputs) -> bool) -> Op {
    let calls = AtomicUsize::new(0);
    ops::spiky().clone().with_cpu_path(move |storage, block| {
        if writes(calls.fetch_add(1, Ordering::Relaxed), block.outputs()) {
            ops::spiky().block(storage, block);
        }
    })
}

/// An output that a call does not write is wrong, even if an earlier call wrote the right values.
#[test]
fn verify_sees_what_is_not_written() -> Result<(), Error> {
    let mismatches = |dtype, writes: fn(usize, Outputs) -> bool| {
        let op = idle(writes);
        let inputs = Inputs::Sample { count: 1000, seed: 6 };
        let go_on = &mut |_| ControlFlow::Continue(());
        Ok::<_, Error>(verify(&Runner::cpu(), &op, dtype, &inputs, Pass::ALL, go_on)?.mismatches)
    };
    for &dtype in DType::ALL {
        assert_eq!(mismatches(dtype, |_, _| true)?, 0);
        // The fused pass does not write what the separate passes write.
        assert_eq!(mismatches(dtype, |_, outputs| !(outputs.contains(0) && outputs.contains(1)))?, 1000);
        // Half of the chunks write the mask.
        assert!(mismatches(dtype, |_, outputs| !outputs.contains(2))? > 400, "no mask");
        assert!(mismatches(dtype, |call, _| call < 4)? > 800, "the first chunk alone");
    }
    Ok(())
}

/// The exhaustive checks rely on `verify`, so `verify` must see errors too.
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
    for &pass in Pass::ALL {
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

/// Picks a quarter of all elements.
fn is_picked(reads: &[f32]) -> bool {
    reads.iter().fold(0, |all, read| all ^ read.to_bits()).count_ones() % 4 == 0
}

/// A hand-written op: `x` with its sign changed if `y` is negative, and `dz` with changes in digits that f16 and bf16
/// do not have.
fn signs() -> Result<Op, Error> {
    let signature = Signature::builder("signs", ["x", "y"])
        .bind("sign", "y & 0x80000000u")
        .z("x ^ sign", "x with the sign of xy")
        .gradient("x", "dz ^ sign", "dz with the sign of dz y")
        .gradient("y", "dz ^ 0x1555u", "dz with other digits")
        .build()?;
    Op::raw(signature, |_, reads, writes| {
        let [x, y, dz] = [0, 1, 2].map(|i: usize| reads[i].to_bits());
        let sign = y & 0x8000_0000;
        writes.copy_from_slice(&[x ^ sign, dz ^ sign, dz ^ 0x1555].map(f32::from_bits));
    })
}

/// The same op, with an error in what its CPU path computes for an element.
fn wrong_signs(change: fn(DType, &mut [f32])) -> Result<Op, Error> {
    let right = signs()?;
    Ok(right.clone().with_cpu_path(move |storage, block| {
        block.for_each(|reads, writes| {
            right.reference(storage, reads, writes);
            change(storage, writes);
        });
    }))
}

/// Asserts that the self-test fails exactly in the cases in which the op is wrong, and that its report says so.
fn assert_fails(op: &Op, wrong: impl Fn(&SelfTestCase) -> bool) -> Result<(), Error> {
    let report = self_test(&Runner::cpu(), op)?;
    for case in report.cases.iter().filter(|case| case.skipped.is_none()) {
        let got = [case.mismatches > 0, case.first.is_some()];
        assert_eq!(got, [wrong(case); 2], "{}\n{report}", case.name());
    }
    let (text, first) = (report.to_string(), report.failures().next().expect("a failure"));
    assert!(!report.passed() && text.contains(&first.name()) && text.contains("wrong"), "{text}");
    Ok(())
}

/// `tests/kernels/self_test.rs` does the same for wrong WGSL.
#[test]
fn the_self_test_sees_wrong_cpu_paths() -> Result<(), Error> {
    let report = self_test(&Runner::cpu(), &wrong_signs(|_, _| {})?)?;
    assert!(report.passed(), "{report}");
    let has_gradients = |case: &SelfTestCase| case.pass != Pass::Forward;
    assert_fails(&wrong_signs(|_, writes| writes.swap(1, 2))?, has_gradients)?;
    assert_fails(&wrong_signs(|_, writes| writes[0] = -writes[0])?, |case| case.pass != Pass::Backward)?;
    // Rounding terms before they are added changes no gradient that is stored unsummed.
    let rounded = wrong_signs(|storage, writes| writes[2] = storage.widen(storage.round(writes[2])))?;
    assert_fails(&rounded, |case| {
        let adds_dy = case.way.contains("added") || case.way.contains('y');
        has_gradients(case) && case.dtype != DType::F32 && adds_dy
    })?;

    // Outputs that are not written.
    let right = signs()?;
    let without_backward = right.clone().with_cpu_path(move |storage, block| {
        if block.outputs().contains(0) {
            right.block(storage, block);
        }
    });
    let report = self_test(&Runner::cpu(), &without_backward)?;
    let backward = |case: &&SelfTestCase| case.pass == Pass::Backward && case.skipped.is_none();
    assert!(report.cases.iter().filter(backward).all(|case| case.mismatches > 0), "{report}");
    Ok(())
}
